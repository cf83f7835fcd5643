/** KMS as somebody sees it who wants more than is allowed: forged ciphertext, foreign keys, states, grants, tokens. */
import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto'
import * as iam from '@aws-sdk/client-iam'
import { type CreateKeyCommandInput, KMS } from '@aws-sdk/client-kms'
import { SSM } from '@aws-sdk/client-ssm'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const DAY_MS = 86_400_000
const Plaintext = Buffer.from('attack at dawn')
const DENIED = { name: 'AccessDeniedException' }
const INVALID = { name: 'InvalidCiphertextException' }

/** Signs with the clock of the control plane, however far it was moved. */
function clientOf(account: TestAccount, change: object = {}): KMS {
  const kms = new KMS({ ...account.config, ...change })
  const get = () => testbed.clock.now().getTime() - Date.now()
  Object.defineProperty(kms.config, 'systemClockOffset', { get, set() {} })
  return kms
}
const newClient = async () => clientOf(await testbed.account())

async function newKey(kms: KMS, wanted: CreateKeyCommandInput = {}) {
  const { KeyMetadata } = await kms.createKey(wanted)
  return { KeyId: KeyMetadata?.KeyId ?? '', Arn: KeyMetadata?.Arn ?? '' }
}

const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })

async function newUser(account: TestAccount, UserName: string, ...Statement: object[]) {
  const admin = new iam.IAM(account.config)
  await admin.createUser({ UserName })
  if (Statement.length > 0)
    await admin.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument: policy(...Statement) })
  const { AccessKey } = await admin.createAccessKey({ UserName })
  const credentials = { accessKeyId: AccessKey?.AccessKeyId ?? '', secretAccessKey: AccessKey?.SecretAccessKey ?? '' }
  return { arn: `arn:aws:iam::${account.account}:user/${UserName}`, kms: clientOf(account, { credentials }) }
}
const everything = { Effect: 'Allow', Action: 'kms:*', Resource: '*' }

