/**
 * Identity: accounts, access keys, the credentials of nodes, and who may do what. Its door lets nodes be granted role
 * credentials and lets the installation be set up; users, roles and policies grow here.
 */
import type { Scope } from '../../platform/arn.ts'
import type { Authorizer, Capability } from '../../platform/capability.ts'
import type { Context, Ground } from '../../platform/context.ts'
import { accessKeyId, secretAccessKey } from '../../platform/ids.ts'
import type { Sealer } from '../../platform/seal.ts'
import { accountRoutes } from './administration.ts'
import { type CallerName, callerNames, createAuthorizer, type Needed } from './authorize.ts'
import { credentialSource } from './credentials.ts'
import { denialRoute, keepDenials } from './denials.ts'
import { explanationRoute } from './explanations.ts'
import { iam } from './iam.ts'
import { noteKeyUses } from './key-uses.ts'
import init from './migrations/0001-init.sql'
import principalsMigration from './migrations/0002-principals.sql'
import mfaTriesMigration from './migrations/0003-mfa-tries.sql'
import trustedIdsMigration from './migrations/0004-trusted-ids.sql'
import mfaTagsMigration from './migrations/0005-mfa-tags.sql'
import passwordsMigration from './migrations/0006-passwords.sql'
import credentialReportsMigration from './migrations/0007-credential-reports.sql'
import serviceLinkedRolesMigration from './migrations/0008-service-linked-roles.sql'
import { namedIds } from './named-ids.ts'
import { nodeRoleRoute } from './node-roles.ts'
import { isMalformed, parsePolicy } from './policy/index.ts'
import { keepPrincipals, principalsOf } from './principals.ts'
import { sealed } from './sealed.ts'
import { sealSessionToken } from './session-token.ts'
import * as store from './store.ts'
import { sts } from './sts.ts'
import { DISABLED_WAKE, IDENTITY_WAKE } from './wake.ts'
import { assumeRoleWithWebIdentity } from './web-identity.ts'

export { createAccount, InstallationError, openInstallation, type RootCredentials } from './accounts.ts'
export { principalId } from './named-ids.ts'
export { lintNodePolicy, type NodePolicyLint } from './node-roles.ts'
export { parseKeysFile } from './oidc/issuer-keys.ts'
export { passingRole } from './permissions.ts'
export { type TokenBearer, tokenBearerOf } from './web-identity.ts'
export { type CallerName, DISABLED_WAKE }

export const identity: Capability = {
  name: 'identity',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-principals', sql: principalsMigration },
    { name: '0003-mfa-tries', sql: mfaTriesMigration },
    { name: '0004-trusted-ids', sql: trustedIdsMigration },
    { name: '0005-mfa-tags', sql: mfaTagsMigration },
    { name: '0006-passwords', sql: passwordsMigration },
    { name: '0007-credential-reports', sql: credentialReportsMigration },
    { name: '0008-service-linked-roles', sql: serviceLinkedRolesMigration },
  ],
  sealed,
  operations: { iam, sts },
  start(host) {
    const credentials = credentialSource(host)
    const principals = keepPrincipals(host)
    const denials = keepDenials(host)
    const uses = noteKeyUses(host)
    const authorizer = createAuthorizer(principals, denials, host.nodeGrants)
    authorizers.set(host.sealer, authorizer)
    return {
      operations: { sts: { AssumeRoleWithWebIdentity: assumeRoleWithWebIdentity(host) } },
      credentials,
      authorizer,
      observers: [uses.observe],
      routes: [denialRoute, explanationRoute(authorizer), nodeRoleRoute, ...accountRoutes(host)],
      async close() {
        await Promise.all([denials.idle(), uses.idle()])
        credentials[Symbol.dispose]()
        principals[Symbol.dispose]()
      },
    }
  },
}

/** A server process has one sealer, which all of its contexts carry: by it they find its authorizer. */
const authorizers = new WeakMap<Sealer, Authorizer>()

function authorizerOf({ sealer }: Context): Authorizer {
  const authorizer = authorizers.get(sealer)
  if (!authorizer) throw new Error('identity has not been started')
  return authorizer
}

/** Why the context's caller may not do what one operation does through another's door; undefined: it may. */
export const refusalOf = (context: Context, access: Needed): Promise<string | undefined> =>
  authorizerOf(context).decide(context.caller, access, context)

/** Whether the context's caller may do this, where a `false` refuses nothing yet: it leaves no trace for `musterbook explain`. */
export const mayDo = (context: Context, access: Needed): Promise<boolean> =>
  authorizerOf(context).allows(context.caller, access, context)

/** How a grant may mean the context's caller. A node acts with its role: it is meant by that as well. */
export const namesOf = (context: Context): Promise<CallerName[]> => callerNames(principalsOf(context), context.caller)

/** The accounts whose callers are refused; `DISABLED_WAKE` tells of a further one. */
export const disabledAccounts = ({ sql }: Ground): Promise<string[]> => store.readDisabledAccounts(sql)

/** The ids of the users and roles that the text of a resource policy names, by ARN; a text: what is wrong with it. */
export async function resourcePolicyIds({ sql }: Context, text: string): Promise<Record<string, string> | string> {
  const parsed = parsePolicy(text, 'resource')
  if (isMalformed(parsed)) return parsed.message
  const ids = await namedIds(sql, parsed)
  return typeof ids === 'string' ? 'Policy contains a statement with one or more invalid principals.' : ids
}

/**
 * Lets a node hold role credentials from now on, and ends those it held before. What a role of the name `roleName` grants
 * is the node's too, beside what every node may do as itself.
 */
export async function grantNode(context: Context, nodeId: string, roleName?: string): Promise<void> {
  await store.upsertNodeGrant(context.sql, context, nodeId, roleName)
  context.wake(IDENTITY_WAKE)
}

/** Gives the node another role, at once and on every process. */
export async function changeNodeRole(context: Context, nodeId: string, roleName: string): Promise<void> {
  await store.setNodeRole(context.sql, context, nodeId, roleName)
  context.wake(IDENTITY_WAKE)
}

/** Ends every credential of the node, at once and on every process. */
export async function revokeNode(context: Context, nodeId: string): Promise<void> {
  await store.deleteNodeGrant(context.sql, context, nodeId)
  context.wake(IDENTITY_WAKE)
}

export interface NodeCredentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken: string
  expiration: Date
}

/** Seconds that a node's role credentials live; agents refresh at half of it, as with AWS. */
export const NODE_CREDENTIAL_SECONDS = 3_600

/** Role credentials for a granted node, or undefined when it holds no grant. */
export async function issueNodeCredentials(
  ground: Ground,
  scope: Scope,
  nodeId: string,
): Promise<NodeCredentials | undefined> {
  const grant = await store.readNodeGrant(ground.sql, scope, nodeId)
  if (grant === undefined) return undefined
  const { serial } = grant
  const issuedAt = ground.now().getTime()
  const expiration = new Date(issuedAt + NODE_CREDENTIAL_SECONDS * 1000)
  const keys = { accessKeyId: accessKeyId('ASIA'), secretAccessKey: secretAccessKey() }
  const { account, region } = scope
  const statement = {
    kind: 'node' as const,
    ...keys,
    account,
    region,
    nodeId,
    serial,
    issuedAt,
    expiresAt: expiration.getTime(),
  }
  return { ...keys, sessionToken: sealSessionToken(ground.sealer, statement), expiration }
}
