/** Sessions that KMS encrypts: who can open them, and that whoever carries or keeps them cannot. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { IAM } from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import { CreateDocumentCommand, TerminateSessionCommand } from '@aws-sdk/client-ssm'
import { eventually, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DATA_KEY_BYTES, sessionCipher } from '../../packages/agent/src/sessions/encryption.ts'
import type { ClientHost, ClientSocket, SessionOptions } from '../../packages/cli/src/session-client.ts'
import { nodeHost } from '../../packages/cli/src/session-host.ts'
import { musterbook, spawnMusterbook } from './musterbook.ts'
import { refusal } from './refusal.ts'
import { type SessionEnd, startSession } from './session-end.ts'
import { simulatedNode } from './simulated-node.ts'

let testbed: Testbed
let account: TestAccount
let kms: KMS
let node: Node
let keyArn: string

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  kms = new KMS(account.config)
  keyArn = (await kms.createKey({})).KeyMetadata!.Arn!
  await kms.createAlias({ AliasName: 'alias/sessions', TargetKeyId: keyArn })
  node = await testbed.node(account, { settings: { sessionUser: '' } })
  await document('Encrypted', { kmsKeyId: 'alias/sessions' })
})
afterAll(() => testbed[Symbol.asyncDispose]())

const document = (Name: string, inputs: object, more: object = { sessionType: 'Standard_Stream' }) =>
  account.ssm.send(
    new CreateDocumentCommand({
      Name,
      DocumentType: 'Session',
      DocumentFormat: 'JSON',
      Content: JSON.stringify({ schemaVersion: '1.0', inputs, ...more }),
    }),
  )

/** What the official plugin does with KMS, for a client in this process. */
const keyFrom =
  (from: KMS, Target: string): NonNullable<SessionOptions['key']> =>
  async (KeyId, challenge, SessionId) => {
    const EncryptionContext = { ...contextOf({ SessionId, Target }), 'aws:ssm:RandomChallenge': challenge }
    const made = await from.generateDataKey({ KeyId, NumberOfBytes: DATA_KEY_BYTES, EncryptionContext })
    return {
      cipher: sessionCipher(made.Plaintext!, 'client'),
      ciphertext: Buffer.from(made.CiphertextBlob!).toString('base64'),
    }
  }

const contextOf = ({ SessionId, Target }: { SessionId: string; Target: string }) => ({
  'aws:ssm:SessionId': SessionId,
  'aws:ssm:TargetId': Target,
})

/** The role credentials that the agent keeps for other programs of its node. */
const ownCredentials = async (): Promise<Credentials> =>
  JSON.parse(await readFile(join(node.agent.dataFolder, 'credentials.json'), 'utf8'))

type Credentials = { accessKeyId: string; secretAccessKey: string; sessionToken: string }

const kmsOf = ({ accessKeyId, secretAccessKey, sessionToken }: Credentials) =>
  new KMS({ ...account.config, credentials: { accessKeyId, secretAccessKey, sessionToken } })

interface Watched extends SessionEnd {
  /** Every byte that passed between this client and the relay. */
  relayed(): Buffer
  /** Loses the connection. */
  drop(): void
}

async function encrypted(DocumentName = 'Encrypted', from = kms): Promise<Watched> {
  const passed: Buffer[] = []
  let socket: ClientSocket | undefined
  const host = nodeHost(readFileSync(testbed.caFile, 'utf8'))
  const watching: ClientHost = {
    ...host,
    dial(url, events) {
      const note = (data: Uint8Array | string) => void passed.push(Buffer.from(data))
      const dialled = host.dial(url, {
        ...events,
        message(bytes) {
          note(bytes)
          events.message(bytes)
        },
      })
      socket = {
        ...dialled,
        send(data) {
          note(data)
          dialled.send(data)
        },
      }
      return socket
    },
  }
  const session = await startSession(
    account.ssm,
    testbed.caFile,
    { Target: node.nodeId, DocumentName },
    {
      host: watching,
      key: keyFrom(from, node.nodeId),
    },
  )
  return { ...session, relayed: () => Buffer.concat(passed), drop: () => socket?.close() }
}

