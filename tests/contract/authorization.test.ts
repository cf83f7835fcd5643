import { readFile } from 'node:fs/promises'
import * as iam from '@aws-sdk/client-iam'
import * as ssm from '@aws-sdk/client-ssm'
import { AssumeRoleCommand, GetCallerIdentityCommand, GetSessionTokenCommand, STSClient } from '@aws-sdk/client-sts'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'

const policy = (...statements: object[]) => JSON.stringify({ Version: '2012-10-17', Statement: statements })
const allow = (Action: string | string[], Resource: string | string[] = '*', Condition?: object) => ({
  Effect: 'Allow',
  Action,
  Resource,
  Condition,
})
const deny = (Action: string, Resource = '*') => ({ Effect: 'Deny', Action, Resource })
const trust = (AWS: string, Condition?: object) =>
  policy({ Effect: 'Allow', Principal: { AWS }, Action: 'sts:AssumeRole', Condition })

type Keys = { accessKeyId: string; secretAccessKey: string; sessionToken?: string }

const ssmOf = (account: TestAccount, credentials: Keys, endpoint = account.config.endpoint) =>
  new ssm.SSMClient({ ...account.config, endpoint, credentials })
const stsOf = (account: TestAccount, credentials: Keys) => new STSClient({ ...account.config, credentials })
const keysOf = (
  given: { AccessKeyId?: string; SecretAccessKey?: string; SessionToken?: string } | undefined,
): Keys => ({
  accessKeyId: given!.AccessKeyId!,
  secretAccessKey: given!.SecretAccessKey!,
  sessionToken: given!.SessionToken,
})

/** A user with these inline policies and a key. */
async function userOf(account: TestAccount, UserName: string, ...statements: object[]) {
  const admin = new iam.IAMClient(account.config)
  await admin.send(new iam.CreateUserCommand({ UserName }))
  if (statements.length > 0)
    await admin.send(
      new iam.PutUserPolicyCommand({ UserName, PolicyName: 'own', PolicyDocument: policy(...statements) }),
    )
  const { AccessKey } = await admin.send(new iam.CreateAccessKeyCommand({ UserName }))
  return { admin, keys: keysOf(AccessKey) }
}

const put = (account: TestAccount, Name: string, tags: Record<string, string> = {}) =>
  account.ssm.send(
    new ssm.PutParameterCommand({
      Name,
      Value: 'v',
      Type: 'String',
      Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
    }),
  )
const get = (client: ssm.SSMClient, Name: string) => client.send(new ssm.GetParameterCommand({ Name }))
const DENIED = { name: 'AccessDeniedException' }

