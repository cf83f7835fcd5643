/**
 * Why a key could not be used, in KMS's names and words. KMS's own operations answer these as they are; callers of the door
 * turn them into their service's error (InvalidKeyId in SSM).
 */
import type { ErrorName } from '../../contract/types.ts'
import { AwsError, validation } from '../../platform/errors.ts'

export class KeyError extends AwsError {
  get problem(): ErrorName {
    return this.name
  }
}

export const notFound = (message: string): KeyError => new KeyError('NotFoundException', message)
export const invalidState = (message: string): KeyError => new KeyError('KMSInvalidStateException', message)
export const invalidUsage = (message: string): KeyError => new KeyError('InvalidKeyUsageException', message)
export const unsupported = (message = ''): KeyError => new KeyError('UnsupportedOperationException', message)
/** KMS gives no reason: forged, cut, and made for another context look the same. */
export const invalidCiphertext = (): KeyError => new KeyError('InvalidCiphertextException')

/** A dry run that asks for permissions alone: no ciphertext is looked at. ValidationException. */
export function ignoresCiphertext(input: { DryRun?: boolean | undefined; DryRunModifiers?: string[] | undefined }) {
  if (!input.DryRunModifiers?.includes('IGNORE_CIPHERTEXT')) return false
  if (!input.DryRun) throw validation('DryRunModifiers can be given only with DryRun.')
  return true
}

/** Every check has passed, and the caller asked for no more than that. */
export function stopAtDryRun(input: { DryRun?: boolean | undefined }): void {
  if (input.DryRun)
    throw new KeyError('DryRunOperationException', 'The request would have succeeded, but the DryRun option is set.')
}
