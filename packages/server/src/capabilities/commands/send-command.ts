/**
 * SendCommand: looks the document and the nodes up, checks everything, and writes the command with all of its invocations
 * in one statement. Nothing is sent here: the reconciler releases what was written.
 */
import {
  actsNow,
  DocumentError,
  PLATFORMS,
  type Platform,
  resolveParameters,
  totalExecutionSeconds,
} from '@musterbook/document'
import { buildSendCommandPayload } from '@musterbook/wire'
import type { Input, Output } from '../../contract/types.ts'
import { hasBucket } from '../../platform/buckets.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { uuid } from '../../platform/ids.ts'
import { type FoundDocument, findDocument } from '../documents/index.ts'
import { findNodes, resolveTargets, type TargetNode } from '../nodes/index.ts'
import { isPlace } from './output-places.ts'
import { deniedNodes } from './permission.ts'
import { describeCommand } from './reading.ts'
import {
  concurrencyOf,
  DEFAULT_MAX_CONCURRENCY,
  DEFAULT_MAX_ERRORS,
  DEFAULT_TIMEOUT_SECONDS,
  errorsAllowed,
} from './rules.ts'
import * as store from './store.ts'
import { COMMANDS_WAKE } from './wake.ts'

type Request = Input<'SendCommand'>

/** Errors: InvalidDocument, InvalidDocumentVersion, InvalidParameters, InvalidInstanceId, DuplicateInstanceId, UnsupportedPlatformType, MaxDocumentSizeExceeded. */
export async function sendCommand(context: Context, input: Request): Promise<Output<'SendCommand'>> {
  const found = await findCommandDocument(context, input)
  const parameters = input.Parameters ?? {}
  const values = checkedParameters(found, parameters)
  const nodes = await chooseNodes(context, input, found)
  await checkResults(context, input)
  const denied = input.Targets?.length ? await deniedNodes(context, nodes.map(idOf)) : new Set<string>()
  const now = context.now()
  const timeoutSeconds = input.TimeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS
  const deliverBy = new Date(now.getTime() + timeoutSeconds * 1000)
  const executionSeconds = totalExecutionSeconds(found.document, values)
  const commandId = uuid()
  const command: store.NewCommand = {
    account: context.account,
    region: context.region,
    commandId,
    // As it was asked for, so that who sent it finds it by the same name.
    documentName: input.DocumentName.startsWith('arn:') ? input.DocumentName : found.name,
    documentVersion: input.DocumentVersion ?? '$DEFAULT',
    comment: input.Comment ?? '',
    parameters,
    instanceIds: input.InstanceIds ?? [],
    targets: input.Targets ?? [],
    output: {
      OutputS3Region: input.OutputS3Region,
      OutputS3BucketName: input.OutputS3BucketName,
      OutputS3KeyPrefix: input.OutputS3KeyPrefix,
      ServiceRole: input.ServiceRoleArn,
      CloudWatchOutputConfig: input.CloudWatchOutputConfig,
      NotificationConfig: input.NotificationConfig,
      AlarmConfiguration: alarmsOf(input),
    },
    steps: stepsOf(found),
    payload: buildSendCommandPayload({
      CommandId: commandId,
      DocumentName: found.name,
      Parameters: values,
      DocumentContent: found.content,
      OutputS3BucketName: input.OutputS3BucketName ?? '',
      OutputS3KeyPrefix: input.OutputS3KeyPrefix ?? '',
      CloudWatchLogGroupName: input.CloudWatchOutputConfig?.CloudWatchLogGroupName ?? '',
      CloudWatchOutputEnabled: input.CloudWatchOutputConfig?.CloudWatchOutputEnabled ?? false,
    }),
    maxConcurrency: input.MaxConcurrency ?? DEFAULT_MAX_CONCURRENCY,
    maxErrors: input.MaxErrors ?? DEFAULT_MAX_ERRORS,
    concurrency: concurrencyOf(input.MaxConcurrency ?? DEFAULT_MAX_CONCURRENCY, nodes.length),
    errorsAllowed: errorsAllowed(input.MaxErrors ?? DEFAULT_MAX_ERRORS, nodes.length),
    requestedAt: now,
    timeoutSeconds,
    deliverBy,
    expiresAt: new Date(deliverBy.getTime() + executionSeconds * 1000),
  }
  await store.insertCommand(
    context.sql,
    command,
    nodes.map((node) => invocationOf(node, found, denied, now)),
  )
  context.wake(COMMANDS_WAKE)
  return { Command: describeCommand(context, { ...command, ...FRESH, targetCount: nodes.length }) }
}

const FRESH = {
  completedCount: 0,
  errorCount: 0,
  deliveryTimedOutCount: 0,
  status: 'Pending',
  statusDetails: 'Pending',
  cancelledAt: null,
}

async function findCommandDocument(context: Context, input: Request): Promise<FoundDocument> {
  const found = await findDocument(context, input.DocumentName, input.DocumentVersion)
  if (found.documentType !== 'Command')
    throw new AwsError(
      'InvalidDocument',
      `Document with name ${found.name} is of type ${found.documentType}, not Command.`,
    )
  checkHash(found, input)
  const acts = actsNow(found.name)
  if (acts !== true) throw new AwsError('InvalidDocument', acts)
  return found
}

/** InvalidDocument where the document is not the one that the caller has seen. AWS has deprecated Sha1; it is not kept here. */
function checkHash({ name, hash }: FoundDocument, { DocumentHash: given, DocumentHashType: type }: Request): void {
  if (type === 'Sha1')
    throw new AwsError(
      'InvalidDocument',
      'Sha1 hashes are deprecated: give the Sha256 hash that DescribeDocument shows.',
    )
  if (given !== undefined && given.toLowerCase() !== hash)
    throw new AwsError('InvalidDocument', `The hash of document ${name} does not match the one provided.`)
}