describe('an encrypted session', () => {
  it('is a shell that whoever relays it cannot read', async () => {
    const shell = await encrypted()
    shell.type('stty -echo; echo first-$((6 * 7)); read secret\r')
    await shell.shows('first-42')
    shell.type('typed-swordfish\r')
    shell.type('echo "said: $secret" | tr a-z A-Z\r')
    await shell.shows('SAID: TYPED-SWORDFISH')
    shell.type('exit\r')
    await eventually('the client is told', () => shell.ended() !== undefined)
    const relayed = shell.relayed()
    expect(relayed.includes('RequestedClientActions')).toBe(true) // what is not secret can be read
    for (const word of ['first-', 'read secret', 'swordfish', 'SWORDFISH', 'stty'])
      expect(relayed.includes(word)).toBe(false)
    expect(relayed.length).toBeGreaterThan(1_000)
  })

  it('carries two megabytes and comes back after a lost connection', async () => {
    const shell = await encrypted()
    shell.type('stty -echo; echo; seq 1 300000; echo finished-$((1 + 1))\r')
    await shell.shows('\n90000\r\n')
    shell.drop()
    await shell.shows('finished-2')
    const numbers = shell
      .output()
      .split('\r\n')
      .filter((line) => /^\d+$/.test(line))
    expect(numbers).toEqual(Array.from({ length: 300_000 }, (_, at) => String(at + 1)))
    await account.ssm.send(new TerminateSessionCommand({ SessionId: shell.sessionId }))
  })

  it('has the outputs and the exit code of a command', async () => {
    const commands = 'sh -c "echo out; echo err >&2; exit 5"'
    const properties = { linux: { commands, runAsElevated: true, separateOutputStream: true } }
    await document('EncryptedCommand', { kmsKeyId: keyArn }, { sessionType: 'NonInteractiveCommands', properties })
    const command = await encrypted('EncryptedCommand')
    await eventually('it ends', () => command.ended() !== undefined)
    expect([command.output(), command.errors(), command.exitCode()]).toEqual(['out\n', 'err\n', 5])
    for (const word of ['out\n', 'err\n', 'EXIT_CODE']) expect(command.relayed().includes(word)).toBe(false)
  })

  it('has a recording that holds its metadata, and says that it holds no more', async () => {
    const shell = await encrypted()
    shell.type('echo "hidden-treasure"; exit\r')
    await eventually('it ends', () => shell.ended() !== undefined)
    const run = (...args: string[]) => musterbook(testbed, account, 'sessions', ...args)
    await eventually('it is sealed', async () => (await run('verify', shell.sessionId)).text.includes('sealed,'))
    const { text } = await run('play', shell.sessionId)
    const [header, ...events] = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(header).toMatchObject({ encrypted: true, title: expect.stringContaining(shell.sessionId) })
    expect(events.map(([, kind]) => kind)).toEqual(['m'])
    expect(JSON.parse(events[0][2])).toMatchObject({ encrypted: true, toNode: expect.any(Number) })
    expect((await run('search', 'hidden-treasure')).code).toBe(1)
  })

  it('is not opened to a user who may not make data keys, and says why', async () => {
    const iam = new IAM(account.config)
    await iam.createUser({ UserName: 'no-kms' })
    const Statement = [{ Effect: 'Allow', Action: 'ssm:*', Resource: '*' }]
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
    await iam.putUserPolicy({ UserName: 'no-kms', PolicyName: 'own', PolicyDocument })
    const { AccessKey } = await iam.createAccessKey({ UserName: 'no-kms' })
    const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
    const shell = await encrypted('Encrypted', new KMS({ ...account.config, credentials }))
    expect(await eventually('it ends', () => shell.ended())).toMatch(/kms:GenerateDataKey/)
  })

  it('is refused by a client without KMS, in words', async () => {
    const shell = await startSession(account.ssm, testbed.caFile, { Target: node.nodeId, DocumentName: 'Encrypted' })
    expect(await eventually('it ends', () => shell.ended())).toContain('this client has no access to KMS')
  })

  it('does not start with a key that is not there', async () => {
    await document('NoSuchKey', { kmsKeyId: 'alias/nothing' })
    expect(
      await refusal(startSession(account.ssm, testbed.caFile, { Target: node.nodeId, DocumentName: 'NoSuchKey' })),
    ).toEqual({
      name: 'InvalidDocument',
      message: expect.stringContaining('alias/nothing is not found'),
    })
  })

  it('is opened by `musterbook session`', async () => {
    const child = spawnMusterbook(testbed, account, 'session', node.nodeId, '--document', 'Encrypted')
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        said += chunk
      })
    }
    const gone = new Promise<number | null>((resolve) => child.once('exit', resolve))
    child.stdin.write('echo typed-$((6 * 7))\r')
    await eventually('it answers', () => said.includes('typed-42')).catch(() => expect(said).toBe(''))
    expect(said).toContain('This session is encrypted using AWS KMS.')
    child.stdin.write('exit\r')
    expect(await gone).toBe(0)
  })
})

