/**
 * SQL of commands. Lists go in as text arrays and are cast row by row: the driver takes an array of booleans or dates for
 * one of them. Whoever changes invocations locks their command's row first, so that no two writers wait for each
 * other.
 */
import type { Scope } from '../../platform/arn.ts'
import type { Fragment, Sql } from '../../platform/database.ts'
import { type CommandState, isCommandId } from './rules.ts'

export interface OutputOptions {
  OutputS3Region?: string
  OutputS3BucketName?: string
  OutputS3KeyPrefix?: string
  ServiceRole?: string
  CloudWatchOutputConfig?: { CloudWatchLogGroupName?: string; CloudWatchOutputEnabled?: boolean }
  NotificationConfig?: { NotificationArn?: string; NotificationEvents?: string[]; NotificationType?: string }
  AlarmConfiguration?: { IgnorePollAlarmFailure?: boolean; Alarms: { Name: string }[] }
}

export interface NewCommand extends Scope {
  commandId: string
  documentName: string
  documentVersion: string
  comment: string
  parameters: Record<string, string[]>
  instanceIds: string[]
  targets: { Key?: string; Values?: string[] }[]
  output: OutputOptions
  steps: { name: string; action: string }[]
  payload: string
  maxConcurrency: string
  maxErrors: string
  concurrency: number
  errorsAllowed: number
  requestedAt: Date
  timeoutSeconds: number
  deliverBy: Date
  expiresAt: Date
}

export interface NewInvocation {
  nodeId: string
  status: string
  statusDetails: string
  completedAt: Date | null
}

/** The command and all of its invocations in one statement. */
export async function insertCommand(sql: Sql, command: NewCommand, invocations: NewInvocation[]): Promise<void> {
  await sql`
    with command as (
      insert into commands (account, region, command_id, document_name, document_version, comment, parameters,
        instance_ids, targets, output, steps, payload, max_concurrency, max_errors, concurrency, errors_allowed,
        requested_at, timeout_seconds, deliver_by, expires_at, target_count, due_at)
      values (${command.account}, ${command.region}, ${command.commandId}, ${command.documentName},
        ${command.documentVersion}, ${command.comment}, ${sql.json(command.parameters)}, ${sql.json(command.instanceIds)},
        ${sql.json(command.targets as never)}, ${sql.json(command.output as never)}, ${sql.json(command.steps)},
        ${command.payload}, ${command.maxConcurrency}, ${command.maxErrors}, ${command.concurrency},
        ${command.errorsAllowed}, ${command.requestedAt}, ${command.timeoutSeconds}, ${command.deliverBy},
        ${command.expiresAt}, ${invocations.length}, ${command.requestedAt})
      returning account, region, command_id, requested_at
    )
    insert into command_invocations
      (account, region, command_id, node_id, position, status, status_details, requested_at, completed_at,
        keep_output_at)
    select c.account, c.region, c.command_id, i.node_id, i.position, i.status, i.status_details, c.requested_at,
      i.completed_at::timestamptz,
      case when ${command.output.OutputS3BucketName !== undefined} and i.completed_at is null then c.requested_at end
    from command c, unnest(
      ${invocations.map((i) => i.nodeId)}::text[], ${invocations.map((i) => i.status)}::text[],
      ${invocations.map((i) => i.statusDetails)}::text[], ${invocations.map((i) => i.completedAt?.toISOString() ?? null)}::text[]
    ) with ordinality as i (node_id, status, status_details, completed_at, position)`
}

// ------------------------------------------------------------------------------------------------------- reconciling

export interface DueCommand extends Scope {
  commandId: string
  payload: string
  concurrency: number
  errorsAllowed: number
  deliverBy: Date
  expiresAt: Date
  cancelledAt: Date | null
  notifies: boolean
}

/** Locks one command that is due, skipping those that another process is at. */
export async function lockDueCommand(sql: Sql, now: Date): Promise<DueCommand | undefined> {
  const [row] = await sql<DueCommand[]>`
    select account, region, command_id as "commandId", payload, concurrency, errors_allowed as "errorsAllowed",
      deliver_by as "deliverBy", expires_at as "expiresAt", cancelled_at as "cancelledAt",
      output ? 'NotificationConfig' as notifies
    from commands where due_at <= ${now} order by due_at limit 1 for update skip locked`
  return row
}

export async function nextDue(sql: Sql): Promise<Date | undefined> {
  const [row] = await sql<{ due: Date | null }[]>`select min(due_at) as due from commands where due_at is not null`
  return row?.due ?? undefined
}

export interface StateRow {
  statusDetails: string
  final: boolean
  released: boolean
  cancelling: boolean
  count: number
  /** When the first of them was put into a mailbox. */
  firstReleased: Date | null
}

