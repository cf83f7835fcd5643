/** What sessions may be and for how long: ids, states, limits and the words that their ends are told. Pure. */
import { randomBytes } from 'node:crypto'
import type { SessionDocument } from '@musterbook/document'
import type { Caller } from '../../platform/caller.ts'
import type { Context } from '../../platform/context.ts'

/** The account's preferences, and the document of a session that names none. */
export const PREFERENCES_DOCUMENT = 'SSM-SessionManagerRunShell'

/** Minutes; AWS takes 1 to 60 for the first and 1 to 1,440 for the second, which is without a limit when empty. */
const DEFAULT_IDLE_MINUTES = 20
const MAX_IDLE_MINUTES = 60
const MAX_DURATION_MINUTES = 1_440

export const ACTIVE = ['Connecting', 'Connected', 'Disconnected', 'Terminating'] as const
export const ENDED = ['Terminated', 'Failed'] as const
export type SessionStatus = (typeof ACTIVE)[number] | (typeof ENDED)[number]

/** SessionId has at most 96 characters; the official agent makes file names of it. */
const OWNER_CHARACTERS = 64

/** `<who>-<17 characters>`, as AWS makes them: policies let people end `${aws:username}-*`. */
export function newSessionId(caller: Caller): string {
  const name = caller.arn.slice(caller.arn.lastIndexOf('/') + 1).replace(/^.*:/, '')
  const who = name.replace(/[^A-Za-z0-9_.@-]/g, '').slice(0, OWNER_CHARACTERS) || 'session'
  return `${who}-${randomBytes(9).toString('hex').slice(1)}`
}

export interface Limits {
  idleSeconds: number | null
  longestSeconds: number | null
}

/** How long a session of this document may be idle and may last; its own words before those of the preferences. */
export function limitsOf(document: SessionDocument, preferences: SessionDocument): Limits {
  const said = (name: string) => document.inputs[name] ?? preferences.inputs[name]
  const idle = minutes(said('idleSessionTimeout'), MAX_IDLE_MINUTES) ?? DEFAULT_IDLE_MINUTES
  const longest = minutes(said('maxSessionDuration'), MAX_DURATION_MINUTES)
  return { idleSeconds: idle * 60, longestSeconds: longest === undefined ? null : longest * 60 }
}

function minutes(value: unknown, most: number): number | undefined {
  const number = Number(value)
  return value === '' || value === undefined || !Number.isInteger(number) || number < 1
    ? undefined
    : Math.min(number, most)
}

/** The KMS key under which the ends agree, so that the relay sees ciphertext only; ports are never encrypted so. */
export function kmsKeyOf({ sessionType, inputs }: SessionDocument): string | undefined {
  const { kmsKeyId } = inputs
  return sessionType !== 'Port' && typeof kmsKeyId === 'string' && kmsKeyId !== '' ? kmsKeyId : undefined
}

const LOOPBACK_ADDRESS = /^(127\.|::1$|::ffff:127\.)/
const LOOPBACK_NAME = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i

/**
 * Where a client dials that has called without TLS from this machine, or through a tunnel that ends here: the port that it
 * called. It has chosen to, nothing of it leaves the machine in clear, and so the plugin has no authority to trust first.
 */
export const plainOrigin = ({ sourceIp, encrypted, host }: Context): string | undefined =>
  !encrypted && LOOPBACK_ADDRESS.test(sourceIp) && LOOPBACK_NAME.test(host) ? `ws://${host}` : undefined

/** Why a session ended, as its client prints it and its history tells. Empty: the client has words of its own. */
export const END_WORDS = {
  exited: '',
  terminated: '',
  idle: 'The session ended because nobody used it.',
  longest: 'The session ended because it reached its maximum duration.',
  agentNeverCame: 'The node did not open the session.',
  agentGone: 'The connection to the node was lost.',
  clientNeverCame: 'Nobody came to the session.',
  clientGone: 'The client went away.',
  accountDisabled: 'The session ended because its account was disabled.',
  nodeGone: 'The session ended because its node was deregistered.',
  serverGone: 'The server that carried the session is gone.',
} as const
