/** A key from CreateKey to its deletion: what it is, its state, its description, its tags, its policy. */
import { createHash } from 'node:crypto'
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { uuid } from '../../platform/ids.ts'
import { keyOf } from './access.ts'
import { ANY_STATE, changing, checkState, LIVING, SETTLED } from './changing.ts'
import { invalidState, KeyError, notFound, unsupported } from './errors.ts'
import { checkPolicy, defaultPolicy, POLICY_NAME, policyOf } from './key-policy.ts'
import { page } from './listing.ts'
import { sealMaterial } from './material.ts'
import { KEYS_WAKE, keyArn } from './resolve.ts'
import { type KeySpec, type KeyUsage, makeMaterial, specOf } from './specs.ts'
import * as store from './store.ts'

/** AWS's default and shortest time before a key is deleted, in days. */
const DELETION_DAYS = 30
const SHORTEST_DELETION_DAYS = 7
const DAY_MS = 86_400_000
const MAX_TAGS = 50

export const materialId = (key: store.KeyRow, version = key.currentVersion): string =>
  createHash('sha256')
    .update(`${keyArn(key)}/${version}`)
    .digest('hex')

type Metadata = NonNullable<Output<'DescribeKey', 'kms'>['KeyMetadata']>

export function metadataOf(key: store.KeyRow): Metadata {
  const spec = specOf(key.spec)
  const isSymmetric = spec.family === 'symmetric'
  const hasMaterial = key.state !== 'PendingImport'
  return {
    AWSAccountId: key.account,
    KeyId: key.keyId,
    Arn: keyArn(key),
    CreationDate: key.createdAt,
    Enabled: key.state === 'Enabled',
    Description: key.description,
    KeyUsage: key.usage,
    KeyState: key.state,
    DeletionDate: key.deletionAt ?? undefined,
    ValidTo: key.materialExpiresAt ?? undefined,
    Origin: key.origin,
    ExpirationModel:
      key.origin === 'EXTERNAL' && hasMaterial
        ? key.materialExpiresAt
          ? 'KEY_MATERIAL_EXPIRES'
          : 'KEY_MATERIAL_DOES_NOT_EXPIRE'
        : undefined,
    KeyManager: key.manager,
    CustomerMasterKeySpec: key.spec as Metadata['CustomerMasterKeySpec'],
    KeySpec: key.spec,
    EncryptionAlgorithms: key.usage === 'ENCRYPT_DECRYPT' ? [...(spec.encryption ?? [])] : undefined,
    SigningAlgorithms: key.usage === 'SIGN_VERIFY' ? [...(spec.signing ?? [])] : undefined,
    MacAlgorithms: key.usage === 'GENERATE_VERIFY_MAC' ? [...(spec.mac ?? [])] : undefined,
    KeyAgreementAlgorithms: key.usage === 'KEY_AGREEMENT' ? [...(spec.agreement ?? [])] : undefined,
    MultiRegion: false,
    CurrentKeyMaterialId: isSymmetric && hasMaterial ? materialId(key) : undefined,
  }
}

export async function createKey(
  context: Context,
  input: Input<'CreateKey', 'kms'>,
): Promise<Output<'CreateKey', 'kms'>> {
  const { spec, usage, origin } = kindOf(input)
  const tags = input.Tags ?? []
  checkTags(tags)
  const keyId = uuid()
  const { account, region } = context
  const policy = input.Policy ?? defaultPolicy(account)
  const policyIds =
    input.Policy === undefined
      ? {}
      : await checkPolicy(context, { account, region, keyId }, policy, input.BypassPolicyLockoutSafetyCheck)
  const material = origin === 'EXTERNAL' ? undefined : await makeMaterial(specOf(spec))
  const createdAt = context.now()
  const key = await context.transaction(async (inner) => {
    await store.insertKey(inner, {
      keyId,
      state: material ? 'Enabled' : 'PendingImport',
      description: input.Description ?? '',
      createdAt,
      spec,
      usage,
      origin,
      tags,
      policy,
      policyIds,
      publicKey: material?.publicKey ?? null,
      currentVersion: 1,
    })
    if (material) {
      const sealed = sealMaterial(inner.sealer, context, keyId, 1, material.secret)
      await store.insertVersion(
        inner.sql,
        { account, region, keyId },
        { version: 1, createdAt, rotationType: null, sealed },
      )
    }
    return store.findKey(inner.sql, region, keyId)
  })
  return { KeyMetadata: key && metadataOf(key) }
}

