/**
 * STS: who one is, and temporary credentials. They are sealed statements (session-token.ts): issuing one writes nothing,
 * and deleting the user or role they stand for ends them at once.
 */
import type { Input, Output, ServiceOperations } from '../../contract/types.ts'
import type { Caller } from '../../platform/caller.ts'
import { type Access, free } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { accessKeyId, secretAccessKey } from '../../platform/ids.ts'
import { accessRequest, callerKeys, type PolicyCaller, policySet, principalOf } from './authorize.ts'
import { noteDenial } from './denials.ts'
import { entityArn } from './entities.ts'
import { takesCode } from './operations/mfa.ts'
import { requestTags } from './permissions.ts'
import { evaluate, explain, isMalformed, parsePolicy } from './policy/index.ts'
import { managedPolicyText, principalsOf } from './principals.ts'
import { openReason } from './reasons.ts'
import { roomTaken, type SessionStatement, sealSessionToken } from './session-token.ts'
import { find, findById, type RoleRow, touchRole } from './store/entities.ts'
import * as store from './store.ts'
import { compileTrust } from './trust.ts'

/** Seconds: published minima, defaults and maxima of STS. */
const LEAST_SECONDS = 900
const ROLE_SECONDS = 3_600
/** A role assumed by a role lives an hour at most. */
const CHAINED_SECONDS = 3_600
const USER_SECONDS = 43_200
const MAX_USER_SECONDS = 129_600
const ROOT_SECONDS = 3_600

const anywhere = (): Access => ({ resources: ['*'] })

export const sts: ServiceOperations<'sts'> = {
  GetCallerIdentity: {
    authorize: () => free('everybody may ask who he is, as in AWS, where no policy can deny it'),
    handle: async ({ caller }) => ({ Account: caller.account, Arn: caller.arn, UserId: userId(caller) }),
  },
  AssumeRole: {
    // The trust policy of the role decides, together with the caller's own policies; both are asked in one evaluation.
    authorize: ({ RoleArn }) => free('the trust policy is asked by the handler', [RoleArn]),
    handle: assumeRole,
  },
  GetSessionToken: {
    authorize: () => free('AWS asks for no permission: it gives the caller no more than it has'),
    handle: getSessionToken,
  },
  GetFederationToken: {
    // Tags of its own choice are a permission of their own: policies may ask for aws:PrincipalTag.
    authorize({ Name, Tags = [] }, { caller }): Access[] {
      const access: Access = { resources: [federatedArn(caller.account, Name)], keys: requestTags(Tags) }
      return Tags.length === 0 ? [access] : [access, { ...access, action: 'sts:TagSession' }]
    },
    handle: getFederationToken,
  },
  DecodeAuthorizationMessage: {
    authorize: anywhere,
    handle: async (context, input) => ({ DecodedMessage: openReason(context, input.EncodedMessage) }),
  },
  GetAccessKeyInfo: {
    authorize: anywhere,
    async handle(context, input) {
      const key = await store.readAccessKey(context.sql, input.AccessKeyId)
      if (!key) throw validation(`There is no access key ${input.AccessKeyId}.`)
      return { Account: key.account }
    },
  },
}

function userId(caller: Caller): string {
  switch (caller.type) {
    case 'user':
      return caller.userId
    case 'role':
      return `${caller.roleId}:${caller.sessionName}`
    case 'federated':
      return `${caller.account}:${caller.name}`
    case 'node':
      return `${caller.account}:${caller.nodeId}`
    default:
      return caller.account
  }
}

const federatedArn = (account: string, name: string) => `arn:aws:sts::${account}:federated-user/${name}`
const ROLE_ARN = /^arn:aws:iam::(\d{12}):role\/(?:[!-~]*\/)?([\w+=,.@-]{1,64})$/

