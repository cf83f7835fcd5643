/**
 * Gathers what many callers ask for in the same moment and does it in one go: a thousand nodes that connect, acknowledge
 * or answer at once cost a few statements. Each caller's promise settles with the go that took its item.
 */
import { sqlState } from './database.ts'

/** Callers that go on in one turn of the event loop: five hundred who answer their nodes at once would keep everybody else waiting. */
const CALLERS_A_TURN = 100
const nextTurn = () => new Promise(setImmediate)

export interface Batch<Item> {
  add(item: Item): Promise<void>
  /** Resolves when everything added so far is done. */
  idle(): Promise<void>
}

export function batch<Item>(maxItems: number, carryOut: (items: Item[]) => Promise<void>): Batch<Item> {
  const waiting: { item: Item; resolve: () => void; reject: (error: unknown) => void }[] = []
  let running: Promise<void> | undefined

  async function drain() {
    await nextTurn() // let this turn's callers join
    while (waiting.length > 0) {
      const taken = waiting.splice(0, maxItems)
      try {
        await carryOut(taken.map(({ item }) => item))
        for (const [index, { resolve }] of taken.entries()) {
          resolve()
          if (index % CALLERS_A_TURN === CALLERS_A_TURN - 1) await nextTurn()
        }
      } catch (error) {
        // What one item holds must not keep the others from being done, time and again.
        if (taken.length > 1 && isAboutData(error))
          for (const { item, resolve, reject } of taken) await carryOut([item]).then(resolve, reject)
        else for (const { reject } of taken) reject(error)
      }
    }
    running = undefined
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject })
        running ??= drain()
      }),
    idle: async () => {
      while (running) await running
    },
  }
}

/** Data exceptions and violated constraints: the statement was rolled back because of a value in it. */
const isAboutData = (error: unknown): boolean => /^(?:22|23)/.test(sqlState(error) ?? '')
