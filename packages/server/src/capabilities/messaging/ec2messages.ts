/**
 * The older way to a node's mailbox (service `ec2messages`): nodes poll instead of holding a channel. Messages are the same
 * ones, under their job ids; what a node says goes to the same handlers as what comes over a channel. While a node has a
 * channel, its polls stay empty: everything goes one way.
 */
import {
  type AgentJobStatus,
  buildAgentJobAck,
  buildAgentJobReply,
  CONTROL_MESSAGE,
  PayloadError,
  parseJobId,
  SEND_COMMAND_TOPIC,
} from '@musterbook/wire'
import type { ServiceOperations } from '../../contract/types.ts'
import { nodeArn } from '../../platform/arn.ts'
import type { Access, Host } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { uuid } from '../../platform/ids.ts'
import { MAILBOX_WAKE } from './channels.ts'
import { connectedNodes } from './connected.ts'
import * as store from './store.ts'

/** A poll is answered after this long at the latest: agents give up after 20 seconds, and lose what comes then. */
const POLL_MS = 15_000
/** How often a poll looks again although nothing woke it: hidden messages show again without a wake. */
const LOOK_MS = 2_500
/** Seconds for which a message that was handed out is hidden, unless the node says otherwise. */
const HIDE_SECONDS = 10
const MOST_HIDE_SECONDS = 3_600
const MESSAGES_AT_ONCE = 10

export function ec2messages(host: Host): ServiceOperations<'ec2messages'> {
  return {
    GetMessages: {
      authorize: ({ Destination }, context) => ({ resources: [nodeArn(context, Destination)] }),
      async handle(context, { Destination, MessagesRequestId, VisibilityTimeoutInSeconds }) {
        if (callingNode(context) !== Destination)
          throw new AwsError('InvalidDestinationException', 'A node may take its own messages only.')
        const hideSeconds = Math.min(Math.max(VisibilityTimeoutInSeconds ?? HIDE_SECONDS, 1), MOST_HIDE_SECONDS)
        const rows = await poll(host, context, Destination, hideSeconds)
        return {
          Destination,
          MessagesRequestId,
          Messages: rows.map((row) => ({
            // With milliseconds and Z: agents read any other form as the year 0.
            CreatedDate: row.createdAt.toISOString(),
            Destination,
            MessageId: row.jobId,
            Payload: row.content,
            Topic: row.topic,
          })),
        }
      },
    },
    AcknowledgeMessage: {
      authorize: itself,
      async handle(context, { MessageId }) {
        await tell(host, context, MessageId, 'Successful')
        return {}
      },
    },
    FailMessage: {
      authorize: itself,
      async handle(context, { MessageId, FailureType }) {
        const status = FailureType === 'NoHandlerExists' ? 'InvalidDocument' : 'UnexpectedError'
        await tell(host, context, MessageId, status)
        return {}
      },
    },
    SendReply: {
      authorize: itself,
      async handle(context, { MessageId, ReplyId, Payload }) {
        ownMessage(context, MessageId)
        const reply = buildAgentJobReply({ jobId: MessageId, content: Payload, topic: SEND_COMMAND_TOPIC })
        await hand(host, context, CONTROL_MESSAGE.agentJobReply, reply)
        return { MessageId, ReplyId, ReplyStatus: 'Completed' }
      },
    },
    DeleteMessage: {
      authorize: itself,
      async handle(context, { MessageId }) {
        ownMessage(context, MessageId)
        await store.deleteJob(context.sql, nodeKey(context), MessageId)
        return {}
      },
    },
    GetEndpoint: {
      authorize: ({ Destination }, context) => ({ resources: [nodeArn(context, Destination)] }),
      async handle(context) {
        return { Endpoint: context.streamOrigin()?.replace(/^ws/, 'http') }
      },
    },
  }
}

const itself = (_: unknown, context: Context): Access => ({ resources: [nodeArn(context, callingNode(context))] })

function callingNode({ caller }: Context): string {
  if (caller.type !== 'node') throw new AwsError('AccessDeniedException', 'Only a node has messages here.')
  return caller.nodeId
}

const nodeKey = (context: Context): store.NodeKey => ({
  account: context.account,
  region: context.region,
  nodeId: callingNode(context),
})

/** Throws InvalidMessageIdException for an id that is no message of the calling node. */
function ownMessage(context: Context, messageId: string): void {
  const nodeId = callingNode(context)
  try {
    if (parseJobId(messageId).instanceId === nodeId) return
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error
  }
  throw new AwsError('InvalidMessageIdException', `The message id ${messageId} is not valid for the node ${nodeId}.`)
}

async function poll(host: Host, context: Context, nodeId: string, hideSeconds: number): Promise<store.MailboxRow[]> {
  const { account, region } = context
  const until = context.now().getTime() + POLL_MS
  for (;;) {
    const now = context.now()
    const rows = (await connectedNodes(context, [nodeId])).has(nodeId)
      ? []
      : await store.takeMessages(context.sql, { account, region, nodeId }, now, hideSeconds, MESSAGES_AT_ONCE)
    const left = until - context.now().getTime()
    if (rows.length > 0 || left <= 0 || host.signal.aborted) return rows
    await wakeOrTime(host, `${account}/${region}/${nodeId}`, Math.min(left, LOOK_MS))
  }
}

/** Resolves when the node's mailbox has something, when the time is over, or when the server stops. */
function wakeOrTime(host: Host, nodeKey: string, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      subscription[Symbol.dispose]()
      timer[Symbol.dispose]()
      host.signal.removeEventListener('abort', finish)
      resolve()
    }
    const subscription = host.onWake(MAILBOX_WAKE, (key) => {
      if (key === undefined || key === nodeKey) finish()
    })
    const timer = host.clock.after(milliseconds, finish)
    host.signal.addEventListener('abort', finish, { once: true })
    if (host.signal.aborted) finish()
  })
}

/** An acknowledgement or a refusal, as a channel would bring it. */
async function tell(host: Host, context: Context, jobId: string, status: AgentJobStatus): Promise<void> {
  ownMessage(context, jobId)
  const message = await store.readMessageOfJob(context.sql, nodeKey(context), jobId)
  const ack = buildAgentJobAck({
    jobId,
    acknowledgedMessageId: message?.messageId ?? '',
    createdDate: (message?.createdAt ?? context.now()).toISOString(),
    status,
  })
  await hand(host, context, CONTROL_MESSAGE.agentJobAck, ack)
}

async function hand(host: Host, context: Context, messageType: string, payload: Uint8Array): Promise<void> {
  const handle = host.nodeMessages.get(messageType)
  if (!handle) throw new AwsError('UnsupportedMessageOperationException', 'Nobody takes such messages.')
  const scope = { account: context.account, region: context.region }
  const answer = () => true // over this door the HTTP answer is the acknowledgement
  try {
    await handle({ scope, nodeId: callingNode(context), messageId: uuid(), messageType, payload, answer })
  } catch (error) {
    if (error instanceof PayloadError) throw new AwsError('UnsupportedMessageOperationException', error.message)
    throw error
  }
}