describe('authorization', () => {
  it('lets a user do what its policy says and just that, in the words of AWS', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const arn = (name: string) => `arn:aws:ssm:us-east-1:${account.account}:parameter${name}`
    const { keys } = await userOf(
      account,
      'u',
      allow('ssm:GetParameter', arn('/open/*')),
      deny('ssm:*', arn('/open/not')),
    )
    for (const name of ['/open/a', '/open/not', '/closed']) await put(account, name)
    const user = ssmOf(account, keys)
    expect((await get(user, '/open/a')).Parameter?.Value).toBe('v')
    const who = `User: arn:aws:iam::${account.account}:user/u is not authorized to perform: ssm:GetParameter on resource: `
    await expect(get(user, '/closed')).rejects.toMatchObject({
      ...DENIED,
      message: `${who}${arn('/closed')} because no identity-based policy allows the ssm:GetParameter action`,
    })
    await expect(get(user, '/open/not')).rejects.toMatchObject({
      ...DENIED,
      message: `${who}${arn('/open/not')} with an explicit deny in an identity-based policy`,
    })
  })

  it('holds a user to its boundary and gives it what its groups have', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const { admin, keys } = await userOf(account, 'u')
    await put(account, '/a')
    const user = ssmOf(account, keys)
    await expect(get(user, '/a')).rejects.toMatchObject(DENIED)
    await admin.send(new iam.CreateGroupCommand({ GroupName: 'crew' }))
    const PolicyDocument = policy(allow('ssm:*'))
    await admin.send(new iam.PutGroupPolicyCommand({ GroupName: 'crew', PolicyName: 'all', PolicyDocument }))
    await admin.send(new iam.AddUserToGroupCommand({ GroupName: 'crew', UserName: 'u' }))
    await get(user, '/a')
    const { Policy } = await admin.send(
      new iam.CreatePolicyCommand({ PolicyName: 'limit', PolicyDocument: policy(allow('ssm:PutParameter')) }),
    )
    const PermissionsBoundary = Policy!.Arn
    await admin.send(new iam.PutUserPermissionsBoundaryCommand({ UserName: 'u', PermissionsBoundary }))
    await expect(get(user, '/a')).rejects.toMatchObject({ message: expect.stringContaining('no permissions boundary') })
    await admin.send(new iam.DeleteUserPermissionsBoundaryCommand({ UserName: 'u' }))
    await get(user, '/a')
    await admin.send(new iam.RemoveUserFromGroupCommand({ GroupName: 'crew', UserName: 'u' }))
    await expect(get(user, '/a')).rejects.toMatchObject(DENIED)
  })

  it('reads the tags of parameters where a policy asks for them', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const own = { StringEquals: { 'ssm:resourceTag/team': 'harbour', 'aws:ResourceTag/team': 'harbour' } }
    const { keys } = await userOf(account, 'u', allow('ssm:GetParameter*', '*', own))
    await put(account, '/a/ours', { team: 'harbour' })
    await put(account, 'plain', { team: 'harbour' })
    await put(account, '/a/theirs', { team: 'engine' })
    const user = ssmOf(account, keys)
    await get(user, '/a/ours')
    await get(user, 'plain')
    await expect(get(user, '/a/theirs')).rejects.toMatchObject(DENIED)
    await expect(user.send(new ssm.GetParametersCommand({ Names: ['/a/ours', '/a/theirs'] }))).rejects.toMatchObject(
      DENIED,
    )
  })

  it('hands the keys of its operations to conditions', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const { keys } = await userOf(
      account,
      'u',
      allow('ssm:PutParameter', '*', { StringEquals: { 'ssm:Overwrite': 'false' } }),
      allow('ssm:GetParametersByPath', '*', { StringEquals: { 'ssm:Recursive': 'false' } }),
    )
    const user = ssmOf(account, keys)
    const write = (Overwrite: boolean) =>
      user.send(new ssm.PutParameterCommand({ Name: '/a/b', Value: 'v', Type: 'String', Overwrite }))
    await write(false)
    await expect(write(true)).rejects.toMatchObject(DENIED)
    const read = (Recursive: boolean) => user.send(new ssm.GetParametersByPathCommand({ Path: '/a', Recursive }))
    await read(false)
    await expect(read(true)).rejects.toMatchObject(DENIED)
  })

  it('knows whether a request came by TLS, whose the resource is and how old the second factor is', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    await put(account, '/a')
    const unencrypted = { Bool: { 'aws:SecureTransport': 'false' } }
    const own = {
      StringEquals: { 'aws:ResourceAccount': account.account },
      Bool: { 'aws:ViaAWSService': 'false', 'aws:PrincipalIsAWSService': 'false' },
      Null: { 'aws:MultiFactorAuthAge': 'true' },
    }
    const { keys } = await userOf(account, 'u', allow('ssm:GetParameter', '*', own), {
      ...deny('*'),
      Condition: unencrypted,
    })
    await expect(get(ssmOf(account, keys), '/a')).rejects.toMatchObject({
      ...DENIED,
      message: expect.stringContaining('with an explicit deny in an identity-based policy'),
    })
    const httpsAgent = { ca: await readFile(testbed.caFile) }
    const requestHandler = { httpsAgent }
    const config = { ...account.config, endpoint: testbed.nodeEndpoint, credentials: keys, requestHandler }
    expect((await get(new ssm.SSMClient(config), '/a')).Parameter?.Value).toBe('v')
  })

  it('gives a role to another account only with its external id, and narrows the session', async () => {
    await using testbed = await startTestbed()
    const [home, away] = [await testbed.account(), await testbed.account()]
    const admin = new iam.IAMClient(home.config)
    const AssumeRolePolicyDocument = trust(away.account, { StringEquals: { 'sts:ExternalId': 'secret' } })
    const { Role } = await admin.send(new iam.CreateRoleCommand({ RoleName: 'r', AssumeRolePolicyDocument }))
    await admin.send(
      new iam.PutRolePolicyCommand({ RoleName: 'r', PolicyName: 'p', PolicyDocument: policy(allow('ssm:*')) }),
    )
    await put(home, '/a')
    const { keys } = await userOf(away, 'u', allow('sts:AssumeRole'))
    const { keys: without } = await userOf(away, 'w')
    const RoleArn = Role!.Arn!
    const assume = (credentials: Keys, more: object = {}) =>
      stsOf(away, credentials).send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'session', ...more }))
    await expect(assume(keys)).rejects.toMatchObject({ name: 'AccessDenied' })
    await expect(assume(without, { ExternalId: 'secret' })).rejects.toMatchObject({ name: 'AccessDenied' })
    const full = keysOf((await assume(keys, { ExternalId: 'secret' })).Credentials)
    const who = await stsOf(home, full).send(new GetCallerIdentityCommand({}))
    expect(who.Arn).toBe(`arn:aws:sts::${home.account}:assumed-role/r/session`)
    await get(ssmOf(home, full), '/a')
    const Policy = policy(allow('ssm:PutParameter'))
    const narrow = keysOf((await assume(keys, { ExternalId: 'secret', Policy })).Credentials)
    await expect(get(ssmOf(home, narrow), '/a')).rejects.toMatchObject({
      message: expect.stringContaining('no session policy allows'),
    })
    await expect(
      stsOf(home, full).send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'session', DurationSeconds: 7_200 })),
    ).rejects.toThrow()
  })

  it('ends sessions with their role and their key, on every process', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const account = await testbed.account()
    await put(account, '/a')
    const { admin, keys } = await userOf(account, 'u', allow(['ssm:*', 'sts:AssumeRole']))
    const AssumeRolePolicyDocument = trust(account.account)
    const { Role } = await admin.send(new iam.CreateRoleCommand({ RoleName: 'r', AssumeRolePolicyDocument }))
    const document = { RoleName: 'r', PolicyName: 'p' }
    await admin.send(new iam.PutRolePolicyCommand({ ...document, PolicyDocument: policy(allow('ssm:*')) }))
    const sts = stsOf(account, keys)
    const assumed = await sts.send(new AssumeRoleCommand({ RoleArn: Role!.Arn!, RoleSessionName: 'session' }))
    const token = await sts.send(new GetSessionTokenCommand({}))
    const sessions = [keysOf(assumed.Credentials), keysOf(token.Credentials)]
    for (const session of sessions)
      for (const endpoint of [testbed.endpoint, second.endpoint]) await get(ssmOf(account, session, endpoint), '/a')
    await expect(stsOf(account, sessions[1]!).send(new GetSessionTokenCommand({}))).rejects.toMatchObject({
      name: 'AccessDenied',
    })
    await admin.send(new iam.DeleteRolePolicyCommand(document))
    await expect(get(ssmOf(account, sessions[0]!), '/a')).rejects.toMatchObject(DENIED)
    await admin.send(new iam.DeleteRoleCommand({ RoleName: 'r' }))
    await admin.send(
      new iam.UpdateAccessKeyCommand({ UserName: 'u', AccessKeyId: keys.accessKeyId, Status: 'Inactive' }),
    )
    for (const session of [...sessions, keys]) {
      await expect(get(ssmOf(account, session), '/a')).rejects.toMatchObject({ name: 'UnrecognizedClientException' })
      await eventually('the other process has heard of it', () =>
        get(ssmOf(account, session, second.endpoint), '/a').then(
          () => false,
          (error: Error) => error.name === 'UnrecognizedClientException',
        ),
      )
    }
  })

  it('denies every operation to a user without policies, and no operation to an administrator', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const nobody = await userOf(account, 'nobody')
    const administrator = await userOf(account, 'administrator', allow('*'))
    const asked = await everyOperation(account, nobody.keys)
    // What needs no permission, or proves itself by other means than a caller's policies.
    const free = [
      'GetCallerIdentity',
      'AssumeRole',
      'GetSessionToken',
      'DecodeAuthorizationMessage',
      'GetAccessKeyInfo',
    ]
    expect(asked.filter(({ isDenied, name }) => !isDenied && !free.includes(name))).toEqual([])
    expect(asked.length).toBeGreaterThan(100)
    const allowed = await everyOperation(account, administrator.keys)
    expect(allowed.filter(({ isDenied, name }) => isDenied && !name.startsWith('AssumeRole'))).toEqual([])
  })
})