export async function countInvocations(sql: Sql, commandId: string): Promise<StateRow[]> {
  return sql<StateRow[]>`
    select status_details as "statusDetails", completed_at is not null as final, released_at is not null as released,
      cancelled_at is not null and completed_at is null as cancelling, count(*) as count,
      min(released_at) as "firstReleased"
    from command_invocations where command_id = ${commandId} group by 1, 2, 3, 4`
}

/**
 * The first `limit` open invocations that stand in a certain place. As an array: of a command that has just been
 * written there are no statistics, and a planner that expects a handful of rows joins ten thousand with ten thousand in
 * a loop (half a minute).
 */
const firstOpen = (sql: Sql, commandId: string, place: Fragment, limit: number) => sql`
  command_id = ${commandId} and node_id = any(array(
    select node_id from command_invocations
    where command_id = ${commandId} and completed_at is null and ${place} order by position limit ${limit}
  ))`

/** Takes up to `limit` waiting invocations, in order, and marks them as put into mailboxes. */
export async function releaseInvocations(sql: Sql, commandId: string, limit: number, now: Date): Promise<string[]> {
  const waiting = sql`released_at is null and cancelled_at is null`
  const rows = await sql<{ nodeId: string }[]>`
    update command_invocations set released_at = ${now} where ${firstOpen(sql, commandId, waiting, limit)}
    returning node_id as "nodeId"`
  return rows.map((row) => row.nodeId)
}

export type Ending = 'waiting' | 'undelivered' | 'cancelled-undelivered' | 'cancelled-silent' | 'cancelled' | 'open'

/** Ends up to `limit` invocations that stand in a certain place, and tells which of them may still lie in a mailbox. */
export async function endInvocations(
  sql: Sql,
  commandId: string,
  which: Ending,
  ending: { status: string; statusDetails: string },
  limit: number,
  now: Date,
  silentSince: Date = now,
): Promise<{ nodeId: string; undelivered: boolean }[]> {
  const place = {
    waiting: sql`released_at is null and cancelled_at is null`,
    undelivered: sql`delivered_at is null`,
    'cancelled-undelivered': sql`cancelled_at is not null and delivered_at is null`,
    'cancelled-silent': sql`cancel_taken_at <= ${silentSince}`,
    cancelled: sql`cancelled_at is not null`,
    open: sql`true`,
  }[which]
  return sql<{ nodeId: string; undelivered: boolean }[]>`
    update command_invocations
    set status = ${ending.status}, status_details = ${ending.statusDetails}, completed_at = ${now}
    where ${firstOpen(sql, commandId, place, limit)}
    returning node_id as "nodeId", released_at is not null and delivered_at is null as undelivered`
}

/**
 * Up to `limit` delivered invocations that are to be cancelled and have not been told: marks them as told, each by a job of
 * its own.
 */
export async function takeCancellations(
  sql: Sql,
  commandId: string,
  limit: number,
  now: Date,
): Promise<Cancellation[]> {
  const untold = sql`cancelled_at is not null and delivered_at is not null and cancel_sent_at is null`
  return sql<Cancellation[]>`
    update command_invocations set cancel_sent_at = ${now}, cancel_job = gen_random_uuid()
    where ${firstOpen(sql, commandId, untold, limit)}
    returning account, region, command_id as "commandId", node_id as "nodeId", cancel_job as "cancelJob"`
}

export interface Cancellation extends InvocationKey {
  cancelJob: string
}

/** Commands that reached their nodes after they had ended without them: marks them as told to stop. */
export async function takeLateDeliveries(sql: Sql, invocations: InvocationKey[], now: Date): Promise<Cancellation[]> {
  return sql<Cancellation[]>`
    update command_invocations i set delivered_at = ${now}, cancel_sent_at = ${now}, cancel_job = gen_random_uuid()
    from unnest(
      ${invocations.map((i) => i.commandId)}::uuid[], ${invocations.map((i) => i.nodeId)}::text[],
      ${invocations.map((i) => i.account)}::text[], ${invocations.map((i) => i.region)}::text[]
    ) as r (command_id, node_id, account, region)
    where i.command_id = r.command_id and i.node_id = r.node_id and i.account = r.account and i.region = r.region
      and i.completed_at is not null and i.delivered_at is null and i.released_at is not null
      and i.status_details in ('Cancelled', 'DeliveryTimedOut')
    returning i.account, i.region, i.command_id as "commandId", i.node_id as "nodeId", i.cancel_job as "cancelJob"`
}

