/**
 * Messaging: a mailbox per node, and the control channels that empty them (ssmmessages). Its door puts messages into
 * mailboxes, takes acknowledged ones out and tells which nodes are connected.
 */
import { buildChannelToken, parseCreateChannelRequest } from '@musterbook/wire'
import { nodeArn, type Scope } from '../../platform/arn.ts'
import type { Access, Capability, Reconciler } from '../../platform/capability.ts'
import { atMost, LEAVE_MS } from '../../platform/clock.ts'
import type { Context, Ground } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { CHANNEL_WAKE, holdChannels, MAILBOX_WAKE } from './channels.ts'
import { DEAD_AFTER_MS, livingProcesses } from './connected.ts'
import { ec2messages } from './ec2messages.ts'
import init from './migrations/0001-init.sql'
import streamOrigin from './migrations/0002-stream-origin.sql'
import delivery from './migrations/0003-delivery.sql'
import * as store from './store.ts'
import { makeToken } from './token.ts'

export { connectedNodes } from './connected.ts'

/** Between two heartbeats of a server process. */
const BEAT_SECONDS = 5
/** Contents without a message are kept for this long: their messages may be about to commit. */
const SPARE_CONTENTS_MS = 600_000

const heartbeat: Reconciler = {
  name: 'messaging.heartbeat',
  wakes: [],
  everySeconds: BEAT_SECONDS,
  async run(work) {
    const now = work.now()
    await store.beat(work.sql, work.processId, work.streamOrigin(), now)
    await store.deleteDeadProcesses(work.sql, new Date(now.getTime() - DEAD_AFTER_MS))
    return undefined
  },
}

const tidy: Reconciler = {
  name: 'messaging.tidy',
  wakes: [],
  everySeconds: 300,
  async run(work) {
    await store.deleteExpired(work.sql, work.now())
    await store.deleteUnusedContents(work.sql, new Date(work.now().getTime() - SPARE_CONTENTS_MS))
    return undefined
  },
}

/** Only a node itself may hold its channel. */
function asItself(action: string) {
  return (context: Context, [nodeId = '']: string[]): Access => {
    if (context.caller.type !== 'node' || context.caller.nodeId !== nodeId)
      throw new AwsError(
        'AccessDeniedException',
        `User: ${context.caller.arn} is not authorized to perform: ${action} for another node`,
      )
    return { action, resources: [nodeArn(context, nodeId)] }
  }
}

const CONTROL_CHANNEL = /^\/v1\/control-channel\/([A-Za-z0-9-]{1,64})$/

export const messaging: Capability = {
  name: 'messaging',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-stream-origin', sql: streamOrigin },
    { name: '0003-delivery', sql: delivery },
  ],
  reconcilers: [heartbeat, tidy],
  async start(host) {
    await store.beat(host.sql, host.processId, host.streamOrigin(), host.now())
    const channels = holdChannels(host)
    return {
      operations: { ec2messages: ec2messages(host) },
      routes: [
        {
          method: 'POST',
          path: CONTROL_CHANNEL,
          signedFor: 'ssmmessages',
          authorize: asItself('ssmmessages:CreateControlChannel'),
          async handle(context, { params: [nodeId = ''], body }) {
            parseCreateChannelRequest(body)
            const token = makeToken(
              context.sealer,
              { account: context.account, region: context.region, nodeId },
              context.now(),
            )
            return { status: 201, contentType: 'application/xml', body: buildChannelToken('Control', token) }
          },
        },
      ],
      sockets: [
        {
          path: CONTROL_CHANNEL,
          signedFor: 'ssmmessages',
          authorize: asItself('ssmmessages:OpenControlChannel'),
          open: (context, socket, [nodeId = '']) => channels.open(context, nodeId, socket),
        },
      ],
      async close() {
        await channels[Symbol.asyncDispose]()
        await atMost(
          LEAVE_MS,
          store.deleteProcess(host.sql, host.processId).catch(() => {}),
        )
      },
    }
  },
}

/** Closes the channels of an account's nodes on every process; whether they may come back is not decided here. */
export async function closeChannelsOf(ground: Ground, account: string): Promise<void> {
  await store.deleteChannelsOf(ground.sql, account)
  ground.wake(CHANNEL_WAKE, account)
}

/** Puts a message into each node's mailbox (one statement for all letters) and wakes whoever holds the nodes. */
export async function post(ground: Ground, ...letters: store.Letter[]): Promise<void> {
  const messages = letters.flatMap((letter) => letter.messages)
  if (messages.length === 0) return
  await store.insertMessages(ground.sql, letters, ground.now())
  for (const { account, region, nodeId } of messages) ground.wake(MAILBOX_WAKE, `${account}/${region}/${nodeId}`)
}

/** Takes messages out of the mailboxes of their nodes, which have them. An id in another node's mailbox takes nothing. */
export const acknowledge = (ground: Ground, messages: (store.NodeKey & { messageId: string })[]): Promise<void> =>
  store.deleteMessages(ground.sql, messages)

/** The same by their jobs. */
export const acknowledgeJobs = (ground: Ground, jobs: (store.NodeKey & { jobId: string })[]): Promise<void> =>
  store.deleteJobsOf(ground.sql, jobs)

/** Takes messages back that have not been acknowledged. For whoever posted them, not on a node's word. */
export const withdraw = (ground: Ground, jobIds: string[]): Promise<void> => store.deleteJobs(ground.sql, jobIds)

/**
 * Where both ends of a session with this node dial: the process that holds the node's channel, since agents open all of
 * their channels at one place. undefined: the node is not connected.
 */
export async function streamOriginOf(context: Context, nodeId: string): Promise<string | undefined> {
  const holder = await store.readHolder(context.sql, { ...scopeOf(context), nodeId }, livingProcesses(context))
  return holder && (holder.streamOrigin ?? context.streamOrigin())
}

const scopeOf = ({ account, region }: Scope): Scope => ({ account, region })

/** Empties the node's mailbox and closes its channel. */
export async function forgetNode(context: Context, nodeId: string): Promise<void> {
  const { account, region } = context
  await store.deleteNodeMessages(context.sql, { account, region, nodeId })
  context.wake(CHANNEL_WAKE, `${account}/${region}/${nodeId}`)
}
