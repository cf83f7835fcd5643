// The reliable stream over a wire that loses, doubles, reorders, cuts and flips, in simulated time.

import { createHash } from 'node:crypto'
import {
  type AgentMessage,
  acknowledgeFrame,
  DATA_MESSAGE,
  decodeAgentMessage,
  FrameError,
  isStreamMessage,
  PAYLOAD_TYPE,
  parseAcknowledge,
  type Sha256,
  STREAM_CAPACITY,
  STREAM_WINDOW,
  StreamError,
  StreamReceiver,
  StreamSender,
} from '@musterbook/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const sha256: Sha256 = (data) => createHash('sha256').update(data).digest('hex')

let ids = 0
const newMessageId = () => `00000000-0000-4000-8000-${(ids++).toString(16).padStart(12, '0')}`
const newSender = (over: { window?: number; messageType?: 'input_stream_data' | 'output_stream_data' } = {}) =>
  new StreamSender({
    messageType: 'output_stream_data',
    sha256,
    newMessageId,
    wallClock: () => 1_503_434_274_948,
    ...over,
  })

const message = (sequenceNumber: number, payload = Uint8Array.of(sequenceNumber & 0xff)): AgentMessage => ({
  messageType: 'output_stream_data',
  schemaVersion: 1,
  createdDate: 1,
  sequenceNumber,
  flags: 0,
  messageId: newMessageId(),
  payloadType: 1,
  payload,
})
const bytes = (length: number) => new Uint8Array(length)
const acceptAll = () => true

type Fate = 'pass' | 'lose' | 'double' | 'late' | 'cut' | 'flip'
const fates = fc.infiniteStream(fc.constantFrom<Fate>('pass', 'pass', 'pass', 'lose', 'double', 'late', 'cut', 'flip'))

/** Frames on their way, each with the time at which it arrives; the last 20 simulated seconds are without faults. */
class BadWire {
  private readonly fates: Iterator<Fate>
  private readonly faultyUntil: number
  private underWay: Array<{ at: number; frame: Uint8Array }> = []
  private count = 0

  constructor(kinds: Iterator<Fate>, faultyUntil: number) {
    this.fates = kinds
    this.faultyUntil = faultyUntil
  }

  put(frame: Uint8Array, now: number): void {
    const fate = now < this.faultyUntil ? this.fates.next().value : 'pass'
    this.count++
    switch (fate) {
      case 'lose':
        return
      case 'double':
        this.underWay.push({ at: now + 20, frame }, { at: now + 90, frame })
        return
      case 'late':
        this.underWay.push({ at: now + 300, frame })
        return
      case 'cut':
        this.underWay.push({ at: now + 20, frame: frame.subarray(0, (this.count * 31) % frame.length) })
        return
      case 'flip': {
        // Payload and digest only: the format has no sum over its header, which is left to TLS.
        const flipped = frame.slice()
        const at = this.count % 2 === 0 ? 80 + (this.count % 32) : 120 + (this.count % Math.max(1, frame.length - 120))
        flipped[at] = (flipped[at] as number) ^ 4
        this.underWay.push({ at: now + 20, frame: flipped })
        return
      }
      default:
        this.underWay.push({ at: now + 20, frame })
    }
  }

  arrived(now: number): Uint8Array[] {
    const due = this.underWay.filter((one) => one.at <= now)
    this.underWay = this.underWay.filter((one) => one.at > now)
    return due.sort((a, b) => a.at - b.at).map((one) => one.frame)
  }
}

function readable(frame: Uint8Array): AgentMessage | undefined {
  try {
    return decodeAgentMessage(frame, sha256)
  } catch (error) {
    expect(error).toBeInstanceOf(FrameError)
    return undefined
  }
}

