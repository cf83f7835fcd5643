/**
 * What the official agent sends and how it must be answered, built anew from what it was seen to send: for what its own
 * code does not forgive. tests/official/ has the agent itself, where it is installed.
 */
import { constants, generateKeyPairSync, randomUUID, sign as rsaSign } from 'node:crypto'
import { type IncomingMessage, request } from 'node:http'
import { IAM } from '@aws-sdk/client-iam'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { authorizationValue, millisToAmzDate, prepareSigning } from '@musterbook/wire'
import { afterAll, describe, expect, it } from 'vitest'
import { enrol, send, sha256, signed } from './signed-request.ts'
import { clientOf, simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
const { host } = new URL(testbed.endpoint)
const AGENT = 'aws-sdk-go/1.51.20 (go1.22; linux; amd64) amazon-ssm-agent/3.3.0.0'

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
const PublicKey = pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')

interface Raw {
  status: number
  text: string
  headers: IncomingMessage['headers']
}

/** As Go's client sends it: the body in chunks, no Content-Length. */
function chunked(headers: Record<string, string>, body: string): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const sent = request(testbed.endpoint, { method: 'POST', headers: { ...headers, 'transfer-encoding': 'chunked' } })
    sent.once('error', reject)
    sent.once('response', async (response) => {
      const parts: Buffer[] = []
      for await (const part of response) parts.push(part)
      resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString(), headers: response.headers })
    })
    for (const part of body.match(/.{1,7}/g) ?? []) sent.write(part)
    sent.end()
  })
}

async function register(account: TestAccount, fingerprint: string): Promise<string> {
  const { ActivationId, ActivationCode } = await clientOf(testbed, account).createActivation({ IamRole: 'node' })
  const input = { ActivationCode, ActivationId, Fingerprint: fingerprint, PublicKey, PublicKeyType: 'Rsa' }
  const headers = {
    ...{ 'content-type': 'application/x-amz-json-1.1', 'user-agent': AGENT },
    'x-amz-target': 'AmazonSSM.RegisterManagedInstance',
  }
  const { status, text } = await chunked(headers, JSON.stringify(input))
  expect(status).toBe(200)
  return (JSON.parse(text) as { InstanceId: string }).InstanceId
}

