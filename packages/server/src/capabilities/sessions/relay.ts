/**
 * One session's frames between its two ends, in memory and without I/O: what the agent sends reaches the client and the
 * other way round, byte for byte. Every stream message is kept until the other end has acknowledged it, so that an end
 * that comes back is handed at once what its lost connection may have swallowed, and a double of what was acknowledged is
 * answered here (the official plugin acknowledges once only, and an agent that missed it would repeat itself for ever).
 * What is kept is bounded: at KEPT_BYTES the sending end is read no further, and never both ends at once, since each one's
 * acknowledgements are what frees the other; at twice that its messages are dropped, to be sent again. live.ts owns the sockets and the clock.
 *
 *   agent  -> output_stream_data, acknowledge  -> client
 *   client -> input_stream_data, acknowledge   -> agent
 *   agent  -> agent_session_state              -> stays here
 */
import { hash } from 'node:crypto'
import {
  AGENT_MESSAGE_PREFIX,
  type AgentMessage,
  acknowledgeFrame,
  DATA_MESSAGE,
  decodeAgentMessage,
  encodeAgentMessage,
  FrameError,
  PAYLOAD_TYPE,
  PayloadError,
  parseAcknowledge,
  parseAgentSessionState,
  type SessionState,
} from '@musterbook/wire'

export type Side = 'agent' | 'client'

/** What an end's connection can do; `send` calls back when the bytes have left this process. */
export interface Line {
  send(frame: Uint8Array, left: () => void): void
  /** Calls back when the end has received all that was sent before. */
  ask(received: () => void): void
  /** Reads no further until `resume`. */
  pause(): void
  resume(): void
}

/** Bytes of stream messages kept for an end that is slow or away: official agents have at most 1 MiB under way. */
export const KEPT_BYTES = 4 * 1024 * 1024
/** Bytes handed to a connection that have not left yet, above which the other end is read no further. */
const UNSENT_BYTES = 1024 * 1024
/** Beyond this a connection that takes nothing is given up: only acknowledgements and doubles can bring it here. */
const STUCK_BYTES = 16 * 1024 * 1024
/** Numbers that may arrive ahead of a missing one, or below the first that a relay sees: what the official plugin keeps. */
const AHEAD = 10_000
/** Payload bytes of them, acknowledged or not: a recording sets them aside until the missing one comes. */
export const AHEAD_BYTES = 2 * KEPT_BYTES
/** Doubles to a client that says nothing to them, before it is asked: plugins are silent too until their shell has begun. */
const SILENT_DOUBLES = 3
/** Frames with a wrong digest that are dropped (their sender repeats them) before the session ends. */
const MAX_DAMAGED = 100

const sha256 = (data: string | Uint8Array): string => hash('sha256', data, 'hex')

export interface RelayOptions {
  /** Milliseconds since 1970. */
  now(): number
  newId(): string
  /** The agent said how its session stands. */
  state(state: SessionState): void
  /** A stream message passed for the first time. */
  passed?(from: Side, message: AgentMessage): void
  /** An end sent what no session can go on with. */
  broken(side: Side, reason: string): void
}

interface Kept {
  frame: Uint8Array
  /** How often it came again although the other end has acknowledged later ones. */
  doubles: number
  /** The connection whose end was asked whether it has received it. */
  askedOf: Line | undefined
}

/** What one end sends and the other has not acknowledged. */
interface Direction {
  kept: Map<number, Kept>
  keptBytes: number
  /** The highest number that the other end has acknowledged here; -1 before. */
  highest: number
  /** The other end was found to be silent about doubles. */
  metSilence: boolean
  /** All numbers from the first on and below this one have been seen; `ahead` holds those seen above, with their bytes. */
  seenBelow: number
  ahead: Map<number, number>
  aheadBytes: number
  /**
   * The first number seen; undefined until then. A relay may begin in the middle of a session, and official ends send
   * what is new before they repeat what the connection swallowed: `earlier` holds numbers below that passed here.
   */
  first: number | undefined
  earlier: Set<number>
  bytes: number
}

interface End {
  line: Line | undefined
  unsent: number
  paused: boolean
  held: boolean
  sends: Direction
}

const STREAM = { agent: DATA_MESSAGE.outputStreamData, client: DATA_MESSAGE.inputStreamData } as const
const other = (side: Side): Side => (side === 'agent' ? 'client' : 'agent')

export class Relay {
  private readonly options: RelayOptions
  private readonly ends: Record<Side, End> = { agent: newEnd(), client: newEnd() }
  private damaged = 0
  private over = false
  /** The end of a handshake that waits for the acknowledgement before it. */
  private late: Uint8Array | undefined
  /** When stream data last passed, in ms since 1970. */
  lastTraffic: number

