import {
  constants,
  createCipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  publicEncrypt,
  randomBytes,
  verify,
} from 'node:crypto'
import { CloudTrail } from '@aws-sdk/client-cloudtrail'
import { type CreateKeyCommandInput, type ImportKeyMaterialCommandInput, KMS } from '@aws-sdk/client-kms'
import { eventually, startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
/** A client that signs with the clock of the control plane, however far it was moved (the Date of answers is the wall's). */
const newClient = async (): Promise<KMS> => byTheClock(new KMS((await testbed.account()).config))

function byTheClock<C extends { config: object }>(client: C): C {
  const get = () => testbed.clock.now().getTime() - Date.now()
  Object.defineProperty(client.config, 'systemClockOffset', { get, set() {} })
  return client
}

async function pass(milliseconds: number) {
  testbed.clock.advance(milliseconds)
  await testbed.server.work.settle()
}
const DAY_MS = 86_400_000

async function newKey(kms: KMS, wanted: CreateKeyCommandInput = {}) {
  const { KeyMetadata } = await kms.createKey(wanted)
  return { KeyId: KeyMetadata?.KeyId ?? '', Arn: KeyMetadata?.Arn ?? '', KeyMetadata }
}
const Plaintext = Buffer.from('attack at dawn')

describe('a key', () => {
  it('is described as it was made, and listed', async () => {
    const kms = await newClient()
    const Tags = [{ TagKey: 'team', TagValue: 'a' }]
    const { KeyId, Arn, KeyMetadata } = await newKey(kms, { Description: 'd', Tags })
    expect(KeyMetadata).toMatchObject({
      KeyId,
      Arn: expect.stringMatching(/^arn:aws:kms:us-east-1:\d{12}:key\/[0-9a-f-]{36}$/),
      Enabled: true,
      KeyState: 'Enabled',
      KeyManager: 'CUSTOMER',
      KeySpec: 'SYMMETRIC_DEFAULT',
      KeyUsage: 'ENCRYPT_DECRYPT',
      Origin: 'AWS_KMS',
      Description: 'd',
      EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
    })
    expect((await kms.describeKey({ KeyId: Arn })).KeyMetadata).toEqual(KeyMetadata)
    expect((await kms.listKeys({})).Keys).toEqual([{ KeyId, KeyArn: Arn }])
    expect((await kms.listResourceTags({ KeyId })).Tags).toEqual(Tags)
    await kms.updateKeyDescription({ KeyId, Description: 'other' })
    expect((await kms.describeKey({ KeyId })).KeyMetadata?.Description).toBe('other')
  })

  it('is listed once, page by page', async () => {
    const kms = await newClient()
    for (let index = 0; index < 5; index++) await newKey(kms)
    const seen: (string | undefined)[] = []
    let Marker: string | undefined
    do {
      const answer = await kms.listKeys({ Limit: 2, Marker })
      seen.push(...(answer.Keys ?? []).map(({ KeyId }) => KeyId))
      expect(answer.Truncated).toBe(answer.NextMarker !== undefined)
      Marker = answer.NextMarker
    } while (Marker)
    expect(new Set(seen).size).toBe(5)
    expect(seen).toHaveLength(5)
    expect(await refusal(kms.listKeys({ Marker: 'x' }))).toMatchObject({ name: 'InvalidMarkerException' })
  })

  it('of another account or of none is not found, or not shown', async () => {
    const [kms, other] = [await newClient(), await newClient()]
    const { KeyId, Arn } = await newKey(other)
    expect(await refusal(kms.describeKey({ KeyId }))).toMatchObject({ name: 'NotFoundException' })
    expect(await refusal(kms.describeKey({ KeyId: Arn }))).toMatchObject({ name: 'AccessDeniedException' })
    expect(await refusal(kms.describeKey({ KeyId: 'nonsense' }))).toEqual({
      name: 'NotFoundException',
      message: "Invalid keyId 'nonsense'",
    })
    const { CiphertextBlob } = await other.encrypt({ KeyId, Plaintext })
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toMatchObject({ name: 'AccessDeniedException' })
  })

  it('that is disabled serves nobody until it is enabled', async () => {
    const kms = await newClient()
    const { KeyId, Arn } = await newKey(kms)
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext })
    await kms.disableKey({ KeyId })
    const disabled = { name: 'DisabledException', message: `${Arn} is disabled.` }
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toEqual(disabled)
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toEqual(disabled)
    await kms.enableKey({ KeyId })
    expect(Buffer.from((await kms.decrypt({ CiphertextBlob })).Plaintext ?? [])).toEqual(Plaintext)
  })

  it('is deleted for good at its time, unless that is cancelled', async () => {
    const kms = await newClient()
    const [gone, kept] = [await newKey(kms), await newKey(kms)]
    expect(await refusal(kms.scheduleKeyDeletion({ KeyId: gone.KeyId, PendingWindowInDays: 6 }))).toMatchObject({
      name: 'ValidationException',
    })
    for (const { KeyId } of [gone, kept]) {
      const answer = await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 })
      expect(answer).toMatchObject({ KeyState: 'PendingDeletion', PendingWindowInDays: 7 })
    }
    expect(await refusal(kms.encrypt({ KeyId: gone.KeyId, Plaintext }))).toEqual({
      name: 'KMSInvalidStateException',
      message: `${gone.Arn} is pending deletion.`,
    })
    await kms.cancelKeyDeletion({ KeyId: kept.KeyId })
    await pass(7 * DAY_MS + 1000)
    expect(await refusal(kms.describeKey({ KeyId: gone.KeyId }))).toMatchObject({ name: 'NotFoundException' })
    expect((await kms.describeKey({ KeyId: kept.KeyId })).KeyMetadata?.KeyState).toBe('Disabled')
  })
})

