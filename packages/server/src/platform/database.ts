/**
 * The one door to PostgreSQL. Every SQL statement lives in a capability's store.ts and receives a `Sql` from its context.
 * Values: timestamps are Date, bigint is number (nothing here counts past 2^53), bytea is Buffer, jsonb parameters are
 * passed with `sql.json(value)`, never as strings.
 */
import postgres from 'postgres'

export type Sql = postgres.ISql<{ bigint: number }>
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
    connection: { application_name: applicationName },
    types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } },
    onnotice: () => {},
  }
  if (address.url) return postgres(address.url, options)
  return postgres({
    ...options,
    host: address.socketFolder ?? '',
    port: address.port ?? 5432,
    user: address.user ?? 'musterbook',
    database: address.database ?? 'musterbook',
  })
}

/** SQLSTATE of an error that PostgreSQL raised, or undefined. */
export const sqlState = (error: unknown): string | undefined =>
  error instanceof postgres.PostgresError ? error.code : undefined

export const UNIQUE_VIOLATION = '23505'
