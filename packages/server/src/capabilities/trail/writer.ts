/**
 * The batched writer: records wait here for a moment and go into their chain together, one statement for each account and
 * region. What could not be written is tried again, later each time, and never twice: the statement holds only if the
 * chain's head is where it was. Beyond MAX_WAITING records the oldest are given up, and a record says how many.
 */
import type { Scope } from '../../platform/arn.ts'
import type { Host } from '../../platform/capability.ts'
import { type Body, bodyOf, FIRST_HASH, followAll, indexOf, type Link, pack, sealedText } from './chain.ts'
import { type Facts, factsOf, newEventId, serviceRecord } from './event.ts'
import { enrol } from './roll.ts'
import * as store from './store.ts'

/** Records of one segment. */
const MAX_RECORDS = 1_000
/** Records wait so long for others to join them. */
const GATHER_MS = 100
const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 5_000
/** Records that wait while the database is away: about a minute of a busy process, 200 MB. */
const MAX_WAITING = 200_000
/** Tries for a head that other processes move at the same time. */
const MAX_TRIES = 100

export const SEAL_PURPOSE = { segment: 'trail segment', head: 'trail head', anchor: 'trail anchor' } as const
export const segmentName = ({ account, region }: Scope, lastSeq: number): string => `${account}/${region}/${lastSeq}`
export const chainName = ({ account, region }: Scope): string => `${account}/${region}`

/** A record on its way. */
export interface Entry {
  eventId: string
  at: number
  /** The whole record; called once. */
  record(): { text: string; facts: Facts }
  /** It waits in the database, too, and is taken out there; `perhaps`: nobody knows whether it does. */
  pending?: 'surely' | 'perhaps'
  /** What is kept apart; undefined: nothing. */
  content?: (() => Promise<store.ContentRow | undefined>) | undefined
  /** What was kept apart when it began is not to be kept. */
  dropContent?: boolean
}

export interface Writer extends AsyncDisposable {
  /** Written within a moment. */
  add(scope: Scope, entry: Entry): void
  /** Resolves when it is written; rejects where that fails. One that waits in the database is tried on all the same. */
  write(scope: Scope, entry: Entry): Promise<void>
  /** Resolves when all that was added before has been written, or could not be at the first try. */
  flush(scope?: Scope): Promise<void>
}

export class LostEntry extends Error {}

interface Waiting extends Entry {
  resolve?: (() => void) | undefined
  reject?: ((error: unknown) => void) | undefined
  made?: { text: string; facts: Facts; content: store.ContentRow | undefined }
}

interface Queue {
  scope: Scope
  waiting: Waiting[]
  head: Link | undefined
  writing: Promise<void> | undefined
  timer: Disposable | undefined
  failures: number
  /** Hashes that statements without an answer would have made, with the records that each took. */
  unsure: { hash: Buffer; entries: Waiting[] }[]
  lost: number
}

