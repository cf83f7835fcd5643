/** Session Manager through the AWS SDK, a real agent and our own client: what people do with a shell on a node. */

import { readFileSync } from 'node:fs'
import {
  CreateDocumentCommand,
  DeregisterManagedInstanceCommand,
  DescribeSessionsCommand,
  SSMClient,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm'
import { eventually, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { ClientHost, ClientSocket } from '../../packages/cli/src/session-client.ts'
import { nodeHost } from '../../packages/cli/src/session-host.ts'
import { startSession } from './session-end.ts'

let testbed: Testbed
let account: TestAccount
let node: Node

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  node = await testbed.node(account, { settings: { sessionUser: '' } })
})
afterAll(() => testbed[Symbol.asyncDispose]())

const start = (input: object = {}) => startSession(account.ssm, testbed.caFile, { Target: node.nodeId, ...input })

async function stateOf(sessionId: string, State: 'Active' | 'History') {
  const Filters = [{ key: 'SessionId' as const, value: sessionId }]
  const { Sessions } = await account.ssm.send(new DescribeSessionsCommand({ State, Filters }))
  return Sessions?.[0]
}

describe('a shell', () => {
  it('runs on a node that has no open port, until it is left', async () => {
    const shell = await start()
    shell.type('echo "the answer is $((6 * 7))"; tty\r')
    await shell.shows('the answer is 42')
    await shell.shows('/dev/pts/')
    expect(await stateOf(shell.sessionId, 'Active')).toMatchObject({ Target: node.nodeId, Status: 'Connected' })
    shell.type('exit\r')
    await eventually('the client is told', async () => shell.ended() !== undefined)
    const past = await eventually('it is history', () => stateOf(shell.sessionId, 'History'))
    expect(past).toMatchObject({ Status: 'Terminated', DocumentName: 'SSM-SessionManagerRunShell' })
    expect(past.EndDate).toBeInstanceOf(Date)
  })

  it('has the size of the terminal, follows it, and takes Ctrl-C', async () => {
    const shell = await start()
    shell.client.resize({ cols: 111, rows: 22 })
    shell.type('stty size; echo done\r')
    await shell.shows('22 111')
    shell.client.resize({ cols: 90, rows: 30 })
    shell.type('stty size\r')
    await shell.shows('30 90')
    shell.type('echo go-$((1 + 1)); sleep 600\r')
    await shell.shows('go-2')
    shell.type('\u0003')
    await shell.shows('^C')
    shell.type('echo after-$((1 + 1))\r')
    await shell.shows('after-2')
    shell.type('exit\r')
    await eventually('it ends', async () => shell.ended() !== undefined)
  })

  it('carries bytes as they are, a pasted megabyte among them', async () => {
    const shell = await start()
    shell.type('stty -echo -icanon; printf "\\303\\244\\342\\202\\254\\360\\237\\232\\242\\377|"\r')
    await eventually('the bytes', async () => shell.bytes().includes(Buffer.from('c3a4e282acf09f9aa2ff7c', 'hex')))
    // A shell takes of its terminal whatever is there: what comes before it has read its line would be its own.
    shell.type('echo reading-$((1 + 1)); head -c 1048576 | cksum; echo pasted-$((1 + 1))\r')
    await shell.shows('reading-2')
    const paste = Buffer.alloc(1_048_576, 'abcdefghijklmnopqrstuvwxyz012345678\n')
    shell.client.write(paste)
    await shell.shows('pasted-2')
    const { stdout } = await import('node:child_process').then(({ spawnSync }) =>
      spawnSync('cksum', { input: paste, encoding: 'utf8' }),
    )
    expect(shell.output()).toContain(stdout.trim())
    shell.type('exit\r')
    await eventually('it ends', async () => shell.ended() !== undefined)
  })

  it('loses none of ten megabytes of output, the last line least of all', async () => {
    const shell = await start({
      DocumentName: 'AWS-StartInteractiveCommand',
      Parameters: { command: ['seq 1 1400000; printf the-end'] },
    })
    await eventually('it ends', async () => shell.ended() !== undefined)
    const lines = shell.output().split('\r\n')
    expect(lines.at(-1)).toBe('the-end')
    expect(lines.length).toBe(1_400_001)
    expect(lines[1_399_999]).toBe('1400000')
  })

  it('is resumed without a lost or doubled byte when the client loses its connection', async () => {
    const host = nodeHost(readFileSync(testbed.caFile, 'utf8'))
    const sockets: ClientSocket[] = []
    const losing: ClientHost = {
      ...host,
      dial(url, events) {
        const socket = host.dial(url, events)
        sockets.push(socket)
        return socket
      },
    }
    const shell = await startSession(account.ssm, testbed.caFile, { Target: node.nodeId }, { host: losing })
    shell.type('stty -echo; echo; seq 1 400000; echo finished-$((1 + 1))\r')
    for (const [at, mark] of ['\n1000\r\n', '\n100000\r\n', '\n250000\r\n'].entries()) {
      await shell.shows(mark)
      sockets.at(-1)?.close()
      await eventually('it is dialled again', () => sockets.length === at + 2)
    }
    await shell.shows('finished-2')
    expect(sockets.length).toBe(4)
    const numbers = shell
      .output()
      .split('\r\n')
      .filter((line) => /^\d+$/.test(line))
    expect(numbers).toEqual(Array.from({ length: 400_000 }, (_, at) => String(at + 1)))
    shell.type('exit\r')
    await eventually('it ends', async () => shell.ended() !== undefined)
  })

  it('is ended by TerminateSession, with everything that ran in it', async () => {
    const shell = await start()
    shell.type('sleep 4321 & echo pid=$!\r')
    await shell.shows('pid=')
    const pid = await eventually(
      'the pid is shown',
      async () => Number(/pid=(\d+)\r/.exec(shell.output())?.[1]) || undefined,
    )
    await account.ssm.send(new TerminateSessionCommand({ SessionId: shell.sessionId }))
    await eventually('the client is told', async () => shell.ended() !== undefined)
    await eventually('nothing is left', async () => !isAlive(pid) || undefined)
    expect(await stateOf(shell.sessionId, 'History')).toMatchObject({ Status: 'Terminated' })
  })

  it('ends within five seconds when its node dies', async () => {
    const doomed = await testbed.node(account, { settings: { sessionUser: '' } })
    const shell = await start({ Target: doomed.nodeId })
    await eventually('it runs', async () => shell.session())
    await doomed.agent.kill('SIGKILL')
    expect(await eventually('the client is told', async () => shell.ended())).toBe(
      'The connection to the node was lost.',
    )
  })

  it('ends when its node is deregistered, and others go on', async () => {
    const left = await testbed.node(account, { settings: { sessionUser: '' } })
    const [shell, other] = await Promise.all([start({ Target: left.nodeId }), start()])
    await Promise.all([shell, other].map((one) => eventually('it runs', async () => one.session())))
    await account.ssm.send(new DeregisterManagedInstanceCommand({ InstanceId: left.nodeId }))
    const words = 'The session ended because its node was deregistered.'
    expect(await eventually('the client is told', async () => shell.ended())).toBe(words)
    expect(await stateOf(shell.sessionId, 'History')).toMatchObject({ Status: 'Terminated', Details: words })
    other.type('echo still-$((1 + 1))\r')
    await other.shows('still-2')
    other.type('exit\r')
  })
})

