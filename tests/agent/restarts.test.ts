import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type AgentProcess,
  agentBundle,
  endExecutors,
  executorsOf,
  newDataFolder,
  shellDocument,
  startAgent,
  until,
} from './agent-process.ts'
import { type Peer, type ReceivedReply, startPeer } from './peer.ts'

let peer: Peer
let dataFolder: string
let agents: AgentProcess[]

beforeEach(async () => {
  peer = await startPeer()
  dataFolder = newDataFolder()
  agents = []
})

afterEach(async () => {
  for (const agent of agents) await agent.kill()
  await peer.close()
  endExecutors(dataFolder)
})

async function started(more: Parameters<typeof startAgent>[2] = {}): Promise<AgentProcess> {
  const openings = peer.openings
  const agent = startAgent(peer, dataFolder, more)
  agents.push(agent)
  await until('the control channel is open', () => peer.openings > openings)
  return agent
}

const ENDS = ['Success', 'Failed', 'Cancelled', 'TimedOut']
const endsOf = (jobId: string) => peer.replies.filter((r) => r.jobId === jobId && ENDS.includes(r.documentStatus))
const ended = async (jobId: string): Promise<ReceivedReply> => {
  await until(`${jobId} has ended`, () => endsOf(jobId).length > 0)
  return endsOf(jobId)[0] as ReceivedReply
}
/** Distinct messages: a repetition under the same message id is one reply. */
const distinct = (replies: ReceivedReply[]) => new Set(replies.map((reply) => reply.messageId)).size
const stepFile = (jobId: string, step: string, name: string) =>
  join(dataFolder, 'orchestration', jobId.split('.')[2] ?? '', 'steps', step, name)
const linesOf = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [])

