/**
 * `musterbook session <node>`, `musterbook forward <node> --local 8080 [--remote host:port | --port n]`: sessions for
 * machines without session-manager-plugin, and the ProxyCommand of ssh. Credentials are those of the environment, or of
 * the data folder. Standard output carries what the session says and nothing else.
 */
import { DATA_KEY_BYTES, sessionCipher } from '@musterbook/agent/encryption'
import type { JsonValue } from '@musterbook/wire'
import { readAccess, readWords, WHERE_USAGE } from './access.ts'
import { call, callKms } from './client.ts'
import { ConfigError } from './config-error.ts'
import { forwardPort } from './port-forward.ts'
import { openSession, resumedBy, type SessionKey, type SessionOptions } from './session-client.ts'
import { nodeHost } from './session-host.ts'
import type { ControlPlane } from './signed-request.ts'

export const SESSION_HELP = `musterbook session <node> [--document name] [--parameter name=value]... [--parameters json] [--reason text]
    a shell on the node; with a document, what that document starts. As ProxyCommand of ssh:
    musterbook session %h --document AWS-StartSSHSession --parameter portNumber=%p
musterbook forward <node> [--local port] (--port port | --remote host:port)
    a local port, a free one unless it is named, that leads to a port of the node or to a host that the node can reach
musterbook sessions play <id> | verify <id> | search <text>
    the recording of a session; play writes asciicast v2 where it writes to no terminal
${WHERE_USAGE}`

/** How long an agent may take to end a session at its client's word. */
const LAST_WORD_MS = 3_000

/**
 * Ctrl-D, by which a terminal tells its program that the input is at its end: one hands on a line that was not ended, one ends
 * the program that reads it, one the shell behind it.
 */
const END_OF_INPUT = Uint8Array.of(4, 4, 4)

interface Started {
  SessionId: string
  TokenValue: string
  StreamUrl: string
}

export async function runSessionCommand([command = '', ...rest]: string[]): Promise<void> {
  const { values, positionals } = readArguments(rest)
  const [node] = positionals
  if (values.help || node === undefined) {
    process.stdout.write(SESSION_HELP)
    if (!values.help) process.exitCode = 1
    return
  }
  const access = await readAccess(values)
  if (command === 'sessions') {
    const { runRecordings } = await import('./recordings.ts')
    process.exitCode = await runRecordings(access, positionals)
  } else if (command === 'session') await shell(access, node, values)
  else if (command === 'forward') await forward(access, node, values)
  else throw new ConfigError(`musterbook ${command}: there is no such command`)
}

function readArguments(args: string[]) {
  const text = { type: 'string' } as const
  return readWords(args, {
    document: text,
    parameters: text,
    parameter: { type: 'string', multiple: true },
    reason: text,
    local: text,
    port: text,
    remote: text,
  })
}

type Values = ReturnType<typeof readArguments>['values']

async function start(
  access: ControlPlane,
  input: { Target: string; [member: string]: unknown },
): Promise<Omit<SessionOptions, 'events'>> {
  const { SessionId, TokenValue, StreamUrl } = await call<Started>(access, 'StartSession', input)
  return {
    host: nodeHost(access.ca, access.trusted),
    sessionId: SessionId,
    token: TokenValue,
    streamUrl: StreamUrl,
    resume: async () => resumedBy(await call<Partial<Started>>(access, 'ResumeSession', { SessionId })),
    key: (keyId, challenge, sessionId) => dataKey(access, keyId, { sessionId, target: input.Target, challenge }),
  }
}

/** The key of an encrypted session: made by KMS for this session and node, so that the node can open it and nobody else. */
async function dataKey(
  access: ControlPlane,
  KeyId: string,
  bound: { sessionId: string; target: string; challenge: string },
): Promise<SessionKey> {
  const EncryptionContext = {
    'aws:ssm:SessionId': bound.sessionId,
    'aws:ssm:TargetId': bound.target,
    ...(bound.challenge === '' ? {} : { 'aws:ssm:RandomChallenge': bound.challenge }),
  }
  const input = { KeyId, NumberOfBytes: DATA_KEY_BYTES, EncryptionContext }
  const made = await callKms<{ Plaintext: string; CiphertextBlob: string }>(access, 'GenerateDataKey', input)
  return { cipher: sessionCipher(Buffer.from(made.Plaintext, 'base64'), 'client'), ciphertext: made.CiphertextBlob }
}

const terminate = (access: ControlPlane, SessionId: string) =>
  call(access, 'TerminateSession', { SessionId }).catch(() => {})

