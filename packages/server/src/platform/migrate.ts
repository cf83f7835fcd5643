/**
 * Migrations: each capability brings numbered SQL texts; they run in the order of the capability list, recorded with their
 * checksums, all that are due in one transaction. Several processes may start at once: an advisory lock lets one do it.
 */
import { createHash } from 'node:crypto'
import type { Database } from './database.ts'

export interface Migration {
  /** `0001-init`; unique within its capability. */
  name: string
  sql: string
}

/** 'muster' in ASCII: the advisory lock that migrating processes share. */
const MIGRATION_LOCK = 0x6d7573746572

export class MigrationError extends Error {
  override name = 'MigrationError'
}

/** Brings the database up to date; returns what ran. Throws MigrationError, naming the migration, when it fails or was edited. */
export async function migrate(
  database: Database,
  capabilities: { name: string; migrations?: Migration[] }[],
): Promise<string[]> {
  const ran: string[] = []
  await database.begin(async (sql) => {
    await sql`select pg_advisory_xact_lock(${MIGRATION_LOCK})`
    await sql`
      create table if not exists migrations (
        capability text not null,
        name text not null,
        checksum text not null,
        applied_at timestamptz not null default now(),
        primary key (capability, name)
      )`
    const rows = await sql<{ capability: string; name: string; checksum: string }[]>`
      select capability, name, checksum from migrations`
    const applied = new Map(rows.map((row) => [`${row.capability}/${row.name}`, row.checksum]))
    for (const { name: capability, migrations = [] } of capabilities) {
      for (const migration of migrations) {
        const id = `${capability}/${migration.name}`
        const checksum = createHash('sha256').update(migration.sql).digest('hex')
        const known = applied.get(id)
        if (known === checksum) continue
        if (known !== undefined)
          throw new MigrationError(
            `migration ${id} has been changed since this database applied it; restore the text or start from a backup`,
          )
        try {
          await sql.unsafe(migration.sql).simple()
        } catch (error) {
          const cause = error instanceof Error ? error.message : String(error)
          throw new MigrationError(`migration ${id} failed, the database is unchanged: ${cause}`, { cause: error })
        }
        await sql`insert into migrations ${sql({ capability, name: migration.name, checksum })}`
        ran.push(id)
      }
    }
  })
  return ran
}
