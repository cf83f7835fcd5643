import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

/** A client of an account of its own. */
const newClient = async () => new SSM((await testbed.account()).config)

/** The service sends no text with it; the SDK says so in these words. */
const NOT_FOUND = { name: 'ParameterNotFound', message: 'UnknownError' }

describe('putting a parameter', () => {
  it('creates version 1 in the standard tier, which GetParameter returns whole', async () => {
    const ssm = await newClient()
    const before = testbed.clock.now().getTime()
    expect(await ssm.putParameter({ Name: '/app/url', Value: 'https://a.example', Type: 'String' })).toMatchObject({
      Version: 1,
      Tier: 'Standard',
    })
    const { Parameter } = await ssm.getParameter({ Name: '/app/url' })
    expect(Parameter).toEqual({
      Name: '/app/url',
      Type: 'String',
      Value: 'https://a.example',
      Version: 1,
      LastModifiedDate: expect.any(Date),
      ARN: expect.stringMatching(/^arn:aws:ssm:[a-z0-9-]+:\d{12}:parameter\/app\/url$/),
      DataType: 'text',
    })
    expect(Parameter?.LastModifiedDate?.getTime()).toBeGreaterThanOrEqual(before - 1)
  })

  it('of a name that is taken is refused, whatever else is wrong with the request', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: 'taken', Value: 'v', Type: 'String' })
    const expected = {
      name: 'ParameterAlreadyExists',
      message:
        'The parameter already exists. To overwrite this value, set the overwrite option in the request to true.',
    }
    expect(await refusal(ssm.putParameter({ Name: 'taken', Value: 'v', Type: 'String' }))).toEqual(expected)
    expect(await refusal(ssm.putParameter({ Name: '/taken', Value: 'v' }))).toEqual(expected)
    const Policies = 'nonsense'
    expect(await refusal(ssm.putParameter({ Name: 'taken', Value: 'v', Type: 'String', Policies }))).toEqual(expected)
  })

  it('with Overwrite replaces the value and keeps what the request leaves out', async () => {
    const ssm = await newClient()
    const Name = 'kept'
    await ssm.putParameter({
      Name,
      Value: '1',
      Type: 'String',
      Description: 'd',
      AllowedPattern: '^\\d$',
      Tier: 'Advanced',
    })
    expect(await ssm.putParameter({ Name, Value: '2', Overwrite: true })).toMatchObject({
      Version: 2,
      Tier: 'Advanced',
    })
    const { Parameters } = await ssm.describeParameters({})
    expect(Parameters).toMatchObject([
      {
        Name,
        Type: 'String',
        Description: 'd',
        AllowedPattern: '^\\d$',
        Tier: 'Advanced',
        Version: 2,
        DataType: 'text',
      },
    ])
    expect(await refusal(ssm.putParameter({ Name, Value: 'x', Overwrite: true }))).toEqual({
      name: 'ParameterPatternMismatchException',
      message: 'Parameter value, cannot be validated against allowedPattern: ^\\d$',
    })
  })

  it('with Overwrite creates what is not there, and needs its type then', async () => {
    const ssm = await newClient()
    expect(await ssm.putParameter({ Name: 'new', Value: 'v', Type: 'String', Overwrite: true })).toMatchObject({
      Version: 1,
    })
    expect(await refusal(ssm.putParameter({ Name: 'other', Value: 'v', Overwrite: true }))).toEqual({
      name: 'ValidationException',
      message: 'A parameter type is required when you create a parameter.',
    })
    expect(await refusal(ssm.putParameter({ Name: 'other', Value: 'v' }))).toMatchObject({
      name: 'ValidationException',
    })
  })

  it('cannot change the type', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: 'typed', Value: 'v', Type: 'String' })
    const change = ssm.putParameter({ Name: 'typed', Value: 'v', Type: 'StringList', Overwrite: true })
    expect(await refusal(change)).toMatchObject({ name: 'HierarchyTypeMismatchException' })
  })

  it('takes tags at creation, and none with Overwrite', async () => {
    const ssm = await newClient()
    const Tags = [
      { Key: 'b', Value: '2' },
      { Key: 'a', Value: '' },
    ]
    await ssm.putParameter({ Name: 'tagged', Value: 'v', Type: 'String', Tags })
    const { TagList } = await ssm.listTagsForResource({ ResourceType: 'Parameter', ResourceId: 'tagged' })
    expect(TagList).toEqual([Tags[1], Tags[0]])
    expect(await refusal(ssm.putParameter({ Name: 'tagged', Value: 'v', Overwrite: true, Tags }))).toEqual({
      name: 'ValidationException',
      message:
        "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.",
    })
    const many = Array.from({ length: 51 }, (_, index) => ({ Key: `k${index}`, Value: '' }))
    const tooMany = ssm.putParameter({ Name: 'many', Value: 'v', Type: 'String', Tags: many })
    expect(await refusal(tooMany)).toMatchObject({ name: 'ValidationException' })
    expect(await refusal(ssm.getParameter({ Name: 'many' }))).toMatchObject({ name: 'ParameterNotFound' })
  })

  it.each([
    ['', 'has no value'],
    ['{{other}}', 'nests another parameter'],
    ['a {{ssm:other}} b', 'nests another parameter'],
    ['a\u0000b', 'holds a NUL'],
    ['a\ud83d', 'holds half a character, which could not come back as it was'],
  ])('with the value %j is refused, since it %s', async (Value) => {
    const ssm = await newClient()
    expect(await refusal(ssm.putParameter({ Name: 'v', Value, Type: 'String' }))).toMatchObject({
      name: 'ValidationException',
    })
  })

  it('that is a megabyte of opening braces is refused by its length, and holds nobody up', async () => {
    const ssm = await newClient()
    const refused = await refusal(ssm.putParameter({ Name: 'v', Value: '{'.repeat(900_000), Type: 'String' }))
    expect(refused.message).toMatch(/^Standard tier parameters support a maximum parameter value of 4096 characters\./)
  })

  it('keeps any text as it is', async () => {
    const ssm = await newClient()
    const Value = '\t"quoted" \\ back, ünïcödé 🚢 \r\n{brace} \u2028'
    await ssm.putParameter({ Name: 'text', Value, Type: 'StringList' })
    expect((await ssm.getParameter({ Name: 'text' })).Parameter).toMatchObject({ Value, Type: 'StringList' })
  })

  it.each([
    ['aws.x', 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).'],
    ['/SSMx', 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).'],
    ['/ssm/x', expect.stringContaining('If formed as a path, it can consist of sub-paths divided by slash symbol')],
    ['a/b', expect.stringContaining('If formed as a path')],
    ['/a//b', expect.stringContaining('If formed as a path')],
    ['/a/', expect.stringContaining('If formed as a path')],
    ['a b', expect.stringContaining('letters, numbers and the following 3 symbols .-_')],
  ])('under the name %s is refused', async (Name, message) => {
    const ssm = await newClient()
    expect(await refusal(ssm.putParameter({ Name, Value: 'v', Type: 'String' }))).toEqual({
      name: 'ValidationException',
      message,
    })
  })

  it('under /aws is denied', async () => {
    const ssm = await newClient()
    const { name, message } = await refusal(ssm.putParameter({ Name: '/aws/x', Value: 'v', Type: 'String' }))
    expect(name).toBe('AccessDeniedException')
    expect(message).toContain('No access to reserved parameter name: /aws/x')
  })

  it('goes fifteen levels deep and not further', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: '/l'.repeat(15), Value: 'v', Type: 'String' })
    expect(await refusal(ssm.putParameter({ Name: '/l'.repeat(16), Value: 'v', Type: 'String' }))).toMatchObject({
      name: 'HierarchyLevelLimitExceededException',
    })
  })

  it('with an invalid pattern is refused, and so is one that would never finish', async () => {
    const ssm = await newClient()
    const put = (AllowedPattern: string, Value = 'v') =>
      refusal(ssm.putParameter({ Name: 'p', Value, Type: 'String', AllowedPattern }))
    expect(await put('[')).toMatchObject({ name: 'InvalidAllowedPatternException' })
    expect(await put('^(a+)+$', `${'a'.repeat(3000)}!`)).toMatchObject({ name: 'InvalidAllowedPatternException' })
    expect(await put('^\\d+$')).toMatchObject({ name: 'ParameterPatternMismatchException' })
  })

  it('knows the data types, and an image id when it sees one', async () => {
    const ssm = await newClient()
    const put = (Name: string, DataType: string, Value: string) =>
      ssm.putParameter({ Name, DataType, Value, Type: 'String' })
    expect(await refusal(put('d', 'Text', 'v'))).toEqual({
      name: 'ValidationException',
      message: 'The following data type is not supported: Text (Data type names are all lowercase.)',
    })
    await put('image', 'aws:ec2:image', 'ami-0123456789abcdef0')
    expect((await ssm.getParameter({ Name: 'image' })).Parameter?.DataType).toBe('aws:ec2:image')
    expect(await refusal(put('wrong', 'aws:ec2:image', 'i-0123456789abcdef0'))).toMatchObject({
      name: 'ValidationException',
    })
  })

  it('names every shape limit it breaks in the words of the service', async () => {
    const ssm = await newClient()
    const wrongType = ssm.putParameter({ Name: 'n', Value: 'v', Type: 'Foo' as 'String' })
    expect((await refusal(wrongType)).message).toMatch(
      /^1 validation error detected: Value 'Foo' at 'type' failed to satisfy constraint: Member must satisfy enum value set: \[/,
    )
    const twice = ssm.putParameter({
      Name: 'n'.repeat(2049),
      Value: 'v',
      Type: 'String',
      Description: 'd'.repeat(1025),
    })
    expect((await refusal(twice)).message).toMatch(/^2 validation errors detected: /)
  })
})

