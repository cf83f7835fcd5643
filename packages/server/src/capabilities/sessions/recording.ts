/**
 * A session's recording, made at the relay, so that a node that is taken over cannot take its traces along: asciicast v2
 * lines in chunks, chained by hash and sealed at the end. Written in the background; when the database falls behind by
 * more than MAX_WAITING_BYTES, the agent is read no further until it has caught up. Input is not recorded: passwords are
 * typed there. Of a port only the metadata is: where it led, bytes each way, duration; and of a session that its ends have
 * encrypted, which says so in its header.
 */
import { createHash } from 'node:crypto'
import { type AgentMessage, PAYLOAD_TYPE, parseSize } from '@musterbook/wire'
import type { Clock } from '../../platform/clock.ts'
import type { Ground } from '../../platform/context.ts'
import { sqlState } from '../../platform/database.ts'
import type { SealedColumn } from '../../platform/seal.ts'
import type { Side } from './relay.ts'
import { OVERLAP, outputOf, shownText } from './shown-text.ts'
import * as store from './store.ts'

const CHUNK_BYTES = 64 * 1024
const FLUSH_MS = 1_000
const MAX_WAITING_BYTES = 8 * 1024 * 1024
const UNIQUE_VIOLATION = '23505'
const SEAL_PURPOSE = 'session recording'
const FIRST_HASH = Buffer.alloc(32)

export const sealedSeal: SealedColumn = {
  table: 'session_recording_seals',
  column: 'seal',
  key: { session_id: 'text' },
  purpose: SEAL_PURPOSE,
  boundTo: ({ session_id: sessionId = '' }) => sessionId,
}

export interface Recorder {
  passed(from: Side, message: AgentMessage): void
  /** Writes what waits; the recording stays open. */
  flush(): Promise<void>
  /** Writes what is left and seals it. */
  end(bytes: { toNode: number; fromNode: number }): Promise<void>
}

export interface RecorderOptions {
  ground: Ground
  clock: Clock
  session: store.SessionRow
  /** The database is behind, or has caught up. */
  behind(isBehind: boolean): void
}

export function record({ ground, clock, session, behind }: RecorderOptions): Recorder {
  const { sessionId, startedAt } = session
  const isReadable = session.sessionType !== 'Port' && !session.encrypted
  const decoder = new TextDecoder()
  const early = new Map<number, AgentMessage>()
  let expected: number | undefined
  let lines: string[] = []
  let waiting = 0
  let last: store.Chained | undefined
  let tail = ''
  let writing: Promise<void> | undefined
  let timer: Disposable | undefined
  let isBehind = false
  let isSealed = false

  const at = () => Math.max(0, (ground.now().getTime() - startedAt.getTime()) / 1000)

  function line(kind: 'o' | 'r' | 'm', data: string | object): void {
    if (isSealed) return
    const text = eventLine(at(), kind, data)
    lines.push(text)
    waiting += text.length
    if (waiting > MAX_WAITING_BYTES && !isBehind) {
      isBehind = true
      behind(true)
    }
    if (waiting >= CHUNK_BYTES) void flush()
    else timer ??= clock.after(FLUSH_MS, () => void flush())
  }

  function flush(): Promise<void> {
    timer?.[Symbol.dispose]()
    timer = undefined
    writing ??= write().finally(() => {
      writing = undefined
    })
    return writing
  }

  async function write(): Promise<void> {
    try {
      last ??= await lastChunk()
      while (lines.length > 0) {
        const taken = lines
        lines = []
        const body = taken.join('')
        const shown = tail + shownText(outputOf(body))
        const next: store.Chained = { number: last.number + 1, hash: chained(last.hash, body) }
        try {
          await store.insertChunk(ground.sql, { sessionId, ...next, body, shown })
        } catch (error) {
          // Another process has sealed it: this one was taken for dead.
          if (sqlState(error) === UNIQUE_VIOLATION) return giveUp()
          lines = [...taken, ...lines]
          throw error
        }
        last = next
        tail = shown.slice(-OVERLAP)
        waiting = Math.max(0, waiting - body.length)
      }
      if (isBehind) {
        isBehind = false
        behind(false)
      }
    } catch (error) {
      ground.log.warn({ err: error, sessionId }, 'a recording could not be written; it is tried again')
      timer ??= clock.after(FLUSH_MS, () => void flush())
    }
  }

  function giveUp(): void {
    ground.log.error({ sessionId }, 'a recording goes no further: another process has sealed it')
    isSealed = true
    lines = []
    waiting = 0
    if (isBehind) behind(false)
    isBehind = false
  }

  /** A session that goes on after a restart of the server goes on in its recording, too, and says where. */
  async function lastChunk(): Promise<store.Chained> {
    const found = await store.readLastChunk(ground.sql, sessionId)
    lines.unshift(found ? eventLine(at(), 'm', { continued: true }) : `${JSON.stringify(headerOf(session))}\n`)
    return found ?? { number: 0, hash: FIRST_HASH }
  }

  function show({ payload, payloadType }: AgentMessage): void {
    if (payload.length > 0 && (payloadType === PAYLOAD_TYPE.Output || payloadType === PAYLOAD_TYPE.StdErr))
      line('o', decoder.decode(payload, { stream: true }))
  }

  /**
   * Messages may come out of order around a lost connection; the recording tells them in order, but for those of before
   * this process that come after newer ones: what the earlier process wrote of them is not known.
   */
  function inOrder(message: AgentMessage): void {
    expected ??= message.sequenceNumber
    if (message.sequenceNumber < expected) {
      show(message)
      return
    }
    early.set(message.sequenceNumber, message)
    for (;;) {
      const next = early.get(expected)
      if (!next) return
      early.delete(expected++)
      show(next)
    }
  }

  return {
    flush,
    passed(from, message) {
      if (!isReadable) return
      if (from === 'agent') inOrder(message)
      else if (message.payloadType === PAYLOAD_TYPE.Size) {
        const { cols, rows } = parseSize(message.payload)
        line('r', `${cols}x${rows}`)
      }
    },
    async end(bytes) {
      line('m', { ...aboutOf(session), ...bytes, seconds: at() })
      await writing
      await flush()
      if (lines.length > 0 || !last || isSealed) return // sealed later, by whoever finds it open
      await seal(ground, sessionId, last)
    },
  }
}

