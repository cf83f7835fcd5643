/** Temporary credentials: who they stand for, what they may, how long they last and what ends them. */
import { createHmac, randomBytes } from 'node:crypto'
import { IAM } from '@aws-sdk/client-iam'
import { SSM } from '@aws-sdk/client-ssm'
import { type Credentials, STS } from '@aws-sdk/client-sts'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const DENIED = { name: 'AccessDenied' }
const MINUTE = 60_000
const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const allow = (Action: string | string[], Resource = '*', Condition?: object) => ({
  ...{ Effect: 'Allow', Action, Resource, Condition },
})
const trust = (AWS: string, Action: string | string[] = ['sts:AssumeRole', 'sts:TagSession'], Condition?: object) =>
  policy({ Effect: 'Allow', Principal: { AWS }, Action, Condition })

interface Keys {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
}

const keysOf = (given: Credentials | undefined): Required<Keys> => ({
  accessKeyId: given?.AccessKeyId ?? '',
  secretAccessKey: given?.SecretAccessKey ?? '',
  sessionToken: given?.SessionToken ?? '',
})

/** Clients that sign by the clock of the testbed, which these tests move (the Date of answers is the wall's). */
function clientsOf(account: TestAccount, credentials: Keys, endpoint = account.config.endpoint) {
  const config = { ...account.config, endpoint, credentials }
  const clients = { sts: new STS(config), iam: new IAM(config), ssm: new SSM(config) }
  const get = () => testbed.clock.now().getTime() - Date.now()
  for (const client of Object.values(clients))
    Object.defineProperty(client.config, 'systemClockOffset', { get, set() {} })
  return clients
}

const rootOf = (account: TestAccount) => clientsOf(account, account.config.credentials)

async function userOf(account: TestAccount, UserName: string, ...statements: object[]) {
  const { iam } = rootOf(account)
  await iam.createUser({ UserName })
  if (statements.length > 0)
    await iam.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument: policy(...statements) })
  const { AccessKey } = await iam.createAccessKey({ UserName })
  const keys = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
  return { keys, ...clientsOf(account, keys) }
}

async function roleOf(
  account: TestAccount,
  RoleName: string,
  AssumeRolePolicyDocument: string,
  ...statements: object[]
) {
  const { iam } = rootOf(account)
  const { Role } = await iam.createRole({ RoleName, AssumeRolePolicyDocument, MaxSessionDuration: 7_200 })
  if (statements.length > 0)
    await iam.putRolePolicy({ RoleName, PolicyName: 'own', PolicyDocument: policy(...statements) })
  return { RoleArn: Role!.Arn!, RoleSessionName: 'session' }
}

const put = (account: TestAccount, Name: string) =>
  rootOf(account).ssm.putParameter({ Name, Value: 'v', Type: 'String' })

/** A second factor as an app on a telephone has it: RFC 6238 over the seed that IAM shows once. */
function authenticator(seed: Uint8Array) {
  const letters = Buffer.from(seed).toString()
  const bits = Array.from(letters, (letter) =>
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'),
  ).join('')
  const key = Buffer.from(bits.match(/.{8}/g)!.map((byte) => Number.parseInt(byte, 2)))
  return (shift = 0) => {
    const counter = Buffer.alloc(8)
    counter.writeBigUInt64BE(BigInt(Math.floor(testbed.clock.now().getTime() / 30_000) + shift))
    const mac = createHmac('sha1', key).update(counter).digest()
    const offset = mac.at(-1)! & 15
    return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0')
  }
}

/** A user with an enabled device; the clock has moved on, so that no code of the enabling is taken for a new one. */
async function withDevice(...statements: object[]) {
  const account = await testbed.account()
  const user = await userOf(account, 'ada', ...statements)
  const { iam } = rootOf(account)
  const { VirtualMFADevice } = await iam.createVirtualMFADevice({ VirtualMFADeviceName: 'phone' })
  const SerialNumber = VirtualMFADevice!.SerialNumber!
  const code = authenticator(VirtualMFADevice!.Base32StringSeed!)
  const codes = { AuthenticationCode1: code(-1), AuthenticationCode2: code() }
  await iam.enableMFADevice({ UserName: 'ada', SerialNumber, ...codes })
  testbed.clock.advance(MINUTE)
  return { account, SerialNumber, code, user, iam }
}