describe('a ciphertext', () => {
  it('in which any bit is flipped, or that is cut, opens nothing', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    const made = await kms.encrypt({ KeyId, Plaintext: Buffer.from('x') })
    const blob = Buffer.from(made.CiphertextBlob ?? [])
    const names = new Map<string, number>()
    const attempt = async (CiphertextBlob: Buffer) => {
      const { name } = await refusal(kms.decrypt({ CiphertextBlob }))
      names.set(name, (names.get(name) ?? 0) + 1)
      expect(await refusal(kms.decrypt({ CiphertextBlob, KeyId }))).toMatchObject({
        name: expect.stringMatching(/^(InvalidCiphertext|IncorrectKey)Exception$/),
      })
      return name
    }
    for (let byte = 0; byte < blob.length; byte++) {
      const flipped = Buffer.from(blob)
      flipped[byte]! ^= 1 << (byte % 8)
      // Which key made it is the one thing that is read before anything is proved: another one is none of the caller's.
      const namesAnotherKey = byte >= 1 && byte <= 16
      expect(await attempt(flipped), `byte ${byte}`).toBe(namesAnotherKey ? DENIED.name : INVALID.name)
    }
    const highVersion = Buffer.from(blob)
    highVersion[17]! ^= 0x80
    expect(await attempt(highVersion)).toBe(INVALID.name)
    for (const length of [1, 20, 21, 53, blob.length - 1]) {
      const cut = await attempt(blob.subarray(0, length))
      expect(cut, `${length} bytes`).toBe(INVALID.name)
    }
    expect(await attempt(Buffer.concat([blob, Buffer.of(0)]))).toBe(INVALID.name)
    expect(names.get('AccessDeniedException')).toBe(16)
  })

  it('is bound to its context to the letter', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms)
    const pairs: [Record<string, string>, Record<string, string>][] = [
      [{ a: 'b' }, { A: 'b' }],
      [{ a: '\ud800' }, { a: '\ufffd' }],
      [{ a: '\ud800' }, { a: '\udfff' }],
      [{ a: '\u00e9' }, { a: 'e\u0301' }],
      [{ a: 'b' }, { a: 'b', '': '' }],
    ]
    for (const [EncryptionContext, other] of pairs) {
      const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext, EncryptionContext })
      await kms.decrypt({ CiphertextBlob, EncryptionContext })
      expect(await refusal(kms.decrypt({ CiphertextBlob, EncryptionContext: other }))).toMatchObject(INVALID)
    }
  })

  it('of another account tells no more than one whose key does not exist', async () => {
    const [owner, thief] = [await newClient(), await newClient()]
    const { KeyId, Arn } = await newKey(owner)
    const { CiphertextBlob } = await owner.encrypt({ KeyId, Plaintext })
    const unknown = Buffer.from(CiphertextBlob ?? [])
    unknown[5]! ^= 1
    const told = await refusal(thief.decrypt({ CiphertextBlob }))
    expect(told).toEqual(await refusal(thief.decrypt({ CiphertextBlob: unknown })))
    expect(told).toMatchObject(DENIED)
    const nowhere = Arn.replace(/.{12}$/, '000000000000')
    const messageFor = async (arn: string) =>
      (await refusal(thief.encrypt({ KeyId: arn, Plaintext }))).message.replaceAll(arn, '')
    expect(await messageFor(Arn)).toBe(await messageFor(nowhere))
    expect(await refusal(thief.listAliases({ KeyId: Arn }))).toMatchObject(DENIED)
    expect(await refusal(thief.listAliases({ KeyId: nowhere }))).toMatchObject(DENIED)
  })

  it('moves to another key with the permission on both keys alone', async () => {
    const account = await testbed.account()
    const root = clientOf(account)
    const [from, to] = [await newKey(root), await newKey(root)]
    const { CiphertextBlob } = await root.encrypt({ KeyId: from.KeyId, Plaintext })
    const allow = (Action: string, Resource: string) => ({ Effect: 'Allow', Action, Resource })
    const half = await newUser(account, 'half', allow('kms:ReEncryptFrom', from.Arn))
    const other = await newUser(account, 'other', allow('kms:ReEncryptTo', to.Arn))
    const both = await newUser(account, 'both', allow('kms:ReEncryptFrom', from.Arn), allow('kms:ReEncryptTo', to.Arn))
    const move = { CiphertextBlob, DestinationKeyId: to.KeyId }
    expect(await refusal(half.kms.reEncrypt(move))).toMatchObject(DENIED)
    expect(await refusal(other.kms.reEncrypt(move))).toMatchObject(DENIED)
    expect(await refusal(both.kms.decrypt({ CiphertextBlob }))).toMatchObject(DENIED)
    expect((await both.kms.reEncrypt(move)).KeyId).toBe(to.Arn)
    expect(await refusal(both.kms.reEncrypt({ CiphertextBlob, DestinationKeyId: from.KeyId }))).toMatchObject(DENIED)
    expect(await refusal(root.reEncrypt({ ...move, SourceKeyId: to.KeyId }))).toMatchObject({
      name: 'IncorrectKeyException',
    })
    const SourceEncryptionAlgorithm = 'RSAES_OAEP_SHA_256'
    expect(await refusal(root.reEncrypt({ ...move, SourceEncryptionAlgorithm }))).toMatchObject({
      name: 'ValidationException',
    })
  })
})

