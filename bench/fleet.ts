/**
 * A whole fleet on one server process: how long it takes to connect, what a connected node costs in memory, one command to
 * all of it, and what everybody else's calls feel of that. `npm run bench -- fleet`, beside bare WebSockets in the same run.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { call, type Target } from './call.process.ts'
import type { CallsQuestion, Latencies } from './calls.process.ts'
import { type Helper, startHelper } from './child.process.ts'
import { inspect } from './inspect.process.ts'
import { count, fixed, median, pause, quantile, residentBytes } from './measure.ts'
import type { NodesQuestion } from './nodes.process.ts'
import type { RoundTripsQuestion } from './round-trips.process.ts'
import { REGION, type Subject, startSubject } from './server.process.ts'
import type { Report } from './table.ts'

const FLEETS = (process.env.BENCH_FLEETS ?? '100,1000,10000').split(',').map(Number)
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5)
/** Asking whether a command is done costs the server something itself. */
const POLL_MS = 25
const CALL_EVERY_MS = 20
const GIVE_UP_MS = 300_000
/** After connecting: heartbeats, collections, and sockets that hand buffers back. */
const SETTLE_MS = 5_000
/** Connected before memory is read for the first time: what the server compiles and keeps once is no node's. */
const WARM_NODES = 20
/** AWS lets an activation register so many. */
const MOST_PER_ACTIVATION = 1_000
/** Nodes that one process plays: more of them slow each other down. */
const MOST_PER_PROCESS = 5_000

interface Measured {
  nodes: number
  registerMs: number
  connectMs: number
  floorConnectMs: number
  residentPerNode: number
  heapPerNode: number
  doneMs: number[]
  answeredMs: number[]
  floorMs: number[]
  calls: Latencies
  idle: Latencies
  processor: { server: number; database: number }
}

export async function run(): Promise<Report> {
  const measured: Measured[] = []
  for (const nodes of FLEETS) {
    const one = await measure(nodes)
    measured.push(one)
    console.log(line(one))
  }
  return {
    title: 'A fleet on one server process',
    method: [
      `\`npm run bench -- fleet\`. A real server process with its embedded PostgreSQL and TLS. The nodes are simulated in other processes on the same machine, but register, sign, report themselves, open their control channels and speak its frames as agents do, and acknowledge and answer at once; all share one RSA key, since making one takes longer than everything else. A fresh server for each size. Connecting is, for each node, its first report of itself, the token for its channel and the channel, 32 nodes at a time from each process. SendCommand names a tag, MaxConcurrency 100%; the time runs from before the request until ListCommands, asked every ${POLL_MS} ms, counts the last stored result; a first command is not counted, then ${ROUNDS} rounds.`,
      `Meanwhile another process begins a call every ${CALL_EVERY_MS} ms, whatever became of those before: PutParameter, GetParametersByPath, DescribeInstanceInformation and ListCommands in turn; beside it the same with the fleet at rest. Memory is the server's resident memory after a garbage collection, less that with ${WARM_NODES} other nodes before these registered, divided by the nodes. The floor is a WebSocket server over TLS in a process of its own: as many connections, and on them job, acknowledgement, reply and its acknowledgement in the same sizes, nothing decoded, nothing stored.`,
    ],
    tables: [
      {
        caption: 'Connecting',
        head: [
          'nodes',
          'registering, s',
          'connecting, s',
          'ms per node',
          'floor, s',
          'resident KiB per node',
          'of them heap',
        ],
        rows: measured.map((one) => [
          count(one.nodes),
          fixed(one.registerMs / 1000, 1),
          fixed(one.connectMs / 1000, 1),
          fixed(one.connectMs / one.nodes),
          fixed(one.floorConnectMs / 1000, 1),
          fixed(one.residentPerNode / 1024, 1),
          fixed(one.heapPerNode / 1024, 1),
        ]),
      },
      {
        caption: 'One command to all of them, until the last result is stored',
        head: [
          'nodes',
          'N',
          'median ms',
          'slowest ms',
          'ms per node',
          'SendCommand answered, ms',
          'floor, ms',
          'times the floor',
        ],
        rows: measured.map((one) => [
          count(one.nodes),
          count(one.doneMs.length),
          count(median(one.doneMs)),
          count(Math.max(...one.doneMs)),
          fixed(median(one.doneMs) / one.nodes),
          fixed(median(one.answeredMs), 1),
          fixed(median(one.floorMs), 1),
          fixed(median(one.doneMs) / median(one.floorMs), 1),
        ]),
      },
      {
        caption: "Everybody else's calls meanwhile",
        head: [
          'nodes',
          'N',
          'median ms',
          'p99 ms',
          'slowest ms',
          'at rest: median ms',
          'p99 ms',
          'CPU s per command: server',
          'PostgreSQL',
        ],
        rows: measured.map((one) => [
          count(one.nodes),
          count(one.calls.length),
          fixed(median(one.calls), 1),
          fixed(quantile(one.calls, 0.99), 1),
          fixed(quantile(one.calls, 1), 1),
          fixed(median(one.idle), 1),
          fixed(quantile(one.idle, 0.99), 1),
          fixed(one.processor.server),
          fixed(one.processor.database),
        ]),
      },
    ],
  }
}

