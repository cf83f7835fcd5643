/**
 * Imported key material: made elsewhere, wrapped for a key pair that lives in a sealed import token for a day. It may
 * expire or be deleted, and only the same material may come back: otherwise old ciphertext would be lost.
 */
import {
  constants,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  privateDecrypt,
} from 'node:crypto'
import { promisify } from 'node:util'
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { keyOf } from './access.ts'
import { changing, checkState, LIVING } from './changing.ts'
import { invalidCiphertext, KeyError, notFound, unsupported } from './errors.ts'
import { materialId } from './lifecycle.ts'
import { sealMaterial } from './material.ts'
import { keyArn } from './resolve.ts'
import { type Material, type Spec, specOf } from './specs.ts'
import * as store from './store.ts'

const TOKEN_PURPOSE = 'import token'
export const DIGEST_PURPOSE = 'imported key material digest'
const TOKEN_MS = 24 * 3_600_000
/** How long imported material may live unless it does not expire at all (AWS: 365 days). */
const LONGEST_VALIDITY_MS = 365 * 24 * 3_600_000

type Algorithm = Input<'GetParametersForImport', 'kms'>['WrappingAlgorithm']
const ALGORITHMS: readonly Algorithm[] = [
  'RSAES_OAEP_SHA_1',
  'RSAES_OAEP_SHA_256',
  'RSA_AES_KEY_WRAP_SHA_1',
  'RSA_AES_KEY_WRAP_SHA_256',
]

interface Token {
  algorithm: Algorithm
  privateKey: string
  until: number
}

const pair = promisify(generateKeyPair)

function checkImportable(key: store.KeyRow): void {
  if (key.origin !== 'EXTERNAL')
    throw unsupported(`${keyArn(key)} origin is ${key.origin} which is not valid for this operation.`)
}

export async function getParametersForImport(
  context: Context,
  input: Input<'GetParametersForImport', 'kms'>,
): Promise<Output<'GetParametersForImport', 'kms'>> {
  const key = keyOf(input)
  checkImportable(key)
  checkState(key, LIVING)
  if (!ALGORITHMS.includes(input.WrappingAlgorithm))
    throw unsupported(`WrappingAlgorithm ${input.WrappingAlgorithm} is not supported here.`)
  if (specOf(key.spec).family === 'rsa' && input.WrappingAlgorithm.startsWith('RSAES_OAEP'))
    throw validation(`WrappingAlgorithm ${input.WrappingAlgorithm} cannot wrap material of ${key.spec}.`)
  const modulusLength = specOf(input.WrappingKeySpec).modulusBits
  if (modulusLength === undefined) throw unsupported(`WrappingKeySpec ${input.WrappingKeySpec} is not supported here.`)
  const { privateKey, publicKey } = await pair('rsa', { modulusLength })
  const until = context.now().getTime() + TOKEN_MS
  const token: Token = {
    algorithm: input.WrappingAlgorithm,
    privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'),
    until,
  }
  return {
    KeyId: keyArn(key),
    ImportToken: context.sealer.seal(TOKEN_PURPOSE, Buffer.from(JSON.stringify(token)), keyArn(key)),
    PublicKey: publicKey.export({ type: 'spki', format: 'der' }),
    ParametersValidTo: new Date(until),
  }
}

function openToken(context: Context, key: store.KeyRow, sealed: Uint8Array): Token {
  const text = context.sealer.unseal(TOKEN_PURPOSE, sealed, keyArn(key))
  if (!text) throw new KeyError('InvalidImportTokenException', 'The import token is not valid for this key.')
  const token = JSON.parse(text.toString()) as Token
  if (token.until <= context.now().getTime())
    throw new KeyError('ExpiredImportTokenException', 'The import token has expired.')
  return token
}

/** RFC 5649's initial value. */
const KEY_WRAP_PADDED = Buffer.from('a65959a6', 'hex')
const AES_KEY_BYTES = 32

/** InvalidCiphertextException. */
function unwrap({ algorithm, privateKey }: Token, wrapped: Uint8Array): Buffer {
  const key = createPrivateKey({ key: Buffer.from(privateKey, 'base64'), format: 'der', type: 'pkcs8' })
  const oaepHash = algorithm.endsWith('SHA_1') ? 'sha1' : 'sha256'
  const open = (bytes: Uint8Array) =>
    privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, bytes)
  try {
    if (algorithm.startsWith('RSAES_OAEP')) return open(wrapped)
    const modulusBytes = (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8
    const aesKey = open(wrapped.subarray(0, modulusBytes))
    if (aesKey.length !== AES_KEY_BYTES) throw invalidCiphertext()
    const decipher = createDecipheriv('id-aes256-wrap-pad', aesKey, KEY_WRAP_PADDED)
    return Buffer.concat([decipher.update(wrapped.subarray(modulusBytes)), decipher.final()])
  } catch {
    throw invalidCiphertext()
  }
}

