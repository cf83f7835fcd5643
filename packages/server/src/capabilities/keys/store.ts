/** Every SQL statement of keys. A key lies under its owner's account; its id is unique in a region. */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { Sql } from '../../platform/database.ts'
import type { CallerName } from '../identity/index.ts'
import type { KeySpec, KeyUsage } from './specs.ts'

type Scoped = Scope & Pick<Ground, 'sql'>

export type KeyState = 'Enabled' | 'Disabled' | 'PendingDeletion' | 'PendingImport'
export type KeyTag = { TagKey: string; TagValue: string }

export interface KeyRow extends Scope {
  keyId: string
  manager: 'AWS' | 'CUSTOMER'
  state: KeyState
  description: string
  currentVersion: number
  createdAt: Date
  spec: KeySpec
  usage: KeyUsage
  origin: 'AWS_KMS' | 'EXTERNAL'
  policy: string | null
  /** Of the users and roles that the policy names, by ARN. */
  policyIds: Record<string, string>
  publicKey: Buffer | null
  deletionAt: Date | null
  rotationDays: number | null
  rotateAt: Date | null
  materialExpiresAt: Date | null
  importedDigest: Buffer | null
  tags: KeyTag[]
  aliases: string[]
}

const keyColumns = (sql: Sql) => sql`
  k.account, k.region, k.key_id as "keyId", k.manager, k.state, k.description, k.current_version as "currentVersion",
  k.created_at as "createdAt", k.spec, k.usage, k.origin, k.policy, k.policy_ids as "policyIds", k.public_key as "publicKey",
  k.deletion_at as "deletionAt", k.rotation_days as "rotationDays", k.rotate_at as "rotateAt",
  k.material_expires_at as "materialExpiresAt", k.imported_digest as "importedDigest", k.tags,
  array(select a.alias from key_aliases a
    where a.account = k.account and a.region = k.region and a.key_id = k.key_id order by a.alias) as aliases`

export async function findKey(sql: Sql, region: string, keyId: string): Promise<KeyRow | undefined> {
  const [row] = await sql<KeyRow[]>`
    select ${keyColumns(sql)} from keys k where k.region = ${region} and k.key_id = ${keyId}`
  return row
}

/** The key, held until the transaction ends. */
export async function lockKey(sql: Sql, region: string, keyId: string): Promise<KeyRow | undefined> {
  const [row] = await sql<KeyRow[]>`
    select ${keyColumns(sql)} from keys k where k.region = ${region} and k.key_id = ${keyId} for update of k`
  return row
}

export async function findAlias({ sql, account, region }: Scoped, alias: string): Promise<KeyRow | undefined> {
  const [row] = await sql<KeyRow[]>`
    select ${keyColumns(sql)}
    from key_aliases named join keys k using (account, region, key_id)
    where named.account = ${account} and named.region = ${region} and named.alias = ${alias}`
  return row
}

export async function insertKey(
  { sql, account, region }: Scoped,
  key: Pick<KeyRow, 'keyId' | 'state' | 'description' | 'createdAt' | 'spec' | 'usage' | 'origin' | 'tags'> & {
    policy: string
    policyIds: Record<string, string>
    publicKey: Buffer | null
    currentVersion: number
  },
): Promise<void> {
  await sql`
    insert into keys (account, region, key_id, manager, state, description, current_version, created_at, spec, usage,
      origin, policy, policy_ids, public_key, tags)
    values (${account}, ${region}, ${key.keyId}, 'CUSTOMER', ${key.state}, ${key.description}, ${key.currentVersion},
      ${key.createdAt}, ${key.spec}, ${key.usage}, ${key.origin}, ${key.policy}, ${sql.json(key.policyIds)}, ${key.publicKey},
      ${sql.json(key.tags)})`
}

/** Makes an AWS managed key under `alias` unless there is one; processes that do so at once agree on the first. */
export async function insertManagedKey(
  { sql, account, region }: Scoped,
  key: { alias: string; keyId: string; sealedMaterial: Buffer; description: string; createdAt: Date; rotateAt: Date },
): Promise<void> {
  await sql`
    with named as (
      insert into key_aliases (account, region, alias, key_id, created_at)
      values (${account}, ${region}, ${key.alias}, ${key.keyId}, ${key.createdAt})
      on conflict do nothing
      returning account, region, key_id, created_at
    ), made as (
      insert into keys (account, region, key_id, manager, state, description, current_version, created_at,
        rotation_days, rotate_at)
      select account, region, key_id, 'AWS', 'Enabled', ${key.description}, 1, created_at, 365, ${key.rotateAt} from named
    )
    insert into key_versions (account, region, key_id, version, sealed_material, created_at)
    select account, region, key_id, 1, ${key.sealedMaterial}, created_at from named`
}

