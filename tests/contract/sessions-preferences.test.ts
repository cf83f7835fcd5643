/** What a session's document and its starter's tags decide: user, first words, secrets of the store; and full screens. */
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CloudTrail } from '@aws-sdk/client-cloudtrail'
import { IAM } from '@aws-sdk/client-iam'
import { CreateDocumentCommand, PutParameterCommand, SSMClient, TerminateSessionCommand } from '@aws-sdk/client-ssm'
import { eventually, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { musterbook } from './musterbook.ts'
import { refusal } from './refusal.ts'
import { startSession } from './session-end.ts'

const isRoot = process.getuid?.() === 0
let testbed: Testbed
let account: TestAccount
let node: Node

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  await nodeRole()
  node = await testbed.node(account, { settings: { sessionUser: '' } })
})
afterAll(() => testbed[Symbol.asyncDispose]())

const start = (input: object = {}, ssm = account.ssm) =>
  startSession(ssm, testbed.caFile, { Target: node.nodeId, ...input })

const document = (Name: string, content: object) =>
  account.ssm.send(
    new CreateDocumentCommand({
      Name,
      DocumentType: 'Session',
      DocumentFormat: 'JSON',
      Content: JSON.stringify({ schemaVersion: '1.0', sessionType: 'Standard_Stream', ...content }),
    }),
  )

/** Nodes of this account may read parameters below /nodes. */
async function nodeRole(): Promise<void> {
  const iam = new IAM(account.config)
  const Principal = { Service: 'ssm.amazonaws.com' }
  const trust = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal, Action: 'sts:AssumeRole' }] }
  await iam.createRole({ RoleName: 'node', AssumeRolePolicyDocument: JSON.stringify(trust) })
  const Statement = [{ Effect: 'Allow', Action: 'ssm:GetParameters', Resource: 'arn:aws:ssm:*:*:parameter/nodes/*' }]
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  await iam.putRolePolicy({ RoleName: 'node', PolicyName: 'own', PolicyDocument })
}

async function userOf(UserName: string, Statement: object[], tags: Record<string, string> = {}): Promise<SSMClient> {
  const iam = new IAM(account.config)
  await iam.createUser({ UserName, Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })) })
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  await iam.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument })
  const { AccessKey } = await iam.createAccessKey({ UserName })
  const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
  return new SSMClient({ ...account.config, credentials })
}
const allow = (Action: string, Resource: string | string[]) => ({ Effect: 'Allow', Action, Resource })
const deny = (Action: string, Resource: string) => ({ Effect: 'Deny', Action, Resource })

describe('a full-screen program', () => {
  it.skipIf(!existsSync('/usr/bin/vi'))('edits a file, on a screen of its own that follows the terminal', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'musterbook-vi-'))
    const shell = await start()
    shell.client.resize({ cols: 100, rows: 30 })
    shell.type(`vi -u NONE ${folder}/file\r`)
    await shell.shows('\u001b[?1049h') // the alternate screen
    shell.type('iäöü fish\u001b')
    await shell.shows('fish')
    shell.client.resize({ cols: 123, rows: 45 })
    await eventually('it has the new size', () => {
      shell.type(':set columns?\r')
      return shell.output().includes('columns=123')
    })
    shell.type(':wq\r')
    await shell.shows('\u001b[?1049l')
    expect(await readFile(join(folder, 'file'), 'utf8')).toBe('äöü fish\n')
    shell.type('exit\r')
    await eventually('it ends', () => shell.ended() !== undefined)
    await rm(folder, { recursive: true })
  })

  it.skipIf(!existsSync('/usr/bin/less'))('pages through more than the screen holds', async () => {
    const shell = await start()
    shell.client.resize({ cols: 80, rows: 24 })
    shell.type('seq 1 1000 | less\r')
    await shell.shows('\n23\r\n')
    expect(shell.output()).not.toContain('\n24\r\n')
    shell.type('G')
    await shell.shows('\n1000\r\n')
    shell.type('qexit\r')
    await eventually('it ends', () => shell.ended() !== undefined)
  })

  it.skipIf(!existsSync('/usr/bin/top'))('redraws itself until it is left', async () => {
    const shell = await start()
    shell.client.resize({ cols: 90, rows: 20 })
    shell.type('top -d 0.2\r')
    await eventually('it drew the screen twice', () => shell.output().split('load average').length > 2)
    shell.type('q')
    // It throws away what was typed ahead when it leaves.
    await eventually('there is a prompt again', () => /[#$] $/.test(shell.output()))
    shell.type('echo left-$((1 + 1)); exit\r')
    await shell.shows('left-2')
    await eventually('it ends', () => shell.ended() !== undefined)
  })
})

