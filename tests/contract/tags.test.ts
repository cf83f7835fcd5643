import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

async function withParameter() {
  const ssm = new SSM((await testbed.account()).config)
  await ssm.putParameter({ Name: '/t/x', Value: 'v', Type: 'String' })
  const resource = { ResourceType: 'Parameter', ResourceId: '/t/x' } as const
  return { ssm, resource, list: async () => (await ssm.listTagsForResource(resource)).TagList }
}

const numbered = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ Key: `key${from + index}`, Value: 'v' }))

describe('tags of a resource', () => {
  it('are added, changed, listed by key and removed', async () => {
    const { ssm, resource, list } = await withParameter()
    expect(await list()).toEqual([])
    await ssm.addTagsToResource({
      ...resource,
      Tags: [
        { Key: 'b', Value: '1' },
        { Key: 'a', Value: '' },
      ],
    })
    await ssm.addTagsToResource({ ...resource, Tags: [{ Key: 'b', Value: '2 ü' }] })
    expect(await list()).toEqual([
      { Key: 'a', Value: '' },
      { Key: 'b', Value: '2 ü' },
    ])
    await ssm.removeTagsFromResource({ ...resource, TagKeys: ['a', 'never'] })
    expect(await list()).toEqual([{ Key: 'b', Value: '2 ü' }])
  })

  it('have keys that tell upper from lower case', async () => {
    const { ssm, resource, list } = await withParameter()
    await ssm.addTagsToResource({
      ...resource,
      Tags: [
        { Key: 'k', Value: '1' },
        { Key: 'K', Value: '2' },
      ],
    })
    expect(await list()).toHaveLength(2)
  })

  it('are fifty at most, and a request for more changes nothing', async () => {
    const { ssm, resource, list } = await withParameter()
    await ssm.addTagsToResource({ ...resource, Tags: numbered(49) })
    const tooMany = ssm.addTagsToResource({ ...resource, Tags: numbered(2, 49) })
    expect(await refusal(tooMany)).toMatchObject({ name: 'TooManyTagsError' })
    expect(await list()).toHaveLength(49)
    await ssm.addTagsToResource({ ...resource, Tags: numbered(1, 49) })
    await ssm.addTagsToResource({ ...resource, Tags: numbered(50) })
    expect(await list()).toHaveLength(50)
  })

  it('are fifty at most also when many add them at once', async () => {
    const { ssm, resource, list } = await withParameter()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, (_, index) => ssm.addTagsToResource({ ...resource, Tags: numbered(10, index * 10) })),
    )
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(5)
    expect(await list()).toHaveLength(50)
  })

  it('cannot use the keys of AWS, nor one key twice', async () => {
    const { ssm, resource } = await withParameter()
    const add = (...keys: string[]) =>
      refusal(ssm.addTagsToResource({ ...resource, Tags: keys.map((Key) => ({ Key, Value: 'v' })) }))
    expect(await add('aws:x')).toMatchObject({ name: 'ValidationException' })
    expect(await add('AWS:x')).toMatchObject({ name: 'ValidationException' })
    expect(await add('x', 'x')).toMatchObject({ name: 'ValidationException' })
    const remove = ssm.removeTagsFromResource({ ...resource, TagKeys: ['aws:x'] })
    expect(await refusal(remove)).toMatchObject({ name: 'ValidationException' })
  })

  it('belong to the parameter of the name, with or without its slash', async () => {
    const { ssm } = await withParameter()
    await ssm.putParameter({ Name: 'flat', Value: 'v', Type: 'String' })
    const Tags = [{ Key: 'k', Value: 'v' }]
    await ssm.addTagsToResource({ ResourceType: 'Parameter', ResourceId: '/flat', Tags })
    const { TagList } = await ssm.listTagsForResource({ ResourceType: 'Parameter', ResourceId: 'flat' })
    expect(TagList).toEqual(Tags)
  })

  it.each(['/t/none', 'not a name', '', 'a\u0000'])('need a resource that exists: %j does not', async (ResourceId) => {
    const { ssm } = await withParameter()
    const resource = { ResourceType: 'Parameter', ResourceId } as const
    for (const request of [
      () => ssm.listTagsForResource(resource),
      () => ssm.addTagsToResource({ ...resource, Tags: [{ Key: 'k', Value: 'v' }] }),
      () => ssm.removeTagsFromResource({ ...resource, TagKeys: ['k'] }),
    ]) {
      expect(await refusal(request())).toMatchObject({ name: 'InvalidResourceId' })
    }
  })

  it('are nobody else’s', async () => {
    const [one, two] = [await withParameter(), await withParameter()]
    await one.ssm.addTagsToResource({ ...one.resource, Tags: [{ Key: 'k', Value: 'v' }] })
    expect(await two.list()).toEqual([])
  })

  it('vanish with a resource that is deleted while it is tagged, or are refused', async () => {
    const { ssm, resource, list } = await withParameter()
    for (let round = 0; round < 10; round++) {
      await Promise.allSettled([
        ssm.addTagsToResource({ ...resource, Tags: [{ Key: 'k', Value: 'v' }] }),
        ssm.deleteParameter({ Name: resource.ResourceId }),
      ])
      await ssm.putParameter({ Name: resource.ResourceId, Value: 'v', Type: 'String' })
      expect(await list()).toEqual([])
    }
  })
})