/** The commands that these jobs, each named by its id where a command's would stand, are to cancel. */
export async function listCancelled(sql: Sql, jobs: InvocationKey[]): Promise<string[]> {
  const rows = await sql<{ commandId: string }[]>`
    select distinct command_id as "commandId" from command_invocations
    where cancel_job = any(${jobs.map((job) => job.commandId)}::uuid[])`
  return rows.map((row) => row.commandId)
}

/** Nodes have these cancel jobs. */
export async function markCancelTaken(sql: Sql, jobs: InvocationKey[], now: Date): Promise<void> {
  await sql`
    update command_invocations i set cancel_taken_at = coalesce(i.cancel_taken_at, ${now})
    from unnest(
      ${jobs.map((j) => j.commandId)}::uuid[], ${jobs.map((j) => j.nodeId)}::text[],
      ${jobs.map((j) => j.account)}::text[], ${jobs.map((j) => j.region)}::text[]
    ) as r (cancel_job, node_id, account, region)
    where i.cancel_job = r.cancel_job and i.node_id = r.node_id and i.account = r.account and i.region = r.region`
}

export async function earliestCancelTaken(sql: Sql, commandId: string): Promise<Date | undefined> {
  const [row] = await sql<{ at: Date | null }[]>`
    select min(cancel_taken_at) as at from command_invocations where command_id = ${commandId} and completed_at is null`
  return row?.at ?? undefined
}

/** What lies in a mailbox since `releasedBefore` and has not reached its node is Delayed; tells of how many, `limit` at most. */
export async function delayInvocations(
  sql: Sql,
  commandId: string,
  releasedBefore: Date,
  limit: number,
): Promise<number> {
  const silent = sql`status = 'Pending' and released_at <= ${releasedBefore}`
  const { count } = await sql`
    update command_invocations set status = 'Delayed', status_details = 'Delayed'
    where ${firstOpen(sql, commandId, silent, limit)}`
  return count
}

/** Nodes with open invocations, in order, from behind `after`. */
export async function listOpenNodes(
  sql: Sql,
  after: { account: string; region: string; nodeId: string },
  limit: number,
): Promise<(Scope & { nodeId: string })[]> {
  return sql<(Scope & { nodeId: string })[]>`
    select distinct account, region, node_id as "nodeId" from command_invocations
    where completed_at is null and (account, region, node_id) > (${after.account}, ${after.region}, ${after.nodeId})
    order by 1, 2, 3 limit ${limit}`
}

/** Ends the open invocations of a node that is gone. */
export async function endOfNode(sql: Sql, node: Scope & { nodeId: string }, now: Date): Promise<void> {
  await sql`
    with locked as (
      select c.command_id from commands c
      where c.completed_at is null and exists (
        select 1 from command_invocations i
        where i.command_id = c.command_id and i.account = ${node.account} and i.region = ${node.region}
          and i.node_id = ${node.nodeId} and i.completed_at is null
      ) order by c.command_id for update
    ), due as (
      update commands c set due_at = least(due_at, ${now}) from locked where c.command_id = locked.command_id
    )
    update command_invocations i
    set status = case when i.cancelled_at is null then 'Failed' else 'Cancelled' end,
      status_details = case when i.cancelled_at is null then 'Undeliverable' else 'Cancelled' end, completed_at = ${now}
    from locked where i.command_id = locked.command_id and i.account = ${node.account} and i.region = ${node.region}
      and i.node_id = ${node.nodeId} and i.completed_at is null`
}

export async function updateCommand(
  sql: Sql,
  commandId: string,
  change: CommandState & {
    completedCount: number
    errorCount: number
    deliveryTimedOutCount: number
    completedAt: Date | null
    dueAt: Date | null
  },
): Promise<void> {
  await sql`
    update commands set status = ${change.status}, status_details = ${change.statusDetails},
      completed_count = ${change.completedCount}, error_count = ${change.errorCount},
      delivery_timed_out_count = ${change.deliveryTimedOutCount},
      completed_at = coalesce(completed_at, ${change.completedAt}), due_at = ${change.dueAt}
    where command_id = ${commandId}`
}

// ---------------------------------------------------------------------------------------------- what nodes report

export interface InvocationKey extends Scope {
  commandId: string
  nodeId: string
}

/** Locks the open commands, in one order for all writers, and makes them due. */
export async function touchCommands(sql: Sql, commandIds: string[], now: Date): Promise<void> {
  await sql`
    with locked as (
      select command_id from commands
      where command_id = any(${commandIds}::uuid[]) and completed_at is null order by command_id for update
    )
    update commands c set due_at = least(due_at, ${now}) from locked where c.command_id = locked.command_id`
}

