import * as iam from '@aws-sdk/client-iam'
import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const allow = (Action: string | string[], Resource: string | string[], Condition?: object) => ({
  Effect: 'Allow',
  Action,
  Resource,
  Condition,
})
const ANY_NODE = ['arn:aws:ec2:*:*:instance/*', 'arn:aws:ssm:*:*:managed-instance/*']
const SHELL = 'arn:aws:ssm:*:*:document/AWS-RunShellScript'
const shell = { DocumentName: 'AWS-RunShellScript', Parameters: { commands: ['true'] } }

/** A client of a user who may do what these statements say. */
async function userOf(account: TestAccount, ...Statement: object[]): Promise<SSM> {
  const admin = new iam.IAM(account.config)
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  await admin.createUser({ UserName: 'u' })
  await admin.putUserPolicy({ UserName: 'u', PolicyName: 'own', PolicyDocument })
  const { AccessKey } = await admin.createAccessKey({ UserName: 'u' })
  const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
  return new SSM({ ...account.config, credentials })
}

/** Two nodes of the team harbour and one of the team engine. */
async function given() {
  const account = await testbed.account()
  const node = (team: string) => simulatedNode(testbed, account, { tags: { team, fleet: 'all' } })
  const nodes = await Promise.all([node('harbour'), node('harbour'), node('engine')])
  const [one, two, engine] = nodes.map(({ nodeId }) => nodeId) as [string, string, string]
  return { account, ours: [one, two], theirs: engine }
}

const onOurs = [
  { StringEquals: { 'ssm:resourceTag/team': 'harbour' } },
  { StringEquals: { 'aws:ResourceTag/team': 'harbour' } },
]

describe('SendCommand by a user', () => {
  it('wants the document and every node that is named', async () => {
    const { account, ours, theirs } = await given()
    const node = (id: string) => `arn:aws:ssm:us-east-1:${account.account}:managed-instance/${id}`
    const user = await userOf(account, allow('ssm:SendCommand', [SHELL, ...ours.map(node)]))
    const { Command } = await user.sendCommand({ ...shell, InstanceIds: ours })
    expect(Command?.TargetCount).toBe(2)
    expect(await refusal(user.sendCommand({ ...shell, InstanceIds: [...ours, theirs] }))).toEqual({
      name: 'AccessDeniedException',
      message: expect.stringContaining(`ssm:SendCommand on resource: ${node(theirs)} because`),
    })
    const other = { ...shell, DocumentName: 'AWS-RunPowerShellScript', InstanceIds: ours }
    expect(await refusal(user.sendCommand(other))).toEqual({
      name: 'AccessDeniedException',
      message: expect.stringContaining('ssm:SendCommand on resource: arn:aws:ssm:us-east-1::document/AWS-RunPower'),
    })
    const { Commands } = await new SSM(account.config).listCommands({})
    expect(Commands).toHaveLength(1)
  })

  it.each(onOurs)('reads the tags of the nodes that are named: %j', async (condition) => {
    const { account, ours, theirs } = await given()
    const user = await userOf(account, allow('ssm:SendCommand', SHELL), allow('ssm:SendCommand', ANY_NODE, condition))
    await user.sendCommand({ ...shell, InstanceIds: ours })
    expect((await refusal(user.sendCommand({ ...shell, InstanceIds: [theirs] }))).name).toBe('AccessDeniedException')
  })

  it('ends the nodes that targets find as AccessDenied where the user may not command them', async () => {
    const { account, ours, theirs } = await given()
    const user = await userOf(
      account,
      allow('ssm:SendCommand', SHELL),
      allow('ssm:SendCommand', ANY_NODE, onOurs[0]),
      allow('ssm:List*', '*'),
    )
    const { Command } = await user.sendCommand({ ...shell, Targets: [{ Key: 'tag:fleet', Values: ['all'] }] })
    const { CommandInvocations } = await user.listCommandInvocations({ CommandId: Command!.CommandId })
    const details = new Map(CommandInvocations?.map(({ InstanceId, StatusDetails }) => [InstanceId, StatusDetails]))
    expect(details.get(theirs)).toBe('AccessDenied')
    for (const nodeId of ours) expect(details.get(nodeId)).not.toBe('AccessDenied')
    expect(Command?.TargetCount).toBe(3)

    const { Command: none } = await user.sendCommand({ ...shell, Targets: [{ Key: 'tag:team', Values: ['engine'] }] })
    const CommandId = none!.CommandId
    await testbed.server.work.settle()
    const { Commands } = await user.listCommands({ CommandId })
    expect(Commands).toMatchObject([
      { Status: 'Failed', StatusDetails: 'AccessDenied', CompletedCount: 1, ErrorCount: 0 },
    ])
    const { CommandInvocations: found } = await user.listCommandInvocations({
      Filters: [{ key: 'Status', value: 'AccessDenied' }],
    })
    expect(found).toHaveLength(2)
  })

  it('asks for the tags of the document that is run', async () => {
    const { account, ours } = await given()
    const Content = JSON.stringify({
      schemaVersion: '2.2',
      description: 'x',
      mainSteps: [{ action: 'aws:runShellScript', name: 'x', inputs: { runCommand: ['true'] } }],
    })
    const admin = new SSM(account.config)
    for (const team of ['harbour', 'engine'])
      await admin.createDocument({ Name: team, Content, DocumentType: 'Command', Tags: [{ Key: 'team', Value: team }] })
    const user = await userOf(
      account,
      allow('ssm:SendCommand', 'arn:aws:ssm:*:*:document/*', onOurs[0]),
      allow('ssm:SendCommand', ANY_NODE),
    )
    await user.sendCommand({ DocumentName: 'harbour', InstanceIds: ours })
    const refused = await refusal(user.sendCommand({ DocumentName: 'engine', InstanceIds: ours }))
    expect(refused.name).toBe('AccessDeniedException')
  })
})

describe('StartSession by a user', () => {
  const onNodes = (condition?: object) => allow('ssm:StartSession', ANY_NODE, condition)
  const starts = async (session: Promise<unknown>) => (await refusal(session)).name !== 'AccessDeniedException'

  it('reads the tags of the node', async () => {
    const { account, ours, theirs } = await given()
    const user = await userOf(account, onNodes(onOurs[0]))
    // The node has no channel: what is past the permission ends there.
    expect((await refusal(user.startSession({ Target: ours[0]! }))).name).toBe('TargetNotConnected')
    expect(await starts(user.startSession({ Target: theirs }))).toBe(false)
  })

  it('wants a document that it names, and the default one only where the policy has it checked', async () => {
    const { account, ours } = await given()
    const Target = ours[0]!
    const own = 'arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell'
    const check = { BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' } }
    const command = { Target, DocumentName: 'AWS-StartInteractiveCommand', Parameters: { command: ['true'] } }

    const unchecked = await userOf(account, onNodes())
    expect(await starts(unchecked.startSession({ Target }))).toBe(true)
    expect(await starts(unchecked.startSession(command))).toBe(false)

    const { account: second, ours: nodes } = await given()
    const checked = await userOf(second, onNodes(check))
    expect(await starts(checked.startSession({ Target: nodes[0]! }))).toBe(false)

    const { account: third, ours: last } = await given()
    const both = await userOf(third, allow('ssm:StartSession', [...ANY_NODE, own], check))
    expect(await starts(both.startSession({ Target: last[0]! }))).toBe(true)
    expect(await starts(both.startSession({ ...command, Target: last[0]! }))).toBe(false)
  })
})