describe('an alias', () => {
  it('names a key, moves to another, and goes', async () => {
    const kms = await newClient()
    const [one, two] = [await newKey(kms), await newKey(kms)]
    const AliasName = 'alias/app'
    await kms.createAlias({ AliasName, TargetKeyId: one.KeyId })
    expect(await refusal(kms.createAlias({ AliasName, TargetKeyId: two.KeyId }))).toMatchObject({
      name: 'AlreadyExistsException',
      message: expect.stringMatching(/^An alias with the name arn:aws:kms:.*:alias\/app already exists$/),
    })
    const { CiphertextBlob, KeyId } = await kms.encrypt({ KeyId: AliasName, Plaintext })
    expect(KeyId).toBe(one.Arn)
    await kms.updateAlias({ AliasName, TargetKeyId: two.KeyId })
    expect((await kms.describeKey({ KeyId: AliasName })).KeyMetadata?.KeyId).toBe(two.KeyId)
    expect((await kms.decrypt({ CiphertextBlob })).KeyId).toBe(one.Arn)
    expect(await refusal(kms.decrypt({ CiphertextBlob, KeyId: AliasName }))).toMatchObject({
      name: 'IncorrectKeyException',
    })
    expect((await kms.listAliases({ KeyId: two.KeyId })).Aliases).toMatchObject([{ AliasName, TargetKeyId: two.KeyId }])
    await kms.deleteAlias({ AliasName })
    expect(await refusal(kms.describeKey({ KeyId: AliasName }))).toMatchObject({ name: 'NotFoundException' })
    expect(await refusal(kms.createAlias({ AliasName: 'alias/aws/x', TargetKeyId: one.KeyId }))).toMatchObject({
      name: 'InvalidAliasNameException',
    })
  })

  it('of AWS exists in every account, and serves only through its service', async () => {
    const kms = await newClient()
    const KeyId = 'alias/aws/ssm'
    expect((await kms.describeKey({ KeyId })).KeyMetadata).toMatchObject({ KeyManager: 'AWS', KeyState: 'Enabled' })
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject({ name: 'AccessDeniedException' })
  })
})