describe('an agent that is killed and comes back', () => {
  it('keeps its identity and registers only once', async () => {
    const first = await started()
    await first.kill()
    await started()
    expect(peer.registrations).toHaveLength(1)
    expect(statSync(join(dataFolder, 'identity.json')).mode & 0o777).toBe(0o600)
  })

  it('finds the running document by its process, loses no output, and runs no step twice', async () => {
    const first = await started()
    const trace = join(dataFolder, 'trace')
    const gate = join(dataFolder, 'gate')
    const jobId = peer.sendCommand({
      document: shellDocument(
        `echo one >> ${trace}`,
        `echo two >> ${trace}; echo $$; i=0; while [ ! -e ${gate} ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo $$`,
        `echo three >> ${trace}`,
      ),
    })
    const stdout = stepFile(jobId, '1-step2', 'stdout')
    await until('the second step writes', () => linesOf(stdout).length > 5)
    const [executor] = executorsOf(dataFolder)
    await first.kill()
    const whenKilled = linesOf(stdout).length
    await until('the script goes on without an agent', () => linesOf(stdout).length > whenKilled + 5)
    await started()
    expect(executorsOf(dataFolder)).toEqual([executor])
    mkdirSync(gate)
    expect((await ended(jobId)).documentStatus).toBe('Success')
    const lines = linesOf(stdout)
    const numbers = lines.slice(1, -1).map(Number)
    expect(lines[0]).toBe(lines.at(-1))
    expect(numbers).toEqual(numbers.map((_, index) => index + 1))
    expect(linesOf(trace)).toEqual(['one', 'two', 'three'])
    for (const step of ['step1', 'step2', 'step3']) {
      const replies = peer.replies.filter((reply) => reply.jobId === jobId && reply.runtimeStatus[step])
      expect(distinct(replies)).toBe(1)
      expect(replies[0]?.runtimeStatus[step]?.status).toBe('Success')
    }
  })

  it('reports a document that ended while no agent was there', async () => {
    const first = await started()
    const gate = join(dataFolder, 'gate')
    const document = shellDocument(`echo begun; while [ ! -e ${gate} ]; do sleep 0.02; done; echo late`)
    const jobId = peer.sendCommand({ document })
    await until('the script has begun', () => linesOf(stepFile(jobId, '0-step1', 'stdout')).length > 0)
    await first.kill()
    mkdirSync(gate)
    await until('its process has ended', () => executorsOf(dataFolder).length === 0)
    await started()
    expect((await ended(jobId)).runtimeStatus.step1?.standardOutput).toBe('begun\nlate\n')
  })

  it('sends the rest of the output of a document that had ended when the agent was killed', async () => {
    const first = await started()
    const gate = join(dataFolder, 'gate')
    const document = shellDocument(`echo begun; while [ ! -e ${gate} ]; do sleep 0.02; done; seq 1 60000`)
    const jobId = peer.sendCommand({ document })
    const taken = () => peer.output.get(`${jobId} step1 stdout`) ?? ''
    await until('the first line is taken', () => taken() === 'begun\n')
    peer.loseOutput = true
    mkdirSync(gate)
    expect((await ended(jobId)).documentStatus).toBe('Success')
    const done = join(dataFolder, 'inbox', 'done', `${jobId.split('.')[2]}.json`)
    await until('the agent has put the document away', () => existsSync(done))
    await first.kill()
    peer.loseOutput = false
    await started()
    const whole = readFileSync(stepFile(jobId, '0-step1', 'stdout'), 'latin1')
    await until('all of it is taken', () => taken().length >= whole.length)
    expect(taken()).toBe(whole)
    await until('nothing more is noted', () => readdirSync(join(dataFolder, 'unsent')).length === 0)
  })

  it('runs what was queued, in order', async () => {
    const first = await started({ commandWorkers: 1 })
    const gate = join(dataFolder, 'gate')
    const order = join(dataFolder, 'order')
    const script = (name: string) => `while [ ! -e ${gate} ]; do sleep 0.02; done; echo ${name} >> ${order}`
    const jobs = ['a', 'b', 'c'].map((name) => peer.sendCommand({ document: shellDocument(script(name)) }))
    await until('all are taken on', () => peer.acks.length === 3)
    await first.kill()
    mkdirSync(gate)
    await started({ commandWorkers: 1 })
    for (const jobId of jobs) expect((await ended(jobId)).documentStatus).toBe('Success')
    expect(linesOf(order)).toEqual(['a', 'b', 'c'])
  })

  it('still knows a document that ran before', async () => {
    const first = await started()
    const trace = join(dataFolder, 'trace')
    const command = { commandId: 'aaaaaaaa-0000-4000-8000-000000000001', document: shellDocument(`echo x >> ${trace}`) }
    const jobId = peer.sendCommand(command)
    await ended(jobId)
    await first.kill()
    await started()
    peer.sendCommand(command)
    await until('the repetition is answered', () => peer.acks.filter((ack) => ack.jobId === jobId).length === 2)
    expect(peer.acks.at(-1)?.statusCode).toBe('51405')
    expect(linesOf(trace)).toEqual(['x'])
  })
})

describe('a document whose own process is killed', () => {
  it('fails with a true text, stops what it left running, and is not run again', async () => {
    await started()
    const trace = join(dataFolder, 'trace')
    const document = shellDocument(`echo run >> ${trace}; echo $$; sleep 300`, `echo second >> ${trace}`)
    const jobId = peer.sendCommand({ document })
    const stdout = stepFile(jobId, '0-step1', 'stdout')
    await until('the script has begun', () => linesOf(stdout).length === 1)
    const [executor = 0] = executorsOf(dataFolder)
    process.kill(executor, 'SIGKILL')
    const final = await ended(jobId)
    expect(final.documentStatus).toBe('Failed')
    expect(final.documentTraceOutput).toBe('the process that ran this document ended unexpectedly')
    const step = peer.replies.find((reply) => reply.jobId === jobId && reply.runtimeStatus.step1)?.runtimeStatus.step1
    expect(step).toMatchObject({
      status: 'Failed',
      output: 'the process that ran this document ended unexpectedly',
      standardOutput: `${linesOf(stdout)[0]}\n`,
    })
    await until('the script is gone', () => !existsSync(`/proc/${linesOf(stdout)[0]}/exe`))
    expect(linesOf(trace)).toEqual(['run'])
  })

  it('fails truly also when agent and process are killed together', async () => {
    const first = await started()
    const jobId = peer.sendCommand({ document: shellDocument('echo begun; sleep 300') })
    await until('the script has begun', () => linesOf(stepFile(jobId, '0-step1', 'stdout')).length === 1)
    const [executor = 0] = executorsOf(dataFolder)
    await first.kill()
    process.kill(executor, 'SIGKILL')
    await started()
    const final = await ended(jobId)
    expect(final.runtimeStatus.step1).toMatchObject({ status: 'Failed', standardOutput: 'begun\n' })
  })
})