/**
 * Ends the recording of a session whose server died before it could: what was written stays, and the last line says how the
 * session ended and that what came after the last chunk is not there.
 */
export async function sealForgotten(ground: Ground, session: store.SessionRow): Promise<void> {
  const { sessionId, startedAt, endedAt, details } = session
  const last = await store.readLastChunk(ground.sql, sessionId)
  const seconds = Math.max(0, ((endedAt ?? ground.now()).getTime() - startedAt.getTime()) / 1000)
  const line = eventLine(seconds, 'm', { ...aboutOf(session), seconds, cutShort: true, ended: details })
  const body = last ? line : `${JSON.stringify(headerOf(session))}\n${line}`
  const next = { number: (last?.number ?? 0) + 1, hash: chained(last?.hash ?? FIRST_HASH, body) }
  await store.insertChunk(ground.sql, { sessionId, ...next, body, shown: '' })
  await seal(ground, sessionId, next)
}

async function seal(ground: Ground, sessionId: string, last: store.Chained): Promise<void> {
  const sealed = ground.sealer.seal(SEAL_PURPOSE, sealedText(last.number, last.hash), sessionId)
  await store.insertSeal(ground.sql, { sessionId, chunks: last.number, seal: sealed })
}

// ---- lines ----

const headerOf = ({ sessionId, documentName, nodeId, owner, startedAt, encrypted }: store.SessionRow) => ({
  version: 2,
  width: 80,
  height: 24,
  timestamp: Math.floor(startedAt.getTime() / 1000),
  title: `${sessionId} ${documentName} on ${nodeId} by ${owner}`,
  ...(encrypted && { encrypted }),
})

/** What is told of a session whose content is not recorded. */
const aboutOf = ({ sessionType, destination, encrypted }: store.SessionRow) => ({
  ...(sessionType === 'Port' && { destination }),
  ...(encrypted && { encrypted }),
})

/** Output, the terminal's size, or in JSON what happened to the session. */
const eventLine = (seconds: number, kind: 'o' | 'r' | 'm', data: string | object): string =>
  `${JSON.stringify([seconds, kind, typeof data === 'string' ? data : JSON.stringify(data)])}\n`

// ---- the chain ----

const chained = (before: Uint8Array, body: string): Buffer => createHash('sha256').update(before).update(body).digest()

const sealedText = (chunks: number, hash: Uint8Array): Buffer =>
  Buffer.from(JSON.stringify({ chunks, hash: Buffer.from(hash).toString('hex') }))

/** What can be said of a recording: whole and sealed, not sealed (it goes on, or its server died), or changed. */
export type Verdict = { state: 'sealed' | 'open' } | { state: 'broken'; chunk: number; reason: string }

export function verdictOf(
  ground: Pick<Ground, 'sealer'>,
  sessionId: string,
  chunks: readonly store.ChunkRow[],
  seal: store.SealRow | undefined,
): Verdict {
  let hash: Buffer = FIRST_HASH
  for (const [index, chunk] of chunks.entries()) {
    if (chunk.number !== index + 1) return { state: 'broken', chunk: index + 1, reason: 'it is missing' }
    hash = chained(hash, chunk.body)
    if (!hash.equals(chunk.hash)) return { state: 'broken', chunk: chunk.number, reason: 'it was changed' }
  }
  if (!seal) return { state: 'open' }
  const opened = ground.sealer.unseal(SEAL_PURPOSE, seal.seal, sessionId)
  return opened?.equals(sealedText(chunks.length, hash))
    ? { state: 'sealed' }
    : { state: 'broken', chunk: chunks.length + 1, reason: 'the seal does not fit: the end was cut off or rewritten' }
}
