/** Waits for a condition, never for a time: asks again until it holds or the deadline has passed. */
import { setTimeout as pause } from 'node:timers/promises'

const DEADLINE_MS = 90_000
const ASK_AGAIN_MS = 25

/** The first answer that is neither undefined nor false. Throws an Error with `what` and the last failure. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  const until = Date.now() + deadlineMs
  let failure: unknown
  do {
    try {
      const answer = await ask()
      if (answer !== undefined && answer !== false) return answer as T
      failure = undefined
    } catch (error) {
      failure = error
    }
    await pause(ASK_AGAIN_MS)
  } while (Date.now() < until)
  throw new Error(`it never came true: ${what}`, { cause: failure })
}