describe('a script that wants a restart (exit code 194)', () => {
  it('runs again from its start after the restart, and the steps before it do not', async () => {
    const trace = join(dataFolder, 'trace')
    const asked = join(dataFolder, 'asked')
    const settings = { rebootCommand: ['sh', '-c', `echo asked >> ${asked}`] }
    const first = await started(settings)
    const jobId = peer.sendCommand({
      document: shellDocument(
        `echo before >> ${trace}`,
        `echo middle >> ${trace}; [ $(grep -c middle ${trace}) = 1 ] && exit 194; echo done`,
        `echo after >> ${trace}`,
      ),
    })
    await until('the restart is asked for', () => linesOf(asked).length === 1)
    const reports = peer.replies.filter((reply) => reply.jobId === jobId)
    expect(reports.at(-1)?.documentStatus).toBe('SuccessAndReboot')
    expect(linesOf(trace)).toEqual(['before', 'middle'])
    await first.kill()
    // What a restart of the machine voids.
    rmSync(join(dataFolder, 'runtime'), { recursive: true })
    await started(settings)
    expect((await ended(jobId)).documentStatus).toBe('Success')
    expect(linesOf(trace)).toEqual(['before', 'middle', 'middle', 'after'])
    expect(linesOf(asked)).toEqual(['asked'])
  })

  /** Restarts the machine, as far as an agent can see, once the document has asked for it. */
  const restarted = async (document: object): Promise<string> => {
    const asked = join(dataFolder, 'asked')
    const settings = { rebootCommand: ['sh', '-c', `echo asked >> ${asked}`] }
    const first = await started(settings)
    const jobId = peer.sendCommand({ document })
    await until('the restart is asked for', () => linesOf(asked).length === 1)
    await first.kill()
    rmSync(join(dataFolder, 'runtime'), { recursive: true })
    await started(settings)
    return jobId
  }

  it('in a document that another one runs goes on where that one stood, at any depth', async () => {
    const trace = join(dataFolder, 'trace')
    const inner = shellDocument(
      `echo before >> ${trace}`,
      `echo middle >> ${trace}; [ $(grep -c middle ${trace}) = 1 ] && exit 194; echo done`,
      `echo after >> ${trace}`,
    )
    const running = (script: string, documentPath: string) => {
      const inputs = { documentType: 'SSMDocument', documentPath }
      const { mainSteps } = shellDocument(script) as { mainSteps: object[] }
      return {
        schemaVersion: '2.2',
        mainSteps: [...mainSteps, { action: 'aws:runDocument', name: 'inner', inputs }],
      }
    }
    const asked: unknown[] = []
    peer.answers.set('GetDocument', ({ Name }) => {
      asked.push(Name)
      const content = Name === 'outer' ? running(`echo outer >> ${trace}`, 'inner') : inner
      return { Name, Content: JSON.stringify(content) }
    })
    const jobId = await restarted(running(`echo first >> ${trace}`, 'outer'))
    const final = await ended(jobId)
    expect(final.documentStatus).toBe('Success')
    expect(linesOf(trace)).toEqual(['first', 'outer', 'before', 'middle', 'middle', 'after'])
    expect(readFileSync(stepFile(jobId, '1-inner', 'stdout'), 'utf8')).toBe('done\n')
    // What it is was read before the restart, and is not asked for again.
    expect(asked).toEqual(['outer', 'inner'])
  })

  it('in one of several properties of schema 1.2 leaves those before it alone', async () => {
    const trace = join(dataFolder, 'trace')
    const properties = [
      { id: '0.aws:runShellScript', runCommand: [`echo before >> ${trace}`] },
      {
        id: '1.aws:runShellScript',
        runCommand: [`echo middle >> ${trace}`, `[ $(grep -c middle ${trace}) = 1 ] && exit 194; exit 0`],
      },
      { id: '2.aws:runShellScript', runCommand: [`echo after >> ${trace}`] },
    ]
    const runtimeConfig = { 'aws:runShellScript': { properties } }
    const jobId = await restarted({ schemaVersion: '1.2', runtimeConfig })
    expect((await ended(jobId)).documentStatus).toBe('Success')
    expect(linesOf(trace)).toEqual(['before', 'middle', 'middle', 'after'])
  })

  it('does not run again when only the agent restarted', async () => {
    const trace = join(dataFolder, 'trace')
    const asked = join(dataFolder, 'asked')
    const settings = { rebootCommand: ['sh', '-c', `echo asked >> ${asked}`] }
    const first = await started(settings)
    peer.sendCommand({ document: shellDocument(`echo run >> ${trace}; exit 194`) })
    await until('the restart is asked for', () => linesOf(asked).length === 1)
    await first.kill()
    await started(settings)
    await until('the restart is asked for again', () => linesOf(asked).length === 2)
    expect(linesOf(trace)).toEqual(['run'])
  })

  it('fails when the reboot command does', async () => {
    await started({ rebootCommand: ['false'] })
    const jobId = peer.sendCommand({ document: shellDocument('exit 194') })
    const final = await ended(jobId)
    expect(final).toMatchObject({
      documentStatus: 'Failed',
      documentTraceOutput: 'the reboot command ended with code 1',
    })
  })

  it('gives up after fifteen runs', async () => {
    const trace = join(dataFolder, 'trace')
    let agent = await started()
    const jobId = peer.sendCommand({ document: shellDocument(`echo run >> ${trace}; exit 194`) })
    for (let run = 1; endsOf(jobId).length === 0 && run <= 17; run++) {
      const reboots = () => peer.replies.filter((r) => r.jobId === jobId && r.documentStatus === 'SuccessAndReboot')
      const marks = () => readdirSync(join(dataFolder, 'orchestration', jobId.split('.')[2] ?? ''))
      await until('the run has ended', () => endsOf(jobId).length > 0 || distinct(reboots()) === run)
      await until('the restart is noted', () => endsOf(jobId).length > 0 || marks().includes(`reboot-${run}`))
      await agent.kill()
      rmSync(join(dataFolder, 'runtime'), { recursive: true })
      agent = await started()
    }
    expect(await ended(jobId)).toMatchObject({
      documentStatus: 'Failed',
      documentTraceOutput: 'the document asked for more than 15 runs',
    })
    expect(linesOf(trace)).toHaveLength(15)
  }, 180_000)
})

