/**
 * STS: who one is, and temporary credentials. They are sealed statements (session-token.ts): issuing one writes nothing,
 * and deleting the user or role they stand for ends them at once.
 */
import type { Input, Output, ServiceOperations } from '../../contract/types.ts'
import type { Caller } from '../../platform/caller.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { accessKeyId, secretAccessKey } from '../../platform/ids.ts'
import { accessRequest, policySet } from './authorize.ts'
import { type CompiledPolicy, compilePolicy, evaluate, isMalformed, parsePolicy } from './policy/index.ts'
import { managedPolicyText, principalsOf } from './principals.ts'
import { type SessionStatement, sealSessionToken } from './session-token.ts'
import * as store from './store.ts'

/** Seconds: published minima, defaults and maxima of STS. */
const LEAST_SECONDS = 900
const ROLE_SECONDS = 3_600
/** A role assumed by a role lives an hour at most. */
const CHAINED_SECONDS = 3_600
const USER_SECONDS = 43_200
const ROOT_SECONDS = 3_600

const anywhere = (): Access => ({ resources: ['*'] })

export const sts: ServiceOperations<'sts'> = {
  GetCallerIdentity: {
    authorize: anywhere,
    handle: async ({ caller }) => ({ Account: caller.account, Arn: caller.arn, UserId: userId(caller) }),
  },
  AssumeRole: {
    // The trust policy of the role decides, together with the caller's own policies; both are asked in one evaluation.
    authorize: () => ({ resources: [] }),
    handle: assumeRole,
  },
  GetSessionToken: { authorize: () => ({ resources: [] }), handle: getSessionToken },
  GetFederationToken: {
    authorize: (input, { caller }) => ({ resources: [federatedArn(caller.account, input.Name)] }),
    handle: getFederationToken,
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
  if (caller.type === 'node' || caller.type === 'anonymous' || caller.type === 'root')
    throw caller.type === 'root' ? validationRoot() : refused()
  const [, account = '', name = ''] = ROLE_ARN.exec(input.RoleArn) ?? []
  const role = await store.readRoleByName(context.sql, account, name)
  if (!role || `arn:aws:iam::${account}:role${role.path}${role.roleName}` !== input.RoleArn) throw refused()
  if (!(await mayAssume(context, input, role))) throw refused()
  const seconds = input.DurationSeconds ?? ROLE_SECONDS
  if (seconds > role.maxSessionSeconds)
    throw validation('The requested DurationSeconds exceeds the MaxSessionDuration set for this role.')
  if (caller.type === 'role' && seconds > CHAINED_SECONDS)
    throw validation(
      'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.',
    )
  const sessionTags = Object.fromEntries((input.Tags ?? []).map(({ Key, Value }) => [Key, Value]))
  const issued = issue(context, seconds, {
    kind: 'role',
    account,
    roleId: role.roleId,
    sessionName: input.RoleSessionName,
    sourceIdentity: input.SourceIdentity ?? (caller.type === 'role' ? caller.sourceIdentity : undefined),
    sessionPolicies: await sessionPolicies(context, input.Policy, input.PolicyArns),
    sessionTags,
    transitiveTags: input.TransitiveTagKeys ?? [],
    mfa: caller.mfa,
  })
  await store.touchRole(context.sql, role.roleId, context.region, context.now())
  return {
    Credentials: issued,
    AssumedRoleUser: {
      AssumedRoleId: `${role.roleId}:${input.RoleSessionName}`,
      Arn: `arn:aws:sts::${account}:assumed-role/${role.roleName}/${input.RoleSessionName}`,
    },
    SourceIdentity: input.SourceIdentity,
  }
}

const validationRoot = () => new AwsError('AccessDeniedException', 'Roles may not be assumed by root accounts.')

/** The role's trust policy as the resource's policy, and what the caller's own policies say, in one evaluation. */
async function mayAssume(context: Context, input: Input<'AssumeRole', 'sts'>, role: store.RoleRow): Promise<boolean> {
  const caller = context.caller as Extract<Caller, { type: 'user' | 'role' | 'federated' }>
  const keys: Record<string, string | string[]> = {
    'sts:RoleSessionName': input.RoleSessionName,
    ...(input.ExternalId === undefined ? {} : { 'sts:ExternalId': input.ExternalId }),
    ...(input.SourceIdentity === undefined ? {} : { 'sts:SourceIdentity': input.SourceIdentity }),
    ...(input.Tags ? { 'aws:TagKeys': input.Tags.map((tag) => tag.Key) } : {}),
    ...Object.fromEntries((input.Tags ?? []).map((tag) => [`aws:RequestTag/${tag.Key}`, tag.Value])),
  }
  const trust = compileTrust(role)
  const actions = [
    'sts:AssumeRole',
    ...(input.Tags?.length ? ['sts:TagSession'] : []),
    ...(input.SourceIdentity ? ['sts:SetSourceIdentity'] : []),
  ]
  const own = await policySet(context, principalsOf(context), caller)
  return actions.every((action) => {
    const request = accessRequest(caller, { action, resources: [input.RoleArn], keys }, context)
    return evaluate(request, { ...own, resource: trust, resourcePolicyRequired: true }) === 'allow'
  })
}

function compileTrust(role: store.RoleRow): CompiledPolicy {
  const document = parsePolicy(role.trustPolicy, 'trust')
  if (isMalformed(document))
    throw new Error(`the stored trust policy of ${role.roleName} cannot be read: ${document.message}`)
  return compilePolicy(document, `trust policy of ${role.roleName}`)
}

async function getSessionToken(
  context: Context,
  input: Input<'GetSessionToken', 'sts'>,
): Promise<Output<'GetSessionToken', 'sts'>> {
  const { caller } = context
  if (caller.type !== 'root' && caller.type !== 'user')
    throw new AwsError('AccessDeniedException', 'Cannot call GetSessionToken with session credentials')
  if (input.SerialNumber !== undefined || input.TokenCode !== undefined)
    throw new AwsError('AccessDeniedException', 'MultiFactorAuthentication failed with invalid MFA one time pass code.')
  const seconds = Math.min(input.DurationSeconds ?? USER_SECONDS, caller.type === 'root' ? ROOT_SECONDS : 129_600)
  const id = caller.type === 'root' ? caller.account : caller.userId
  return { Credentials: issue(context, seconds, { kind: 'user', account: caller.account, userId: id, ...UNNARROWED }) }
}

const UNNARROWED = { sessionPolicies: [], sessionTags: {}, mfa: false }

async function getFederationToken(
  context: Context,
  input: Input<'GetFederationToken', 'sts'>,
): Promise<Output<'GetFederationToken', 'sts'>> {
  const { caller } = context
  if (caller.type !== 'user')
    throw new AwsError('AccessDeniedException', 'GetFederationToken must be called with the long-lived keys of a user')
  const texts = await sessionPolicies(context, input.Policy, input.PolicyArns)
  const Credentials = issue(context, input.DurationSeconds ?? USER_SECONDS, {
    kind: 'user',
    account: caller.account,
    userId: caller.userId,
    name: input.Name,
    // Without a session policy a federated user may do nothing of its own.
    sessionPolicies: texts.length > 0 ? texts : ['{"Version":"2012-10-17","Statement":[]}'],
    sessionTags: Object.fromEntries((input.Tags ?? []).map(({ Key, Value }) => [Key, Value])),
    mfa: false,
  })
  return {
    Credentials,
    FederatedUser: {
      FederatedUserId: `${caller.account}:${input.Name}`,
      Arn: federatedArn(caller.account, input.Name),
    },
    PackedPolicySize: 0,
  }
}

async function sessionPolicies(
  context: Context,
  inline: string | undefined,
  arns: { arn?: string }[] | undefined,
): Promise<string[]> {
  const texts = inline === undefined ? [] : [inline]
  for (const { arn = '' } of arns ?? []) {
    const text = await managedPolicyText(context.sql, arn)
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

function issue(context: Context, seconds: number, statement: Unissued<SessionStatement>) {
  if (seconds < LEAST_SECONDS) throw validation(`DurationSeconds must be ${LEAST_SECONDS} or more.`)
  const issuedAt = context.now().getTime()
  const keys = { accessKeyId: accessKeyId('ASIA'), secretAccessKey: secretAccessKey() }
  const expiresAt = issuedAt + seconds * 1000
  const token = sealSessionToken(context.sealer, { ...statement, ...keys, issuedAt, expiresAt } as SessionStatement)
  return {
    AccessKeyId: keys.accessKeyId,
    SecretAccessKey: keys.secretAccessKey,
    SessionToken: token,
    Expiration: new Date(expiresAt),
  }
}
