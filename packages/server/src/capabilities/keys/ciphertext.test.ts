import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nameOfBlob, openBlob, sealBlob } from './ciphertext.ts'

const key = { keyId: '12345678-90ab-4cde-8f01-234567890abc', version: 7 }
const material = randomBytes(32)

describe('a ciphertext blob', () => {
  it('gives back what was encrypted, for any bytes and any context', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 9000 }), fc.dictionary(fc.string(), fc.string()), (plaintext, context) => {
        const blob = sealBlob(key, material, plaintext, context)
        expect(openBlob(blob, material, context)).toEqual(Buffer.from(plaintext))
      }),
      { numRuns: 200 },
    )
  })

  it('names the key and version that made it', () => {
    expect(nameOfBlob(sealBlob(key, material, Buffer.from('x'), {}))).toEqual(key)
  })

  it('does not open for another context, even one whose texts join to the same', () => {
    const blob = sealBlob(key, material, Buffer.from('secret'), { ab: 'c' })
    expect(openBlob(blob, material, { a: 'bc' })).toBeUndefined()
    expect(openBlob(blob, material, {})).toBeUndefined()
    expect(openBlob(blob, material, { ab: 'c', d: '' })).toBeUndefined()
  })

  it('does not open with one bit changed anywhere', () => {
    const blob = sealBlob(key, material, Buffer.from('secret'), { a: 'b' })
    for (let bit = 0; bit < blob.length * 8; bit++) {
      const flipped = Buffer.from(blob)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      expect(openBlob(flipped, material, { a: 'b' })).toBeUndefined()
    }
  })

  it('is not recognised when cut short', () => {
    const blob = sealBlob(key, material, Buffer.alloc(0), {})
    expect(nameOfBlob(blob)).toEqual(key)
    expect(nameOfBlob(blob.subarray(0, blob.length - 1))).toBeUndefined()
    expect(nameOfBlob(Buffer.alloc(0))).toBeUndefined()
  })

  it('never looks the same twice', () => {
    const blobs = Array.from({ length: 50 }, () => sealBlob(key, material, Buffer.from('same'), {}).toString('hex'))
    expect(new Set(blobs).size).toBe(50)
  })
})
