import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

/** Far fewer than AWS's 10,000 and 100,000, which are settings. */
const settings = { maxStandardParameters: 5, maxAdvancedParameters: 3 }
const testbed = await startTestbed({ options: { settings } })
afterAll(() => testbed[Symbol.asyncDispose]())
const newClient = async () => new SSM((await testbed.account()).config)

type Tier = 'Standard' | 'Advanced' | 'Intelligent-Tiering'
const put = (ssm: SSM, Name: string, Tier: Tier, Overwrite = false) =>
  ssm.putParameter({ Name, Value: 'v', Type: 'String', Tier, Overwrite })

describe('the number of parameters', () => {
  it('is limited in each tier, and deleting makes room', async () => {
    const ssm = await newClient()
    for (let index = 0; index < 5; index++) await put(ssm, `s${index}`, 'Standard')
    expect(await refusal(put(ssm, 's5', 'Standard'))).toMatchObject({ name: 'ParameterLimitExceeded' })
    expect(await refusal(put(ssm, 's0', 'Standard'))).toMatchObject({ name: 'ParameterAlreadyExists' })
    expect((await put(ssm, 's0', 'Standard', true)).Version).toBe(2)
    await ssm.deleteParameter({ Name: 's4' })
    await put(ssm, 's5', 'Standard')
    for (let index = 0; index < 3; index++) await put(ssm, `a${index}`, 'Advanced')
    expect(await refusal(put(ssm, 'a3', 'Advanced'))).toMatchObject({ name: 'ParameterLimitExceeded' })
    expect(await refusal(put(ssm, 's0', 'Advanced', true))).toMatchObject({ name: 'ParameterLimitExceeded' })
  })

  it('holds when many create at once, through two server processes', async () => {
    const account = await testbed.account()
    await using second = await testbed.another()
    const clients = [new SSM(account.config), new SSM({ ...account.config, endpoint: second.endpoint })]
    const outcomes = await Promise.allSettled(
      Array.from({ length: 30 }, (_, index) => put(clients[index % 2]!, `p${index}`, 'Standard')),
    )
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(5)
    expect((await clients[0]!.describeParameters({})).Parameters).toHaveLength(5)
  })

  it('holds when many are moved into the advanced tier at once', async () => {
    const ssm = await newClient()
    for (let index = 0; index < 5; index++) await put(ssm, `p${index}`, 'Standard')
    const names = [0, 1, 2, 3, 4].flatMap((index) => [`p${index}`, `p${index}`])
    const moved = await Promise.allSettled(names.map((name) => put(ssm, name, 'Advanced', true)))
    expect(moved.filter(({ status }) => status === 'fulfilled')).toHaveLength(6)
    for (const each of moved)
      if (each.status === 'rejected') expect(each.reason).toMatchObject({ name: 'ParameterLimitExceeded' })
    const ParameterFilters = [{ Key: 'Tier', Values: ['Advanced'] }]
    expect((await ssm.describeParameters({ ParameterFilters })).Parameters).toHaveLength(3)
  })

  it('makes intelligent tiering choose the advanced tier once the standard one is full', async () => {
    const ssm = await newClient()
    const tiers: (string | undefined)[] = []
    for (let index = 0; index < 8; index++) tiers.push((await put(ssm, `p${index}`, 'Intelligent-Tiering')).Tier)
    expect(tiers).toEqual([...Array(5).fill('Standard'), ...Array(3).fill('Advanced')])
    expect(await refusal(put(ssm, 'p8', 'Intelligent-Tiering'))).toMatchObject({ name: 'ParameterLimitExceeded' })
  })
})

describe('two server processes', () => {
  it('show each other every write at once, secrets included', async () => {
    const account = await testbed.account()
    await using second = await testbed.another()
    const [here, there] = [new SSM(account.config), new SSM({ ...account.config, endpoint: second.endpoint })]
    for (let round = 1; round <= 10; round++) {
      const [writer, reader] = round % 2 ? [here, there] : [there, here]
      await writer.putParameter({ Name: 'shared', Value: `v${round}`, Type: 'SecureString', Overwrite: true })
      const { Parameter } = await reader.getParameter({ Name: 'shared', WithDecryption: true })
      expect(Parameter).toMatchObject({ Value: `v${round}`, Version: round })
    }
  })
})