describe('encryption', () => {
  it('is undone under the same context alone', async () => {
    const kms = await newClient()
    const { KeyId, Arn } = await newKey(kms)
    const EncryptionContext = { app: 'a', stage: 'b' }
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext, EncryptionContext })
    const answer = await kms.decrypt({ CiphertextBlob, EncryptionContext: { stage: 'b', app: 'a' } })
    expect(answer).toMatchObject({ KeyId: Arn, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' })
    expect(Buffer.from(answer.Plaintext ?? [])).toEqual(Plaintext)
    const others: Record<string, string>[] = [{}, { app: 'a' }, { app: 'b', stage: 'a' }]
    for (const context of others)
      expect(await refusal(kms.decrypt({ CiphertextBlob, EncryptionContext: context }))).toMatchObject({
        name: 'InvalidCiphertextException',
      })
    expect(await refusal(kms.decrypt({ CiphertextBlob: randomBytes(100) }))).toMatchObject({
      name: 'InvalidCiphertextException',
    })
  })

  it('moves to another key without showing the plaintext', async () => {
    const kms = await newClient()
    const [one, two] = [await newKey(kms), await newKey(kms)]
    const { CiphertextBlob } = await kms.encrypt({ KeyId: one.KeyId, Plaintext, EncryptionContext: { a: '1' } })
    const moved = await kms.reEncrypt({
      CiphertextBlob,
      SourceEncryptionContext: { a: '1' },
      DestinationKeyId: two.KeyId,
      DestinationEncryptionContext: { b: '2' },
    })
    expect(moved).toMatchObject({ SourceKeyId: one.Arn, KeyId: two.Arn })
    const opened = await kms.decrypt({ CiphertextBlob: moved.CiphertextBlob, EncryptionContext: { b: '2' } })
    expect(Buffer.from(opened.Plaintext ?? [])).toEqual(Plaintext)
  })

  it('with RSA is done by whoever has the public key', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms, { KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })
    const { PublicKey } = await kms.getPublicKey({ KeyId })
    const key = createPublicKey({ key: Buffer.from(PublicKey ?? []), format: 'der', type: 'spki' })
    const blob = publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, Plaintext)
    const EncryptionAlgorithm = 'RSAES_OAEP_SHA_256'
    const opened = await kms.decrypt({ KeyId, CiphertextBlob: blob, EncryptionAlgorithm })
    expect(Buffer.from(opened.Plaintext ?? [])).toEqual(Plaintext)
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext, EncryptionAlgorithm })
    expect((await kms.decrypt({ KeyId, CiphertextBlob, EncryptionAlgorithm })).Plaintext).toEqual(opened.Plaintext)
    expect(await refusal(kms.encrypt({ KeyId, Plaintext: Buffer.alloc(191), EncryptionAlgorithm }))).toMatchObject({
      message: 'Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes.',
    })
  })

  it('is only tried in a dry run', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    expect(await refusal(kms.encrypt({ KeyId, Plaintext, DryRun: true }))).toMatchObject({
      name: 'DryRunOperationException',
    })
  })

  it('need not be there for a dry run that asks for permissions alone', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    const only = { DryRun: true, DryRunModifiers: ['IGNORE_CIPHERTEXT' as const] }
    const tried = { name: 'DryRunOperationException' }
    expect(await refusal(kms.decrypt({ KeyId, ...only }))).toMatchObject(tried)
    expect(await refusal(kms.reEncrypt({ SourceKeyId: KeyId, DestinationKeyId: KeyId, ...only }))).toMatchObject(tried)
    for (const wrong of [
      kms.decrypt({ ...only }),
      kms.decrypt({ KeyId, DryRunModifiers: only.DryRunModifiers }),
      kms.decrypt({ KeyId, DryRun: true }),
      kms.reEncrypt({ DestinationKeyId: KeyId, ...only }),
    ])
      expect(await refusal(wrong)).toMatchObject({ name: 'ValidationException' })
  })
})

describe('data keys', () => {
  it('come as they are and encrypted, or encrypted alone', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    const made = await kms.generateDataKey({ KeyId, KeySpec: 'AES_256', EncryptionContext: { a: 'b' } })
    expect(made.Plaintext).toHaveLength(32)
    const opened = await kms.decrypt({ CiphertextBlob: made.CiphertextBlob, EncryptionContext: { a: 'b' } })
    expect(opened.Plaintext).toEqual(made.Plaintext)
    const sealed = await kms.generateDataKeyWithoutPlaintext({ KeyId, NumberOfBytes: 24 })
    expect('Plaintext' in sealed).toBe(false)
    expect((await kms.decrypt({ CiphertextBlob: sealed.CiphertextBlob })).Plaintext).toHaveLength(24)
    expect(await refusal(kms.generateDataKey({ KeyId }))).toMatchObject({ name: 'ValidationException' })
    expect((await kms.generateRandom({ NumberOfBytes: 64 })).Plaintext).toHaveLength(64)
  })

  it('may be pairs, whose private key opens only here', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    const pair = await kms.generateDataKeyPair({ KeyId, KeyPairSpec: 'ECC_NIST_P256' })
    const { Plaintext: opened } = await kms.decrypt({ CiphertextBlob: pair.PrivateKeyCiphertextBlob })
    expect(opened).toEqual(pair.PrivateKeyPlaintext)
    const sealed = await kms.generateDataKeyPairWithoutPlaintext({ KeyId, KeyPairSpec: 'RSA_2048' })
    expect(sealed.PublicKey?.length).toBeGreaterThan(200)
    expect('PrivateKeyPlaintext' in sealed).toBe(false)
  })
})