describe('tiers', () => {
  it('hold 4,096 bytes in the standard one and 8,192 in the advanced one', async () => {
    const ssm = await newClient()
    const put = (Name: string, Tier: 'Standard' | 'Advanced', bytes: number) =>
      ssm.putParameter({ Name, Type: 'String', Tier, Value: `ä${'v'.repeat(bytes - 2)}` })
    await put('s', 'Standard', 4096)
    await put('a', 'Advanced', 8192)
    expect((await refusal(put('s.', 'Standard', 4097))).message).toMatch(
      /^Standard tier parameters support a maximum parameter value of 4096 characters\./,
    )
    expect(await refusal(put('a.', 'Advanced', 8193))).toMatchObject({ name: 'ValidationException' })
  })

  it('follow the need when they are intelligent', async () => {
    const ssm = await newClient()
    const put = (Name: string, Value: string) =>
      ssm.putParameter({ Name, Type: 'String', Tier: 'Intelligent-Tiering', Value, Overwrite: true })
    expect((await put('small', 'v')).Tier).toBe('Standard')
    expect((await put('large', 'v'.repeat(4097))).Tier).toBe('Advanced')
    expect((await put('small', 'v'.repeat(4097))).Tier).toBe('Advanced')
    expect((await put('small', 'v')).Tier).toBe('Advanced')
  })

  it('never go back', async () => {
    const ssm = await newClient()
    const put = (Tier: 'Standard' | 'Advanced') =>
      ssm.putParameter({ Name: 'n', Type: 'String', Tier, Value: 'v', Overwrite: true })
    expect((await put('Standard')).Tier).toBe('Standard')
    expect((await put('Advanced')).Tier).toBe('Advanced')
    const { name, message } = await refusal(put('Standard'))
    expect(name).toBe('ValidationException')
    expect(message).toContain("You can't downgrade a parameter from the advanced-parameter tier")
  })

  it('are the account default when the request names none', async () => {
    const ssm = await newClient()
    const SettingId = '/ssm/parameter-store/default-parameter-tier'
    await ssm.updateServiceSetting({ SettingId, SettingValue: 'Advanced' })
    expect((await ssm.putParameter({ Name: 'a', Type: 'String', Value: 'v' })).Tier).toBe('Advanced')
    await ssm.updateServiceSetting({ SettingId, SettingValue: 'Intelligent-Tiering' })
    expect((await ssm.putParameter({ Name: 'b', Type: 'String', Value: 'v' })).Tier).toBe('Standard')
    const large = 'v'.repeat(5000)
    expect((await ssm.putParameter({ Name: 'b', Value: large, Overwrite: true })).Tier).toBe('Advanced')
    await ssm.resetServiceSetting({ SettingId })
    expect((await ssm.putParameter({ Name: 'c', Type: 'String', Value: 'v' })).Tier).toBe('Standard')
  })
})

