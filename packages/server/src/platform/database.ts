/**
 * The one door to PostgreSQL. Every SQL statement lives in a capability's store.ts and receives a `Sql` from its context.
 * Values: timestamps are Date, bigint is number (nothing here counts past 2^53), bytea is Buffer, jsonb parameters are
 * passed with `sql.json(value)`, never as strings.
 */
import postgres from 'postgres'
import { parse } from 'postgres-array'

export type Sql = postgres.ISql<{ bigint: number }>
/** A part of a statement. */
export type Fragment = postgres.Fragment
export type Database = postgres.Sql<{ bigint: number }>

/** Connections of one server process; enough for group commit, few enough for PostgreSQL's default of 100. */
const POOL_SIZE = 16

export interface DatabaseAddress {
  /** `postgres://…`, or a unix socket's folder with the database's user and name. */
  url?: string
  socketFolder?: string
  port?: number
  user?: string
  database?: string
}

export function connectDatabase(address: DatabaseAddress, applicationName: string, connections = POOL_SIZE): Database {
  const options: postgres.Options<{ bigint: postgres.PostgresType<number> }> = {
    max: connections,
    connect_timeout: 10,
    connection: {
      application_name: applicationName,
      // A prepared statement keeps the plan that it was made with: one made while a table was small reads all of the
      // million rows that have come since, until the table is analyzed. Measured on a busy two-core machine, once with
      // and once without statistics of the small table: GetParameter 2,000 and 1,200 per second, planned anew 40,000 and
      // 36,000.
      plan_cache_mode: 'force_custom_plan',
    },
    fetch_types: false,
    types: { ...ARRAYS, bigint: { to: 20, from: [20], serialize: String, parse: Number } },
    onnotice: () => {},
  }
  if (address.url) return surviving(postgres(...readUrl(address.url, options)))
  return surviving(
    postgres({
      ...options,
      host: address.socketFolder ?? '',
      port: address.port ?? 5432,
      user: address.user ?? 'musterbook',
      database: address.database ?? 'musterbook',
    }),
  )
}

/**
 * The arrays that statements here pass and read, by their numbers in pg_type. The driver (3.4.9) would ask each new
 * connection for them, and a connection that is lost while it asks leaves a query that nobody answers or catches: whoever
 * waits for it waits for ever, and its rejection ends this process.
 */
const ARRAYS: Record<string, postgres.PostgresType> = {
  texts: arrayOf(1009, String),
  uuids: arrayOf(2951, String),
  integers: arrayOf(1007, Number),
  bigints: arrayOf(1016, Number),
  timestamps: arrayOf(1185, (text) => new Date(text)),
}

function arrayOf(type: number, element: (text: string) => unknown): postgres.PostgresType {
  return { to: type, from: [type], serialize: arrayLiteral, parse: (text: string) => parse(text, element) }
}

/** What is no array is a literal already. */
function arrayLiteral(values: unknown): string {
  if (!Array.isArray(values)) return String(values)
  return `{${values.map((value) => (value === null ? 'null' : quoted(value))).join()}}`
}

function quoted(value: unknown): string {
  const text = value instanceof Date ? value.toISOString() : String(value)
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/** libpq's `postgres:///name?host=/var/run/postgresql` for a unix socket, which the driver takes as an option only. */
function readUrl<Options extends object>(text: string, options: Options): [string, Options] {
  const url = new URL(text)
  const host = url.searchParams.get('host')
  if (host === null) return [text, options]
  url.searchParams.delete('host')
  return [url.href, { ...options, host }]
}

/**
 * A transaction whose connection dies (PostgreSQL restarts or is killed) must reject, not end this process: the driver
 * (3.4.9) writes `rollback`, or the body's next statement, to a socket that is null, in a callback that nobody can catch.
 * So a body that failed with its connection never settles, which leaves the driver nothing to roll back while `begin` itself
 * rejects as the connection closes; and after that the body's next statement throws here.
 */
function surviving(database: Database): Database {
  const begin: (options: string, body: (sql: Transaction) => unknown) => Promise<unknown> =
    database.begin.bind(database)
  type Body = (sql: Transaction) => unknown
  async function guarded(...args: [Body] | [string, Body]): Promise<unknown> {
    const [options, body] = args.length === 1 ? ['', args[0]] : args
    let closed: unknown
    try {
      return await begin(options, async (sql) => {
        try {
          return await settled(body(guardStatements(sql, () => closed)))
        } catch (error) {
          if (closed === undefined && !endsConnection(error)) throw error
          return new Promise(() => {})
        }
      })
    } catch (error) {
      closed = error
      throw error
    }
  }
  return Object.assign(database, { begin: guarded })
}

type Transaction = postgres.TransactionSql<{ bigint: number }>

/** The driver lets a body return a list of statements to wait for. */
const settled = (result: unknown): unknown => (Array.isArray(result) ? Promise.all(result) : result)

/** Throws in place of every statement once the connection is closed. */
function guardStatements(sql: Transaction, closed: () => unknown): Transaction {
  return new Proxy(sql, {
    apply(target, self, args) {
      if (closed() !== undefined) throw closed()
      return Reflect.apply(target, self, args)
    },
    get(target, name, receiver) {
      if (closed() !== undefined) throw closed()
      return Reflect.get(target, name, receiver)
    },
  })
}

/** Names of the driver's and the system's errors after which the connection is gone. */
const CONNECTION_ERRORS = new Set(['CONNECTION_CLOSED', 'CONNECTION_DESTROYED', 'ECONNRESET', 'EPIPE'])

/** PostgreSQL closes the connection after an error of severity FATAL or PANIC. */
function endsConnection(error: unknown): boolean {
  if (error instanceof postgres.PostgresError) return error.severity === 'FATAL' || error.severity === 'PANIC'
  return error instanceof Error && 'code' in error && CONNECTION_ERRORS.has(String(error.code))
}

/** SQLSTATE of an error that PostgreSQL raised, or undefined. */
export const sqlState = (error: unknown): string | undefined =>
  error instanceof postgres.PostgresError ? error.code : undefined

export const UNIQUE_VIOLATION = '23505'
