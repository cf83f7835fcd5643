import type { CommandInvocation, SSM } from '@aws-sdk/client-ssm'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { CANCEL_COMMAND_TOPIC } from '@musterbook/wire'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { clientOf, type SimulatedNode, simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

/** An account of its own for each test, with nodes whose channels are open. */
async function given(count: number, options: { tags?: Record<string, string>; connect?: boolean } = {}) {
  const account = await testbed.account()
  const nodes = await Promise.all(Array.from({ length: count }, () => simulatedNode(testbed, account, options)))
  if (options.connect !== false) for (const node of nodes) await node.connect()
  return { account, ssm: clientOf(testbed, account), nodes, ids: nodes.map(({ nodeId }) => nodeId) }
}

const shell = { DocumentName: 'AWS-RunShellScript', Parameters: { commands: ['true'] } }
const STEP = 'aws:runShellScript'

async function invocation(ssm: SSM, CommandId: string, InstanceId?: string): Promise<CommandInvocation | undefined> {
  const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId, InstanceId, Details: true })
  return CommandInvocations?.[0]
}

const ended = (ssm: SSM, CommandId: string, StatusDetails: string) =>
  eventually(`the command is ${StatusDetails}`, async () => {
    const { Commands } = await ssm.listCommands({ CommandId })
    return Commands?.[0]?.StatusDetails === StatusDetails ? Commands[0] : undefined
  })

const stands = (ssm: SSM, CommandId: string, InstanceId: string, StatusDetails: string) =>
  eventually(`the invocation is ${StatusDetails}`, async () => {
    const found = await invocation(ssm, CommandId, InstanceId)
    return found?.StatusDetails === StatusDetails ? found : undefined
  })

/** Takes the command and says how it went. */
async function carryOut(node: SimulatedNode, status: 'Success' | 'Failed' | 'TimedOut' = 'Success') {
  const job = await node.nextJob()
  node.acknowledge(job)
  const code = status === 'Success' ? 0 : 1
  await node.reply(job.JobId, status, { [STEP]: { status, code, stdout: 'out', stderr: '' } })
  return job
}

const sent = async (ssm: SSM, input: Parameters<SSM['sendCommand']>[0]) => {
  const { Command } = await ssm.sendCommand(input)
  return Command?.CommandId ?? ''
}

describe('SendCommand', () => {
  it('answers the members that AWS answers, pending and counted', async () => {
    const { ssm, ids } = await given(2, { connect: false })
    const { Command } = await ssm.sendCommand({ ...shell, InstanceIds: ids, Comment: 'hello', TimeoutSeconds: 600 })
    expect(Command).toMatchObject({
      Status: 'Pending',
      StatusDetails: 'Pending',
      DocumentName: 'AWS-RunShellScript',
      Comment: 'hello',
      InstanceIds: ids,
      Targets: [],
      MaxConcurrency: '50',
      MaxErrors: '0',
      TargetCount: 2,
      CompletedCount: 0,
      ErrorCount: 0,
      DeliveryTimedOutCount: 0,
      TimeoutSeconds: 600,
      OutputS3BucketName: '',
      OutputS3KeyPrefix: '',
      ServiceRole: '',
      NotificationConfig: { NotificationArn: '', NotificationEvents: [], NotificationType: '' },
      CloudWatchOutputConfig: { CloudWatchLogGroupName: '', CloudWatchOutputEnabled: false },
      OutputS3Region: 'us-east-1',
      AlarmConfiguration: { IgnorePollAlarmFailure: false, Alarms: [] },
      TriggeredAlarms: [],
    })
    const life = Command!.ExpiresAfter!.getTime() - Command!.RequestedDateTime!.getTime()
    expect(life).toBe((600 + 3_600) * 1000) // delivery and the document's default of an hour
  })

  it('runs the document whose hash the caller has seen, and no other', async () => {
    const { ssm, ids } = await given(1, { connect: false })
    const { Document } = await ssm.describeDocument({ Name: shell.DocumentName })
    const asked = { ...shell, InstanceIds: ids, DocumentHashType: 'Sha256' as const }
    const { Command } = await ssm.sendCommand({ ...asked, DocumentHash: Document?.Hash })
    expect(Command?.Status).toBe('Pending')
    const other = await refusal(ssm.sendCommand({ ...asked, DocumentHash: 'f'.repeat(64) }))
    expect(other).toEqual({ name: 'InvalidDocument', message: expect.stringContaining('does not match') })
    const old = await refusal(ssm.sendCommand({ ...asked, DocumentHash: 'f'.repeat(40), DocumentHashType: 'Sha1' }))
    expect(old).toEqual({ name: 'InvalidDocument', message: expect.stringContaining('deprecated') })
  })

  it('keeps the name of the document as it was given, short or an ARN, to be found by', async () => {
    const { ssm, ids } = await given(1, { connect: false })
    const DocumentName = 'arn:aws:ssm:us-east-1::document/AWS-RunShellScript'
    const { Command } = await ssm.sendCommand({ ...shell, DocumentName, InstanceIds: ids })
    expect(Command?.DocumentName).toBe(DocumentName)
    const Filters = [{ key: 'DocumentName' as const, value: DocumentName }]
    expect((await ssm.listCommands({ Filters })).Commands).toMatchObject([{ CommandId: Command?.CommandId }])
  })

  it('says which documents of Amazon cannot be carried out yet, and sends nothing', async () => {
    const { ssm, ids } = await given(1, { connect: false })
    for (const DocumentName of ['AWS-RefreshAssociation', 'AWS-UpdateSSMAgent'])
      expect(await refusal(ssm.sendCommand({ DocumentName, InstanceIds: ids }))).toEqual({
        name: 'InvalidDocument',
        message: expect.stringMatching(`^${DocumentName} cannot be carried out: `),
      })
    expect((await ssm.listCommands({})).Commands).toEqual([])
  })

  it('refuses ids that no node has, all of them in one text', async () => {
    const { account, ssm, ids } = await given(1, { connect: false })
    const unknown = ['mi-0123456789abcdef0', 'mi-0123456789abcdef1']
    const refused = await refusal(ssm.sendCommand({ ...shell, InstanceIds: [...ids, ...unknown] }))
    expect(refused).toEqual({
      name: 'InvalidInstanceId',
      message: `Instances [[${unknown.join(', ')}]] not in a valid state for account ${account.account}`,
    })
  })

  it("refuses another account's node", async () => {
    const { ids } = await given(1, { connect: false })
    const { ssm } = await given(0)
    expect((await refusal(ssm.sendCommand({ ...shell, InstanceIds: ids }))).name).toBe('InvalidInstanceId')
  })

  it('looks at the nodes before it looks at where the output goes', async () => {
    const { ssm } = await given(0)
    const InstanceIds = ['mi-0123456789abcdef0']
    const more = { OutputS3BucketName: '...', NotificationConfig: { NotificationArn: 'nowhere' } }
    expect((await refusal(ssm.sendCommand({ ...shell, InstanceIds, ...more }))).name).toBe('InvalidInstanceId')
  })

  it('refuses the same id twice', async () => {
    const { ssm, ids } = await given(1, { connect: false })
    const refused = await refusal(ssm.sendCommand({ ...shell, InstanceIds: [...ids, ...ids] }))
    expect(refused.name).toBe('DuplicateInstanceId')
  })

  it('wants either ids or targets', async () => {
    const { ssm, ids } = await given(1, { connect: false })
    const Targets = [{ Key: 'InstanceIds', Values: ids }]
    expect((await refusal(ssm.sendCommand(shell))).name).toBe('InvalidParameters')
    expect((await refusal(ssm.sendCommand({ ...shell, InstanceIds: ids, Targets }))).name).toBe('InvalidParameters')
  })

  it('refuses an id of a platform that the document does not serve', async () => {
    const account = await testbed.account()
    const windows = await simulatedNode(testbed, account, { platform: 'Windows' })
    const refused = await refusal(clientOf(testbed, account).sendCommand({ ...shell, InstanceIds: [windows.nodeId] }))
    expect(refused).toEqual({
      name: 'UnsupportedPlatformType',
      message: `Cannot perform operation for instance id ${windows.nodeId} of platform type Windows`,
    })
  })
})

