/**
 * Tags of Systems Manager's resources. Owners of resources stand above: they declare `taggable`, and capabilities.ts hands
 * these declarations to `tags(…)`. Owners write and read tags through the doors below, in their own transactions.
 */
import type { Input } from '../../contract/types.ts'
import type { Access, Capability, TaggableResource } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import init from './migrations/0001-init.sql'
import { checkCount, checkNewTags, checkTagKeys, checkTags, type Tag } from './rules.ts'
import {
  countTags,
  lockTags,
  readTags,
  removeAllTags,
  removeTags,
  resourcesWithTags,
  type Scoped,
  type TagFilter,
  writeTags,
} from './store.ts'

export { checkNewTags, resourcesWithTags, type Tag, type TagFilter }

export type ResourceType = Input<'AddTagsToResource'>['ResourceType']

/** The tags of each id that has any, in the order of their keys. */
export async function tagsOf(context: Scoped, type: ResourceType, ids: readonly string[]): Promise<Map<string, Tag[]>> {
  const tags = new Map<string, Tag[]>()
  for (const { id, Key, Value } of await readTags(context, type, ids)) {
    const own = tags.get(id)
    if (own) own.push({ Key, Value })
    else tags.set(id, [{ Key, Value }])
  }
  return tags
}

/** Gives a new resource its tags, in its owner's transaction. ValidationException. */
export async function setTags(context: Scoped, type: ResourceType, id: string, tags: readonly Tag[]): Promise<void> {
  checkNewTags(tags)
  if (tags.length > 0) await writeTags(context, type, id, tags)
}

/** Forgets every tag of resources that are deleted, in their owner's transaction. */
export const deleteTags = (context: Scoped, type: ResourceType, ids: readonly string[]): Promise<void> =>
  removeAllTags(context, type, ids)

type Owner = Pick<Capability, 'taggable'>

/** `owners`: the capabilities whose resources can be tagged. */
export function tags(owners: readonly Owner[]): Capability {
  const kinds = new Map<string, TaggableResource>(owners.flatMap(({ taggable = {} }) => Object.entries(taggable)))

  const access = (input: { ResourceType: string; ResourceId: string }, context: Context): Access => ({
    resources: [kinds.get(input.ResourceType)?.arn(context, input.ResourceId) ?? '*'],
  })

  /** The id that tags lie under; InvalidResourceId. */
  async function resolve(context: Context, input: { ResourceType: string; ResourceId: string }): Promise<string> {
    const id = await kinds.get(input.ResourceType)?.resolve(context, input.ResourceId)
    if (id === undefined) {
      throw new AwsError(
        'InvalidResourceId',
        'The resource ID is not valid. Verify that you entered the correct ID and try again.',
      )
    }
    return id
  }

  return {
    name: 'tags',
    migrations: [{ name: '0001-init', sql: init }],
    operations: {
      ssm: {
        AddTagsToResource: {
          authorize: (input, context) => ({
            ...access(input, context),
            keys: tagKeys(input.Tags),
          }),
          handle: (context, input) =>
            context.transaction(async (change) => {
              checkTags(input.Tags)
              const id = await resolve(change, input)
              if (input.Tags.length === 0) return {}
              await lockTags(change, input.ResourceType, id)
              await writeTags(change, input.ResourceType, id, input.Tags)
              checkCount(await countTags(change, input.ResourceType, id))
              change.wake('tags', input.ResourceType)
              return {}
            }),
        },
        RemoveTagsFromResource: {
          authorize: (input, context) => ({ ...access(input, context), keys: { 'aws:TagKeys': input.TagKeys } }),
          handle: (context, input) =>
            context.transaction(async (change) => {
              checkTagKeys(input.TagKeys)
              const id = await resolve(change, input)
              await lockTags(change, input.ResourceType, id)
              await removeTags(change, input.ResourceType, id, input.TagKeys)
              change.wake('tags', input.ResourceType)
              return {}
            }),
        },
        ListTagsForResource: {
          authorize: access,
          async handle(context, input) {
            const id = await resolve(context, input)
            return { TagList: (await tagsOf(context, input.ResourceType, [id])).get(id) ?? [] }
          },
        },
      },
    },
  }
}

/** The condition keys of a request that gives tags: `aws:TagKeys` and one `aws:RequestTag/…` each. */
export const tagKeys = (given: readonly Tag[]): Record<string, string | string[]> => ({
  'aws:TagKeys': given.map((tag) => tag.Key),
  ...Object.fromEntries(given.map((tag) => [`aws:RequestTag/${tag.Key}`, tag.Value])),
})

/** The condition keys of a tagged resource: `aws:ResourceTag/…` and Systems Manager's own `ssm:resourceTag/…`. */
export const resourceTagKeys = (tags: readonly Tag[]): Record<string, string> =>
  Object.fromEntries(
    tags.flatMap(({ Key, Value }) => [
      [`aws:ResourceTag/${Key}`, Value],
      [`ssm:resourceTag/${Key}`, Value],
    ]),
  )
