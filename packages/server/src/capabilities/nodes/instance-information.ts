/** What is known of nodes: UpdateInstanceInformation, DescribeInstanceInformation, GetConnectionStatus. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { connectedNodes } from '../messaging/index.ts'
import { pingStatus } from './rules.ts'
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
  await store.updatePing(context.sql, context, ping, context.now())
  return {}
}

const DEFAULT_PAGE = 10
/** Rows read at a time while PingStatus, which is computed, thins them out. */
const READ_ROWS = 200

type NodeList = NonNullable<Output<'DescribeInstanceInformation'>['InstanceInformationList']>

/** In order of node id. Errors: InvalidFilterKey, InvalidInstanceInformationFilterValue, InvalidInstanceId, InvalidNextToken. */
export async function describeInstanceInformation(
  context: Context,
  input: Input<'DescribeInstanceInformation'>,
): Promise<Output<'DescribeInstanceInformation'>> {
  const limit = input.MaxResults ?? DEFAULT_PAGE
  const filters = await readFilters(context, input)
  let after = decodeToken<{ nodeId: string }>(context, 'DescribeInstanceInformation', input.NextToken)?.nodeId
  const found: NodeList = []
  for (;;) {
    const rows = await store.listNodes(context.sql, context, filters.stored, after, READ_ROWS)
    const connected = await connectedNodes(
      context,
      rows.map((row) => row.nodeId),
    )
    for (const row of rows) {
      const status = pingStatus(row.lastPingAt ?? undefined, connected.has(row.nodeId), context.now())
      if (filters.pingStatuses && !filters.pingStatuses.includes(status)) continue
      if (found.length === limit) return { InstanceInformationList: found, NextToken: token(context, found) }
      found.push(describe(row, status))
    }
    if (rows.length < READ_ROWS) return { InstanceInformationList: found }
    after = rows.at(-1)!.nodeId
  }
}

const token = (context: Context, found: NodeList) =>
  encodeToken(context, 'DescribeInstanceInformation', { nodeId: found.at(-1)!.InstanceId })

function describe(row: store.NodeRow, status: ReturnType<typeof pingStatus>): NodeList[number] {
  const isInstance = row.nodeId.startsWith('i-')
  return {
    InstanceId: row.nodeId,
    PingStatus: status,
    LastPingDateTime: row.lastPingAt ?? undefined,
    AgentVersion: row.agentVersion ?? undefined,
    PlatformType: (row.platformType as NodeList[number]['PlatformType']) ?? undefined,
    PlatformName: row.platformName ?? undefined,
    PlatformVersion: row.platformVersion ?? undefined,
    ActivationId: row.activationId ?? undefined,
    IamRole: row.iamRole,
    RegistrationDate: row.registrationDate,
    ResourceType: 'ManagedInstance',
    Name: row.name,
    IPAddress: row.ipAddress ?? undefined,
    ComputerName: row.computerName ?? undefined,
    SourceId: row.nodeId,
    SourceType: isInstance ? 'AWS::EC2::Instance' : 'AWS::SSM::ManagedInstance',
  }
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
  else if (name === 'InstanceIds' || name === 'SourceIds') filters.stored.push({ nodeIds: values })
  else if (name === 'AgentVersion') filters.stored.push({ agentVersions: values })
  else if (name === 'PlatformTypes') filters.stored.push({ platformTypes: values })
  else if (name === 'ActivationIds') filters.stored.push({ activationIds: values })
  else if (name === 'IamRole') filters.stored.push({ iamRoles: values })
  else if (name === 'ResourceType') {
    if (!values.includes('ManagedInstance')) filters.stored.push(NONE)
  } else if (name === 'SourceTypes') filters.stored.push({ sourceTypes: values })
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