describe('targets', () => {
  it('meet every criterion, and one of the values of each', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const tagged = (tags: Record<string, string>) => simulatedNode(testbed, account, { tags })
    const [both, other] = [await tagged({ Env: 'a', Role: 'web' }), await tagged({ Env: 'b', Role: 'web' })]
    await tagged({ Env: 'a' })
    await tagged({ Env: 'c', Role: 'web' })
    const CommandId = await sent(ssm, {
      ...shell,
      Targets: [
        { Key: 'tag:Env', Values: ['a', 'b'] },
        { Key: 'tag-key', Values: ['Role', 'Other'] },
      ],
    })
    const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId })
    expect(CommandInvocations?.map(({ InstanceId }) => InstanceId).sort()).toEqual([both.nodeId, other.nodeId].sort())
  })

  it('are read in any case of letters, up to the key of the tag', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const node = await simulatedNode(testbed, account, { tags: { Env: 'a' } })
    const count = async (Key: string, ...Values: string[]) =>
      (await ssm.sendCommand({ ...shell, Targets: [{ Key, Values }] })).Command?.TargetCount
    for (const key of ['InstanceIds', 'instanceids']) expect(await count(key, node.nodeId), key).toBe(1)
    for (const key of ['tag:Env', 'Tag:Env']) expect(await count(key, 'a'), key).toBe(1)
    for (const key of ['tag-key', 'Tag-Key']) expect(await count(key, 'Env'), key).toBe(1)
    expect(await count('tag:env', 'a')).toBe(0)
    expect(await count('tag:Env', 'A')).toBe(0)
  })

  it('that nobody meets end the command as NoInstancesInTag', async () => {
    const { ssm } = await given(0)
    const CommandId = await sent(ssm, { ...shell, Targets: [{ Key: 'tag:Env', Values: ['nowhere'] }] })
    expect(await ended(ssm, CommandId, 'NoInstancesInTag')).toMatchObject({ TargetCount: 0, Status: 'Failed' })
  })

  it('of a wrong platform have an invocation that ends as InvalidPlatform', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const node = await simulatedNode(testbed, account, { platform: 'Windows', tags: { Env: 'a' } })
    const CommandId = await sent(ssm, { ...shell, Targets: [{ Key: 'tag:Env', Values: ['a'] }] })
    expect(await stands(ssm, CommandId, node.nodeId, 'InvalidPlatform')).toMatchObject({ Status: 'Failed' })
    await ended(ssm, CommandId, 'Incomplete')
  })

  it('of a platform that no precondition of the document names end as InvalidPlatform too', async () => {
    const account = await testbed.account()
    const ssm = clientOf(testbed, account)
    const node = await simulatedNode(testbed, account, { tags: { Env: 'a' } }) // on Linux
    const precondition = { StringEquals: ['platformType', 'Windows'] }
    const step = { name: 'one', action: 'aws:runPowerShellScript', precondition, inputs: { runCommand: ['dir'] } }
    const Content = JSON.stringify({ schemaVersion: '2.2', mainSteps: [step] })
    await ssm.createDocument({ Name: 'windows-only', Content, DocumentType: 'Command' })
    const DocumentName = 'windows-only'
    const CommandId = await sent(ssm, { DocumentName, Targets: [{ Key: 'tag:Env', Values: ['a'] }] })
    await stands(ssm, CommandId, node.nodeId, 'InvalidPlatform')
    const refused = await refusal(ssm.sendCommand({ DocumentName, InstanceIds: [node.nodeId] }))
    expect(refused.name).toBe('UnsupportedPlatformType')
  })
})

