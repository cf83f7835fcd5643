/**
 * What the roles of nodes grant beyond the node itself. `musterbook policy lint` reads it through
 * `GET /musterbook/node-roles`, which needs iam:GetAccountAuthorizationDetails, and lints files by the same function.
 */
import type { Route } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { json } from './json-route.ts'
import { type BroadGrant, broaderThanNode, isMalformed, MANAGED_POLICIES, parsePolicy } from './policy/index.ts'
import { NODE_CORE, trustsSystemsManager } from './principals.ts'
import * as entities from './store/entities.ts'
import * as store from './store.ts'

export interface NodePolicyLint {
  /** Why the text is no policy. */
  fault?: string
  grants: BroadGrant[]
}

/** The grants of a policy's text by which a node may do more than act as itself. */
export function lintNodePolicy(text: string): NodePolicyLint {
  const document = parsePolicy(text, 'identity')
  return isMalformed(document) ? { fault: document.message, grants: [] } : { grants: broaderThanNode(document) }
}

const managed = new Map(MANAGED_POLICIES.map((policy) => [policy.arn, policy.document]))

export const nodeRoleRoute: Route = {
  method: 'GET',
  path: /^\/musterbook\/node-roles$/,
  signedFor: 'iam',
  authorize: () => ({ action: 'iam:GetAccountAuthorizationDetails', resources: ['*'] }),
  handle: async (context) => json(200, { roles: await lintRoles(context) }),
}

async function lintRoles({ sql, account }: Context) {
  const nodes = await store.countNodesByRole(sql, account)
  const roles = (await entities.list(sql, 'role', account)).filter(trustsSystemsManager)
  return Promise.all(
    roles.map(async ({ id, name }) => ({
      role: name,
      nodes: nodes.get(name.toLowerCase()) ?? 0,
      policies: (await store.readPolicyTexts(sql, id))
        // A node has it whatever its role, and never more of it than what concerns itself.
        .filter((policy) => policy.name !== NODE_CORE)
        .map((policy) => ({
          policy: policy.name,
          lint: lintNodePolicy(policy.document ?? managed.get(policy.name) ?? ''),
        })),
    })),
  )
}
