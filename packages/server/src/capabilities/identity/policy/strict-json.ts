/**
 * JSON as policies need it: a key written twice is an error (JSON.parse would let the last one win, so that two readers
 * of one policy could see two policies), and numbers keep the digits they were written with.
 * Objects become Maps: no key, `__proto__` included, is special. Called by `parsePolicy`.
 */

export type Json = string | boolean | null | JsonNumber | Json[] | Map<string, Json>
export interface JsonNumber {
  readonly digits: string
}

/** A policy nests four levels deep; beyond this is nobody's policy. */
const MAX_DEPTH = 32

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const SPACE = /[ \t\r\n]*/y

/** From the first character to the one after the last. */
export interface Span {
  readonly start: number
  readonly end: number
}

/**
 * The value, or undefined where the text is not JSON or repeats a key. `spans` is told where its objects stand, as IAM counts
 * it: from behind their brace or, in a list, from behind what comes before them.
 */
export function parseStrictJson(text: string, spans = new WeakMap<object, Span>()): Json | undefined {
  const cursor: Cursor = { text, at: 0, spans }
  const value = readValue(cursor, 0)
  skipSpace(cursor)
  return cursor.at === text.length ? value : undefined
}

interface Cursor {
  readonly text: string
  at: number
  readonly spans: WeakMap<object, Span>
}

function readValue(cursor: Cursor, depth: number): Json | undefined {
  if (depth > MAX_DEPTH) return undefined
  skipSpace(cursor)
  switch (cursor.text[cursor.at]) {
    case '{':
      return readObject(cursor, depth)
    case '[':
      return readArray(cursor, depth)
    case '"':
      return readString(cursor)
    case 't':
      return take(cursor, 'true') ? true : undefined
    case 'f':
      return take(cursor, 'false') ? false : undefined
    case 'n':
      return take(cursor, 'null') ? null : undefined
    default: {
      const digits = lexeme(cursor, NUMBER)
      return digits === undefined ? undefined : { digits }
    }
  }
}

function readObject(cursor: Cursor, depth: number): Map<string, Json> | undefined {
  const members = new Map<string, Json>()
  take(cursor, '{')
  const start = cursor.at
  skipSpace(cursor)
  if (take(cursor, '}')) return members
  do {
    skipSpace(cursor)
    const key = readString(cursor)
    if (key === undefined || members.has(key)) return undefined
    skipSpace(cursor)
    if (!take(cursor, ':')) return undefined
    const value = readValue(cursor, depth + 1)
    if (value === undefined) return undefined
    members.set(key, value)
    skipSpace(cursor)
  } while (take(cursor, ','))
  if (!take(cursor, '}')) return undefined
  cursor.spans.set(members, { start, end: cursor.at })
  return members
}

function readArray(cursor: Cursor, depth: number): Json[] | undefined {
  const items: Json[] = []
  take(cursor, '[')
  let start = cursor.at
  skipSpace(cursor)
  if (take(cursor, ']')) return items
  do {
    const value = readValue(cursor, depth + 1)
    if (value === undefined) return undefined
    if (value instanceof Map) cursor.spans.set(value, { start, end: cursor.at })
    start = cursor.at
    items.push(value)
    skipSpace(cursor)
  } while (take(cursor, ','))
  return take(cursor, ']') ? items : undefined
}

/**
 * The platform's own parser judges escapes and control characters. The closing quote is looked for by hand: a regular
 * expression with a branch per character runs out of stack at ten million of them.
 */
function readString(cursor: Cursor): string | undefined {
  const { text, at } = cursor
  if (text[at] !== '"') return undefined
  let end = at + 1
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1
  cursor.at = end + 1
  try {
    return String(JSON.parse(text.slice(at, cursor.at)))
  } catch {
    return undefined
  }
}

function lexeme(cursor: Cursor, form: RegExp): string | undefined {
  form.lastIndex = cursor.at
  const found = form.exec(cursor.text)?.[0]
  if (found !== undefined) cursor.at += found.length
  return found
}

function take(cursor: Cursor, token: string): boolean {
  if (!cursor.text.startsWith(token, cursor.at)) return false
  cursor.at += token.length
  return true
}

function skipSpace(cursor: Cursor): void {
  lexeme(cursor, SPACE)
}
