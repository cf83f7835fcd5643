/** Signatures of asymmetric keys, over whole messages (OpenSSL) and over digests that were made elsewhere. Pure. */
import {
  constants,
  createHash,
  createPrivateKey,
  createPublicKey,
  privateEncrypt,
  publicDecrypt,
  sign,
  verify,
} from 'node:crypto'
import { validation } from '../../platform/errors.ts'
import { signDigest, verifyDigest } from './ecdsa-digest.ts'
import { unsupported } from './errors.ts'
import { signPss, verifyPss } from './pss-digest.ts'
import type { SigningAlgorithm, Spec } from './specs.ts'

export interface Message {
  bytes: Uint8Array
  algorithm: SigningAlgorithm
  isDigest: boolean
}

const hashOf = (algorithm: SigningAlgorithm): string => `sha${/\d+$/.exec(algorithm)?.[0] ?? ''}`
const DIGEST_BYTES: Record<string, number> = { sha256: 32, sha384: 48, sha512: 64 }

/** DigestInfo before the digest (RFC 8017, section 9.2, note 1). */
const DIGEST_INFO: Record<string, Buffer> = {
  sha256: Buffer.from('3031300d060960864801650304020105000420', 'hex'),
  sha384: Buffer.from('3041300d060960864801650304020205000430', 'hex'),
  sha512: Buffer.from('3051300d060960864801650304020305000440', 'hex'),
}

/** ValidationException: a digest of the wrong length. UnsupportedOperationException: Ed25519 over a digest. */
function checkMessage(spec: Spec, { bytes, algorithm, isDigest }: Message): void {
  if (!isDigest) return
  if (spec.family === 'ed25519') throw unsupported(`The message type DIGEST is not supported for ${algorithm}.`)
  if (bytes.length !== DIGEST_BYTES[hashOf(algorithm)])
    throw validation(`Digest is invalid length for algorithm ${algorithm}.`)
}

const isPss = (algorithm: SigningAlgorithm) => algorithm.startsWith('RSASSA_PSS')
const digestInfo = (hash: string, digest: Uint8Array) => Buffer.concat([DIGEST_INFO[hash] ?? Buffer.alloc(0), digest])

const rsaOptions = (algorithm: SigningAlgorithm) =>
  isPss(algorithm)
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : { padding: constants.RSA_PKCS1_PADDING }

/** `secret`: PKCS #8. ECDSA signatures are DER. */
export function signMessage(spec: Spec, secret: Buffer, message: Message): Buffer {
  checkMessage(spec, message)
  const { bytes, algorithm, isDigest } = message
  const hash = hashOf(algorithm)
  const key = createPrivateKey({ key: secret, format: 'der', type: 'pkcs8' })
  if (spec.family === 'ed25519') return sign(null, bytes, key)
  if (!isDigest) return sign(hash, bytes, { key, ...(spec.family === 'rsa' ? rsaOptions(algorithm) : {}) })
  if (spec.family === 'ec') return signDigest(spec.curve ?? '', secret, bytes)
  if (isPss(algorithm)) return signPss(secret, spec.modulusBits ?? 0, hash, bytes)
  return privateEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, digestInfo(hash, bytes))
}

/** `publicKey`: SubjectPublicKeyInfo. */
export function verifyMessage(spec: Spec, publicKey: Buffer, message: Message, signature: Uint8Array): boolean {
  checkMessage(spec, message)
  const { bytes, algorithm, isDigest } = message
  const hash = hashOf(algorithm)
  const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' })
  if (spec.family === 'ed25519') return verify(null, bytes, key, signature)
  // A digest made here and one made elsewhere are verified by the same code, so that both mean the same.
  const digest = isDigest ? bytes : createHash(hash).update(bytes).digest()
  if (spec.family === 'ec') return verifyDigest(spec.curve ?? '', publicKey, digest, signature)
  if (isPss(algorithm)) return verifyPss(publicKey, spec.modulusBits ?? 0, hash, digest, signature)
  try {
    return publicDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, signature).equals(digestInfo(hash, digest))
  } catch {
    return false // padding
  }
}
