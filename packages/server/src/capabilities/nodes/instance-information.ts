/** What is known of nodes: UpdateInstanceInformation, DescribeInstanceInformation, GetConnectionStatus. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { connectedNodes } from '../messaging/index.ts'
import { describeInformation } from './describe.ts'
import { isInstanceId } from './rules.ts'
import { pageOfNodes } from './scan.ts'
import * as store from './store.ts'
import { tagFilter, taggedNodes } from './tagged.ts'

export async function updateInstanceInformation(
  context: Context,
  input: Input<'UpdateInstanceInformation'>,
): Promise<Output<'UpdateInstanceInformation'>> {
  const ping: store.Ping = {
    nodeId: input.InstanceId,
    agentName: input.AgentName,
    agentStatus: input.AgentStatus,
    agentVersion: input.AgentVersion,
    platformType: input.PlatformType,
    platformName: input.PlatformName,
    platformVersion: input.PlatformVersion,
    computerName: input.ComputerName,
    ipAddress: input.IPAddress,
  }
  if (!(await store.updatePing(context.sql, context, ping, context.now())))
    throw new AwsError('InvalidInstanceId', `The node ${input.InstanceId} is not registered.`)
  return {}
}

const DEFAULT_PAGE = 10

/** In order of node id. Errors: InvalidFilterKey, InvalidInstanceInformationFilterValue, InvalidInstanceId, InvalidNextToken. */
export async function describeInstanceInformation(
  context: Context,
  input: Input<'DescribeInstanceInformation'>,
): Promise<Output<'DescribeInstanceInformation'>> {
  const { stored, pingStatuses } = await readFilters(context, input)
  const page = { NextToken: input.NextToken, limit: input.MaxResults ?? DEFAULT_PAGE }
  const { nodes, NextToken } = await pageOfNodes(
    context,
    'DescribeInstanceInformation',
    page,
    stored,
    (node) => pingStatuses?.includes(node.pingStatus) ?? true,
  )
  return { InstanceInformationList: nodes.map(describeInformation), NextToken }
}

interface Filters {
  stored: store.NodeFilter[]
  pingStatuses?: string[]
}

const ALLOWED: Record<string, readonly string[]> = {
  PingStatus: ['Online', 'ConnectionLost', 'Inactive'],
  PlatformTypes: ['Windows', 'Linux', 'MacOS'],
  ResourceType: ['EC2Instance', 'ManagedInstance'],
  SourceTypes: ['AWS::EC2::Instance', 'AWS::SSM::ManagedInstance', 'AWS::IoT::Thing'],
  AssociationStatus: ['Success', 'Pending', 'Failed'],
}
const SOURCE_OF: Record<string, string> = {
  EC2Instance: 'AWS::EC2::Instance',
  ManagedInstance: 'AWS::SSM::ManagedInstance',
}
const NONE: store.NodeFilter = { nodeIds: [] }

async function readFilters(context: Context, input: Input<'DescribeInstanceInformation'>): Promise<Filters> {
  const legacy = (input.InstanceInformationFilterList ?? []).map(({ key, valueSet }) => ({
    Key: key as string,
    Values: valueSet,
  }))
  const given = input.Filters ?? []
  if (legacy.length > 0 && given.length > 0)
    throw new AwsError(
      'ValidationException',
      'You can use either Filters or InstanceInformationFilterList in a single request.',
    )
  const tags = given.filter(({ Key }) => Key.startsWith('tag'))
  if (tags.length > 0 && tags.length < given.length)
    throw new AwsError('InvalidFilterKey', 'Filters by tag cannot be combined with other filters.')
  const filters: Filters = { stored: [] }
  for (const { Key, Values } of [...legacy, ...given]) await addFilter(context, filters, Key, Values)
  return filters
}

async function addFilter(context: Context, filters: Filters, key: string, values: string[]): Promise<void> {
  const name = key === 'PlatformType' ? 'PlatformTypes' : key
  for (const value of values) {
    if (ALLOWED[name] && !ALLOWED[name].includes(value))
      throw new AwsError(
        'InvalidInstanceInformationFilterValue',
        `The filter value ${value} is not valid for the key ${key}.`,
      )
  }
  if (name === 'PingStatus') filters.pingStatuses = values
  else if (name === 'InstanceIds') {
    const known = new Set((await store.readPlatforms(context.sql, context, values)).map(({ nodeId }) => nodeId))
    // Scripts wait for an instance that has not registered yet by asking for its id until the list is not empty.
    const wrong = values.find((value) => !known.has(value) && !isInstanceId(value))
    if (wrong !== undefined)
      throw new AwsError('InvalidInstanceId', `The instance ID ${wrong} is not valid: no managed node has it.`)
    filters.stored.push({ nodeIds: values })
  } else if (name === 'SourceIds') filters.stored.push({ nodeIds: values })
  else if (name === 'AgentVersion') filters.stored.push({ agentVersions: values })
  else if (name === 'PlatformTypes') filters.stored.push({ platformTypes: values })
  else if (name === 'ActivationIds') filters.stored.push({ activationIds: values })
  else if (name === 'IamRole') filters.stored.push({ iamRoles: values })
  else if (name === 'ResourceType')
    filters.stored.push({ sourceTypes: values.map((value) => SOURCE_OF[value] ?? value) })
  else if (name === 'SourceTypes') filters.stored.push({ sourceTypes: values })
  else if (name === 'AssociationStatus')
    filters.stored.push(NONE) // no node has an association yet
  else if (name === 'tag-key')
    filters.stored.push({ nodeIds: await taggedNodes(context, ...values.map((value) => ({ key: value }))) })
  else if (name.startsWith('tag:'))
    filters.stored.push({ nodeIds: await taggedNodes(context, tagFilter(name, values)) })
  else throw new AwsError('InvalidFilterKey')
}

/** `connected` while a control channel of the node is open at some process. */
export async function getConnectionStatus(
  context: Context,
  input: Input<'GetConnectionStatus'>,
): Promise<Output<'GetConnectionStatus'>> {
  const connected = await connectedNodes(context, [input.Target])
  return { Target: input.Target, Status: connected.has(input.Target) ? 'connected' : 'notconnected' }
}
