import { eventually, startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { clientOf, replyPayload, type SimulatedNode, simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const PREFIX = 'EC2WindowsMessageDeliveryService'
const STEP = 'aws:runShellScript'
const call = (node: SimulatedNode, operation: string, input: object) =>
  node.call(`${PREFIX}.${operation}`, input, 'ec2messages')

interface Message {
  MessageId: string
  Topic: string
  Payload: string
  CreatedDate: string
  Destination: string
}

const poll = async (node: SimulatedNode, Destination = node.nodeId): Promise<Message[]> => {
  const input = { Destination, MessagesRequestId: crypto.randomUUID(), VisibilityTimeoutInSeconds: 10 }
  return ((await call(node, 'GetMessages', input)).Messages ?? []) as Message[]
}

async function given() {
  const account = await testbed.account()
  const [node, ssm] = [await simulatedNode(testbed, account), clientOf(testbed, account)]
  const send = async () => {
    const input = { DocumentName: 'AWS-RunShellScript', InstanceIds: [node.nodeId], Parameters: { commands: ['true'] } }
    return (await ssm.sendCommand(input)).Command?.CommandId ?? ''
  }
  const stands = (CommandId: string, wanted: string) =>
    eventually(`the invocation is ${wanted}`, async () => {
      const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId })
      return CommandInvocations?.[0]?.StatusDetails === wanted
    })
  return { account, node, ssm, send, stands }
}

/** Answers a poll that waits, once it does. */
async function passTime(waiting: Promise<Message[]>): Promise<Message[]> {
  let done = false
  const settled = waiting.finally(() => {
    done = true
  })
  await eventually('the poll is answered', () => {
    if (!done) testbed.clock.advance(1_000)
    return done
  })
  return settled
}

describe('a node that polls', () => {
  it('gets a command, acknowledges it and replies', async () => {
    const { node, ssm, send, stands } = await given()
    const waiting = poll(node) // it waits already when the command is sent
    const CommandId = await send()
    const [message] = await waiting
    expect(message).toMatchObject({
      MessageId: `aws.ssm.${CommandId}.${node.nodeId}`,
      Topic: 'aws.ssm.sendCommand',
      Destination: node.nodeId,
      CreatedDate: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    })
    expect(JSON.parse(message!.Payload)).toMatchObject({ CommandId, CloudWatchOutputEnabled: 'false' })
    const MessageId = message!.MessageId
    const reply = (status: 'InProgress' | 'Success', steps = {}) =>
      call(node, 'SendReply', {
        MessageId,
        ReplyId: crypto.randomUUID(),
        Payload: replyPayload(testbed, status, steps),
      })
    await reply('InProgress')
    await call(node, 'AcknowledgeMessage', { MessageId })
    await stands(CommandId, 'InProgress')
    await reply('Success', { [STEP]: { stdout: 'polled' } })
    await stands(CommandId, 'Success')
    await reply('InProgress') // what a duplicate delivery causes
    const found = await ssm.getCommandInvocation({ CommandId, InstanceId: node.nodeId })
    expect(found).toMatchObject({ Status: 'Success', StandardOutputContent: 'polled' })
  })

  it('is answered with nothing after 15 seconds', async () => {
    const { node } = await given()
    const before = testbed.clock.now().getTime()
    expect(await passTime(poll(node))).toEqual([])
    expect(testbed.clock.now().getTime() - before).toBeGreaterThanOrEqual(15_000)
  })

  it('gets a message again, ten seconds later, when it does not acknowledge it', async () => {
    const { node, send } = await given()
    await send()
    const [first] = await poll(node)
    const [again] = await passTime(poll(node))
    expect(again?.MessageId).toBe(first?.MessageId)
    await call(node, 'AcknowledgeMessage', { MessageId: first!.MessageId })
    expect(await passTime(poll(node))).toEqual([])
  })

  it('fails what it has no handler for', async () => {
    const { node, send, stands } = await given()
    const CommandId = await send()
    const [message] = await poll(node)
    await call(node, 'FailMessage', { MessageId: message!.MessageId, FailureType: 'NoHandlerExists' })
    await stands(CommandId, 'Failed')
  })

  it('is told to cancel', async () => {
    const { node, ssm, send, stands } = await given()
    const CommandId = await send()
    const [message] = await poll(node)
    await call(node, 'AcknowledgeMessage', { MessageId: message!.MessageId })
    await stands(CommandId, 'InProgress')
    await ssm.cancelCommand({ CommandId })
    const [cancel] = await poll(node)
    expect(cancel?.Topic).toBe('aws.ssm.cancelCommand')
    expect(JSON.parse(cancel!.Payload)).toEqual({ CancelMessageId: message!.MessageId })
  })

  it('gets nothing this way while it holds a channel', async () => {
    const { node, send } = await given()
    await node.connect()
    await send()
    const job = await node.nextJob()
    expect(await passTime(poll(node))).toEqual([])
    expect(job.JobId).toContain(node.nodeId)
  })

  it('has no part in the messages of another node', async () => {
    const { account, node, send } = await given()
    const other = await simulatedNode(testbed, account)
    const CommandId = await send()
    await expect(poll(other, node.nodeId)).rejects.toThrow('AccessDeniedException')
    const MessageId = `aws.ssm.${CommandId}.${node.nodeId}`
    await expect(call(other, 'AcknowledgeMessage', { MessageId })).rejects.toThrow('InvalidMessageIdException')
    const reply = { MessageId, ReplyId: crypto.randomUUID(), Payload: replyPayload(testbed, 'Success', {}) }
    await expect(call(other, 'SendReply', reply)).rejects.toThrow('InvalidMessageIdException')
    await expect(call(node, 'SendReply', { ...reply, Payload: 'no JSON' })).rejects.toThrow('UnsupportedMessage')
  })

  it('has no associations, and no packages with manifests', async () => {
    const { node } = await given()
    const associations = await node.call('AmazonSSM.ListInstanceAssociations', { InstanceId: node.nodeId })
    expect(associations).toEqual({ Associations: [] })
    const manifest = node.call('AmazonSSM.GetManifest', { PackageName: 'tool', PackageVersion: 'latest' })
    await expect(manifest).rejects.toThrow('ResourceNotFoundException')
  })
})
