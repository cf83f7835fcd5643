/**
 * One server per data folder. `postgres.lock` is a list to which every starting process appends a claim in one write;
 * the owner is the first claim whose process lives and that has not been released. The order is the same for all readers,
 * so two can never both win, and a process killed with SIGKILL leaves a claim that is simply dead.
 */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { appendFile, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PostgresStartError } from './start-error.ts'

const run = promisify(execFile)

/** Above this many bytes (about 30 starts) the owner shortens the list to its own claim. */
const LONG_LIST_BYTES = 4096

interface Claim {
  claim: string
  processId: number
  /** When that process began: tells it from a later one with the same pid. */
  born: string
}

/** Takes the folder or throws a PostgresStartError that names the owner; the answer gives it back. */
export async function claimFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, 'postgres.lock')
  const mine: Claim = { claim: randomUUID(), processId: process.pid, born: (await bornAt(process.pid)) ?? '' }
  const line = `${JSON.stringify(mine)}\n`
  const release = () => append(path, `${JSON.stringify({ release: mine.claim })}\n`)
  for (;;) {
    await append(path, line)
    const list = await readFile(path, 'utf8')
    const claims = readClaims(list)
    // The list was shortened in between, or a torn line swallowed the claim: append it again.
    if (!claims.some(({ claim }) => claim === mine.claim)) continue
    for (const earlier of claims) {
      if (earlier.claim === mine.claim) break
      if ((await bornAt(earlier.processId)) !== earlier.born) continue
      await release()
      throw new PostgresStartError(
        `another Musterbook (process ${earlier.processId}) already runs on the data folder ${folder}; stop it, or give this one a folder of its own (--data)`,
      )
    }
    if (list.length > LONG_LIST_BYTES) {
      // Safe, because only the living owner does it: a claim that gets lost here is appended again and refused.
      await writeFile(`${path}.new`, line, { mode: 0o600 })
      await rename(`${path}.new`, path)
    }
    return release
  }
}

const append = (path: string, line: string): Promise<void> => appendFile(path, line, { mode: 0o600 })

/** The claims that were not released, oldest first; a torn line is none. */
function readClaims(list: string): Claim[] {
  const claims = new Map<string, Claim>()
  for (const line of list.split('\n')) {
    const entry = parse(line)
    if (typeof entry?.release === 'string') claims.delete(entry.release)
    if (typeof entry?.claim !== 'string') continue
    const { claim, processId, born } = entry
    if (Number.isInteger(processId) && typeof born === 'string')
      claims.set(claim, { claim, processId: Number(processId), born })
  }
  return [...claims.values()]
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** What tells this process from any other that ever had its pid, or undefined when there is no such process. */
async function bornAt(processId: number): Promise<string | undefined> {
  try {
    if (process.platform !== 'linux') return (await run('ps', ['-o', 'lstart=', '-p', String(processId)])).stdout.trim()
    const [boot, stat] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readFile(`/proc/${processId}/stat`, 'utf8'),
    ])
    // proc(5): field 22 is the start in clock ticks since boot; the name in field 2 may hold blanks and brackets.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' ? undefined : `${boot.trim()} ${fields[18]}`
  } catch {
    return undefined
  }
}
