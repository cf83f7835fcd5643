import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const newAccount = async () => {
  const { account, config } = await testbed.account()
  return { account, ssm: new SSM(config) }
}

const script = (line: string) =>
  JSON.stringify({
    schemaVersion: '2.2',
    mainSteps: [{ action: 'aws:runShellScript', name: 'x', inputs: { runCommand: [line] } }],
  })

/** A document with versions 1 (default), 2 and 3, its owner, and somebody else. */
async function ownerAndConsumer() {
  const [owner, consumer] = await Promise.all([newAccount(), newAccount()])
  const Name = 'shared-doc'
  await owner.ssm.createDocument({ Name, Content: script('1'), Tags: [{ Key: 'secret', Value: 'plan' }] })
  await owner.ssm.updateDocument({ Name, Content: script('2'), DocumentVersion: '$LATEST', VersionName: 'two' })
  await owner.ssm.updateDocument({ Name, Content: script('3'), DocumentVersion: '$LATEST' })
  const arn = `arn:aws:ssm:us-east-1:${owner.account}:document/${Name}`
  const share = (AccountIdsToAdd: string[], SharedDocumentVersion?: string) =>
    owner.ssm.modifyDocumentPermission({ Name, PermissionType: 'Share', AccountIdsToAdd, SharedDocumentVersion })
  const unshare = (AccountIdsToRemove: string[]) =>
    owner.ssm.modifyDocumentPermission({ Name, PermissionType: 'Share', AccountIdsToRemove })
  const read = async (DocumentVersion?: string) =>
    (await consumer.ssm.getDocument({ Name: arn, DocumentVersion })).Content
  const versions = async () =>
    (await consumer.ssm.listDocumentVersions({ Name: arn })).DocumentVersions?.map((one) => one.DocumentVersion)
  return { owner, consumer, Name, arn, share, unshare, read, versions }
}

describe('a document shared with another account', () => {
  it('is read there by its ARN, and by nobody before and after', async () => {
    const { owner, consumer, arn, share, unshare, read } = await ownerAndConsumer()
    expect((await refusal(read())).name).toBe('InvalidDocument')
    await share([consumer.account])
    expect(await read()).toBe(script('1'))
    expect((await consumer.ssm.describeDocument({ Name: arn })).Document).toMatchObject({
      Name: arn,
      Owner: owner.account,
      DocumentVersion: '1',
      Tags: [],
    })
    expect((await refusal(consumer.ssm.getDocument({ Name: 'shared-doc' }))).name).toBe('InvalidDocument')
    const stranger = await newAccount()
    expect((await refusal(stranger.ssm.getDocument({ Name: arn }))).name).toBe('InvalidDocument')
    await unshare([consumer.account])
    expect((await refusal(read())).name).toBe('InvalidDocument')
  })

  it('shows the default version, the latest or all of them, as its owner says', async () => {
    const { owner, consumer, Name, share, read, versions } = await ownerAndConsumer()
    await share([consumer.account])
    expect(await versions()).toEqual(['1'])
    expect((await refusal(read('3'))).name).toBe('InvalidDocumentVersion')
    await owner.ssm.updateDocumentDefaultVersion({ Name, DocumentVersion: '2' })
    expect(await read()).toBe(script('2'))
    expect((await refusal(read('1'))).name).toBe('InvalidDocumentVersion')
    await share([consumer.account], '$LATEST')
    expect(await versions()).toEqual(['3'])
    expect(await read()).toBe(script('3'))
    await share([consumer.account], '$ALL')
    expect(await versions()).toEqual(['3', '2', '1'])
    expect(await read('1')).toBe(script('1'))
    expect(await read()).toBe(script('2'))
  })

  it('is listed there under its ARN, as private or public', async () => {
    const { owner, consumer, arn, share, unshare } = await ownerAndConsumer()
    const list = async (owners: string) =>
      ((await consumer.ssm.listDocuments({ Filters: [{ Key: 'Owner', Values: [owners] }] })).DocumentIdentifiers ?? [])
        .filter(({ Owner }) => Owner === owner.account)
        .map(({ Name, Owner }) => [Name, Owner])
    await share([consumer.account])
    expect(await list('Private')).toEqual([[arn, owner.account]])
    expect(await list('Public')).toEqual([])
    expect(await list('Self')).toEqual([])
    await unshare([consumer.account])
    await share(['all'])
    expect(await list('Private')).toEqual([])
    expect(await list('Public')).toEqual([[arn, owner.account]])
    const byTag = await consumer.ssm.listDocuments({ Filters: [{ Key: 'tag:secret', Values: ['plan'] }] })
    expect(byTag.DocumentIdentifiers).toEqual([])
    await unshare(['all'])
  })

  it('cannot be deleted before it is taken back', async () => {
    const { owner, consumer, Name, share, unshare } = await ownerAndConsumer()
    await share([consumer.account])
    expect((await refusal(owner.ssm.deleteDocument({ Name }))).name).toBe('InvalidDocumentOperation')
    await unshare([consumer.account])
    await owner.ssm.deleteDocument({ Name })
  })
})