export function openWriter(host: Host): Writer {
  const queues = new Map<string, Queue>()
  let closed = false

  function queueOf(scope: Scope): Queue {
    const name = chainName(scope)
    let queue = queues.get(name)
    if (!queue) {
      const { account, region } = scope
      queue = {
        scope: { account, region },
        waiting: [],
        head: undefined,
        writing: undefined,
        timer: undefined,
        failures: 0,
        unsure: [],
        lost: 0,
      }
      queues.set(name, queue)
    }
    return queue
  }

  function push(queue: Queue, entry: Waiting): void {
    if (queue.waiting.length >= MAX_WAITING) {
      queue.waiting.splice(0, MAX_RECORDS)
      queue.lost += MAX_RECORDS
    }
    queue.waiting.push(entry)
  }

  function plan(queue: Queue, milliseconds: number): void {
    if (closed) return
    queue.timer ??= host.clock.after(milliseconds, () => {
      queue.timer = undefined
      void drain(queue)
    })
  }

  function drain(queue: Queue): Promise<void> {
    queue.timer?.[Symbol.dispose]()
    queue.timer = undefined
    queue.writing ??= writeAll(queue).finally(() => {
      queue.writing = undefined
      if (queue.waiting.length > 0) plan(queue, retryMs(queue.failures))
    })
    return queue.writing
  }

  async function writeAll(queue: Queue): Promise<void> {
    await new Promise(setImmediate) // let this turn's callers join
    while (queue.waiting.length > 0) {
      if (queue.lost > 0) queue.waiting.unshift(lossOf(host, queue))
      const taken = queue.waiting.splice(0, MAX_RECORDS)
      try {
        await appendAll(host, queue, await forgetWritten(host, queue, taken))
        queue.failures = 0
        for (const { resolve } of taken) resolve?.()
      } catch (error) {
        queue.head = undefined
        if (queue.failures++ === 0) host.log.error({ err: error }, 'the audit could not be written; it is tried again')
        for (const { reject } of taken) reject?.(error)
        // Whoever was refused for a read has nothing done that would need a record.
        const again = taken.filter((each) => each.pending || !each.reject)
        queue.waiting.unshift(...again.map(({ resolve: _, reject: __, ...entry }) => entry))
        return
      }
    }
  }

  return {
    add(scope, entry) {
      const queue = queueOf(scope)
      push(queue, entry)
      plan(queue, GATHER_MS)
    },
    write(scope, entry) {
      const queue = queueOf(scope)
      return new Promise((resolve, reject) => {
        push(queue, { ...entry, resolve, reject })
        void drain(queue)
      })
    },
    async flush(scope) {
      const all = scope ? [queueOf(scope)] : [...queues.values()]
      await Promise.all(
        all.map(async (queue) => {
          await queue.writing
          if (queue.waiting.length > 0) await drain(queue)
        }),
      )
    },
    async [Symbol.asyncDispose]() {
      await this.flush()
      closed = true
      for (const queue of queues.values()) queue.timer?.[Symbol.dispose]()
    },
  }
}

const retryMs = (failures: number): number => Math.min(FIRST_RETRY_MS * 2 ** failures, LONGEST_RETRY_MS)

/** The record that says what is missing. */
function lossOf(host: Host, queue: Queue): Waiting {
  const { scope, lost } = queue
  queue.lost = 0
  host.log.error({ ...scope, lost }, 'the database was away for too long: records of the audit are lost')
  const at = host.now().getTime()
  const eventId = newEventId(at)
  const event = {
    eventName: 'RecordsLost',
    eventSource: 'cloudtrail.amazonaws.com',
    serviceEventDetails: { records: lost, reason: 'The database was away for too long.' },
  }
  return { eventId, at, record: () => wholeRecord(serviceRecord(event, { scope, eventId, at })) }
}

export const wholeRecord = (text: string): { text: string; facts: Facts } => ({ text, facts: factsOf(text) })

/** `taken` without what a statement that had no answer has written after all. */
async function forgetWritten(host: Host, queue: Queue, taken: Waiting[]): Promise<Waiting[]> {
  if (queue.unsure.length === 0) return taken
  const hashes = queue.unsure.map(({ hash }) => hash)
  const ends = new Set(await store.findHashes(host.sql, queue.scope, hashes))
  const written = queue.unsure.flatMap(({ hash, entries }) => (ends.has(hash.toString('hex')) ? entries : []))
  const ids = new Set(written.map(({ eventId }) => eventId))
  queue.unsure = []
  queue.waiting = queue.waiting.filter(({ eventId }) => !ids.has(eventId))
  return taken.filter(({ eventId }) => !ids.has(eventId))
}

/** At once unless it has a content to seal: of a thousand reads none waits for a turn of its own. */
function make(host: Host, entry: Waiting): NonNullable<Waiting['made']> | Promise<NonNullable<Waiting['made']>> {
  try {
    const { text, facts } = entry.record()
    if (!entry.content) return { text, facts, content: undefined }
    return entry.content().then(
      (content) => ({ text, facts, content }),
      (error: unknown) => unmade(host, entry, error),
    )
  } catch (error) {
    return unmade(host, entry, error)
  }
}

/** A record that cannot be made must not keep the others from being written. */
function unmade(host: Host, entry: Waiting, error: unknown): NonNullable<Waiting['made']> {
  host.log.error({ err: error, eventId: entry.eventId }, 'a record of the audit could not be made')
  return { ...wholeRecord(UNMADE(entry)), content: undefined }
}

