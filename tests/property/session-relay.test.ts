// The relay between two ends whose connections break at any moment, in simulated time: what arrives is what was sent.

import { createHash, randomUUID } from 'node:crypto'
import {
  acknowledgeFrame,
  DATA_MESSAGE,
  decodeAgentMessage,
  encodeAgentMessage,
  isStreamMessage,
  PAYLOAD_TYPE,
  parseAcknowledge,
  type Sha256,
  StreamReceiver,
  StreamSender,
} from '@musterbook/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  AHEAD_BYTES,
  KEPT_BYTES,
  type Line,
  Relay,
  type Side,
} from '../../packages/server/src/capabilities/sessions/relay.ts'

const sha256: Sha256 = (data) => createHash('sha256').update(data).digest('hex')
const SIDES = ['agent', 'client'] as const

/** Time and both ends of one session, ours or the official ones, with our relay between them. */
class World {
  now = 1_000_000
  broken: string | undefined
  relay = this.newRelay()
  readonly agent: TestEnd
  readonly client: TestEnd

  constructor(kind: 'ours' | 'official' = 'ours') {
    this.agent = new TestEnd(this, 'agent', kind)
    this.client = new TestEnd(this, 'client', kind)
  }

  /** The server's process dies: both connections are gone, and what the relay knew. */
  restart(): void {
    for (const side of SIDES) this.end(side).lose()
    this.relay = this.newRelay()
  }

  private newRelay(): Relay {
    return new Relay({
      now: () => this.now,
      newId: randomUUID,
      state: () => {},
      broken: (side, reason) => {
        this.broken = `${side}: ${reason}`
      },
    })
  }

  end(side: Side): TestEnd {
    return side === 'agent' ? this.agent : this.client
  }

  /** Passes time until this is so; otherwise until nothing is under way any more. */
  settle(until = () => this.agent.sender.drained && this.client.sender.drained): void {
    for (const side of SIDES) if (!this.end(side).isUp) this.end(side).connect()
    for (let round = 0; round < 20_000 && !until(); round++) {
      for (const side of SIDES) {
        this.end(side).up(Number.POSITIVE_INFINITY)
        this.end(side).down(Number.POSITIVE_INFINITY)
      }
      this.now += 20
    }
  }
}

class TestEnd {
  readonly world: World
  readonly side: Side
  private readonly kind: 'ours' | 'official'
  readonly sender: StreamSender
  readonly receiver = new StreamReceiver()
  readonly sent: number[] = []
  readonly arrived: number[] = []
  isUp = false
  private line: Line | undefined
  private outbox: (Uint8Array | (() => void))[] = []
  private inbox: ({ frame: Uint8Array; left: () => void } | (() => void))[] = []
  private isRead = true

  constructor(world: World, side: Side, kind: 'ours' | 'official') {
    this.world = world
    this.side = side
    this.kind = kind
    this.sender = new StreamSender({
      messageType: side === 'agent' ? DATA_MESSAGE.outputStreamData : DATA_MESSAGE.inputStreamData,
      sha256,
      newMessageId: randomUUID,
      wallClock: () => world.now,
    })
  }

  connect(): void {
    this.isUp = true
    this.isRead = true
    this.outbox = []
    this.inbox = []
    this.line = {
      send: (frame, left) => void this.inbox.push({ frame, left }),
      ask: (received) => void this.inbox.push(received),
      pause: () => {
        this.isRead = false
      },
      resume: () => {
        this.isRead = true
      },
    }
    // The official ends go on with what is new; the oldest alone is repeated, when its time has come.
    if (this.kind === 'ours') this.sender.reconnected()
    this.world.relay.attach(this.side, this.line)
  }

  /** Whatever is under way on the connection is lost. */
  lose(): void {
    this.isUp = false
    if (this.line) this.world.relay.detach(this.side, this.line)
  }

  write(byte: number): void {
    this.sent.push(byte)
    this.sender.send(byte % 7 === 0 ? PAYLOAD_TYPE.HandshakeComplete : PAYLOAD_TYPE.Output, Uint8Array.of(byte))
  }

