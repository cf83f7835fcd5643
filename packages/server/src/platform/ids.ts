/** Identifiers in the shapes that AWS gives them. All are random: none can be guessed from another. */
import { randomBytes, randomUUID } from 'node:crypto'

export const uuid = (): string => randomUUID()

/** `mi-` and 17 hex digits, the form of a managed node that is no EC2 instance. */
export const managedNodeId = (): string => `mi-${randomBytes(9).toString('hex').slice(0, 17)}`

/** 20 upper-case characters of base 32 with the prefix that tells its kind: AKIA long-lived, ASIA temporary. */
export function accessKeyId(prefix: 'AKIA' | 'ASIA'): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  return prefix + Array.from(randomBytes(16), (byte) => alphabet[byte & 31]).join('')
}

/** 40 characters of base 64, 240 bits. */
export const secretAccessKey = (): string => randomBytes(30).toString('base64')

/** Twelve digits, the first never 0. */
export function accountId(): string {
  const digits = BigInt(`0x${randomBytes(8).toString('hex')}`) % 900_000_000_000n
  return String(100_000_000_000n + digits)
}