describe('codes and signatures', () => {
  it('tell whether a message is the one they were made for', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms, { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' })
    const use = { KeyId, MacAlgorithm: 'HMAC_SHA_256' } as const
    const { Mac } = await kms.generateMac({ ...use, Message: Plaintext })
    expect((await kms.verifyMac({ ...use, Message: Plaintext, Mac })).MacValid).toBe(true)
    expect(await refusal(kms.verifyMac({ ...use, Message: Buffer.from('x'), Mac }))).toMatchObject({
      name: 'KMSInvalidMacException',
    })
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject({
      name: 'InvalidKeyUsageException',
      message: expect.stringContaining('key usage is GENERATE_VERIFY_MAC which is not valid for Encrypt.'),
    })
  })

  it.each([
    ['ECC_NIST_P256', 'ECDSA_SHA_256'],
    ['RSA_2048', 'RSASSA_PSS_SHA_256'],
    ['RSA_2048', 'RSASSA_PKCS1_V1_5_SHA_256'],
  ] as const)('of %s by %s hold everywhere, over messages and digests', async (KeySpec, SigningAlgorithm) => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms, { KeySpec, KeyUsage: 'SIGN_VERIFY' })
    const use = { KeyId, SigningAlgorithm }
    const der = Buffer.from((await kms.getPublicKey({ KeyId })).PublicKey ?? [])
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
    const options = SigningAlgorithm.includes('PSS')
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
      : {}
    const digest = createHash('sha256').update(Plaintext).digest()
    for (const message of [{ Message: Plaintext }, { Message: digest, MessageType: 'DIGEST' as const }]) {
      const { Signature } = await kms.sign({ ...use, ...message })
      expect(verify('sha256', Plaintext, { key, ...options }, Buffer.from(Signature ?? []))).toBe(true)
      expect((await kms.verify({ ...use, Message: Plaintext, Signature })).SignatureValid).toBe(true)
      expect(await refusal(kms.verify({ ...use, Message: Buffer.from('x'), Signature }))).toMatchObject({
        name: 'KMSInvalidSignatureException',
      })
    }
  })
})

describe('rotation', () => {
  it('leaves what was encrypted before readable', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    const blobs: (Uint8Array | undefined)[] = []
    const materials = new Set<string | undefined>()
    for (let round = 0; round < 3; round++) {
      blobs.push((await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob)
      await kms.rotateKeyOnDemand({ KeyId })
    }
    for (const CiphertextBlob of blobs) {
      const opened = await kms.decrypt({ CiphertextBlob })
      expect(Buffer.from(opened.Plaintext ?? [])).toEqual(Plaintext)
      materials.add(opened.KeyMaterialId)
    }
    expect(materials.size).toBe(3)
    const { Rotations } = await kms.listKeyRotations({ KeyId })
    expect(Rotations?.map(({ RotationType }) => RotationType)).toEqual(['ON_DEMAND', 'ON_DEMAND', 'ON_DEMAND'])
  })

  it('happens by itself after its period', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    await kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 90 })
    expect(await kms.getKeyRotationStatus({ KeyId })).toMatchObject({
      KeyRotationEnabled: true,
      RotationPeriodInDays: 90,
      NextRotationDate: expect.any(Date),
    })
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext })
    await pass(90 * DAY_MS + 1000)
    expect((await kms.listKeyRotations({ KeyId })).Rotations).toMatchObject([{ RotationType: 'AUTOMATIC' }])
    expect(Buffer.from((await kms.decrypt({ CiphertextBlob })).Plaintext ?? [])).toEqual(Plaintext)
    await kms.disableKeyRotation({ KeyId })
    expect((await kms.getKeyRotationStatus({ KeyId })).KeyRotationEnabled).toBe(false)
  })
})

