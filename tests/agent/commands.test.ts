import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AgentProcess, endExecutors, newDataFolder, shellDocument, startAgent, until } from './agent-process.ts'
import { type Peer, type ReceivedReply, startPeer } from './peer.ts'

let peer: Peer
let agent: AgentProcess

beforeAll(async () => {
  peer = await startPeer()
  agent = startAgent(peer, newDataFolder())
  await until('the control channel is open', () => peer.openings > 0)
})

afterAll(async () => {
  await agent.stop()
  await peer.close()
  endExecutors(agent.dataFolder)
})

const ENDS = ['Success', 'Failed', 'Cancelled', 'TimedOut']

function finalOf(jobId: string): ReceivedReply | undefined {
  return peer.replies.find((reply) => reply.jobId === jobId && ENDS.includes(reply.documentStatus))
}

async function ended(jobId: string): Promise<ReceivedReply> {
  await until(`${jobId} has ended`, () => finalOf(jobId) !== undefined)
  return finalOf(jobId) as ReceivedReply
}

function stepsOf(jobId: string): string[] {
  const replies = peer.replies.filter((reply) => reply.jobId === jobId && reply.documentStatus === 'InProgress')
  return replies.flatMap((reply) => Object.entries(reply.runtimeStatus).map(([id, { status }]) => `${id} ${status}`))
}