export async function markDelivered(sql: Sql, invocations: InvocationKey[], now: Date): Promise<void> {
  await sql`
    update command_invocations i
    set delivered_at = coalesce(delivered_at, ${now}),
      status = case when i.status in ('Pending', 'Delayed') then 'InProgress' else i.status end,
      status_details = case when i.status in ('Pending', 'Delayed') then 'InProgress' else i.status_details end
    from unnest(
      ${invocations.map((i) => i.commandId)}::uuid[], ${invocations.map((i) => i.nodeId)}::text[],
      ${invocations.map((i) => i.account)}::text[], ${invocations.map((i) => i.region)}::text[]
    ) as r (command_id, node_id, account, region)
    where i.command_id = r.command_id and i.node_id = r.node_id and i.account = r.account and i.region = r.region
      and i.completed_at is null`
}

export interface ReportedInvocation extends InvocationKey {
  status: string
  statusDetails: string
  final: boolean
  trace: string
}

/** What agents say of whole documents. A final state stays: replies come in any order and more than once. */
export async function reportInvocations(sql: Sql, reported: ReportedInvocation[], now: Date): Promise<void> {
  await sql`
    update command_invocations i
    set delivered_at = coalesce(delivered_at, ${now}),
      status = case when r.final::boolean or i.cancelled_at is null then r.status else i.status end,
      status_details = case when r.final::boolean or i.cancelled_at is null then r.status_details else i.status_details end,
      trace = case when r.trace = '' then i.trace else r.trace end,
      completed_at = case when r.final::boolean then ${now}::timestamptz end
    from unnest(
      ${reported.map((r) => r.commandId)}::uuid[], ${reported.map((r) => r.nodeId)}::text[],
      ${reported.map((r) => r.account)}::text[], ${reported.map((r) => r.region)}::text[],
      ${reported.map((r) => r.status)}::text[], ${reported.map((r) => r.statusDetails)}::text[],
      ${reported.map((r) => String(r.final))}::text[], ${reported.map((r) => r.trace)}::text[]
    ) as r (command_id, node_id, account, region, status, status_details, final, trace)
    where i.command_id = r.command_id and i.node_id = r.node_id and i.account = r.account and i.region = r.region
      and i.completed_at is null`
}

export interface ReportedStep extends InvocationKey {
  name: string
  action: string
  status: string
  statusDetails: string
  final: boolean
  code: number
  output: string
  standardOutput: string
  standardError: string
  startedAt: string
  endedAt: string
}

/** What agents say of single steps. Output is kept even when the invocation has ended without waiting for it. */
export async function reportSteps(sql: Sql, steps: ReportedStep[], now: Date): Promise<void> {
  await sql`
    insert into command_steps (command_id, node_id, name, action, status, status_details, code, output,
      standard_output, standard_error, started_at, ended_at, completed_at)
    select s.command_id, s.node_id, s.name, s.action, s.status, s.status_details, s.code, s.output,
      s.standard_output, s.standard_error, s.started_at, s.ended_at, case when s.final::boolean then ${now}::timestamptz end
    from unnest(
      ${steps.map((s) => s.commandId)}::uuid[], ${steps.map((s) => s.nodeId)}::text[],
      ${steps.map((s) => s.account)}::text[], ${steps.map((s) => s.region)}::text[],
      ${steps.map((s) => s.name)}::text[], ${steps.map((s) => s.action)}::text[], ${steps.map((s) => s.status)}::text[],
      ${steps.map((s) => s.statusDetails)}::text[], ${steps.map((s) => String(s.final))}::text[],
      ${steps.map((s) => s.code)}::integer[], ${steps.map((s) => s.output)}::text[],
      ${steps.map((s) => s.standardOutput)}::text[], ${steps.map((s) => s.standardError)}::text[],
      ${steps.map((s) => s.startedAt)}::text[], ${steps.map((s) => s.endedAt)}::text[]
    ) as s (command_id, node_id, account, region, name, action, status, status_details, final, code, output,
      standard_output, standard_error, started_at, ended_at)
    join command_invocations i
      on i.command_id = s.command_id and i.node_id = s.node_id and i.account = s.account and i.region = s.region
    on conflict (command_id, node_id, name) do update set
      action = excluded.action, status = excluded.status, status_details = excluded.status_details,
      code = excluded.code, output = excluded.output, standard_output = excluded.standard_output,
      standard_error = excluded.standard_error, started_at = excluded.started_at, ended_at = excluded.ended_at,
      completed_at = excluded.completed_at
    where command_steps.completed_at is null`
}

// ------------------------------------------------------------------------------------------------------------ reading

export interface CommandRow extends NewCommand {
  targetCount: number
  completedCount: number
  errorCount: number
  deliveryTimedOutCount: number
  status: string
  statusDetails: string
  cancelledAt: Date | null
}