/** Calls each operation of IAM and of Parameter Store with an input that its shape takes. */
async function everyOperation(account: TestAccount, credentials: Keys) {
  const services = [
    {
      sdk: iam as object,
      client: new iam.IAMClient({ ...account.config, credentials }),
      wanted: /User|Group|Role|Polic|Alias|Summary|Details|InstanceProfile|AccessKey|MFA/,
    },
    {
      sdk: ssm as object,
      client: new ssm.SSMClient({ ...account.config, credentials }),
      wanted: /Parameter|Activation|DescribeInstanceInformation|ListCommands|ServiceSetting|Document/,
    },
  ]
  const answers: { name: string; isDenied: boolean }[] = []
  for (const { sdk, client, wanted } of services) {
    for (const [exported, Command] of Object.entries(sdk)) {
      const name = /^(\w+)Command$/.exec(exported)?.[1]
      if (name === undefined || name === '$' || !wanted.test(name)) continue
      const command = new (Command as new (input: object) => never)({ ...sampleOf(account) })
      const error = await (client as { send(command: never): Promise<unknown> }).send(command).then(
        () => undefined,
        (refusal: Error) => refusal,
      )
      if (error?.name === 'NotImplementedException' || /Validation|Serialization|InvalidInput$/.test(error?.name ?? ''))
        continue
      answers.push({ name, isDenied: error !== undefined && /^AccessDenied/.test(error.name) })
    }
  }
  return answers
}

