/**
 * Many sessions from one process, both ends: they speak the real wire (StartSession, a token each, two TLS connections),
 * but behind the agent's end stands no shell, only what sends back every byte. So the server is what is measured.
 */
import { StartSessionCommand } from '@aws-sdk/client-ssm'
import { openDataChannel } from '../packages/agent/src/sessions/data-channel.ts'
import { type SimulatedNodes, simulateNodes } from '../packages/agent/src/simulate.ts'
import { createTransport, type Transport } from '../packages/agent/src/transport.ts'
import { openSession, type SessionClient } from '../packages/cli/src/session-client.ts'
import { nodeHost } from '../packages/cli/src/session-host.ts'
import { PAYLOAD_TYPE } from '../packages/wire/src/data-channel.ts'
import { answerQuestions } from './child.process.ts'
import { pause } from './measure.ts'
import { clientOf } from './session-ends.process.ts'

export type ManyQuestion =
  | {
      kind: 'connect'
      at: Parameters<typeof clientOf>[0]
      endpoint: string
      ca: string
      region: string
      nodes: number
      activation: { id: string; code: string }
    }
  /** Opens so many more, and answers when each has been ready. */
  | { kind: 'open'; sessions: number }
  /** The last ones opened type as fast as they get their echoes: what each had to wait for. */
  | { kind: 'type'; sessions: number; milliseconds: number }

/** For each session, the milliseconds of each of its echoes. */
export type Turns = number[][]

const AT_ONCE = 8
const KEY = Buffer.from('x')

interface Held {
  client: SessionClient
  heard(): void
}

let given: Extract<ManyQuestion, { kind: 'connect' }>
let ssm: ReturnType<typeof clientOf>
let nodes: SimulatedNodes
let transport: Transport
const held: Held[] = []

answerQuestions<ManyQuestion>(async (question) => {
  if (question.kind === 'connect') {
    given = question
    const { endpoint, region, ca, activation } = question
    ssm = clientOf(question.at)
    transport = createTransport({ endpoint, region, ca, maxSockets: AT_ONCE })
    nodes = await simulateNodes({ endpoint, region, ca, count: question.nodes, activation })
    return nodes.instanceIds.length
  }
  if (question.kind === 'open') {
    let left = question.sessions
    const worker = async () => {
      while (left-- > 0) held.push(await open(held.length))
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
    return held.length
  }
  const until = performance.now() + question.milliseconds
  return Promise.all(held.slice(-question.sessions).map((session) => typeUntil(session, until)))
})

async function open(number: number): Promise<Held> {
  const node = nodes.nodes[number % nodes.nodes.length]
  if (!node) throw new Error('there are no nodes')
  const { SessionId = '', TokenValue = '', StreamUrl = '' } = await started(node.instanceId)
  const channel = openDataChannel({
    transport,
    credentials: () => node.credentials,
    instanceId: node.instanceId,
    sessionId: SessionId,
    received(payloadType, payload) {
      if (payloadType === PAYLOAD_TYPE.Output) channel.send(PAYLOAD_TYPE.Output, payload)
      return true
    },
    writable: () => {},
    closed: (why) => console.error(`an agent's end was closed: ${why}`),
    log: { debug() {}, info() {}, warn: console.error, error: console.error },
  })
  channel.state('Connected')
  channel.send(PAYLOAD_TYPE.Output, new Uint8Array(0)) // as an agent says that its shell is there
  const session: Partial<Held> = { heard() {} }
  await new Promise<void>((resolve, reject) => {
    session.client = openSession({
      host: nodeHost(given.ca),
      sessionId: SessionId,
      token: TokenValue,
      streamUrl: StreamUrl,
      resume: async () => undefined,
      events: {
        ready: () => resolve(),
        output: (bytes) => bytes.length > 0 && session.heard?.(),
        error() {},
        exitCode() {},
        notice() {},
        flag() {},
        writable() {},
        ended: (reason) => reject(new Error(`a session ended: ${reason}`)),
      },
    })
  })
  return session as Held
}

/** A node's channel may be open a moment before StartSession knows it. */
async function started(Target: string) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await ssm.send(new StartSessionCommand({ Target }))
    } catch (error) {
      if (attempt === 50) throw error
      await pause(100)
    }
  }
}

async function typeUntil(session: Held, until: number): Promise<number[]> {
  const waited: number[] = []
  for (let from = performance.now(); from < until; from = performance.now()) {
    await new Promise<void>((resolve) => {
      session.heard = resolve
      session.client.write(KEY)
    })
    waited.push(performance.now() - from)
  }
  return waited
}
