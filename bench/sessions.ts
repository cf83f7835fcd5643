/**
 * Sessions as a person feels them: a keystroke's echo, the way to the first prompt, what a forwarded port carries each way,
 * and a thousand sessions on one server. OpenSSH on the loopback is the floor; the official agent and plugin stand beside ours
 * where MUSTERBOOK_OFFICIAL_AGENT and MUSTERBOOK_OFFICIAL_PLUGIN name them. `npm run bench -- sessions`.
 */
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { type SSMClient, TerminateSessionCommand } from '@aws-sdk/client-ssm'
import { type SessionEnd, startSession } from '../tests/contract/session-end.ts'
import { startHelper } from './child.process.ts'
import { inspect } from './inspect.process.ts'
import type { ManyQuestion, Turns } from './many-sessions.process.ts'
import { count, fixed, median, pause, quantile, residentBytes } from './measure.ts'
import type { Ports } from './ports.process.ts'
import { REGION, type Subject, startSubject } from './server.process.ts'
import {
  activation,
  type BenchNode,
  clientOf,
  ended,
  officialNode,
  ourClient,
  ourNode,
  plugin,
  ssh,
  sshForward,
  startSshd,
  whyNoOfficialAgent,
  whyNoPlugin,
  whyNoSshd,
} from './session-ends.process.ts'
import type { Report } from './table.ts'

const KEYSTROKES = Number(process.env.BENCH_KEYSTROKES ?? 1_000)
const OPENINGS = Number(process.env.BENCH_OPENINGS ?? 30)
const MEGABYTES = Number(process.env.BENCH_MEGABYTES ?? 200)
/** The official ends sleep a millisecond after each KiB that they send: what others carry in a second takes them minutes. */
const SLOW_MEGABYTES = Math.min(MEGABYTES, 3)
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5)
const SLOW_ROUNDS = Math.min(ROUNDS, 2)
const IDLE = Number(process.env.BENCH_IDLE ?? 1_000)
const BUSY = Number(process.env.BENCH_BUSY ?? 100)
const BUSY_MS = 10_000
/** Open before memory is read for the first time: what the server compiles and keeps once is no session's. */
const WARM = 50
const MANY_NODES = 4
const SETTLE_MS = 3_000
/** A transfer that moves nothing for so long, or a tunnel that does not open, is told instead of waited for. */
const GIVE_UP_MS = 60_000
/** A terminal that sends every byte back. */
const ECHO = 'stty raw -echo; echo ready; exec cat'
const interactive = (command: string) => ({
  DocumentName: 'AWS-StartInteractiveCommand',
  Parameters: { command: [command] },
})

interface Given {
  subject: Subject
  ssm: SSMClient
  node: BenchNode
  official: BenchNode | undefined
  sshd: Awaited<ReturnType<typeof startSshd>> | undefined
  hasPlugin: boolean
}

export async function run(): Promise<Report> {
  await using subject = await startSubject()
  const ssm = clientOf(subject)
  await using node = await ourNode(subject, ssm)
  await using official = whyNoOfficialAgent() ? undefined : await officialNode(subject, ssm)
  await using sshd = whyNoSshd() ? undefined : await startSshd()
  const given: Given = { subject, ssm, node, official, sshd, hasPlugin: whyNoPlugin() === undefined }
  const echoes = await measureEchoes(given)
  const openings = await measureOpenings(given)
  const ports = await measurePorts(given)
  const many = await measureMany(given)
  ssm.destroy()
  const missing = [whyNoOfficialAgent(), whyNoPlugin(), whyNoSshd()].filter((why) => why !== undefined)
  return {
    title: 'Sessions',
    method: [
      `\`npm run bench -- sessions\`. Server, agents and clients are processes of their own, all on this machine, over TLS. A keystroke is one byte from a pipe through the client, the relay, the agent and a raw terminal to \`cat\` and back; ssh does the same to an sshd on the loopback. A session is open at the first byte that its shell shows, counted from StartSession.`,
      `Ports carry ${MEGABYTES} MB over one connection, ${ROUNDS} times each way, with the session's metadata recorded; ${SLOW_MEGABYTES} MB where an official end sends, because agent and plugin alike sleep a millisecond after each KiB: what goes to the node through the plugin is as slow with every agent.`,
      `Many sessions have both their ends in one process that speaks the real wire, with an echo in place of shells. Memory is the server's for ${count(IDLE)} open sessions with nothing to say, after its garbage has been collected. Then ${count(BUSY)} more each send a byte as soon as the last one is back, for ${BUSY_MS / 1000} s.`,
      ...(missing.length > 0 ? [`Left out: ${missing.join('; ')}.`] : []),
    ],
    tables: [
      {
        caption: 'Keystroke to echo, milliseconds',
        head: ['client and agent', 'N', 'p50', 'p99', 'p50 / ssh', 'p99 / ssh'],
        rows: rowsBeside(echoes, (values) => [median(values), quantile(values, 0.99)]),
      },
      {
        caption: 'Opening, milliseconds',
        head: ['from and to', 'N', 'p50', 'p99'],
        rows: Object.entries(openings).map(([label, values]) => [
          label,
          count(values.length),
          fixed(median(values), 1),
          fixed(quantile(values, 0.99), 1),
        ]),
      },
      {
        caption: 'A forwarded port, MB/s, median',
        head: [
          'client and agent',
          'to the client',
          'to the node',
          '/ ssh -L',
          '/ ssh -L',
          '/ official pair',
          '/ official pair',
        ],
        rows: portRows(ports),
      },
      many,
    ],
  }
}

