/** When and for what each long-lived key was last used: noted after an answer, written at most once a minute for a key. */
import { batch } from '../../platform/batch.ts'
import type { Host, Observer } from '../../platform/capability.ts'
import { type KeyUse, writeKeyUses } from './store/sign-in.ts'

const EVERY_MS = 60_000
const MAX_KEYS = 20_000
const MAX_BATCH = 500

export function noteKeyUses(host: Host): { observe: Observer; idle(): Promise<void> } {
  const noted = new Map<string, number>()
  const writing = batch<KeyUse>(MAX_BATCH, (uses) => writeKeyUses(host.sql, uses))
  return {
    observe({ context, service }) {
      const { caller, region } = context
      if ((caller.type !== 'user' && caller.type !== 'root') || caller.accessKeyId.startsWith('ASIA')) return
      const now = context.now()
      if (now.getTime() - (noted.get(caller.accessKeyId) ?? 0) < EVERY_MS) return
      if (noted.size >= MAX_KEYS) noted.clear()
      noted.set(caller.accessKeyId, now.getTime())
      writing
        .add({ accessKeyId: caller.accessKeyId, at: now, region, service })
        .catch((error: unknown) => host.log.debug({ err: error }, 'the use of a key could not be noted'))
    },
    idle: () => writing.idle(),
  }
}
