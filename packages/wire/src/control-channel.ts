// What travels on a control channel: the first text frame and the JSON payloads inside AgentMessages, as parse/build
// twins. Builders write each key in exactly the case that the official peers write, in their order; parsers accept any
// case and throw a PayloadError that names the member. Commands come first, then sessions. Called by the server's
// channels and by the agent.
//
//   agent -> service   text OpenControlChannel
//   service -> agent   agent_job             ->  agent_job_ack, then agent_job_reply per plugin and at the end
//   service -> agent   agent_job_reply_ack   one per agent_job_reply, within a second
//   service -> agent   interactive_shell     ->  a data channel, at its end agent_task_complete
//   service -> agent   agent_task_acknowledge, channel_closed

import * as json from './json-members.ts'
import { type JsonObject, jsonBytes, type Members, PayloadError, readMembers } from './json-members.ts'

export const CONTROL_MESSAGE = {
  agentJob: 'agent_job',
  agentJobAck: 'agent_job_ack',
  agentJobReply: 'agent_job_reply',
  agentJobReplyAck: 'agent_job_reply_ack',
  interactiveShell: 'interactive_shell',
  channelClosed: 'channel_closed',
  agentTaskComplete: 'agent_task_complete',
  agentTaskAcknowledge: 'agent_task_acknowledge',
  agentTelemetry: 'agent_telemetry',
  agentUpdateResult: 'agent_update_result',
} as const

/** How long a peer waits for agent_job_reply_ack and agent_task_acknowledge before it sends again, in ms. */
export const REPLY_ACK_TIMEOUT_MS = 1_000
/** The largest agent_job_reply payload in bytes: the official agent drops longer ones unsent. */
export const AGENT_JOB_REPLY_MAX_BYTES = 120_000

// ------------------------------------------------------------------------------------------------ opening the channel

export interface OpenControlChannel {
  MessageSchemaVersion: string
  RequestId: string
  TokenValue: string
  AgentVersion: string
  /** linux, windows or macos. */
  PlatformType: string
}

/** The text of the first frame; the service must not answer it. */
export function buildOpenControlChannel(open: Omit<OpenControlChannel, 'MessageSchemaVersion'>): string {
  return JSON.stringify({
    Cookie: null,
    MessageSchemaVersion: '1.0',
    RequestId: open.RequestId,
    TokenValue: open.TokenValue,
    AgentVersion: open.AgentVersion,
    PlatformType: open.PlatformType,
  })
}

export function parseOpenControlChannel(text: Uint8Array | string): OpenControlChannel {
  const from = readMembers('OpenControlChannel', text)
  return {
    MessageSchemaVersion: json.stringOr(from, 'MessageSchemaVersion', '1.0'),
    RequestId: json.stringOr(from, 'RequestId', ''),
    TokenValue: json.id(from, 'TokenValue'),
    AgentVersion: json.stringOr(from, 'AgentVersion', ''),
    PlatformType: json.stringOr(from, 'PlatformType', ''),
  }
}

/** Body of POST /v1/control-channel/{id} and, with a ClientId, of POST /v1/data-channel/{id}. */
export interface CreateChannelRequest {
  MessageSchemaVersion: string
  RequestId: string
  /** Data channels only; the official agent sends an empty one. */
  ClientId: string | undefined
}

export function buildCreateChannelRequest(requestId: string, clientId?: string): string {
  const request = { MessageSchemaVersion: '1.0', RequestId: requestId }
  return JSON.stringify(clientId === undefined ? request : { ...request, ClientId: clientId })
}

export function parseCreateChannelRequest(body: Uint8Array | string): CreateChannelRequest {
  const from = readMembers('CreateChannel', body)
  const clientId = json.member(from, 'ClientId') === undefined ? undefined : json.string(from, 'ClientId')
  return {
    MessageSchemaVersion: json.stringOr(from, 'MessageSchemaVersion', '1.0'),
    RequestId: json.stringOr(from, 'RequestId', ''),
    ClientId: clientId,
  }
}

/** The answer to either request: XML, to be sent with status 201. */
export function buildChannelToken(channel: 'Control' | 'Data', token: string): string {
  const root = `Create${channel}ChannelResponse`
  const text = token.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return `<${root}><MessageSchemaVersion>1.0</MessageSchemaVersion><TokenValue>${text}</TokenValue></${root}>`
}

