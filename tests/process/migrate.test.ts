/** Migrations against a real PostgreSQL: begun by several processes at once, changed afterwards, failing in the middle. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { connectDatabase, type Database, type DatabaseAddress } from '../../packages/server/src/platform/database.ts'
import { createLog } from '../../packages/server/src/platform/log.ts'
import { MigrationError, migrate } from '../../packages/server/src/platform/migrate.ts'
import { type EmbeddedPostgres, startPostgres } from '../../packages/server/src/platform/postgres/index.ts'

const CAPABILITIES = [
  {
    name: 'ships',
    migrations: [
      // Not repeatable: a second run fails, or adds a second row.
      { name: '0001-init', sql: "create table ships (name text); insert into ships values ('Beagle')" },
      { name: '0002-tons', sql: 'alter table ships add column tons int not null default 242' },
    ],
  },
  { name: 'no-tables' },
  {
    name: 'crews',
    migrations: [
      { name: '0001-init', sql: 'create table crews (name text); insert into crews select name from ships' },
    ],
  },
]
const ALL = ['ships/0001-init', 'ships/0002-tons', 'crews/0001-init']

let folder: string
let server: EmbeddedPostgres
let address: DatabaseAddress
let sql: Database
let number = 0

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'musterbook-migrate-'))
  server = await startPostgres({ folder, log: createLog('silent') })
})

afterAll(async () => {
  await server?.stop()
  await rm(folder, { recursive: true, force: true })
})

/** Each test has a database of its own. */
beforeEach(async () => {
  const name = `migrations_${++number}`
  const first = connectDatabase(server.address, 'test', 1)
  await first`create database ${first(name)}`
  await first.end()
  address = { ...server.address, database: name }
  sql = connectDatabase(address, 'test', 8)
  return () => sql.end({ timeout: 1 })
})

it('runs each migration once, in the order of the capabilities, and nothing the second time', async () => {
  expect(await migrate(sql, CAPABILITIES)).toEqual(ALL)
  expect(await migrate(sql, CAPABILITIES)).toEqual([])
  expect(await sql`select name, tons from ships`).toEqual([{ name: 'Beagle', tons: 242 }])
  expect(await sql`select name from crews`).toEqual([{ name: 'Beagle' }])
})

it('runs only what is new when a release brings more', async () => {
  const earlier = [{ name: 'ships', migrations: CAPABILITIES[0]?.migrations?.slice(0, 1) ?? [] }]
  expect(await migrate(sql, earlier)).toEqual(['ships/0001-init'])
  expect(await migrate(sql, CAPABILITIES)).toEqual(['ships/0002-tons', 'crews/0001-init'])
})

it('runs each migration exactly once when many connections begin at the same moment', async () => {
  const runs = await Promise.all(Array.from({ length: 8 }, () => migrate(sql, CAPABILITIES)))
  expect(runs.filter((ran) => ran.length > 0)).toEqual([ALL])
  expect(await sql`select count(*) from ships`).toEqual([{ count: 1 }])
})

it('runs each migration exactly once when several processes begin at the same moment', async () => {
  const home = join(import.meta.dirname, '../../packages/server/node_modules/.cache')
  await mkdir(home, { recursive: true })
  const script = join(home, `migrate-test-${process.pid}.mjs`)
  await build({
    stdin: {
      contents: `
        import { connectDatabase } from '../../packages/server/src/platform/database.ts'
        import { migrate } from '../../packages/server/src/platform/migrate.ts'
        const { address, capabilities } = JSON.parse(process.argv[2])
        const sql = connectDatabase(address, 'migrating', 1)
        await sql\`select 1\`
        process.stdout.write('ready')
        process.stdin.once('data', async () => {
          const ran = await migrate(sql, capabilities)
          await sql.end()
          process.stdout.write(JSON.stringify(ran), () => process.exit())
        })`,
      resolveDir: import.meta.dirname,
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    outfile: script,
  })
  try {
    const argument = JSON.stringify({ address, capabilities: CAPABILITIES })
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, [script, argument], { stdio: ['pipe', 'pipe', 'inherit'] }),
    )
    // All are connected before any is let go.
    await Promise.all(children.map((child) => once(child.stdout, 'data')))
    const runs = await Promise.all(
      children.map(async (child) => {
        child.stdin.write('go')
        const [answer] = await once(child.stdout, 'data')
        return JSON.parse(String(answer))
      }),
    )
    expect(runs.filter((ran) => ran.length > 0)).toEqual([ALL])
  } finally {
    await rm(script)
  }
  expect(await sql`select count(*) from ships`).toEqual([{ count: 1 }])
  expect(await sql`select count(*) from migrations`).toEqual([{ count: ALL.length }])
})

it('refuses a migration whose text was changed after it ran, names it, and runs none of the others', async () => {
  const [ships] = CAPABILITIES
  await migrate(sql, [ships!])
  const edited = CAPABILITIES.map((capability) => ({
    ...capability,
    migrations: capability.migrations?.map((migration) =>
      migration.name === '0002-tons' ? { ...migration, sql: `${migration.sql} ` } : migration,
    ),
  }))
  const refusal = await migrate(sql, edited).catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(MigrationError)
  expect(String(refusal)).toContain('migration ships/0002-tons has been changed since this database applied it')
  expect(await sql`select to_regclass('crews') as crews`).toEqual([{ crews: null }])
})

it('leaves nothing of a run in which a migration fails, and names the one that did', async () => {
  const broken = [
    ...CAPABILITIES,
    { name: 'ports', migrations: [{ name: '0001-init', sql: 'create table ports (name text); select 1 / 0' }] },
  ]
  const failure = await migrate(sql, broken).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(MigrationError)
  expect(String(failure)).toContain('migration ports/0001-init failed, the database is unchanged: division by zero')
  expect(await sql`select count(*) from pg_tables where schemaname = 'public'`).toEqual([{ count: 0 }])
  expect(await migrate(sql, CAPABILITIES)).toEqual(ALL)
})
