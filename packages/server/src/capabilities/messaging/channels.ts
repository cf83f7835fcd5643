/**
 * The control channels that this process holds. A channel opens with a token in its first frame; from then on the node's
 * mailbox is read to it, what it says goes to the capability that declared the type, and what it does not acknowledge is
 * sent again. Nothing here is the truth: killing the process loses no message.
 */
import { hash } from 'node:crypto'
import {
  type AgentMessage,
  agentJobOutcome,
  buildAgentJob,
  CONTROL_MESSAGE,
  decodeAgentMessage,
  encodeAgentMessage,
  parseAgentJobAck,
  parseOpenControlChannel,
} from '@musterbook/wire'
import type { WebSocket } from 'ws'
import type { Scope } from '../../platform/arn.ts'
import { type Batch, batch } from '../../platform/batch.ts'
import type { Host } from '../../platform/capability.ts'
import { uuid } from '../../platform/ids.ts'
import * as store from './store.ts'
import { isToken } from './token.ts'

/** Topic: a node's mailbox has something for it. */
export const MAILBOX_WAKE = 'mailbox'
/** Topic: a node's channel was opened (`node process`) or is to be closed (`node`), or all of an account are (`account`). */
export const CHANNEL_WAKE = 'channel'

/** The first frame comes right after the upgrade. */
const FIRST_FRAME_MS = 10_000
/** What a node has not acknowledged after this long is sent again on the same channel. */
const RESEND_MS = 10_000
/** Agents ping every 54 seconds: a channel that has been silent for this long is dead. */
const SILENT_MS = 150_000
const SWEEP_MS = 5_000
/** Nodes whose channels one statement records. */
const NODES_AT_ONCE = 1_000
/** Nodes that one statement reads mailboxes of; what it finds is sent in one go, which nobody else is served meanwhile. */
const DELIVER_AT_ONCE = 100
/** WebSocket close codes: the node has another channel; the channel was refused. */
const CLOSE_NORMAL = 1_000
const CLOSE_POLICY = 1_008

interface Channel extends Scope {
  key: string
  nodeId: string
  socket: WebSocket
  heardAt: number
  /** Messages sent and not acknowledged, with the time of the last sending; made when first needed. */
  sent: Map<string, number> | undefined
}

/** Jobs are wrapped for the agent; every other message lies in the mailbox as it is sent. */
const payloadOf = (row: store.MailboxRow): Uint8Array =>
  row.messageType === CONTROL_MESSAGE.agentJob
    ? buildAgentJob({ JobId: row.jobId, Topic: row.topic, Content: row.content })
    : Buffer.from(row.content)

/** The message that a node acknowledges for good, if this is an acknowledgement. */
function acknowledgedBy({ messageType, payload }: AgentMessage): string | undefined {
  if (messageType !== CONTROL_MESSAGE.agentJobAck) return undefined
  const ack = parseAgentJobAck(payload)
  return agentJobOutcome(ack.statusCode) === 'redeliver' ? undefined : ack.acknowledgedMessageId
}

/** What has left the mailbox, by whatever kind of answer, is not waited for any more. */
function forgetAnswered(channels: Iterable<Channel>, rows: store.MailboxRow[]): void {
  const waiting = new Set(rows.map((row) => row.messageId))
  for (const { sent } of channels)
    for (const messageId of sent?.keys() ?? []) if (!waiting.has(messageId)) sent?.delete(messageId)
}

const keyOf = (node: store.NodeKey) => `${node.account}/${node.region}/${node.nodeId}`
const sha256 = (data: string | Uint8Array) => hash('sha256', data, 'hex')

export interface Channels extends AsyncDisposable {
  open(scope: Scope, nodeId: string, socket: WebSocket): void
}

