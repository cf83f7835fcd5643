/**
 * Every SQL statement of Parameter Store. GetParameter reads one row, and the reads of one turn are one statement; a
 * plain create or overwrite is one statement. Writers of one parameter meet at its row in `parameters`: whoever changes
 * versions or labels holds it, and `revision` tells whether what was read before still is.
 */
import type { PendingQuery, Row } from 'postgres'
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { Sql } from '../../platform/database.ts'
import { gathered } from '../../platform/gathered.ts'
import { resourcesWithTags } from '../tags/index.ts'
import type { ChangeOperation, ParameterEvent } from './events.ts'
import type { Criterion, Field } from './filters.ts'
import type { StoredPolicy } from './policies.ts'
import { MAX_VERSIONS, type ParameterType, type Tier } from './rules.ts'

export type Scoped = Scope & Pick<Ground, 'sql'>
/** Whoever changes latest versions wakes PARAMETER_WAKE. */
export type Changing = Scoped & Pick<Ground, 'wake'>

/** Topic: the latest version of the parameter with this identity is another one, or there is none any more. */
export const PARAMETER_WAKE = 'parameter'
type Fragment = PendingQuery<Row[]>

export interface VersionRow {
  nameKey: string
  version: number
  name: string
  type: ParameterType
  /** Text, or ciphertext in base 64. */
  value: string
  dataType: string
  tier: Tier
  keyId: string | null
  description: string | null
  allowedPattern: string | null
  /** StoredPolicy[] as JSON. */
  policies: string | null
  lastModifiedAt: Date
  lastModifiedBy: string
}

export interface LatestRow extends VersionRow {
  revision: number
}

export const policiesOf = (row: Pick<VersionRow, 'policies'>): StoredPolicy[] =>
  row.policies === null ? [] : (JSON.parse(row.policies) as StoredPolicy[])

/** What a new version holds beside its number. */
export interface Draft extends Omit<VersionRow, 'version'> {
  parent: string
  policyDueAt: Date | null
}

const versionColumns = (sql: Sql) => sql`
  p.name_key as "nameKey", p.version, p.name, p.type, p.value, p.data_type as "dataType", p.tier, p.key_id as "keyId",
  p.description, p.allowed_pattern as "allowedPattern", p.policies, p.last_modified_at as "lastModifiedAt",
  p.last_modified_by as "lastModifiedBy"`

const lookUp = gathered<Scope & { nameKey: string }, LatestRow | undefined>(async (sql, keys) => {
  const found = await sql<(LatestRow & { position: number })[]>`
    select wanted.position::int, p.revision, ${versionColumns(sql)}
    from unnest(
      ${keys.map((key) => key.account)}::text[],
      ${keys.map((key) => key.region)}::text[],
      ${keys.map((key) => key.nameKey)}::text[]
    ) with ordinality as wanted (account, region, name_key, position)
    join parameters p using (account, region, name_key)`
  const rows = new Map(found.map((row) => [row.position, row]))
  return keys.map((_, index) => rows.get(index + 1))
})

/** The latest version, gathered with what others ask for in the same turn. */
export const readLatest = (context: Scoped, nameKey: string): Promise<LatestRow | undefined> =>
  lookUp(context.sql, { account: context.account, region: context.region, nameKey })

/** The latest version, held until the transaction ends. */
export async function lockLatest(context: Scoped, nameKey: string): Promise<LatestRow | undefined> {
  const [row] = await context.sql<LatestRow[]>`
    select p.revision, ${versionColumns(context.sql)} from parameters p
    where p.account = ${context.account} and p.region = ${context.region} and p.name_key = ${nameKey}
    for update`
  return row
}

/** Holds a parameter against deletion until the transaction ends; whether there is one. */
export async function holdParameter(context: Scoped, nameKey: string): Promise<boolean> {
  const rows = await context.sql`
    select from parameters
    where account = ${context.account} and region = ${context.region} and name_key = ${nameKey}
    for key share`
  return rows.length > 0
}

export async function readVersion(context: Scoped, nameKey: string, version: number): Promise<VersionRow | undefined> {
  const [row] = await context.sql<VersionRow[]>`
    select ${versionColumns(context.sql)} from parameter_all_versions p
    where p.account = ${context.account} and p.region = ${context.region} and p.name_key = ${nameKey}
      and p.version = ${version}`
  return row
}

