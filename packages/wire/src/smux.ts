// smux version 1, which carries many TCP connections over the one byte stream of a port session, without I/O: bytes in,
// events out; calls in, bytes out. A frame's data is handed on as it comes, even in parts, as a view into what was
// received: nothing is held but eight bytes of header. Used by the agent (server role) and our port client (client
// role); every stream is opened by the client.
//
//   off  len  field (little-endian)
//     0    1  version  1
//     1    1  command  0 SYN, 1 FIN, 2 PSH, 3 NOP
//     2    2  length   of the data that follows; 0 for all but PSH
//     4    4  stream   3, 5, 7 ... from the client; 0 for NOP
//
// FIN ends both directions: whoever gets one answers with its own. Version 1 has no window per stream, so one slow
// reader holds up all: at `receiveBuffer` unread bytes the session is full and takes nothing more.

export const MUX_COMMAND = { SYN: 0, FIN: 1, PSH: 2, NOP: 3 } as const
export const MUX_HEADER_BYTES = 8
/** Largest data of one frame, in bytes: the official ends' setting. */
export const MUX_MAX_FRAME_BYTES = 32_768
/** Unread bytes of a whole session before it takes no more: the official ends' setting. */
export const MUX_RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
/** Streams open at once: the accept backlog of the official ends. */
export const MUX_MAX_STREAMS = 1_024
/** The official ends' keep-alive, for peers too old to have it off: a NOP each 10 s, dead after 30 to 60 s of silence. */
export const MUX_KEEP_ALIVE = { intervalMs: 10_000, timeoutMs: 30_000 } as const

const VERSION = 1
const LAST_STREAM_ID = 0xffff_ffff

export type MuxReason =
  | 'version' // not 1
  | 'command' // none of SYN, FIN, PSH, NOP
  | 'length' // data where there must be none
  | 'overflow' // bytes handed in while the session is full
  | 'unknown-stream' // a call for a stream that is not open
  | 'too-many-streams' // opened here, or all numbers used up

/** A byte stream that is not smux 1, or a call that makes no sense; after one from `receive` the session is dead. */
export class MuxError extends Error {
  readonly reason: MuxReason

  constructor(reason: MuxReason, message: string) {
    super(message)
    this.name = 'MuxError'
    this.reason = reason
  }
}

export type MuxEvent =
  | { type: 'open'; stream: number }
  /** A view into the bytes received. Give `consumed` its length once it has been written on. */
  | { type: 'data'; stream: number; bytes: Uint8Array }
  /** The peer closed the stream: after writing on what came before, answer with `close`. */
  | { type: 'end'; stream: number }
  /** To be sent to the peer as it stands. */
  | { type: 'send'; bytes: Uint8Array }

export interface MuxOptions {
  role: 'client' | 'server'
  /** Off unless given; `now` is the moment of creation in ms of the clock that `tick` is called with. */
  keepAlive?: { intervalMs: number; timeoutMs: number; now: number }
  receiveBuffer?: number
  maxStreams?: number
}

interface MuxStream {
  unread: number
  ended: boolean
}

/** One frame; data up to MUX_MAX_FRAME_BYTES. */
export function encodeMuxFrame(command: keyof typeof MUX_COMMAND, stream: number, data?: Uint8Array): Uint8Array {
  const length = data?.length ?? 0
  if (length > 0xffff) throw new MuxError('length', 'a frame holds at most 65535 bytes')
  const frame = new Uint8Array(MUX_HEADER_BYTES + length)
  writeHeader(frame, 0, MUX_COMMAND[command], length, stream)
  if (data) frame.set(data, MUX_HEADER_BYTES)
  return frame
}

function writeHeader(bytes: Uint8Array, at: number, command: number, length: number, stream: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  view.setUint8(at, VERSION)
  view.setUint8(at + 1, command)
  view.setUint16(at + 2, length, true)
  view.setUint32(at + 4, stream, true)
}

/** One multiplexed session: its streams, and how much of them has not been read yet. */
export class MuxSession {
  private readonly role: 'client' | 'server'
  private readonly receiveBuffer: number
  private readonly maxStreams: number
  private readonly streams = new Map<number, MuxStream>()
  private unread = 0
  private nextStream: number
  private failure: MuxError | undefined

  // Where the parser stands: a header not yet whole, or data of a frame still to come.
  private readonly header = new Uint8Array(MUX_HEADER_BYTES)
  private headerBytes = 0
  private dataLeft = 0
  private dataStream = 0

  private readonly keepAlive: { intervalMs: number; timeoutMs: number } | undefined
  private nextPing = 0
  private nextCheck = 0
  private heard = false

  constructor(options: MuxOptions) {
    this.role = options.role
    this.receiveBuffer = options.receiveBuffer ?? MUX_RECEIVE_BUFFER_BYTES
    this.maxStreams = options.maxStreams ?? MUX_MAX_STREAMS
    // The official client counts 1 as used before its first stream, the official server 0.
    this.nextStream = options.role === 'client' ? 3 : 2
    this.keepAlive = options.keepAlive
    if (options.keepAlive) {
      this.nextPing = options.keepAlive.now + options.keepAlive.intervalMs
      this.nextCheck = options.keepAlive.now + options.keepAlive.timeoutMs
    }
  }

  /** True when the unread bytes reach the receive buffer: hand in nothing more until `consumed` has made room. */
  get full(): boolean {
    return this.unread >= this.receiveBuffer
  }

  /** How many streams are open here. */
  get openStreams(): number {
    return this.streams.size
  }

