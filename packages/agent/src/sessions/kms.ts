// The one call that an encrypted session makes: Decrypt, for the data key that its client had made. Signed with the
// node's role credentials, at the same endpoint as everything else.

import type { SigningCredentials } from '@musterbook/wire'
import { signedHeaders, type Transport } from '../transport.ts'

export interface DecryptRequest {
  keyId: string
  ciphertext: Uint8Array
  context: Record<string, string>
}

/** Throws an Error with the control plane's words. */
export async function kmsDecrypt(
  transport: Transport,
  credentials: SigningCredentials,
  { keyId, ciphertext, context }: DecryptRequest,
): Promise<Uint8Array> {
  const body = JSON.stringify({
    CiphertextBlob: Buffer.from(ciphertext).toString('base64'),
    KeyId: keyId,
    EncryptionContext: context,
  })
  const target: Array<[string, string]> = [
    ['content-type', 'application/x-amz-json-1.1'],
    ['x-amz-target', 'TrentService.Decrypt'],
  ]
  const headers = signedHeaders(
    transport,
    { method: 'POST', path: '/', headers: target, body, service: 'kms' },
    credentials,
  )
  const answer = await transport.send({ method: 'POST', path: '/', headers, body })
  const parsed = JSON.parse(answer.body || '{}') as { Plaintext?: string; __type?: string; message?: string }
  if (answer.status !== 200 || typeof parsed.Plaintext !== 'string')
    throw new Error(`KMS Decrypt was refused: ${parsed.__type ?? answer.status} ${parsed.message ?? ''}`.trim())
  return Buffer.from(parsed.Plaintext, 'base64')
}
