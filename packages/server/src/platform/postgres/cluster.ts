/**
 * The cluster on disk: made once (whole or not at all), checked against the version of the programs, and cleared of what a
 * killed predecessor left: a half-made cluster, a postmaster that still runs, lock files whose pid is another process now.
 * The caller holds the data folder's claim, so nobody else does the same.
 */
import { execFile } from 'node:child_process'
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { pause, systemClock } from '../clock.ts'
import type { Binaries } from './binaries.ts'
import type { LogFile } from './log-file.ts'
import type { Owner } from './owner.ts'
import { initialArguments, PORT } from './settings.ts'
import { PostgresStartError } from './start-error.ts'
import { supervise } from './supervise.ts'

const run = promisify(execFile)

const PARTIAL_PREFIX = 'initdb-'
/** A fast shutdown writes a checkpoint: seconds, more on a slow disk. After it, SIGQUIT: recovery comes at the start. */
export const SHUTDOWN_MS = 60_000
const POLL_MS = 10
/** Again and again, up to 10 s: the initdb of a server that was killed a moment ago may still be writing. */
const REMOVAL = { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }

export interface ClusterPlace {
  /** The private folder (0700) around the cluster, owned by the user that runs PostgreSQL. */
  home: string
  owner: Owner
  log: LogFile
  signal: AbortSignal | undefined
}

export const clusterFolder = (home: string): string => join(home, 'cluster')

/** Makes the cluster unless it is there; true when it was made. */
export async function ensureCluster(place: ClusterPlace, binaries: Binaries): Promise<boolean> {
  const cluster = clusterFolder(place.home)
  for (const name of await readdir(place.home))
    if (name.startsWith(PARTIAL_PREFIX)) await rm(join(place.home, name), REMOVAL)
  if (!(await stat(cluster).catch(() => undefined))) {
    await makeCluster(place, binaries, cluster)
    return true
  }
  const version = (await readFile(join(cluster, 'PG_VERSION'), 'utf8').catch(() => '')).trim()
  if (version === '')
    throw new PostgresStartError(
      `${cluster} holds no PostgreSQL cluster (PG_VERSION is missing); move it away or restore it`,
    )
  if (version !== binaries.major)
    throw new PostgresStartError(
      `${cluster} was written by PostgreSQL ${version}, but this Musterbook brings PostgreSQL ${binaries.major}; run the Musterbook that wrote it, or dump it with PostgreSQL ${version} and restore it into a new data folder`,
    )
  return false
}

async function makeCluster(place: ClusterPlace, binaries: Binaries, cluster: string): Promise<void> {
  const { home, owner, log, signal } = place
  const partial = join(home, `${PARTIAL_PREFIX}${process.pid}`)
  const initdb = await supervise(binaries.initdb, initialArguments(partial), {
    owner,
    folder: home,
    output: log.descriptor,
  })
  const interrupt = () => initdb.signal('SIGINT')
  signal?.addEventListener('abort', interrupt, { once: true })
  const { code } = await initdb.exited
  signal?.removeEventListener('abort', interrupt)
  signal?.throwIfAborted()
  if (code !== 0)
    throw new PostgresStartError(
      `PostgreSQL could not make its cluster in ${home} (see ${log.path}): ${await log.tail()}`,
    )
  await rename(partial, cluster)
  const folder = await open(home, 'r')
  await folder.sync().finally(() => folder.close())
}

/** After this no postmaster runs on the cluster, and no lock file of an earlier one stands in the way. */
export async function clearPredecessor(place: ClusterPlace, socketFolder: string): Promise<void> {
  const cluster = clusterFolder(place.home)
  const lock = join(cluster, 'postmaster.pid')
  const processId = Number((await readFile(lock, 'utf8').catch(() => '')).split('\n')[0])
  if (Number.isInteger(processId) && processId > 1) {
    if (await isPostmaster(processId, cluster, place.owner)) await stopOrphan(processId, place, cluster)
    // PostgreSQL removes a lock whose process is gone, but takes any living process of its own user for a postmaster.
    await rm(lock, { force: true })
  }
  const socket = join(socketFolder, `.s.PGSQL.${PORT}`)
  await Promise.all([rm(socket, { force: true }), rm(`${socket}.lock`, { force: true })])
}

async function stopOrphan(processId: number, place: ClusterPlace, cluster: string): Promise<void> {
  for (const name of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    try {
      process.kill(processId, name)
    } catch {
      return // gone meanwhile
    }
    const start = systemClock.now().getTime()
    while (systemClock.now().getTime() - start < SHUTDOWN_MS) {
      if (!(await isPostmaster(processId, cluster, place.owner))) return
      await pause(POLL_MS, place.signal)
    }
  }
  throw new PostgresStartError(`an earlier PostgreSQL (process ${processId}) on ${cluster} does not end; stop it`)
}

/** Whether that process is a postmaster of this cluster: its program and its -D say so, and its user. */
async function isPostmaster(processId: number, cluster: string, owner: Owner): Promise<boolean> {
  try {
    if (process.platform !== 'linux') {
      const { stdout } = await run('ps', ['-o', 'command=', '-p', String(processId)])
      return stdout.includes(`/postgres -D ${cluster} `)
    }
    const [{ uid }, command] = await Promise.all([
      stat(`/proc/${processId}`),
      readFile(`/proc/${processId}/cmdline`, 'utf8'),
    ])
    const [program = '', option, folder] = command.split('\0')
    return uid === owner.uid && basename(program) === 'postgres' && option === '-D' && folder === cluster
  } catch {
    return false
  }
}
