/** Every kind of tampering with the audit, by SQL, and what verification says of it. */
import { CloudTrail } from '@aws-sdk/client-cloudtrail'
import { DeleteParametersCommand, GetParametersCommand } from '@aws-sdk/client-ssm'
import { createSealer, recordServiceEvent, verifyTrail } from '@musterbook/server'
import { eventually, REGION, startTestbed, type TestAccount } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'

const DAY_MS = 86_400_000
type Testbed = Awaited<ReturnType<typeof startTestbed>>

const verify = (testbed: Testbed, account?: string) =>
  verifyTrail(testbed.server.database, createSealer(Buffer.alloc(32, 7)), account === undefined ? {} : { account })

/** Three segments of four, one and three records. */
async function threeSegments(testbed: Testbed, account: TestAccount): Promise<void> {
  const trail = new CloudTrail(account.config)
  const remove = (Name: string) => account.ssm.send(new DeleteParametersCommand({ Names: [Name] }))
  for (const Name of ['a', 'b', 'c', 'd']) await remove(Name)
  await trail.lookupEvents({}) // writes what waits, and is a record itself
  for (const count of [1, 2]) await account.ssm.send(new GetParametersCommand({ Names: [`${count}`] }))
  await trail.lookupEvents({})
  await trail.lookupEvents({})
  await eventually('all is written', async () => (await verify(testbed, account.account)).chains[0]?.records === 9)
}

async function broken(testbed: Testbed, account: TestAccount, statement: string) {
  await testbed.server.database.unsafe(
    statement.replaceAll('MINE', `account = '${account.account}' and region = '${REGION}'`),
  )
  const { chains } = await verify(testbed, account.account)
  return chains[0]?.flaw
}