export async function readLabelled(context: Scoped, nameKey: string, label: string): Promise<VersionRow | undefined> {
  const [row] = await context.sql<VersionRow[]>`
    select ${versionColumns(context.sql)}
    from parameter_labels l join parameter_all_versions p using (account, region, name_key, version)
    where l.account = ${context.account} and l.region = ${context.region} and l.name_key = ${nameKey}
      and l.label = ${label}`
  return row
}

/** Versions after `after`, oldest first, with their labels. */
export const readHistory = (
  context: Scoped,
  nameKey: string,
  after: number,
  limit: number,
): Promise<(VersionRow & { labels: string[] })[]> =>
  context.sql<(VersionRow & { labels: string[] })[]>`
    select ${versionColumns(context.sql)},
      array(
        select l.label from parameter_labels l
        where l.account = p.account and l.region = p.region and l.name_key = p.name_key and l.version = p.version
        order by l.label
      ) as labels
    from parameter_all_versions p
    where p.account = ${context.account} and p.region = ${context.region} and p.name_key = ${nameKey}
      and p.version > ${after}
    order by p.version
    limit ${limit}`

/** A new version on its way into the database. */
type Ask = Scope & { draft: Draft }

/** One name for a parameter among those of all accounts and regions. */
export const identity = ({ account, region, nameKey }: Scope & { nameKey: string }): string =>
  `${account}/${region}${nameKey}`

/** Of several asks for one parameter only the first is carried out; the others find it done. */
function firstOfEach<One extends Ask>(asks: One[]): One[] {
  const first = new Map<string, One>()
  for (const ask of asks) {
    const name = identity({ ...ask, nameKey: ask.draft.nameKey })
    if (!first.has(name)) first.set(name, ask)
  }
  return [...first.values()]
}

/** The drafts as columns of a table expression. Instants travel as text: the driver takes an array of Date for one Date. */
const drafts = (sql: Sql, asks: readonly Ask[]) => sql`
  unnest(
    ${asks.map(({ account }) => account)}::text[],
    ${asks.map(({ region }) => region)}::text[],
    ${asks.map(({ draft }) => draft.nameKey)}::text[],
    ${asks.map(({ draft }) => draft.parent)}::text[],
    ${asks.map(({ draft }) => draft.name)}::text[],
    ${asks.map(({ draft }) => draft.type)}::text[],
    ${asks.map(({ draft }) => draft.value)}::text[],
    ${asks.map(({ draft }) => draft.dataType)}::text[],
    ${asks.map(({ draft }) => draft.tier)}::text[],
    ${asks.map(({ draft }) => draft.keyId)}::text[],
    ${asks.map(({ draft }) => draft.description)}::text[],
    ${asks.map(({ draft }) => draft.allowedPattern)}::text[],
    ${asks.map(({ draft }) => draft.policies)}::text[],
    ${asks.map(({ draft }) => draft.policyDueAt?.toISOString() ?? null)}::timestamptz[],
    ${asks.map(({ draft }) => draft.lastModifiedAt.toISOString())}::timestamptz[],
    ${asks.map(({ draft }) => draft.lastModifiedBy)}::text[]`

const draftColumns = (sql: Sql) => sql`
  account, region, name_key, parent, name, type, value, data_type, tier, key_id, description, allowed_pattern, policies,
  policy_due_at, last_modified_at, last_modified_by`

/** The event of each changed row of `changed`, in the statement that changes it. */
const tellChange = (sql: Sql, operation: ChangeOperation) => sql`
  insert into parameter_events (account, region, name_key, occurred_at, detail_type, detail)
  select account, region, name_key, last_modified_at, 'Parameter Store Change',
    jsonb_build_object('name', name, 'type', type, 'operation', ${operation}::text)
  from changed`

const create = gathered<Ask, boolean>(async (sql, asks) => {
  const asked = firstOfEach(asks)
  const created = await sql<(Scope & { nameKey: string })[]>`
    with changed as (
      insert into parameters (version, ${draftColumns(sql)})
      select 1, ${draftColumns(sql)}
      from ${drafts(sql, asked)}) as given (${draftColumns(sql)})
      -- One order for everybody, so that those who create the same names cannot wait for each other.
      order by account, region, name_key
      on conflict do nothing
      returning ${draftColumns(sql)}
    ), told as (${tellChange(sql, 'Create')})
    select account, region, name_key as "nameKey" from changed`
  const names = new Set(created.map(identity))
  return asks.map((ask) => asked.includes(ask) && names.has(identity({ ...ask, nameKey: ask.draft.nameKey })))
})