/** The token in such an answer, whatever its root element is called. */
export function parseChannelToken(xml: string): string {
  const from = xml.indexOf('<TokenValue>')
  const to = xml.indexOf('</TokenValue>', from)
  if (from < 0 || to < 0) throw new PayloadError('CreateChannel', 'TokenValue', 'is missing')
  const text = xml.slice(from + '<TokenValue>'.length, to)
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}

// ------------------------------------------------------------------------------------------------------ agent_job

/** `aws.ssm.<CommandId>.<node id>`: the agent takes the last part but one for the command. */
export interface JobId {
  commandId: string
  instanceId: string
}

/** Throws a PayloadError when an id is empty or holds a dot. */
export function buildJobId(commandId: string, instanceId: string): string {
  for (const part of [commandId, instanceId]) {
    if (part === '' || part.includes('.'))
      throw new PayloadError('agent_job', 'JobId', 'must be made of ids without dots')
  }
  return `${JOB_ID_PREFIX}${commandId}.${instanceId}`
}

export function parseJobId(jobId: string): JobId {
  const [aws, ssm, commandId, instanceId, ...rest] = jobId.split('.')
  if (aws !== 'aws' || ssm !== 'ssm' || !commandId || !instanceId || rest.length > 0) {
    throw new PayloadError('agent_job', 'JobId', 'must look like aws.ssm.<CommandId>.<InstanceId>')
  }
  return { commandId, instanceId }
}

const JOB_ID_PREFIX = 'aws.ssm.'

export const SEND_COMMAND_TOPIC = 'aws.ssm.sendCommand'
export const CANCEL_COMMAND_TOPIC = 'aws.ssm.cancelCommand'

/** What a topic asks for; anything may follow the two prefixes. Undefined for every other topic. */
export function topicKind(topic: string): 'sendCommand' | 'cancelCommand' | undefined {
  if (topic.startsWith(SEND_COMMAND_TOPIC)) return 'sendCommand'
  return topic.startsWith(CANCEL_COMMAND_TOPIC) ? 'cancelCommand' : undefined
}

export interface AgentJob {
  SchemaVersion: number
  JobId: string
  Topic: string
  /** JSON text: a SendCommandPayload or a CancelCommandPayload, as Topic says. */
  Content: string
}

export function buildAgentJob(job: Omit<AgentJob, 'SchemaVersion'>): Uint8Array {
  return jsonBytes({ SchemaVersion: 1, JobId: job.JobId, Topic: job.Topic, Content: job.Content })
}

export function parseAgentJob(payload: Uint8Array | string): AgentJob {
  const from = readMembers('agent_job', payload)
  return {
    SchemaVersion: json.integerOr(from, 'SchemaVersion', 1),
    JobId: json.id(from, 'JobId'),
    Topic: json.id(from, 'Topic'),
    Content: json.string(from, 'Content'),
  }
}

/** Content of a job that runs a document; also the Payload of an ec2messages message. */
export interface SendCommandPayload {
  CommandId: string
  DocumentName: string
  /** Typed as the document says: a String is a string, a StringList is a list. */
  Parameters: JsonObject
  DocumentContent: JsonObject
  OutputS3BucketName: string
  OutputS3KeyPrefix: string
  CloudWatchLogGroupName: string
  /** A string on the wire: a JSON boolean there makes the official agent refuse the whole payload. */
  CloudWatchOutputEnabled: boolean
}

export function buildSendCommandPayload(command: SendCommandPayload): string {
  return JSON.stringify({
    Parameters: command.Parameters,
    DocumentContent: command.DocumentContent,
    CommandId: command.CommandId,
    DocumentName: command.DocumentName,
    OutputS3BucketName: command.OutputS3BucketName,
    OutputS3KeyPrefix: command.OutputS3KeyPrefix,
    CloudWatchLogGroupName: command.CloudWatchLogGroupName,
    CloudWatchOutputEnabled: command.CloudWatchOutputEnabled ? 'true' : 'false',
  })
}

