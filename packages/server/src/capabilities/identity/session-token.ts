/**
 * Temporary credentials that carry themselves: the session token is the sealed statement of who holds it, so verifying
 * one needs no row of its own, only the check that the principal it stands for is still there.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { Sealer } from '../../platform/seal.ts'

interface Keys {
  accessKeyId: string
  secretAccessKey: string
  account: string
  /** Milliseconds since the epoch. */
  issuedAt: number
  expiresAt: number
}

/** A node's role credentials; `serial` ends them all when the node is registered anew or leaves. */
export interface NodeStatement extends Keys {
  kind: 'node'
  region: string
  nodeId: string
  serial: number
}

interface Narrowed {
  sessionPolicies: string[]
  sessionTags: Record<string, string>
  mfa: boolean
  /** When the second factor was proved, where that was before. */
  mfaAt?: number | undefined
}

export interface RoleStatement extends Keys, Narrowed {
  kind: 'role'
  roleId: string
  sessionName: string
  sourceIdentity?: string
  transitiveTags: string[]
  /** Of AssumeRoleWithWebIdentity: aws:FederatedProvider and the keys of the issuer. */
  federation?: Record<string, string | string[]>
}

/** Of GetSessionToken, or of GetFederationToken when it has a `name`. */
export interface UserStatement extends Keys, Narrowed {
  kind: 'user'
  /** The account's number for its root. */
  userId: string
  /** The long-lived key that asked: these credentials end with it. */
  parentKeyId: string
  name?: string
}

export type SessionStatement = NodeStatement | RoleStatement | UserStatement

const PURPOSE = 'session token'
/** Longest token that is looked at: with its headers a request stays below what servers and proxies take. */
const MAX_TOKEN_CHARACTERS = 12_288
const MAX_STATEMENT_BYTES = 65_536

export function sealSessionToken(sealer: Sealer, statement: SessionStatement): string {
  const text = deflateRawSync(JSON.stringify(statement))
  return sealer.seal(PURPOSE, text, statement.accessKeyId).toString('base64')
}

/** Per cent of the room that a token takes; one of more than 100 would never be opened. */
export function roomTaken(token: string, statement: SessionStatement): number {
  const share = Math.max(token.length / MAX_TOKEN_CHARACTERS, JSON.stringify(statement).length / MAX_STATEMENT_BYTES)
  return Math.ceil(share * 100)
}

/** The statement, or undefined when the token is forged, damaged or belongs to another key id. */
export function openSessionToken(sealer: Sealer, token: string, accessKeyId: string): SessionStatement | undefined {
  if (token.length > MAX_TOKEN_CHARACTERS) return undefined
  const bytes = Buffer.from(token, 'base64')
  // Decoding is lenient: another spelling of the same bytes is not what was handed out.
  if (bytes.toString('base64') !== token) return undefined
  const opened = sealer.unseal(PURPOSE, bytes, accessKeyId)
  if (!opened) return undefined
  return JSON.parse(inflateRawSync(opened, { maxOutputLength: MAX_STATEMENT_BYTES }).toString()) as SessionStatement
}