describe('a name', () => {
  it('of one segment means the same parameter with and without its slash, and is answered as it was asked', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: 'one', Value: 'v', Type: 'String' })
    expect((await ssm.getParameter({ Name: '/one' })).Parameter).toMatchObject({
      Name: '/one',
      ARN: expect.stringMatching(/:parameter\/one$/),
    })
    expect((await ssm.getParameter({ Name: 'one' })).Parameter?.Name).toBe('one')
    expect((await ssm.putParameter({ Name: '/one', Value: 'w', Overwrite: true })).Version).toBe(2)
    expect((await ssm.describeParameters({})).Parameters).toMatchObject([{ Name: 'one', Version: 2 }])
  })

  it('is case-sensitive', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: 'case', Value: 'v', Type: 'String' })
    expect(await refusal(ssm.getParameter({ Name: 'Case' }))).toEqual(NOT_FOUND)
  })

  it('may be the own ARN when reading, and no other account sees it', async () => {
    const [ssm, stranger] = [await newClient(), await newClient()]
    await ssm.putParameter({ Name: '/arn/x', Value: 'v', Type: 'String' })
    const { ARN } = (await ssm.getParameter({ Name: '/arn/x' })).Parameter ?? {}
    expect((await ssm.getParameter({ Name: ARN })).Parameter).toMatchObject({ Name: '/arn/x', Value: 'v' })
    expect((await ssm.getParameters({ Names: [`${ARN}:1`] })).Parameters).toMatchObject([
      { Name: '/arn/x', Selector: ':1' },
    ])
    expect(await refusal(stranger.getParameter({ Name: ARN }))).toMatchObject({ name: 'ParameterNotFound' })
    expect(await refusal(stranger.getParameter({ Name: '/arn/x' }))).toMatchObject({ name: 'ParameterNotFound' })
    expect(await refusal(ssm.putParameter({ Name: ARN, Value: 'v', Overwrite: true }))).toMatchObject({
      name: 'ValidationException',
    })
  })

  it('belongs to its region', async () => {
    const { config } = await testbed.account()
    const [here, there] = [new SSM(config), new SSM({ ...config, region: 'eu-central-1' })]
    await here.putParameter({ Name: 'regional', Value: 'v', Type: 'String' })
    expect(await refusal(there.getParameter({ Name: 'regional' }))).toMatchObject({ name: 'ParameterNotFound' })
    await there.putParameter({ Name: 'regional', Value: 'w', Type: 'String' })
    expect((await here.getParameter({ Name: 'regional' })).Parameter?.Value).toBe('v')
  })
})

