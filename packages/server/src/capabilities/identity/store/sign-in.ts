/** SQL of how people sign in and what accounts are called: access keys, MFA devices, aliases. */
import type { Sql } from '../../../platform/database.ts'
import { jsonTags, type Tag } from './entities.ts'

export interface KeyRow {
  accessKeyId: string
  userId: string | null
  status: 'Active' | 'Inactive'
  createdAt: Date
}

/** `userId` null: the root's. */
export async function listKeys(sql: Sql, account: string, userId: string | null): Promise<KeyRow[]> {
  return sql<KeyRow[]>`
    select access_key_id as "accessKeyId", user_id as "userId", status, created_at as "createdAt" from access_keys
    where account = ${account} and ${userId === null ? sql`owner = 'root'` : sql`user_id = ${userId}`}
    order by created_at, access_key_id`
}

export async function setKeyStatus(sql: Sql, accessKeyId: string, status: string): Promise<void> {
  await sql`update access_keys set status = ${status} where access_key_id = ${accessKeyId}`
}

export async function deleteKey(sql: Sql, accessKeyId: string): Promise<void> {
  await sql`delete from access_keys where access_key_id = ${accessKeyId}`
}

export interface KeyUse {
  accessKeyId: string
  at: Date
  region: string
  service: string
}

export async function readKeyUse(
  sql: Sql,
  account: string,
  accessKeyId: string,
): Promise<{ userName: string | null; at: Date | null; region: string | null; service: string | null } | undefined> {
  const [row] = await sql<
    { userName: string | null; at: Date | null; region: string | null; service: string | null }[]
  >`
    select u.user_name as "userName", k.last_used_at as at, k.last_used_region as region, k.last_used_service as service
    from access_keys k left join users u on u.user_id = k.user_id
    where k.account = ${account} and k.access_key_id = ${accessKeyId}`
  return row
}

export async function writeKeyUses(sql: Sql, uses: KeyUse[]): Promise<void> {
  await sql`
    update access_keys k set last_used_at = u.at::timestamptz, last_used_region = u.region, last_used_service = u.service
    from unnest(${uses.map((use) => use.accessKeyId)}::text[], ${uses.map((use) => use.at.toISOString())}::text[],
      ${uses.map((use) => use.region)}::text[], ${uses.map((use) => use.service)}::text[]) u (id, at, region, service)
    where k.access_key_id = u.id`
}

// ------------------------------------------------------------------------------------------------------------ MFA devices

export interface DeviceRow {
  serialNumber: string
  userId: string | null
  userName: string | null
  seedSealed: Buffer
  enabledAt: Date | null
  lastStep: number | null
  tags: Tag[]
}

const deviceColumns = (sql: Sql) => sql`
  serial_number as "serialNumber", d.user_id as "userId", u.user_name as "userName", seed_sealed as "seedSealed",
  enabled_at as "enabledAt", last_step as "lastStep", d.tags`

/** false: the serial number is taken. */
export async function insertDevice(
  sql: Sql,
  row: { serialNumber: string; account: string; seedSealed: Buffer; tags: Tag[] },
): Promise<boolean> {
  const rows = await sql`
    insert into mfa_devices (serial_number, account, seed_sealed, tags)
    values (${row.serialNumber}, ${row.account}, ${row.seedSealed}, ${jsonTags(sql, row.tags)}) on conflict do nothing returning 1`
  return rows.length === 1
}

/** `hold`: nobody else changes it until the transaction ends. */
export async function readDevice(
  sql: Sql,
  account: string,
  serialNumber: string,
  hold = false,
): Promise<DeviceRow | undefined> {
  const [row] = await sql<DeviceRow[]>`
    select ${deviceColumns(sql)} from mfa_devices d left join users u on u.user_id = d.user_id
    where d.account = ${account} and serial_number = ${serialNumber} ${hold ? sql`for update of d` : sql``}`
  return row
}

export async function setDeviceTags(sql: Sql, serialNumber: string, tags: Tag[]): Promise<void> {
  await sql`update mfa_devices set tags = ${jsonTags(sql, tags)} where serial_number = ${serialNumber}`
}

export async function listDevices(sql: Sql, account: string, userId?: string): Promise<DeviceRow[]> {
  return sql<DeviceRow[]>`
    select ${deviceColumns(sql)} from mfa_devices d left join users u on u.user_id = d.user_id
    where d.account = ${account} ${userId === undefined ? sql`` : sql`and d.user_id = ${userId}`}
    order by serial_number collate "C"`
}

/** Hands the device to a user, or takes it away with null. */
export async function assignDevice(
  sql: Sql,
  serialNumber: string,
  to: { userId: string; enabledAt: Date; lastStep: number } | null,
): Promise<void> {
  await sql`
    update mfa_devices set user_id = ${to?.userId ?? null}, enabled_at = ${to?.enabledAt ?? null},
      last_step = ${to?.lastStep ?? null}::bigint
    where serial_number = ${serialNumber}`
}

/**
 * Counts a try before its code is looked at, so that many at once are no way around it: false when `most` were counted
 * since `since` and none of them was right.
 */
export async function countTry(
  sql: Sql,
  serialNumber: string,
  { now, since, most }: { now: Date; since: Date; most: number },
): Promise<boolean> {
  const isOver = sql`(tries_since is null or tries_since < ${since})`
  const rows = await sql`
    update mfa_devices set tries = case when ${isOver} then 1 else tries + 1 end,
      tries_since = case when ${isOver} then ${now} else tries_since end
    where serial_number = ${serialNumber} and (tries < ${most} or ${isOver}) returning 1`
  return rows.length === 1
}

/** Takes the code of a step: true once, for steps later than those taken before. Tries count anew from there. */
export async function takeStep(sql: Sql, serialNumber: string, step: number): Promise<boolean> {
  const rows = await sql`
    update mfa_devices set last_step = ${step}, tries = 0, tries_since = null where serial_number = ${serialNumber}
      and (last_step is null or last_step < ${step}) returning 1`
  return rows.length === 1
}

export async function deleteDevice(sql: Sql, serialNumber: string): Promise<void> {
  await sql`delete from mfa_devices where serial_number = ${serialNumber}`
}

// ---------------------------------------------------------------------------------------------------------------- aliases

export async function readAlias(sql: Sql, account: string): Promise<string | undefined> {
  const [row] = await sql<{ alias: string }[]>`select alias from account_aliases where account = ${account}`
  return row?.alias
}

/** An account has one: a new one takes the place of the old. false: another account has it. */
export async function putAlias(sql: Sql, account: string, alias: string): Promise<boolean> {
  const rows = await sql`
    insert into account_aliases (alias, account) select ${alias}, ${account}
    where not exists (select 1 from account_aliases where alias = ${alias})
    on conflict (account) do update set alias = excluded.alias returning 1`
  return rows.length === 1
}

export async function deleteAlias(sql: Sql, account: string, alias: string): Promise<boolean> {
  const rows = await sql`
    delete from account_aliases where account = ${account} and alias = ${alias} returning 1`
  return rows.length === 1
}