/** Each with its ratio to `ssh`, where that was measured. */
function rowsBeside(measured: Record<string, number[]>, of: (values: number[]) => number[]): string[][] {
  const floor = measured.ssh && of(measured.ssh)
  return Object.entries(measured).map(([label, values]) => {
    const own = of(values)
    return [
      label,
      count(values.length),
      ...own.map((value) => fixed(value, 3)),
      ...own.map((value, at) => (floor ? fixed(value / (floor[at] ?? 1)) : '')),
    ]
  })
}

// ---- keystrokes ----

async function measureEchoes({ subject, ssm, node, official, sshd, hasPlugin }: Given) {
  const measured: Record<string, number[]> = {}
  const one = async (label: string, child: ChildProcessWithoutNullStreams) => {
    measured[label] = await echoesOf(child)
    await ended(child)
    console.log(`${label}: echo ${fixed(median(measured[label]), 3)} ms`)
  }
  const { DocumentName, Parameters } = interactive(ECHO)
  const session = (nodeId: string) =>
    ourClient(subject, 'session', nodeId, '--document', DocumentName, '--parameters', JSON.stringify(Parameters))
  if (sshd) await one('ssh', ssh(sshd, '-tt', ECHO))
  await one('our client, our agent', session(node.nodeId))
  if (hasPlugin)
    await one('plugin, our agent', await plugin(subject, ssm, { Target: node.nodeId, ...interactive(ECHO) }))
  if (official) {
    await one('our client, official agent', session(official.nodeId))
    if (hasPlugin)
      await one('plugin, official agent', await plugin(subject, ssm, { Target: official.nodeId, ...interactive(ECHO) }))
  }
  return measured
}

async function echoesOf(child: ChildProcessWithoutNullStreams): Promise<number[]> {
  let heard = ''
  let arrived = () => {}
  child.stdout.on('data', (chunk: Buffer) => {
    heard += chunk
    arrived()
  })
  child.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk))
  while (!heard.includes('ready')) await once(child.stdout, 'data')
  await pause(700) // the plugin says how large its terminal is twice a second
  const times: number[] = []
  for (let index = -20; index < KEYSTROKES; index++) {
    const from = performance.now()
    await new Promise<void>((resolve) => {
      arrived = resolve
      child.stdin.write('x')
    })
    if (index >= 0) times.push(performance.now() - from)
  }
  return times
}

// ---- opening ----

async function measureOpenings({ subject, ssm, node, sshd }: Given): Promise<Record<string, number[]>> {
  const measured: Record<string, number[]> = { 'StartSession to the prompt, our client and agent': [] }
  const [own = []] = Object.values(measured)
  for (let index = -2; index < OPENINGS; index++) {
    const from = performance.now()
    const shell = await shellOf(subject, ssm, { Target: node.nodeId })
    if (index >= 0) own.push(performance.now() - from)
    await ssm.send(new TerminateSessionCommand({ SessionId: shell.sessionId }))
  }
  const processes: [string, () => ChildProcessWithoutNullStreams][] = [
    ['the process `musterbook session` to the prompt', () => ourClient(subject, 'session', node.nodeId)],
  ]
  if (sshd) processes.push(['the process `ssh` to the prompt', () => ssh(sshd, '-tt', 'sh')])
  for (const [label, start] of processes) {
    const times: number[] = []
    for (let index = 0; index < OPENINGS; index++) {
      const from = performance.now()
      const child = start()
      await once(child.stdout, 'data')
      times.push(performance.now() - from)
      await ended(child)
    }
    measured[label] = times
  }
  return measured
}