/** Creates version 1 unless the name is taken; whether it did. Gathered with what others create in the same turn. */
export async function createParameter(context: Changing, draft: Draft): Promise<boolean> {
  const { account, region } = context
  try {
    return await create(context.sql, { account, region, draft })
  } finally {
    context.wake(PARAMETER_WAKE, identity({ account, region, nameKey: draft.nameKey })) // a failure may come after the commit
  }
}

type Replaced = 'replaced' | 'changed' | 'labelled'

const replace = gathered<Ask & { revision: number }, Replaced>(async (sql, asks) => {
  const asked = firstOfEach(asks)
  const found = await sql<(Scope & { nameKey: string; replaced: boolean })[]>`
    with given as (
      select * from ${drafts(sql, asked)},
        ${asked.map(({ revision }) => revision)}::bigint[]
      ) as given (${draftColumns(sql)}, revision)
    ), previous as (
      select p.* from parameters p join given g using (account, region, name_key)
      where p.revision = g.revision
      order by p.account, p.region, p.name_key
      for update of p
    ), passed as (
      select * from previous q
      where not exists (
        select from parameter_labels l
        where l.account = q.account and l.region = q.region and l.name_key = q.name_key
          and l.version = q.version + 1 - ${MAX_VERSIONS}
      )
    ), kept as (
      insert into parameter_versions (
        account, region, name_key, version, name, type, value, data_type, tier, key_id, description, allowed_pattern,
        policies, last_modified_at, last_modified_by
      )
      select account, region, name_key, version, name, type, value, data_type, tier, key_id, description,
        allowed_pattern, policies, last_modified_at, last_modified_by
      from passed
    ), dropped as (
      delete from parameter_versions v using passed q
      where v.account = q.account and v.region = q.region and v.name_key = q.name_key
        and v.version <= q.version + 1 - ${MAX_VERSIONS}
    ), changed as (
      update parameters p
      set version = p.version + 1, revision = nextval('parameter_revisions'), type = g.type, value = g.value,
        data_type = g.data_type, tier = g.tier, key_id = g.key_id, description = g.description,
        allowed_pattern = g.allowed_pattern, policies = g.policies, policy_due_at = g.policy_due_at,
        last_modified_at = g.last_modified_at, last_modified_by = g.last_modified_by
      from given g join passed q using (account, region, name_key)
      where p.account = g.account and p.region = g.region and p.name_key = g.name_key
      returning p.account, p.region, p.name_key, p.name, p.type, p.last_modified_at
    ), told as (${tellChange(sql, 'Update')})
    select q.account, q.region, q.name_key as "nameKey", c.name_key is not null as replaced
    from previous q left join changed c using (account, region, name_key)`
  const outcomes = new Map(found.map((row) => [identity(row), row.replaced ? 'replaced' : 'labelled'] as const))
  return asks.map((ask) => {
    const outcome = outcomes.get(identity({ ...ask, nameKey: ask.draft.nameKey }))
    return asked.includes(ask) && outcome ? outcome : 'changed'
  })
})

/**
 * Overwrites what was read as `previous`, moving it to the history and the oldest version out of it; gathered likewise.
 * `changed`: somebody else was first. `labelled`: the version that would go carries a label.
 */
export async function replaceParameter(context: Changing, previous: LatestRow, draft: Draft): Promise<Replaced> {
  const { account, region } = context
  try {
    return await replace(context.sql, { account, region, draft, revision: previous.revision })
  } finally {
    context.wake(PARAMETER_WAKE, identity({ account, region, nameKey: draft.nameKey }))
  }
}

/** Parameters of one tier, counted no further than `most`. */
export async function countTier(context: Scoped, tier: Tier, most: number): Promise<number> {
  const [row] = await context.sql<{ count: number }[]>`
    select count(*)::int as count from (
      select from parameters
      where account = ${context.account} and region = ${context.region} and tier = ${tier}
      limit ${most}
    ) counted`
  return row?.count ?? 0
}