describe('a document of a session', () => {
  it('has its profile typed first', async () => {
    await document('Profile', { inputs: { shellProfile: { linux: 'PS1="mark> "; cd /usr' } } })
    const shell = await start({ DocumentName: 'Profile' })
    shell.type('echo in=$PWD\r')
    await shell.shows('in=/usr')
    expect(shell.output()).toContain('mark> ')
    await account.ssm.send(new TerminateSessionCommand({ SessionId: shell.sessionId }))
  })

  it.skipIf(!isRoot)(
    'names the user that the shell runs as, and the tag of whoever starts it names another',
    async () => {
      await document('RunAs', { inputs: { runAsEnabled: true, runAsDefaultUser: 'nobody' } })
      await document('RunAsNoDefault', { inputs: { runAsEnabled: true } })
      await document('RunAsNotEnabled', { inputs: { runAsEnabled: false, runAsDefaultUser: 'nobody' } })
      const everything = [allow('ssm:*', '*')]
      const daemon = await userOf('tagged', everything, { SSMSessionRunAs: 'daemon' })
      const root = await userOf('wants-root', everything, { SSMSessionRunAs: 'root' })
      const ranAs = async (DocumentName: string, ssm = account.ssm) => {
        const shell = await start({ DocumentName }, ssm)
        shell.type('echo "<$(id -un)>"; exit\r')
        await eventually('it ends', () => shell.ended() !== undefined)
        // What is typed before the shell reads is echoed before its prompt: no line break is sure to come first.
        return /<(\w+)>/.exec(shell.output())?.[1] ?? shell.ended()
      }
      expect(await ranAs('RunAs')).toBe('nobody')
      expect(await ranAs('RunAs', daemon)).toBe('daemon')
      expect(await ranAs('RunAsNoDefault', daemon)).toBe('daemon')
      expect(await ranAs('RunAsNotEnabled', daemon)).toBe('root')
      expect(await ranAs('RunAsNoDefault')).toContain('no user is named')
      expect(await ranAs('RunAsNoDefault', root)).toContain('root is root, which sessions do not run as')
    },
  )

  it('takes values of the store that its node may read', async () => {
    await account.ssm.send(new PutParameterCommand({ Name: '/nodes/greeting', Value: 'ahoy', Type: 'String' }))
    await account.ssm.send(new PutParameterCommand({ Name: '/others/greeting', Value: 'hidden', Type: 'String' }))
    const commands = 'echo "{{ ssm:/nodes/greeting }} {{ name }}"'
    const parameters = { name: { type: 'String' } }
    const properties = { linux: { commands, runAsElevated: true } }
    await document('Greeting', { sessionType: 'InteractiveCommands', parameters, properties })
    const greeting = await start({ DocumentName: 'Greeting', Parameters: { name: ['sailor'] } })
    await eventually('it ends', () => greeting.ended() !== undefined)
    expect(greeting.output()).toBe('ahoy sailor\r\n')
    const secret = await start({ DocumentName: 'Greeting', Parameters: { name: ['{{ ssm:/others/greeting }}'] } })
    expect(await eventually('it ends', () => secret.ended())).toMatch(/not authorized to perform: ssm:GetParameters/)
  })
})

describe('a session of one’s own', () => {
  it('is found in its id by policies that let users end their own, also where a name has a dot', async () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of IAM
    const own = allow('ssm:TerminateSession', 'arn:aws:ssm:*:*:session/${aws:username}-*')
    const john = await userOf('john.doe@example.com', [allow('ssm:StartSession', '*'), own])
    const [session, foreign] = await Promise.all([start({}, john), start()])
    await eventually('it runs', () => session.session())
    expect(await refusal(john.send(new TerminateSessionCommand({ SessionId: foreign.sessionId })))).toMatchObject({
      name: 'AccessDeniedException',
    })
    await john.send(new TerminateSessionCommand({ SessionId: session.sessionId }))
    await eventually('the client is told', () => session.ended() !== undefined)
    foreign.client.close()
  })
})

