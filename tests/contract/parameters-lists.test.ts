import { type ParameterStringFilter, SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
const newClient = async () => new SSM((await testbed.account()).config)

const NAMES = ['/app', '/app/a', '/app/a/deep', '/app/b', '/app/b/c/d', '/app-x/a', '/apple', 'flat', '/Z/z']

async function filled(): Promise<SSM> {
  const ssm = await newClient()
  for (const Name of NAMES) await ssm.putParameter({ Name, Value: Name, Type: 'String' })
  return ssm
}

const names = (answer: { Parameters?: { Name?: string }[] }) => answer.Parameters?.map(({ Name }) => Name)

describe('getting parameters by path', () => {
  it('returns one level, without the parameter of the path itself', async () => {
    const ssm = await filled()
    expect(names(await ssm.getParametersByPath({ Path: '/app' }))).toEqual(['/app/a', '/app/b'])
    expect(names(await ssm.getParametersByPath({ Path: '/app/' }))).toEqual(['/app/a', '/app/b'])
    expect(names(await ssm.getParametersByPath({ Path: '/' }))).toEqual(['/app', '/apple', 'flat'])
    expect(names(await ssm.getParametersByPath({ Path: '/none' }))).toEqual([])
  })

  it('returns all levels below when it is recursive', async () => {
    const ssm = await filled()
    const all = (Path: string) => ssm.getParametersByPath({ Path, Recursive: true })
    expect(names(await all('/app'))).toEqual(['/app/a', '/app/a/deep', '/app/b', '/app/b/c/d'])
    expect(names(await all('/'))).toEqual([
      '/Z/z',
      '/app',
      '/app-x/a',
      '/app/a',
      '/app/a/deep',
      '/app/b',
      '/app/b/c/d',
      '/apple',
      'flat',
    ])
  })

  it('goes through every parameter once, page by page', async () => {
    const ssm = await filled()
    const seen: (string | undefined)[] = []
    let NextToken: string | undefined
    do {
      const answer = await ssm.getParametersByPath({ Path: '/', Recursive: true, MaxResults: 2, NextToken })
      expect(answer.Parameters?.length).toBeLessThanOrEqual(2)
      seen.push(...(names(answer) ?? []))
      NextToken = answer.NextToken
    } while (NextToken)
    expect(seen.toSorted()).toEqual([...NAMES].sort())
  })

  it('refuses a token of another listing, of another account and a made-up one', async () => {
    const [ssm, other] = [await filled(), await filled()]
    const { NextToken } = await ssm.getParametersByPath({ Path: '/app', MaxResults: 1 })
    expect(NextToken).toBeDefined()
    expect(await refusal(ssm.describeParameters({ NextToken }))).toMatchObject({ name: 'InvalidNextToken' })
    expect(await refusal(other.getParametersByPath({ Path: '/app', NextToken }))).toMatchObject({
      name: 'InvalidNextToken',
    })
    expect(await refusal(ssm.getParametersByPath({ Path: '/app', NextToken: 'AAAA' }))).toMatchObject({
      name: 'InvalidNextToken',
    })
  })

  it.each(['app', '//', '/app//a', '/app?', '/ssm/x'])('refuses the path %s', async (Path) => {
    const ssm = await newClient()
    const { name, message } = await refusal(ssm.getParametersByPath({ Path }))
    expect(name).toBe('ValidationException')
    expect(message).toMatch(
      /^The parameter doesn't meet the parameter name requirements\. The parameter name must begin with/,
    )
  })

  it('filters by type, key and label, and a label chooses the version', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: '/f/text', Value: '1', Type: 'String' })
    await ssm.putParameter({ Name: '/f/text', Value: '2', Overwrite: true })
    await ssm.putParameter({ Name: '/f/list', Value: 'a,b', Type: 'StringList' })
    await ssm.putParameter({ Name: '/f/secret', Value: 's', Type: 'SecureString' })
    await ssm.labelParameterVersion({ Name: '/f/text', ParameterVersion: 1, Labels: ['old'] })
    await ssm.labelParameterVersion({ Name: '/f/list', Labels: ['current'] })
    const by = async (...ParameterFilters: ParameterStringFilter[]) =>
      names(await ssm.getParametersByPath({ Path: '/f', ParameterFilters }))
    expect(await by({ Key: 'Type', Values: ['String'] })).toEqual(['/f/text'])
    expect(await by({ Key: 'Type', Option: 'BeginsWith', Values: ['String'] })).toEqual(['/f/list', '/f/text'])
    expect(await by({ Key: 'KeyId', Values: ['alias/aws/ssm'] })).toEqual(['/f/secret'])
    expect(await by({ Key: 'KeyId', Option: 'BeginsWith', Values: ['alias/'] })).toEqual(['/f/secret'])
    expect(await by({ Key: 'Label', Values: ['old', 'current'] })).toEqual(['/f/list', '/f/text'])
    expect(await by({ Key: 'Label', Values: ['old'] }, { Key: 'Type', Values: ['StringList'] })).toEqual([])
    const labelled = await ssm.getParametersByPath({
      Path: '/',
      Recursive: true,
      ParameterFilters: [{ Key: 'Label', Values: ['old'] }],
    })
    expect(labelled.Parameters).toMatchObject([{ Name: '/f/text', Value: '1', Version: 1 }])
  })

  it.each(['Name', 'Path', 'Tier', 'DataType', 'tag:k'])('knows no filter %s', async (Key) => {
    const ssm = await newClient()
    const filter = ssm.getParametersByPath({ Path: '/', ParameterFilters: [{ Key, Values: ['v'] }] })
    expect(await refusal(filter)).toEqual({
      name: 'InvalidFilterKey',
      message: `The following filter key is not valid: ${Key}. Valid filter keys include: [Type, KeyId].`,
    })
  })
})

