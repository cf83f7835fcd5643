/**
 * Who may do what, on every call. The account's root may do everything in its account; users, roles and federated users
 * what their policies say; a node may act as itself, unless its role says no, and nothing else.
 */
import { nodeArn } from '../../platform/arn.ts'
import type { Caller, FederatedCaller, NodeCaller, RoleCaller, RootCaller, UserCaller } from '../../platform/caller.ts'
import type { Access, Authorizer, NodeGrant, ResourcePolicy } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import type { Denials } from './denials.ts'
import { entityArn } from './entities.ts'
import {
  type AccessRequest,
  type CompiledPolicy,
  type ContextKeys,
  type ContextValue,
  contextKeys,
  type Explanation,
  evaluate,
  explain,
  joinPolicies,
  keysOnDemand,
  layered,
  noContextKeys,
  type PolicySet,
  type Principal,
} from './policy/index.ts'
import { asksForTags, type NodeRole, type Principals } from './principals.ts'
import type { RoleRow } from './store/entities.ts'

/** What the official agent calls about itself. Each must name the node's own ARN as its only resource. */
const NODE_ACTIONS = new Set([
  'ssm:UpdateInstanceInformation',
  'ssm:UpdateManagedInstancePublicKey',
  'ssm:RequestManagedInstanceRoleToken',
  'ssm:ListInstanceAssociations',
  'ssm:ListAssociations',
  'ssm:UpdateInstanceAssociationStatus',
  'ssm:PutInventory',
  'ssm:PutComplianceItems',
  'ssm:PutConfigurePackageResult',
  'ssmmessages:CreateControlChannel',
  'ssmmessages:OpenControlChannel',
  'ssmmessages:CreateDataChannel',
  'ssmmessages:OpenDataChannel',
  'ec2messages:GetMessages',
  'ec2messages:AcknowledgeMessage',
  'ec2messages:SendReply',
  'ec2messages:FailMessage',
  'ec2messages:DeleteMessage',
  'ec2messages:GetEndpoint',
])

/** Documents are read by name and carry no secrets. */
const NODE_READS = new Set(['ssm:GetDocument', 'ssm:DescribeDocument', 'ssm:GetManifest'])

export type Needed = Access & { action: string }

export function createAuthorizer(
  principals: Principals,
  denials: Denials,
  nodeGrants: ReadonlyMap<string, NodeGrant>,
): Authorizer {
  /** undefined: it is allowed. */
  async function reasonAgainst(caller: Caller, access: Needed, context: Context): Promise<Explanation | undefined> {
    if (caller.type === 'anonymous') return unheard('anonymous', access)
    if (caller.type === 'node' && nodeMay(caller, access)) return deniedByRole(principals, caller, access, context)
    if (isBeyondSession(caller, access.action)) return { ...unheard(caller.arn, access), note: BEYOND_SESSION }
    if (caller.type === 'root' && !access.resourcePolicy) return undefined
    return refusalReason(await askedOf(principals, nodeGrants, caller, access, context), caller, access)
  }

  return {
    async decide(caller, access, context) {
      const reason = await reasonAgainst(caller, access, context)
      if (reason === undefined) return undefined
      // Nobody is behind an anonymous caller who might ask for the reason.
      if (caller.type !== 'anonymous') denials.note(context, access.action, reason)
      return reason.message ?? refusal(caller.arn, access)
    },
    allows: async (caller, access, context) => (await reasonAgainst(caller, access, context)) === undefined,
  }
}

const BEYOND_SESSION = 'Temporary credentials of this kind do not reach this service, whatever the policies say.'
const ONLY_ITSELF =
  'A node may act as itself and nothing else: it carries no role of this account that trusts Systems Manager.'

/** What every node may do as itself needs no policy; a Deny of its role takes it away, as any Deny does. */
async function deniedByRole(
  principals: Principals,
  caller: NodeCaller,
  access: Needed,
  context: Context,
): Promise<Explanation | undefined> {
  const { request, policies } = (await roleAsks(principals, new Map(), caller, access, context)) ?? {}
  if (!request || !policies || evaluate(request, policies) !== 'explicitDeny') return undefined
  return explain(request, policies)
}