async function assumeRole(context: Context, input: Input<'AssumeRole', 'sts'>): Promise<Output<'AssumeRole', 'sts'>> {
  const { caller } = context
  const refused = () =>
    new AwsError(
      'AccessDeniedException',
      `User: ${caller.arn} is not authorized to perform: sts:AssumeRole on resource: ${input.RoleArn}`,
    )
  if (caller.type === 'root') throw new AwsError('AccessDeniedException', 'Roles may not be assumed by root accounts.')
  if (caller.type !== 'user' && caller.type !== 'role') throw refused()
  // The code first: a wrong one must not tell whether there is such a role.
  const mfa = await withMfa(context, input)
  const role = await roleOf(context, input.RoleArn)
  if (!role) throw refused()
  const [sourceIdentity, tags] = [sourceIdentityOf(caller, input), sessionTagsOf(caller, input)]
  if (!(await mayAssume(context, input, role, { mfa, sourceIdentity, tags: tags.sessionTags }))) throw refused()
  const seconds = roleSeconds(input, role)
  if (caller.type === 'role' && seconds > CHAINED_SECONDS)
    throw validation(
      'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.',
    )
  const sessionPolicyTexts = await sessionPolicies(context, role.account, input)
  const issued = issue(context, seconds, {
    kind: 'role',
    account: role.account,
    roleId: role.id,
    sessionName: input.RoleSessionName,
    sourceIdentity,
    sessionPolicies: sessionPolicyTexts,
    ...tags,
    mfa,
    // A session does not make the factor of the one before it any younger.
    ...(mfa && input.TokenCode === undefined && { mfaAt: caller.mfaAt ?? caller.issuedAt }),
  })
  await touchRole(context.sql, role.id, context.region, context.now())
  return {
    Credentials: issued,
    AssumedRoleUser: assumedRoleUser(role, input.RoleSessionName),
    PackedPolicySize: sessionPolicyTexts.length > 0 ? packedSize(sessionPolicyTexts) : undefined,
    SourceIdentity: sourceIdentity,
  }
}

/** The role of this ARN, of an account that is not disabled. */
export async function roleOf(context: Context, arn: string): Promise<RoleRow | undefined> {
  const [, account = '', name = ''] = ROLE_ARN.exec(arn) ?? []
  const row = await find(context.sql, 'role', account, name)
  const role = row && (await findById(context.sql, 'role', row.id))
  return role && entityArn('role', role) === arn ? role : undefined
}

/** ValidationError: longer than the role's sessions may last. */
export function roleSeconds({ DurationSeconds: seconds = ROLE_SECONDS }: { DurationSeconds?: number }, role: RoleRow) {
  if (seconds > role.maxSessionSeconds)
    throw validation('The requested DurationSeconds exceeds the MaxSessionDuration set for this role.')
  return seconds
}

export const assumedRoleUser = (role: RoleRow, session: string) => ({
  AssumedRoleId: `${role.id}:${session}`,
  Arn: `arn:aws:sts::${role.account}:assumed-role/${role.name}/${session}`,
})

/** Per cent of what session policies may have together. */
const MAX_SESSION_POLICY_CHARACTERS = 2_048
export const packedSize = (texts: readonly string[]): number =>
  Math.min(100, Math.ceil((texts.join('').length / MAX_SESSION_POLICY_CHARACTERS) * 100))

/** Once set it stays for every role that follows. */
function sourceIdentityOf(caller: Caller, input: Input<'AssumeRole', 'sts'>): string | undefined {
  const before = caller.type === 'role' ? caller.sourceIdentity : undefined
  if (before !== undefined && input.SourceIdentity !== undefined && before !== input.SourceIdentity)
    throw new AwsError('AccessDeniedException', 'The source identity of a session cannot be changed.')
  return before ?? input.SourceIdentity
}

/** ValidationError: two keys that differ by case alone. */
function checkTagKeys(tags: readonly { Key: string }[] = []): void {
  if (new Set(tags.map(({ Key }) => Key.toLowerCase())).size !== tags.length)
    throw validation('Duplicate tag keys found. Please note that Tag keys are case insensitive.')
}

