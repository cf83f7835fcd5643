/** Trust policies of roles: whom they name, by their ids. */
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { byIds, namedIds } from './named-ids.ts'
import { type CompiledPolicy, compilePolicy, isMalformed, parsePolicy } from './policy/index.ts'
import type { RoleRow } from './store/entities.ts'

/** The ids of the users and roles that the policy names, by ARN. MalformedPolicyDocument: there is none of that ARN. */
export async function trustedIds({ sql }: Context, text: string): Promise<Record<string, string>> {
  const document = parsePolicy(text, 'trust')
  const ids = isMalformed(document) ? {} : await namedIds(sql, document)
  if (typeof ids === 'string')
    throw new AwsError('MalformedPolicyDocumentException', `Invalid principal in policy: "AWS":"${ids}"`)
  return ids
}

/** The role's trust policy, its users and roles by their ids. */
export function compileTrust(role: RoleRow): CompiledPolicy {
  const document = parsePolicy(role.trustPolicy, 'trust')
  if (isMalformed(document))
    throw new Error(`the stored trust policy of ${role.name} cannot be read: ${document.message}`)
  return compilePolicy(byIds(document, role.trustedIds), `trust policy of ${role.name}`)
}