describe('GetCallerIdentity', () => {
  it('tells root, users and sessions who they are', async () => {
    const account = await testbed.account()
    const id = account.account
    expect(await rootOf(account).sts.getCallerIdentity({})).toMatchObject({
      ...{ Account: id, Arn: `arn:aws:iam::${id}:root`, UserId: id },
    })
    const user = await userOf(account, 'ada', allow('sts:AssumeRole'))
    const { Arn, UserId } = await user.sts.getCallerIdentity({})
    expect(Arn).toBe(`arn:aws:iam::${id}:user/ada`)
    expect(UserId).toMatch(/^AIDA/)
    const role = await roleOf(account, 'r', trust(id))
    const assumed = await user.sts.assumeRole(role)
    const session = clientsOf(account, keysOf(assumed.Credentials))
    expect(await session.sts.getCallerIdentity({})).toMatchObject({
      ...{ Account: id, Arn: `arn:aws:sts::${id}:assumed-role/r/session` },
      UserId: assumed.AssumedRoleUser?.AssumedRoleId,
    })
  })
})

describe('a second factor', () => {
  it('opens what a policy keeps for those who have proved it', async () => {
    const Condition = { Bool: { 'aws:MultiFactorAuthPresent': 'true' } }
    const { account, SerialNumber, code, user } = await withDevice(allow('ssm:GetParameter', '*', Condition))
    await put(account, '/a')
    expect(await refusal(user.ssm.getParameter({ Name: '/a' }))).toMatchObject({ name: 'AccessDeniedException' })
    const now = clientsOf(account, user.keys)
    const without = keysOf((await now.sts.getSessionToken({})).Credentials)
    expect(await refusal(clientsOf(account, without).ssm.getParameter({ Name: '/a' }))).toMatchObject({
      name: 'AccessDeniedException',
    })
    const proved = await now.sts.getSessionToken({ SerialNumber, TokenCode: code() })
    const session = clientsOf(account, keysOf(proved.Credentials))
    expect((await session.ssm.getParameter({ Name: '/a' })).Parameter?.Value).toBe('v')
  })

  it('is one user’s, of two who enable its device at once', async () => {
    const account = await testbed.account()
    const { iam } = rootOf(account)
    const users = ['ada', 'bob']
    for (const UserName of users) await iam.createUser({ UserName })
    const { VirtualMFADevice } = await iam.createVirtualMFADevice({ VirtualMFADeviceName: 'phone' })
    const SerialNumber = VirtualMFADevice!.SerialNumber!
    const code = authenticator(VirtualMFADevice!.Base32StringSeed!)
    const codes = { AuthenticationCode1: code(-1), AuthenticationCode2: code() }
    const enabled = await Promise.allSettled(
      users.map((UserName) => iam.enableMFADevice({ UserName, SerialNumber, ...codes })),
    )
    const [owner, ...others] = users.filter((_, at) => enabled[at]?.status === 'fulfilled')
    expect(others).toEqual([])
    const { VirtualMFADevices } = await iam.listVirtualMFADevices({})
    expect(VirtualMFADevices).toMatchObject([{ User: { UserName: owner } }])
  })

  it('grows old', async () => {
    const Condition = { NumericLessThan: { 'aws:MultiFactorAuthAge': '600' } }
    const { account, SerialNumber, code, user } = await withDevice(allow('ssm:GetParameter', '*', Condition))
    await put(account, '/a')
    const { Credentials } = await clientsOf(account, user.keys).sts.getSessionToken({ SerialNumber, TokenCode: code() })
    const get = () => clientsOf(account, keysOf(Credentials)).ssm.getParameter({ Name: '/a' })
    await get()
    testbed.clock.advance(9 * MINUTE)
    await get()
    testbed.clock.advance(2 * MINUTE)
    expect(await refusal(get())).toMatchObject({ name: 'AccessDeniedException' })
  })

  it('does not grow younger in the session of a role', async () => {
    const { account, SerialNumber, code, user } = await withDevice(allow('sts:AssumeRole'))
    const Condition = { NumericLessThan: { 'aws:MultiFactorAuthAge': '600' } }
    const role = await roleOf(account, 'r', trust(account.account), allow('ssm:DescribeParameters', '*', Condition))
    const { sts } = clientsOf(account, user.keys)
    const proved = clientsOf(
      account,
      keysOf((await sts.getSessionToken({ SerialNumber, TokenCode: code() })).Credentials),
    )
    const taken = async () => clientsOf(account, keysOf((await proved.sts.assumeRole(role)).Credentials))
    await (await taken()).ssm.describeParameters({})
    testbed.clock.advance(11 * MINUTE)
    const late = await taken()
    expect(await refusal(late.ssm.describeParameters({}))).toMatchObject({ name: 'AccessDeniedException' })
    const again = clientsOf(account, user.keys)
    const anew = await again.sts.assumeRole({ ...role, SerialNumber, TokenCode: code() })
    await clientsOf(account, keysOf(anew.Credentials)).ssm.describeParameters({})
  })

  it('takes each code once, of its own device, and near its time only', async () => {
    const { account, SerialNumber, code, user, iam } = await withDevice()
    const { sts } = clientsOf(account, user.keys)
    const ask = (TokenCode: string, serial = SerialNumber) => sts.getSessionToken({ SerialNumber: serial, TokenCode })
    const wrong = String((Number(code()) + 1) % 1_000_000).padStart(6, '0')
    const refused = {
      name: 'AccessDenied',
      message: 'MultiFactorAuthentication failed with invalid MFA one time pass code.',
    }
    expect(await refusal(ask(wrong))).toEqual(refused)
    expect(await refusal(ask(code(-3)))).toEqual(refused)
    expect(await refusal(ask(code(3)))).toEqual(refused)
    expect(await refusal(ask(code(), `${SerialNumber}x`))).toEqual(refused)
    await ask(code())
    expect(await refusal(ask(code()))).toEqual(refused)
    expect(await refusal(ask(code(-1)))).toEqual(refused) // older than the one that was taken
    testbed.clock.advance(MINUTE)
    const later = clientsOf(account, user.keys).sts
    const both = await Promise.allSettled([1, 2].map(() => later.getSessionToken({ SerialNumber, TokenCode: code() })))
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    // Somebody else's device proves nothing.
    const other = await userOf(account, 'other')
    testbed.clock.advance(MINUTE)
    const stranger = clientsOf(account, other.keys).sts
    expect(await refusal(stranger.getSessionToken({ SerialNumber, TokenCode: code() }))).toEqual(refused)
    await clientsOf(account, account.config.credentials).iam.deactivateMFADevice({ UserName: 'ada', SerialNumber })
    expect(
      await refusal(clientsOf(account, user.keys).sts.getSessionToken({ SerialNumber, TokenCode: code() })),
    ).toEqual(refused)
    iam.destroy()
  })

  it('cannot be guessed: after ten wrong codes none is looked at for a while, however many come at once', async () => {
    const { account, SerialNumber, code, user, iam } = await withDevice()
    const ask = (TokenCode: string) => clientsOf(account, user.keys).sts.getSessionToken({ SerialNumber, TokenCode })
    const wrong = () => String((Number(code()) + 1) % 1_000_000).padStart(6, '0')
    const invalid = 'MultiFactorAuthentication failed with invalid MFA one time pass code.'
    const told = await Promise.all(Array.from({ length: 25 }, () => refusal(ask(wrong()))))
    expect(told.filter(({ message }) => message === invalid)).toHaveLength(10)
    expect(await refusal(ask(code()))).toMatchObject({ ...DENIED, message: expect.stringContaining('too many wrong') })
    testbed.clock.advance(59 * MINUTE)
    expect(await refusal(ask(code()))).toMatchObject(DENIED)
    testbed.clock.advance(MINUTE + 1_000)
    for (let time = 0; time < 9; time++) expect(await refusal(ask(wrong()))).toMatchObject({ message: invalid })
    await ask(code())
    // A right one is a fresh start.
    testbed.clock.advance(MINUTE)
    for (let time = 0; time < 10; time++) expect(await refusal(ask(wrong()))).toMatchObject({ message: invalid })
    expect(await refusal(ask(code()))).toMatchObject(DENIED)
    iam.destroy()
  })

  it('may be wanted by the trust policy of a role', async () => {
    const { account, SerialNumber, code, user } = await withDevice(allow('sts:AssumeRole'))
    const Condition = { Bool: { 'aws:MultiFactorAuthPresent': 'true' } }
    const role = await roleOf(account, 'r', trust(account.account, 'sts:AssumeRole', Condition))
    const { sts } = clientsOf(account, user.keys)
    expect(await refusal(sts.assumeRole(role))).toMatchObject(DENIED)
    await sts.assumeRole({ ...role, SerialNumber, TokenCode: code() })
  })
})