/** Those who create the last parameters of a tier do so one after the other. Held until the transaction ends. */
export async function lockTier(context: Scoped, tier: Tier): Promise<void> {
  const name = ['parameters', context.account, context.region, tier].join('/')
  await context.sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`
}

/** Holds those of the parameters that exist, in one order for everybody, until the transaction ends. */
export const lockParameters = (
  context: Scoped,
  nameKeys: string[],
): Promise<{ nameKey: string; name: string; type: string }[]> =>
  context.sql<{ nameKey: string; name: string; type: string }[]>`
    select name_key as "nameKey", name, type from parameters
    where account = ${context.account} and region = ${context.region} and name_key = any(${nameKeys}::text[])
    order by name_key
    for update`

/**
 * Deletes parameters that the transaction holds, with history and labels. A statement of its own: it must see the
 * versions that were written until the parameters were held.
 */
export async function deleteParameters(context: Changing, nameKeys: string[]): Promise<void> {
  const { sql, account, region } = context
  await sql`
    with versions as (
      delete from parameter_versions
      where account = ${account} and region = ${region} and name_key = any(${nameKeys}::text[])
    ), labels as (
      delete from parameter_labels
      where account = ${account} and region = ${region} and name_key = any(${nameKeys}::text[])
    )
    delete from parameters where account = ${account} and region = ${region} and name_key = any(${nameKeys}::text[])`
  for (const nameKey of nameKeys) context.wake(PARAMETER_WAKE, identity({ account, region, nameKey }))
}

export async function writeEvents(
  context: Scoped,
  occurredAt: Date,
  events: readonly (ParameterEvent & { nameKey: string })[],
): Promise<void> {
  const { sql, account, region } = context
  if (events.length === 0) return
  await sql`
    insert into parameter_events ${sql(
      events.map(({ nameKey, detailType, detail }) => ({
        account,
        region,
        name_key: nameKey,
        occurred_at: occurredAt,
        detail_type: detailType,
        detail: sql.json(detail),
      })),
    )}`
}

export async function readLabels(context: Scoped, nameKey: string, version: number): Promise<string[]> {
  const rows = await context.sql<{ label: string }[]>`
    select label from parameter_labels
    where account = ${context.account} and region = ${context.region} and name_key = ${nameKey}
      and version = ${version}`
  return rows.map(({ label }) => label)
}

/** Puts labels on a version of a parameter that the transaction holds, taking them off any other. */
export async function attachLabels(context: Scoped, nameKey: string, version: number, labels: string[]): Promise<void> {
  const { sql, account, region } = context
  await sql`
    insert into parameter_labels (account, region, name_key, label, version)
    select ${account}, ${region}, ${nameKey}, label, ${version} from unnest(${labels}::text[]) label
    on conflict (account, region, name_key, label) do update set version = excluded.version`
  await newRevision(context, nameKey)
}

export async function detachLabels(context: Scoped, nameKey: string, version: number, labels: string[]): Promise<void> {
  const { sql, account, region } = context
  await sql`
    delete from parameter_labels
    where account = ${account} and region = ${region} and name_key = ${nameKey} and version = ${version}
      and label = any(${labels}::text[])`
  await newRevision(context, nameKey)
}

async function newRevision(context: Scoped, nameKey: string): Promise<void> {
  await context.sql`
    update parameters set revision = nextval('parameter_revisions')
    where account = ${context.account} and region = ${context.region} and name_key = ${nameKey}`
}

/** One page of the account's parameters in the order of their names. With a label criterion, the labelled versions. */
export async function listParameters(
  context: Scoped,
  criteria: readonly Criterion[],
  after: string | undefined,
  limit: number,
): Promise<VersionRow[]> {
  const { sql, account, region } = context
  const label = criteria.find((criterion) => criterion.on === 'label')
  // Only the latest versions carry their parent; it is the name's and never changes.
  const parent = label ? sql`latest.parent` : sql`p.parent`
  const conditions = criteria
    .filter((criterion) => criterion.on !== 'label')
    .reduce((before, criterion) => sql`${before} and ${condition(context, criterion, parent)}`, nothing(sql))
  if (!label) {
    // Within one level the order of the leaves is that of the names, and the one that its index has.
    const [place, last] = isOneLevel(criteria) ? [sql`p.leaf`, leafOf(after)] : [sql`p.name_key`, after]
    return sql<VersionRow[]>`
      select ${versionColumns(sql)} from parameters p
      where p.account = ${account} and p.region = ${region}
        ${last === undefined ? nothing(sql) : sql`and ${place} > ${last}`} ${conditions}
      order by ${place}
      limit ${limit}`
  }
  // Of several labels that are asked for, the one on the newest version counts.
  return sql<VersionRow[]>`
    with labelled as (
      select name_key, max(version) as version from parameter_labels
      where account = ${account} and region = ${region} and label = any(${label.values}::text[])
      group by name_key
    )
    select ${versionColumns(sql)}
    from labelled l
    join parameter_all_versions p on p.name_key = l.name_key and p.version = l.version
    join parameters latest on latest.account = p.account and latest.region = p.region and latest.name_key = p.name_key
    where p.account = ${account} and p.region = ${region}
      ${after === undefined ? nothing(sql) : sql`and p.name_key > ${after}`} ${conditions}
    order by p.name_key
    limit ${limit}`
}

const isOneLevel = (criteria: readonly Criterion[]): boolean =>
  criteria.some((one) => one.on === 'path' && one.option === 'OneLevel' && one.paths.length === 1)

const leafOf = (nameKey: string | undefined): string | undefined => nameKey?.slice(nameKey.lastIndexOf('/') + 1)

/** The highest code point, above any character of a name in the C collation: the end of all names with a prefix. */
const BEYOND = '\u{10FFFF}'

function condition(context: Scoped, criterion: Exclude<Criterion, { on: 'label' }>, parent: Fragment): Fragment {
  const { sql } = context
  if (criterion.on === 'tag') {
    return sql`p.name_key in (${resourcesWithTags(context, 'Parameter', [criterion])})`
  }
  if (criterion.on === 'path') return pathCondition(sql, criterion.option, criterion.paths, parent)
  const column = COLUMNS[criterion.field](sql)
  const { option, values } = criterion
  if (option === 'Equals') return sql`${column} = any(${values}::text[])`
  if (option === 'Contains') {
    return sql`exists (select from unnest(${values}::text[]) wanted where strpos(${column}, wanted) > 0)`
  }
  return any(
    sql,
    values.map((value) => sql`(${column} >= ${value} and ${column} < ${value + BEYOND})`),
  )
}

const COLUMNS: Record<Field, (sql: Sql) => Fragment> = {
  name_key: (sql) => sql`p.name_key`,
  name: (sql) => sql`p.name`,
  type: (sql) => sql`p.type`,
  key_id: (sql) => sql`p.key_id`,
  tier: (sql) => sql`p.tier`,
  data_type: (sql) => sql`p.data_type`,
}

/** Equality or ranges of an index that also has the order, so that a page costs what it returns. */
function pathCondition(sql: Sql, option: 'OneLevel' | 'Recursive', paths: string[], parent: Fragment): Fragment {
  return any(
    sql,
    paths.map((path) => {
      if (option === 'OneLevel') return sql`${parent} = ${path}`
      const prefix = path === '/' ? path : `${path}/`
      return sql`(p.name_key >= ${prefix} and p.name_key < ${prefix + BEYOND})`
    }),
  )
}

/** The driver takes a list of fragments too, but an empty list for a value. */
const nothing = (sql: Sql): Fragment => sql``

const any = (sql: Sql, conditions: Fragment[]): Fragment =>
  sql`(${conditions.reduce((before, next) => sql`${before} or ${next}`, sql`false`)})`

export interface DueRow extends Scope {
  nameKey: string
  name: string
  type: string
  policies: string
  lastModifiedAt: Date
}

/** Parameters whose policies have something to do, held until the transaction ends; those that another process holds are skipped. */
export const claimDue = (sql: Sql, now: Date, limit: number): Promise<DueRow[]> =>
  sql<DueRow[]>`
    select account, region, name_key as "nameKey", name, type, policies, last_modified_at as "lastModifiedAt"
    from parameters
    where policy_due_at <= ${now} and policies is not null
    order by policy_due_at
    limit ${limit}
    for update skip locked`

export async function writePolicies(
  context: Scoped,
  nameKey: string,
  policies: readonly StoredPolicy[],
  dueAt: Date | undefined,
): Promise<void> {
  await context.sql`
    update parameters
    set policies = ${JSON.stringify(policies)}, policy_due_at = ${dueAt ?? null}, revision = nextval('parameter_revisions')
    where account = ${context.account} and region = ${context.region} and name_key = ${nameKey}`
}

export async function nextPolicyDue(sql: Sql): Promise<Date | undefined> {
  const [row] = await sql<{ dueAt: Date | null }[]>`select min(policy_due_at) as "dueAt" from parameters`
  return row?.dueAt ?? undefined
}

/** Deletes the oldest events as far as they lie before an instant; returns how many, at most `limit`. */
export async function forgetEvents(sql: Sql, before: Date, limit: number): Promise<number> {
  const gone = await sql`
    delete from parameter_events e
    using (select id, occurred_at from parameter_events order by id limit ${limit}) oldest
    where e.id = oldest.id and oldest.occurred_at < ${before}`
  return gone.count
}
