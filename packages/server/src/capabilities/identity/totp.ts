/** Time-based one-time passwords by RFC 6238: SHA-1, six digits, steps of 30 seconds, as authenticator apps make them. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

const STEP_MS = 30_000
const DIGITS = 6
/** Bytes of a seed; 64 characters in base 32, as AWS hands out. */
const SEED_BYTES = 40
/** Steps by which a device's clock may be off, to either side. */
const WINDOW = 1

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

export const newSeed = (): Buffer => randomBytes(SEED_BYTES)

/** Base 32 without padding; seeds fill whole characters. */
export function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += ALPHABET[(held >> bits) & 31]
    }
  }
  return bits === 0 ? text : text + ALPHABET[(held << (5 - bits)) & 31]
}

export function codeAt(seed: Uint8Array, step: number): string {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(step))
  const mac = createHmac('sha1', seed).update(counter).digest()
  const offset = mac[mac.length - 1]! & 15
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 10 ** DIGITS).padStart(DIGITS, '0')
}

const currentStep = (now: Date): number => Math.floor(now.getTime() / STEP_MS)

/** The step whose code this is, the present one or a neighbour, later than `after`; undefined when it is none of theirs. */
export function stepOf(seed: Uint8Array, code: string, now: Date, after = -1): number | undefined {
  if (!/^\d{6}$/.test(code)) return undefined
  const present = currentStep(now)
  for (let step = present - WINDOW; step <= present + WINDOW; step++) {
    if (step > after && timingSafeEqual(Buffer.from(codeAt(seed, step)), Buffer.from(code))) return step
  }
  return undefined
}

/** The second step of two codes in a row, three steps behind now at most. */
export function stepOfPair(seed: Uint8Array, first: string, second: string, now: Date): number | undefined {
  const present = currentStep(now)
  const isNear = (step: number) => codeAt(seed, step) === first && codeAt(seed, step + 1) === second
  for (let step = present - 3; step <= present + WINDOW; step++) if (isNear(step)) return step + 1
  return undefined
}
