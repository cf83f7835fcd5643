/**
 * Carries commands out: releases invocations into mailboxes as far as MaxConcurrency and MaxErrors allow, ends those
 * whose time has passed, cancels, and computes the command's status from its invocations. One command at a time, in one
 * transaction, with its row locked; what is left of it is written as the moment when it is due again.
 */
import {
  buildCancelCommandPayload,
  buildJobId,
  CANCEL_COMMAND_TOPIC,
  CONTROL_MESSAGE,
  SEND_COMMAND_TOPIC,
} from '@musterbook/wire'
import type { Reconciler } from '../../platform/capability.ts'
import type { Ground, WorkContext } from '../../platform/context.ts'
import { uuid } from '../../platform/ids.ts'
import { post, withdraw } from '../messaging/index.ts'
import { missingNodes, NODE_GONE_WAKE } from '../nodes/index.ts'
import { noteChanges } from './notifications.ts'
import { CANCEL_GRACE_SECONDS, type Counts, commandState, DELAYED_AFTER_SECONDS, errorsOf } from './rules.ts'
import * as store from './store.ts'
import { COMMANDS_WAKE } from './wake.ts'

export const carryOut: Reconciler = {
  name: 'commands.carry-out',
  wakes: [COMMANDS_WAKE],
  everySeconds: 5,
  async run(work) {
    while (!work.signal.aborted && (await work.transaction(advanceOne)));
    return store.nextDue(work.sql)
  },
}

/** Advances one command that is due; false when there is none. */
async function advanceOne(work: WorkContext): Promise<boolean> {
  const now = work.now()
  const command = await store.lockDueCommand(work.sql, now)
  if (!command) return false
  // Every batch of replies ends up here: with 10,000 nodes, what need not be asked is most of what could be.
  const read = () => store.countInvocations(work.sql, command.commandId)
  let rows = await read()
  const isCancelling = rows.some((row) => row.cancelling)
  const cancelDue = isCancelling ? await cancel(work, command, now) : undefined
  const isLate = now >= command.deliverBy
  if (isLate) await expire(work, command, now)
  const waitingSince = firstWaiting(rows)
  const isDelayed = waitingSince !== undefined && waitingSince <= after(now, -DELAYED_AFTER_SECONDS)
  if (isDelayed) await store.delayInvocations(work.sql, command.commandId, after(now, -DELAYED_AFTER_SECONDS))
  if (isCancelling || isLate || isDelayed) rows = await read()
  const stillWaiting = firstWaiting(rows)
  const delayDue = stillWaiting && after(stillWaiting, DELAYED_AFTER_SECONDS)
  let counts = countsOf(rows)
  if (counts.waiting > 0 && errorsOf(counts) > command.errorsAllowed) {
    await store.endInvocations(
      work.sql,
      command.commandId,
      'waiting',
      { status: 'Failed', statusDetails: 'Terminated' },
      now,
    )
    counts = {
      ...counts,
      waiting: 0,
      final: { ...counts.final, Terminated: (counts.final.Terminated ?? 0) + counts.waiting },
    }
  }
  const free = Math.min(command.concurrency - counts.underWay, counts.waiting)
  const released = free > 0 ? await release(work, command, free, now) : 0
  await conclude(
    work,
    command,
    { ...counts, waiting: counts.waiting - released, underWay: counts.underWay + released },
    [cancelDue, delayDue, released > 0 ? after(now, DELAYED_AFTER_SECONDS) : undefined],
    now,
  )
  if (command.notifies) await noteChanges(work, command.commandId, now)
  return true
}

/** Since when the first of those waits that lie in a mailbox and have not reached their node. */
function firstWaiting(rows: store.StateRow[]): Date | undefined {
  const waiting = rows.filter((row) => !row.final && row.statusDetails === 'Pending' && row.firstReleased !== null)
  return waiting.flatMap(({ firstReleased }) => firstReleased ?? []).sort((a, b) => a.getTime() - b.getTime())[0]
}

function countsOf(rows: store.StateRow[]): Counts {
  const counts: Counts = { total: 0, waiting: 0, underWay: 0, delayed: 0, final: {} }
  for (const row of rows) {
    counts.total += row.count
    if (row.final) counts.final[row.statusDetails] = (counts.final[row.statusDetails] ?? 0) + row.count
    else if (row.released) counts.underWay += row.count
    else counts.waiting += row.count
    if (!row.final && row.statusDetails === 'Delayed') counts.delayed += row.count
  }
  return counts
}

async function release(work: WorkContext, command: store.DueCommand, limit: number, now: Date): Promise<number> {
  const { account, region, commandId } = command
  const nodeIds = await store.releaseInvocations(work.sql, commandId, limit, now)
  await post(work, {
    messageType: CONTROL_MESSAGE.agentJob,
    topic: SEND_COMMAND_TOPIC,
    contentId: commandId,
    content: command.payload,
    messages: nodeIds.map((nodeId) => ({
      messageId: uuid(),
      account,
      region,
      nodeId,
      jobId: buildJobId(commandId, nodeId),
    })),
    expiresAt: command.deliverBy,
  })
  return nodeIds.length
}

