import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
/** A client that signs by the testbed's clock; the SDK would go back to the wall's with every answer. */
async function newClient(): Promise<SSM> {
  const ssm = new SSM((await testbed.account()).config)
  Object.defineProperty(ssm.config, 'systemClockOffset', {
    get: () => testbed.clock.now().getTime() - Date.now(),
    set: () => {},
  })
  return ssm
}

const HOUR_MS = 3_600_000
const expiration = (hours: number) => ({
  Type: 'Expiration',
  Version: '1.0',
  Attributes: { Timestamp: new Date(testbed.clock.now().getTime() + hours * HOUR_MS).toISOString() },
})
const notification = (hours: number) => ({
  Type: 'ExpirationNotification',
  Version: '1.0',
  Attributes: { Before: String(hours), Unit: 'Hours' },
})
const noChange = (hours: number) => ({
  Type: 'NoChangeNotification',
  Version: '1.0',
  Attributes: { After: String(hours), Unit: 'Hours' },
})

const put = (ssm: SSM, Name: string, policies: unknown[], more = {}) =>
  ssm.putParameter({ Name, Value: 'v', Type: 'String', Tier: 'Advanced', Policies: JSON.stringify(policies), ...more })

const statuses = async (ssm: SSM) =>
  (await ssm.describeParameters({})).Parameters?.[0]?.Policies?.map(({ PolicyType, PolicyStatus }) => [
    PolicyType,
    PolicyStatus,
  ])

/** Background work follows the clock at once, but not within the same turn. */
const soon = { timeout: 90_000, interval: 20 }