describe('describing parameters', () => {
  it('tells everything but values and labels', async () => {
    const ssm = await newClient()
    await ssm.putParameter({
      Name: 'd',
      Value: 'secret',
      Type: 'SecureString',
      Description: 'what',
      AllowedPattern: '.*',
    })
    const { Parameters, NextToken } = await ssm.describeParameters({})
    expect(NextToken).toBeUndefined()
    expect(Parameters).toEqual([
      {
        Name: 'd',
        ARN: expect.stringMatching(/:parameter\/d$/),
        Type: 'SecureString',
        KeyId: 'alias/aws/ssm',
        LastModifiedDate: expect.any(Date),
        LastModifiedUser: expect.stringMatching(/^arn:aws:iam::\d{12}:root$/),
        Description: 'what',
        AllowedPattern: '.*',
        Version: 1,
        Tier: 'Standard',
        Policies: [],
        DataType: 'text',
      },
    ])
  })

  const find = (Key: string, Values?: string[], Option?: string) => [{ Key, Values, Option }]
  it.each<[string, ParameterStringFilter[], string[]]>([
    ['a name', find('Name', ['app', '/flat']), ['/app', 'flat']],
    [
      'the start of a name, with or without its slash',
      find('Name', ['app'], 'BeginsWith'),
      ['/app', '/app-x/a', '/app/a', '/app/a/deep', '/app/b', '/app/b/c/d', '/apple'],
    ],
    [
      'a part of a name as it was created',
      find('Name', ['/flat', 'x/', 'deep'], 'Contains'),
      ['/app-x/a', '/app/a/deep'],
    ],
    ['one level of a path', find('Path', ['/app']), ['/app/a', '/app/b']],
    ['the first level', find('Path', ['/']), ['/app', '/apple', 'flat']],
    ['several paths', find('Path', ['/app/a', '/Z'], 'OneLevel'), ['/Z/z', '/app/a/deep']],
    ['all below a path', find('Path', ['/app/b'], 'Recursive'), ['/app/b/c/d']],
    [
      'a path and a name',
      [...find('Path', ['/app'], 'Recursive'), ...find('Name', ['/app/a'], 'BeginsWith')],
      ['/app/a', '/app/a/deep'],
    ],
    ['a type', find('Type', ['SecureString']), []],
    [
      'a tier',
      find('Tier', ['Standard'], 'Equals'),
      ['/Z/z', '/app', '/app-x/a', '/app/a', '/app/a/deep', '/app/b', '/app/b/c/d', '/apple', 'flat'],
    ],
    ['a data type', find('DataType', ['aws:'], 'BeginsWith'), []],
    ['a wildcard, which is none', find('Name', ['%'], 'Contains'), []],
  ])('filters by %s', async (_, ParameterFilters, expected) => {
    const ssm = await filled()
    expect(names(await ssm.describeParameters({ ParameterFilters }))).toEqual(expected)
  })

  it('filters by tags', async () => {
    const ssm = await newClient()
    const tag = (Name: string, ...Tags: { Key: string; Value: string }[]) =>
      ssm.putParameter({ Name, Value: 'v', Type: 'String', Tags })
    await tag('one', { Key: 'env', Value: 'prod' }, { Key: 'team', Value: 'a' })
    await tag('two', { Key: 'env', Value: 'preprod' })
    await tag('three')
    const by = async (...ParameterFilters: ParameterStringFilter[]) =>
      names(await ssm.describeParameters({ ParameterFilters }))
    expect(await by({ Key: 'tag:env' })).toEqual(['one', 'two'])
    expect(await by({ Key: 'tag:env', Values: ['prod', 'x'] })).toEqual(['one'])
    expect(await by({ Key: 'tag:env', Option: 'BeginsWith', Values: ['pr'] })).toEqual(['one', 'two'])
    expect(await by({ Key: 'tag:env' }, { Key: 'tag:team', Values: ['a'] })).toEqual(['one'])
  })

  it('takes the older filters too, but not both', async () => {
    const ssm = await filled()
    const Filters = [{ Key: 'Name' as const, Values: ['/app/'] }]
    expect(names(await ssm.describeParameters({ Filters }))).toEqual(['/app/a', '/app/a/deep', '/app/b', '/app/b/c/d'])
    expect(await refusal(ssm.describeParameters({ Filters, ParameterFilters: find('Type', ['String']) }))).toEqual({
      name: 'ValidationException',
      message: 'You can use either Filters or ParameterFilters in a single request.',
    })
  })

  it('goes through every parameter once, page by page', async () => {
    const ssm = await filled()
    const seen: (string | undefined)[] = []
    let NextToken: string | undefined
    do {
      const answer = await ssm.describeParameters({ MaxResults: 4, NextToken })
      seen.push(...(names(answer) ?? []))
      NextToken = answer.NextToken
    } while (NextToken)
    expect(seen.toSorted()).toEqual([...NAMES].sort())
  })

  it.each<[string, ParameterStringFilter[], string, unknown]>([
    [
      'a label',
      find('Label', ['l']),
      'InvalidFilterKey',
      'The following filter key is not valid: Label. Valid filter keys include: [Path, Name, Type, KeyId, Tier].',
    ],
    [
      'no values',
      find('Name'),
      'InvalidFilterValue',
      'The following filter values are missing : null for filter key Name.',
    ],
    [
      'a key twice',
      [...find('Name', ['a']), ...find('Name', ['b'])],
      'InvalidFilterKey',
      'The following filter is duplicated in the request: Name. A request can contain only one occurrence of a specific filter.',
    ],
    [
      'a wrong path option',
      find('Path', ['/a'], 'Equals'),
      'InvalidFilterOption',
      'The following filter option is not valid: Equals. Valid options include: [Recursive, OneLevel].',
    ],
    [
      'a wrong option',
      find('Type', ['String'], 'Contains'),
      'InvalidFilterOption',
      'The following filter option is not valid: Contains. Valid options include: [BeginsWith, Equals].',
    ],
    [
      'no type',
      find('Type', ['Text']),
      'InvalidFilterOption',
      'The following filter value is not valid: Text. Valid values include: [String, StringList, SecureString].',
    ],
    [
      'no tier',
      find('Tier', ['Gold']),
      'InvalidFilterOption',
      'The following filter value is not valid: Gold. Valid values include: [Standard, Advanced, Intelligent-Tiering].',
    ],
    [
      'a reserved path',
      find('Path', ['/aws/x']),
      'ValidationException',
      'Filters for common parameters can\'t be prefixed with "aws" or "ssm" (case-insensitive). When using global parameters, please specify within a global namespace.',
    ],
    [
      'no path',
      find('Path', ['x']),
      'ValidationException',
      expect.stringContaining("doesn't meet the parameter name requirements"),
    ],
    ['a NUL', find('Name', ['a\u0000']), 'InvalidFilterValue', expect.any(String)],
  ])('refuses %s', async (_, ParameterFilters, name, message) => {
    const ssm = await newClient()
    expect(await refusal(ssm.describeParameters({ ParameterFilters }))).toEqual({ name, message })
  })
})