/** undefined: it is allowed. */
async function refusalReason(
  asked: Asked | undefined,
  caller: Exclude<Caller, { type: 'anonymous' }>,
  access: Needed,
): Promise<Explanation | undefined> {
  if (asked === undefined) return { ...unheard(caller.arn, access), note: ONLY_ITSELF }
  return evaluate(asked.request, asked.policies) === 'allow' ? undefined : explain(asked.request, asked.policies)
}

/** The reason where no policy was asked. */
const unheard = (who: string, access: Needed): Explanation => ({
  decision: 'implicitDeny',
  resource: access.resources[0] ?? '*',
  message: refusal(who, access),
  decidedBy: [],
  statements: [],
})

/** Why a node may do this, or may not. */
export async function nodeReason(
  principals: Principals,
  caller: NodeCaller,
  access: Needed,
  context: Context,
): Promise<Explanation> {
  if (nodeMay(caller, access))
    return (
      (await deniedByRole(principals, caller, access, context)) ?? {
        ...unheard(caller.arn, access),
        decision: 'allow',
        message: undefined,
        note: AS_ITSELF,
      }
    )
  const asked = await nodeAsks(principals, new Map(), caller, access, context)
  return asked ? explain(asked.request, asked.policies) : { ...unheard(caller.arn, access), note: ONLY_ITSELF }
}
const AS_ITSELF = 'Every node may do this as itself.'

interface Asked {
  request: AccessRequest
  policies: PolicySet
}

/** What the evaluator is asked; undefined: a node to which nothing is granted. */
async function askedOf(
  principals: Principals,
  nodeGrants: ReadonlyMap<string, NodeGrant>,
  caller: PolicyCaller | RootCaller | NodeCaller,
  access: Needed,
  context: Context,
): Promise<Asked | undefined> {
  if (caller.type === 'node') return nodeAsks(principals, nodeGrants, caller, access, context)
  const own = caller.type === 'root' ? NO_POLICIES : await policySet(principals, caller)
  const policies = withResource(principals, own, access)
  return { request: await accessRequest(callerKeys(caller), principalOf(caller), access, context, policies), policies }
}

const NO_POLICIES: PolicySet = { identity: [] }

/** With the policy of the resource, where the access brings one. */
const withResource = (principals: Principals, own: PolicySet, { resourcePolicy }: Needed): PolicySet =>
  resourcePolicy === undefined
    ? own
    : { ...own, resource: resourceOf(principals, resourcePolicy), resourcePolicyRequired: resourcePolicy.required }

function resourceOf(principals: Principals, { text, ids, granted }: ResourcePolicy): CompiledPolicy {
  const policy = principals.resource(text, ids)
  return granted === undefined ? policy : joinPolicies(policy, principals.resource(granted))
}

const roleOfNode = async (principals: Principals, { account, roleName }: NodeCaller): Promise<NodeRole | undefined> =>
  roleName === undefined ? undefined : principals.nodeRole(account, roleName)

const nodeSession = ({ account, nodeId }: NodeCaller, role: Pick<RoleRow, 'name'>): string =>
  `arn:aws:sts::${account}:assumed-role/${role.name}/${nodeId}`

/** How a grant may mean a caller: by an ARN and, of a user or a role, by its id. */
export interface CallerName {
  arn: string
  id?: string
}

/** The caller's own name and, of a session or a node, its role's. */
export async function callerNames(principals: Principals, caller: Caller): Promise<CallerName[]> {
  const { arn } = caller
  if (caller.type === 'user') return [{ arn, id: caller.userId }]
  if (caller.type === 'role') return [{ arn }, { arn: caller.roleArn, id: caller.roleId }]
  const role = caller.type === 'node' ? (await roleOfNode(principals, caller))?.role : undefined
  return caller.type === 'node' && role
    ? [{ arn }, { arn: nodeSession(caller, role) }, { arn: entityArn('role', role), id: role.id }]
    : [{ arn }]
}

/**
 * A node asks with what its role grants, as a session of that role that bears the node's name, and with what a capability
 * grants it for a while.
 */
async function nodeAsks(
  principals: Principals,
  nodeGrants: ReadonlyMap<string, NodeGrant>,
  caller: NodeCaller,
  access: Needed,
  context: Context,
): Promise<Asked | undefined> {
  // What a node does as itself it does as itself alone, whatever its role grants.
  return NODE_ACTIONS.has(access.action) ? undefined : roleAsks(principals, nodeGrants, caller, access, context)
}

