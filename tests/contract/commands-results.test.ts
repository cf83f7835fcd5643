/** What a command asks for beside its run: output in a bucket, notifications, alarms. Carried out, or refused in words. */
import { createHash, createHmac } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SSM } from '@aws-sdk/client-ssm'
import { eventually, startTestbed, type Testbed } from '@musterbook/testbed'
import {
  buildOutputChunk,
  canonicalRequest,
  OUTPUT_MESSAGE,
  parseAuthorization,
  signatureOf,
  signingKey,
  stringToSign,
} from '@musterbook/wire'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { clientOf, simulatedNode } from './simulated-node.ts'

const SECRET = 'the-secret-of-the-store'
const shell = { DocumentName: 'AWS-RunShellScript', Parameters: { commands: ['true'] } }
const TOPIC = 'arn:aws:sns:us-east-1:123456789012:SNSTopicName'
const ROLE = 'arn:aws:iam::123456789012:role/SNS_Role'

interface Received {
  method: string | undefined
  path: string | undefined
  request: IncomingMessage
  body: Buffer
}

/** An HTTP server that keeps what it is sent; it refuses as long as `failures` are left, and has every bucket but one. */
async function receiver() {
  const received: Received[] = []
  const looked: Received[] = []
  const state = { failures: 0 }
  const server = createServer(async (request, response) => {
    if (request.method === 'HEAD') {
      looked.push({ method: 'HEAD', path: request.url, request, body: Buffer.alloc(0) })
      response.writeHead(request.url === '/no-such-bucket' ? 404 : 403).end()
      return
    }
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    if (state.failures > 0) {
      state.failures--
      response.writeHead(503).end('not now')
      return
    }
    received.push({ method: request.method, path: request.url, request, body: Buffer.concat(parts) })
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { received, looked, state, origin: `http://127.0.0.1:${port}`, close: () => server.close() }
}

const folder = await mkdtemp(join(tmpdir(), 'musterbook-output-'))
const store = await receiver()
const hook = await receiver()
const [bare, toFolder, toStore] = await Promise.all([
  startTestbed(),
  startTestbed({
    options: { settings: { commandOutput: { folder }, notificationWebhook: `${hook.origin}/hook` } },
  }),
  startTestbed({
    options: {
      settings: {
        commandOutput: {
          endpoint: store.origin,
          region: 'us-east-1',
          accessKeyId: 'AKIASTORE',
          secretAccessKey: SECRET,
        },
      },
    },
  }),
])
afterAll(async () => {
  for (const testbed of [bare, toFolder, toStore]) await testbed[Symbol.asyncDispose]()
  for (const server of [store, hook]) server.close()
  await rm(folder, { recursive: true, force: true })
})

async function given(testbed: Testbed) {
  const account = await testbed.account()
  const node = await simulatedNode(testbed, account)
  await node.connect()
  return { account, node, ssm: clientOf(testbed, account) }
}

describe('output in a bucket', () => {
  it('is written whole, under the keys of AWS, by an agent and for a document with steps', async () => {
    const account = await toFolder.account()
    const { nodeId } = await toFolder.node(account)
    const ssm = new SSM(account.config)
    const script = (name: string, line: string) => ({
      action: 'aws:runShellScript',
      name,
      inputs: { runCommand: [line] },
    })
    const mainSteps = [script('numbers', 'seq 1 20000'), script('words', 'echo oops >&2')]
    const Content = JSON.stringify({ schemaVersion: '2.2', description: 'two steps', mainSteps })
    await ssm.createDocument({ Name: 'two-steps', Content, DocumentType: 'Command' })
    const { Command } = await ssm.sendCommand({
      DocumentName: 'two-steps',
      InstanceIds: [nodeId],
      OutputS3BucketName: 'the-bucket',
      OutputS3KeyPrefix: 'some/prefix/',
    })
    const CommandId = Command!.CommandId!
    await eventually('the command has succeeded', async () => {
      const { Commands } = await ssm.listCommands({ CommandId })
      return Commands?.[0]?.Status === 'Success'
    })
    toFolder.clock.advance(6_000)
    const place = join(folder, 'the-bucket/some/prefix', CommandId, nodeId, 'awsrunShellScript')
    const text = (path: string) => readFile(join(place, path), 'utf8').catch(() => undefined)
    expect(await eventually('the output is written', () => text('words/stderr'))).toBe('oops\n')
    expect(await text('numbers/stdout')).toBe(Array.from({ length: 20_000 }, (_, at) => `${at + 1}\n`).join(''))
    expect(await text('words/stdout')).toBeUndefined()
    const plugin = await eventually('its address is shown', async () => {
      const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId, Details: true })
      const [first] = CommandInvocations?.[0]?.CommandPlugins ?? []
      return first?.StandardOutputUrl ? first : undefined
    })
    expect(plugin).toMatchObject({
      StandardOutputUrl: `file://${place}/numbers/stdout`,
      StandardErrorUrl: '',
      OutputS3Region: 'us-east-1',
      OutputS3BucketName: 'the-bucket',
    })
  })

  it('is put into an S3-compatible store with a good signature, again when the store was away', async () => {
    const { node, ssm } = await given(toStore)
    store.state.failures = 1
    const OutputS3BucketName = 'bucket'
    const { Command } = await ssm.sendCommand({ ...shell, InstanceIds: [node.nodeId], OutputS3BucketName })
    const CommandId = Command!.CommandId!
    const job = await node.nextJob()
    node.acknowledge(job)
    await node.reply(job.JobId, 'Success', { 'aws:runShellScript': { stdout: 'all of it\n' } })
    toStore.clock.advance(6_000)
    await eventually('the store was asked', () => store.state.failures === 0)
    toStore.clock.advance(61_000)
    const put = await eventually('the object is put', () => store.received[0])
    const key = `${CommandId}/${node.nodeId}/awsrunShellScript/0.awsrunShellScript/stdout`
    expect(put).toMatchObject({ method: 'PUT', path: `/bucket/${key}` })
    expect(put.body.toString()).toBe('all of it\n')
    expect(put.request.headers['content-length']).toBe('10')
    expect(verifies(put)).toBe(true)
    const invocation = await eventually('its address is shown', async () => {
      const found = await ssm.getCommandInvocation({ CommandId, InstanceId: node.nodeId })
      return found.StandardOutputUrl ? found : undefined
    })
    expect(invocation).toMatchObject({
      Status: 'Success',
      StandardOutputUrl: `${store.origin}/bucket/${key}`,
      StandardErrorUrl: '',
    })
  })

  it('is refused where the store has no such bucket, and taken where it cannot be asked', async () => {
    const { node, ssm } = await given(toStore)
    const send = (OutputS3BucketName: string) =>
      ssm.sendCommand({ ...shell, InstanceIds: [node.nodeId], OutputS3BucketName })
    expect((await refusal(send('no-such-bucket'))).name).toBe('InvalidOutputFolder')
    expect((await ssm.listCommands({})).Commands).toEqual([])
    const look = store.looked.find(({ path }) => path === '/no-such-bucket')
    expect(look && verifies(look)).toBe(true)
    expect((await send('not-to-be-looked-at')).Command?.Status).toBe('Pending')
  })

  it('is that of the steps of the document, however a node calls them', async () => {
    const { node, ssm } = await given(toFolder)
    const OutputS3BucketName = 'the-bucket'
    const { Command } = await ssm.sendCommand({ ...shell, InstanceIds: [node.nodeId], OutputS3BucketName })
    const CommandId = Command!.CommandId!
    const job = await node.nextJob()
    node.acknowledge(job)
    const outside = `../../../escaped-${CommandId}`
    const data = Buffer.from('sent').toString('base64')
    const chunk = { jobId: job.JobId, step: `${outside}/sent`, stream: 'stdout' as const, start: 0, data }
    node.send(OUTPUT_MESSAGE.output, buildOutputChunk(chunk))
    await node.reply(job.JobId, 'Success', {
      [`${outside}/reported`]: { stdout: 'reported' },
      'aws:runShellScript': { stdout: 'the document’s' },
    })
    await eventually('both are known', async () => {
      const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId, Details: true })
      const [row] = await toFolder.server.ground.sql`
        select 1 from command_output where command_id = ${CommandId} and step = ${chunk.step}`
      return CommandInvocations?.[0]?.CommandPlugins?.length === 2 && row !== undefined
    })
    toFolder.clock.advance(6_000)
    await eventually('the output is written', async () => {
      const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId, Details: true })
      return CommandInvocations?.[0]?.CommandPlugins?.some(({ StandardOutputUrl }) => StandardOutputUrl)
    })
    const written = await readdir(folder, { recursive: true })
    expect(written.filter((path) => path.includes('escaped'))).toEqual([])
    expect(written).toContain(
      join('the-bucket', CommandId, node.nodeId, 'awsrunShellScript/0.awsrunShellScript/stdout'),
    )
    const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId, Details: true })
    const extra = CommandInvocations?.[0]?.CommandPlugins?.find(({ Name }) => Name?.includes('escaped'))
    expect(extra).toMatchObject({ Output: 'reported', StandardOutputUrl: '' })
  })

  it('is refused where it leads nowhere, or out of its folder', async () => {
    const { node, ssm } = await given(bare)
    const InstanceIds = [node.nodeId]
    const name = async (testbed: SSM, more: object, ids = InstanceIds) =>
      (await refusal(testbed.sendCommand({ ...shell, InstanceIds: ids, ...more }))).name
    expect(await name(ssm, { OutputS3BucketName: 'bucket' })).toBe('InvalidOutputFolder')
    const other = await given(toFolder)
    for (const OutputS3BucketName of ['UPPER', 'a..b', '...', 'a/b'])
      expect(await name(other.ssm, { OutputS3BucketName }, [other.node.nodeId])).toBe('InvalidOutputFolder')
    const OutputS3KeyPrefix = 'a/../../../etc'
    const escaping = { OutputS3BucketName: 'bucket', OutputS3KeyPrefix }
    expect(await name(other.ssm, escaping, [other.node.nodeId])).toBe('InvalidOutputFolder')
    const { Commands } = await other.ssm.listCommands({})
    expect(Commands).toEqual([])
  })
})

