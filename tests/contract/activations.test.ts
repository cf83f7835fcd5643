import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { clientOf, information, registerNode, simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const DAY_MS = 86_400_000
const inDays = (days: number) => new Date(testbed.clock.now().getTime() + days * DAY_MS)

async function given(input: object = {}) {
  const account = await testbed.account()
  const ssm = clientOf(testbed, account)
  const { ActivationId: id = '', ActivationCode: code = '' } = await ssm.createActivation({ IamRole: 'node', ...input })
  return { account, ssm, id, code, register: () => registerNode(testbed, { id, code }) }
}

describe('an activation', () => {
  it('is described with what it was made with, and expires after a day', async () => {
    const Tags = [{ Key: 'Env', Value: 'prod' }]
    const { ssm, id, code, register } = await given({ Description: 'rack 4', DefaultInstanceName: 'web', Tags })
    expect(code.length).toBeGreaterThanOrEqual(20)
    const [shown] = (await ssm.describeActivations({})).ActivationList ?? []
    expect(shown).toMatchObject({
      ActivationId: id,
      Description: 'rack 4',
      DefaultInstanceName: 'web',
      IamRole: 'node',
      RegistrationLimit: 1,
      RegistrationsCount: 0,
      Expired: false,
      Tags,
    })
    expect(shown!.ExpirationDate!.getTime() - shown!.CreatedDate!.getTime()).toBe(DAY_MS)
    testbed.clock.advance(DAY_MS)
    expect((await ssm.describeActivations({})).ActivationList?.[0]?.Expired).toBe(true)
    await expect(register()).rejects.toThrow('ActivationExpired')
  })

  it('may live for 30 days and no longer, unless the installation says otherwise', async () => {
    await given({ ExpirationDate: inDays(29.9) })
    const { ssm } = await given()
    const late = { IamRole: 'node', ExpirationDate: inDays(31) }
    const refused = await refusal(ssm.createActivation(late))
    expect([refused.name, refused.message]).toEqual([
      'ValidationException',
      expect.stringContaining('--max-activation-days'),
    ])
    const past = { IamRole: 'node', ExpirationDate: inDays(-1) }
    expect((await refusal(ssm.createActivation(past))).name).toBe('ValidationException')
    await using free = await startTestbed({ options: { settings: { maxActivationDays: 0 } } })
    const endless = { IamRole: 'node', ExpirationDate: new Date('2999-01-01T00:00:00Z') }
    const made = await clientOf(free, await free.account()).createActivation(endless)
    expect(made.ActivationId).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('registers as many nodes as it says', async () => {
    const { ssm, register } = await given({ RegistrationLimit: 2 })
    const outcomes = await Promise.allSettled([register(), register(), register()])
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
    const [refused] = outcomes.filter((each): each is PromiseRejectedResult => each.status === 'rejected')
    expect(String(refused?.reason)).toContain('RegistrationLimitExceeded')
    expect((await ssm.describeActivations({})).ActivationList?.[0]?.RegistrationsCount).toBe(2)
  })

  it('is good for nothing without its code, or once it is deleted; its nodes stay', async () => {
    const { ssm, id, code, register } = await given({ RegistrationLimit: 2 })
    const { nodeId } = await register()
    await expect(registerNode(testbed, { id, code: code.replace(/.$/, '!') })).rejects.toThrow('InvalidActivation')
    await ssm.deleteActivation({ ActivationId: id })
    await expect(register()).rejects.toThrow('InvalidActivation')
    expect((await refusal(ssm.deleteActivation({ ActivationId: id }))).name).toBe('InvalidActivation')
    const { InstanceInformationList } = await ssm.describeInstanceInformation({})
    expect(InstanceInformationList?.map(({ InstanceId }) => InstanceId)).toEqual([nodeId])
  })

  it('is found by its id, its name and its role, page by page', async () => {
    const { ssm, id } = await given({ DefaultInstanceName: 'web' })
    await ssm.createActivation({ IamRole: 'other', DefaultInstanceName: 'db' })
    await ssm.createActivation({ IamRole: 'other' })
    const count = async (FilterKey: 'ActivationIds' | 'DefaultInstanceName' | 'IamRole', value: string) =>
      (await ssm.describeActivations({ Filters: [{ FilterKey, FilterValues: [value] }] })).ActivationList?.length
    expect(await count('ActivationIds', id)).toBe(1)
    expect(await count('DefaultInstanceName', 'db')).toBe(1)
    expect(await count('IamRole', 'other')).toBe(2)
    const first = await ssm.describeActivations({ MaxResults: 2 })
    const rest = await ssm.describeActivations({ MaxResults: 2, NextToken: first.NextToken })
    expect([first.ActivationList?.length, rest.ActivationList?.length, rest.NextToken]).toEqual([2, 1, undefined])
  })

  it('is refused with tags that no node could have, rather than the machines that use it', async () => {
    const { ssm } = await given()
    const tag = (Key: string) => ({ Key, Value: 'v' })
    const many = Array.from({ length: 51 }, (_, index) => tag(`k${index}`))
    for (const Tags of [[tag('aws:x')], [tag('Env'), tag('Env')], many])
      expect((await refusal(ssm.createActivation({ IamRole: 'node', Tags }))).name).toBe('ValidationException')
  })

  it('lets a machine keep the id that it is known by, once', async () => {
    const Tags = [
      { Key: 'musterbook:node-id', Value: 'i-1234567890abcdef0' },
      { Key: 'Env', Value: 'prod' },
    ]
    const { ssm, register } = await given({ Tags })
    const node = await register()
    expect(node.nodeId).toBe('i-1234567890abcdef0')
    const tags = await ssm.listTagsForResource({ ResourceType: 'ManagedInstance', ResourceId: node.nodeId })
    expect(tags.TagList).toEqual([{ Key: 'Env', Value: 'prod' }])
    const again = await ssm.createActivation({ IamRole: 'node', Tags })
    const second = registerNode(testbed, { id: again.ActivationId!, code: again.ActivationCode! })
    await expect(second).rejects.toThrow('DuplicateInstanceId')
    const wrong = { IamRole: 'node', Tags: [{ Key: 'musterbook:node-id', Value: 'server-4' }] }
    expect((await refusal(ssm.createActivation(wrong))).name).toBe('ValidationException')
    const many = { IamRole: 'node', RegistrationLimit: 2, Tags }
    expect((await refusal(ssm.createActivation(many))).name).toBe('ValidationException')
  })
})

describe('a machine', () => {
  it('that is a copy of a node is refused by its fingerprint, and the node is not', async () => {
    const { register } = await given()
    const node = await register()
    await node.renew()
    await expect(node.renew(crypto.randomUUID())).rejects.toThrow('MachineFingerprintDoesNotMatch')
    await node.renew()
  })

  it('that is deregistered loses its channel and its credentials at once', async () => {
    const { account, ssm, register } = await given()
    const node = await register()
    await node.renew()
    await node.call('AmazonSSM.UpdateInstanceInformation', information(node.nodeId, 'Linux'))
    await node.connect()
    expect((await ssm.getConnectionStatus({ Target: node.nodeId })).Status).toBe('connected')
    await ssm.deregisterManagedInstance({ InstanceId: node.nodeId })
    await eventually('the channel is closed', () => !node.connected())
    expect((await ssm.getConnectionStatus({ Target: node.nodeId })).Status).toBe('notconnected')
    const ping = node.call('AmazonSSM.UpdateInstanceInformation', information(node.nodeId, 'Linux'))
    await expect(ping).rejects.toThrow('UnrecognizedClientException')
    await expect(node.renew()).rejects.toThrow('AccessDeniedException')
    expect((await ssm.describeInstanceInformation({})).InstanceInformationList).toEqual([])
    expect((await refusal(ssm.deregisterManagedInstance({ InstanceId: node.nodeId }))).name).toBe('InvalidInstanceId')
    expect(account.account).toHaveLength(12)
  })
})

describe('nodes', () => {
  async function three() {
    const account: TestAccount = await testbed.account()
    const ssm = clientOf(testbed, account)
    const web = await simulatedNode(testbed, account, { tags: { Role: 'web' } })
    const db = await simulatedNode(testbed, account, { tags: { Role: 'db', Backup: '' } })
    const windows = await simulatedNode(testbed, account, { platform: 'Windows' })
    return { ssm, web, db, windows }
  }

  it('are found by everything that is known of them', async () => {
    const { ssm, web, db, windows } = await three()
    const found = async (Key: string, ...Values: string[]) =>
      (await ssm.describeInstanceInformation({ Filters: [{ Key, Values }] })).InstanceInformationList?.map(
        ({ InstanceId }) => InstanceId,
      )
    const all = [web.nodeId, db.nodeId, windows.nodeId].sort()
    expect(await found('InstanceIds', web.nodeId)).toEqual([web.nodeId])
    expect(await found('SourceIds', 'mi-0123456789abcdef0')).toEqual([])
    expect(await found('InstanceIds', 'i-0123456789abcdef0')).toEqual([]) // it may register yet
    expect(await found('PlatformTypes', 'Windows')).toEqual([windows.nodeId])
    expect(await found('AgentVersion', '3.3.0.0')).toEqual(all)
    expect(await found('IamRole', 'node')).toEqual(all)
    expect(await found('ResourceType', 'ManagedInstance')).toEqual(all)
    expect(await found('ResourceType', 'EC2Instance')).toEqual([])
    expect(await found('SourceTypes', 'AWS::SSM::ManagedInstance')).toEqual(all)
    expect(await found('PingStatus', 'Online')).toEqual(all)
    expect(await found('AssociationStatus', 'Success')).toEqual([])
    expect(await found('tag:Role', 'web')).toEqual([web.nodeId])
    expect(await found('tag-key', 'Role')).toEqual([web.nodeId, db.nodeId].sort())
    const refused = async (Key: string, value: string) =>
      (await refusal(ssm.describeInstanceInformation({ Filters: [{ Key, Values: [value] }] }))).name
    expect(await refused('Colour', 'red')).toBe('InvalidFilterKey')
    expect(await refused('PingStatus', 'Away')).toBe('InvalidInstanceInformationFilterValue')
    expect(await refused('InstanceIds', 'nonsense')).toBe('InvalidInstanceId')
    expect(await refused('InstanceIds', 'mi-0123456789abcdef0')).toBe('InvalidInstanceId')
    const legacy = { InstanceInformationFilterList: [{ key: 'PlatformTypes' as const, valueSet: ['Linux'] }] }
    expect((await ssm.describeInstanceInformation(legacy)).InstanceInformationList).toHaveLength(2)
  })

  it('are ConnectionLost when they have no channel and were not heard of for a while', async () => {
    const { ssm, web, db, windows } = await three()
    testbed.clock.advance(16 * 60_000)
    const lost = { Filters: [{ Key: 'PingStatus', Values: ['ConnectionLost'] }] }
    const ids = async () =>
      (await ssm.describeInstanceInformation(lost)).InstanceInformationList?.map(({ InstanceId }) => InstanceId)
    expect(await ids()).toEqual([web.nodeId, db.nodeId, windows.nodeId].sort())
    await web.connect()
    await db.call('AmazonSSM.UpdateInstanceInformation', information(db.nodeId, 'Linux'))
    expect(await ids()).toEqual([windows.nodeId])
  })

  it('are described page by page with any comparison', async () => {
    const { ssm, web, db, windows } = await three()
    const found = async (
      Key: string,
      Operator: 'NotEqual' | 'BeginWith' | 'LessThan' | 'GreaterThan',
      ...Values: string[]
    ) =>
      (await ssm.describeInstanceProperties({ FiltersWithOperator: [{ Key, Values, Operator }] })).InstanceProperties
        ?.length
    expect(await found('PlatformTypes', 'NotEqual', 'Windows')).toBe(2)
    expect(await found('AgentVersion', 'BeginWith', '3.3')).toBe(3)
    expect(await found('AgentVersion', 'GreaterThan', '3.10')).toBe(0)
    expect(await found('AgentVersion', 'LessThan', '3.10')).toBe(3)
    expect((await ssm.describeInstanceProperties({})).InstanceProperties?.[0]).toMatchObject({
      ComputerName: 'simulated',
      PingStatus: 'Online',
      ResourceType: 'ManagedInstance',
    })
    const all = [web.nodeId, db.nodeId, windows.nodeId].sort()
    const first = await ssm.listNodes({ MaxResults: 2 })
    const rest = await ssm.listNodes({ MaxResults: 2, NextToken: first.NextToken })
    expect([...(first.Nodes ?? []), ...(rest.Nodes ?? [])].map(({ Id }) => Id)).toEqual(all)
    const linux = await ssm.listNodes({ Filters: [{ Key: 'PlatformType', Values: ['Linux'], Type: 'Equal' }] })
    expect(linux.Nodes).toHaveLength(2)
    expect(linux.Nodes?.[0]?.NodeType).toMatchObject({ Instance: { ManagedStatus: 'Managed', PlatformType: 'Linux' } })
    const unmanaged = await ssm.listNodes({ Filters: [{ Key: 'ManagedStatus', Values: ['Unmanaged'] }] })
    expect(unmanaged.Nodes).toEqual([])
  })

  it('are counted by their attributes', async () => {
    const { ssm } = await three()
    const by = (AttributeName: 'PlatformType' | 'PlatformName') => ({
      AggregatorType: 'Count' as const,
      TypeName: 'Instance' as const,
      AttributeName,
    })
    const { Summary } = await ssm.listNodesSummary({ Aggregators: [by('PlatformType')] })
    expect(Summary).toEqual([
      { PlatformType: 'Linux', Count: '2' },
      { PlatformType: 'Windows', Count: '1' },
    ])
    const nested = { ...by('PlatformType'), Aggregators: [by('PlatformName')] }
    expect((await ssm.listNodesSummary({ Aggregators: [nested] })).Summary?.[0]).toEqual({
      PlatformType: 'Linux',
      PlatformName: 'Debian GNU/Linux',
      Count: '2',
    })
    const elsewhere = { Aggregators: [by('PlatformType')], SyncName: 'other' }
    expect((await refusal(ssm.listNodesSummary(elsewhere))).name).toBe('ResourceDataSyncNotFoundException')
  })

  it('take another role', async () => {
    const { ssm, web } = await three()
    await ssm.updateManagedInstanceRole({ InstanceId: web.nodeId, IamRole: 'stronger' })
    const { InstanceInformationList } = await ssm.describeInstanceInformation({
      Filters: [{ Key: 'IamRole', Values: ['stronger'] }],
    })
    expect(InstanceInformationList?.map(({ InstanceId }) => InstanceId)).toEqual([web.nodeId])
    const unknown = { InstanceId: 'mi-0123456789abcdef0', IamRole: 'stronger' }
    expect((await refusal(ssm.updateManagedInstanceRole(unknown))).name).toBe('InvalidInstanceId')
  })
})
