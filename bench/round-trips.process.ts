/**
 * The floor of the fan-out bench: WebSockets over TLS that carry the frames of a command (job, acknowledgement, reply and its
 * acknowledgement) in their sizes, with nothing decoded and no database. One process listens, another holds the clients.
 */
import { once } from 'node:events'
import { createServer } from 'node:https'
import { WebSocket, WebSocketServer } from 'ws'
import { answerQuestions } from './child.process.ts'

export type RoundTripsQuestion =
  | { kind: 'listen'; key: string; cert: string }
  | { kind: 'connect'; port: number; ca: string; count: number; width?: number }
  | { kind: 'round' }
  | { kind: 'close' }

/** Bytes of the frames of `AWS-RunShellScript` with one line, as they were seen on the wire. */
const JOB = Buffer.alloc(1_494)
const JOB_ACK = Buffer.alloc(348)
const REPLY = Buffer.alloc(914)
const REPLY_ACK = Buffer.alloc(260)

const accepted = new Set<WebSocket>()
const opened: WebSocket[] = []
let replied = () => {}

answerQuestions<RoundTripsQuestion>(async (question) => {
  switch (question.kind) {
    case 'listen':
      return listen(question.key, question.cert)
    case 'connect':
      await Promise.all(
        Array.from({ length: question.width ?? 1 }, async (_, lane) => {
          for (let index = lane; index < question.count; index += question.width ?? 1)
            opened.push(await connect(question.port, question.ca))
        }),
      )
      return opened.length
    case 'round':
      return round()
    case 'close':
      for (const socket of opened.splice(0)) socket.terminate()
      return undefined
  }
})

async function listen(key: string, cert: string): Promise<number> {
  const server = createServer({ key, cert })
  const sockets = new WebSocketServer({ server, perMessageDeflate: false })
  sockets.on('connection', (socket) => {
    accepted.add(socket)
    socket.on('close', () => accepted.delete(socket))
    socket.on('message', (data: Buffer) => {
      if (data.length !== REPLY.length) return
      socket.send(REPLY_ACK)
      replied()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

async function connect(port: number, ca: string): Promise<WebSocket> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}`, { ca, perMessageDeflate: false })
  await once(socket, 'open')
  socket.on('message', (data: Buffer) => {
    if (data.length !== JOB.length) return
    socket.send(JOB_ACK)
    socket.send(REPLY)
  })
  return socket
}

/** Milliseconds from the first job sent to the last reply received. */
function round(): Promise<number> {
  return new Promise((resolve) => {
    let missing = accepted.size
    const started = performance.now()
    replied = () => {
      if (--missing === 0) resolve(performance.now() - started)
    }
    for (const socket of accepted) socket.send(JOB)
  })
}