const SNS_TOPIC = /^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w.-]{1,256}$/

/**
 * What is asked for beside the command itself is either carried out or refused here, in AWS's order:
 * InvalidNotificationConfig, InvalidRole, InvalidOutputFolder, InvalidParameters. Nothing is taken and then not done.
 */
async function checkResults(context: Context, input: Request): Promise<void> {
  const { choices } = context
  const { NotificationConfig: notification, AlarmConfiguration: alarms, OutputS3BucketName: bucket } = input
  if (notification?.NotificationArn !== undefined) {
    if (!SNS_TOPIC.test(notification.NotificationArn))
      throw new AwsError('InvalidNotificationConfig', 'NotificationArn must be the ARN of an Amazon SNS topic.')
    if (!choices.notificationWebhook)
      throw new AwsError(
        'InvalidNotificationConfig',
        'There is no Amazon SNS here: notifications go to the address that the setting --notification-webhook names, and none is set.',
      )
    if (!input.ServiceRoleArn) throw new AwsError('InvalidRole', 'NotificationConfig needs a ServiceRoleArn.')
  } else if (notification?.NotificationEvents?.length)
    throw new AwsError('InvalidNotificationConfig', 'NotificationEvents need a NotificationArn.')
  const place = choices.commandOutput
  if (bucket !== undefined && (!place || !isPlace(input) || !(await hasBucket(place, bucket, context.now()))))
    throw new AwsError('InvalidOutputFolder')
  if (input.CloudWatchOutputConfig?.CloudWatchOutputEnabled)
    throw new AwsError(
      'InvalidParameters',
      'CloudWatchOutputEnabled: there is no CloudWatch Logs here to write to. The whole output is kept with the command; OutputS3BucketName has it written to a bucket.',
    )
  // AWS stops the command when the alarm's state cannot be learnt, unless that is to be ignored.
  if (alarms && !alarms.IgnorePollAlarmFailure)
    throw new AwsError(
      'InvalidParameters',
      'AlarmConfiguration: there are no CloudWatch alarms here to watch. With IgnorePollAlarmFailure the command runs without them.',
    )
}

const alarmsOf = ({ AlarmConfiguration: given }: Request): store.OutputOptions['AlarmConfiguration'] =>
  given && {
    IgnorePollAlarmFailure: given.IgnorePollAlarmFailure,
    Alarms: given.Alarms?.map(({ Name = '' }) => ({ Name })) ?? [],
  }

function checkedParameters(found: FoundDocument, given: Record<string, string[]>) {
  try {
    return resolveParameters(found.document, given, found.name)
  } catch (error) {
    if (error instanceof DocumentError) throw new AwsError(error.code, error.message)
    throw error
  }
}

function stepsOf({ document }: FoundDocument): { name: string; action: string }[] {
  if (document.kind === 'mainSteps') return document.steps.map(({ name, action }) => ({ name, action }))
  if (document.kind === 'runtimeConfig') return document.plugins.map(({ name }) => ({ name, action: name }))
  return []
}

async function chooseNodes(context: Context, input: Request, found: FoundDocument): Promise<TargetNode[]> {
  const ids = input.InstanceIds ?? []
  const targets = input.Targets ?? []
  if (ids.length > 0 && targets.length > 0)
    throw new AwsError('InvalidParameters', 'Specify either InstanceIds or Targets, not both.')
  if (ids.length === 0 && targets.length === 0)
    throw new AwsError('InvalidParameters', 'You must specify at least one of InstanceIds and Targets.')
  if (targets.length > 0) return resolveTargets(context, targets)
  if (new Set(ids).size !== ids.length) throw new AwsError('DuplicateInstanceId')
  const nodes = await findNodes(context, ids)
  const known = new Set(nodes.map((node) => node.nodeId))
  const unknown = ids.filter((id) => !known.has(id))
  if (unknown.length > 0)
    throw new AwsError(
      'InvalidInstanceId',
      `Instances [[${unknown.join(', ')}]] not in a valid state for account ${context.account}`,
    )
  const wrong = nodes.find((node) => !supports(found, node))
  if (wrong)
    throw new AwsError(
      'UnsupportedPlatformType',
      `Cannot perform operation for instance id ${wrong.nodeId} of platform type ${wrong.platformType}`,
    )
  return nodes
}

/** A node that has not told its platform yet is given the benefit of the doubt: its agent decides. */
const supports = (found: FoundDocument, { platformType }: TargetNode): boolean =>
  platformType === null ||
  !isPlatform(platformType) ||
  found.platformTypes.length === 0 ||
  found.platformTypes.includes(platformType)

const isPlatform = (text: string): text is Platform => (PLATFORMS as readonly string[]).includes(text)

const idOf = ({ nodeId }: TargetNode): string => nodeId

function invocationOf(
  { nodeId, ...node }: TargetNode,
  found: FoundDocument,
  denied: ReadonlySet<string>,
  now: Date,
): store.NewInvocation {
  const refused = denied.has(nodeId)
    ? 'AccessDenied'
    : supports(found, { nodeId, ...node })
      ? undefined
      : 'InvalidPlatform'
  return refused === undefined
    ? { nodeId, status: 'Pending', statusDetails: 'Pending', completedAt: null }
    : { nodeId, status: 'Failed', statusDetails: refused, completedAt: now }
}
