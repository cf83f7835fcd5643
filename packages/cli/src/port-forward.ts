/** Local ports that lead through a session: every connection here is one smux stream to the node. */
import { createServer, type Server, type Socket } from 'node:net'
import { isLaterVersion, MUX_AFTER_AGENT_VERSION, MUX_MAX_STREAMS, MuxError, MuxSession } from '@musterbook/wire'
import { openSession, type SessionClient, type SessionOptions } from './session-client.ts'

/** Bytes from which a message is sent at once: a full read of a socket. Beyond 128 KiB the relay's malloc maps each one. */
const MESSAGE_BYTES = 64 * 1024
/** Unwritten bytes of a local connection above which no more frames are read. */
const MAX_UNWRITTEN = 1024 * 1024

export interface Forwarded {
  /** The local port that is listened on. */
  port: number
  /** Resolves with the words that the session ended with. */
  ended: Promise<string>
  /** Stops listening and tells the agent to end the session; `ended` resolves, without words, when the agent knows. */
  close(): void
}

export interface ForwardOptions extends Omit<SessionOptions, 'events'> {
  localHost: string
  /** 0 chooses a free one. */
  localPort: number
  /** The node could not reach the target for a connection. */
  unreachable(): void
}

/** Resolves when connections are accepted. Rejects when the session ends before that or the port is taken. */
export function forwardPort({ localHost, localPort, unreachable, ...session }: ForwardOptions): Promise<Forwarded> {
  return new Promise((resolve, reject) => {
    const mux = new MuxSession({ role: 'client' })
    const sockets = new Map<number, Socket>()
    let server: Server | undefined
    let end = (_reason: string) => {}
    const ended = new Promise<string>((settle) => {
      end = settle
    })
    let room = true
    const slow = new Set<number>()

    const client: SessionClient = openSession({
      ...session,
      events: {
        ready({ agentVersion }) {
          if (isLaterVersion(agentVersion, MUX_AFTER_AGENT_VERSION)) listen()
          else fail(`The agent (${agentVersion}) is too old to carry more than one connection; update it.`)
        },
        output: receive,
        error: () => {},
        exitCode: () => {},
        notice: () => {},
        flag: (flag) => flag === 'ConnectToPortError' && unreachable(),
        writable() {
          room = true
          for (const socket of sockets.values()) socket.resume()
        },
        ended: fail,
      },
    })

    function stopListening(): void {
      server?.close()
      for (const socket of sockets.values()) socket.destroy()
    }

    function fail(reason: string): void {
      stopListening()
      client.close()
      end(reason)
      reject(new Error(reason || 'The session ended.'))
    }

    let waiting: Uint8Array[] = []
    let waitingBytes = 0

    function send(...parts: Uint8Array[]): void {
      if (waitingBytes === 0) setImmediate(flush)
      for (const part of parts) {
        if (part.length === 0) continue
        waiting.push(part)
        waitingBytes += part.length
      }
      if (waitingBytes >= MESSAGE_BYTES) flush()
    }

    function flush(): void {
      if (waitingBytes === 0) return
      const parts = waiting
      waiting = []
      waitingBytes = 0
      if (client.writeMessage(parts)) return
      room = false
      for (const socket of sockets.values()) socket.pause()
    }

    function receive(bytes: Uint8Array): void {
      try {
        for (const event of mux.receive(bytes)) {
          if (event.type === 'send') send(event.bytes)
          else if (event.type === 'data') write(event.stream, event.bytes)
          else if (event.type === 'end') sockets.get(event.stream)?.end()
        }
      } catch (error) {
        if (!(error instanceof MuxError)) throw error
        fail('The agent sends what is no multiplexed connection.')
      }
    }

    /** One slow connection holds all of them up: smux has no window for each. */
    function write(stream: number, bytes: Uint8Array): void {
      const socket = sockets.get(stream)
      if (!socket) return
      socket.write(bytes, () => {
        mux.consumed(stream, bytes.length)
        if (slow.has(stream) && socket.writableLength < MAX_UNWRITTEN / 2) release(stream)
      })
      if (socket.writableLength > MAX_UNWRITTEN && !slow.has(stream)) {
        slow.add(stream)
        client.pause()
      }
    }

    function release(stream: number): void {
      if (slow.delete(stream) && slow.size === 0) client.resume()
    }

    function accept(socket: Socket): void {
      if (mux.openStreams >= MUX_MAX_STREAMS) return void socket.destroy() // as many as an agent takes
      const { stream, bytes } = mux.open()
      sockets.set(stream, socket)
      socket.setNoDelay(true)
      if (!room) socket.pause()
      send(bytes)
      socket.on('data', (data) => send(...mux.write(stream, data)))
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(stream)
        release(stream)
        send(mux.close(stream))
      })
    }

    function listen(): void {
      server = createServer(accept)
      server.on('error', (error) => {
        client.flag('TerminateSession')
        fail(`The local port cannot be opened: ${error.message}`)
      })
      server.listen(localPort, localHost, () => {
        const address = server?.address()
        const port = typeof address === 'object' && address ? address.port : localPort
        resolve({
          port,
          ended,
          close() {
            stopListening()
            client.flag('TerminateSession')
            // Whoever leaves before the agent has it leaves a session that waits for its client's return.
            client.finish(() => fail(''))
          },
        })
      })
    }
  })
}
