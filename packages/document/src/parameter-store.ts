/**
 * `{{ ssm:name }}` in data, once the node has fetched the values: who is referred to, and how values go in.
 * A StringList may only stand alone as an element of a list and becomes its elements; a SecureString is refused,
 * since commands and their documents are kept in clear.
 */
import { DocumentError } from './error.ts'
import { eachString, type Json } from './json.ts'
import { replaceSsmTokens, ssmNames } from './tokens.ts'

/** A parameter as GetParameters answers. */
export interface StoredValue {
  readonly type: 'String' | 'StringList' | 'SecureString'
  readonly value: string
}
/** By the name in the token, with its `:version` or `:label`. */
export type StoredValues = ReadonlyMap<string, StoredValue>

/** The names referred to in the data, each once, in order; GetParameters takes ten at a time. */
export function referencesIn(...data: (Json | undefined)[]): string[] {
  const names = new Set<string>()
  for (const value of data) {
    eachString(value, (text) => {
      for (const name of ssmNames(text)) names.add(name)
    })
  }
  return [...names]
}

/** The data with stored values put in; InvalidParameters for one that is missing, secure, or a list where text must be. */
export function putStored(data: Json, stored: StoredValues): Json {
  const names = referencesIn(data)
  if (names.length === 0) return data
  const unknown = names.filter((name) => !stored.has(name))
  if (unknown.length > 0) throw refused(`Input contains invalid parameters [${unknown.join(' ')}]`)
  const secure = names.filter((name) => stored.get(name)?.type === 'SecureString')
  if (secure.length > 0) throw refused(`Parameters [${secure.join(' ')}] of type SecureString are not supported`)
  return put(data, stored)
}

function refused(message: string): DocumentError {
  return new DocumentError('InvalidParameters', message)
}

function put(data: Json, stored: StoredValues): Json {
  if (typeof data === 'string') return putText(data, stored)
  if (Array.isArray(data)) return data.flatMap((item) => putElement(item, stored))
  if (typeof data !== 'object' || data === null) return data
  return Object.fromEntries(Object.entries(data).map(([key, item]) => [key, put(item, stored)]))
}

/** Only here may a StringList stand: it takes the place of the element. */
function putElement(item: Json, stored: StoredValues): Json[] {
  const name = typeof item === 'string' ? /^\s*\{\{ *ssm:([/\w.:-]+) *\}\}\s*$/.exec(item)?.[1] : undefined
  const list = name === undefined ? undefined : stored.get(name)
  return list?.type === 'StringList' ? list.value.split(',') : [put(item, stored)]
}

function putText(text: string, stored: StoredValues): string {
  const values = new Map<string, string>()
  for (const name of ssmNames(text)) {
    const found = stored.get(name)
    if (found?.type === 'StringList') throw refused(`Parameter ${name} of type StringList cannot be used as a String`)
    if (found) values.set(name, found.value)
  }
  return replaceSsmTokens(text, values)
}
