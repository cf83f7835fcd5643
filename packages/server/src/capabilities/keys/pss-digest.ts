/** RSASSA-PSS over a digest that was made elsewhere (RFC 8017, section 9.1), with a salt as long as the digest. */
import {
  constants,
  createHash,
  createPrivateKey,
  createPublicKey,
  privateEncrypt,
  publicDecrypt,
  randomBytes,
} from 'node:crypto'

const TRAILER = 0xbc

function mask(seed: Uint8Array, length: number, hash: string): Buffer {
  const blocks: Buffer[] = []
  for (let counter = 0, made = 0; made < length; counter++) {
    const number = Buffer.alloc(4)
    number.writeUInt32BE(counter)
    const block = createHash(hash).update(seed).update(number).digest()
    blocks.push(block)
    made += block.length
  }
  return Buffer.concat(blocks).subarray(0, length)
}

const xor = (one: Uint8Array, other: Uint8Array): Buffer => Buffer.from(one.map((byte, at) => byte ^ (other[at] ?? 0)))

const hashOf = (hash: string, digest: Uint8Array, salt: Uint8Array): Buffer =>
  createHash(hash).update(Buffer.alloc(8)).update(digest).update(salt).digest()

/** `privateKey`: PKCS #8 of an RSA key whose modulus has a multiple of 8 bits. */
export function signPss(privateKey: Buffer, modulusBits: number, hash: string, digest: Uint8Array): Buffer {
  const length = modulusBits / 8
  const salt = randomBytes(digest.length)
  const h = hashOf(hash, digest, salt)
  const block = Buffer.concat([Buffer.alloc(length - h.length - salt.length - 2), Buffer.of(1), salt])
  const masked = xor(block, mask(h, block.length, hash))
  masked[0]! &= 0x7f
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' })
  return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, Buffer.concat([masked, h, Buffer.of(TRAILER)]))
}

export function verifyPss(
  publicKey: Buffer,
  modulusBits: number,
  hash: string,
  digest: Uint8Array,
  signature: Uint8Array,
): boolean {
  const length = modulusBits / 8
  if (signature.length !== length) return false
  let encoded: Buffer
  try {
    const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' })
    encoded = publicDecrypt({ key, padding: constants.RSA_NO_PADDING }, signature)
  } catch {
    return false // not below the modulus
  }
  if (encoded[length - 1] !== TRAILER || encoded[0]! & 0x80) return false
  const h = encoded.subarray(length - 1 - digest.length, length - 1)
  const block = xor(encoded.subarray(0, length - 1 - digest.length), mask(h, length - 1 - digest.length, hash))
  block[0]! &= 0x7f
  const saltAt = block.length - digest.length
  if (block[saltAt - 1] !== 1 || block.subarray(0, saltAt - 1).some((byte) => byte !== 0)) return false
  return hashOf(hash, digest, block.subarray(saltAt)).equals(h)
}
