import { createHash } from 'node:crypto'
import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const newAccount = async () => {
  const { account, config } = await testbed.account()
  return { account, ssm: new SSM(config) }
}

const steps = (line: string, more: object = {}) => ({
  schemaVersion: '2.2',
  description: 'Says something',
  mainSteps: [{ action: 'aws:runShellScript', name: 'say', inputs: { runCommand: [line] } }],
  ...more,
})
const command = (line: string, more?: object) => JSON.stringify(steps(line, more))

const yaml = `# a comment
schemaVersion: "2.2"
description: From YAML
parameters:
  Who:
    type: String
    default: world
mainSteps:
  - action: aws:runPowerShellScript
    name: greet
    inputs:
      runCommand:
        - echo {{ Who }}
`

describe('a new document', () => {
  it('is created, and described with everything its content says', async () => {
    const { account, ssm } = await newAccount()
    const content = command('echo {{ Text }}', {
      parameters: {
        Text: { type: 'String', description: 'What to say', default: 'hello' },
        Needed: { type: 'StringList' },
        Numbers: { type: 'Integer', default: 3 },
        Words: { type: 'StringList', default: ['a', 'b'] },
      },
    })
    const created = await ssm.createDocument({
      Name: 'Say-Something',
      Content: content,
      DisplayName: 'Say something',
      VersionName: 'v1.0',
      TargetType: '/AWS::EC2::Instance',
      Tags: [{ Key: 'team', Value: 'a' }],
    })
    const facts = {
      Hash: createHash('sha256').update(content).digest('hex'),
      HashType: 'Sha256',
      Name: 'Say-Something',
      DisplayName: 'Say something',
      VersionName: 'v1.0',
      Owner: account,
      DocumentVersion: '1',
      LatestVersion: '1',
      DefaultVersion: '1',
      Description: 'Says something',
      DocumentType: 'Command',
      DocumentFormat: 'JSON',
      SchemaVersion: '2.2',
      TargetType: '/AWS::EC2::Instance',
      PlatformTypes: ['Linux', 'MacOS'],
      Tags: [{ Key: 'team', Value: 'a' }],
      Parameters: [
        { Name: 'Text', Type: 'String', Description: 'What to say', DefaultValue: 'hello' },
        { Name: 'Needed', Type: 'StringList' },
        { Name: 'Numbers', Type: 'Integer', DefaultValue: '3' },
        { Name: 'Words', Type: 'StringList', DefaultValue: '["a","b"]' },
      ],
    }
    expect(created.DocumentDescription).toMatchObject({ ...facts, Status: 'Creating' })
    const { Document } = await ssm.describeDocument({ Name: 'Say-Something' })
    expect(Document).toMatchObject({ ...facts, Status: 'Active', CreatedDate: expect.any(Date) })
    expect(Document).toEqual({ ...created.DocumentDescription, Status: 'Active' })
  })

  it('is given back as it was submitted, to the character', async () => {
    const { account, ssm } = await newAccount()
    const content = `${JSON.stringify(steps('echo "ü" \\ $HOME'), null, 3)}\n`
    await ssm.createDocument({ Name: 'exact', Content: content })
    for (const Name of ['exact', `arn:aws:ssm:us-east-1:${account}:document/exact`]) {
      const got = await ssm.getDocument({ Name })
      expect(got).toMatchObject({
        Name: 'exact',
        Content: content,
        DocumentFormat: 'JSON',
        DocumentType: 'Command',
        DocumentVersion: '1',
        Status: 'Active',
        AttachmentsContent: [],
      })
    }
  })

  it('is read in YAML and in JSON, whichever it was written in', async () => {
    const { ssm } = await newAccount()
    await ssm.createDocument({ Name: 'greeting', Content: yaml, DocumentFormat: 'YAML' })
    const written = await ssm.getDocument({ Name: 'greeting', DocumentFormat: 'YAML' })
    expect(written).toMatchObject({ Content: yaml, DocumentFormat: 'YAML' })
    const converted = await ssm.getDocument({ Name: 'greeting' })
    expect(converted.DocumentFormat).toBe('JSON')
    expect(JSON.parse(converted.Content ?? '')).toEqual(parse(yaml))
    await ssm.createDocument({ Name: 'from-json', Content: command('yes') })
    const { Content } = await ssm.getDocument({ Name: 'from-json', DocumentFormat: 'YAML' })
    expect(parse(Content ?? '')).toEqual(steps('yes'))
    expect(await refusal(ssm.getDocument({ Name: 'from-json', DocumentFormat: 'TEXT' }))).toMatchObject({
      name: 'ValidationException',
    })
    const { Document } = await ssm.describeDocument({ Name: 'greeting' })
    expect(Document).toMatchObject({ DocumentFormat: 'YAML', PlatformTypes: ['Windows', 'Linux', 'MacOS'] })
  })

  it('shows the documents that it requires, in every version', async () => {
    const { ssm } = await newAccount()
    const Name = 'needy'
    const Requires = [{ Name: 'schema-of-it', Version: '$LATEST' }]
    const made = await ssm.createDocument({ Name, Content: JSON.stringify(steps('1')), Requires })
    expect(made.DocumentDescription?.Requires).toEqual(Requires)
    await ssm.updateDocument({ Name, Content: JSON.stringify(steps('2')) })
    expect((await ssm.getDocument({ Name, DocumentVersion: '2' })).Requires).toEqual(Requires)
    const { DocumentIdentifiers } = await ssm.listDocuments({ Filters: [{ Key: 'Owner', Values: ['Self'] }] })
    expect(DocumentIdentifiers).toMatchObject([{ Name, Requires }])
  })

  it('may be of schema 1.2, and of 1.0 for sessions', async () => {
    const { ssm } = await newAccount()
    const old = {
      schemaVersion: '1.2',
      runtimeConfig: { 'aws:runShellScript': { properties: [{ id: '0', runCommand: ['true'] }] } },
    }
    const session = { schemaVersion: '1.0', sessionType: 'Standard_Stream', inputs: { idleSessionTimeout: '5' } }
    await ssm.createDocument({ Name: 'old', Content: JSON.stringify(old) })
    await ssm.createDocument({
      Name: 'SSM-SessionManagerRunShell',
      Content: JSON.stringify(session),
      DocumentType: 'Session',
    })
    expect((await ssm.describeDocument({ Name: 'old' })).Document).toMatchObject({ SchemaVersion: '1.2' })
    expect((await ssm.describeDocument({ Name: 'SSM-SessionManagerRunShell' })).Document).toMatchObject({
      SchemaVersion: '1.0',
      DocumentType: 'Session',
    })
  })

  it('keeps a change calendar as text', async () => {
    const { ssm } = await newAccount()
    const Content = 'BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n'
    await ssm.createDocument({ Name: 'calendar', Content, DocumentType: 'ChangeCalendar', DocumentFormat: 'TEXT' })
    expect(await ssm.getDocument({ Name: 'calendar' })).toMatchObject({ Content, DocumentFormat: 'TEXT' })
    expect((await ssm.describeDocument({ Name: 'calendar' })).Document?.Parameters).toEqual([])
  })

  it("is refused with the service's own words", async () => {
    const { ssm } = await newAccount()
    await ssm.createDocument({ Name: 'taken', Content: command('a') })
    const refused = (request: Partial<Parameters<SSM['createDocument']>[0]>) =>
      refusal(ssm.createDocument({ Name: 'fresh', Content: command('a'), ...request }))
    expect(await refused({ Name: 'taken', Content: command('b') })).toEqual({
      name: 'DocumentAlreadyExists',
      message: 'Document with same name taken already exists',
    })
    expect(await refused({ Content: '{' })).toEqual({
      name: 'InvalidDocumentContent',
      message: 'JSON not well-formed.',
    })
    expect(await refused({ Content: '{"schemaVersion":"2.2"}' })).toEqual({
      name: 'InvalidDocumentContent',
      message: 'Missing "mainSteps" in the document.',
    })
    expect(await refused({ Content: command('{{ x }}') })).toEqual({
      name: 'InvalidDocumentContent',
      message: 'Parameter "x" is not declared.',
    })
    expect((await refused({ Content: command('x'.repeat(70_000)) })).name).toBe('MaxDocumentSizeExceeded')
    expect((await refused({ DocumentType: 'Session' })).name).toBe('InvalidDocumentSchemaVersion')
    expect((await refused({ Name: 'AWS-Mine' })).name).toBe('ValidationException')
    expect((await refused({ Name: 'a b c' })).name).toBe('ValidationException')
    expect((await refused({ DocumentFormat: 'TEXT' })).name).toBe('InvalidDocumentContent')
    expect(
      await refused({ Attachments: [{ Key: 'S3FileUrl', Values: ['s3://b/k'], Name: 'file.zip' }] }),
    ).toMatchObject({ name: 'ValidationException', message: expect.stringContaining('Attachments') })
    await ssm.createDocument({ Name: 'plain', Content: JSON.stringify(steps('true')) })
    const Attachments = [{ Key: 'SourceUrl' as const, Values: ['s3://b/k'] }]
    const changed = ssm.updateDocument({ Name: 'plain', Content: JSON.stringify(steps('false')), Attachments })
    expect(await refusal(changed)).toMatchObject({ message: expect.stringContaining('Attachments') })
    expect((await refusal(ssm.describeDocument({ Name: 'fresh' }))).name).toBe('InvalidDocument')
  })

  it('carries tags that can be changed, and that go with it', async () => {
    const { ssm } = await newAccount()
    const resource = { ResourceType: 'Document', ResourceId: 'tagged' } as const
    await ssm.createDocument({ Name: 'tagged', Content: command('a'), Tags: [{ Key: 'a', Value: '1' }] })
    await ssm.addTagsToResource({ ...resource, Tags: [{ Key: 'b', Value: '2' }] })
    const Tags = [
      { Key: 'a', Value: '1' },
      { Key: 'b', Value: '2' },
    ]
    expect((await ssm.describeDocument({ Name: 'tagged' })).Document?.Tags).toEqual(Tags)
    await ssm.deleteDocument({ Name: 'tagged' })
    expect((await refusal(ssm.listTagsForResource(resource))).name).toBe('InvalidResourceId')
    await ssm.createDocument({ Name: 'tagged', Content: command('a') })
    expect((await ssm.listTagsForResource(resource)).TagList).toEqual([])
  })

  it('is one of at most 500 of an account', async () => {
    const { ssm } = await newAccount()
    const numbers = Array.from({ length: 500 }, (_, index) => index)
    const create = (number: number) => ssm.createDocument({ Name: `document-${number}`, Content: command('a') })
    for (let start = 0; start < 500; start += 50) await Promise.all(numbers.slice(start, start + 50).map(create))
    expect((await refusal(create(500))).name).toBe('DocumentLimitExceeded')
    await ssm.deleteDocument({ Name: 'document-7' })
    const both = await Promise.allSettled([create(500), create(501)])
    expect(both.map((one) => one.status).sort()).toEqual(['fulfilled', 'rejected'])
  })
})