describe('policies', () => {
  it('are shown with their text and status', async () => {
    const ssm = await newClient()
    const policy = expiration(5)
    await put(ssm, 'p', [policy, noChange(3)])
    const [shown] = (await ssm.describeParameters({})).Parameters ?? []
    expect(shown?.Policies).toEqual([
      { PolicyText: JSON.stringify(policy), PolicyType: 'Expiration', PolicyStatus: 'Pending' },
      { PolicyText: expect.any(String), PolicyType: 'NoChangeNotification', PolicyStatus: 'Pending' },
    ])
  })

  it('are kept when they are left out, replaced by new ones and removed by an empty one', async () => {
    const ssm = await newClient()
    await put(ssm, 'p', [noChange(3)])
    await ssm.putParameter({ Name: 'p', Value: 'w', Overwrite: true })
    expect(await statuses(ssm)).toEqual([['NoChangeNotification', 'Pending']])
    await put(ssm, 'p', [expiration(5)], { Overwrite: true })
    expect(await statuses(ssm)).toEqual([['Expiration', 'Pending']])
    await put(ssm, 'p', [{}], { Overwrite: true })
    expect(await statuses(ssm)).toEqual([])
  })

  it('delete a parameter when it expires, and not before', async () => {
    const ssm = await newClient()
    await put(ssm, 'brief', [expiration(10), notification(2)], { Tags: undefined })
    await ssm.addTagsToResource({ ResourceType: 'Parameter', ResourceId: 'brief', Tags: [{ Key: 'k', Value: 'v' }] })
    testbed.clock.advance(8.5 * HOUR_MS)
    await vi.waitFor(async () => {
      expect(await statuses(ssm)).toEqual([
        ['Expiration', 'Pending'],
        ['ExpirationNotification', 'Finished'],
      ])
    }, soon)
    expect((await ssm.getParameter({ Name: 'brief' })).Parameter?.Value).toBe('v')
    testbed.clock.advance(2 * HOUR_MS)
    await vi.waitFor(async () => {
      expect(await refusal(ssm.getParameter({ Name: 'brief' }))).toMatchObject({ name: 'ParameterNotFound' })
    }, soon)
    const tags = ssm.listTagsForResource({ ResourceType: 'Parameter', ResourceId: 'brief' })
    expect(await refusal(tags)).toMatchObject({ name: 'InvalidResourceId' })
    expect((await ssm.putParameter({ Name: 'brief', Value: 'again', Type: 'String' })).Version).toBe(1)
  })

  it('tell each of their events once, also when two processes look after them', async () => {
    const ssm = await newClient()
    await using _ = await testbed.another()
    const count = 40
    for (let index = 0; index < count; index++) await put(ssm, `/many/p${index}`, [expiration(10), notification(9)])
    const told = () => testbed.server.database<{ kind: string; times: number; parameters: number }[]>`
      select coalesce(detail->>'policy-type', detail->>'operation') as kind, count(*)::int as times,
        count(distinct name_key)::int as parameters
      from parameter_events where name_key like '/many/%' group by 1 order by 1`
    testbed.clock.advance(2 * HOUR_MS)
    testbed.clock.advance(9 * HOUR_MS)
    await vi.waitFor(async () => {
      expect(await ssm.getParametersByPath({ Path: '/many' })).toMatchObject({ Parameters: [] })
    }, soon)
    expect([...(await told())]).toEqual(
      ['Create', 'Delete', 'Expiration', 'ExpirationNotification'].map((kind) => ({
        kind,
        times: count,
        parameters: count,
      })),
    )
  })

  it('start the no-change clock again with every change', async () => {
    const ssm = await newClient()
    await put(ssm, 'still', [noChange(4)])
    testbed.clock.advance(3 * HOUR_MS)
    await ssm.putParameter({ Name: 'still', Value: 'w', Overwrite: true })
    testbed.clock.advance(3 * HOUR_MS)
    // A parameter that is due now is seen to have been handled: the reconciler has passed over this one.
    await put(ssm, 'witness', [expiration(-1)])
    await vi.waitFor(async () => {
      expect(await refusal(ssm.getParameter({ Name: 'witness' }))).toMatchObject({ name: 'ParameterNotFound' })
    }, soon)
    expect(await statuses(ssm)).toEqual([['NoChangeNotification', 'Pending']])
    testbed.clock.advance(1.5 * HOUR_MS)
    await vi.waitFor(async () => expect(await statuses(ssm)).toEqual([['NoChangeNotification', 'Finished']]), soon)
  })

  it('may expire before all dates that a database knows, which is at once', async () => {
    const ssm = await newClient()
    const ancient = { ...expiration(1), Attributes: { Timestamp: '0001-01-01T00:00:00Z' } }
    expect((await put(ssm, 'p', [ancient, notification(99_999)])).Version).toBe(1)
    await vi.waitFor(
      async () => expect(await refusal(ssm.getParameter({ Name: 'p' }))).toMatchObject({ name: 'ParameterNotFound' }),
      soon,
    )
  })

  it('need the advanced tier, which intelligent tiering chooses for them', async () => {
    const ssm = await newClient()
    const standard = put(ssm, 'p', [noChange(1)], { Tier: 'Standard' })
    expect(await refusal(standard)).toMatchObject({ name: 'ValidationException' })
    expect((await put(ssm, 'p', [noChange(1)], { Tier: 'Intelligent-Tiering' })).Tier).toBe('Advanced')
  })

  it.each<[string, unknown[], string]>([
    ['eleven', Array(11).fill(noChange(1)), 'PoliciesLimitExceededException'],
    ['an unknown type', [{ ...noChange(1), Type: 'Other' }], 'InvalidPolicyTypeException'],
    ['a bad timestamp', [{ ...expiration(1), Attributes: { Timestamp: 'soon' } }], 'InvalidPolicyAttributeException'],
    [
      'a timestamp in the year 10000',
      [{ ...expiration(1), Attributes: { Timestamp: '9999-12-31T23:59:59-01:00' } }],
      'InvalidPolicyAttributeException',
    ],
    [
      'a bad unit',
      [{ ...noChange(1), Attributes: { After: '1', Unit: 'constructor' } }],
      'InvalidPolicyAttributeException',
    ],
    ['two expirations', [expiration(1), expiration(2)], 'IncompatiblePolicyException'],
    ['a notice of no expiration', [notification(1)], 'IncompatiblePolicyException'],
  ])('cannot be %s', async (_, policies, name) => {
    const ssm = await newClient()
    expect(await refusal(put(ssm, 'p', policies))).toMatchObject({ name })
  })
})