  /** Takes bytes from the peer, cut anywhere. Throws a MuxError; from then on the session is dead. */
  receive(bytes: Uint8Array): MuxEvent[] {
    if (this.failure) throw this.failure
    if (this.full) throw this.fail('overflow', 'bytes were handed to a session that is full')
    this.heard = this.heard || bytes.length > 0
    const events: MuxEvent[] = []
    let at = 0
    while (at < bytes.length) {
      if (this.dataLeft > 0) {
        const part = bytes.subarray(at, at + this.dataLeft)
        at += part.length
        this.dataLeft -= part.length
        this.takeData(part, events)
      } else {
        const part = bytes.subarray(at, at + MUX_HEADER_BYTES - this.headerBytes)
        this.header.set(part, this.headerBytes)
        this.headerBytes += part.length
        at += part.length
        if (this.headerBytes === MUX_HEADER_BYTES) this.takeHeader(events)
      }
    }
    return events
  }

  /** Says that data handed out has been written on, so that there is room for as much again. */
  consumed(stream: number, bytes: number): void {
    const state = this.streams.get(stream)
    // A stream closed in the meantime gave its bytes back then.
    if (!state) return
    const returned = Math.min(bytes, state.unread)
    state.unread -= returned
    this.unread -= returned
  }

  /** Opens a stream: its number, and the bytes to send. */
  open(): { stream: number; bytes: Uint8Array } {
    if (this.failure) throw this.failure
    if (this.streams.size >= this.maxStreams || this.nextStream > LAST_STREAM_ID) {
      throw new MuxError('too-many-streams', 'no further stream can be opened on this session')
    }
    const stream = this.nextStream
    this.nextStream += 2
    this.streams.set(stream, { unread: 0, ended: false })
    return { stream, bytes: encodeMuxFrame('SYN', stream) }
  }

  /**
   * The bytes that carry data on a stream: one frame for each MUX_MAX_FRAME_BYTES. In parts, the data as views: whoever
   * sends them puts them together with others anyway.
   */
  write(stream: number, data: Uint8Array): Uint8Array[] {
    if (this.failure) throw this.failure
    if (!this.streams.has(stream)) throw new MuxError('unknown-stream', `stream ${stream} is not open`)
    const parts: Uint8Array[] = []
    for (let at = 0; at < data.length; at += MUX_MAX_FRAME_BYTES) {
      const part = data.subarray(at, at + MUX_MAX_FRAME_BYTES)
      const header = new Uint8Array(MUX_HEADER_BYTES)
      writeHeader(header, 0, MUX_COMMAND.PSH, part.length, stream)
      parts.push(header, part)
    }
    return parts
  }

  /** Closes a stream in both directions; the bytes to send, none when it was closed before. */
  close(stream: number): Uint8Array {
    const state = this.streams.get(stream)
    if (!state || this.failure) return new Uint8Array(0)
    this.streams.delete(stream)
    this.unread -= state.unread
    return encodeMuxFrame('FIN', stream)
  }

  /** Keep-alive: what to send now, and whether the peer has been silent for too long. Nothing while it is off. */
  tick(now: number): { bytes: Uint8Array | undefined; dead: boolean } {
    if (!this.keepAlive) return { bytes: undefined, dead: false }
    let dead = false
    if (now >= this.nextCheck) {
      // A full session reads nothing, so silence then says nothing about the peer.
      dead = !this.heard && !this.full
      this.heard = false
      this.nextCheck = now + this.keepAlive.timeoutMs
    }
    if (now < this.nextPing) return { bytes: undefined, dead }
    this.nextPing = now + this.keepAlive.intervalMs
    return { bytes: encodeMuxFrame('NOP', 0), dead }
  }

  private takeHeader(events: MuxEvent[]): void {
    const view = new DataView(this.header.buffer)
    const version = view.getUint8(0)
    const command = view.getUint8(1)
    const length = view.getUint16(2, true)
    const stream = view.getUint32(4, true)
    this.headerBytes = 0
    if (version !== VERSION) throw this.fail('version', `version ${version} is not spoken here`)
    if (command > MUX_COMMAND.NOP) throw this.fail('command', `command ${command} is unknown`)
    if (command === MUX_COMMAND.PSH) {
      this.dataLeft = length
      this.dataStream = stream
      return
    }
    if (length > 0) throw this.fail('length', `command ${command} carries ${length} bytes of data`)
    if (command === MUX_COMMAND.SYN) this.takeOpen(stream, events)
    if (command === MUX_COMMAND.FIN) this.takeEnd(stream, events)
  }

  private takeOpen(stream: number, events: MuxEvent[]): void {
    if (this.streams.has(stream)) return
    if (this.role === 'client' || this.streams.size >= this.maxStreams) {
      events.push({ type: 'send', bytes: encodeMuxFrame('FIN', stream) })
      return
    }
    this.streams.set(stream, { unread: 0, ended: false })
    events.push({ type: 'open', stream })
  }

  /** Data of a stream closed here may still be under way: it is dropped, as is data behind a FIN. */
  private takeData(bytes: Uint8Array, events: MuxEvent[]): void {
    const state = this.streams.get(this.dataStream)
    if (!state || state.ended) return
    state.unread += bytes.length
    this.unread += bytes.length
    events.push({ type: 'data', stream: this.dataStream, bytes })
  }

  private takeEnd(stream: number, events: MuxEvent[]): void {
    const state = this.streams.get(stream)
    if (!state || state.ended) return
    state.ended = true
    events.push({ type: 'end', stream })
  }

  private fail(reason: MuxReason, message: string): MuxError {
    this.failure = new MuxError(reason, message)
    return this.failure
  }
}
