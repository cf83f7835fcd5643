/**
 * What identity costs: GetParameter by an IAM user with ten policies beside the root key and a bare floor, each with the
 * audit on; how long a revoked key or permission still counts at another process; and what the audit of 100,000 calls
 * takes. `npm run bench -- identity`; BENCH_ROUNDS, BENCH_ROUND_MS, BENCH_REVOCATIONS and BENCH_CALLS shorten it.
 */
import { writeFile } from 'node:fs/promises'
import { IAM } from '@aws-sdk/client-iam'
import { unpack } from '../packages/server/src/capabilities/trail/chain.ts'
import { callRaw, type Target } from './call.process.ts'
import { type Helper, startHelper } from './child.process.ts'
import type { FloorQuestion } from './floor.process.ts'
import { inspect } from './inspect.process.ts'
import type { LoadQuestion, Round } from './load.process.ts'
import { count, fixed, median, pause, processorSeconds, quantile } from './measure.ts'
import { statementsOf } from './policy.ts'
import { REGION, type Subject, startSubject } from './server.process.ts'
import type { Report, Table } from './table.ts'

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 9)
const ROUND_MS = Number(process.env.BENCH_ROUND_MS ?? 1_500)
const REVOCATIONS = Number(process.env.BENCH_REVOCATIONS ?? 50)
const CALLS = Number(process.env.BENCH_CALLS ?? 100_000)
/** Writes a profile of the server process while the IAM user calls into this folder; the figures suffer. */
const PROFILE = process.env.BENCH_PROFILE
/** The share of calls that write a value, which is kept under the account's key. */
const KEPT = 0.2
const CONNECTIONS = 64
const POLICIES = 10
const PARAMETERS = 1_000
const REQUESTS_PER_CONNECTION = 64
const WARM_MS = 3_000
/** The audit writes within 100 ms; a machine that is busy takes longer. */
const AUDITED_WITHIN_MS = 30_000
const REVOKED_WITHIN_MS = 10_000

/** What the last of the ten policies lets the user read; the nine before it are asked first. */
const nameOf = (index: number) => `/team-${POLICIES - 1}/p${index % PARAMETERS}`

export async function run(): Promise<Report> {
  await using subject = await startSubject({ args: ['--max-standard-parameters', '1000000'] })
  const root: Target = { host: '127.0.0.1', port: subject.port, region: REGION, credentials: subject.credentials }
  const iam = new IAM({
    endpoint: `http://127.0.0.1:${subject.port}`,
    region: REGION,
    credentials: subject.credentials,
  })
  const user = await userWithPolicies(iam)
  await store(root)
  const callers = await measureCallers(subject, root, { ...root, credentials: user.credentials })
  await using second = await secondServer(subject)
  const revocations = await measureRevocations(iam, user, { ...root, port: second.port, credentials: user.credentials })
  const audit = await measureAudit(subject, root, { ...root, credentials: user.credentials })
  iam.destroy()
  return {
    title: 'Identity and audit',
    method: [
      `\`npm run bench -- identity\`. A real server process (\`serve\`, embedded PostgreSQL 18 with durable settings, audit batched as by default) and client processes that share the cores with it, over loopback without TLS; requests as in the bench of Parameter Store.`,
      `The user has ${POLICIES} managed policies of three statements each, with conditions and variables; the last one allows the call. GetParameter of ${count(PARAMETERS)} parameters at ${CONNECTIONS} connections, ${ROUNDS} rounds of ${fixed(ROUND_MS / 1000, 1)} s each of root, user and floor in turn; ratios are taken within each turn, and their medians shown. There is no mode without an audit to compare with: the root's calls are recorded, too.`,
      `Revocations: two server processes on one database. The change is made at the first, the second is called one call after the other, and the time runs from the answer to the change until the answer of the first refused call.`,
      `The audit: ${count(CALLS)} calls of root and user, half of them GetParameter, a fifth PutParameter, the rest GetParametersByPath and DescribeParameters, all at once; records are then read out of the store and counted by the request ids that they name.`,
    ],
    tables: [callers, revocations, audit],
  }
}

interface User {
  accessKeyId: string
  policyArns: string[]
  credentials: Target['credentials']
}

const USER = { UserName: 'bench' }

async function userWithPolicies(iam: IAM): Promise<User> {
  await iam.createUser(USER)
  const policyArns: string[] = []
  for (let index = 0; index < POLICIES; index++) {
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [...statementsOf(index, '*'), LISTING] })
    const { Policy } = await iam.createPolicy({ PolicyName: `team-${index}`, PolicyDocument })
    policyArns.push(Policy?.Arn ?? '')
    await iam.attachUserPolicy({ ...USER, PolicyArn: policyArns[index] })
  }
  const { AccessKey } = await iam.createAccessKey(USER)
  const { AccessKeyId: accessKeyId = '', SecretAccessKey: secretAccessKey = '' } = AccessKey ?? {}
  return { accessKeyId, policyArns, credentials: { accessKeyId, secretAccessKey } }
}
const LISTING = { Effect: 'Allow', Action: 'ssm:DescribeParameters', Resource: '*' }

