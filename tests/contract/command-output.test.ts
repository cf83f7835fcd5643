import { writeFile } from 'node:fs/promises'
import { IAM } from '@aws-sdk/client-iam'
import { type SSM, SSM as SsmClient } from '@aws-sdk/client-ssm'
import { eventually, REGION, startTestbed, type TestAccount } from '@musterbook/testbed'
import { buildOutputChunk, OUTPUT_MESSAGE } from '@musterbook/wire'
import { afterAll, describe, expect, it } from 'vitest'
import { events, type ServerEvent } from '../../packages/cli/src/events.ts'
import { send as sendRaw, signed } from './signed-request.ts'
import { clientOf, simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const source = (account: TestAccount, commandId: string, nodeId: string) => ({
  endpoint: testbed.endpoint,
  region: REGION,
  credentials: account.config.credentials,
  path: `/v1/commands/${commandId}/invocations/${nodeId}/output`,
  now: () => testbed.clock.now().getTime(),
})

/** What came of one stream, and everything that was said. */
async function read(account: TestAccount, commandId: string, nodeId: string, offset = 0) {
  const all: ServerEvent[] = []
  const from = { ...source(account, commandId, nodeId), endpoint: account.config.endpoint }
  for await (const event of events(from, offset)) all.push(event)
  const output = all
    .filter(({ event }) => event === 'output')
    .map(({ data }) => JSON.parse(data) as { Step: string; Stream: string; Start: number; Data: string })
  const text = (stream: string) =>
    Buffer.concat(
      output.filter(({ Stream }) => Stream === stream).map(({ Data }) => Buffer.from(Data, 'base64')),
    ).toString()
  return { all, stdout: text('stdout'), stderr: text('stderr'), last: all.at(-1) }
}

async function send(ssm: SSM, nodeId: string, commands: string[]): Promise<string> {
  const input = { DocumentName: 'AWS-RunShellScript', InstanceIds: [nodeId], Parameters: { commands } }
  return (await ssm.sendCommand(input)).Command?.CommandId ?? ''
}

/** The credentials of a new user who may do this one thing. */
async function userWho(Action: string, account: TestAccount, admin: IAM, UserName: string): Promise<TestAccount> {
  const Statement = [{ Effect: 'Allow', Action, Resource: '*' }]
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  await admin.createUser({ UserName })
  await admin.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument })
  const { AccessKey } = await admin.createAccessKey({ UserName })
  const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
  return { ...account, config: { ...account.config, credentials } }
}

