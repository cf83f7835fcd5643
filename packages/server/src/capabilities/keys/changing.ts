/** Changes of a key: held while it happens, told to every process once it is done. */
import type { Context } from '../../platform/context.ts'
import { keyOf } from './access.ts'
import { invalidState, notFound } from './errors.ts'
import { KEYS_WAKE, keyArn } from './resolve.ts'
import { type KeyRow, type KeyState, lockKey } from './store.ts'

const SETTLED: readonly KeyState[] = ['Enabled', 'Disabled']
/** Every state but the last one before the end. */
export const LIVING: readonly KeyState[] = [...SETTLED, 'PendingImport']
export const ANY_STATE: readonly KeyState[] = [...LIVING, 'PendingDeletion']
export { SETTLED }

const TELLS: Record<KeyState, string> = {
  Enabled: 'is enabled',
  Disabled: 'is disabled',
  PendingDeletion: 'is pending deletion',
  PendingImport: 'is pending import',
}

/** KMSInvalidStateException. */
export function checkState(key: KeyRow, allowed: readonly KeyState[]): void {
  if (!allowed.includes(key.state)) throw invalidState(`${keyArn(key)} ${TELLS[key.state]}.`)
}

/** Runs `body` with the key that `accessTo` found, locked. NotFoundException. */
export async function changing<T>(
  context: Context,
  input: object,
  body: (inner: Context, key: KeyRow) => Promise<T>,
): Promise<T> {
  const known = keyOf(input)
  return context.transaction(async (inner) => {
    const key = await lockKey(inner.sql, known.region, known.keyId)
    if (!key) throw notFound(`Key '${keyArn(known)}' does not exist`)
    const answer = await body(inner, key)
    inner.wake(KEYS_WAKE, key.keyId)
    return answer
  })
}
