/**
 * A fleet of real agents and two server processes on one PostgreSQL, any of them killed with SIGKILL at random while
 * commands run that leave traces on disk, some of which fail and some of which are cancelled: every invocation ends
 * truthfully, no step runs twice, no output has a hole.
 * MUSTERBOOK_FAULT_AGENTS, MUSTERBOOK_FAULT_COMMANDS and MUSTERBOOK_FAULT_TARGETS set the size.
 */
import { randomInt, randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  CancelCommandCommand,
  CreateActivationCommand,
  CreateDocumentCommand,
  DescribeInstanceInformationCommand,
  ListCommandInvocationsCommand,
  ListCommandsCommand,
  SendCommandCommand,
} from '@aws-sdk/client-ssm'
import { type AgentProcess, eventually, freshDatabase, startAgent } from '@musterbook/testbed'
import { expect, it } from 'vitest'
import { events } from '../../packages/cli/src/events.ts'
import { newPlace, type Place, type RunningServer, startMusterbook } from './musterbook-process.ts'

const AGENTS = Number(process.env.MUSTERBOOK_FAULT_AGENTS ?? 3)
const COMMANDS = Number(process.env.MUSTERBOOK_FAULT_COMMANDS ?? 6)
/** Nodes that one command goes to. */
const TARGETS = Math.min(AGENTS, Number(process.env.MUSTERBOOK_FAULT_TARGETS ?? 2))
/** Milliseconds between two kills at most, and for which an agent stays dead at most. */
const LONGEST_PEACE_MS = 800
const LONGEST_DEATH_MS = 600
/** One in so many kills is a server's. */
const SERVER_KILLS = 4
/** One in so many commands fails in its second step; one in so many is cancelled within a second. */
const FAILURES = 4
const CANCELS = 4
const FAILURE = 3
const LONGEST_CANCEL_MS = 1_000
const END_MS = 90_000 + COMMANDS * TARGETS * 2_000

const STEPS = ['one', 'two', 'three']
const LINES = 20
const outputOf = (step: string) => Array.from({ length: LINES }, (_, at) => `${step} ${at + 1}\n`).join('')
const isEnd = (status: string | undefined) => /^(Success|Failed|TimedOut|Cancelled)$/.test(status ?? '')

/** Each step marks that it ran, and writes its lines one after the other; the second ends with the code that was given. */
const documentFor = (folder: string) =>
  JSON.stringify({
    schemaVersion: '2.2',
    description: 'leaves traces',
    parameters: { marker: { type: 'String' }, code: { type: 'String' } },
    mainSteps: STEPS.map((name) => ({
      action: 'aws:runShellScript',
      name,
      inputs: {
        runCommand: [
          `echo "{{ marker }} ${name}" >> ${folder}/$AWS_SSM_INSTANCE_ID`,
          `for line in $(seq 1 ${LINES}); do echo "${name} $line"; sleep 0.01; done`,
          ...(name === STEPS[1] ? ['exit {{ code }}'] : []),
        ],
      },
    })),
  })

interface Plan {
  code: number
  cancelled: boolean
}

interface Server {
  place: Place
  running: RunningServer
  start(): Promise<RunningServer>
}

