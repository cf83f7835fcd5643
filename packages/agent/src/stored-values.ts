// Values of Parameter Store that documents refer to, fetched with the node's own permissions. Called by the executor of
// commands and by sessions.

import type { StoredValue } from '@musterbook/document'

/** GetParameters takes this many names. */
const NAMES_PER_CALL = 10

type Call = (operation: 'GetParameters', input: object) => Promise<Record<string, unknown>>

/** By the name as it stands in the document; what does not exist is left out. */
export async function storedValues(call: Call, names: string[]): Promise<Map<string, StoredValue>> {
  const found = new Map<string, StoredValue>()
  for (let from = 0; from < names.length; from += NAMES_PER_CALL) {
    const Names = names.slice(from, from + NAMES_PER_CALL)
    const { Parameters: list } = await call('GetParameters', { Names, WithDecryption: false })
    for (const item of Array.isArray(list) ? list : []) {
      const { Name: name, Type: type, Value: value, Selector: selector } = item as Record<string, unknown>
      if (typeof name !== 'string' || typeof value !== 'string') continue
      if (type !== 'String' && type !== 'StringList' && type !== 'SecureString') continue
      found.set(name + (typeof selector === 'string' ? selector : ''), { type, value })
    }
  }
  return found
}