describe('a stream over a bad wire', () => {
  it('arrives whole, in order and once, and both ends come to rest', () => {
    const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 60 })
    fc.assert(
      fc.property(chunks, fates, fc.integer({ min: 1, max: 40 }), fc.nat(6), (sent, kinds, window, refusals) => {
        const sender = newSender({ window })
        const receiver = new StreamReceiver({ capacity: 16 })
        const there = new BadWire(kinds, 5_000)
        const back = new BadWire(kinds, 5_000)
        const arrived: Uint8Array[] = []
        const queue = [...sent]
        let refusalsLeft = refusals
        const deliver = (incoming: AgentMessage) => {
          if (refusalsLeft > 0 && arrived.length % 3 === 1) {
            refusalsLeft--
            return false
          }
          arrived.push(incoming.payload)
          return true
        }
        for (
          let now = 0;
          now < 25_000 && !(queue.length === 0 && sender.drained && receiver.waiting === 0);
          now += 10
        ) {
          while (queue.length > 0 && sender.writable) sender.send(PAYLOAD_TYPE.Output, queue.shift() as Uint8Array)
          for (const frame of sender.poll(now)) there.put(frame, now)
          for (const frame of there.arrived(now)) {
            const incoming = readable(frame)
            if (!incoming || !isStreamMessage(incoming.messageType)) continue
            if (!receiver.receive(incoming, deliver)) continue
            back.put(acknowledgeFrame(incoming, { messageId: newMessageId(), createdDate: 1, sha256 }), now)
          }
          receiver.drain(deliver)
          for (const frame of back.arrived(now)) {
            const incoming = readable(frame)
            if (incoming?.messageType !== DATA_MESSAGE.acknowledge) continue
            sender.acknowledge(parseAcknowledge(incoming.payload).AcknowledgedMessageSequenceNumber, now)
          }
        }
        expect(arrived).toEqual(sent)
        expect(sender.drained).toBe(true)
        expect(receiver.waiting).toBe(0)
        expect(receiver.expectedSequenceNumber).toBe(sent.length)
      }),
      { numRuns: 60 },
    )
  })
})

describe('a sender', () => {
  it('numbers from 0 over all payload types, and only an agent marks its first message', () => {
    const agent = newSender()
    agent.send(PAYLOAD_TYPE.HandshakeRequest, bytes(1))
    agent.send(PAYLOAD_TYPE.Output, bytes(1))
    const frames = agent.poll(0).map((frame) => decodeAgentMessage(frame, sha256))
    expect(frames.map((frame) => [frame.sequenceNumber, frame.flags, frame.payloadType])).toEqual([
      [0, 1, 5],
      [1, 0, 1],
    ])
    const client = newSender({ messageType: 'input_stream_data' })
    client.send(PAYLOAD_TYPE.Size, bytes(1))
    expect(client.poll(0).map((frame) => decodeAgentMessage(frame).flags)).toEqual([0])
  })

  it('sends only the oldest again, byte for byte, after 200 ms at first', () => {
    const sender = newSender()
    for (let at = 0; at < 3; at++) sender.send(1, Uint8Array.of(at))
    const first = sender.poll(0)
    expect(first).toHaveLength(3)
    expect(sender.poll(200)).toEqual([])
    expect(sender.nextPollAt(200)).toBe(201)
    expect(sender.poll(201)).toEqual([first[0]])
    expect(sender.poll(202)).toEqual([])
    expect(sender.oldestAttempts).toBe(2)
    expect(sender.acknowledge(0, 210)).toBe(true)
    expect(sender.poll(500)).toEqual([first[1]])
  })

  it('follows the round trip as the official ends do', () => {
    const sender = newSender()
    sender.send(1, bytes(1))
    sender.poll(0)
    sender.acknowledge(0, 20)
    // RTTVAR = 1/4 * |100 - 20| = 20, RTT = 7/8 * 100 + 1/8 * 20 = 90, so 90 + 4 * 20.
    expect(sender.timeoutMs).toBe(170)
    sender.send(1, bytes(1))
    sender.poll(1_000)
    sender.acknowledge(1, 60_000)
    expect(sender.timeoutMs).toBe(1_000)
  })

  it('takes acknowledgements in any order, each once', () => {
    const sender = newSender()
    for (let at = 0; at < 3; at++) sender.send(1, bytes(1))
    sender.poll(0)
    expect(sender.acknowledge(2, 1)).toBe(true)
    expect(sender.acknowledge(2, 1)).toBe(false)
    expect(sender.acknowledge(99, 1)).toBe(false)
    expect(sender.drained).toBe(false)
    sender.acknowledge(0, 1)
    sender.acknowledge(1, 1)
    expect(sender.drained).toBe(true)
    expect(sender.nextPollAt(5)).toBeUndefined()
  })

  it('stops its source at the window and refuses beyond its capacity', () => {
    const sender = newSender()
    for (let at = 0; at < STREAM_WINDOW; at++) {
      expect(sender.writable).toBe(true)
      sender.send(1, bytes(1))
    }
    expect(sender.writable).toBe(false)
    for (let at = STREAM_WINDOW; at < STREAM_CAPACITY; at++) sender.send(1, bytes(1))
    expect(() => sender.send(1, bytes(1))).toThrow(StreamError)
    expect(sender.poll(0)).toHaveLength(STREAM_CAPACITY)
    sender.acknowledge(5_000, 1)
    sender.send(1, bytes(1))
    expect(decodeAgentMessage(sender.poll(2)[0] as Uint8Array).sequenceNumber).toBe(STREAM_CAPACITY)
  })

  it('is silent while paused and goes on after a start or an acknowledgement', () => {
    const sender = newSender()
    sender.send(1, bytes(1))
    sender.poll(0)
    sender.pause()
    sender.send(1, bytes(1))
    expect(sender.writable).toBe(false)
    expect(sender.poll(10_000)).toEqual([])
    expect(sender.nextPollAt(10_000)).toBeUndefined()
    sender.acknowledge(0, 10_001)
    expect(sender.poll(10_002)).toHaveLength(1)
    sender.pause()
    sender.resume()
    expect(sender.poll(20_000)).toHaveLength(1)
  })

  it('repeats all that was under way on a new connection', () => {
    const sender = newSender()
    for (let at = 0; at < 4; at++) sender.send(1, Uint8Array.of(at))
    const first = sender.poll(0)
    sender.acknowledge(1, 5)
    sender.reconnected()
    sender.send(1, Uint8Array.of(4))
    sender.acknowledge(2, 6)
    const again = sender.poll(10_000)
    expect(again.slice(0, 2)).toEqual([first[0], first[3]])
    expect(again).toHaveLength(3)
    expect(sender.poll(10_001)).toEqual([])
  })
})

