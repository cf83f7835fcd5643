/** Ends of a session that lie, stop reading, never come or come twice: each is a clean end with a reason. */
import { randomUUID } from 'node:crypto'
import { DescribeSessionsCommand, StartSessionCommand, TerminateSessionCommand } from '@aws-sdk/client-ssm'
import { eventually, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import {
  buildCreateChannelRequest,
  buildOpenDataChannel,
  DATA_MESSAGE,
  decodeAgentMessage,
  encodeAgentMessage,
  parseChannelClosed,
  parseChannelToken,
} from '@musterbook/wire'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { sha256, signedHeaders } from '../../packages/agent/src/transport.ts'
import { clientOf, type SimulatedNode, simulatedNode } from './simulated-node.ts'

const SECOND_MS = 1_000

let testbed: Testbed
let account: TestAccount
let node: SimulatedNode

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'error' })
  account = await testbed.account()
})
// The clock moves by minutes, in which no channel may be silent: each test has a node of its own.
beforeEach(async () => {
  node = await simulatedNode(testbed, account)
  await node.connect()
})
afterAll(() => testbed[Symbol.asyncDispose]())

async function start() {
  const ssm = clientOf(testbed, account)
  const {
    SessionId = '',
    TokenValue = '',
    StreamUrl = '',
  } = await ssm.send(new StartSessionCommand({ Target: node.nodeId }))
  return { sessionId: SessionId, token: TokenValue, url: StreamUrl }
}

async function past(sessionId: string) {
  return eventually('it is history', async () => {
    const Filters = [{ key: 'SessionId' as const, value: sessionId }]
    const { Sessions } = await clientOf(testbed, account).send(
      new DescribeSessionsCommand({ State: 'History', Filters }),
    )
    return Sessions?.[0]
  })
}

interface End {
  socket: WebSocket
  /** The code that it was closed with. */
  closed: Promise<number>
  received: Buffer[]
  /** What the service said at the end. */
  farewell: Promise<string>
}

function endOf(socket: WebSocket): End {
  const received: Buffer[] = []
  let say = (_words: string) => {}
  const farewell = new Promise<string>((resolve) => {
    say = resolve
  })
  socket.on('error', () => {})
  socket.on('message', (data: Buffer) => {
    received.push(data)
    const message = decodeAgentMessage(data)
    if (message.messageType === DATA_MESSAGE.channelClosed) say(parseChannelClosed(message.payload).Output)
  })
  return { socket, received, farewell, closed: new Promise((resolve) => socket.once('close', resolve)) }
}

async function client({ url, token }: { url: string; token: string }): Promise<End> {
  const end = endOf(new WebSocket(url, { rejectUnauthorized: false }))
  await new Promise((resolve) => end.socket.once('open', resolve))
  const who = { RequestId: randomUUID(), ClientId: randomUUID(), ClientVersion: '1.2.650.0' }
  end.socket.send(buildOpenDataChannel({ role: 'client', TokenValue: token, ...who }))
  return end
}

async function agent(sessionId: string): Promise<End> {
  const path = `/v1/data-channel/${encodeURIComponent(sessionId)}`
  const body = buildCreateChannelRequest(randomUUID(), '')
  const json: [string, string][] = [['content-type', 'application/json']]
  const request = { path, headers: json, body, service: 'ssmmessages' }
  const headers = signedHeaders(node.transport, { method: 'POST', ...request }, node.token())
  const answer = await node.transport.send({ method: 'POST', path, headers, body })
  const TokenValue = parseChannelToken(answer.body)
  const query = 'role=publish_subscribe'
  const upgrade = signedHeaders(node.transport, { method: 'GET', path, query, service: 'ssmmessages' }, node.token())
  const end = endOf(node.transport.webSocket(`${path}?${query}`, upgrade))
  await new Promise((resolve) => end.socket.once('open', resolve))
  const who = { RequestId: randomUUID(), ClientInstanceId: node.nodeId }
  end.socket.send(buildOpenDataChannel({ role: 'agent', TokenValue, ...who }))
  return end
}

const output = (sequenceNumber: number, payload: Uint8Array) =>
  streamData(DATA_MESSAGE.outputStreamData, sequenceNumber, payload)

