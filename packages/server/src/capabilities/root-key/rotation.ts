/**
 * The change of the root key while everything runs, in phases that the database remembers:
 *
 *   introduced   every process learns the new key and puts it where its keys come from
 *   switching    every process seals with the new key
 *   rewrapping   what lies under the old key is sealed again, in batches
 *   waiting      nothing at rest needs the old key; clients may hold tokens under it until `retire_at`
 *   done         the old key is forgotten
 *
 * Each phase begins when every process that lives has done its part of the one before, so that no process ever meets a
 * seal whose key it does not hold. Any process may die at any point: what remains to be done is read from the database.
 */
import { randomBytes } from 'node:crypto'
import type { Reconciler } from '../../platform/capability.ts'
import type { Ground, WorkContext } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { ROOT_KEY_BYTES, rootKeyName, type SealedColumn, type Sealer, sealedUnder } from '../../platform/seal.ts'
import * as store from './store.ts'

export const ROOT_KEY_WAKE = 'root-key'
const PURPOSE = 'root key handover'
const BEAT_SECONDS = 15
/** A process that was not heard of for this long takes no part. */
const DEAD_AFTER_MS = 60_000
/** Rows of one transaction, which holds them for some 20 ms. */
const BATCH = 500
/** The longest-lived thing that clients hold sealed: session tokens of GetSessionToken and GetFederationToken, 36 hours. */
const LONGEST_TOKEN_MS = 36 * 3_600_000
/** How soon the others are looked at again. */
const ASK_AGAIN_MS = 1_000

/** Held and seals with what the database says, at a start and whenever the change has gone on. */
export async function adopt({ sql, sealer }: Pick<Ground, 'sql' | 'sealer'>): Promise<store.RotationRow | undefined> {
  const rotation = await store.readRotation(sql)
  const { rootKeys } = sealer
  if (!rotation) return undefined
  const { phase, oldName, newName, handover } = rotation
  if (!rootKeys.names().includes(newName) && handover) {
    const key = sealer.unseal(PURPOSE, handover, newName)
    if (key && rootKeyName(key) === newName) rootKeys.learn(key)
  }
  const holds = (name: string) => rootKeys.names().includes(name)
  if (!holds(newName)) return rotation // a process without it says so at its start
  const inUse = phase === 'introduced' ? oldName : newName
  if (rootKeys.current() !== inUse && holds(inUse)) rootKeys.use(inUse)
  const kept = rootKeys.kept()
  if (phase === 'done') {
    if (rootKeys.canKeep && kept.includes(oldName)) await rootKeys.keep(without(kept, oldName))
    if (holds(oldName)) rootKeys.forget(oldName)
  } else if (rootKeys.canKeep && !kept.includes(newName)) await rootKeys.keep([newName, ...kept])
  return rotation
}

const without = (names: string[], name: string) => names.filter((other) => other !== name)

export const holderOf = ({ rootKeys }: Sealer, processId: string): store.HolderRow => ({
  processId,
  origin: rootKeys.origin,
  canKeep: rootKeys.canKeep,
  held: rootKeys.names(),
  kept: rootKeys.kept(),
  sealsWith: rootKeys.current(),
})

export const livingHolders = ({ sql, now }: Pick<Ground, 'sql' | 'now'>): Promise<store.HolderRow[]> =>
  store.readHolders(sql, new Date(now().getTime() - DEAD_AFTER_MS))

/** What has to be told to people. ValidationException. */
const refused = (message: string) => new AwsError('ValidationException', message)

/**
 * Begins a change, to a key that every process has been given already or to one that is made now. One that goes on stays,
 * and hurries from now on if that is asked. ValidationException when some process could not keep a new key.
 */
export function beginRotation(ground: Ground, hurry: boolean): Promise<void> {
  return ground.transaction(async ({ sql, sealer, now, wake }) => {
    const going = await store.lockRotation(sql)
    if (going && going.phase !== 'done') {
      if (hurry) await store.changeRotation(sql, { hurry })
      if (hurry && going.phase === 'waiting') await store.changeRotation(sql, { retire_at: now() })
      return wake(ROOT_KEY_WAKE)
    }
    const oldName = sealer.rootKeys.current()
    const holders = await livingHolders({ sql, now })
    // Before the one in use: what stands behind it is a former key that its operator has not taken away.
    const ahead = (kept: string[]) => kept.slice(0, kept.indexOf(oldName))
    const given = ahead(sealer.rootKeys.kept()).find((name) => holders.every(({ kept }) => ahead(kept).includes(name)))
    const fixed = holders.find(({ canKeep }) => !canKeep)
    if (given === undefined && fixed)
      throw refused(
        `A server process takes its root key from ${fixed.origin}, which only you can change: give all processes the new key there before the one in use, start them again one after the other, and ask again.`,
      )
    const made = given === undefined ? randomBytes(ROOT_KEY_BYTES) : undefined
    const newName = given ?? rootKeyName(made!)
    const handover = made ? sealer.seal(PURPOSE, made, newName) : null
    if (!(await store.insertRotation(sql, { oldName, newName, handover, hurry, startedAt: now() })))
      throw refused('Another change of the root key has just begun.')
    wake(ROOT_KEY_WAKE)
  })
}

