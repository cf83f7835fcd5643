/** SQL of the trail: chains, segments, what waits for them, and contents kept apart. */
import type { Scope } from '../../platform/arn.ts'
import type { Database, Sql } from '../../platform/database.ts'
import type { Link } from './chain.ts'

export interface ChainRow extends Scope {
  head: Link
  seal: Buffer
  anchor: Link
  anchorSeal: Buffer
}

export interface SegmentRow {
  firstSeq: number
  lastSeq: number
  firstAt: Date
  lastAt: Date
  hashBefore: Buffer
  hash: Buffer
  seal: Buffer
  tags: Buffer
  attributes: number[]
  body: Buffer
}

export interface ContentRow {
  eventId: string
  at: Date
  dataKey: Buffer
  sealed: Buffer
}

const chainColumns = (sql: Sql) => sql`
  account, region, json_build_object('seq', last_seq, 'hash', encode(hash, 'hex')) as head, seal,
  json_build_object('seq', anchor_seq, 'hash', encode(anchor_hash, 'hex')) as anchor, anchor_seal as "anchorSeal"`

type StoredLink = { seq: number; hash: string }
type StoredChain = Omit<ChainRow, 'head' | 'anchor'> & { head: StoredLink; anchor: StoredLink }
const asChain = (row: StoredChain): ChainRow => ({ ...row, head: asLink(row.head), anchor: asLink(row.anchor) })
const asLink = ({ seq, hash }: StoredLink): Link => ({ seq, hash: Buffer.from(hash, 'hex') })

export async function readChain(sql: Sql, { account, region }: Scope): Promise<ChainRow | undefined> {
  const [row] = await sql<StoredChain[]>`
    select ${chainColumns(sql)} from trail_chains where account = ${account} and region = ${region}`
  return row && asChain(row)
}

export async function readChains(sql: Sql): Promise<ChainRow[]> {
  const rows = await sql<StoredChain[]>`select ${chainColumns(sql)} from trail_chains order by account, region`
  return rows.map(asChain)
}

/** False: there is one already. */
export async function insertChain(sql: Sql, chain: ChainRow): Promise<boolean> {
  const { count } = await sql`
    insert into trail_chains (account, region, last_seq, hash, seal, anchor_seq, anchor_hash, anchor_seal)
    values (${chain.account}, ${chain.region}, ${chain.head.seq}, ${chain.head.hash}, ${chain.seal},
      ${chain.anchor.seq}, ${chain.anchor.hash}, ${chain.anchorSeal})
    on conflict do nothing`
  return count === 1
}

// ---- the roll of chains ----

export async function readRoll(sql: Sql): Promise<Buffer | undefined> {
  const [row] = await sql<{ seal: Buffer }[]>`select seal from trail_roll`
  return row?.seal
}

/** The roll, held until the transaction ends. */
export async function lockRoll(sql: Sql): Promise<Buffer | undefined> {
  const [row] = await sql<{ seal: Buffer }[]>`select seal from trail_roll for update`
  return row?.seal
}

/** Whoever is first writes it; later ones find it. */
export async function insertRoll(sql: Sql, seal: Buffer): Promise<void> {
  await sql`insert into trail_roll (seal) values (${seal}) on conflict do nothing`
}

export async function updateRoll(sql: Sql, seal: Buffer): Promise<void> {
  await sql`update trail_roll set seal = ${seal}`
}

// ---- appending ----

export interface Append extends Scope {
  expected: Link
  segment: Omit<SegmentRow, 'firstSeq' | 'lastSeq' | 'hashBefore' | 'hash'> & { last: Link }
  /** Seal of the chain's new head. */
  seal: Buffer
  /** Records that wait and are appended now. */
  pending: string[]
  /** Records of which nobody knows whether they wait. */
  perhaps: string[]
  contents: ContentRow[]
  /** Events whose contents are not kept after all. */
  dropped: string[]
}

/**
 * One segment, what waited for it, and the new head: all of it, or nothing where the head has moved or something that was to
 * wait does not (any more).
 */