describe('a receiver', () => {
  it('keeps what is early, delivers it in order, and acknowledges doubles again', () => {
    const receiver = new StreamReceiver()
    const delivered: number[] = []
    const deliver = (incoming: AgentMessage) => delivered.push(incoming.sequenceNumber) > 0
    expect(receiver.receive(message(2), deliver)).toBe(true)
    expect(receiver.receive(message(1), deliver)).toBe(true)
    expect(receiver.receive(message(1), deliver)).toBe(true)
    expect(delivered).toEqual([])
    expect(receiver.receive(message(0), deliver)).toBe(true)
    expect(delivered).toEqual([0, 1, 2])
    expect(receiver.receive(message(1), deliver)).toBe(true)
    expect(delivered).toEqual([0, 1, 2])
  })

  it('does not acknowledge what nobody takes, and loses nothing that it has acknowledged', () => {
    const receiver = new StreamReceiver()
    const delivered: number[] = []
    let ready = false
    const deliver = (incoming: AgentMessage) => ready && delivered.push(incoming.sequenceNumber) > 0
    expect(receiver.receive(message(1), deliver)).toBe(true)
    expect(receiver.receive(message(0), deliver)).toBe(false)
    expect(receiver.expectedSequenceNumber).toBe(0)
    ready = true
    expect(receiver.receive(message(0), deliver)).toBe(true)
    expect(delivered).toEqual([0, 1])
  })

  it('keeps no more than its capacity, in messages and in bytes', () => {
    const receiver = new StreamReceiver({ capacity: 3, capacityBytes: 10 })
    expect(receiver.receive(message(1, bytes(4)), acceptAll)).toBe(true)
    expect(receiver.receive(message(2, bytes(7)), acceptAll)).toBe(false)
    expect(receiver.receive(message(2, bytes(6)), acceptAll)).toBe(true)
    expect(receiver.receive(message(3, bytes(1)), acceptAll)).toBe(false)
    expect(receiver.receive(message(2 ** 53 - 1, bytes(0)), acceptAll)).toBe(false)
    expect(receiver.waiting).toBe(2)
    receiver.receive(message(0), acceptAll)
    expect(receiver.waiting).toBe(0)
    expect(receiver.receive(message(4, bytes(10)), acceptAll)).toBe(true)
  })
})
