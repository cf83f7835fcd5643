/** Which nodes hold a channel, and how long a silent server process is believed to live. */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import * as store from './store.ts'

/** A process writes a heartbeat every 5 seconds; after this long without one its channels no longer count. */
export const DEAD_AFTER_MS = 20_000

/**
 * Which server processes live: those with a young heartbeat, and the one that asks, whose own may be late (a machine that
 * slept, a database that was away) without its channels being gone.
 */
export const livingProcesses = ({ processId, now }: Ground): store.Living => ({
  processId,
  since: new Date(now().getTime() - DEAD_AFTER_MS),
})

/** Of these nodes, those with an open control channel at a process that lives. */
export async function connectedNodes(ground: Ground & Scope, nodeIds: string[]): Promise<Set<string>> {
  if (nodeIds.length === 0) return new Set()
  return new Set(await store.readConnected(ground.sql, ground, nodeIds, livingProcesses(ground)))
}