export async function append(sql: Sql, entry: Append): Promise<boolean> {
  const { account, region, expected, segment, pending, perhaps, contents, dropped } = entry
  const { last } = segment
  const rows = await sql`
    with held as materialized (
      select event_id from trail_pending where event_id = any(${pending}::uuid[]) for update
    ), moved as (
      update trail_chains set last_seq = ${last.seq}, hash = ${last.hash}, seal = ${entry.seal}
      where account = ${account} and region = ${region} and last_seq = ${expected.seq} and hash = ${expected.hash}
        and (select count(*) from held) = ${pending.length}
      returning 1
    ), gone as (
      delete from trail_pending
      where event_id = any(${[...pending, ...perhaps]}::uuid[]) and exists (select from moved)
    ), kept as (
      insert into trail_contents (event_id, account, region, at, data_key, sealed)
      select c.event_id, ${account}, ${region}, c.at, decode(c.data_key, 'base64'), decode(c.sealed, 'base64')
      from json_to_recordset(${sql.json(contents.map(asJson))}::json)
        as c (event_id uuid, at timestamptz, data_key text, sealed text)
      where exists (select from moved)
    ), dropped as (
      delete from trail_contents where event_id = any(${dropped}::uuid[]) and exists (select from moved)
    )
    insert into trail_segments (account, region, last_seq, first_seq, first_at, last_at, hash_before, hash, seal, tags,
      attributes, body)
    select ${account}, ${region}, ${last.seq}, ${expected.seq + 1}, ${segment.firstAt}, ${segment.lastAt},
      ${expected.hash}, ${last.hash}, ${segment.seal}, ${segment.tags},
      ${`{${segment.attributes.join(',')}}`}::text::integer[], ${segment.body}
    from moved returning 1`
  return rows.length === 1
}

const asJson = ({ eventId, at, dataKey, sealed }: ContentRow) => ({
  event_id: eventId,
  at: at.toISOString(),
  data_key: dataKey.toString('base64'),
  sealed: sealed.toString('base64'),
})

/** Which of these hashes ends a segment: what was appended by a statement whose answer was lost. */
export async function findHashes(sql: Sql, { account, region }: Scope, hashes: Buffer[]): Promise<string[]> {
  const rows = await sql<{ hash: string }[]>`
    select encode(hash, 'hex') as hash from trail_segments
    where account = ${account} and region = ${region}
      and encode(hash, 'hex') = any(${hashes.map((hash) => hash.toString('hex'))}::text[])`
  return rows.map(({ hash }) => hash)
}

// ---- what waits ----

export interface PendingRow extends Scope {
  eventId: string
  /** Who is about to do it; null: it is done, and the event is whole. */
  processId: string | null
  at: Date
  event: string
}

export async function insertPending(sql: Sql, rows: PendingRow[], contents: (ContentRow & Scope)[]): Promise<void> {
  const waiting = rows.map(({ eventId, account, region, processId, at, event }) => ({
    event_id: eventId,
    account,
    region,
    process_id: processId,
    at: at.toISOString(),
    event,
  }))
  const kept = contents.map((row) => ({ ...asJson(row), account: row.account, region: row.region }))
  await sql`
    with kept as (
      insert into trail_contents (event_id, account, region, at, data_key, sealed)
      select c.event_id, c.account, c.region, c.at, decode(c.data_key, 'base64'), decode(c.sealed, 'base64')
      from json_to_recordset(${sql.json(kept)}::json)
        as c (event_id uuid, account text, region text, at timestamptz, data_key text, sealed text)
    )
    insert into trail_pending (event_id, account, region, process_id, at, event)
    select * from json_to_recordset(${sql.json(waiting)}::json)
      as p (event_id uuid, account text, region text, process_id uuid, at timestamptz, event text)`
}

export async function existingPending(sql: Sql, eventIds: string[]): Promise<Set<string>> {
  const rows = await sql<{ eventId: string }[]>`
    select event_id as "eventId" from trail_pending where event_id = any(${eventIds}::uuid[])`
  return new Set(rows.map(({ eventId }) => eventId))
}

/** Whole events, and what was about to be done by processes that live no more; oldest first. */
export async function readReady(sql: Sql, limit: number): Promise<PendingRow[]> {
  return sql<PendingRow[]>`
    select event_id as "eventId", account, region, process_id as "processId", at, event from trail_pending p
    where process_id is null or not exists (select from trail_processes t where t.process_id = p.process_id)
    order by at, event_id limit ${limit}`
}

// ---- processes ----

/** By the database's clock: those of the processes may differ, and tests move them. */
export async function beat(sql: Sql, processId: string): Promise<void> {
  await sql`
    insert into trail_processes (process_id, beat_at) values (${processId}, clock_timestamp())
    on conflict (process_id) do update set beat_at = excluded.beat_at`
}

