/** SecureString: values encrypted under a key and bound to the parameter's ARN, so that no row can stand in for another. */

import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decrypt, encrypt, KeyError } from '../keys/index.ts'
import { parameterArn } from './names.ts'

/** The ciphertext in base 64. InvalidKeyId. */
export const encryptValue = (context: Context, nameKey: string, keyId: string, value: string): Promise<string> =>
  withKey(context, async () => {
    const ciphertext = await encrypt(context, {
      keyId,
      plaintext: Buffer.from(value),
      context: { PARAMETER_ARN: parameterArn(context, nameKey) },
    })
    return ciphertext.toString('base64')
  })

/** InvalidKeyId when key and ciphertext do not belong together any more. */
export const decryptValue = (context: Context, nameKey: string, value: string): Promise<string> =>
  withKey(context, async () => {
    const plaintext = await decrypt(context, {
      ciphertext: Buffer.from(value, 'base64'),
      context: { PARAMETER_ARN: parameterArn(context, nameKey) },
    })
    return plaintext.toString()
  })

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