function streamData(messageType: string, sequenceNumber: number, payload: Uint8Array): Buffer {
  const fields = { messageType, messageId: randomUUID(), createdDate: 1 }
  return Buffer.from(encodeAgentMessage({ ...fields, sequenceNumber, payloadType: 1, payload }, sha256))
}

/** Moves the clock until this has happened. */
async function secondsPass(until: Promise<unknown>): Promise<void> {
  await eventually('it ends', () => {
    testbed.clock.advance(SECOND_MS)
    return Promise.race([until.then(() => true), new Promise<false>((resolve) => setImmediate(resolve, false))])
  })
}

/** Moves the clock second by second; in each of them whoever answers pings has done so. */
async function seconds(count: number): Promise<void> {
  for (let second = 0; second < count; second++) {
    testbed.clock.advance(SECOND_MS)
    await clientOf(testbed, account).send(new DescribeSessionsCommand({ State: 'Active' }))
  }
}

const HEADER_LENGTH_AT = 0
const PAYLOAD_LENGTH_AT = 116

describe('an end of a session', () => {
  it('that lies about lengths ends it with the reason, and what it claimed is never set aside', async () => {
    const lie = fc.oneof(
      fc.record({ at: fc.constant(PAYLOAD_LENGTH_AT), value: fc.integer({ min: 4, max: 0xffff_ffff }) }),
      fc.record({ at: fc.constant(HEADER_LENGTH_AT), value: fc.integer({ min: 117, max: 0xffff_ffff }) }),
      fc.record({ at: fc.constant(-1), value: fc.integer({ min: 1, max: 122 }) }), // cut off
    )
    await fc.assert(
      fc.asyncProperty(lie, fc.boolean(), async ({ at, value }, byAgent) => {
        const session = await start()
        const [ours, theirs] = await Promise.all([client(session), agent(session.sessionId)])
        theirs.socket.send(output(0, Buffer.from('abc')))
        await eventually('it is relayed', () => ours.received.length > 0)
        const frame = output(1, Buffer.from('abc'))
        if (at < 0) (byAgent ? theirs : ours).socket.send(frame.subarray(0, value))
        else {
          frame.writeUInt32BE(value, at)
          ;(byAgent ? theirs : ours).socket.send(frame)
        }
        const who = byAgent ? 'agent' : 'client'
        expect(await ours.farewell).toMatch(new RegExp(`^The ${who} cannot be understood: `))
        expect(await past(session.sessionId)).toMatchObject({ Status: 'Failed' })
        for (const { socket } of [ours, theirs]) socket.terminate()
      }),
      { numRuns: 20 },
    )
  })

  it('that repeats damaged frames is heard a hundred times, and no more', async () => {
    const session = await start()
    const [ours, theirs] = await Promise.all([client(session), agent(session.sessionId)])
    const damaged = output(0, Buffer.from('abc'))
    damaged.writeUInt8(0, damaged.length - 1)
    for (let time = 0; time < 100; time++) theirs.socket.send(damaged)
    expect(await ours.farewell).toMatch(/^The agent cannot be understood: .*digest|hash/)
    expect(ours.received).toHaveLength(1) // the farewell
    for (const { socket } of [ours, theirs]) socket.terminate()
  })

  it('that stops reading stops the other, holds a bounded number of bytes, and is given up', async () => {
    const session = await start()
    const [ours, theirs] = await Promise.all([client(session), agent(session.sessionId)])
    theirs.socket.send(output(0, Buffer.from('x')))
    await eventually('it is relayed', () => ours.received.length > 0)
    ours.socket.pause()
    const before = process.memoryUsage().arrayBuffers
    const payload = Buffer.alloc(64 * 1024)
    let sent = 0
    let stalls = 0
    for (let number = 1; stalls < 20; number++) {
      if (theirs.socket.bufferedAmount < 16 * 1024 * 1024) {
        theirs.socket.send(output(number, payload))
        sent += payload.length
        stalls = 0
      } else stalls++
      await new Promise((resolve) => setImmediate(resolve))
      if (sent > 400 * 1024 * 1024) throw new Error('the relay takes whatever it is sent')
    }
    // Both ends and the relay live in this process: what this end could not send, the relay's 4 MiB, and the sockets'.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
    expect(sent).toBeLessThan(64 * 1024 * 1024)
    // It answers no ping: its connection is ended, and then its place.
    await secondsPass(theirs.farewell)
    expect((await past(session.sessionId)).Details).toBe('The client went away.')
    expect(await theirs.farewell).toBe('')
    for (const { socket } of [ours, theirs]) socket.terminate()
  })

  it('that is a node without a word or an answer to pings ends it within five seconds', async () => {
    const session = await start()
    const [ours, theirs] = await Promise.all([client(session), agent(session.sessionId)])
    theirs.socket.send(output(0, Buffer.from('abc')))
    await eventually('it is relayed', () => ours.received.length > 0)
    await seconds(10)
    expect(theirs.socket.readyState).toBe(WebSocket.OPEN)
    theirs.socket.pause() // as if its power was cut: nothing is closed
    ours.socket.send(streamData(DATA_MESSAGE.inputStreamData, 0, Buffer.from('ls\r')))
    await seconds(5)
    await eventually('the client is told', () => ours.received.length > 1, 15_000)
    expect(await ours.farewell).toBe('The connection to the node was lost.')
    expect((await past(session.sessionId)).Details).toBe('The connection to the node was lost.')
    for (const { socket } of [ours, theirs]) socket.terminate()
  })

  it('that is a node whose program takes nothing of what was pasted is given its time', async () => {
    const session = await start()
    const [ours, theirs] = await Promise.all([client(session), agent(session.sessionId)])
    theirs.socket.send(output(0, Buffer.from('abc')))
    await eventually('it is relayed', () => ours.received.length > 0)
    theirs.socket.pause() // as the official agent, while it writes to a terminal that is full
    ours.socket.send(streamData(DATA_MESSAGE.inputStreamData, 0, Buffer.alloc(1_024, 'pasted ')))
    await seconds(10)
    theirs.socket.resume()
    await eventually('it takes it', () => theirs.received.length > 0)
    theirs.socket.send(output(1, Buffer.from('def')))
    await eventually('the client hears', () => ours.received.length > 1)
    expect(decodeAgentMessage(ours.received[1]!).messageType).toBe(DATA_MESSAGE.outputStreamData)
    await clientOf(testbed, account).send(new TerminateSessionCommand({ SessionId: session.sessionId }))
    await Promise.all([ours.farewell, theirs.farewell])
    for (const { socket } of [ours, theirs]) socket.terminate()
  })

  it('that comes with a token that was used is refused, and the first goes on', async () => {
    const session = await start()
    const [first, theirs] = await Promise.all([client(session), agent(session.sessionId)])
    theirs.socket.send(output(0, Buffer.from('one')))
    await eventually('it is relayed', () => first.received.length === 1)
    const second = await client(session)
    expect(await second.closed).toBe(1008)
    theirs.socket.send(output(1, Buffer.from('two')))
    await eventually('the first still hears', () => first.received.length === 2)
    expect(second.received).toEqual([])
    await clientOf(testbed, account).send(new TerminateSessionCommand({ SessionId: session.sessionId }))
    await Promise.all([first.farewell, theirs.farewell])
    for (const { socket } of [first, theirs]) socket.terminate()
  })

  it('that comes when it is over already is told why', async () => {
    const session = await start()
    const theirs = await agent(session.sessionId)
    theirs.socket.send(output(0, Buffer.from('abc')).subarray(0, 50))
    expect((await past(session.sessionId)).Status).toBe('Failed')
    const late = await client(session)
    expect(await late.farewell).toMatch(/^The agent cannot be understood: /)
    expect(await late.closed).toBe(1000)
    theirs.socket.terminate()
  })

  it('that never comes is waited for, for a while', async () => {
    const session = await start()
    const theirs = await agent(session.sessionId)
    theirs.socket.send(output(0, Buffer.from('x')))
    await secondsPass(theirs.farewell)
    expect((await past(session.sessionId)).Details).toBe('Nobody came to the session.')
    theirs.socket.terminate()

    node = await simulatedNode(testbed, account)
    await node.connect()
    const other = await start()
    const ours = await client(other)
    await secondsPass(ours.farewell)
    expect(await ours.farewell).toBe('The node did not open the session.')
    ours.socket.terminate()
  })
})