describe('the audit', () => {
  it('tells what becomes of keys by itself', async () => {
    const account = await testbed.account()
    const kms = byTheClock(new KMS(account.config))
    const trail = byTheClock(new CloudTrail(account.config))
    const rotated = await newKey(kms)
    await kms.enableKeyRotation({ KeyId: rotated.KeyId, RotationPeriodInDays: 90 })
    const deleted = await newKey(kms)
    await kms.scheduleKeyDeletion({ KeyId: deleted.KeyId, PendingWindowInDays: 7 })
    await pass(7 * DAY_MS + 1000)
    await pass(83 * DAY_MS)
    for (const [AttributeValue, { KeyId, Arn }] of [
      ['DeleteKey', deleted],
      ['RotateKey', rotated],
    ] as const) {
      const record = await eventually(`the record of ${AttributeValue}`, async () => {
        const LookupAttributes = [{ AttributeKey: 'EventName' as const, AttributeValue }]
        const { Events = [] } = await trail.lookupEvents({ LookupAttributes })
        return Events.length === 1 && Events[0]?.CloudTrailEvent
      })
      expect(JSON.parse(record)).toMatchObject({
        eventType: 'AwsServiceEvent',
        eventSource: 'kms.amazonaws.com',
        userIdentity: { accountId: account.account, invokedBy: 'kms.amazonaws.com' },
        serviceEventDetails: { keyId: KeyId },
        resources: [{ type: 'AWS::KMS::Key', ARN: Arn }],
      })
    }
  })
})

describe('a shared secret', () => {
  it.each([
    ['ECC_NIST_P256', 'prime256v1'],
    ['ECC_NIST_P384', 'secp384r1'],
    ['ECC_NIST_P521', 'secp521r1'],
  ] as const)('of %s is what the other party finds', async (KeySpec, namedCurve) => {
    const kms = await newClient()
    const { KeyId, Arn } = await newKey(kms, { KeySpec, KeyUsage: 'KEY_AGREEMENT' })
    const answer = await kms.getPublicKey({ KeyId })
    expect(answer).toMatchObject({ KeyUsage: 'KEY_AGREEMENT', KeyAgreementAlgorithms: ['ECDH'] })
    expect((await kms.describeKey({ KeyId })).KeyMetadata).toMatchObject({ KeyAgreementAlgorithms: ['ECDH'] })
    const own = createPublicKey({ key: Buffer.from(answer.PublicKey ?? []), format: 'der', type: 'spki' })
    const other = generateKeyPairSync('ec', { namedCurve })
    const PublicKey = other.publicKey.export({ format: 'der', type: 'spki' })
    const derived = await kms.deriveSharedSecret({ KeyId, KeyAgreementAlgorithm: 'ECDH', PublicKey })
    expect(Buffer.from(derived.SharedSecret ?? [])).toEqual(
      diffieHellman({ privateKey: other.privateKey, publicKey: own }),
    )
    expect(derived).toMatchObject({ KeyId: Arn, KeyAgreementAlgorithm: 'ECDH', KeyOrigin: 'AWS_KMS' })
  })

  it('is made with keys for it alone, by whom a grant lets, and with a point of their curve', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms, { KeySpec: 'ECC_NIST_P256', KeyUsage: 'KEY_AGREEMENT' })
    const point = (namedCurve: string) =>
      generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'der', type: 'spki' })
    const derive = (PublicKey: Uint8Array, key = KeyId) =>
      kms.deriveSharedSecret({ KeyId: key, KeyAgreementAlgorithm: 'ECDH', PublicKey })
    const offCurve = Buffer.from(point('prime256v1'))
    offCurve[offCurve.length - 1]! ^= 1
    for (const wrong of [point('secp384r1'), point('secp256k1'), offCurve, Buffer.from('none')])
      expect(await refusal(derive(wrong))).toMatchObject({ name: 'ValidationException' })
    const signing = await newKey(kms, { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })
    expect(await refusal(derive(point('prime256v1'), signing.KeyId))).toMatchObject({
      name: 'InvalidKeyUsageException',
    })
    expect(await refusal(kms.sign({ KeyId, Message: Plaintext, SigningAlgorithm: 'ECDSA_SHA_256' }))).toMatchObject({
      name: 'InvalidKeyUsageException',
    })
    expect(await refusal(newKey(kms, { KeySpec: 'ECC_SECG_P256K1', KeyUsage: 'KEY_AGREEMENT' }))).toMatchObject({
      name: 'ValidationException',
    })
    const GranteePrincipal = 'arn:aws:iam::111122223333:root'
    await kms.createGrant({ KeyId, GranteePrincipal, Operations: ['DeriveSharedSecret', 'GetPublicKey'] })
    expect(await refusal(kms.createGrant({ KeyId, GranteePrincipal, Operations: ['Sign'] }))).toMatchObject({
      name: 'ValidationException',
    })
  })
})

