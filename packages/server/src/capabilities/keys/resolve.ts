/**
 * From how a key is named (id, ARN, alias, alias ARN) to the key. KMS's operations read it from the database each time;
 * the door for other capabilities keeps what it has found until a wake or for a few seconds.
 */
import { arn, type Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import { inTransaction } from '../../platform/gathered.ts'
import { uuid } from '../../platform/ids.ts'
import type { Sealer } from '../../platform/seal.ts'
import { MATERIAL_BYTES } from './ciphertext.ts'
import { invalidState, KeyError, notFound } from './errors.ts'
import { dropMaterial, sealMaterial } from './material.ts'
import { newBytes, nextRotation } from './rotation-dates.ts'
import { findAlias, findKey, insertManagedKey, type KeyRow } from './store.ts'

export type Keyring = Scope & Pick<Ground, 'sql' | 'sealer' | 'now'>

export const KEYS_WAKE = 'keys'
export const SSM_KEY_ALIAS = 'alias/aws/ssm'
export const CLOUDTRAIL_KEY_ALIAS = 'alias/aws/cloudtrail'
const MANAGED_ROTATION_DAYS = 365

/** Keys that AWS manages for its services: made on demand, never disabled, never moved to another key. */
const MANAGED_KEYS: Record<string, string> = {
  [SSM_KEY_ALIAS]: 'Default key that protects my SSM parameters when no other key is defined',
  [CLOUDTRAIL_KEY_ALIAS]: 'Key that protects the contents of calls that the audit keeps',
}

export const keyArn = (key: Scope & { keyId: string }): string => arn('kms', key, `key/${key.keyId}`)

const KEY_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const KEY_ARN = /^arn:aws:kms:([a-z0-9-]+):(\d{12}):(.+)$/

export interface KeyName extends Scope {
  keyId?: string
  alias?: string
}

/** What a text names, whether it exists or not. NotFoundException for what names nothing. */
export function readKeyName(scope: Scope, asked: string): KeyName {
  const [, region = scope.region, account = scope.account, rest = `key/${asked}`] = KEY_ARN.exec(asked) ?? []
  if (region !== scope.region) throw notFound(`Invalid arn ${region}`)
  const alias = asked.startsWith('alias/') ? asked : rest
  if (alias.startsWith('alias/')) return { account, region, alias }
  const keyId = rest.startsWith('key/') ? rest.slice('key/'.length) : ''
  if (!KEY_ID.test(keyId)) throw notFound(`Invalid keyId '${asked}'`)
  return { account, region, keyId }
}

/** NotFoundException. */
export async function findNamed(context: Keyring, name: KeyName): Promise<KeyRow> {
  const key =
    name.keyId === undefined
      ? await byAlias(context, name, name.alias ?? '')
      : await findKey(context.sql, name.region, name.keyId)
  if (key?.account === name.account) return key
  throw name.keyId === undefined
    ? notFound(`Alias ${arn('kms', name, name.alias ?? '')} is not found.`)
    : notFound(`Key '${arn('kms', name, `key/${name.keyId}`)}' does not exist`)
}

async function byAlias(context: Keyring, scope: Scope, alias: string): Promise<KeyRow | undefined> {
  const own = { ...scope, sql: context.sql }
  const key = await findAlias(own, alias)
  const description = MANAGED_KEYS[alias]
  if (key || description === undefined || scope.account !== context.account) return key
  const keyId = uuid()
  const createdAt = context.now()
  const sealedMaterial = sealMaterial(context.sealer, scope, keyId, 1, newBytes(MATERIAL_BYTES))
  const rotateAt = nextRotation(createdAt, MANAGED_ROTATION_DAYS)
  await insertManagedKey(own, { alias, keyId, sealedMaterial, description, createdAt, rotateAt })
  return findAlias(own, alias)
}

/** DisabledException, KMSInvalidStateException: also from the moment on at which imported material expires. */
export function checkUsable(key: KeyRow, now: Date): void {
  const hasExpired = key.materialExpiresAt !== null && key.materialExpiresAt <= now
  if (key.state === 'Enabled' && !hasExpired) return
  if (key.state === 'Disabled') throw new KeyError('DisabledException', `${keyArn(key)} is disabled.`)
  throw invalidState(`${keyArn(key)} is pending ${key.state === 'PendingDeletion' ? 'deletion' : 'import'}.`)
}

export const unreadable = (key: KeyRow): KeyError =>
  invalidState(`${keyArn(key)} cannot be used: its material was wrapped by a root key that this server does not have.`)

// ---- kept for the door ----

interface Kept {
  keys: Map<string, { key: KeyRow; until: number }>
  /** Rises with each wake: what was read before it is not kept. */
  generation: number
}

const kept = new WeakMap<Sealer, Kept>()
const MAX_KEPT = 10_000
/** Nothing is believed for longer than this, should a wake be lost. */
const BELIEVE_MS = 5_000

/** As `findNamed`, at most a few seconds old; at once after a change that a wake tells of. */
export const findKept = (context: Keyring, name: KeyName): Promise<KeyRow> =>
  keep(context, `${name.account}/${name.region}/${name.keyId ?? name.alias}`, () => findNamed(context, name))

/** The same by what a ciphertext names: a key of whatever account. NotFoundException. */
export const findKeptById = (context: Keyring, keyId: string): Promise<KeyRow> =>
  keep(context, `/${context.region}/${keyId}`, async () => {
    const key = await findKey(context.sql, context.region, keyId)
    if (key) return key
    throw notFound(`Key '${keyArn({ account: context.account, region: context.region, keyId })}' does not exist`)
  })

async function keep(context: Keyring, id: string, find: () => Promise<KeyRow>): Promise<KeyRow> {
  const own = keptOf(context.sealer)
  const before = own.keys.get(id)
  const now = context.now().getTime()
  if (before && before.until > now) return before.key
  const { generation } = own
  const key = await find()
  if (generation === own.generation && !inTransaction(context.sql)) {
    if (own.keys.size >= MAX_KEPT) own.keys.clear()
    own.keys.set(id, { key, until: now + BELIEVE_MS })
  }
  return key
}

function keptOf(sealer: Sealer): Kept {
  let own = kept.get(sealer)
  if (!own) {
    own = { keys: new Map(), generation: 0 }
    kept.set(sealer, own)
  }
  return own
}

/** What a wake of KEYS_WAKE means; without an id everything is forgotten. */
export function forget(sealer: Sealer, keyId: string | undefined): void {
  const own = keptOf(sealer)
  own.generation++
  own.keys.clear() // few, and an alias may have moved
  dropMaterial(sealer, keyId)
}
