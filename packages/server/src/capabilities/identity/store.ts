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

/** Ends every root key of the account. */
export async function deleteRootKeys(sql: Sql, account: string): Promise<void> {
  await sql`delete from access_keys where account = ${account} and owner = 'root'`
}

/** Gives the node a new serial, which ends every session token it held before. */
export async function upsertNodeGrant(
  sql: Sql,
  scope: Scope,
  nodeId: string,
  roleName: string | undefined,
): Promise<number> {
  await deleteNodeGrant(sql, scope, nodeId)
  const [row] = await sql<{ serial: number }[]>`
    insert into node_grants (account, region, node_id, role_name)
    values (${scope.account}, ${scope.region}, ${nodeId}, ${roleName ?? null})
    returning serial`
  return row!.serial
}

/** Gives the node another role from its next request on. */
export async function setNodeRole(sql: Sql, scope: Scope, nodeId: string, roleName: string): Promise<void> {
  await sql`
    update node_grants set role_name = ${roleName}
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId}`
}

export async function deleteNodeGrant(sql: Sql, scope: Scope, nodeId: string): Promise<void> {
  await sql`
    delete from node_grants
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId}`
}

/** How many nodes carry each role, by its name in lower case. */
export async function countNodesByRole(sql: Sql, account: string): Promise<Map<string, number>> {
  const rows = await sql<{ name: string; nodes: number }[]>`
    select lower(role_name) as name, count(*)::int as nodes from node_grants
    where account = ${account} and role_name is not null group by 1`
  return new Map(rows.map(({ name, nodes }) => [name, nodes]))
}

/** Of accounts that are not disabled. */
export async function readNodeGrant(
  sql: Sql,
  scope: Scope,
  nodeId: string,
): Promise<{ serial: number; roleName: string | null } | undefined> {
  const [row] = await sql<{ serial: number; roleName: string | null }[]>`
    select serial, role_name as "roleName" from node_grants join accounts using (account)
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId} and status = 'Active'`
  return row
}

// ------------------------------------------------------------------------------------------ principals and their policies

export interface PolicyText {
  /** The name of an inline policy, the ARN of a managed one. */
  name: string
  /** null: not a policy of this installation's accounts, so AWS's or gone. */
  document: string | null
  /** Of a user, of a group of the user's, or of a role. */
  ownerId: string
}

/** Every policy of a user (its groups' included) or of a role. */
export async function readPolicyTexts(sql: Sql, ownerId: string): Promise<PolicyText[]> {
  return sql<PolicyText[]>`
    with owners as (
      select ${ownerId}::text as owner_id
      union all select group_id from group_members where user_id = ${ownerId}
    )
    select policy_name as name, document, owner_id as "ownerId" from inline_policies where owner_id in (select owner_id from owners)
    union all
    select a.policy_arn, v.document, a.owner_id from attached_policies a
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

/** The boundary of a user or a role; null: none, or no such principal. */
export async function readBoundary(sql: Sql, ownerId: string): Promise<string | null> {
  const [row] = await sql<{ arn: string | null }[]>`
    select boundary_arn as arn from users where user_id = ${ownerId}
    union all select boundary_arn from roles where role_id = ${ownerId}`
  return row?.arn ?? null
}

// -------------------------------------------------------------------------------------------------------------- accounts

export interface AccountRow {
  account: string
  name: string
  status: 'Active' | 'Disabled'
  createdAt: Date
}

export async function listAccounts(sql: Sql): Promise<AccountRow[]> {
  return sql<
    AccountRow[]
  >`select account, name, status, created_at as "createdAt" from accounts order by created_at, account`
}

/** Until the transaction ends; false: there is none. */
export async function holdAccount(sql: Sql, account: string): Promise<boolean> {
  const rows = await sql`select from accounts where account = ${account} for update`
  return rows.length === 1
}

export async function readDisabledAccounts(sql: Sql): Promise<string[]> {
  const rows = await sql<{ account: string }[]>`select account from accounts where status = 'Disabled'`
  return rows.map(({ account }) => account)
}

/** Whether there is such an account that is not disabled. */
export async function hasAccount(sql: Sql, account: string): Promise<boolean> {
  const [row] = await sql`select from accounts where account = ${account} and status = 'Active'`
  return row !== undefined
}

/** The account as it is now; undefined: there is none. */
export async function setAccountStatus(
  sql: Sql,
  account: string,
  status: AccountRow['status'],
): Promise<AccountRow | undefined> {
  const [row] = await sql<AccountRow[]>`
    update accounts set status = ${status} where account = ${account}
    returning account, name, status, created_at as "createdAt"`
  return row
}

// --------------------------------------------------------------------------------------------------------------- denials

export interface DenialRow {
  account: string
  requestId: string
  deniedAt: Date
  principalArn: string
  action: string
  reason: unknown
}

/** Writes refusals and forgets all but the newest `most` of their accounts. */
export async function insertDenials(sql: Sql, rows: DenialRow[], most: number): Promise<void> {
  await sql`
    insert into denials (account, request_id, denied_at, principal_arn, action, reason)
    select account, request_id, at::timestamptz, principal_arn, action, reason::jsonb
    from unnest(${rows.map((row) => row.account)}::text[], ${rows.map((row) => row.requestId)}::text[],
      ${rows.map((row) => row.deniedAt.toISOString())}::text[], ${rows.map((row) => row.principalArn)}::text[],
      ${rows.map((row) => row.action)}::text[], ${rows.map((row) => JSON.stringify(row.reason))}::text[])
      as d (account, request_id, at, principal_arn, action, reason)
    on conflict do nothing`
  for (const account of new Set(rows.map((row) => row.account))) {
    await sql`
      delete from denials where account = ${account} and denied_at < (
        select denied_at from denials where account = ${account} order by denied_at desc offset ${most} limit 1)`
  }
}

export async function readDenial(sql: Sql, account: string, requestId: string): Promise<DenialRow | undefined> {
  const [row] = await sql<DenialRow[]>`
    select account, request_id as "requestId", denied_at as "deniedAt", principal_arn as "principalArn", action, reason
    from denials where account = ${account} and request_id = ${requestId}`
  return row
}