export async function forgetSilent(sql: Sql, silentSeconds: number): Promise<void> {
  await sql`delete from trail_processes where beat_at < clock_timestamp() - ${silentSeconds} * interval '1 second'`
}

export async function deleteProcess(sql: Sql, processId: string): Promise<void> {
  await sql`delete from trail_processes where process_id = ${processId}`
}

// ---- reading ----

const segmentColumns = (sql: Sql) => sql`
  first_seq as "firstSeq", last_seq as "lastSeq", first_at as "firstAt", last_at as "lastAt",
  hash_before as "hashBefore", hash, seal, tags, attributes, body`

export interface Wanted extends Scope {
  /** Segments that begin before this number. */
  before: number | undefined
  from: Date | undefined
  to: Date | undefined
  attribute: number | undefined
}

export interface FoundSegment {
  firstSeq: number
  lastSeq: number
  body: Buffer
}

/** Newest first. */
export async function findSegments(sql: Sql, wanted: Wanted, limit: number): Promise<FoundSegment[]> {
  const { account, region, before, from, to, attribute } = wanted
  return sql<FoundSegment[]>`
    select first_seq as "firstSeq", last_seq as "lastSeq", body from trail_segments
    where account = ${account} and region = ${region}
      ${before === undefined ? sql`` : sql`and first_seq < ${before}`}
      ${from === undefined ? sql`` : sql`and last_at >= ${from}`}
      ${to === undefined ? sql`` : sql`and first_at <= ${to}`}
      ${attribute === undefined ? sql`` : sql`and attributes @> array[${attribute}]::integer[]`}
    order by last_seq desc limit ${limit}`
}

/** In the order of the chain, beginning after a number. */
export async function readSegments(sql: Sql, scope: Scope, after: number, limit: number): Promise<SegmentRow[]> {
  return sql<SegmentRow[]>`
    select ${segmentColumns(sql)} from trail_segments
    where account = ${scope.account} and region = ${scope.region} and last_seq > ${after}
    order by last_seq limit ${limit}`
}

export async function readScopes(sql: Sql): Promise<Scope[]> {
  return sql<Scope[]>`select distinct account, region from trail_segments`
}

/** An event's contents, if they were kept. */
export async function readContent(sql: Sql, scope: Scope, eventId: string): Promise<ContentRow | undefined> {
  const [row] = await sql<ContentRow[]>`
    select event_id as "eventId", at, data_key as "dataKey", sealed from trail_contents
    where account = ${scope.account} and region = ${scope.region} and event_id = ${eventId}`
  return row
}

// ---- trimming ----

/** The last link of the chain's oldest segments that ended before this moment; undefined: there are none. */
export async function lastTrimmable(sql: Sql, scope: Scope, before: Date): Promise<Link | undefined> {
  const [row] = await sql<Link[]>`
    select last_seq as seq, hash from trail_segments s
    where account = ${scope.account} and region = ${scope.region} and last_at < ${before}
      and not exists (
        select from trail_segments o
        where o.account = s.account and o.region = s.region and o.last_seq < s.last_seq and o.last_at >= ${before}
      )
    order by last_seq desc limit 1`
  return row
}

/** Moves the anchor and deletes what lies before it; false: somebody else has moved it. */
export async function trim(
  sql: Sql,
  scope: Scope,
  move: { from: Link; to: Link; seal: Buffer; contentsBefore: Date },
): Promise<boolean> {
  const { account, region } = scope
  const rows = await sql`
    with moved as (
      update trail_chains set anchor_seq = ${move.to.seq}, anchor_hash = ${move.to.hash}, anchor_seal = ${move.seal}
      where account = ${account} and region = ${region} and anchor_seq = ${move.from.seq}
      returning 1
    ), gone as (
      delete from trail_segments
      where account = ${account} and region = ${region} and last_seq <= ${move.to.seq} and exists (select from moved)
    ), contents as (
      delete from trail_contents
      where account = ${account} and region = ${region} and at < ${move.contentsBefore} and exists (select from moved)
    )
    select from moved`
  return rows.length === 1
}

// ---- verifying ----

/** Every statement of `body` sees the database as it is at the first one. */
export async function inSnapshot<T>(database: Database, body: (sql: Sql) => Promise<T>): Promise<T> {
  return (await database.begin('isolation level repeatable read read only', (sql) => body(sql))) as T
}
