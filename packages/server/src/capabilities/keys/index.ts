/**
 * Encryption keys: the small door that KMS's operations will stand behind. A key is named by id, key ARN, alias or alias
 * ARN; the blob that `encrypt` returns names key and version itself. `alias/aws/ssm` exists in every account and region
 * from its first use on.
 */
import { arn, type Scope } from '../../platform/arn.ts'
import type { Capability } from '../../platform/capability.ts'
import type { Ground } from '../../platform/context.ts'
import { inTransaction } from '../../platform/gathered.ts'
import { uuid } from '../../platform/ids.ts'
import { type EncryptionContext, nameOfBlob, openBlob, sealBlob } from './ciphertext.ts'
import { KeyError } from './errors.ts'
import { materialOf, newMaterial } from './material.ts'
import init from './migrations/0001-init.sql'
import { findAlias, findKey, insertManagedKey, type KeyRow } from './store.ts'

export { type EncryptionContext, KeyError }

type Keyring = Scope & Pick<Ground, 'sql' | 'sealer' | 'now'>

export const SSM_KEY_ALIAS = 'alias/aws/ssm'

/** Keys that AWS manages for its services: made on demand, never disabled, never moved to another key. */
const MANAGED_KEYS: Record<string, string> = {
  [SSM_KEY_ALIAS]: 'Default key that protects my SSM parameters when no other key is defined',
}

/** Encrypts up to a few kilobytes under the current version of a key. KeyError: not found, disabled. */
export async function encrypt(
  context: Keyring,
  request: { keyId: string; plaintext: Uint8Array; context: EncryptionContext },
): Promise<Buffer> {
  const key = await resolveKey(context, request.keyId)
  const material = await materialOf(context, key.keyId, key.currentVersion)
  if (!material) throw unreadable(context, key.keyId)
  return sealBlob({ keyId: key.keyId, version: key.currentVersion }, material, request.plaintext, request.context)
}

/** Decrypts what `encrypt` made in the same account and region, under the same context. KeyError. */
export async function decrypt(
  context: Keyring,
  request: { ciphertext: Uint8Array; context: EncryptionContext },
): Promise<Buffer> {
  const name = nameOfBlob(request.ciphertext)
  const material = name && (await materialOf(context, name.keyId, name.version))
  const plaintext = material && openBlob(request.ciphertext, material, request.context)
  if (!plaintext)
    throw new KeyError('InvalidCiphertextException', 'The ciphertext refers to a key that cannot open it.')
  return plaintext
}

const unreadable = (scope: Scope, keyId: string) =>
  new KeyError(
    'KMSInvalidStateException',
    `${keyArn(scope, keyId)} cannot be used: its material was wrapped by a root key that this server does not have.`,
  )

const keyArn = (scope: Scope, keyId: string): string => arn('kms', scope, `key/${keyId}`)

const KEY_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

async function resolveKey(context: Keyring, asked: string): Promise<KeyRow> {
  const prefix = arn('kms', context, '')
  const name = asked.startsWith(`${prefix}key/`)
    ? asked.slice(prefix.length + 'key/'.length)
    : asked.startsWith(prefix)
      ? asked.slice(prefix.length)
      : asked
  if (name.startsWith('alias/')) return resolveAlias(context, name)
  if (!KEY_ID.test(name)) throw new KeyError('NotFoundException', `Invalid keyId '${asked}'`)
  const key = await findKey(context, name)
  if (!key) throw new KeyError('NotFoundException', `Key '${keyArn(context, name)}' does not exist`)
  return usable(context, key)
}

async function resolveAlias(context: Keyring, alias: string): Promise<KeyRow> {
  const description = MANAGED_KEYS[alias]
  if (description !== undefined) return managedKey(context, alias, description)
  const key = await findAlias(context, alias)
  if (!key) throw new KeyError('NotFoundException', `Alias ${arn('kms', context, alias)} is not found.`)
  return usable(context, key)
}

function usable(scope: Scope, key: KeyRow): KeyRow {
  if (key.state !== 'Enabled') throw new KeyError('DisabledException', `${keyArn(scope, key.keyId)} is disabled.`)
  return key
}

/** Once made, the key behind a managed alias stays; a process that lags behind a rotation still encrypts readably. */
const managed = new WeakMap<Ground['sealer'], Map<string, KeyRow>>()
const MAX_MANAGED = 10_000

async function managedKey(context: Keyring, alias: string, description: string): Promise<KeyRow> {
  let known = managed.get(context.sealer)
  if (!known) {
    known = new Map()
    managed.set(context.sealer, known)
  }
  const name = `${context.account}/${context.region}/${alias}`
  const remembered = known.get(name)
  if (remembered) return remembered
  let key = await findAlias(context, alias)
  if (!key) {
    const keyId = uuid()
    const sealedMaterial = newMaterial(context, keyId, 1)
    await insertManagedKey(context, { alias, keyId, sealedMaterial, description, createdAt: context.now() })
    key = await findAlias(context, alias)
    if (!key) throw new Error(`the key of ${alias} vanished while it was made`)
  }
  if (inTransaction(context.sql)) return key // a rollback may undo it
  if (known.size >= MAX_MANAGED) known.clear()
  known.set(name, key)
  return key
}

export const keys: Capability = {
  name: 'keys',
  migrations: [{ name: '0001-init', sql: init }],
}
