/** SQL of trails: what they are, how far they have come, what is to be delivered, and the keys that sign digests. */
import type { Sql } from '../../../platform/database.ts'
import type { AdvancedEventSelector, EventSelector } from '../selectors.ts'
import type { TrailKey } from '../trail-rules.ts'

export interface TrailRow extends TrailKey {
  bucket: string
  prefix: string
  includeGlobal: boolean
  multiRegion: boolean
  validation: boolean
  selectors: EventSelector[] | null
  advancedSelectors: AdvancedEventSelector[] | null
  tags: Record<string, string>
  isLogging: boolean
  startedAt: Date | null
  stoppedAt: Date | null
  attemptedAt: Date | null
  deliveredAt: Date | null
  deliveryError: string | null
  digestedAt: Date | null
  digestError: string | null
  failures: number
}

const columns = (sql: Sql) => sql`
  account, region, name, bucket, prefix, include_global as "includeGlobal", multi_region as "multiRegion", validation,
  selectors, advanced_selectors as "advancedSelectors", tags, is_logging as "isLogging", started_at as "startedAt",
  stopped_at as "stoppedAt", attempted_at as "attemptedAt", delivered_at as "deliveredAt",
  delivery_error as "deliveryError", digested_at as "digestedAt", digest_error as "digestError", failures`

const isTrail = (sql: Sql, { account, region, name }: TrailKey) =>
  sql`account = ${account} and region = ${region} and name = ${name}`
const ofTrail = (sql: Sql, { account, region, name }: TrailKey) =>
  sql`account = ${account} and home_region = ${region} and name = ${name}`

