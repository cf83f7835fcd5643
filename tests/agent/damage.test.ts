// What a power cut or a dying disk leaves of the agent's files: the agent starts all the same, no step runs twice, and
// what was lost is said.

import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AgentProcess, endExecutors, newDataFolder, shellDocument, startAgent, until } from './agent-process.ts'
import { type Peer, startPeer } from './peer.ts'

/** Raise it for a long search: `DAMAGES=20 SEED=7 npx vitest run tests/agent/damage.test.ts`. */
const DAMAGES = Number(process.env.DAMAGES ?? 1)
const SEED = Number(process.env.SEED ?? 1)

const [DONE, HALF, WAITING] = ['done', 'half', 'waiting'] as const
const AT_ONCE = ['identity.json', 'connection.json', 'credentials.json']
const FILES = [
  ...AT_ONCE,
  'runtime/boot.json',
  `inbox/pending/${WAITING}.json`,
  `inbox/current/${HALF}.json`,
  `inbox/done/${DONE}.json`,
  `unsent/${DONE}.json`,
  'replies',
  ...['run-1.json', 'result-1.json', 'reboot-1', 'results/0.json', 'results/0.begin', 'results/1.json'].map(
    (name) => `orchestration/${HALF}/${name}`,
  ),
  ...['1.0.0.0.json', '1.0.document.json'].map((name) => `orchestration/${HALF}/calls/${name}`),
]

let peer: Peer
let place: string
let dataFolder: string
let jobs: Record<typeof DONE | typeof HALF | typeof WAITING, string>
const settings = () => ({ rebootCommand: ['sh', '-c', `echo asked >> ${join(place, 'asked')}`] })
const linesOf = (name: string) =>
  existsSync(join(place, name)) ? readFileSync(join(place, name), 'utf8').split('\n').slice(0, -1) : []
const tracing = (commandId: string, line: string) => `echo ${line} >> ${join(place, commandId)}`

/** An agent that a power cut ended: one document done but not acknowledged, one before a restart, one that waits. */
beforeAll(async () => {
  peer = await startPeer()
  place = mkdtempSync(join(tmpdir(), 'musterbook-damage-'))
  dataFolder = newDataFolder()
  const agent = startAgent(peer, dataFolder, settings())
  await until('the control channel is open', () => peer.openings > 0)
  peer.keepReplyAcks = true
  peer.loseOutput = true
  const inner = shellDocument(
    tracing(HALF, 'inner'),
    `${tracing(HALF, 'middle')}; [ $(grep -c middle ${join(place, HALF)}) = 1 ] && exit 194; echo`,
  )
  peer.answers.set('GetDocument', () => ({ Content: JSON.stringify(inner) }))
  const { mainSteps: shells } = shellDocument(tracing(HALF, 'before')) as { mainSteps: object[] }
  const inputs = { documentType: 'SSMDocument', documentPath: 'inner' }
  const half = {
    schemaVersion: '2.2',
    mainSteps: [...shells, { action: 'aws:runDocument', name: 'inner', inputs }],
  }
  const done = peer.sendCommand({ commandId: DONE, document: shellDocument(`${tracing(DONE, 'only')}; echo`) })
  await until('it is put away', () => existsSync(join(dataFolder, `inbox/done/${DONE}.json`)))
  const halfway = peer.sendCommand({ commandId: HALF, document: half })
  await until('the restart is asked for', () => linesOf('asked').length === 1)
  const waiting = peer.sendCommand({ commandId: WAITING, document: shellDocument(tracing(WAITING, 'only')) })
  await until('it waits', () => existsSync(join(dataFolder, `inbox/pending/${WAITING}.json`)))
  jobs = { done, half: halfway, waiting }
  await agent.kill()
  cpSync(dataFolder, join(place, 'data'), { recursive: true })
  for (const commandId of [DONE, HALF]) cpSync(join(place, commandId), join(place, `${commandId}.before`))
  peer.keepReplyAcks = false
  peer.loseOutput = false
})