describe('a command', () => {
  it('is delivered, in progress and successful, with the output of its step', async () => {
    const { ssm, nodes, ids } = await given(1)
    const [node, id] = [nodes[0]!, ids[0]!]
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    const job = await node.nextJob()
    expect(job.JobId).toBe(`aws.ssm.${CommandId}.${id}`)
    node.acknowledge(job)
    expect(await stands(ssm, CommandId, id, 'InProgress')).toMatchObject({
      CommandPlugins: [{ Name: STEP, Status: 'InProgress', ResponseCode: -1 }],
    })
    await node.reply(job.JobId, 'Success', { [STEP]: { stdout: 'hello', stderr: 'careful' } })
    await ended(ssm, CommandId, 'Success')
    expect(await ssm.getCommandInvocation({ CommandId, InstanceId: id })).toMatchObject({
      CommandId,
      InstanceId: id,
      PluginName: STEP,
      ResponseCode: 0,
      Status: 'Success',
      StatusDetails: 'Success',
      StandardOutputContent: 'hello',
      StandardErrorContent: 'careful',
      ExecutionElapsedTime: 'PT0S',
    })
  })

  it('keeps its end whatever comes later, twice, or in another order', async () => {
    const { ssm, nodes, ids } = await given(1)
    const node = nodes[0]!
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    const job = await node.nextJob()
    await node.reply(job.JobId, 'Failed', {}) // before its acknowledgement, and before the step's own report
    await node.reply(job.JobId, 'InProgress', { [STEP]: { status: 'Failed', code: 3, stdout: 'late' } })
    await node.reply(job.JobId, 'InProgress', {})
    await node.reply(job.JobId, 'Success', { [STEP]: { stdout: 'other' } })
    node.acknowledge(job)
    await ended(ssm, CommandId, 'Failed')
    expect(await invocation(ssm, CommandId)).toMatchObject({
      Status: 'Failed',
      CommandPlugins: [{ Status: 'Failed', ResponseCode: 3, Output: 'late' }],
    })
  })

  it('is sent again until its node acknowledges it, and again after "buffer full"', async () => {
    const { ssm, nodes, ids } = await given(1)
    const node = nodes[0]!
    await sent(ssm, { ...shell, InstanceIds: ids })
    const first = await node.nextJob()
    testbed.clock.advance(11_000)
    const second = await node.nextJob()
    expect(second.messageId).toBe(first.messageId)
    node.acknowledge(second, 'ProcessorBufferFull')
    testbed.clock.advance(11_000)
    const third = await node.nextJob()
    expect(third.JobId).toBe(first.JobId)
  })

  it('that the agent refuses fails with its reason', async () => {
    const { ssm, nodes, ids } = await given(1)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    nodes[0]!.acknowledge(await nodes[0]!.nextJob(), 'InvalidDocument')
    await ended(ssm, CommandId, 'Failed')
    const { StandardErrorContent } = await ssm.getCommandInvocation({ CommandId, InstanceId: ids[0]! })
    expect(StandardErrorContent).toBe('The agent refused the command: InvalidDocument (51406).')
  })

  it('is kept with a NUL and an unpaired surrogate in its output, and so are its neighbours', async () => {
    const { ssm, nodes, ids } = await given(2)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    const [one, other] = await Promise.all(nodes.map((node) => node.nextJob()))
    await Promise.all([
      nodes[0]!.reply(one!.JobId, 'Failed', { [STEP]: { status: 'Failed', stdout: 'a\0b\ud800' } }, { trace: 'x\0' }),
      nodes[1]!.reply(other!.JobId, 'Success', { [STEP]: { stdout: 'fine' } }),
    ])
    await ended(ssm, CommandId, 'Failed')
    const { StandardOutputContent } = await ssm.getCommandInvocation({ CommandId, InstanceId: ids[0]! })
    expect(StandardOutputContent).toBe('a\ufffdb\ufffd')
  })

  it('shows AWS\u2019s marks where its output is too long', async () => {
    const { ssm, nodes, ids } = await given(1)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    const job = await nodes[0]!.nextJob()
    const report = { stdout: 'o'.repeat(30_000), stderr: 'e'.repeat(20_000) }
    await nodes[0]!.reply(job.JobId, 'Success', { [STEP]: report }, { trace: 't'.repeat(3_000) })
    await ended(ssm, CommandId, 'Success')
    const { CommandPlugins, TraceOutput } = (await invocation(ssm, CommandId))!
    expect(CommandPlugins?.[0]?.Output?.length).toBeLessThanOrEqual(2_500)
    expect(CommandPlugins?.[0]?.Output).toMatch(/^o+\n---Output truncated---\n-+ERROR-+\ne+\n---Error truncated----$/)
    expect(TraceOutput).toMatch(/^t{2480}--output truncated--$/)
    const shown = await ssm.getCommandInvocation({ CommandId, InstanceId: ids[0]! })
    expect(shown.StandardOutputContent).toHaveLength(24_000)
    expect(shown.StandardOutputContent).toMatch(/o--output truncated--$/)
    expect(shown.StandardErrorContent).toHaveLength(8_000)
    expect(shown.StandardErrorContent).toMatch(/e--output truncated--$/)
  })

  it('may not be reported on by another node', async () => {
    const { ssm, nodes, ids } = await given(2)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: [ids[0]!] })
    const job = await nodes[0]!.nextJob()
    await refusedReply(nodes[1]!, job.JobId)
    expect(await invocation(ssm, CommandId)).toMatchObject({ Status: 'Pending' })
  })

  it('may not be acknowledged by another node, though it knows the id of the message', async () => {
    const { ssm, nodes, ids } = await given(2)
    const strangers = await given(1)
    await sent(ssm, { ...shell, InstanceIds: [ids[0]!] })
    const job = await nodes[0]!.nextJob()
    for (const thief of [nodes[1]!, ...strangers.nodes]) {
      const own = `aws.ssm.${crypto.randomUUID()}.${thief.nodeId}`
      thief.acknowledge({ ...job, JobId: own })
      await thief.reply(own, 'Success') // which was read behind the acknowledgement
    }
    testbed.clock.advance(15_000)
    expect((await nodes[0]!.nextJob()).messageId).toBe(job.messageId)
  })
})

