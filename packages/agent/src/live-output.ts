// The whole output of running documents, sent as it is written: what scripts wrote to disk is read on from where the
// control plane says that it is. One chunk of a stream is under way at a time, so a slow control plane slows this and
// nothing else. A control plane that does not know these messages never answers, and then hears of them every half
// minute only. What is not taken when its document ends is noted in a folder, so that a later agent goes on with it.
// Called by main.ts, mail.ts and runner.ts.

import { randomUUID } from 'node:crypto'
import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  buildJobId,
  buildOutputChunk,
  OUTPUT_CHUNK_BYTES,
  OUTPUT_MESSAGE,
  OUTPUT_STREAMS,
  type OutputAck,
  type OutputStream,
} from '@musterbook/wire'
import type { DataFolder } from './data-folder.ts'
import { isMissing, writeDurably } from './durable-files.ts'
import { isCommandId } from './inbox.ts'
import { type Log, reason } from './log.ts'
import { type Orchestration, orchestrationOf, readStepBegin, stepFolder } from './orchestration.ts'
import type { SendMessage } from './outbox.ts'

/** Milliseconds between two looks at what scripts have written. */
const LOOK_EVERY = 250
/** A chunk without an answer is sent again after this long; doubled each time, up to the longest. */
const FIRST_PATIENCE = 5_000
const LONGEST_PATIENCE = 30_000
/** A step is reported once its output is there, or after this long, in milliseconds. */
const FLUSH_PATIENCE = 3_000
/** The same while it is not known whether the control plane takes output at all. */
const FIRST_FLUSH_PATIENCE = 300
/**
 * Output that the control plane does not take within this many milliseconds of an open channel, once its document has
 * ended, is given up: it does not know these messages.
 */
const KEEP_AFTER_END = 10 * 60_000

export interface LiveOutput {
  follow(jobId: string, at: Orchestration): void
  /** Resolves when everything written so far is held by the control plane, or after some seconds. */
  flushed(jobId: string): Promise<void>
  /** Nothing more will be written. Resolves once what is still to be sent is noted on disk. */
  ended(jobId: string): Promise<void>
  acknowledged(ack: OutputAck): void
  /** The channel is a new one: everything unanswered is sent again. */
  channelOpened(): void
  close(): void
}

interface Stream {
  step: string
  stream: OutputStream
  path: string
  /** Bytes that the control plane holds. */
  next: number
  /** When the chunk under way was sent; 0: none is. */
  sent: number
  patience: number
  /** True once everything on disk has been taken. */
  drained: boolean
}

interface Followed {
  at: Orchestration
  streams: Map<string, Stream>
  endedAt: number | undefined
  waiting: Set<() => void>
}

/** Takes up what an earlier agent noted. */
export async function openLiveOutput(
  folder: DataFolder,
  instanceId: string,
  send: SendMessage,
  log: Log,
): Promise<LiveOutput> {
  const documents = await readUnsent(folder, instanceId, log)
  let openedAt = 0
  let busy = false
  let known = false
  let timer: NodeJS.Timeout | undefined
  if (documents.size > 0) begin()

  function begin(): void {
    timer ??= setInterval(() => void look(), LOOK_EVERY)
  }

  async function lookAt(jobId: string, document: Followed): Promise<void> {
    // Before reading: what was written between the reading and the end is for the next look.
    const { endedAt } = document
    await findStreams(document)
    for (const stream of document.streams.values()) await pump(jobId, stream)
    if (isDrained(document)) for (const done of document.waiting) done()
    if (endedAt === undefined || (!isDrained(document) && !isRefused(document, endedAt))) return
    documents.delete(jobId)
    await rm(unsentMark(folder, jobId), { force: true })
  }

  /** Was said again and again over an open channel, and never answered. */
  function isRefused({ streams }: Followed, endedAt: number): boolean {
    const isSaid = [...streams.values()].some(({ sent }) => sent > 0)
    return isSaid && Date.now() - Math.max(endedAt, openedAt) > KEEP_AFTER_END
  }

  async function pump(jobId: string, stream: Stream): Promise<void> {
    if (stream.sent > 0 && Date.now() - stream.sent < stream.patience) return
    const { step, stream: name, next: start } = stream
    const bytes = await readFrom(stream.path, start)
    // Acknowledged while it was read: these bytes would go out as those that follow. The acknowledgement goes on itself.
    if (stream.next !== start) return
    stream.drained = bytes.length === 0
    if (stream.drained) return
    if (stream.sent > 0) stream.patience = Math.min(stream.patience * 2, LONGEST_PATIENCE)
    const chunk = buildOutputChunk({ jobId, step, stream: name, start, data: bytes.toString('base64') })
    if (send(OUTPUT_MESSAGE.output, randomUUID(), chunk)) stream.sent = Date.now()
  }

  async function look(): Promise<void> {
    if (busy) return
    busy = true
    try {
      for (const [jobId, document] of documents) await lookAt(jobId, document)
    } catch (error) {
      log.warn('output not sent', { reason: reason(error) })
    } finally {
      busy = false
      if (documents.size === 0) stop()
    }
  }

  function stop(): void {
    clearInterval(timer)
    timer = undefined
  }

  return {
    follow(jobId, at) {
      if (!documents.has(jobId))
        documents.set(jobId, { at, streams: new Map(), endedAt: undefined, waiting: new Set() })
      begin()
    },
    flushed(jobId) {
      const document = documents.get(jobId)
      if (document === undefined) return Promise.resolve()
      return new Promise((resolve) => {
        const finish = () => {
          clearTimeout(patience)
          document.waiting.delete(finish)
          resolve()
        }
        const patience = setTimeout(finish, known ? FLUSH_PATIENCE : FIRST_FLUSH_PATIENCE)
        for (const stream of document.streams.values()) stream.drained = false
        document.waiting.add(finish)
        void look()
      })
    },
    async ended(jobId) {
      const document = documents.get(jobId)
      if (document === undefined) return
      if (await hasMore(document)) await writeDurably(unsentMark(folder, jobId), '')
      document.endedAt = Date.now()
    },
    acknowledged({ jobId, step, stream: name, next }) {
      known = true
      const document = documents.get(jobId)
      const stream = document?.streams.get(`${name} ${step}`)
      if (document === undefined || stream === undefined) return
      stream.next = next
      stream.sent = 0
      stream.patience = FIRST_PATIENCE
      void pump(jobId, stream)
        .then(() => {
          if (isDrained(document)) for (const done of document.waiting) done()
        })
        .catch((error) => log.warn('output not sent', { reason: reason(error) }))
    },
    channelOpened() {
      openedAt = Date.now()
      for (const { streams } of documents.values()) for (const stream of streams.values()) stream.sent = 0
    },
    close: stop,
  }
}

