/** What session-client.ts needs, as Node has it. */
import { hash, randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import type { ClientHost } from './session-client.ts'
import { UNTRUSTED, untrusted } from './signed-request.ts'

const HANDSHAKE_TIMEOUT_MS = 15_000

/** `ca`: certificates to trust instead of the system's; `trusted`: where they come from, for a person who has to mend it. */
export const nodeHost = (ca: string | undefined, trusted?: string): ClientHost => ({
  dial(url, events) {
    const socket = new WebSocket(url, {
      perMessageDeflate: false,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      // Masks keep proxies from mistaking a browser's bytes for HTTP; inside TLS they only cost a fifth of the processor.
      ...(url.startsWith('wss:') ? { generateMask: (mask: Buffer) => void mask.fill(0) } : {}),
      ...(ca === undefined ? {} : { ca }),
    })
    let wire: Socket | undefined
    let gathers = false
    socket.once('upgrade', (response) => {
      wire = response.socket
    })
    socket.on('open', events.open)
    socket.on('message', events.message)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // Anything else may pass, and 'close' follows.
      if (!UNTRUSTED.test(error.code ?? '')) return
      events.refused(untrusted(new URL(url).host, error.message, trusted).message)
    })
    socket.on('close', events.closed)
    return {
      /** What is sent in one go leaves in one write. */
      send(data) {
        if (!gathers && wire) {
          gathers = true
          wire.cork()
          process.nextTick(() => {
            gathers = false
            wire?.uncork()
          })
        }
        socket.send(data)
      },
      close() {
        socket.close(1000)
        setTimeout(() => socket.terminate(), 1000).unref()
      },
      pause: () => socket.pause(),
      resume: () => socket.resume(),
    }
  },
  sha256: (data) => hash('sha256', data, 'hex'),
  newId: randomUUID,
  wallClock: Date.now,
  steadyClock: () => performance.now(),
  after(milliseconds, action) {
    const timer = setTimeout(action, milliseconds)
    return () => clearTimeout(timer)
  },
})
