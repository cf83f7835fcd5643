/**
 * Sealing under the installation's root key: AES-256-GCM with a key derived for one purpose, bound to a context.
 * Everything secret that lies in the database lies sealed; the root key itself lies only in its file (0600) or where the
 * operator keeps it. A seal names the root key that made it, so that a later one can take over.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'

export interface Sealer {
  /** `purpose` separates uses of the root key; `context` must be the same when unsealing. */
  seal(purpose: string, plaintext: Uint8Array, context: string): Buffer
  /** The plaintext, or undefined when the bytes were not sealed here for this purpose and context. */
  unseal(purpose: string, sealed: Uint8Array, context: string): Buffer | undefined
}

export const ROOT_KEY_BYTES = 32
const VERSION = 1
const KEY_NAME_BYTES = 4
const NONCE_BYTES = 12
const TAG_BYTES = 16
const HEADER_BYTES = 1 + KEY_NAME_BYTES + NONCE_BYTES

/** Layout: version 1 | root key name 4 | nonce 12 | ciphertext n | tag 16. */
export function createSealer(rootKey: Uint8Array): Sealer {
  if (rootKey.length !== ROOT_KEY_BYTES) throw new Error(`the root key must have ${ROOT_KEY_BYTES} bytes`)
  const keyName = createHash('sha256')
    .update('musterbook root key')
    .update(rootKey)
    .digest()
    .subarray(0, KEY_NAME_BYTES)
  const derived = new Map<string, Buffer>()
  const keyFor = (purpose: string): Buffer => {
    let key = derived.get(purpose)
    if (!key) {
      key = Buffer.from(hkdfSync('sha256', rootKey, 'musterbook', purpose, 32))
      derived.set(purpose, key)
    }
    return key
  }
  return {
    seal(purpose, plaintext, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const header = Buffer.concat([Buffer.of(VERSION), keyName, nonce])
      const cipher = createCipheriv('aes-256-gcm', keyFor(purpose), nonce)
      cipher.setAAD(Buffer.concat([header.subarray(0, 1 + KEY_NAME_BYTES), Buffer.from(context)]))
      return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
    },
    unseal(purpose, sealed, context) {
      if (sealed.length < HEADER_BYTES + TAG_BYTES || sealed[0] !== VERSION) return undefined
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength)
      if (!bytes.subarray(1, 1 + KEY_NAME_BYTES).equals(keyName)) return undefined
      const decipher = createDecipheriv(
        'aes-256-gcm',
        keyFor(purpose),
        bytes.subarray(1 + KEY_NAME_BYTES, HEADER_BYTES),
      )
      decipher.setAAD(Buffer.concat([bytes.subarray(0, 1 + KEY_NAME_BYTES), Buffer.from(context)]))
      decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
      try {
        return Buffer.concat([
          decipher.update(bytes.subarray(HEADER_BYTES, bytes.length - TAG_BYTES)),
          decipher.final(),
        ])
      } catch {
        return undefined // forged, or sealed for another context
      }
    },
  }
}
