/**
 * Notifications of commands and invocations: noted in the transaction that changes a status, and posted by a
 * reconciler to the address that the installation names, in the form in which SNS posts to its subscribers (unsigned). One
 * that is not taken with 200 is posted again, later each time, for an hour. Pending and Cancelling are never told.
 */
import type { Reconciler } from '../../platform/capability.ts'
import type { WorkContext } from '../../platform/context.ts'
import * as store from './store.ts'
import { NOTIFICATIONS_WAKE } from './wake.ts'

const LEASE_MS = 30_000
const ANSWER_MS = 10_000
const FIRST_RETRY_MS = 1_000
const LONGEST_RETRY_MS = 300_000
const GIVE_UP_MS = 3_600_000

const UNTOLD = new Set(['Pending', 'Cancelling', 'Delayed'])
const isTold = (events: string[] | undefined, status: string): boolean =>
  !UNTOLD.has(status) && (!events?.length || events.includes('All') || events.includes(status))

/** Notes what has changed since the last time. Called with the command's row locked. */
export async function noteChanges(work: WorkContext, commandId: string, now: Date): Promise<void> {
  const command = await store.readNotified(work.sql, commandId)
  const { NotificationConfig: config } = command?.output ?? {}
  if (!command || !config?.NotificationArn) return
  const { NotificationArn, NotificationEvents: events, NotificationType: type } = config
  const shared = {
    commandId,
    documentName: command.documentName,
    requestedDateTime: command.requestedAt.toISOString(),
  }
  const eventTime = now.toISOString()
  const messages: store.NewNotification[] = []
  if (type === 'Invocation') {
    for (const { nodeId: instanceId, status } of await store.takeChangedInvocations(work.sql, commandId))
      if (isTold(events, status))
        messages.push({
          subject: `EC2 Run Command Notification ${command.region}`,
          message: JSON.stringify({ ...shared, instanceId, status, eventTime }),
        })
  } else {
    const status = await store.takeChangedCommand(work.sql, commandId)
    if (status !== undefined && isTold(events, status))
      messages.push({
        subject: `EC2 Run Command Notification ${command.region}`,
        message: JSON.stringify({
          ...shared,
          instanceIds: command.instanceIds,
          expiresAfter: command.expiresAt.toISOString(),
          outputS3BucketName: command.output.OutputS3BucketName ?? '',
          outputS3KeyPrefix: command.output.OutputS3KeyPrefix ?? '',
          status,
          eventTime,
        }),
      })
  }
  if (messages.length === 0) return
  await store.insertNotifications(work.sql, commandId, NotificationArn, messages, now)
  work.wake(NOTIFICATIONS_WAKE)
}

export const notify: Reconciler = {
  name: 'commands.notify',
  wakes: [NOTIFICATIONS_WAKE],
  everySeconds: 60,
  async run(work) {
    const webhook = work.choices.notificationWebhook
    if (!webhook) return undefined
    while (!work.signal.aborted) {
      const now = work.now()
      const one = await store.takeNotification(work.sql, now, new Date(now.getTime() + LEASE_MS))
      if (!one) break
      const failure = await post(webhook, one)
      if (failure === undefined) await store.deleteNotification(work.sql, one.sequence)
      else if (now.getTime() - one.createdAt.getTime() > GIVE_UP_MS) {
        work.log.error({ failure, commandId: one.commandId }, 'a notification is given up')
        await store.deleteNotification(work.sql, one.sequence)
      } else {
        work.log.warn({ failure, commandId: one.commandId }, 'a notification was not taken; it is posted again')
        const wait = Math.min(FIRST_RETRY_MS * 2 ** one.attempts, LONGEST_RETRY_MS)
        await store.postponeNotification(work.sql, one.sequence, new Date(now.getTime() + wait))
      }
    }
    return store.nextNotification(work.sql)
  },
}

/** Why it was not taken; undefined: it was. */
async function post(webhook: string, one: store.NotificationRow): Promise<string | undefined> {
  try {
    const response = await fetch(webhook, {
      method: 'POST',
      headers: {
        'content-type': 'text/plain; charset=UTF-8',
        'x-amz-sns-message-type': 'Notification',
        'x-amz-sns-message-id': one.messageId,
        'x-amz-sns-topic-arn': one.topicArn,
      },
      body: JSON.stringify({
        Type: 'Notification',
        MessageId: one.messageId,
        TopicArn: one.topicArn,
        Subject: one.subject,
        Message: one.message,
        Timestamp: one.createdAt.toISOString(),
      }),
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_MS),
    })
    await response.body?.cancel()
    return response.ok ? undefined : `HTTP ${response.status}`
  } catch (error) {
    return error instanceof Error
      ? `${error.message} ${error.cause instanceof Error ? error.cause.message : ''}`
      : 'unknown'
  }
}
