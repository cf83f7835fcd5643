/**
 * Whether the audit is as it was written, found out from the database and the root key alone: every chain of the roll is
 * followed from its anchor to its sealed head. Names the first record that was changed, removed, put in between or cut
 * off. What it cannot see by itself is a chain that was put back to what it was before, head and all: give it the heads of
 * an earlier verification, kept elsewhere, to see that, too.
 */
import type { Scope } from '../../platform/arn.ts'
import type { Database, Sql } from '../../platform/database.ts'
import type { Sealer } from '../../platform/seal.ts'
import { FIRST_HASH, follow, indexOf, type Link, sealedText, TAG_BYTES, unpack } from './chain.ts'
import { factsOf, momentOf } from './event.ts'
import { openRoll } from './roll.ts'
import {
  type ChainRow,
  inSnapshot,
  readChain,
  readChains,
  readRoll,
  readScopes,
  readSegments,
  type SegmentRow,
} from './store.ts'
import { chainName, SEAL_PURPOSE, segmentName } from './writer.ts'

const SEGMENTS_AT_A_TIME = 50

/** The first thing that is wrong with a chain. */
export interface Flaw {
  /** The number of the first bad record. */
  record: number
  /** Its event id, where it can still be told. */
  eventId?: string
  reason: string
}

export interface ChainReport extends Scope {
  /** Records that are there and as they were written, up to the flaw if there is one. */
  records: number
  /** Records before the first one, trimmed by age. */
  trimmed: number
  /** Bytes that these records take, without indexes. */
  bytes: number
  /** The last good record's hash in hex. */
  hash: string
  flaw?: Flaw
}

/** What a chain ended with when it was verified before. */
export interface EarlierHead extends Scope {
  seq: number
  /** In hex. */
  hash: string
}

export interface TrailReport {
  chains: ChainReport[]
  /** What is wrong with the audit as a whole. */
  flaw?: string
}

/** Reads one snapshot of the database; servers may go on writing meanwhile. */
export async function verifyTrail(
  database: Database,
  sealer: Sealer,
  only: Partial<Scope> = {},
  earlier: readonly EarlierHead[] = [],
): Promise<TrailReport> {
  return inSnapshot(database, async (sql) => {
    const isWanted = ({ account, region }: Scope) =>
      (only.account ?? account) === account && (only.region ?? region) === region
    const roll = await readRoll(sql)
    const listed = roll && openRoll(sealer, roll)
    const known = new Map<string, Scope>()
    for (const scope of [...(listed ?? []), ...(await readChains(sql)), ...(await readScopes(sql)), ...earlier])
      known.set(chainName(scope), { account: scope.account, region: scope.region })
    const chains: ChainReport[] = []
    for (const [, scope] of [...known].sort(([one], [other]) => (one < other ? -1 : 1)))
      if (isWanted(scope)) chains.push(await verifyChain(sql, sealer, scope, headsOf(scope, earlier)))
    if (listed) return { chains }
    return { chains, flaw: roll ? 'the roll of chains was changed' : 'the roll of chains is gone' }
  })
}

const headsOf = ({ account, region }: Scope, earlier: readonly EarlierHead[]): Map<number, string> =>
  new Map(
    earlier
      .filter((head) => head.account === account && head.region === region)
      .map(({ seq, hash }): [number, string] => [seq, hash]),
  )

class FlawFound extends Error {
  readonly flaw: Flaw
  constructor(flaw: Flaw) {
    super(flaw.reason)
    this.flaw = flaw
  }
}

interface State {
  anchor: number
  link: Link
  bytes: number
  /** Hashes of records that were seen before. */
  seen: ReadonlyMap<number, string>
}

async function verifyChain(
  sql: Sql,
  sealer: Sealer,
  scope: Scope,
  seen: ReadonlyMap<number, string>,
): Promise<ChainReport> {
  const state: State = { anchor: 0, link: { seq: 0, hash: FIRST_HASH }, bytes: 0, seen }
  const report = (): ChainReport => ({
    ...scope,
    records: state.link.seq - state.anchor,
    trimmed: state.anchor,
    bytes: state.bytes,
    hash: state.link.hash.toString('hex'),
  })
  try {
    const chain = await readChain(sql, scope)
    if (!chain) throw new FlawFound({ record: 1, reason: 'the head of the chain is gone' })
    checkAnchor(sealer, chain)
    state.anchor = chain.anchor.seq
    state.link = chain.anchor
    checkSeen(state)
    for (let after = -1; ; ) {
      const segments = await readSegments(sql, scope, after, SEGMENTS_AT_A_TIME)
      for (const segment of segments) {
        await verifySegment(sealer, scope, segment, state)
        after = segment.lastSeq
      }
      if (segments.length < SEGMENTS_AT_A_TIME) break
    }
    checkHead(sealer, chain, state.link)
    checkLength(state)
    return report()
  } catch (error) {
    if (error instanceof FlawFound) return { ...report(), flaw: error.flaw }
    throw error
  }
}

