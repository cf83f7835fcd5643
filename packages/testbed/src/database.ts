/**
 * One PostgreSQL for a whole run, and a fresh database for each testbed, cloned from a migrated template. The run's
 * PostgreSQL is embedded unless DATABASE_URL names another one; global-setup.ts starts it, and hands its address on in the
 * environment, since test files run in processes of their own.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  capabilities,
  connectDatabase,
  createLog,
  type DatabaseAddress,
  migrate,
  startPostgres,
} from '@musterbook/server'

const ADDRESS_VARIABLE = 'MUSTERBOOK_TEST_DATABASE'
const TEMPLATE = 'musterbook_template'

export interface TestPostgres extends AsyncDisposable {
  address: DatabaseAddress
}

/** Starts the run's PostgreSQL and migrates the template. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const url = process.env.DATABASE_URL
  const folder = url ? undefined : await mkdtemp(join(tmpdir(), 'musterbook-test-'))
  const embedded = folder ? await startPostgres({ folder, log: createLog('silent') }) : undefined
  const address = url ? { url } : embedded!.address
  const template = `${TEMPLATE}_${randomBytes(4).toString('hex')}`
  await administer(address, `create database ${template}`)
  const database = connectDatabase(named(address, template), 'musterbook template', 1)
  await migrate(database, capabilities)
  await database.end()
  process.env[ADDRESS_VARIABLE] = JSON.stringify({ address, template })
  return {
    address,
    async [Symbol.asyncDispose]() {
      if (url) await administer(address, `drop database if exists ${template} with (force)`)
      await embedded?.stop()
      if (folder) await rm(folder, { recursive: true, force: true })
    },
  }
}

export interface FreshDatabase extends AsyncDisposable {
  address: DatabaseAddress
}

/** A database of one's own with everything migrated and nothing in it. */
export async function freshDatabase(): Promise<FreshDatabase> {
  const told = process.env[ADDRESS_VARIABLE]
  if (!told) throw new Error('no PostgreSQL was started for this run: see packages/testbed/src/global-setup.ts')
  const { address, template } = JSON.parse(told) as { address: DatabaseAddress; template: string }
  const name = `test_${randomBytes(6).toString('hex')}`
  await administer(address, `create database ${name} template ${template}`)
  return {
    address: named(address, name),
    [Symbol.asyncDispose]: () => administer(address, `drop database if exists ${name} with (force)`),
  }
}

function named(address: DatabaseAddress, database: string): DatabaseAddress {
  if (!address.url) return { ...address, database }
  const url = new URL(address.url)
  url.pathname = `/${database}`
  return { url: url.href }
}

async function administer(address: DatabaseAddress, statement: string): Promise<void> {
  const database = connectDatabase(address, 'musterbook testbed', 1)
  try {
    await database.unsafe(statement)
  } finally {
    await database.end()
  }
}