export function holdChannels(host: Host): Channels {
  const held = new Map<string, Channel>()
  /** Authenticated, without their first frame yet. */
  const opening = new Set<Channel>()
  let closing = false

  const opened: Batch<Channel> = batch(NODES_AT_ONCE, async (channels) => {
    await store.upsertChannels(host.sql, channels, host.processId, host.now())
    for (const { key } of channels) host.wake(CHANNEL_WAKE, `${key} ${host.processId}`)
  })
  const gone: Batch<Channel> = batch(NODES_AT_ONCE, async (channels) => {
    await store.deleteChannels(
      host.sql,
      channels.filter((channel) => !held.has(channel.key)),
      host.processId,
    )
  })
  const toDeliver: Batch<Channel> = batch(DELIVER_AT_ONCE, deliver)

  async function deliver(channels: Channel[]): Promise<void> {
    const byKey = new Map(channels.map((channel) => [channel.key, channel]))
    const now = host.clock.now()
    const rows = await store.readMessages(host.sql, [...byKey.values()], now)
    forgetAnswered(byKey.values(), rows)
    for (const row of rows) {
      const channel = byKey.get(keyOf(row))!
      const sentAt = channel.sent?.get(row.messageId)
      if (sentAt !== undefined && now.getTime() - sentAt < RESEND_MS) continue
      if (held.get(channel.key) !== channel) continue
      channel.sent ??= new Map()
      channel.sent.set(row.messageId, now.getTime())
      send(channel, row.messageType, payloadOf(row), row.messageId, now.getTime())
    }
  }

  function send(
    channel: Channel,
    messageType: string,
    payload: Uint8Array,
    messageId: string,
    createdDate: number,
  ): boolean {
    if (channel.socket.readyState !== channel.socket.OPEN) return false
    channel.socket.send(encodeAgentMessage({ messageType, payload, messageId, createdDate }, sha256), { binary: true })
    return true
  }

  function look(channel: Channel): void {
    toDeliver
      .add(channel)
      .catch((error) => host.log.error({ err: error }, 'a mailbox could not be read; it is tried again'))
  }

  function receive(channel: Channel, data: Uint8Array): void {
    const message = decodeAgentMessage(data)
    const handle = host.nodeMessages.get(message.messageType)
    const acknowledged = acknowledgedBy(message)
    if (!handle) return // telemetry and what later agents may say
    // Not sent again while the acknowledgement is written; the row is gone after that.
    if (acknowledged && channel.sent?.has(acknowledged)) channel.sent.set(acknowledged, Number.POSITIVE_INFINITY)
    handle({
      scope: { account: channel.account, region: channel.region },
      nodeId: channel.nodeId,
      messageId: message.messageId,
      messageType: message.messageType,
      payload: message.payload,
      answer: (messageType, payload) => send(channel, messageType, payload, uuid(), host.clock.now().getTime()),
    }).then(
      () => void (acknowledged && channel.sent?.delete(acknowledged)),
      (error) => {
        if (acknowledged && channel.sent?.has(acknowledged)) channel.sent.set(acknowledged, host.clock.now().getTime())
        host.log.warn(
          { err: error, nodeId: channel.nodeId, messageType: message.messageType },
          'a message of a node was not taken',
        )
      },
    )
  }

  /** Wakes were missed: closes the channels that are recorded at another process by now, or for no node any more. */
  async function review(): Promise<void> {
    await opened.idle()
    const before = [...held.values()]
    const recorded = new Set(await store.readHeld(host.sql, host.processId))
    for (const channel of before)
      if (held.get(channel.key) === channel && !recorded.has(channel.key))
        channel.socket.close(CLOSE_NORMAL, 'this channel is over')
  }

  /** The account is closed: its nodes' channels, and those that are just being opened. */
  function closeAll(account: string): void {
    for (const channel of [...held.values(), ...opening])
      if (channel.account === account) channel.socket.close(CLOSE_POLICY, 'the account is disabled')
  }

  function admit(channel: Channel): void {
    opening.delete(channel)
    if (channel.socket.readyState !== channel.socket.OPEN) return

    const before = held.get(channel.key)
    held.set(channel.key, channel)
    before?.socket.close(CLOSE_NORMAL, 'the node opened another channel')
    opened.add(channel).then(
      () => look(channel),
      (error) => {
        host.log.error({ err: error }, 'a channel could not be recorded; the node will dial again')
        channel.socket.terminate()
      },
    )
  }

  function sweep(): void {
    const now = host.clock.now().getTime()
    for (const channel of held.values()) {
      if (now - channel.heardAt > SILENT_MS) channel.socket.terminate()
      else if (channel.sent?.size && [...channel.sent.values()].some((at) => now - at >= RESEND_MS)) look(channel)
    }
    timer = host.clock.after(SWEEP_MS, sweep)
  }
  let timer = host.clock.after(SWEEP_MS, sweep)

  const subscriptions = [
    host.onWake(MAILBOX_WAKE, (key) => {
      if (key === undefined) for (const channel of held.values()) look(channel)
      else {
        const channel = held.get(key)
        if (channel) look(channel)
      }
    }),
    host.onWake(CHANNEL_WAKE, (key) => {
      if (key === undefined)
        return void review().catch((error) => host.log.warn({ err: error }, 'channels not reviewed'))
      if (!key.includes('/')) return closeAll(key)
      const [nodeKey = '', processId] = key.split(' ')
      const channel = held.get(nodeKey)
      if (channel && processId !== host.processId) channel.socket.close(CLOSE_NORMAL, 'this channel is over')
    }),
  ]

  return {
    open(scope, nodeId, socket) {
      const node = { account: scope.account, region: scope.region, nodeId }
      const channel: Channel = {
        ...node,
        key: keyOf(node),
        socket,
        heardAt: host.clock.now().getTime(),
        sent: undefined,
      }
      opening.add(channel)
      let isOpen = false
      const patience = host.clock.after(FIRST_FRAME_MS, () => socket.close(CLOSE_POLICY, 'no first frame came'))
      const heard = () => {
        channel.heardAt = host.clock.now().getTime()
      }
      socket.on('ping', heard)
      socket.on('message', (data: Buffer) => {
        heard()
        try {
          if (isOpen) receive(channel, data)
          else {
            const { TokenValue } = parseOpenControlChannel(data)
            if (closing || !isToken(host.sealer, TokenValue, node, host.now()))
              return socket.close(CLOSE_POLICY, 'the token is not good')
            patience[Symbol.dispose]()
            isOpen = true
            admit(channel)
          }
        } catch (error) {
          const reason = error instanceof Error ? error.message : 'unreadable'
          host.log.warn({ nodeId, reason }, 'a node sent a frame that cannot be read')
          socket.close(CLOSE_POLICY, 'unreadable frame')
        }
      })
      socket.on('close', () => {
        patience[Symbol.dispose]()
        opening.delete(channel)
        if (held.get(channel.key) !== channel) return
        held.delete(channel.key)
        if (!closing) gone.add(channel).catch(() => {}) // dead processes' channels do not count either
      })
    },
    async [Symbol.asyncDispose]() {
      closing = true
      timer[Symbol.dispose]()
      for (const subscription of subscriptions) subscription[Symbol.dispose]()
      for (const channel of held.values()) channel.socket.close(CLOSE_NORMAL, 'the server stops')
      await Promise.allSettled([opened.idle(), gone.idle(), toDeliver.idle()])
      for (const channel of held.values()) channel.socket.terminate()
    },
  }
}
