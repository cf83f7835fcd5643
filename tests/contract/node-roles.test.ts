/** What a node may do: act as itself, and beyond that what the role that it carries grants it, no more. */
import { IAM } from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import { SSM } from '@aws-sdk/client-ssm'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { type EnrolledNode, enrol, send, signed } from './signed-request.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const DENIED = { name: 'AccessDeniedException' }
const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const allow = (Action: string | string[], Resource = '*', Condition?: object) => ({
  ...{ Effect: 'Allow', Action, Resource, Condition },
})
const trust = (Service: string) => policy({ Effect: 'Allow', Principal: { Service }, Action: 'sts:AssumeRole' })
// biome-ignore lint/suspicious/noTemplateCurlyInString: a policy variable
const NODE_ID = '${ssm:NodeId}'
const parameter = ({ account }: TestAccount, name: string) => `arn:aws:ssm:us-east-1:${account}:parameter${name}`

/** An account whose nodes carry a role with these statements, and one such node's clients. */
async function withRole(statements: object[], service = 'ssm.amazonaws.com') {
  const account = await testbed.account()
  const iam = new IAM(account.config)
  const { Role } = await iam.createRole({ RoleName: 'node', AssumeRolePolicyDocument: trust(service) })
  if (statements.length > 0)
    await iam.putRolePolicy({ RoleName: 'node', PolicyName: 'own', PolicyDocument: policy(...statements) })
  const node = await enrol(testbed, account)
  return { account, iam, node, roleArn: Role!.Arn!, ...clientsOf(account, node) }
}

const clientsOf = (account: TestAccount, { credentials }: EnrolledNode) => {
  const config = { ...account.config, credentials }
  return { config, ssm: new SSM(config), kms: new KMS(config) }
}

const put = (account: TestAccount, Name: string) =>
  new SSM(account.config).putParameter({ Name, Value: 'v', Type: 'String' })

