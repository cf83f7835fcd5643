/** Accounts, explanations and the linter at a shell: the one binary against a control plane, as a person uses it. */
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as iam from '@aws-sdk/client-iam'
import {
  DescribeParametersCommand,
  DescribeSessionsCommand,
  GetParameterCommand,
  SSMClient,
  StartSessionCommand,
} from '@aws-sdk/client-ssm'
import { AssumeRoleCommand, DecodeAuthorizationMessageCommand, STSClient } from '@aws-sdk/client-sts'
import { eventually, REGION, startTestbed, type TestAccount } from '@musterbook/testbed'
import { buildOpenDataChannel, DATA_MESSAGE, decodeAgentMessage, parseChannelClosed } from '@musterbook/wire'
import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { enrol } from '../contract/signed-request.ts'
import { simulatedNode } from '../contract/simulated-node.ts'
import { newPlace, run } from './musterbook-process.ts'

const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const NODES = policy({ Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' })

interface Keys {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
}

/** The binary as somebody with these keys runs it. */
async function musterbook(endpoint: string, keys: Keys, ...args: string[]) {
  const session = keys.sessionToken ? { AWS_SESSION_TOKEN: keys.sessionToken } : undefined
  await using running = run(args, {
    ...{ AWS_ENDPOINT_URL: endpoint, AWS_REGION: REGION, ...session },
    ...{ AWS_ACCESS_KEY_ID: keys.accessKeyId, AWS_SECRET_ACCESS_KEY: keys.secretAccessKey },
  })
  const code = await running.ended
  return { code, out: running.out(), err: running.err() }
}

async function userOf(account: Pick<TestAccount, 'config'>, UserName: string, ...statements: object[]) {
  const client = new iam.IAMClient(account.config)
  await client.send(new iam.CreateUserCommand({ UserName }))
  const PolicyDocument = policy(...statements)
  if (statements.length > 0)
    await client.send(new iam.PutUserPolicyCommand({ UserName, PolicyName: 'own', PolicyDocument }))
  const { AccessKey } = await client.send(new iam.CreateAccessKeyCommand({ UserName }))
  client.destroy()
  return { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
}

async function refused(client: SSMClient, command: GetParameterCommand) {
  const error = await client.send(command).then(
    () => undefined,
    (thrown: Error & { $metadata: { requestId: string } }) => thrown,
  )
  expect(error?.name).toBe('AccessDeniedException')
  return error!.$metadata.requestId
}

describe('musterbook accounts', () => {
  it('makes accounts with a root key each, and ends one at once on every process', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const { root } = testbed.server
    const made = await musterbook(testbed.endpoint, root, 'accounts', 'create', '--name', 'the harbour')
    expect(made).toMatchObject({ code: 0, err: '' })
    const value = (name: string) => new RegExp(`^export ${name}='(.+)'$`, 'm').exec(made.out)![1]!
    const [, id = ''] = /^# account (\d{12})/.exec(made.out)!
    const keys = { accessKeyId: value('AWS_ACCESS_KEY_ID'), secretAccessKey: value('AWS_SECRET_ACCESS_KEY') }
    const clients = [testbed.endpoint, second.endpoint].map(
      (endpoint) => new SSMClient({ endpoint, region: REGION, credentials: keys, maxAttempts: 1 }),
    )
    for (const client of clients) await client.send(new DescribeParametersCommand({}))
    const listed = await musterbook(testbed.endpoint, root, 'accounts', 'list')
    expect(listed.out).toContain(root.account)
    expect(listed.out).toMatch(new RegExp(`^${id} {2}Active .*the harbour$`, 'm'))
    expect(listed.out).not.toContain(keys.secretAccessKey)

    expect((await musterbook(testbed.endpoint, root, 'accounts', 'disable', id)).out).toMatch(`${id}  Disabled`)
    await expect(clients[0]!.send(new DescribeParametersCommand({}))).rejects.toMatchObject({
      name: 'UnrecognizedClientException',
    })
    await eventually('the other process has heard of it', () =>
      clients[1]!.send(new DescribeParametersCommand({})).then(
        () => false,
        (error: Error) => error.name === 'UnrecognizedClientException',
      ),
    )
    expect((await musterbook(testbed.endpoint, root, 'accounts', 'enable', id)).out).toMatch(`${id}  Active`)
    await clients[0]!.send(new DescribeParametersCommand({}))
    for (const client of clients) client.destroy()
  })

  it('gives an account another root key, and the lost one is dead at once on every process', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const { root } = testbed.server
    const account = await testbed.account()
    const lost = account.config.credentials
    const clientAt = (endpoint: string, credentials: Keys) =>
      new SSMClient({ endpoint, region: REGION, credentials, maxAttempts: 1 })
    const before = [testbed.endpoint, second.endpoint].map((endpoint) => clientAt(endpoint, lost))
    for (const client of before) await client.send(new DescribeParametersCommand({}))
    const answer = await musterbook(testbed.endpoint, root, 'accounts', 'rotate-key', account.account)
    expect(answer).toMatchObject({ code: 0, err: '' })
    const value = (name: string) => new RegExp(`^export ${name}='(.+)'$`, 'm').exec(answer.out)![1]!
    const found = { accessKeyId: value('AWS_ACCESS_KEY_ID'), secretAccessKey: value('AWS_SECRET_ACCESS_KEY') }
    expect(found.accessKeyId).not.toBe(lost.accessKeyId)
    const unknown = { name: 'UnrecognizedClientException' }
    await expect(before[0]!.send(new DescribeParametersCommand({}))).rejects.toMatchObject(unknown)
    await eventually('the other process has heard of it', () =>
      before[1]!.send(new DescribeParametersCommand({})).then(
        () => false,
        (error: Error) => error.name === unknown.name,
      ),
    )
    const after = [testbed.endpoint, second.endpoint].map((endpoint) => clientAt(endpoint, found))
    for (const client of after) await client.send(new DescribeParametersCommand({}))
    // Its own root may not: that is for the installation's.
    expect(await musterbook(testbed.endpoint, found, 'accounts', 'rotate-key', account.account)).toMatchObject({
      code: 1,
      out: '',
    })
    expect((await musterbook(testbed.endpoint, root, 'accounts', 'rotate-key', '000000000000')).err).toContain(
      'There is no account 000000000000',
    )
    for (const client of [...before, ...after]) client.destroy()
  })

  it('closes the channels and ends the sessions of an account that is disabled, wherever they are', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const account = await testbed.account()
    const node = await simulatedNode(testbed, account)
    await node.connect()
    const ssm = account.client({ endpoint: second.endpoint })
    const { StreamUrl = '', TokenValue = '' } = await ssm.send(new StartSessionCommand({ Target: node.nodeId }))
    const client = new WebSocket(StreamUrl, { rejectUnauthorized: false })
    await new Promise((resolve) => client.once('open', resolve))
    const who = { RequestId: randomUUID(), ClientId: randomUUID(), ClientVersion: '1.2.650.0' }
    const farewell = new Promise<string>((resolve) =>
      client.on('message', (data: Buffer) => {
        const message = decodeAgentMessage(data)
        if (message.messageType === DATA_MESSAGE.channelClosed) resolve(parseChannelClosed(message.payload).Output)
      }),
    )
    const over = new Promise((resolve) => client.once('close', resolve))
    client.send(buildOpenDataChannel({ role: 'client', TokenValue, ...who }))
    const { root } = testbed.server
    expect(await musterbook(second.endpoint, root, 'accounts', 'disable', account.account)).toMatchObject({ code: 0 })
    await eventually('the channel is closed', () => !node.connected())
    expect(await farewell).toContain('its account was disabled')
    testbed.clock.advance(10_000)
    await over
    // Nothing lets the node back in until the account is enabled.
    await expect(node.connect()).rejects.toThrow()
    expect(await musterbook(second.endpoint, root, 'accounts', 'enable', account.account)).toMatchObject({ code: 0 })
    await node.connect()
    const { Sessions = [] } = await ssm.send(new DescribeSessionsCommand({ State: 'History' }))
    expect(Sessions.map(({ Status }) => Status)).toEqual(['Terminated'])
  })

  it('takes with the account its users, roles and nodes', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const node = await enrol(testbed, account)
    const user = await userOf(account, 'u', { Effect: 'Allow', Action: ['ssm:*', 'sts:*'], Resource: '*' })
    const client = new iam.IAMClient(account.config)
    const AssumeRolePolicyDocument = policy({ Effect: 'Allow', Principal: { AWS: account.account }, Action: 'sts:*' })
    const { Role } = await client.send(new iam.CreateRoleCommand({ RoleName: 'r', AssumeRolePolicyDocument }))
    await client.send(
      new iam.AttachRolePolicyCommand({ RoleName: 'r', PolicyArn: 'arn:aws:iam::aws:policy/AdministratorAccess' }),
    )
    const sts = new STSClient({ ...account.config, credentials: user })
    const { Credentials } = await sts.send(new AssumeRoleCommand({ RoleArn: Role!.Arn!, RoleSessionName: 'session' }))
    const role = {
      ...{ accessKeyId: Credentials!.AccessKeyId!, secretAccessKey: Credentials!.SecretAccessKey! },
      sessionToken: Credentials!.SessionToken!,
    }
    const call = (credentials: Keys) =>
      musterbook(testbed.endpoint, credentials, 'explain', '11111111-2222-3333-4444-555555555555')
    for (const keys of [user, role, node.credentials])
      expect((await call(keys)).err).not.toContain('UnrecognizedClientException')
    const { root } = testbed.server
    expect(await musterbook(testbed.endpoint, root, 'accounts', 'disable', account.account)).toMatchObject({ code: 0 })
    for (const keys of [account.config.credentials, user, role, node.credentials])
      expect((await call(keys)).err).toContain('UnrecognizedClientException')
    expect((await node.roleToken()).status).toBe(400)
    for (const each of [client, sts]) each.destroy()
  })

  it('is for the root of the installation alone', async () => {
    await using testbed = await startTestbed()
    const { root } = testbed.server
    const own = { config: { ...(await testbed.account()).config, credentials: root } }
    const administrator = await userOf(own, 'a', { Effect: 'Allow', Action: '*', Resource: '*' })
    const other = await testbed.account()
    const tries: [Keys, string[]][] = [
      [administrator, ['create', '--name', 'x']],
      [administrator, ['disable', other.account]],
      [other.config.credentials, ['list']],
    ]
    for (const [keys, words] of tries) {
      const answer = await musterbook(testbed.endpoint, keys, 'accounts', ...words)
      expect(answer).toMatchObject({ code: 1, out: '' })
      expect(answer.err).toContain('AccessDeniedException')
    }
    const itself = await musterbook(testbed.endpoint, root, 'accounts', 'disable', root.account)
    expect(itself.err).toContain("is the installation's own")
    const again = await musterbook(
      testbed.endpoint,
      root,
      'accounts',
      'create',
      '--name',
      'x',
      '--account',
      other.account,
    )
    expect(again).toMatchObject({ code: 1, out: '' })
    expect(again.err).toContain('exists already')
  })
})

