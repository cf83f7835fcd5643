import * as iam from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const Plaintext = Buffer.from('attack at dawn')
const DENIED = { name: 'AccessDeniedException' }
const allow = (Action: string | string[], Resource = '*', Condition?: object) => ({
  Effect: 'Allow',
  Action,
  Resource,
  Condition,
})
const deny = (Action: string) => ({ Effect: 'Deny', Action, Resource: '*' })
const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })

async function newUser(account: TestAccount, UserName: string, ...statements: object[]) {
  const admin = new iam.IAM(account.config)
  await admin.createUser({ UserName })
  if (statements.length > 0)
    await admin.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument: policy(...statements) })
  const { AccessKey } = await admin.createAccessKey({ UserName })
  const credentials = {
    accessKeyId: AccessKey?.AccessKeyId ?? '',
    secretAccessKey: AccessKey?.SecretAccessKey ?? '',
  }
  const config = { ...account.config, credentials }
  return { arn: `arn:aws:iam::${account.account}:user/${UserName}`, kms: new KMS(config), ssm: new SSM(config) }
}

async function removeUser(account: TestAccount, UserName: string) {
  const admin = new iam.IAM(account.config)
  for (const { AccessKeyId } of (await admin.listAccessKeys({ UserName })).AccessKeyMetadata ?? [])
    await admin.deleteAccessKey({ UserName, AccessKeyId })
  for (const PolicyName of (await admin.listUserPolicies({ UserName })).PolicyNames ?? [])
    await admin.deleteUserPolicy({ UserName, PolicyName })
  await admin.deleteUser({ UserName })
}

async function newKey(kms: KMS, Policy?: string) {
  const { KeyMetadata } = await kms.createKey({ Policy })
  return { KeyId: KeyMetadata?.KeyId ?? '', Arn: KeyMetadata?.Arn ?? '' }
}

const everything = (account: string, ...statements: object[]) =>
  policy({ Effect: 'Allow', Principal: { AWS: account }, Action: 'kms:*', Resource: '*' }, ...statements)

