// Port sessions: TCP connections from this machine, for SSH one that lives as long as the session, for forwarded ports as
// many as the client opens (smux), or one at a time with clients too old for that. No pause between frames: a slow
// client stops the connections through their sockets.

import { lookup } from 'node:dns/promises'
import { connect, type Socket } from 'node:net'
import {
  buildFlag,
  isLaterVersion,
  MUX_KEEP_ALIVE,
  MUX_KEEP_ALIVE_OFF_AFTER_CLIENT_VERSION,
  MuxSession,
  PAYLOAD_TYPE,
  parseFlag,
} from '@musterbook/wire'
import { type Kind, type KindContext, text } from './kind.ts'

/**
 * Bytes from which an Output message is sent at once; smaller reads wait for what else is there, since each message costs an
 * acknowledgement and its way through the relay. A full read of a socket has 64 KiB. The official plugin takes any size, but
 * what is larger than 128 KiB is mapped and unmapped by the relay's malloc: twice its processor time per byte.
 */
const OUTPUT_BYTES = 64 * 1024
const DIAL_TIMEOUT_MS = 10_000
/** Unwritten bytes of a single connection above which the client is made to send again. */
const MAX_UNWRITTEN = 4 * 1024 * 1024
/** The official agent speaks smux with clients from 1.1.70 on. */
const MUX_AFTER_CLIENT_VERSION = '1.1.69.999999999'
const KEEP_ALIVE_TICK_MS = 1_000

/** Where a cloud's machines find credentials and names: never for whoever forwards a port. The list is amazon-ssm-agent's. */
const DENIED = new Set([
  '169.254.169.254',
  '169.254.169.253',
  '169.254.169.123',
  '169.254.169.250',
  '169.254.169.251',
  'fd00:ec2::254',
  'fd00:ec2::253',
  'fd00:ec2::123',
  'fd00:ec2::240',
])

interface Target {
  host: string
  port: number
}

export async function startPort(context: KindContext): Promise<Kind> {
  const { properties, clientVersion } = context
  const port = Number(text(properties.portNumber))
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error('The port number is not valid.')
  const target = { host: text(properties.host), port }
  if (text(properties.type) !== 'LocalPortForwarding') return single(context, await dial(target))
  if (isLaterVersion(clientVersion, MUX_AFTER_CLIENT_VERSION)) return multiplexed(context, target)
  return basic(context, target, await dial(target))
}

/** Tries each address of the target in turn. */
async function dial({ host, port }: Target): Promise<Socket> {
  const found = await lookup(host === '' ? 'localhost' : host, { all: true, verbatim: true })
  const allowed = found.filter(({ address }) => !DENIED.has(address) && !DENIED.has(address.replace(/^::ffff:/i, '')))
  let failure: unknown = new Error(`${host} is not a host that sessions may reach.`)
  for (const { address } of allowed) {
    try {
      return await dialAddress(address, port)
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

function dialAddress(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true })
    const limit = setTimeout(() => socket.destroy(new Error(`${host}:${port} does not answer`)), DIAL_TIMEOUT_MS)
    socket.once('connect', () => {
      clearTimeout(limit)
      socket.off('error', reject)
      resolve(socket)
    })
    socket.once('error', (error) => {
      clearTimeout(limit)
      reject(error)
    })
  })
}

/** AWS-StartSSHSession: the session is the connection. */
function single(context: KindContext, socket: Socket): Kind {
  socket.on('data', (bytes: Buffer) => {
    if (!sendAll(context, bytes)) socket.pause()
  })
  socket.on('error', () => {})
  socket.on('close', () => context.ended())
  return {
    received(payloadType, payload) {
      if (payloadType === PAYLOAD_TYPE.Flag) socket.destroySoon() // what was sent before it still goes out
      if (payloadType !== PAYLOAD_TYPE.Output) return true
      if (socket.writableLength > MAX_UNWRITTEN) return false
      socket.write(payload)
      return true
    },
    writable: () => socket.resume(),
    stop: () => socket.destroy(),
  }
}

/**
 * For clients too old for smux: one connection after the other. The first is there when the session is, since a server may
 * speak first; DisconnectToPort closes it, the next byte opens another.
 */
function basic(context: KindContext, target: Target, first: Socket): Kind {
  let socket: Socket | undefined
  let early: Uint8Array[] | undefined
  let earlyBytes = 0

  function use(opened: Socket): void {
    socket = opened
    opened.on('data', (bytes: Buffer) => {
      if (socket === opened && !sendAll(context, bytes)) opened.pause()
    })
    opened.on('error', () => {})
    opened.on('close', () => {
      if (socket === opened) socket = undefined
    })
    for (const bytes of early ?? []) opened.write(bytes)
    early = undefined
    earlyBytes = 0
  }

  function open(): void {
    early = []
    dial(target).then(
      (opened) => (early ? use(opened) : opened.destroy()),
      (error) => context.ended(error instanceof Error ? error.message : 'The port cannot be reached.'),
    )
  }

  /** What was sent before still goes out; what the server answers to it is nobody's any more. */
  function disconnect(): void {
    const last = socket
    socket = undefined
    last?.resume()
    last?.destroySoon()
  }

  function stop(): void {
    early = undefined
    socket?.destroy()
    context.ended()
  }
  use(first)
  return {
    received(payloadType, payload) {
      if (payloadType === PAYLOAD_TYPE.Flag) {
        if (parseFlag(payload) === 'TerminateSession') stop()
        else disconnect()
      }
      if (payloadType !== PAYLOAD_TYPE.Output) return true
      if (!socket) {
        if (earlyBytes > MAX_UNWRITTEN) return false
        if (!early) open()
        early?.push(payload)
        earlyBytes += payload.length
        return true
      }
      if (socket.writableLength > MAX_UNWRITTEN) return false
      socket.write(payload)
      return true
    },
    writable: () => socket?.resume(),
    stop,
  }
}

