/**
 * Who may do what, on every call. The account's root may do everything in its account; users, roles and federated users
 * what their policies say; a node may act as itself and nothing else.
 */
import { nodeArn } from '../../platform/arn.ts'
import type { Caller, FederatedCaller, NodeCaller, RoleCaller, RootCaller, UserCaller } from '../../platform/caller.ts'
import type { Access, Authorizer, Host } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import {
  type AccessRequest,
  type ContextKeys,
  contextKeys,
  evaluate,
  explain,
  type PolicySet,
  type Principal,
} from './policy/index.ts'
import type { Principals } from './principals.ts'
import * as store from './store.ts'

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

/** Documents are read by name and carry no secrets; who one is, anybody may ask. */
const NODE_READS = new Set(['ssm:GetDocument', 'ssm:DescribeDocument', 'ssm:GetManifest', 'sts:GetCallerIdentity'])

/** Asking who one is needs no permission, as in AWS. */
const FREE = new Set(['sts:GetCallerIdentity'])

export type Needed = Access & { action: string }

export function createAuthorizer(host: Pick<Host, 'sql'>, principals: Principals): Authorizer {
  return {
    async decide(caller, access, context) {
      if ((caller.type === 'root' && !access.resourcePolicy) || FREE.has(access.action)) return undefined
      if (caller.type === 'anonymous') return refusal('anonymous', access)
      if (caller.type === 'node') return nodeMay(caller, access) ? undefined : refusal(caller.arn, access)
      const request = accessRequest(caller, access, context)
      const { resourcePolicy } = access
      const policies = {
        ...(await policiesOnce(host, principals, caller, context)),
        resource: resourcePolicy && principals.resource(resourcePolicy.text),
        resourcePolicyRequired: resourcePolicy?.required,
      }
      if (evaluate(request, policies) === 'allow') return undefined
      return explain(request, policies).message ?? refusal(caller.arn, access)
    },
  }
}

const refusal = (who: string, access: Needed): string =>
  `User: ${who} is not authorized to perform: ${access.action} on resource: ${access.resources[0] ?? '*'} because no identity-based policy allows the ${access.action} action`

function nodeMay(caller: NodeCaller, access: Needed): boolean {
  if (NODE_READS.has(access.action)) return true
  const itself = nodeArn(caller, caller.nodeId)
  return NODE_ACTIONS.has(access.action) && access.resources.every((resource) => resource === itself)
}

type PolicyCaller = UserCaller | RoleCaller | FederatedCaller

const ofRequest = new WeakMap<Context, Promise<PolicySet>>()

/** One request may need several permissions (a parameter and its key): its caller's policies are looked up once. */
function policiesOnce(
  host: Pick<Host, 'sql'>,
  principals: Principals,
  caller: PolicyCaller | RootCaller,
  context: Context,
): Promise<PolicySet> | PolicySet {
  if (caller.type === 'root') return { identity: [] }
  if (caller !== context.caller) return policySet(host, principals, caller)
  let policies = ofRequest.get(context)
  if (!policies) {
    policies = policySet(host, principals, caller)
    ofRequest.set(context, policies)
  }
  return policies
}

/** The policies that bear on a caller: its own, its boundary and, for a session, those that narrow it. */
export async function policySet(
  host: Pick<Host, 'sql'>,
  principals: Principals,
  caller: PolicyCaller,
): Promise<PolicySet> {
  const ownerId = caller.type === 'role' ? caller.roleId : caller.userId
  const owner =
    caller.type === 'role' ? await store.readRoleById(host.sql, ownerId) : await store.readUserById(host.sql, ownerId)
  const { identity, boundary } = await principals.policiesOf(ownerId, owner?.boundaryArn ?? null)
  return { identity, boundary, session: principals.session(caller.sessionPolicies) }
}

export const principalOf = (caller: Exclude<Caller, NodeCaller>): Principal => {
  switch (caller.type) {
    case 'anonymous':
      return { type: 'anonymous' }
    case 'role':
      return { type: 'role', account: caller.account, arn: caller.arn, roleArn: caller.roleArn }
    case 'federated':
      return {
        type: 'federatedUser',
        account: caller.account,
        arn: caller.arn,
        userArn: `arn:aws:iam::${caller.account}:user/${caller.userName}`,
      }
    default:
      return { type: caller.type, account: caller.account, arn: caller.arn }
  }
}

export const accessRequest = (caller: PolicyCaller | RootCaller, access: Needed, context: Context): AccessRequest => ({
  principal: principalOf(caller),
  action: access.action,
  resources: access.resources.map((arn) => ({ arn })),
  context: contextKeys({ ...access.keys, ...momentKeys(context) }, callerKeys(caller)),
})

const momentKeys = (context: Context) => {
  const now = context.now()
  return {
    'aws:SourceIp': context.sourceIp.replace(/^::ffff:/, ''),
    'aws:UserAgent': context.userAgent || undefined,
    'aws:RequestedRegion': context.region,
    'aws:CurrentTime': now,
    'aws:EpochTime': Math.floor(now.getTime() / 1000),
  }
}

const ownKeys = new WeakMap<object, ContextKeys>()

/** What a caller brings along, made once: callers are kept as long as their credentials are. */
function callerKeys(caller: PolicyCaller | RootCaller): ContextKeys {
  const known = ownKeys.get(caller)
  if (known) return known
  if (caller.type === 'root') {
    return contextKeys({
      'aws:PrincipalArn': caller.arn,
      'aws:PrincipalAccount': caller.account,
      'aws:PrincipalType': 'Account',
      'aws:userid': caller.account,
    })
  }
  const isRole = caller.type === 'role'
  const keys = contextKeys({
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
    'aws:MultiFactorAuthPresent': caller.issuedAt === 0 ? undefined : caller.mfa,
    'aws:TokenIssueTime': caller.issuedAt === 0 ? undefined : new Date(caller.issuedAt),
    ...Object.fromEntries(Object.entries(caller.tags).map(([key, value]) => [`aws:PrincipalTag/${key}`, value])),
  })
  ownKeys.set(caller, keys)
  return keys
}