/** Sends a reply that must not be acknowledged: a later one of the node's own is, which shows that it was read. */
async function refusedReply(node: SimulatedNode, jobId: string) {
  const lost = node.reply(jobId, 'Success').then(
    () => 'acknowledged',
    () => 'refused',
  )
  await node.reply(`aws.ssm.${crypto.randomUUID()}.${node.nodeId}`, 'Success')
  expect(await Promise.race([lost, Promise.resolve('silent')])).toBe('silent')
}

describe('rate control', () => {
  it('lets MaxConcurrency nodes at it at a time', async () => {
    const { ssm, nodes, ids } = await given(3)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids, MaxConcurrency: '1' })
    for (let done = 0; done < 3; done++) {
      const node = await eventually('one node has it', () => nodes.find((each) => each.waiting().length > 0))
      expect(nodes.filter((each) => each.waiting().length > 0)).toHaveLength(1)
      await carryOut(node)
    }
    expect(await ended(ssm, CommandId, 'Success')).toMatchObject({ CompletedCount: 3, ErrorCount: 0 })
  })

  it('takes a percentage, rounded up', async () => {
    const { ssm, nodes, ids } = await given(3)
    await sent(ssm, { ...shell, InstanceIds: ids, MaxConcurrency: '34%' })
    await eventually('two nodes have it', () => nodes.filter((each) => each.waiting().length > 0).length === 2)
  })

  it('stops after more errors than MaxErrors: the rest is Terminated', async () => {
    const { ssm, nodes, ids } = await given(4)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids, MaxConcurrency: '1', MaxErrors: '1' })
    for (let failures = 0; failures < 2; failures++) {
      const node = await eventually('one node has it', () => nodes.find((each) => each.waiting().length > 0))
      await carryOut(node, 'Failed')
    }
    expect(await ended(ssm, CommandId, 'Failed')).toMatchObject({ ErrorCount: 2, CompletedCount: 4 })
    const { CommandInvocations } = await ssm.listCommandInvocations({
      CommandId,
      Filters: [{ key: 'Status', value: 'Terminated' }],
    })
    expect(CommandInvocations).toHaveLength(2)
    expect(nodes.flatMap((node) => node.waiting())).toEqual([])
  })

  it('counts a percentage of MaxErrors from all targets, rounded down', async () => {
    const { ssm, nodes, ids } = await given(3)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids, MaxConcurrency: '1', MaxErrors: '34%' })
    const outcomes = ['Failed', 'Success', 'Success'] as const
    for (const outcome of outcomes) {
      const node = await eventually('one node has it', () => nodes.find((each) => each.waiting().length > 0))
      await carryOut(node, outcome)
    }
    expect(await ended(ssm, CommandId, 'Incomplete')).toMatchObject({ Status: 'Failed', ErrorCount: 1 })
  })

  it('never stops for errors with a MaxErrors of 100%', async () => {
    const { ssm, nodes, ids } = await given(2)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids, MaxConcurrency: '1%', MaxErrors: '100%' })
    for (let failures = 0; failures < 2; failures++) {
      const node = await eventually('one node has it', () => nodes.find((each) => each.waiting().length > 0))
      expect(nodes.filter((each) => each.waiting().length > 0)).toHaveLength(1) // 1% of two nodes is one node
      await carryOut(node, 'Failed')
    }
    expect(await ended(ssm, CommandId, 'Incomplete')).toMatchObject({ ErrorCount: 2, CompletedCount: 2 })
  })

  it('reports a command as TimedOut when all of its errors are', async () => {
    const { ssm, nodes, ids } = await given(1)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    await carryOut(nodes[0]!, 'TimedOut')
    expect(await ended(ssm, CommandId, 'ExecutionTimedOut')).toMatchObject({ Status: 'TimedOut', ErrorCount: 1 })
  })
})

describe('a node that is away', () => {
  it('gets its command when it comes back; until then it is Delayed', async () => {
    const { ssm, nodes, ids } = await given(1, { connect: false })
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    await testbed.server.work.settle() // it lies in the mailbox
    testbed.clock.advance(31_000)
    expect(await stands(ssm, CommandId, ids[0]!, 'Delayed')).toMatchObject({ Status: 'Delayed' })
    expect(await ended(ssm, CommandId, 'Delayed')).toMatchObject({ Status: 'InProgress' })
    await nodes[0]!.connect()
    await carryOut(nodes[0]!)
    await ended(ssm, CommandId, 'Success')
  })

  it('times out when it does not, and never gets the command afterwards', async () => {
    const { ssm, nodes, ids } = await given(1, { connect: false })
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids, TimeoutSeconds: 30 })
    testbed.clock.advance(31_000)
    expect(await ended(ssm, CommandId, 'DeliveryTimedOut')).toMatchObject({
      Status: 'TimedOut',
      ErrorCount: 0,
      DeliveryTimedOutCount: 1,
    })
    expect(await invocation(ssm, CommandId)).toMatchObject({ Status: 'TimedOut', StatusDetails: 'DeliveryTimedOut' })
    await nodes[0]!.connect()
    const CommandId2 = await sent(ssm, { ...shell, InstanceIds: ids })
    expect((await nodes[0]!.nextJob()).JobId).toContain(CommandId2)
  })

  it('is told to stop when it had the command but its acknowledgement came too late', async () => {
    const { ssm, nodes, ids } = await given(1)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids, TimeoutSeconds: 30 })
    const job = await nodes[0]!.nextJob()
    testbed.clock.advance(31_000)
    await ended(ssm, CommandId, 'DeliveryTimedOut')
    nodes[0]!.acknowledge(job)
    const stop = await eventually('a cancellation comes', () =>
      nodes[0]!.waiting().find(({ Topic }) => Topic === CANCEL_COMMAND_TOPIC),
    )
    expect(JSON.parse(stop.Content)).toEqual({ CancelMessageId: job.JobId })
  })

  it('is Undeliverable once it is deregistered', async () => {
    const { ssm, ids } = await given(1, { connect: false })
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    await ssm.deregisterManagedInstance({ InstanceId: ids[0] })
    expect(await stands(ssm, CommandId, ids[0]!, 'Undeliverable')).toMatchObject({ Status: 'Failed' })
    expect(await ended(ssm, CommandId, 'Failed')).toMatchObject({ ErrorCount: 0 })
  })

  it('times out at ExpiresAfter when it took the command and fell silent; what it says later is kept', async () => {
    const { account, ssm, nodes, ids } = await given(1)
    const node = nodes[0]!
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids, TimeoutSeconds: 30 })
    const job = await node.nextJob()
    node.acknowledge(job)
    await stands(ssm, CommandId, ids[0]!, 'InProgress')
    testbed.clock.advance(31_000) // delivered: the delivery's time-out does not matter
    expect(await invocation(ssm, CommandId)).toMatchObject({ Status: 'InProgress' })
    testbed.clock.advance(3_600_000)
    await ended(ssm, CommandId, 'DeliveryTimedOut')
    await node.renew()
    await node.connect()
    await node.reply(job.JobId, 'Success', { [STEP]: { stdout: 'too late' } })
    const later = await clientOf(testbed, account).getCommandInvocation({ CommandId, InstanceId: ids[0]! })
    expect(later).toMatchObject({ StatusDetails: 'DeliveryTimedOut', StandardOutputContent: 'too late' })
  })
})