describe('a node', () => {
  it('acts as itself and nothing else, also with a role that carries what every node has', async () => {
    const { account, iam, node, ssm, config } = await withRole([])
    const other = await enrol(testbed, account)
    await put(account, '/a')
    const sts = new STSClient(config)
    expect((await sts.send(new GetCallerIdentityCommand({}))).Arn).toContain(node.nodeId)
    const host = new URL(testbed.endpoint).host
    const information = (InstanceId: string) => {
      const body = JSON.stringify({
        InstanceId,
        AgentName: 'amazon-ssm-agent',
        AgentStatus: 'Active',
        AgentVersion: '3.3.0.0',
      })
      const { credentials } = node
      return send(testbed.endpoint, signed({ credentials, host, operation: 'UpdateInstanceInformation', body }))
    }
    for (const PolicyArn of [undefined, 'arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore']) {
      if (PolicyArn) await iam.attachRolePolicy({ RoleName: 'node', PolicyArn })
      expect((await information(node.nodeId)).status).toBe(200)
      expect((await information(other.nodeId)).error).toBe('AccessDeniedException')
      expect(await refusal(ssm.getParameter({ Name: '/a' }))).toEqual({
        ...DENIED,
        message: expect.stringMatching(/ because no identity-based policy allows the ssm:GetParameter action$/),
      })
      for (const beyond of [
        () => ssm.describeInstanceInformation({}),
        () => ssm.sendCommand({ DocumentName: 'AWS-RunShellScript', InstanceIds: [other.nodeId] }),
        () => ssm.startSession({ Target: other.nodeId }),
        () => ssm.deregisterManagedInstance({ InstanceId: node.nodeId }),
        () => ssm.createActivation({ IamRole: 'node' }),
        () => new IAM(config).listUsers({}),
        () => new KMS(config).listKeys({}),
      ])
        expect(await refusal(beyond())).toMatchObject({ name: expect.stringMatching(/^AccessDenied/) })
    }
    sts.destroy()
  })

  it('reads what a policy with its id gives it, and no other node does', async () => {
    const account = await testbed.account()
    const Resource = parameter(account, `/nodes/${NODE_ID}/*`)
    const iam = new IAM(account.config)
    await iam.createRole({ RoleName: 'node', AssumeRolePolicyDocument: trust('ssm.amazonaws.com') })
    const PolicyDocument = policy(allow(['ssm:GetParameter', 'ssm:GetParametersByPath'], Resource))
    await iam.putRolePolicy({ RoleName: 'node', PolicyName: 'own', PolicyDocument })
    const [one, two] = [await enrol(testbed, account), await enrol(testbed, account)]
    for (const { nodeId } of [one, two]) await put(account, `/nodes/${nodeId}/key`)
    for (const [node, other] of [
      [one, two],
      [two, one],
    ] as const) {
      const { ssm } = clientsOf(account, node)
      expect((await ssm.getParameter({ Name: `/nodes/${node.nodeId}/key` })).Parameter?.Value).toBe('v')
      expect(await refusal(ssm.getParameter({ Name: `/nodes/${other.nodeId}/key` }))).toMatchObject(DENIED)
    }
  })

  it('carries the tags of its role, and is bound by its boundary', async () => {
    const Condition = { StringEquals: { 'aws:PrincipalTag/team': 'harbour' } }
    const { account, iam, ssm } = await withRole([allow('ssm:GetParameter', '*', Condition)])
    await put(account, '/a')
    expect(await refusal(ssm.getParameter({ Name: '/a' }))).toMatchObject(DENIED)
    await iam.tagRole({ RoleName: 'node', Tags: [{ Key: 'team', Value: 'harbour' }] })
    await ssm.getParameter({ Name: '/a' })
    const { Policy } = await iam.createPolicy({
      PolicyName: 'limit',
      PolicyDocument: policy(allow('ssm:PutParameter')),
    })
    await iam.putRolePermissionsBoundary({ RoleName: 'node', PermissionsBoundary: Policy!.Arn! })
    expect(await refusal(ssm.getParameter({ Name: '/a' }))).toMatchObject({
      message: expect.stringContaining('no permissions boundary'),
    })
  })

  it('loses what every node may do as itself by a Deny of its role, and gets it back without one', async () => {
    const deny = { Effect: 'Deny', Action: ['ssm:UpdateInstanceInformation', 'ssmmessages:*'], Resource: '*' }
    const { iam, node } = await withRole([deny])
    const host = new URL(testbed.endpoint).host
    const { credentials, nodeId } = node
    const ping = () => {
      const body = JSON.stringify({ InstanceId: nodeId, AgentName: 'amazon-ssm-agent', AgentVersion: '3.3.0.0' })
      return send(testbed.endpoint, signed({ credentials, host, operation: 'UpdateInstanceInformation', body }))
    }
    const channel = () => {
      const body = JSON.stringify({ MessageSchemaVersion: '1.0', RequestId: crypto.randomUUID() })
      const path = `/v1/control-channel/${nodeId}`
      return send(testbed.endpoint, signed({ credentials, host, body, path, service: 'ssmmessages' }))
    }
    const refused = await ping()
    expect([refused.status, refused.error]).toEqual([400, 'AccessDeniedException'])
    expect(refused.text).toContain('with an explicit deny in an identity-based policy')
    expect((await channel()).status).toBe(403)
    // Its own key it can always use, or it could never come back.
    expect((await node.roleToken()).status).toBe(200)
    await iam.deleteRolePolicy({ RoleName: 'node', PolicyName: 'own' })
    await eventually('it may again', async () => (await ping()).status === 200 && (await channel()).status === 201)
  })

  it('gets nothing from a role that does not trust Systems Manager', async () => {
    const { account, ssm } = await withRole([allow('*')], 'ec2.amazonaws.com')
    await put(account, '/a')
    expect(await refusal(ssm.getParameter({ Name: '/a' }))).toMatchObject(DENIED)
  })

  it('loses and gains with its role at once, on every process', async () => {
    await using second = await testbed.another()
    const { account, iam, node, config } = await withRole([allow('ssm:GetParameter')])
    await put(account, '/a')
    const clients = [testbed.endpoint, second.endpoint].map((endpoint) => new SSM({ ...config, endpoint }))
    const may = (client: SSM) =>
      client.getParameter({ Name: '/a' }).then(
        () => true,
        (error: Error) => (error.name === DENIED.name ? false : Promise.reject(error)),
      )
    const becomes = async (expected: boolean) => {
      expect(await may(clients[0]!)).toBe(expected)
      await eventually('the other process has heard of it', async () => (await may(clients[1]!)) === expected)
    }
    await becomes(true)
    await iam.deleteRolePolicy({ RoleName: 'node', PolicyName: 'own' })
    await becomes(false)
    await iam.createRole({ RoleName: 'reader', AssumeRolePolicyDocument: trust('ssm.amazonaws.com') })
    const PolicyDocument = policy(allow('ssm:GetParameter'))
    await iam.putRolePolicy({ RoleName: 'reader', PolicyName: 'own', PolicyDocument })
    await new SSM(account.config).updateManagedInstanceRole({ InstanceId: node.nodeId, IamRole: 'reader' })
    await becomes(true)
    await iam.deleteRolePolicy({ RoleName: 'reader', PolicyName: 'own' })
    await iam.deleteRole({ RoleName: 'reader' })
    await becomes(false)
  })
})

