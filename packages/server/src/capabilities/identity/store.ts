/** SQL of identity. */
import type { Scope } from '../../platform/arn.ts'
import type { Sql } from '../../platform/database.ts'

export interface InstallationRow {
  account: string
  region: string
  rootKeyCheck: Buffer
}

export async function readInstallation(sql: Sql): Promise<InstallationRow | undefined> {
  const [row] = await sql<InstallationRow[]>`
    select account, region, root_key_check as "rootKeyCheck" from installation`
  return row
}

/** Writes the installation if there is none; the first of several processes wins. */
export async function insertInstallation(sql: Sql, row: InstallationRow, now: Date): Promise<void> {
  await sql`
    insert into installation (account, region, root_key_check, created_at)
    values (${row.account}, ${row.region}, ${row.rootKeyCheck}, ${now})
    on conflict do nothing`
}

export async function insertAccount(sql: Sql, account: string, name: string, now: Date): Promise<void> {
  await sql`
    insert into accounts (account, name, created_at) values (${account}, ${name}, ${now}) on conflict do nothing`
}

export interface AccessKeyRow {
  accessKeyId: string
  account: string
  owner: string
  secretSealed: Buffer
  status: string
}

export async function insertAccessKey(sql: Sql, key: Omit<AccessKeyRow, 'status'>, now: Date): Promise<boolean> {
  const rows = await sql`
    insert into access_keys (access_key_id, account, owner, secret_sealed, created_at)
    values (${key.accessKeyId}, ${key.account}, ${key.owner}, ${key.secretSealed}, ${now})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function readAccessKey(sql: Sql, accessKeyId: string): Promise<AccessKeyRow | undefined> {
  const [row] = await sql<AccessKeyRow[]>`
    select access_key_id as "accessKeyId", k.account, owner, secret_sealed as "secretSealed",
      case when a.status = 'Active' then k.status else 'Inactive' end as status
    from access_keys k join accounts a on a.account = k.account
    where access_key_id = ${accessKeyId}`
  return row
}

export async function readRootKey(sql: Sql, account: string): Promise<AccessKeyRow | undefined> {
  const [row] = await sql<AccessKeyRow[]>`
    select access_key_id as "accessKeyId", account, owner, secret_sealed as "secretSealed", status
    from access_keys where account = ${account} and owner = 'root' and status = 'Active'
    order by created_at limit 1`
  return row
}

/** Gives the node a new serial, which ends every session token it held before. */
export async function upsertNodeGrant(sql: Sql, scope: Scope, nodeId: string): Promise<number> {
  await deleteNodeGrant(sql, scope, nodeId)
  const [row] = await sql<{ serial: number }[]>`
    insert into node_grants (account, region, node_id) values (${scope.account}, ${scope.region}, ${nodeId})
    returning serial`
  return row!.serial
}

export async function deleteNodeGrant(sql: Sql, scope: Scope, nodeId: string): Promise<void> {
  await sql`
    delete from node_grants
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId}`
}

export async function readNodeSerial(sql: Sql, scope: Scope, nodeId: string): Promise<number | undefined> {
  const [row] = await sql<{ serial: number }[]>`
    select serial from node_grants
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId}`
  return row?.serial
}