describe('the policy of a key', () => {
  it('by default leaves the decision to the policies of its account', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId, Arn } = await newKey(root)
    const mayEncrypt = await newUser(account, 'one', allow('kms:Encrypt', Arn))
    const mayNothing = await newUser(account, 'two')
    const { CiphertextBlob } = await mayEncrypt.kms.encrypt({ KeyId, Plaintext })
    expect(await refusal(mayEncrypt.kms.decrypt({ CiphertextBlob }))).toEqual({
      ...DENIED,
      message: expect.stringContaining(
        `${mayEncrypt.arn} is not authorized to perform: kms:Decrypt on resource: ${Arn}`,
      ),
    })
    expect(await refusal(mayNothing.kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
    expect((await root.getKeyPolicy({ KeyId })).Policy).toContain('Enable IAM User Permissions')
  })

  it('that does not let the account in makes identity policies count for nothing', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const keeper = await newUser(account, 'keeper', allow('kms:CreateKey'))
    const other = await newUser(account, 'other', allow('kms:*'))
    const { KeyId } = await newKey(keeper.kms, everything(keeper.arn))
    await keeper.kms.encrypt({ KeyId, Plaintext })
    for (const kms of [other.kms, root]) expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
  })

  it('that would lock its writer out, or cannot be read, is refused', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId } = await newKey(root)
    const locked = policy({ Effect: 'Allow', Principal: { AWS: '*' }, Action: 'kms:Encrypt', Resource: '*' })
    expect(await refusal(root.putKeyPolicy({ KeyId, Policy: locked }))).toEqual({
      name: 'MalformedPolicyDocumentException',
      message: 'The new key policy will not allow you to update the key policy in the future.',
    })
    expect(await refusal(root.putKeyPolicy({ KeyId, Policy: '{' }))).toMatchObject({
      name: 'MalformedPolicyDocumentException',
    })
    const Policy = everything(account.account)
    await root.putKeyPolicy({ KeyId, Policy })
    expect((await root.getKeyPolicy({ KeyId })).Policy).toBe(Policy)
  })

  it('means a user for himself: nobody who is made anew under his name, and him under a new one', async () => {
    const [owner, guest] = [await testbed.account(), await testbed.account()]
    const admin = new iam.IAM(owner.config)
    const root = new KMS(owner.config)
    const ada = await newUser(owner, 'ada')
    const bob = await newUser(owner, 'bob', allow('kms:Encrypt'))
    const far = await newUser(guest, 'far', allow('kms:Encrypt'))
    const lets = { Effect: 'Allow', Principal: { AWS: [ada.arn, far.arn] }, Action: 'kms:Encrypt', Resource: '*' }
    const spares = { ...deny('kms:Encrypt'), NotPrincipal: { AWS: [ada.arn, bob.arn, far.arn] } }
    const Policy = everything(owner.account, lets, spares)
    const { KeyId, Arn } = await newKey(root, Policy)
    for (const { kms } of [ada, bob, far]) await kms.encrypt({ KeyId: Arn, Plaintext })
    await admin.updateUser({ UserName: 'ada', NewUserName: 'augusta' })
    await ada.kms.encrypt({ KeyId, Plaintext })
    const again = await newUser(owner, 'ada')
    await removeUser(owner, 'bob')
    await removeUser(guest, 'far')
    const others = [again, await newUser(owner, 'bob', allow('kms:*')), await newUser(guest, 'far', allow('kms:*'))]
    for (const { kms } of others) expect(await refusal(kms.encrypt({ KeyId: Arn, Plaintext }))).toMatchObject(DENIED)
    expect((await root.getKeyPolicy({ KeyId })).Policy).toBe(Policy)
    await root.putKeyPolicy({ KeyId, Policy })
    for (const { kms } of others) await kms.encrypt({ KeyId: Arn, Plaintext })
    expect(await refusal(ada.kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
  })

  it('names users and roles that there are', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId } = await newKey(root)
    const INVALID = {
      name: 'MalformedPolicyDocumentException',
      message: 'Policy contains a statement with one or more invalid principals.',
    }
    for (const name of ['user/nobody', 'role/nobody', 'role/a/path/nobody']) {
      const AWS = `arn:aws:iam::${account.account}:${name}`
      const Policy = everything(account.account, { ...deny('kms:Encrypt'), Principal: { AWS } })
      expect(await refusal(root.putKeyPolicy({ KeyId, Policy }))).toEqual(INVALID)
      expect(await refusal(root.createKey({ Policy, BypassPolicyLockoutSafetyCheck: true }))).toEqual(INVALID)
    }
  })

  it('may ask for an encryption context', async () => {
    const account = await testbed.account()
    const { KeyId } = await newKey(new KMS(account.config))
    const condition = { StringEquals: { 'kms:EncryptionContext:app': 'billing' } }
    const { kms } = await newUser(account, 'u', allow('kms:Encrypt', '*', condition))
    await kms.encrypt({ KeyId, Plaintext, EncryptionContext: { app: 'billing' } })
    expect(await refusal(kms.encrypt({ KeyId, Plaintext, EncryptionContext: { app: 'x' } }))).toMatchObject(DENIED)
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
  })

  it('opens a key to another account, whose own policies must allow it too', async () => {
    const [owner, guest] = [await testbed.account(), await testbed.account()]
    const root = new KMS(owner.config)
    const { KeyId, Arn } = await newKey(root)
    const may = await newUser(guest, 'may', allow('kms:*', Arn))
    const mayNot = await newUser(guest, 'maynot')
    expect(await refusal(may.kms.encrypt({ KeyId: Arn, Plaintext }))).toMatchObject(DENIED)
    const shared = {
      Effect: 'Allow',
      Principal: { AWS: `arn:aws:iam::${guest.account}:root` },
      Action: ['kms:Encrypt', 'kms:Decrypt'],
      Resource: '*',
    }
    await root.putKeyPolicy({ KeyId, Policy: everything(owner.account, shared) })
    const { CiphertextBlob } = await may.kms.encrypt({ KeyId: Arn, Plaintext })
    expect((await may.kms.decrypt({ CiphertextBlob })).KeyId).toBe(Arn)
    expect(await refusal(mayNot.kms.encrypt({ KeyId: Arn, Plaintext }))).toMatchObject(DENIED)
    expect(await refusal(may.kms.disableKey({ KeyId: Arn }))).toMatchObject(DENIED)
  })
})

