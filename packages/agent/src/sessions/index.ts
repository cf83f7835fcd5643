// The sessions of this node: opens one for each interactive_shell, ends it on channel_closed, and says at the end how it
// went until that has been heard. Called by main.ts with what the control channel brings.

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AgentMessage,
  buildAgentTaskComplete,
  CONTROL_MESSAGE,
  type InteractiveShell,
  parseAgentTaskAcknowledge,
  parseChannelClosed,
  parseInteractiveShell,
} from '@musterbook/wire'
import { reason } from '../log.ts'
import type { SendMessage } from '../outbox.ts'
import { runSession, type SessionHost, type SessionResult } from './session.ts'

/** Sessions at once: the official agent's limit. */
const MAX_SESSIONS = 1_000
/** The last word is said three times, a second apart, unless it is acknowledged. */
const TELLINGS = 3
const TELL_AGAIN_MS = 1_000
/** A session's message may come again after its end: it must not start a second time. */
const REMEMBERED = 10_000

export interface Sessions {
  /** False when the message is none of a session's. */
  received(message: AgentMessage): boolean
  /** Ends all sessions; resolves when they have. */
  stopped(): Promise<void>
}

export function createSessions(host: SessionHost, send: SendMessage): Sessions {
  const running = new Map<string, { stop: AbortController; done: Promise<void> }>()
  const known = new Set<string>()
  const unheard = new Map<string, () => void>()
  const { log } = host

  function start(shell: InteractiveShell): void {
    const { SessionId: sessionId } = shell
    if (known.has(sessionId)) return
    known.add(sessionId)
    for (const oldest of known) {
      if (known.size <= REMEMBERED) break
      known.delete(oldest)
    }
    if (running.size >= MAX_SESSIONS) {
      void tell(sessionId, { status: 'Failed', output: `This node has ${MAX_SESSIONS} sessions already.` })
      return
    }
    const stop = new AbortController()
    log.info('session starts', { sessionId, document: shell.DocumentName })
    const done = runSession(host, shell, stop.signal)
      .then((result) => {
        running.delete(sessionId)
        log.info('session ended', { sessionId, status: result.status })
        return tell(sessionId, result)
      })
      .catch((error) => log.error('session failed', { sessionId, reason: reason(error) }))
    running.set(sessionId, { stop, done })
  }

  async function tell(sessionId: string, { status, output }: SessionResult): Promise<void> {
    const messageId = randomUUID()
    const heard = new AbortController()
    unheard.set(messageId, () => heard.abort())
    for (let telling = 1; telling <= TELLINGS && !heard.signal.aborted; telling++) {
      const payload = buildAgentTaskComplete({
        TaskId: sessionId,
        FinalTaskStatus: status,
        IsRoutingFailure: false,
        AwsAccountId: '',
        InstanceId: host.instanceId,
        Output: output,
        S3Bucket: '',
        S3UrlSuffix: '',
        CwlGroup: '',
        CwlStream: '',
        RetryNumber: telling,
      })
      send(CONTROL_MESSAGE.agentTaskComplete, messageId, payload)
      await sleep(TELL_AGAIN_MS, undefined, { signal: heard.signal }).catch(() => {})
    }
    unheard.delete(messageId)
  }

  return {
    received(message) {
      try {
        switch (message.messageType) {
          case CONTROL_MESSAGE.interactiveShell:
            start(parseInteractiveShell(message.payload))
            return true
          case CONTROL_MESSAGE.channelClosed:
            running.get(parseChannelClosed(message.payload).SessionId)?.stop.abort()
            return true
          case CONTROL_MESSAGE.agentTaskAcknowledge:
            unheard.get(parseAgentTaskAcknowledge(message.payload).MessageId)?.()
            return true
        }
      } catch (error) {
        log.warn('message dropped', { messageType: message.messageType, reason: reason(error) })
        return true
      }
      return false
    },
    async stopped() {
      for (const { stop } of running.values()) stop.abort()
      await Promise.all([...running.values()].map(({ done }) => done))
    },
  }
}
