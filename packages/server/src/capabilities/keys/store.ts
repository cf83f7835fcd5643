/** Every SQL statement of keys. */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'

type Scoped = Scope & Pick<Ground, 'sql'>

export interface KeyRow {
  keyId: string
  currentVersion: number
  state: string
}

export async function findKey(context: Scoped, keyId: string): Promise<KeyRow | undefined> {
  const [row] = await context.sql<KeyRow[]>`
    select key_id as "keyId", current_version as "currentVersion", state from keys
    where account = ${context.account} and region = ${context.region} and key_id = ${keyId}`
  return row
}

export async function findAlias(context: Scoped, alias: string): Promise<KeyRow | undefined> {
  const [row] = await context.sql<KeyRow[]>`
    select key_id as "keyId", current_version as "currentVersion", state
    from key_aliases join keys using (account, region, key_id)
    where account = ${context.account} and region = ${context.region} and alias = ${alias}`
  return row
}

export async function findMaterial(context: Scoped, keyId: string, version: number): Promise<Buffer | undefined> {
  const [row] = await context.sql<{ sealed: Buffer }[]>`
    select sealed_material as sealed from key_versions
    where account = ${context.account} and region = ${context.region} and key_id = ${keyId} and version = ${version}`
  return row?.sealed
}

/** Makes an AWS managed key under `alias` unless there is one; processes that do so at once agree on the first. */
export async function insertManagedKey(
  context: Scoped,
  key: { alias: string; keyId: string; sealedMaterial: Buffer; description: string; createdAt: Date },
): Promise<void> {
  const { sql, account, region } = context
  await sql`
    with named as (
      insert into key_aliases (account, region, alias, key_id, created_at)
      values (${account}, ${region}, ${key.alias}, ${key.keyId}, ${key.createdAt})
      on conflict do nothing
      returning account, region, key_id, created_at
    ), made as (
      insert into keys (account, region, key_id, manager, state, description, current_version, created_at)
      select account, region, key_id, 'AWS', 'Enabled', ${key.description}, 1, created_at from named
    )
    insert into key_versions (account, region, key_id, version, sealed_material, created_at)
    select account, region, key_id, 1, ${key.sealedMaterial}, created_at from named`
}
