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
  userId: string | null
  secretSealed: Buffer
  status: string
}

export async function insertAccessKey(
  sql: Sql,
  key: Omit<AccessKeyRow, 'status' | 'userId'> & { userId?: string },
  now: Date,
): Promise<boolean> {
  const rows = await sql`
    insert into access_keys (access_key_id, account, owner, user_id, secret_sealed, created_at)
    values (${key.accessKeyId}, ${key.account}, ${key.owner}, ${key.userId ?? null}, ${key.secretSealed}, ${now})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function readAccessKey(sql: Sql, accessKeyId: string): Promise<AccessKeyRow | undefined> {
  const [row] = await sql<AccessKeyRow[]>`
    select access_key_id as "accessKeyId", k.account, owner, user_id as "userId", secret_sealed as "secretSealed",
      case when a.status = 'Active' then k.status else 'Inactive' end as status
    from access_keys k join accounts a on a.account = k.account
    where access_key_id = ${accessKeyId}`
  return row
}

export async function readRootKey(sql: Sql, account: string): Promise<AccessKeyRow | undefined> {
  const [row] = await sql<AccessKeyRow[]>`
    select access_key_id as "accessKeyId", account, owner, user_id as "userId", secret_sealed as "secretSealed", status
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

// ------------------------------------------------------------------------------------------ principals and their policies

export interface UserRow {
  account: string
  userName: string
  userId: string
  path: string
  boundaryArn: string | null
  tags: { Key: string; Value: string }[]
}

export async function readUserById(sql: Sql, userId: string): Promise<UserRow | undefined> {
  const [row] = await sql<UserRow[]>`
    select account, user_name as "userName", user_id as "userId", path, boundary_arn as "boundaryArn", tags
    from users where user_id = ${userId}`
  return row
}

export interface RoleRow {
  account: string
  roleName: string
  roleId: string
  path: string
  trustPolicy: string
  maxSessionSeconds: number
  boundaryArn: string | null
  tags: { Key: string; Value: string }[]
}

const roleColumns = (sql: Sql) => sql`
  account, role_name as "roleName", role_id as "roleId", path, trust_policy as "trustPolicy",
  max_session_seconds as "maxSessionSeconds", boundary_arn as "boundaryArn", tags`

export async function readRoleById(sql: Sql, roleId: string): Promise<RoleRow | undefined> {
  const [row] = await sql<RoleRow[]>`select ${roleColumns(sql)} from roles where role_id = ${roleId}`
  return row
}

export async function readRoleByName(sql: Sql, account: string, roleName: string): Promise<RoleRow | undefined> {
  const [row] = await sql<RoleRow[]>`
    select ${roleColumns(sql)} from roles where account = ${account} and lower(role_name) = lower(${roleName})`
  return row
}

export interface PolicyText {
  /** The name of an inline policy, the ARN of a managed one. */
  name: string
  /** null: not a policy of this installation's accounts, so AWS's or gone. */
  document: string | null
}

/** Every policy of a user (its groups' included) or of a role. */
export async function readPolicyTexts(sql: Sql, ownerId: string): Promise<PolicyText[]> {
  return sql<PolicyText[]>`
    with owners as (
      select ${ownerId}::text as owner_id
      union all select group_id from group_members where user_id = ${ownerId}
    )
    select policy_name as name, document from inline_policies where owner_id in (select owner_id from owners)
    union all
    select a.policy_arn, v.document from attached_policies a
    left join policies p on p.policy_arn = a.policy_arn
    left join policy_versions v on v.policy_id = p.policy_id and v.version = p.default_version
    where a.owner_id in (select owner_id from owners)`
}

export async function readPolicyText(sql: Sql, policyArn: string): Promise<string | undefined> {
  const [row] = await sql<{ document: string }[]>`
    select v.document from policies p
    join policy_versions v on v.policy_id = p.policy_id and v.version = p.default_version
    where p.policy_arn = ${policyArn}`
  return row?.document
}

export async function touchRole(sql: Sql, roleId: string, region: string, now: Date): Promise<void> {
  await sql`update roles set last_used_at = ${now}, last_used_region = ${region} where role_id = ${roleId}`
}
