/**
 * Carries commands out: releases invocations into mailboxes as far as MaxConcurrency and MaxErrors allow, ends those
 * whose time has passed, cancels, and computes the command's status from its invocations. One command at a time, a part of
 * it in one transaction, with its row locked; what is left of it is written as the moment when it is due again.
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

/**
 * Invocations of one command that are released, ended or told in one transaction: ten thousand in one go kept everybody
 * else's calls waiting for seconds. What is left is due at once, behind whatever else is.
 */
const AT_ONCE = 500

/** Advances one command that is due; false when there is none. Each of its parts says when it is due again. */
async function advanceOne(work: WorkContext): Promise<boolean> {
  const now = work.now()
  const command = await store.lockDueCommand(work.sql, now)
  if (!command) return false
  // Every batch of replies ends up here: with 10,000 nodes, what need not be asked is most of what could be.
  const read = () => store.countInvocations(work.sql, command.commandId)
  let rows = await read()
  const isCancelling = rows.some((row) => row.cancelling)
  const due = isCancelling ? await cancel(work, command, now) : []
  const isLate = now >= command.deliverBy
  if (isLate) due.push(...(await expire(work, command, now)))
  const waitingSince = firstWaiting(rows)
  const isDelayed = waitingSince !== undefined && waitingSince <= after(now, -DELAYED_AFTER_SECONDS)
  if (isDelayed) due.push(await delay(work, command, now))
  if (isCancelling || isLate || isDelayed) rows = await read()
  const stillWaiting = firstWaiting(rows)
  due.push(stillWaiting && after(stillWaiting, DELAYED_AFTER_SECONDS))
  let counts = countsOf(rows)
  if (counts.waiting > 0 && !isLate && errorsOf(counts) > command.errorsAllowed) {
    due.push(await end(work, command, 'waiting', TERMINATED, now))
    counts = countsOf(await read())
  } else if (counts.waiting > 0 && !isLate) {
    const released = await release(work, command, command.concurrency - counts.underWay, now)
    counts = { ...counts, waiting: counts.waiting - released, underWay: counts.underWay + released }
    if (released > 0) due.push(released === AT_ONCE ? now : after(now, DELAYED_AFTER_SECONDS))
  }
  await conclude(work, command, counts, due, now)
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

async function release(work: WorkContext, command: store.DueCommand, free: number, now: Date): Promise<number> {
  if (free <= 0) return 0
  const { account, region, commandId } = command
  const nodeIds = await store.releaseInvocations(work.sql, commandId, Math.min(free, AT_ONCE), now)
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
const TERMINATED = { status: 'Failed', statusDetails: 'Terminated' }

/** When a command is due again for one reason or another; undefined: not for that one. */
type Due = Date | undefined

/** Ends those that stand in a certain place, and takes what lies in mailboxes back. Due at once when there may be more of them. */
async function end(
  work: WorkContext,
  { commandId }: store.DueCommand,
  which: store.Ending,
  ending: typeof CANCELLED,
  now: Date,
  silentSince?: Date,
): Promise<Due> {
  const ended = await store.endInvocations(work.sql, commandId, which, ending, AT_ONCE, now, silentSince)
  const jobs = ended.filter((row) => row.undelivered).map(({ nodeId }) => buildJobId(commandId, nodeId))
  if (jobs.length > 0) await withdraw(work, jobs)
  return ended.length === AT_ONCE ? now : undefined
}

/**
 * What has not reached its node is cancelled here; a node that has the command is told, and is taken at its word or, when
 * it stays silent (the official agent says nothing of a queued one), cancelled after CANCEL_GRACE_SECONDS.
 */
async function cancel(work: WorkContext, command: store.DueCommand, now: Date): Promise<Due[]> {
  const { commandId } = command
  const undelivered = await end(work, command, 'cancelled-undelivered', CANCELLED, now)
  const silent = await end(work, command, 'cancelled-silent', CANCELLED, now, after(now, -CANCEL_GRACE_SECONDS))
  const told = await store.takeCancellations(work.sql, commandId, AT_ONCE, now)
  await tellToCancel(work, told, command.expiresAt)
  const earliest = await store.earliestCancelTaken(work.sql, commandId)
  const graceEnds = earliest && after(earliest, CANCEL_GRACE_SECONDS)
  return [undelivered, silent, told.length === AT_ONCE ? now : undefined, graceEnds]
}

/** Each cancellation is a job of its own: its id must not be that of the command, under which the agent keeps the command. */
export async function tellToCancel(
  ground: Ground,
  cancellations: store.Cancellation[],
  expiresAt?: Date,
): Promise<void> {
  const letters = cancellations.map(({ account, region, commandId, nodeId, cancelJob }) => ({
    messageType: CONTROL_MESSAGE.agentJob,
    topic: CANCEL_COMMAND_TOPIC,
    contentId: uuid(),
    content: buildCancelCommandPayload({ CancelMessageId: buildJobId(commandId, nodeId) }),
    messages: [{ messageId: uuid(), account, region, nodeId, jobId: buildJobId(cancelJob, nodeId) }],
    expiresAt,
  }))
  await post(ground, ...letters)
}

const after = (moment: Date, seconds: number): Date => new Date(moment.getTime() + seconds * 1000)

/** Once its time to be delivered is over, and once all of its time is. */
async function expire(work: WorkContext, command: store.DueCommand, now: Date): Promise<Due[]> {
  if (now < command.expiresAt) return [await end(work, command, 'undelivered', DELIVERY_TIMED_OUT, now)]
  // A node that was told to cancel and has not said how it ended: that it was cancelled is all that is known.
  const cancelled = await end(work, command, 'cancelled', CANCELLED, now)
  return [cancelled, cancelled ?? (await end(work, command, 'open', DELIVERY_TIMED_OUT, now))]
}

async function delay(work: WorkContext, { commandId }: store.DueCommand, now: Date): Promise<Due> {
  const releasedBefore = after(now, -DELAYED_AFTER_SECONDS)
  const delayed = await store.delayInvocations(work.sql, commandId, releasedBefore, AT_ONCE)
  return delayed === AT_ONCE ? now : undefined
}

async function conclude(
  work: WorkContext,
  command: store.DueCommand,
  counts: Counts,
  moments: Due[],
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

/** Ends what was sent to nodes that are registered no longer: nothing will ever be heard of it. */
export const giveUp: Reconciler = {
  name: 'commands.give-up',
  wakes: [NODE_GONE_WAKE],
  everySeconds: 300,
  async run(work) {
    for await (const node of missingNodes(work, (...page) => store.listOpenNodes(work.sql, ...page)))
      await work.transaction(async (transaction) => {
        await store.endOfNode(transaction.sql, node, work.now())
        transaction.wake(COMMANDS_WAKE)
      })
    return undefined
  },
}

/** Each may have gone to ten thousand nodes. */
const FORGET_AT_ONCE = 10

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