/** The terminal is raw while the session lasts, and as it was when it ends, however it ends. */
async function shell(access: ControlPlane, node: string, values: Values): Promise<void> {
  const options = await start(access, {
    Target: node,
    DocumentName: values.document,
    Parameters: parametersOf(values),
    Reason: values.reason,
  })
  const { stdin, stdout, stderr } = process
  const restore = () => {
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.destroy() // otherwise an open pipe keeps the process
  }
  const reason = await new Promise<string>((resolve) => {
    const end = (words: string) => void terminate(access, options.sessionId).then(() => resolve(words))
    const client = openSession({
      ...options,
      events: {
        ready({ sessionType, properties }) {
          if (sessionType !== 'Port') {
            takeInput()
            stdin.once('end', () => client.write(END_OF_INPUT))
            return
          }
          if (isForwarded(properties)) return end('This document opens a local port: use musterbook forward.')
          takeInput()
          // A port knows no half of a connection: at the end of the input the agent closes it, and the session ends.
          stdin.once('end', () =>
            client.finish(() => {
              client.flag('TerminateSession')
              setTimeout(() => end(''), LAST_WORD_MS).unref()
            }),
          )
        },
        output(bytes) {
          if (stdout.write(bytes)) return
          client.pause()
          stdout.once('drain', () => client.resume())
        },
        error: (bytes) => void stderr.write(bytes),
        exitCode: (code) => {
          process.exitCode = code & 0xff
        },
        notice: (text) => void stderr.write(`${text}\r\n`),
        flag: () => {},
        writable: () => void stdin.resume(),
        // Said here, the control plane may not know it yet.
        ended: (words) => (words === '' ? resolve(words) : end(words)),
      },
    })
    function takeInput(): void {
      resize()
      stdout.on('resize', resize)
      if (stdin.isTTY) stdin.setRawMode(true)
      stdin.on('data', (bytes: Buffer) => {
        if (!client.write(bytes)) stdin.pause()
      })
    }
    function resize(): void {
      if (stdout.columns && stdout.rows) client.resize({ cols: stdout.columns, rows: stdout.rows })
    }
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const)
      process.once(signal, () => end(`The session was ended by ${signal}.`))
    stdout.on('error', () => end('')) // whoever read it is gone
  }).finally(restore)
  if (reason === '') return
  stderr.write(`\n${reason}\n`)
  process.exitCode ??= 1
}

const isForwarded = (properties: JsonValue): boolean =>
  typeof properties === 'object' &&
  properties !== null &&
  'type' in properties &&
  properties.type === 'LocalPortForwarding'

function parametersOf({ parameters, parameter = [] }: Values): Record<string, unknown> | undefined {
  if (parameters === undefined && parameter.length === 0) return undefined
  const all: Record<string, unknown> = parameters === undefined ? {} : fromJson(parameters)
  for (const pair of parameter) {
    const at = pair.indexOf('=')
    if (at < 1) throw new ConfigError('--parameter takes name=value')
    const name = pair.slice(0, at)
    const before = all[name]
    all[name] = [...(Array.isArray(before) ? before : []), pair.slice(at + 1)]
  }
  return all
}

function fromJson(json: string): Record<string, unknown> {
  try {
    return JSON.parse(json) as Record<string, unknown>
  } catch {
    throw new ConfigError(`--parameters takes JSON such as '{"command":["uptime"]}'`)
  }
}

async function forward(access: ControlPlane, node: string, values: Values): Promise<void> {
  const options = await start(access, { Target: node, ...targetOf(values) })
  const forwarded = await forwardPort({
    ...options,
    localHost: '127.0.0.1',
    localPort: portOf('--local', values.local ?? '0', 0),
    unreachable: () => void process.stderr.write('The node cannot reach the target.\n'),
  }).catch(async (error: Error) => {
    await terminate(access, options.sessionId)
    throw new ConfigError(error.message)
  })
  process.stdout.write(
    `127.0.0.1:${forwarded.port} leads to ${values.remote ?? `port ${values.port}`} through ${node}\n`,
  )
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.once(signal, () => forwarded.close())
  const reason = await forwarded.ended
  await terminate(access, options.sessionId)
  if (reason !== '') process.stderr.write(`${reason}\n`)
}

function targetOf({ remote, port, local }: Values) {
  const localPortNumber = [local ?? '0']
  if (remote !== undefined) {
    const colon = remote.lastIndexOf(':')
    const host = remote.slice(0, colon).replace(/^\[|\]$/g, '')
    const portNumber = String(portOf('--remote', remote.slice(colon + 1), 1))
    if (colon < 1 || host === '') throw new ConfigError('--remote takes host:port')
    return {
      DocumentName: 'AWS-StartPortForwardingSessionToRemoteHost',
      Parameters: { host: [host], portNumber: [portNumber], localPortNumber },
    }
  }
  if (port === undefined) throw new ConfigError('forward takes --port or --remote')
  return {
    DocumentName: 'AWS-StartPortForwardingSession',
    Parameters: { portNumber: [String(portOf('--port', port, 1))], localPortNumber },
  }
}

function portOf(flag: string, text: string, least: number): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < least || port > 65_535) throw new ConfigError(`${flag} takes a port number`)
  return port
}