describe('versions of a document', () => {
  async function threeVersions() {
    const { account, ssm } = await newAccount()
    await ssm.createDocument({ Name: 'doc', Content: command('1'), VersionName: 'one', DisplayName: 'First' })
    await ssm.updateDocument({ Name: 'doc', Content: command('2'), VersionName: 'two' })
    await ssm.updateDocument({ Name: 'doc', Content: command('3'), DocumentVersion: '2', DisplayName: 'Third' })
    return { account, ssm }
  }

  it('are made by updates; the default stays where it is', async () => {
    const { ssm } = await newAccount()
    await ssm.createDocument({ Name: 'doc', Content: command('1'), DisplayName: 'First', TargetType: '/' })
    const updated = await ssm.updateDocument({ Name: 'doc', Content: command('2'), DocumentVersion: '$LATEST' })
    expect(updated.DocumentDescription).toMatchObject({
      Status: 'Updating',
      DocumentVersion: '2',
      LatestVersion: '2',
      DefaultVersion: '1',
      DisplayName: 'First',
      TargetType: '/',
    })
    expect((await ssm.getDocument({ Name: 'doc' })).Content).toBe(command('1'))
    expect((await ssm.getDocument({ Name: 'doc', DocumentVersion: '$LATEST' })).Content).toBe(command('2'))
  })

  it('are chosen by number, $LATEST, $DEFAULT and name', async () => {
    const { ssm } = await threeVersions()
    const content = async (choice: { DocumentVersion?: string; VersionName?: string }) =>
      (await ssm.getDocument({ Name: 'doc', ...choice })).Content
    expect(await content({ DocumentVersion: '2' })).toBe(command('2'))
    expect(await content({ DocumentVersion: '$DEFAULT' })).toBe(command('1'))
    expect(await content({ DocumentVersion: '$LATEST' })).toBe(command('3'))
    expect(await content({ VersionName: 'two' })).toBe(command('2'))
    expect(await content({ VersionName: 'two', DocumentVersion: '2' })).toBe(command('2'))
    for (const choice of [
      { DocumentVersion: '4' },
      { DocumentVersion: '2147483648' },
      { VersionName: 'three' },
      { VersionName: 'two', DocumentVersion: '1' },
    ])
      expect((await refusal(content(choice))).name).toBe('InvalidDocumentVersion')
  })

  it('are listed newest first, in pages', async () => {
    const { ssm } = await threeVersions()
    const first = await ssm.listDocumentVersions({ Name: 'doc', MaxResults: 2 })
    expect(first.DocumentVersions).toMatchObject([
      { Name: 'doc', DocumentVersion: '3', DisplayName: 'Third', IsDefaultVersion: false, Status: 'Active' },
      { DocumentVersion: '2', VersionName: 'two', DisplayName: 'First', IsDefaultVersion: false },
    ])
    const second = await ssm.listDocumentVersions({ Name: 'doc', MaxResults: 2, NextToken: first.NextToken ?? '' })
    expect(second.DocumentVersions).toMatchObject([
      { DocumentVersion: '1', VersionName: 'one', IsDefaultVersion: true },
    ])
    expect(second.NextToken).toBeUndefined()
    expect((await refusal(ssm.listDocumentVersions({ Name: 'doc', NextToken: 'mine' }))).name).toBe('InvalidNextToken')
    expect((await refusal(ssm.listDocumentVersions({ Name: 'other' }))).name).toBe('InvalidDocument')
  })

  it('become the default when they are made so', async () => {
    const { ssm } = await threeVersions()
    const { Description } = await ssm.updateDocumentDefaultVersion({ Name: 'doc', DocumentVersion: '2' })
    expect(Description).toEqual({ Name: 'doc', DefaultVersion: '2', DefaultVersionName: 'two' })
    expect((await ssm.describeDocument({ Name: 'doc' })).Document).toMatchObject({
      DocumentVersion: '2',
      DefaultVersion: '2',
      LatestVersion: '3',
    })
    const refused = refusal(ssm.updateDocumentDefaultVersion({ Name: 'doc', DocumentVersion: '9' }))
    expect((await refused).name).toBe('InvalidDocumentVersion')
  })

  it('are refused where they bring nothing new or follow an old one', async () => {
    const { ssm } = await threeVersions()
    const refused = async (request: Partial<Parameters<SSM['updateDocument']>[0]>) =>
      (
        await refusal(
          ssm.updateDocument({ Name: 'doc', Content: command('4'), DocumentVersion: '$LATEST', ...request }),
        )
      ).name
    expect(await refused({ Content: command('1') })).toBe('DuplicateDocumentContent')
    expect(await refused({ VersionName: 'one' })).toBe('DuplicateDocumentVersionName')
    expect(await refused({ DocumentVersion: '2' })).toBe('InvalidDocumentVersion')
    expect(await refused({ DocumentVersion: undefined })).toBe('InvalidDocumentVersion')
    expect(await refused({ Content: 'x' })).toBe('InvalidDocumentContent')
    expect(await refused({ Name: 'nothing' })).toBe('InvalidDocument')
    expect((await ssm.describeDocument({ Name: 'doc' })).Document?.LatestVersion).toBe('3')
  })

  it('do not exist for schema 1.2', async () => {
    const { ssm } = await newAccount()
    const old = (line: string) =>
      JSON.stringify({
        schemaVersion: '1.2',
        runtimeConfig: { 'aws:runShellScript': { properties: [{ id: '0', runCommand: [line] }] } },
      })
    await ssm.createDocument({ Name: 'old', Content: old('1') })
    expect((await refusal(ssm.updateDocument({ Name: 'old', Content: old('2') }))).name).toBe(
      'InvalidDocumentSchemaVersion',
    )
  })

  it('made at the same moment: one is made, the others are told that theirs is no longer the latest', async () => {
    const { ssm } = await newAccount()
    await ssm.createDocument({ Name: 'doc', Content: command('1') })
    const updates = await Promise.allSettled(
      ['a', 'b', 'c', 'd'].map((line) =>
        ssm.updateDocument({ Name: 'doc', Content: command(line), DocumentVersion: '1' }),
      ),
    )
    expect(updates.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
    expect((await ssm.describeDocument({ Name: 'doc' })).Document?.LatestVersion).toBe('2')
  })

  it('can be deleted one by one, except the default one; a number never comes back', async () => {
    const { ssm } = await threeVersions()
    expect(await refusal(ssm.deleteDocument({ Name: 'doc', DocumentVersion: '1' }))).toEqual({
      name: 'InvalidDocumentOperation',
      message: "Default version of the document can't be deleted.",
    })
    expect((await refusal(ssm.deleteDocument({ Name: 'doc', DocumentVersion: '7' }))).name).toBe('InvalidDocument')
    await ssm.deleteDocument({ Name: 'doc', DocumentVersion: '$LATEST' })
    await ssm.deleteDocument({ Name: 'doc', VersionName: 'two' })
    expect((await ssm.describeDocument({ Name: 'doc' })).Document).toMatchObject({ LatestVersion: '1' })
    const { DocumentDescription } = await ssm.updateDocument({ Name: 'doc', Content: command('4') })
    expect(DocumentDescription?.DocumentVersion).toBe('4')
  })

  it('all go when the document is deleted', async () => {
    const { ssm } = await threeVersions()
    await ssm.deleteDocument({ Name: 'doc' })
    expect(await refusal(ssm.getDocument({ Name: 'doc', DocumentVersion: '3' }))).toEqual({
      name: 'InvalidDocument',
      message: 'Document with name doc does not exist.',
    })
    expect((await refusal(ssm.deleteDocument({ Name: 'doc' }))).name).toBe('InvalidDocument')
  })
})

describe('a document that was made under older rules', () => {
  it('is described and read as before, but makes no further version', async () => {
    const { account, ssm } = await newAccount()
    const runbook = (...mainSteps: object[]) => JSON.stringify({ schemaVersion: '0.3', mainSteps })
    const Content = runbook({ name: 'wait', action: 'aws:pause' })
    await ssm.createDocument({ Name: 'old', DocumentType: 'Automation', Content })
    const old = runbook({ name: 'wait', action: 'aws:hesitate' })
    const hash = createHash('sha256').update(old).digest('hex')
    await testbed.server.ground.sql`
      update document_versions set content = ${old}, hash = ${hash} where account = ${account} and name = 'old'`
    expect((await ssm.describeDocument({ Name: 'old' })).Document).toMatchObject({ Hash: hash, SchemaVersion: '0.3' })
    const read = await ssm.getDocument({ Name: 'old', DocumentFormat: 'YAML' })
    expect(parse(read.Content ?? '')).toEqual(JSON.parse(old))
    const further = ssm.updateDocument({ Name: 'old', Content: `${old} `, DocumentVersion: '$LATEST' })
    expect(await refusal(further)).toEqual({ name: 'InvalidDocumentContent', message: 'Unknown action: aws:hesitate' })
  })
})

describe("Amazon's documents", () => {
  it('are there in every account, by name and by ARN', async () => {
    const { ssm } = await newAccount()
    for (const Name of ['AWS-RunShellScript', 'arn:aws:ssm:us-east-1::document/AWS-RunShellScript']) {
      expect((await ssm.describeDocument({ Name })).Document).toMatchObject({
        Name: 'AWS-RunShellScript',
        Owner: 'Amazon',
        DocumentVersion: '1',
        CreatedDate: new Date('2026-11-23T00:00:00Z'),
        Parameters: [
          { Name: 'commands', Type: 'StringList' },
          { Name: 'workingDirectory' },
          { Name: 'executionTimeout' },
        ],
      })
    }
    const { DocumentIdentifiers = [] } = await ssm.listDocuments({ Filters: [{ Key: 'Owner', Values: ['Amazon'] }] })
    expect(DocumentIdentifiers.filter(({ CreatedDate }) => !(CreatedDate instanceof Date))).toEqual([])
    const { Content } = await ssm.getDocument({ Name: 'AWS-RunShellScript' })
    const { Document } = await ssm.describeDocument({ Name: 'AWS-RunShellScript' })
    expect(
      createHash('sha256')
        .update(Content ?? '')
        .digest('hex'),
    ).toBe(Document?.Hash)
    expect((await ssm.listDocumentVersions({ Name: 'AWS-RunShellScript' })).DocumentVersions).toMatchObject([
      { DocumentVersion: '1', IsDefaultVersion: true },
    ])
    expect((await refusal(ssm.getDocument({ Name: 'AWS-RunShellScript', DocumentVersion: '2' }))).name).toBe(
      'InvalidDocumentVersion',
    )
    expect((await refusal(ssm.getDocument({ Name: 'AWS-Nothing' }))).name).toBe('InvalidDocument')
  })

  it('cannot be changed, shared or deleted', async () => {
    const { ssm } = await newAccount()
    const Name = 'AWS-RunShellScript'
    for (const request of [
      () => ssm.updateDocument({ Name, Content: command('1') }),
      () => ssm.updateDocumentDefaultVersion({ Name, DocumentVersion: '1' }),
      () => ssm.deleteDocument({ Name }),
      () => ssm.modifyDocumentPermission({ Name, PermissionType: 'Share', AccountIdsToAdd: ['all'] }),
      () => ssm.describeDocumentPermission({ Name, PermissionType: 'Share' }),
      () => ssm.updateDocumentMetadata({ Name, DocumentReviews: { Action: 'Approve' } }),
      () => ssm.listDocumentMetadataHistory({ Name, Metadata: 'DocumentReviews' }),
    ])
      expect((await refusal(request())).name).toBe('InvalidDocument')
  })

  it('do not include the session preferences, which an account makes itself', async () => {
    const { ssm } = await newAccount()
    expect((await refusal(ssm.describeDocument({ Name: 'SSM-SessionManagerRunShell' }))).name).toBe('InvalidDocument')
  })
})