describe('a node that runs documents', () => {
  it('registers with its own key and proves it owns it', () => {
    const [registration] = peer.registrations
    expect(registration?.publicKey).toHaveLength(392)
    expect(peer.tokenRequests[0]).toEqual({
      fingerprint: registration?.fingerprint,
      instanceId: registration?.instanceId,
      signatureIsValid: true,
    })
  })

  it('reports what it is as soon as it starts', async () => {
    await until('health is reported', () => peer.health.length > 0)
    expect(peer.health[0]).toMatchObject({
      InstanceId: peer.registrations[0]?.instanceId,
      AgentStatus: 'Active',
      PlatformType: 'Linux',
    })
  })

  it('runs a shell script and returns its output and exit code', async () => {
    const jobId = peer.sendCommand({ document: shellDocument('echo out; echo err >&2; echo "$SSM_COMMAND_ID"') })
    const final = await ended(jobId)
    const [, , commandId] = jobId.split('.')
    expect(peer.acks.find((ack) => ack.jobId === jobId)).toMatchObject({
      statusCode: '200',
      errorMessage: 'Successful',
    })
    expect(final.runtimeStatus.step1).toMatchObject({
      status: 'Success',
      code: 0,
      name: 'aws:runShellScript',
      standardOutput: `out\n${commandId}\n`,
      standardError: 'err\n',
      output: `out\n${commandId}\n\n----------ERROR-------\nerr\n`,
    })
  })

  it('says so when a script fails', async () => {
    const final = await ended(peer.sendCommand({ document: shellDocument('echo before; exit 7') }))
    expect(final.documentStatus).toBe('Failed')
    expect(final.runtimeStatus.step1).toMatchObject({
      status: 'Failed',
      code: 7,
      standardOutput: 'before\n',
      standardError: 'failed to run commands: exit status 7',
    })
  })

  it('kills the whole group of a script that takes longer than its timeout', async () => {
    const document = {
      schemaVersion: '2.2',
      mainSteps: [
        {
          action: 'aws:runShellScript',
          name: 'slow',
          inputs: { runCommand: ['sleep 300 & echo $! $$; wait'], timeoutSeconds: '5' },
        },
      ],
    }
    const final = await ended(peer.sendCommand({ document }))
    expect(final.documentStatus).toBe('TimedOut')
    expect(final.runtimeStatus.slow).toMatchObject({ status: 'TimedOut', code: 137 })
    const pids = final.runtimeStatus.slow?.standardOutput.trim().split(' ') ?? []
    expect(pids).toHaveLength(2)
    for (const pid of pids) await until(`process ${pid} is gone`, () => !existsSync(`/proc/${pid}/exe`))
  })

  it('puts parameters in and honours the working directory', async () => {
    const document = {
      schemaVersion: '2.2',
      parameters: { commands: { type: 'StringList' }, workingDirectory: { type: 'String', default: '' } },
      mainSteps: [
        {
          action: 'aws:runShellScript',
          name: 'runShellScript',
          inputs: { runCommand: '{{ commands }}', workingDirectory: '{{ workingDirectory }}' },
        },
      ],
    }
    const place = join(agent.dataFolder, 'with blank')
    mkdirSync(place)
    const parameters = { commands: ['pwd', 'echo $AWS_SSM_INSTANCE_ID'], workingDirectory: place }
    const final = await ended(peer.sendCommand({ document, parameters }))
    expect(final.runtimeStatus.runShellScript?.standardOutput).toBe(`${place}\n${peer.registrations[0]?.instanceId}\n`)
  })

  it('fails a step whose working directory does not exist, in clear words', async () => {
    const inputs = { runCommand: ['pwd'], workingDirectory: '/does/not/exist' }
    const document = { schemaVersion: '2.2', mainSteps: [{ action: 'aws:runShellScript', name: 'here', inputs }] }
    const final = await ended(peer.sendCommand({ document }))
    expect(final.runtimeStatus.here).toMatchObject({
      status: 'Failed',
      output: 'the working directory /does/not/exist does not exist',
    })
  })

  it('runs the steps in order and reports each as it ends', async () => {
    const jobId = peer.sendCommand({ document: shellDocument('echo 1', 'exit 3', 'echo 3') })
    const final = await ended(jobId)
    expect(final).toMatchObject({ documentStatus: 'Failed', runtimeStatus: {} })
    expect(stepsOf(jobId)).toEqual(['step1 Success', 'step2 Failed', 'step3 Success'])
  })

  it('ends the document early with exit code 168 and skips the rest', async () => {
    const jobId = peer.sendCommand({ document: shellDocument('echo noise >&2; exit 168', 'echo never') })
    expect((await ended(jobId)).documentStatus).toBe('Success')
    expect(stepsOf(jobId)).toEqual(['step1 Success', 'step2 Skipped'])
    const first = peer.replies.find((reply) => reply.jobId === jobId && reply.runtimeStatus.step1)
    expect(first?.runtimeStatus.step1).toMatchObject({ code: 168, standardError: '' })
  })

  it('cuts long output on the wire only and keeps all of it on disk', async () => {
    const jobId = peer.sendCommand({ document: shellDocument('seq 1 100000') })
    const final = await ended(jobId)
    expect(final.runtimeStatus.step1?.standardOutput).toHaveLength(24_000)
    expect(final.runtimeStatus.step1?.standardOutput.endsWith('--output truncated--')).toBe(true)
    const [, , commandId = ''] = jobId.split('.')
    const kept = readFileSync(join(agent.dataFolder, 'orchestration', commandId, 'steps', '0-step1', 'stdout'), 'utf8')
    expect(kept.trimEnd().split('\n')).toHaveLength(100_000)
  })

  it('shortens output full of control characters until the reply fits on the wire', async () => {
    const jobId = peer.sendCommand({ document: shellDocument("head -c 50000 /dev/zero | tr '\\0' '\\001'") })
    expect((await ended(jobId)).runtimeStatus.step1?.status).toBe('Success')
  })

  it('kills a running script when it is cancelled', async () => {
    const jobId = peer.sendCommand({ document: shellDocument('echo started; sleep 300', 'echo never') })
    const [, , commandId = ''] = jobId.split('.')
    const stdout = join(agent.dataFolder, 'orchestration', commandId, 'steps', '0-step1', 'stdout')
    await until('the script has started', () => existsSync(stdout) && readFileSync(stdout, 'utf8') === 'started\n')
    const cancelId = peer.sendCancel(jobId)
    expect((await ended(jobId)).documentStatus).toBe('Cancelled')
    expect(stepsOf(jobId)[0]).toBe('step1 Cancelled')
    expect(peer.acks.find((ack) => ack.jobId === cancelId)?.statusCode).toBe('200')
    expect(peer.replies.filter((reply) => reply.jobId === cancelId)).toHaveLength(1)
  })

  it('acknowledges a document that comes again as a duplicate and does not run it again', async () => {
    const commandId = '11111111-2222-4333-8444-555555555555'
    const mark = join(agent.dataFolder, 'mark')
    const command = { commandId, document: shellDocument(`echo run >> ${mark}`) }
    const jobId = peer.sendCommand(command)
    peer.sendCommand(command)
    await ended(jobId)
    await until('the second delivery is answered', () => peer.acks.filter((ack) => ack.jobId === jobId).length === 2)
    peer.sendCommand(command)
    await until('the third delivery is answered', () => peer.acks.filter((ack) => ack.jobId === jobId).length === 3)
    expect(peer.acks.filter((ack) => ack.jobId === jobId).map((ack) => ack.statusCode)).toEqual([
      '200',
      '51405',
      '51405',
    ])
    expect(readFileSync(mark, 'utf8')).toBe('run\n')
  })

  it('runs five documents at once, queues five, refuses the next, and reports a cancelled queued one', async () => {
    const gate = join(agent.dataFolder, 'gate')
    const document = shellDocument(`while [ ! -e ${gate} ]; do sleep 0.05; done; echo through`)
    const jobs = Array.from({ length: 12 }, () => peer.sendCommand({ document }))
    await until('all are answered', () => jobs.every((jobId) => peer.acks.some((ack) => ack.jobId === jobId)))
    const codes = jobs.map((jobId) => peer.acks.find((ack) => ack.jobId === jobId)?.statusCode)
    expect(codes).toEqual([...Array(10).fill('200'), '51402', '51402'])
    peer.sendCancel(jobs[9] as string)
    expect((await ended(jobs[9] as string)).documentStatus).toBe('Cancelled')
    mkdirSync(gate)
    for (const jobId of jobs.slice(0, 9)) expect((await ended(jobId)).documentStatus).toBe('Success')
    // What was refused may be offered again.
    const [, , commandId = ''] = (jobs[10] as string).split('.')
    peer.sendCommand({ commandId, document })
    expect((await ended(jobs[10] as string)).documentStatus).toBe('Success')
  })

  it('outlives frames that are none', async () => {
    const openings = peer.openings
    peer.sendRaw(new Uint8Array(3))
    peer.sendRaw(new Uint8Array(500).fill(255))
    peer.sendRaw('text')
    peer.sendMessage('agent_job', new TextEncoder().encode('{"JobId":'))
    peer.sendMessage('agent_job', new TextEncoder().encode('[]'))
    peer.sendMessage('nobody_knows', new Uint8Array(10))
    peer.sendMessage('agent_job_reply_ack', new Uint8Array(0))
    expect((await ended(peer.sendCommand({ document: shellDocument('true') }))).documentStatus).toBe('Success')
    expect(peer.openings).toBe(openings)
  })

  it('fails a document that no node can run, with the reason', async () => {
    const final = await ended(peer.sendCommand({ document: { schemaVersion: '9.9' } }))
    expect(final).toMatchObject({ documentStatus: 'Failed' })
    expect(final.documentTraceOutput).toContain('schema version 9.9')
  })

  it('says honestly that it does not have an action', async () => {
    const step = { action: 'aws:softwareInventory', name: 'inventory', inputs: {} }
    const final = await ended(peer.sendCommand({ document: { schemaVersion: '2.2', mainSteps: [step] } }))
    expect(final.runtimeStatus.inventory).toMatchObject({
      status: 'Failed',
      output: 'aws:softwareInventory is not supported by this agent',
    })
  })

  it('fetches parameters and documents from the control plane', async () => {
    peer.answers.set('GetParameters', () => ({ Parameters: [{ Name: '/who', Type: 'String', Value: 'crew' }] }))
    const inner = shellDocument('echo inner {{ssm:/who}}')
    peer.answers.set('GetDocument', ({ Name }) => ({ Name, Content: JSON.stringify(inner) }))
    const inputs = { documentType: 'SSMDocument', documentPath: 'Inner:1', documentParameters: '{}' }
    const document = { schemaVersion: '2.2', mainSteps: [{ action: 'aws:runDocument', name: 'outer', inputs }] }
    const final = await ended(peer.sendCommand({ document }))
    expect(final.runtimeStatus.outer).toMatchObject({ status: 'Success', standardOutput: 'inner crew\n' })
  })

  it('writes no script, output or credential into its log', () => {
    expect(agent.log()).toContain('document ended')
    for (const secret of ['echo', 'started', 'Activation0Code', 'ASIAPEER', 'PRIVATE KEY']) {
      expect(agent.log()).not.toContain(secret)
    }
  })
})
