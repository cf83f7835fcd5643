/**
 * The ciphertext blob: what it looks like and how a key's material makes and opens it. Pure.
 *
 *   format 1 | key id 16 | key version 4 | salt 32 | ciphertext n | tag 16
 *
 * Each blob is encrypted under a key and nonce of its own, derived from the material and a random salt of 256 bits:
 * AES-GCM fails badly when a nonce returns under one key, and random 96-bit nonces would limit a key to 2^32 blobs
 * (NIST SP 800-38D). The header up to the version and the encryption context are authenticated.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'

/** Name-value pairs that must be the same when decrypting. */
export type EncryptionContext = Record<string, string>

export interface KeyVersion {
  keyId: string
  version: number
}

export const MATERIAL_BYTES = 32
const FORMAT = 1
/** What the database counts versions with. */
const MAX_VERSION = 2 ** 31 - 1
const NAME_BYTES = 1 + 16 + 4
const SALT_BYTES = 32
const TAG_BYTES = 16
const KEY_BYTES = 32
const NONCE_BYTES = 12

/** Marks the length of a part that is not well-formed Unicode. */
const NO_TEXT = 0x80000000
const HALF_PAIR = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/
const isWellFormed = (text: string): boolean => !HALF_PAIR.test(text)

/** Pairs in the order of their names, each part with its length, so that no two contexts read the same. */
function canonical(context: EncryptionContext): Buffer {
  const parts = Object.entries(context)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .flat()
  return Buffer.concat(
    parts.flatMap((part) => {
      // UTF-8 has no form for half a surrogate pair, and would make two contexts with one look the same.
      const isText = isWellFormed(part)
      const bytes = Buffer.from(part, isText ? 'utf8' : 'utf16le')
      const length = Buffer.alloc(4)
      length.writeUInt32BE(isText ? bytes.length : bytes.length + NO_TEXT)
      return [length, bytes]
    }),
  )
}

function derive(material: Uint8Array, salt: Uint8Array): { key: Buffer; nonce: Buffer } {
  const bytes = createHmac('sha512', material).update('musterbook ciphertext').update(salt).digest()
  return { key: bytes.subarray(0, KEY_BYTES), nonce: bytes.subarray(KEY_BYTES, KEY_BYTES + NONCE_BYTES) }
}

/** `material`: the 32 bytes of that key version. */
export function sealBlob(
  { keyId, version }: KeyVersion,
  material: Uint8Array,
  plaintext: Uint8Array,
  context: EncryptionContext,
): Buffer {
  const name = Buffer.alloc(NAME_BYTES)
  name[0] = FORMAT
  name.write(keyId.replaceAll('-', ''), 1, 'hex')
  name.writeUInt32BE(version, 17)
  const salt = randomBytes(SALT_BYTES)
  const { key, nonce } = derive(material, salt)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(Buffer.concat([name, canonical(context)]))
  return Buffer.concat([name, salt, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** Which key made this blob, or undefined when it is none. */
export function nameOfBlob(blob: Uint8Array): KeyVersion | undefined {
  if (blob.length < NAME_BYTES + SALT_BYTES + TAG_BYTES || blob[0] !== FORMAT) return undefined
  const bytes = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength)
  const hex = bytes.toString('hex', 1, 17)
  const keyId = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
  const version = bytes.readUInt32BE(17)
  return version >= 1 && version <= MAX_VERSION ? { keyId, version } : undefined
}

/** The plaintext, or undefined when blob, material and context do not belong together. */
export function openBlob(blob: Uint8Array, material: Uint8Array, context: EncryptionContext): Buffer | undefined {
  const bytes = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength)
  const { key, nonce } = derive(material, bytes.subarray(NAME_BYTES, NAME_BYTES + SALT_BYTES))
  const decipher = createDecipheriv('aes-256-gcm', key, nonce)
  decipher.setAAD(Buffer.concat([bytes.subarray(0, NAME_BYTES), canonical(context)]))
  decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
  try {
    const body = bytes.subarray(NAME_BYTES + SALT_BYTES, bytes.length - TAG_BYTES)
    return Buffer.concat([decipher.update(body), decipher.final()])
  } catch {
    return undefined // forged, or made for another context
  }
}
