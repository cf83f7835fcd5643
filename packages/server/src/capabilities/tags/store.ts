/** Every SQL statement of tags. */
import type { PendingQuery } from 'postgres'
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { Tag } from './rules.ts'

export type Scoped = Scope & Pick<Ground, 'sql'>

/** One `tag:Key=values` of a target or filter: its values are alternatives; no values mean "has the key". */
export interface TagFilter {
  key: string
  option?: 'Equals' | 'BeginsWith'
  values?: readonly string[]
}

/** Writers of one resource's tags wait for each other, so that their count stays true. Held until the transaction ends. */
export async function lockTags(context: Scoped, type: string, id: string): Promise<void> {
  const name = ['tags', context.account, context.region, type, id].join('/')
  await context.sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`
}

export async function writeTags(context: Scoped, type: string, id: string, tags: readonly Tag[]): Promise<void> {
  await context.sql`
    insert into tags (account, region, resource_type, resource_id, key, value)
    select ${context.account}, ${context.region}, ${type}, ${id}, key, value
    from unnest(${tags.map((tag) => tag.Key)}::text[], ${tags.map((tag) => tag.Value)}::text[]) as given (key, value)
    on conflict (account, region, resource_type, resource_id, key) do update set value = excluded.value`
}

export async function countTags(context: Scoped, type: string, id: string): Promise<number> {
  const [row] = await context.sql<{ count: number }[]>`
    select count(*)::int as count from tags
    where account = ${context.account} and region = ${context.region} and resource_type = ${type} and resource_id = ${id}`
  return row?.count ?? 0
}

export async function removeTags(context: Scoped, type: string, id: string, keys: readonly string[]): Promise<void> {
  await context.sql`
    delete from tags
    where account = ${context.account} and region = ${context.region} and resource_type = ${type} and resource_id = ${id}
      and key = any(${[...keys]}::text[])`
}

export async function removeAllTags(context: Scoped, type: string, ids: readonly string[]): Promise<void> {
  await context.sql`
    delete from tags
    where account = ${context.account} and region = ${context.region} and resource_type = ${type}
      and resource_id = any(${[...ids]}::text[])`
}

export const readTags = (context: Scoped, type: string, ids: readonly string[]): Promise<(Tag & { id: string })[]> =>
  context.sql<(Tag & { id: string })[]>`
    select resource_id as id, key as "Key", value as "Value" from tags
    where account = ${context.account} and region = ${context.region} and resource_type = ${type}
      and resource_id = any(${[...ids]}::text[])
    order by resource_id, key`

/**
 * The ids of resources that satisfy every filter: a query to await, or to embed in another as a subselect
 * (`where node_id in (${resourcesWithTags(…)})`). At least one filter.
 */
export function resourcesWithTags(
  context: Scoped,
  type: string,
  filters: readonly TagFilter[],
): PendingQuery<{ resourceId: string }[]> {
  const { sql, account, region } = context
  const [first, ...others] = filters
  if (!first) throw new RangeError('resourcesWithTags needs a filter')
  const one = ({ key, option, values }: TagFilter) => sql`
    select resource_id from tags
    where account = ${account} and region = ${region} and resource_type = ${type} and key = ${key}
    ${
      values === undefined
        ? sql``
        : option === 'BeginsWith'
          ? sql`and exists (select from unnest(${[...values]}::text[]) wanted where starts_with(value, wanted))`
          : sql`and value = any(${[...values]}::text[])`
    }`
  // The driver would take a list of fragments too, but an empty list for a value.
  const all = others.reduce((before, filter) => sql`${before} intersect ${one(filter)}`, one(first))
  return sql<{ resourceId: string }[]>`select resource_id as "resourceId" from (${all}) tagged`
}