  /** Up to so many frames from here reach the relay. */
  up(frames: number): void {
    if (!this.isUp) return
    this.outbox.push(...this.sender.poll(this.world.now))
    for (let count = 0; count < frames && this.isRead && this.isUp; count++) {
      const frame = this.outbox.shift()
      if (!frame) return
      if (typeof frame === 'function') frame()
      else this.world.relay.receive(this.side, frame)
    }
  }

  /** Up to so many frames from the relay reach this end. */
  down(frames: number): void {
    for (let count = 0; count < frames && this.isUp; count++) {
      const next = this.inbox.shift()
      if (!next) return
      if (typeof next === 'function') {
        this.outbox.push(next)
        continue
      }
      next.left()
      const message = decodeAgentMessage(next.frame, sha256)
      if (message.messageType === DATA_MESSAGE.acknowledge)
        this.sender.acknowledge(parseAcknowledge(message.payload).AcknowledgedMessageSequenceNumber, this.world.now)
      else if (isStreamMessage(message.messageType)) {
        const isDouble = message.sequenceNumber < this.receiver.expectedSequenceNumber
        const taken = this.receiver.receive(message, ({ payload }) => this.arrived.push(...payload) > 0)
        const isSilent = this.kind === 'official' && this.side === 'client' && isDouble // the plugin answers no double
        if (taken && !isSilent)
          this.outbox.push(acknowledgeFrame(message, { messageId: randomUUID(), createdDate: this.world.now, sha256 }))
      }
    }
  }
}

const side = fc.constantFrom<Side>('agent', 'client')
const few = fc.integer({ min: 1, max: 6 })
const action = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant('write' as const), side, count: few }) },
  { weight: 4, arbitrary: fc.record({ what: fc.constant('up' as const), side, count: few }) },
  { weight: 4, arbitrary: fc.record({ what: fc.constant('down' as const), side, count: few }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('lose' as const), side, count: few }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('connect' as const), side, count: few }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('wait' as const), side, count: few }) },
)