describe('GetSessionToken', () => {
  it('gives what reaches IAM with a second factor only, cannot prolong itself and ends with its key', async () => {
    const { account, SerialNumber, code, user, iam } = await withDevice(allow('*'))
    const { sts } = clientsOf(account, user.keys)
    const plain = clientsOf(account, keysOf((await sts.getSessionToken({})).Credentials))
    const proved = clientsOf(
      account,
      keysOf((await sts.getSessionToken({ SerialNumber, TokenCode: code() })).Credentials),
    )
    expect(await refusal(plain.iam.listUsers({}))).toMatchObject(DENIED)
    await proved.iam.listUsers({})
    for (const session of [plain, proved]) {
      expect(await refusal(session.sts.getSessionToken({}))).toMatchObject(DENIED)
      expect(await refusal(session.sts.getFederationToken({ Name: 'someone' }))).toMatchObject(DENIED)
    }
    const AccessKeyId = user.keys.accessKeyId
    await rootOf(account).iam.updateAccessKey({ UserName: 'ada', AccessKeyId, Status: 'Inactive' })
    expect(await refusal(plain.ssm.describeParameters({}))).toMatchObject({ name: 'UnrecognizedClientException' })
    iam.destroy()
  })

  it('gives the root, too, what reaches neither IAM nor STS', async () => {
    const account = await testbed.account()
    const { sts } = rootOf(account)
    const session = clientsOf(account, keysOf((await sts.getSessionToken({})).Credentials))
    expect((await session.sts.getCallerIdentity({})).Arn).toBe(`arn:aws:iam::${account.account}:root`)
    await session.ssm.describeParameters({})
    expect(await refusal(session.iam.listUsers({}))).toMatchObject(DENIED)
    expect(await refusal(session.iam.createAccessKey({}))).toMatchObject(DENIED)
    expect(await refusal(session.sts.decodeAuthorizationMessage({ EncodedMessage: 'x' }))).toMatchObject(DENIED)
  })

  it('lasts as long as it says, 15 minutes to 36 hours, one hour for the root', async () => {
    const account = await testbed.account()
    const { keys } = await userOf(account, 'ada', allow('ssm:*'))
    const { sts } = clientsOf(account, keys)
    const start = testbed.clock.now().getTime()
    const seconds = async (given: Promise<{ Credentials?: Credentials | undefined }>) =>
      Math.round(((await given).Credentials!.Expiration!.getTime() - start) / 1000)
    expect(await seconds(sts.getSessionToken({}))).toBeCloseTo(43_200, -1)
    expect(await seconds(sts.getSessionToken({ DurationSeconds: 129_600 }))).toBeCloseTo(129_600, -1)
    expect(await refusal(sts.getSessionToken({ DurationSeconds: 899 }))).toMatchObject({ name: 'ValidationError' })
    expect(await refusal(sts.getSessionToken({ DurationSeconds: 129_601 }))).toMatchObject({ name: 'ValidationError' })
    expect(await seconds(rootOf(account).sts.getSessionToken({}))).toBeCloseTo(3_600, -1)
    const short = keysOf((await sts.getSessionToken({ DurationSeconds: 900 })).Credentials)
    await clientsOf(account, short).ssm.describeParameters({})
    testbed.clock.advance(15 * MINUTE + 1_000)
    expect(await refusal(clientsOf(account, short).ssm.describeParameters({}))).toMatchObject({
      name: 'ExpiredTokenException',
    })
  })
})

