// What the control channel brings, by message type: jobs to the runner, acknowledgements to the outbox. Each job is
// answered with exactly one agent_job_ack, and with 200 only once it lies on disk. Called by main.ts.

import { randomUUID } from 'node:crypto'
import {
  type AgentJob,
  type AgentJobStatus,
  type AgentMessage,
  buildAgentJobAck,
  CANCEL_COMMAND_TOPIC,
  CONTROL_MESSAGE,
  OUTPUT_MESSAGE,
  parseAgentJob,
  parseAgentJobReplyAck,
  parseCancelCommandPayload,
  parseJobId,
  parseOutputAck,
  parseSendCommandPayload,
  SEND_COMMAND_TOPIC,
  topicKind,
} from '@musterbook/wire'
import { isCommandId } from './inbox.ts'
import type { LiveOutput } from './live-output.ts'
import { type Log, reason } from './log.ts'
import { type Outbox, replyId, type SendMessage } from './outbox.ts'
import { documentReply } from './reply-payload.ts'
import type { Runner } from './runner.ts'

export interface MailOptions {
  instanceId: string
  runner: Runner
  outbox: Outbox
  output: LiveOutput
  send: SendMessage
  log: Log
}

/** Never throws and never rejects: what a peer sends cannot stop the agent. */
export function receiveMail(options: MailOptions): (message: AgentMessage) => void {
  const { log } = options
  return (message) => {
    handle(options, message).catch((error) => {
      log.warn('message dropped', { messageType: message.messageType, reason: reason(error) })
    })
  }
}

async function handle(options: MailOptions, message: AgentMessage): Promise<void> {
  switch (message.messageType) {
    case CONTROL_MESSAGE.agentJob:
      return receiveJob(options, message)
    case CONTROL_MESSAGE.agentJobReplyAck:
      return options.outbox.acknowledged(parseAgentJobReplyAck(message.payload).acknowledgedMessageId)
    case OUTPUT_MESSAGE.outputAck:
      return options.output.acknowledged(parseOutputAck(message.payload))
    default:
      options.log.debug('message of an unknown type', { messageType: message.messageType })
  }
}

async function receiveJob(options: MailOptions, message: AgentMessage): Promise<void> {
  // Without a JobId there is nobody to answer.
  const job = parseAgentJob(message.payload)
  const answer = await takeOn(options, job).catch((error): Answer => {
    options.log.error('job not taken on', { jobId: job.JobId, reason: reason(error) })
    return { status: 'UnexpectedError' }
  })
  const ack = buildAgentJobAck({
    jobId: job.JobId,
    acknowledgedMessageId: message.messageId,
    createdDate: new Date(message.createdDate).toISOString(),
    status: answer.status,
  })
  options.send(CONTROL_MESSAGE.agentJobAck, randomUUID(), ack)
  if (answer.reply) await options.outbox.post(replyId(job.JobId, answer.reply.event), answer.reply)
}

interface Answer {
  status: AgentJobStatus
  /** What follows the ack. */
  reply?: { event: string; jobId: string; topic: string; content: string }
}

async function takeOn(options: MailOptions, job: AgentJob): Promise<Answer> {
  const kind = topicKind(job.Topic)
  if (kind === undefined) return { status: 'UnexpectedDocumentType' }
  try {
    const id = parseJobId(job.JobId)
    if (!isCommandId(id.commandId) || id.instanceId !== options.instanceId) return { status: 'InvalidDocument' }
    return await (kind === 'sendCommand' ? takeCommand(options, job, id.commandId) : takeCancel(options, job))
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'PayloadError') throw error
    const content = documentReply('Failed', error.message)
    const reply = { event: 'final', jobId: job.JobId, topic: SEND_COMMAND_TOPIC, content }
    return kind === 'sendCommand' ? { status: 'AgentJobMessageParseError', reply } : { status: 'InvalidDocument' }
  }
}

async function takeCommand(options: MailOptions, job: AgentJob, commandId: string): Promise<Answer> {
  parseSendCommandPayload(job.Content)
  const { JobId: jobId, Topic: topic, Content } = job
  const status = await options.runner.accept({ commandId, jobId, topic, content: Content })
  options.log.info('job received', { jobId, status })
  if (status !== 'Successful') return { status }
  const content = documentReply('InProgress', '')
  return { status, reply: { event: 'accepted', jobId, topic: SEND_COMMAND_TOPIC, content } }
}

async function takeCancel(options: MailOptions, job: AgentJob): Promise<Answer> {
  const { commandId } = parseJobId(parseCancelCommandPayload(job.Content).CancelMessageId)
  options.log.info('cancel received', { jobId: job.JobId, commandId })
  await options.runner.cancel(commandId)
  const content = documentReply('InProgress', '')
  const reply = { event: 'accepted', jobId: job.JobId, topic: CANCEL_COMMAND_TOPIC, content }
  return { status: 'Successful', reply }
}