/** What kind of key is asked for. ValidationException, UnsupportedOperationException. */
export function kindOf(input: Input<'CreateKey', 'kms'>): {
  spec: KeySpec
  usage: KeyUsage
  origin: 'AWS_KMS' | 'EXTERNAL'
} {
  const { KeySpec: asked, CustomerMasterKeySpec: older } = input
  if (asked !== undefined && older !== undefined && asked !== older)
    throw validation('You cannot specify KeySpec and CustomerMasterKeySpec in the same request.')
  const name = asked ?? older ?? 'SYMMETRIC_DEFAULT'
  const spec = specOf(name)
  const origin = input.Origin ?? 'AWS_KMS'
  if (origin !== 'AWS_KMS' && origin !== 'EXTERNAL') throw unsupported(`Origin ${origin} is not supported here.`)
  if (input.MultiRegion) throw unsupported('Multi-Region keys are not supported here.')
  if (input.CustomKeyStoreId !== undefined || input.XksKeyId !== undefined)
    throw unsupported('Custom key stores are not supported here.')
  if (input.KeyUsage === undefined && name !== 'SYMMETRIC_DEFAULT')
    throw validation('You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.')
  const usage = input.KeyUsage ?? 'ENCRYPT_DECRYPT'
  if (!spec.usages.includes(usage)) throw validation(`KeyUsage ${usage} is not compatible with KeySpec ${name}`)
  return { spec: name, usage, origin }
}

export const describeKey = async (
  _: Context,
  input: Input<'DescribeKey', 'kms'>,
): Promise<Output<'DescribeKey', 'kms'>> => {
  const key = keyOf(input)
  return { KeyMetadata: metadataOf(key) }
}

export async function listKeys(context: Context, input: Input<'ListKeys', 'kms'>): Promise<Output<'ListKeys', 'kms'>> {
  const { rows, rest } = await page(
    context,
    'ListKeys',
    input,
    '00000000-0000-0000-0000-000000000000',
    (after, limit) => store.listKeys(context, after, limit),
    (keyId) => keyId,
  )
  const { account, region } = context
  return { Keys: rows.map((keyId) => ({ KeyId: keyId, KeyArn: keyArn({ account, region, keyId }) })), ...rest }
}

export const enableKey = (context: Context, input: Input<'EnableKey', 'kms'>): Promise<Output<'EnableKey', 'kms'>> =>
  setState(context, input, 'Enabled')

export const disableKey = (context: Context, input: Input<'DisableKey', 'kms'>): Promise<Output<'DisableKey', 'kms'>> =>
  setState(context, input, 'Disabled')

const setState = (context: Context, input: object, state: 'Enabled' | 'Disabled') =>
  changing(context, input, async (inner, key) => {
    checkState(key, SETTLED)
    await store.changeKey(inner.sql, key, { state })
    return {}
  })

export const scheduleKeyDeletion = (
  context: Context,
  input: Input<'ScheduleKeyDeletion', 'kms'>,
): Promise<Output<'ScheduleKeyDeletion', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    const days = input.PendingWindowInDays ?? DELETION_DAYS
    if (days < SHORTEST_DELETION_DAYS || days > DELETION_DAYS)
      throw validation('PendingWindowInDays must be between 7 and 30, inclusive')
    checkState(key, LIVING)
    const deletionAt = new Date(context.now().getTime() + days * DAY_MS)
    await store.changeKey(inner.sql, key, { state: 'PendingDeletion', deletion_at: deletionAt })
    return { KeyId: keyArn(key), DeletionDate: deletionAt, KeyState: 'PendingDeletion', PendingWindowInDays: days }
  })

/** Leaves the key disabled, or waiting for its material. */
export const cancelKeyDeletion = (
  context: Context,
  input: Input<'CancelKeyDeletion', 'kms'>,
): Promise<Output<'CancelKeyDeletion', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    if (key.state !== 'PendingDeletion') throw invalidState(`${keyArn(key)} is not pending deletion.`)
    const versions = await store.listVersions(inner.sql, key, 0, 1)
    const state = versions.length === 0 ? 'PendingImport' : 'Disabled'
    await store.changeKey(inner.sql, key, { state, deletion_at: null })
    return { KeyId: keyArn(key) }
  })

