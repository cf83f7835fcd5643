/**
 * Parameter Store over the wire, beside a bare node:http server that reads and answers the same bytes: the floor. Rounds on
 * server and floor alternate, so that whatever else the machine does meets both; a ratio is taken within each pair of
 * rounds. `npm run bench -- parameters`; BENCH_ROUNDS, BENCH_ROUND_MS and BENCH_ONLY (such as GetParameter) shorten it.
 */
import { writeFile } from 'node:fs/promises'
import { callRaw, type Target } from './call.process.ts'
import { type Helper, startHelper } from './child.process.ts'
import type { FloorQuestion } from './floor.process.ts'
import { inspect } from './inspect.process.ts'
import type { LoadQuestion, Round } from './load.process.ts'
import { count, fixed, median, processorSeconds, quantile } from './measure.ts'
import { REGION, type Subject, startSubject } from './server.process.ts'
import type { Report, Table } from './table.ts'

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 7)
const ROUND_MS = Number(process.env.BENCH_ROUND_MS ?? 1_000)
const ONLY = process.env.BENCH_ONLY
/** Writes profiles of the server process into this folder, for Chrome's developer tools; the figures suffer. */
const PROFILE = process.env.BENCH_PROFILE
const CONNECTIONS = (process.env.BENCH_CONNECTIONS ?? '1,16,64').split(',').map(Number)
/** Levels of the hierarchy under which parameters lie, ten in each. */
const FEW_LEVELS = 100
const MANY_LEVELS = 100_000
const PER_LEVEL = 10
/** Different requests that one connection goes through. */
const REQUESTS_PER_CONNECTION = 64
const WARM_CONNECTIONS = 32
const WARM_MS = 2_000
const VALUE = 'postgres://app:correct-horse@db.internal.example:5432/production'

interface Case {
  name: string
  operation: string
  input(index: number, levels: number): unknown
}

const nameOf = (index: number) => `/bench/l${Math.floor(index / PER_LEVEL)}/p${index % PER_LEVEL}`
const secretOf = (index: number) => `/secret/l${Math.floor(index / PER_LEVEL)}/p${index % PER_LEVEL}`
/** Spread over all of them: 7,919 is a prime. */
const spread = (index: number, among: number) => (index * 7_919) % among

const CASES: Case[] = [
  {
    name: 'GetParameter, String',
    operation: 'GetParameter',
    input: (index, levels) => ({ Name: nameOf(spread(index, levels * PER_LEVEL)) }),
  },
  {
    name: 'GetParameter, SecureString, decrypted',
    operation: 'GetParameter',
    input: (index) => ({ Name: secretOf(spread(index, FEW_LEVELS * PER_LEVEL)), WithDecryption: true }),
  },
  {
    name: 'PutParameter, overwriting',
    operation: 'PutParameter',
    input: (index, levels) => ({
      Name: nameOf(spread(index, levels * PER_LEVEL)),
      Value: `${VALUE}?${index}`,
      Overwrite: true,
    }),
  },
  {
    name: 'GetParametersByPath, 10 results',
    operation: 'GetParametersByPath',
    input: (index, levels) => ({ Path: `/bench/l${spread(index, levels)}` }),
  },
]

interface Measured {
  name: string
  connections: number
  perSecond: number
  floorPerSecond: number
  ratio: number
  ratios: number[]
  medianMs: number
  p99Ms: number
  requests: number
  serverMicroseconds: number
  databaseMicroseconds: number
  floorMicroseconds: number
}

export async function run(): Promise<Report> {
  await using subject = await startSubject({ args: ['--max-standard-parameters', '10000000'] })
  await using load = startHelper('load.process')
  await using floor = startHelper('floor.process')
  const floorPort = await floor.ask<number>({ kind: 'listen' } satisfies FloorQuestion)
  const target: Target = { host: '127.0.0.1', port: subject.port, region: REGION, credentials: subject.credentials }
  const bench: Bench = { subject, load, floor, floorPort, target }

  await fill(bench)
  await warmUp(bench)
  const few = await measureAll(bench, FEW_LEVELS)
  if (process.env.BENCH_FEW) return report([table('With 2,000 parameters stored', few)])
  await storeMillion(subject)
  const many = await measureAll(bench, MANY_LEVELS)
  return report([
    table(`With ${count(FEW_LEVELS * PER_LEVEL * 2)} parameters stored`, few),
    table('With a million parameters stored', many),
    comparison(few, many),
  ])
}