describe('a key that is shared with another account', () => {
  it('is used from there, and managed from nowhere but home', async () => {
    const [owner, guest] = [await testbed.account(), await testbed.account()]
    const root = clientOf(owner)
    const { KeyId, Arn } = await newKey(root)
    const own = { ...everything, Principal: { AWS: owner.account } }
    const shared = { ...everything, Principal: { AWS: guest.account } }
    await root.putKeyPolicy({ KeyId, Policy: policy(own, shared) })
    const { kms, arn } = await newUser(guest, 'guest', everything)
    const { CiphertextBlob } = await kms.encrypt({ KeyId: Arn, Plaintext })
    await kms.decrypt({ CiphertextBlob })
    await kms.createGrant({ KeyId: Arn, GranteePrincipal: arn, Operations: ['Decrypt'] })
    expect((await kms.listGrants({ KeyId: Arn })).Grants).toHaveLength(1)
    expect((await kms.describeKey({ KeyId: Arn })).KeyMetadata?.AWSAccountId).toBe(owner.account)
    await root.createAlias({ AliasName: 'alias/mine', TargetKeyId: KeyId })
    const mine = await newKey(clientOf(guest))
    await kms.createAlias({ AliasName: 'alias/theirs', TargetKeyId: mine.KeyId })
    const refused = {
      disable: kms.disableKey({ KeyId: Arn }),
      delete: kms.scheduleKeyDeletion({ KeyId: Arn }),
      rewrite: kms.putKeyPolicy({ KeyId: Arn, Policy: policy(shared) }),
      read: kms.getKeyPolicy({ KeyId: Arn }),
      tag: kms.tagResource({ KeyId: Arn, Tags: [{ TagKey: 'a', TagValue: 'b' }] }),
      rotate: kms.rotateKeyOnDemand({ KeyId: Arn }),
      name: kms.createAlias({ AliasName: 'alias/stolen', TargetKeyId: Arn }),
      move: kms.updateAlias({ AliasName: 'alias/theirs', TargetKeyId: Arn }),
    }
    for (const [what, call] of Object.entries(refused)) expect(await refusal(call), what).toMatchObject(DENIED)
    expect((await root.listAliases({})).Aliases?.map(({ AliasName }) => AliasName)).toEqual(['alias/mine'])
    expect((await root.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('Enabled')
  })
})

describe('a key that is not enabled', () => {
  type Attempt = (kms: KMS, KeyId: string, blob: Uint8Array) => Promise<unknown>
  const USES: Record<string, Attempt> = {
    Encrypt: (kms, KeyId) => kms.encrypt({ KeyId, Plaintext }),
    Decrypt: (kms, _, CiphertextBlob) => kms.decrypt({ CiphertextBlob }),
    ReEncrypt: (kms, KeyId, CiphertextBlob) => kms.reEncrypt({ CiphertextBlob, DestinationKeyId: KeyId }),
    GenerateDataKey: (kms, KeyId) => kms.generateDataKey({ KeyId, KeySpec: 'AES_256' }),
    GenerateDataKeyWithoutPlaintext: (kms, KeyId) => kms.generateDataKeyWithoutPlaintext({ KeyId, KeySpec: 'AES_256' }),
    GenerateDataKeyPair: (kms, KeyId) => kms.generateDataKeyPair({ KeyId, KeyPairSpec: 'ECC_NIST_P256' }),
    GenerateDataKeyPairWithoutPlaintext: (kms, KeyId) =>
      kms.generateDataKeyPairWithoutPlaintext({ KeyId, KeyPairSpec: 'ECC_NIST_P256' }),
    CreateGrant: (kms, KeyId) =>
      kms.createGrant({ KeyId, GranteePrincipal: 'arn:aws:iam::123456789012:root', Operations: ['Decrypt'] }),
    EnableKeyRotation: (kms, KeyId) => kms.enableKeyRotation({ KeyId }),
    RotateKeyOnDemand: (kms, KeyId) => kms.rotateKeyOnDemand({ KeyId }),
  }
  const CHANGES: Record<string, Attempt> = {
    ...USES,
    EnableKey: (kms, KeyId) => kms.enableKey({ KeyId }),
    DisableKey: (kms, KeyId) => kms.disableKey({ KeyId }),
    ScheduleKeyDeletion: (kms, KeyId) => kms.scheduleKeyDeletion({ KeyId }),
    UpdateKeyDescription: (kms, KeyId) => kms.updateKeyDescription({ KeyId, Description: 'd' }),
    CreateAlias: (kms, KeyId) => kms.createAlias({ AliasName: 'alias/x', TargetKeyId: KeyId }),
    TagResource: (kms, KeyId) => kms.tagResource({ KeyId, Tags: [{ TagKey: 'a', TagValue: 'b' }] }),
    UntagResource: (kms, KeyId) => kms.untagResource({ KeyId, TagKeys: ['a'] }),
  }
  async function keyAndBlob(kms: KMS) {
    const { KeyId } = await newKey(kms)
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext })
    return { KeyId, blob: CiphertextBlob ?? new Uint8Array() }
  }

  it('but disabled does nothing that uses it', async () => {
    const kms = await newClient()
    const { KeyId, blob } = await keyAndBlob(kms)
    await kms.disableKey({ KeyId })
    for (const [what, attempt] of Object.entries(USES))
      expect(await refusal(attempt(kms, KeyId, blob)), what).toMatchObject({ name: 'DisabledException' })
  })

  it('but about to be deleted neither serves nor changes, and can be looked at', async () => {
    const kms = await newClient()
    const { KeyId, blob } = await keyAndBlob(kms)
    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 })
    for (const [what, attempt] of Object.entries(CHANGES))
      expect(await refusal(attempt(kms, KeyId, blob)), what).toMatchObject({ name: 'KMSInvalidStateException' })
    expect((await kms.describeKey({ KeyId })).KeyMetadata).toMatchObject({
      KeyState: 'PendingDeletion',
      Enabled: false,
      DeletionDate: expect.any(Date),
    })
    await kms.listGrants({ KeyId })
    await kms.getKeyPolicy({ KeyId })
    await kms.listResourceTags({ KeyId })
    expect((await kms.getKeyRotationStatus({ KeyId })).KeyRotationEnabled).toBe(false)
  })

  it('stops at once on every process, and in what uses it for others', async () => {
    const account = await testbed.account()
    const kms = clientOf(account)
    await using second = await testbed.another()
    const there = clientOf(account, { endpoint: second.endpoint })
    const ssm = new SSM({ ...account.config, endpoint: second.endpoint })
    Object.defineProperty(ssm.config, 'systemClockOffset', {
      get: () => testbed.clock.now().getTime() - Date.now(),
      set() {},
    })
    const { KeyId, blob } = await keyAndBlob(kms)
    await ssm.putParameter({ Name: 's', Value: 'v', Type: 'SecureString', KeyId })
    await ssm.getParameter({ Name: 's', WithDecryption: true }) // the other process has the key in memory
    await kms.disableKey({ KeyId })
    expect(await refusal(there.decrypt({ CiphertextBlob: blob }))).toMatchObject({ name: 'DisabledException' })
    await eventually('the other process has heard of it', async () => {
      const answer = await ssm.getParameter({ Name: 's', WithDecryption: true }).catch((error: Error) => error)
      return answer instanceof Error && answer.message.includes('is disabled') ? true : undefined
    })
  })
})

