/**
 * Time, injected. Schedules, timeouts and expiry read this one clock, so tests and the developer mode can move it.
 * The system clock is the wall; a movable clock is the wall plus an offset, and moving it fires what has become due.
 */
import { setTimeout as setTimeoutPromise } from 'node:timers/promises'

export interface Clock {
  /** The present instant. */
  now(): Date
  /** Runs `action` once after `milliseconds` of this clock; disposing forgets it. Never keeps the process alive. */
  after(milliseconds: number, action: () => void): Disposable
}

/** setTimeout takes a signed 32-bit number of milliseconds (24.8 days) and fires at once above it. */
const LONGEST_TIMER_MS = 2_147_483_647

export const systemClock: Clock = {
  now: () => new Date(),
  after(milliseconds, action) {
    const timer = setTimeout(action, Math.min(Math.max(milliseconds, 0), LONGEST_TIMER_MS))
    timer.unref()
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
}

/**
 * Real time, for waiting on what lies outside of this process (another process, a file): no injected clock moves those.
 * Keeps the process alive; rejects with the signal's reason when it aborts.
 */
export const pause = (milliseconds: number, signal?: AbortSignal): Promise<void> =>
  setTimeoutPromise(milliseconds, undefined, { signal }).catch((error: unknown) => {
    throw signal?.aborted ? signal.reason : error
  })

/** How long an end waits for a last statement: a database that is away must not keep the process. */
export const LEAVE_MS = 1_000

/** Waits for the work, but not longer: it goes on by itself. For ends, which nobody may hold up. */
export async function atMost(milliseconds: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController()
  try {
    await Promise.race([work, pause(milliseconds, done.signal)])
  } finally {
    done.abort()
  }
}

export interface MovableClock extends Clock {
  /** Moves the clock forward; timers that become due fire before this returns. */
  advance(milliseconds: number): void
}

export function movableClock(): MovableClock {
  let offset = 0
  const waiting = new Set<{ due: number; action: () => void; timer: NodeJS.Timeout | undefined }>()
  const now = () => Date.now() + offset
  function arm(entry: { due: number; action: () => void; timer: NodeJS.Timeout | undefined }) {
    entry.timer = setTimeout(
      () => {
        waiting.delete(entry)
        entry.action()
      },
      Math.min(Math.max(entry.due - now(), 0), LONGEST_TIMER_MS),
    )
    entry.timer.unref()
  }
  return {
    now: () => new Date(now()),
    after(milliseconds, action) {
      const entry = { due: now() + milliseconds, action, timer: undefined }
      waiting.add(entry)
      arm(entry)
      return {
        [Symbol.dispose]() {
          waiting.delete(entry)
          clearTimeout((entry as { timer: NodeJS.Timeout | undefined }).timer)
        },
      }
    },
    advance(milliseconds) {
      offset += milliseconds
      for (const entry of [...waiting]) {
        clearTimeout(entry.timer)
        if (entry.due > now()) arm(entry)
        else if (waiting.delete(entry)) entry.action()
      }
    },
  }
}