describe('a grant', () => {
  it('means a user for himself: nobody who is made anew under his name, and him under a new one', async () => {
    const account = await testbed.account()
    const admin = new iam.IAM(account.config)
    const root = new KMS(account.config)
    const { KeyId, Arn } = await newKey(root)
    const [ada, bob, carl] = [
      await newUser(account, 'ada'),
      await newUser(account, 'bob'),
      await newUser(account, 'carl'),
    ]
    const grants = []
    for (const { arn: GranteePrincipal } of [ada, bob])
      grants.push(
        await root.createGrant({ KeyId, GranteePrincipal, RetiringPrincipal: carl.arn, Operations: ['Encrypt'] }),
      )
    for (const { kms } of [ada, bob]) await kms.encrypt({ KeyId, Plaintext })
    await admin.updateUser({ UserName: 'ada', NewUserName: 'augusta' })
    await ada.kms.encrypt({ KeyId, Plaintext })
    for (const UserName of ['bob', 'carl']) await removeUser(account, UserName)
    for (const UserName of ['ada', 'bob']) {
      const { kms } = await newUser(account, UserName)
      expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
    }
    const other = await newUser(account, 'carl')
    const { GrantId } = grants[0]!
    expect(await refusal(other.kms.retireGrant({ KeyId: Arn, GrantId }))).toMatchObject(DENIED)
    expect((await root.listGrants({ KeyId })).Grants?.map(({ GranteePrincipal }) => GranteePrincipal).sort()).toEqual(
      [ada.arn, bob.arn].sort(),
    )
  })

  it('is to and by users and roles that there are', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId } = await newKey(root)
    const ada = await newUser(account, 'ada')
    const nobody = `arn:aws:iam::${account.account}:role/nobody`
    for (const [GranteePrincipal, RetiringPrincipal] of [
      [nobody, ada.arn],
      [ada.arn, nobody],
    ]) {
      const asked = root.createGrant({ KeyId, GranteePrincipal, RetiringPrincipal, Operations: ['Encrypt'] })
      expect(await refusal(asked)).toEqual({
        name: 'InvalidArnException',
        message: `ARN does not refer to a valid principal: ${nobody}`,
      })
    }
  })

  it('lets its grantee do what it names, under its constraints, until it is revoked', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId } = await newKey(root)
    const { kms, arn } = await newUser(account, 'u')
    const Constraints = { EncryptionContextSubset: { app: 'a' } }
    const Operations: ('Encrypt' | 'Decrypt')[] = ['Encrypt', 'Decrypt']
    const { GrantId, GrantToken } = await root.createGrant({
      KeyId,
      GranteePrincipal: arn,
      Operations,
      Constraints,
      Name: 'n',
    })
    const again = await root.createGrant({ KeyId, GranteePrincipal: arn, Operations, Constraints, Name: 'n' })
    expect(again.GrantId).toBe(GrantId)
    const use = { KeyId, Plaintext, EncryptionContext: { app: 'a', stage: 'b' } }
    await kms.encrypt({ ...use, GrantTokens: [GrantToken ?? ''] })
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
    const dataKey = { KeyId, EncryptionContext: use.EncryptionContext, KeySpec: 'AES_256' } as const
    expect(await refusal(kms.generateDataKey(dataKey))).toMatchObject(DENIED)
    expect(await refusal(kms.encrypt({ ...use, GrantTokens: ['bm90aGluZw=='] }))).toMatchObject({
      name: 'InvalidGrantTokenException',
    })
    expect((await root.listGrants({ KeyId })).Grants).toMatchObject([
      { GrantId, GranteePrincipal: arn, Operations, Constraints, Name: 'n' },
    ])
    await root.revokeGrant({ KeyId, GrantId })
    expect(await refusal(kms.encrypt(use))).toMatchObject(DENIED)
  })

  it('is retired by whom it says, and by nobody else', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId } = await newKey(root)
    const [grantee, retiring] = [await newUser(account, 'g'), await newUser(account, 'r')]
    const { GrantToken, GrantId } = await root.createGrant({
      KeyId,
      GranteePrincipal: grantee.arn,
      RetiringPrincipal: retiring.arn,
      Operations: ['Decrypt'],
    })
    expect((await root.listRetirableGrants({ RetiringPrincipal: retiring.arn })).Grants).toMatchObject([{ GrantId }])
    expect(await refusal(grantee.kms.retireGrant({ GrantToken }))).toMatchObject(DENIED)
    await retiring.kms.retireGrant({ GrantToken })
    expect((await root.listGrants({ KeyId })).Grants).toEqual([])
  })

  it('hands on no more than it gives', async () => {
    const account = await testbed.account()
    const { KeyId } = await newKey(new KMS(account.config))
    const [one, two] = [await newUser(account, 'one'), await newUser(account, 'two')]
    const root = new KMS(account.config)
    await root.createGrant({ KeyId, GranteePrincipal: one.arn, Operations: ['Encrypt', 'CreateGrant'] })
    const grant = { KeyId, GranteePrincipal: two.arn }
    expect(await refusal(one.kms.createGrant({ ...grant, Operations: ['Decrypt'] }))).toMatchObject(DENIED)
    await one.kms.createGrant({ ...grant, Operations: ['Encrypt'] })
    await two.kms.encrypt({ KeyId, Plaintext })
  })

  it('does not outweigh an explicit deny', async () => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId } = await newKey(root)
    const { kms, arn } = await newUser(account, 'u', deny('kms:Encrypt'))
    await root.createGrant({ KeyId, GranteePrincipal: arn, Operations: ['Encrypt'] })
    expect(await refusal(kms.encrypt({ KeyId, Plaintext }))).toMatchObject(DENIED)
  })
})

