/**
 * Parameter policies: what a list may hold, when each policy is due, and what follows when the moment has come. Pure; the
 * reconciler carries it out.
 */
import { AwsError } from '../../platform/errors.ts'

export const MAX_POLICIES = 10

export type PolicyType = 'Expiration' | 'ExpirationNotification' | 'NoChangeNotification'

/** As it lies in the database and as DescribeParameters shows it. */
export interface StoredPolicy {
  type: PolicyType
  text: string
  status: 'Pending' | 'Finished'
}

const HOUR_MS = 3_600_000
const UNITS = new Map<unknown, number>([
  ['Hours', HOUR_MS],
  ['Days', 24 * HOUR_MS],
])
/** An ISO 8601 instant or date-time with an offset. */
const TIMESTAMP = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})$/
/** An offset from UTC may carry a timestamp past the last year of four digits. */
const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

const attributeError = (message: string): AwsError => new AwsError('InvalidPolicyAttributeException', message)

/** A new list; empty for `[{}]`, which removes all. The exceptions of §9 by their names. */
export function parsePolicies(text: string): StoredPolicy[] {
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    throw attributeError('The policies are not valid JSON.')
  }
  if (!Array.isArray(list)) throw attributeError('The policies must be a JSON array.')
  const given = list.filter((element) => !(isObject(element) && Object.keys(element).length === 0))
  if (given.length > MAX_POLICIES) {
    throw new AwsError('PoliciesLimitExceededException', `A parameter can have at most ${MAX_POLICIES} policies.`)
  }
  const policies = given.map(parsePolicy)
  const expirations = policies.filter(({ type }) => type === 'Expiration').length
  if (expirations > 1) {
    throw new AwsError('IncompatiblePolicyException', 'A parameter can have only one policy of type Expiration.')
  }
  if (expirations === 0 && policies.some(({ type }) => type === 'ExpirationNotification')) {
    throw new AwsError(
      'IncompatiblePolicyException',
      'A policy of type ExpirationNotification needs one of type Expiration.',
    )
  }
  return policies
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function parsePolicy(element: unknown): StoredPolicy {
  if (!isObject(element)) throw attributeError('Each policy must be a JSON object.')
  const { Type: type, Version: version, Attributes: attributes } = element
  if (type !== 'Expiration' && type !== 'ExpirationNotification' && type !== 'NoChangeNotification') {
    throw new AwsError('InvalidPolicyTypeException', `The policy type is not supported: ${JSON.stringify(type)}.`)
  }
  if (version !== '1.0') throw attributeError(`The policy ${type} must have the Version "1.0".`)
  if (!isObject(attributes)) throw attributeError(`The policy ${type} has no Attributes.`)
  const policy: StoredPolicy = { type, text: JSON.stringify(element), status: 'Pending' }
  const moment = readAttributes(type, attributes)
  if (type === 'Expiration') checkDate(String(attributes.Timestamp), moment)
  return policy
}

/** The instant of an Expiration, or the span of the others, in milliseconds. InvalidPolicyAttributeException. */
function readAttributes(type: PolicyType, attributes: Record<string, unknown>): number {
  if (type === 'Expiration') {
    const { Timestamp: timestamp } = attributes
    const instant = typeof timestamp === 'string' && TIMESTAMP.test(timestamp) ? Date.parse(timestamp) : Number.NaN
    if (Number.isNaN(instant)) throw notAnInstant()
    return instant
  }
  const member = type === 'ExpirationNotification' ? 'Before' : 'After'
  const span = String(attributes[member])
  const unit = UNITS.get(attributes.Unit)
  if (!/^[1-9]\d{0,4}$/.test(span) || unit === undefined) {
    throw attributeError(`The policy ${type} needs ${member}, a positive number, and Unit, Days or Hours.`)
  }
  return Number(span) * unit
}

const notAnInstant = (): AwsError =>
  attributeError(
    'The Timestamp of the policy Expiration must be an ISO 8601 instant, such as 2018-12-02T21:34:33.000Z.',
  )

/** Date.parse takes February 30th for March 2nd. InvalidPolicyAttributeException. */
function checkDate(timestamp: string, instant: number): void {
  const day = timestamp.slice(0, 'YYYY-MM-DD'.length)
  const exists = new Date(`${day}T00:00:00Z`).toISOString().startsWith(day)
  if (!exists || instant > LATEST_MS) throw notAnInstant()
}

const attributesOf = (policy: StoredPolicy): number =>
  readAttributes(policy.type, (JSON.parse(policy.text) as { Attributes: Record<string, unknown> }).Attributes)

function dueAt(policy: StoredPolicy, policies: readonly StoredPolicy[], lastModifiedAt: Date): number {
  if (policy.type === 'Expiration') return attributesOf(policy)
  if (policy.type === 'NoChangeNotification') return lastModifiedAt.getTime() + attributesOf(policy)
  const expiration = policies.find(({ type }) => type === 'Expiration')
  return expiration ? attributesOf(expiration) - attributesOf(policy) : Number.POSITIVE_INFINITY
}

/** When the next pending policy is due; undefined when none is. */
export function nextDue(policies: readonly StoredPolicy[], lastModifiedAt: Date): Date | undefined {
  const instants = policies
    .filter(({ status }) => status === 'Pending')
    .map((policy) => dueAt(policy, policies, lastModifiedAt))
    .filter(Number.isFinite)
  // What was due before the epoch is overdue all the same, and years before the first cannot be stored.
  return instants.length > 0 ? new Date(Math.max(0, Math.min(...instants))) : undefined
}

/** What is due now: the policies whose moment has come, and the list afterwards. `expires`: the parameter goes. */
export function carryOut(
  policies: readonly StoredPolicy[],
  lastModifiedAt: Date,
  now: Date,
): { due: StoredPolicy[]; expires: boolean; after: StoredPolicy[] } {
  const due = policies.filter(
    (policy) => policy.status === 'Pending' && dueAt(policy, policies, lastModifiedAt) <= now.getTime(),
  )
  return {
    due,
    expires: due.some(({ type }) => type === 'Expiration'),
    after: policies.map((policy) => (due.includes(policy) ? { ...policy, status: 'Finished' } : policy)),
  }
}

/** The list after a change of the parameter that named no policies: the clock of NoChangeNotification starts again. */
export const keepPolicies = (policies: readonly StoredPolicy[]): StoredPolicy[] =>
  policies.map((policy) => (policy.type === 'NoChangeNotification' ? { ...policy, status: 'Pending' } : policy))
