/**
 * Trust policies of roles. The users and roles that one names are meant by their ids, as in AWS: who is made anew under the
 * name of somebody who has left is not trusted for it, and who is renamed stays trusted.
 */
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { entityArn } from './entities.ts'
import { type CompiledPolicy, compilePolicy, isMalformed, type PolicyDocument, parsePolicy } from './policy/index.ts'
import type { RoleRow } from './store/entities.ts'
import { find } from './store/entities.ts'

const ENTITY = /^arn:[^:]+:iam::(\d{12}):(user|role)\/(?:.*\/)?([^/]+)$/

/** The ids of the users and roles that the policy names, by ARN. MalformedPolicyDocument: there is none of that ARN. */
export async function trustedIds({ sql }: Context, text: string): Promise<Record<string, string>> {
  const ids: Record<string, string> = {}
  for (const arn of new Set(namedIn(parsePolicy(text, 'trust')))) {
    const [, account, word, name] = ENTITY.exec(arn) ?? []
    if (account === undefined || name === undefined) continue // an account, or a session
    const kind = word as 'user' | 'role'
    const row = await find(sql, kind, account, name)
    if (!row || entityArn(kind, row) !== arn)
      throw new AwsError('MalformedPolicyDocumentException', `Invalid principal in policy: "AWS":"${arn}"`)
    ids[arn] = row.id
  }
  return ids
}

function namedIn(document: ReturnType<typeof parsePolicy>): readonly string[] {
  if (isMalformed(document)) return []
  return document.statements.flatMap(({ principal }) => (typeof principal === 'object' ? (principal.AWS ?? []) : []))
}

/** The role's trust policy, its users and roles by their ids. */
export function compileTrust(role: RoleRow): CompiledPolicy {
  const document = parsePolicy(role.trustPolicy, 'trust')
  if (isMalformed(document))
    throw new Error(`the stored trust policy of ${role.name} cannot be read: ${document.message}`)
  return compilePolicy(byIds(document, role.trustedIds), `trust policy of ${role.name}`)
}

const byIds = (document: PolicyDocument, ids: Record<string, string>): PolicyDocument => ({
  ...document,
  statements: document.statements.map((statement) =>
    typeof statement.principal !== 'object' || statement.principal.AWS === undefined
      ? statement
      : {
          ...statement,
          principal: { ...statement.principal, AWS: statement.principal.AWS.map((arn) => ids[arn] ?? arn) },
        },
  ),
})