  constructor(options: RelayOptions) {
    this.options = options
    this.lastTraffic = options.now()
  }

  /** Whether the end is connected. */
  has(side: Side): boolean {
    return this.ends[side].line !== undefined
  }

  /** Payload bytes that this end has sent, each message once. */
  bytesFrom(side: Side): number {
    return this.ends[side].sends.bytes
  }

  /** Bytes kept for an end that has not acknowledged them. */
  keptFor(side: Side): number {
    return this.ends[other(side)].sends.keptBytes
  }

  /** Payload bytes that this end has been sent or will be, and has not acknowledged. */
  unreadBy(side: Side): number {
    const { kept, keptBytes } = this.ends[other(side)].sends
    return keptBytes - kept.size * AGENT_MESSAGE_PREFIX
  }

  /** Whether the end is not read because the other one is slow. */
  isPaused(side: Side): boolean {
    return this.ends[side].paused
  }

  /** A new connection of an end takes the place of an earlier one; it is sent what that one may have lost. */
  attach(side: Side, line: Line): void {
    const end = this.ends[side]
    end.line = line
    end.unsent = 0
    end.paused = false
    for (const { frame } of this.ends[other(side)].sends.kept.values()) this.put(side, frame)
    this.balance()
  }

  /** The connection is gone; a later one of the same end is not touched by this. */
  detach(side: Side, line: Line): void {
    const end = this.ends[side]
    if (end.line !== line) return
    end.line = undefined
    end.unsent = 0
    end.paused = false
    this.balance()
  }

  receive(side: Side, frame: Uint8Array): void {
    if (this.over) return
    try {
      this.take(side, frame, decodeAgentMessage(frame, sha256))
    } catch (error) {
      if (!(error instanceof FrameError || error instanceof PayloadError)) throw error
      const damagedOnly = error instanceof FrameError && error.reason === 'payload-digest'
      if (damagedOnly && ++this.damaged < MAX_DAMAGED) return
      this.over = true
      this.options.broken(side, error.message)
    }
  }

  /** Reads the end no further while whoever records it is behind. */
  hold(side: Side, isHeld: boolean): void {
    this.ends[side].held = isHeld
    this.balance()
  }

  /** Sends a message of the service itself to one end; false when it is not connected. */
  say(side: Side, messageType: string, payload: Uint8Array): boolean {
    const { now, newId } = this.options
    const { line } = this.ends[side]
    line?.send(encodeAgentMessage({ messageType, payload, messageId: newId(), createdDate: now() }, sha256), () => {})
    return line !== undefined
  }

  /** Nothing passes any more. */
  close(): void {
    this.over = true
  }

  private take(side: Side, frame: Uint8Array, message: AgentMessage): void {
    const { messageType } = message
    if (messageType === STREAM[side]) this.pass(side, frame, message)
    else if (messageType === DATA_MESSAGE.acknowledge) this.settle(side, frame, message)
    else if (messageType === DATA_MESSAGE.agentSessionState && side === 'agent')
      this.options.state(parseAgentSessionState(message.payload).SessionState)
    // What neither end sends in a session is not for the other one to see.
  }

  private pass(side: Side, frame: Uint8Array, message: AgentMessage): void {
    const { sends } = this.ends[side]
    const { sequenceNumber, payload } = message
    if (sends.first === undefined) {
      sends.first = sequenceNumber
      sends.seenBelow = sequenceNumber
    }
    if (wasSeen(sends, sequenceNumber)) {
      const kept = sends.kept.get(sequenceNumber)
      if (!kept) this.acknowledgeAgain(side, message)
      else if (this.ends[other(side)].unsent < UNSENT_BYTES) {
        this.put(other(side), frame)
        if (side === 'agent') this.askForSilent(message, kept)
      }
      return
    }
    if (sequenceNumber > sends.seenBelow + AHEAD) return // so far ahead that neither end would keep it
    if (sequenceNumber > sends.seenBelow && sends.aheadBytes + payload.length > AHEAD_BYTES) return
    if (sends.keptBytes > 2 * KEPT_BYTES) return
    note(sends, sequenceNumber, payload.length)
    sends.kept.set(sequenceNumber, { frame, doubles: 0, askedOf: undefined })
    sends.keptBytes += frame.length
    sends.bytes += payload.length
    this.lastTraffic = this.options.now()
    this.options.passed?.(side, message)
    if (side === 'agent' && this.isLate(message)) this.late = frame
    else this.put(other(side), frame)
    this.balance()
  }

