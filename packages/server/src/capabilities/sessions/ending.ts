/**
 * How a session ends, wherever that is decided: its row says so, its first message is taken back, and unless the agent
 * itself reported the end, its node is told over the control channel too (an official agent whose data channel is dead
 * hears nothing else). Whichever process carries the session is woken and tells the two ends.
 */
import { buildChannelClosed, CONTROL_MESSAGE } from '@musterbook/wire'
import { arn, nodeArn } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import { uuid } from '../../platform/ids.ts'
import { acknowledge, post, withdraw } from '../messaging/index.ts'
import { recordServiceEvent, type ServiceEvent } from '../trail/index.ts'
import type { ENDED } from './rules.ts'
import * as store from './store.ts'

/** Topic: the session whose id is the key has ended. */
export const SESSION_WAKE = 'session'

export interface Ending {
  status: (typeof ENDED)[number]
  /** What the client prints and the history shows; may be empty. */
  details: string
  /** The node is the one that said so, and needs no telling. */
  byNode?: boolean
  /** Payload that was carried, where the process that carries the session ends it. */
  bytes?: { toNode: number; fromNode: number }
}

/** Under which a session's last message lies in its node's mailbox. */
export const farewellJob = (sessionId: string): string => `session-end/${sessionId}`

/** The message that told the node of the session. */
export const letterOf = ({ account, region, nodeId, letterId }: store.SessionRow) => ({
  account,
  region,
  nodeId,
  messageId: letterId,
})

/** Ends it in the store; false when it had ended before. */
export async function endSession(ground: Ground, sessionId: string, ending: Ending): Promise<boolean> {
  return ground.transaction(async (inner) => {
    const now = inner.now()
    const { status, details } = ending
    const session = await store.endSession(inner.sql, sessionId, { status, details, at: now })
    if (ending.byNode) await withdraw(inner, [farewellJob(sessionId)])
    if (!session) return false
    await acknowledge(inner, [letterOf(session)])
    if (!ending.byNode) await post(inner, farewell(session, now))
    inner.wake(SESSION_WAKE, sessionId)
    await recordServiceEvent(inner, session, endEvent(session, ending, now))
    inner.log.info({ sessionId, nodeId: session.nodeId, owner: session.owner, status, details }, 'a session ended')
    return true
  })
}

/** What the audit tells of a session's end; its start is StartSession's own record. */
function endEvent(session: store.SessionRow, { status, details, bytes }: Ending, endedAt: Date): ServiceEvent {
  const { sessionId, nodeId, documentName, owner, startedAt, encrypted, destination } = session
  return {
    eventName: 'SessionEnded',
    eventSource: 'ssm.amazonaws.com',
    resources: [arn('ssm', session, `session/${sessionId}`), nodeArn(session, nodeId)],
    serviceEventDetails: {
      sessionId,
      target: nodeId,
      documentName,
      owner,
      status,
      ...(details !== '' && { reason: details }),
      startDate: startedAt.toISOString(),
      durationSeconds: Math.round((endedAt.getTime() - startedAt.getTime()) / 1000),
      ...(destination !== '' && { destination }),
      ...(encrypted && { encrypted }),
      ...(bytes && { bytesToNode: bytes.toNode, bytesFromNode: bytes.fromNode }),
    },
  }
}

function farewell({ account, region, nodeId, sessionId }: store.SessionRow, now: Date) {
  const messageId = uuid()
  const payload = buildChannelClosed({
    MessageId: messageId,
    DestinationId: nodeId,
    SessionId: sessionId,
    CreatedDate: now.getTime(),
    Output: '',
  })
  return {
    messageType: CONTROL_MESSAGE.channelClosed,
    topic: CONTROL_MESSAGE.channelClosed,
    contentId: uuid(),
    content: Buffer.from(payload).toString(),
    messages: [{ account, region, nodeId, messageId, jobId: farewellJob(sessionId) }],
  }
}