/** smux: one stream for each connection of the client. */
function multiplexed(context: KindContext, target: Target): Kind {
  const keepsAlive = !isLaterVersion(context.clientVersion, MUX_KEEP_ALIVE_OFF_AFTER_CLIENT_VERSION)
  const mux = new MuxSession({
    role: 'server',
    ...(keepsAlive ? { keepAlive: { ...MUX_KEEP_ALIVE, now: performance.now() } } : {}),
  })
  const streams = new Map<number, { socket: Socket | undefined; early: Uint8Array[]; ended: boolean }>()
  let room = true
  let waiting: Uint8Array[] = []
  let waitingBytes = 0
  const ticking = keepsAlive ? setInterval(tick, KEEP_ALIVE_TICK_MS) : undefined

  /** In order, and together with what else is read before this machine's sockets have all been looked at. */
  function send(...parts: Uint8Array[]): void {
    if (waitingBytes === 0) setImmediate(flush)
    for (const part of parts) {
      if (part.length === 0) continue
      waiting.push(part)
      waitingBytes += part.length
    }
    if (waitingBytes >= OUTPUT_BYTES) flush()
  }

  function flush(): void {
    if (waitingBytes === 0) return
    const parts = waiting
    waiting = []
    waitingBytes = 0
    if (!context.send(PAYLOAD_TYPE.Output, parts)) pause()
  }

  function pause(): void {
    room = false
    for (const { socket } of streams.values()) socket?.pause()
  }

  function tick(): void {
    const { bytes, dead } = mux.tick(performance.now())
    if (bytes) send(bytes)
    if (dead) stop()
  }

  function open(stream: number): void {
    const state: { socket: Socket | undefined; early: Uint8Array[]; ended: boolean } = {
      socket: undefined,
      early: [],
      ended: false,
    }
    streams.set(stream, state)
    dial(target).then(
      (socket) => {
        if (streams.get(stream) !== state) return socket.destroy()
        state.socket = socket
        if (!room) socket.pause()
        for (const bytes of state.early.splice(0)) write(stream, socket, bytes)
        if (state.ended) socket.end()
        socket.on('data', (bytes: Buffer) => send(...mux.write(stream, bytes)))
        socket.on('error', () => {})
        socket.on('close', () => close(stream))
      },
      () => {
        context.send(PAYLOAD_TYPE.Flag, buildFlag('ConnectToPortError'))
        close(stream)
      },
    )
  }

  function write(stream: number, socket: Socket, bytes: Uint8Array): void {
    socket.write(bytes, () => mux.consumed(stream, bytes.length))
  }

  function close(stream: number): void {
    if (!streams.delete(stream)) return
    send(mux.close(stream))
  }

  function stop(): void {
    flush()
    clearInterval(ticking)
    for (const { socket } of streams.values()) socket?.destroy()
    streams.clear()
    context.ended()
  }

  function take(payload: Uint8Array): void {
    for (const event of mux.receive(payload)) {
      if (event.type === 'send') send(event.bytes)
      else if (event.type === 'open') open(event.stream)
      else {
        const state = streams.get(event.stream)
        if (event.type === 'data') {
          if (state?.socket) write(event.stream, state.socket, event.bytes)
          else state?.early.push(event.bytes)
        } else if (state) {
          state.ended = true
          // smux knows no half of a connection: what is written goes out, nothing more comes back.
          if (state.socket) state.socket.destroySoon()
          if (state.socket) close(event.stream)
        }
      }
    }
  }

  return {
    received(payloadType, payload) {
      if (payloadType === PAYLOAD_TYPE.Flag && parseFlag(payload) === 'TerminateSession') stop()
      if (payloadType !== PAYLOAD_TYPE.Output) return true
      if (mux.full) return false
      try {
        take(payload)
      } catch {
        stop() // what the client sends is no smux
      }
      return true
    },
    writable() {
      room = true
      for (const { socket } of streams.values()) socket?.resume()
    },
    stop,
  }
}

function sendAll(context: KindContext, bytes: Uint8Array): boolean {
  let room = true
  for (let at = 0; at < bytes.length; at += OUTPUT_BYTES)
    room = context.send(PAYLOAD_TYPE.Output, bytes.subarray(at, at + OUTPUT_BYTES))
  return room
}
