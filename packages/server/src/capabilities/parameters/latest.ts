/**
 * The latest versions that were read of late, kept in memory: a parameter that is read often costs no statement. Whoever
 * writes one wakes PARAMETER_WAKE with its identity after the commit, this process before it answers the writer, the others
 * by NOTIFY; so a process always reads what it wrote, and another's write within a moment. What a transaction reads is its
 * own: there is nothing kept for it, nor for a write, which must know the revision that it replaces.
 */
import type { Host } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { inTransaction } from '../../platform/gathered.ts'
import type { Sealer } from '../../platform/seal.ts'
import { identity, type LatestRow, PARAMETER_WAKE, readLatest } from './store.ts'

/** A lost wake must not keep an old value alive: nothing is believed for longer than this. */
const BELIEVE_MS = 5_000
const MAX_KEPT = 50_000
/** Characters of all values that are kept: some 32 MB. */
const MAX_CHARACTERS = 32 * 1024 * 1024

interface Kept {
  rows: Map<string, { row: LatestRow; until: number }>
  characters: number
  /** Counts wakes: what is read while one comes in may be older than it, and is used once. */
  generation: number
}

/** By the sealer, of which a server process has one. */
const ofProcess = new WeakMap<Sealer, Kept>()

export function keepLatest(host: Host): Disposable {
  const kept: Kept = { rows: new Map(), characters: 0, generation: 0 }
  ofProcess.set(host.sealer, kept)
  return host.onWake(PARAMETER_WAKE, (name) => {
    kept.generation++
    if (name === undefined) clear(kept)
    else kept.rows.delete(name)
  })
}

function clear(kept: Kept): void {
  kept.rows.clear()
  kept.characters = 0
}

/** The latest version; undefined: there is no such parameter. */
export function latestOf(context: Context, nameKey: string): Promise<LatestRow | undefined> | LatestRow {
  const kept = inTransaction(context.sql) ? undefined : ofProcess.get(context.sealer)
  if (!kept) return readLatest(context, nameKey)
  const name = identity({ account: context.account, region: context.region, nameKey })
  const now = context.now().getTime()
  const known = kept.rows.get(name)
  return known && known.until > now ? known.row : read(context, kept, name, nameKey, now)
}

async function read(context: Context, kept: Kept, name: string, nameKey: string, now: number) {
  const asOf = kept.generation
  const row = await readLatest(context, nameKey)
  if (row && asOf === kept.generation) {
    kept.characters += row.value.length
    if (kept.rows.size >= MAX_KEPT || kept.characters > MAX_CHARACTERS) clear(kept)
    kept.rows.set(name, { row, until: now + BELIEVE_MS })
  }
  return row
}
