// Replies until they are acknowledged: on disk before they are sent, sent at once, again when the channel opens and every
// few seconds, under the same message id each time, gone with agent_job_reply_ack. Called by runner.ts and mail.ts.

import { createHash } from 'node:crypto'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { buildAgentJobReply, CONTROL_MESSAGE } from '@musterbook/wire'
import { isMissing, writeDurably } from './durable-files.ts'
import { type Log, reason } from './log.ts'
import { sha256 } from './transport.ts'

export interface Reply {
  jobId: string
  topic: string
  /** JSON text: a ReplyPayload. */
  content: string
}

export interface Outbox {
  /** Resolves once the reply lies on disk; a reply under an id that is there already replaces it. */
  post(messageId: string, reply: Reply): Promise<void>
  acknowledged(messageId: string): Promise<void>
  /** Sends what is due, at most 50; what was sent just now as well when `all` is set, because the channel is a new one. */
  sendDue(all: boolean): Promise<void>
  /** Resolves true when the reply is acknowledged, false after that many milliseconds. */
  settled(messageId: string, millis: number): Promise<boolean>
}

export type SendMessage = (messageType: string, messageId: string, payload: Uint8Array) => boolean

/** Unacknowledged replies are sent again after this many milliseconds. */
const RESEND_AFTER = 5000
/** At most so many replies are sent again in one round, as the official agent does. */
const IN_FLIGHT = 50
/** A reply that nobody wanted for this long is dropped, in milliseconds: seven days, as long as the inbox remembers. */
const KEEP = 7 * 24 * 3600_000

interface Waiting {
  file: string
  posted: number
  sent: number
}

/** Reads what an earlier agent left. `rewritten` answers what a damaged reply said, if that matters. */
export async function openOutbox(
  folder: string,
  send: SendMessage,
  rewritten: (messageId: string) => Promise<Reply | undefined>,
  log: Log,
): Promise<Outbox> {
  const waiting = new Map<string, Waiting>()
  const settlers = new Map<string, () => void>()
  for (const name of (await readdir(folder)).sort()) {
    const parts = /^(\d{13})-([0-9a-f-]{36})\.json$/.exec(name)
    if (parts?.[1] && parts[2]) waiting.set(parts[2], { file: join(folder, name), posted: Number(parts[1]), sent: 0 })
    else await rm(join(folder, name), { force: true })
  }

  async function forget(messageId: string, file: string): Promise<void> {
    waiting.delete(messageId)
    await rm(file, { force: true })
  }

  function sendNow(messageId: string, entry: Waiting, reply: Reply): boolean {
    const sent = send(CONTROL_MESSAGE.agentJobReply, messageId, buildAgentJobReply(reply))
    if (sent) entry.sent = Date.now()
    return sent
  }

  /** Each one that was sent goes to the end of the line: replies that nobody ever acknowledges hold up no others. */
  async function sendDue(all: boolean): Promise<void> {
    const now = Date.now()
    const due = [...waiting].filter(([, entry]) => all || now - entry.sent >= RESEND_AFTER).slice(0, IN_FLIGHT)
    for (const [messageId, entry] of due) {
      if (now - entry.posted > KEEP) {
        await forget(messageId, entry.file)
        continue
      }
      try {
        const reply = asReply(JSON.parse(await readFile(entry.file, 'utf8')))
        // Acknowledged while it was read.
        if (waiting.get(messageId) !== entry) continue
        if (!sendNow(messageId, entry, reply)) return
        waiting.delete(messageId)
        waiting.set(messageId, entry)
      } catch (error) {
        const isDamaged = !isMissing(error)
        if (isDamaged) log.error('reply is damaged', { messageId, reason: reason(error) })
        await forget(messageId, entry.file)
        const reply = isDamaged ? await rewritten(messageId) : undefined
        if (reply) await post(messageId, reply)
      }
    }
  }

  async function post(messageId: string, reply: Reply): Promise<void> {
    const posted = waiting.get(messageId)?.posted ?? Date.now()
    const entry = { file: join(folder, `${posted}-${messageId}.json`), posted, sent: 0 }
    await writeDurably(entry.file, JSON.stringify({ ...reply, digest: digestOf(reply) }))
    waiting.set(messageId, entry)
    sendNow(messageId, entry, reply)
  }

  return {
    post,
    async acknowledged(messageId) {
      const entry = waiting.get(messageId)
      if (entry === undefined) return
      await forget(messageId, entry.file)
      settlers.get(messageId)?.()
    },
    sendDue,
    settled(messageId, millis) {
      if (!waiting.has(messageId)) return Promise.resolve(true)
      return new Promise((resolve) => {
        const finish = (acknowledged: boolean) => {
          clearTimeout(timer)
          settlers.delete(messageId)
          resolve(acknowledged)
        }
        const timer = setTimeout(() => finish(false), millis)
        settlers.set(messageId, () => finish(true))
      })
    },
  }
}

function asReply(value: unknown): Reply {
  if (typeof value === 'object' && value !== null) {
    const { digest, ...reply } = value as Reply & { digest: unknown }
    if (digest === digestOf(reply)) return reply
  }
  throw new Error('it is not what was written')
}

function digestOf({ jobId, topic, content }: Reply): string {
  return sha256(JSON.stringify([jobId, topic, content]))
}

/**
 * The message id of one reply: the same job and the same event always give the same UUID, so that an agent which was
 * killed between posting and noting it posts no second one.
 */
export function replyId(jobId: string, event: string): string {
  const hex = createHash('sha256').update(`${jobId}\n${event}`).digest('hex')
  const variant = ((Number.parseInt(hex[16] ?? '0', 16) & 0x3) | 0x8).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
