import { type DocumentKeyValuesFilter, SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const script = (action: string) =>
  JSON.stringify({ schemaVersion: '2.2', mainSteps: [{ action, name: 'x', inputs: { runCommand: ['true'] } }] })

async function withDocuments() {
  const ssm = new SSM((await testbed.account()).config)
  await ssm.createDocument({
    Name: 'web-deploy',
    Content: script('aws:runShellScript'),
    TargetType: '/AWS::EC2::Instance',
    DisplayName: 'Deploy the web',
    VersionName: 'v1',
    Tags: [{ Key: 'team', Value: 'web' }],
  })
  await ssm.createDocument({
    Name: 'web-policy',
    Content: script('aws:runPowerShellScript'),
    DocumentType: 'Policy',
    Tags: [{ Key: 'team', Value: 'ops' }],
  })
  await ssm.createDocument({ Name: 'Registry', Content: script('aws:applications') })
  const names = async (...Filters: DocumentKeyValuesFilter[]) =>
    ((await ssm.listDocuments({ Filters })).DocumentIdentifiers ?? []).map(({ Name }) => Name)
  return { ssm, names }
}

const self = { Key: 'Owner', Values: ['Self'] }

describe('the list of documents', () => {
  it("shows an account's own and Amazon's documents, in order of their names", async () => {
    const { ssm, names } = await withDocuments()
    const all = await names()
    expect(all).toEqual([...all].sort())
    expect(all).toEqual(expect.arrayContaining(['AWS-RunShellScript', 'Registry', 'web-deploy', 'web-policy']))
    expect(all).not.toContain('SSM-SessionManagerRunShell')
    const { DocumentIdentifiers } = await ssm.listDocuments({ Filters: [{ Key: 'Name', Values: ['web-deploy'] }] })
    expect(DocumentIdentifiers).toEqual([
      {
        Name: 'web-deploy',
        CreatedDate: expect.any(Date),
        DisplayName: 'Deploy the web',
        VersionName: 'v1',
        Owner: expect.stringMatching(/^[0-9]{12}$/),
        PlatformTypes: ['Linux', 'MacOS'],
        DocumentVersion: '1',
        DocumentType: 'Command',
        SchemaVersion: '2.2',
        DocumentFormat: 'JSON',
        TargetType: '/AWS::EC2::Instance',
        Tags: [{ Key: 'team', Value: 'web' }],
      },
    ])
  })

  it('is filtered by the beginning of names, any of several', async () => {
    const { names } = await withDocuments()
    expect(await names({ Key: 'Name', Values: ['web-'] })).toEqual(['web-deploy', 'web-policy'])
    expect(await names({ Key: 'Name', Values: ['web-d', 'Reg'] })).toEqual(['Registry', 'web-deploy'])
    expect(await names({ Key: 'Name', Values: ['eb-'] })).toEqual([])
  })

  it('is filtered by owner', async () => {
    const { names } = await withDocuments()
    expect(await names(self)).toEqual(['Registry', 'web-deploy', 'web-policy'])
    const amazon = await names({ Key: 'Owner', Values: ['Amazon'] })
    expect(amazon).toContain('AWS-RunShellScript')
    expect(amazon).not.toContain('Registry')
    expect(await names({ Key: 'Owner', Values: ['Public'] })).toEqual(expect.arrayContaining(amazon))
    expect(await names({ Key: 'Owner', Values: ['Private'] })).toEqual([])
    expect(await names({ Key: 'Owner', Values: ['ThirdParty'] })).toEqual([])
  })

  it('is filtered by platform, type, target type and keyword, all of which must hold', async () => {
    const { names } = await withDocuments()
    expect(await names(self, { Key: 'PlatformTypes', Values: ['Windows'] })).toEqual(['Registry', 'web-policy'])
    expect(await names(self, { Key: 'PlatformTypes', Values: ['Linux', 'Windows'] })).toHaveLength(3)
    expect(await names(self, { Key: 'DocumentType', Values: ['Policy'] })).toEqual(['web-policy'])
    expect(await names(self, { Key: 'TargetType', Values: ['/AWS::EC2::Instance'] })).toEqual(['web-deploy'])
    expect(await names(self, { Key: 'SearchKeyword', Values: ['POLICY'] })).toEqual(['web-policy'])
    expect(
      await names(self, { Key: 'DocumentType', Values: ['Command'] }, { Key: 'PlatformTypes', Values: ['Windows'] }),
    ).toEqual(['Registry'])
  })

  it('is filtered by tag', async () => {
    const { names } = await withDocuments()
    expect(await names({ Key: 'tag:team', Values: ['web', 'none'] })).toEqual(['web-deploy'])
    expect(await names({ Key: 'tag:team', Values: [] })).toEqual(['web-deploy', 'web-policy'])
    expect(await names({ Key: 'tag:Team', Values: ['web'] })).toEqual([])
  })

  it('knows the older filters', async () => {
    const { ssm } = await withDocuments()
    const { DocumentIdentifiers } = await ssm.listDocuments({
      DocumentFilterList: [
        { key: 'Owner', value: 'Self' },
        { key: 'DocumentType', value: 'Policy' },
      ],
    })
    expect(DocumentIdentifiers?.map(({ Name }) => Name)).toEqual(['web-policy'])
  })

  it('comes in pages that together are the whole', async () => {
    const { ssm, names } = await withDocuments()
    const found: (string | undefined)[] = []
    let NextToken: string | undefined
    do {
      const page = await ssm.listDocuments({ MaxResults: 2, NextToken })
      expect(page.DocumentIdentifiers?.length).toBeLessThanOrEqual(2)
      found.push(...(page.DocumentIdentifiers ?? []).map(({ Name }) => Name))
      NextToken = page.NextToken
    } while (NextToken)
    expect(found).toEqual(await names())
    expect((await refusal(ssm.listDocuments({ NextToken: 'mine' }))).name).toBe('InvalidNextToken')
  })

  it('refuses filters that it does not know', async () => {
    const { ssm, names } = await withDocuments()
    expect((await refusal(names({ Key: 'Nonsense', Values: ['x'] }))).name).toBe('InvalidFilterKey')
    expect((await refusal(names({ Key: 'Owner', Values: ['Me'] }))).name).toBe('ValidationException')
    expect((await refusal(names({ Key: 'Owner', Values: ['Self', 'Amazon'] }))).name).toBe('ValidationException')
    expect((await refusal(names({ Key: 'tag:a', Values: ['1'] }, { Key: 'tag:b', Values: ['2'] }))).name).toBe(
      'ValidationException',
    )
    const both = ssm.listDocuments({ Filters: [self], DocumentFilterList: [{ key: 'Owner', value: 'Self' }] })
    expect((await refusal(both)).name).toBe('ValidationException')
  })
})