/** Resolves at the first byte that the session shows. */
async function shellOf(subject: Subject, ssm: SSMClient, input: { Target: string }): Promise<SessionEnd> {
  let shown = () => {}
  const first = new Promise<void>((resolve) => {
    shown = resolve
  })
  const output = (bytes: Uint8Array) => {
    if (bytes.length > 0) shown()
  }
  const session = await startSession(ssm, join(subject.data, 'ca.pem'), input, {}, { output })
  await first
  return session
}

// ---- ports ----

interface PortRates {
  down: number[]
  up: number[]
}

async function measurePorts(given: Given): Promise<Record<string, PortRates>> {
  const { subject, ssm, node, official, sshd, hasPlugin } = given
  await using behind = startHelper('ports.process')
  await using slowBehind = startHelper('ports.process')
  const fast = await behind.ask<Ports>({ bytes: MEGABYTES * 1e6 })
  const slow = await slowBehind.ask<Ports>({ bytes: SLOW_MEGABYTES * 1e6 })
  const lane = (isSlow: boolean): Lane =>
    isSlow
      ? { ports: slow, bytes: SLOW_MEGABYTES * 1e6, rounds: SLOW_ROUNDS }
      : { ports: fast, bytes: MEGABYTES * 1e6, rounds: ROUNDS }
  const viaPlugin =
    (nodeId: string): Tunnel =>
    (local, remote) =>
      plugin(subject, ssm, {
        Target: nodeId,
        DocumentName: 'AWS-StartPortForwardingSession',
        Parameters: { portNumber: [String(remote)], localPortNumber: [String(local)] },
      })
  const viaOurs =
    (nodeId: string): Tunnel =>
    async (local, remote) =>
      ourClient(subject, 'forward', nodeId, '--local', String(local), '--port', String(remote))
  const tunnels: { label: string; open: Tunnel; down: Lane; up: Lane }[] = []
  const add = (label: string, open: Tunnel, { slowDown = false, slowUp = false } = {}) =>
    tunnels.push({ label, open, down: lane(slowDown), up: lane(slowUp) })
  if (sshd) add('ssh -L', async (local, remote) => sshForward(sshd, local, remote))
  add('our client, our agent', viaOurs(node.nodeId))
  if (hasPlugin) add('plugin, our agent', viaPlugin(node.nodeId), { slowUp: true })
  if (official) {
    add('our client, official agent', viaOurs(official.nodeId), { slowDown: true, slowUp: true })
    if (hasPlugin) add(OFFICIAL_PAIR, viaPlugin(official.nodeId), { slowDown: true, slowUp: true })
  }
  const measured: Record<string, PortRates> = {}
  for (const tunnel of tunnels) {
    const rates: PortRates = { down: [], up: [] }
    for (const way of ['down', 'up'] as const) {
      const { ports, bytes, rounds } = tunnel[way]
      const local = await freePort()
      const child = await tunnel.open(local, way === 'down' ? ports.source : ports.sink)
      for (const stream of [child.stdout, child.stderr]) stream.resume()
      await listening(local)
      for (let round = 0; round < rounds; round++) rates[way].push(await transfer(local, way, bytes))
      await ended(child)
    }
    measured[tunnel.label] = rates
    console.log(
      `${tunnel.label}: ${fixed(median(rates.down), 1)} MB/s to the client, ${fixed(median(rates.up), 1)} to the node`,
    )
  }
  return measured
}

type Tunnel = (local: number, remote: number) => Promise<ChildProcessWithoutNullStreams>

/** What a tunnel carries one way, and how often. */
interface Lane {
  ports: Ports
  bytes: number
  rounds: number
}

