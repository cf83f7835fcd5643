// The reliable stream between the two ends of a session, as twins without I/O: a sender that numbers, keeps and repeats,
// a receiver that orders, drops doubles and acknowledges. Time is handed in (ms of any steady clock), frames are handed
// out. Sequence numbers, acknowledgements and timings are those of the official agent and plugin; two faults of theirs
// are not: a message is stored before it is sent, and a double is always acknowledged again, since an acknowledgement
// that was lost would otherwise block the peer for good. Used by the agent, our own clients and the console's terminal.
//
//   send -> [unsent ... sent ... sent] -> poll -> wire        one number per message over all payload types, from 0
//           acknowledged by number, each on its own           only the oldest is sent again, after the timeout
//   wire -> receive -> expected? deliver, then those behind it : later? keep : earlier? acknowledge, drop

import { type AgentMessage, encodeAgentMessage, FLAG_SYN, type Payload, payloadBytes } from './agent-message.ts'
import type { DATA_MESSAGE } from './data-channel.ts'
import type { Sha256 } from './sigv4.ts'

/** Messages under way before `writable` turns false: 1000 of 1 KiB are a megabyte per round trip. */
export const STREAM_WINDOW = 1_000
/** Messages kept at most, sent or received out of order: what the official plugin keeps. */
export const STREAM_CAPACITY = 10_000
/** Bytes kept at most on either side; official ends cut at 1 KiB, so that is 16 times what a full window holds. */
export const STREAM_CAPACITY_BYTES = 16 * 1024 * 1024

// The filter of both official ends, in ms: RFC 6298's shape with a shorter floor and ceiling.
const INITIAL_RTT_MS = 100
const INITIAL_TIMEOUT_MS = 200
const MAX_TIMEOUT_MS = 1_000
const CLOCK_GRANULARITY_MS = 10
/** The official schedulers look every 100 ms, so nothing is ever sent again sooner. */
const RESEND_TICK_MS = 100

export class StreamError extends Error {
  readonly reason: 'capacity'

  constructor(message: string) {
    super(message)
    this.name = 'StreamError'
    this.reason = 'capacity'
  }
}

export interface SenderOptions {
  /** input_stream_data for a client, output_stream_data for an agent (whose first message carries FLAG_SYN). */
  messageType: typeof DATA_MESSAGE.inputStreamData | typeof DATA_MESSAGE.outputStreamData
  sha256: Sha256
  /** A new UUID for each message. */
  newMessageId: () => string
  /** Milliseconds since 1970 for CreatedDate. */
  wallClock: () => number
  /** Messages under way before `writable` turns false, 1 to STREAM_CAPACITY. */
  window?: number
  /** Bytes of frames under way before `writable` turns false; STREAM_CAPACITY_BYTES unless given. */
  windowBytes?: number
}

interface Outgoing {
  sequenceNumber: number
  frame: Uint8Array
  /** undefined until it has been sent once. */
  lastSent: number | undefined
  attempts: number
}

/** Numbers messages, keeps them until they are acknowledged, and sends the oldest again when that takes too long. */
export class StreamSender {
  private readonly options: SenderOptions
  private readonly window: number
  private readonly windowBytes: number
  // A Map keeps insertion order, so its first entry is the oldest, and deleting any is O(1).
  private readonly outgoing = new Map<number, Outgoing>()
  private unsent: Outgoing[] = []
  private bytes = 0
  private nextSequenceNumber = 0
  private paused = false
  private rtt = INITIAL_RTT_MS
  private rttVariation = 0
  private timeout = INITIAL_TIMEOUT_MS

  constructor(options: SenderOptions) {
    this.options = options
    this.window = Math.min(options.window ?? STREAM_WINDOW, STREAM_CAPACITY)
    this.windowBytes = Math.min(options.windowBytes ?? STREAM_CAPACITY_BYTES, STREAM_CAPACITY_BYTES)
  }

  /** False while a window's worth is under way: stop reading the source until an acknowledgement turns it true. */
  get writable(): boolean {
    return !this.paused && this.outgoing.size < this.window && this.bytes < this.windowBytes
  }

  /** True when all that was sent has been acknowledged. */
  get drained(): boolean {
    return this.outgoing.size === 0
  }

  /** How often the oldest message has been sent: the plugin gives the session up after 3000. */
  get oldestAttempts(): number {
    return this.oldest()?.attempts ?? 0
  }

  /** The present retransmission timeout in ms. */
  get timeoutMs(): number {
    return this.timeout
  }

  /**
   * Takes one message; `poll` hands its frame out. Messages that cannot wait (an exit code) may go beyond the window;
   * beyond STREAM_CAPACITY a StreamError is thrown and nothing is lost that was taken before.
   */
  send(payloadType: number, payload: Payload): void {
    if (this.outgoing.size >= STREAM_CAPACITY || this.bytes + payloadBytes(payload) > 2 * STREAM_CAPACITY_BYTES) {
      throw new StreamError('the peer acknowledges too slowly: more messages are under way than either end keeps')
    }
    const { messageType, sha256, newMessageId, wallClock } = this.options
    const sequenceNumber = this.nextSequenceNumber++
    const first = sequenceNumber === 0 && messageType === 'output_stream_data'
    const fields = {
      messageType,
      createdDate: wallClock(),
      messageId: newMessageId(),
      sequenceNumber,
      payloadType,
      payload,
    }
    const frame = encodeAgentMessage({ ...fields, flags: first ? FLAG_SYN : 0 }, sha256)
    const entry: Outgoing = { sequenceNumber, frame, lastSent: undefined, attempts: 0 }
    this.outgoing.set(sequenceNumber, entry)
    this.unsent.push(entry)
    this.bytes += frame.length
  }