async function roleAsks(
  principals: Principals,
  nodeGrants: ReadonlyMap<string, NodeGrant>,
  caller: NodeCaller,
  access: Needed,
  context: Context,
): Promise<Asked | undefined> {
  const { account, nodeId } = caller
  const found = await roleOfNode(principals, caller)
  const granted = await nodeGrants.get(access.action)?.(caller, access, context)
  if (!found && !granted) return undefined
  const role = found?.role
  const principal: Principal = {
    type: 'role',
    account,
    arn: role ? nodeSession(caller, role) : caller.arn,
    roleArn: role ? entityArn('role', role) : caller.arn,
    ...(role && { id: role.id }),
  }
  const itself = nodeArn(caller, nodeId)
  const keys = contextKeys({
    ...AS_ITSELF_KEYS,
    'ssm:NodeId': nodeId,
    'ssm:SourceInstanceARN': itself,
    'ec2:SourceInstanceARN': itself,
    'aws:PrincipalArn': principal.roleArn,
    'aws:PrincipalAccount': account,
    'aws:PrincipalType': 'AssumedRole',
    'aws:userid': role && `${role.id}:${nodeId}`,
    ...Object.fromEntries((role?.tags ?? []).map(({ Key, Value }) => [`aws:PrincipalTag/${Key}`, Value])),
  })
  const ofRole = found?.policies ?? { identity: [], boundary: undefined }
  const own = granted ? { ...ofRole, identity: [...ofRole.identity, principals.granted(access.action)] } : ofRole
  const set = withResource(principals, own, access)
  return { request: await accessRequest(keys, principal, access, context, set), policies: set }
}

/**
 * GetSessionToken's credentials reach IAM with MFA only, and of STS just AssumeRole; a federated user's reach neither. The
 * root has no second factor here: its sessions never reach IAM.
 */
function isBeyondSession(caller: PolicyCaller | RootCaller | NodeCaller, action: string): boolean {
  const [service] = action.split(':')
  if (caller.type === 'federated') return service === 'iam' || service === 'sts'
  if ((caller.type !== 'user' && caller.type !== 'root') || caller.issuedAt === 0) return false
  const hasMfa = caller.type === 'user' && caller.mfa
  return (service === 'iam' && !hasMfa) || (service === 'sts' && action !== 'sts:AssumeRole')
}

const refusal = (who: string, access: Needed): string =>
  `User: ${who} is not authorized to perform: ${access.action} on resource: ${access.resources[0] ?? '*'} because no identity-based policy allows the ${access.action} action`

function nodeMay(caller: NodeCaller, access: Needed): boolean {
  if (NODE_READS.has(access.action)) return true
  const itself = nodeArn(caller, caller.nodeId)
  return NODE_ACTIONS.has(access.action) && access.resources.every((resource) => resource === itself)
}

export type PolicyCaller = UserCaller | RoleCaller | FederatedCaller

/** The policies that bear on a caller: its own, its boundary and, for a session, those that narrow it. */
export async function policySet(principals: Principals, caller: PolicyCaller): Promise<PolicySet> {
  const { identity, boundary } = await principals.policiesOf(caller.type === 'role' ? caller.roleId : caller.userId)
  return { identity, boundary, session: principals.session(caller.sessionPolicies) }
}

export const principalOf = (caller: Exclude<Caller, NodeCaller>): Principal => {
  switch (caller.type) {
    case 'anonymous':
      return { type: 'anonymous' }
    case 'role':
      return { type: 'role', account: caller.account, arn: caller.arn, roleArn: caller.roleArn, id: caller.roleId }
    case 'federated':
      return {
        type: 'federatedUser',
        account: caller.account,
        arn: caller.arn,
        userArn: `arn:aws:iam::${caller.account}:user/${caller.userName}`,
        id: caller.userId,
      }
    case 'user':
      return { type: 'user', account: caller.account, arn: caller.arn, id: caller.userId }
    default:
      return { type: caller.type, account: caller.account, arn: caller.arn }
  }
}

