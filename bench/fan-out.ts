/**
 * One command to many nodes, from SendCommand to the last result in the database, beside the same number of WebSocket round
 * trips without one; and what a node that is only connected costs the server in memory. `npm run bench -- fan-out`.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { call, type Target } from './call.process.ts'
import { type Helper, startHelper } from './child.process.ts'
import { inspect } from './inspect.process.ts'
import { count, fixed, median, pause, quantile, residentBytes } from './measure.ts'
import type { NodesQuestion } from './nodes.process.ts'
import type { RoundTripsQuestion } from './round-trips.process.ts'
import { REGION, type Subject, startSubject } from './server.process.ts'
import type { Report } from './table.ts'

const FLEETS = (process.env.BENCH_FLEETS ?? '1,100,1000').split(',').map(Number)
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 7)
/** Asking whether a command is done costs the server something itself. */
const POLL_MS = 10
const GIVE_UP_MS = 120_000
/** After connecting: heartbeats, collections, and sockets that hand buffers back. */
const SETTLE_MS = 5_000
/** Connected before memory is read for the first time: what the server compiles and keeps once is no node's. */
const WARM_NODES = 20
const MEMORY_NODES = 1_000

interface Measured {
  nodes: number
  doneMs: number[]
  answeredMs: number[]
  floorMs: number[]
}

interface Memory {
  wire: string
  nodes: number
  bytesPerNode: number
  heapPerNode: number
}

export async function run(): Promise<Report> {
  const measured: Measured[] = []
  for (const nodes of FLEETS) {
    const one = await measure(nodes)
    measured.push(one)
    console.log(
      `${nodes} nodes: last result after ${count(median(one.doneMs))} ms [${one.doneMs.map((ms) => count(ms)).join(' ')}], floor ${fixed(median(one.floorMs), 1)} ms`,
    )
  }
  const memory: Memory[] = []
  for (const tls of [true, false]) {
    const one = await measureMemory(tls)
    memory.push(one)
    console.log(
      `${one.wire}: ${fixed(one.bytesPerNode / 1024, 1)} KiB per node, ${fixed(one.heapPerNode / 1024, 1)} on the heap`,
    )
  }
  return {
    title: 'SendCommand to many nodes',
    method: [
      `\`npm run bench -- fan-out\`. A real server process with its embedded PostgreSQL; the nodes are simulated in another process, but register, sign, open their control channels over TLS and speak its frames as agents do, and acknowledge and answer at once. SendCommand names a tag, MaxConcurrency 100%; the time runs from before the request until ListCommands, asked every ${POLL_MS} ms, counts the last result. The floor is a WebSocket server over TLS in a process of its own, with as many clients in another one: job, acknowledgement, reply and its acknowledgement in the same sizes, nothing decoded, nothing stored. A fresh server for each number of nodes; a first command on each side is not counted; ${ROUNDS} rounds in turn.`,
      `Memory is the server's resident memory after a garbage collection, ${SETTLE_MS / 1000} s after the last node connected, less that before they registered (with ${WARM_NODES} others connected), divided by the nodes: registrations and cached credentials included. Agents speak TLS; without it is what a server holds behind a proxy that ends TLS. PostgreSQL is not in it.`,
    ],
    tables: [
      {
        caption: 'From SendCommand to the last stored result',
        head: [
          'nodes',
          'N',
          'median ms',
          'p99 ms',
          'SendCommand answered, median ms',
          'floor, median ms',
          'times the floor',
        ],
        rows: measured.map((one) => [
          count(one.nodes),
          count(one.doneMs.length),
          count(median(one.doneMs)),
          count(quantile(one.doneMs, 0.99)),
          fixed(median(one.answeredMs), 1),
          fixed(median(one.floorMs), 1),
          fixed(median(one.doneMs.map((ms, index) => ms / (one.floorMs[index] ?? Number.NaN))), 1),
        ]),
      },
      {
        caption: 'Memory of the server per connected node that does nothing',
        head: ['wire', 'nodes', 'resident KiB per node', 'of them on the JavaScript heap'],
        rows: memory.map((one) => [
          one.wire,
          count(one.nodes),
          fixed(one.bytesPerNode / 1024, 1),
          fixed(one.heapPerNode / 1024, 1),
        ]),
      },
    ],
  }
}

interface Stage {
  subject: Subject
  target: Target
  ca: string
}

async function stageOf(subject: Subject): Promise<Stage> {
  const target: Target = { host: '127.0.0.1', port: subject.port, region: REGION, credentials: subject.credentials }
  return { subject, target, ca: await readFile(join(subject.data, 'ca.pem'), 'utf8') }
}

