/** SQL of OIDC providers. `url` lies as it was given, with its https://. */
import type { Sql } from '../../../platform/database.ts'
import type { Tag } from './entities.ts'

export interface ProviderRow {
  account: string
  url: string
  clientIds: string[]
  thumbprints: string[]
  createdAt: Date
  tags: Tag[]
}

const columns = (sql: Sql) => sql`account, url, client_ids as "clientIds", thumbprints, created_at as "createdAt", tags`

/** `hold`: nobody else changes it until the transaction ends. */
export async function findProvider(
  sql: Sql,
  account: string,
  url: string,
  hold = false,
): Promise<ProviderRow | undefined> {
  const [row] = await sql<ProviderRow[]>`
    select ${columns(sql)} from oidc_providers where account = ${account} and url = ${url}
    ${hold ? sql`for update` : sql``}`
  return row
}

export async function listProviders(sql: Sql, account: string): Promise<ProviderRow[]> {
  return sql<ProviderRow[]>`select ${columns(sql)} from oidc_providers where account = ${account} order by url`
}

/** false: the account has one of that URL. */
export async function insertProvider(sql: Sql, row: ProviderRow): Promise<boolean> {
  const rows = await sql`
    insert into oidc_providers (account, url, client_ids, thumbprints, created_at, tags)
    values (${row.account}, ${row.url}, ${sql.json(row.clientIds)}, ${sql.json(row.thumbprints)}, ${row.createdAt},
      ${jsonTags(sql, row.tags)})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function updateProvider(sql: Sql, row: ProviderRow): Promise<void> {
  await sql`
    update oidc_providers set client_ids = ${sql.json(row.clientIds)}, thumbprints = ${sql.json(row.thumbprints)},
      tags = ${jsonTags(sql, row.tags)}
    where account = ${row.account} and url = ${row.url}`
}

export async function deleteProvider(sql: Sql, account: string, url: string): Promise<void> {
  await sql`delete from oidc_providers where account = ${account} and url = ${url}`
}

const jsonTags = (sql: Sql, tags: Tag[]) => sql.json(tags.map(({ Key, Value }) => ({ Key, Value })))