/** The tags that are asked for with those that a session hands on; those cannot be overridden. ValidationError. */
function sessionTagsOf(caller: Caller, { Tags = [], TransitiveTagKeys = [] }: Input<'AssumeRole', 'sts'>) {
  checkTagKeys(Tags)
  const given = new Set(Tags.map(({ Key }) => Key.toLowerCase()))
  const handedOn = caller.type === 'role' ? caller.transitiveTags : []
  if (handedOn.some((key) => given.has(key.toLowerCase())))
    throw validation(
      'One of the specified transitive tag keys cannot be set because it conflicts with a transitive tag key from the calling session.',
    )
  if (!TransitiveTagKeys.every((key) => given.has(key.toLowerCase())))
    throw validation('The specified transitive tag key must be included in the requested tags.')
  const before = caller.type === 'role' ? caller.tags : {}
  const inherited = handedOn.flatMap((key) => (before[key] === undefined ? [] : [[key, before[key]]]))
  return {
    sessionTags: Object.fromEntries([...inherited, ...Tags.map(({ Key, Value }) => [Key, Value])]) as Record<
      string,
      string
    >,
    transitiveTags: [...handedOn, ...TransitiveTagKeys],
  }
}

/** Whether the request proves a second factor, or comes from a session that has. AccessDenied: a wrong code. */
async function withMfa(context: Context, input: { SerialNumber?: string; TokenCode?: string }): Promise<boolean> {
  const { caller } = context
  if (input.SerialNumber === undefined && input.TokenCode === undefined) return caller.type === 'user' && caller.mfa
  const { SerialNumber = '', TokenCode = '' } = input
  const isGood = caller.type === 'user' && (await takesCode(context, caller.userId, SerialNumber, TokenCode))
  if (!isGood)
    throw new AwsError('AccessDeniedException', 'MultiFactorAuthentication failed with invalid MFA one time pass code.')
  return true
}

/** The role's trust policy as the resource's policy, and what the caller's own policies say, in one evaluation. */
async function mayAssume(
  context: Context,
  input: Input<'AssumeRole', 'sts'>,
  role: RoleRow,
  { mfa, sourceIdentity, tags }: { mfa: boolean; sourceIdentity: string | undefined; tags: Record<string, string> },
): Promise<boolean> {
  const caller = context.caller as PolicyCaller
  const keys: Record<string, string | string[]> = {
    'sts:RoleSessionName': input.RoleSessionName,
    ...(input.ExternalId === undefined ? {} : { 'sts:ExternalId': input.ExternalId }),
    ...(sourceIdentity === undefined ? {} : { 'sts:SourceIdentity': sourceIdentity }),
    ...(input.TransitiveTagKeys ? { 'sts:TransitiveTagKeys': input.TransitiveTagKeys } : {}),
    ...(mfa ? { 'aws:MultiFactorAuthPresent': 'true' } : {}),
    ...(input.TokenCode === undefined ? {} : { 'aws:MultiFactorAuthAge': '0' }),
    ...requestTags(input.Tags ?? []),
    ...Object.fromEntries(role.tags.map(({ Key, Value }) => [`aws:ResourceTag/${Key}`, Value])),
  }
  // What a session brings along from the one before is given to this role as well, and wants the same permissions.
  const actions = [
    'sts:AssumeRole',
    ...(Object.keys(tags).length > 0 ? ['sts:TagSession'] : []),
    ...(sourceIdentity === undefined ? [] : ['sts:SetSourceIdentity']),
  ]
  const policies = {
    ...(await policySet(principalsOf(context), caller)),
    resource: compileTrust(role),
    resourcePolicyRequired: true,
  }
  for (const action of actions) {
    const access = { action, resources: [input.RoleArn], keys }
    const request = await accessRequest(callerKeys(caller), principalOf(caller), access, context, policies)
    if (evaluate(request, policies) === 'allow') continue
    noteDenial(context, action, explain(request, policies))
    return false
  }
  return true
}

/** Only long-lived keys: what has an end must not be able to prolong itself. AccessDenied. */
function longLived(context: Context, operation: string) {
  const { caller } = context
  if ((caller.type !== 'root' && caller.type !== 'user') || caller.accessKeyId.startsWith('ASIA'))
    throw new AwsError('AccessDeniedException', `Cannot call ${operation} with session credentials`)
  return caller
}