const load = (helper: Helper, question: LoadQuestion) => helper.ask<Round>(question)

async function store(root: Target): Promise<void> {
  await using helper = startHelper('load.process')
  const inputs = Array.from({ length: PARAMETERS }, (_, index) => ({
    ...{ Name: nameOf(index), Value: 'value', Type: 'String', Overwrite: true },
  }))
  await load(helper, { kind: 'prepare', target: root, operation: 'PutParameter', inputs, connections: 16 })
  await load(helper, { kind: 'once', port: root.port })
}

// ------------------------------------------------------------------------------------------------- what a call costs

async function measureCallers(subject: Subject, root: Target, user: Target): Promise<Table> {
  await using floor = startHelper('floor.process')
  const floorPort = await floor.ask<number>({ kind: 'listen' } satisfies FloorQuestion)
  const { headers, text } = await callRaw(user, 'GetParameter', { Name: nameOf(0) })
  const [requestId, contentType] = ['x-amzn-requestid', 'content-type'].map((name) => headers.get(name) ?? '')
  await floor.ask({
    kind: 'answer',
    requestId: requestId!,
    contentType: contentType!,
    body: text,
  } satisfies FloorQuestion)
  await using ofRoot = startHelper('load.process')
  await using ofUser = startHelper('load.process')
  const inputs = Array.from({ length: CONNECTIONS * REQUESTS_PER_CONNECTION }, (_, index) => ({ Name: nameOf(index) }))
  for (const [helper, target] of [
    [ofRoot, root],
    [ofUser, user],
  ] as const)
    await load(helper, { kind: 'prepare', target, operation: 'GetParameter', inputs, connections: CONNECTIONS })
  const subjects = [
    { name: 'root key', helper: ofRoot, port: root.port, cpu: () => subject.processor().server },
    { name: `IAM user, ${POLICIES} policies`, helper: ofUser, port: user.port, cpu: () => subject.processor().server },
    { name: 'bare floor', helper: ofRoot, port: floorPort, cpu: () => processorSeconds(floor.pid) },
  ].map((each) => ({ ...each, rounds: [] as Round[], seconds: 0 }))
  for (const { helper, port } of subjects) await load(helper, { kind: 'run', port, milliseconds: WARM_MS })
  using inspector = PROFILE === undefined ? undefined : await inspect(await subject.inspector())
  await inspector?.startProfile()
  for (let turn = 0; turn < ROUNDS; turn++)
    for (let place = 0; place < subjects.length; place++) {
      // Whoever begins changes from turn to turn.
      const one = subjects[(turn + place) % subjects.length]!
      const before = one.cpu()
      one.rounds.push(await load(one.helper, { kind: 'run', port: one.port, milliseconds: ROUND_MS }))
      one.seconds += one.cpu() - before
    }
  if (inspector) await writeFile(`${PROFILE}/identity.cpuprofile`, await inspector.stopProfile())
  const rates = subjects.map(({ rounds }) => rounds.map(({ requests, seconds }) => requests / seconds))
  const [ofTheRoot = [], , ofTheFloor = []] = rates
  const ratio = (mine: number[], others: number[]) => fixed(median(mine.map((rate, turn) => rate / others[turn]!)))
  return {
    caption: `GetParameter at ${CONNECTIONS} connections`,
    head: ['caller', 'N', 'requests/s', 'median ms', 'p99 ms', 'ratio to root', 'ratio to floor', 'CPU µs'],
    rows: subjects.map(({ name, rounds, seconds }, index) => {
      const latencies = Float32Array.from(rounds.flatMap((round) => [...round.latencies]))
      const mine = rates[index] ?? []
      return [
        ...[name, count(latencies.length), count(median(mine)), fixed(median(latencies))],
        ...[fixed(quantile(latencies, 0.99)), ratio(mine, ofTheRoot), ratio(mine, ofTheFloor)],
        fixed((seconds / latencies.length) * 1e6, 0),
      ]
    }),
  }
}

// ------------------------------------------------------------------------------------------------------- revocations

/** Another process on the database of the first, with its root key. */
async function secondServer(subject: Subject): Promise<Subject> {
  const sql = await subject.database()
  const { host, port } = sql.options
  await sql.end()
  const socket = encodeURIComponent(String(host[0]))
  const url = `postgres://musterbook@localhost:${port[0]}/musterbook?host=${socket}`
  return startSubject({ args: ['--database-url', url, '--root-key-file', `${subject.data}/root.key`] })
}

