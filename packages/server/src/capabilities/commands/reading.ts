/** ListCommands, ListCommandInvocations, GetCommandInvocation: what was written, in AWS's words. */
import { combinedOutput, cut, MAX_COMBINED_BYTES, MAX_STDERR_BYTES, MAX_STDOUT_BYTES } from '@musterbook/document'
import type { Input, Output } from '../../contract/types.ts'
import { addressOf } from '../../platform/buckets.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { nodeNames } from '../nodes/index.ts'
import { placeOf } from './output-places.ts'
import { elapsed, isCommandId } from './rules.ts'
import * as store from './store.ts'

type Command = NonNullable<Output<'SendCommand'>['Command']>
type Invocation = NonNullable<Output<'ListCommandInvocations'>['CommandInvocations']>[number]
type Plugin = NonNullable<Invocation['CommandPlugins']>[number]

export function describeCommand({ region }: Pick<Context, 'region'>, row: store.CommandRow): Command {
  const { output } = row
  return {
    CommandId: row.commandId,
    DocumentName: row.documentName,
    DocumentVersion: row.documentVersion,
    Comment: row.comment,
    ExpiresAfter: row.expiresAt,
    Parameters: row.parameters,
    InstanceIds: row.instanceIds,
    Targets: row.targets,
    RequestedDateTime: row.requestedAt,
    Status: row.status as Command['Status'],
    StatusDetails: row.statusDetails,
    OutputS3Region: output.OutputS3Region ?? region,
    OutputS3BucketName: output.OutputS3BucketName ?? '',
    OutputS3KeyPrefix: output.OutputS3KeyPrefix ?? '',
    MaxConcurrency: row.maxConcurrency,
    MaxErrors: row.maxErrors,
    TargetCount: row.targetCount,
    CompletedCount: row.completedCount,
    ErrorCount: row.errorCount,
    DeliveryTimedOutCount: row.deliveryTimedOutCount,
    ServiceRole: output.ServiceRole ?? '',
    NotificationConfig: notificationConfig(output) as Command['NotificationConfig'],
    CloudWatchOutputConfig: cloudWatchConfig(output),
    TimeoutSeconds: row.timeoutSeconds,
    AlarmConfiguration: output.AlarmConfiguration ?? { IgnorePollAlarmFailure: false, Alarms: [] },
    TriggeredAlarms: [],
  }
}

const notificationConfig = ({ NotificationConfig: config }: store.OutputOptions) => ({
  NotificationArn: config?.NotificationArn ?? '',
  NotificationEvents: config?.NotificationEvents ?? [],
  NotificationType: config?.NotificationType ?? '',
})

const cloudWatchConfig = ({ CloudWatchOutputConfig: config }: store.OutputOptions) => ({
  CloudWatchLogGroupName: config?.CloudWatchLogGroupName ?? '',
  CloudWatchOutputEnabled: config?.CloudWatchOutputEnabled ?? false,
})

const DEFAULT_PAGE = 50

/** Newest first. Errors: InvalidCommandId, InvalidFilterKey, InvalidNextToken. */
export async function listCommands(context: Context, input: Input<'ListCommands'>): Promise<Output<'ListCommands'>> {
  const filter = await readFilter(context, input, true)
  const limit = input.MaxResults ?? DEFAULT_PAGE
  const after = decodeToken<store.Position>(context, 'ListCommands', input.NextToken)
  const rows = await store.listCommands(context.sql, context, filter, after, limit + 1)
  const page = rows.slice(0, limit)
  return {
    Commands: page.map((row) => describeCommand(context, row)),
    NextToken: nextToken(context, 'ListCommands', rows, page),
  }
}

/** Newest first. Errors: InvalidCommandId, InvalidFilterKey, InvalidNextToken. */
export async function listCommandInvocations(
  context: Context,
  input: Input<'ListCommandInvocations'>,
): Promise<Output<'ListCommandInvocations'>> {
  const filter = await readFilter(context, input, false)
  const limit = input.MaxResults ?? DEFAULT_PAGE
  const after = decodeToken<store.Position>(context, 'ListCommandInvocations', input.NextToken)
  const rows = await store.listInvocations(context.sql, context, filter, after, limit + 1)
  const page = rows.slice(0, limit)
  const steps = input.Details ? await store.listSteps(context.sql, page) : []
  const names = await nodeNames(context, [...new Set(page.map((row) => row.nodeId))])
  return {
    CommandInvocations: page.map((row) =>
      describeInvocation(context, row, names.get(row.nodeId) ?? '', input.Details ? steps : undefined),
    ),
    NextToken: nextToken(context, 'ListCommandInvocations', rows, page),
  }
}

