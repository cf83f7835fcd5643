/** Asks a running process through its inspector: to collect garbage before its memory is read, and for profiles. */
import { once } from 'node:events'
import { WebSocket } from 'ws'

export interface Inspector extends Disposable {
  collectGarbage(): Promise<void>
  startProfile(): Promise<void>
  /** As Chrome's developer tools read it. */
  stopProfile(): Promise<string>
  /** Bytes in use on the JavaScript heap. */
  heapBytes(): Promise<number>
}

export async function inspect(address: string): Promise<Inspector> {
  const socket = new WebSocket(address, { perMessageDeflate: false })
  await once(socket, 'open')
  let next = 0
  const waiting = new Map<number, (result: Record<string, unknown>) => void>()
  socket.on('message', (data) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: Record<string, unknown> }
    if (id !== undefined) waiting.get(id)?.(result ?? {})
  })
  const ask = (method: string): Promise<Record<string, unknown>> =>
    new Promise((resolve) => {
      const id = next++
      waiting.set(id, resolve)
      socket.send(JSON.stringify({ id, method }))
    })
  return {
    async collectGarbage() {
      await ask('HeapProfiler.collectGarbage')
      await ask('HeapProfiler.collectGarbage')
    },
    async startProfile() {
      await ask('Profiler.enable')
      await ask('Profiler.start')
    },
    stopProfile: async () => JSON.stringify((await ask('Profiler.stop')).profile),
    heapBytes: async () => Number((await ask('Runtime.getHeapUsage')).usedSize),
    [Symbol.dispose]: () => socket.close(),
  }
}
