/** When keys get new material, and the bytes of it. */
import { randomBytes } from 'node:crypto'

const DAY_MS = 86_400_000

export const nextRotation = (from: Date, days: number): Date => new Date(from.getTime() + days * DAY_MS)
export const newBytes = (length: number): Buffer => randomBytes(length)