describe('musterbook explain', () => {
  it('says which condition failed with which value, and what is missing', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const { credentials } = account.config
    const allowed = { Effect: 'Allow', Action: 'ssm:GetParameter', Resource: '*', Sid: 'Harbour' }
    const Condition = { StringEquals: { 'aws:PrincipalTag/team': 'harbour' } }
    const keys = await userOf(account, 'ada', { ...allowed, Condition })
    const admin = new iam.IAMClient(account.config)
    await admin.send(new iam.TagUserCommand({ UserName: 'ada', Tags: [{ Key: 'team', Value: 'engine' }] }))
    const client = new SSMClient({ ...account.config, credentials: keys })
    const requestId = await refused(client, new GetParameterCommand({ Name: '/a' }))
    const told = await eventually('the reason is kept', async () => {
      const answer = await musterbook(testbed.endpoint, credentials, 'explain', requestId)
      return answer.code === 2 ? answer.out : undefined
    })
    const arn = `arn:aws:ssm:${REGION}:${account.account}:parameter/a`
    expect(told).toContain(`principal  arn:aws:iam::${account.account}:user/ada`)
    expect(told).toContain(`missing    an Allow for ssm:GetParameter on ${arn} in the identity-based policy`)
    expect(told).toContain("Allow 'Harbour' of own (identity-based policy)")
    expect(told).toContain('StringEquals aws:PrincipalTag/team: wants harbour, the request has engine')

    const message = told.trim().split('\n').at(-1)!
    const decoded = await musterbook(testbed.endpoint, credentials, 'explain', message)
    expect(decoded.out).toContain('StringEquals aws:PrincipalTag/team: wants harbour, the request has engine')
    const sts = new STSClient(account.config)
    const { DecodedMessage } = await sts.send(new DecodeAuthorizationMessageCommand({ EncodedMessage: message }))
    expect(JSON.parse(DecodedMessage!)).toMatchObject({
      allowed: false,
      explicitDeny: false,
      failures: { items: [{ statementId: 'Harbour' }] },
      context: { action: 'ssm:GetParameter', resource: arn },
    })
    // Neither the one who was denied nor another account gets to know.
    expect((await musterbook(testbed.endpoint, keys, 'explain', requestId)).err).toContain('AccessDeniedException')
    expect((await musterbook(testbed.endpoint, keys, 'explain', message)).err).toContain('AccessDeniedException')
    const stranger = (await testbed.account()).config.credentials
    expect((await musterbook(testbed.endpoint, stranger, 'explain', requestId)).err).toContain('No refusal of request')
    expect((await musterbook(testbed.endpoint, stranger, 'explain', message)).err).toContain('could not be decoded')
    for (const each of [admin, client, sts]) each.destroy()
  })

  it('answers what nobody has tried yet, and names an explicit deny', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const { credentials } = account.config
    const node = await enrol(testbed, account)
    await userOf(
      account,
      'u',
      { Effect: 'Allow', Action: 'ssm:*', Resource: '*' },
      { Effect: 'Deny', Action: 'ssm:DeleteParameter', Resource: '*', Sid: 'Keep' },
    )
    const ask = (principal: string, action: string, ...more: string[]) =>
      musterbook(testbed.endpoint, credentials, 'explain', '--principal', principal, '--action', action, ...more)
    const user = `arn:aws:iam::${account.account}:user/u`
    expect(await ask(user, 'ssm:GetParameter')).toMatchObject({ code: 0, out: expect.stringContaining('ALLOWED') })
    const denied = await ask(user, 'ssm:DeleteParameter')
    expect(denied.code).toBe(2)
    expect(denied.out).toContain("decided by Deny 'Keep' of own (identity-based policy)")
    const itself = `arn:aws:ssm:${REGION}:${account.account}:managed-instance/${node.nodeId}`
    const own = await ask(itself, 'ssm:UpdateInstanceInformation', '--resource', itself)
    expect(own).toMatchObject({ code: 0, out: expect.stringContaining('as itself') })
    const other = await ask(itself, 'ssm:GetParameter')
    expect(other).toMatchObject({ code: 2, out: expect.stringContaining('as itself and nothing else') })
    expect((await ask(user, 'nonsense')).err).toContain('is no action')
    expect((await ask(`${user}2`, 'ssm:GetParameter')).err).toContain('cannot be found')
  })
})