describe('notifications', () => {
  const wanted = (
    NotificationType: 'Command' | 'Invocation',
    NotificationEvents: ['All'] | ['Success' | 'Failed'],
  ) => ({
    ServiceRoleArn: ROLE,
    NotificationConfig: { NotificationArn: TOPIC, NotificationEvents, NotificationType },
  })
  const told = (CommandId: string) =>
    hook.received
      .map(({ body }) => JSON.parse(body.toString()) as { Message: string; TopicArn: string; MessageId: string })
      .map((one) => ({ ...one, message: JSON.parse(one.Message) as Record<string, unknown> }))
      .filter(({ message }) => message.commandId === CommandId)

  it('are posted as SNS posts them, each once, and again where they were not taken', async () => {
    const { node, ssm } = await given(toFolder)
    const { nodeId } = node
    hook.state.failures = 1
    const sent = await ssm.sendCommand({ ...shell, InstanceIds: [nodeId], ...wanted('Command', ['All']) })
    const CommandId = sent.Command!.CommandId!
    expect(sent.Command).toMatchObject({ ServiceRole: ROLE, NotificationConfig: { NotificationArn: TOPIC } })
    const job = await node.nextJob()
    node.acknowledge(job)
    await eventually('the receiver has refused', () => hook.state.failures === 0)
    await node.reply(job.JobId, 'Failed', { 'aws:runShellScript': { status: 'Failed', code: 1 } })
    const all = await eventually('both are told', () => {
      toFolder.clock.advance(2_000)
      const found = told(CommandId)
      return found.length === 2 && found
    })
    expect(all.map(({ message }) => message.status).toSorted()).toEqual(['Failed', 'InProgress'])
    expect(all[0]).toMatchObject({
      TopicArn: TOPIC,
      message: { documentName: 'AWS-RunShellScript', instanceIds: [nodeId], outputS3BucketName: '' },
    })
    expect(new Set(all.map(({ MessageId }) => MessageId)).size).toBe(2)
    expect(hook.received.at(-1)).toMatchObject({ method: 'POST', path: '/hook' })
  })

  it('of invocations name the node, and only what was asked for is told', async () => {
    const { node, ssm } = await given(toFolder)
    const InstanceIds = [node.nodeId]
    const sent = await ssm.sendCommand({ ...shell, InstanceIds, ...wanted('Invocation', ['Success']) })
    const CommandId = sent.Command!.CommandId!
    const job = await node.nextJob()
    node.acknowledge(job)
    await node.reply(job.JobId, 'Success', { 'aws:runShellScript': {} })
    const [one] = await eventually('it is told', () => {
      const found = told(CommandId)
      return found.length > 0 && found
    })
    expect(one!.message).toMatchObject({ instanceId: node.nodeId, status: 'Success' })
    await toFolder.server.work.settle()
    expect(told(CommandId)).toHaveLength(1)
  })

  it('are refused without an address, a role or a topic', async () => {
    const { node, ssm } = await given(bare)
    const other = await given(toFolder)
    const refused = (client: SSM, nodeId: string, more: object) =>
      refusal(client.sendCommand({ ...shell, InstanceIds: [nodeId], ...more }))
    expect(await refused(ssm, node.nodeId, wanted('Command', ['All']))).toEqual({
      name: 'InvalidNotificationConfig',
      message: expect.stringContaining('--notification-webhook'),
    })
    const { ServiceRoleArn, NotificationConfig } = wanted('Command', ['All'])
    expect((await refused(other.ssm, other.node.nodeId, { NotificationConfig })).name).toBe('InvalidRole')
    const odd = { ServiceRoleArn, NotificationConfig: { NotificationArn: 'arn:aws:sqs:us-east-1:123456789012:x' } }
    expect((await refused(other.ssm, other.node.nodeId, odd)).name).toBe('InvalidNotificationConfig')
  })
})

