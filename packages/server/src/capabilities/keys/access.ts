/**
 * What an operation on a key needs: action, key ARN, condition keys, and the key's policy with the grants that this caller
 * may use. A key that is looked up here is remembered with its request, so that the handler does not ask again.
 */
import type { Caller } from '../../platform/caller.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import type { AwsError } from '../../platform/errors.ts'
import { type CallerName, mayDo, namesOf, refusalOf } from '../identity/index.ts'
import { type EncryptionContext, nameOfBlob } from './ciphertext.ts'
import { invalidCiphertext, KeyError, notFound } from './errors.ts'
import { checkTokens } from './grant-tokens.ts'
import { resourcePolicyOf } from './key-policy.ts'
import { findNamed, keyArn, readKeyName } from './resolve.ts'
import { findKey, type GrantRow, grantsFor, type KeyRow } from './store.ts'

export type Service = 'ssm' | 'cloudtrail'

export interface Use {
  action: string
  /** The operation as grants name it; absent: no grant allows it. */
  grantable?: string
  encryptionContext?: EncryptionContext | undefined
  /** Condition keys of this operation. */
  keys?: Record<string, string | string[] | undefined>
  grantTokens?: string[] | undefined
  /** Which of the grants for this operation count; all, unless it says. */
  suits?(grant: GrantRow): boolean
  /** The service that uses the key for the caller. */
  via?: Service
}

type Found = KeyRow | KeyError
const found = new WeakMap<object, Map<string, Found>>()

/** The key that `accessTo` found for this request under `role`. NotFoundException. */
export function keyOf(input: object, role = 'key'): KeyRow {
  const key = found.get(input)?.get(role)
  if (!key) throw new Error('the request named no key before it was handled')
  if (key instanceof KeyError) throw key
  return key
}

function remember(input: object, role: string, key: Found): void {
  const known = found.get(input) ?? new Map<string, Found>()
  known.set(role, key)
  found.set(input, known)
}

interface Asked {
  keyId: string
  /** Operations that change a key take no aliases. */
  aliases?: boolean
  role?: string
  /** Only within the account of the key, whatever its policy says. */
  own?: boolean
}

/**
 * The permission to use the key that is asked for. A key of the own account that does not exist is told so by the handler,
 * after the identity policies have been asked; another account's is refused like one that exists.
 */
export async function accessTo(context: Context, input: object, asked: Asked, use: Use): Promise<Access> {
  const name = readKeyName(context, asked.keyId)
  if (name.alias !== undefined && !asked.aliases) throw notFound(`Invalid keyId '${asked.keyId}'`)
  if (asked.own && name.account !== context.account) throw hidden(context.caller, use.action, asked.keyId)
  try {
    const key = await findNamed(context, name)
    remember(input, asked.role ?? 'key', key)
    return await accessOf(context, key, use)
  } catch (error) {
    if (!(error instanceof KeyError) || error.name !== 'NotFoundException') throw error
    if (name.account !== context.account) throw hidden(context.caller, use.action, asked.keyId)
    if (name.keyId === undefined) throw error
    remember(input, asked.role ?? 'key', error)
    return { action: use.action, resources: [keyArn({ ...name, keyId: name.keyId })], keys: contextKeysOf(use) }
  }
}

/** The permission to use the key that a ciphertext names. InvalidCiphertextException, AccessDeniedException. */
export async function accessToBlob(
  context: Context,
  input: object,
  role: string,
  blob: Uint8Array,
  use: Use,
): Promise<Access> {
  const name = nameOfBlob(blob)
  if (!name) throw invalidCiphertext()
  const key = await findKey(context.sql, context.region, name.keyId)
  if (!key) throw nowhere()
  remember(input, role, key)
  const access = await accessOf(context, key, use)
  // Whether another account has such a key is not told to those who may not use it.
  if (key.account !== context.account && !(await mayDo(context, { ...access, action: use.action }))) throw nowhere()
  return access
}

const nowhere = () =>
  new KeyError(
    'AccessDeniedException',
    'The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.',
  )

/** The permission to use a key that is known already, for an operation of KMS. */
export async function accessOf(context: Context, key: KeyRow, use: Use): Promise<Access> {
  checkTokens(context, use.grantTokens, use.action)
  const grants = use.grantable === undefined ? [] : await grantsOf(context, key, use)
  return { ...plainAccess(context, key, use), resourcePolicy: resourcePolicyOf(key, grantedBy(grants, use)) }
}

