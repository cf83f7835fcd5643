/** Tokens that open a session's data channel, once, for one of its two ends; the store keeps their SHA-256 only. */
import { createHash, randomBytes } from 'node:crypto'
import type { Ground } from '../../platform/context.ts'
import * as store from './store.ts'

/** Between the answer that carries a token and the first frame that spends it. */
export const TOKEN_MS = 60_000
const TOKEN_BYTES = 32
const MAX_TOKEN_CHARACTERS = 256

export async function issueToken(ground: Ground, sessionId: string, role: store.Role): Promise<string> {
  const token = randomBytes(TOKEN_BYTES).toString('base64url')
  const expiresAt = new Date(ground.now().getTime() + TOKEN_MS)
  await store.insertToken(ground.sql, { hash: hashOf(token), sessionId, role, expiresAt })
  return token
}

/** Uses the token up; undefined when it opens nothing. */
export async function spendToken(ground: Ground, sessionId: string, token: string) {
  if (token.length > MAX_TOKEN_CHARACTERS) return undefined
  return store.takeToken(ground.sql, { hash: hashOf(token), sessionId }, ground.now())
}

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest()
