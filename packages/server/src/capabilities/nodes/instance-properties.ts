/** DescribeInstanceProperties, ListNodes, ListNodesSummary: nodes by any of their attributes. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { describeNode, describeProperty, resourceType } from './describe.ts'
import { allNodes, type KnownNode, pageOfNodes } from './scan.ts'
import { tagFilter, taggedNodes } from './tagged.ts'

type Match = (node: KnownNode) => boolean
type Comparison = (value: string, wanted: string) => boolean

const COMPARISONS: Record<string, Comparison> = {
  Equal: (value, wanted) => value === wanted,
  NotEqual: (value, wanted) => value !== wanted,
  BeginWith: (value, wanted) => value.startsWith(wanted),
  LessThan: (value, wanted) => compareVersions(value, wanted) < 0,
  GreaterThan: (value, wanted) => compareVersions(value, wanted) > 0,
}

/** Numbers inside a text count as numbers: 3.10 comes after 3.9. */
const compareVersions = (one: string, other: string): number => one.localeCompare(other, 'en', { numeric: true })

/** What a node's attribute says; undefined for a key that does not exist. */
const PROPERTIES: Record<string, (node: KnownNode) => string> = {
  InstanceIds: (node) => node.nodeId,
  SourceIds: (node) => node.nodeId,
  AgentVersion: (node) => node.agentVersion ?? '',
  PingStatus: (node) => node.pingStatus,
  PlatformTypes: (node) => node.platformType ?? '',
  PlatformType: (node) => node.platformType ?? '',
  ActivationIds: (node) => node.activationId ?? '',
  IamRole: (node) => node.iamRole,
  ResourceType: resourceType,
  // No node has an association yet, or a document that one applied.
  AssociationStatus: () => '',
  DocumentName: () => '',
}

const DEFAULT_PROPERTIES = 50

/** In order of node id. Errors: InvalidFilterKey, InvalidInstancePropertyFilterValue, InvalidNextToken. */
export async function describeInstanceProperties(
  context: Context,
  input: Input<'DescribeInstanceProperties'>,
): Promise<Output<'DescribeInstanceProperties'>> {
  const matches: Match[] = []
  for (const { key, valueSet } of input.InstancePropertyFilterList ?? [])
    matches.push(await propertyMatch(context, key, valueSet, 'Equal'))
  for (const { Key, Values, Operator } of input.FiltersWithOperator ?? [])
    matches.push(await propertyMatch(context, Key, Values, Operator ?? 'Equal'))
  const page = { NextToken: input.NextToken, limit: input.MaxResults ?? DEFAULT_PROPERTIES }
  const { nodes, NextToken } = await pageOfNodes(context, 'DescribeInstanceProperties', page, [], every(matches))
  return { InstanceProperties: nodes.map(describeProperty), NextToken }
}

const VALUES: Record<string, readonly string[]> = {
  PingStatus: ['Online', 'ConnectionLost', 'Inactive'],
  PlatformTypes: ['Windows', 'Linux', 'MacOS'],
  ResourceType: ['EC2Instance', 'ManagedInstance'],
  AssociationStatus: ['Success', 'Pending', 'Failed'],
}

async function propertyMatch(context: Context, key: string, values: string[], operator: string): Promise<Match> {
  if (key.startsWith('tag:')) return among(await taggedNodes(context, tagFilter(key, values)))
  if (key === 'tag-key') return among(await taggedNodes(context, ...values.map((value) => ({ key: value }))))
  const property = Object.hasOwn(PROPERTIES, key) ? PROPERTIES[key] : undefined
  if (!property) throw new AwsError('InvalidFilterKey')
  const wrong = operator === 'Equal' && values.find((value) => VALUES[key] && !VALUES[key].includes(value))
  if (wrong)
    throw new AwsError(
      'InvalidInstancePropertyFilterValue',
      `The filter value ${wrong} is not valid for the key ${key}.`,
    )
  return compare(property, values, operator)
}

function among(nodeIds: string[]): Match {
  const set = new Set(nodeIds)
  return (node) => set.has(node.nodeId)
}

/** Any of the values, or with NotEqual none of them. */
function compare(property: (node: KnownNode) => string, values: string[], operator: string): Match {
  const comparison = COMPARISONS[operator] ?? COMPARISONS.Equal!
  return operator === 'NotEqual'
    ? (node) => values.every((value) => comparison(property(node), value))
    : (node) => values.some((value) => comparison(property(node), value))
}

const every =
  (matches: Match[]): Match =>
  (node) =>
    matches.every((match) => match(node))