describe('CancelCommand', () => {
  it('ends at once what has not reached its node', async () => {
    const { ssm, nodes, ids } = await given(1, { connect: false })
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    await ssm.cancelCommand({ CommandId })
    await ended(ssm, CommandId, 'Cancelled')
    await nodes[0]!.connect()
    const other = await sent(ssm, { ...shell, InstanceIds: ids })
    expect((await nodes[0]!.nextJob()).JobId).toContain(other)
  })

  it('tells a node that runs it, which then says how it ended', async () => {
    const { ssm, nodes, ids } = await given(1)
    const node = nodes[0]!
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    const job = await node.nextJob()
    node.acknowledge(job)
    await stands(ssm, CommandId, ids[0]!, 'InProgress')
    await ssm.cancelCommand({ CommandId })
    await ended(ssm, CommandId, 'Cancelling')
    const cancel = await node.nextJob()
    expect(cancel.Topic).toBe(CANCEL_COMMAND_TOPIC)
    expect(cancel.JobId).not.toBe(job.JobId)
    expect(JSON.parse(cancel.Content)).toEqual({ CancelMessageId: job.JobId })
    node.acknowledge(cancel)
    await node.reply(cancel.JobId, 'InProgress', {}, { topic: CANCEL_COMMAND_TOPIC })
    await node.reply(job.JobId, 'Cancelled', { [STEP]: { status: 'Cancelled', code: 137 } })
    await ended(ssm, CommandId, 'Cancelled')
    expect(await invocation(ssm, CommandId)).toMatchObject({
      StatusDetails: 'Cancelled',
      CommandPlugins: [{ StatusDetails: 'Cancelled', ResponseCode: 137 }],
    })
  })

  it('believes a node that took the cancellation of a queued command and stays silent', async () => {
    const { ssm, nodes, ids } = await given(1)
    const node = nodes[0]!
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    node.acknowledge(await node.nextJob())
    await stands(ssm, CommandId, ids[0]!, 'InProgress')
    await ssm.cancelCommand({ CommandId })
    node.acknowledge(await node.nextJob())
    await eventually('the cancellation is taken', async () => {
      testbed.clock.advance(10_000)
      const { Commands } = await ssm.listCommands({ CommandId })
      return Commands?.[0]?.StatusDetails === 'Cancelled'
    })
  })

  it('does not believe that of a node that is away: it may be running', async () => {
    const { ssm, nodes, ids } = await given(1)
    const node = nodes[0]!
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    const job = await node.nextJob()
    node.acknowledge(job)
    await stands(ssm, CommandId, ids[0]!, 'InProgress')
    await node.disconnect()
    await ssm.cancelCommand({ CommandId })
    testbed.clock.advance(120_000)
    expect(await stands(ssm, CommandId, ids[0]!, 'Cancelling')).toMatchObject({ Status: 'Cancelling' })
    await node.connect()
    await node.reply(job.JobId, 'Success', { [STEP]: {} }) // it had finished first: that stands
    await ended(ssm, CommandId, 'Success')
  })

  it('leaves the nodes that it does not name alone', async () => {
    const { ssm, nodes, ids } = await given(2)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    await ssm.cancelCommand({ CommandId, InstanceIds: [ids[1]!] })
    await carryOut(nodes[0]!)
    await stands(ssm, CommandId, ids[1]!, 'Cancelled')
    await ended(ssm, CommandId, 'Incomplete')
  })

  it('refuses what is not there, and finds nothing to do for what has ended', async () => {
    const { ssm, nodes, ids } = await given(1)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    await carryOut(nodes[0]!)
    await ended(ssm, CommandId, 'Success')
    await ssm.cancelCommand({ CommandId })
    expect(await invocation(ssm, CommandId)).toMatchObject({ Status: 'Success' })
    const unknown = { CommandId: crypto.randomUUID() }
    expect((await refusal(ssm.cancelCommand(unknown))).name).toBe('InvalidCommandId')
    const elsewhere = { CommandId, InstanceIds: ['mi-0123456789abcdef0'] }
    expect((await refusal(ssm.cancelCommand(elsewhere))).name).toBe('InvalidInstanceId')
    const twice = { CommandId, InstanceIds: [ids[0]!, ids[0]!] }
    expect((await refusal(ssm.cancelCommand(twice))).name).toBe('DuplicateInstanceId')
  })
})

