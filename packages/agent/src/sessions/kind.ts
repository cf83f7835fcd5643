// What every kind of session (shell, command, port) is to session.ts.

import type { JsonObject, Payload } from '@musterbook/wire'
import type { RunAs } from './run-as.ts'

export interface KindContext {
  /** False: pause until `writable` is called. */
  send(payloadType: number, payload: Payload): boolean
  /** The session is over; `failure` in words for the person who started it. */
  ended(failure?: string): void
  runAs: RunAs
  inputs: JsonObject
  properties: JsonObject
  /** Four numbers; empty when there was no handshake. */
  clientVersion: string
}

export interface Kind {
  /** False: not now; it comes again. */
  received(payloadType: number, payload: Uint8Array): boolean
  writable(): void
  /** Ends what runs; `ended` follows. */
  stop(): void
}

/** This machine's part of `{linux: …, macos: …, windows: …}`; empty when there is none. */
export function ownPart(properties: JsonObject): JsonObject {
  const name = process.platform === 'win32' ? 'windows' : process.platform === 'darwin' ? 'macos' : 'linux'
  const part = properties[name]
  return typeof part === 'object' && part !== null && !Array.isArray(part) ? part : {}
}

export const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** As the official agent reads them: a boolean, or Go's words for true. */
export const truth = (value: unknown): boolean =>
  value === true || (typeof value === 'string' && /^(1|t|T|true|True|TRUE)$/.test(value))
