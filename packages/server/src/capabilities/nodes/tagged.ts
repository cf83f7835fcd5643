/** Nodes by their tags. */
import type { Context } from '../../platform/context.ts'
import { resourcesWithTags, type TagFilter } from '../tags/index.ts'

/** `tag:<key>` with its values, which are alternatives; without values the node only has to have the tag. */
export const tagFilter = (target: string, values: string[]): TagFilter => ({
  key: target.slice('tag:'.length),
  values: values.length > 0 ? values : undefined,
})

/** Nodes that match any of the filters. */
export async function taggedNodes(context: Context, ...filters: TagFilter[]): Promise<string[]> {
  const found = await Promise.all(filters.map((filter) => resourcesWithTags(context, 'ManagedInstance', [filter])))
  return [...new Set(found.flatMap((rows) => rows.map((row) => row.resourceId)))]
}
