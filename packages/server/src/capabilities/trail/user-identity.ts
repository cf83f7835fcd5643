/** userIdentity: who made a call, in CloudTrail's shape, made once per caller; callers live as long as their credentials. */
import type { Caller } from '../../platform/caller.ts'
import type { Context } from '../../platform/context.ts'
import { type TokenBearer, tokenBearerOf } from '../identity/index.ts'

export interface Identity {
  /** The userIdentity member as JSON text. */
  text: string
  /** What LookupEvents calls Username. */
  userName: string
  accessKeyId: string
}

const known = new WeakMap<Caller, Identity>()

export function identityOf(context: Context): Identity {
  const { caller } = context
  const bearer = caller.type === 'anonymous' ? tokenBearerOf(context) : undefined
  if (bearer) return bearerIdentity(bearer)
  let identity = known.get(caller)
  if (!identity) {
    identity = { text: JSON.stringify(describe(caller)), userName: nameOf(caller), accessKeyId: keyOf(caller) }
    known.set(caller, identity)
  }
  return identity
}

/** How an account sees who comes from another one: as that account, and by an id that only that one can resolve. */
export function strangerOf({ caller }: Context): Identity {
  const { principalId } = describe(caller) as { principalId?: string }
  const shown = { type: 'AWSAccount', principalId, accountId: caller.account }
  return { text: JSON.stringify(shown), userName: '', accessKeyId: '' }
}

/** What CloudTrail shows of who brings an OIDC token; what an unproved one claims is left out. */
function bearerIdentity({ proved }: TokenBearer): Identity {
  if (!proved) return { text: JSON.stringify({ type: 'WebIdentityUser' }), userName: '', accessKeyId: '' }
  const { providerArn, audience, subject } = proved
  const principalId = `${providerArn}:${audience}:${subject}`
  const shown = { type: 'WebIdentityUser', principalId, userName: subject, identityProvider: providerArn }
  return { text: JSON.stringify(shown), userName: subject, accessKeyId: '' }
}

const keyOf = (caller: Caller): string => (caller.type === 'anonymous' ? '' : caller.accessKeyId)

function nameOf(caller: Caller): string {
  switch (caller.type) {
    case 'anonymous':
      return ''
    case 'root':
      return 'root'
    case 'user':
      return caller.userName
    case 'role':
      return caller.sessionName
    case 'federated':
      return caller.name
    case 'node':
      return caller.nodeId
  }
}

function describe(caller: Caller): object {
  if (caller.type === 'anonymous') return { type: 'Unknown' }
  const { account: accountId, arn, accessKeyId } = caller
  const whose = (principalId: string) => ({ principalId, arn, accountId, accessKeyId })
  switch (caller.type) {
    case 'root':
      return { type: 'Root', ...whose(accountId) }
    case 'user':
      return {
        type: 'IAMUser',
        ...whose(caller.userId),
        userName: caller.userName,
        ...(caller.issuedAt === 0 ? {} : { sessionContext: { attributes: attributesOf(caller) } }),
      }
    case 'role': {
      const { roleId, roleArn, roleName, sessionName, sourceIdentity } = caller
      const sessionIssuer = { type: 'Role', principalId: roleId, arn: roleArn, accountId, userName: roleName }
      const attributes = attributesOf(caller)
      return {
        type: 'AssumedRole',
        ...whose(`${roleId}:${sessionName}`),
        sessionContext: { sessionIssuer, attributes, ...(sourceIdentity === undefined ? {} : { sourceIdentity }) },
      }
    }
    case 'federated': {
      const { userName, userId } = caller
      const issuer = `arn:aws:iam::${accountId}:user/${userName}`
      const sessionIssuer = { type: 'IAMUser', principalId: userId, arn: issuer, accountId, userName }
      const sessionContext = { sessionIssuer, attributes: attributesOf(caller) }
      return { type: 'FederatedUser', ...whose(`${accountId}:${caller.name}`), sessionContext }
    }
    case 'node': {
      const { nodeId, roleName = 'node' } = caller
      const issuer = `arn:aws:iam::${accountId}:role/${roleName}`
      const sessionIssuer = { type: 'Role', principalId: roleName, arn: issuer, accountId, userName: roleName }
      return { type: 'AssumedRole', ...whose(`${roleName}:${nodeId}`), sessionContext: { sessionIssuer } }
    }
  }
}

const attributesOf = ({ issuedAt, mfa }: { issuedAt: number; mfa: boolean }) => ({
  creationDate: new Date(issuedAt).toISOString().replace(/\.\d+Z$/, 'Z'),
  mfaAuthenticated: String(mfa),
})
