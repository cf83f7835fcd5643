/**
 * SecureString: values encrypted under a key and bound to the parameter's ARN, so that no row can stand in for another. A
 * standard value is encrypted by the key itself; an advanced one by a data key of its own, which is encrypted by the key:
 *
 *   ENVELOPE 1 | length of the encrypted data key 2 | encrypted data key | nonce 12 | ciphertext n | tag 16
 *
 * Everything happens with the caller's permissions on the key: kms:Encrypt or kms:GenerateDataKey, and kms:Decrypt.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decrypt, encrypt, generateDataKey, KeyError, type KeyUse } from '../keys/index.ts'
import { recordKeyUse } from '../trail/index.ts'
import { parameterArn } from './names.ts'
import type { Tier } from './rules.ts'

/** What a ciphertext of a key never begins with. */
const ENVELOPE = 0xe1
const HEADER_BYTES = 3
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The ciphertext in base 64. InvalidKeyId. */
export const encryptValue = (
  context: Context,
  nameKey: string,
  tier: Tier,
  keyId: string,
  value: string,
): Promise<string> =>
  withKey(context, async () => {
    const bound = { PARAMETER_ARN: parameterArn(context, nameKey) }
    const plaintext = Buffer.from(value)
    const ciphertext =
      tier === 'Standard'
        ? await encrypt(context, { keyId, plaintext, ...usedFor(context, bound) })
        : await sealEnvelope(context, keyId, plaintext, bound)
    return ciphertext.toString('base64')
  })

/** InvalidKeyId when key and ciphertext do not belong together any more. */
export const decryptValue = (context: Context, nameKey: string, value: string): Promise<string> =>
  withKey(context, async () => {
    const ciphertext = Buffer.from(value, 'base64')
    const bound = { PARAMETER_ARN: parameterArn(context, nameKey) }
    const plaintext =
      ciphertext[0] === ENVELOPE
        ? await openEnvelope(context, ciphertext, bound)
        : await decrypt(context, { ciphertext, ...usedFor(context, bound) })
    return plaintext.toString()
  })

interface Bound extends Record<string, string> {
  PARAMETER_ARN: string
}

const usedFor = (context: Context, bound: Bound) => ({
  ...{ context: bound, via: 'ssm' as const },
  tell: (use: KeyUse, refusal?: KeyError) => recordKeyUse(context, use, refusal),
})

async function sealEnvelope(context: Context, keyId: string, plaintext: Buffer, bound: Bound): Promise<Buffer> {
  const dataKey = await generateDataKey(context, { keyId, ...usedFor(context, bound) })
  const header = Buffer.alloc(HEADER_BYTES)
  header[0] = ENVELOPE
  header.writeUInt16BE(dataKey.ciphertext.length, 1)
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', dataKey.plaintext, nonce)
  cipher.setAAD(Buffer.from(bound.PARAMETER_ARN))
  const body = [cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]
  return Buffer.concat([header, dataKey.ciphertext, nonce, ...body])
}

async function openEnvelope(context: Context, envelope: Buffer, bound: Bound): Promise<Buffer> {
  const damaged = () => new KeyError('InvalidCiphertextException')
  if (envelope.length < HEADER_BYTES) throw damaged()
  const nonceAt = HEADER_BYTES + envelope.readUInt16BE(1)
  const bodyAt = nonceAt + NONCE_BYTES
  if (envelope.length < bodyAt + TAG_BYTES) throw damaged()
  const dataKey = await decrypt(context, {
    ciphertext: envelope.subarray(HEADER_BYTES, nonceAt),
    ...usedFor(context, bound),
  })
  const decipher = createDecipheriv('aes-256-gcm', dataKey, envelope.subarray(nonceAt, bodyAt))
  decipher.setAAD(Buffer.from(bound.PARAMETER_ARN))
  decipher.setAuthTag(envelope.subarray(-TAG_BYTES))
  try {
    return Buffer.concat([decipher.update(envelope.subarray(bodyAt, -TAG_BYTES)), decipher.final()])
  } catch {
    throw damaged()
  }
}

async function withKey<T>(context: Context, use: () => Promise<T>): Promise<T> {
  try {
    return await use()
  } catch (error) {
    if (!(error instanceof KeyError)) throw error
    throw new AwsError(
      'InvalidKeyId',
      `${error.message} (Service: AWSKMS; Status Code: 400; Error Code: ${error.problem}; Request ID: ${context.requestId}; Proxy: null)`,
    )
  }
}