const UNMADE = ({ eventId, at }: Entry): string =>
  serviceRecord(
    { eventName: 'RecordFailed', eventSource: 'cloudtrail.amazonaws.com', serviceEventDetails: { eventId } },
    { scope: { account: '', region: '' }, eventId, at },
  )

async function appendAll(host: Host, queue: Queue, taken: Waiting[]): Promise<void> {
  let entries = taken
  for (const entry of entries) {
    if (entry.made) continue
    const made = make(host, entry)
    entry.made = made instanceof Promise ? await made : made
  }
  let body: { plain: Body; packed: Buffer } | undefined
  for (let tries = 0; entries.length > 0; tries++) {
    if (tries === MAX_TRIES) throw new Error('the head of the chain never held still')
    body ??= await bodyFor(entries)
    queue.head ??= await headOf(host, queue.scope)
    const expected = queue.head
    const { last, tags } = followAll(expected, body.plain)
    queue.unsure.push({ hash: last.hash, entries })
    const done = await store.append(
      host.sql,
      statementOf(host, queue.scope, { entries, expected, last, tags, body: body.packed }),
    )
    queue.unsure.pop()
    if (done) {
      queue.head = last
      return
    }
    queue.head = undefined
    const waits = entries.filter(({ pending }) => pending === 'surely')
    if (waits.length === 0) continue
    // What was closed by another process meanwhile has its record.
    const still = await store.existingPending(
      host.sql,
      waits.map(({ eventId }) => eventId),
    )
    const kept = entries.filter(({ pending, eventId }) => pending !== 'surely' || still.has(eventId))
    if (kept.length === entries.length) continue
    for (const entry of entries)
      if (!kept.includes(entry)) entry.reject?.(new LostEntry('its outcome was recorded as unknown'))
    entries = kept
    body = undefined
  }
}

async function bodyFor(entries: Waiting[]): Promise<{ plain: Body; packed: Buffer }> {
  const plain = bodyOf(entries.map(({ made }) => made!.text))
  return { plain, packed: await pack(plain) }
}

function statementOf(
  { sealer }: Host,
  scope: Scope,
  made: { entries: Waiting[]; expected: Link; last: Link; tags: Buffer; body: Buffer },
): store.Append {
  const { entries, expected, last, tags, body } = made
  const moments = entries.map(({ at }) => at)
  const [first = 0] = moments
  return {
    ...scope,
    expected,
    segment: {
      last,
      firstAt: new Date(moments.reduce((least, at) => Math.min(least, at), first)),
      lastAt: new Date(moments.reduce((most, at) => Math.max(most, at), first)),
      seal: sealer.seal(SEAL_PURPOSE.segment, sealedText(last), segmentName(scope, last.seq)),
      tags,
      attributes: indexOf(entries.map(({ made }) => made!.facts)),
      body,
    },
    seal: sealer.seal(SEAL_PURPOSE.head, sealedText(last), chainName(scope)),
    pending: idsOf(entries.filter(({ pending }) => pending === 'surely')),
    perhaps: idsOf(entries.filter(({ pending }) => pending === 'perhaps')),
    contents: entries.map(({ made }) => made?.content).filter((content) => content !== undefined),
    dropped: idsOf(entries.filter(({ dropContent }) => dropContent)),
  }
}

const idsOf = (entries: Waiting[]): string[] => entries.map(({ eventId }) => eventId)

/** The chain's end; a chain that does not exist is begun and put on the roll. */
async function headOf(host: Host, scope: Scope): Promise<Link> {
  const chain = await store.readChain(host.sql, scope)
  if (chain) return chain.head
  const link = { seq: 0, hash: FIRST_HASH }
  await host.transaction(async (ground) => {
    await enrol(ground, scope)
    const seal = (purpose: string) => ground.sealer.seal(purpose, sealedText(link), chainName(scope))
    const [headSeal, anchorSeal] = [seal(SEAL_PURPOSE.head), seal(SEAL_PURPOSE.anchor)]
    await store.insertChain(ground.sql, { ...scope, head: link, seal: headSeal, anchor: link, anchorSeal })
  })
  return (await store.readChain(host.sql, scope))?.head ?? link
}
