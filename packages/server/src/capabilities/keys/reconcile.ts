/** What keys have appointments for: their deletion, their rotation, the expiry of imported material. */
import type { Reconciler } from '../../platform/capability.ts'
import type { WorkContext } from '../../platform/context.ts'
import { tellOf } from './key-events.ts'
import { deleteForGood } from './lifecycle.ts'
import { KEYS_WAKE } from './resolve.ts'
import { addVersion } from './rotation.ts'
import { nextRotation } from './rotation-dates.ts'
import { changeKey, deleteVersions, type KeyRow, lockDue, nextAppointment } from './store.ts'

/** Keys of one transaction; each is a handful of statements. */
const BATCH = 50

export const keepAppointments: Reconciler = {
  name: 'keys.appointments',
  wakes: [KEYS_WAKE],
  everySeconds: 300,
  async run(work) {
    while (!work.signal.aborted && (await keepDue(work)) === BATCH);
    return nextAppointment(work.sql)
  },
}

const keepDue = (work: WorkContext): Promise<number> =>
  work.transaction(async (inner) => {
    const due = await lockDue(inner.sql, inner.now(), BATCH)
    for (const key of due) await keep(inner, key)
    return due.length
  })

const isDue = (at: Date | null, now: Date): boolean => at !== null && at <= now

async function keep(work: WorkContext, key: KeyRow): Promise<void> {
  const now = work.now()
  if (key.state === 'PendingDeletion' && isDue(key.deletionAt, now)) {
    await deleteForGood(work, key)
    return tellOf(work, key, 'DeleteKey')
  }
  if (isDue(key.materialExpiresAt, now)) {
    await deleteVersions(work.sql, key)
    const state = key.state === 'PendingDeletion' ? key.state : 'PendingImport'
    await changeKey(work.sql, key, { state, material_expires_at: null })
    await tellOf(work, key, 'DeleteExpiredKeyMaterial')
  }
  if (isDue(key.rotateAt, now)) {
    // A key that is not in use is passed over, as in AWS; its next date comes all the same.
    if (key.state === 'Enabled') {
      await addVersion(work, key, 'AUTOMATIC')
      await tellOf(work, key, 'RotateKey')
    }
    await changeKey(work.sql, key, { rotate_at: nextRotation(now, key.rotationDays ?? 365) })
  }
  work.wake(KEYS_WAKE, key.keyId)
}