describe('GetFederationToken', () => {
  it('gives a federated user what both its user and its session policy allow, and no way to IAM or STS', async () => {
    const account = await testbed.account()
    const id = account.account
    const { sts, keys } = await userOf(account, 'ada', allow(['ssm:GetParameter', 'sts:GetFederationToken', 'iam:*']))
    await put(account, '/a')
    const given = await sts.getFederationToken({ Name: 'guest', Policy: policy(allow(['ssm:*', 'iam:*'])) })
    expect(given.FederatedUser).toEqual({
      ...{ Arn: `arn:aws:sts::${id}:federated-user/guest`, FederatedUserId: `${id}:guest` },
    })
    const guest = clientsOf(account, keysOf(given.Credentials))
    expect((await guest.sts.getCallerIdentity({})).Arn).toBe(given.FederatedUser!.Arn)
    await guest.ssm.getParameter({ Name: '/a' })
    expect(await refusal(guest.ssm.describeParameters({}))).toMatchObject({ name: 'AccessDeniedException' })
    expect(await refusal(guest.iam.listUsers({}))).toMatchObject(DENIED)
    expect(await refusal(guest.sts.getFederationToken({ Name: 'guest2' }))).toMatchObject(DENIED)
    const bare = clientsOf(account, keysOf((await sts.getFederationToken({ Name: 'bare' })).Credentials))
    expect(await refusal(bare.ssm.getParameter({ Name: '/a' }))).toMatchObject({ name: 'AccessDeniedException' })
    const broken = sts.getFederationToken({ Name: 'guest', Policy: '{"Version":"2012-10-17"}' })
    expect(await refusal(broken)).toMatchObject({ name: 'MalformedPolicyDocumentException' })
    const unallowed = await userOf(account, 'without')
    expect(await refusal(unallowed.sts.getFederationToken({ Name: 'guest' }))).toMatchObject(DENIED)
    await rootOf(account).iam.deleteAccessKey({ UserName: 'ada', AccessKeyId: keys.accessKeyId })
    expect(await refusal(guest.ssm.getParameter({ Name: '/a' }))).toMatchObject({ name: 'UnrecognizedClientException' })
  })
})