/** IncorrectKeyMaterialException: it is not of the key's kind. */
function materialFrom(spec: Spec, bytes: Buffer): Material {
  const wrong = () =>
    new KeyError('IncorrectKeyMaterialException', 'The key material in the request does not match the key spec.')
  if (spec.bytes !== undefined) {
    if (bytes.length !== spec.bytes) throw wrong()
    return { secret: bytes }
  }
  try {
    const key = createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' })
    const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {}
    if (key.asymmetricKeyType !== spec.family || modulusLength !== spec.modulusBits || namedCurve !== spec.curve)
      throw wrong()
    return { secret: bytes, publicKey: createPublicKey(key).export({ type: 'spki', format: 'der' }) }
  } catch {
    throw wrong()
  }
}

function expiryOf(context: Context, input: Input<'ImportKeyMaterial', 'kms'>): Date | null {
  if ((input.ExpirationModel ?? 'KEY_MATERIAL_EXPIRES') === 'KEY_MATERIAL_DOES_NOT_EXPIRE') {
    if (input.ValidTo !== undefined) throw validation('ValidTo must be absent when key material does not expire.')
    return null
  }
  if (input.ValidTo === undefined)
    throw validation('A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES')
  const from = context.now().getTime()
  if (input.ValidTo.getTime() <= from) throw validation('ValidTo must be in the future.')
  if (input.ValidTo.getTime() > from + LONGEST_VALIDITY_MS)
    throw validation('ValidTo must be at most 365 days in the future.')
  return input.ValidTo
}

/** One key has one material here, to which it can be given back. UnsupportedOperationException, NotFoundException. */
function checkKind(key: store.KeyRow, input: Input<'ImportKeyMaterial', 'kms'>): void {
  if (input.ImportType === 'NEW_KEY_MATERIAL' && key.importedDigest)
    throw unsupported('A key cannot be given a second key material here.')
  if (input.KeyMaterialDescription !== undefined) throw unsupported('Key material has no description here.')
  if (input.ImportType === 'EXISTING_KEY_MATERIAL' && !key.importedDigest)
    throw new KeyError('IncorrectKeyMaterialException', `No key material was imported into ${keyArn(key)} before.`)
  checkMaterialId(key, input.KeyMaterialId)
}

function checkMaterialId(key: store.KeyRow, asked: string | undefined): void {
  if (asked !== undefined && asked !== materialId(key))
    throw notFound(`Key material ${asked} does not exist on ${keyArn(key)}`)
}

export const importKeyMaterial = (
  context: Context,
  input: Input<'ImportKeyMaterial', 'kms'>,
): Promise<Output<'ImportKeyMaterial', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkImportable(key)
    checkState(key, LIVING)
    checkKind(key, input)
    const expiresAt = expiryOf(context, input)
    const spec = specOf(key.spec)
    const material = materialFrom(spec, unwrap(openToken(context, key, input.ImportToken), input.EncryptedKeyMaterial))
    const digest = createHash('sha256').update(material.secret).digest()
    const before = key.importedDigest && inner.sealer.unseal(DIGEST_PURPOSE, key.importedDigest, keyArn(key))
    if (key.importedDigest && !before?.equals(digest))
      throw new KeyError(
        'IncorrectKeyMaterialException',
        'The key material in the request is not the material that was imported into this key before.',
      )
    if (key.state === 'PendingImport') {
      const sealed = sealMaterial(inner.sealer, key, key.keyId, 1, material.secret)
      await store.insertVersion(inner.sql, key, { version: 1, createdAt: inner.now(), rotationType: null, sealed })
    }
    await store.changeKey(inner.sql, key, {
      state: key.state === 'PendingImport' ? 'Enabled' : key.state,
      material_expires_at: expiresAt,
      imported_digest: inner.sealer.seal(DIGEST_PURPOSE, digest, keyArn(key)),
      ...(material.publicKey && { public_key: material.publicKey }),
    })
    return { KeyId: keyArn(key), KeyMaterialId: spec.family === 'symmetric' ? materialId(key) : undefined }
  })

export const deleteImportedKeyMaterial = (
  context: Context,
  input: Input<'DeleteImportedKeyMaterial', 'kms'>,
): Promise<Output<'DeleteImportedKeyMaterial', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkImportable(key)
    checkState(key, LIVING)
    checkMaterialId(key, input.KeyMaterialId)
    await store.deleteVersions(inner.sql, key)
    await store.changeKey(inner.sql, key, { state: 'PendingImport', material_expires_at: null })
    return { KeyId: keyArn(key), KeyMaterialId: key.spec === 'SYMMETRIC_DEFAULT' ? materialId(key) : undefined }
  })
