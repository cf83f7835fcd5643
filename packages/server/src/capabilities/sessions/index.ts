/**
 * Sessions: shells, commands and ports on nodes that have no open port. StartSession writes, the node's mailbox carries
 * the word, both ends dial in with a token of their own, and frames pass between them in memory.
 */
import {
  buildAgentTaskAcknowledge,
  buildChannelToken,
  CONTROL_MESSAGE,
  parseAgentTaskComplete,
  parseCreateChannelRequest,
} from '@musterbook/wire'
import { arn, nodeArn } from '../../platform/arn.ts'
import { type Access, type Capability, free, type NodeMessage } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { streamOriginOf } from '../messaging/index.ts'
import { describeSessions } from './describe-sessions.ts'
import { endSession } from './ending.ts'
import { holdSessions, type LiveSessions } from './live.ts'
import init from './migrations/0001-init.sql'
import recordings from './migrations/0002-recordings.sql'
import sessionKeys from './migrations/0003-session-keys.sql'
import shown from './migrations/0004-shown-text.sql'
import { endForgotten, endOfGoneNodes, forgetOld, sealRecordings } from './reconcile.ts'
import { sealedSeal } from './recording.ts'
import { recordingRoutes } from './recording-routes.ts'
import { END_WORDS } from './rules.ts'
import { opensSessionKey } from './session-key.ts'
import { startAccess, startSession, streamUrl } from './start-session.ts'
import * as store from './store.ts'
import { issueToken } from './tokens.ts'

const DATA_CHANNEL = /^\/v1\/data-channel\/([A-Za-z0-9_@.%-]{1,96})$/

/** Agents stop dialling when they read these words. */
const TERMINATED = 'Session is already terminated'

const sessionAccess = ({ SessionId }: { SessionId: string | undefined }, context: Context): Access => ({
  resources: [arn('ssm', context, `session/${SessionId}`)],
})

export const sessions: Capability = {
  name: 'sessions',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-recordings', sql: recordings },
    { name: '0003-session-keys', sql: sessionKeys },
    { name: '0004-shown-text', sql: shown },
  ],
  sealed: [sealedSeal],
  reconcilers: [endForgotten, endOfGoneNodes, sealRecordings, forgetOld],
  operations: {
    ssm: {
      StartSession: { authorize: startAccess, handle: startSession },
      ResumeSession: {
        authorize: sessionAccess,
        async handle(context, { SessionId }) {
          const session = await ownSession(context, SessionId)
          if (!session) throw new AwsError('DoesNotExistException', `Session ${SessionId} does not exist.`)
          // Without a token session-manager-plugin says that the session is over, and ends.
          if (session.endedAt) return { SessionId }
          const origin = (await streamOriginOf(context, session.nodeId)) ?? context.streamOrigin() ?? ''
          const TokenValue = await issueToken(context, session.sessionId, 'client')
          return { SessionId, TokenValue, StreamUrl: streamUrl(context, origin, session.sessionId) }
        },
      },
      TerminateSession: {
        authorize: sessionAccess,
        async handle(context, { SessionId }) {
          const session = await ownSession(context, SessionId)
          if (session)
            await endSession(context, session.sessionId, { status: 'Terminated', details: END_WORDS.terminated })
          return { SessionId }
        },
      },
      DescribeSessions: { authorize: () => ({ resources: ['*'] }), handle: describeSessions },
    },
  },
  start(host) {
    const live = holdSessions(host)
    return {
      routes: [
        ...recordingRoutes,
        {
          method: 'POST',
          path: DATA_CHANNEL,
          signedFor: 'ssmmessages',
          authorize: (context) => ({
            action: 'ssmmessages:CreateDataChannel',
            resources: [nodeArn(context, context.caller.type === 'node' ? context.caller.nodeId : '*')],
          }),
          async handle(context, { params: [sessionId = ''], body }) {
            parseCreateChannelRequest(body)
            const session = await ownSession(context, decodeURIComponent(sessionId))
            const isOwn = context.caller.type === 'node' && session?.nodeId === context.caller.nodeId
            if (!isOwn || session.endedAt) throw new AwsError('DoesNotExistException', TERMINATED)
            const token = await issueToken(context, session.sessionId, 'agent')
            return { status: 201, contentType: 'application/xml', body: buildChannelToken('Data', token) }
          },
        },
      ],
      sockets: [
        {
          path: DATA_CHANNEL,
          signedFor: 'ssmmessages',
          unsignedToo: true, // clients carry a token only
          authorize: (context) =>
            context.caller.type === 'node'
              ? { action: 'ssmmessages:OpenDataChannel', resources: [nodeArn(context, context.caller.nodeId)] }
              : { ...free('the token in the first frame is the proof'), action: 'ssmmessages:OpenDataChannel' },
          open: ({ caller }, socket, [sessionId = ''], wire) =>
            live.open(caller, socket, wire, decodeURIComponent(sessionId)),
        },
      ],
      nodeMessages: { [CONTROL_MESSAGE.agentTaskComplete]: (message) => taskCompleted(host.sql, live, message) },
      nodeGrants: { 'kms:Decrypt': opensSessionKey },
      close: async () => live[Symbol.asyncDispose](),
    }
  },
}

async function ownSession(context: Context, sessionId: string | undefined): Promise<store.SessionRow | undefined> {
  const session = sessionId === undefined ? undefined : await store.readSession(context.sql, sessionId)
  return session?.account === context.account && session.region === context.region ? session : undefined
}

/** The agent's last word. It comes up to three times, and a failure comes twice: only the first one counts. */
async function taskCompleted(sql: Context['sql'], live: LiveSessions, message: NodeMessage): Promise<void> {
  const complete = parseAgentTaskComplete(message.payload)
  const session = await store.readSession(sql, complete.TaskId)
  const isOwn =
    session?.nodeId === message.nodeId &&
    session.account === message.scope.account &&
    session.region === message.scope.region
  if (isOwn) {
    const failed = complete.FinalTaskStatus === 'Failed' || complete.FinalTaskStatus === 'TimedOut'
    const details = failed ? wordsOf(complete.Output) : END_WORDS.exited
    await live.end(session.sessionId, { status: failed ? 'Failed' : 'Terminated', details, byNode: true })
  }
  message.answer(
    CONTROL_MESSAGE.agentTaskAcknowledge,
    buildAgentTaskAcknowledge({ MessageId: message.messageId, TaskId: complete.TaskId }),
  )
}

/** Agents set failures off with a line of their own; what people read is the rest. */
const wordsOf = (output: string): string =>
  output
    .replace(/^\s*-+ERROR-+\s*/, '')
    .replaceAll('\0', '\ufffd')
    .trim()
    .slice(0, 2_000) || 'The session failed on the node.'