const isDrained = ({ streams }: Followed): boolean => [...streams.values()].every(({ drained }) => drained)

/** Whether anything that was written is not held by the control plane. */
async function hasMore(document: Followed): Promise<boolean> {
  await findStreams(document)
  for (const { path, next } of document.streams.values()) if ((await sizeOf(path)) > next) return true
  return false
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (isMissing(error)) return 0
    throw error
  }
}

const unsentMark = (folder: DataFolder, jobId: string): string => join(folder.unsent, `${commandIdOf(jobId)}.json`)

const commandIdOf = (jobId: string): string => jobId.split('.')[2] ?? ''

/** The documents that ended before everything they wrote was taken; the control plane says from where it wants the rest. */
async function readUnsent(folder: DataFolder, instanceId: string, log: Log): Promise<Map<string, Followed>> {
  const documents = new Map<string, Followed>()
  for (const name of await readdir(folder.unsent)) {
    const commandId = name.replace(/\.json$/, '')
    if (!name.endsWith('.json') || !isCommandId(commandId)) {
      await rm(join(folder.unsent, name), { force: true })
      continue
    }
    const jobId = buildJobId(commandId, instanceId)
    const at = orchestrationOf(folder.orchestration, commandId)
    documents.set(jobId, { at, streams: new Map(), endedAt: Date.now(), waiting: new Set() })
    log.info('output of an ended document goes on', { jobId })
  }
  return documents
}

/** Adds the streams of steps that have begun since. */
async function findStreams({ at, streams }: Followed): Promise<void> {
  for (const name of await namesIn(at.results)) {
    const index = /^(\d+)\.begin$/.exec(name)?.[1]
    if (index === undefined) continue
    const begin = await readStepBegin(at, Number(index))
    if (begin === undefined) continue
    for (const stream of OUTPUT_STREAMS) {
      const key = `${stream} ${begin.id}`
      if (streams.has(key)) continue
      const path = join(stepFolder(at, Number(index), begin.id), stream)
      streams.set(key, {
        step: begin.id,
        stream,
        path,
        next: 0,
        sent: 0,
        patience: FIRST_PATIENCE,
        drained: false,
      })
    }
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error) => {
    if (isMissing(error)) return []
    throw error
  })
}

/** What stands in the file from there on, at most one chunk. */
async function readFrom(path: string, start: number): Promise<Buffer> {
  try {
    const file = await open(path, 'r')
    try {
      // Four looks a second at streams that mostly have nothing new: 64 KB for each would be all of the agent's garbage.
      const length = Math.min((await file.stat()).size - start, OUTPUT_CHUNK_BYTES)
      if (length <= 0) return Buffer.alloc(0)
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, start)
      return buffer.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isMissing(error)) return Buffer.alloc(0)
    throw error
  }
}
