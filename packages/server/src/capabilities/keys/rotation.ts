/**
 * Rotation: a new version of a key's material, by itself after its period or on demand. Earlier versions stay, so that what
 * they encrypted stays readable; ciphertext names its version.
 */
import type { Input, Output } from '../../contract/types.ts'
import type { Context, Ground } from '../../platform/context.ts'
import { keyOf } from './access.ts'
import { changing } from './changing.ts'
import { KeyError, unsupported } from './errors.ts'
import { materialId } from './lifecycle.ts'
import { page } from './listing.ts'
import { sealMaterial } from './material.ts'
import { checkUsable, keyArn } from './resolve.ts'
import { newBytes, nextRotation } from './rotation-dates.ts'
import { specOf } from './specs.ts'
import * as store from './store.ts'

const DEFAULT_PERIOD_DAYS = 365
/** AWS's limit for one key. */
const MAX_ON_DEMAND = 25

/** UnsupportedOperationException: only symmetric encryption keys whose material was made here rotate. */
function checkRotatable(key: store.KeyRow): void {
  if (key.spec !== 'SYMMETRIC_DEFAULT')
    throw unsupported(`${keyArn(key)} key spec is ${key.spec} which does not support key rotation.`)
  if (key.origin !== 'AWS_KMS')
    throw unsupported(`${keyArn(key)} origin is ${key.origin} which is not valid for this operation.`)
}

export const enableKeyRotation = (
  context: Context,
  input: Input<'EnableKeyRotation', 'kms'>,
): Promise<Output<'EnableKeyRotation', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkRotatable(key)
    checkUsable(key, inner.now())
    const days = input.RotationPeriodInDays ?? key.rotationDays ?? DEFAULT_PERIOD_DAYS
    await store.changeKey(inner.sql, key, {
      rotation_days: days,
      rotate_at: days === key.rotationDays ? key.rotateAt : nextRotation(context.now(), days),
    })
    return {}
  })

export const disableKeyRotation = (
  context: Context,
  input: Input<'DisableKeyRotation', 'kms'>,
): Promise<Output<'DisableKeyRotation', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkRotatable(key)
    checkUsable(key, inner.now())
    await store.changeKey(inner.sql, key, { rotation_days: null, rotate_at: null })
    return {}
  })

export const getKeyRotationStatus = async (
  _: Context,
  input: Input<'GetKeyRotationStatus', 'kms'>,
): Promise<Output<'GetKeyRotationStatus', 'kms'>> => {
  const key = keyOf(input)
  const isRotated = key.rotationDays !== null && key.state !== 'PendingDeletion'
  return {
    KeyId: key.keyId,
    KeyRotationEnabled: isRotated,
    RotationPeriodInDays: isRotated ? (key.rotationDays ?? undefined) : undefined,
    NextRotationDate: isRotated ? (key.rotateAt ?? undefined) : undefined,
  }
}

export const rotateKeyOnDemand = (
  context: Context,
  input: Input<'RotateKeyOnDemand', 'kms'>,
): Promise<Output<'RotateKeyOnDemand', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkRotatable(key)
    checkUsable(key, inner.now())
    if ((await store.countRotations(inner.sql, key)) >= MAX_ON_DEMAND)
      throw new KeyError('LimitExceededException', `The on-demand rotation limit of ${MAX_ON_DEMAND} has been reached.`)
    await addVersion(inner, key, 'ON_DEMAND')
    return { KeyId: key.keyId }
  })

/** The key, which is held, gets material that it encrypts with from now on. */
export async function addVersion(
  ground: Pick<Ground, 'sql' | 'sealer' | 'now'>,
  key: store.KeyRow,
  rotationType: 'AUTOMATIC' | 'ON_DEMAND',
): Promise<void> {
  const version = key.currentVersion + 1
  const sealed = sealMaterial(ground.sealer, key, key.keyId, version, newBytes(specOf(key.spec).bytes ?? 0))
  await store.insertVersion(ground.sql, key, { version, createdAt: ground.now(), rotationType, sealed })
  await store.changeKey(ground.sql, key, { current_version: version })
}

export async function listKeyRotations(
  context: Context,
  input: Input<'ListKeyRotations', 'kms'>,
): Promise<Output<'ListKeyRotations', 'kms'>> {
  const key = keyOf(input)
  if (key.spec !== 'SYMMETRIC_DEFAULT')
    throw unsupported(`${keyArn(key)} key spec is ${key.spec} which does not support key rotation.`)
  const showsAll = input.IncludeKeyMaterial === 'ALL_KEY_MATERIAL'
  const { rows, rest } = await page(
    context,
    'ListKeyRotations',
    input,
    showsAll ? 0 : 1, // the first version is no rotation
    (after, limit) => store.listVersions(context.sql, key, after, limit),
    (row) => row.version,
  )
  return {
    Rotations: rows.map((row) => ({
      KeyId: key.keyId,
      KeyMaterialId: materialId(key, row.version),
      KeyMaterialState: row.version === key.currentVersion ? 'CURRENT' : 'NON_CURRENT',
      RotationDate: row.version === 1 ? undefined : row.createdAt,
      RotationType: row.rotationType ?? undefined,
    })),
    ...rest,
  }
}
