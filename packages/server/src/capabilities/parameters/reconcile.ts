/**
 * Policies take effect here: expired parameters go, notifications become events. Any number of processes may run it; a
 * due parameter is claimed by one, and its effects and events are one transaction: each happens exactly once.
 */
import type { Reconciler } from '../../platform/capability.ts'
import type { WorkContext } from '../../platform/context.ts'
import { deleteTags } from '../tags/index.ts'
import { changeEvent, type ParameterEvent, policyEvent } from './events.ts'
import { carryOut, nextDue } from './policies.ts'
import { POLICIES_TOPIC } from './put-parameter.ts'
import {
  claimDue,
  type DueRow,
  deleteParameters,
  forgetEvents,
  nextPolicyDue,
  policiesOf,
  writeEvents,
  writePolicies,
} from './store.ts'

/** Parameters of one transaction. */
const BATCH = 100
const EVENTS_BATCH = 1_000
/** Events are kept for seven days. */
const EVENTS_KEPT_MS = 7 * 86_400_000

export const expireParameters: Reconciler = {
  name: 'parameters.expire',
  wakes: [POLICIES_TOPIC],
  everySeconds: 60,
  async run(work) {
    while (!work.signal.aborted && (await carryOutDue(work)) === BATCH);
    while (
      !work.signal.aborted &&
      (await forgetEvents(work.sql, new Date(work.now().getTime() - EVENTS_KEPT_MS), EVENTS_BATCH)) === EVENTS_BATCH
    );
    return nextPolicyDue(work.sql)
  },
}

/** How many parameters had something due. */
async function carryOutDue(work: WorkContext): Promise<number> {
  const done = await work.transaction(async (change) => {
    const rows = await claimDue(change.sql, change.now(), BATCH)
    const effects = []
    for (const row of rows) effects.push({ row, events: await carryOutPolicies(change, row) })
    return effects
  })
  for (const { row, events } of done) {
    for (const { detailType, detail } of events) {
      work.log.info({ account: row.account, region: row.region, detailType, detail }, 'parameter event')
    }
  }
  return done.length
}

async function carryOutPolicies(change: WorkContext, row: DueRow): Promise<ParameterEvent[]> {
  const scoped = { sql: change.sql, wake: change.wake, account: row.account, region: row.region }
  const now = change.now()
  const { due, expires, after } = carryOut(policiesOf(row), row.lastModifiedAt, now)
  const events = due.map((policy) => policyEvent(row, policy))
  if (expires) {
    await deleteParameters(scoped, [row.nameKey])
    await deleteTags(scoped, 'Parameter', [row.nameKey])
    events.push(changeEvent(row, 'Delete'))
  } else {
    await writePolicies(scoped, row.nameKey, after, nextDue(after, row.lastModifiedAt))
  }
  await writeEvents(
    scoped,
    now,
    events.map((event) => ({ nameKey: row.nameKey, ...event })),
  )
  return events
}