describe('a grant', () => {
  it('names what its key can do, and constraints where there is a context', async () => {
    const kms = await newClient()
    const symmetric = await newKey(kms)
    const signing = await newKey(kms, { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })
    const GranteePrincipal = 'arn:aws:iam::123456789012:root'
    const bad: Parameters<KMS['createGrant']>[0][] = [
      { KeyId: symmetric.KeyId, GranteePrincipal, Operations: ['Sign'] },
      { KeyId: symmetric.KeyId, GranteePrincipal, Operations: ['Decrypt', 'GetPublicKey'] },
      { KeyId: signing.KeyId, GranteePrincipal, Operations: ['GenerateDataKey'] },
      {
        KeyId: signing.KeyId,
        GranteePrincipal,
        Operations: ['Sign'],
        Constraints: { EncryptionContextEquals: { a: 'b' } },
      },
    ]
    for (const grant of bad)
      expect(await refusal(kms.createGrant(grant))).toMatchObject({ name: 'ValidationException' })
    await kms.createGrant({ KeyId: signing.KeyId, GranteePrincipal, Operations: ['Sign', 'Verify', 'GetPublicKey'] })
    await kms.createGrant({
      KeyId: symmetric.KeyId,
      GranteePrincipal,
      Operations: ['GenerateDataKeyPair', 'DescribeKey', 'RetireGrant'],
    })
  })

  it('that asks for exactly one context holds under no wider one, and handed on keeps its constraints', async () => {
    const account = await testbed.account()
    const root = clientOf(account)
    const { KeyId } = await newKey(root)
    const [one, two] = [await newUser(account, 'one'), await newUser(account, 'two')]
    const Constraints = { EncryptionContextEquals: { a: 'b' } }
    await root.createGrant({
      KeyId,
      GranteePrincipal: one.arn,
      Operations: ['Encrypt', 'CreateGrant'],
      Constraints,
    })
    await one.kms.encrypt({ KeyId, Plaintext, EncryptionContext: { a: 'b' } })
    const others: Record<string, string>[] = [{ a: 'b', c: 'd' }, { a: 'B' }, { A: 'b' }, {}]
    for (const EncryptionContext of others)
      expect(await refusal(one.kms.encrypt({ KeyId, Plaintext, EncryptionContext }))).toMatchObject(DENIED)
    const handedOn = { KeyId, GranteePrincipal: two.arn, Operations: ['Encrypt' as const] }
    expect(await refusal(one.kms.createGrant(handedOn))).toMatchObject(DENIED)
    await one.kms.createGrant({ ...handedOn, Constraints })
    expect(await refusal(two.kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
    await two.kms.encrypt({ KeyId, Plaintext, EncryptionContext: { a: 'b' } })
  })

  it('has a token that is good for nothing but itself', async () => {
    const account = await testbed.account()
    const root = clientOf(account)
    const { KeyId } = await newKey(root)
    const { kms, arn } = await newUser(account, 'u')
    const { GrantToken = '' } = await root.createGrant({ KeyId, GranteePrincipal: arn, Operations: ['DescribeKey'] })
    await kms.describeKey({ KeyId, GrantTokens: [GrantToken] })
    expect(await refusal(kms.encrypt({ KeyId, Plaintext, GrantTokens: [GrantToken] }))).toMatchObject(DENIED)
    const thief = await newUser(account, 'thief')
    expect(await refusal(thief.kms.describeKey({ KeyId, GrantTokens: [GrantToken] }))).toMatchObject(DENIED)
    const changed = `${GrantToken.slice(0, -6)}${GrantToken.slice(-6).startsWith('A') ? 'B' : 'A'}${GrantToken.slice(-5)}`
    for (const [name, call] of [
      ['ValidationException', () => kms.describeKey({ KeyId, GrantTokens: [changed] })],
      ['InvalidGrantTokenException', () => kms.encrypt({ KeyId, Plaintext, GrantTokens: [changed] })],
    ] as const)
      expect(await refusal(call())).toMatchObject({ name })
    expect(await refusal(thief.kms.retireGrant({ GrantToken }))).toMatchObject(DENIED)
  })
})

describe('imported key material', () => {
  const ExpirationModel = 'KEY_MATERIAL_DOES_NOT_EXPIRE'
  async function parameters(kms: KMS, KeyId: string) {
    const answer = await kms.getParametersForImport({
      KeyId,
      WrappingAlgorithm: 'RSAES_OAEP_SHA_256',
      WrappingKeySpec: 'RSA_2048',
    })
    const key = createPublicKey({ key: Buffer.from(answer.PublicKey ?? []), format: 'der', type: 'spki' })
    return (bytes: Buffer) => ({
      ImportToken: answer.ImportToken,
      EncryptedKeyMaterial: publicEncrypt(
        { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
        bytes,
      ),
    })
  }

  it('is taken with a token of a day, of the key, and of the material that was there before', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms, { Origin: 'EXTERNAL' })
    const wrap = await parameters(kms, KeyId)
    const material = randomBytes(32)
    const parts = wrap(material)
    expect(await refusal(kms.importKeyMaterial({ KeyId, ExpirationModel, ...wrap(randomBytes(31)) }))).toMatchObject({
      name: 'IncorrectKeyMaterialException',
    })
    const broken = { ...parts, EncryptedKeyMaterial: randomBytes(256) }
    expect(await refusal(kms.importKeyMaterial({ KeyId, ExpirationModel, ...broken }))).toMatchObject(INVALID)
    const ValidTo = new Date(testbed.clock.now().getTime() + 366 * DAY_MS)
    expect(await refusal(kms.importKeyMaterial({ KeyId, ValidTo, ...parts }))).toMatchObject({
      name: 'ValidationException',
      message: 'ValidTo must be at most 365 days in the future.',
    })
    await kms.importKeyMaterial({ KeyId, ExpirationModel, ...parts })
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext })
    await kms.importKeyMaterial({ KeyId, ExpirationModel, ...parts }) // again: nothing changes
    await kms.decrypt({ CiphertextBlob })
    expect(await refusal(kms.importKeyMaterial({ KeyId, ExpirationModel, ...wrap(randomBytes(32)) }))).toMatchObject({
      name: 'IncorrectKeyMaterialException',
    })
    testbed.clock.advance(DAY_MS)
    expect(await refusal(kms.importKeyMaterial({ KeyId, ExpirationModel, ...parts }))).toMatchObject({
      name: 'ExpiredImportTokenException',
    })
  })

  it('serves nobody from the moment on at which it expires, whether anybody has cleaned up or not', async () => {
    const kms = await newClient()
    const { KeyId } = await newKey(kms, { Origin: 'EXTERNAL' })
    const parts = (await parameters(kms, KeyId))(randomBytes(32))
    const ValidTo = new Date(testbed.clock.now().getTime() + 60_000)
    await kms.importKeyMaterial({ KeyId, ValidTo, ...parts })
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext })
    testbed.clock.advance(60_000)
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toMatchObject({ name: 'KMSInvalidStateException' })
  })
})

