/**
 * What other services do with keys, for their caller and with the caller's permissions. Keys are kept in memory, so that
 * decrypting costs no statement; a change reaches every process with a wake.
 */
import { randomBytes } from 'node:crypto'
import type { Context } from '../../platform/context.ts'
import { checkAccess, type Service } from './access.ts'
import { type EncryptionContext, nameOfBlob, openBlob, sealBlob } from './ciphertext.ts'
import { invalidCiphertext, invalidUsage, KeyError } from './errors.ts'
import { materialOf } from './material.ts'
import { checkUsable, findKept, findKeptById, keyArn, readKeyName, unreadable } from './resolve.ts'
import type { KeyRow } from './store.ts'

/** What was done with a key for the caller of another service. */
export interface KeyUse {
  operation: 'Encrypt' | 'Decrypt' | 'GenerateDataKey'
  keyArn: string
  encryptionContext: EncryptionContext
}

interface Using {
  context: EncryptionContext
  /** Who asks for the caller: policies know it as kms:ViaService. */
  via: Service
  /** Is told of the use, carried out or refused: keys know nothing of the audit. */
  tell?(use: KeyUse, refusal?: KeyError): void
}

interface Naming extends Using {
  keyId: string
}

/** Encrypts up to a few kilobytes under the current version of a key. KeyError by KMS's names. */
export async function encrypt(context: Context, request: Naming & { plaintext: Uint8Array }): Promise<Buffer> {
  const key = await findKept(context, readKeyName(context, request.keyId))
  return use(context, key, 'Encrypt', request, () => seal(context, key, request.plaintext, request.context))
}

/** A new key of 256 bits, as it is and encrypted. KeyError. */
export async function generateDataKey(
  context: Context,
  request: Naming,
): Promise<{ plaintext: Buffer; ciphertext: Buffer }> {
  const key = await findKept(context, readKeyName(context, request.keyId))
  const plaintext = randomBytes(32)
  const ciphertext = await use(context, key, 'GenerateDataKey', request, () =>
    seal(context, key, plaintext, request.context),
  )
  return { plaintext, ciphertext }
}

/** Decrypts what `encrypt` made in the same region, under the same context. KeyError. */
export async function decrypt(context: Context, request: Using & { ciphertext: Uint8Array }): Promise<Buffer> {
  const name = nameOfBlob(request.ciphertext)
  if (!name) throw invalidCiphertext()
  const key = await findKeptById(context, name.keyId)
  return use(context, key, 'Decrypt', request, async () => {
    const material = await materialOf(context, key, name.version)
    const plaintext = material && openBlob(request.ciphertext, material, request.context)
    if (!plaintext) throw invalidCiphertext()
    return plaintext
  })
}

/** The ARN of the key that an id, ARN or alias names. NotFoundException. */
export const keyArnOf = async (context: Context, keyId: string): Promise<string> =>
  keyArn(await findKept(context, readKeyName(context, keyId)))

async function use(
  context: Context,
  key: KeyRow,
  operation: KeyUse['operation'],
  request: Using,
  act: () => Promise<Buffer>,
): Promise<Buffer> {
  const told = { operation, keyArn: keyArn(key), encryptionContext: request.context }
  let answer: Buffer
  try {
    await check(context, key, operation, request)
    answer = await act()
  } catch (error) {
    if (error instanceof KeyError) request.tell?.(told, error)
    throw error
  }
  request.tell?.(told)
  return answer
}

async function check(
  context: Context,
  key: KeyRow,
  operation: KeyUse['operation'],
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
  if (key.spec !== 'SYMMETRIC_DEFAULT')
    throw invalidUsage(`${keyArn(key)} key spec is ${key.spec} which is not valid for ${operation}.`)
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
