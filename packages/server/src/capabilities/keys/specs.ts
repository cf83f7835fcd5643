/** The kinds of keys, what each may do, and how its material is made. Pure but for randomness. */
import { generateKeyPair, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import type { Input, Output } from '../../contract/types.ts'
import { unsupported } from './errors.ts'

type Metadata = NonNullable<Output<'CreateKey', 'kms'>['KeyMetadata']>
export type KeySpec = NonNullable<Metadata['KeySpec']>
export type KeyUsage = NonNullable<Metadata['KeyUsage']>
export type SigningAlgorithm = Input<'Sign', 'kms'>['SigningAlgorithm']
export type EncryptionAlgorithm = NonNullable<Input<'Encrypt', 'kms'>['EncryptionAlgorithm']>
export type AgreementAlgorithm = Input<'DeriveSharedSecret', 'kms'>['KeyAgreementAlgorithm']
export type MacAlgorithm = Input<'GenerateMac', 'kms'>['MacAlgorithm']

export interface Spec {
  family: 'symmetric' | 'hmac' | 'rsa' | 'ec' | 'ed25519'
  /** The first is what CreateKey takes when it is told none. */
  usages: readonly KeyUsage[]
  /** Bytes of symmetric material. */
  bytes?: number
  modulusBits?: number
  /** OpenSSL's name. */
  curve?: string
  signing?: readonly SigningAlgorithm[]
  encryption?: readonly EncryptionAlgorithm[]
  mac?: readonly MacAlgorithm[]
  agreement?: readonly AgreementAlgorithm[]
}

const RSA_SIGNING: readonly SigningAlgorithm[] = [
  'RSASSA_PKCS1_V1_5_SHA_256',
  'RSASSA_PKCS1_V1_5_SHA_384',
  'RSASSA_PKCS1_V1_5_SHA_512',
  'RSASSA_PSS_SHA_256',
  'RSASSA_PSS_SHA_384',
  'RSASSA_PSS_SHA_512',
]

const rsa = (modulusBits: number): Spec => ({
  family: 'rsa',
  usages: ['ENCRYPT_DECRYPT', 'SIGN_VERIFY'],
  modulusBits,
  signing: RSA_SIGNING,
  encryption: ['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'],
})
const ec = (curve: string, algorithm: SigningAlgorithm): Spec => ({
  family: 'ec',
  usages: ['SIGN_VERIFY'],
  curve,
  signing: [algorithm],
})
/** Curves on which two parties can also agree on a secret. */
const nist = (curve: string, algorithm: SigningAlgorithm): Spec => ({
  ...ec(curve, algorithm),
  usages: ['SIGN_VERIFY', 'KEY_AGREEMENT'],
  agreement: ['ECDH'],
})
const hmac = (bytes: number, algorithm: MacAlgorithm): Spec => ({
  family: 'hmac',
  usages: ['GENERATE_VERIFY_MAC'],
  bytes,
  mac: [algorithm],
})

const SPECS: { readonly [name in KeySpec]?: Spec } = {
  SYMMETRIC_DEFAULT: {
    family: 'symmetric',
    usages: ['ENCRYPT_DECRYPT'],
    bytes: 32,
    encryption: ['SYMMETRIC_DEFAULT'],
  },
  HMAC_224: hmac(28, 'HMAC_SHA_224'),
  HMAC_256: hmac(32, 'HMAC_SHA_256'),
  HMAC_384: hmac(48, 'HMAC_SHA_384'),
  HMAC_512: hmac(64, 'HMAC_SHA_512'),
  RSA_2048: rsa(2048),
  RSA_3072: rsa(3072),
  RSA_4096: rsa(4096),
  ECC_NIST_P256: nist('prime256v1', 'ECDSA_SHA_256'),
  ECC_NIST_P384: nist('secp384r1', 'ECDSA_SHA_384'),
  ECC_NIST_P521: nist('secp521r1', 'ECDSA_SHA_512'),
  ECC_SECG_P256K1: ec('secp256k1', 'ECDSA_SHA_256'),
  ECC_NIST_EDWARDS25519: { family: 'ed25519', usages: ['SIGN_VERIFY'], signing: ['ED25519_SHA_512'] },
}

/** UnsupportedOperationException: SM2 (China regions only) and the post-quantum kinds, which OpenSSL 3.0 lacks. */
export function specOf(name: KeySpec): Spec {
  const spec = SPECS[name]
  if (!spec) throw unsupported(`KeySpec ${name} is not supported here.`)
  return spec
}

export interface Material {
  /** Symmetric bytes, or PKCS #8. */
  secret: Buffer
  /** SubjectPublicKeyInfo of asymmetric keys. */
  publicKey?: Buffer
}

const pair = promisify(generateKeyPair)

/** Fresh material; RSA takes up to a second, on a thread of its own. */
export async function makeMaterial({ family, bytes = 0, modulusBits = 0, curve = '' }: Spec): Promise<Material> {
  if (family === 'symmetric' || family === 'hmac') return { secret: randomBytes(bytes) }
  const { privateKey, publicKey } =
    family === 'rsa'
      ? await pair('rsa', { modulusLength: modulusBits })
      : family === 'ec'
        ? await pair('ec', { namedCurve: curve })
        : await pair('ed25519')
  return {
    secret: privateKey.export({ type: 'pkcs8', format: 'der' }),
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
  }
}
