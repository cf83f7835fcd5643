import { createHash, randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import { type ClientHost, openSession, type SocketEvents } from './session-client.ts'

/** A host whose connections are in the test's hand. */
function host() {
  const connections: { events: SocketEvents; isRead: boolean }[] = []
  const timers: (() => void)[] = []
  const made: ClientHost = {
    dial(_url, events) {
      const connection = { events, isRead: true }
      connections.push(connection)
      return {
        send: () => {},
        close: () => {},
        pause: () => {
          connection.isRead = false
        },
        resume: () => {
          connection.isRead = true
        },
      }
    },
    sha256: (data) => createHash('sha256').update(data).digest('hex'),
    newId: randomUUID,
    wallClock: () => 1,
    steadyClock: () => 1,
    after: (_milliseconds, action) => {
      timers.push(action)
      return () => {}
    },
  }
  return { made, connections, timePasses: () => timers.splice(0).map((action) => action()) }
}

it('reads a new connection no faster than the one that was lost, while whoever gets the output is slow', async () => {
  const { made, connections, timePasses } = host()
  const ignore = () => {}
  const client = openSession({
    host: made,
    sessionId: 's',
    token: 'first',
    streamUrl: 'wss://here/first',
    resume: async () => ({ token: 'second' }),
    events: {
      ready: ignore,
      output: ignore,
      error: ignore,
      exitCode: ignore,
      notice: ignore,
      flag: ignore,
      writable: ignore,
      ended: ignore,
    },
  })
  connections[0]?.events.open()
  client.pause()
  connections[0]?.events.closed()
  timePasses()
  await Promise.resolve()
  await Promise.resolve()
  connections[1]?.events.open()
  expect(connections.map(({ isRead }) => isRead)).toEqual([false, false])
  client.resume()
  expect(connections[1]?.isRead).toBe(true)
})