describe('alarms and log groups', () => {
  it('are refused in words, unless the command may run without its alarm', async () => {
    const { node, ssm } = await given(bare)
    const InstanceIds = [node.nodeId]
    const Alarms = [{ Name: 'too-hot' }]
    const alarmed = refusal(ssm.sendCommand({ ...shell, InstanceIds, AlarmConfiguration: { Alarms } }))
    expect(await alarmed).toEqual({ name: 'InvalidParameters', message: expect.stringContaining('alarms') })
    const AlarmConfiguration = { Alarms, IgnorePollAlarmFailure: true }
    const { Command } = await ssm.sendCommand({ ...shell, InstanceIds, AlarmConfiguration })
    expect(Command?.AlarmConfiguration).toEqual(AlarmConfiguration)
    const CloudWatchOutputConfig = { CloudWatchOutputEnabled: true }
    const logged = refusal(ssm.sendCommand({ ...shell, InstanceIds, CloudWatchOutputConfig }))
    expect(await logged).toEqual({ name: 'InvalidParameters', message: expect.stringContaining('CloudWatch Logs') })
  })
})

/** Signed as AWS wants it, computed here from what arrived. */
function verifies({ method = '', path = '', request }: Received): boolean {
  const { headers } = request
  const parsed = parseAuthorization(headers.authorization ?? '')
  if (!('signedHeaders' in parsed)) return false
  const canonical = canonicalRequest({
    method,
    path,
    query: '',
    headers: Object.entries(headers).map(([name, value]) => [name, String(value)]),
    signedHeaders: parsed.signedHeaders,
    payloadHash: String(headers['x-amz-content-sha256']),
    doubleEncodePath: false,
  })
  const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex')
  const hmac = (key: Uint8Array | string, data: string) => createHmac('sha256', key).update(data).digest()
  const amzDate = String(headers['x-amz-date'])
  const date = amzDate.slice(0, 8)
  const text = stringToSign(amzDate, `${date}/us-east-1/s3/aws4_request`, canonical, sha256)
  return signatureOf(signingKey(SECRET, date, 'us-east-1', 's3', hmac), text, hmac) === parsed.signature
}
