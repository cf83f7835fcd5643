/**
 * SQL of what IAM names: users, groups, roles, managed policies and instance profiles. They are alike (a name that is
 * unique without regard to case, an id that is never used again, a path), so one set of statements serves all five.
 */
import type { Sql } from '../../../platform/database.ts'

export interface Tag {
  Key: string
  Value: string
}

export interface Entity {
  account: string
  name: string
  id: string
  path: string
  createdAt: Date
}
export interface UserRow extends Entity {
  boundaryArn: string | null
  tags: Tag[]
  passwordCreatedAt: Date | null
  passwordChangedAt: Date | null
  passwordResetRequired: boolean
  passwordLastUsedAt: Date | null
}
export type GroupRow = Entity
export interface RoleRow extends Entity {
  trustPolicy: string
  /** Ids of the users and roles that it names, by ARN. */
  trustedIds: Record<string, string>
  description: string
  maxSessionSeconds: number
  boundaryArn: string | null
  tags: Tag[]
  lastUsedAt: Date | null
  lastUsedRegion: string | null
}
export interface PolicyRow extends Entity {
  arn: string
  description: string
  defaultVersion: number
  latestVersion: number
  updatedAt: Date
  tags: Tag[]
}
export interface ProfileRow extends Entity {
  roleId: string | null
  tags: Tag[]
}

export interface Rows {
  user: UserRow
  group: GroupRow
  role: RoleRow
  policy: PolicyRow
  profile: ProfileRow
}
export type Kind = keyof Rows
/** What policies can be given to. */
export type OwnerKind = 'user' | 'group' | 'role'
export type TaggedKind = Exclude<Kind, 'group'>

const TABLES: Record<Kind, { table: string; name: string; id: string }> = {
  user: { table: 'users', name: 'user_name', id: 'user_id' },
  group: { table: 'groups', name: 'group_name', id: 'group_id' },
  role: { table: 'roles', name: 'role_name', id: 'role_id' },
  policy: { table: 'policies', name: 'policy_name', id: 'policy_id' },
  profile: { table: 'instance_profiles', name: 'profile_name', id: 'profile_id' },
}

function columns(sql: Sql, kind: Kind) {
  const { name, id } = TABLES[kind]
  const own = {
    user: sql`boundary_arn as "boundaryArn", tags, password_created_at as "passwordCreatedAt",
      password_changed_at as "passwordChangedAt", password_reset_required as "passwordResetRequired", password_last_used_at as "passwordLastUsedAt"`,
    group: sql`path`,
    role: sql`trust_policy as "trustPolicy", trusted_ids as "trustedIds", description, max_session_seconds as "maxSessionSeconds",
      boundary_arn as "boundaryArn", tags, last_used_at as "lastUsedAt", last_used_region as "lastUsedRegion"`,
    policy: sql`policy_arn as arn, description, default_version as "defaultVersion", latest_version as "latestVersion",
      updated_at as "updatedAt", tags`,
    profile: sql`role_id as "roleId", tags`,
  }[kind]
  return sql`account, ${sql(name)} as name, ${sql(id)} as id, path, created_at as "createdAt", ${own}`
}

/** `hold`: keeps it from being changed or deleted by anyone else until the transaction ends. */
export async function find<K extends Kind>(
  sql: Sql,
  kind: K,
  account: string,
  name: string,
  hold = false,
): Promise<Rows[K] | undefined> {
  const { table, name: column } = TABLES[kind]
  const [row] = await sql<Rows[K][]>`
    select ${columns(sql, kind)} from ${sql(table)} where account = ${account} and lower(${sql(column)}) = lower(${name})
    ${hold ? sql`for update` : sql``}`
  return row
}

/** Of accounts that are not disabled. */
export async function findById<K extends Kind>(sql: Sql, kind: K, id: string): Promise<Rows[K] | undefined> {
  const { table, id: column } = TABLES[kind]
  const [row] = await sql<Rows[K][]>`
    select ${columns(sql, kind)} from ${sql(table)} where ${sql(column)} = ${id}
      and exists (select 1 from accounts a where a.account = ${sql(table)}.account and a.status = 'Active')`
  return row
}

