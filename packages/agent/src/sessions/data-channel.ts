// The agent's end of one session's data channel: a token by POST, a WebSocket, and the reliable stream on it. It
// reconnects on its own and sends again what the lost connection may have swallowed. Owned by session.ts.

import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AgentMessage,
  acknowledgeFrame,
  buildAgentSessionState,
  buildCreateChannelRequest,
  buildOpenDataChannel,
  type ClientAction,
  DATA_MESSAGE,
  decodeAgentMessage,
  encodeAgentMessage,
  FLAG_FIN,
  FLAG_SYN,
  isStreamMessage,
  PAYLOAD_TYPE,
  type Payload,
  parseAcknowledge,
  parseChannelToken,
  type SessionState,
  type SigningCredentials,
  StreamReceiver,
  StreamSender,
} from '@musterbook/wire'
import type { WebSocket } from 'ws'
import { type Log, reason } from '../log.ts'
import { sha256, signedHeaders, type Transport } from '../transport.ts'
import type { Cipher } from './encryption.ts'

export type { ClientAction }

/** Messages and bytes under way: the relay keeps 4 MiB for a slow client. */
const WINDOW = 128
const WINDOW_BYTES = 3 * 1024 * 1024
const CREATE_TIMEOUT = 15_000
/**
 * Milliseconds that an acknowledgement waits for something to go with, and how many wait at most: a keystroke's echo and its
 * acknowledgement then cost one write on every hop instead of two. The peer repeats after 100 at the soonest.
 */
const ACKNOWLEDGE_AFTER = 2
const MAX_OWED = 8
/**
 * Pauses between attempts double from the first to the longest, in milliseconds; to a shorter one while the relay still waits
 * for a node that was there, which it does for 3.5 seconds.
 */
const FIRST_PAUSE = 100
const AWAITED_PAUSE = 300
const AWAITED = 3_500
const LONGEST_PAUSE = 2_000
/** A server that restarts is back by then; a session that is over is told so sooner. */
const GIVE_UP_AFTER = 60_000
const PING_EVERY = 20_000
const SILENCE_LIMIT = 50_000
/** What the control plane says of a session that has ended. */
const TERMINATED = 'Session is already terminated'

export interface DataChannelOptions {
  transport: Transport
  credentials: () => SigningCredentials
  instanceId: string
  sessionId: string
  /** False when it cannot be taken yet: it is not acknowledged, and comes again. */
  received(payloadType: number, payload: Uint8Array): boolean
  /** There is room again after `send` answered false. */
  writable(): void
  /** The service ended the session, or it cannot be reached any more. */
  closed(why: string): void
  log: Log
}

export interface DataChannel {
  /** Takes a message; false: wait for `writable` before the next one. */
  send(payloadType: number, payload: Payload): boolean
  /** From now on Output, StdErr and ExitCode leave encrypted, and Output arrives so. */
  encrypt(cipher: Cipher): void
  state(state: SessionState): void
  /** Resolves when all has been acknowledged, or after so many milliseconds. */
  drained(milliseconds: number): Promise<void>
  /** Offers again what `received` refused. */
  retry(): void
  close(): void
}

const ENCRYPTED = new Set<number>([PAYLOAD_TYPE.Output, PAYLOAD_TYPE.StdErr, PAYLOAD_TYPE.ExitCode])
const now = (): number => performance.now()

