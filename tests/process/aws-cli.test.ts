/**
 * The AWS CLI as its manual has it used, against a control plane and a real node: documents, Run Command and nodes. What it
 * prints must have the members that the manual shows. Skipped where there is no `aws`; each call of it takes about a second.
 */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const why = spawnSync('aws', ['--version']).status === 0 ? undefined : 'there is no aws on this machine'

interface Outcome {
  code: number
  /** What it printed, parsed; undefined when it printed nothing. */
  json: unknown
  err: string
}

/** Answers like `Commands[0].Status`, wherever the members stand. */
type Answer = { readonly [member: string]: Answer } & { readonly [index: number]: Answer }

describe.skipIf(why)(why ? `the AWS CLI: ${why}` : 'the AWS CLI', () => {
  let folder: string
  let testbed: Testbed
  let account: TestAccount
  let node: Node
  const told: string[] = []
  const hook = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    told.push(text)
    response.end()
  })

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'musterbook-aws-'))
    await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve))
    const notificationWebhook = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/`
    testbed = await startTestbed({
      options: { settings: { commandOutput: { folder: join(folder, 'buckets') }, notificationWebhook } },
    })
    account = await testbed.account()
    node = await testbed.node(account, { tags: { ENV: 'Dev', Role: 'WebServers' } })
  })

  afterAll(async () => {
    await testbed?.[Symbol.asyncDispose]()
    hook.close()
    await rm(folder, { recursive: true, force: true })
  })

  /** Runs `aws ssm …` in a home of its own, as this account unless told otherwise. */
  function outcome(args: string[], as = account): Promise<Outcome> {
    const { accessKeyId, secretAccessKey } = as.config.credentials
    const env = {
      PATH: process.env.PATH ?? '',
      HOME: folder,
      LC_ALL: 'C.UTF-8',
      AWS_PAGER: '',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_ENDPOINT_URL: as.config.endpoint,
      AWS_DEFAULT_REGION: as.config.region,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    }
    return new Promise((resolve) => {
      execFile('aws', ['ssm', ...args, '--output', 'json'], { env, cwd: folder }, (error, out, err) => {
        resolve({ code: error ? Number(error.code) : 0, json: out.trim() ? JSON.parse(out) : undefined, err })
      })
    })
  }

  async function aws(...args: string[]): Promise<Answer> {
    const { code, json, err } = await outcome(args)
    expect(code, `aws ssm ${args.join(' ')}: ${err}`).toBe(0)
    return json as Answer
  }

  /** "This command produces no output." */
  const silently = async (...args: string[]) => expect(await aws(...args)).toBeUndefined()

  const COMMAND = {
    CommandId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    DocumentName: 'AWS-RunShellScript',
    DocumentVersion: '$DEFAULT',
    Comment: '',
    ExpiresAfter: expect.anything(),
    Parameters: { commands: ['echo HelloWorld'] },
    InstanceIds: [],
    Targets: [],
    RequestedDateTime: expect.anything(),
    Status: 'Pending',
    StatusDetails: 'Pending',
    OutputS3Region: 'us-east-1',
    OutputS3BucketName: '',
    OutputS3KeyPrefix: '',
    MaxConcurrency: '50',
    MaxErrors: '0',
    TargetCount: 1,
    CompletedCount: 0,
    ErrorCount: 0,
    DeliveryTimedOutCount: 0,
    ServiceRole: '',
    NotificationConfig: { NotificationArn: '', NotificationEvents: [], NotificationType: '' },
    CloudWatchOutputConfig: { CloudWatchLogGroupName: '', CloudWatchOutputEnabled: false },
    TimeoutSeconds: 3600,
    AlarmConfiguration: { IgnorePollAlarmFailure: false, Alarms: [] },
    TriggeredAlarms: [],
  }
  const HELLO = ['--document-name', 'AWS-RunShellScript', '--parameters', 'commands=["echo HelloWorld"]']
  const send = (...args: string[]) => aws('send-command', ...HELLO, ...args)

  it('sends a command by a target, waits for it and shows it', async () => {
    const Comment = 'echo HelloWorld'
    const sent = await send('--targets', `Key=instanceids,Values=${node.nodeId}`, '--comment', Comment)
    const Targets = [{ Key: 'instanceids', Values: [node.nodeId] }]
    expect(sent).toEqual({ Command: { ...COMMAND, Comment, Targets } })
    const id = String(sent.Command?.CommandId)
    const invocation = ['--command-id', id, '--instance-id', node.nodeId]
    await silently('wait', 'command-executed', ...invocation)
    const [listed, invocations, one] = await Promise.all([
      // The command follows its invocations a moment later.
      eventually('the command has ended', async () => {
        const found = await aws('list-commands', '--command-id', id)
        return String(found.Commands?.[0]?.Status) === 'Success' && found
      }),
      aws('list-command-invocations', '--command-id', id, '--details'),
      aws('get-command-invocation', ...invocation),
    ])
    const state = { Status: 'Success', StatusDetails: 'Success' }
    expect(listed).toEqual({ Commands: [{ ...COMMAND, Comment, Targets, ...state, CompletedCount: 1 }] })
    const facts = { CommandId: id, InstanceId: node.nodeId, Comment, DocumentName: 'AWS-RunShellScript' }
    const { CloudWatchOutputConfig, NotificationConfig, DocumentVersion } = COMMAND
    const urls = { StandardOutputUrl: '', StandardErrorUrl: '' }
    expect(invocations).toEqual({
      CommandInvocations: [
        {
          ...facts,
          ...state,
          ...urls,
          InstanceName: expect.any(String),
          DocumentVersion,
          RequestedDateTime: expect.anything(),
          CommandPlugins: [
            {
              ...state,
              ...urls,
              Name: 'aws:runShellScript',
              ResponseCode: 0,
              ResponseStartDateTime: expect.anything(),
              ResponseFinishDateTime: expect.anything(),
              Output: 'HelloWorld\n',
              OutputS3Region: 'us-east-1',
              OutputS3BucketName: '',
              OutputS3KeyPrefix: '',
            },
          ],
          ServiceRole: '',
          NotificationConfig,
          CloudWatchOutputConfig,
        },
      ],
    })
    expect(one).toEqual({
      ...facts,
      ...state,
      ...urls,
      DocumentVersion,
      PluginName: 'aws:runShellScript',
      ResponseCode: 0,
      ExecutionStartDateTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      ExecutionElapsedTime: expect.stringMatching(/^PT[\d.]+S$/),
      ExecutionEndDateTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      StandardOutputContent: 'HelloWorld\n',
      StandardErrorContent: '',
      CloudWatchOutputConfig,
    })
  })

  it('finds nodes by several tags, has notifications posted and output written, and refuses log groups', async () => {
    const topic = 'NotificationArn=arn:aws:sns:us-east-1:123456789012:SNSTopicName'
    const ids = ['--instance-ids', node.nodeId]
    const [tagged, notified, written, logged] = await Promise.all([
      send('--targets', 'Key=tag:ENV,Values=Dev,Test', 'Key=tag:Role,Values=WebServers'),
      send(
        ...[...ids, '--service-role-arn', 'arn:aws:iam::123456789012:role/SNS_Role', '--notification-config'],
        `${topic},NotificationEvents=All,NotificationType=Command`,
      ),
      send(...ids, '--output-s3-bucket-name', 's3-bucket-name', '--output-s3-key-prefix', 'runcommand'),
      outcome([
        ...['send-command', ...HELLO, ...ids, '--cloud-watch-output-config'],
        'CloudWatchOutputEnabled=true,CloudWatchLogGroupName=CWLGroupName',
      ]),
    ])
    expect(tagged.Command).toMatchObject({ TargetCount: 1, InstanceIds: [] })
    expect(notified.Command).toMatchObject({ NotificationConfig: { NotificationEvents: ['All'] } })
    expect(written.Command).toMatchObject({ OutputS3BucketName: 's3-bucket-name', OutputS3KeyPrefix: 'runcommand' })
    expect(logged).toMatchObject({ code: expect.any(Number), err: expect.stringContaining('no CloudWatch Logs here') })
    expect(logged.code).not.toBe(0)
    const id = String(notified.Command?.CommandId)
    await eventually('the end is told', () => told.some((text) => text.includes(id) && text.includes('Success')))
    const since = await aws('list-commands', '--filters', 'key=InvokedAfter,value=2020-02-01T00:00:00Z')
    const listed = (since.Commands as unknown as { CommandId: string }[]).map(({ CommandId }) => CommandId)
    for (const { Command } of [tagged, notified, written]) expect(listed).toContain(Command?.CommandId)
  })

  it('cancels a command on one node, and on all', async () => {
    const sleep = ['--document-name', 'AWS-RunShellScript', '--parameters', 'commands=["sleep 600"]']
    const cancelled = async (...only: string[]) => {
      const sent = await aws('send-command', ...sleep, '--instance-ids', node.nodeId)
      const id = String(sent.Command?.CommandId)
      await silently('cancel-command', '--command-id', id, ...only)
      await eventually('it is cancelled', async () => {
        const { Commands } = await aws('list-commands', '--command-id', id)
        return String(Commands?.[0]?.Status) === 'Cancelled'
      })
    }
    await Promise.all([cancelled(), cancelled('--instance-ids', node.nodeId)])
  })

  it('makes a document, changes it, shares it, runs it elsewhere, finds it and deletes it', async () => {
    const content = (description: string) =>
      JSON.stringify({
        schemaVersion: '2.2',
        description,
        parameters: { word: { type: 'String', description: '(Optional) What to say.', default: 'hi' } },
        mainSteps: [{ action: 'aws:runShellScript', name: 'say', inputs: { runCommand: ['echo {{ word }}'] } }],
      })
    const file = join(folder, 'document.json')
    const from = ['--name', 'Example', '--content', `file://${file}`]
    await writeFile(file, content('Document Example'))
    const described = {
      Hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      HashType: 'Sha256',
      Name: 'Example',
      Owner: account.account,
      CreatedDate: expect.anything(),
      Status: 'Creating',
      DocumentVersion: '1',
      Description: 'Document Example',
      Parameters: [{ Name: 'word', Type: 'String', Description: '(Optional) What to say.', DefaultValue: 'hi' }],
      PlatformTypes: ['Linux', 'MacOS'],
      DocumentType: 'Command',
      SchemaVersion: '2.2',
      LatestVersion: '1',
      DefaultVersion: '1',
      DocumentFormat: 'JSON',
      Tags: [],
    }
    expect(await aws('create-document', ...from, '--document-type', 'Command')).toEqual({
      DocumentDescription: described,
    })
    expect(await aws('describe-document', '--name', 'Example')).toEqual({
      Document: { ...described, Status: 'Active' },
    })
    await writeFile(file, content('An updated document'))
    const updated = await aws('update-document', ...from, '--document-version', '$LATEST')
    expect(updated.DocumentDescription).toMatchObject({ Status: 'Updating', DocumentVersion: '2', LatestVersion: '2' })
    expect(await aws('update-document-default-version', '--name', 'Example', '--document-version', '2')).toEqual({
      Description: { Name: 'Example', DefaultVersion: '2' },
    })
    await silently(
      ...['add-tags-to-resource', '--resource-type', 'Document', '--resource-id', 'Example'],
      ...['--tags', 'Key=DocUse,Value=Testing'],
    )
    const share = ['modify-document-permission', '--name', 'Example', '--permission-type', 'Share']
    await silently(...share, '--account-ids-to-add', 'All')
    const [versions, found, shared, got] = await Promise.all([
      aws('list-document-versions', '--name', 'Example'),
      aws('list-documents', '--filters', 'Key=Owner,Values=Self', 'Key=tag:DocUse,Values=Testing'),
      aws('describe-document-permission', '--name', 'Example', '--permission-type', 'Share'),
      aws('get-document', '--name', 'AWS-RunShellScript'),
    ])
    const version = { Name: 'Example', CreatedDate: expect.anything(), DocumentFormat: 'JSON', Status: 'Active' }
    expect(versions).toEqual({
      DocumentVersions: [
        { ...version, DocumentVersion: '2', IsDefaultVersion: true },
        { ...version, DocumentVersion: '1', IsDefaultVersion: false },
      ],
    })
    const { Name, Owner, CreatedDate, PlatformTypes, DocumentType, SchemaVersion, DocumentFormat } = described
    const facts = { Name, Owner, CreatedDate, PlatformTypes, DocumentType, SchemaVersion, DocumentFormat }
    const Tags = [{ Key: 'DocUse', Value: 'Testing' }]
    expect(found).toEqual({ DocumentIdentifiers: [{ ...facts, DocumentVersion: '2', Tags }] })
    expect(shared).toEqual({
      AccountIds: ['all'],
      AccountSharingInfoList: [{ AccountId: 'all', SharedDocumentVersion: '$DEFAULT' }],
    })
    expect(got).toMatchObject({
      Name: 'AWS-RunShellScript',
      DocumentVersion: '1',
      Status: 'Active',
      Content: expect.stringContaining('"schemaVersion": "1.2"'),
      DocumentType: 'Command',
      DocumentFormat: 'JSON',
    })
    const stranger = await testbed.account()
    const theirs = await testbed.node(stranger)
    const arn = `arn:aws:ssm:us-east-1:${account.account}:document/Example`
    const { code, json, err } = await outcome(
      ['send-command', '--document-name', arn, '--targets', `Key=instanceids,Values=${theirs.nodeId}`],
      stranger,
    )
    expect(code, err).toBe(0)
    expect(json).toMatchObject({ Command: { DocumentName: arn, TargetCount: 1 } })
    await silently(...share, '--account-ids-to-remove', 'all')
    await silently('delete-document', '--name', 'Example')
  })

  it('keeps a runbook in YAML, and lists what another account shares', async () => {
    const file = join(folder, 'exampleDocument.yml')
    const runbook = [
      "schemaVersion: '0.3'",
      'description: Document Example',
      'assumeRole: "{{ AutomationAssumeRole }}"',
      'parameters:',
      '  AutomationAssumeRole: {type: String, description: (Required) The ARN of the role., default: ""}',
      '  InstanceId: {type: "AWS::EC2::Instance::Id", description: (Required) The ID of the instance.}',
      'mainSteps:',
      '- name: start',
      '  action: aws:changeInstanceState',
      '  inputs: {InstanceIds: ["{{ InstanceId }}"], DesiredState: running}',
      '',
    ].join('\n')
    await writeFile(file, runbook)
    const owner = await testbed.account()
    const asOwner = async (...args: string[]) => {
      const { code, json, err } = await outcome(args, owner)
      expect(code, err).toBe(0)
      return json as Answer
    }
    const made = await asOwner(
      ...['create-document', '--content', `file://${file}`, '--name', 'SharedRunbook'],
      ...['--document-type', 'Automation', '--document-format', 'YAML'],
    )
    expect(made.DocumentDescription).toMatchObject({
      Status: 'Creating',
      Description: 'Document Example',
      Parameters: [
        { Name: 'AutomationAssumeRole', Type: 'String', DefaultValue: '' },
        { Name: 'InstanceId', Type: 'AWS::EC2::Instance::Id' },
      ],
      DocumentType: 'Automation',
      SchemaVersion: '0.3',
      DocumentFormat: 'YAML',
    })
    const share = ['modify-document-permission', '--name', 'SharedRunbook', '--permission-type', 'Share']
    await asOwner(...share, '--account-ids-to-add', account.account)
    const found = await aws('list-documents', '--filters', 'Key=Name,Values=SharedRun', 'Key=Owner,Values=Private')
    const Name = `arn:aws:ssm:us-east-1:${owner.account}:document/SharedRunbook`
    expect(found.DocumentIdentifiers).toMatchObject([
      { Name, Owner: owner.account, DocumentVersion: '1', DocumentFormat: 'YAML', Tags: [] },
    ])
    const [yaml, json] = await Promise.all([
      aws('get-document', '--name', Name, '--document-format', 'YAML'),
      aws('get-document', '--name', Name),
    ])
    expect(yaml).toMatchObject({ Content: runbook, DocumentFormat: 'YAML' })
    expect(JSON.parse(String(json.Content))).toMatchObject({ schemaVersion: '0.3', mainSteps: [{ name: 'start' }] })
  })

  it('has a version reviewed, and shows who said what', async () => {
    const file = join(folder, 'template.yml')
    await writeFile(
      file,
      'schemaVersion: "2.2"\nmainSteps:\n- {action: aws:runShellScript, name: one, inputs: {runCommand: [date]}}\n',
    )
    await aws('create-document', '--name', 'Reviewed', '--content', `file://${file}`, '--document-format', 'YAML')
    const review = (words: string) =>
      silently('update-document-metadata', '--name', 'Reviewed', '--document-reviews', words)
    await review('Action=SendForReview')
    await review('Action=Approve,Comment=[{Type=Comment,Content=Approved!}]')
    const times = { CreateTime: expect.anything(), UpdatedTime: expect.anything() }
    expect(await aws('list-document-metadata-history', '--name', 'Reviewed', '--metadata', 'DocumentReviews')).toEqual({
      Name: 'Reviewed',
      DocumentVersion: '1',
      Author: expect.stringContaining(account.account),
      Metadata: {
        ReviewerResponse: [
          {
            ...times,
            ReviewStatus: 'APPROVED',
            Comment: [{ Type: 'Comment', Content: 'Approved!' }],
            Reviewer: expect.stringContaining(account.account),
          },
          { ...times, ReviewStatus: 'PENDING', Comment: [] },
        ],
      },
    })
  })

  it('makes activations, shows nodes, changes their role and lets them go', async () => {
    const role = ['--iam-role', 'HybridWebServersRole']
    const made = await aws(
      ...['create-activation', '--default-instance-name', 'HybridWebServers', ...role, '--registration-limit', '5'],
    )
    expect(made).toEqual({ ActivationId: expect.any(String), ActivationCode: expect.any(String) })
    const leaving = await testbed.node(account)
    const [activations, information, byKey, connection] = await Promise.all([
      aws('describe-activations'),
      aws('describe-instance-information', '--filters', `Key=InstanceIds,Values=${node.nodeId}`),
      aws('describe-instance-information', '--filters', 'Key=tag-key,Values=ENV'),
      aws('get-connection-status', '--target', node.nodeId),
    ])
    expect(activations.ActivationList).toContainEqual({
      ActivationId: made.ActivationId,
      DefaultInstanceName: 'HybridWebServers',
      IamRole: 'HybridWebServersRole',
      RegistrationLimit: 5,
      RegistrationsCount: 0,
      ExpirationDate: expect.anything(),
      Expired: false,
      CreatedDate: expect.anything(),
      Tags: [],
    })
    expect(information).toMatchObject({
      InstanceInformationList: [
        {
          InstanceId: node.nodeId,
          PingStatus: 'Online',
          LastPingDateTime: expect.anything(),
          AgentVersion: expect.any(String),
          PlatformType: 'Linux',
          PlatformName: expect.any(String),
          PlatformVersion: expect.any(String),
          ResourceType: 'ManagedInstance',
          IPAddress: expect.any(String),
          ComputerName: expect.any(String),
        },
      ],
    })
    expect(byKey).toEqual(information)
    expect(connection).toEqual({ Target: node.nodeId, Status: 'connected' })
    await silently('update-managed-instance-role', '--instance-id', leaving.nodeId, '--iam-role', 'ExampleRole')
    await silently('deregister-managed-instance', '--instance-id', leaving.nodeId)
    await silently('delete-activation', '--activation-id', String(made.ActivationId))
  })
})
