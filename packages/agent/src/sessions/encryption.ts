// AES-256-GCM between the two ends of a session: nonce (12) | ciphertext | tag (16). Each end has a key of its own, the
// halves of the 64 bytes that KMS made: the first for what the agent sends, the second for what it receives.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
/** What a data key for a session has. */
export const DATA_KEY_BYTES = 2 * KEY_BYTES

export interface Cipher {
  encrypt(plain: Uint8Array): Uint8Array
  /** Throws for what was not encrypted by the other end. */
  decrypt(sealed: Uint8Array): Uint8Array
}

export function sessionCipher(dataKey: Uint8Array, role: 'agent' | 'client'): Cipher {
  if (dataKey.length !== DATA_KEY_BYTES)
    throw new Error(`the data key has ${dataKey.length} bytes, not ${DATA_KEY_BYTES}`)
  const halves = [dataKey.subarray(0, KEY_BYTES), dataKey.subarray(KEY_BYTES)] as const
  const [out, into] = role === 'agent' ? halves : [halves[1], halves[0]]
  return {
    encrypt(plain) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', out, nonce)
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    },
    decrypt(sealed) {
      if (sealed.length < NONCE_BYTES + TAG_BYTES) throw new Error('too short for an encrypted message')
      const decipher = createDecipheriv('aes-256-gcm', into, sealed.subarray(0, NONCE_BYTES))
      decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES))
      return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()])
    },
  }
}
