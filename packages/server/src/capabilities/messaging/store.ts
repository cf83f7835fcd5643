/** SQL of messaging. Node lists are passed as parallel arrays and unnested, so that a thousand nodes are one statement. */
import type { Scope } from '../../platform/arn.ts'
import type { Sql } from '../../platform/database.ts'

export interface MailboxRow extends Scope {
  messageId: string
  nodeId: string
  messageType: string
  jobId: string
  topic: string
  content: string
  createdAt: Date
}

export interface NodeKey extends Scope {
  nodeId: string
}

/** Which server processes count as living: this one, and those with a heartbeat not older than that. */
export interface Living {
  processId: string
  since: Date
}

export interface NewMessage extends NodeKey {
  messageId: string
  jobId: string
}

export interface Letter {
  messageType: string
  topic: string
  /** Text that all of the messages share, stored once under this id. */
  contentId: string
  content: string
  messages: NewMessage[]
  /** Nobody wants to say it after this moment; absent: until it is acknowledged or withdrawn. */
  expiresAt?: Date
}

/** One statement: the contents and a message for each node of each. */
export async function insertMessages(sql: Sql, letters: Letter[], now: Date): Promise<void> {
  const messages = letters.flatMap(({ contentId, messages }) => messages.map((m) => ({ contentId, ...m })))
  await sql`
    with letters as (
      select * from unnest(
        ${letters.map((l) => l.contentId)}::uuid[], ${letters.map((l) => l.content)}::text[],
        ${letters.map((l) => l.messageType)}::text[], ${letters.map((l) => l.topic)}::text[],
        ${letters.map((l) => l.expiresAt?.toISOString() ?? null)}::text[]
      ) as l (content_id, content, message_type, topic, expires_at)
    ), contents as (
      insert into message_contents (content_id, content, created_at)
      select content_id, content, ${now} from letters
      on conflict do nothing
    )
    insert into mailbox
      (message_id, account, region, node_id, message_type, job_id, topic, content_id, created_at, expires_at)
    select m.message_id, m.account, m.region, m.node_id, l.message_type, m.job_id, l.topic, l.content_id, ${now},
      l.expires_at::timestamptz
    from unnest(
      ${messages.map((m) => m.contentId)}::uuid[], ${messages.map((m) => m.messageId)}::uuid[],
      ${messages.map((m) => m.account)}::text[], ${messages.map((m) => m.region)}::text[],
      ${messages.map((m) => m.nodeId)}::text[], ${messages.map((m) => m.jobId)}::text[]
    ) as m (content_id, message_id, account, region, node_id, job_id)
    join letters l on l.content_id = m.content_id`
}

/** Messages that wait for these nodes, oldest first. */
export async function readMessages(sql: Sql, nodes: NodeKey[], now: Date): Promise<MailboxRow[]> {
  return sql<MailboxRow[]>`
    select m.message_id as "messageId", m.account, m.region, m.node_id as "nodeId", m.message_type as "messageType",
      m.job_id as "jobId", m.topic, c.content, m.created_at as "createdAt"
    from unnest(
      ${nodes.map((n) => n.account)}::text[], ${nodes.map((n) => n.region)}::text[], ${nodes.map((n) => n.nodeId)}::text[]
    ) as n (account, region, node_id)
    join mailbox m on m.account = n.account and m.region = n.region and m.node_id = n.node_id
    join message_contents c on c.content_id = m.content_id
    where m.expires_at is null or m.expires_at > ${now}
    order by m.created_at, m.message_id`
}

/** Jobs for a node that polls, oldest first; they are hidden from its next polls for some seconds. */
export async function takeMessages(
  sql: Sql,
  node: NodeKey,
  now: Date,
  hideSeconds: number,
  limit: number,
): Promise<MailboxRow[]> {
  const hiddenUntil = new Date(now.getTime() + hideSeconds * 1000)
  const rows = await sql<MailboxRow[]>`
    update mailbox m set hidden_until = ${hiddenUntil}
    from message_contents c
    where c.content_id = m.content_id and m.message_id in (
      select message_id from mailbox
      where account = ${node.account} and region = ${node.region} and node_id = ${node.nodeId}
        and message_type = 'agent_job' and (hidden_until is null or hidden_until <= ${now})
        and (expires_at is null or expires_at > ${now})
      order by created_at limit ${limit} for update skip locked
    )
    returning m.message_id as "messageId", m.account, m.region, m.node_id as "nodeId", m.message_type as "messageType",
      m.job_id as "jobId", m.topic, c.content, m.created_at as "createdAt"`
  return [...rows].sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime())
}

export async function readMessageOfJob(
  sql: Sql,
  node: NodeKey,
  jobId: string,
): Promise<{ messageId: string; createdAt: Date } | undefined> {
  const [row] = await sql<{ messageId: string; createdAt: Date }[]>`
    select message_id as "messageId", created_at as "createdAt" from mailbox
    where job_id = ${jobId} and account = ${node.account} and region = ${node.region} and node_id = ${node.nodeId}`
  return row
}

/** Takes one job out of one node's mailbox. */
export async function deleteJob(sql: Sql, node: NodeKey, jobId: string): Promise<void> {
  await sql`
    delete from mailbox
    where job_id = ${jobId} and account = ${node.account} and region = ${node.region} and node_id = ${node.nodeId}`
}

export async function deleteExpired(sql: Sql, now: Date): Promise<void> {
  await sql`delete from mailbox where expires_at <= ${now}`
}

