/** The four pairs of session-manager-plugin and our client with the official agent and ours: each kind of session. */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { KMS } from '@aws-sdk/client-kms'
import {
  CreateActivationCommand,
  CreateDocumentCommand,
  DescribeSessionsCommand,
  StartSessionCommand,
} from '@aws-sdk/client-ssm'
import { connected, eventually, REGION, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DATA_KEY_BYTES, sessionCipher } from '../../packages/agent/src/sessions/encryption.ts'
import { forwardPort } from '../../packages/cli/src/port-forward.ts'
import type { SessionOptions } from '../../packages/cli/src/session-client.ts'
import { nodeHost } from '../../packages/cli/src/session-host.ts'
import { startSession } from '../contract/session-end.ts'
import { type KmsProxy, kmsProxy } from './kms-proxy.ts'
import { type OfficialAgent, officialAgent, whyNot } from './official-agent.ts'
import { runPlugin, whyNoPlugin } from './plugin.ts'

const MINUTE = 60_000
const BYTES = Buffer.alloc(3_000_000, 'every byte of this crosses the session; ')

let testbed: Testbed
let account: TestAccount
let kms: KMS
let proxy: KmsProxy
/** Sends BYTES to everyone. */
const sender = createServer((socket) => socket.on('error', () => {}).end(BYTES))
/** Says how many bytes it was sent. */
const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket))
const portOf = (server: typeof sender) => (server.address() as { port: number }).port

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  kms = new KMS(account.config)
  proxy = await kmsProxy(testbed)
  for (const server of [sender, echo]) await once(server.listen(0, '127.0.0.1'), 'listening')
  const kmsKeyId = (await kms.createKey({})).KeyMetadata?.Arn
  const commands = 'sh -c "echo to-out; echo to-err >&2; exit 5"'
  const command = {
    sessionType: 'NonInteractiveCommands',
    properties: { linux: { commands, runAsElevated: true, separateOutputStream: true } },
  }
  await document('Separate', command)
  await document('EncryptedCommand', { ...command, inputs: { kmsKeyId } })
  // The session user is the agent's own, as for the shells of our agent here.
  const inputs = { kmsKeyId, runAsEnabled: false }
  await document('EncryptedShell', { sessionType: 'Standard_Stream', inputs })
}, MINUTE)

const document = (Name: string, content: object) =>
  account.ssm.send(
    new CreateDocumentCommand({
      Name,
      DocumentType: 'Session',
      DocumentFormat: 'JSON',
      Content: JSON.stringify({ schemaVersion: '1.0', ...content }),
    }),
  )

afterAll(async () => {
  sender.close()
  echo.close()
  await proxy?.[Symbol.asyncDispose]()
  await testbed[Symbol.asyncDispose]()
}, MINUTE)

const noAgent = whyNot()
const noPlugin = whyNoPlugin()
let official: OfficialAgent | undefined
const nodes = new Map<string, Promise<string>>()

function nodeOf(agent: 'our agent' | 'the official agent'): Promise<string> {
  const known = nodes.get(agent)
  if (known) return known
  const made = agent === 'our agent' ? ourNode() : officialNode()
  nodes.set(agent, made)
  return made
}

const ourNode = async () => (await testbed.node(account, { settings: { sessionUser: '' } })).nodeId

async function officialNode(): Promise<string> {
  const { nodeEndpoint: at } = testbed
  const settings = { Kms: { Endpoint: at } }
  official = await officialAgent({ ssm: at, mds: at, mgs: at, region: REGION, caFile: testbed.caFile, settings })
  const { ActivationId: id = '', ActivationCode: code = '' } = await account.ssm.send(
    new CreateActivationCommand({ IamRole: 'node' }),
  )
  const nodeId = await official.register({ id, code })
  official.start()
  await connected(account.ssm, nodeId, MINUTE)
  return nodeId
}
afterAll(async () => official?.[Symbol.asyncDispose]())

type Wanted = { Target: string; [member: string]: unknown }
const plugin = (input: Wanted, environment?: Record<string, string>) =>
  runPlugin(account.ssm, testbed, input, environment)
const own = (input: Wanted) => startSession(account.ssm, testbed.caFile, input, { key: dataKeyOf(input.Target) })

/** As `musterbook session` asks KMS for it. */
const dataKeyOf =
  (target: string): NonNullable<SessionOptions['key']> =>
  async (KeyId, challenge, sessionId) => {
    const EncryptionContext = {
      'aws:ssm:SessionId': sessionId,
      'aws:ssm:TargetId': target,
      ...(challenge === '' ? {} : { 'aws:ssm:RandomChallenge': challenge }),
    }
    const made = await kms.generateDataKey({ KeyId, NumberOfBytes: DATA_KEY_BYTES, EncryptionContext })
    const ciphertext = Buffer.from(made.CiphertextBlob!).toString('base64')
    return { cipher: sessionCipher(made.Plaintext!, 'client'), ciphertext }
  }

async function isHistory(SessionId: string) {
  const Filters = [{ key: 'SessionId' as const, value: SessionId }]
  const { Sessions } = await account.ssm.send(new DescribeSessionsCommand({ State: 'History', Filters }))
  return Sessions?.[0]
}

const ports = {
  'a port of the node': (target: number) => ({
    DocumentName: 'AWS-StartPortForwardingSession',
    Parameters: { portNumber: [String(target)] },
  }),
  'a port of another host': (target: number) => ({
    DocumentName: 'AWS-StartPortForwardingSessionToRemoteHost',
    Parameters: { host: ['127.0.0.1'], portNumber: [String(target)] },
  }),
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  server.close()
  return port
}

