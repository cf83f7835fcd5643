/**
 * The decision: IAM's policy evaluation logic for one principal, one action and the resources it needs.
 *
 *   any Deny that matches, in any policy                             → explicitDeny
 *   same account   identity ∧ boundary ∧ session                     → allow
 *                  resource policy names it broadly ∧ boundary ∧ session → allow
 *                  resource policy names it by its own ARN           → allow
 *   other account  identity ∧ boundary ∧ session ∧ resource policy   → allow
 *   no identity    resource policy                                   → allow   (services, web identities, anonymous)
 *   root           has every identity permission; boundaries and session policies do not concern it
 *   otherwise                                                        → implicitDeny
 *
 * Every resource must be allowed. Pure: time and address come with the context keys. `explain` tells why, slowly.
 */
import { type CompiledPolicy, type CompiledStatement, concerning } from './compile.ts'
import type { ContextKeys } from './context-keys.ts'
import { type Arn, arnOf, type Lookup } from './pattern.ts'
import { hasNoIdentity, Naming, type Principal } from './principal.ts'

export type Decision = 'allow' | 'explicitDeny' | 'implicitDeny'

export interface AccessRequest {
  readonly principal: Principal
  /** `ssm:GetParameter`. */
  readonly action: string
  /** Each must be allowed; none stands for `*`, an action that knows no resource. */
  readonly resources: readonly RequestedResource[]
  readonly context: ContextKeys
}

export interface RequestedResource {
  /** A full ARN, or `*`. */
  readonly arn: string
  /** Keys that hold for this resource alone, such as its tags: they come before the request's. */
  readonly context?: ContextKeys
  /** The account that owns it, where the ARN does not say: an ARN without one belongs to the caller's account. */
  readonly account?: string
}

export interface PolicySet {
  /** All policies of the user and its groups, or of the role. */
  readonly identity: readonly CompiledPolicy[]
  /** The resource's own policy; for AssumeRole the role's trust policy. */
  readonly resource?: CompiledPolicy
  /** None, or an empty list: the session is not limited. */
  readonly session?: readonly CompiledPolicy[]
  readonly boundary?: CompiledPolicy
  /** KMS keys and roles: identity policies count only as far as the resource policy lets the account in. */
  readonly resourcePolicyRequired?: boolean
}

/** Decides on the request; an explicit deny of one resource outweighs an implicit one of another. */
export function evaluate(request: AccessRequest, policies: PolicySet): Decision {
  const action = request.action.toLowerCase()
  let decision: Decision = 'allow'
  for (const resource of request.resources.length === 0 ? EVERYTHING : request.resources) {
    const one = evaluateResource(questionOf(request, action, resource), policies)
    if (one === 'explicitDeny') return one
    if (one === 'implicitDeny') decision = one
  }
  return decision
}

export const EVERYTHING: readonly RequestedResource[] = [{ arn: '*' }]

/** One action on one resource. */
export interface Question {
  readonly principal: Principal
  /** In lower case. */
  readonly action: string
  readonly arn: Arn
  readonly account: string | undefined
  readonly lookup: Lookup
}

export function questionOf(request: AccessRequest, action: string, resource: RequestedResource): Question {
  const arn = arnOf(resource.arn)
  const account = resource.account ?? accountIn(arn)
  const { principal, context } = request
  // The resource's own keys come before the request's.
  const valuesOf = (key: string) => resource.context?.get(key) ?? context.get(key) ?? owner(key, account, principal)
  return { principal, action, arn, account, lookup: { valuesOf } }
}

/** aws:ResourceAccount: who owns the resource. What has no account in its ARN is the caller's. */
function owner(key: string, account: string | undefined, principal: Principal): readonly string[] | undefined {
  if (key !== 'aws:resourceaccount') return undefined
  const known = account ?? (hasNoIdentity(principal) ? undefined : principal.account)
  return known === undefined ? undefined : [known]
}

/** What the policies of each type say, before they are weighed against each other. */
export interface Findings {
  readonly identity: boolean
  readonly boundary: boolean
  readonly session: boolean
  readonly resource: Naming
}

function evaluateResource(question: Question, policies: PolicySet): Decision {
  const hasBoundary = policies.boundary !== undefined
  const { action } = question
  const identity = ask(concerning(policies.identity, action), question, hasBoundary)
  if (identity === DENIED) return 'explicitDeny'
  const boundary =
    policies.boundary === undefined ? Naming.direct : ask(policies.boundary.concerning(action), question, hasBoundary)
  if (boundary === DENIED) return 'explicitDeny'
  const session = isLimited(policies)
    ? ask(concerning(policies.session ?? [], action), question, hasBoundary)
    : Naming.direct
  if (session === DENIED) return 'explicitDeny'
  const resource =
    policies.resource === undefined ? Naming.none : ask(policies.resource.concerning(action), question, hasBoundary)
  if (resource === DENIED) return 'explicitDeny'
  const findings = { identity: identity > 0, boundary: boundary > 0, session: session > 0, resource }
  return isAllowed(question, findings, policies) ? 'allow' : 'implicitDeny'
}

export const isLimited = (policies: PolicySet): boolean => policies.session !== undefined && policies.session.length > 0

/** The head of this file, once nothing denies. */
export function isAllowed(question: Question, found: Findings, policies: PolicySet): boolean {
  const { principal } = question
  if (hasNoIdentity(principal)) return found.resource > Naming.none
  const isRoot = principal.type === 'root'
  const withinLimits = isRoot || (found.boundary && found.session)
  const byIdentity = (isRoot || found.identity) && withinLimits
  if (isOtherAccount(question)) return byIdentity && found.resource > Naming.none
  if (byIdentity && (policies.resourcePolicyRequired !== true || found.resource > Naming.none)) return true
  return found.resource === Naming.direct || (found.resource === Naming.broad && withinLimits)
}

export function isOtherAccount({ principal, account }: Question): boolean {
  return !hasNoIdentity(principal) && account !== undefined && account !== principal.account
}

// ---- asking ----

const DENIED = -1
type Answer = typeof DENIED | Naming

function ask(statements: readonly CompiledStatement[], question: Question, hasBoundary: boolean): Answer {
  let strongest: Answer = Naming.none
  for (const statement of statements) {
    // What could only repeat an answer already found is not asked again.
    if (statement.effect === 'Allow' && strongest === Naming.direct) continue
    const naming = matches(statement, question, hasBoundary)
    if (naming === Naming.none) continue
    if (statement.effect === 'Deny') return DENIED
    if (naming > strongest) strongest = naming
  }
  return strongest
}

/** The action matches already. */
function matches(statement: CompiledStatement, question: Question, hasBoundary: boolean): Naming {
  if (!statement.matchesResource(question.arn, question.lookup)) return Naming.none
  const naming = statement.names(question.principal, hasBoundary)
  if (naming === Naming.none) return Naming.none
  for (const condition of statement.conditions) {
    if (!condition.holds(question.lookup)) return Naming.none
  }
  return naming
}

/** The fifth segment of an ARN, where it names an account. */
function accountIn(arn: Arn): string | undefined {
  const account = arn.segments[4]
  return account === undefined || !/^\d{12}$/.test(account) ? undefined : account
}