it(
  `keeps its word to ${AGENTS} agents and ${COMMANDS} commands while agents and servers are killed`,
  async () => {
    await using database = await freshDatabase()
    await using placeOne = await newPlace()
    await using placeTwo = await newPlace()
    const traces = await mkdtemp(join(tmpdir(), 'musterbook-traces-'))
    const env = { DATABASE_URL: urlOf(database.address) }
    const servers: Server[] = []
    for (const place of [placeOne, placeTwo]) {
      const args = place === placeOne ? [] : ['--root-key-file', join(placeOne.folder, 'root.key')]
      const start = () => startMusterbook(place, 'serve', { env, args })
      servers.push({ place, start, running: await start() })
    }
    const agents: AgentProcess[] = []
    try {
      const first = servers[0]!.running.ssm
      const activation = await first.send(new CreateActivationCommand({ IamRole: 'node', RegistrationLimit: AGENTS }))
      for (let nth = 0; nth < AGENTS; nth++) {
        const { place } = servers[nth % 2]!
        agents.push(
          await startAgent({
            endpoint: `https://127.0.0.1:${place.tlsPort}`,
            region: 'us-east-1',
            caFile: join(place.folder, 'ca.pem'),
            activation: { id: activation.ActivationId!, code: activation.ActivationCode! },
            commandQueue: 20,
          }),
        )
      }
      const nodeIds = await eventually(
        'all nodes are online',
        async () => {
          const found = await first.send(new DescribeInstanceInformationCommand({ MaxResults: 50 }))
          const online = found.InstanceInformationList?.filter(({ PlatformType }) => PlatformType) ?? []
          return online.length >= AGENTS && online.map(({ InstanceId }) => InstanceId!)
        },
        END_MS,
      )
      const Content = documentFor(traces)
      await first.send(new CreateDocumentCommand({ Name: 'traces', Content, DocumentType: 'Command' }))

      const kills = { agents: 0, servers: 0 }
      let quiet = false
      async function kill(): Promise<void> {
        await pause(randomInt(LONGEST_PEACE_MS))
        if (quiet) return
        if (randomInt(SERVER_KILLS) === 0) {
          const server = servers[randomInt(2)]!
          await server.running[Symbol.asyncDispose]()
          kills.servers++
          server.running = await server.start()
        } else {
          const agent = agents[randomInt(AGENTS)]!
          await agent.kill('SIGKILL')
          kills.agents++
          await pause(randomInt(LONGEST_DEATH_MS))
          agent.restart()
        }
      }
      const killing = (async () => {
        while (!quiet) await kill()
      })()
      killing.catch(() => {}) // it is waited for below, and fails the test there

      const plans = new Map<string, Plan>()
      const cancelling: Promise<void>[] = []
      /** Again and again until a server has taken it. */
      async function cancel(CommandId: string): Promise<void> {
        await pause(randomInt(LONGEST_CANCEL_MS))
        for (;;) {
          const { ssm } = servers[randomInt(2)]!.running
          const taken = ssm.send(new CancelCommandCommand({ CommandId })).then(
            () => true,
            () => false,
          )
          if (await taken) return
          await pause(200)
        }
      }

      const acknowledged = new Set<string>()
      let unanswered = 0
      while (acknowledged.size < COMMANDS) {
        const marker = randomUUID()
        const from = randomInt(nodeIds.length)
        const InstanceIds = Array.from({ length: TARGETS }, (_, at) => nodeIds[(from + at) % nodeIds.length]!)
        const plan = { code: randomInt(FAILURES) === 0 ? FAILURE : 0, cancelled: randomInt(CANCELS) === 0 }
        plans.set(marker, plan)
        const Parameters = { marker: [marker], code: [String(plan.code)] }
        const input = { DocumentName: 'traces', InstanceIds, Comment: marker, Parameters }
        await servers[randomInt(2)]!.running.ssm.send(new SendCommandCommand(input)).then(
          ({ Command }) => {
            acknowledged.add(marker)
            if (plan.cancelled) cancelling.push(cancel(Command!.CommandId!))
          },
          () => unanswered++, // its server was killed: it may have been taken all the same
        )
        await pause(randomInt(200))
      }
      await pause(2_000) // some of the last ones are killed as well
      quiet = true
      await killing
      await Promise.all(cancelling)

      const { ssm, config } = servers[0]!.running
      const commands = await eventually('every command has ended', () => allEnded(ssm), END_MS)
      const known = new Set(commands.map(({ Comment }) => Comment))
      for (const marker of acknowledged) expect(known.has(marker), `${marker} was acknowledged`).toBe(true)

      const ran = await readTraces(traces, nodeIds)
      const atTheEnd = new Map(ran)
      const ends = new Map<string, number>()
      let invocations = 0
      for (const { CommandId, Comment } of commands) {
        const plan = plans.get(Comment)!
        const listed = await ssm.send(new ListCommandInvocationsCommand({ CommandId, Details: true }))
        expect(listed.CommandInvocations).toHaveLength(TARGETS)
        for (const { InstanceId, StatusDetails, TraceOutput, CommandPlugins } of listed.CommandInvocations ?? []) {
          invocations++
          ends.set(StatusDetails!, (ends.get(StatusDetails!) ?? 0) + 1)
          const what = `${Comment} on ${InstanceId}: ${TraceOutput ?? ''}`
          const steps = ran.get(`${Comment} ${InstanceId}`) ?? []
          ran.delete(`${Comment} ${InstanceId}`)
          const path = `/v1/commands/${CommandId}/invocations/${InstanceId}/output`
          const whole = new Map<string, string>()
          for await (const { event, data } of events({ ...config, path }, 0)) {
            if (event !== 'output') continue
            const { Step, Stream, Data } = JSON.parse(data) as { Step: string; Stream: string; Data: string }
            if (Stream === 'stdout') whole.set(Step, (whole.get(Step) ?? '') + Buffer.from(Data, 'base64'))
          }
          if (plan.cancelled && StatusDetails === 'Cancelled') {
            // Wherever it was: the steps so far once each and in order, and what they wrote so far.
            expect(steps, what).toEqual(STEPS.slice(0, steps.length))
            for (const step of STEPS) {
              const soFar = whole.get(step) ?? ''
              expect(outputOf(step).slice(0, soFar.length), `${what}, output of ${step}`).toBe(soFar)
            }
            continue
          }
          // Nothing but agents and servers was killed: their documents go on, and each must end as it did.
          expect(StatusDetails, what).toBe(plan.code === 0 ? 'Success' : 'Failed')
          expect(steps, what).toEqual(STEPS)
          expect(CommandPlugins?.map(({ Name, ResponseCode }) => [Name, ResponseCode])).toEqual(
            STEPS.map((name) => [name, name === STEPS[1] ? plan.code : 0]),
          )
          for (const step of STEPS) expect(whole.get(step), `${what}, output of ${step}`).toBe(outputOf(step))
        }
      }
      expect([...ran.keys()], 'what ran and is no invocation').toEqual([])
      // Nothing has run since it was said to have ended.
      expect(await readTraces(traces, nodeIds)).toEqual(atTheEnd)
      expect(kills.agents + kills.servers).toBeGreaterThan(0)
      console.log(
        `${commands.length} commands (${unanswered} requests without an answer), ${invocations} invocations (${[...ends].map((end) => end.join(' ')).join(', ')}), ${kills.agents} kills of agents, ${kills.servers} of servers`,
      )
    } finally {
      await Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]()))
      for (const { running } of servers) await running[Symbol.asyncDispose]()
      await rm(traces, { recursive: true, force: true })
    }
  },
  120_000 + END_MS * 2,
)

