/** Pure decisions about commands: limits, states of invocations, steps and commands, what a reply means. */
import type { ResultStatus } from '@musterbook/wire'

/** Seconds for a command to reach its node (AWS: 3,600). */
export const DEFAULT_TIMEOUT_SECONDS = 3_600
export const DEFAULT_MAX_CONCURRENCY = '50'
export const DEFAULT_MAX_ERRORS = '0'
/** A node that took a cancellation and reports nothing for this long is taken to have dropped the command. */
export const CANCEL_GRACE_SECONDS = 60
/** What has not reached its node this long after it was sent is Delayed. */
export const DELAYED_AFTER_SECONDS = 30

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
export const isCommandId = (text: string): boolean => UUID.test(text)

/** MaxConcurrency as a number of invocations: a percentage is rounded up, and never below 1. */
export function concurrencyOf(text: string, targets: number): number {
  const count = text.endsWith('%') ? Math.ceil((Number.parseInt(text, 10) * targets) / 100) : Number.parseInt(text, 10)
  return Math.max(1, Math.min(count, Math.max(targets, 1)))
}

/** MaxErrors as a number of errors that are still allowed: a percentage is rounded down. */
export const errorsAllowed = (text: string, targets: number): number =>
  text.endsWith('%') ? Math.floor((Number.parseInt(text, 10) * targets) / 100) : Number.parseInt(text, 10)

export interface State {
  status: InvocationStatus
  statusDetails: string
  /** True when nothing but output can follow. */
  final: boolean
}

export type InvocationStatus =
  | 'Pending'
  | 'InProgress'
  | 'Delayed'
  | 'Success'
  | 'Cancelled'
  | 'TimedOut'
  | 'Failed'
  | 'Cancelling'

const IN_PROGRESS: State = { status: 'InProgress', statusDetails: 'InProgress', final: false }

const MEANINGS: Record<ResultStatus, State> = {
  NotStarted: IN_PROGRESS,
  InProgress: IN_PROGRESS,
  SuccessAndReboot: IN_PROGRESS,
  PassedAndReboot: IN_PROGRESS,
  Success: { status: 'Success', statusDetails: 'Success', final: true },
  Skipped: { status: 'Success', statusDetails: 'Success', final: true },
  TestPass: { status: 'Success', statusDetails: 'Success', final: true },
  Failed: { status: 'Failed', statusDetails: 'Failed', final: true },
  TestFailure: { status: 'Failed', statusDetails: 'Failed', final: true },
  Cancelled: { status: 'Cancelled', statusDetails: 'Cancelled', final: true },
  TimedOut: { status: 'TimedOut', statusDetails: 'ExecutionTimedOut', final: true },
}

/** What an agent's word for a document means in the API. It has the document, so even one that has not begun is in progress. */
export const meaningOf = (status: ResultStatus): State => MEANINGS[status]

const PENDING: State = { status: 'Pending', statusDetails: 'Pending', final: false }

/** What an agent's word for a step means: one that has not begun waits for those before it. */
export const stepMeaningOf = (status: ResultStatus): State => (status === 'NotStarted' ? PENDING : MEANINGS[status])

/** How many invocations stand in each StatusDetails, and how many of them have not been put into a mailbox. */
export interface Counts {
  total: number
  waiting: number
  underWay: number
  /** Those under way that their nodes have not been reached with. */
  delayed: number
  final: Record<string, number>
}

export const errorsOf = (counts: Counts): number => (counts.final.Failed ?? 0) + (counts.final.ExecutionTimedOut ?? 0)

export interface CommandState {
  status: 'Pending' | 'InProgress' | 'Success' | 'Cancelled' | 'Failed' | 'TimedOut' | 'Cancelling'
  statusDetails: string
}

const state = (status: CommandState['status'], statusDetails: string = status): CommandState => ({
  status,
  statusDetails,
})

/** The status of a command from its invocations; the first rule that fits. */
export function commandState(counts: Counts, allowed: number, cancelled: boolean, sentAny: boolean): CommandState {
  const count = (details: string) => counts.final[details] ?? 0
  const open = counts.waiting + counts.underWay
  if (open > 0) {
    if (cancelled) return state('Cancelling')
    if (counts.delayed === open) return state('InProgress', 'Delayed')
    return sentAny ? state('InProgress') : state('Pending')
  }
  if (counts.total === 0) return state('Failed', 'NoInstancesInTag')
  if (cancelled && count('Cancelled') > 0) return state('Cancelled')
  const success = count('Success')
  if (success > 0 && success + count('Undeliverable') === counts.total) return state('Success')
  if (errorsOf(counts) > allowed) return count('Failed') > 0 ? state('Failed') : state('TimedOut', 'ExecutionTimedOut')
  if (count('Undeliverable') === counts.total) return state('Failed')
  if (count('DeliveryTimedOut') > allowed && success === 0) return state('TimedOut', 'DeliveryTimedOut')
  if (count('AccessDenied') === counts.total) return state('Failed', 'AccessDenied')
  if (count('Cancelled') === counts.total) return state('Cancelled')
  return state('Failed', 'Incomplete')
}

/** ISO 8601 duration between two instants, as GetCommandInvocation shows it: `PT0.012S`, `PT1M2.5S`. */
export function elapsed(from: string, to: string): string {
  const milliseconds = Date.parse(to) - Date.parse(from)
  if (!(milliseconds >= 0)) return ''
  const [hours, minutes, seconds] = [
    Math.floor(milliseconds / 3_600_000),
    Math.floor(milliseconds / 60_000) % 60,
    (milliseconds % 60_000) / 1000,
  ]
  return `PT${hours ? `${hours}H` : ''}${minutes ? `${minutes}M` : ''}${seconds || (!hours && !minutes) ? `${seconds}S` : ''}`
}