const commandColumns = (sql: Sql) => sql`
  c.account, c.region, c.command_id as "commandId", c.document_name as "documentName",
  c.document_version as "documentVersion", c.comment, c.parameters, c.instance_ids as "instanceIds", c.targets,
  c.output, c.steps, c.max_concurrency as "maxConcurrency", c.max_errors as "maxErrors",
  c.requested_at as "requestedAt", c.timeout_seconds as "timeoutSeconds", c.expires_at as "expiresAt",
  c.cancelled_at as "cancelledAt", c.target_count as "targetCount", c.completed_count as "completedCount",
  c.error_count as "errorCount", c.delivery_timed_out_count as "deliveryTimedOutCount", c.status,
  c.status_details as "statusDetails"`

export interface CommandFilter {
  commandId?: string
  nodeId?: string
  invokedAfter?: Date
  invokedBefore?: Date
  /** Each is the Status or the StatusDetails. */
  statuses?: string[]
  documentNames?: string[]
  /** Executing, Complete. */
  stages?: string[]
}

export interface Position {
  requestedAt: string
  commandId: string
  nodeId?: string
}

/** Newest first. */
export async function listCommands(
  sql: Sql,
  scope: Scope,
  filter: CommandFilter,
  after: Position | undefined,
  limit: number,
): Promise<CommandRow[]> {
  return sql<CommandRow[]>`
    select ${commandColumns(sql)} from commands c
    where c.account = ${scope.account} and c.region = ${scope.region}
      ${filter.commandId ? sql`and c.command_id = ${filter.commandId}` : sql``}
      ${filter.nodeId ? sql`and exists (select 1 from command_invocations i where i.command_id = c.command_id and i.node_id = ${filter.nodeId})` : sql``}
      ${filter.invokedAfter ? sql`and c.requested_at >= ${filter.invokedAfter}` : sql``}
      ${filter.invokedBefore ? sql`and c.requested_at < ${filter.invokedBefore}` : sql``}
      ${filter.statuses?.length ? sql`and array[c.status, c.status_details] @> ${filter.statuses}::text[]` : sql``}
      ${filter.documentNames?.length ? sql`and c.document_name = all(${filter.documentNames}::text[])` : sql``}
      ${filter.stages?.includes('Executing') ? sql`and c.completed_at is null` : sql``}
      ${filter.stages?.includes('Complete') ? sql`and c.completed_at is not null` : sql``}
      ${after ? sql`and (c.requested_at, c.command_id) < (${after.requestedAt}::timestamptz, ${after.commandId}::uuid)` : sql``}
    order by c.requested_at desc, c.command_id desc limit ${limit}`
}

export async function readCommand(sql: Sql, scope: Scope, commandId: string): Promise<CommandRow | undefined> {
  if (!isCommandId(commandId)) return undefined
  const [row] = await listCommands(sql, scope, { commandId }, undefined, 1)
  return row
}

/** Of these nodes, those that the command was sent to. */
export async function listTargeted(sql: Sql, commandId: string, nodeIds: string[]): Promise<string[]> {
  const rows = await sql<{ nodeId: string }[]>`
    select node_id as "nodeId" from command_invocations where command_id = ${commandId} and node_id = any(${nodeIds})`
  return rows.map((row) => row.nodeId)
}

export interface InvocationRow {
  commandId: string
  nodeId: string
  status: string
  statusDetails: string
  requestedAt: Date
  trace: string
  documentName: string
  documentVersion: string
  comment: string
  output: OutputOptions
  outputKept: boolean
  steps: { name: string; action: string }[]
}

/** Newest command first, within a command by node id. */
export async function listInvocations(
  sql: Sql,
  scope: Scope,
  filter: CommandFilter,
  after: Position | undefined,
  limit: number,
): Promise<InvocationRow[]> {
  return sql<InvocationRow[]>`
    select i.command_id as "commandId", i.node_id as "nodeId", i.status, i.status_details as "statusDetails",
      i.requested_at as "requestedAt", i.trace, i.output_kept_at is not null as "outputKept", c.document_name as "documentName",
      c.document_version as "documentVersion", c.comment, c.output, c.steps
    from command_invocations i join commands c on c.command_id = i.command_id
    where i.account = ${scope.account} and i.region = ${scope.region}
      ${filter.commandId ? sql`and i.command_id = ${filter.commandId}` : sql``}
      ${filter.nodeId ? sql`and i.node_id = ${filter.nodeId}` : sql``}
      ${filter.invokedAfter ? sql`and i.requested_at >= ${filter.invokedAfter}` : sql``}
      ${filter.invokedBefore ? sql`and i.requested_at < ${filter.invokedBefore}` : sql``}
      ${filter.statuses?.length ? sql`and array[i.status, i.status_details] @> ${filter.statuses}::text[]` : sql``}
      ${filter.documentNames?.length ? sql`and c.document_name = all(${filter.documentNames}::text[])` : sql``}
      ${after ? sql`and (i.requested_at, i.command_id, i.node_id) < (${after.requestedAt}::timestamptz, ${after.commandId}::uuid, ${after.nodeId ?? ''})` : sql``}
    order by i.requested_at desc, i.command_id desc, i.node_id desc limit ${limit}`
}