/** RSASSA-PSS in what looks like SigV4; x-amz-content-sha256 is sent and not signed. */
function askForToken(nodeId: string, fingerprint: string, target = 'AmazonSSM.RequestManagedInstanceRoleToken') {
  const body = JSON.stringify({ Fingerprint: fingerprint })
  const headers: [string, string][] = [
    ['host', host],
    ['content-type', 'application/x-amz-json-1.1'],
    ['x-amz-target', target],
  ]
  const prepared = prepareSigning({
    ...{ method: 'POST', path: '/', query: '', headers, payloadHash: sha256(body), sha256 },
    ...{ region: 'us-east-1', service: 'ssm', amzDate: millisToAmzDate(testbed.clock.now().getTime()) },
  })
  expect(prepared.signedHeaders).toEqual(['content-type', 'host', 'x-amz-date', 'x-amz-target'])
  const key = { key: pair.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
  const signature = rsaSign('sha256', Buffer.from(prepared.stringToSign), key).toString('base64')
  const all = {
    ...Object.fromEntries([...headers, ...prepared.headers]),
    'user-agent': AGENT,
    'x-amz-content-sha256': sha256(body),
    authorization: authorizationValue(nodeId, prepared, signature),
  }
  return chunked(all, body)
}

describe('the official agent', () => {
  it('gets all five members of a role token, for a body that comes in chunks', async () => {
    const fingerprint = randomUUID()
    const nodeId = await register(await testbed.account(), fingerprint)
    const { status, text, headers } = await askForToken(nodeId, fingerprint)
    expect(status).toBe(200)
    // It follows each of them without looking whether it is there.
    expect(JSON.parse(text)).toEqual({
      AccessKeyId: expect.stringMatching(/^ASIA/),
      SecretAccessKey: expect.any(String),
      SessionToken: expect.any(String),
      TokenExpirationDate: expect.any(Number),
      UpdateKeyPair: false,
    })
    expect(headers['x-amzn-requestid']).toBeDefined()
  })

  it('is refused in AWS’s JSON, whose names decide how long it waits', async () => {
    const fingerprint = randomUUID()
    const nodeId = await register(await testbed.account(), fingerprint)
    const named = async (...given: Parameters<typeof askForToken>) => {
      const { status, text } = await askForToken(...given)
      return [status, (JSON.parse(text) as { __type: string }).__type]
    }
    expect(await named(nodeId, randomUUID())).toEqual([400, 'MachineFingerprintDoesNotMatch'])
    expect(await named('mi-0123456789abcdef0', fingerprint)).toEqual([400, 'AccessDeniedException'])
  })

  it('registers anew with the fingerprint that its machine keeps, as another node', async () => {
    const [account, fingerprint] = [await testbed.account(), randomUUID()]
    const [first, second] = [await register(account, fingerprint), await register(account, fingerprint)]
    expect(second).not.toBe(first)
    expect((await askForToken(second, fingerprint)).status).toBe(200)
  })

  const controlChannel = async (account: TestAccount) => {
    const { nodeId, credentials } = await enrol(testbed, account)
    const body = JSON.stringify({ MessageSchemaVersion: '1.0', RequestId: randomUUID() })
    const path = `/v1/control-channel/${nodeId}`
    const at = testbed.clock.now()
    return send(testbed.endpoint, signed({ credentials, host, body, path, service: 'ssmmessages', at }))
  }

  it('gets the token of its control channel as XML with status 201', async () => {
    const { status, text } = await controlChannel(await testbed.account())
    expect(status).toBe(201)
    expect(text).toMatch(/<MessageSchemaVersion>1\.0<\/MessageSchemaVersion><TokenValue>[^<]+<\/TokenValue>/)
  })

  it('is denied its control channel in the words by which it goes back to polling', async () => {
    const account = await testbed.account()
    const iam = new IAM(account.config)
    const statement = (more: object) => JSON.stringify({ Version: '2012-10-17', Statement: [more] })
    const service = { Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' }
    await iam.createRole({ RoleName: 'node', AssumeRolePolicyDocument: statement(service) })
    const PolicyDocument = statement({ Effect: 'Deny', Action: 'ssmmessages:*', Resource: '*' })
    await iam.putRolePolicy({ RoleName: 'node', PolicyName: 'polls', PolicyDocument })
    const { status, text } = await controlChannel(account)
    expect(status).toBe(403)
    expect(text).toContain('<AccessDeniedException>')
  })

  it('gets parameters in the types of the document, and whether to log as a text', async () => {
    const account = await testbed.account()
    const node = await simulatedNode(testbed, account)
    await node.connect()
    const Parameters = { commands: ['one', 'two'], workingDirectory: ['/tmp'] }
    const input = { DocumentName: 'AWS-RunShellScript', InstanceIds: [node.nodeId], Parameters }
    const { Command } = await clientOf(testbed, account).sendCommand(input)
    const { JobId, Topic, Content } = await node.nextJob()
    expect([JobId, Topic]).toEqual([`aws.ssm.${Command?.CommandId}.${node.nodeId}`, 'aws.ssm.sendCommand'])
    expect(JSON.parse(Content)).toMatchObject({
      CommandId: Command?.CommandId,
      CloudWatchOutputEnabled: 'false',
      DocumentContent: { schemaVersion: expect.any(String) },
      Parameters: { commands: ['one', 'two'], workingDirectory: '/tmp' },
    })
  })

  it('is told by name what is not here yet, with a status that its SDK does not repeat', async () => {
    const node = await simulatedNode(testbed, await testbed.account())
    const refused = (operation: string) => expect(node.call(`AmazonSSM.${operation}`, {}), operation).rejects
    for (const operation of ['PutInventory', 'PutComplianceItems', 'UpdateInstanceAssociationStatus'])
      await refused(operation).toMatchObject({ code: 'NotImplementedException', status: 501 })
    await refused('Unheard').toMatchObject({ code: 'UnknownOperationException', status: 400 })
  })

  // The last one: it moves the clock, and whoever signs has another.
  it('is Online by the short ping that it begins with, which takes nothing back that is known', async () => {
    const account = await testbed.account()
    const node = await simulatedNode(testbed, account)
    const { nodeId: InstanceId } = node
    const short = { AgentName: 'amazon-ssm-agent', AgentVersion: '3.3.0.0', InstanceId, PlatformType: 'Linux' }
    testbed.clock.advance(16 * 60_000)
    await node.renew()
    expect(await node.call('AmazonSSM.UpdateInstanceInformation', short)).toEqual({})
    const { InstanceInformationList } = await clientOf(testbed, account).describeInstanceInformation({})
    expect(InstanceInformationList).toEqual([
      expect.objectContaining({ PingStatus: 'Online', ComputerName: 'simulated', PlatformName: 'Debian GNU/Linux' }),
    ])
  })
})