export function parseSendCommandPayload(content: Uint8Array | string): SendCommandPayload {
  const from = readMembers('sendCommand', content)
  return {
    CommandId: json.id(from, 'CommandId'),
    DocumentName: json.stringOr(from, 'DocumentName', ''),
    Parameters: json.objectOr(from, 'Parameters', {}),
    DocumentContent: json.object(from, 'DocumentContent'),
    OutputS3BucketName: json.stringOr(from, 'OutputS3BucketName', ''),
    OutputS3KeyPrefix: json.stringOr(from, 'OutputS3KeyPrefix', ''),
    CloudWatchLogGroupName: json.stringOr(from, 'CloudWatchLogGroupName', ''),
    CloudWatchOutputEnabled: json.stringOr(from, 'CloudWatchOutputEnabled', '').toLowerCase() === 'true',
  }
}

/** Content of a job that cancels another one; its own JobId needs a command id of its own. */
export interface CancelCommandPayload {
  /** The JobId of the job to cancel, exactly. */
  CancelMessageId: string
}

export function buildCancelCommandPayload(cancel: CancelCommandPayload): string {
  return JSON.stringify({ CancelMessageId: cancel.CancelMessageId })
}

export function parseCancelCommandPayload(content: Uint8Array | string): CancelCommandPayload {
  return { CancelMessageId: json.id(readMembers('cancelCommand', content), 'CancelMessageId') }
}

// -------------------------------------------------------------------------------------------------- agent_job_ack

/** The statusCode of an agent_job_ack by its errorMessage. */
export const AGENT_JOB_STATUS = {
  Successful: '200',
  ClosedProcessor: '51401',
  ProcessorBufferFull: '51402',
  UnexpectedDocumentType: '51403',
  ProcessorErrorCodeTranslationFailed: '51404',
  DuplicateCommand: '51405',
  InvalidDocument: '51406',
  ContainerNotSupported: '51407',
  AgentJobMessageParseError: '51408',
  UnexpectedError: '51499',
} as const
export type AgentJobStatus = keyof typeof AGENT_JOB_STATUS

/** What the service makes of a statusCode: the node has the job, it should be offered again, or it never will run. */
export function agentJobOutcome(statusCode: string): 'delivered' | 'redeliver' | 'rejected' {
  switch (statusCode) {
    case AGENT_JOB_STATUS.Successful:
    case AGENT_JOB_STATUS.DuplicateCommand:
      return 'delivered'
    case AGENT_JOB_STATUS.ClosedProcessor:
    case AGENT_JOB_STATUS.ProcessorBufferFull:
    case AGENT_JOB_STATUS.UnexpectedDocumentType:
      return 'redeliver'
    default:
      return 'rejected'
  }
}

export interface AgentJobAck {
  jobId: string
  /** The MessageId of the agent_job frame. */
  acknowledgedMessageId: string
  /** The CreatedDate of that frame, as ISO 8601 with milliseconds. */
  createdDate: string
  statusCode: string
  errorMessage: string
}

export function buildAgentJobAck(
  ack: Pick<AgentJobAck, 'jobId' | 'acknowledgedMessageId' | 'createdDate'> & { status: AgentJobStatus },
): Uint8Array {
  return jsonBytes({
    jobId: ack.jobId,
    acknowledgedMessageId: ack.acknowledgedMessageId,
    createdDate: ack.createdDate,
    statusCode: AGENT_JOB_STATUS[ack.status],
    errorMessage: ack.status,
  })
}

export function parseAgentJobAck(payload: Uint8Array | string): AgentJobAck {
  const from = readMembers('agent_job_ack', payload)
  return {
    jobId: json.id(from, 'jobId'),
    acknowledgedMessageId: json.stringOr(from, 'acknowledgedMessageId', ''),
    createdDate: json.stringOr(from, 'createdDate', ''),
    statusCode: json.id(from, 'statusCode'),
    errorMessage: json.stringOr(from, 'errorMessage', ''),
  }
}

// ------------------------------------------------------------------------------------------------ agent_job_reply

export interface AgentJobReply {
  schemaVersion: number
  jobId: string
  /** JSON text: a ReplyPayload. */
  content: string
  /** SEND_COMMAND_TOPIC or CANCEL_COMMAND_TOPIC. */
  topic: string
}

export function buildAgentJobReply(reply: Omit<AgentJobReply, 'schemaVersion'>): Uint8Array {
  return jsonBytes({ schemaVersion: 1, jobId: reply.jobId, content: reply.content, topic: reply.topic })
}