describe('limits', () => {
  it('are those of KMS', async () => {
    const kms = await newClient()
    const { KeyId, Arn } = await newKey(kms)
    const invalid = { name: 'ValidationException' }
    await kms.encrypt({ KeyId, Plaintext: Buffer.alloc(4096) })
    expect(await refusal(kms.encrypt({ KeyId, Plaintext: Buffer.alloc(4097) }))).toMatchObject(invalid)
    expect(await refusal(kms.encrypt({ KeyId, Plaintext: Buffer.alloc(0) }))).toMatchObject(invalid)
    expect(await refusal(kms.generateRandom({ NumberOfBytes: 1025 }))).toMatchObject(invalid)
    expect(await refusal(kms.generateDataKey({ KeyId, NumberOfBytes: 1025 }))).toMatchObject(invalid)
    expect(await refusal(kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 89 }))).toMatchObject(invalid)
    expect(await refusal(kms.decrypt({ CiphertextBlob: Buffer.alloc(6145) }))).toMatchObject(invalid)
    const hmac = await newKey(kms, { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' })
    const use = { KeyId: hmac.KeyId, MacAlgorithm: 'HMAC_SHA_256' } as const
    expect(await refusal(kms.generateMac({ ...use, Message: Buffer.alloc(4097) }))).toMatchObject(invalid)
    expect(await refusal(kms.generateMac({ ...use, MacAlgorithm: 'HMAC_SHA_512', Message: Plaintext }))).toMatchObject({
      name: 'InvalidKeyUsageException',
    })
    const long = policy({ ...everything, Principal: { AWS: '*' }, Sid: 'x'.repeat(33_000) })
    expect(await refusal(kms.putKeyPolicy({ KeyId, Policy: long }))).toMatchObject({ name: 'LimitExceededException' })
    for (const KeyName of [Arn.replace('key/', ''), Arn.replace('us-east-1', 'eu-west-1'), `key/${KeyId}`])
      expect(await refusal(kms.encrypt({ KeyId: KeyName, Plaintext })), KeyName).toMatchObject({
        name: 'NotFoundException',
      })
    for (let round = 0; round < 25; round++) await kms.rotateKeyOnDemand({ KeyId })
    expect(await refusal(kms.rotateKeyOnDemand({ KeyId }))).toMatchObject({ name: 'LimitExceededException' })
  })
})