async function measureRevocations(iam: IAM, user: User, there: Target): Promise<Table> {
  const AccessKeyId = user.accessKeyId
  const PolicyArn = user.policyArns.at(-1)
  const setKey = (Status: 'Active' | 'Inactive') => iam.updateAccessKey({ ...USER, AccessKeyId, Status })
  const changes = [
    { name: 'access key deactivated', revoke: () => setKey('Inactive'), restore: () => setKey('Active') },
    {
      name: 'policy detached',
      revoke: () => iam.detachUserPolicy({ ...USER, PolicyArn }),
      restore: () => iam.attachUserPolicy({ ...USER, PolicyArn }),
    },
  ]
  const rows: string[][] = []
  for (const { name, revoke, restore } of changes) {
    const times: number[] = []
    for (let round = 0; round < REVOCATIONS; round++) {
      await until(there, true)
      const refused = until(there, false)
      await revoke()
      const revokedAt = performance.now()
      times.push(Math.max(0, (await refused) - revokedAt))
      await restore()
    }
    await until(there, true)
    rows.push([name, String(times.length), fixed(median(times), 1), fixed(quantile(times, 0.99), 1)])
  }
  return { caption: 'Until another process refuses', head: ['what', 'N', 'median ms', 'p99 ms'], rows }
}

/** When a call of the user was first allowed, or refused. */
async function until(there: Target, allowed: boolean): Promise<number> {
  const latest = performance.now() + REVOKED_WITHIN_MS
  for (let call = 0; performance.now() < latest; call++) {
    const passed = await callRaw(there, 'GetParameter', { Name: nameOf(call) }).then(
      () => true,
      (error: unknown) => (/UnrecognizedClient|AccessDenied/.test(String(error)) ? false : Promise.reject(error)),
    )
    if (passed === allowed) return performance.now()
  }
  throw new Error(`the calls were not ${allowed ? 'allowed' : 'refused'} within ${REVOKED_WITHIN_MS} ms`)
}

// --------------------------------------------------------------------------------------------------------- the audit

async function measureAudit(subject: Subject, root: Target, user: Target): Promise<Table> {
  const sql = await subject.database()
  const records = async () => {
    const [row] = await sql<{ records: number; body: number; kept: number; contents: number }[]>`
      select coalesce(sum(last_seq - first_seq + 1), 0)::int as records, coalesce(sum(length(body)), 0)::float8 as body,
        pg_total_relation_size('trail_segments')::float8 as kept, pg_total_relation_size('trail_contents')::float8 as contents
      from trail_segments`
    return row!
  }
  await settled(records)
  const before = await records()
  const shares: [operation: string, target: Target, calls: number, input: (index: number) => object][] = [
    ['GetParameter', user, CALLS * 0.5, (index) => ({ Name: nameOf(index) })],
    [
      'PutParameter',
      root,
      CALLS * KEPT,
      (index) => ({ Name: nameOf(index), Value: `value ${index}`, Type: 'String', Overwrite: true }),
    ],
    ['GetParametersByPath', root, CALLS * 0.15, () => ({ Path: '/none' })],
    ['DescribeParameters', user, CALLS * 0.15, () => ({ MaxResults: 1 })],
  ]
  let calls = 0
  await Promise.all(
    shares.map(async ([operation, target, share, input]) => {
      await using helper = startHelper('load.process')
      const inputs = Array.from({ length: Math.round(share) }, (_, index) => input(index))
      await load(helper, { kind: 'prepare', target, operation, inputs, connections: 16 })
      const { requests } = await load(helper, { kind: 'once', port: target.port })
      calls += requests
    }),
  )
  await settled(records, before.records + calls)
  const after = await records()
  const ids = new Set<string>()
  let read = 0
  for await (const rows of sql<{ body: Buffer }[]>`select body from trail_segments order by last_seq desc`.cursor(100))
    for (const { body } of rows)
      for (const line of await unpack(body)) {
        const [, id] = /"requestID":"([^"]+)"/.exec(line) ?? []
        if (id === undefined) continue
        read++
        ids.add(id)
      }
  await sql.end()
  const added = after.records - before.records
  if (added !== calls || ids.size !== read)
    throw new Error(`${calls} calls have ${added} records, and ${read} records name ${ids.size} requests`)
  return {
    caption: 'The audit of a run of mixed calls',
    head: [
      'calls',
      'records',
      'twice',
      'bytes per record, packed',
      'bytes per record, with indexes',
      'bytes per kept value',
    ],
    rows: [
      [
        ...[count(calls), count(added), String(read - ids.size), fixed((after.body - before.body) / added, 0)],
        ...[
          fixed((after.kept - before.kept) / added, 0),
          fixed((after.contents - before.contents) / (CALLS * KEPT), 0),
        ],
      ],
    ],
  }
}

/** Resolves when the store holds `wanted` records; without a number, when it has stopped growing. */
async function settled(records: () => Promise<{ records: number }>, wanted?: number): Promise<void> {
  const latest = performance.now() + AUDITED_WITHIN_MS
  for (let last = -1; performance.now() < latest; ) {
    const { records: now } = await records()
    if (wanted === undefined ? now === last : now >= wanted) return
    last = now
    await pause(500)
  }
}