describe('a federated user', () => {
  it('carries the tags that its maker may give, and no other', async () => {
    const account = await testbed.account()
    const mayFederate = allow(['sts:GetFederationToken', 'ssm:PutParameter'])
    const tagged = allow('ssm:GetParameter', '*', { StringEquals: { 'aws:PrincipalTag/team': 'red' } })
    const Tags = [{ Key: 'team', Value: 'red' }]
    await put(account, '/a')
    const blue = await userOf(account, 'blue', mayFederate, tagged)
    await rootOf(account).iam.tagUser({ UserName: 'blue', Tags: [{ Key: 'team', Value: 'blue' }] })
    const Policy = policy(allow('ssm:*'))
    const ask = (from: typeof blue, more: object = {}) =>
      from.sts.getFederationToken({ ...{ Name: 'guest', Policy, Tags }, ...more })
    expect(await refusal(ask(blue))).toMatchObject({
      ...DENIED,
      message: expect.stringContaining('is not authorized to perform: sts:TagSession on resource: arn:aws:sts::'),
    })
    const onlyTeams = {
      StringEquals: { 'aws:RequestTag/team': 'red' },
      'ForAllValues:StringEquals': { 'aws:TagKeys': 'team' },
    }
    const may = await userOf(account, 'may', mayFederate, tagged, allow('sts:TagSession', '*', onlyTeams))
    expect(await refusal(ask(may, { Tags: [...Tags, { Key: 'other', Value: 'x' }] }))).toMatchObject(DENIED)
    const guest = clientsOf(account, keysOf((await ask(may)).Credentials))
    expect((await guest.ssm.getParameter({ Name: '/a' })).Parameter?.Value).toBe('v')
    const twice = [...Tags, { Key: 'TEAM', Value: 'red' }]
    const anyTag = await userOf(account, 'any', mayFederate, allow('sts:TagSession'))
    expect(await refusal(ask(anyTag, { Tags: twice }))).toMatchObject({ name: 'ValidationError' })
  })
})