describe('a SecureString', () => {
  const ssmUser = allow('ssm:*')
  const WithDecryption = true

  it.each(['Standard', 'Advanced'] as const)('of the %s tier needs its key as well as the parameter', async (Tier) => {
    const account = await testbed.account()
    const root = new KMS(account.config)
    const { KeyId, Arn } = await newKey(root)
    const writes = await newUser(account, 'w', ssmUser, allow(['kms:Encrypt', 'kms:GenerateDataKey'], Arn))
    const reads = await newUser(account, 'r', ssmUser, allow('kms:Decrypt', Arn))
    const put = { Name: '/s', Value: 'v', Type: 'SecureString', KeyId, Tier } as const
    expect(await refusal(reads.ssm.putParameter(put))).toMatchObject({ name: 'InvalidKeyId' })
    await writes.ssm.putParameter(put)
    expect((await reads.ssm.getParameter({ Name: '/s', WithDecryption })).Parameter?.Value).toBe('v')
    expect(await refusal(writes.ssm.getParameter({ Name: '/s', WithDecryption }))).toEqual({
      name: 'InvalidKeyId',
      message: expect.stringContaining('is not authorized to perform: kms:Decrypt'),
    })
    await root.disableKey({ KeyId })
    expect(await refusal(reads.ssm.getParameter({ Name: '/s', WithDecryption }))).toEqual({
      name: 'InvalidKeyId',
      message: expect.stringContaining(
        `${Arn} is disabled. (Service: AWSKMS; Status Code: 400; Error Code: DisabledException`,
      ),
    })
    await root.enableKey({ KeyId })
    await root.rotateKeyOnDemand({ KeyId })
    expect((await reads.ssm.getParameter({ Name: '/s', WithDecryption })).Parameter?.Value).toBe('v')
  })

  it('under the default key is open to everybody in the account who may read the parameter', async () => {
    const account = await testbed.account()
    const { ssm } = await newUser(account, 'u', ssmUser)
    const denied = await newUser(account, 'd', ssmUser, deny('kms:Decrypt'))
    for (const Tier of ['Standard', 'Advanced'] as const) {
      await ssm.putParameter({ Name: `/${Tier}`, Value: 'v', Type: 'SecureString', Tier })
      expect((await ssm.getParameter({ Name: `/${Tier}`, WithDecryption })).Parameter?.Value).toBe('v')
      expect(await refusal(denied.ssm.getParameter({ Name: `/${Tier}`, WithDecryption }))).toMatchObject({
        name: 'InvalidKeyId',
      })
    }
  })

  it.each(['Standard', 'Advanced'] as const)(
    'of the %s tier may lie under a key of another account, as long as that lets it',
    async (Tier) => {
      const [owner, guest] = [await testbed.account(), await testbed.account()]
      const root = new KMS(owner.config)
      const use = { Effect: 'Allow', Action: ['kms:Encrypt', 'kms:Decrypt', 'kms:GenerateDataKey'], Resource: '*' }
      const shared = everything(owner.account, { ...use, Principal: { AWS: guest.account } })
      const { KeyId, Arn } = await newKey(root, shared)
      const { ssm } = await newUser(guest, 'u', ssmUser, allow('kms:*'))
      const stranger = await newUser(guest, 's', ssmUser)
      await ssm.putParameter({ Name: '/s', Value: 'v', Type: 'SecureString', KeyId: Arn, Tier })
      const read = { Name: '/s', WithDecryption }
      expect((await ssm.getParameter(read)).Parameter?.Value).toBe('v')
      expect(await refusal(stranger.ssm.getParameter(read))).toMatchObject({
        name: 'InvalidKeyId',
        message: expect.stringContaining('is not authorized to perform: kms:Decrypt'),
      })
      await root.putKeyPolicy({ KeyId, Policy: everything(owner.account) })
      expect(await refusal(ssm.getParameter(read))).toMatchObject({ name: 'InvalidKeyId' })
      expect(
        await refusal(ssm.putParameter({ Name: '/t', Value: 'v', Type: 'SecureString', KeyId: Arn })),
      ).toMatchObject({
        name: 'InvalidKeyId',
      })
    },
  )

  it('of the advanced tier opens for no other parameter, and not with a bit changed', async () => {
    const account = await testbed.account()
    const ssm = new SSM(account.config)
    for (const Name of ['/a', '/b'])
      await ssm.putParameter({ Name, Value: Name, Type: 'SecureString', Tier: 'Advanced' })
    const { sql } = testbed.server.ground
    await sql`update parameters set value = (select value from parameters where account = ${account.account} and name = '/a')
      where account = ${account.account} and name = '/b'`
    expect(await refusal(ssm.getParameter({ Name: '/b', WithDecryption }))).toMatchObject({ name: 'InvalidKeyId' })
  })
})