describe('the relay', () => {
  it('loses, doubles and reorders nothing however often either end loses its connection', () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 20, maxLength: 120 }), (actions) => {
        const world = new World()
        let byte = 0
        for (const { what, side: name, count } of actions) {
          const end = world.end(name)
          if (what === 'write') for (let at = 0; at < count; at++) end.write(byte++ & 0xff)
          else if (what === 'up') end.up(count)
          else if (what === 'down') end.down(count)
          else if (what === 'lose') end.lose()
          else if (what === 'connect') end.connect()
          else world.now += 60 * count
        }
        world.settle()
        expect(world.broken).toBeUndefined()
        expect(world.client.arrived).toEqual(world.agent.sent)
        expect(world.agent.arrived).toEqual(world.client.sent)
        expect([world.relay.keptFor('agent'), world.relay.keptFor('client')]).toEqual([0, 0])
      }),
      { numRuns: 300 },
    )
  })

  it('loses, doubles and reorders nothing for official ends when the server dies in between, either', () => {
    const orRestart = fc.oneof(
      { weight: 20, arbitrary: action },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('restart' as const), side, count: few }) },
    )
    fc.assert(
      fc.property(fc.array(orRestart, { minLength: 20, maxLength: 80 }), (actions) => {
        const world = new World('official')
        let byte = 0
        for (const { what, side: name, count } of actions) {
          const end = world.end(name)
          if (what === 'write') for (let at = 0; at < count; at++) end.write(byte++ & 0xff)
          else if (what === 'up') end.up(count)
          else if (what === 'down') end.down(count)
          else if (what === 'lose') end.lose()
          else if (what === 'connect') end.connect()
          else if (what === 'restart') world.restart()
          else world.now += 60 * count
        }
        const { agent, client } = world
        const isThere = () => client.arrived.length >= agent.sent.length && agent.arrived.length >= client.sent.length
        world.settle(isThere)
        world.agent.write(byte & 0xff) // what is new frees an agent of whatever the plugin was silent about
        world.settle()
        expect(world.broken).toBeUndefined()
        expect(world.client.arrived).toEqual(world.agent.sent)
        expect(world.agent.arrived).toEqual(world.client.sent)
        expect([world.agent.sender.drained, world.client.sender.drained]).toEqual([true, true])
      }),
      { numRuns: 300 },
    )
  })

  it('says what was acknowledged again to an end that missed it, for the official plugin never does', () => {
    const world = new World()
    world.agent.connect()
    world.client.connect()
    world.agent.write(7)
    world.agent.up(1)
    world.client.down(1)
    world.client.up(1)
    world.agent.lose() // with the acknowledgement
    world.client.lose()
    world.agent.connect()
    world.agent.up(1)
    world.agent.down(1)
    expect(world.agent.sender.drained).toBe(true)
    expect(world.client.arrived).toEqual([7])
  })

  it('ends a handshake behind the acknowledgement of the part of the client, for the official plugin hangs otherwise', () => {
    const world = new World('official')
    world.agent.connect()
    world.client.connect()
    world.client.write(1)
    world.client.up(1)
    world.agent.write(7) // the end of the handshake, before the acknowledgement
    world.agent.up(1)
    world.client.down(1)
    expect([world.client.arrived, world.client.sender.drained]).toEqual([[], false])
    world.agent.down(1)
    world.agent.up(1)
    world.client.down(1)
    expect([world.client.arrived, world.client.sender.drained]).toEqual([[], true])
    world.client.down(1)
    expect(world.client.arrived).toEqual([7])
  })

  it('keeps a bounded number of bytes for an end that does not read or is away', () => {
    for (const isAway of [true, false]) {
      const world = new World()
      world.agent.connect()
      if (!isAway) world.client.connect()
      const payload = new Uint8Array(64 * 1024)
      for (let sequenceNumber = 0; sequenceNumber < 1_000; sequenceNumber++)
        world.relay.receive('agent', frameOf(sequenceNumber, payload))
      expect(world.relay.isPaused('agent')).toBe(true)
      expect(world.relay.keptFor('client')).toBeLessThan(2 * KEPT_BYTES + 2 * payload.length)
    }
  })

  it('takes a bounded number of bytes ahead of a missing message, however readily they are acknowledged', () => {
    const world = new World()
    world.agent.connect()
    world.client.connect()
    const payload = new Uint8Array(64 * 1024)
    world.relay.receive('agent', frameOf(0, Uint8Array.of(1)))
    for (let sequenceNumber = 2; sequenceNumber < 1_000; sequenceNumber++) {
      const frame = frameOf(sequenceNumber, payload)
      world.relay.receive('agent', frame)
      const fields = { messageId: randomUUID(), createdDate: 1, sha256 }
      world.relay.receive('client', acknowledgeFrame(decodeAgentMessage(frame, sha256), fields))
    }
    expect(world.relay.bytesFrom('agent')).toBeLessThanOrEqual(AHEAD_BYTES + 1)
    world.relay.receive('agent', frameOf(1, payload))
    const before = world.relay.bytesFrom('agent')
    world.relay.receive('agent', frameOf(999, payload)) // what was dropped comes again
    expect(world.relay.bytesFrom('agent')).toBe(before + payload.length)
  })

  it('ends cleanly for whatever is no frame, and drops what is damaged on its way', () => {
    fc.assert(
      fc.property(side, fc.uint8Array({ maxLength: 400 }), (name, bytes) => {
        const world = new World()
        world.end(name).connect()
        world.relay.receive(name, bytes)
        expect(world.broken).toMatch(new RegExp(`^${name}: `))
        world.relay.receive(name, frameOf(0, bytes)) // nothing passes any more
        expect(world.relay.bytesFrom(name)).toBe(0)
      }),
      { numRuns: 200 },
    )
    const world = new World()
    world.agent.connect()
    for (let at = 0; at < 99; at++) {
      const damaged = frameOf(0, Uint8Array.of(1, 2, 3))
      damaged[121] = 9
      world.relay.receive('agent', damaged)
    }
    expect([world.broken, world.relay.bytesFrom('agent')]).toEqual([undefined, 0])
  })
})

function frameOf(sequenceNumber: number, payload: Uint8Array): Uint8Array {
  const fields = { messageType: DATA_MESSAGE.outputStreamData, messageId: randomUUID(), createdDate: 1 }
  return encodeAgentMessage({ ...fields, sequenceNumber, payloadType: 1, payload }, sha256)
}