describe('a command', () => {
  it('has its outputs apart and its exit code, without a terminal', async () => {
    const name = 'SeparateOutput'
    await account.ssm.send(
      new CreateDocumentCommand({
        Name: name,
        DocumentType: 'Session',
        DocumentFormat: 'JSON',
        Content: JSON.stringify({
          schemaVersion: '1.0',
          sessionType: 'NonInteractiveCommands',
          parameters: { command: { type: 'String' } },
          properties: { linux: { commands: '{{ command }}', runAsElevated: true, separateOutputStream: true } },
        }),
      }),
    )
    const run = await start({
      DocumentName: name,
      Parameters: { command: ['sh -c "echo out; echo err >&2; exit 5"'] },
    })
    await eventually('it ends', async () => run.ended() !== undefined)
    expect([run.output(), run.errors(), run.exitCode()]).toEqual(['out\n', 'err\n', 5])
  })

  it('leaves no session on its node when it is terminated, although what it started lives on', async () => {
    const run = await start({
      DocumentName: 'AWS-StartNonInteractiveCommand',
      Parameters: { command: ['sh -c "setsid sleep 30 & echo begun; wait"'] },
    })
    await run.shows('begun')
    await account.ssm.send(new TerminateSessionCommand({ SessionId: run.sessionId }))
    await eventually('the node has ended it', () =>
      node.agent
        .log()
        .split('\n')
        .some((line) => line.includes('session ended') && line.includes(run.sessionId)),
    )
  })
})