afterAll(async () => {
  await peer.close()
  endExecutors(dataFolder)
  rmSync(place, { recursive: true, force: true })
})

interface Damage {
  /** Where in the file, as a share of its length. */
  where: number
  bit: number | undefined
}

const damages = fc.sample(
  fc.record({
    where: fc.integer({ min: 0, max: 999 }).map((thousandths) => thousandths / 1000),
    bit: fc.option(fc.integer({ min: 0, max: 7 }), { nil: undefined }),
  }),
  { seed: SEED, numRuns: FILES.length * DAMAGES },
)

/** Cut off there, or with one bit turned. */
function damage(path: string, { where, bit }: Damage): void {
  const bytes = readFileSync(path)
  const at = Math.floor(where * bytes.length)
  if (bit !== undefined) bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
  writeFileSync(path, bit === undefined ? bytes.subarray(0, at) : bytes)
}

/** The disk as the power cut left it, but for the one file; the machine has restarted. */
function afterPowerCut(file: string, how: Damage): void {
  rmSync(dataFolder, { recursive: true, force: true })
  cpSync(join(place, 'data'), dataFolder, { recursive: true })
  for (const commandId of [DONE, HALF]) cpSync(join(place, `${commandId}.before`), join(place, commandId))
  for (const name of [WAITING, 'asked']) rmSync(join(place, name), { force: true })
  const path = join(dataFolder, file)
  for (const each of file === 'replies' ? readdirSync(path).map((name) => join(path, name)) : [path]) damage(each, how)
  if (file !== 'runtime/boot.json') rmSync(join(dataFolder, 'runtime'), { recursive: true })
}

describe.each(FILES)('a damaged %s', (file) => {
  const from = FILES.indexOf(file) * DAMAGES
  it.each(damages.slice(from, from + DAMAGES))(
    'loses no more than it must (at %j)',
    async (how) => {
      afterPowerCut(file, how)
      const before = peer.replies.length
      const agent: AgentProcess = startAgent(peer, dataFolder, settings())
      let code: number | null | undefined
      agent.ended.then((given) => {
        code = given
      })
      try {
        const endOf = (jobId: string) =>
          peer.replies
            .slice(before)
            .find((reply) => reply.jobId === jobId && /^(Succ.*s|Failed)$/.test(reply.documentStatus))
        const allEnded = () => Object.values(jobs).every((jobId) => endOf(jobId) !== undefined)
        // A mark of the restart that cannot be read is as none: the restart is asked for again.
        const saysWhy = () =>
          code !== undefined || /no role credentials|was put aside/.test(agent.log()) || linesOf('asked').length > 0
        await until('everything has ended, or it is said why not', () => allEnded() || saysWhy())
        if (file === 'identity.json' && !allEnded())
          expect(agent.log()).toMatch(/identity.json is damaged|no role credentials|of an earlier node was put aside/)
        else if (file === `orchestration/${HALF}/reboot-1` && !allEnded()) expect(linesOf('asked')).toHaveLength(1)
        else expect(allEnded(), agent.log()).toBe(true)
        const end = endOf(jobs.half)
        const steps = ['before', 'inner', 'middle']
        if (end?.documentStatus === 'Success') expect(linesOf(HALF)).toEqual([...steps, 'middle'])
        else expect([steps, [...steps, 'middle']]).toContainEqual(linesOf(HALF))
        if (end?.documentStatus === 'Failed')
          expect(JSON.stringify(peer.replies.slice(before)) + agent.log()).toContain('damaged')
        const ran = endOf(jobs.waiting)?.documentStatus === 'Success'
        if (allEnded()) expect(linesOf(WAITING)).toEqual(ran ? ['only'] : [])
        if (allEnded() && !ran) expect(endOf(jobs.waiting)?.documentTraceOutput).toContain('damaged')
        expect(linesOf(DONE)).toEqual(['only'])
      } finally {
        await agent.kill()
        endExecutors(dataFolder)
        mkdirSync(dataFolder)
      }
    },
    120_000,
  )
})
