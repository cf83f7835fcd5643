/** SQL of sessions. */
import type { Scope } from '../../platform/arn.ts'
import type { Sql } from '../../platform/database.ts'
import type { SessionStatus } from './rules.ts'

export interface SessionRow extends Scope {
  sessionId: string
  nodeId: string
  documentName: string
  sessionType: string
  owner: string
  reason: string
  status: SessionStatus
  details: string
  startedAt: Date
  endedAt: Date | null
  idleSeconds: number | null
  longestSeconds: number | null
  encrypted: boolean
  /** ARN of the KMS key of an encrypted session; otherwise empty. */
  kmsKey: string
  recorded: boolean
  letterId: string
  /** What a port session leads to, such as `db:5432`. */
  destination: string
}

export type NewSession = Omit<SessionRow, 'status' | 'details' | 'endedAt'>
export type Role = 'agent' | 'client'

const columns = (sql: Sql) => sql`
  session_id as "sessionId", account, region, node_id as "nodeId", document_name as "documentName",
  session_type as "sessionType", owner, reason, status, details, started_at as "startedAt", ended_at as "endedAt",
  idle_seconds as "idleSeconds", longest_seconds as "longestSeconds", encrypted, kms_key as "kmsKey", recorded,
  letter_id as "letterId", destination`

export async function insertSession(sql: Sql, session: NewSession): Promise<void> {
  await sql`
    insert into sessions (session_id, account, region, node_id, document_name, session_type, owner, reason, status,
      details, started_at, idle_seconds, longest_seconds, encrypted, kms_key, recorded, letter_id,
      destination, seen_at)
    values (${session.sessionId}, ${session.account}, ${session.region}, ${session.nodeId}, ${session.documentName},
      ${session.sessionType}, ${session.owner}, ${session.reason}, 'Connecting', '', ${session.startedAt},
      ${session.idleSeconds}, ${session.longestSeconds}, ${session.encrypted}, ${session.kmsKey}, ${session.recorded},
      ${session.letterId}, ${session.destination}, ${session.startedAt})`
}

export async function readSession(sql: Sql, sessionId: string): Promise<SessionRow | undefined> {
  const [row] = await sql<SessionRow[]>`select ${columns(sql)} from sessions where session_id = ${sessionId}`
  return row
}

export async function readSessions(sql: Sql, sessionIds: string[]): Promise<SessionRow[]> {
  return sql<SessionRow[]>`select ${columns(sql)} from sessions where session_id = any(${sessionIds}::text[])`
}

/** A new token of this role takes the place of every earlier one. */
export async function insertToken(
  sql: Sql,
  token: { hash: Buffer; sessionId: string; role: Role; expiresAt: Date },
): Promise<void> {
  await sql`
    with earlier as (
      delete from session_tokens where session_id = ${token.sessionId} and role = ${token.role}
    )
    insert into session_tokens (token_hash, session_id, role, expires_at)
    values (${token.hash}, ${token.sessionId}, ${token.role}, ${token.expiresAt})`
}

/** Uses a token up: the session and the end that it opens, or undefined when it is not good. */
export async function takeToken(
  sql: Sql,
  token: { hash: Buffer; sessionId: string },
  now: Date,
): Promise<{ role: Role; session: SessionRow } | undefined> {
  const [used] = await sql<{ role: Role }[]>`
    delete from session_tokens
    where token_hash = ${token.hash} and session_id = ${token.sessionId} and expires_at >= ${now}
    returning role`
  const session = used && (await readSession(sql, token.sessionId))
  return session && { role: used.role, session }
}

export async function markConnected(sql: Sql, sessionId: string): Promise<void> {
  await sql`
    update sessions set status = 'Connected'
    where session_id = ${sessionId} and ended_at is null and status <> 'Terminating'`
}

export interface End {
  status: SessionStatus
  details: string
  at: Date
}

/** Ends a session that has not ended; tells which one it was. A client that has not come yet may still hear why. */
export async function endSession(sql: Sql, sessionId: string, end: End): Promise<SessionRow | undefined> {
  const [row] = await sql<SessionRow[]>`
    with ended as (
      update sessions set status = ${end.status}, details = ${end.details}, ended_at = ${end.at}
      where session_id = ${sessionId} and ended_at is null
      returning *
    ), tokens as (
      delete from session_tokens where session_id = ${sessionId} and role = 'agent'
    )
    select ${columns(sql)} from ended`
  return row
}

export async function touchSessions(sql: Sql, sessionIds: string[], now: Date): Promise<void> {
  await sql`
    update sessions set seen_at = ${now} where session_id = any(${sessionIds}::text[]) and ended_at is null`
}

/** Open sessions that no process has touched since. */
export async function readForgotten(sql: Sql, since: Date, limit: number): Promise<SessionRow[]> {
  return sql<SessionRow[]>`
    select ${columns(sql)} from sessions where ended_at is null and seen_at < ${since} order by seen_at limit ${limit}`
}

export async function readOpenOf(sql: Sql, accounts: string[], limit: number): Promise<SessionRow[]> {
  return sql<SessionRow[]>`
    select ${columns(sql)} from sessions where ended_at is null and account = any(${accounts}::text[]) limit ${limit}`
}

/** The nodes with open sessions, in order, behind `after`. */
export async function listOpenNodes(
  sql: Sql,
  after: Scope & { nodeId: string },
  limit: number,
): Promise<(Scope & { nodeId: string })[]> {
  return sql<(Scope & { nodeId: string })[]>`
    select distinct account, region, node_id as "nodeId" from sessions
    where ended_at is null and (account, region, node_id) > (${after.account}, ${after.region}, ${after.nodeId})
    order by 1, 2, 3 limit ${limit}`
}

