/** Nodes by each of their filters: a Linux node of production that has pinged, and a Windows node that is lost. */
import type { SSM } from '@aws-sdk/client-ssm'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { clientOf, information, type SimulatedNode, simulatedNode } from './simulated-node.ts'

let testbed: Awaited<ReturnType<typeof startTestbed>>
let account: TestAccount
let ssm: SSM
let [linux, windows]: SimulatedNode[] = []
let names: Map<string | undefined, string>

beforeAll(async () => {
  testbed = await startTestbed()
  account = await testbed.account()
  ssm = clientOf(testbed, account)
  linux = await simulatedNode(testbed, account, { tags: { Env: 'prod' } })
  windows = await simulatedNode(testbed, account, { tags: { Env: 'dev', Rack: '4' }, platform: 'Windows' })
  names = new Map([
    [linux.nodeId, 'linux'],
    [windows.nodeId, 'windows'],
  ])
  testbed.clock.advance(16 * 60_000) // of silence: a node is lost after 15
  await linux.call('AmazonSSM.UpdateInstanceInformation', information(linux.nodeId, 'Linux'))
})
afterAll(() => testbed?.[Symbol.asyncDispose]())

/** Where a value is only known once the nodes are there. */
const given = (value: string) => value.replace('<linux>', linux?.nodeId ?? '').replace('<account>', account.account)
const named = (ids: (string | undefined)[]) => ids.map((id) => names.get(id)).sort()
const BOTH = ['linux', 'windows']

describe('DescribeInstanceInformation', () => {
  const ask = async (input: object) =>
    named(((await ssm.describeInstanceInformation(input)).InstanceInformationList ?? []).map((one) => one.InstanceId))

  const LEGACY: [string, string[], string[]][] = [
    ['InstanceIds', ['<linux>'], ['linux']],
    ['AgentVersion', ['3.3.0.0'], BOTH],
    ['AgentVersion', ['1.0'], []],
    ['PingStatus', ['Online'], ['linux']],
    ['PingStatus', ['ConnectionLost'], ['windows']],
    ['PingStatus', ['Inactive'], []],
    ['PlatformTypes', ['Windows'], ['windows']],
    ['PlatformTypes', ['Linux', 'Windows'], BOTH],
    ['IamRole', ['node'], BOTH],
    ['IamRole', ['other'], []],
    ['ActivationIds', ['00000000-0000-4000-8000-000000000000'], []],
    ['ResourceType', ['ManagedInstance'], BOTH],
    ['ResourceType', ['EC2Instance'], []],
    ['AssociationStatus', ['Success'], []],
  ]
  const STRINGS: [string, string[], string[]][] = [
    ...LEGACY,
    ['PlatformType', ['Linux'], ['linux']],
    ['SourceIds', ['<linux>'], ['linux']],
    ['SourceTypes', ['AWS::SSM::ManagedInstance'], BOTH],
    ['SourceTypes', ['AWS::IoT::Thing'], []],
    ['tag-key', ['Rack'], ['windows']],
    ['tag:Env', ['prod'], ['linux']],
    ['tag:Env', ['prod', 'dev'], BOTH],
  ]
  it.each(STRINGS)('finds by the filter %s %j', async (Key, Values, expected) => {
    expect(await ask({ Filters: [{ Key, Values: Values.map(given) }] })).toEqual(expected)
  })
  it.each(LEGACY)('finds by the key %s %j of the older list', async (key, values, expected) => {
    expect(await ask({ InstanceInformationFilterList: [{ key, valueSet: values.map(given) }] })).toEqual(expected)
  })
  it('takes several filters together', async () => {
    const filter = (Key: string, Value: string) => ({ Key, Values: [Value] })
    expect(await ask({ Filters: [filter('PingStatus', 'Online'), filter('PlatformTypes', 'Windows')] })).toEqual([])
    expect(await ask({ Filters: [filter('tag:Env', 'dev'), filter('tag:Rack', '4')] })).toEqual(['windows'])
  })

  const string = (Key: string, Value: string) => ({ Key, Values: [Value] })
  const REFUSED: [string, object, string][] = [
    ['an unknown key', { Filters: [string('Colour', 'red')] }, 'InvalidFilterKey'],
    [
      'a tag beside another filter',
      { Filters: [string('tag:Env', 'prod'), string('PingStatus', 'Online')] },
      'InvalidFilterKey',
    ],
    ['what is no id', { Filters: [string('InstanceIds', 'web-1')] }, 'InvalidInstanceId'],
    ['a ping status that is none', { Filters: [string('PingStatus', 'Up')] }, 'InvalidInstanceInformationFilterValue'],
    ['a platform that is none', { Filters: [string('PlatformType', 'BeOS')] }, 'InvalidInstanceInformationFilterValue'],
    ['a wrong token', { NextToken: 'x' }, 'InvalidNextToken'],
    [
      'both lists at once',
      {
        Filters: [string('IamRole', 'node')],
        InstanceInformationFilterList: [{ key: 'IamRole', valueSet: ['node'] }],
      },
      'ValidationException',
    ],
  ]
  it.each(REFUSED)('refuses %s', async (_, input, name) => {
    expect((await refusal(ssm.describeInstanceInformation(input))).name).toBe(name)
  })
})

