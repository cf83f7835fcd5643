/** SQL of the root key: its change, who holds which, and the sealed columns that other capabilities declare. */
import type { Sql } from '../../platform/database.ts'
import { type SealedColumn, sealPrefix } from '../../platform/seal.ts'

export type Phase = 'introduced' | 'switching' | 'rewrapping' | 'waiting' | 'done'

export interface RotationRow {
  phase: Phase
  oldName: string
  newName: string
  handover: Buffer | null
  hurry: boolean
  rewrapped: number
  problem: string | null
  startedAt: Date
  retireAt: Date | null
  endedAt: Date | null
}

const rotationColumns = (sql: Sql) => sql`
  phase, old_name as "oldName", new_name as "newName", handover, hurry, rewrapped, problem, started_at as "startedAt",
  retire_at as "retireAt", ended_at as "endedAt"`

export async function readRotation(sql: Sql): Promise<RotationRow | undefined> {
  const [row] = await sql<RotationRow[]>`select ${rotationColumns(sql)} from root_key_rotation`
  return row
}

/** The change, held until the transaction ends; undefined: there is none, or another process holds it. */
export async function holdRotation(sql: Sql): Promise<RotationRow | undefined> {
  const [row] = await sql<RotationRow[]>`
    select ${rotationColumns(sql)} from root_key_rotation for update skip locked`
  return row
}

/** The change, waited for and held. */
export async function lockRotation(sql: Sql): Promise<RotationRow | undefined> {
  const [row] = await sql<RotationRow[]>`select ${rotationColumns(sql)} from root_key_rotation for update`
  return row
}

/** In the place of the one before; false: one goes on. */
export async function insertRotation(
  sql: Sql,
  row: Pick<RotationRow, 'oldName' | 'newName' | 'handover' | 'hurry' | 'startedAt'>,
): Promise<boolean> {
  const rows = await sql`
    insert into root_key_rotation (phase, old_name, new_name, handover, hurry, started_at)
    values ('introduced', ${row.oldName}, ${row.newName}, ${row.handover}, ${row.hurry}, ${row.startedAt})
    on conflict (only_row) do update set phase = 'introduced', old_name = excluded.old_name,
      new_name = excluded.new_name, handover = excluded.handover, hurry = excluded.hurry, rewrapped = 0, problem = null,
      started_at = excluded.started_at, retire_at = null, ended_at = null
    where root_key_rotation.phase = 'done'
    returning 1`
  return rows.length === 1
}

export async function changeRotation(
  sql: Sql,
  changes: Partial<{
    phase: Phase
    handover: null
    hurry: boolean
    rewrapped: number
    problem: string | null
    retire_at: Date | null
    ended_at: Date
  }>,
): Promise<void> {
  await sql`update root_key_rotation set ${sql(changes)}`
}

/** The root key check of the installation, which says what key is in use; undefined: there is no installation yet. */
export async function readCheck(sql: Sql): Promise<Buffer | undefined> {
  const [row] = await sql<{ check: Buffer }[]>`select root_key_check as check from installation`
  return row?.check
}

// ---- holders ----

export interface HolderRow {
  processId: string
  origin: string
  canKeep: boolean
  held: string[]
  kept: string[]
  sealsWith: string
}

export async function writeHolder(sql: Sql, row: HolderRow, now: Date): Promise<void> {
  await sql`
    insert into root_key_holders (process_id, origin, can_keep, held, kept, seals_with, seen_at)
    values (${row.processId}, ${row.origin}, ${row.canKeep}, ${sql.json(row.held)}, ${sql.json(row.kept)},
      ${row.sealsWith}, ${now})
    on conflict (process_id) do update set held = excluded.held, kept = excluded.kept,
      seals_with = excluded.seals_with, seen_at = excluded.seen_at`
}

export const readHolders = (sql: Sql, since: Date): Promise<HolderRow[]> =>
  sql<HolderRow[]>`
    select process_id as "processId", origin, can_keep as "canKeep", held, kept, seals_with as "sealsWith"
    from root_key_holders where seen_at > ${since} order by process_id`

export async function deleteHolders(sql: Sql, before: Date): Promise<void> {
  await sql`delete from root_key_holders where seen_at < ${before}`
}

export async function deleteHolder(sql: Sql, processId: string): Promise<void> {
  await sql`delete from root_key_holders where process_id = ${processId}`
}

// ---- sealed columns ----

export interface SealedRow {
  /** Its key and what its context is made from, as text. */
  row: Record<string, string>
  sealed: Buffer
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** The next rows, held, that lie under the root key `name`, in the order of their keys; rows that others hold are passed over. */
export async function readSealedRows(
  sql: Sql,
  { table, column, key, also = [] }: SealedColumn,
  name: string,
  after: Record<string, string> | undefined,
  limit: number,
): Promise<SealedRow[]> {
  const columns = Object.keys(key)
  const values: (string | Buffer | number)[] = [sealPrefix(name), limit]
  const parameters = Object.entries(key).map(([part, type]) => {
    values.push(after?.[part] ?? '')
    return `$${values.length}::text::${type}`
  })
  const beyond = after ? `and (${columns.map(quoted).join(', ')}) > (${parameters.join(', ')})` : ''
  const shown = [...columns, ...also].map((part) => `'${part}', ${quoted(part)}::text`)
  return sql.unsafe<SealedRow[]>(
    `select json_build_object(${shown.join(', ')}) as row, ${quoted(column)} as sealed from ${quoted(table)}
     where substring(${quoted(column)} from 1 for 5) = $1 ${beyond}
     order by ${columns.map(quoted).join(', ')} limit $2 for update skip locked`,
    after ? values : values.slice(0, 2),
  )
}

/** Puts new seals in the place of those of the rows that are held. */
export async function writeSealedRows(
  sql: Sql,
  { table, column, key }: SealedColumn,
  rows: SealedRow[],
): Promise<void> {
  const parts = Object.entries(key)
  const lists = parts.map(([part]) => rows.map(({ row }) => row[part] ?? ''))
  await sql.unsafe(
    `update ${quoted(table)} t set ${quoted(column)} = decode(new.sealed, 'hex')
     from unnest(${[...parts, 'sealed'].map((_, index) => `$${index + 1}::text[]`).join(', ')})
       as new (${[...parts.map(([part]) => quoted(part)), 'sealed'].join(', ')})
     where ${parts.map(([part, type]) => `t.${quoted(part)} = new.${quoted(part)}::${type}`).join(' and ')}`,
    [...lists, rows.map(({ sealed }) => sealed.toString('hex'))],
  )
}

/** Columns of any table, declared or not, in which something lies that begins as a seal under the root key `name`. */
export async function columnsUnder(sql: Sql, name: string): Promise<string[]> {
  const columns = await sql<{ table: string; column: string }[]>`
    select c.table_name as table, c.column_name as column
    from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
    where c.table_schema = current_schema() and c.data_type = 'bytea' and t.table_type = 'BASE TABLE'
    order by 1, 2`
  const found: string[] = []
  for (const { table, column } of columns) {
    const rows = await sql.unsafe(
      `select 1 from ${quoted(table)} where substring(${quoted(column)} from 1 for 5) = $1 limit 1`,
      [sealPrefix(name)],
    )
    if (rows.length > 0) found.push(`${table}.${column}`)
  }
  return found
}