describe('reading', () => {
  let account: TestAccount
  let ssm: SSM
  let commands: string[]
  let ids: string[]

  it('pages through commands, the newest first', async () => {
    const made = await given(2)
    account = made.account
    ssm = made.ssm
    ids = made.ids
    commands = []
    for (let count = 0; count < 5; count++) {
      testbed.clock.advance(1_000)
      commands.unshift(await sent(ssm, { ...shell, InstanceIds: ids }))
    }
    const seen: string[] = []
    let NextToken: string | undefined
    do {
      const page = await ssm.listCommands({ MaxResults: 2, NextToken })
      seen.push(...(page.Commands ?? []).map(({ CommandId }) => CommandId ?? ''))
      NextToken = page.NextToken
    } while (NextToken)
    expect(seen).toEqual(commands)
    expect((await refusal(ssm.listCommands({ NextToken: 'made-up' }))).name).toBe('InvalidNextToken')
  })

  it('pages through invocations', async () => {
    const seen = new Set<string>()
    let NextToken: string | undefined
    let rows = 0
    do {
      const page = await ssm.listCommandInvocations({ MaxResults: 3, NextToken })
      for (const each of page.CommandInvocations ?? []) seen.add(`${each.CommandId} ${each.InstanceId}`)
      rows += page.CommandInvocations?.length ?? 0
      NextToken = page.NextToken
    } while (NextToken)
    expect([rows, seen.size]).toEqual([10, 10])
  })

  it('filters by time, document, state and stage', async () => {
    const { Commands = [] } = await ssm.listCommands({ CommandId: commands[2]! })
    const moment = Commands[0]!.RequestedDateTime!.toISOString()
    const count = async (
      key: 'InvokedAfter' | 'InvokedBefore' | 'DocumentName' | 'Status' | 'ExecutionStage',
      value: string,
    ) => (await ssm.listCommands({ Filters: [{ key, value }] })).Commands?.length
    expect(await count('InvokedAfter', moment)).toBe(3)
    expect(await count('InvokedBefore', moment)).toBe(2)
    expect(await count('DocumentName', 'AWS-RunShellScript')).toBe(5)
    expect(await count('DocumentName', 'AWS-RunPowerShellScript')).toBe(0)
    expect(await count('ExecutionStage', 'Executing')).toBe(5)
    expect(await count('ExecutionStage', 'Complete')).toBe(0)
    expect(await count('Status', 'Success')).toBe(0)
    const stage = [{ key: 'ExecutionStage' as const, value: 'Complete' }]
    expect((await refusal(ssm.listCommandInvocations({ Filters: stage }))).name).toBe('InvalidFilterKey')
  })

  it('filters invocations by time, document, node and state, all of which must hold', async () => {
    const CommandId = commands[2]!
    const { Commands = [] } = await ssm.listCommands({ CommandId })
    const moment = Commands[0]!.RequestedDateTime!.toISOString()
    const count = async (
      Filters: { key: 'InvokedAfter' | 'InvokedBefore' | 'DocumentName' | 'Status'; value: string }[],
      rest: { CommandId?: string; InstanceId?: string } = {},
    ) => (await ssm.listCommandInvocations({ Filters, ...rest })).CommandInvocations?.length
    expect(await count([{ key: 'InvokedAfter', value: moment }])).toBe(6)
    expect(await count([{ key: 'InvokedBefore', value: moment }])).toBe(4)
    expect(await count([{ key: 'DocumentName', value: 'AWS-RunShellScript' }])).toBe(10)
    expect(await count([{ key: 'DocumentName', value: 'AWS-RunPowerShellScript' }])).toBe(0)
    expect(await count([{ key: 'Status', value: 'Success' }])).toBe(0)
    const between = [
      { key: 'InvokedAfter' as const, value: moment },
      { key: 'InvokedBefore' as const, value: new Date(Date.parse(moment) + 1).toISOString() },
    ]
    expect(await count(between)).toBe(2)
    expect(await count(between, { InstanceId: ids[0]! })).toBe(1)
    expect(await count(between, { CommandId: commands[0]! })).toBe(0)
    const of = { InstanceId: ids[0]!, Filters: [{ key: 'Status' as const, value: 'Pending' }] }
    expect((await refusal(ssm.listCommands(of))).name).toBe('InvalidFilterKey')
    expect((await ssm.listCommands({ InstanceId: ids[0]! })).Commands).toHaveLength(5)
  })

  it('takes moments of ISO 8601 in any zone, and refuses others', async () => {
    const { Commands = [] } = await ssm.listCommands({ CommandId: commands[2]! })
    const moment = Commands[0]!.RequestedDateTime!.toISOString()
    const since = (value: string) => ssm.listCommands({ Filters: [{ key: 'InvokedAfter', value }] })
    const inZone = (hours: number, zone: string) =>
      new Date(Date.parse(moment) + hours * 3_600_000).toISOString().replace('Z', zone)
    for (const value of [moment, inZone(0, ''), inZone(2, '+02:00'), inZone(-7, '-0700')])
      expect((await since(value)).Commands, value).toHaveLength(3)
    expect((await since('2020-02-01')).Commands).toHaveLength(5)
    for (const value of [
      'yesterday',
      'Nov 27 2026',
      '2026-13-01',
      '-000001-01-01T00:00:00Z',
      '+275760-09-13T00:00:00Z',
    ])
      expect((await refusal(since(value))).message, value).toContain('ISO 8601')
    const edge = await refusal(since('0001-01-01T00:00:00+14:00'))
    expect(edge.name).toBe('ValidationException')
  })

  it('holds commands to each of several filters of one key', async () => {
    const filters = (...pairs: [Key: 'InvokedAfter' | 'InvokedBefore' | 'Status' | 'DocumentName', string][]) =>
      pairs.map(([key, value]) => ({ key, value }))
    const { Commands = [] } = await ssm.listCommands({})
    const [newest, , third] = Commands.map(({ RequestedDateTime }) => RequestedDateTime!.toISOString())
    const after = filters(['InvokedAfter', newest!], ['InvokedAfter', third!])
    expect((await ssm.listCommands({ Filters: after })).Commands).toHaveLength(1)
    const before = filters(['InvokedBefore', third!], ['InvokedBefore', newest!])
    expect((await ssm.listCommands({ Filters: before })).Commands).toHaveLength(2)
    const names = filters(['DocumentName', 'AWS-RunPowerShellScript'], ['DocumentName', 'AWS-RunShellScript'])
    expect((await ssm.listCommands({ Filters: names })).Commands).toEqual([])
    const states = filters(['Status', 'Success'], ['Status', 'InProgress'])
    expect((await ssm.listCommandInvocations({ Filters: states })).CommandInvocations).toEqual([])
  })

  it('turns pages that nothing new moves', async () => {
    const first = await ssm.listCommands({ MaxResults: 2 })
    testbed.clock.advance(1_000)
    const newest = await sent(ssm, { ...shell, InstanceIds: ids })
    const second = await ssm.listCommands({ MaxResults: 50, NextToken: first.NextToken })
    const seen = [...(first.Commands ?? []), ...(second.Commands ?? [])].map(({ CommandId }) => CommandId)
    expect(seen).toEqual(commands)
    expect((await ssm.listCommands({ MaxResults: 1 })).Commands?.[0]?.CommandId).toBe(newest)
  })

  it('does not see what belongs to another account', async () => {
    const stranger = clientOf(testbed, await testbed.account())
    expect((await stranger.listCommands({})).Commands).toEqual([])
    expect((await refusal(stranger.listCommands({ CommandId: commands[0]! }))).name).toBe('InvalidCommandId')
    const asked = { CommandId: commands[0]!, InstanceId: ids[0]! }
    expect((await refusal(stranger.getCommandInvocation(asked))).name).toBe('InvocationDoesNotExist')
    expect(account.account).not.toBe('')
  })

  it('finds commands and invocations by their status, in either of its two forms, and by their stage', async () => {
    const { ssm: own, nodes, ids: targets } = await given(3)
    const one = { ...shell, TimeoutSeconds: 600 }
    const [failed, success, late] = [
      await sent(own, { ...one, InstanceIds: targets.slice(0, 2), MaxConcurrency: '1' }),
      await sent(own, { ...one, InstanceIds: [targets[2]!] }),
      await sent(own, { ...one, InstanceIds: [targets[2]!] }),
    ]
    const nobody = await sent(own, { ...one, Targets: [{ Key: 'tag:Env', Values: ['nowhere'] }] })
    const first = targets[0]! < targets[1]! ? nodes[0]! : nodes[1]!
    await carryOut(first, 'Failed')
    await ended(own, failed, 'Failed')
    const job = await nodes[2]!.nextJob()
    expect([success, late].some((id) => job.JobId.includes(id))).toBe(true)
    const [done, open] = job.JobId.includes(success) ? [success, late] : [late, success]
    nodes[2]!.acknowledge(job)
    await nodes[2]!.reply(job.JobId, 'Success', { [STEP]: {} })
    await ended(own, done, 'Success')
    await nodes[2]!.disconnect()
    const running = await own.listCommands({ Filters: [{ key: 'ExecutionStage', value: 'Executing' }] })
    expect(running.Commands?.map(({ CommandId }) => CommandId)).toEqual([open])
    testbed.clock.advance(601_000)
    await ended(own, open, 'DeliveryTimedOut')
    const found = async (value: string) =>
      (await own.listCommands({ Filters: [{ key: 'Status', value }] })).Commands?.map(({ CommandId }) => CommandId)
    expect(await found('Success')).toEqual([done])
    expect(await found('Failed')).toEqual(expect.arrayContaining([failed, nobody]))
    expect(await found('NoInstancesInTag')).toEqual([nobody])
    for (const value of ['TimedOut', 'DeliveryTimedOut']) expect(await found(value), value).toEqual([open])
    expect(await found('Pending')).toEqual([])
    const complete = await own.listCommands({ Filters: [{ key: 'ExecutionStage', value: 'Complete' }] })
    expect(complete.Commands).toHaveLength(4)
    const invoked = async (value: string) =>
      (await own.listCommandInvocations({ Filters: [{ key: 'Status', value }] })).CommandInvocations?.map(
        ({ CommandId, StatusDetails }) => [CommandId, StatusDetails],
      )
    expect(await invoked('Failed')).toEqual(
      expect.arrayContaining([
        [failed, 'Failed'],
        [failed, 'Terminated'],
      ]),
    )
    expect(await invoked('Terminated')).toEqual([[failed, 'Terminated']])
    for (const value of ['TimedOut', 'DeliveryTimedOut'])
      expect(await invoked(value), value).toEqual([[open, 'DeliveryTimedOut']])
  })

  it('knows which plugins there are', async () => {
    const asked = { CommandId: commands[0]!, InstanceId: ids[0]! }
    expect(await ssm.getCommandInvocation(asked)).toMatchObject({
      ResponseCode: -1,
      ExecutionStartDateTime: '',
      StandardOutputContent: '',
    })
    const refused = await refusal(ssm.getCommandInvocation({ ...asked, PluginName: 'elsewhere' }))
    expect(refused.name).toBe('InvalidPluginName')
  })
})

