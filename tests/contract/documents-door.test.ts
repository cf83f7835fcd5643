/** What commands and sessions are given when they name a document: the door, which no AWS operation shows directly. */
import { createHash } from 'node:crypto'
import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { documentAccess, findDocument } from '../../packages/server/src/capabilities/documents/index.ts'
import { anonymous } from '../../packages/server/src/platform/caller.ts'
import { type Context, transactional } from '../../packages/server/src/platform/context.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

async function newAccount() {
  const { account, config } = await testbed.account()
  const { transaction: _, ...ground } = testbed.server.ground
  const request = {
    caller: anonymous,
    requestId: 'r',
    sourceIp: '',
    host: '',
    encrypted: false,
    userAgent: '',
    account,
    region: config.region,
  }
  const context: Context = transactional(testbed.server.database, { ...ground, ...request })
  return { account, ssm: new SSM(config), context }
}

const script = (line: string) =>
  JSON.stringify({
    schemaVersion: '2.2',
    mainSteps: [{ action: 'aws:runShellScript', name: 'x', inputs: { runCommand: [line] } }],
  })
const failing = (name: string) => expect.objectContaining({ name })

describe('a document that is to be run', () => {
  it('is found at the version that is asked for, parsed', async () => {
    const { account, ssm, context } = await newAccount()
    await ssm.createDocument({ Name: 'doc', Content: script('1') })
    await ssm.updateDocument({ Name: 'doc', Content: script('2') })
    const found = await findDocument(context, 'doc', undefined)
    expect(found).toEqual({
      name: 'doc',
      version: '1',
      requestedVersion: '$DEFAULT',
      hash: createHash('sha256').update(script('1')).digest('hex'),
      documentType: 'Command',
      platformTypes: ['Linux', 'MacOS'],
      document: expect.objectContaining({ kind: 'mainSteps', schemaVersion: '2.2' }),
      content: JSON.parse(script('1')),
      owner: account,
    })
    const latest = { version: '2', content: JSON.parse(script('2')) }
    const arn = `arn:aws:ssm:us-east-1:${account}:document/doc`
    for (const [reference, version] of [
      ['doc', '$LATEST'],
      ['doc', '2'],
      ['doc:2', undefined],
      ['doc:2', '2'],
      [arn, '2'],
      [`${arn}:2`, undefined],
    ] as const)
      expect(await findDocument(context, reference, version)).toMatchObject(latest)
    expect(await findDocument(context, 'doc:2', undefined)).toMatchObject({ requestedVersion: '2' })
  })

  it('is parsed once for as long as its content stays', async () => {
    const { ssm, context } = await newAccount()
    await ssm.createDocument({ Name: 'doc', Content: script('once') })
    const { document } = await findDocument(context, 'doc', undefined)
    expect((await findDocument(context, 'doc', '1')).document).toBe(document)
    await ssm.deleteDocument({ Name: 'doc' })
    await ssm.createDocument({ Name: 'doc', Content: script('other') })
    expect((await findDocument(context, 'doc', undefined)).content).toEqual(JSON.parse(script('other')))
  })

  it('is refused when it is not there', async () => {
    const { account, ssm, context } = await newAccount()
    await ssm.createDocument({ Name: 'doc', Content: script('1') })
    for (const reference of ['none', 'AWS-None', '!', `arn:aws:ssm:eu-west-1:${account}:document/doc`])
      await expect(findDocument(context, reference, undefined)).rejects.toEqual(failing('InvalidDocument'))
    for (const version of ['2', 'x', '0'])
      await expect(findDocument(context, 'doc', version)).rejects.toEqual(failing('InvalidDocumentVersion'))
    await expect(findDocument(context, 'doc:1', '$LATEST')).rejects.toEqual(failing('InvalidDocumentVersion'))
  })

  it("may be Amazon's, or another account's that shares it", async () => {
    const [owner, consumer] = await Promise.all([newAccount(), newAccount()])
    expect(await findDocument(consumer.context, 'AWS-RunShellScript', '$LATEST')).toMatchObject({
      name: 'AWS-RunShellScript',
      version: '1',
      owner: 'Amazon',
    })
    await owner.ssm.createDocument({ Name: 'doc', Content: script('1') })
    const arn = `arn:aws:ssm:us-east-1:${owner.account}:document/doc`
    await expect(findDocument(consumer.context, arn, undefined)).rejects.toEqual(failing('InvalidDocument'))
    await owner.ssm.modifyDocumentPermission({
      Name: 'doc',
      PermissionType: 'Share',
      AccountIdsToAdd: [consumer.account],
    })
    expect(await findDocument(consumer.context, arn, undefined)).toMatchObject({ name: arn, owner: owner.account })
  })

  it("is the account's session preferences once it has made them, and Amazon's preset before", async () => {
    const { account, ssm, context } = await newAccount()
    const Name = 'SSM-SessionManagerRunShell'
    expect(await findDocument(context, Name, undefined)).toMatchObject({ owner: 'Amazon', documentType: 'Session' })
    const inputs = { runAsEnabled: true }
    const Content = JSON.stringify({ schemaVersion: '1.0', sessionType: 'Standard_Stream', inputs })
    await ssm.createDocument({ Name, Content, DocumentType: 'Session' })
    expect(await findDocument(context, Name, undefined)).toMatchObject({ owner: account, content: { inputs } })
  })
})

describe('the permission on a document', () => {
  it('names the document without its version, and its tags as condition keys', async () => {
    const { account, ssm, context } = await newAccount()
    await ssm.createDocument({ Name: 'doc', Content: script('1'), Tags: [{ Key: 'team', Value: 'web' }] })
    const arn = `arn:aws:ssm:us-east-1:${account}:document/doc`
    const tagged = { resources: [arn], keys: { 'aws:ResourceTag/team': 'web', 'ssm:resourceTag/team': 'web' } }
    for (const reference of ['doc', 'doc:1', arn, `${arn}:1`])
      expect(await documentAccess(context, reference)).toEqual(tagged)
    expect(await documentAccess(context, 'AWS-RunShellScript')).toEqual({
      resources: ['arn:aws:ssm:us-east-1::document/AWS-RunShellScript'],
    })
  })
})
