/**
 * What other services do with keys, for their caller and with the caller's permissions. Keys are kept in memory, so that
 * decrypting costs no statement; a change reaches every process with a wake.
 */
import { randomBytes } from 'node:crypto'
import type { Context } from '../../platform/context.ts'
import { checkAccess, type Service } from './access.ts'
import { type EncryptionContext, nameOfBlob, openBlob, sealBlob } from './ciphertext.ts'
import { invalidCiphertext, invalidUsage } from './errors.ts'
import { materialOf } from './material.ts'
import { checkUsable, findKept, findKeptById, keyArn, readKeyName, unreadable } from './resolve.ts'
import type { KeyRow } from './store.ts'

interface Using {
  context: EncryptionContext
  /** Who asks for the caller: policies know it as kms:ViaService. */
  via: Service
}

interface Naming extends Using {
  keyId: string
}

/** Encrypts up to a few kilobytes under the current version of a key. KeyError by KMS's names. */
export async function encrypt(context: Context, request: Naming & { plaintext: Uint8Array }): Promise<Buffer> {
  const key = await usableKey(context, request, 'Encrypt')
  return seal(context, key, request.plaintext, request.context)
}

/** A new key of 256 bits, as it is and encrypted. KeyError. */
export async function generateDataKey(
  context: Context,
  request: Naming,
): Promise<{ plaintext: Buffer; ciphertext: Buffer }> {
  const key = await usableKey(context, request, 'GenerateDataKey')
  const plaintext = randomBytes(32)
  return { plaintext, ciphertext: await seal(context, key, plaintext, request.context) }
}

/** Decrypts what `encrypt` made in the same region, under the same context. KeyError. */
export async function decrypt(context: Context, request: Using & { ciphertext: Uint8Array }): Promise<Buffer> {
  const name = nameOfBlob(request.ciphertext)
  if (!name) throw invalidCiphertext()
  const key = await findKeptById(context, name.keyId)
  await check(context, key, 'Decrypt', request)
  const material = await materialOf(context, key, name.version)
  const plaintext = material && openBlob(request.ciphertext, material, request.context)
  if (!plaintext) throw invalidCiphertext()
  return plaintext
}

/** The ARN of the key that an id, ARN or alias names. NotFoundException. */
export const keyArnOf = async (context: Context, keyId: string): Promise<string> =>
  keyArn(await findKept(context, readKeyName(context, keyId)))

async function usableKey(context: Context, request: Naming, operation: string): Promise<KeyRow> {
  const key = await findKept(context, readKeyName(context, request.keyId))
  await check(context, key, operation, request)
  if (key.spec !== 'SYMMETRIC_DEFAULT')
    throw invalidUsage(`${keyArn(key)} key spec is ${key.spec} which is not valid for ${operation}.`)
  return key
}

async function check(
  context: Context,
  key: KeyRow,
  operation: string,
  { context: encryptionContext, via }: Using,
): Promise<void> {
  await checkAccess(context, key, {
    action: `kms:${operation}`,
    grantable: operation,
    encryptionContext,
    keys: { 'kms:EncryptionAlgorithm': 'SYMMETRIC_DEFAULT' },
    via,
  })
  checkUsable(key, context.now())
}

async function seal(
  context: Context,
  key: KeyRow,
  plaintext: Uint8Array,
  encryptionContext: EncryptionContext,
): Promise<Buffer> {
  const material = await materialOf(context, key, key.currentVersion)
  if (!material) throw unreadable(key)
  return sealBlob({ keyId: key.keyId, version: key.currentVersion }, material, plaintext, encryptionContext)
}
