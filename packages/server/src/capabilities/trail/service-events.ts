/**
 * What services tell of themselves, such as that a session has ended: written with what it tells of, in the same transaction,
 * and taken into the chain once that is committed.
 */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import { newEventId, type ServiceEvent, serviceRecord } from './event.ts'
import { insertPending } from './store.ts'

export const TRAIL_WAKE = 'trail'

/**
 * Records an event of type AwsServiceEvent, exactly once if the surrounding transaction commits and not at all if it does
 * not. `serviceEventDetails` holds no secrets: they are shown to whoever may look events up. Returns the event's id.
 */
export async function recordServiceEvent(
  ground: Pick<Ground, 'sql' | 'now' | 'wake'>,
  { account, region }: Scope,
  event: ServiceEvent,
): Promise<string> {
  const now = ground.now()
  const draft = { scope: { account, region }, eventId: newEventId(now.getTime()), at: now.getTime() }
  const { eventId } = draft
  const row = { eventId, account, region, processId: null, at: now, event: serviceRecord(event, draft) }
  await insertPending(ground.sql, [row], [])
  ground.wake(TRAIL_WAKE)
  return eventId
}