async function getSessionToken(
  context: Context,
  input: Input<'GetSessionToken', 'sts'>,
): Promise<Output<'GetSessionToken', 'sts'>> {
  const caller = longLived(context, 'GetSessionToken')
  const mfa = await withMfa(context, input)
  const most = caller.type === 'root' ? ROOT_SECONDS : MAX_USER_SECONDS
  const seconds = Math.min(input.DurationSeconds ?? USER_SECONDS, most)
  const userId = caller.type === 'root' ? caller.account : caller.userId
  const statement = { kind: 'user' as const, account: caller.account, userId, parentKeyId: caller.accessKeyId }
  return { Credentials: issue(context, seconds, { ...statement, sessionPolicies: [], sessionTags: {}, mfa }) }
}

/** Without a session policy a federated user has what resource policies give it, and what everybody may. */
const NOTHING_OF_ITS_OWN =
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}]}'

async function getFederationToken(
  context: Context,
  input: Input<'GetFederationToken', 'sts'>,
): Promise<Output<'GetFederationToken', 'sts'>> {
  const caller = longLived(context, 'GetFederationToken')
  if (caller.type !== 'user')
    throw new AwsError('AccessDeniedException', 'GetFederationToken must be called with the long-lived keys of a user')
  checkTagKeys(input.Tags)
  const texts = await sessionPolicies(context, caller.account, input)
  const Credentials = issue(context, input.DurationSeconds ?? USER_SECONDS, {
    kind: 'user',
    account: caller.account,
    userId: caller.userId,
    parentKeyId: caller.accessKeyId,
    name: input.Name,
    sessionPolicies: texts.length > 0 ? texts : [NOTHING_OF_ITS_OWN],
    sessionTags: Object.fromEntries((input.Tags ?? []).map(({ Key, Value }) => [Key, Value])),
    mfa: false,
  })
  return {
    Credentials,
    FederatedUser: {
      FederatedUserId: `${caller.account}:${input.Name}`,
      Arn: federatedArn(caller.account, input.Name),
    },
    PackedPolicySize: packedSize(texts),
  }
}

/** The texts of session policies; managed ones are AWS's or those of `account`, whose role or user the session is of. */
export async function sessionPolicies(
  context: Context,
  account: string,
  { Policy: inline, PolicyArns: arns = [] }: { Policy?: string; PolicyArns?: { arn?: string }[] },
): Promise<string[]> {
  const texts = inline === undefined ? [] : [inline]
  for (const { arn = '' } of arns) {
    const isForeign = !arn.startsWith('arn:aws:iam::aws:') && !arn.startsWith(`arn:aws:iam::${account}:`)
    const text = isForeign ? undefined : await managedPolicyText(context.sql, arn)
    if (text === undefined) throw new AwsError('MalformedPolicyDocumentException', `The policy ${arn} does not exist.`)
    texts.push(text)
  }
  for (const text of texts) {
    const parsed = parsePolicy(text, 'session')
    if (isMalformed(parsed)) throw new AwsError('MalformedPolicyDocumentException', parsed.message)
  }
  return texts
}

type Unissued<S> = S extends SessionStatement
  ? Omit<S, 'accessKeyId' | 'secretAccessKey' | 'issuedAt' | 'expiresAt'>
  : never

export function issue(context: Context, seconds: number, statement: Unissued<SessionStatement>) {
  if (seconds < LEAST_SECONDS) throw validation(`DurationSeconds must be ${LEAST_SECONDS} or more.`)
  const issuedAt = context.now().getTime()
  const keys = { accessKeyId: accessKeyId('ASIA'), secretAccessKey: secretAccessKey() }
  const expiresAt = issuedAt + seconds * 1000
  const whole = { ...statement, ...keys, issuedAt, expiresAt } as SessionStatement
  const token = sealSessionToken(context.sealer, whole)
  const taken = roomTaken(token, whole)
  if (taken > 100)
    throw new AwsError(
      'PackedPolicyTooLargeException',
      `Packed size of session policy and tags consumes ${taken}% of allotted space.`,
    )
  return {
    AccessKeyId: keys.accessKeyId,
    SecretAccessKey: keys.secretAccessKey,
    SessionToken: token,
    Expiration: new Date(expiresAt),
  }
}