/** MB/s. */
async function transfer(port: number, way: 'down' | 'up', bytes: number): Promise<number> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.setTimeout(GIVE_UP_MS, () => socket.destroy())
  const from = performance.now()
  let got = 0
  const wanted = way === 'down' ? bytes : 1
  const complete = new Promise<void>((resolve, reject) => {
    socket.on('data', (part) => {
      got += part.length
      if (got >= wanted) resolve()
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`the connection ended after ${got} of ${wanted} bytes`)))
  })
  if (way === 'up') {
    const part = Buffer.alloc(1_000_000, 'throughput ')
    for (let left = bytes; left > 0; left -= part.length)
      if (!socket.write(left < part.length ? part.subarray(0, left) : part)) await once(socket, 'drain')
  }
  await complete
  const seconds = (performance.now() - from) / 1000
  socket.destroy()
  return bytes / 1e6 / seconds
}

const OFFICIAL_PAIR = 'plugin, official agent'

function portRows(measured: Record<string, PortRates>): string[][] {
  const ratio = (own: number[], of: number[] | undefined) => (of ? fixed(median(own) / median(of)) : '')
  const { 'ssh -L': floor, [OFFICIAL_PAIR]: official } = measured
  return Object.entries(measured).map(([label, { down, up }]) => [
    label,
    fixed(median(down), 1),
    fixed(median(up), 1),
    ratio(down, floor?.down),
    ratio(up, floor?.up),
    ratio(down, official?.down),
    ratio(up, official?.up),
  ])
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address ? address.port : 0
}

/** /proc tells without a connection, which would be forwarded. */
async function listening(port: number): Promise<void> {
  const until = performance.now() + GIVE_UP_MS
  const entry = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`
  while (!readFileSync('/proc/net/tcp', 'utf8').includes(entry)) {
    if (performance.now() > until) throw new Error('the tunnel never listened')
    await pause(50)
  }
}

// ---- many ----

async function measureMany({ subject, ssm }: Given): Promise<Report['tables'][number]> {
  await using ends = startHelper('many-sessions.process')
  await ends.ask<number>({
    kind: 'connect',
    at: { tlsPort: subject.tlsPort, data: subject.data, credentials: subject.credentials },
    endpoint: `https://127.0.0.1:${subject.tlsPort}`,
    ca: readFileSync(join(subject.data, 'ca.pem'), 'utf8'),
    region: REGION,
    nodes: MANY_NODES,
    activation: await activation(ssm, MANY_NODES),
  } satisfies ManyQuestion)
  const open = (sessions: number) => ends.ask<number>({ kind: 'open', sessions } satisfies ManyQuestion)
  await open(WARM)
  const before = await memoryOf(subject)
  await open(IDLE)
  const after = await memoryOf(subject)
  const perSession = { resident: (after.resident - before.resident) / IDLE, heap: (after.heap - before.heap) / IDLE }
  console.log(`${IDLE} idle sessions: ${fixed(perSession.resident / 1000, 1)} KB each`)

  await open(BUSY)
  const turns = await ends.ask<Turns>({ kind: 'type', sessions: BUSY, milliseconds: BUSY_MS } satisfies ManyQuestion)
  const each = turns.map((waited) => waited.length)
  const all = turns.flat()
  const slowest = turns.map((waited) => quantile(waited, 0.99))
  return {
    caption: `${count(IDLE)} idle sessions and ${count(BUSY)} busy ones on one server`,
    head: ['', ''],
    rows: [
      ['memory of the server per idle session, resident, KB', fixed(perSession.resident / 1000, 1)],
      ['of it on the JavaScript heap, KB', fixed(perSession.heap / 1000, 1)],
      ['turns per second, all busy sessions', count(all.length / (BUSY_MS / 1000))],
      ['a turn, p50 ms', fixed(median(all), 1)],
      ['a turn, p99 ms', fixed(quantile(all, 0.99), 1)],
      [
        'p99 of the best-served session and of the worst-served one, ms',
        fixed(quantile(slowest, 0), 1),
        fixed(quantile(slowest, 1), 1),
      ],
      ['turns of a session: fewest, median, most', ...[0, 0.5, 1].map((q) => count(quantile(each, q)))],
      ['turns of the worst-served session to the median one', fixed(quantile(each, 0) / median(each))],
    ].map(([label = '', ...values]) => [label, values.join(' / ')]),
  }
}

/** After the garbage has been collected, twice: what a session's opening needed is not what it keeps. */
async function memoryOf(subject: Subject): Promise<{ heap: number; resident: number }> {
  await pause(SETTLE_MS)
  using inspector = await inspect(await subject.inspector())
  await inspector.collectGarbage()
  await pause(1_000)
  await inspector.collectGarbage()
  return { heap: await inspector.heapBytes(), resident: residentBytes(subject.pid) }
}
