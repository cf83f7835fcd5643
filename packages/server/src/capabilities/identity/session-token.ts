/**
 * Temporary credentials that carry themselves: the session token is the sealed statement of who holds it, so verifying
 * one needs no row of its own, only the check that its holder is still known.
 */
import type { Sealer } from '../../platform/seal.ts'

export interface SessionStatement {
  accessKeyId: string
  secretAccessKey: string
  account: string
  region: string
  nodeId: string
  serial: number
  /** Milliseconds since the epoch. */
  expiresAt: number
}

const PURPOSE = 'session token'
/** Longest token that is looked at: a real one has about 600 characters. */
const MAX_TOKEN_CHARACTERS = 4_096

export const sealSessionToken = (sealer: Sealer, statement: SessionStatement): string =>
  sealer.seal(PURPOSE, Buffer.from(JSON.stringify(statement)), statement.accessKeyId).toString('base64')

/** The statement, or undefined when the token is forged, damaged or belongs to another key id. */
export function openSessionToken(sealer: Sealer, token: string, accessKeyId: string): SessionStatement | undefined {
  if (token.length > MAX_TOKEN_CHARACTERS) return undefined
  const opened = sealer.unseal(PURPOSE, Buffer.from(token, 'base64'), accessKeyId)
  return opened && (JSON.parse(opened.toString()) as SessionStatement)
}
