/** What keys are for: encrypting, data keys, codes and signatures. Permissions were asked before; state is asked here. */
import {
  constants,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { keyOf } from './access.ts'
import { type EncryptionContext, nameOfBlob, openBlob, sealBlob } from './ciphertext.ts'
import { ignoresCiphertext, invalidCiphertext, invalidUsage, KeyError, stopAtDryRun, unsupported } from './errors.ts'
import { materialId } from './lifecycle.ts'
import { materialOf } from './material.ts'
import { checkUsable, keyArn, unreadable } from './resolve.ts'
import { signMessage, verifyMessage } from './signatures.ts'
import { type EncryptionAlgorithm, type KeyUsage, makeMaterial, specOf } from './specs.ts'
import type { KeyRow } from './store.ts'

/** NotFoundException, DisabledException, KMSInvalidStateException, InvalidKeyUsageException. */
function keyFor(
  { now }: Pick<Context, 'now'>,
  input: object,
  operation: string,
  usage: KeyUsage,
  algorithm: string,
  role?: string,
): KeyRow {
  const key = keyOf(input, role)
  checkUsable(key, now())
  if (key.usage !== usage)
    throw invalidUsage(`${keyArn(key)} key usage is ${key.usage} which is not valid for ${operation}.`)
  const { encryption = [], signing = [], mac = [], agreement = [] } = specOf(key.spec)
  if (![...encryption, ...signing, ...mac, ...agreement].some((known) => known === algorithm))
    throw invalidUsage(`Algorithm ${algorithm} and key spec ${key.spec} are incompatible.`)
  return key
}

/** Data keys are made under symmetric keys alone. */
const symmetricKey = (context: Context, input: object, operation: string): KeyRow =>
  keyFor(context, input, operation, 'ENCRYPT_DECRYPT', 'SYMMETRIC_DEFAULT')

async function currentMaterial(context: Context, key: KeyRow): Promise<Buffer> {
  const material = await materialOf(context, key, key.currentVersion)
  if (!material) throw unreadable(key)
  return material
}

async function seal(context: Context, key: KeyRow, bytes: Uint8Array, encryptionContext: EncryptionContext = {}) {
  const material = await currentMaterial(context, key)
  return sealBlob({ keyId: key.keyId, version: key.currentVersion }, material, bytes, encryptionContext)
}

// ---- encrypt, decrypt ----

const oaep = (algorithm: EncryptionAlgorithm) => ({
  padding: constants.RSA_PKCS1_OAEP_PADDING,
  oaepHash: algorithm === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256',
})

function encryptRsa(key: KeyRow, algorithm: EncryptionAlgorithm, plaintext: Uint8Array): Buffer {
  const most = (specOf(key.spec).modulusBits ?? 0) / 8 - 2 * (algorithm === 'RSAES_OAEP_SHA_1' ? 20 : 32) - 2
  if (plaintext.length > most)
    throw validation(`Algorithm ${algorithm} and key spec ${key.spec} cannot encrypt data larger than ${most} bytes.`)
  const publicKey = { key: key.publicKey ?? Buffer.alloc(0), format: 'der', type: 'spki' } as const
  return publicEncrypt({ ...publicKey, ...oaep(algorithm) }, plaintext)
}

function checkNoContext(key: KeyRow, encryptionContext: EncryptionContext | undefined): void {
  if (key.spec !== 'SYMMETRIC_DEFAULT' && encryptionContext && Object.keys(encryptionContext).length > 0)
    throw validation('EncryptionContext is not supported with asymmetric keys.')
}

const encryptWith = async (
  context: Context,
  key: KeyRow,
  algorithm: EncryptionAlgorithm,
  plaintext: Uint8Array,
  encryptionContext: EncryptionContext | undefined,
): Promise<Buffer> =>
  key.spec === 'SYMMETRIC_DEFAULT'
    ? seal(context, key, plaintext, encryptionContext)
    : encryptRsa(key, algorithm, plaintext)

/** InvalidCiphertextException, IncorrectKeyException. */
async function decryptWith(
  context: Context,
  key: KeyRow,
  algorithm: EncryptionAlgorithm,
  blob: Uint8Array,
  encryptionContext: EncryptionContext | undefined,
): Promise<{ plaintext: Buffer; version: number | undefined }> {
  if (key.spec !== 'SYMMETRIC_DEFAULT') {
    const secret = await currentMaterial(context, key)
    try {
      const privateKey = { key: secret, format: 'der', type: 'pkcs8' } as const
      return { plaintext: privateDecrypt({ ...privateKey, ...oaep(algorithm) }, blob), version: undefined }
    } catch {
      throw invalidCiphertext()
    }
  }
  const name = nameOfBlob(blob)
  if (!name) throw invalidCiphertext()
  if (name.keyId !== key.keyId)
    throw new KeyError(
      'IncorrectKeyException',
      'The key ID in the request does not identify a CMK that can perform this operation.',
    )
  const material = await materialOf(context, key, name.version)
  const plaintext = material && openBlob(blob, material, encryptionContext ?? {})
  if (!plaintext) throw invalidCiphertext()
  return { plaintext, version: name.version }
}

export async function encrypt(context: Context, input: Input<'Encrypt', 'kms'>): Promise<Output<'Encrypt', 'kms'>> {
  const algorithm = input.EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT'
  const key = keyFor(context, input, 'Encrypt', 'ENCRYPT_DECRYPT', algorithm)
  checkNoContext(key, input.EncryptionContext)
  stopAtDryRun(input)
  const blob = await encryptWith(context, key, algorithm, input.Plaintext, input.EncryptionContext)
  return { CiphertextBlob: blob, KeyId: keyArn(key), EncryptionAlgorithm: algorithm }
}

function refuseRecipient(input: { Recipient?: unknown }): void {
  if (input.Recipient !== undefined) throw validation('Recipient: attested enclaves are not supported here.')
}

export async function decrypt(context: Context, input: Input<'Decrypt', 'kms'>): Promise<Output<'Decrypt', 'kms'>> {
  refuseRecipient(input)
  const algorithm = input.EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT'
  const key = keyFor(context, input, 'Decrypt', 'ENCRYPT_DECRYPT', algorithm)
  checkNoContext(key, input.EncryptionContext)
  if (ignoresCiphertext(input)) stopAtDryRun(input)
  const blob = input.CiphertextBlob ?? new Uint8Array()
  const { plaintext, version } = await decryptWith(context, key, algorithm, blob, input.EncryptionContext)
  stopAtDryRun(input)
  return {
    KeyId: keyArn(key),
    Plaintext: plaintext,
    EncryptionAlgorithm: algorithm,
    KeyMaterialId: version === undefined ? undefined : materialId(key, version),
  }
}

/** The plaintext never leaves the process. */
export async function reEncrypt(
  context: Context,
  input: Input<'ReEncrypt', 'kms'>,
): Promise<Output<'ReEncrypt', 'kms'>> {
  const from = input.SourceEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT'
  const to = input.DestinationEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT'
  const source = keyFor(context, input, 'ReEncrypt', 'ENCRYPT_DECRYPT', from, 'source')
  const destination = keyFor(context, input, 'ReEncrypt', 'ENCRYPT_DECRYPT', to)
  checkNoContext(source, input.SourceEncryptionContext)
  checkNoContext(destination, input.DestinationEncryptionContext)
  if (ignoresCiphertext(input)) stopAtDryRun(input)
  const blob = input.CiphertextBlob ?? new Uint8Array()
  const opened = await decryptWith(context, source, from, blob, input.SourceEncryptionContext)
  stopAtDryRun(input)
  const isSymmetric = destination.spec === 'SYMMETRIC_DEFAULT'
  return {
    CiphertextBlob: await encryptWith(context, destination, to, opened.plaintext, input.DestinationEncryptionContext),
    SourceKeyId: keyArn(source),
    KeyId: keyArn(destination),
    SourceEncryptionAlgorithm: from,
    DestinationEncryptionAlgorithm: to,
    SourceKeyMaterialId: opened.version === undefined ? undefined : materialId(source, opened.version),
    DestinationKeyMaterialId: isSymmetric ? materialId(destination) : undefined,
  }
}

// ---- data keys ----

function dataKeyBytes(input: { KeySpec?: string | undefined; NumberOfBytes?: number | undefined }): number {
  if ((input.KeySpec === undefined) === (input.NumberOfBytes === undefined))
    throw validation('Please specify either number of bytes or key spec.')
  return input.NumberOfBytes ?? (input.KeySpec === 'AES_128' ? 16 : 32)
}

export async function generateDataKey(
  context: Context,
  input: Input<'GenerateDataKey', 'kms'>,
): Promise<Output<'GenerateDataKey', 'kms'>> {
  refuseRecipient(input)
  const plaintext = randomBytes(dataKeyBytes(input))
  return { ...(await dataKey(context, input, 'GenerateDataKey', plaintext)), Plaintext: plaintext }
}

export const generateDataKeyWithoutPlaintext = async (
  context: Context,
  input: Input<'GenerateDataKeyWithoutPlaintext', 'kms'>,
): Promise<Output<'GenerateDataKeyWithoutPlaintext', 'kms'>> =>
  dataKey(context, input, 'GenerateDataKeyWithoutPlaintext', randomBytes(dataKeyBytes(input)))

interface DataKeyInput {
  EncryptionContext?: Record<string, string> | undefined
  DryRun?: boolean | undefined
}

async function dataKey(context: Context, input: DataKeyInput, operation: string, plaintext: Buffer) {
  const key = symmetricKey(context, input, operation)
  stopAtDryRun(input)
  const blob = await seal(context, key, plaintext, input.EncryptionContext)
  return { CiphertextBlob: blob, KeyId: keyArn(key), KeyMaterialId: materialId(key) }
}

export async function generateDataKeyPair(
  context: Context,
  input: Input<'GenerateDataKeyPair', 'kms'>,
): Promise<Output<'GenerateDataKeyPair', 'kms'>> {
  refuseRecipient(input)
  const { answer, secret } = await dataKeyPair(context, input, 'GenerateDataKeyPair')
  return { ...answer, PrivateKeyPlaintext: secret }
}

export const generateDataKeyPairWithoutPlaintext = async (
  context: Context,
  input: Input<'GenerateDataKeyPairWithoutPlaintext', 'kms'>,
): Promise<Output<'GenerateDataKeyPairWithoutPlaintext', 'kms'>> =>
  (await dataKeyPair(context, input, 'GenerateDataKeyPairWithoutPlaintext')).answer

async function dataKeyPair(
  context: Context,
  input: DataKeyInput & { KeyPairSpec: Input<'GenerateDataKeyPair', 'kms'>['KeyPairSpec'] },
  operation: string,
) {
  const key = symmetricKey(context, input, operation)
  const spec = specOf(input.KeyPairSpec)
  stopAtDryRun(input)
  const { secret, publicKey } = await makeMaterial(spec)
  const answer = {
    PrivateKeyCiphertextBlob: await seal(context, key, secret, input.EncryptionContext),
    PublicKey: publicKey,
    KeyId: keyArn(key),
    KeyPairSpec: input.KeyPairSpec,
    KeyMaterialId: materialId(key),
  }
  return { answer, secret }
}

export async function generateRandom(
  _: Context,
  input: Input<'GenerateRandom', 'kms'>,
): Promise<Output<'GenerateRandom', 'kms'>> {
  refuseRecipient(input)
  if (input.CustomKeyStoreId !== undefined) throw unsupported('Custom key stores are not supported here.')
  if (input.NumberOfBytes === undefined) throw validation('NumberOfBytes is required.')
  return { Plaintext: randomBytes(input.NumberOfBytes) }
}

// ---- codes ----

async function macOf(context: Context, key: KeyRow, algorithm: string, message: Uint8Array): Promise<Buffer> {
  const material = await currentMaterial(context, key)
  return createHmac(`sha${algorithm.slice(-3)}`, material)
    .update(message)
    .digest()
}

export async function generateMac(
  context: Context,
  input: Input<'GenerateMac', 'kms'>,
): Promise<Output<'GenerateMac', 'kms'>> {
  const key = keyFor(context, input, 'GenerateMac', 'GENERATE_VERIFY_MAC', input.MacAlgorithm)
  stopAtDryRun(input)
  const mac = await macOf(context, key, input.MacAlgorithm, input.Message)
  return { Mac: mac, MacAlgorithm: input.MacAlgorithm, KeyId: keyArn(key) }
}

export async function verifyMac(
  context: Context,
  input: Input<'VerifyMac', 'kms'>,
): Promise<Output<'VerifyMac', 'kms'>> {
  const key = keyFor(context, input, 'VerifyMac', 'GENERATE_VERIFY_MAC', input.MacAlgorithm)
  const mac = await macOf(context, key, input.MacAlgorithm, input.Message)
  if (mac.length !== input.Mac.length || !timingSafeEqual(mac, input.Mac)) throw new KeyError('KMSInvalidMacException')
  stopAtDryRun(input)
  return { KeyId: keyArn(key), MacValid: true, MacAlgorithm: input.MacAlgorithm }
}

// ---- signatures ----

const messageOf = (input: Input<'Sign', 'kms'> | Input<'Verify', 'kms'>) => {
  if (input.MessageType === 'EXTERNAL_MU') throw validation('MessageType EXTERNAL_MU is not supported here.')
  return { bytes: input.Message, algorithm: input.SigningAlgorithm, isDigest: input.MessageType === 'DIGEST' }
}

export async function sign(context: Context, input: Input<'Sign', 'kms'>): Promise<Output<'Sign', 'kms'>> {
  const key = keyFor(context, input, 'Sign', 'SIGN_VERIFY', input.SigningAlgorithm)
  const message = messageOf(input)
  stopAtDryRun(input)
  const signature = signMessage(specOf(key.spec), await currentMaterial(context, key), message)
  return { KeyId: keyArn(key), Signature: signature, SigningAlgorithm: input.SigningAlgorithm }
}

export async function verify(context: Context, input: Input<'Verify', 'kms'>): Promise<Output<'Verify', 'kms'>> {
  const key = keyFor(context, input, 'Verify', 'SIGN_VERIFY', input.SigningAlgorithm)
  const message = messageOf(input)
  if (!verifyMessage(specOf(key.spec), key.publicKey ?? Buffer.alloc(0), message, input.Signature))
    throw new KeyError('KMSInvalidSignatureException')
  stopAtDryRun(input)
  return { KeyId: keyArn(key), SignatureValid: true, SigningAlgorithm: input.SigningAlgorithm }
}

export async function getPublicKey(
  context: Context,
  input: Input<'GetPublicKey', 'kms'>,
): Promise<Output<'GetPublicKey', 'kms'>> {
  const key = keyOf(input)
  checkUsable(key, context.now())
  if (!key.publicKey) throw unsupported(`${keyArn(key)} key spec is ${key.spec} which is not valid for GetPublicKey.`)
  const spec = specOf(key.spec)
  return {
    KeyId: keyArn(key),
    PublicKey: key.publicKey,
    CustomerMasterKeySpec: key.spec as Output<'GetPublicKey', 'kms'>['CustomerMasterKeySpec'],
    KeySpec: key.spec,
    KeyUsage: key.usage,
    EncryptionAlgorithms: key.usage === 'ENCRYPT_DECRYPT' ? [...(spec.encryption ?? [])] : undefined,
    SigningAlgorithms: key.usage === 'SIGN_VERIFY' ? [...(spec.signing ?? [])] : undefined,
    KeyAgreementAlgorithms: key.usage === 'KEY_AGREEMENT' ? [...(spec.agreement ?? [])] : undefined,
  }
}

// ---- agreement ----

/** The raw secret: the x-coordinate of the shared point, which its users put through a key derivation function. */
export async function deriveSharedSecret(
  context: Context,
  input: Input<'DeriveSharedSecret', 'kms'>,
): Promise<Output<'DeriveSharedSecret', 'kms'>> {
  refuseRecipient(input)
  const key = keyFor(context, input, 'DeriveSharedSecret', 'KEY_AGREEMENT', input.KeyAgreementAlgorithm)
  const publicKey = peerOf(key, input.PublicKey)
  stopAtDryRun(input)
  const privateKey = createPrivateKey({ key: await currentMaterial(context, key), format: 'der', type: 'pkcs8' })
  return {
    KeyId: keyArn(key),
    SharedSecret: diffieHellman({ privateKey, publicKey }),
    KeyAgreementAlgorithm: input.KeyAgreementAlgorithm,
    KeyOrigin: key.origin,
  }
}

/** ValidationException: not the SubjectPublicKeyInfo of a point on the key's own curve. */
function peerOf(key: KeyRow, der: Uint8Array) {
  try {
    const publicKey = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' })
    if (publicKey.asymmetricKeyDetails?.namedCurve === specOf(key.spec).curve) return publicKey
  } catch {
    // told below
  }
  throw validation(`PublicKey is not a valid public key for the key spec ${key.spec}.`)
}