/** The steps that ran, in order, of each `marker node`. */
async function readTraces(folder: string, nodeIds: string[]): Promise<Map<string, string[]>> {
  const ran = new Map<string, string[]>()
  for (const nodeId of nodeIds) {
    const text = await readFile(join(folder, nodeId), 'utf8').catch(() => '')
    for (const line of text.split('\n').filter(Boolean)) {
      const [marker, step = ''] = line.split(' ')
      const key = `${marker} ${nodeId}`
      ran.set(key, [...(ran.get(key) ?? []), step])
    }
  }
  return ran
}

/** All commands, once each of them has ended. */
async function allEnded(ssm: RunningServer['ssm']) {
  const found: { CommandId: string; Comment: string }[] = []
  let NextToken: string | undefined
  do {
    const page = await ssm.send(new ListCommandsCommand({ NextToken }))
    for (const { CommandId, Comment, Status } of page.Commands ?? []) {
      if (!isEnd(Status)) return undefined
      found.push({ CommandId: CommandId!, Comment: Comment! })
    }
    NextToken = page.NextToken
  } while (NextToken)
  return found
}

/** The run's PostgreSQL as a URL, as an operator would give it. */
function urlOf(address: {
  url?: string
  socketFolder?: string
  port?: number
  user?: string
  database?: string
}): string {
  if (address.url) return address.url
  const { socketFolder = '', port, user, database } = address
  return `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(socketFolder)}`
}