export const keepRootKeys = (columns: readonly SealedColumn[]): Reconciler => {
  let told = ''
  return {
    name: 'root-key.rotation',
    wakes: [ROOT_KEY_WAKE],
    everySeconds: BEAT_SECONDS,
    async run(work) {
      const rotation = await adopt(work)
      const holder = holderOf(work.sealer, work.processId)
      await store.writeHolder(work.sql, holder, work.now())
      await store.deleteHolders(work.sql, new Date(work.now().getTime() - 10 * DEAD_AFTER_MS))
      const telling = JSON.stringify(holder)
      if (rotation && telling !== told) work.wake(ROOT_KEY_WAKE) // somebody waits for it
      told = telling
      if (!rotation || rotation.phase === 'done') return undefined
      return advance(work, columns)
    },
  }
}

/** Does what is due; returns when to look again. */
async function advance(work: WorkContext, columns: readonly SealedColumn[]): Promise<Date | undefined> {
  const position: Position = { column: 0, after: undefined }
  for (;;) {
    if (work.signal.aborted) return undefined
    const step = await work.transaction((inner) => advanceOnce(inner, columns, position))
    if (step === 'again') continue
    return step === 'later' ? new Date(work.now().getTime() + ASK_AGAIN_MS) : step
  }
}

interface Position {
  column: number
  after: Record<string, string> | undefined
}

type Step = 'again' | 'later' | Date | undefined

async function advanceOnce(
  work: Pick<Ground, 'sql' | 'sealer' | 'now' | 'wake' | 'log'>,
  columns: readonly SealedColumn[],
  position: Position,
): Promise<Step> {
  const { sql } = work
  const rotation = await store.holdRotation(sql)
  if (!rotation) return 'later'
  const { phase, newName, retireAt } = rotation
  const holders = await livingHolders(work)
  const next = async (changes: Parameters<typeof store.changeRotation>[1]): Promise<undefined> => {
    await store.changeRotation(sql, changes)
    work.wake(ROOT_KEY_WAKE)
  }
  if (phase === 'introduced')
    return holders.every(({ held }) => held.includes(newName)) ? next({ phase: 'switching' }) : 'later'
  if (phase === 'switching')
    return holders.every(({ sealsWith }) => sealsWith === newName) ? next({ phase: 'rewrapping' }) : 'later'
  if (phase === 'rewrapping') return rewrap(work, columns, position, rotation, next)
  if (phase === 'done') return undefined
  const late = holders.find(({ kept }) => !kept.includes(newName))
  if (late) {
    const problem = `${late.origin} of a server process does not hold the new root key yet`
    if (rotation.problem !== problem) await store.changeRotation(sql, { problem })
    return 'later'
  }
  if (retireAt && retireAt > work.now()) return retireAt
  return next({ phase: 'done', problem: null, ended_at: work.now() })
}

async function rewrap(
  work: Pick<Ground, 'sql' | 'sealer' | 'now' | 'log'>,
  columns: readonly SealedColumn[],
  position: Position,
  { oldName, rewrapped, hurry, problem: before }: store.RotationRow,
  next: (changes: Parameters<typeof store.changeRotation>[1]) => Promise<undefined>,
): Promise<Step> {
  const { sql, sealer, now, log } = work
  const column = columns[position.column]
  if (column) {
    const rows = await store.readSealedRows(sql, column, oldName, position.after, BATCH)
    const made = rows.flatMap(({ row, sealed }) => {
      const plain = sealer.unseal(column.purpose, sealed, column.boundTo(row))
      return plain ? [{ row, sealed: sealer.seal(column.purpose, plain, column.boundTo(row)) }] : []
    })
    if (made.length > 0) await store.writeSealedRows(sql, column, made)
    if (made.length > 0) await store.changeRotation(sql, { rewrapped: rewrapped + made.length })
    if (rows.length < BATCH) position.column++
    position.after = rows.length < BATCH ? undefined : rows.at(-1)?.row
    return 'again'
  }
  // Also finds what no capability has declared: nothing may be left behind that only the old key opens.
  const left = await store.columnsUnder(sql, oldName)
  const remaining = left.filter((each) => each !== 'root_key_rotation.handover')
  position.column = 0
  if (remaining.length > 0) {
    const problem = `${remaining.join(', ')} still hold what is sealed under the old root key`
    if (before !== problem) {
      await store.changeRotation(sql, { problem })
      log.warn({ columns: remaining }, 'the change of the root key waits: values remain under the old one')
    }
    return 'later'
  }
  const retireAt = new Date(now().getTime() + (hurry ? 0 : LONGEST_TOKEN_MS))
  return next({ phase: 'waiting', handover: null, retire_at: retireAt, problem: null })
}

/** The key that the installation is sealed with; undefined: there is no installation yet. */
export async function nameInUse({ sql }: Pick<Ground, 'sql'>): Promise<string | undefined> {
  const check = await store.readCheck(sql)
  return check && sealedUnder(check)
}