describe('the permissions of a document', () => {
  it('are listed with the version each account sees, in pages', async () => {
    const { owner, Name, share, unshare } = await ownerAndConsumer()
    const page = (MaxResults?: number, NextToken?: string) =>
      owner.ssm.describeDocumentPermission({ Name, PermissionType: 'Share', MaxResults, NextToken })
    expect(await page()).toMatchObject({ AccountIds: [], AccountSharingInfoList: [] })
    await share(['222222222222', '111111111111'])
    await share(['333333333333'], '$LATEST')
    const first = await page(2)
    expect(first).toMatchObject({
      AccountIds: ['111111111111', '222222222222'],
      AccountSharingInfoList: [
        { AccountId: '111111111111', SharedDocumentVersion: '$DEFAULT' },
        { AccountId: '222222222222', SharedDocumentVersion: '$DEFAULT' },
      ],
    })
    const second = await page(2, first.NextToken)
    expect(second.AccountSharingInfoList).toEqual([{ AccountId: '333333333333', SharedDocumentVersion: '$LATEST' }])
    expect(second.NextToken).toBeUndefined()
    await unshare(['111111111111', '222222222222', '333333333333'])
    expect((await page()).AccountIds).toEqual([])
  })

  it('take at most five public documents of an account', async () => {
    const { ssm } = await newAccount()
    const open = (Name: string) =>
      ssm.modifyDocumentPermission({ Name, PermissionType: 'Share', AccountIdsToAdd: ['all'] })
    for (const number of [1, 2, 3, 4, 5, 6]) {
      await ssm.createDocument({ Name: `open-${number}`, Content: script('1') })
      if (number <= 5) await open(`open-${number}`)
    }
    expect((await refusal(open('open-6'))).name).toBe('DocumentPermissionLimit')
    expect((await ssm.describeDocumentPermission({ Name: 'open-6', PermissionType: 'Share' })).AccountIds).toEqual([])
    await open('open-5')
  })

  it('are never public where the account has blocked that', async () => {
    const { owner, share } = await ownerAndConsumer()
    await owner.ssm.updateServiceSetting({
      SettingId: '/ssm/documents/console/public-sharing-permission',
      SettingValue: 'Disable',
    })
    expect((await refusal(share(['all']))).name).toBe('ValidationException')
    await share(['111111111111'])
  })

  it('are refused for others and for mixtures', async () => {
    const { consumer, Name, share } = await ownerAndConsumer()
    expect((await refusal(share(['all', '111111111111']))).name).toBe('DocumentPermissionLimit')
    expect((await refusal(share(['123']))).name).toBe('ValidationException')
    const foreign = consumer.ssm.modifyDocumentPermission({ Name, PermissionType: 'Share', AccountIdsToAdd: ['all'] })
    expect((await refusal(foreign)).name).toBe('InvalidDocument')
  })
})

describe('the review of a version', () => {
  it('is asked for, answered, changed and remembered', async () => {
    const { account, ssm } = await newAccount()
    const Name = 'reviewed'
    await ssm.createDocument({ Name, Content: script('1') })
    const act = (Action: 'SendForReview' | 'UpdateReview' | 'Approve' | 'Reject', Content?: string) =>
      ssm.updateDocumentMetadata({
        Name,
        DocumentReviews: { Action, ...(Content ? { Comment: [{ Type: 'Comment', Content }] } : {}) },
      })
    expect((await refusal(act('Approve'))).name).toBe('InvalidDocumentOperation')
    await act('SendForReview', 'please')
    expect((await ssm.describeDocument({ Name })).Document).toMatchObject({
      ReviewStatus: 'PENDING',
      PendingReviewVersion: '1',
    })
    testbed.clock.advance(60_000)
    await act('Approve', 'fine')
    await act('UpdateReview', 'very fine')
    const { Document } = await ssm.describeDocument({ Name })
    expect(Document).toMatchObject({
      ReviewStatus: 'APPROVED',
      ApprovedVersion: '1',
      Author: expect.stringContaining(account),
      ReviewInformation: [{ Status: 'APPROVED', Reviewer: expect.stringContaining(account) }],
    })
    expect(Document?.PendingReviewVersion).toBeUndefined()
    const history = (NextToken?: string) =>
      ssm.listDocumentMetadataHistory({ Name, Metadata: 'DocumentReviews', MaxResults: 1, NextToken })
    const first = await history()
    expect(first).toMatchObject({ Name, DocumentVersion: '1', Author: expect.stringContaining(account) })
    const [answer] = first.Metadata?.ReviewerResponse ?? []
    expect(answer!.UpdatedTime!.getTime() - answer!.CreateTime!.getTime()).toBeGreaterThanOrEqual(60_000)
    expect(first.Metadata?.ReviewerResponse).toMatchObject([
      { ReviewStatus: 'APPROVED', Comment: [{ Type: 'Comment', Content: 'very fine' }] },
    ])
    const second = await history(first.NextToken)
    // An answer is of the moment that it was asked for.
    expect(second.Metadata?.ReviewerResponse?.[0]?.CreateTime).toEqual(answer?.CreateTime)
    expect(second.Metadata?.ReviewerResponse).toMatchObject([
      { ReviewStatus: 'PENDING', Comment: [{ Type: 'Comment', Content: 'please' }] },
    ])
    expect(second.NextToken).toBeUndefined()
  })

  it('belongs to its version: a new one starts without', async () => {
    const { ssm } = await newAccount()
    const Name = 'reviewed'
    await ssm.createDocument({ Name, Content: script('1') })
    await ssm.updateDocumentMetadata({ Name, DocumentReviews: { Action: 'SendForReview' } })
    await ssm.updateDocumentMetadata({ Name, DocumentReviews: { Action: 'Reject' } })
    await ssm.updateDocument({ Name, Content: script('2') })
    const versions = (await ssm.listDocumentVersions({ Name })).DocumentVersions
    expect(versions?.map((one) => one.ReviewStatus)).toEqual([undefined, 'REJECTED'])
    const elsewhere = { Name, DocumentVersion: '9', DocumentReviews: { Action: 'SendForReview' } } as const
    expect((await refusal(ssm.updateDocumentMetadata(elsewhere))).name).toBe('InvalidDocumentVersion')
  })
})
