/**
 * Policies of resources mean the users and roles that they name by their ids, as in AWS: who is made anew under the name of
 * somebody who has left has none of his rights, and who is renamed keeps his own.
 */
import type { Sql } from '../../platform/database.ts'
import { entityArn } from './entities.ts'
import type { PolicyDocument } from './policy/index.ts'
import { find } from './store/entities.ts'

const ENTITY = /^arn:[^:]+:iam::(\d{12}):(user|role)\/(?:.*\/)?([^/]+)$/

/** The id of the user or role of that ARN; null: it names an account or a session; undefined: there is none. */
export async function principalId(sql: Sql, arn: string): Promise<string | null | undefined> {
  const [, account, word, name] = ENTITY.exec(arn) ?? []
  if (account === undefined || name === undefined) return null
  const kind = word as 'user' | 'role'
  const row = await find(sql, kind, account, name)
  return row && entityArn(kind, row) === arn ? row.id : undefined
}

/** The ids of the users and roles that a policy names, by ARN; a text: the ARN of which there is none. */
export async function namedIds(sql: Sql, document: PolicyDocument): Promise<Record<string, string> | string> {
  const ids: Record<string, string> = {}
  for (const arn of new Set(namedIn(document))) {
    const id = await principalId(sql, arn)
    if (id === undefined) return arn
    if (id !== null) ids[arn] = id
  }
  return ids
}

const namedIn = ({ statements }: PolicyDocument): readonly string[] =>
  statements.flatMap(({ principal, notPrincipal }) => {
    const named = principal ?? notPrincipal
    return typeof named === 'object' ? (named.AWS ?? []) : []
  })

/** The policy with those ids in place of the ARNs. */
export const byIds = (document: PolicyDocument, ids: Readonly<Record<string, string>>): PolicyDocument => ({
  ...document,
  statements: document.statements.map((statement) => ({
    ...statement,
    principal: withIds(statement.principal, ids),
    notPrincipal: withIds(statement.notPrincipal, ids),
  })),
})

type Principal = PolicyDocument['statements'][number]['principal']
const withIds = (principal: Principal, ids: Readonly<Record<string, string>>): Principal =>
  typeof principal === 'object' && principal.AWS !== undefined
    ? { ...principal, AWS: principal.AWS.map((arn) => (Object.hasOwn(ids, arn) ? ids[arn]! : arn)) }
    : principal