describe('a connection that breaks', () => {
  it('is opened again by itself, and unacknowledged replies come again under the same message id', async () => {
    await started()
    peer.keepReplyAcks = true
    const jobId = peer.sendCommand({ document: shellDocument('echo once') })
    await ended(jobId)
    const before = peer.replies.filter((reply) => reply.jobId === jobId)
    const openings = peer.openings
    peer.dropConnections()
    await until('the channel is open again', () => peer.openings > openings)
    const again = () => peer.replies.filter((reply) => reply.jobId === jobId).slice(before.length)
    await until('the replies come again', () => again().length >= before.length)
    expect(new Set(again().map((reply) => reply.messageId))).toEqual(new Set(before.map((reply) => reply.messageId)))
    peer.keepReplyAcks = false
    await until('nothing is left on disk', () => readdirSync(join(dataFolder, 'replies')).length === 0)
  })

  it('delivers what a document reported while the control plane was away', async () => {
    await started()
    const gate = join(dataFolder, 'gate')
    const jobId = peer.sendCommand({
      document: shellDocument(`while [ ! -e ${gate} ]; do sleep 0.02; done; echo done`),
    })
    await until('it is taken on', () => peer.acks.length === 1)
    peer.dropConnections()
    mkdirSync(gate)
    expect((await ended(jobId)).runtimeStatus.step1?.standardOutput).toBe('done\n')
  })
})

