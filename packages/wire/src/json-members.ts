// Reading JSON payloads by hand: each member is asked for by name and type, and a wrong one is a PayloadError that says
// which member of which message. Names match in any case, since Go peers match so and the service itself mixes styles;
// null counts as absent, since Go writes nil lists and maps as null. Used by control-channel.ts and data-channel.ts.

export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject
export interface JsonObject {
  [name: string]: JsonValue
}

/** A payload that is not the JSON its message type asks for. */
export class PayloadError extends Error {
  /** The message, for example `agent_job`. */
  readonly messageType: string
  /** The member at fault, for example `JobId`; empty when it is the payload as a whole. */
  readonly member: string

  constructor(messageType: string, member: string, problem: string) {
    super(member === '' ? `${messageType}: ${problem}` : `${messageType}: ${member} ${problem}`)
    this.name = 'PayloadError'
    this.messageType = messageType
    this.member = member
  }
}

/** The members of one JSON object and the message they belong to. */
export interface Members {
  messageType: string
  object: JsonObject
}

/** The members of a payload that is one JSON object in UTF-8. */
export function readMembers(messageType: string, payload: Uint8Array | string): Members {
  let value: JsonValue
  try {
    value = JSON.parse(typeof payload === 'string' ? payload : UTF8.decode(payload))
  } catch {
    // The parser's own words quote the payload, which may hold secrets.
    throw new PayloadError(messageType, '', 'the payload is not JSON')
  }
  if (!isObject(value)) throw new PayloadError(messageType, '', 'the payload is not a JSON object')
  return { messageType, object: value }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true })

export function string(from: Members, name: string): string {
  const value = member(from, name)
  if (typeof value !== 'string') throw new PayloadError(from.messageType, name, 'must be a string')
  return value
}

/** A string that must not be empty: an id, a token. */
export function id(from: Members, name: string): string {
  const value = string(from, name)
  if (value === '') throw new PayloadError(from.messageType, name, 'must not be empty')
  return value
}

export function stringOr(from: Members, name: string, otherwise: string): string {
  return member(from, name) === undefined ? otherwise : string(from, name)
}

export function integer(from: Members, name: string): number {
  const value = member(from, name)
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
    throw new PayloadError(from.messageType, name, 'must be a whole number')
  }
  return value
}

export function integerOr(from: Members, name: string, otherwise: number): number {
  return member(from, name) === undefined ? otherwise : integer(from, name)
}

export function booleanOr(from: Members, name: string, otherwise: boolean): boolean {
  const value = member(from, name)
  if (value === undefined) return otherwise
  if (typeof value !== 'boolean') throw new PayloadError(from.messageType, name, 'must be true or false')
  return value
}

export function object(from: Members, name: string): JsonObject {
  const value = member(from, name)
  if (value === undefined || !isObject(value)) throw new PayloadError(from.messageType, name, 'must be an object')
  return value
}

export function objectOr(from: Members, name: string, otherwise: JsonObject): JsonObject {
  return member(from, name) === undefined ? otherwise : object(from, name)
}

export function list(from: Members, name: string): JsonValue[] {
  const value = member(from, name)
  if (!Array.isArray(value)) throw new PayloadError(from.messageType, name, 'must be a list')
  return value
}

export function listOr(from: Members, name: string, otherwise: JsonValue[]): JsonValue[] {
  return member(from, name) === undefined ? otherwise : list(from, name)
}

/** A member of a closed set of strings. */
export function oneOf<const Allowed extends string>(from: Members, name: string, allowed: readonly Allowed[]): Allowed {
  const value = string(from, name)
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) throw new PayloadError(from.messageType, name, `must be one of ${allowed.join(', ')}`)
  return found
}

/** The members of an object inside: `name` is what an error calls it. */
export function inside(from: Members, name: string, value: JsonValue): Members {
  if (!isObject(value)) throw new PayloadError(from.messageType, name, 'must be an object')
  return { messageType: from.messageType, object: value }
}

/** The value under this name, in its exact case before any other; undefined when absent or null. */
export function member(from: Members, name: string): JsonValue | undefined {
  if (Object.hasOwn(from.object, name)) return from.object[name] ?? undefined
  const lower = name.toLowerCase()
  for (const key of Object.keys(from.object)) {
    if (key.length === name.length && key.toLowerCase() === lower) return from.object[key] ?? undefined
  }
  return undefined
}

export function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The UTF-8 bytes of a JSON value, as payloads carry it. */
export function jsonBytes(value: unknown): Uint8Array {
  return ENCODER.encode(JSON.stringify(value))
}

const ENCODER = new TextEncoder()
