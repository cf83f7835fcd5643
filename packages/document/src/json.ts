/**
 * Plain JSON data and the few questions asked of it.
 * Every document, parameter and step input in this package is of this type, so that nothing but data travels to nodes.
 */

export type Json = null | boolean | number | string | Json[] | JsonObject
export interface JsonObject {
  [key: string]: Json
}

/** True for a JSON object, false for null and lists. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The object's own member, or undefined; `constructor` and the like are never found by accident. */
export function member(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** The same data with every string passed through `change`; keys stay. Objects keep even a key named `__proto__`. */
export function mapStrings(value: Json, change: (text: string) => Json): Json {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change))
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapStrings(item, change)]))
}

/** Calls `visit` for every string value in the data, depth first, in order; keys are not visited. */
export function eachString(value: Json | undefined, visit: (text: string) => void): void {
  if (typeof value === 'string') visit(value)
  else if (Array.isArray(value)) for (const item of value) eachString(item, visit)
  else if (isObject(value)) for (const item of Object.values(value)) eachString(item, visit)
}

/** Size in bytes of the text in UTF-8. */
export function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length
}