async function measureMemory(tls: boolean): Promise<Memory> {
  await using subject = await startSubject()
  await using warm = startHelper('nodes.process')
  await using nodes = startHelper('nodes.process')
  const stage = await stageOf(subject)
  await connect(warm, stage, WARM_NODES, tls)
  const before = await settledMemory(subject)
  await connect(nodes, stage, MEMORY_NODES, tls)
  const after = await settledMemory(subject)
  return {
    wire: tls ? 'TLS' : 'without TLS',
    nodes: MEMORY_NODES,
    bytesPerNode: (after.resident - before.resident) / MEMORY_NODES,
    heapPerNode: (after.heap - before.heap) / MEMORY_NODES,
  }
}

async function measure(count: number): Promise<Measured> {
  await using subject = await startSubject()
  await using nodes = startHelper('nodes.process')
  const stage = await stageOf(subject)
  const { target, ca } = stage
  await connect(nodes, stage, count, true)

  await using floorServer = startHelper('round-trips.process')
  await using floorClients = startHelper('round-trips.process')
  const floor = await openFloor(subject, floorServer, floorClients, ca, count)
  const measured: Measured = {
    nodes: count,
    doneMs: [],
    answeredMs: [],
    floorMs: [],
  }
  await command(target, count)
  await floor()
  for (let index = 0; index < ROUNDS; index++) {
    const { doneMs, answeredMs } = await command(target, count)
    measured.doneMs.push(doneMs)
    measured.answeredMs.push(answeredMs)
    measured.floorMs.push(await floor())
  }
  await nodes.ask({ kind: 'close' } satisfies NodesQuestion)
  return measured
}

async function connect(nodes: Helper, { target, subject, ca }: Stage, count: number, tls: boolean): Promise<void> {
  const { ActivationId, ActivationCode } = await call<{ ActivationId: string; ActivationCode: string }>(
    target,
    'CreateActivation',
    { IamRole: 'musterbook-node', RegistrationLimit: count, Tags: [{ Key: 'fleet', Value: 'bench' }] },
  )
  const connected = await nodes.ask<number>({
    kind: 'connect',
    endpoint: tls ? `https://127.0.0.1:${subject.tlsPort}` : `http://127.0.0.1:${subject.port}`,
    ca,
    region: REGION,
    count,
    activation: { id: ActivationId, code: ActivationCode },
  } satisfies NodesQuestion)
  if (connected !== count) throw new Error(`${connected} of ${count} nodes are connected`)
}

async function settledMemory(subject: Subject): Promise<{ resident: number; heap: number }> {
  using inspector = await inspect(await subject.inspector())
  await pause(SETTLE_MS)
  await inspector.collectGarbage()
  await pause(SETTLE_MS / 5)
  await inspector.collectGarbage()
  return { heap: await inspector.heapBytes(), resident: residentBytes(subject.pid) }
}

interface Command {
  CommandId: string
  Status: string
  TargetCount: number
  CompletedCount: number
  ErrorCount: number
}

async function command(target: Target, nodes: number): Promise<{ doneMs: number; answeredMs: number }> {
  const started = performance.now()
  const { Command } = await call<{ Command: Command }>(target, 'SendCommand', {
    DocumentName: 'AWS-RunShellScript',
    Parameters: { commands: ['uname -a'] },
    Targets: [{ Key: 'tag:fleet', Values: ['bench'] }],
    MaxConcurrency: '100%',
  })
  const answeredMs = performance.now() - started
  for (;;) {
    const { Commands } = await call<{ Commands: Command[] }>(target, 'ListCommands', { CommandId: Command.CommandId })
    const [state] = Commands
    if (state?.CompletedCount === nodes) {
      if (state.Status !== 'Success') throw new Error(`the command ended as ${state.Status}`)
      return { doneMs: performance.now() - started, answeredMs }
    }
    if (performance.now() - started > GIVE_UP_MS) throw new Error(`not done: ${JSON.stringify(state)}`)
    await pause(POLL_MS)
  }
}

async function openFloor(subject: Subject, server: Helper, clients: Helper, ca: string, count: number) {
  const [key, cert] = await Promise.all(
    ['server.key', 'server.pem'].map((name) => readFile(join(subject.data, name), 'utf8')),
  )
  const port = await server.ask<number>({ kind: 'listen', key: key!, cert: cert! } satisfies RoundTripsQuestion)
  await clients.ask({ kind: 'connect', port, ca, count } satisfies RoundTripsQuestion)
  return () => server.ask<number>({ kind: 'round' } satisfies RoundTripsQuestion)
}
