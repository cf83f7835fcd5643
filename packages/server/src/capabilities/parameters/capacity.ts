/**
 * How many parameters an account may have, without counting them for every one that is created.
 *
 * A count shows the room that is left. No installation fills room faster than FASTEST_CREATION, so until then there is
 * plenty, whatever other processes do; creating needs no look and no lock. Where little room is left, creators go one
 * after the other and count (`lockTier`, `countTier`): the last place is given once.
 */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { Sql } from '../../platform/database.ts'
import type { Tier } from './rules.ts'
import { countTier } from './store.ts'

type Counting = Scope & Pick<Ground, 'sql' | 'now'>

/** Parameters per account and region (Parameter Store quotas), unless the installation sets others. */
const AWS_LIMITS: Record<Tier, number> = { Standard: 10_000, Advanced: 100_000 }
/** Parameters per second. Measured: 9,000 durable inserts per second on two cores. */
const FASTEST_CREATION = 50_000
/** Below this much room every creation counts. */
const LITTLE_ROOM = 1_000

export interface Capacity {
  limit(tier: Tier): number
  /** Whether room need not be looked for; false where little is left. */
  isPlenty(context: Counting, tier: Tier): Promise<boolean>
}

function createCapacity(limits: Record<Tier, number>): Capacity {
  /** Until when there is plenty, in milliseconds since the epoch. */
  const plentyUntil = new Map<string, number>()
  const counting = new Map<string, Promise<boolean>>()

  async function look(context: Counting, tier: Tier, name: string): Promise<boolean> {
    const asked = context.now().getTime()
    const room = limits[tier] - (await countTier(context, tier, limits[tier]))
    if (room <= LITTLE_ROOM) return false
    plentyUntil.set(name, asked + ((room - LITTLE_ROOM) / FASTEST_CREATION) * 1000)
    return true
  }

  return {
    limit: (tier) => limits[tier],
    async isPlenty(context, tier) {
      if (limits[tier] <= LITTLE_ROOM) return false
      const name = `${context.account}/${context.region}/${tier}`
      if (context.now().getTime() < (plentyUntil.get(name) ?? 0)) return true
      let looking = counting.get(name)
      if (!looking) {
        looking = look(context, tier, name).finally(() => counting.delete(name))
        counting.set(name, looking)
      }
      return looking
    },
  }
}

/** One per pool, since several servers may live in one process. */
const capacities = new WeakMap<Sql, Capacity>()

export function setLimits(sql: Sql, limits: Record<Tier, number>): void {
  capacities.set(sql, createCapacity(limits))
}

export function capacityOf(sql: Sql): Capacity {
  let capacity = capacities.get(sql)
  if (!capacity) {
    capacity = createCapacity(AWS_LIMITS)
    capacities.set(sql, capacity)
  }
  return capacity
}