/** Everything that the port says. */
async function download(port: number): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1')
  const chunks: Buffer[] = []
  for await (const chunk of socket) {
    chunks.push(chunk)
    if (Buffer.concat(chunks).length >= BYTES.length) break
  }
  socket.destroy()
  return Buffer.concat(chunks)
}

async function upload(port: number, bytes: Buffer): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1')
  socket.write(bytes)
  const chunks: Buffer[] = []
  for await (const chunk of socket) {
    chunks.push(chunk)
    if (Buffer.concat(chunks).length >= bytes.length) break
  }
  socket.destroy()
  return Buffer.concat(chunks)
}

for (const agent of ['our agent', 'the official agent'] as const) {
  const why = agent === 'the official agent' ? noAgent : undefined
  const run = why ? describe.skip : describe
  run(why ? `${agent}: ${why}` : agent, { timeout: 2 * MINUTE }, () => {
    it('gives our client a shell', async () => {
      const shell = await own({ Target: await nodeOf(agent) })
      shell.type('echo own-$((6 * 7))\r')
      await shell.shows('own-42')
      shell.type('exit\r')
      await eventually('the client is told', () => shell.ended() !== undefined)
      expect((await eventually('it is history', () => isHistory(shell.sessionId))).Status).toBe('Terminated')
    })

    it('gives our client the outputs and the exit code of a command', async () => {
      const command = await own({ Target: await nodeOf(agent), DocumentName: 'Separate' })
      await eventually('the client is told', () => command.ended() !== undefined)
      expect([command.output(), command.errors(), command.exitCode()]).toEqual(['to-out\n', 'to-err\n', 5])
    })

    it('gives our client an encrypted shell', async () => {
      const shell = await own({ Target: await nodeOf(agent), DocumentName: 'EncryptedShell' })
      shell.type('echo sealed-$((6 * 7))\r')
      await shell.shows('sealed-42')
      shell.type('exit\r')
      await eventually('the client is told', () => shell.ended() !== undefined)
    })

    it('gives our client an encrypted command', async () => {
      const command = await own({ Target: await nodeOf(agent), DocumentName: 'EncryptedCommand' })
      await eventually('the client is told', () => command.ended() !== undefined)
      expect([command.output(), command.errors(), command.exitCode()]).toEqual(['to-out\n', 'to-err\n', 5])
    })

    for (const [what, document] of Object.entries(ports)) {
      it(`gives our client ${what}`, async () => {
        const Target = await nodeOf(agent)
        for (const [server, use] of [
          [sender, async (port: number) => expect((await download(port)).equals(BYTES)).toBe(true)],
          [echo, async (port: number) => expect((await upload(port, BYTES)).equals(BYTES)).toBe(true)],
        ] as const) {
          const started = await account.ssm.send(new StartSessionCommand({ Target, ...document(portOf(server)) }))
          const forwarded = await forwardPort({
            host: nodeHost(readFileSync(testbed.caFile, 'utf8')),
            sessionId: started.SessionId!,
            token: started.TokenValue!,
            streamUrl: started.StreamUrl!,
            resume: async () => undefined,
            localHost: '127.0.0.1',
            localPort: 0,
            unreachable: () => {},
          })
          await use(forwarded.port)
          forwarded.close()
          expect(await forwarded.ended).toBe('')
          await eventually('it is history', () => isHistory(started.SessionId!))
        }
      })
    }

    const withPlugin = noPlugin ? it.skip : it
    const named = (name: string) => (noPlugin ? `${name}: ${noPlugin}` : name)

    withPlugin(named('gives the plugin a shell'), async () => {
      await using shell = await plugin({ Target: await nodeOf(agent) })
      await shell.shows('Starting session with SessionId')
      await eventually('there is a prompt', () => /[$#] $/.test(shell.output()))
      shell.type('echo plugin-$((6 * 7))\r')
      await shell.shows('plugin-42')
      shell.type('exit\r')
      await shell.ended
      expect(shell.output()).toContain(`Exiting session with sessionId: ${shell.sessionId}`)
    })

    withPlugin(named('gives the plugin an encrypted shell'), async () => {
      const input = { Target: await nodeOf(agent), DocumentName: 'EncryptedShell' }
      await using shell = await plugin(input, proxy.environment)
      await shell.shows('This session is encrypted using AWS KMS.')
      await eventually('there is a prompt', () => /[$#] $/.test(shell.output()))
      shell.type('echo plugin-$((6 * 7))\r')
      await shell.shows('plugin-42')
      shell.type('exit\r')
      await shell.ended
    })

    withPlugin(named('gives the plugin an encrypted command'), async () => {
      const input = { Target: await nodeOf(agent), DocumentName: 'EncryptedCommand' }
      await using command = await plugin(input, proxy.environment)
      await command.ended
      for (const words of ['to-out', 'to-err', 'EXIT_CODE: 5']) expect(command.output()).toContain(words)
    })

    withPlugin(named('gives the plugin the output of a command'), async () => {
      await using command = await plugin({ Target: await nodeOf(agent), DocumentName: 'Separate' })
      await command.ended
      for (const words of ['to-out', 'to-err', 'EXIT_CODE: 5']) expect(command.output()).toContain(words)
    })

    for (const [what, document] of Object.entries(ports)) {
      withPlugin(named(`gives the plugin ${what}`), async () => {
        const Target = await nodeOf(agent)
        const localPort = await freePort()
        const { DocumentName, Parameters } = document(portOf(sender))
        const localPortNumber = [String(localPort)]
        await using tunnel = await plugin({ Target, DocumentName, Parameters: { ...Parameters, localPortNumber } })
        await tunnel.shows('Waiting for connections')
        expect((await download(localPort)).equals(BYTES)).toBe(true)
        tunnel.interrupt()
        await tunnel.ended
        await eventually('it is history', () => isHistory(tunnel.sessionId))
      })
    }
  })
}