describe('getting several parameters', () => {
  it('returns them by name, each once, and tells which are not there', async () => {
    const ssm = await newClient()
    for (const Name of ['c', '/a/x', 'b']) await ssm.putParameter({ Name, Value: Name, Type: 'String' })
    const answer = await ssm.getParameters({ Names: ['c', 'none', '/a/x', 'c', 'c:1', 'c:9', 'c:label', 'not a name'] })
    expect(answer.Parameters?.map(({ Name, Selector }) => [Name, Selector])).toEqual([
      ['/a/x', undefined],
      ['c', undefined],
      ['c', ':1'],
    ])
    expect(answer.InvalidParameters).toEqual(['none', 'c:9', 'c:label', 'not a name'])
  })

  it('takes ten names at most', async () => {
    const ssm = await newClient()
    const Names = Array.from({ length: 11 }, (_, index) => `n${index}`)
    expect((await refusal(ssm.getParameters({ Names }))).message).toBe(
      `1 validation error detected: Value '[${Names.join(', ')}]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 10`,
    )
  })
})

describe('deleting', () => {
  it('takes history, labels and tags with it: a new parameter of the name starts anew', async () => {
    const ssm = await newClient()
    const Name = '/gone/x'
    await ssm.putParameter({ Name, Value: '1', Type: 'String', Tags: [{ Key: 'k', Value: 'v' }] })
    await ssm.putParameter({ Name, Value: '2', Overwrite: true })
    await ssm.labelParameterVersion({ Name, ParameterVersion: 1, Labels: ['first'] })
    await ssm.deleteParameter({ Name })
    expect(await refusal(ssm.getParameter({ Name }))).toEqual(NOT_FOUND)
    expect(await refusal(ssm.getParameterHistory({ Name }))).toMatchObject({ name: 'ParameterNotFound' })
    expect(await refusal(ssm.deleteParameter({ Name }))).toEqual(NOT_FOUND)
    expect((await ssm.putParameter({ Name, Value: '3', Type: 'StringList' })).Version).toBe(1)
    expect((await ssm.getParameterHistory({ Name })).Parameters).toMatchObject([{ Version: 1, Labels: [], Value: '3' }])
    expect((await ssm.listTagsForResource({ ResourceType: 'Parameter', ResourceId: Name })).TagList).toEqual([])
  })

  it('of several tells which were there, and takes no selectors', async () => {
    const ssm = await newClient()
    for (const Name of ['a', 'b']) await ssm.putParameter({ Name, Value: 'v', Type: 'String' })
    const { DeletedParameters, InvalidParameters } = await ssm.deleteParameters({ Names: ['a', 'none', 'b:1'] })
    expect({ DeletedParameters, InvalidParameters }).toEqual({
      DeletedParameters: ['a'],
      InvalidParameters: ['none', 'b:1'],
    })
    expect((await ssm.getParameter({ Name: 'b' })).Parameter?.Value).toBe('v')
  })
})