describe('the chain of the audit', () => {
  it('is whole where nothing was changed, also when two servers write it at a time', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const account = await testbed.account()
    const there = account.client({ endpoint: second.endpoint })
    const calls = Array.from({ length: 60 }, (_, index) =>
      (index % 2 ? there : account.ssm).send(new GetParametersCommand({ Names: [`p${index}`] })),
    )
    await Promise.all(calls)
    await eventually('all of it is written', async () => (await verify(testbed)).chains[0]?.records === 60)
    expect(await verify(testbed)).toEqual({
      chains: [
        {
          account: account.account,
          region: REGION,
          records: 60,
          trimmed: 0,
          bytes: expect.any(Number),
          hash: expect.stringMatching(/^[0-9a-f]{64}$/),
        },
      ],
    })
  })

  it.each([
    [
      'that lost its last segment',
      'delete from trail_segments where MINE and last_seq = (select max(last_seq) from trail_segments where MINE)',
      /end was cut off/,
    ],
    ['that lost its first segment', 'delete from trail_segments where MINE and first_seq = 1', /^it is missing/],
    ['whose records are all gone', 'delete from trail_segments where MINE', /end was cut off/],
    ['whose head is gone', 'delete from trail_chains where MINE', /head of the chain is gone/],
    [
      'that is gone as a whole',
      'with gone as (delete from trail_chains where MINE) delete from trail_segments where MINE',
      /head of the chain is gone/,
    ],
    [
      'whose end was cut off with its head',
      'with cut as (delete from trail_segments where MINE and last_seq = (select max(last_seq) from trail_segments where MINE)) update trail_chains c set last_seq = s.last_seq, hash = s.hash from (select * from trail_segments where MINE order by last_seq desc offset 1 limit 1) s where c.account = s.account',
      /where the chain ends was changed/,
    ],
    [
      'whose head is that of the segment before, seal and all',
      'with cut as (delete from trail_segments where MINE and last_seq = (select max(last_seq) from trail_segments where MINE)) update trail_chains c set last_seq = s.last_seq, hash = s.hash, seal = s.seal from (select * from trail_segments where MINE order by last_seq desc offset 1 limit 1) s where c.account = s.account',
      /where the chain ends was changed/,
    ],
    [
      'whose beginning was cut off with its anchor',
      'with cut as (delete from trail_segments where MINE and first_seq = 1 returning account, last_seq, hash) update trail_chains c set anchor_seq = cut.last_seq, anchor_hash = cut.hash from cut where c.account = cut.account',
      /where the chain begins was changed/,
    ],
    [
      'with bytes of a segment changed',
      "update trail_segments set body = overlay(body placing '\\x00'::bytea from 20 for 1) where MINE and first_seq = 1",
      /changed|missing/,
    ],
    [
      'with a tag changed',
      "update trail_segments set tags = overlay(tags placing '\\x0000'::bytea from 1 for 2) where MINE and first_seq = 1",
      /it was changed/,
    ],
    [
      'with a hash changed',
      "update trail_segments set hash = sha256('x') where MINE and first_seq = 1",
      /seal does not fit/,
    ],
    [
      'whose segments are hidden from lookups',
      "update trail_segments set attributes = '{}' where MINE and first_seq = 1",
      /hidden from LookupEvents/,
    ],
    [
      'whose segments are hidden by time',
      "update trail_segments set last_at = first_at - interval '1 year' where MINE and first_seq = 1",
      /hidden from LookupEvents/,
    ],
  ])('%s is found out', async (_, statement, reason) => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    await threeSegments(testbed, account)
    expect(await broken(testbed, account, statement)).toMatchObject({ reason: expect.stringMatching(reason) })
  })

  it('names the first bad record by its number and its event id', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    await threeSegments(testbed, account)
    const { database } = testbed.server
    const [segment] = await database<{ tags: Buffer }[]>`
      select tags from trail_segments where account = ${account.account} order by first_seq limit 1`
    const record = segment!.tags.length / 8
    const tags = Buffer.from(segment!.tags)
    tags[8 * (record - 1)]! ^= 1
    await database`update trail_segments set tags = ${tags} where account = ${account.account} and first_seq = 1`
    const { Events = [] } = await new CloudTrail(account.config).lookupEvents({})
    const { EventId: eventId } = Events[Events.length - record]!
    expect((await verify(testbed, account.account)).chains[0]?.flaw).toMatchObject({ record, eventId })
  })

  it('that was put back, head and all, is found out by what an earlier verification saw', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const { database } = testbed.server
    const scope = { account: account.account, region: REGION }
    const sealer = createSealer(Buffer.alloc(32, 7))
    const reportOf = async (...earlier: Parameters<typeof verifyTrail>[3] & {}) => {
      const { chains } = await verifyTrail(database, sealer, scope, earlier)
      const [{ records, trimmed, hash, flaw }] = chains as [(typeof chains)[number]]
      return { head: { ...scope, seq: trimmed + records, hash }, flaw }
    }
    await threeSegments(testbed, account)
    const [then] = await database`select * from trail_chains where account = ${scope.account}`
    const { head: first } = await reportOf()
    const trail = new CloudTrail(account.config)
    for (const _ of [1, 2, 3]) await trail.lookupEvents({})
    await eventually('they are written', async () => (await reportOf()).head.seq === 12)
    const { head: second } = await reportOf()
    expect((await reportOf(first, second)).flaw).toBeUndefined()

    await database`delete from trail_segments where account = ${scope.account} and last_seq > ${then!.last_seq}`
    await database`update trail_chains set ${database(then!, 'last_seq', 'hash', 'seal')} where account = ${scope.account}`
    expect((await reportOf(first)).flaw).toBeUndefined()
    expect((await reportOf(second)).flaw).toMatchObject({ record: 10, reason: expect.stringMatching(/was put back/) })
    for (const _ of [1, 2, 3, 4]) await trail.lookupEvents({})
    await eventually('it goes on', async () => (await reportOf()).head.seq === 13)
    expect((await reportOf()).flaw).toBeUndefined()
    expect((await reportOf(second)).flaw).toMatchObject({ record: 12, reason: expect.stringMatching(/seen before/) })

    await database`delete from trail_chains where account = ${scope.account}`
    await database`delete from trail_segments where account = ${scope.account}`
    expect((await reportOf(second)).flaw).toMatchObject({ record: 1 })
  })

  it('notices when the list of chains is gone', async () => {
    await using testbed = await startTestbed()
    await testbed.server.database`delete from trail_roll`
    expect(await verify(testbed)).toEqual({ chains: [], flaw: 'the roll of chains is gone' })
  })

  it('stays whole when old records are trimmed', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    await threeSegments(testbed, account)
    testbed.clock.advance(91 * DAY_MS)
    const event = { eventName: 'Ticked', eventSource: 'ssm.amazonaws.com', serviceEventDetails: { n: 1 } }
    await recordServiceEvent(testbed.server.ground, { account: account.account, region: REGION }, event)
    await testbed.server.work.settle()
    expect((await verify(testbed, account.account)).chains[0]).toMatchObject({ trimmed: 9, records: 1 })
    expect((await verify(testbed, account.account)).chains[0]).not.toHaveProperty('flaw')
    expect(await broken(testbed, account, 'update trail_chains set anchor_seq = 8 where MINE')).toBeDefined()
  })

  it('takes what services tell of themselves, if their transaction stands, and once', async () => {
    await using testbed = await startTestbed()
    await using _second = await testbed.another()
    const account = await testbed.account()
    const scope = { account: account.account, region: REGION }
    const { ground } = testbed.server
    const event = (n: number) => ({
      eventName: 'SessionEnded',
      eventSource: 'ssm.amazonaws.com',
      serviceEventDetails: { n },
      resources: [`arn:aws:ssm:${REGION}:${account.account}:session/s${n}`],
    })
    await ground.transaction((inner) => recordServiceEvent(inner, scope, event(1)))
    await ground
      .transaction(async (inner) => {
        await recordServiceEvent(inner, scope, event(2))
        throw new Error('rolled back')
      })
      .catch(() => {})
    await recordServiceEvent(ground, scope, event(3))
    await testbed.server.work.settle()
    const { Events = [] } = await new CloudTrail(account.config).lookupEvents({})
    expect(Events.map(({ Resources }) => Resources?.[0]?.ResourceName).sort()).toEqual(['s1', 's3'])
    expect(JSON.parse(Events[0]!.CloudTrailEvent!)).toMatchObject({
      eventType: 'AwsServiceEvent',
      userIdentity: { accountId: account.account, invokedBy: 'ssm.amazonaws.com' },
      serviceEventDetails: { n: 3 },
    })
  })
})