const plainAccess = (context: Context, key: KeyRow, use: Use): Access & { action: string } => ({
  action: use.action,
  resources: [keyArn(key)],
  keys: { ...keysOf(context, key, use), ...contextKeysOf(use) },
  resourcePolicy: resourcePolicyOf(key),
})

/**
 * Throws AccessDeniedException unless the caller may use a key through another service. Grants are read only when nothing
 * else lets the caller in: they cost a statement, and this stands on the way of every SecureString.
 */
export async function checkAccess(context: Context, key: KeyRow, use: Use): Promise<void> {
  const access = plainAccess(context, key, use)
  if (await mayDo(context, access)) return
  const grants = await grantsOf(context, key, use)
  const resourcePolicy = resourcePolicyOf(key, grantedBy(grants, use))
  const refused = await refusalOf(context, { ...access, resourcePolicy })
  if (refused !== undefined) throw new KeyError('AccessDeniedException', refused)
}

export const hidden = (caller: Caller, action: string, resource: string): AwsError =>
  new KeyError(
    'AccessDeniedException',
    `User: ${caller.arn} is not authorized to perform: ${action} on resource: ${resource} because no resource-based policy allows the ${action} action`,
  )

// ---- condition keys ----

function keysOf(context: Context, key: KeyRow, use: Use): Record<string, string | string[]> {
  const keys: Record<string, string | string[]> = {
    'kms:CallerAccount': context.account,
    'kms:KeySpec': key.spec,
    'kms:KeyUsage': key.usage,
    'kms:KeyOrigin': key.origin,
    'kms:MultiRegion': 'false',
    'kms:ResourceAliases': key.aliases,
  }
  for (const { TagKey, TagValue } of key.tags) keys[`aws:ResourceTag/${TagKey}`] = TagValue
  if (use.via) {
    keys['kms:ViaService'] = `${use.via}.${key.region}.amazonaws.com`
    keys['aws:ViaAWSService'] = 'true'
  }
  return keys
}

function contextKeysOf(use: Use): Record<string, string | string[]> {
  const keys: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(use.keys ?? {})) if (value !== undefined) keys[name] = value
  const pairs = Object.entries(use.encryptionContext ?? {})
  for (const [name, value] of pairs) keys[`kms:EncryptionContext:${name}`] = value
  if (pairs.length > 0) keys['kms:EncryptionContextKeys'] = pairs.map(([name]) => name)
  return keys
}

// ---- grants ----

/** A grant, and the name by which it means the caller. */
type Granted = GrantRow & { to: string }

async function grantsOf(context: Context, key: KeyRow, use: Use): Promise<Granted[]> {
  // An account's root is let in by the policy or, like anybody, by a grant to its ARN, which nobody makes for the own root.
  if (context.caller.type === 'root' && context.account === key.account) return []
  const names = await namesOf(context)
  const grants = await grantsFor(context.sql, key, names)
  return grants
    .filter(
      (grant) => grant.operations.includes(use.grantable ?? '') && holds(grant, use) && (use.suits?.(grant) ?? true),
    )
    .map((grant) => ({ ...grant, to: names.find((name) => means(grant.grantee, grant.granteeId, name))!.arn }))
}

/** Whether a grant that names somebody by ARN, and by id where it is a user or a role, means who bears this name. */
export const means = (arn: string | null, id: string | null, name: CallerName): boolean =>
  id === null ? arn === name.arn : id === name.id

/** Constraints concern what takes an encryption context, and nothing else. */
const WITH_CONTEXT = /^(Encrypt|Decrypt|ReEncryptFrom|ReEncryptTo|GenerateDataKey(Pair)?(WithoutPlaintext)?)$/

function holds({ constraints }: GrantRow, use: Use): boolean {
  if (!WITH_CONTEXT.test(use.grantable ?? '')) return true
  const given = use.encryptionContext ?? {}
  const { EncryptionContextSubset: subset, EncryptionContextEquals: equal } = constraints
  const contains = (wanted: EncryptionContext) =>
    Object.entries(wanted).every(([name, value]) => Object.hasOwn(given, name) && given[name] === value)
  if (subset && !contains(subset)) return false
  return !equal || (contains(equal) && Object.keys(given).length === Object.keys(equal).length)
}

/** Grants as one more policy of the key: an explicit deny still outweighs them. */
const grantedBy = (grants: Granted[], { action }: Use): string | undefined =>
  grants.length === 0 ? undefined : allowing([...new Set(grants.map(({ to }) => to))], action)

/** A policy that allows one action to these principals. */
export const allowing = (principals: string[], Action: string): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: principals }, Action, Resource: '*' }],
  })