export interface StepRow {
  commandId: string
  nodeId: string
  name: string
  action: string
  status: string
  statusDetails: string
  code: number
  output: string
  standardOutput: string
  standardError: string
  startedAt: string
  endedAt: string
}

export async function listSteps(sql: Sql, invocations: { commandId: string; nodeId: string }[]): Promise<StepRow[]> {
  return sql<StepRow[]>`
    select s.command_id as "commandId", s.node_id as "nodeId", s.name, s.action, s.status,
      s.status_details as "statusDetails", s.code, s.output, s.standard_output as "standardOutput",
      s.standard_error as "standardError", s.started_at as "startedAt", s.ended_at as "endedAt"
    from unnest(
      ${invocations.map((i) => i.commandId)}::uuid[], ${invocations.map((i) => i.nodeId)}::text[]
    ) as i (command_id, node_id)
    join command_steps s on s.command_id = i.command_id and s.node_id = i.node_id`
}

/** Asks to cancel: all open invocations of the command, or those of the given nodes. */
export async function cancelInvocations(
  sql: Sql,
  commandId: string,
  nodeIds: string[] | undefined,
  now: Date,
): Promise<void> {
  await sql`
    update commands set due_at = least(due_at, ${now})
      ${nodeIds ? sql`` : sql`, cancelled_at = coalesce(cancelled_at, ${now})`}
    where command_id = ${commandId} and completed_at is null`
  await sql`
    update command_invocations
    set cancelled_at = coalesce(cancelled_at, ${now}), status = 'Cancelling', status_details = 'Cancelling'
    where command_id = ${commandId} and completed_at is null
      ${nodeIds ? sql`and node_id = any(${nodeIds})` : sql``}`
}

/** Forgets up to `limit` commands that ended before `before`; their invocations and steps go along. */
export async function deleteOldCommands(sql: Sql, before: Date, limit: number): Promise<number> {
  const rows = await sql`
    delete from commands where command_id in (
      select command_id from commands where completed_at < ${before} limit ${limit}
    ) returning 1`
  return rows.length
}

// ------------------------------------------------------------------------------------------------------- whole output

export interface OutputChunk {
  step: string
  stream: string
  start: number
  bytes: Buffer
}

/** The line in which output ends that was too long to be kept. */
const cutMark = (maxBytes: number): Buffer => Buffer.from(`\n--output truncated: more than ${maxBytes} bytes--\n`)

/**
 * Adds what is new of a chunk and returns how many bytes of its stream are held, or dropped for good: what is beyond
 * `maxBytes` of the invocation is, behind a mark. undefined when there is no such invocation. Its row is locked, so that
 * chunks of one invocation come one after the other; nobody who holds it waits for the command's row.
 */
export async function appendOutput(
  sql: Sql,
  key: InvocationKey,
  chunk: OutputChunk,
  maxBytes: number,
  now: Date,
): Promise<number | undefined> {
  const [there] = await sql<{ isLate: boolean }[]>`
    select completed_at is not null and coalesce(keep_output_at, output_kept_at) is not null as "isLate"
    from command_invocations
    where command_id = ${key.commandId} and node_id = ${key.nodeId} and account = ${key.account}
      and region = ${key.region} for no key update`
  if (!there) return undefined
  const [held] = await sql<{ next: number; position: number }[]>`
    select
      coalesce((select start + length(bytes) from command_output
        where command_id = ${key.commandId} and node_id = ${key.nodeId} and step = ${chunk.step}
          and stream = ${chunk.stream} order by start desc limit 1), 0) as next,
      coalesce((select position + length(bytes) from command_output
        where command_id = ${key.commandId} and node_id = ${key.nodeId} order by position desc limit 1), 0) as position`
  const { next, position } = held!
  const end = chunk.start + chunk.bytes.length
  // The mark lies beyond the limit, so that it is written once; and it makes its stream longer here than it is at the node.
  if (position > maxBytes) return end
  if (chunk.start > next || end <= next) return next
  const fresh = chunk.bytes.subarray(next - chunk.start)
  const fits = maxBytes - position
  const bytes = fresh.length > fits ? Buffer.concat([fresh.subarray(0, fits), cutMark(maxBytes)]) : fresh
  await sql`
    insert into command_output (command_id, node_id, position, step, stream, start, bytes, received_at)
    values (${key.commandId}, ${key.nodeId}, ${position}, ${chunk.step}, ${chunk.stream}, ${next}, ${bytes}, ${now})`
  if (there.isLate)
    await sql`
      update command_invocations set keep_output_at = ${now}
      where command_id = ${key.commandId} and node_id = ${key.nodeId}`
  return end
}

