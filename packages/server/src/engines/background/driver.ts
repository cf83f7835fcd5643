/**
 * The driver of background work: runs each reconciler when it is woken, when its period has passed, and at the moment
 * it asked for itself; never twice at a time in one process. A failure is logged and tried again, later each time.
 */

import type { Reconciler } from '../../platform/capability.ts'
import { atMost, type Clock } from '../../platform/clock.ts'
import type { WorkContext } from '../../platform/context.ts'
import type { Logger } from '../../platform/log.ts'

const FIRST_RETRY_MS = 200
const LONGEST_RETRY_MS = 30_000
/** A pass that waits for a database that is away is left behind: what it had begun is found again in the database. */
const LEAVE_MS = 5_000

export interface Work extends AsyncDisposable {
  /** Runs everything once and resolves when nothing is left to do: what a test does after moving the clock. */
  settle(): Promise<void>
}

export interface WorkSource {
  clock: Clock
  log: Logger
  context: WorkContext
  onWake(topic: string, listener: (key: string | undefined) => void): Disposable
}

export function startWork(source: WorkSource, reconcilers: Reconciler[]): Work {
  const loops = reconcilers.map((reconciler) => startLoop(source, reconciler))
  return {
    async settle() {
      do {
        for (const loop of loops) await loop.runNow()
      } while (loops.some((loop) => loop.busy()))
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(loops.map((loop) => loop.close()))
    },
  }
}

function startLoop({ clock, log, context, onWake }: WorkSource, reconciler: Reconciler) {
  let running: Promise<void> | undefined
  let again = false
  let closed = false
  let failures = 0
  let timer: Disposable | undefined

  async function pass(): Promise<void> {
    do {
      again = false
      timer?.[Symbol.dispose]()
      let wait = reconciler.everySeconds * 1000
      try {
        const due = await reconciler.run(context)
        failures = 0
        if (due) wait = Math.min(wait, due.getTime() - clock.now().getTime())
      } catch (error) {
        if (closed) return
        wait = Math.min(FIRST_RETRY_MS * 2 ** failures++, LONGEST_RETRY_MS)
        log.error({ err: error, reconciler: reconciler.name, retryMs: wait }, 'background work failed')
      }
      if (!closed) timer = clock.after(Math.max(wait, 0), kick)
    } while (again && !closed)
  }

  function kick(): Promise<void> {
    if (closed) return Promise.resolve()
    if (running) {
      again = true
      return running
    }
    running = pass().finally(() => {
      running = undefined
    })
    return running
  }

  const subscriptions = reconciler.wakes.map((topic) => onWake(topic, () => void kick()))
  void kick()
  return {
    runNow: kick,
    busy: () => running !== undefined,
    async close() {
      closed = true
      timer?.[Symbol.dispose]()
      for (const subscription of subscriptions) subscription[Symbol.dispose]()
      if (running) await atMost(LEAVE_MS, running)
    },
  }
}