describe('a document of several steps', () => {
  it('is shown step by step, from what was reported of each', async () => {
    const { ssm, nodes, ids } = await given(1)
    const step = (name: string) => ({ action: 'aws:runShellScript', name, inputs: { runCommand: ['true'] } })
    const Content = JSON.stringify({ schemaVersion: '2.2', mainSteps: [step('first'), step('second')] })
    const Name = 'TwoSteps'
    await ssm.createDocument({ Name, Content, DocumentType: 'Command', DocumentFormat: 'JSON' })
    const CommandId = await sent(ssm, { DocumentName: Name, InstanceIds: ids })
    const states = async () => (await invocation(ssm, CommandId))?.CommandPlugins?.map(({ Status }) => Status)
    expect(await states()).toEqual(['Pending', 'Pending'])
    const job = await nodes[0]!.nextJob()
    nodes[0]!.acknowledge(job)
    await stands(ssm, CommandId, ids[0]!, 'InProgress')
    expect(await states()).toEqual(['InProgress', 'Pending'])
    const waiting = { CommandId, InstanceId: ids[0]!, PluginName: 'second' }
    expect(await ssm.getCommandInvocation(waiting)).toMatchObject({ Status: 'Pending', ResponseCode: -1 })
    await nodes[0]!.reply(job.JobId, 'InProgress', { first: { status: 'SuccessAndReboot', code: 194 } })
    expect(await states()).toEqual(['InProgress', 'Pending']) // the first again after the restart
    await nodes[0]!.reply(job.JobId, 'InProgress', { first: { stdout: 'one' } })
    expect(await states()).toEqual(['Success', 'InProgress'])
    await nodes[0]!.reply(job.JobId, 'Failed', {}) // the final reply of several steps names none
    await nodes[0]!.reply(job.JobId, 'InProgress', { second: { status: 'Failed', code: 2, stdout: 'two' } })
    await ended(ssm, CommandId, 'Failed')
    const asked = { CommandId, InstanceId: ids[0]! }
    expect(await ssm.getCommandInvocation({ ...asked, PluginName: 'first' })).toMatchObject({
      Status: 'Success',
      StandardOutputContent: 'one',
    })
    expect(await ssm.getCommandInvocation({ ...asked, PluginName: 'second' })).toMatchObject({
      Status: 'Failed',
      ResponseCode: 2,
    })
    expect((await refusal(ssm.getCommandInvocation(asked))).name).toBe('InvalidPluginName')
    expect((await invocation(ssm, CommandId))?.CommandPlugins?.map(({ Name: name }) => name)).toEqual([
      'first',
      'second',
    ])
  })

  it('is not over when a step asks for a restart of the machine', async () => {
    const { ssm, nodes, ids } = await given(1)
    const CommandId = await sent(ssm, { ...shell, InstanceIds: ids })
    const job = await nodes[0]!.nextJob()
    await nodes[0]!.reply(job.JobId, 'SuccessAndReboot', { [STEP]: { status: 'SuccessAndReboot', code: 194 } })
    expect(await stands(ssm, CommandId, ids[0]!, 'InProgress')).toMatchObject({ Status: 'InProgress' })
    await nodes[0]!.reply(job.JobId, 'Success', { [STEP]: { stdout: 'again' } })
    await ended(ssm, CommandId, 'Success')
    expect((await invocation(ssm, CommandId))?.CommandPlugins?.[0]).toMatchObject({ ResponseCode: 0, Output: 'again' })
  })
})