describe('StartSession', () => {
  it('refuses a node that is not there', async () => {
    await expect(start({ Target: 'mi-00000000000000000' })).rejects.toMatchObject({ name: 'TargetNotConnected' })
  })

  it('refuses documents that are none of a session', async () => {
    await expect(start({ DocumentName: 'AWS-RunShellScript' })).rejects.toMatchObject({
      name: 'InvalidDocument',
      message: "Document type: 'Command' is not supported. Only type: 'Session' is supported for Session Manager.",
    })
    await expect(start({ DocumentName: 'NoSuchDocument' })).rejects.toMatchObject({ name: 'InvalidDocument' })
    const Parameters = { portNumber: ['70000'] }
    await expect(start({ DocumentName: 'AWS-StartSSHSession', Parameters })).rejects.toMatchObject({
      name: 'InvalidDocument',
    })
  })

  it('is opened at the port that was called without TLS from this machine, and over TLS by everybody else', async () => {
    const ca = readFileSync(testbed.caFile, 'utf8')
    const overTls = new SSMClient({
      ...account.config,
      endpoint: testbed.nodeEndpoint,
      requestHandler: { httpsAgent: { ca } },
    })
    const streams: string[] = []
    for (const ssm of [account.ssm, overTls]) {
      const shell = await startSession(ssm, testbed.caFile, { Target: node.nodeId })
      streams.push(new URL(shell.streamUrl).origin)
      shell.type('echo "six times seven is $((6 * 7))"; exit\r')
      await shell.shows('six times seven is 42')
      await eventually('the client is told', async () => shell.ended() !== undefined)
    }
    overTls.destroy()
    expect(streams).toEqual([testbed.endpoint, testbed.nodeEndpoint].map((url) => url.replace(/^http/, 'ws')))
    // Whoever calls by a name that is not this machine's own comes through a proxy on it, and is elsewhere.
    const elsewhere = new SSMClient(account.config)
    elsewhere.middlewareStack.add(
      (next) => (args) => {
        const { headers } = args.request as { headers: Record<string, string> }
        headers.host = 'musterbook.example.internal'
        return next(args)
      },
      { step: 'build', priority: 'low' },
    )
    const { StreamUrl = '', SessionId } = await elsewhere.send(new StartSessionCommand({ Target: node.nodeId }))
    elsewhere.destroy()
    await account.ssm.send(new TerminateSessionCommand({ SessionId }))
    expect(new URL(StreamUrl).protocol).toBe('wss:')
  })

  it('gives a token that opens the session once', async () => {
    const shell = await start()
    await eventually('it runs', async () => shell.session())
    const code = await refusal(shell.streamUrl, shell.token)
    expect(code).toBe(1008)
    expect(await refusal(shell.streamUrl, 'x'.repeat(43))).toBe(1008)
    await account.ssm.send(new TerminateSessionCommand({ SessionId: shell.sessionId }))
  })
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** The code with which a data channel is closed that opens with this token. */
async function refusal(url: string, TokenValue: string): Promise<number> {
  const socket = new WebSocket(url, { rejectUnauthorized: false })
  const closed = new Promise<number>((resolve) => socket.on('close', resolve))
  socket.on('open', () =>
    socket.send(
      JSON.stringify({
        MessageSchemaVersion: '1.0',
        RequestId: 'r',
        TokenValue,
        ClientId: 'c',
        ClientVersion: '1.2.650.0',
      }),
    ),
  )
  return closed
}