interface Bench {
  subject: Subject
  load: Helper
  floor: Helper
  floorPort: number
  target: Target
}

async function prepare({ load, target }: Bench, operation: string, inputs: unknown[], connections: number) {
  await load.ask({ kind: 'prepare', target, operation, inputs, connections } satisfies LoadQuestion)
}

/** 1,000 of each kind, through the API. */
async function fill(bench: Bench): Promise<void> {
  const total = FEW_LEVELS * PER_LEVEL
  for (const [naming, Type] of [
    [nameOf, 'String'],
    [secretOf, 'SecureString'],
  ] as const) {
    const inputs = Array.from({ length: total }, (_, index) => ({ Name: naming(index), Value: VALUE, Type }))
    await prepare(bench, 'PutParameter', inputs, 32)
    const { requests } = await bench.load.ask<Round>({ kind: 'once', port: bench.target.port } satisfies LoadQuestion)
    if (requests !== total) throw new Error(`${requests} of ${total} parameters were stored`)
  }
}

/** A process that has just started compiles what it runs often: not what a server that has been up for a minute does. */
async function warmUp(bench: Bench): Promise<void> {
  for (const each of CASES) {
    const inputs = Array.from({ length: WARM_CONNECTIONS * REQUESTS_PER_CONNECTION }, (_, index) =>
      each.input(index, FEW_LEVELS),
    )
    await prepare(bench, each.operation, inputs, WARM_CONNECTIONS)
    await bench.floor.ask(await answerOf(bench.target, each.operation, inputs[0]))
    for (const port of [bench.target.port, bench.floorPort]) {
      await bench.load.ask<Round>({ kind: 'run', port, milliseconds: WARM_MS } satisfies LoadQuestion)
    }
  }
}

/** Rows like those that PutParameter writes, up to a million; through the API it would take minutes. */
async function storeMillion(subject: Subject): Promise<void> {
  const sql = await subject.database()
  const total = MANY_LEVELS * PER_LEVEL
  await sql`
    insert into parameters
      (account, region, name_key, parent, name, version, type, value, data_type, tier, last_modified_at, last_modified_by)
    select account, region, '/bench/l' || n / 10 || '/p' || n % 10, '/bench/l' || n / 10, '/bench/l' || n / 10 || '/p' || n % 10,
      1, type, value, data_type, tier, last_modified_at, last_modified_by
    from generate_series(0, ${total - 1}) n, (select * from parameters where name_key = ${nameOf(0)}) one
    on conflict do nothing`
  await sql.unsafe('vacuum analyze parameters')
  await sql.unsafe('checkpoint')
  const [row] = await sql<{ total: number }[]>`select count(*)::int as total from parameters`
  if (!row || row.total < total) throw new Error(`${row?.total} parameters are stored`)
  await sql.end()
}

async function measureAll(bench: Bench, levels: number): Promise<Measured[]> {
  const measured: Measured[] = []
  for (const each of CASES) {
    if (ONLY && !each.name.includes(ONLY)) continue
    for (const connections of CONNECTIONS) {
      const one = await measure(bench, each, levels, connections)
      console.log(
        `${one.name}, ${connections} connections: ${count(one.perSecond)}/s, floor ${count(one.floorPerSecond)}/s, ratio ${fixed(one.ratio)} [${one.ratios.map((ratio) => fixed(ratio)).join(' ')}], server ${fixed(one.serverMicroseconds, 0)} µs, database ${fixed(one.databaseMicroseconds, 0)} µs, floor ${fixed(one.floorMicroseconds, 0)} µs`,
      )
      measured.push(one)
    }
  }
  return measured
}

