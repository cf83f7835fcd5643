// The binary frame of the channels: recorded bytes, random messages there and back, and frames that lie.

import { createHash } from 'node:crypto'
import {
  AGENT_MESSAGE_PREFIX,
  type AgentMessage,
  decodeAgentMessage,
  encodeAgentMessage,
  FrameError,
  type FrameReason,
  type Sha256,
} from '@musterbook/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const sha256: Sha256 = (data) => createHash('sha256').update(data).digest('hex')

const recorded = {
  fields: {
    messageType: 'input_stream_data',
    schemaVersion: 1,
    createdDate: 1503434274948,
    sequenceNumber: 2,
    flags: 0,
    messageId: 'dd01e56b-ff48-483e-a508-b5f073f31b16',
    payloadType: 1,
    payload: new TextEncoder().encode('payload'),
  },
  hex: [
    '00000074',
    '696e7075745f73747265616d5f64617461202020202020202020202020202020',
    '00000001',
    '0000015e0baa7884',
    '0000000000000002',
    '0000000000000000',
    'a508b5f073f31b16dd01e56bff48483e',
    '239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5',
    '00000001',
    '00000007',
    '7061796c6f6164',
  ].join(''),
}

const frameOfRecord = () => Uint8Array.from(Buffer.from(recorded.hex, 'hex'))

const message: fc.Arbitrary<AgentMessage> = fc.record({
  messageType: fc.stringMatching(/^[a-z_]{1,32}$/),
  schemaVersion: fc.nat(0xffff_ffff),
  createdDate: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  sequenceNumber: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  flags: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  messageId: fc.uuid(),
  payloadType: fc.nat(0xffff_ffff),
  payload: fc.uint8Array({ maxLength: 300 }),
})

function reasonOf(attempt: () => unknown): FrameReason | undefined {
  try {
    attempt()
    return undefined
  } catch (error) {
    if (error instanceof FrameError) return error.reason
    throw error
  }
}

describe('an AgentMessage', () => {
  it('has the bytes that the official writers make', () => {
    expect(Buffer.from(encodeAgentMessage(recorded.fields, sha256)).toString('hex')).toBe(recorded.hex)
    expect(decodeAgentMessage(frameOfRecord(), sha256)).toEqual(recorded.fields)
  })

  it('comes back as it went, wherever in a larger buffer it lies', () => {
    fc.assert(
      fc.property(message, fc.nat(16), (sample, offset) => {
        const frame = encodeAgentMessage(sample, sha256)
        const buffer = new Uint8Array(offset + frame.length + 5)
        buffer.set(frame, offset)
        const decoded = decodeAgentMessage(buffer.subarray(offset, offset + frame.length), sha256)
        expect(decoded).toEqual(sample)
        expect(decoded.payload.buffer).toBe(buffer.buffer)
      }),
    )
  })

  it('is refused when cut short or made longer', () => {
    fc.assert(
      fc.property(message, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 9 }), (sample, cut, tail) => {
        const frame = encodeAgentMessage(sample, sha256)
        const short = frame.subarray(0, cut % frame.length)
        const expected = short.length < AGENT_MESSAGE_PREFIX ? 'truncated' : 'payload-length'
        expect(reasonOf(() => decodeAgentMessage(short))).toBe(expected)
        expect(reasonOf(() => decodeAgentMessage(Uint8Array.from([...frame, ...tail])))).toBe('payload-length')
      }),
    )
  })

  it('with any one bit turned is either refused or differs in exactly the field that holds the bit', () => {
    const frame = frameOfRecord()
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const byte = bit >> 3
      const flipped = frame.slice()
      flipped[byte] = (flipped[byte] as number) ^ (1 << (bit & 7))
      const reason = reasonOf(() => decodeAgentMessage(flipped, sha256))
      if (byte < 4) expect(reason).toBe('header-length')
      else if (byte >= 116 && byte < 120) expect(reason).toBe('payload-length')
      else if ((byte >= 80 && byte < 112) || byte >= 120) expect(reason).toBe('payload-digest')
      else if (reason === undefined) {
        const decoded = decodeAgentMessage(flipped, sha256)
        const changed = Object.entries(recorded.fields).filter(
          ([name, value]) => JSON.stringify(decoded[name as keyof AgentMessage]) !== JSON.stringify(value),
        )
        // Padding may be spaces or NULs, which are one bit apart.
        const padding = byte >= 21 && byte < 36 && flipped[byte] === 0
        expect(changed).toHaveLength(padding ? 0 : 1)
      }
    }
  })

  it('never crashes its reader, whatever the bytes', () => {
    const lying = fc
      .tuple(message, fc.array(fc.tuple(fc.nat(119), fc.nat(255)), { maxLength: 8 }))
      .map(([sample, edits]) => {
        const frame = encodeAgentMessage(sample, sha256)
        for (const [at, byte] of edits) frame[at] = byte
        return frame
      })
    fc.assert(
      fc.property(fc.oneof(lying, fc.uint8Array({ maxLength: 400 })), (frame) => {
        const reason = reasonOf(() => decodeAgentMessage(frame))
        if (reason === undefined) expect(decodeAgentMessage(frame).payload.length).toBe(frame.length - 120)
      }),
      { numRuns: 500 },
    )
  })

  it.each<[FrameReason, number, number[]]>([
    ['header-length', 0, [0, 0, 0, 120]],
    ['header-length', 0, [0xff, 0xff, 0xff, 0xff]],
    ['message-type', 4, Array(32).fill(0x20)],
    ['message-type', 4, Array(32).fill(0)],
    ['message-type', 6, [0x0a]],
    ['message-type', 6, [0xc3]],
    ['created-date', 40, Array(8).fill(0)],
    ['created-date', 40, Array(8).fill(0xff)],
    ['sequence-number', 48, Array(8).fill(0xff)],
    ['sequence-number', 48, [0, 0x20]],
    ['flags', 56, [0x80]],
    ['payload-length', 116, [0xff, 0xff, 0xff, 0xff]],
    ['payload-length', 116, [0, 0, 0, 0]],
  ])('is refused for its %s with bytes written at %i', (reason, at, bytes) => {
    const frame = frameOfRecord()
    frame.set(bytes, at)
    expect(reasonOf(() => decodeAgentMessage(frame))).toBe(reason)
  })

  it('may pad its type with NULs, as some writers do', () => {
    const frame = frameOfRecord()
    frame.fill(0, 4 + 'input_stream_data'.length, 36)
    expect(decodeAgentMessage(frame).messageType).toBe('input_stream_data')
  })

  it.each<[FrameReason, Partial<AgentMessage>]>([
    ['message-type', { messageType: '' }],
    ['message-type', { messageType: 'x'.repeat(33) }],
    ['message-type', { messageType: 'a b' }],
    ['created-date', { createdDate: 0 }],
    ['created-date', { createdDate: 1.5 }],
    ['sequence-number', { sequenceNumber: -1 }],
    ['sequence-number', { sequenceNumber: 2 ** 53 }],
    ['flags', { flags: Number.NaN }],
    ['message-id', { messageId: 'dd01e56bff48483ea508b5f073f31b16' }],
    ['payload-type', { payloadType: 2 ** 32 }],
    ['schema-version', { schemaVersion: -1 }],
  ])('cannot be written with an impossible %s', (reason, wrong) => {
    expect(reasonOf(() => encodeAgentMessage({ ...recorded.fields, ...wrong }, sha256))).toBe(reason)
  })
})
