/**
 * IAM's entities as its operations see them: their ARNs and ids, finding them or failing in AWS's words, quotas, and the
 * one way to change them, which drops what every process remembers of principals.
 */
import { hash, randomBytes } from 'node:crypto'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { isMalformed, MANAGED_POLICIES, type ManagedPolicy, type PolicyKind, parsePolicy } from './policy/index.ts'
import type { Entity, Kind, OwnerKind, PolicyRow, Rows, Tag } from './store/entities.ts'
import * as store from './store/entities.ts'
import { IDENTITY_WAKE } from './wake.ts'

export type { Entity, Kind, OwnerKind, Rows, Tag }

/** What each kind is called in ARNs, in errors, and by the first letters of its ids. */
const WORDS: Record<Kind, { arn: string; prefix: string; quota: [name: string, most: number] }> = {
  // Quotas: "IAM and AWS STS quotas", defaults.
  user: { arn: 'user', prefix: 'AIDA', quota: ['UsersPerAccount', 5_000] },
  group: { arn: 'group', prefix: 'AGPA', quota: ['GroupsPerAccount', 300] },
  role: { arn: 'role', prefix: 'AROA', quota: ['RolesPerAccount', 1_000] },
  policy: { arn: 'policy', prefix: 'ANPA', quota: ['PoliciesPerAccount', 1_500] },
  profile: { arn: 'instance-profile', prefix: 'AIPA', quota: ['InstanceProfilesPerAccount', 1_000] },
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const ID_CHARACTERS = 17
const idFrom = (bytes: Uint8Array) =>
  Array.from(bytes.subarray(0, ID_CHARACTERS), (byte) => ALPHABET[byte & 31]).join('')
const newId = (kind: Kind): string => WORDS[kind].prefix + idFrom(randomBytes(ID_CHARACTERS))

export const entityArn = (kind: Kind, { account, path, name }: Pick<Entity, 'account' | 'path' | 'name'>): string =>
  `arn:aws:iam::${account}:${WORDS[kind].arn}${path}${name}`

/** A new entity of the caller's account. */
export const newEntity = (context: Context, kind: Kind, name: string, path = '/'): Entity => ({
  account: context.account,
  name,
  id: newId(kind),
  path,
  createdAt: context.now(),
})

/** Runs `body` in a transaction and drops what processes know of principals once it has committed. */
export const changing = <T>(context: Context, body: (change: Context) => Promise<T>): Promise<T> =>
  context.transaction(async (change) => {
    const answer = await body(change)
    change.wake(IDENTITY_WAKE)
    return answer
  })

// ---- finding ----

export const noSuch = (message: string): AwsError => new AwsError('NoSuchEntityException', message)

export function notFound(kind: Kind, name: string): AwsError {
  if (kind === 'profile') return noSuch(`Instance Profile ${name} cannot be found.`)
  if (kind === 'policy') return noSuch(`Policy ${name} was not found.`)
  return noSuch(`The ${kind} with name ${name} cannot be found.`)
}

/** NoSuchEntity. */
export async function found<K extends Kind>(context: Context, kind: K, name: string): Promise<Rows[K]> {
  const row = await store.find(context.sql, kind, context.account, name)
  if (!row) throw notFound(kind, name)
  return row
}

/** As `found`, and nobody else changes it until the transaction ends. */
export async function held<K extends Kind>(context: Context, kind: K, name: string): Promise<Rows[K]> {
  const row = await store.find(context.sql, kind, context.account, name, true)
  if (!row) throw notFound(kind, name)
  return row
}

/** The AWS-managed policy, or the account's own one. */
export type Policy = { own: PolicyRow; managed?: undefined } | { managed: ManagedPolicy; own?: undefined }

const managedPolicies = new Map(MANAGED_POLICIES.map((policy) => [policy.arn, policy]))

/** The AWS-managed policy of that ARN, or the one of this account; undefined: neither. */
export async function findPolicy(context: Context, arn: string, hold = false): Promise<Policy | undefined> {
  const managed = managedPolicies.get(arn)
  if (managed) return { managed }
  const start = `arn:aws:iam::${context.account}:policy/`
  if (!arn.startsWith(start)) return undefined
  const own = await store.find(context.sql, 'policy', context.account, arn.slice(arn.lastIndexOf('/') + 1), hold)
  return own?.arn === arn ? { own } : undefined
}

/** NoSuchEntity. */
export async function foundPolicy(context: Context, arn: string): Promise<Policy> {
  const policy = await findPolicy(context, arn)
  if (!policy) throw notFound('policy', arn)
  return policy
}

/** A policy of the account, held until the transaction ends. NoSuchEntity; AWS's own are nobody's to change. */
export async function heldPolicy(context: Context, arn: string): Promise<PolicyRow> {
  const policy = await findPolicy(context, arn, true)
  if (!policy) throw notFound('policy', arn)
  if (!policy.own)
    throw new AwsError('AccessDeniedException', `${arn} is managed by AWS: it cannot be changed or deleted.`)
  return policy.own
}

/** NoSuchEntity when nothing of this ARN can be attached. */
export async function attachable(context: Context, arn: string): Promise<void> {
  // Held, so that it is not deleted before this transaction has attached it.
  if (!(await findPolicy(context, arn, true))) throw noSuch(`Policy ${arn} does not exist or is not attachable.`)
}

export const managedPolicyId = ({ arn }: ManagedPolicy): string =>
  `ANPA${idFrom(Buffer.from(hash('sha256', arn, 'hex'), 'hex'))}`

// ---- rules ----

export const exists = (message: string): AwsError => new AwsError('EntityAlreadyExistsException', message)
export const conflict = (message: string): AwsError => new AwsError('DeleteConflictException', message)

/** LimitExceeded when there are `now` of at most `most` already. */
export function checkQuota(name: string, now: number, most: number): void {
  if (now >= most) throw new AwsError('LimitExceededException', `Cannot exceed quota for ${name}: ${most}`)
}

export async function checkAccountQuota(context: Context, kind: Kind): Promise<void> {
  checkQuota(WORDS[kind].quota[0], await store.count(context.sql, kind, context.account), WORDS[kind].quota[1])
}

/** MalformedPolicyDocument in IAM's words. */
export function checkPolicy(text: string, kind: PolicyKind): void {
  const document = parsePolicy(text, kind)
  if (isMalformed(document)) throw new AwsError('MalformedPolicyDocumentException', document.message)
}

/** IAM counts the characters of a policy without its white space. */
export const policySize = (text: string): number => text.replace(/\s/g, '').length

/** Documents travel percent-encoded by RFC 3986, as in AWS. */
export const encoded = (document: string): string =>
  encodeURIComponent(document).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)

