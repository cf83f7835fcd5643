import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
const newClient = async () => new SSM((await testbed.account()).config)

/** A parameter with versions 1 to `count`, whose values are their numbers. */
async function versions(ssm: SSM, Name: string, count: number): Promise<void> {
  for (let version = 1; version <= count; version++) {
    await ssm.putParameter({ Name, Value: String(version), Type: 'String', Overwrite: true })
  }
}

describe('versions', () => {
  it('are chosen by number after a colon', async () => {
    const ssm = await newClient()
    await versions(ssm, '/v/x', 3)
    expect((await ssm.getParameter({ Name: '/v/x:2' })).Parameter).toMatchObject({
      Name: '/v/x',
      Value: '2',
      Version: 2,
      Selector: ':2',
    })
    expect((await ssm.getParameter({ Name: '/v/x:3' })).Parameter).toMatchObject({ Value: '3', Selector: ':3' })
    expect((await ssm.getParameter({ Name: '/v/x' })).Parameter).not.toHaveProperty('Selector')
  })

  it('that do not exist are told so, however large their number', async () => {
    const ssm = await newClient()
    await versions(ssm, 'n', 1)
    for (const version of ['2', '0', '99999999999999999999999']) {
      expect(await refusal(ssm.getParameter({ Name: `n:${version}` }))).toEqual({
        name: 'ParameterVersionNotFound',
        message: `Systems Manager could not find version ${version} of n. Verify the version and try again.`,
      })
    }
    expect(await refusal(ssm.getParameter({ Name: 'none:1' }))).toMatchObject({ name: 'ParameterNotFound' })
  })

  it('are told oldest first in pages, with all that they were', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: 'h', Value: '1', Type: 'String', Description: 'first', Tier: 'Advanced' })
    await ssm.putParameter({ Name: 'h', Value: '2', Overwrite: true, Description: 'second' })
    await ssm.putParameter({ Name: 'h', Value: '3', Overwrite: true })
    await ssm.labelParameterVersion({ Name: 'h', ParameterVersion: 1, Labels: ['b', 'a'] })
    const first = await ssm.getParameterHistory({ Name: 'h', MaxResults: 2 })
    expect(first.Parameters).toMatchObject([
      { Name: 'h', Version: 1, Value: '1', Description: 'first', Labels: ['a', 'b'], Tier: 'Advanced', Type: 'String' },
      { Version: 2, Value: '2', Description: 'second', Labels: [] },
    ])
    expect(first.Parameters?.[0]?.LastModifiedUser).toMatch(/^arn:aws:iam::\d{12}:root$/)
    const second = await ssm.getParameterHistory({ Name: 'h', MaxResults: 2, NextToken: first.NextToken })
    expect(second.Parameters).toMatchObject([{ Version: 3, Value: '3', Description: 'second' }])
    expect(second.NextToken).toBeUndefined()
  })

  it('are kept a hundred at most, unless the oldest carries a label', async () => {
    const ssm = await newClient()
    await versions(ssm, 'many', 101)
    expect(await refusal(ssm.getParameter({ Name: 'many:1' }))).toMatchObject({ name: 'ParameterVersionNotFound' })
    await ssm.labelParameterVersion({ Name: 'many', ParameterVersion: 2, Labels: ['keep'] })
    expect(await refusal(ssm.putParameter({ Name: 'many', Value: 'v', Overwrite: true }))).toEqual({
      name: 'ParameterMaxVersionLimitExceeded',
      message:
        "You attempted to create a new version of many by calling the PutParameter API with the overwrite flag. Version 2, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.",
    })
    await ssm.labelParameterVersion({ Name: 'many', ParameterVersion: 50, Labels: ['keep'] })
    expect((await ssm.putParameter({ Name: 'many', Value: 'v', Overwrite: true })).Version).toBe(102)
    const { Parameters = [], NextToken } = await ssm.getParameterHistory({ Name: 'many', MaxResults: 50 })
    const rest = await ssm.getParameterHistory({ Name: 'many', MaxResults: 50, NextToken })
    const numbers = [...Parameters, ...(rest.Parameters ?? [])].map(({ Version }) => Version)
    expect(numbers).toEqual(Array.from({ length: 100 }, (_, index) => index + 3))
    expect(rest.NextToken).toBeUndefined()
  })

  it('of forty writers at once are forty different ones', async () => {
    const ssm = await newClient()
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        ssm.putParameter({ Name: 'hot', Value: `writer ${index}`, Type: 'String', Overwrite: true }),
      ),
    )
    const numbers = answers.map(({ Version }) => Version ?? 0).sort((a, b) => a - b)
    expect(numbers).toEqual(Array.from({ length: 40 }, (_, index) => index + 1))
    const { Parameters } = await ssm.getParameterHistory({ Name: 'hot' })
    expect(new Set(Parameters?.map(({ Value }) => Value)).size).toBe(40)
    for (const [index, { Version }] of answers.entries()) {
      expect(Parameters?.[(Version ?? 0) - 1]?.Value).toBe(`writer ${index}`)
    }
  })

  it('survive writers, labellers and deleters at once without an internal error', async () => {
    const ssm = await newClient()
    const allowed = ['ParameterNotFound', 'ParameterAlreadyExists', 'TooManyUpdates']
    const act = async (index: number) => {
      const Name = `race${index % 3}`
      if (index % 5 === 0) await ssm.deleteParameter({ Name })
      else if (index % 5 === 1) await ssm.labelParameterVersion({ Name, Labels: ['l'] })
      else await ssm.putParameter({ Name, Value: 'v', Type: 'String', Overwrite: index % 2 === 0 })
    }
    const outcomes = await Promise.allSettled(Array.from({ length: 150 }, (_, index) => act(index)))
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(allowed).toContain((outcome.reason as Error).name)
    }
    for (const Name of ['race0', 'race1', 'race2']) {
      const { Version = 0 } = await ssm.putParameter({ Name, Value: 'last', Type: 'String', Overwrite: true })
      const { Parameters = [] } = await ssm.getParameterHistory({ Name })
      expect(Parameters.map((entry) => entry.Version)).toEqual(Array.from({ length: Version }, (_, index) => index + 1))
    }
  })
})