describe('the whole output of a command', () => {
  it('comes from the agent while the command runs, uncut, and is kept', async () => {
    const account = await testbed.account()
    const { nodeId } = await testbed.node(account)
    const ssm = new SsmClient(account.config)
    const gate = `/tmp/musterbook-gate-${crypto.randomUUID()}`
    const script = `echo begun; while [ ! -e ${gate} ]; do sleep 0.1; done; seq 1 20000; echo oops >&2; rm ${gate}`
    const commandId = await send(ssm, nodeId, [script])
    let beforeTheEnd = ''
    for await (const { event, data } of events(source(account, commandId, nodeId), 0)) {
      if (event !== 'output') continue
      beforeTheEnd += Buffer.from(JSON.parse(data).Data, 'base64')
      break
    }
    expect(beforeTheEnd).toBe('begun\n') // the command cannot go on before the gate is there
    await writeFile(gate, '')
    const { stdout, stderr, last } = await read(account, commandId, nodeId)
    const numbers = Array.from({ length: 20_000 }, (_, at) => `${at + 1}\n`).join('')
    expect(stdout).toBe(`begun\n${numbers}`)
    expect(stderr).toBe('oops\n')
    expect(last).toMatchObject({ event: 'end', data: '{"Status":"Success","StatusDetails":"Success"}' })
    const { StandardOutputContent } = await ssm.getCommandInvocation({ CommandId: commandId, InstanceId: nodeId })
    expect(StandardOutputContent).toHaveLength(24_000)
    const half = await read(account, commandId, nodeId, 50_000)
    expect(half.stdout.length + half.stderr.length).toBe(stdout.length + stderr.length - 50_000)
  })

  it('is put together once from chunks that come twice, overlap or leave a hole', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const node = await simulatedNode(testbed, account)
    await node.connect()
    const commandId = await send(ssm, node.nodeId, ['true'])
    const job = await node.nextJob()
    const chunk = (start: number, text: string) => {
      const data = Buffer.from(text).toString('base64')
      const fields = { jobId: job.JobId, step: 'aws:runShellScript', stream: 'stdout' as const, start, data }
      node.send(OUTPUT_MESSAGE.output, buildOutputChunk(fields))
    }
    await eventually('the chunks are there', async () => {
      // They are taken side by side: one that comes before the one it follows is not, and is sent again.
      chunk(0, 'abc')
      chunk(0, 'abc')
      chunk(2, 'cde')
      chunk(9, 'zzz')
      chunk(5, 'f')
      // How many rows they become depends on which of them are written together.
      const [row] = await testbed.server.ground.sql`
        select max(start + length(bytes)) as "end" from command_output where command_id = ${commandId}`
      return Number(row?.end) === 6
    })
    await node.reply(job.JobId, 'Success', { 'aws:runShellScript': { stdout: 'abcdef' } })
    expect((await read(account, commandId, node.nodeId)).stdout).toBe('abcdef')
    expect((await read(account, commandId, node.nodeId, 4)).stdout).toBe('ef')
  })

  it('goes on behind the last event that a reader names, wherever that reader began', async () => {
    const account = await testbed.account()
    const node = await simulatedNode(testbed, account)
    await node.connect()
    const commandId = await send(clientOf(testbed, account), node.nodeId, ['true'])
    const job = await node.nextJob()
    await node.reply(job.JobId, 'Success', { 'aws:runShellScript': { stdout: 'before and after' } })
    testbed.clock.advance(5_000)
    const { credentials, path } = source(account, commandId, node.nodeId)
    const ask = (query: string, lastEventId: string) => {
      const at = testbed.clock.now()
      const headers: [string, string][] = [['last-event-id', lastEventId]]
      const host = new URL(testbed.endpoint).host
      const signing = {
        credentials,
        host,
        method: 'GET',
        path,
        query,
        headers,
        at,
        body: '',
        unsigned: ['last-event-id'],
      }
      return sendRaw(testbed.endpoint, signed(signing))
    }
    for (const query of ['', 'offset=2']) {
      const { status, text } = await ask(query, 'before'.length.toString())
      expect(status).toBe(200)
      const [data = '{}', ...more] = [...text.matchAll(/event: output\ndata: (.*)/g)].map(([, each]) => each)
      const { Start, Data } = JSON.parse(data) as { Start: number; Data: string }
      expect([Start, Buffer.from(Data, 'base64').toString(), more]).toEqual([6, ' and after', []])
      expect(text).toMatch(/\nid: 16\n/)
    }
    expect((await ask('', 'the sixth')).text).toContain('ValidationException')
  })

  it('ends in one line that says so where it is too long to be kept, and the command goes on', async () => {
    await using small = await startTestbed({ options: { settings: { maxOutputBytes: 1_000 } } })
    const account = await small.account()
    const { nodeId } = await small.node(account)
    const ssm = new SsmClient(account.config)
    // The streams of a step come side by side: what is to be late has to wait until the mark is there.
    const gate = `/tmp/musterbook-gate-${crypto.randomUUID()}`
    const late = `while [ ! -e ${gate} ]; do sleep 0.1; done; rm ${gate}; echo late >&2; exit 3`
    const commandId = await send(ssm, nodeId, [`head -c 200000 /dev/zero | tr "\\0" x; ${late}`])
    const from = { ...source(account, commandId, nodeId), endpoint: account.config.endpoint }
    for await (const { event, data } of events(from, 0))
      if (event === 'output' && Buffer.from(JSON.parse(data).Data, 'base64').includes('truncated')) break
    await writeFile(gate, '')
    const { stdout, stderr, last } = await read(account, commandId, nodeId)
    expect(stdout + stderr).toBe(`${'x'.repeat(1_000)}\n--output truncated: more than 1000 bytes--\n`)
    expect(last).toMatchObject({ event: 'end', data: '{"Status":"Failed","StatusDetails":"Failed"}' })
    const shown = await ssm.getCommandInvocation({ CommandId: commandId, InstanceId: nodeId })
    expect(shown).toMatchObject({ ResponseCode: 3, StandardErrorContent: expect.stringContaining('late') })
  })

  it('is what the agent reports where it sends no output', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const node = await simulatedNode(testbed, account)
    await node.connect()
    const commandId = await send(ssm, node.nodeId, ['true'])
    const job = await node.nextJob()
    await node.reply(job.JobId, 'Failed', {
      'aws:runShellScript': { status: 'Failed', code: 1, stdout: 'all of it', stderr: 'and why' },
    })
    testbed.clock.advance(5_000)
    const { stdout, stderr } = await read(account, commandId, node.nodeId)
    expect([stdout, stderr]).toEqual(['all of it', 'and why'])
  })

  it('is shown to a user who may get the invocation, and to no other', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const node = await simulatedNode(testbed, account)
    await node.connect()
    const commandId = await send(ssm, node.nodeId, ['true'])
    const job = await node.nextJob()
    await node.reply(job.JobId, 'Success', { 'aws:runShellScript': { stdout: 'for some eyes' } })
    testbed.clock.advance(5_000)
    const admin = new IAM(account.config)
    const other = await userWho('ssm:ListCommandInvocations', account, admin, 'other')
    await expect(read(other, commandId, node.nodeId)).rejects.toThrow('ssm:GetCommandInvocation')
    const reader = await userWho('ssm:GetCommandInvocation', account, admin, 'reader')
    expect((await read(reader, commandId, node.nodeId)).stdout).toBe('for some eyes')
  })

  it('is shown no longer than a minute to a user whose permission was taken while it was read', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const node = await simulatedNode(testbed, account)
    await node.connect()
    const commandId = await send(ssm, node.nodeId, ['true'])
    const job = await node.nextJob()
    node.acknowledge(job)
    const admin = new IAM(account.config)
    const reader = await userWho('ssm:GetCommandInvocation', account, admin, 'reader')
    const chunk = (start: number, text: string) => {
      const data = Buffer.from(text).toString('base64')
      const fields = { jobId: job.JobId, step: 'aws:runShellScript', stream: 'stdout' as const, start, data }
      node.send(OUTPUT_MESSAGE.output, buildOutputChunk(fields))
    }
    chunk(0, 'before')
    const said: ServerEvent[] = []
    for await (const event of events(source(reader, commandId, node.nodeId), 0)) {
      said.push(event)
      if (event.event !== 'output') continue
      await admin.deleteUserPolicy({ UserName: 'reader', PolicyName: 'own' })
      testbed.clock.advance(61_000)
    }
    expect(said.map(({ event }) => event)).toEqual(['status', 'output'])
    const offset = Number(said.at(-1)!.id)
    expect(offset).toBe('before'.length)
    await expect(read(reader, commandId, node.nodeId, offset)).rejects.toThrow('ssm:GetCommandInvocation')
    chunk(offset, ' and after')
    await node.reply(job.JobId, 'Success', { 'aws:runShellScript': { stdout: 'before and after' } })
    expect((await read(account, commandId, node.nodeId, offset)).stdout).toBe(' and after')
  })

  it('is not shown to another account', async () => {
    const account = await testbed.account()
    const node = await simulatedNode(testbed, account)
    const commandId = await send(clientOf(testbed, account), node.nodeId, ['true'])
    await expect(read(await testbed.account(), commandId, node.nodeId)).rejects.toThrow('InvocationDoesNotExist')
  })
})