export function parseAgentJobReply(payload: Uint8Array | string): AgentJobReply {
  const from = readMembers('agent_job_reply', payload)
  return {
    schemaVersion: json.integerOr(from, 'schemaVersion', 1),
    jobId: json.id(from, 'jobId'),
    content: json.string(from, 'content'),
    topic: json.stringOr(from, 'topic', ''),
  }
}

export const RESULT_STATUSES = [
  'NotStarted',
  'InProgress',
  'Success',
  'SuccessAndReboot',
  'PassedAndReboot',
  'Failed',
  'Cancelled',
  'TimedOut',
  'Skipped',
  'TestFailure',
  'TestPass',
] as const
/** State of a document or of one plugin, in the agent's words. */
export type ResultStatus = (typeof RESULT_STATUSES)[number]

/** What one plugin of a document did. */
export interface PluginStatus {
  status: ResultStatus
  code: number
  /** The action, for example aws:runShellScript. */
  name: string
  output: string
  /** ISO 8601 with milliseconds. */
  startDateTime: string
  endDateTime: string
  outputS3BucketName: string
  outputS3KeyPrefix: string
  stepName: string
  standardOutput: string
  standardError: string
}

/** Content of an agent_job_reply; also the Payload of ec2messages' SendReply. */
export interface ReplyPayload {
  additionalInfo: {
    agent: { lang: string; name: string; os: string; osver: string; ver: string }
    /** ISO 8601 with milliseconds. */
    dateTime: string
    runId: string
    /** How many plugins stand in each state; empty before the first one ends. */
    runtimeStatusCounts: Readonly<Record<string, number>>
  }
  documentStatus: ResultStatus
  documentTraceOutput: string
  /** By step name (schema 2.x) or plugin name (1.x); a final reply of several steps has none. */
  runtimeStatus: Readonly<Record<string, PluginStatus>>
}

export function buildReplyPayload(reply: ReplyPayload): string {
  const { agent, dateTime, runId, runtimeStatusCounts } = reply.additionalInfo
  return JSON.stringify({
    additionalInfo: {
      agent: { lang: agent.lang, name: agent.name, os: agent.os, osver: agent.osver, ver: agent.ver },
      dateTime,
      runId,
      runtimeStatusCounts: Object.keys(runtimeStatusCounts).length === 0 ? null : runtimeStatusCounts,
    },
    documentStatus: reply.documentStatus,
    documentTraceOutput: reply.documentTraceOutput,
    runtimeStatus: Object.fromEntries(
      Object.entries(reply.runtimeStatus).map(([plugin, status]) => [plugin, pluginStatus(status)]),
    ),
  })
}

/** The members of a plugin's status in the order in which the official agent writes them, and no others. */
function pluginStatus(plugin: PluginStatus): PluginStatus {
  return {
    status: plugin.status,
    code: plugin.code,
    name: plugin.name,
    output: plugin.output,
    startDateTime: plugin.startDateTime,
    endDateTime: plugin.endDateTime,
    outputS3BucketName: plugin.outputS3BucketName,
    outputS3KeyPrefix: plugin.outputS3KeyPrefix,
    stepName: plugin.stepName,
    standardOutput: plugin.standardOutput,
    standardError: plugin.standardError,
  }
}

export function parseReplyPayload(content: Uint8Array | string): ReplyPayload {
  const from = readMembers('agent_job_reply content', content)
  const info = json.inside(from, 'additionalInfo', json.objectOr(from, 'additionalInfo', {}))
  const agent = json.inside(from, 'agent', json.objectOr(info, 'agent', {}))
  return {
    additionalInfo: {
      agent: {
        lang: json.stringOr(agent, 'lang', ''),
        name: json.stringOr(agent, 'name', ''),
        os: json.stringOr(agent, 'os', ''),
        osver: json.stringOr(agent, 'osver', ''),
        ver: json.stringOr(agent, 'ver', ''),
      },
      dateTime: json.stringOr(info, 'dateTime', ''),
      runId: json.stringOr(info, 'runId', ''),
      runtimeStatusCounts: eachMember(info, 'runtimeStatusCounts', json.integer),
    },
    documentStatus: json.oneOf(from, 'documentStatus', RESULT_STATUSES),
    documentTraceOutput: json.stringOr(from, 'documentTraceOutput', ''),
    runtimeStatus: eachMember(from, 'runtimeStatus', (all, plugin) => parsePluginStatus(all, plugin)),
  }
}

