/** Seals hold what they promise: only the same root key, purpose and context open them, and only untouched. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createSealer, ROOT_KEY_BYTES } from '../../packages/server/src/platform/seal.ts'

const sealer = createSealer(randomBytes(ROOT_KEY_BYTES))
const plaintext = fc.uint8Array({ maxLength: 200 })
const text = fc.string({ unit: 'binary', maxLength: 40 })
const RUNS = { numRuns: 300 }

it('opens what was sealed for the same purpose and context', () => {
  fc.assert(
    fc.property(plaintext, text, text, (bytes, purpose, context) => {
      expect(sealer.unseal(purpose, sealer.seal(purpose, bytes, context), context)).toEqual(Buffer.from(bytes))
    }),
    RUNS,
  )
})

it('opens nothing in which any one bit was flipped', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 24 }), text, (bytes, context) => {
      const sealed = sealer.seal('parameters', bytes, context)
      for (let bit = 0; bit < sealed.length * 8; bit++) {
        const flipped = Buffer.from(sealed)
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        expect(sealer.unseal('parameters', flipped, context), `bit ${bit}`).toBeUndefined()
      }
    }),
    { numRuns: 20 },
  )
})

it('opens nothing that was cut short or made longer', () => {
  fc.assert(
    fc.property(plaintext, fc.uint8Array({ minLength: 1, maxLength: 20 }), (bytes, more) => {
      const sealed = sealer.seal('parameters', bytes, 'here')
      for (let length = 0; length < sealed.length; length++)
        expect(sealer.unseal('parameters', sealed.subarray(0, length), 'here'), `${length} bytes`).toBeUndefined()
      expect(sealer.unseal('parameters', Buffer.concat([sealed, more]), 'here')).toBeUndefined()
    }),
    { numRuns: 50 },
  )
})

it('opens nothing for another context or purpose', () => {
  fc.assert(
    fc.property(plaintext, text, text, (bytes, one, other) => {
      fc.pre(Buffer.from(one).compare(Buffer.from(other)) !== 0)
      expect(sealer.unseal('parameters', sealer.seal('parameters', bytes, one), other)).toBeUndefined()
      expect(sealer.unseal(other, sealer.seal(one, bytes, 'here'), 'here')).toBeUndefined()
    }),
    RUNS,
  )
})

it('opens nothing that another root key has sealed', () => {
  fc.assert(
    fc.property(plaintext, (bytes) => {
      const other = createSealer(randomBytes(ROOT_KEY_BYTES))
      expect(sealer.unseal('parameters', other.seal('parameters', bytes, 'here'), 'here')).toBeUndefined()
    }),
    RUNS,
  )
})

it('opens no arbitrary bytes, and does not fail on them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(sealer.unseal('parameters', bytes, 'here')).toBeUndefined()
    }),
    RUNS,
  )
})

it('never seals the same bytes to the same bytes, and hides them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 64 }), (bytes) => {
      const [one, other] = [sealer.seal('p', bytes, 'c'), sealer.seal('p', bytes, 'c')]
      expect(one.equals(other)).toBe(false)
      expect(one.includes(Buffer.from(bytes))).toBe(false)
    }),
    RUNS,
  )
})

it('takes a root key of exactly 32 bytes', () => {
  for (const length of [0, 16, 31, 33, 64])
    expect(() => createSealer(randomBytes(length))).toThrow('the root key must have 32 bytes')
})