export const updateKeyDescription = (
  context: Context,
  input: Input<'UpdateKeyDescription', 'kms'>,
): Promise<Output<'UpdateKeyDescription', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkState(key, LIVING)
    await store.changeKey(inner.sql, key, { description: input.Description })
    return {}
  })

// ---- policies ----

function checkPolicyName(name: string | undefined): void {
  if (name !== undefined && name !== POLICY_NAME) throw notFound('No such policy exists')
}

export const getKeyPolicy = async (
  _: Context,
  input: Input<'GetKeyPolicy', 'kms'>,
): Promise<Output<'GetKeyPolicy', 'kms'>> => {
  const key = keyOf(input)
  checkPolicyName(input.PolicyName)
  return { Policy: policyOf(key), PolicyName: POLICY_NAME }
}

export const putKeyPolicy = (
  context: Context,
  input: Input<'PutKeyPolicy', 'kms'>,
): Promise<Output<'PutKeyPolicy', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkPolicyName(input.PolicyName)
    checkState(key, ANY_STATE)
    const ids = await checkPolicy(inner, key, input.Policy, input.BypassPolicyLockoutSafetyCheck)
    await store.writePolicy(inner.sql, key, input.Policy, ids)
    return {}
  })

/** A key has one policy, which is called `default`. */
export const listKeyPolicies = async (
  _: Context,
  input: Input<'ListKeyPolicies', 'kms'>,
): Promise<Output<'ListKeyPolicies', 'kms'>> => {
  keyOf(input)
  return { PolicyNames: [POLICY_NAME], Truncated: false }
}

// ---- tags ----

/** TagException, LimitExceededException. */
function checkTags(tags: store.KeyTag[]): void {
  const names = tags.map(({ TagKey }) => TagKey)
  if (new Set(names).size < names.length) throw new KeyError('TagException', 'Duplicate tag keys')
  checkTagNames(names)
  if (names.length > MAX_TAGS) throw new KeyError('LimitExceededException', 'Too many tags')
}

function checkTagNames(names: string[]): void {
  if (names.some((name) => /^aws:/i.test(name)))
    throw new KeyError('TagException', 'aws: prefixed tag key names are not allowed for external use.')
}

export const tagResource = (
  context: Context,
  input: Input<'TagResource', 'kms'>,
): Promise<Output<'TagResource', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkState(key, LIVING)
    checkTags(input.Tags)
    const merged = new Map([...key.tags, ...input.Tags].map((tag) => [tag.TagKey, tag]))
    checkTags([...merged.values()])
    await store.writeTags(inner.sql, key, [...merged.values()])
    return {}
  })

export const untagResource = (
  context: Context,
  input: Input<'UntagResource', 'kms'>,
): Promise<Output<'UntagResource', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkState(key, LIVING)
    checkTagNames(input.TagKeys)
    await store.writeTags(
      inner.sql,
      key,
      key.tags.filter(({ TagKey }) => !input.TagKeys.includes(TagKey)),
    )
    return {}
  })

export const listResourceTags = async (
  context: Context,
  input: Input<'ListResourceTags', 'kms'>,
): Promise<Output<'ListResourceTags', 'kms'>> => {
  const { tags } = keyOf(input)
  const sorted = tags.toSorted((a, b) => (a.TagKey < b.TagKey ? -1 : 1))
  const { rows, rest } = await page(
    context,
    'ListResourceTags',
    { ...input, Limit: input.Limit ?? MAX_TAGS },
    '',
    async (after, limit) => sorted.filter(({ TagKey }) => TagKey > after).slice(0, limit),
    ({ TagKey }) => TagKey,
  )
  return { Tags: rows, ...rest }
}

/** A key comes to its end. */
export async function deleteForGood(context: Pick<Context, 'sql' | 'wake'>, key: store.KeyRow): Promise<void> {
  await store.deleteKey(context.sql, key)
  context.wake(KEYS_WAKE, key.keyId)
}
