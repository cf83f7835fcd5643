// Multiplexed ports: bytes seen live, many streams over one cut-up byte stream, and bytes that are not smux.

import { encodeMuxFrame, MUX_KEEP_ALIVE, MuxError, type MuxEvent, type MuxReason, MuxSession } from '@musterbook/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

function reasonOf(attempt: () => unknown): MuxReason | undefined {
  try {
    attempt()
    return undefined
  } catch (error) {
    if (error instanceof MuxError) return error.reason
    throw error
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

/** The same bytes in pieces, as they come out of messages of the data channel. */
function cut(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let at = 0
  for (let turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] as number
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

describe('smux', () => {
  it('has the bytes that the official ends were seen to send', () => {
    const client = new MuxSession({ role: 'client' })
    const { stream, bytes } = client.open()
    expect(stream).toBe(3)
    expect(hex(bytes)).toBe('0100000003000000')
    expect(hex(joined(client.write(stream, new Uint8Array(18))))).toBe(`0102120003000000${'00'.repeat(18)}`)
    expect(hex(client.close(stream))).toBe('0101000003000000')
    expect(client.open().stream).toBe(5)
  })

  it('carries every stream whole and in order, however the bytes are cut', () => {
    const step = fc.oneof(
      { weight: 2, arbitrary: fc.constant({ kind: 'open' as const, pick: 0, data: new Uint8Array(0) }) },
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant('write' as const),
          pick: fc.nat(),
          data: fc.uint8Array({ maxLength: 50 }),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant('close' as const),
          pick: fc.nat(),
          data: fc.constant(new Uint8Array(0)),
        }),
      },
    )
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), sizes, (steps, pieces) => {
        const client = new MuxSession({ role: 'client' })
        const server = new MuxSession({ role: 'server' })
        const open: number[] = []
        const closed: number[] = []
        const sent = new Map<number, Uint8Array[]>()
        const wire: Uint8Array[] = []
        for (const { kind, pick, data } of steps) {
          const stream = open[pick % Math.max(1, open.length)]
          if (kind === 'open') {
            const opened = client.open()
            open.push(opened.stream)
            sent.set(opened.stream, [])
            wire.push(opened.bytes)
          } else if (stream !== undefined && kind === 'write') {
            sent.get(stream)?.push(data)
            wire.push(joined(client.write(stream, data)))
          } else if (stream !== undefined) {
            wire.push(client.close(stream))
            closed.push(...open.splice(open.indexOf(stream), 1))
          }
        }
        const arrived = new Map<number, Uint8Array[]>()
        const ended: number[] = []
        const answers: Uint8Array[] = []
        for (const piece of cut(joined(wire), pieces)) {
          for (const event of server.receive(piece)) {
            if (event.type === 'open') arrived.set(event.stream, [])
            else if (event.type === 'data') {
              arrived.get(event.stream)?.push(event.bytes)
              server.consumed(event.stream, event.bytes.length)
            } else if (event.type === 'end') {
              ended.push(event.stream)
              answers.push(server.close(event.stream))
            } else throw new Error('nothing was to be refused')
          }
        }
        const whole = (streams: Map<number, Uint8Array[]>) =>
          [...streams].map(([stream, parts]) => [stream, hex(joined(parts))])
        expect(whole(arrived)).toEqual(whole(sent))
        expect(ended).toEqual(closed)
        expect(server.openStreams).toBe(open.length)
        expect(server.full).toBe(false)
        // The answers concern streams that the client has closed: nothing is left to say.
        expect(client.receive(joined(answers))).toEqual([])
        expect(client.openStreams).toBe(open.length)
      }),
      { numRuns: 150 },
    )
  })

  it('cuts long data into frames of 32 KiB', () => {
    const client = new MuxSession({ role: 'client' })
    const server = new MuxSession({ role: 'server' })
    const { stream, bytes } = client.open()
    server.receive(bytes)
    const data = Uint8Array.from({ length: 100_000 }, (_, at) => at % 251)
    const written = joined(client.write(stream, data))
    expect(written.length).toBe(data.length + 4 * 8)
    const parts = server.receive(written).map((event) => (event.type === 'data' ? event.bytes : new Uint8Array(0)))
    expect(hex(joined(parts))).toBe(hex(data))
  })

  it('is full at its receive buffer, until what was read is given back', () => {
    const client = new MuxSession({ role: 'client' })
    const server = new MuxSession({ role: 'server', receiveBuffer: 100 })
    const [first, second] = [client.open(), client.open()]
    server.receive(joined([first.bytes, second.bytes]))
    server.receive(joined(client.write(first.stream, new Uint8Array(60))))
    expect(server.full).toBe(false)
    server.receive(joined(client.write(second.stream, new Uint8Array(60))))
    expect(server.full).toBe(true)
    server.consumed(first.stream, 30)
    expect(server.full).toBe(false)
    server.receive(joined(client.write(second.stream, new Uint8Array(20))))
    expect(server.full).toBe(true)
    server.close(second.stream)
    expect(server.full).toBe(false)
    server.consumed(first.stream, 1_000)
    server.receive(joined(client.write(first.stream, new Uint8Array(100))))
    expect(server.full).toBe(true)
    expect(reasonOf(() => server.receive(Uint8Array.of(1)))).toBe('overflow')
  })

  it('drops what comes for streams that are not open, and answers streams that may not be', () => {
    const server = new MuxSession({ role: 'server', maxStreams: 1 })
    expect(server.receive(encodeMuxFrame('PSH', 9, new Uint8Array(30)))).toEqual([])
    expect(server.receive(encodeMuxFrame('FIN', 9))).toEqual([])
    expect(server.receive(encodeMuxFrame('NOP', 0))).toEqual([])
    expect(server.receive(encodeMuxFrame('SYN', 3))).toEqual([{ type: 'open', stream: 3 }])
    expect(server.receive(encodeMuxFrame('SYN', 3))).toEqual([])
    const refused: MuxEvent[] = [{ type: 'send', bytes: encodeMuxFrame('FIN', 5) }]
    expect(server.receive(encodeMuxFrame('SYN', 5))).toEqual(refused)
    const client = new MuxSession({ role: 'client', maxStreams: 1 })
    expect(client.receive(encodeMuxFrame('SYN', 2))).toEqual([{ type: 'send', bytes: encodeMuxFrame('FIN', 2) }])
    client.open()
    expect(reasonOf(() => client.open())).toBe('too-many-streams')
    expect(reasonOf(() => client.write(99, new Uint8Array(1)))).toBe('unknown-stream')
  })

  it('takes nothing on a stream after its end, and ends it once', () => {
    const server = new MuxSession({ role: 'server' })
    server.receive(encodeMuxFrame('SYN', 3))
    expect(server.receive(encodeMuxFrame('FIN', 3))).toEqual([{ type: 'end', stream: 3 }])
    expect(server.receive(encodeMuxFrame('FIN', 3))).toEqual([])
    expect(server.receive(encodeMuxFrame('PSH', 3, Uint8Array.of(1)))).toEqual([])
    expect(hex(joined(server.write(3, Uint8Array.of(7))))).toBe('010201000300000007')
    expect(hex(server.close(3))).toBe('0101000003000000')
    expect(server.close(3)).toEqual(new Uint8Array(0))
  })

  it.each<[MuxReason, number[]]>([
    ['version', [2, 0, 0, 0, 3, 0, 0, 0]],
    ['command', [1, 4, 8, 0, 3, 0, 0, 0]],
    ['length', [1, 0, 1, 0, 3, 0, 0, 0]],
    ['length', [1, 1, 0, 1, 3, 0, 0, 0]],
  ])('is dead after a frame with a wrong %s', (reason, frame) => {
    const server = new MuxSession({ role: 'server' })
    expect(reasonOf(() => server.receive(Uint8Array.from(frame)))).toBe(reason)
    expect(reasonOf(() => server.receive(encodeMuxFrame('NOP', 0)))).toBe(reason)
    expect(reasonOf(() => server.open())).toBe(reason)
  })

  it('never crashes on bytes that are something else', () => {
    const header = fc.tuple(
      fc.constant(1),
      fc.nat(5),
      fc.nat(20),
      fc.nat(1),
      fc.nat(4),
      fc.nat(1),
      fc.nat(1),
      fc.nat(1),
    )
    const nearly = fc.array(header, { maxLength: 20 }).map((headers) => Uint8Array.from(headers.flat()))
    fc.assert(
      fc.property(
        fc.oneof(nearly, fc.uint8Array({ maxLength: 200 })),
        fc.integer({ min: 1, max: 9 }),
        (bytes, size) => {
          const server = new MuxSession({ role: 'server', receiveBuffer: 64, maxStreams: 2 })
          let handedOut = 0
          reasonOf(() => {
            for (const piece of cut(bytes, [size])) {
              for (const event of server.receive(piece)) if (event.type === 'data') handedOut += event.bytes.length
            }
          })
          expect(handedOut).toBeLessThan(64 + size)
          expect(server.openStreams).toBeLessThanOrEqual(2)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('keeps itself alive only when told to, and notices a silent peer', () => {
    const quiet = new MuxSession({ role: 'client' })
    expect(quiet.tick(1e9)).toEqual({ bytes: undefined, dead: false })
    const session = new MuxSession({ role: 'client', keepAlive: { ...MUX_KEEP_ALIVE, now: 0 } })
    expect(session.tick(9_999)).toEqual({ bytes: undefined, dead: false })
    expect(session.tick(10_000)).toEqual({ bytes: encodeMuxFrame('NOP', 0), dead: false })
    session.receive(encodeMuxFrame('NOP', 0))
    expect(session.tick(30_000).dead).toBe(false)
    expect(session.tick(59_999).dead).toBe(false)
    expect(session.tick(60_000).dead).toBe(true)
  })
})