/** Reads a map; Object.fromEntries, since a plain assignment under `__proto__` would not make a member. */
function eachMember<Value>(
  from: Members,
  name: string,
  read: (all: Members, key: string) => Value,
): Record<string, Value> {
  const all = json.inside(from, name, json.objectOr(from, name, {}))
  return Object.fromEntries(Object.keys(all.object).map((key) => [key, read(all, key)]))
}

function parsePluginStatus(all: Members, plugin: string): PluginStatus {
  const from = json.inside(all, plugin, json.object(all, plugin))
  return {
    status: json.oneOf(from, 'status', RESULT_STATUSES),
    code: json.integerOr(from, 'code', 0),
    name: json.stringOr(from, 'name', ''),
    output: json.stringOr(from, 'output', ''),
    startDateTime: json.stringOr(from, 'startDateTime', ''),
    endDateTime: json.stringOr(from, 'endDateTime', ''),
    outputS3BucketName: json.stringOr(from, 'outputS3BucketName', ''),
    outputS3KeyPrefix: json.stringOr(from, 'outputS3KeyPrefix', ''),
    stepName: json.stringOr(from, 'stepName', ''),
    standardOutput: json.stringOr(from, 'standardOutput', ''),
    standardError: json.stringOr(from, 'standardError', ''),
  }
}

export interface AgentJobReplyAck {
  jobId: string
  /** The MessageId of the agent_job_reply frame. */
  acknowledgedMessageId: string
}

export function buildAgentJobReplyAck(ack: AgentJobReplyAck): Uint8Array {
  return jsonBytes({ jobId: ack.jobId, acknowledgedMessageId: ack.acknowledgedMessageId })
}

export function parseAgentJobReplyAck(payload: Uint8Array | string): AgentJobReplyAck {
  const from = readMembers('agent_job_reply_ack', payload)
  return {
    jobId: json.stringOr(from, 'jobId', ''),
    acknowledgedMessageId: json.id(from, 'acknowledgedMessageId'),
  }
}

// ---------------------------------------------------------------------------------------------- interactive_shell

export interface InteractiveShell {
  SessionId: string
  DocumentName: string
  /** A session document, schema 1.0. */
  DocumentContent: JsonObject
  /** Flattened by type: a String parameter is a string, not a list of one. */
  Parameters: JsonObject
  /** Overrides the document's runAsDefaultUser unless blank. */
  RunAsUser: string
  /** ARN of the caller. */
  SessionOwner: string
}

/** Twice encoded, as the agent expects it: Content is JSON text inside JSON. */
export function buildInteractiveShell(session: InteractiveShell): Uint8Array {
  const content = JSON.stringify({
    DocumentName: session.DocumentName,
    DocumentContent: session.DocumentContent,
    SessionId: session.SessionId,
    Parameters: session.Parameters,
    RunAsUser: session.RunAsUser,
    SessionOwner: session.SessionOwner,
  })
  return jsonBytes({ SchemaVersion: 1, TaskId: session.SessionId, Topic: 'interactive_shell', Content: content })
}

export function parseInteractiveShell(payload: Uint8Array | string): InteractiveShell {
  const outer = readMembers('interactive_shell', payload)
  const from = readMembers('interactive_shell content', json.string(outer, 'Content'))
  return {
    SessionId: json.id(from, 'SessionId'),
    DocumentName: json.stringOr(from, 'DocumentName', ''),
    DocumentContent: json.object(from, 'DocumentContent'),
    Parameters: json.objectOr(from, 'Parameters', {}),
    RunAsUser: json.stringOr(from, 'RunAsUser', ''),
    SessionOwner: json.stringOr(from, 'SessionOwner', ''),
  }
}

// ------------------------------------------------------------------------------------------- the end of a session

/** Tells either end of a session, on its data channel or the agent's control channel, that the session is over. */
export interface ChannelClosed {
  MessageId: string
  DestinationId: string
  SessionId: string
  /** Milliseconds since 1970; a string on the wire. */
  CreatedDate: number
  /** What the client prints; empty prints its own words. */
  Output: string
}

