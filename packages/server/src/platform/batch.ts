/**
 * Gathers what many callers ask for in the same moment and does it in one go: a thousand nodes that connect, acknowledge
 * or answer at once cost a few statements. Each caller's promise settles with the go that took its item.
 */
export interface Batch<Item> {
  add(item: Item): Promise<void>
  /** Resolves when everything added so far is done. */
  idle(): Promise<void>
}

export function batch<Item>(maxItems: number, carryOut: (items: Item[]) => Promise<void>): Batch<Item> {
  const waiting: { item: Item; resolve: () => void; reject: (error: unknown) => void }[] = []
  let running: Promise<void> | undefined

  async function drain() {
    await new Promise(setImmediate) // let this turn's callers join
    while (waiting.length > 0) {
      const taken = waiting.splice(0, maxItems)
      try {
        await carryOut(taken.map(({ item }) => item))
        for (const { resolve } of taken) resolve()
      } catch (error) {
        for (const { reject } of taken) reject(error)
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
