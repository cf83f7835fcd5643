/**
 * What nodes say of commands: that they have one (agent_job_ack) and how it goes (agent_job_reply). Many at a time are
 * written in one transaction, and a reply is acknowledged only when it lies in the database: an agent keeps and repeats
 * what was not. Replies come in any order and more than once; a final state never goes back.
 */
import {
  agentJobOutcome,
  buildAgentJobReplyAck,
  buildJobId,
  CONTROL_MESSAGE,
  parseAgentJobAck,
  parseAgentJobReply,
  parseJobId,
  parseReplyPayload,
  type ReplyPayload,
  topicKind,
} from '@musterbook/wire'
import { type Batch, batch } from '../../platform/batch.ts'
import type { Host, NodeMessage, NodeMessageHandler } from '../../platform/capability.ts'
import { acknowledge, acknowledgeJobs } from '../messaging/index.ts'
import { tellToCancel } from './reconcile.ts'
import { isCommandId, meaningOf, stepMeaningOf } from './rules.ts'
import * as store from './store.ts'
import { COMMANDS_WAKE } from './wake.ts'

/** Reports written in one transaction. */
const AT_ONCE = 500

interface Report {
  key: store.InvocationKey
  /** A message that the node now has. */
  messageId?: string
  rejected?: string
  reply?: ReplyPayload
}

export function takeReplies(host: Host): Record<string, NodeMessageHandler> {
  const reports: Batch<Report> = batch(AT_ONCE, (items) => write(host, items))
  return {
    async [CONTROL_MESSAGE.agentJobAck](message) {
      const ack = parseAgentJobAck(message.payload)
      const outcome = agentJobOutcome(ack.statusCode)
      if (outcome === 'redeliver') return // it stays in the mailbox and is offered again
      const key = ownInvocation(message, ack.jobId)
      const rejected =
        outcome === 'rejected' ? `The agent refused the command: ${ack.errorMessage} (${ack.statusCode}).` : undefined
      await reports.add({ key, messageId: ack.acknowledgedMessageId, rejected })
    },
    async [CONTROL_MESSAGE.agentJobReply](message) {
      const { jobId, content, topic } = parseAgentJobReply(message.payload)
      if (topicKind(topic) !== 'cancelCommand') {
        await reports.add({ key: ownInvocation(message, jobId), reply: parseReplyPayload(content) })
      }
      message.answer(
        CONTROL_MESSAGE.agentJobReplyAck,
        buildAgentJobReplyAck({ jobId, acknowledgedMessageId: message.messageId }),
      )
    },
  }
}

/** A node may speak of its own invocations only, whatever its message says. */
function ownInvocation({ scope, nodeId }: NodeMessage, jobId: string): store.InvocationKey {
  const { commandId, instanceId } = parseJobId(jobId)
  if (instanceId !== nodeId) throw new Error('a node spoke of another node')
  if (!isCommandId(commandId)) throw new Error('a job id names no command')
  return { ...scope, commandId, nodeId }
}

async function write(host: Host, reports: Report[]): Promise<void> {
  const acknowledged = reports.flatMap(({ key, messageId }) =>
    messageId && isCommandId(messageId) ? [{ ...key, messageId }] : [],
  )
  const delivered = reports
    .filter((report) => report.messageId !== undefined && !report.rejected)
    .map((report) => report.key)
  // Whatever a node says of a command shows that it has it, also when the acknowledgement was lost.
  const heardOf = reports.flatMap(({ key, reply }) =>
    reply ? [{ ...key, jobId: buildJobId(key.commandId, key.nodeId) }] : [],
  )
  const documents = foldDocuments(reports)
  const steps = foldSteps(reports)
  const now = host.now()
  await host.transaction(async (work) => {
    const { sql } = work
    const cancels = delivered.length > 0 ? await store.listCancelled(sql, delivered) : []
    await store.touchCommands(sql, [...new Set([...reports.map(({ key }) => key.commandId), ...cancels])], now)
    if (delivered.length > 0) {
      await store.markDelivered(sql, delivered, now)
      if (cancels.length > 0) await store.markCancelTaken(sql, delivered, now)
      await tellToCancel(work, await store.takeLateDeliveries(sql, delivered, now), later(now))
    }
    if (steps.length > 0) await store.reportSteps(sql, steps, now)
    if (documents.length > 0) await store.reportInvocations(sql, documents, now)
    if (acknowledged.length > 0) await acknowledge(work, acknowledged)
    if (heardOf.length > 0) await acknowledgeJobs(work, heardOf)
    work.wake(COMMANDS_WAKE)
  })
}

/** A node that has not taken a cancellation after two days has nothing left to cancel: agents drop what is that old. */
const LATE_MS = 2 * 86_400_000
const later = (now: Date): Date => new Date(now.getTime() + LATE_MS)

/** One state per invocation: a final one wins over all others, otherwise the latest. */
function foldDocuments(reports: Report[]): store.ReportedInvocation[] {
  const byInvocation = new Map<string, store.ReportedInvocation>()
  for (const { key, reply, rejected } of reports) {
    if (!reply && !rejected) continue
    const meaning = reply ? meaningOf(reply.documentStatus) : meaningOf('Failed')
    const id = `${key.commandId} ${key.nodeId}`
    const before = byInvocation.get(id)
    if (before?.final) continue
    byInvocation.set(id, { ...key, ...meaning, trace: storable(reply?.documentTraceOutput ?? rejected ?? '') })
  }
  return [...byInvocation.values()]
}

function foldSteps(reports: Report[]): store.ReportedStep[] {
  const byStep = new Map<string, store.ReportedStep>()
  for (const { key, reply } of reports) {
    for (const [name, step] of Object.entries(reply?.runtimeStatus ?? {})) {
      const id = `${key.commandId} ${key.nodeId} ${name}`
      if (byStep.get(id)?.final) continue
      byStep.set(id, {
        ...key,
        ...stepMeaningOf(step.status),
        name: storable(name),
        action: storable(step.name),
        code: step.status === 'NotStarted' ? -1 : step.code | 0,
        output: storable(step.output),
        standardOutput: storable(step.standardOutput),
        standardError: storable(step.standardError),
        startedAt: storable(step.startDateTime),
        endedAt: storable(step.endDateTime),
      })
    }
  }
  return [...byStep.values()]
}

/** PostgreSQL's text holds every character but NUL, which programs do print: it is shown as the replacement character. */
const storable = (text: string): string => (text.includes('\0') ? text.replaceAll('\0', '\ufffd') : text)
