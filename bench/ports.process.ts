/** What lies behind a forwarded port: a server that sends a payload to everyone, and one that takes it and says so. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { answerQuestions } from './child.process.ts'

export interface PortsQuestion {
  bytes: number
}
export interface Ports {
  source: number
  sink: number
}

const CHUNK = Buffer.alloc(1024 * 1024, 'throughput ')

async function listen(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

answerQuestions(async ({ bytes }: PortsQuestion): Promise<Ports> => {
  const source = createServer((socket) => {
    let left = bytes
    socket.on('error', () => {})
    const send = () => {
      while (left > 0) {
        const part = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK
        left -= part.length
        if (!socket.write(part)) return
      }
      socket.end()
    }
    socket.on('drain', send)
    send()
  })
  const sink = createServer((socket) => {
    let left = bytes
    socket.on('error', () => {})
    socket.on('data', (part) => {
      left -= part.length
      if (left <= 0) socket.end('.')
    })
  })
  return { source: await listen(source), sink: await listen(sink) }
})