describe('DescribeInstanceProperties', () => {
  const ask = async (input: object) =>
    named(((await ssm.describeInstanceProperties(input)).InstanceProperties ?? []).map((one) => one.InstanceId))

  const OPERATORS: [string, string, string[], string[]][] = [
    ['InstanceIds', 'Equal', ['<linux>'], ['linux']],
    ['InstanceIds', 'NotEqual', ['<linux>'], ['windows']],
    ['AgentVersion', 'BeginWith', ['3.'], BOTH],
    ['AgentVersion', 'LessThan', ['3.10'], BOTH],
    ['AgentVersion', 'GreaterThan', ['3.10'], []],
    ['PingStatus', 'Equal', ['Online'], ['linux']],
    ['PingStatus', 'NotEqual', ['Online'], ['windows']],
    ['PlatformTypes', 'Equal', ['Windows'], ['windows']],
    ['ActivationIds', 'BeginWith', ['no'], []],
    ['IamRole', 'Equal', ['node'], BOTH],
    ['ResourceType', 'NotEqual', ['EC2Instance'], BOTH],
    ['DocumentName', 'Equal', ['AWS-RunPatchBaseline'], []],
    ['AssociationStatus', 'Equal', ['Pending'], []],
    ['tag:Env', 'Equal', ['prod'], ['linux']],
    ['tag-key', 'Equal', ['Rack'], ['windows']],
  ]
  it.each(OPERATORS)('finds by %s %s %j', async (Key, Operator, Values, expected) => {
    expect(await ask({ FiltersWithOperator: [{ Key, Operator, Values: Values.map(given) }] })).toEqual(expected)
    if (Operator !== 'Equal' || Key.startsWith('tag')) return
    expect(await ask({ InstancePropertyFilterList: [{ key: Key, valueSet: Values.map(given) }] })).toEqual(expected)
  })
  it('refuses unknown keys and values', async () => {
    const refused = async (Key: string) => {
      const FiltersWithOperator = [{ Key, Values: ['red'], Operator: 'Equal' as const }]
      return (await refusal(ssm.describeInstanceProperties({ FiltersWithOperator }))).name
    }
    expect(await refused('Colour')).toBe('InvalidFilterKey')
    expect(await refused('PingStatus')).toBe('InvalidInstancePropertyFilterValue')
  })
})

describe('ListNodes', () => {
  const ask = async (input: object) => named(((await ssm.listNodes(input)).Nodes ?? []).map((one) => one.Id))

  const FILTERS: [string, string, string[], string[]][] = [
    ['AgentType', 'Equal', ['amazon-ssm-agent'], BOTH],
    ['AgentVersion', 'BeginWith', ['3.3'], BOTH],
    ['ComputerName', 'Equal', ['simulated'], BOTH],
    ['InstanceId', 'Equal', ['<linux>'], ['linux']],
    ['InstanceId', 'NotEqual', ['<linux>'], ['windows']],
    ['InstanceStatus', 'Equal', ['Active'], BOTH],
    ['IpAddress', 'BeginWith', ['192.0.2.'], BOTH],
    ['ManagedStatus', 'Equal', ['Managed'], BOTH],
    ['ManagedStatus', 'Equal', ['Unmanaged'], []],
    ['PlatformName', 'BeginWith', ['Debian'], ['linux']],
    ['PlatformType', 'Equal', ['Windows'], ['windows']],
    ['PlatformVersion', 'NotEqual', ['12'], []],
    ['ResourceType', 'Equal', ['ManagedInstance'], BOTH],
    ['Region', 'Equal', ['us-east-1'], BOTH],
    ['AccountId', 'Equal', ['<account>'], BOTH],
    ['OrganizationalUnitId', 'Equal', ['ou-1'], []],
    ['OrganizationalUnitPath', 'Equal', ['o-1'], []],
  ]
  it.each(FILTERS)('finds by %s %s %j, and counts the same', async (Key, Type, Values, expected) => {
    const Filters = [{ Key, Type, Values: Values.map(given) }] as never
    expect(await ask({ Filters })).toEqual(expected)
    const Aggregators = [
      { AggregatorType: 'Count' as const, TypeName: 'Instance' as const, AttributeName: 'Region' as const },
    ]
    const { Summary } = await ssm.listNodesSummary({ Filters, Aggregators })
    expect(Summary).toEqual(expected.length > 0 ? [{ Region: 'us-east-1', Count: String(expected.length) }] : [])
  })
  it('comes in pages, one behind the other', async () => {
    const first = await ssm.listNodes({ MaxResults: 1 })
    const second = await ssm.listNodes({ MaxResults: 1, NextToken: first.NextToken })
    expect(named([...(first.Nodes ?? []), ...(second.Nodes ?? [])].map(({ Id }) => Id))).toEqual(BOTH)
    expect(second.NextToken).toBeUndefined()
  })
})