async function measure(bench: Bench, each: Case, levels: number, connections: number): Promise<Measured> {
  const { subject, load, floor, floorPort, target } = bench
  const inputs = Array.from({ length: connections * REQUESTS_PER_CONNECTION }, (_, index) => each.input(index, levels))
  await prepare(bench, each.operation, inputs, connections)
  await floor.ask(await answerOf(target, each.operation, inputs[0]))
  const round = (port: number, milliseconds: number) =>
    load.ask<Round>({ kind: 'run', port, milliseconds } satisfies LoadQuestion)
  await round(target.port, ROUND_MS / 2)
  await round(floorPort, ROUND_MS / 2)
  const [served, bare]: [Round[], Round[]] = [[], []]
  using inspector = PROFILE === undefined ? undefined : await inspect(await subject.inspector())
  await inspector?.startProfile()
  const before = { ...subject.processor(), floor: processorSeconds(floor.pid) }
  for (let index = 0; index < ROUNDS; index++) {
    // Whoever begins changes from pair to pair.
    const order = index % 2 === 0 ? [target.port, floorPort] : [floorPort, target.port]
    for (const port of order) (port === floorPort ? bare : served).push(await round(port, ROUND_MS))
  }
  const after = { ...subject.processor(), floor: processorSeconds(floor.pid) }
  if (inspector) await writeFile(`${PROFILE}/${each.name}, ${connections}.cpuprofile`, await inspector.stopProfile())
  const rate = ({ requests, seconds }: Round) => requests / seconds
  const ratios = served.map((one, index) => rate(one) / rate(bare[index]!))
  const latencies = Float32Array.from(served.flatMap((one) => [...one.latencies]))
  const requests = latencies.length
  return {
    name: each.name,
    connections,
    perSecond: median(served.map(rate)),
    floorPerSecond: median(bare.map(rate)),
    ratio: median(ratios),
    ratios: ratios.sort((a, b) => a - b),
    medianMs: median(latencies),
    p99Ms: quantile(latencies, 0.99),
    requests,
    serverMicroseconds: ((after.server - before.server) / requests) * 1e6,
    databaseMicroseconds: ((after.database - before.database) / requests) * 1e6,
    floorMicroseconds: ((after.floor - before.floor) / bare.reduce((sum, one) => sum + one.requests, 0)) * 1e6,
  }
}

/** What the server answers to one such request, for the floor to repeat. */
async function answerOf(target: Target, operation: string, input: unknown): Promise<FloorQuestion> {
  const { headers, text } = await callRaw(target, operation, input)
  const header = (name: string) => headers.get(name) ?? ''
  return {
    kind: 'answer',
    requestId: header('x-amzn-requestid'),
    contentType: header('content-type'),
    body: text,
  }
}

function table(caption: string, measured: Measured[]): Table {
  return {
    caption,
    head: [
      'operation',
      'connections',
      'N',
      'requests/s',
      'median ms',
      'p99 ms',
      'floor/s',
      'ratio to floor',
      'lowest and highest ratio',
      'server CPU µs',
      'database CPU µs',
      'floor CPU µs',
    ],
    rows: measured.map((one) => [
      one.name,
      String(one.connections),
      count(one.requests),
      count(one.perSecond),
      fixed(one.medianMs),
      fixed(one.p99Ms),
      count(one.floorPerSecond),
      fixed(one.ratio),
      `${fixed(one.ratios[0] ?? Number.NaN)} – ${fixed(one.ratios.at(-1) ?? Number.NaN)}`,
      fixed(one.serverMicroseconds, 0),
      fixed(one.databaseMicroseconds, 0),
      fixed(one.floorMicroseconds, 0),
    ]),
  }
}

function comparison(few: Measured[], many: Measured[]): Table {
  return {
    caption: 'What a million stored parameters change: their ratio to the floor, divided by that with few',
    head: ['operation', ...CONNECTIONS.map((connections) => `${connections} connections`)],
    rows: CASES.filter(({ name }) => few.some((one) => one.name === name)).map(({ name }) => [
      name,
      ...CONNECTIONS.map((connections) => {
        const ratioIn = (list: Measured[]) =>
          list.find((one) => one.name === name && one.connections === connections)?.ratio ?? Number.NaN
        return fixed(ratioIn(many) / ratioIn(few))
      }),
    ]),
  }
}

const report = (tables: Table[]): Report => ({
  title: 'Parameter Store',
  method: [
    `\`npm run bench -- parameters\`. A real server process (\`serve\`, embedded PostgreSQL 18 with durable settings, metrics on) and a client process that shares the cores with it, over loopback without TLS. Every request carries its own SigV4 signature, made before the clock starts, and the headers of the AWS SDK for JavaScript; a connection has one request under way. The floor is a bare node:http server in a process of its own that reads the same bytes and answers the same bytes with the same headers to the same client.`,
    `Per line ${ROUNDS} rounds of ${fixed(ROUND_MS / 1000, 1)} s on server and floor in turn; rates and ratios are medians of the rounds, the ratio taken within each pair of rounds. CPU is the processor time of the server process and of all of PostgreSQL's processes, divided by the requests. Nothing is pinned to a core. PutParameter is durable: it answers after the commit has been flushed.`,
  ],
  tables,
})