function nextToken<Row extends { requestedAt: Date; commandId: string; nodeId?: string }>(
  context: Context,
  kind: string,
  rows: Row[],
  page: Row[],
) {
  const last = rows.length > page.length ? page.at(-1) : undefined
  return (
    last &&
    encodeToken(context, kind, {
      requestedAt: last.requestedAt.toISOString(),
      commandId: last.commandId,
      nodeId: last.nodeId,
    })
  )
}

function describeInvocation(
  context: Context,
  row: store.InvocationRow,
  nodeName: string,
  steps: store.StepRow[] | undefined,
): Invocation {
  const own = steps?.filter((step) => step.commandId === row.commandId && step.nodeId === row.nodeId)
  // As AWS has it, the addresses of a document with several steps stand with its steps only.
  const [only] = row.steps.length === 1 && own ? own : []
  return {
    CommandId: row.commandId,
    InstanceId: row.nodeId,
    InstanceName: nodeName,
    Comment: row.comment,
    DocumentName: row.documentName,
    DocumentVersion: row.documentVersion,
    RequestedDateTime: row.requestedAt,
    Status: row.status as Invocation['Status'],
    StatusDetails: row.statusDetails,
    TraceOutput: (fits(row.trace) ? row.trace : cut(row.trace, MAX_COMBINED_BYTES)) || undefined,
    ...addressesOf(context, row, only),
    CommandPlugins: own ? pluginsOf(context, row, own) : [],
    ServiceRole: row.output.ServiceRole ?? '',
    NotificationConfig: notificationConfig(row.output) as Invocation['NotificationConfig'],
    CloudWatchOutputConfig: cloudWatchConfig(row.output),
  }
}

/** A plugin for each step of the document, reported or not, and whatever else the agent reported. */
function pluginsOf(context: Context, row: store.InvocationRow, steps: store.StepRow[]): Plugin[] {
  const reported = new Map(steps.map((step) => [step.name, settled(row, step)]))
  const planned = row.steps.map(({ name }) => reported.get(name) ?? unreported(row, name, steps))
  const extra = [...reported.values()].filter((step) => !row.steps.some(({ name }) => name === step.name))
  return [...planned, ...extra].map((step) => ({
    Name: step.name,
    Status: step.status as Plugin['Status'],
    StatusDetails: step.statusDetails,
    ResponseCode: step.code,
    ResponseStartDateTime: dateOf(step.startedAt),
    ResponseFinishDateTime: dateOf(step.endedAt),
    Output:
      step.output !== '' && fits(step.output)
        ? step.output
        : combinedOutput(step.standardOutput || step.output, step.standardError, MAX_COMBINED_BYTES),
    ...addressesOf(context, row, step),
    OutputS3Region: row.output.OutputS3Region ?? context.region,
    OutputS3BucketName: row.output.OutputS3BucketName ?? '',
    OutputS3KeyPrefix: row.output.OutputS3KeyPrefix ?? '',
  }))
}

/** Agents shorten these texts themselves; one that has not is not believed. */
const fits = (text: string): boolean => Buffer.byteLength(text) <= MAX_COMBINED_BYTES

const OPEN = new Set(['Pending', 'InProgress', 'Delayed', 'Cancelling'])

/** A step that nobody said the end of, such as one that was to run again after a restart, ends with its invocation. */
const settled = ({ status, statusDetails }: store.InvocationRow, step: store.StepRow): store.StepRow =>
  OPEN.has(status) || !OPEN.has(step.status) ? step : { ...step, status, statusDetails }

/** Where a step's output was written; empty before it is, and for a stream that had none. */
function addressesOf({ choices }: Context, row: store.InvocationRow, step: store.StepRow | undefined) {
  const address = (stream: string, text: string) => {
    if (!step || text === '' || !row.outputKept || !choices.commandOutput) return ''
    const place = placeOf(row.output, row, step.name, stream)
    return place ? addressOf(choices.commandOutput, place) : ''
  }
  return {
    StandardOutputUrl: address('stdout', step?.standardOutput ?? ''),
    StandardErrorUrl: address('stderr', step?.standardError ?? ''),
  }
}

/**
 * What is shown of a step before its agent has said anything: the state of its invocation, and no code yet. While that is
 * in progress, the first of them runs (steps run in order, and each is told when it has ended), and the others wait.
 */
function unreported(row: store.InvocationRow, name: string, reported: store.StepRow[]): store.StepRow {
  const { commandId, nodeId, trace } = row
  const open = row.steps.filter((step) => !reported.some((known) => known.name === step.name))
  const runs = open[0]?.name === name && !reported.some((step) => step.status === 'InProgress')
  const waits = row.status === 'InProgress' && !runs
  const status = waits ? 'Pending' : row.status === 'Delayed' || row.status === 'Cancelling' ? 'InProgress' : row.status
  const statusDetails = waits ? 'Pending' : row.statusDetails
  const texts = { output: trace, standardOutput: '', standardError: '', startedAt: '', endedAt: '' }
  return { commandId, nodeId, name, action: '', status, statusDetails, code: -1, ...texts }
}

