/**
 * Wakes: hints that something changed, to this process at once and to the others by NOTIFY. They carry ids only, may be
 * lost (a periodic look finds what they missed), and are sent in batches: NOTIFY takes a global lock at commit, so one
 * statement for the many wakes of a moment costs what one wake would.
 */
import { atMost, LEAVE_MS } from './clock.ts'
import type { Database } from './database.ts'
import type { Logger } from './log.ts'

const CHANNEL = 'musterbook_wake'
/** PostgreSQL refuses payloads of 8,000 bytes and more. */
const MAX_PAYLOAD_BYTES = 7_500

type Listener = (key: string | undefined) => void

export interface Wakes extends AsyncDisposable {
  post(topic: string, key?: string): void
  on(topic: string, listener: Listener): Disposable
}

export async function openWakes(database: Database, processId: string, log: Logger): Promise<Wakes> {
  const listeners = new Map<string, Set<Listener>>()
  let outgoing = new Map<string, Set<string | undefined>>()
  let sending: Promise<void> | undefined
  let closed = false

  function deliver(topic: string, key: string | undefined) {
    for (const listener of listeners.get(topic) ?? []) {
      try {
        listener(key)
      } catch (error) {
        log.error({ err: error, topic }, 'a wake listener failed')
      }
    }
  }

  function receive(payload: string) {
    const [sender, topic, ...keys] = payload.split('\n')
    if (sender === processId || topic === undefined) return
    if (keys.length === 0) deliver(topic, undefined)
    for (const key of keys) deliver(topic, key)
  }

  async function send() {
    await new Promise(setImmediate) // gather the wakes of this turn
    while (outgoing.size > 0) {
      const batch = outgoing
      outgoing = new Map()
      const payloads = [...batch].flatMap(([topic, keys]) => payloadsFor(processId, topic, [...keys]))
      try {
        await database`select pg_notify(${CHANNEL}, payload) from unnest(${payloads}::text[]) payload`
      } catch (error) {
        if (!closed) log.warn({ err: error }, 'wakes could not be sent; periodic work will catch up')
      }
    }
    sending = undefined
  }

  await database.listen(CHANNEL, receive, () => {
    // Also called after a reconnect: what was missed is unknown, so everyone looks at everything.
    for (const topic of listeners.keys()) deliver(topic, undefined)
  })

  return {
    post(topic, key) {
      deliver(topic, key)
      if (closed) return
      const keys = outgoing.get(topic) ?? new Set()
      keys.add(key)
      outgoing.set(topic, keys)
      sending ??= send()
    },
    on(topic, listener) {
      const set = listeners.get(topic) ?? new Set()
      listeners.set(topic, set)
      set.add(listener)
      return { [Symbol.dispose]: () => void set.delete(listener) }
    },
    async [Symbol.asyncDispose]() {
      // The subscription ends with the database's connections: UNLISTEN would wait for one that may be gone for good.
      closed = true
      listeners.clear()
      if (sending) await atMost(LEAVE_MS, sending)
    },
  }
}

function payloadsFor(processId: string, topic: string, keys: (string | undefined)[]): string[] {
  const head = `${processId}\n${topic}`
  if (keys.includes(undefined)) return [head] // look at everything
  const payloads: string[] = []
  let current = head
  for (const key of keys as string[]) {
    if (Buffer.byteLength(current) + Buffer.byteLength(key) + 1 > MAX_PAYLOAD_BYTES) {
      payloads.push(current)
      current = head
    }
    current += `\n${key}`
  }
  payloads.push(current)
  return payloads
}