describe('a clean end', () => {
  it('comes with SIGTERM; documents go on', async () => {
    const agent = await started()
    const jobId = peer.sendCommand({ document: shellDocument('echo begun; sleep 300') })
    await until('the script has begun', () => linesOf(stepFile(jobId, '0-step1', 'stdout')).length === 1)
    expect(await agent.stop()).toBe(0)
    expect(executorsOf(dataFolder)).toHaveLength(1)
    expect(existsSync(join(dataFolder, 'agent.pid'))).toBe(false)
  })

  it('does not wait for the answer of a control plane that is silent', async () => {
    const agent = await started({ healthSeconds: 5 })
    peer.silent = true
    await until('a call waits for its answer', () => peer.unanswered > 0)
    let code: number | null | undefined
    agent.stop().then((given) => {
      code = given
    })
    await until('it has ended', () => code !== undefined)
    expect(code).toBe(0)
  })

  it('does not wait for a reboot command that waits for it', async () => {
    const asked = join(dataFolder, 'asked')
    const whileAgentLives = 'while kill -0 $PPID; do sleep 0.1; done'
    const agent = await started({ rebootCommand: ['sh', '-c', `echo asked >> ${asked}; ${whileAgentLives}`] })
    peer.sendCommand({ document: shellDocument('exit 194') })
    await until('the restart is asked for', () => linesOf(asked).length === 1)
    let code: number | null | undefined
    agent.stop().then((given) => {
      code = given
    })
    await until('it has ended', () => code !== undefined)
    expect(code).toBe(0)
  })

  it('comes when the standard input that its parent holds is closed', async () => {
    const agent = await started({ watchStdin: true })
    agent.closeStdin()
    expect(await agent.ended).toBe(0)
  })

  it('comes when its parent is another one than it was told', async () => {
    // Not waiting for its channel: on a slow machine its end comes first.
    const agent = startAgent(peer, dataFolder, { parentPid: 2 ** 22 })
    agents.push(agent)
    expect(await agent.ended).toBe(0)
  })
})

describe('a data folder', () => {
  it('that others could look into is the agent\u2019s alone from its start on', async () => {
    chmodSync(dataFolder, 0o755)
    await started()
    expect(statSync(dataFolder).mode & 0o777).toBe(0o700)
  })

  it.skipIf(process.getuid?.() !== 0)(
    'of another user is refused: its owner would say what the agent runs',
    async () => {
      chownSync(dataFolder, 12_345, 12_345)
      const agent = startAgent(peer, dataFolder)
      agents.push(agent)
      expect(await agent.ended).toBe(1)
      expect(agent.log()).toContain('belongs to another user (uid 12345)')
    },
  )
})