describe('musterbook policy lint', () => {
  it('names what node roles grant beyond the node, and nothing else', async () => {
    await using testbed = await startTestbed()
    await using place = await newPlace()
    const account = await testbed.account()
    const { credentials } = account.config
    const client = new iam.IAMClient(account.config)
    const lint = (...files: string[]) => musterbook(testbed.endpoint, credentials, 'policy', 'lint', ...files)
    expect(await lint()).toMatchObject({ code: 0, out: expect.stringContaining('No role trusts') })
    await client.send(new iam.CreateRoleCommand({ RoleName: 'node', AssumeRolePolicyDocument: NODES }))
    const core = 'arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore'
    await client.send(new iam.AttachRolePolicyCommand({ RoleName: 'node', PolicyArn: core }))
    const scoped = {
      ...{ Effect: 'Allow', Action: 'ssm:GetParameter' },
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a policy variable
      Resource: 'arn:aws:ssm:*:*:parameter/nodes/${ssm:NodeId}/*',
    }
    const put = (PolicyName: string, ...statements: object[]) =>
      client.send(new iam.PutRolePolicyCommand({ RoleName: 'node', PolicyName, PolicyDocument: policy(...statements) }))
    await put('scoped', scoped)
    expect(await lint()).toMatchObject({ code: 0 })
    await put('broad', { Effect: 'Allow', Action: 'ssm:GetParameter', Resource: '*', Sid: 'All' })
    const told = await lint()
    expect(told.code).toBe(2)
    expect(told.out).toContain("'All': Allows ssm:GetParameter on every resource")
    expect(told.out).toContain('scoped: no grant is broader')
    const [good, bad, broken] = ['good', 'bad', 'broken'].map((name) => join(place.folder, `${name}.json`))
    await writeFile(good!, policy(scoped))
    await writeFile(bad!, policy({ Effect: 'Allow', Action: 'ssm:*', Resource: '*' }))
    await writeFile(broken!, '{"Version":"2012-10-17"}')
    expect(await lint(good!)).toMatchObject({ code: 0 })
    expect(await lint(good!, bad!)).toMatchObject({ code: 2, out: expect.stringContaining('Allows ssm:* on every') })
    expect(await lint(broken!)).toMatchObject({ code: 2 })
    expect((await lint(`${good}x`)).err).toContain('cannot be read')
    client.destroy()
  })
})

it('tells of its tools in --help', async () => {
  await using help = run(['--help'])
  await help.ended
  for (const tool of ['accounts', 'explain', 'policy', 'session', 'forward']) {
    expect(help.out()).toMatch(new RegExp(`^ {2}${tool} `, 'm'))
    await using own = run([tool, '--help'])
    expect(await own.ended).toBe(0)
    expect(own.out()).toContain(`musterbook ${tool}`)
  }
})