export async function readOpenOn(sql: Sql, node: Scope & { nodeId: string }): Promise<string[]> {
  const rows = await sql<{ sessionId: string }[]>`
    select session_id as "sessionId" from sessions
    where account = ${node.account} and region = ${node.region} and node_id = ${node.nodeId} and ended_at is null`
  return rows.map((row) => row.sessionId)
}

/** Ended between the two moments: their last messages to the nodes need not lie in the mailboxes any more. */
export async function readEndedBetween(sql: Sql, from: Date, until: Date): Promise<string[]> {
  const rows = await sql<{ sessionId: string }[]>`
    select session_id as "sessionId" from sessions where ended_at >= ${from} and ended_at < ${until}`
  return rows.map((row) => row.sessionId)
}

/**
 * Recorded sessions that ended between the two moments and whose recording nobody has sealed; held until the transaction
 * ends, so that one process alone seals each.
 */
export async function readUnsealed(sql: Sql, since: Date, before: Date, limit: number): Promise<SessionRow[]> {
  return sql<SessionRow[]>`
    select ${columns(sql)} from sessions s
    where ended_at >= ${since} and ended_at < ${before} and recorded
      and not exists (select 1 from session_recording_seals r where r.session_id = s.session_id)
    order by ended_at limit ${limit} for update skip locked`
}

export async function deleteOld(sql: Sql, tokensBefore: Date, sessionsBefore: Date): Promise<void> {
  await sql`delete from session_tokens where expires_at < ${tokensBefore}`
  await sql`delete from sessions where ended_at < ${sessionsBefore}`
}

export interface Listing {
  statuses: readonly string[]
  target?: string
  owner?: string
  sessionId?: string
  invokedAfter?: Date
  invokedBefore?: Date
  /** What the last page ended with. */
  after?: { startedAt: string; sessionId: string }
  limit: number
}

/** The youngest first. */
export async function listSessions(sql: Sql, scope: Scope, listing: Listing): Promise<SessionRow[]> {
  const { target, owner, sessionId, invokedAfter, invokedBefore, after } = listing
  return sql<SessionRow[]>`
    select ${columns(sql)} from sessions
    where account = ${scope.account} and region = ${scope.region} and status = any(${[...listing.statuses]}::text[])
      ${target === undefined ? sql`` : sql`and node_id = ${target}`}
      ${owner === undefined ? sql`` : sql`and owner = ${owner}`}
      ${sessionId === undefined ? sql`` : sql`and session_id = ${sessionId}`}
      ${invokedAfter === undefined ? sql`` : sql`and started_at > ${invokedAfter}`}
      ${invokedBefore === undefined ? sql`` : sql`and started_at < ${invokedBefore}`}
      ${after ? sql`and (started_at, session_id) < (${new Date(after.startedAt)}, ${after.sessionId})` : sql``}
    order by started_at desc, session_id desc limit ${listing.limit}`
}

export interface ChunkRow {
  number: number
  body: string
  hash: Buffer
}

/** Where a chain stands. */
export type Chained = Pick<ChunkRow, 'number' | 'hash'>

export interface SealRow {
  chunks: number
  seal: Buffer
}

export async function readLastChunk(sql: Sql, sessionId: string): Promise<Chained | undefined> {
  const [row] = await sql<Chained[]>`
    select number, hash from session_recordings where session_id = ${sessionId} order by number desc limit 1`
  return row
}

export async function insertChunk(sql: Sql, chunk: ChunkRow & { sessionId: string; shown: string }): Promise<void> {
  await sql`
    insert into session_recordings (session_id, number, body, hash, shown)
    values (${chunk.sessionId}, ${chunk.number}, ${chunk.body}, ${chunk.hash}, ${chunk.shown})`
}

export async function insertSeal(sql: Sql, seal: SealRow & { sessionId: string }): Promise<void> {
  await sql`
    insert into session_recording_seals (session_id, chunks, seal) values (${seal.sessionId}, ${seal.chunks}, ${seal.seal})
    on conflict (session_id) do update set chunks = excluded.chunks, seal = excluded.seal`
}

export async function readRecording(
  sql: Sql,
  sessionId: string,
): Promise<{ chunks: ChunkRow[]; seal: SealRow | undefined }> {
  const chunks = await sql<ChunkRow[]>`
    select number, body, hash from session_recordings where session_id = ${sessionId} order by number`
  const [seal] = await sql<SealRow[]>`
    select chunks, seal from session_recording_seals where session_id = ${sessionId}`
  return { chunks, seal }
}

export interface FoundRow {
  sessionId: string
  nodeId: string
  owner: string
  startedAt: Date
  body: string
  shown: string
}

/** Recorded sessions of the account that showed the text, chunk by chunk, the youngest first. */
export async function searchRecordings(sql: Sql, scope: Scope, text: string, limit: number): Promise<FoundRow[]> {
  // As the text stands in the lines of chunks that were written without what they show.
  const written = JSON.stringify(text).slice(1, -1)
  return sql<FoundRow[]>`
    select s.session_id as "sessionId", s.node_id as "nodeId", s.owner, s.started_at as "startedAt", r.body, r.shown
    from session_recordings r join sessions s on s.session_id = r.session_id
    where s.account = ${scope.account} and s.region = ${scope.region}
      and (position(${text} in r.shown) > 0 or (r.shown = '' and position(${written} in r.body) > 0))
    order by s.started_at desc, r.number limit ${limit}`
}