describe('an identity', () => {
  it('is refused clearly when the activation is wrong', async () => {
    const agent = startAgent(peer, dataFolder, { activation: { id: '0'.repeat(36), code: 'x'.repeat(20) } })
    agents.push(agent)
    expect(await agent.ended).toBe(1)
    expect(agent.log()).toContain('the activation id or code is wrong')
  })

  it('is asked for again as long as the control plane has too much to do', async () => {
    peer.busy = true
    const agent = startAgent(peer, dataFolder)
    agents.push(agent)
    await until('it is no more one call that is tried again', () => agent.log().includes('not registered yet'))
    const before = peer.unanswered
    await until('it is asked for again', () => peer.unanswered > before)
    peer.busy = false
    await until('the control channel is open', () => peer.openings > 0)
    expect(peer.registrations).toHaveLength(1)
  })

  it('gets a new key pair when the control plane asks for one', async () => {
    peer.wantNewKey = true
    const agent = await started()
    await until('the key is rotated', () => agent.log().includes('key pair rotated'))
    await agent.kill()
    await started()
    expect(peer.tokenRequests.length).toBeGreaterThan(1)
    expect(peer.tokenRequests.every((request) => request.signatureIsValid)).toBe(true)
  })

  it('renews its role token at half its life, for the scripts as well', async () => {
    peer.tokenSeconds = 4
    await started()
    const written = () => statSync(join(dataFolder, 'credentials')).mtimeMs
    const first = written()
    await until('it has asked a third time', () => peer.tokenRequests.length >= 3)
    expect(peer.tokenRequests.every((request) => request.signatureIsValid)).toBe(true)
    await until('the file for scripts is the new one', () => written() > first)
    expect(statSync(join(dataFolder, 'credentials')).mode & 0o777).toBe(0o600)
    expect(peer.openings).toBe(1)
  })

  describe('on a machine whose clock is wrong', () => {
    const onClock = async (hours: number) => {
      const shift = join(dataFolder, 'shift.cjs')
      writeFileSync(shift, `const now = Date.now; Date.now = () => now() + ${hours} * 3600_000\n`)
      // The processes of its documents live on the same machine.
      const executorCommand = [process.execPath, '--require', shift, agentBundle()]
      agents.push(startAgent(peer, dataFolder, { executorCommand }, shift))
      await until('the control channel is open', () => peer.openings > 0)
    }

    it.each([
      ['ahead', 24],
      ['behind', -24],
    ])('works when the clock is a day %s, signs what its documents fetch, and says so', async (direction, hours) => {
      await onClock(hours)
      peer.files.set('/bucket/setup.sh', { body: 'echo fetched\n' })
      const sourceInfo = JSON.stringify({ path: `${peer.endpoint}/bucket/setup.sh` })
      const get = { action: 'aws:downloadContent', name: 'get', inputs: { sourceType: 'S3', sourceInfo } }
      const { mainSteps } = shellDocument('. ./setup.sh') as { mainSteps: { inputs: object }[] }
      const run = mainSteps.map((step) => ({ ...step, inputs: { ...step.inputs, workingDirectory: '.' } }))
      const final = await ended(peer.sendCommand({ document: { schemaVersion: '2.2', mainSteps: [get, ...run] } }))
      expect(final.documentStatus).toBe('Success')
      expect(peer.downloads).toMatchObject([{ path: '/bucket/setup.sh', isSigned: true }])
      const warned = `the clock of this machine is wrong: the agent goes by that of the control plane","seconds`
      const capital = direction === 'ahead' ? 'Ahead' : 'Behind'
      expect(agents[0]?.log()).toMatch(new RegExp(`${warned}${capital}":(86399|86400|86401)}`))
    })

    it('does not ask for one role token after the other when the clock is hours ahead', async () => {
      await onClock(2)
      await ended(peer.sendCommand({ document: shellDocument('sleep 5') }))
      expect(peer.tokenRequests).toHaveLength(1)
    })

    it('renews its role token in time when the clock is hours behind', async () => {
      peer.tokenSeconds = 4
      await onClock(-2)
      await until('it has asked a third time', () => peer.tokenRequests.length >= 3)
    })
  })

  it('survives a rotation that was cut short on either side', async () => {
    const agent = await started()
    await agent.kill()
    const identity = readFileSync(join(dataFolder, 'identity.json'), 'utf8')
    peer.wantNewKey = true
    const second = await started()
    await until('the key is rotated', () => second.log().includes('key pair rotated'))
    await second.kill()
    // As if the agent had died after the control plane took the new key and before it was made its own.
    writeFileSync(join(dataFolder, 'identity.next.json'), readFileSync(join(dataFolder, 'identity.json')))
    writeFileSync(join(dataFolder, 'identity.json'), identity)
    await started()
    expect(peer.tokenRequests.at(-1)?.signatureIsValid).toBe(true)
  })

  it('of a copied machine gets a clear message', async () => {
    const agent = await started()
    await agent.kill()
    peer.tokenError = 'MachineFingerprintDoesNotMatch'
    const path = join(dataFolder, 'identity.json')
    const identity = JSON.parse(readFileSync(path, 'utf8'))
    const { fingerprint } = identity
    identity.machine.machineId = 'another'
    writeFileSync(path, JSON.stringify(identity))
    const clone = startAgent(peer, dataFolder)
    agents.push(clone)
    await until('it is told', () => clone.log().includes('if it is a clone, give it an empty data folder'))
    expect(peer.tokenRequests.at(-1)?.fingerprint).not.toBe(fingerprint)
  })

  it('is used by one agent at a time', async () => {
    await started()
    const second = startAgent(peer, dataFolder)
    agents.push(second)
    expect(await second.ended).toBe(1)
    expect(second.log()).toContain('another agent')
  })
})