describe('imported key material', () => {
  const material = randomBytes(32)

  async function wrapped(
    kms: KMS,
    KeyId: string,
    bytes: Buffer,
    WrappingAlgorithm: 'RSAES_OAEP_SHA_256' | 'RSA_AES_KEY_WRAP_SHA_256',
  ) {
    const answer = await kms.getParametersForImport({ KeyId, WrappingAlgorithm, WrappingKeySpec: 'RSA_2048' })
    const key = createPublicKey({ key: Buffer.from(answer.PublicKey ?? []), format: 'der', type: 'spki' })
    const wrap = (secret: Buffer) =>
      publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, secret)
    const ImportToken = answer.ImportToken
    if (WrappingAlgorithm === 'RSAES_OAEP_SHA_256') return { ImportToken, EncryptedKeyMaterial: wrap(bytes) }
    const aesKey = randomBytes(32)
    const cipher = createCipheriv('id-aes256-wrap-pad', aesKey, Buffer.from('a65959a6', 'hex'))
    const inner = Buffer.concat([cipher.update(bytes), cipher.final()])
    return { ImportToken, EncryptedKeyMaterial: Buffer.concat([wrap(aesKey), inner]) }
  }

  it.each(['RSAES_OAEP_SHA_256', 'RSA_AES_KEY_WRAP_SHA_256'] as const)(
    'by %s may go and come back, and no other',
    async (algorithm) => {
      const kms = await newClient()
      const { KeyId, Arn } = await newKey(kms, { Origin: 'EXTERNAL' })
      expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject({ message: `${Arn} is pending import.` })
      const ExpirationModel = 'KEY_MATERIAL_DOES_NOT_EXPIRE'
      await kms.importKeyMaterial({ KeyId, ExpirationModel, ...(await wrapped(kms, KeyId, material, algorithm)) })
      const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext })
      await kms.deleteImportedKeyMaterial({ KeyId })
      expect(await refusal(kms.decrypt({ CiphertextBlob }))).toMatchObject({ name: 'KMSInvalidStateException' })
      const other = await wrapped(kms, KeyId, randomBytes(32), algorithm)
      expect(await refusal(kms.importKeyMaterial({ KeyId, ExpirationModel, ...other }))).toMatchObject({
        name: 'IncorrectKeyMaterialException',
      })
      const ValidTo = new Date(testbed.clock.now().getTime() + DAY_MS)
      await kms.importKeyMaterial({ KeyId, ValidTo, ...(await wrapped(kms, KeyId, material, algorithm)) })
      expect(Buffer.from((await kms.decrypt({ CiphertextBlob })).Plaintext ?? [])).toEqual(Plaintext)
      await pass(DAY_MS + 2000)
      expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('PendingImport')
    },
  )

  it('is one, and a request for another one, or for one that is not there, is not taken for it', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms, { Origin: 'EXTERNAL' })
    const put = async (more: Partial<ImportKeyMaterialCommandInput>) =>
      kms.importKeyMaterial({
        KeyId,
        ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE',
        ...(await wrapped(kms, KeyId, material, 'RSAES_OAEP_SHA_256')),
        ...more,
      })
    expect(await refusal(put({ ImportType: 'EXISTING_KEY_MATERIAL' }))).toMatchObject({
      name: 'IncorrectKeyMaterialException',
    })
    const { KeyMaterialId } = await put({ ImportType: 'NEW_KEY_MATERIAL' })
    await put({ ImportType: 'EXISTING_KEY_MATERIAL', KeyMaterialId })
    const unsupported = { name: 'UnsupportedOperationException' }
    expect(await refusal(put({ ImportType: 'NEW_KEY_MATERIAL' }))).toMatchObject(unsupported)
    expect(await refusal(put({ KeyMaterialDescription: 'of the vault' }))).toMatchObject(unsupported)
    const other = { KeyMaterialId: '0'.repeat(64) }
    expect(await refusal(put(other))).toMatchObject({ name: 'NotFoundException' })
    expect(await refusal(kms.deleteImportedKeyMaterial({ KeyId, ...other }))).toMatchObject({
      name: 'NotFoundException',
    })
    await kms.deleteImportedKeyMaterial({ KeyId, KeyMaterialId })
  })

  it('needs the token that was made for its key', async () => {
    const kms = await newClient()
    const [one, two] = [await newKey(kms, { Origin: 'EXTERNAL' }), await newKey(kms, { Origin: 'EXTERNAL' })]
    const parts = await wrapped(kms, one.KeyId, material, 'RSAES_OAEP_SHA_256')
    const ExpirationModel = 'KEY_MATERIAL_DOES_NOT_EXPIRE'
    expect(await refusal(kms.importKeyMaterial({ KeyId: two.KeyId, ExpirationModel, ...parts }))).toMatchObject({
      name: 'InvalidImportTokenException',
    })
  })
})