/** Changes of an account's trails one after the other, until the transaction ends. */
export async function lockTrails(sql: Sql, account: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`trails of ${account}`}, 0))`
}

/** All of an account, in the order of their names. */
export async function listTrails(sql: Sql, account: string): Promise<TrailRow[]> {
  return sql<TrailRow[]>`select ${columns(sql)} from trails where account = ${account} order by name, region`
}

export async function insertTrail(
  sql: Sql,
  trail: Pick<TrailRow, 'bucket' | 'prefix' | 'includeGlobal' | 'multiRegion' | 'validation' | 'tags'> & TrailKey,
): Promise<void> {
  await sql`
    insert into trails (account, region, name, bucket, prefix, include_global, multi_region, validation, tags)
    values (${trail.account}, ${trail.region}, ${trail.name}, ${trail.bucket}, ${trail.prefix}, ${trail.includeGlobal},
      ${trail.multiRegion}, ${trail.validation}, ${sql.json(trail.tags)})`
}

export async function updateTrail(sql: Sql, trail: TrailRow): Promise<void> {
  await sql`
    update trails set bucket = ${trail.bucket}, prefix = ${trail.prefix}, include_global = ${trail.includeGlobal},
      multi_region = ${trail.multiRegion}, validation = ${trail.validation}, tags = ${sql.json(trail.tags)},
      selectors = ${trail.selectors && sql.json(JSON.parse(JSON.stringify(trail.selectors)))},
      advanced_selectors = ${trail.advancedSelectors && sql.json(JSON.parse(JSON.stringify(trail.advancedSelectors)))}
    where ${isTrail(sql, trail)}`
}

export async function deleteTrail(sql: Sql, trail: TrailKey): Promise<void> {
  await sql`delete from trails where ${isTrail(sql, trail)}`
}

// ---- logging ----

export async function startLogging(sql: Sql, trail: TrailKey, now: Date, nextAt: Date): Promise<void> {
  await sql`
    update trails set is_logging = true, started_at = ${now}, failures = 0, next_at = ${nextAt}
    where ${isTrail(sql, trail)}`
}

/** Looked at again at `nextAt`, when the record of the stop itself is in its chain. */
export async function stopLogging(sql: Sql, trail: TrailKey, now: Date, nextAt: Date): Promise<void> {
  await sql`
    update trails set is_logging = false, stopped_at = ${now}, next_at = ${nextAt} where ${isTrail(sql, trail)}`
}

/** What is recorded from now on is to be delivered, in the chains that the trail reaches. */
export async function openSpans(sql: Sql, { account, region, name }: TrailKey, multiRegion: boolean): Promise<void> {
  await sql`
    insert into trail_spans (account, home_region, name, region, begin_seq, after_seq)
    select account, ${region}, ${name}, region, last_seq, last_seq from trail_chains c
    where account = ${account} and (${multiRegion} or region = ${region}) and not exists (
      select from trail_spans s
      where s.account = c.account and s.home_region = ${region} and s.name = ${name} and s.region = c.region
        and s.until_seq is null)
    on conflict (account, home_region, name, region, begin_seq) do update set until_seq = null`
}

/** Chains that were begun since: all of them is to be delivered. */
export async function openNewSpans(sql: Sql, { account, region, name }: TrailKey, multiRegion: boolean): Promise<void> {
  await sql`
    insert into trail_spans (account, home_region, name, region, begin_seq, after_seq)
    select account, ${region}, ${name}, region, 0, 0 from trail_chains c
    where account = ${account} and (${multiRegion} or region = ${region}) and not exists (
      select from trail_spans s
      where s.account = c.account and s.home_region = ${region} and s.name = ${name} and s.region = c.region
        and s.until_seq is null)
    on conflict do nothing`
}

/** What is recorded from now on is not delivered; `elsewhere`: in other regions than its own. */
export async function closeSpans(sql: Sql, trail: TrailKey, elsewhere: boolean): Promise<void> {
  await sql`
    update trail_spans s set until_seq = c.last_seq from trail_chains c
    where s.account = ${trail.account} and s.home_region = ${trail.region} and s.name = ${trail.name}
      and s.until_seq is null and c.account = s.account and c.region = s.region
      and (not ${elsewhere} or s.region <> s.home_region)`
}

// ---- delivering ----

/** A trail whose time has come, or that has many records and was not looked at since `notSince`; for one process. */
export async function takeTrail(
  sql: Sql,
  lease: { id: string; now: Date; until: Date; notSince: Date },
  recordsAtOnce: number,
): Promise<TrailRow | undefined> {
  const [row] = await sql<TrailRow[]>`
    update trails set lease_until = ${lease.until}, lease_id = ${lease.id}
    where (account, region, name) in (
      select account, region, name from trails t
      where next_at is not null and (lease_until is null or lease_until <= ${lease.now}) and (
        next_at <= ${lease.now} or failures = 0 and attempted_at <= ${lease.notSince} and exists (
          select from trail_spans s join trail_chains c on c.account = s.account and c.region = s.region
          where s.account = t.account and s.home_region = t.region and s.name = t.name and s.until_seq is null
            and c.last_seq - s.after_seq >= ${recordsAtOnce}))
      order by next_at limit 1 for update of t skip locked)
    returning ${columns(sql)}`
  return row
}

/** False: another process has it now. */
export async function holdLease(sql: Sql, trail: TrailKey, lease: { id: string; until: Date }): Promise<boolean> {
  const { count } = await sql`
    update trails set lease_until = ${lease.until} where ${isTrail(sql, trail)} and lease_id = ${lease.id}`
  return count === 1
}

export interface Outcome {
  attemptedAt: Date
  deliveredAt: Date | null
  deliveryError: string | null
  digestedAt: Date | null
  digestError: string | null
  failures: number
  nextAt: Date | null
}

/** Where the trail was stopped or started meanwhile, it is looked at as that wants it. */
export async function release(sql: Sql, trail: TrailRow, leaseId: string, outcome: Outcome): Promise<void> {
  await sql`
    update trails set lease_until = null, lease_id = null, attempted_at = ${outcome.attemptedAt},
      delivered_at = ${outcome.deliveredAt}, delivery_error = ${outcome.deliveryError},
      digested_at = ${outcome.digestedAt}, digest_error = ${outcome.digestError}, failures = ${outcome.failures},
      next_at = case
        when is_logging = ${trail.isLogging} and started_at is not distinct from ${trail.startedAt}
        then ${outcome.nextAt}::timestamptz else next_at end
    where ${isTrail(sql, trail)} and lease_id = ${leaseId}`
}

/** When the next trail is to be looked at. */
export async function nextTrail(sql: Sql): Promise<Date | undefined> {
  const [row] = await sql<{ at: Date | null }[]>`
    select min(greatest(next_at, lease_until)) as at from trails where next_at is not null`
  return row?.at ?? undefined
}

export interface SpanRow {
  region: string
  beginSeq: number
  afterSeq: number
  untilSeq: number | null
  fileTo: number | null
  fileAt: Date | null
}

export async function listSpans(sql: Sql, trail: TrailKey): Promise<SpanRow[]> {
  return sql<SpanRow[]>`
    select region, begin_seq as "beginSeq", after_seq as "afterSeq", until_seq as "untilSeq", file_to as "fileTo",
      file_at as "fileAt"
    from trail_spans where ${ofTrail(sql, trail)} order by region, begin_seq`
}

const isSpan = (sql: Sql, trail: TrailKey, span: SpanRow) => sql`
  account = ${trail.account} and home_region = ${trail.region} and name = ${trail.name} and region = ${span.region}
  and begin_seq = ${span.beginSeq} and after_seq = ${span.afterSeq}`

/** Segments looked at for one file. */
const SEGMENTS_AT_ONCE = 1_000

/**
 * Says which records go into the next file: whole segments up to so many records and bytes, one at least. Undefined: there are none
 * to deliver.
 */
export async function planFile(
  sql: Sql,
  trail: TrailKey,
  span: SpanRow,
  plan: { at: Date; records: number; bytes: number },
): Promise<{ fileTo: number; fileAt: Date } | undefined> {
  const [row] = await sql<{ fileTo: number; fileAt: Date }[]>`
    update trail_spans p set file_to = n.last_seq, file_at = ${plan.at}
    from (
      select max(last_seq) as last_seq from (
        select last_seq, row_number() over (order by last_seq) as number,
          sum(last_seq - first_seq + 1) over (order by last_seq) as records,
          sum(octet_length(body)) over (order by last_seq) as bytes
        from (
          select first_seq, last_seq, body from trail_segments
          where account = ${trail.account} and region = ${span.region} and last_seq > ${span.afterSeq}
            and last_seq <= ${span.untilSeq ?? Number.MAX_SAFE_INTEGER}
          order by last_seq limit ${SEGMENTS_AT_ONCE}
        ) few
      ) counted
      where number = 1 or records <= ${plan.records} and bytes <= ${plan.bytes}
    ) n
    where ${isSpan(sql, trail, span)} and file_to is null and n.last_seq is not null
    returning p.file_to as "fileTo", p.file_at as "fileAt"`
  return row
}

export interface FileRow {
  lastSeq: number
  bucket: string
  key: string
  hash: Buffer
  oldestAt: Date
  newestAt: Date
}

/** The file lies in the bucket: it is a digest's to tell, and the next one begins after it. Once, whoever says it. */
export async function advance(sql: Sql, trail: TrailKey, span: SpanRow, file: FileRow | undefined): Promise<void> {
  const { account, region: home, name } = trail
  const moved = sql`
    update trail_spans set after_seq = file_to, file_to = null, file_at = null
    where ${isSpan(sql, trail, span)} and file_to = ${span.fileTo} returning 1`
  if (!file) {
    await moved
    return
  }
  await sql`
    with moved as (${moved})
    insert into trail_files (account, home_region, name, region, last_seq, bucket, key, hash, oldest_at, newest_at)
    select ${account}, ${home}, ${name}, ${span.region}, ${file.lastSeq}, ${file.bucket}, ${file.key}, ${file.hash},
      ${file.oldestAt}, ${file.newestAt}
    from moved`
}

/** Spans that have ended and have nothing left to deliver. */
export async function deleteEnded(sql: Sql, trail: TrailKey): Promise<void> {
  await sql`
    delete from trail_spans p where ${ofTrail(sql, trail)} and until_seq is not null and file_to is null and not exists (
      select from trail_segments g
      where g.account = p.account and g.region = p.region and g.last_seq > p.after_seq and g.last_seq <= p.until_seq)`
}

// ---- digests ----

/** The digest before, as the next one tells of it. */
export interface PreviousDigest {
  bucket: string
  key: string
  hash: string
  signature: string
}

export interface DigestRow {
  region: string
  startAt: Date
  endAt: Date | null
  previous: PreviousDigest | null
}

export async function listDigests(sql: Sql, trail: TrailKey): Promise<DigestRow[]> {
  return sql<DigestRow[]>`
    select region, start_at as "startAt", end_at as "endAt", previous from trail_digests
    where ${ofTrail(sql, trail)} order by region`
}

/** Begins the digests of the regions that the trail reaches and that have none. */
export async function beginDigests(sql: Sql, { account, region, name }: TrailKey, at: Date): Promise<void> {
  await sql`
    insert into trail_digests (account, home_region, name, region, start_at)
    select distinct account, home_region, name, region, ${at}::timestamptz from trail_spans
    where account = ${account} and home_region = ${region} and name = ${name} and until_seq is null
    on conflict do nothing`
}

/** Says which files the next digest tells of: all that lie there now. */
export async function planDigest(sql: Sql, trail: TrailKey, region: string, end: Date): Promise<void> {
  await sql`
    with planned as (
      update trail_digests set end_at = ${end} where ${ofTrail(sql, trail)} and region = ${region} and end_at is null
      returning 1
    )
    update trail_files set digest_end = ${end}
    where ${ofTrail(sql, trail)} and region = ${region} and digest_end is null and exists (select from planned)`
}

/** Begun with this digest, or with none. */
export async function listFiles(sql: Sql, trail: TrailKey, region: string, end: Date | null): Promise<FileRow[]> {
  return sql<FileRow[]>`
    select last_seq as "lastSeq", bucket, key, hash, oldest_at as "oldestAt", newest_at as "newestAt" from trail_files
    where ${ofTrail(sql, trail)} and region = ${region} and digest_end is not distinct from ${end}::timestamptz
    order by last_seq`
}

/** The digest lies in the bucket. */
export async function advanceDigest(
  sql: Sql,
  trail: TrailKey,
  region: string,
  done: { end: Date; digest: PreviousDigest },
): Promise<void> {
  await sql`
    with moved as (
      update trail_digests set start_at = ${done.end}, end_at = null, previous = ${sql.json({ ...done.digest })}
      where ${ofTrail(sql, trail)} and region = ${region} and end_at = ${done.end} returning 1
    )
    delete from trail_files
    where ${ofTrail(sql, trail)} and region = ${region} and digest_end = ${done.end} and exists (select from moved)`
}

/** A chain of digests ends: what is delivered later begins another one. */
export async function endDigests(sql: Sql, trail: TrailKey, region: string): Promise<void> {
  await sql`delete from trail_digests where ${ofTrail(sql, trail)} and region = ${region}`
}

/** Files that no digest will tell of. */
export async function forgetFiles(sql: Sql, trail: TrailKey): Promise<void> {
  await sql`delete from trail_files where ${ofTrail(sql, trail)}`
}

// ---- keys ----

export interface SigningKeyRow {
  fingerprint: string
  publicKey: Buffer
  privateKey: Buffer
  validFrom: Date
  validUntil: Date
}

/** Keys that are valid at some time of this span, oldest first. */
export async function listSigningKeys(sql: Sql, scope: { from: Date; to: Date }): Promise<SigningKeyRow[]> {
  return sql<SigningKeyRow[]>`
    select fingerprint, public_key as "publicKey", private_key as "privateKey", valid_from as "validFrom",
      valid_until as "validUntil"
    from trail_signing_keys where valid_from <= ${scope.to} and valid_until > ${scope.from} order by valid_from, fingerprint`
}

/** One process makes it, the others find it; held until the transaction ends. */
export async function lockSigningKeys(sql: Sql): Promise<void> {
  await sql`lock table trail_signing_keys in exclusive mode`
}

export async function insertSigningKey(sql: Sql, key: SigningKeyRow): Promise<void> {
  await sql`
    insert into trail_signing_keys (fingerprint, public_key, private_key, valid_from, valid_until)
    values (${key.fingerprint}, ${key.publicKey}, ${key.privateKey}, ${key.validFrom}, ${key.validUntil})`
}