/** Each from its own node's mailbox: what lies in another's stays there. */
export async function deleteMessages(sql: Sql, messages: (NodeKey & { messageId: string })[]): Promise<void> {
  await sql`
    delete from mailbox m
    using unnest(
      ${messages.map((d) => d.account)}::text[], ${messages.map((d) => d.region)}::text[],
      ${messages.map((d) => d.nodeId)}::text[], ${messages.map((d) => d.messageId)}::uuid[]
    ) as d (account, region, node_id, message_id)
    where m.message_id = d.message_id and m.account = d.account and m.region = d.region and m.node_id = d.node_id`
}

export async function deleteJobsOf(sql: Sql, jobs: (NodeKey & { jobId: string })[]): Promise<void> {
  await sql`
    delete from mailbox m
    using unnest(
      ${jobs.map((d) => d.account)}::text[], ${jobs.map((d) => d.region)}::text[],
      ${jobs.map((d) => d.nodeId)}::text[], ${jobs.map((d) => d.jobId)}::text[]
    ) as d (account, region, node_id, job_id)
    where m.job_id = d.job_id and m.account = d.account and m.region = d.region and m.node_id = d.node_id`
}

export async function deleteJobs(sql: Sql, jobIds: string[]): Promise<void> {
  await sql`delete from mailbox where job_id = any(${jobIds}::text[])`
}

export async function deleteNodeMessages(sql: Sql, node: NodeKey): Promise<void> {
  await sql`
    delete from mailbox
    where account = ${node.account} and region = ${node.region} and node_id = ${node.nodeId}`
  await sql`
    delete from node_channels
    where account = ${node.account} and region = ${node.region} and node_id = ${node.nodeId}`
}

/** Contents that no message needs any more. Young ones are spared: their messages may not be committed yet. */
export async function deleteUnusedContents(sql: Sql, olderThan: Date): Promise<void> {
  await sql`
    delete from message_contents c
    where c.created_at < ${olderThan} and not exists (select 1 from mailbox m where m.content_id = c.content_id)`
}

export async function beat(sql: Sql, processId: string, streamOrigin: string | undefined, now: Date): Promise<void> {
  await sql`
    insert into server_processes (process_id, heartbeat_at, stream_origin)
    values (${processId}, ${now}, ${streamOrigin ?? null})
    on conflict (process_id) do update
      set heartbeat_at = excluded.heartbeat_at, stream_origin = excluded.stream_origin`
}

/** Forgets processes that have been silent since `deadSince`, and the channels they held. */
export async function deleteDeadProcesses(sql: Sql, deadSince: Date): Promise<void> {
  await sql`
    with dead as (delete from server_processes where heartbeat_at < ${deadSince} returning process_id)
    delete from node_channels where process_id in (select process_id from dead)`
}

export async function deleteProcess(sql: Sql, processId: string): Promise<void> {
  await sql`delete from node_channels where process_id = ${processId}`
  await sql`delete from server_processes where process_id = ${processId}`
}

export async function upsertChannels(sql: Sql, nodes: NodeKey[], processId: string, now: Date): Promise<void> {
  await sql`
    insert into node_channels (account, region, node_id, process_id, opened_at)
    select account, region, node_id, ${processId}, ${now}
    from unnest(
      ${nodes.map((n) => n.account)}::text[], ${nodes.map((n) => n.region)}::text[], ${nodes.map((n) => n.nodeId)}::text[]
    ) as n (account, region, node_id)
    on conflict (account, region, node_id)
      do update set process_id = excluded.process_id, opened_at = excluded.opened_at`
}

/** Removes the channels if they still belong to this process: a node may already be at another one. */
export async function deleteChannels(sql: Sql, nodes: NodeKey[], processId: string): Promise<void> {
  await sql`
    delete from node_channels c
    using unnest(
      ${nodes.map((n) => n.account)}::text[], ${nodes.map((n) => n.region)}::text[], ${nodes.map((n) => n.nodeId)}::text[]
    ) as n (account, region, node_id)
    where c.account = n.account and c.region = n.region and c.node_id = n.node_id and c.process_id = ${processId}`
}

export async function deleteChannelsOf(sql: Sql, account: string): Promise<void> {
  await sql`delete from node_channels where account = ${account}`
}

/** Whether the node has a channel to a process that lives, and where that process takes data channels. */
export async function readHolder(
  sql: Sql,
  node: NodeKey,
  living: Living,
): Promise<{ streamOrigin: string | null } | undefined> {
  const [row] = await sql<{ streamOrigin: string | null }[]>`
    select p.stream_origin as "streamOrigin"
    from node_channels c join server_processes p on p.process_id = c.process_id
    where c.account = ${node.account} and c.region = ${node.region} and c.node_id = ${node.nodeId}
      and (p.heartbeat_at >= ${living.since} or p.process_id = ${living.processId})`
  return row
}

/** The nodes whose channels are recorded as this process's, as `account/region/node`. */
export async function readHeld(sql: Sql, processId: string): Promise<string[]> {
  const rows = await sql<{ key: string }[]>`
    select account || '/' || region || '/' || node_id as key from node_channels where process_id = ${processId}`
  return rows.map((row) => row.key)
}

/** Which of the nodes have a channel to a process that lives. */
export async function readConnected(sql: Sql, scope: Scope, nodeIds: string[], living: Living): Promise<string[]> {
  const rows = await sql<{ nodeId: string }[]>`
    select c.node_id as "nodeId" from node_channels c join server_processes p on p.process_id = c.process_id
    where c.account = ${scope.account} and c.region = ${scope.region} and c.node_id = any(${nodeIds}::text[])
      and (p.heartbeat_at >= ${living.since} or p.process_id = ${living.processId})`
  return rows.map((row) => row.nodeId)
}