export async function readOutput(
  sql: Sql,
  key: InvocationKey,
  from: number,
  limit: number,
): Promise<(OutputChunk & { position: number })[]> {
  return sql<(OutputChunk & { position: number })[]>`
    select position, step, stream, start, bytes from command_output
    where command_id = ${key.commandId} and node_id = ${key.nodeId} and position + length(bytes) > ${from}
      and position >= coalesce((select max(position) from command_output
        where command_id = ${key.commandId} and node_id = ${key.nodeId} and position <= ${from}), 0)
    order by position limit ${limit}`
}

export async function readState(
  sql: Sql,
  key: InvocationKey,
): Promise<{ status: string; statusDetails: string; final: boolean } | undefined> {
  const [row] = await sql<{ status: string; statusDetails: string; final: boolean }[]>`
    select status, status_details as "statusDetails", completed_at is not null as final from command_invocations
    where command_id = ${key.commandId} and node_id = ${key.nodeId} and account = ${key.account}
      and region = ${key.region}`
  return row
}

/** Streams that ended, that something was reported of, and that no output is here of. */
const unkept = (sql: Sql, key: InvocationKey) => sql`
  select s.name as step, t.stream, t.body, s.completed_at, s.started_at
  from command_steps s,
    lateral (values ('stdout', s.standard_output), ('stderr', s.standard_error)) as t (stream, body)
  where s.command_id = ${key.commandId} and s.node_id = ${key.nodeId} and s.completed_at is not null and t.body <> ''
    and not exists (
      select 1 from command_output o
      where o.command_id = s.command_id and o.node_id = s.node_id and o.step = s.name
    )`

export async function hasUnkept(sql: Sql, key: InvocationKey): Promise<boolean> {
  const rows = await sql`select 1 from (${unkept(sql, key)}) u limit 1`
  return rows.length > 0
}

/**
 * Keeps what was reported of steps that ended before `endedBefore` as their output, where the agent sent none: without
 * the mark of truncation, so that what it may still send goes on behind it. In a transaction: like every chunk it takes the
 * invocation's row first, since positions of what is written side by side would overlap.
 */
export async function keepReported(sql: Sql, key: InvocationKey, endedBefore: Date, now: Date): Promise<void> {
  await sql`
    select 1 from command_invocations where command_id = ${key.commandId} and node_id = ${key.nodeId}
    for no key update`
  await sql`
    insert into command_output (command_id, node_id, position, step, stream, start, bytes, received_at)
    select ${key.commandId}::uuid, ${key.nodeId}, coalesce((select max(position + length(bytes)) from command_output
        where command_id = ${key.commandId} and node_id = ${key.nodeId}), 0)
      + coalesce(sum(length(bytes)) over (order by at, step, stream desc rows between unbounded preceding and 1 preceding), 0),
      step, stream, 0, bytes, ${now}
    from (
      select step, stream, completed_at as at,
        convert_to(regexp_replace(body, '--output truncated--$', ''), 'UTF8') as bytes
      from (${unkept(sql, key)}) u where completed_at <= ${endedBefore}
    ) reported where length(bytes) > 0
    on conflict do nothing`
}

// ------------------------------------------------------------------------------------------- output in other places

export interface ToKeep extends InvocationKey {
  output: OutputOptions
  steps: { name: string; action: string }[]
}

/** An ended invocation whose output is to be written, for this process alone until `lease`. */
export async function takeToKeep(sql: Sql, now: Date, endedBefore: Date, lease: Date): Promise<ToKeep | undefined> {
  const [row] = await sql<ToKeep[]>`
    update command_invocations i set keep_output_at = ${lease}
    from commands c, (
      select command_id, node_id from command_invocations
      where keep_output_at <= ${now} and completed_at <= ${endedBefore}
      order by keep_output_at limit 1 for update skip locked
    ) taken
    where c.command_id = taken.command_id and i.command_id = taken.command_id and i.node_id = taken.node_id
    returning i.account, i.region, i.command_id as "commandId", i.node_id as "nodeId", c.output, c.steps`
  return row
}