export type Changes = Partial<{
  state: KeyState
  description: string
  current_version: number
  deletion_at: Date | null
  rotation_days: number | null
  rotate_at: Date | null
  material_expires_at: Date | null
  public_key: Buffer
  imported_digest: Buffer | null
}>

export async function changeKey(sql: Sql, key: KeyRow, changes: Changes): Promise<void> {
  await sql`
    update keys set ${sql(changes)}
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId}`
}

export async function writePolicy(sql: Sql, key: KeyRow, policy: string, ids: Record<string, string>): Promise<void> {
  await sql`
    update keys set policy = ${policy}, policy_ids = ${sql.json(ids)}
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId}`
}

export async function writeTags(sql: Sql, key: KeyRow, tags: KeyTag[]): Promise<void> {
  await sql`
    update keys set tags = ${sql.json(tags)}
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId}`
}

export async function listKeys({ sql, account, region }: Scoped, after: string, limit: number): Promise<string[]> {
  const rows = await sql<{ keyId: string }[]>`
    select key_id as "keyId" from keys
    where account = ${account} and region = ${region} and key_id > ${after} order by key_id limit ${limit}`
  return rows.map(({ keyId }) => keyId)
}

// ---- versions ----

export interface VersionRow {
  version: number
  createdAt: Date
  rotationType: 'AUTOMATIC' | 'ON_DEMAND' | null
}

export async function findMaterial(
  { sql, account, region }: Scoped,
  keyId: string,
  version: number,
): Promise<Buffer | undefined> {
  const [row] = await sql<{ sealed: Buffer }[]>`
    select sealed_material as sealed from key_versions
    where account = ${account} and region = ${region} and key_id = ${keyId} and version = ${version}`
  return row?.sealed
}

export async function insertVersion(
  sql: Sql,
  key: Scope & { keyId: string },
  made: VersionRow & { sealed: Buffer },
): Promise<void> {
  await sql`
    insert into key_versions (account, region, key_id, version, sealed_material, created_at, rotation_type)
    values (${key.account}, ${key.region}, ${key.keyId}, ${made.version}, ${made.sealed}, ${made.createdAt},
      ${made.rotationType})`
}

export async function deleteVersions(sql: Sql, key: KeyRow): Promise<void> {
  await sql`
    delete from key_versions where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId}`
}

export const listVersions = (sql: Sql, key: KeyRow, after: number, limit: number): Promise<VersionRow[]> =>
  sql<VersionRow[]>`
    select version, created_at as "createdAt", rotation_type as "rotationType" from key_versions
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId} and version > ${after}
    order by version limit ${limit}`