  /**
   * Official agents end a handshake before they acknowledge the client's part of it, and the official plugin (1.2) makes its
   * mux for a port once it has ended: what reaches it meanwhile ends its reader by a nil pointer, and it hangs for good. So
   * the acknowledgement goes first. Should it be lost, the agent repeats both.
   */
  private isLate({ payloadType }: AgentMessage): boolean {
    return payloadType === PAYLOAD_TYPE.HandshakeComplete && this.ends.client.sends.kept.size > 0
  }

  private endHandshake(): void {
    if (this.late === undefined || this.ends.client.sends.kept.size > 0) return
    this.put('client', this.late)
    this.late = undefined
  }

  private settle(side: Side, frame: Uint8Array, message: AgentMessage): void {
    const { sends } = this.ends[other(side)]
    const { AcknowledgedMessageSequenceNumber: number } = parseAcknowledge(message.payload)
    if (sends.kept.has(number)) sends.highest = Math.max(sends.highest, number)
    drop(sends, number)
    this.put(other(side), frame)
    this.endHandshake()
    this.balance()
  }

  /**
   * The official plugin is silent about a double, also when its acknowledgement of the first was lost on its way here, and
   * an agent looks at nothing behind a message that nobody acknowledges. One that the client has received more than once
   * without a word, although it acknowledged a later one, is acknowledged in its place.
   */
  private askForSilent(message: AgentMessage, kept: Kept): void {
    const { sends } = this.ends.agent
    const { line } = this.ends.client
    const { sequenceNumber } = message
    if (!line || kept.askedOf === line || sequenceNumber > sends.highest) return
    if (++kept.doubles < (sends.metSilence ? 1 : SILENT_DOUBLES)) return
    kept.askedOf = line
    line.ask(() => {
      if (this.ends.client.line !== line || !sends.kept.has(sequenceNumber)) return
      sends.metSilence = true
      drop(sends, sequenceNumber)
      this.acknowledgeAgain('agent', message)
      this.balance()
    })
  }

  private acknowledgeAgain(side: Side, message: AgentMessage): void {
    const { now, newId } = this.options
    this.put(side, acknowledgeFrame(message, { messageId: newId(), createdDate: now(), sha256 }))
  }

  private put(side: Side, frame: Uint8Array): void {
    const end = this.ends[side]
    const { line } = end
    if (!line || this.over) return // kept, or repeated by its sender
    if (end.unsent > STUCK_BYTES) {
      this.over = true
      this.options.broken(side, 'it takes nothing of what it is sent')
      return
    }
    end.unsent += frame.length
    line.send(frame, () => {
      if (end.line !== line) return
      end.unsent -= frame.length
      this.balance()
    })
  }

  /** Reads on or stops reading, by how much waits for the other end. */
  private balance(): void {
    for (const side of ['agent', 'client'] as const) {
      const end = this.ends[side]
      const waiting = Math.max(end.sends.keptBytes / KEPT_BYTES, this.ends[other(side)].unsent / UNSENT_BYTES)
      // Reading on only at half avoids a pause for every frame.
      const full = end.paused ? waiting > 0.5 : waiting >= 1 && !this.ends[other(side)].paused
      const paused = full || end.held
      if (paused === end.paused || !end.line) continue
      end.paused = paused
      if (paused) end.line.pause()
      else end.line.resume()
    }
  }
}

const newEnd = (): End => ({ line: undefined, unsent: 0, paused: false, held: false, sends: newDirection() })

const newDirection = (): Direction => ({
  kept: new Map(),
  keptBytes: 0,
  highest: -1,
  metSilence: false,
  seenBelow: 0,
  ahead: new Map(),
  aheadBytes: 0,
  first: undefined,
  earlier: new Set(),
  bytes: 0,
})

function wasSeen({ first = 0, seenBelow, ahead, earlier }: Direction, number: number): boolean {
  // What is this far below the first was acknowledged long before it.
  if (number < first) return earlier.has(number) || number < first - AHEAD
  return number < seenBelow || ahead.has(number)
}

function note(direction: Direction, number: number, bytes: number): void {
  const { first = 0, ahead, earlier } = direction
  if (number < first) {
    earlier.add(number)
    return
  }
  ahead.set(number, bytes)
  direction.aheadBytes += bytes
  for (let next = ahead.get(direction.seenBelow); next !== undefined; next = ahead.get(direction.seenBelow)) {
    ahead.delete(direction.seenBelow++)
    direction.aheadBytes -= next
  }
}

function drop(direction: Direction, number: number): void {
  const kept = direction.kept.get(number)
  if (!kept) return
  direction.kept.delete(number)
  direction.keptBytes -= kept.frame.length
}
