/**
 * Account and region are part of every key: two accounts and two regions with the same names of everything, and neither
 * sees, changes or pages into the other's.
 */
import {
  AddTagsToResourceCommand,
  CancelCommandCommand,
  CreateActivationCommand,
  CreateDocumentCommand,
  DeleteActivationCommand,
  DeleteDocumentCommand,
  DeleteParameterCommand,
  DeregisterManagedInstanceCommand,
  DescribeActivationsCommand,
  DescribeInstanceInformationCommand,
  DescribeParametersCommand,
  GetCommandInvocationCommand,
  GetConnectionStatusCommand,
  GetDocumentCommand,
  GetParameterCommand,
  GetParameterHistoryCommand,
  GetParametersByPathCommand,
  GetParametersCommand,
  GetServiceSettingCommand,
  LabelParameterVersionCommand,
  ListCommandInvocationsCommand,
  ListCommandsCommand,
  ListDocumentsCommand,
  ListDocumentVersionsCommand,
  ListTagsForResourceCommand,
  PutParameterCommand,
  RemoveTagsFromResourceCommand,
  ResetServiceSettingCommand,
  SendCommandCommand,
  type SSMClient,
  StartSessionCommand,
  UpdateDocumentCommand,
  UpdateManagedInstanceRoleCommand,
  UpdateServiceSettingCommand,
} from '@aws-sdk/client-ssm'
import { startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { enrol, send, signed } from './signed-request.ts'

const SETTING = '/ssm/parameter-store/high-throughput-enabled'
const content = (text: string) =>
  JSON.stringify({
    schemaVersion: '2.2',
    description: text,
    mainSteps: [{ action: 'aws:runShellScript', name: 'say', inputs: { runCommand: [`echo ${text}`] } }],
  })

let testbed: Testbed
let one: TestAccount
let other: TestAccount
beforeAll(async () => {
  testbed = await startTestbed()
  one = await testbed.account()
  other = await testbed.account()
})
afterAll(() => testbed[Symbol.asyncDispose]())

/** Where things are the same and must not meet: another account, and another region of the same account. */
const places: [where: string, of: () => { mine: SSMClient; theirs: SSMClient }][] = [
  ['another account', () => ({ mine: one.ssm, theirs: other.ssm })],
  [
    'another region',
    () => ({ mine: one.client({ region: 'eu-central-1' }), theirs: one.client({ region: 'ap-south-1' }) }),
  ],
]

describe.each(places)('%s', (_where, of) => {
  it('has parameters of its own under the same names: values, versions, labels, history, lists', async () => {
    const { mine, theirs } = of()
    for (const [ssm, Value] of [
      [mine, 'mine'],
      [theirs, 'theirs'],
    ] as const) {
      await ssm.send(new PutParameterCommand({ Name: '/same/name', Value, Type: 'SecureString' }))
      await ssm.send(new PutParameterCommand({ Name: '/same/only', Value, Type: 'String' }))
    }
    await theirs.send(
      new PutParameterCommand({ Name: '/same/name', Value: 'theirs 2', Type: 'SecureString', Overwrite: true }),
    )
    await theirs.send(new LabelParameterVersionCommand({ Name: '/same/name', Labels: ['live'] }))
    const WithDecryption = true
    const got = await mine.send(new GetParameterCommand({ Name: '/same/name', WithDecryption }))
    expect(got.Parameter).toMatchObject({ Value: 'mine', Version: 1 })
    expect((await refusal(mine.send(new GetParameterCommand({ Name: '/same/name:2' })))).name).toBe(
      'ParameterVersionNotFound',
    )
    expect((await refusal(mine.send(new GetParameterCommand({ Name: '/same/name:live' })))).name).toBe(
      'ParameterVersionNotFound',
    )
    const history = await mine.send(new GetParameterHistoryCommand({ Name: '/same/name', WithDecryption }))
    expect(history.Parameters?.map(({ Value }) => Value)).toEqual(['mine'])
    const byPath = await mine.send(new GetParametersByPathCommand({ Path: '/same', WithDecryption }))
    expect(byPath.Parameters?.map(({ Value }) => Value)).toEqual(['mine', 'mine'])
    await theirs.send(new DeleteParameterCommand({ Name: '/same/only' }))
    const both = await mine.send(new GetParametersCommand({ Names: ['/same/name', '/same/only'] }))
    expect(both.InvalidParameters).toEqual([])
    expect((await theirs.send(new DescribeParametersCommand({}))).Parameters).toHaveLength(1)
    const foreign = await theirs.send(new GetParametersByPathCommand({ Path: '/same' }))
    const arn = foreign.Parameters?.[0]?.ARN ?? ''
    const byArn = await mine.send(new GetParameterCommand({ Name: arn, WithDecryption })).catch((error: Error) => error)
    expect(byArn instanceof Error ? byArn.name : byArn.Parameter?.Value).not.toMatch(/^theirs/)
  })

  it('has tags and settings of its own', async () => {
    const { mine, theirs } = of()
    const resource = { ResourceType: 'Parameter', ResourceId: 'tagged' } as const
    for (const ssm of [mine, theirs])
      await ssm.send(new PutParameterCommand({ Name: 'tagged', Value: 'v', Type: 'String' }))
    await mine.send(new AddTagsToResourceCommand({ ...resource, Tags: [{ Key: 'whose', Value: 'mine' }] }))
    await theirs.send(new RemoveTagsFromResourceCommand({ ...resource, TagKeys: ['whose'] }))
    expect((await theirs.send(new ListTagsForResourceCommand(resource))).TagList).toEqual([])
    expect((await mine.send(new ListTagsForResourceCommand(resource))).TagList).toEqual([
      { Key: 'whose', Value: 'mine' },
    ])
    const Filters = [{ Key: 'tag:whose', Values: ['mine'] }]
    expect((await theirs.send(new DescribeParametersCommand({ ParameterFilters: Filters }))).Parameters).toEqual([])
    await mine.send(new UpdateServiceSettingCommand({ SettingId: SETTING, SettingValue: 'true' }))
    await theirs.send(new ResetServiceSettingCommand({ SettingId: SETTING }))
    const value = async (ssm: SSMClient) =>
      (await ssm.send(new GetServiceSettingCommand({ SettingId: SETTING }))).ServiceSetting?.SettingValue
    expect([await value(mine), await value(theirs)]).toEqual(['true', 'false'])
  })

  it('has documents of its own under the same names', async () => {
    const { mine, theirs } = of()
    const Name = 'same-document'
    for (const [ssm, text] of [
      [mine, 'mine'],
      [theirs, 'theirs'],
    ] as const)
      await ssm.send(new CreateDocumentCommand({ Name, DocumentType: 'Command', Content: content(text) }))
    await theirs.send(new UpdateDocumentCommand({ Name, Content: content('theirs 2'), DocumentVersion: '$LATEST' }))
    const own = await mine.send(new GetDocumentCommand({ Name, DocumentVersion: '$LATEST' }))
    expect(own.Content).toContain('"mine"')
    expect((await mine.send(new ListDocumentVersionsCommand({ Name }))).DocumentVersions).toHaveLength(1)
    await theirs.send(new DeleteDocumentCommand({ Name }))
    const Filters = [{ Key: 'Owner', Values: ['Self'] }]
    expect((await mine.send(new ListDocumentsCommand({ Filters }))).DocumentIdentifiers).toHaveLength(1)
    expect((await theirs.send(new ListDocumentsCommand({ Filters }))).DocumentIdentifiers).toEqual([])
  })

  it('has activations of its own', async () => {
    const { mine, theirs } = of()
    const { ActivationId } = await mine.send(new CreateActivationCommand({ IamRole: 'node' }))
    expect((await theirs.send(new DescribeActivationsCommand({}))).ActivationList).toEqual([])
    const byId = [{ FilterKey: 'ActivationIds' as const, FilterValues: [ActivationId!] }]
    expect((await theirs.send(new DescribeActivationsCommand({ Filters: byId }))).ActivationList).toEqual([])
    expect((await refusal(theirs.send(new DeleteActivationCommand({ ActivationId })))).name).toBe('InvalidActivation')
    expect((await mine.send(new DescribeActivationsCommand({}))).ActivationList).toHaveLength(1)
  })

  it('does not take the pages of a list on', async () => {
    const { mine, theirs } = of()
    for (const ssm of [mine, theirs])
      for (const Name of ['page-a', 'page-b', 'page-c'])
        await ssm.send(new PutParameterCommand({ Name, Value: 'v', Type: 'String' }))
    for (let count = 0; count < 2; count++)
      for (const ssm of [mine, theirs]) await ssm.send(new CreateActivationCommand({ IamRole: 'node' }))
    const lists: ((ssm: SSMClient, NextToken?: string) => Promise<{ NextToken?: string | undefined }>)[] = [
      (ssm, NextToken) => ssm.send(new DescribeParametersCommand({ MaxResults: 1, NextToken })),
      (ssm, NextToken) => ssm.send(new GetParametersByPathCommand({ Path: '/', MaxResults: 1, NextToken })),
      (ssm, NextToken) => ssm.send(new DescribeActivationsCommand({ MaxResults: 1, NextToken })),
      (ssm, NextToken) => ssm.send(new ListDocumentsCommand({ MaxResults: 1, NextToken })),
    ]
    for (const list of lists) {
      const { NextToken } = await list(mine)
      expect(NextToken).toBeDefined()
      expect((await refusal(list(theirs, NextToken))).name).toBe('InvalidNextToken')
      await list(mine, NextToken)
    }
  })
})

describe('a node and its commands', () => {
  it('belong to one account and one region', async () => {
    const node = await enrol(testbed, one)
    const InstanceIds = [node.nodeId]
    const run = { DocumentName: 'AWS-RunShellScript', Parameters: { commands: ['true'] } }
    const { Command } = await one.ssm.send(new SendCommandCommand({ InstanceIds, ...run }))
    const CommandId = Command!.CommandId!
    for (const stranger of [other.ssm, one.client({ region: 'eu-west-1' })]) {
      expect((await stranger.send(new DescribeInstanceInformationCommand({}))).InstanceInformationList).toEqual([])
      const byId = [{ Key: 'InstanceIds', Values: InstanceIds }]
      const found = await stranger
        .send(new DescribeInstanceInformationCommand({ Filters: byId }))
        .catch(() => undefined)
      expect(found?.InstanceInformationList ?? []).toEqual([])
      const status = await stranger.send(new GetConnectionStatusCommand({ Target: node.nodeId })).catch(() => undefined)
      expect(status?.Status ?? 'notconnected').toBe('notconnected')
      expect((await refusal(stranger.send(new SendCommandCommand({ InstanceIds, ...run })))).name).toBe(
        'InvalidInstanceId',
      )
      await refusal(stranger.send(new StartSessionCommand({ Target: node.nodeId })))
      await refusal(stranger.send(new UpdateManagedInstanceRoleCommand({ InstanceId: node.nodeId, IamRole: 'x' })))
      await refusal(stranger.send(new DeregisterManagedInstanceCommand({ InstanceId: node.nodeId })))
      const tags = { ResourceType: 'ManagedInstance', ResourceId: node.nodeId } as const
      await refusal(stranger.send(new AddTagsToResourceCommand({ ...tags, Tags: [{ Key: 'a', Value: 'b' }] })))
      expect((await stranger.send(new ListCommandsCommand({}))).Commands).toEqual([])
      expect((await stranger.send(new ListCommandInvocationsCommand({}))).CommandInvocations).toEqual([])
      const asking = [
        () => stranger.send(new ListCommandsCommand({ CommandId })),
        () => stranger.send(new ListCommandInvocationsCommand({ CommandId })),
        () => stranger.send(new CancelCommandCommand({ CommandId })),
      ]
      for (const ask of asking) expect((await refusal(ask())).name).toBe('InvalidCommandId')
      await refusal(stranger.send(new GetCommandInvocationCommand({ CommandId, InstanceId: node.nodeId })))
    }
    const own = await one.ssm.send(new ListCommandInvocationsCommand({ CommandId }))
    expect(own.CommandInvocations?.[0]?.Status).not.toMatch(/Cancel/)
    expect((await one.ssm.send(new DescribeInstanceInformationCommand({}))).InstanceInformationList).toHaveLength(1)
  })

  it('of two accounts are told apart by tags that are the same', async () => {
    const nodes = [await enrol(testbed, one), await enrol(testbed, other)]
    const Tags = [{ Key: 'role', Value: 'web' }]
    for (const [index, ssm] of [one.ssm, other.ssm].entries())
      await ssm.send(
        new AddTagsToResourceCommand({ ResourceType: 'ManagedInstance', ResourceId: nodes[index]!.nodeId, Tags }),
      )
    const { Command } = await one.ssm.send(
      new SendCommandCommand({
        Targets: [{ Key: 'tag:role', Values: ['web'] }],
        DocumentName: 'AWS-RunShellScript',
        Parameters: { commands: ['true'] },
      }),
    )
    await testbed.server.work.settle()
    const { CommandInvocations } = await one.ssm.send(
      new ListCommandInvocationsCommand({ CommandId: Command!.CommandId! }),
    )
    expect(CommandInvocations?.map(({ InstanceId }) => InstanceId)).toEqual([nodes[0]!.nodeId])
  })

  it('of one account cannot act for a node of another, nor in another region', async () => {
    const [mine, theirs] = [await enrol(testbed, one), await enrol(testbed, other)]
    const host = new URL(testbed.endpoint).host
    const update = (nodeId: string, region: string) =>
      send(
        testbed.endpoint,
        signed({
          credentials: theirs.credentials,
          host,
          region,
          operation: 'UpdateInstanceInformation',
          body: JSON.stringify({ InstanceId: nodeId, AgentVersion: '1.0.0.0', AgentStatus: 'Active' }),
        }),
      )
    expect((await update(theirs.nodeId, 'us-east-1')).status).toBe(200)
    expect((await update(mine.nodeId, 'us-east-1')).error).toBe('AccessDeniedException')
    expect((await update(theirs.nodeId, 'eu-west-1')).error).toBe('AccessDeniedException')
  })
})