export async function countRotations(sql: Sql, key: KeyRow): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count from key_versions
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId} and rotation_type = 'ON_DEMAND'`
  return row?.count ?? 0
}

// ---- aliases ----

export interface AliasRow {
  alias: string
  keyId: string
  createdAt: Date
  updatedAt: Date | null
}

/** False: the alias is taken. */
export async function insertAlias(sql: Sql, key: KeyRow, alias: string, now: Date): Promise<boolean> {
  const rows = await sql`
    insert into key_aliases (account, region, alias, key_id, created_at)
    values (${key.account}, ${key.region}, ${alias}, ${key.keyId}, ${now}) on conflict do nothing returning 1`
  return rows.length === 1
}

export async function pointAlias(sql: Sql, key: KeyRow, alias: string, now: Date): Promise<void> {
  await sql`
    update key_aliases set key_id = ${key.keyId}, updated_at = ${now}
    where account = ${key.account} and region = ${key.region} and alias = ${alias}`
}

export async function deleteAlias({ sql, account, region }: Scoped, alias: string): Promise<void> {
  await sql`delete from key_aliases where account = ${account} and region = ${region} and alias = ${alias}`
}

export const listAliases = (
  { sql, account, region }: Scoped,
  keyId: string | undefined,
  after: string,
  limit: number,
): Promise<AliasRow[]> =>
  sql<AliasRow[]>`
    select alias, key_id as "keyId", created_at as "createdAt", updated_at as "updatedAt" from key_aliases
    where account = ${account} and region = ${region} and alias > ${after}
      ${keyId === undefined ? sql`` : sql`and key_id = ${keyId}`}
    order by alias limit ${limit}`

// ---- grants ----

export interface GrantConstraints {
  EncryptionContextSubset?: Record<string, string>
  EncryptionContextEquals?: Record<string, string>
}

export interface GrantRow extends Scope {
  keyId: string
  grantId: string
  name: string | null
  grantee: string
  /** Of a user or a role. */
  granteeId: string | null
  retiring: string | null
  retiringId: string | null
  operations: string[]
  constraints: GrantConstraints
  issuingAccount: string
  createdAt: Date
}

const grantColumns = (sql: Sql) => sql`
  account, region, key_id as "keyId", grant_id as "grantId", name, grantee, grantee_id as "granteeId", retiring,
  retiring_id as "retiringId", operations, constraints, issuing_account as "issuingAccount", created_at as "createdAt"`

export async function insertGrant(sql: Sql, grant: GrantRow): Promise<void> {
  await sql`
    insert into key_grants (account, region, key_id, grant_id, name, grantee, grantee_id, retiring, retiring_id, operations,
      constraints, issuing_account, created_at)
    values (${grant.account}, ${grant.region}, ${grant.keyId}, ${grant.grantId}, ${grant.name}, ${grant.grantee},
      ${grant.granteeId}, ${grant.retiring}, ${grant.retiringId}, ${sql.json(grant.operations)}, ${sql.json({ ...grant.constraints })}, ${grant.issuingAccount},
      ${grant.createdAt})`
}

/** Grants to whoever bears one of these names: by id where the grant knows it, else by ARN. */
export const grantsFor = (sql: Sql, key: KeyRow, names: readonly CallerName[]): Promise<GrantRow[]> =>
  sql<GrantRow[]>`
    select ${grantColumns(sql)} from key_grants
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId}
      and (grantee_id = any(${names.flatMap(({ id }) => id ?? [])})
        or (grantee_id is null and grantee = any(${names.map(({ arn }) => arn)})))`

export async function findGrant(sql: Sql, key: KeyRow, grantId: string): Promise<GrantRow | undefined> {
  const [row] = await sql<GrantRow[]>`
    select ${grantColumns(sql)} from key_grants
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId} and grant_id = ${grantId}`
  return row
}

/** The grant of this name with the same content: CreateGrant is idempotent for those. */
export const grantsNamed = (sql: Sql, key: KeyRow, name: string): Promise<GrantRow[]> =>
  sql<GrantRow[]>`
    select ${grantColumns(sql)} from key_grants
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId} and name = ${name}`

export async function deleteGrant(sql: Sql, grant: GrantRow): Promise<void> {
  await sql`
    delete from key_grants where account = ${grant.account} and region = ${grant.region}
      and key_id = ${grant.keyId} and grant_id = ${grant.grantId}`
}

export const listGrants = (
  sql: Sql,
  key: KeyRow,
  only: { grantId?: string | undefined; grantee?: string | undefined },
  after: string,
  limit: number,
): Promise<GrantRow[]> =>
  sql<GrantRow[]>`
    select ${grantColumns(sql)} from key_grants
    where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId} and grant_id > ${after}
      ${only.grantId === undefined ? sql`` : sql`and grant_id = ${only.grantId}`}
      ${only.grantee === undefined ? sql`` : sql`and grantee = ${only.grantee}`}
    order by grant_id limit ${limit}`

/** Across the accounts that let this principal retire grants. */
export const listRetirable = (
  sql: Sql,
  region: string,
  retiring: string,
  after: string,
  limit: number,
): Promise<GrantRow[]> =>
  sql<GrantRow[]>`
    select ${grantColumns(sql)} from key_grants
    where retiring = ${retiring} and region = ${region} and grant_id > ${after} order by grant_id limit ${limit}`

// ---- appointments ----

/** Keys whose deletion, rotation or expiry is due, held; what another process holds is left to it. */
export const lockDue = (sql: Sql, now: Date, limit: number): Promise<KeyRow[]> =>
  sql<KeyRow[]>`
    select ${keyColumns(sql)} from keys k
    where least(deletion_at, rotate_at, material_expires_at) <= ${now}
      and (deletion_at is not null or rotate_at is not null or material_expires_at is not null)
    order by least(deletion_at, rotate_at, material_expires_at) limit ${limit} for update of k skip locked`

export async function nextAppointment(sql: Sql): Promise<Date | undefined> {
  const [row] = await sql<{ next: Date | null }[]>`
    select min(least(deletion_at, rotate_at, material_expires_at)) as next from keys
    where deletion_at is not null or rotate_at is not null or material_expires_at is not null`
  return row?.next ?? undefined
}

export async function deleteKey(sql: Sql, key: KeyRow): Promise<void> {
  await sql`delete from keys where account = ${key.account} and region = ${key.region} and key_id = ${key.keyId}`
}
