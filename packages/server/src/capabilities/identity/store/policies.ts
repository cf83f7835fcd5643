/** SQL of policies: versions of managed ones, what they are attached to, inline ones. */
import type { Sql } from '../../../platform/database.ts'
import type { OwnerKind } from './entities.ts'

export interface VersionRow {
  version: number
  document: string
  createdAt: Date
}

/** Newest first. */
export async function listVersions(sql: Sql, policyId: string): Promise<VersionRow[]> {
  return sql<VersionRow[]>`
    select version, document, created_at as "createdAt" from policy_versions where policy_id = ${policyId}
    order by version desc`
}

export async function insertVersion(sql: Sql, policyId: string, row: VersionRow): Promise<void> {
  await sql`
    insert into policy_versions (policy_id, version, document, created_at)
    values (${policyId}, ${row.version}, ${row.document}, ${row.createdAt})`
  await sql`
    update policies set latest_version = ${row.version}, updated_at = ${row.createdAt} where policy_id = ${policyId}`
}

export async function setDefaultVersion(sql: Sql, policyId: string, version: number, now: Date): Promise<void> {
  await sql`update policies set default_version = ${version}, updated_at = ${now} where policy_id = ${policyId}`
}

export async function deleteVersion(sql: Sql, policyId: string, version: number): Promise<void> {
  await sql`delete from policy_versions where policy_id = ${policyId} and version = ${version}`
}

// ----------------------------------------------------------------------------------------------------------- attachments

export async function attach(sql: Sql, account: string, ownerId: string, policyArn: string, now: Date): Promise<void> {
  await sql`
    insert into attached_policies (account, owner_id, policy_arn, attached_at)
    values (${account}, ${ownerId}, ${policyArn}, ${now}) on conflict do nothing`
}

export async function detach(sql: Sql, ownerId: string, policyArn: string): Promise<boolean> {
  const rows = await sql`
    delete from attached_policies where owner_id = ${ownerId} and policy_arn = ${policyArn} returning 1`
  return rows.length === 1
}

/** ARNs with the paths of their policies; AWS's own lie at `/`. */
export async function listAttached(sql: Sql, ownerId: string): Promise<{ arn: string; path: string }[]> {
  return sql<{ arn: string; path: string }[]>`
    select a.policy_arn as arn, coalesce(p.path, '/') as path from attached_policies a
    left join policies p on p.policy_arn = a.policy_arn
    where a.owner_id = ${ownerId} order by a.policy_arn collate "C"`
}

export interface Usage {
  attachments: number
  boundaries: number
}

/** How often each policy of an account is used, by ARN; unused ones are missing. `arn`: of this one alone. */
export async function readUsage(sql: Sql, account: string, arn?: string): Promise<Map<string, Usage>> {
  const one = (column: string) => (arn === undefined ? sql`` : sql`and ${sql(column)} = ${arn}`)
  const rows = await sql<({ arn: string } & Usage)[]>`
    select arn, sum(attachments)::int as attachments, sum(boundaries)::int as boundaries from (
      select policy_arn as arn, 1 as attachments, 0 as boundaries from attached_policies
        where account = ${account} ${one('policy_arn')}
      union all select boundary_arn, 0, 1 from users where account = ${account} and boundary_arn is not null
        ${one('boundary_arn')}
      union all select boundary_arn, 0, 1 from roles where account = ${account} and boundary_arn is not null
        ${one('boundary_arn')}
    ) uses group by arn`
  return new Map(rows.map(({ arn: policyArn, attachments, boundaries }) => [policyArn, { attachments, boundaries }]))
}

export interface PolicyEntity {
  kind: OwnerKind
  name: string
  id: string
  path: string
}

/** Everybody who has this policy attached, or as a boundary. */
export async function listEntitiesOf(
  sql: Sql,
  account: string,
  policyArn: string,
  as: 'policy' | 'boundary',
): Promise<PolicyEntity[]> {
  const attachedTo = sql`select owner_id from attached_policies where account = ${account} and policy_arn = ${policyArn}`
  const user = as === 'policy' ? sql`user_id in (${attachedTo})` : sql`boundary_arn = ${policyArn}`
  const role = as === 'policy' ? sql`role_id in (${attachedTo})` : sql`boundary_arn = ${policyArn}`
  const group = as === 'policy' ? sql`group_id in (${attachedTo})` : sql`false`
  return sql<PolicyEntity[]>`
    select 'group' as kind, group_name as name, group_id as id, path from groups where account = ${account} and ${group}
    union all
    select 'user', user_name, user_id, path from users where account = ${account} and ${user}
    union all
    select 'role', role_name, role_id, path from roles where account = ${account} and ${role}
    order by kind, name`
}

// ---------------------------------------------------------------------------------------------------------------- inline

export interface InlineRow {
  name: string
  document: string
}

export async function listInline(sql: Sql, ownerId: string): Promise<InlineRow[]> {
  return sql<InlineRow[]>`
    select policy_name as name, document from inline_policies where owner_id = ${ownerId}
    order by policy_name collate "C"`
}

export async function putInline(sql: Sql, account: string, ownerId: string, row: InlineRow): Promise<void> {
  await sql`
    insert into inline_policies (account, owner_id, policy_name, document)
    values (${account}, ${ownerId}, ${row.name}, ${row.document})
    on conflict (owner_id, policy_name) do update set document = excluded.document`
}

export async function deleteInline(sql: Sql, ownerId: string, name: string): Promise<boolean> {
  const rows = await sql`
    delete from inline_policies where owner_id = ${ownerId} and policy_name = ${name} returning 1`
  return rows.length === 1
}