const ATTRIBUTES: Record<string, (node: KnownNode) => string> = {
  AgentType: (node) => node.agentName ?? '',
  AgentVersion: (node) => node.agentVersion ?? '',
  ComputerName: (node) => node.computerName ?? '',
  InstanceId: (node) => node.nodeId,
  InstanceStatus: (node) => node.agentStatus ?? '',
  IpAddress: (node) => node.ipAddress ?? '',
  PlatformName: (node) => node.platformName ?? '',
  PlatformType: (node) => node.platformType ?? '',
  PlatformVersion: (node) => node.platformVersion ?? '',
  ResourceType: resourceType,
  Region: (node) => node.region,
  AccountId: (node) => node.account,
  // There are no organizations here.
  OrganizationalUnitId: () => '',
  OrganizationalUnitPath: () => '',
}

type NodeFilters = Input<'ListNodes'>['Filters']

function nodeMatch(filters: NodeFilters): Match {
  const matches = (filters ?? []).map(({ Key, Values, Type }): Match => {
    if (Key === 'ManagedStatus') return () => compareManaged(Values, Type)
    const attribute = Object.hasOwn(ATTRIBUTES, Key) ? ATTRIBUTES[Key] : undefined
    if (!attribute) throw new AwsError('InvalidFilter', `The filter key ${Key} is not valid.`)
    return compare(attribute, Values, Type ?? 'Equal')
  })
  return every(matches)
}

/** Every node here is managed. */
function compareManaged(values: string[], type = 'Equal'): boolean {
  const wrong = values.find((value) => !['All', 'Managed', 'Unmanaged'].includes(value))
  if (wrong !== undefined) throw new AwsError('InvalidFilter', `The filter value ${wrong} is not valid.`)
  const named = values.some((value) => value === 'All' || value === 'Managed')
  return type === 'NotEqual' ? !named : named
}

function refuseSync(syncName: string | undefined): void {
  if (syncName !== undefined)
    throw new AwsError('ResourceDataSyncNotFoundException', `The resource data sync ${syncName} does not exist.`)
}

const DEFAULT_NODES = 50

/** In order of node id. Errors: InvalidFilter, InvalidNextToken, ResourceDataSyncNotFoundException. */
export async function listNodes(context: Context, input: Input<'ListNodes'>): Promise<Output<'ListNodes'>> {
  refuseSync(input.SyncName)
  const page = { NextToken: input.NextToken, limit: input.MaxResults ?? DEFAULT_NODES }
  const { nodes, NextToken } = await pageOfNodes(context, 'ListNodes', page, [], nodeMatch(input.Filters))
  return { Nodes: nodes.map(describeNode), NextToken }
}

type Aggregators = Input<'ListNodesSummary'>['Aggregators']

/** Counts per value of up to two attributes, in order of the values. Errors: InvalidAggregatorException, InvalidFilter. */
export async function listNodesSummary(
  context: Context,
  input: Input<'ListNodesSummary'>,
): Promise<Output<'ListNodesSummary'>> {
  refuseSync(input.SyncName)
  const names = attributesOf(input.Aggregators)
  const matches = nodeMatch(input.Filters)
  const counts = new Map<string, number>()
  for await (const node of allNodes(context, [])) {
    if (!matches(node)) continue
    const values = JSON.stringify(names.map((name) => ATTRIBUTES[name]!(node)))
    counts.set(values, (counts.get(values) ?? 0) + 1)
  }
  const limit = input.MaxResults ?? DEFAULT_NODES
  const after = decodeToken<string>(context, 'ListNodesSummary', input.NextToken)
  const rest = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).filter(([key]) => after === undefined || key > after)
  const page = rest.slice(0, limit)
  return {
    Summary: page.map(([key, count]) => {
      const values = JSON.parse(key) as string[]
      return { ...Object.fromEntries(names.map((name, at) => [name, values[at] ?? ''])), Count: String(count) }
    }),
    NextToken: rest.length > limit ? encodeToken(context, 'ListNodesSummary', page.at(-1)![0]) : undefined,
  }
}

/** Attributes of all levels; an aggregation inside another counts their combinations. */
function attributesOf(aggregators: Aggregators | undefined): string[] {
  const names: string[] = []
  for (const { AttributeName, Aggregators } of aggregators ?? []) {
    if (!Object.hasOwn(ATTRIBUTES, AttributeName))
      throw new AwsError('InvalidAggregatorException', `Nodes cannot be counted by ${AttributeName}.`)
    names.push(AttributeName, ...attributesOf(Aggregators as Aggregators | undefined))
  }
  return [...new Set(names)]
}