export function openDataChannel(options: DataChannelOptions): DataChannel {
  const { sessionId, instanceId, log } = options
  const sender = new StreamSender({
    messageType: DATA_MESSAGE.outputStreamData,
    sha256,
    newMessageId: randomUUID,
    wallClock: Date.now,
    window: WINDOW,
    windowBytes: WINDOW_BYTES,
  })
  const receiver = new StreamReceiver()
  const ended = new AbortController()
  let socket: WebSocket | undefined
  let cipher: Cipher | undefined
  let states: Uint8Array[] = []
  let timer: NodeJS.Timeout | undefined
  let wakesAt = Number.POSITIVE_INFINITY
  let waitsForRoom = false
  const waiters = new Set<() => void>()
  let owed: AgentMessage[] = []
  let paying: NodeJS.Timeout | undefined

  const isOpen = () => socket !== undefined && socket.readyState === socket.OPEN
  let wire: Socket | undefined
  let gathers = false

  /** What is sent in one go leaves in one write. */
  function put(frame: Uint8Array): void {
    if (!gathers && wire) {
      const gathering = wire
      gathers = true
      gathering.cork()
      process.nextTick(() => {
        gathers = false
        gathering.uncork()
      })
    }
    socket?.send(frame, { binary: true })
  }

  function flush(): void {
    if (!isOpen() || ended.signal.aborted) return
    const frames = sender.poll(now())
    for (const frame of frames) put(frame)
    if (frames.length > 0) payAcknowledgements()
    const next = sender.nextPollAt(now())
    if (next === undefined || next >= wakesAt) return // setting a timer anew for each frame costs as much as its digest
    clearTimeout(timer)
    wakesAt = next
    timer = setTimeout(wake, Math.max(1, next - now()))
  }

  function wake(): void {
    wakesAt = Number.POSITIVE_INFINITY
    flush()
  }

  function deliver(message: { payloadType: number; payload: Uint8Array }): boolean {
    const { payloadType, payload } = message
    const plain = cipher && payloadType === PAYLOAD_TYPE.Output ? cipher.decrypt(payload) : payload
    return options.received(payloadType, plain)
  }

  function take(data: Uint8Array): void {
    const message = decodeAgentMessage(data, sha256)
    switch (message.messageType) {
      case DATA_MESSAGE.acknowledge:
        sender.acknowledge(parseAcknowledge(message.payload).AcknowledgedMessageSequenceNumber, now())
        flush()
        if (waitsForRoom && sender.writable) {
          waitsForRoom = false
          options.writable()
        }
        if (sender.drained) for (const done of waiters) done()
        return
      case DATA_MESSAGE.channelClosed:
        finish('')
        return
      case DATA_MESSAGE.pausePublication:
        sender.pause()
        return
      case DATA_MESSAGE.startPublication:
        sender.resume()
        flush()
        return
    }
    if (!isStreamMessage(message.messageType)) return
    sender.resume()
    if (receiver.receive(message, deliver)) acknowledge(message)
  }

  function acknowledge(message: AgentMessage): void {
    owed.push(message)
    if (owed.length >= MAX_OWED) payAcknowledgements()
    else paying ??= setTimeout(payAcknowledgements, ACKNOWLEDGE_AFTER)
  }

  function payAcknowledgements(): void {
    clearTimeout(paying)
    paying = undefined
    const now = { createdDate: Date.now(), sha256 }
    for (const message of owed.splice(0)) put(acknowledgeFrame(message, { messageId: randomUUID(), ...now }))
  }

  function finish(why: string): void {
    if (ended.signal.aborted) return
    ended.abort()
    clearTimeout(timer)
    socket?.close(1000)
    const last = socket
    setTimeout(() => last?.terminate(), 1000).unref()
    for (const done of waiters) done()
    options.closed(why)
  }

  async function connect(): Promise<WebSocket> {
    const { transport } = options
    const credentials = options.credentials()
    const path = `/v1/data-channel/${encodeURIComponent(sessionId)}`
    const body = buildCreateChannelRequest(randomUUID(), '')
    const headers = signedHeaders(
      transport,
      { method: 'POST', path, body, headers: [['content-type', 'application/json']], service: 'ssmmessages' },
      credentials,
    )
    const answer = await transport.send({ method: 'POST', path, headers, body, timeoutMillis: CREATE_TIMEOUT })
    if (answer.status !== 201) {
      transport.correctClock(answer.headers.date)
      if (answer.body.includes(TERMINATED)) throw new SessionIsOver()
      throw new Error(`the control plane answered ${answer.status}`)
    }
    const token = parseChannelToken(answer.body)
    const query = 'role=publish_subscribe'
    const opened = transport.webSocket(
      `${path}?${query}`,
      signedHeaders(transport, { method: 'GET', path, query, service: 'ssmmessages' }, credentials),
    )
    await new Promise<void>((resolve, reject) => {
      opened.once('upgrade', (response) => {
        wire = response.socket
      })
      opened.once('open', resolve)
      opened.on('error', reject)
      opened.once('unexpected-response', (_request, response) => {
        response.resume()
        opened.terminate()
        reject(new Error(`the data channel was answered ${response.statusCode}`))
      })
    })
    opened.send(
      buildOpenDataChannel({
        role: 'agent',
        RequestId: randomUUID(),
        TokenValue: token,
        ClientInstanceId: instanceId,
      }),
    )
    return opened
  }

  /** Resolves when the connection is gone. */
  function life(connection: WebSocket): Promise<void> {
    return new Promise((resolve) => {
      let heard = now()
      const note = () => {
        heard = now()
      }
      const pinging = setInterval(() => {
        if (now() - heard > SILENCE_LIMIT) connection.terminate()
        else connection.ping('keepalive')
      }, PING_EVERY)
      connection.on('pong', note)
      connection.on('ping', note)
      connection.on('message', (data: Buffer) => {
        note()
        try {
          take(data)
        } catch (error) {
          log.warn('frame of a session dropped', { sessionId, reason: reason(error) })
        }
      })
      connection.on('close', () => {
        clearInterval(pinging)
        resolve()
      })
      if (connection.readyState === connection.CLOSED) connection.emit('close')
    })
  }

  async function run(): Promise<void> {
    let lostAt = now()
    let failures = 0
    while (!ended.signal.aborted) {
      try {
        socket = await connect()
        owed = [] // what was not acknowledged comes again
        if (ended.signal.aborted) return socket.terminate()
        failures = 0
        for (const state of states.splice(0)) put(state)
        const living = life(socket)
        sender.reconnected()
        flush()
        await living
        lostAt = now()
      } catch (error) {
        if (error instanceof SessionIsOver) return finish('')
        log.warn('data channel not open', { sessionId, reason: reason(error), failures })
      }
      if (now() - lostAt > GIVE_UP_AFTER) return finish('the control plane cannot be reached')
      const longest = now() - lostAt < AWAITED ? AWAITED_PAUSE : LONGEST_PAUSE
      const pause = Math.min(longest, FIRST_PAUSE * 2 ** Math.min(failures++, 10)) * (0.5 + Math.random() / 2)
      await sleep(pause, undefined, { signal: ended.signal }).catch(() => {})
    }
  }
  run().catch((error) => finish(reason(error)))

  return {
    send(payloadType, payload) {
      if (ended.signal.aborted) return true
      sender.send(payloadType, cipher && ENCRYPTED.has(payloadType) ? cipher.encrypt(inOne(payload)) : payload)
      flush()
      waitsForRoom = !sender.writable
      return !waitsForRoom
    },
    encrypt(given) {
      cipher = given
    },
    state(state) {
      const payload = buildAgentSessionState({ SessionState: state, SessionId: sessionId })
      const fields = { messageType: DATA_MESSAGE.agentSessionState, flags: FLAG_SYN | FLAG_FIN, payload }
      const frame = encodeAgentMessage({ ...fields, messageId: randomUUID(), createdDate: Date.now() }, sha256)
      if (isOpen()) put(frame)
      else states.push(frame)
    },
    drained(milliseconds) {
      if (sender.drained || ended.signal.aborted) return Promise.resolve()
      return new Promise((resolve) => {
        const done = () => {
          clearTimeout(limit)
          waiters.delete(done)
          resolve()
        }
        const limit = setTimeout(done, milliseconds)
        waiters.add(done)
      })
    },
    retry: () => receiver.drain(deliver),
    close() {
      if (ended.signal.aborted) return
      payAcknowledgements()
      ended.abort()
      clearTimeout(timer)
      states = []
      socket?.close(1000)
      const last = socket
      setTimeout(() => last?.terminate(), 1000).unref()
    },
  }
}

const inOne = (payload: Payload): Uint8Array => (payload instanceof Uint8Array ? payload : Buffer.concat(payload))

class SessionIsOver extends Error {}
