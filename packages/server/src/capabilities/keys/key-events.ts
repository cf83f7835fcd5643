/** What happens to keys by itself, for whoever stands above and wants to know: the audit does. */
import type { WorkContext } from '../../platform/context.ts'
import type { Sealer } from '../../platform/seal.ts'
import type { KeyRow } from './store.ts'

/** By the names that CloudTrail gives them. */
export type KeyEvent = 'RotateKey' | 'DeleteKey' | 'DeleteExpiredKeyMaterial'

/** Called in the transaction in which it happens: a rejection takes it back. */
export type KeyListener = (work: WorkContext, key: KeyRow, event: KeyEvent) => Promise<void>

/** A server process has one sealer, which all of its contexts carry: by it background work finds who listens. */
const listeners = new WeakMap<Sealer, KeyListener>()

export const onKeyEvents = (sealer: Sealer, listener: KeyListener): void => void listeners.set(sealer, listener)

export const tellOf = async (work: WorkContext, key: KeyRow, event: KeyEvent): Promise<void> =>
  listeners.get(work.sealer)?.(work, key, event)