describe('the data key of a session', () => {
  it('is opened by its node alone, bound to session and node, and while the session lasts', async () => {
    const shell = await encrypted()
    await eventually('it runs', () => shell.session())
    const bound = { SessionId: shell.sessionId, Target: node.nodeId }
    const { Plaintext, CiphertextBlob } = await kms.generateDataKey({
      KeyId: keyArn,
      NumberOfBytes: DATA_KEY_BYTES,
      EncryptionContext: contextOf(bound),
    })
    const other = await simulatedNode(testbed, account)
    const own = kmsOf(await ownCredentials())
    const decrypt = (who: KMS, EncryptionContext: Record<string, string>, blob = CiphertextBlob!) =>
      who.decrypt({ CiphertextBlob: blob, EncryptionContext })
    expect((await decrypt(own, contextOf(bound))).Plaintext).toEqual(Plaintext)
    // Nobody else, nothing else, not otherwise.
    const denied = async (request: Promise<unknown>) =>
      expect((await refusal(request)).name).toBe('AccessDeniedException')
    await denied(decrypt(kmsOf(other.token()), contextOf(bound)))
    await denied(decrypt(own, {}))
    await denied(decrypt(own, { ...contextOf(bound), more: 'x' }))
    await denied(decrypt(own, contextOf({ ...bound, Target: other.nodeId })))
    await denied(decrypt(own, contextOf({ ...bound, SessionId: 'root-0123456789abcdef0' })))
    await denied(own.generateDataKey({ KeyId: keyArn, NumberOfBytes: 64, EncryptionContext: contextOf(bound) }))
    await denied(own.encrypt({ KeyId: keyArn, Plaintext: Buffer.from('x'), EncryptionContext: contextOf(bound) }))
    const second = (await kms.createKey({})).KeyMetadata!.KeyId!
    const elsewhere = await kms.encrypt({
      KeyId: second,
      Plaintext: Buffer.from('x'),
      EncryptionContext: contextOf(bound),
    })
    await denied(decrypt(own, contextOf(bound), elsewhere.CiphertextBlob))
    await account.ssm.send(new TerminateSessionCommand({ SessionId: shell.sessionId }))
    await denied(decrypt(own, contextOf(bound)))
  })

  it('stays closed to a node that the policy of the key denies', async () => {
    const { KeyMetadata } = await kms.createKey({})
    const everyone = { AWS: `arn:aws:iam::${account.account}:root` }
    const Policy = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Principal: everyone, Action: 'kms:*', Resource: '*' },
        {
          Effect: 'Deny',
          Principal: { AWS: '*' },
          Action: 'kms:Decrypt',
          Resource: '*',
          Condition: { StringEquals: { 'kms:EncryptionContext:aws:ssm:TargetId': node.nodeId } },
        },
      ],
    })
    await kms.putKeyPolicy({ KeyId: KeyMetadata!.KeyId!, PolicyName: 'default', Policy })
    await document('Denied', { kmsKeyId: KeyMetadata!.Arn })
    const shell = await encrypted('Denied')
    expect(await eventually('it ends', () => shell.ended())).toMatch(/KMS Decrypt was refused: AccessDeniedException/)
  })
})