describe('a port', () => {
  const port = (portNumber: string) => ({
    DocumentName: 'AWS-StartSSHSession',
    Parameters: { portNumber: [portNumber] },
  })

  it('is refused unless a policy names its document for ports', async () => {
    const sessions = allow('ssm:StartSession', '*')
    const shells = await userOf('shells', [sessions])
    const ssh = await userOf('ssh', [
      sessions,
      allow('ssm:StartPortSession', 'arn:aws:ssm:*::document/AWS-StartSSHSession'),
    ])
    await document('CustomPort', { sessionType: 'Port', properties: { portNumber: '22', type: 'LocalPortForwarding' } })
    const remote = {
      DocumentName: 'AWS-StartPortForwardingSessionToRemoteHost',
      Parameters: { host: ['localhost'], portNumber: ['22'] },
    }
    const local = { DocumentName: 'AWS-StartPortForwardingSession', Parameters: { portNumber: ['22'] } }
    const denied = async (ssm: SSMClient, input: object) =>
      expect(await refusal(start(input, ssm))).toEqual({
        name: 'AccessDeniedException',
        message: expect.stringContaining('ssm:StartPortSession'),
      })
    for (const input of [port('22'), local, remote, { DocumentName: 'CustomPort' }]) await denied(shells, input)
    for (const input of [local, remote, { DocumentName: 'CustomPort' }]) await denied(ssh, input)
    // As policies for AWS have it: the document by its name, or by a part of its name, beside the nodes.
    const byName = (...documents: string[]) =>
      allow('ssm:StartSession', [
        'arn:aws:ssm:*:*:managed-instance/*',
        ...documents.map((name) => `arn:aws:ssm:*:*:document/${name}`),
      ])
    const named = await userOf('named', [byName('AWS-StartSSHSession', 'Custom*')])
    const anyOfAmazon = await userOf('any-of-amazon', [byName('AWS-*')])
    const narrowed = await userOf('narrowed', [
      sessions,
      deny('ssm:StartSession', 'arn:aws:ssm:*:*:document/CustomPort'),
    ])
    for (const input of [local, remote]) {
      await denied(anyOfAmazon, input)
      expect(await refusal(start(input, named))).toMatchObject({ name: 'AccessDeniedException' })
    }
    for (const input of [local, { DocumentName: 'CustomPort' }])
      expect(await refusal(start(input, narrowed))).toMatchObject({ name: 'AccessDeniedException' })
    await (await start({ DocumentName: 'CustomPort' }, named)).client.close()
    const server = createServer((socket) => void socket.end('hello')).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const listening = String((server.address() as { port: number }).port)
    for (const user of [ssh, named]) {
      const session = await start(port(listening), user)
      await eventually('it ends', () => session.ended() !== undefined)
      expect(session.output()).toBe('hello')
    }
    await (await start({}, shells)).client.close()
    server.close()
  })

  it('is recorded and audited by where it led, how much passed and how long', async () => {
    const server = createServer((socket) => socket.once('data', () => socket.end('x'.repeat(5_000))))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const listening = String((server.address() as { port: number }).port)
    const session = await start(port(listening))
    session.type('1234567')
    await eventually('it ends', () => session.ended() !== undefined)
    server.close()
    const destination = `localhost:${listening}`
    const run = (verb: string) => musterbook(testbed, account, 'sessions', verb, session.sessionId)
    await eventually('it is sealed', async () => (await run('verify')).text.includes('whole and sealed'))
    const events = (await run('play')).text.trim().split('\n')
    expect(events).toHaveLength(2)
    const told = JSON.parse(JSON.parse(events[1]!)[2])
    expect(told).toMatchObject({ destination, seconds: expect.any(Number) })
    expect(told.toNode).toBeGreaterThanOrEqual(7)
    expect(told.fromNode).toBeGreaterThanOrEqual(5_000)

    const trail = new CloudTrail(account.config)
    const ended = await eventually('its end is in the trail', async () => {
      const LookupAttributes = [{ AttributeKey: 'EventName' as const, AttributeValue: 'SessionEnded' }]
      const { Events } = await trail.lookupEvents({ LookupAttributes })
      return Events?.map(({ CloudTrailEvent }) => JSON.parse(CloudTrailEvent!)).find(
        ({ serviceEventDetails }) => serviceEventDetails.sessionId === session.sessionId,
      )
    })
    expect(ended).toMatchObject({
      eventType: 'AwsServiceEvent',
      eventSource: 'ssm.amazonaws.com',
      serviceEventDetails: { target: node.nodeId, destination, status: 'Terminated', bytesFromNode: told.fromNode },
    })
    const started = await trail.lookupEvents({
      LookupAttributes: [{ AttributeKey: 'EventName', AttributeValue: 'StartSession' }],
    })
    const calls = started.Events?.map(({ CloudTrailEvent }) => JSON.parse(CloudTrailEvent!)) ?? []
    const call = calls.find(({ responseElements }) => responseElements?.sessionId === session.sessionId)
    expect(call).toMatchObject({ requestParameters: { documentName: 'AWS-StartSSHSession' } })
    expect(JSON.stringify(call)).not.toContain(session.token)
  })
})
