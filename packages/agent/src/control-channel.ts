// The node's one standing connection: a token by POST, then a WebSocket on which jobs come in and acks and replies go out.
// It reconnects for as long as the agent runs, within a fraction of a second first, then up to 30 s apart. Whatever a
// peer sends, a frame that is no AgentMessage is noted and dropped. Called by main.ts; jobs are the business of mail.ts.

import { randomUUID } from 'node:crypto'
import {
  type AgentMessage,
  buildCreateChannelRequest,
  buildOpenControlChannel,
  decodeAgentMessage,
  encodeAgentMessage,
  parseChannelToken,
  type SigningCredentials,
} from '@musterbook/wire'
import type { RawData, WebSocket } from 'ws'
import { type Log, reason } from './log.ts'
import { pause } from './pause.ts'
import { AGENT_VERSION } from './platform.ts'
import { sha256, signedHeaders, type Transport } from './transport.ts'

export interface ControlChannel {
  /** False when the channel is not open; the message is not kept. */
  send(messageType: string, messageId: string, payload: Uint8Array): boolean
  /** Connects and reconnects until the signal; never throws. */
  run(signal: AbortSignal): Promise<void>
}

export interface ControlChannelOptions {
  transport: Transport
  instanceId: string
  credentials: () => SigningCredentials
  /** Called each time the channel has opened. */
  opened(): void
  received(message: AgentMessage): void
  /** The control plane refuses our credentials. */
  refused(): void
  log: Log
}

/** Pauses between attempts in milliseconds: a random part, half at least, of the first, doubling up to the longest. */
const FIRST_PAUSE = 400
const LONGEST_PAUSE = 30_000
/** A connection that lived this many milliseconds makes the next pause short again. */
const STABLE_AFTER = 10_000
/** Pings keep gateways from closing an idle connection; the official agent sends one every 54 s. */
const PING_EVERY = 30_000
/** Without any byte for this long the peer counts as gone, in milliseconds: two pings unanswered. */
const SILENCE_LIMIT = 75_000
const CREATE_TIMEOUT = 15_000
/** The server closes what it does not drain; beyond this many unsent bytes replies wait on disk instead. */
const MAX_BUFFERED = 8 * 1024 * 1024

export function createControlChannel(options: ControlChannelOptions): ControlChannel {
  const { transport, instanceId, log } = options
  let open: WebSocket | undefined

  async function connectOnce(signal: AbortSignal): Promise<number> {
    const socket = await openControlSocket(transport, instanceId, options.credentials())
    const openedAt = Date.now()
    open = socket
    log.info('control channel open', { instanceId })
    options.opened()
    await lifeOf(socket, signal, (data, binary) => {
      const message = binary ? decoded(data, log) : undefined
      if (message) options.received(message)
    })
    open = undefined
    return Date.now() - openedAt
  }

  return {
    send(messageType, messageId, payload) {
      if (open === undefined || open.readyState !== open.OPEN || open.bufferedAmount > MAX_BUFFERED) return false
      open.send(encodeAgentMessage({ messageType, messageId, createdDate: Date.now(), payload }, sha256))
      return true
    },
    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        try {
          const lived = await connectOnce(signal)
          if (signal.aborted) return
          log.warn('control channel closed')
          if (lived > STABLE_AFTER) failures = 0
        } catch (error) {
          if (signal.aborted) return
          if (error instanceof ChannelRefused && (error.status === 401 || error.status === 403)) options.refused()
          log.warn('control channel not open', { reason: reason(error), failures })
        }
        const millis = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures) * (0.5 + Math.random() / 2)
        failures = Math.min(failures + 1, 16)
        await pause(millis, signal)
      }
    },
  }
}

/** The control plane answered the request for a channel with something else than 201. */
export class ChannelRefused extends Error {
  override name = 'ChannelRefused'
  readonly status: number
  constructor(status: number, code: string) {
    super(`the control plane answered ${status}${code === '' ? '' : ` (${code})`}`)
    this.status = status
  }
}

/** Token, upgrade and first frame; resolves with the open socket. Throws ChannelRefused and connection errors. */
export async function openControlSocket(
  transport: Transport,
  instanceId: string,
  credentials: SigningCredentials,
): Promise<WebSocket> {
  const { socket, token } = await connectControlSocket(transport, instanceId, credentials)
  const platform = process.platform === 'darwin' ? 'macos' : process.platform === 'win32' ? 'windows' : 'linux'
  const first = { RequestId: randomUUID(), TokenValue: token, AgentVersion: AGENT_VERSION, PlatformType: platform }
  socket.send(buildOpenControlChannel(first))
  return socket
}

/** The same without the first frame, which alone makes it the node's channel. */
export async function connectControlSocket(
  transport: Transport,
  instanceId: string,
  credentials: SigningCredentials,
): Promise<{ socket: WebSocket; token: string }> {
  const path = `/v1/control-channel/${instanceId}`
  const body = buildCreateChannelRequest(randomUUID())
  const post = { method: 'POST' as const, path, body, service: 'ssmmessages' }
  const headers = signedHeaders(transport, { ...post, headers: [['content-type', 'application/json']] }, credentials)
  const answer = await transport.send({ method: 'POST', path, headers, body, timeoutMillis: CREATE_TIMEOUT })
  if (answer.status !== 201) {
    transport.correctClock(answer.headers.date)
    throw new ChannelRefused(answer.status, /[A-Za-z]+(?:Exception|Error)\b/.exec(answer.body)?.[0] ?? '')
  }
  const token = parseChannelToken(answer.body)
  const query = 'role=subscribe&stream=input'
  const upgrade = signedHeaders(transport, { method: 'GET', path, query, service: 'ssmmessages' }, credentials)
  const socket = transport.webSocket(`${path}?${query}`, upgrade)
  await opening(socket)
  return { socket, token }
}

function opening(socket: WebSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('unexpected-response', (_request, response) => {
      response.resume()
      socket.terminate()
      reject(new ChannelRefused(response.statusCode ?? 0, ''))
    })
    // Stays for the socket's whole life: an error event without a listener would end the process.
    socket.on('error', reject)
  })
}

/** Resolves when the socket is closed, for whatever reason; pings it meanwhile and ends it when it is silent. */
function lifeOf(socket: WebSocket, signal: AbortSignal, onFrame: (data: RawData, binary: boolean) => void) {
  return new Promise<void>((resolve) => {
    let heard = Date.now()
    const note = () => {
      heard = Date.now()
    }
    const pinging = setInterval(() => {
      if (Date.now() - heard > SILENCE_LIMIT) socket.terminate()
      else socket.ping('keepalive')
    }, PING_EVERY)
    const end = () => {
      socket.close(1001)
      // A peer that does not answer the close within a second has had its time.
      setTimeout(() => socket.terminate(), 1000).unref()
    }
    signal.addEventListener('abort', end, { once: true })
    socket.on('pong', note)
    socket.on('ping', note)
    socket.on('message', (data, binary) => {
      note()
      onFrame(data, binary)
    })
    socket.on('close', () => {
      clearInterval(pinging)
      signal.removeEventListener('abort', end)
      resolve()
    })
    if (signal.aborted) end()
    // Closed between its opening and this line.
    if (socket.readyState === socket.CLOSED) socket.emit('close')
  })
}

function decoded(data: RawData, log: Log): AgentMessage | undefined {
  const bytes = Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? new Uint8Array(data) : data
  try {
    return decodeAgentMessage(bytes)
  } catch (error) {
    log.warn('frame dropped', { reason: reason(error), bytes: bytes.byteLength })
    return undefined
  }
}
