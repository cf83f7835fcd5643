/**
 * The condition keys of a request. Key names know no case (`aws:PrincipalTag/Team` is `aws:principaltag/team`), so they are
 * lowered once here; an empty list is a missing key. Made by whoever authorizes a call, read by every condition.
 */
import type { Lookup } from './pattern.ts'

export type ContextValue = string | number | boolean | Date | readonly string[] | undefined
export type ContextKeys = ReadonlyMap<string, readonly string[]>

/** Keys of `record`, over those of `base`: a caller's own keys are made once and each request's laid over them. */
export function contextKeys(record: Readonly<Record<string, ContextValue>>, base?: ContextKeys): ContextKeys {
  const keys = new Map(base)
  for (const name in record) {
    const value = record[name]
    if (value === undefined) continue
    if (Array.isArray(value) && value.length === 0) keys.delete(name.toLowerCase())
    else keys.set(name.toLowerCase(), valuesOf(value))
  }
  return keys
}

export const noContextKeys: ContextKeys = new Map()

/** One request on one resource, as conditions and variables see it: the resource's own keys come before the request's. */
export function lookupIn(own: ContextKeys | undefined, shared: ContextKeys): Lookup {
  if (own === undefined || own.size === 0) return { valuesOf: (key) => shared.get(key) }
  return { valuesOf: (key) => own.get(key) ?? shared.get(key) }
}

function valuesOf(value: Exclude<ContextValue, undefined>): readonly string[] {
  if (typeof value === 'string') return [value]
  if (value instanceof Date) return [value.toISOString()]
  return typeof value === 'object' ? value : [String(value)]
}
