import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { hmacUnder } from './hmac.ts'

const ofNode = (key: Uint8Array, text: string): string => createHmac('sha256', key).update(text).digest('hex')

const KEYS = [0, 1, 31, 32, 63, 64].map((bytes) => Uint8Array.from({ length: bytes }, (_, at) => at * 37 + bytes))
const TEXTS = ['', 'a', 'a string\nto sign', 'ü€😀', '\ud800 alone', 'x'.repeat(64), 'ü'.repeat(5_000), 'short again']

test('the code of a text under a key is the one that node:crypto has for it, whatever was signed before', () => {
  const signers = KEYS.map((key) => ({ key, hmac: hmacUnder(key) }))
  for (const text of TEXTS) for (const { key, hmac } of signers) expect(hmac(text)).toBe(ofNode(key, text))
})

test('a key that is longer than a block is refused, since it would be another key', () => {
  expect(() => hmacUnder(new Uint8Array(65))).toThrow(RangeError)
})