/** When the next one is to be looked at. */
export async function nextToKeep(sql: Sql, settleMs: number): Promise<Date | undefined> {
  const [row] = await sql<{ at: Date | null }[]>`
    select min(greatest(keep_output_at, completed_at + make_interval(secs => ${settleMs / 1000}))) as at
    from command_invocations where keep_output_at is not null and completed_at is not null`
  return row?.at ?? undefined
}

/** Unless more output came meanwhile. */
export async function markKept(sql: Sql, key: InvocationKey, lease: Date, now: Date): Promise<void> {
  await sql`
    update command_invocations
    set output_kept_at = ${now}, keep_output_at = case when keep_output_at = ${lease} then null else keep_output_at end
    where command_id = ${key.commandId} and node_id = ${key.nodeId}`
}

export async function listStreams(
  sql: Sql,
  key: InvocationKey,
): Promise<{ step: string; stream: string; size: number }[]> {
  return sql<{ step: string; stream: string; size: number }[]>`
    select step, stream, max(start + length(bytes)) as size from command_output
    where command_id = ${key.commandId} and node_id = ${key.nodeId} group by step, stream order by step, stream`
}

/** Chunks of one stream, from the one that holds the byte `from`. */
export async function readStream(
  sql: Sql,
  key: InvocationKey,
  of: { step: string; stream: string },
  from: number,
  limit: number,
): Promise<{ start: number; bytes: Buffer }[]> {
  return sql<{ start: number; bytes: Buffer }[]>`
    select start, bytes from command_output
    where command_id = ${key.commandId} and node_id = ${key.nodeId} and step = ${of.step} and stream = ${of.stream}
      and start >= coalesce((select max(start) from command_output
        where command_id = ${key.commandId} and node_id = ${key.nodeId} and step = ${of.step}
          and stream = ${of.stream} and start <= ${from}), 0)
    order by start limit ${limit}`
}

// ------------------------------------------------------------------------------------------------------ notifications

export interface NewNotification {
  subject: string
  message: string
}

export interface NotificationRow extends NewNotification {
  sequence: number
  messageId: string
  commandId: string
  topicArn: string
  createdAt: Date
  attempts: number
}

export async function readNotified(sql: Sql, commandId: string): Promise<CommandRow | undefined> {
  const [row] = await sql<CommandRow[]>`select ${commandColumns(sql)} from commands c where c.command_id = ${commandId}`
  return row
}

/** The command's status, if it has not been told. */
export async function takeChangedCommand(sql: Sql, commandId: string): Promise<string | undefined> {
  const [row] = await sql<{ status: string }[]>`
    update commands set notified_status = status
    where command_id = ${commandId} and notified_status is distinct from status returning status`
  return row?.status
}

/** Invocations whose status has not been told. */
export async function takeChangedInvocations(
  sql: Sql,
  commandId: string,
): Promise<{ nodeId: string; status: string }[]> {
  return sql<{ nodeId: string; status: string }[]>`
    update command_invocations set notified_status = status
    where command_id = ${commandId} and notified_status is distinct from status returning node_id as "nodeId", status`
}

export async function insertNotifications(
  sql: Sql,
  commandId: string,
  topicArn: string,
  messages: NewNotification[],
  now: Date,
): Promise<void> {
  await sql`
    insert into command_notifications (command_id, topic_arn, subject, message, created_at, due_at)
    select ${commandId}, ${topicArn}, subject, message, ${now}, ${now}
    from unnest(${messages.map((m) => m.subject)}::text[], ${messages.map((m) => m.message)}::text[])
      as m (subject, message)`
}

/** One that is due, for this process alone until `lease`. */
export async function takeNotification(sql: Sql, now: Date, lease: Date): Promise<NotificationRow | undefined> {
  const [row] = await sql<NotificationRow[]>`
    update command_notifications set due_at = ${lease}, attempts = attempts + 1
    where sequence = (
      select sequence from command_notifications where due_at <= ${now}
      order by due_at, sequence limit 1 for update skip locked
    )
    returning sequence, message_id as "messageId", command_id as "commandId", topic_arn as "topicArn", subject, message,
      created_at as "createdAt", attempts`
  return row
}

export async function deleteNotification(sql: Sql, sequence: number): Promise<void> {
  await sql`delete from command_notifications where sequence = ${sequence}`
}

export async function postponeNotification(sql: Sql, sequence: number, dueAt: Date): Promise<void> {
  await sql`update command_notifications set due_at = ${dueAt} where sequence = ${sequence}`
}

export async function nextNotification(sql: Sql): Promise<Date | undefined> {
  const [row] = await sql<{ at: Date | null }[]>`select min(due_at) as at from command_notifications`
  return row?.at ?? undefined
}