export async function listByIds<K extends Kind>(sql: Sql, kind: K, ids: string[]): Promise<Rows[K][]> {
  const { table, id, name } = TABLES[kind]
  if (ids.length === 0) return []
  return sql<Rows[K][]>`
    select ${columns(sql, kind)} from ${sql(table)} where ${sql(id)} = any(${ids})
    order by lower(${sql(name)}) collate "C"`
}

export interface Listing {
  pathPrefix?: string
  /** The lower-case name after which it goes on. */
  after?: string
  limit?: number
}

/** In the order of their lower-case names. */
export async function list<K extends Kind>(
  sql: Sql,
  kind: K,
  account: string,
  { pathPrefix = '/', after = '', limit }: Listing = {},
): Promise<Rows[K][]> {
  const { table, name } = TABLES[kind]
  return sql<Rows[K][]>`
    select ${columns(sql, kind)} from ${sql(table)}
    where account = ${account} and starts_with(path, ${pathPrefix}) and lower(${sql(name)}) collate "C" > ${after}
    order by lower(${sql(name)}) collate "C" ${limit === undefined ? sql`` : sql`limit ${limit}`}`
}

export async function count(sql: Sql, kind: Kind, account: string): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from ${sql(TABLES[kind].table)} where account = ${account}`
  return row!.n
}

export async function remove(sql: Sql, kind: Kind, id: string): Promise<void> {
  await sql`delete from ${sql(TABLES[kind].table)} where ${sql(TABLES[kind].id)} = ${id}`
}

export async function setTags(sql: Sql, kind: TaggedKind, id: string, tags: Tag[]): Promise<void> {
  await sql`
    update ${sql(TABLES[kind].table)} set tags = ${jsonTags(sql, tags)}
    where ${sql(TABLES[kind].id)} = ${id}`
}

/** false: the name is taken. */
export async function rename(
  sql: Sql,
  kind: 'user' | 'group',
  id: string,
  name: string,
  path: string,
): Promise<boolean> {
  const { table, name: column, id: idColumn } = TABLES[kind]
  const rows = await sql`
    update ${sql(table)} set ${sql(column)} = ${name}, path = ${path}
    where ${sql(idColumn)} = ${id} and not exists (
      select 1 from ${sql(table)} other where other.account = ${sql(table)}.account
        and lower(other.${sql(column)}) = lower(${name}) and other.${sql(idColumn)} <> ${id})
    returning 1`
  return rows.length === 1
}

export const jsonTags = (sql: Sql, tags: Tag[]) =>
  sql.json(tags as { [key: string]: string; Key: string; Value: string }[])

/** false: the name is taken. So say all that insert. */
export async function insertUser(
  sql: Sql,
  row: Entity & { boundaryArn: string | null; tags: Tag[] },
): Promise<boolean> {
  const rows = await sql`
    insert into users (account, user_name, user_id, path, created_at, boundary_arn, tags)
    values (${row.account}, ${row.name}, ${row.id}, ${row.path}, ${row.createdAt}, ${row.boundaryArn}, ${jsonTags(sql, row.tags)})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function insertGroup(sql: Sql, row: Entity): Promise<boolean> {
  const rows = await sql`
    insert into groups (account, group_name, group_id, path, created_at)
    values (${row.account}, ${row.name}, ${row.id}, ${row.path}, ${row.createdAt})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function insertRole(sql: Sql, row: Omit<RoleRow, 'lastUsedAt' | 'lastUsedRegion'>): Promise<boolean> {
  const rows = await sql`
    insert into roles (account, role_name, role_id, path, created_at, trust_policy, trusted_ids, description,
      max_session_seconds, boundary_arn, tags)
    values (${row.account}, ${row.name}, ${row.id}, ${row.path}, ${row.createdAt}, ${row.trustPolicy},
      ${sql.json(row.trustedIds)}, ${row.description}, ${row.maxSessionSeconds}, ${row.boundaryArn}, ${jsonTags(sql, row.tags)})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function insertPolicy(sql: Sql, row: PolicyRow): Promise<boolean> {
  const rows = await sql`
    insert into policies (account, policy_name, policy_id, path, created_at, policy_arn, description, default_version,
      latest_version, updated_at, tags)
    values (${row.account}, ${row.name}, ${row.id}, ${row.path}, ${row.createdAt}, ${row.arn}, ${row.description},
      ${row.defaultVersion}, ${row.latestVersion}, ${row.updatedAt}, ${jsonTags(sql, row.tags)})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function insertProfile(sql: Sql, row: ProfileRow): Promise<boolean> {
  const rows = await sql`
    insert into instance_profiles (account, profile_name, profile_id, path, created_at, role_id, tags)
    values (${row.account}, ${row.name}, ${row.id}, ${row.path}, ${row.createdAt}, ${row.roleId}, ${jsonTags(sql, row.tags)})
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function updateRole(
  sql: Sql,
  id: string,
  change: {
    trust?: { policy: string; ids: Record<string, string> }
    description?: string
    maxSessionSeconds?: number
  },
): Promise<void> {
  await sql`
    update roles set trust_policy = coalesce(${change.trust?.policy ?? null}, trust_policy),
      trusted_ids = coalesce(${change.trust ? sql.json(change.trust.ids) : null}, trusted_ids),
      description = coalesce(${change.description ?? null}, description),
      max_session_seconds = coalesce(${change.maxSessionSeconds ?? null}::int, max_session_seconds)
    where role_id = ${id}`
}

export async function setBoundary(sql: Sql, kind: 'user' | 'role', id: string, arn: string | null): Promise<void> {
  await sql`update ${sql(TABLES[kind].table)} set boundary_arn = ${arn} where ${sql(TABLES[kind].id)} = ${id}`
}

// --------------------------------------------------------------------------------------------------------------- groups

export async function addMember(sql: Sql, groupId: string, userId: string): Promise<void> {
  await sql`insert into group_members (group_id, user_id) values (${groupId}, ${userId}) on conflict do nothing`
}

export async function removeMember(sql: Sql, groupId: string, userId: string): Promise<boolean> {
  const rows = await sql`
    delete from group_members where group_id = ${groupId} and user_id = ${userId} returning 1`
  return rows.length === 1
}

export async function listMembers(sql: Sql, groupId: string): Promise<UserRow[]> {
  const rows = await sql<{ id: string }[]>`select user_id as id from group_members where group_id = ${groupId}`
  return listByIds(
    sql,
    'user',
    rows.map(({ id }) => id),
  )
}

export async function listGroupsOf(sql: Sql, userId: string): Promise<GroupRow[]> {
  const rows = await sql<{ id: string }[]>`select group_id as id from group_members where user_id = ${userId}`
  return listByIds(
    sql,
    'group',
    rows.map(({ id }) => id),
  )
}

// ---------------------------------------------------------------------------------------------------- instance profiles

export async function setProfileRole(sql: Sql, profileId: string, roleId: string | null): Promise<void> {
  await sql`update instance_profiles set role_id = ${roleId} where profile_id = ${profileId}`
}

export async function listProfilesOf(sql: Sql, roleId: string): Promise<ProfileRow[]> {
  const rows = await sql<{ id: string }[]>`select profile_id as id from instance_profiles where role_id = ${roleId}`
  return listByIds(
    sql,
    'profile',
    rows.map(({ id }) => id),
  )
}

export async function touchRole(sql: Sql, roleId: string, region: string, now: Date): Promise<void> {
  await sql`update roles set last_used_at = ${now}, last_used_region = ${region} where role_id = ${roleId}`
}

// ------------------------------------------------------------------------------------------------- service-linked roles

export async function insertRoleDeletion(
  sql: Sql,
  row: { account: string; taskId: string; roleArn: string; deletedAt: Date },
): Promise<void> {
  await sql`
    insert into role_deletions (account, task_id, role_arn, deleted_at)
    values (${row.account}, ${row.taskId}, ${row.roleArn}, ${row.deletedAt})`
}

export async function hasRoleDeletion(sql: Sql, account: string, taskId: string): Promise<boolean> {
  const [row] = await sql`select from role_deletions where account = ${account} and task_id = ${taskId}`
  return row !== undefined
}