const line = (one: Measured): string =>
  [
    `${count(one.nodes)} nodes: registered in ${fixed(one.registerMs / 1000, 1)} s, connected in ${fixed(one.connectMs / 1000, 1)} s (floor ${fixed(one.floorConnectMs / 1000, 1)})`,
    `${fixed(one.residentPerNode / 1024, 1)} KiB each`,
    `command ${count(median(one.doneMs))} ms [${one.doneMs.map((ms) => count(ms)).join(' ')}], floor ${fixed(median(one.floorMs), 1)} ms`,
    `calls p99 ${fixed(quantile(one.calls, 0.99), 1)} ms of ${one.calls.length}, at rest ${fixed(quantile(one.idle, 0.99), 1)} ms`,
    `CPU ${fixed(one.processor.server)} + ${fixed(one.processor.database)} s`,
  ].join('; ')

interface Stage {
  subject: Subject
  target: Target
  ca: string
}

async function measure(nodes: number): Promise<Measured> {
  await using subject = await startSubject()
  const target: Target = { host: '127.0.0.1', port: subject.port, region: REGION, credentials: subject.credentials }
  const stage: Stage = { subject, target, ca: await readFile(join(subject.data, 'ca.pem'), 'utf8') }
  await using calls = startHelper('calls.process')

  await using warm = startHelper('nodes.process')
  await register(warm, stage, WARM_NODES, 'warm')
  await open(warm, stage)
  const before = await settledMemory(subject)

  const parts = Math.ceil(nodes / MOST_PER_PROCESS)
  const shares = Array.from({ length: parts }, (_, part) => Math.floor((nodes + part) / parts))
  const fleet = shares.map((share) => ({ share, helper: startHelper('nodes.process') }))
  await using _ = all(fleet.map(({ helper }) => helper))
  const registerMs = await timed(() =>
    Promise.all(fleet.map(({ helper, share }) => register(helper, stage, share, 'bench'))),
  )
  const connectMs = await timed(() => Promise.all(fleet.map(({ helper }) => open(helper, stage))))
  const after = await settledMemory(subject)

  const idle = await during(calls, target, '/idle', () => pause(SETTLE_MS))
  await command(target, nodes)
  const doneMs: number[] = []
  const answeredMs: number[] = []
  const processorBefore = subject.processor()
  const latencies = await during(calls, target, '/busy', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const one = await command(target, nodes)
      doneMs.push(one.doneMs)
      answeredMs.push(one.answeredMs)
    }
  })
  const processorAfter = subject.processor()
  for (const { helper } of fleet) await helper.ask({ kind: 'close' } satisfies NodesQuestion)

  await using floorServer = startHelper('round-trips.process')
  await using floorClients = startHelper('round-trips.process')
  const [key = '', cert = ''] = await Promise.all(
    ['server.key', 'server.pem'].map((name) => readFile(join(subject.data, name), 'utf8')),
  )
  const port = await floorServer.ask<number>({ kind: 'listen', key, cert } satisfies RoundTripsQuestion)
  const floorConnectMs = await timed(() =>
    floorClients.ask({
      kind: 'connect',
      port,
      ca: stage.ca,
      count: nodes,
      width: 32 * parts,
    } satisfies RoundTripsQuestion),
  )
  const floorMs: number[] = []
  for (let round = 0; round <= ROUNDS; round++)
    floorMs.push(await floorServer.ask<number>({ kind: 'round' } satisfies RoundTripsQuestion))
  return {
    nodes,
    registerMs,
    connectMs,
    floorConnectMs,
    residentPerNode: (after.resident - before.resident) / nodes,
    heapPerNode: (after.heap - before.heap) / nodes,
    doneMs,
    answeredMs,
    floorMs: floorMs.slice(1),
    calls: latencies,
    idle,
    processor: {
      server: (processorAfter.server - processorBefore.server) / ROUNDS,
      database: (processorAfter.database - processorBefore.database) / ROUNDS,
    },
  }
}

const all = (helpers: Helper[]): AsyncDisposable => ({
  [Symbol.asyncDispose]: async () => void (await Promise.all(helpers.map((helper) => helper[Symbol.asyncDispose]()))),
})

async function timed(act: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await act()
  return performance.now() - started
}

async function during(calls: Helper, target: Target, prefix: string, act: () => Promise<unknown>): Promise<Latencies> {
  await calls.ask({ kind: 'start', target, everyMs: CALL_EVERY_MS, prefix } satisfies CallsQuestion)
  await act()
  return calls.ask<Latencies>({ kind: 'stop' } satisfies CallsQuestion)
}

async function register(nodes: Helper, stage: Stage, wanted: number, fleet: string): Promise<void> {
  for (let missing = wanted; missing > 0; missing -= MOST_PER_ACTIVATION) {
    const share = Math.min(missing, MOST_PER_ACTIVATION)
    const { ActivationId, ActivationCode } = await call<{ ActivationId: string; ActivationCode: string }>(
      stage.target,
      'CreateActivation',
      { IamRole: 'musterbook-node', RegistrationLimit: share, Tags: [{ Key: 'fleet', Value: fleet }] },
    )
    const activation = { id: ActivationId, code: ActivationCode }
    await nodes.ask({ kind: 'register', ...wire(stage), count: share, activation } satisfies NodesQuestion)
  }
}

async function open(nodes: Helper, stage: Stage): Promise<void> {
  await nodes.ask({ kind: 'open', ...wire(stage) } satisfies NodesQuestion)
}

const wire = ({ subject, ca }: Stage) => ({ endpoint: `https://127.0.0.1:${subject.tlsPort}`, ca, region: REGION })

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
  CompletedCount: number
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