const MAX_TAGS = 50

/** Tag keys differ by more than case. InvalidInput. */
function checkTags(tags: readonly Tag[]): void {
  if (new Set(tags.map(({ Key }) => Key.toLowerCase())).size !== tags.length)
    throw new AwsError(
      'InvalidInputException',
      'Duplicate tag keys found. Please note that Tag keys are case insensitive.',
    )
  if (tags.some(({ Key }) => Key.toLowerCase().startsWith('aws:')))
    throw new AwsError('InvalidInputException', 'Tag keys that begin with aws: are reserved for AWS.')
}

/** The tags of `before` with those of `given` over them. InvalidInput, LimitExceeded. */
export function mergedTags(before: readonly Tag[], given: readonly Tag[]): Tag[] {
  checkTags(given)
  const keys = new Set(given.map(({ Key }) => Key.toLowerCase()))
  const tags = [...before.filter(({ Key }) => !keys.has(Key.toLowerCase())), ...given]
  if (tags.length > MAX_TAGS)
    throw new AwsError('LimitExceededException', `The number of tags has reached the maximum limit of ${MAX_TAGS}.`)
  return tags.map(({ Key, Value }) => ({ Key, Value }))
}

export const withoutTags = (before: readonly Tag[], keys: readonly string[]): Tag[] => {
  const gone = new Set(keys.map((key) => key.toLowerCase()))
  return before.filter(({ Key }) => !gone.has(Key.toLowerCase()))
}

export const boundaryOf = (arn: string | null) =>
  arn === null
    ? undefined
    : { PermissionsBoundaryType: 'PermissionsBoundaryPolicy' as const, PermissionsBoundaryArn: arn }