  /** The frames to put on the wire now: all that were never sent, and the oldest if its timeout has run out. */
  poll(now: number): Uint8Array[] {
    if (this.paused) return []
    const frames: Uint8Array[] = []
    const oldest = this.oldest()
    for (const entry of this.unsent) {
      if (this.outgoing.has(entry.sequenceNumber)) frames.push(sent(entry, now))
    }
    if (oldest?.lastSent !== undefined && now - oldest.lastSent > this.resendAfter()) {
      frames.unshift(sent(oldest, now))
    }
    this.unsent = []
    return frames
  }

  /** When `poll` next has something to do if nothing else happens; undefined when it has not. */
  nextPollAt(now: number): number | undefined {
    if (this.paused) return undefined
    if (this.unsent.length > 0) return now
    const oldest = this.oldest()
    // poll asks for strictly more than the timeout, and a timer of whole milliseconds must not wake just before.
    return oldest?.lastSent === undefined ? undefined : Math.floor(oldest.lastSent + this.resendAfter()) + 1
  }

  /** Takes an acknowledgement; false when the number was acknowledged before or is not under way. */
  acknowledge(sequenceNumber: number, now: number): boolean {
    // Whoever acknowledges is there: the official agent takes that as the end of a pause, too.
    this.paused = false
    const entry = this.outgoing.get(sequenceNumber)
    if (entry?.lastSent === undefined) return false
    this.outgoing.delete(sequenceNumber)
    this.bytes -= entry.frame.length
    this.measure(Math.max(0, now - entry.lastSent))
    return true
  }

  /** pause_publication: nothing leaves until `resume` or an acknowledgement. */
  pause(): void {
    this.paused = true
  }

  /** start_publication, incoming stream data, or a new connection. */
  resume(): void {
    this.paused = false
  }

  /**
   * A new connection: what was under way on the old one may be lost, and repeating only the oldest would mend a full
   * window in minutes. All of it goes out again, byte for byte; receivers drop what they have.
   */
  reconnected(): void {
    this.paused = false
    this.unsent = [...this.outgoing.values()]
  }

  private measure(sample: number): void {
    this.rttVariation = 0.75 * this.rttVariation + 0.25 * Math.abs(this.rtt - sample)
    this.rtt = 0.875 * this.rtt + 0.125 * sample
    this.timeout = Math.min(MAX_TIMEOUT_MS, this.rtt + Math.max(CLOCK_GRANULARITY_MS, 4 * this.rttVariation))
  }

  private resendAfter(): number {
    return Math.max(RESEND_TICK_MS, this.timeout)
  }

  private oldest(): Outgoing | undefined {
    return this.outgoing.values().next().value
  }
}

function sent(entry: Outgoing, now: number): Uint8Array {
  entry.lastSent = now
  entry.attempts++
  return entry.frame
}

/** Takes a message in order; false when it cannot yet (nobody listens, a buffer is full): it will be offered again. */
export type Deliver = (message: AgentMessage) => boolean

export interface ReceiverOptions {
  /** Messages kept out of order at most. */
  capacity?: number
  /** Payload bytes kept out of order at most. */
  capacityBytes?: number
}

/** Puts messages in order, each exactly once, and says which to acknowledge. */
export class StreamReceiver {
  private readonly capacity: number
  private readonly capacityBytes: number
  private readonly early = new Map<number, AgentMessage>()
  private earlyBytes = 0
  private expected = 0

  constructor(options: ReceiverOptions = {}) {
    this.capacity = options.capacity ?? STREAM_CAPACITY
    this.capacityBytes = options.capacityBytes ?? STREAM_CAPACITY_BYTES
  }

  /** The number that is delivered next; all below it have been delivered. */
  get expectedSequenceNumber(): number {
    return this.expected
  }

  /** How many messages wait for an earlier one. */
  get waiting(): number {
    return this.early.size
  }

  /**
   * Takes one stream message and delivers what is now in order. True: acknowledge it. False: say nothing, the peer
   * will send it again (it was refused by `deliver`, or there is no room left for one so far ahead).
   */
  receive(message: AgentMessage, deliver: Deliver): boolean {
    const { sequenceNumber, payload } = message
    if (sequenceNumber < this.expected || this.early.has(sequenceNumber)) {
      this.drain(deliver)
      return true
    }
    if (sequenceNumber === this.expected) {
      if (!deliver(message)) return false
      this.expected++
      this.drain(deliver)
      return true
    }
    if (sequenceNumber > this.expected + this.capacity || this.early.size >= this.capacity) return false
    if (this.earlyBytes + payload.length > this.capacityBytes) return false
    this.early.set(sequenceNumber, message)
    this.earlyBytes += payload.length
    return true
  }

  /** Delivers what is in order already: to be called when whoever refused a message can take one again. */
  drain(deliver: Deliver): void {
    for (;;) {
      const message = this.early.get(this.expected)
      if (message === undefined || !deliver(message)) return
      this.early.delete(this.expected)
      this.earlyBytes -= message.payload.length
      this.expected++
    }
  }
}