export function buildChannelClosed(closed: ChannelClosed): Uint8Array {
  const message = {
    MessageType: CONTROL_MESSAGE.channelClosed,
    MessageId: closed.MessageId,
    DestinationId: closed.DestinationId,
    SessionId: closed.SessionId,
    SchemaVersion: 1,
    CreatedDate: String(closed.CreatedDate),
  }
  return jsonBytes(closed.Output === '' ? message : { ...message, Output: closed.Output })
}

export function parseChannelClosed(payload: Uint8Array | string): ChannelClosed {
  const from = readMembers('channel_closed', payload)
  const created = Number(json.stringOr(from, 'CreatedDate', '0'))
  return {
    MessageId: json.stringOr(from, 'MessageId', ''),
    DestinationId: json.stringOr(from, 'DestinationId', ''),
    SessionId: json.id(from, 'SessionId'),
    // Only a log line ever reads the date: one in another form is no reason to keep a session alive.
    CreatedDate: Number.isSafeInteger(created) ? created : 0,
    Output: json.stringOr(from, 'Output', ''),
  }
}

export const TASK_STATUSES = ['Success', 'Failed', 'Cancelled', 'TimedOut'] as const
export type TaskStatus = (typeof TASK_STATUSES)[number]

/** The agent's last word on a session; unacknowledged it comes three times, a second apart, and a failure comes twice. */
export interface AgentTaskComplete {
  /** The session's id. */
  TaskId: string
  FinalTaskStatus: TaskStatus
  IsRoutingFailure: boolean
  AwsAccountId: string
  InstanceId: string
  /** The failure in words. */
  Output: string
  S3Bucket: string
  S3UrlSuffix: string
  CwlGroup: string
  CwlStream: string
  /** 1, 2, 3. */
  RetryNumber: number
}

export function buildAgentTaskComplete(complete: AgentTaskComplete): Uint8Array {
  return jsonBytes({
    SchemaVersion: 1,
    TaskId: complete.TaskId,
    Topic: CONTROL_MESSAGE.agentTaskComplete,
    FinalTaskStatus: complete.FinalTaskStatus,
    IsRoutingFailure: complete.IsRoutingFailure,
    AwsAccountId: complete.AwsAccountId,
    InstanceId: complete.InstanceId,
    Output: complete.Output,
    S3Bucket: complete.S3Bucket,
    S3UrlSuffix: complete.S3UrlSuffix,
    CwlGroup: complete.CwlGroup,
    CwlStream: complete.CwlStream,
    RetryNumber: complete.RetryNumber,
  })
}

export function parseAgentTaskComplete(payload: Uint8Array | string): AgentTaskComplete {
  const from = readMembers('agent_task_complete', payload)
  return {
    TaskId: json.id(from, 'TaskId'),
    FinalTaskStatus: json.oneOf(from, 'FinalTaskStatus', TASK_STATUSES),
    IsRoutingFailure: json.booleanOr(from, 'IsRoutingFailure', false),
    AwsAccountId: json.stringOr(from, 'AwsAccountId', ''),
    InstanceId: json.stringOr(from, 'InstanceId', ''),
    Output: json.stringOr(from, 'Output', ''),
    S3Bucket: json.stringOr(from, 'S3Bucket', ''),
    S3UrlSuffix: json.stringOr(from, 'S3UrlSuffix', ''),
    CwlGroup: json.stringOr(from, 'CwlGroup', ''),
    CwlStream: json.stringOr(from, 'CwlStream', ''),
    RetryNumber: json.integerOr(from, 'RetryNumber', 1),
  }
}

export interface AgentTaskAcknowledge {
  /** The MessageId of the agent_task_complete frame. */
  MessageId: string
  TaskId: string
}

export function buildAgentTaskAcknowledge(ack: AgentTaskAcknowledge): Uint8Array {
  return jsonBytes({
    SchemaVersion: 1,
    MessageId: ack.MessageId,
    TaskId: ack.TaskId,
    Topic: CONTROL_MESSAGE.agentTaskComplete,
  })
}

export function parseAgentTaskAcknowledge(payload: Uint8Array | string): AgentTaskAcknowledge {
  const from = readMembers('agent_task_acknowledge', payload)
  return { MessageId: json.id(from, 'MessageId'), TaskId: json.stringOr(from, 'TaskId', '') }
}