const CANCELLED = { status: 'Cancelled', statusDetails: 'Cancelled' }
const DELIVERY_TIMED_OUT = { status: 'TimedOut', statusDetails: 'DeliveryTimedOut' }

/**
 * What has not reached its node is cancelled here; a node that has the command is told, and is taken at its word or, when
 * it stays silent (the official agent says nothing of a queued one), cancelled after CANCEL_GRACE_SECONDS.
 * Returns when the grace of the first of them ends.
 */
async function cancel(work: WorkContext, command: store.DueCommand, now: Date): Promise<Date | undefined> {
  const { commandId } = command
  await takeBack(
    work,
    commandId,
    await store.endInvocations(work.sql, commandId, 'cancelled-undelivered', CANCELLED, now),
  )
  const silentSince = after(now, -CANCEL_GRACE_SECONDS)
  await store.endInvocations(work.sql, commandId, 'cancelled-silent', CANCELLED, now, silentSince)
  await tellToCancel(work, await store.takeCancellations(work.sql, commandId, now), command.expiresAt)
  const earliest = await store.earliestCancelTaken(work.sql, commandId)
  return earliest && after(earliest, CANCEL_GRACE_SECONDS)
}

/** Each cancellation is a job of its own: its id must not be that of the command, under which the agent keeps the command. */
export async function tellToCancel(
  ground: Ground,
  cancellations: store.Cancellation[],
  expiresAt?: Date,
): Promise<void> {
  for (const { account, region, commandId, nodeId, cancelJob } of cancellations) {
    await post(ground, {
      messageType: CONTROL_MESSAGE.agentJob,
      topic: CANCEL_COMMAND_TOPIC,
      contentId: uuid(),
      content: buildCancelCommandPayload({ CancelMessageId: buildJobId(commandId, nodeId) }),
      messages: [{ messageId: uuid(), account, region, nodeId, jobId: buildJobId(cancelJob, nodeId) }],
      expiresAt,
    })
  }
}

const after = (moment: Date, seconds: number): Date => new Date(moment.getTime() + seconds * 1000)

async function expire(work: WorkContext, command: store.DueCommand, now: Date): Promise<void> {
  // A node that was told to cancel and has not said how it ended: that it was cancelled is all that is known.
  if (now >= command.expiresAt) await store.endInvocations(work.sql, command.commandId, 'cancelled', CANCELLED, now)
  const which = now >= command.expiresAt ? 'open' : now >= command.deliverBy ? 'undelivered' : undefined
  if (!which) return
  await takeBack(
    work,
    command.commandId,
    await store.endInvocations(work.sql, command.commandId, which, DELIVERY_TIMED_OUT, now),
  )
}

async function takeBack(work: WorkContext, commandId: string, nodeIds: string[]): Promise<void> {
  if (nodeIds.length > 0)
    await withdraw(
      work,
      nodeIds.map((nodeId) => buildJobId(commandId, nodeId)),
    )
}

async function conclude(
  work: WorkContext,
  command: store.DueCommand,
  counts: Counts,
  moments: (Date | undefined)[],
  now: Date,
): Promise<void> {
  const open = counts.waiting + counts.underWay
  const completedCount = counts.total - open
  const sentAny = counts.underWay + completedCount > 0
  const deadline = now < command.deliverBy ? command.deliverBy : command.expiresAt
  const due = [deadline, ...moments].filter((moment) => moment !== undefined)
  await store.updateCommand(work.sql, command.commandId, {
    ...commandState(counts, command.errorsAllowed, command.cancelledAt !== null, sentAny),
    completedCount,
    errorCount: errorsOf(counts),
    deliveryTimedOutCount: counts.final.DeliveryTimedOut ?? 0,
    completedAt: open === 0 ? now : null,
    dueAt: open === 0 ? null : new Date(Math.min(...due.map((moment) => moment.getTime()))),
  })
}

const NODES_AT_ONCE = 1_000

/** Ends what was sent to nodes that are registered no longer: nothing will ever be heard of it. */
export const giveUp: Reconciler = {
  name: 'commands.give-up',
  wakes: [NODE_GONE_WAKE],
  everySeconds: 300,
  async run(work) {
    let last = { account: '', region: '', nodeId: '' }
    for (;;) {
      const open = await store.listOpenNodes(work.sql, last, NODES_AT_ONCE)
      for (const node of await missingNodes(work, open))
        await work.transaction(async (transaction) => {
          await store.endOfNode(transaction.sql, node, work.now())
          transaction.wake(COMMANDS_WAKE)
        })
      if (open.length < NODES_AT_ONCE || work.signal.aborted) return undefined
      last = open.at(-1)!
    }
  },
}

const FORGET_AT_ONCE = 1_000

export const forget: Reconciler = {
  name: 'commands.forget',
  wakes: [],
  everySeconds: 3_600,
  async run(work) {
    const before = new Date(work.now().getTime() - work.choices.commandRetentionDays * 86_400_000)
    while (
      !work.signal.aborted &&
      (await store.deleteOldCommands(work.sql, before, FORGET_AT_ONCE)) === FORGET_AT_ONCE
    );
    return undefined
  },
}