function dateOf(text: string): Date | undefined {
  const date = new Date(text)
  return Number.isNaN(date.getTime()) ? undefined : date
}

/** One step of one node. Errors: InvalidCommandId, InvocationDoesNotExist, InvalidPluginName. */
export async function getCommandInvocation(
  context: Context,
  input: Input<'GetCommandInvocation'>,
): Promise<Output<'GetCommandInvocation'>> {
  const filter = { commandId: input.CommandId, nodeId: input.InstanceId }
  const [row] = isCommandId(input.CommandId)
    ? await store.listInvocations(context.sql, context, filter, undefined, 1)
    : []
  if (!row) throw new AwsError('InvocationDoesNotExist')
  const steps = await store.listSteps(context.sql, [row])
  if (input.PluginName === undefined && row.steps.length > 1) throw new AwsError('InvalidPluginName')
  const name = input.PluginName ?? row.steps[0]?.name ?? ''
  const known = steps.find((step) => step.name === name)
  if (!known && !row.steps.some((step) => step.name === name)) throw new AwsError('InvalidPluginName')
  const step = known ? settled(row, known) : { ...unreported(row, name, steps), output: '' }
  // As AWS has it, nothing of a step is shown here before it has ended.
  const [stdout, stderr] = OPEN.has(step.status) ? ['', ''] : [step.standardOutput, step.standardError]
  return {
    CommandId: row.commandId,
    InstanceId: row.nodeId,
    Comment: row.comment,
    DocumentName: row.documentName,
    DocumentVersion: row.documentVersion,
    PluginName: name,
    ResponseCode: step.code,
    ExecutionStartDateTime: step.startedAt,
    ExecutionElapsedTime: step.startedAt && step.endedAt ? elapsed(step.startedAt, step.endedAt) : '',
    ExecutionEndDateTime: step.endedAt,
    Status: (row.steps.length > 1 ? step.status : row.status) as Output<'GetCommandInvocation'>['Status'],
    StatusDetails: row.steps.length > 1 ? step.statusDetails : row.statusDetails,
    StandardOutputContent: cut(stdout, MAX_STDOUT_BYTES),
    StandardErrorContent: cut(stderr || (known ? '' : row.trace), MAX_STDERR_BYTES),
    ...addressesOf(context, row, known),
    CloudWatchOutputConfig: cloudWatchConfig(row.output),
  }
}

type ListInput = Pick<Input<'ListCommands'>, 'CommandId' | 'InstanceId' | 'Filters'>

/** All filters must hold, also those of the same key. */
async function readFilter(context: Context, input: ListInput, ofCommands: boolean): Promise<store.CommandFilter> {
  if (input.CommandId && !(await store.readCommand(context.sql, context, input.CommandId)))
    throw new AwsError('InvalidCommandId')
  const valuesOf = (wanted: string) =>
    (input.Filters ?? []).filter(({ key }) => key === wanted).map(({ value }) => value)
  const known = ['InvokedAfter', 'InvokedBefore', 'Status', 'DocumentName', ...(ofCommands ? ['ExecutionStage'] : [])]
  if (input.Filters?.some(({ key }) => !known.includes(key))) throw new AwsError('InvalidFilterKey')
  const stages = valuesOf('ExecutionStage')
  if (stages.some((stage) => stage !== 'Executing' && stage !== 'Complete')) throw new AwsError('InvalidFilterKey')
  const statuses = valuesOf('Status')
  if (ofCommands && input.InstanceId && statuses.includes('Pending')) throw new AwsError('InvalidFilterKey')
  return {
    commandId: input.CommandId,
    nodeId: input.InstanceId,
    invokedAfter: valuesOf('InvokedAfter').map(instant).sort(byTime).at(-1),
    invokedBefore: valuesOf('InvokedBefore').map(instant).sort(byTime)[0],
    statuses,
    documentNames: valuesOf('DocumentName'),
    stages,
  }
}

const byTime = (a: Date, b: Date): number => a.getTime() - b.getTime()

const ISO_8601 = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/

/** A date, or a date and a time; UTC where no zone is named, wherever this runs. */
function instant(text: string): Date {
  const [isIso, time, , , zone] = ISO_8601.exec(text) ?? []
  const date = new Date(time !== undefined && zone === undefined ? `${text}Z` : text)
  // A zone may move the first and the last of the years that have four digits out of them.
  if (isIso === undefined || !(date.getUTCFullYear() >= 1 && date.getUTCFullYear() <= 9999))
    throw validation(`The filter value ${text} is not a date and time in ISO 8601 form.`)
  return date
}
