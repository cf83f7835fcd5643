/**
 * The client of the parameters bench, in a process of its own: keep-alive connections, each with one request under way, all
 * requests signed before the clock starts. It reads no more of an answer than it must to know where the answer ends.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { requestBytes, type Target } from './call.process.ts'
import { answerQuestions } from './child.process.ts'

export type LoadQuestion =
  | { kind: 'prepare'; target: Target; operation: string; inputs: unknown[]; connections: number }
  | { kind: 'run'; port: number; milliseconds: number }
  /** Each prepared request once, whatever the number of connections. */
  | { kind: 'once'; port: number }

export interface Round {
  requests: number
  seconds: number
  /** Milliseconds of each request. */
  latencies: Float32Array
}

let prepared: Buffer[][] = []

answerQuestions<LoadQuestion>(async (question) => {
  if (question.kind === 'prepare') {
    const requests = question.inputs.map((input) => requestBytes(question.target, question.operation, input))
    prepared = Array.from({ length: question.connections }, (_, connection) =>
      requests.filter((_, index) => index % question.connections === connection),
    )
    return requests.length
  }
  return question.kind === 'run' ? run(question.port, question.milliseconds) : run(question.port, undefined)
})

async function run(port: number, milliseconds: number | undefined): Promise<Round> {
  const sockets = await Promise.all(
    prepared.map(async () => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true })
      await once(socket, 'connect')
      return socket
    }),
  )
  const latencies: number[] = []
  const started = performance.now()
  const until = milliseconds === undefined ? undefined : started + milliseconds
  await Promise.all(sockets.map((socket, index) => drive(socket, prepared[index] ?? [], until, latencies)))
  const seconds = (performance.now() - started) / 1000
  for (const socket of sockets) socket.destroy()
  return { requests: latencies.length, seconds, latencies: Float32Array.from(latencies) }
}

const HEAD_END = Buffer.from('\r\n\r\n')
const OK = 'HTTP/1.1 200 '

/** Sends one request after the other until the time is up; without a time, each once. */
function drive(socket: Socket, requests: Buffer[], until: number | undefined, latencies: number[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let at = 0
    let sent = 0
    let answer: Buffer | undefined
    const next = () => {
      const request = until === undefined ? requests[at] : requests[at % requests.length]
      at++
      sent = performance.now()
      if (!request || (until !== undefined && sent >= until)) return resolve()
      socket.write(request)
    }
    socket.on('data', (chunk: Buffer) => {
      answer = answer ? Buffer.concat([answer, chunk]) : chunk
      const end = answer.indexOf(HEAD_END)
      if (end < 0) return
      const head = answer.toString('latin1', 0, end)
      const at = head.indexOf('content-length: ')
      const length = Number.parseInt(head.slice(at + 16, at + 26), 10)
      if (answer.length < end + 4 + length) return
      if (!head.startsWith(OK)) return reject(new Error(`the server answered ${answer.toString()}`))
      answer = undefined
      latencies.push(performance.now() - sent)
      next()
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the server closed a connection')))
    next()
  })
}