const DOCUMENT = policy(allow('ssm:GetParameter'))
/** Members of any operation: serializers send those that an operation knows. */
const sampleOf = ({ account }: TestAccount) => ({
  ...{ UserName: 'x', GroupName: 'x', RoleName: 'x', PolicyName: 'x', InstanceProfileName: 'x', AccountAlias: 'xyz' },
  ...{ PolicyArn: `arn:aws:iam::${account}:policy/x`, PermissionsBoundary: 'arn:aws:iam::aws:policy/ReadOnlyAccess' },
  ...{
    PolicyDocument: DOCUMENT,
    AssumeRolePolicyDocument: trust('123456789012'),
    VersionId: 'v1',
    Tags: [],
    TagKeys: ['a'],
  },
  ...{ AccessKeyId: 'AKIAIOSFODNN7EXAMPLE', Status: 'Active', Password: 'Correct horse 1', Description: 'x' },
  ...{
    SerialNumber: `arn:aws:iam::${account}:mfa/x`,
    VirtualMFADeviceName: 'x',
    AuthenticationCode1: '123456',
    AuthenticationCode2: '123457',
  },
  ...{
    PolicySourceArn: `arn:aws:iam::${account}:user/x`,
    PolicyInputList: [DOCUMENT],
    ActionNames: ['ssm:GetParameter'],
  },
  ...{ Name: 'x', Names: ['x'], Value: 'v', Type: 'String', Path: '/', Labels: ['a'], ParameterVersion: 1 },
  ...{
    ActivationId: '11111111-1111-1111-1111-111111111111',
    IamRole: 'x',
    SettingId: '/ssm/parameter-store/high-throughput-enabled',
    SettingValue: 'true',
  },
})
