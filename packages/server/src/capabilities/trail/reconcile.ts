/** Background work: takes waiting records into their chains, and trims what is older than the retention. */
import type { Reconciler } from '../../platform/capability.ts'
import type { Sealer } from '../../platform/seal.ts'
import { sealedText } from './chain.ts'
import { finishUnknown } from './event.ts'
import { TRAIL_WAKE } from './service-events.ts'
import * as store from './store.ts'
import { chainName, LostEntry, SEAL_PURPOSE, type Writer, wholeRecord } from './writer.ts'

/** A process says that it lives every BEAT_SECONDS; silent for longer than SILENT_SECONDS it is dead. */
const BEAT_SECONDS = 5
const SILENT_SECONDS = 20
const READY_ROWS = 500
const DAY_MS = 86_400_000

/** A server process has one sealer, which all of its contexts carry: by it background work finds its writer. */
export const writers = new WeakMap<Sealer, Writer>()

/** One record for each row, whichever process takes it: its row goes with the statement that writes the record. */
export const takeIn: Reconciler = {
  name: 'trail.take-in',
  wakes: [TRAIL_WAKE],
  everySeconds: BEAT_SECONDS,
  async run(work) {
    const writer = writers.get(work.sealer)
    if (!writer) return undefined
    await store.beat(work.sql, work.processId)
    await store.forgetSilent(work.sql, SILENT_SECONDS)
    for (;;) {
      const rows = await store.readReady(work.sql, READY_ROWS)
      const results = await Promise.allSettled(
        rows.map((row) =>
          writer.write(row, {
            eventId: row.eventId,
            at: row.at.getTime(),
            pending: 'surely',
            record: () => wholeRecord(row.processId === null ? row.event : finishUnknown(row.event)),
          }),
        ),
      )
      for (const result of results)
        if (result.status === 'rejected' && !(result.reason instanceof LostEntry)) throw result.reason
      if (rows.length < READY_ROWS || work.signal.aborted) return undefined
    }
  },
}

export const trimOld: Reconciler = {
  name: 'trail.trim',
  wakes: [],
  everySeconds: 3_600,
  async run(work) {
    const before = new Date(work.now().getTime() - work.choices.auditRetentionDays * DAY_MS)
    for (const { account, region, anchor } of await store.readChains(work.sql)) {
      const scope = { account, region }
      const to = await store.lastTrimmable(work.sql, scope, before)
      if (!to) continue
      const seal = work.sealer.seal(SEAL_PURPOSE.anchor, sealedText(to), chainName(scope))
      await store.trim(work.sql, scope, { from: anchor, to, seal, contentsBefore: before })
    }
    return undefined
  },
}