describe('a grant on a key to the role of a node', () => {
  it('lets the node use the key, and other roles nothing', async () => {
    const { account, iam, kms, roleArn } = await withRole([])
    const root = new KMS(account.config)
    const KeyId = (await root.createKey({})).KeyMetadata!.KeyId!
    const { CiphertextBlob } = await root.encrypt({ KeyId, Plaintext: Buffer.from('anchor') })
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toMatchObject(DENIED)
    const { Role } = await iam.createRole({ RoleName: 'other', AssumeRolePolicyDocument: trust('ssm.amazonaws.com') })
    await root.createGrant({ KeyId, GranteePrincipal: Role!.Arn!, Operations: ['Decrypt'] })
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toMatchObject(DENIED)
    const { GrantId } = await root.createGrant({ KeyId, GranteePrincipal: roleArn, Operations: ['Decrypt'] })
    expect(Buffer.from((await kms.decrypt({ CiphertextBlob })).Plaintext!).toString()).toBe('anchor')
    expect(await refusal(kms.encrypt({ KeyId, Plaintext: Buffer.from('x') }))).toMatchObject(DENIED)
    await root.revokeGrant({ KeyId, GrantId: GrantId! })
    expect(await refusal(kms.decrypt({ CiphertextBlob }))).toMatchObject(DENIED)
  })

  it('may mean one node by its session, and lets the node read a SecureString under the key', async () => {
    const { account, node, ssm } = await withRole([allow('ssm:GetParameter')])
    const other = await enrol(testbed, account)
    const root = new KMS(account.config)
    const KeyId = (await root.createKey({})).KeyMetadata!.KeyId!
    await new SSM(account.config).putParameter({ Name: '/s', Value: 'v', Type: 'SecureString', KeyId })
    const ask = { Name: '/s', WithDecryption: true }
    expect(await refusal(ssm.getParameter(ask))).toMatchObject({ message: expect.stringContaining('kms:Decrypt') })
    const GranteePrincipal = `arn:aws:sts::${account.account}:assumed-role/node/${node.nodeId}`
    await root.createGrant({ KeyId, GranteePrincipal, Operations: ['Decrypt'] })
    expect((await ssm.getParameter(ask)).Parameter?.Value).toBe('v')
    expect(await refusal(clientsOf(account, other).ssm.getParameter(ask))).toMatchObject({
      message: expect.stringContaining('kms:Decrypt'),
    })
  })
})

describe('the role of a node', () => {
  it('is handed on by whoever may pass that very role, under whatever path and however it is spelt', async () => {
    const account = await testbed.account()
    const iam = new IAM(account.config)
    await iam.createRole({
      ...{ RoleName: 'harbour', Path: '/masters/', AssumeRolePolicyDocument: trust('ssm.amazonaws.com') },
      Tags: [{ Key: 'team', Value: 'harbour' }],
    })
    const { nodeId } = await enrol(testbed, account)
    const roles = `arn:aws:iam::${account.account}:role`
    const userWith = async (UserName: string, ...statements: object[]) => {
      await iam.createUser({ UserName })
      const PolicyDocument = policy(allow(['ssm:CreateActivation', 'ssm:UpdateManagedInstanceRole']), ...statements)
      await iam.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument })
      const { AccessKey } = await iam.createAccessKey({ UserName })
      const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
      return new SSM({ ...account.config, credentials })
    }
    const spared = { Effect: 'Deny', Action: 'iam:PassRole', Resource: `${roles}/masters/*` }
    const tagged = { StringEquals: { 'aws:ResourceTag/team': 'harbour', 'iam:PassedToService': 'ssm.amazonaws.com' } }
    const mayNot = [
      await userWith('ada', allow('iam:PassRole'), spared),
      await userWith('bob', allow('iam:PassRole', `${roles}/harbour`)),
      await userWith('carl'),
    ]
    const may = [
      await userWith('dora', allow('iam:PassRole', `${roles}/masters/harbour`)),
      await userWith('emil', allow('iam:PassRole', '*', tagged)),
    ]
    for (const IamRole of ['harbour', 'Harbour']) {
      for (const ssm of mayNot) {
        expect(await refusal(ssm.createActivation({ IamRole }))).toMatchObject(DENIED)
        expect(await refusal(ssm.updateManagedInstanceRole({ InstanceId: nodeId, IamRole }))).toMatchObject(DENIED)
      }
      for (const ssm of may) {
        await ssm.createActivation({ IamRole })
        await ssm.updateManagedInstanceRole({ InstanceId: nodeId, IamRole })
      }
    }
  })
})