describe('a step that no agent said the end of', () => {
  /** A machine that restarts in the middle of its first step, as far as is known. */
  async function restarting() {
    const { ssm, nodes, ids } = await given(1)
    const step = (name: string) => ({ action: 'aws:runShellScript', name, inputs: { runCommand: ['true'] } })
    const Content = JSON.stringify({ schemaVersion: '2.2', mainSteps: [step('first'), step('second')] })
    await ssm.createDocument({ Name: 'Restarting', Content, DocumentType: 'Command', DocumentFormat: 'JSON' })
    const CommandId = await sent(ssm, { DocumentName: 'Restarting', InstanceIds: ids })
    const job = await nodes[0]!.nextJob()
    nodes[0]!.acknowledge(job)
    await nodes[0]!.reply(job.JobId, 'InProgress', {
      first: { status: 'SuccessAndReboot', code: 194, stdout: 'before the restart' },
      second: { status: 'NotStarted' },
    })
    const one = (PluginName: string) => ssm.getCommandInvocation({ CommandId, InstanceId: ids[0]!, PluginName })
    return { ssm, CommandId, one }
  }

  it('shows no content before it has ended, and one that has not begun is pending', async () => {
    const { ssm, CommandId, one } = await restarting()
    expect(await one('first')).toMatchObject({ Status: 'InProgress', StandardOutputContent: '' })
    expect(await one('second')).toMatchObject({ Status: 'Pending', ResponseCode: -1, StandardOutputContent: '' })
    const { CommandPlugins } = (await invocation(ssm, CommandId))!
    expect(CommandPlugins?.map(({ Status }) => Status)).toEqual(['InProgress', 'Pending'])
  })

  it('ends with its invocation, so that whoever waits for it does not wait for ever', async () => {
    const { ssm, CommandId, one } = await restarting()
    testbed.clock.advance(4 * 3_600_000)
    await ended(ssm, CommandId, 'DeliveryTimedOut')
    const end = { Status: 'TimedOut', StatusDetails: 'DeliveryTimedOut' }
    expect((await invocation(ssm, CommandId))?.CommandPlugins).toMatchObject([end, end])
    expect(await one('first')).toMatchObject({ ...end, StandardOutputContent: 'before the restart' })
    expect(await one('second')).toMatchObject(end)
  })
})

describe('ended commands', () => {
  it('are forgotten after the days that the installation keeps them', async () => {
    await using short = await startTestbed({ options: { settings: { commandRetentionDays: 2 } } })
    const account = await short.account()
    const ssm = clientOf(short, account)
    const CommandId = await sent(ssm, { ...shell, Targets: [{ Key: 'tag:Env', Values: ['nowhere'] }] })
    await ended(ssm, CommandId, 'NoInstancesInTag')
    short.clock.advance(1.9 * 86_400_000)
    await short.server.work.settle()
    expect((await ssm.listCommands({ CommandId })).Commands).toHaveLength(1)
    short.clock.advance(0.2 * 86_400_000)
    await short.server.work.settle()
    expect((await refusal(ssm.listCommands({ CommandId }))).name).toBe('InvalidCommandId')
  })
})