describe('AssumeRole', () => {
  it('refuses a role that does not exist, the root, and whom the trust policy does not name', async () => {
    const account = await testbed.account()
    const RoleArn = `arn:aws:iam::${account.account}:role/none`
    const user = await userOf(account, 'ada', allow('sts:AssumeRole'))
    expect(await refusal(user.sts.assumeRole({ RoleArn, RoleSessionName: 'test' }))).toEqual({
      ...DENIED,
      message: `User: arn:aws:iam::${account.account}:user/ada is not authorized to perform: sts:AssumeRole on resource: ${RoleArn}`,
    })
    const role = await roleOf(account, 'r', trust(account.account))
    expect(await refusal(rootOf(account).sts.assumeRole(role))).toEqual({
      ...DENIED,
      message: 'Roles may not be assumed by root accounts.',
    })
    const other = await userOf(account, 'other')
    expect(await refusal(other.sts.assumeRole(role))).toMatchObject(DENIED)
    // Named itself, it needs no policy of its own in the same account.
    const named = await roleOf(account, 'named', trust(`arn:aws:iam::${account.account}:user/other`))
    await other.sts.assumeRole(named)
  })

  it('trusts a user or a role for itself, and nobody who is made anew under its name', async () => {
    const [account, away] = [await testbed.account(), await testbed.account()]
    const { iam } = rootOf(away)
    const arn = `arn:aws:iam::${away.account}:user/ada`
    expect(await refusal(roleOf(account, 'r', trust(arn)))).toEqual({
      ...{ name: 'MalformedPolicyDocumentException', message: `Invalid principal in policy: "AWS":"${arn}"` },
    })
    const mayAssume = allow('sts:AssumeRole')
    const ada = await userOf(away, 'ada', mayAssume)
    const role = await roleOf(account, 'r', trust(arn))
    await ada.sts.assumeRole(role)
    await iam.updateUser({ UserName: 'ada', NewUserName: 'lovelace' })
    await ada.sts.assumeRole(role)
    const other = await userOf(away, 'ada', mayAssume)
    expect(await refusal(other.sts.assumeRole(role))).toMatchObject(DENIED)
    await rootOf(account).iam.updateAssumeRolePolicy({ RoleName: 'r', PolicyDocument: trust(arn) })
    await other.sts.assumeRole(role)
    expect(await refusal(ada.sts.assumeRole(role))).toMatchObject(DENIED)
    // Roles as well.
    const first = await roleOf(away, 'first', trust(away.account), mayAssume)
    const second = await roleOf(account, 'second', trust(first.RoleArn))
    const sessionOf = async () =>
      clientsOf(away, keysOf((await other.sts.assumeRole(first)).Credentials)).sts.assumeRole(second)
    await sessionOf()
    await iam.deleteRolePolicy({ RoleName: 'first', PolicyName: 'own' })
    await iam.deleteRole({ RoleName: 'first' })
    await roleOf(away, 'first', trust(away.account), mayAssume)
    expect(await refusal(sessionOf())).toMatchObject(DENIED)
  })

  it('reaches another account by its trust policy and the own policies, with the external id it asks for', async () => {
    const [home, away] = [await testbed.account(), await testbed.account()]
    const Condition = { StringEquals: { 'sts:ExternalId': 'harbour-7' } }
    const role = await roleOf(home, 'r', trust(away.account, 'sts:AssumeRole', Condition), allow('ssm:GetParameter'))
    await put(home, '/a')
    const may = await userOf(away, 'may', allow('sts:AssumeRole', role.RoleArn))
    const mayNot = await userOf(away, 'may-not', allow('sts:AssumeRole', `${role.RoleArn}x`))
    for (const ExternalId of [undefined, 'harbour-8'])
      expect(await refusal(may.sts.assumeRole({ ...role, ExternalId }))).toMatchObject(DENIED)
    expect(await refusal(mayNot.sts.assumeRole({ ...role, ExternalId: 'harbour-7' }))).toMatchObject(DENIED)
    const session = await may.sts.assumeRole({ ...role, ExternalId: 'harbour-7' })
    const there = clientsOf(away, keysOf(session.Credentials))
    expect((await there.sts.getCallerIdentity({})).Account).toBe(home.account)
    expect((await there.ssm.getParameter({ Name: '/a' })).Parameter?.Value).toBe('v')
  })

  it('keeps why it was refused for those who may know', async () => {
    const [home, away] = [await testbed.account(), await testbed.account()]
    const Condition = { StringEquals: { 'sts:ExternalId': 'harbour-7' } }
    const role = await roleOf(home, 'r', trust(away.account, 'sts:AssumeRole', Condition))
    const user = await userOf(away, 'ada', allow('sts:AssumeRole'))
    const error = await user.sts.assumeRole({ ...role, ExternalId: 'other' }).then(
      () => undefined,
      (thrown: { $metadata: { requestId?: string } }) => thrown,
    )
    const requestId = error?.$metadata.requestId
    expect(requestId).toBeDefined()
    const kept = await eventually('the reason is kept', async () => {
      const { sql } = testbed.server.ground
      const [row] = await sql<{ account: string; reason: { statements: object[] } }[]>`
        select account, reason from denials where request_id = ${requestId!}`
      return row
    })
    expect(kept).toMatchObject({
      account: away.account,
      reason: { missing: { action: 'sts:AssumeRole', policyType: 'role trust policy' } },
    })
    // What the other account's trust policy wants is that account's: the external id above all.
    expect(JSON.stringify(kept)).not.toContain('harbour-7')
    expect(kept!.reason.statements).toMatchObject([{ policyType: 'identity-based policy', outcome: 'matched' }])
  })

  it('narrows the session by the policies that it is given', async () => {
    const account = await testbed.account()
    const user = await userOf(account, 'ada', allow('sts:AssumeRole'))
    const role = await roleOf(account, 'r', trust(account.account), allow(['ssm:GetParameter', 'ssm:PutParameter']))
    await put(account, '/a')
    const sessionWith = async (more: object) =>
      clientsOf(account, keysOf((await user.sts.assumeRole({ ...role, ...more })).Credentials)).ssm
    const read = await sessionWith({ Policy: policy(allow('ssm:Get*')) })
    const write = { Name: '/a', Value: 'w', Type: 'String', Overwrite: true } as const
    await read.getParameter({ Name: '/a' })
    expect(await refusal(read.putParameter(write))).toMatchObject({
      message: expect.stringContaining('no session policy allows'),
    })
    const managed = await sessionWith({ PolicyArns: [{ arn: 'arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess' }] })
    await managed.getParameter({ Name: '/a' })
    expect(await refusal(managed.putParameter(write))).toMatchObject({ name: 'AccessDeniedException' })
    // Another account's policies are not to be tried out.
    const stranger = await testbed.account()
    const PolicyDocument = policy(allow('ssm:*'))
    const { Policy: foreign } = await rootOf(stranger).iam.createPolicy({ PolicyName: 'foreign', PolicyDocument })
    const foreignArn = foreign!.Arn!
    for (const arn of [foreignArn, foreignArn.replace(stranger.account, account.account)])
      expect(await refusal(sessionWith({ PolicyArns: [{ arn }] }))).toEqual({
        name: 'MalformedPolicyDocumentException',
        message: `The policy ${arn} does not exist.`,
      })
    // A session policy gives nothing that the role has not.
    const wide = await sessionWith({ Policy: policy(allow('*')) })
    expect(await refusal(wide.describeParameters({}))).toMatchObject({ name: 'AccessDeniedException' })
    const broken = user.sts.assumeRole({ ...role, Policy: '{"Statement":{}}' })
    expect(await refusal(broken)).toMatchObject({ name: 'MalformedPolicyDocumentException' })
  })

  it('refuses what does not fit into a session, instead of a token that nobody takes', async () => {
    const account = await testbed.account()
    const user = await userOf(account, 'ada', allow('sts:AssumeRole'))
    const role = await roleOf(account, 'r', trust(account.account), allow('ssm:*'))
    const { iam } = rootOf(account)
    const PolicyArns: { arn: string }[] = []
    for (let index = 0; index < 10; index++) {
      // Text that deflate cannot make much smaller.
      const random = Array.from({ length: 90 }, () => `arn:aws:ssm:*:*:parameter/${randomBytes(15).toString('hex')}`)
      const PolicyDocument = policy({ Effect: 'Allow', Action: 'ssm:GetParameter', Resource: random })
      const { Policy } = await iam.createPolicy({ PolicyName: `p${index}`, PolicyDocument })
      PolicyArns.push({ arn: Policy!.Arn! })
    }
    const one = await user.sts.assumeRole({ ...role, PolicyArns: PolicyArns.slice(0, 1) })
    await clientsOf(account, keysOf(one.Credentials)).sts.getCallerIdentity({})
    expect(await refusal(user.sts.assumeRole({ ...role, PolicyArns }))).toMatchObject({
      name: 'PackedPolicyTooLargeException',
      message: expect.stringMatching(/^Packed size of session policy and tags consumes \d{3}% of allotted space\.$/),
    })
  })

  it('hands transitive tags along a chain, and no other', async () => {
    const account = await testbed.account()
    const user = await userOf(account, 'ada', allow(['sts:AssumeRole', 'sts:TagSession']))
    const pass = allow(['sts:AssumeRole', 'sts:TagSession'])
    const first = await roleOf(account, 'first', trust(account.account), pass)
    const tagged = (key: string) => ({ StringEquals: { [`aws:PrincipalTag/${key}`]: 'blue' } })
    const second = await roleOf(account, 'second', trust(account.account), pass, {
      ...allow('ssm:GetParameter', '*', tagged('kept')),
    })
    const third = await roleOf(account, 'third', trust(account.account), allow('ssm:GetParameter', '*', tagged('kept')))
    const dropped = await roleOf(account, 'dropped', trust(account.account), {
      ...allow('ssm:GetParameter', '*', tagged('plain')),
    })
    await put(account, '/a')
    const Tags = ['kept', 'plain'].map((Key) => ({ Key, Value: 'blue' }))
    const chain = async (from: STS, role: typeof first, more: object = {}) =>
      clientsOf(account, keysOf((await from.assumeRole({ ...role, ...more })).Credentials))
    const one = await chain(user.sts, first, { Tags, TransitiveTagKeys: ['kept'] })
    const two = await chain(one.sts, second)
    const three = await chain(two.sts, third)
    for (const session of [two, three]) await session.ssm.getParameter({ Name: '/a' })
    const without = await chain(one.sts, dropped)
    expect(await refusal(without.ssm.getParameter({ Name: '/a' }))).toMatchObject({ name: 'AccessDeniedException' })
    expect(await refusal(one.sts.assumeRole({ ...second, Tags: [{ Key: 'KEPT', Value: 'red' }] }))).toMatchObject({
      name: 'ValidationError',
    })
    const TransitiveTagKeys = ['other']
    expect(await refusal(user.sts.assumeRole({ ...first, Tags, TransitiveTagKeys }))).toMatchObject({
      ...{ name: 'ValidationError', message: expect.stringContaining('must be included in the requested tags') },
    })
    // Tagging a session is a permission of its own, also with tags that are handed on.
    const untagged = await roleOf(account, 'untagged', trust(account.account, 'sts:AssumeRole'))
    await user.sts.assumeRole(untagged)
    expect(await refusal(one.sts.assumeRole(untagged))).toMatchObject(DENIED)
    expect(await refusal(user.sts.assumeRole({ ...untagged, Tags }))).toMatchObject(DENIED)
  })

  it('keeps a source identity for every role that follows', async () => {
    const account = await testbed.account()
    const actions = ['sts:AssumeRole', 'sts:SetSourceIdentity']
    const user = await userOf(account, 'ada', allow(actions))
    const first = await roleOf(account, 'first', trust(account.account, actions), allow(actions))
    const second = await roleOf(account, 'second', trust(account.account, actions))
    const assumed = await user.sts.assumeRole({ ...first, SourceIdentity: 'ada-lovelace' })
    const session = clientsOf(account, keysOf(assumed.Credentials))
    expect((await session.sts.assumeRole(second)).SourceIdentity).toBe('ada-lovelace')
    expect(await refusal(session.sts.assumeRole({ ...second, SourceIdentity: 'another' }))).toMatchObject(DENIED)
    // Each role that it reaches must take it.
    const without = await roleOf(account, 'without', trust(account.account, 'sts:AssumeRole'))
    expect(await refusal(session.sts.assumeRole(without))).toMatchObject(DENIED)
    const Condition = { StringLike: { 'sts:SourceIdentity': 'grace-*' } }
    const others = await roleOf(account, 'others', trust(account.account, actions, Condition))
    expect(await refusal(session.sts.assumeRole(others))).toMatchObject(DENIED)
  })

  it('lasts an hour, as long as the role lets it, and an hour at most in a chain', async () => {
    const account = await testbed.account()
    const user = await userOf(account, 'ada', allow(['sts:AssumeRole', 'ssm:*']))
    const role = await roleOf(account, 'r', trust(account.account), allow(['sts:AssumeRole', 'ssm:*']))
    const secondsOf = async (DurationSeconds?: number) => {
      const { Credentials } = await user.sts.assumeRole({ ...role, DurationSeconds })
      return Math.round((Credentials!.Expiration!.getTime() - testbed.clock.now().getTime()) / 1000)
    }
    expect(await secondsOf()).toBeCloseTo(3_600, -1)
    expect(await secondsOf(7_200)).toBeCloseTo(7_200, -1)
    for (const DurationSeconds of [7_201, 899])
      expect(await refusal(user.sts.assumeRole({ ...role, DurationSeconds }))).toMatchObject({
        name: 'ValidationError',
      })
    const session = clientsOf(account, keysOf((await user.sts.assumeRole(role)).Credentials))
    await session.sts.assumeRole({ ...role, DurationSeconds: 3_600 })
    expect(await refusal(session.sts.assumeRole({ ...role, DurationSeconds: 3_601 }))).toEqual({
      name: 'ValidationError',
      message: 'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.',
    })
    const ends = keysOf((await user.sts.assumeRole({ ...role, DurationSeconds: 900 })).Credentials)
    testbed.clock.advance(15 * MINUTE + 1_000)
    expect(await refusal(clientsOf(account, ends).ssm.describeParameters({}))).toMatchObject({
      name: 'ExpiredTokenException',
    })
  })

  it('is ended at once on every process by a denial of older sessions, as the console of AWS writes it', async () => {
    await using second = await testbed.another()
    const account = await testbed.account()
    const user = await userOf(account, 'ada', allow('sts:AssumeRole'))
    const role = await roleOf(account, 'r', trust(account.account), allow('ssm:*'))
    const old = keysOf((await user.sts.assumeRole(role)).Credentials)
    const ask = (keys: Keys, endpoint?: string) => clientsOf(account, keys, endpoint).ssm.describeParameters({})
    for (const endpoint of [testbed.endpoint, second.endpoint]) await ask(old, endpoint)
    testbed.clock.advance(2_000)
    const Condition = { DateLessThan: { 'aws:TokenIssueTime': testbed.clock.now().toISOString() } }
    const PolicyDocument = policy({ Effect: 'Deny', Action: '*', Resource: '*', Condition })
    await rootOf(account).iam.putRolePolicy({
      ...{ RoleName: 'r', PolicyName: 'AWSRevokeOlderSessions', PolicyDocument },
    })
    expect(await refusal(ask(old))).toMatchObject({ message: expect.stringContaining('with an explicit deny') })
    await eventually('the other process has heard of it', () =>
      ask(old, second.endpoint).then(
        () => false,
        (error: Error) => error.name === 'AccessDeniedException',
      ),
    )
    const { sts } = clientsOf(account, user.keys)
    await ask(keysOf((await sts.assumeRole(role)).Credentials), second.endpoint)
  })
})

describe('GetAccessKeyInfo', () => {
  it('names the account of a key', async () => {
    const account = await testbed.account()
    const { sts } = rootOf(account)
    const AccessKeyId = account.config.credentials.accessKeyId
    expect((await sts.getAccessKeyInfo({ AccessKeyId })).Account).toBe(account.account)
    const none = sts.getAccessKeyInfo({ AccessKeyId: 'AKIAIOSFODNN7EXAMPLE' })
    expect(await refusal(none)).toMatchObject({ name: 'ValidationError' })
  })
})