describe('labels', () => {
  it('choose the version they sit on, and sit on one only', async () => {
    const ssm = await newClient()
    await versions(ssm, 'l', 3)
    expect(await ssm.labelParameterVersion({ Name: 'l', Labels: ['Prod'] })).toMatchObject({
      ParameterVersion: 3,
      InvalidLabels: [],
    })
    expect((await ssm.getParameter({ Name: 'l:Prod' })).Parameter).toMatchObject({ Version: 3, Selector: ':Prod' })
    await ssm.labelParameterVersion({ Name: 'l', ParameterVersion: 1, Labels: ['Prod'] })
    expect((await ssm.getParameter({ Name: 'l:Prod' })).Parameter).toMatchObject({ Version: 1, Value: '1' })
    expect(await refusal(ssm.getParameter({ Name: 'l:prod' }))).toEqual({
      name: 'ParameterVersionNotFound',
      message: "Systems Manager couldn't find label prod for parameter l. Verify the label and try again.",
    })
  })

  it('that cannot be are told, and the others attached', async () => {
    const ssm = await newClient()
    await versions(ssm, 'l', 1)
    const Labels = ['ok', '1st', 'awsome', 'SSM', 'a b', 'fine.-_', 'ä']
    const { InvalidLabels } = await ssm.labelParameterVersion({ Name: 'l', Labels })
    expect(InvalidLabels).toEqual(['1st', 'awsome', 'SSM', 'a b', 'ä'])
    const { Parameters } = await ssm.getParameterHistory({ Name: 'l' })
    expect(Parameters?.[0]?.Labels).toEqual(['fine.-_', 'ok'])
  })

  it('are ten on a version at most', async () => {
    const ssm = await newClient()
    await versions(ssm, 'l', 1)
    const Labels = Array.from({ length: 10 }, (_, index) => `label${index}`)
    await ssm.labelParameterVersion({ Name: 'l', Labels })
    await ssm.labelParameterVersion({ Name: 'l', Labels: ['label3'] })
    expect(await refusal(ssm.labelParameterVersion({ Name: 'l', Labels: ['more'] }))).toEqual({
      name: 'ParameterVersionLabelLimitExceeded',
      message:
        'A parameter version can have maximum 10 labels.Move one or more labels to another version and try again.',
    })
  })

  it('come off, and what was not attached is told', async () => {
    const ssm = await newClient()
    await versions(ssm, 'l', 2)
    await ssm.labelParameterVersion({ Name: 'l', ParameterVersion: 1, Labels: ['a', 'b'] })
    const answer = await ssm.unlabelParameterVersion({ Name: 'l', ParameterVersion: 1, Labels: ['a', 'c'] })
    expect(answer).toMatchObject({ RemovedLabels: ['a'], InvalidLabels: ['c'] })
    const other = await ssm.unlabelParameterVersion({ Name: 'l', ParameterVersion: 2, Labels: ['b'] })
    expect(other).toMatchObject({ RemovedLabels: [], InvalidLabels: ['b'] })
  })

  it('need a parameter and a version that exist', async () => {
    const ssm = await newClient()
    await versions(ssm, 'l', 1)
    const label = (Name: string, ParameterVersion?: number) =>
      refusal(ssm.labelParameterVersion({ Name, ParameterVersion, Labels: ['x'] }))
    expect(await label('none')).toMatchObject({ name: 'ParameterNotFound' })
    expect(await label('l', 2)).toMatchObject({ name: 'ParameterVersionNotFound' })
    expect(await label('l', -1)).toMatchObject({ name: 'ParameterVersionNotFound' })
    expect(await label('l:1')).toMatchObject({ name: 'ParameterNotFound' })
    const nothing = ssm.unlabelParameterVersion({ Name: 'l', ParameterVersion: undefined, Labels: ['x'] })
    expect((await refusal(nothing)).message).toContain(
      "at 'parameterVersion' failed to satisfy constraint: Member must not be null",
    )
  })
})