/** `own`: the keys that the caller brings along. Tags of resources are looked up where `policies` ask for them. */
export async function accessRequest(
  own: ContextKeys,
  principal: Principal,
  access: Needed,
  context: Context,
  policies: PolicySet,
): Promise<AccessRequest> {
  const ofResources =
    access.resourceKeys && asksForTags(policies, access.action) ? await access.resourceKeys() : undefined
  return {
    principal,
    action: access.action,
    resources: access.resources.map((arn) => {
      const keys = ofResources?.get(arn)
      return keys === undefined ? { arn } : { arn, context: contextKeys(keys) }
    }),
    context: layered(
      access.keys ? contextKeys(access.keys) : noContextKeys,
      keysOnDemand(OF_REQUEST, { context, now: context.now() }),
      own,
    ),
  }
}

interface Moment {
  context: Context
  now: Date
}

/** The keys of every request, by their names in lower case. */
const OF_REQUEST: ReadonlyMap<string, (moment: Moment) => ContextValue> = new Map<
  string,
  (moment: Moment) => ContextValue
>([
  ['aws:sourceip', ({ context }) => context.sourceIp.replace(/^::ffff:/, '') || undefined],
  ['aws:securetransport', ({ context }) => (context.sourceIp === '' ? undefined : context.encrypted)],
  ['aws:useragent', ({ context }) => context.userAgent || undefined],
  ['aws:requestedregion', ({ context }) => context.region],
  ['aws:currenttime', ({ now }) => now],
  ['aws:epochtime', ({ now }) => Math.floor(now.getTime() / 1000)],
  ['aws:multifactorauthage', ({ context, now }) => secondsSinceMfa(context.caller, now)],
])

/** The second factor was proved when the session was made, or when one was from which it comes. */
const secondsSinceMfa = (caller: Caller, now: Date): number | undefined =>
  'mfa' in caller && caller.mfa ? Math.floor((now.getTime() - (caller.mfaAt ?? caller.issuedAt)) / 1000) : undefined

/** Nobody calls here for a service, and services use keys by the rights of who called them (aws:ViaAWSService). */
const AS_ITSELF_KEYS = { 'aws:PrincipalIsAWSService': 'false', 'aws:ViaAWSService': 'false' }

const ownKeys = new WeakMap<object, ContextKeys>()

/** What a caller brings along, made once: callers are kept as long as their credentials are. */
export function callerKeys(caller: PolicyCaller | RootCaller): ContextKeys {
  let keys = ownKeys.get(caller)
  if (!keys) {
    keys = contextKeys({ ...AS_ITSELF_KEYS, ...(caller.type === 'root' ? rootKeys(caller) : policyCallerKeys(caller)) })
    ownKeys.set(caller, keys)
  }
  return keys
}

const rootKeys = (caller: RootCaller) => ({
  'aws:PrincipalArn': caller.arn,
  'aws:PrincipalAccount': caller.account,
  'aws:PrincipalType': 'Account',
  'aws:userid': caller.account,
  'aws:MultiFactorAuthPresent': caller.issuedAt === 0 ? undefined : false,
  'aws:TokenIssueTime': caller.issuedAt === 0 ? undefined : new Date(caller.issuedAt),
})

function policyCallerKeys(caller: PolicyCaller) {
  const isRole = caller.type === 'role'
  return {
    'aws:PrincipalArn': isRole ? caller.roleArn : caller.arn,
    'aws:PrincipalAccount': caller.account,
    'aws:PrincipalType': isRole ? 'AssumedRole' : caller.type === 'federated' ? 'FederatedUser' : 'User',
    'aws:userid': isRole
      ? `${caller.roleId}:${caller.sessionName}`
      : caller.type === 'federated'
        ? `${caller.account}:${caller.name}`
        : caller.userId,
    'aws:username': caller.type === 'user' ? caller.userName : undefined,
    'aws:SourceIdentity': isRole ? caller.sourceIdentity : undefined,
    ...(isRole && caller.federation),
    'aws:MultiFactorAuthPresent': caller.issuedAt === 0 ? undefined : caller.mfa,
    'aws:TokenIssueTime': caller.issuedAt === 0 ? undefined : new Date(caller.issuedAt),
    ...Object.fromEntries(Object.entries(caller.tags).map(([key, value]) => [`aws:PrincipalTag/${key}`, value])),
  }
}