const isSealed = (sealer: Sealer, purpose: string, seal: Uint8Array, name: string, link: Link): boolean =>
  sealer.unseal(purpose, seal, name)?.equals(sealedText(link)) ?? false

function checkAnchor(sealer: Sealer, chain: ChainRow): void {
  if (!isSealed(sealer, SEAL_PURPOSE.anchor, chain.anchorSeal, chainName(chain), chain.anchor))
    throw new FlawFound({ record: 1, reason: 'what tells where the chain begins was changed' })
}

function checkHead(sealer: Sealer, chain: ChainRow, link: Link): void {
  const isOwn = isSealed(sealer, SEAL_PURPOSE.head, chain.seal, chainName(chain), chain.head)
  if (!isOwn) throw new FlawFound({ record: link.seq + 1, reason: 'what tells where the chain ends was changed' })
  if (chain.head.seq > link.seq)
    throw new FlawFound({
      record: link.seq + 1,
      reason: `it is missing: the end was cut off, ${chain.head.seq - link.seq} records long`,
    })
  if (chain.head.seq < link.seq)
    throw new FlawFound({ record: chain.head.seq + 1, reason: 'it was put behind the end' })
  if (!chain.head.hash.equals(link.hash))
    throw new FlawFound({ record: link.seq, reason: 'it is not what the chain ends with' })
}

function checkSeen({ link, seen }: State): void {
  const before = seen.get(link.seq)
  if (before !== undefined && before !== link.hash.toString('hex'))
    throw new FlawFound({
      record: link.seq,
      reason: 'it is not the one that was seen before: the chain was put back and continued',
    })
}

function checkLength({ link, seen }: State): void {
  const last = Math.max(0, ...seen.keys())
  if (last > link.seq)
    throw new FlawFound({
      record: link.seq + 1,
      reason: `it is missing: the chain was put back, it had ${last} records before`,
    })
}

async function verifySegment(sealer: Sealer, scope: Scope, segment: SegmentRow, state: State): Promise<void> {
  const { firstSeq, lastSeq, tags } = segment
  const expected = state.link.seq + 1
  if (firstSeq > expected)
    throw new FlawFound({ record: expected, reason: `it is missing, and so is all up to ${firstSeq - 1}` })
  if (firstSeq < expected) throw new FlawFound({ record: firstSeq, reason: 'it is not where it belongs' })
  const texts = await unpack(segment.body).catch(() => {
    throw new FlawFound({ record: firstSeq, reason: 'it cannot be read: it was changed' })
  })
  for (const [index, text] of texts.entries()) {
    const next = follow(state.link, text)
    const tag = tags.subarray(index * TAG_BYTES, (index + 1) * TAG_BYTES)
    if (next.seq > lastSeq) throw new FlawFound({ record: next.seq, ...idOf(text), reason: 'it was put in' })
    if (!next.hash.subarray(0, TAG_BYTES).equals(tag))
      throw new FlawFound({
        record: next.seq,
        ...idOf(text),
        reason: 'it was changed, or what was before it is missing',
      })
    state.link = next
    checkSeen(state)
  }
  if (tags.length !== texts.length * TAG_BYTES)
    throw new FlawFound({ record: firstSeq, reason: 'its tags were changed' })
  if (state.link.seq < lastSeq) throw new FlawFound({ record: state.link.seq + 1, reason: 'it is missing' })
  const isOwn = isSealed(sealer, SEAL_PURPOSE.segment, segment.seal, segmentName(scope, lastSeq), state.link)
  if (!isOwn || !segment.hash.equals(state.link.hash))
    throw new FlawFound({
      record: firstSeq,
      reason: `it or one of those up to ${lastSeq} was rewritten: the seal does not fit`,
    })
  checkIndex(segment, texts)
  state.bytes += segment.body.length
}

/** A record that is there and cannot be looked up is as good as removed. */
function checkIndex({ firstSeq, firstAt, lastAt, attributes }: SegmentRow, texts: string[]): void {
  const facts = texts.map(factsOf)
  const moments = facts.map(({ eventId }) => momentOf(eventId))
  const spans = moments.every((at) => at >= firstAt.getTime() && at <= lastAt.getTime())
  if (!spans || indexOf(facts).join() !== attributes.join())
    throw new FlawFound({ record: firstSeq, reason: 'it is hidden from LookupEvents: its index was changed' })
}

function idOf(text: string): { eventId?: string } {
  const [, eventId] = /"eventID":"([0-9a-f-]{36})"/.exec(text) ?? []
  return eventId === undefined ? {} : { eventId }
}
