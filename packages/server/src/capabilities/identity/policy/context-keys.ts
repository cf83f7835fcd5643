/**
 * The condition keys of a request. Key names know no case (`aws:PrincipalTag/Team` is `aws:principaltag/team`), so they are
 * lowered once here; an empty list is a missing key. Made by whoever authorizes a call, read by every condition.
 */

export type ContextValue = string | number | boolean | Date | readonly string[] | undefined
/** What conditions and variables ask, by names in lower case. */
export interface ContextKeys {
  get(key: string): readonly string[] | undefined
}

export function contextKeys(record: Readonly<Record<string, ContextValue>>): ContextKeys {
  const keys = new Map<string, readonly string[]>()
  for (const name in record) {
    const value = record[name]
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue
    keys.set(name.toLowerCase(), valuesOf(value))
  }
  return keys
}

/** Keys that are made when a policy asks for them, which few do: every request has them. */
export const keysOnDemand = <Given>(
  makers: ReadonlyMap<string, (given: Given) => ContextValue>,
  given: Given,
): ContextKeys => ({
  get(key) {
    const value = makers.get(key)?.(given)
    return value === undefined ? undefined : valuesOf(value)
  },
})

/** Each key from the first that has it: copying them into one map cost more than evaluating the policies. */
export const layered = (...layers: readonly ContextKeys[]): ContextKeys => ({
  get(key) {
    for (const layer of layers) {
      const values = layer.get(key)
      if (values !== undefined) return values
    }
    return undefined
  },
})

export const noContextKeys: ContextKeys = new Map()

function valuesOf(value: Exclude<ContextValue, undefined>): readonly string[] {
  if (typeof value === 'string') return [value]
  if (value instanceof Date) return [value.toISOString()]
  return typeof value === 'object' ? value : [String(value)]
}
