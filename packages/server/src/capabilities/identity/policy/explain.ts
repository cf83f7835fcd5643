/**
 * Why a request was decided as it was: the same closures as `evaluate`, asked one element at a time and written down.
 * `message` is the wire's (AWS's "access denied error message format"); the rest is for a caller who may know: it quotes
 * condition values of the request. Tens of times slower than `evaluate`: call it once a request is refused, or to simulate.
 */
import type { CompiledPolicy, CompiledStatement } from './compile.ts'
import { operatorText, type Statement } from './document.ts'
import {
  type AccessRequest,
  type Decision,
  EVERYTHING,
  evaluate,
  isLimited,
  isOtherAccount,
  type PolicySet,
  type Question,
  questionOf,
} from './evaluate.ts'
import { hasNoIdentity, Naming, principalName } from './principal.ts'

export type PolicyType =
  | 'identity-based policy'
  | 'resource-based policy'
  | 'permissions boundary'
  | 'session policy'
  | 'role trust policy'

export interface Explanation {
  readonly decision: Decision
  /** The first resource that decided it; the first of all where everything is allowed. */
  readonly resource: string
  /** The AWS-shaped refusal; absent where allowed. */
  readonly message?: string | undefined
  /** Where no policy decided: what did. */
  readonly note?: string
  /** Explicit deny: the first statement that denies. Allow: the statements that allow. Implicit deny: none. */
  readonly decidedBy: readonly StatementTrace[]
  /** Implicit deny: what a policy of that type would have to allow. */
  readonly missing?: MissingPermission
  /** Every statement of every policy, asked about that resource. */
  readonly statements: readonly StatementTrace[]
}

export interface MissingPermission {
  readonly action: string
  readonly resource: string
  readonly policyType: PolicyType
}

export interface StatementTrace {
  readonly policyType: PolicyType
  /** The policy's ARN or name, as given to `compilePolicy`. */
  readonly policy: string | undefined
  /** From 0. */
  readonly index: number
  readonly sid: string | undefined
  readonly position: Statement['position']
  readonly effect: 'Allow' | 'Deny'
  /** `matched`, or the first element that did not match. */
  readonly outcome: 'matched' | 'action' | 'resource' | 'principal' | 'condition'
  /** For the outcome `condition`: every condition that failed. */
  readonly failedConditions: readonly FailedCondition[]
}

export interface FailedCondition {
  /** As written: `ForAnyValue:StringLike`. */
  readonly operator: string
  readonly key: string
  /** The policy's values, variables not filled in. */
  readonly expected: readonly string[]
  /** The request's values; absent where the request has no such key. */
  readonly actual?: readonly string[]
}

export function explain(request: AccessRequest, policies: PolicySet): Explanation {
  const decision = evaluate(request, policies)
  const action = request.action.toLowerCase()
  const resources = request.resources.length === 0 ? EVERYTHING : request.resources
  const resource =
    resources.find((each) => evaluate({ ...request, resources: [each] }, policies) === decision) ?? resources[0]
  const question = questionOf(request, action, resource ?? { arn: '*' })
  const traced = traceAll(policies, question)
  const told = { decision, resource: question.arn.text, statements: traced.map(({ trace }) => trace) }
  if (decision === 'allow') return { ...told, decidedBy: matched(traced, 'Allow') }
  const subject = `User: ${principalName(request.principal)} is not authorized to perform: ${request.action} on resource: ${question.arn.text}`
  if (decision === 'explicitDeny') {
    const decidedBy = matched(traced, 'Deny').slice(0, 1)
    return {
      ...told,
      decidedBy,
      message: `${subject} with an explicit deny in ${withArticle(decidedBy[0]?.policyType)}`,
    }
  }
  const policyType = missingType(traced, question, policies)
  return {
    ...told,
    decidedBy: [],
    message: `${subject} because no ${policyType} allows the ${request.action} action`,
    missing: { action: request.action, resource: question.arn.text, policyType },
  }
}

const ARTICLES: Record<PolicyType, string> = {
  'identity-based policy': 'an',
  'resource-based policy': 'a',
  'permissions boundary': 'a',
  'session policy': 'a',
  'role trust policy': 'the',
}

const withArticle = (type: PolicyType = 'identity-based policy'): string => `${ARTICLES[type]} ${type}`

// ---- tracing ----

interface Traced {
  readonly trace: StatementTrace
  readonly naming: Naming
}

function traceAll(policies: PolicySet, question: Question): Traced[] {
  const hasBoundary = policies.boundary !== undefined
  const typed: [PolicyType, readonly CompiledPolicy[]][] = [
    ['identity-based policy', policies.identity],
    ['permissions boundary', policies.boundary === undefined ? [] : [policies.boundary]],
    ['session policy', policies.session ?? []],
    [resourceType(policies), policies.resource === undefined ? [] : [policies.resource]],
  ]
  return typed.flatMap(([type, list]) =>
    list.flatMap((policy) =>
      policy.statements.map((statement) => traceStatement(type, policy, statement, question, hasBoundary)),
    ),
  )
}

const resourceType = (policies: PolicySet): PolicyType =>
  policies.resource?.kind === 'trust' ? 'role trust policy' : 'resource-based policy'

function traceStatement(
  policyType: PolicyType,
  policy: CompiledPolicy,
  statement: CompiledStatement,
  { action, arn, principal, lookup }: Question,
  hasBoundary: boolean,
): Traced {
  const naming = statement.names(principal, hasBoundary)
  const failed = statement.conditions.filter((condition) => !condition.holds(lookup))
  const outcome = !statement.matchesAction(action)
    ? 'action'
    : !statement.matchesResource(arn, lookup)
      ? 'resource'
      : naming === Naming.none
        ? 'principal'
        : failed.length > 0
          ? 'condition'
          : 'matched'
  const failedConditions = (outcome === 'condition' ? failed : []).map(({ source }) => ({
    operator: operatorText(source),
    key: source.key,
    expected: source.values,
    actual: lookup.valuesOf(source.key.toLowerCase()),
  }))
  const { sid, position } = statement.source
  const { index, effect } = statement
  return { naming, trace: { policyType, policy: policy.name, index, sid, position, effect, outcome, failedConditions } }
}

function matched(traced: readonly Traced[], effect: 'Allow' | 'Deny'): StatementTrace[] {
  return traced.map(({ trace }) => trace).filter((trace) => trace.outcome === 'matched' && trace.effect === effect)
}

/** The first type, in AWS's order, whose Allow would be needed and is not there. */
function missingType(traced: readonly Traced[], question: Question, policies: PolicySet): PolicyType {
  const strongest = (type: PolicyType): number =>
    Math.max(
      Naming.none,
      ...traced
        .filter(({ trace }) => trace.policyType === type && trace.outcome === 'matched')
        .map(({ naming }) => naming),
    )
  const isMissing = (type: PolicyType): boolean => strongest(type) === Naming.none
  const resource = strongest(resourceType(policies))
  if (hasNoIdentity(question.principal)) return resourceType(policies)
  if (question.principal.type !== 'root') {
    // A key's policy that lets nobody of the account in is the first thing to change.
    const needsResource = policies.resourcePolicyRequired === true && !isOtherAccount(question)
    if (needsResource && resource === Naming.none) return resourceType(policies)
    if (isMissing('identity-based policy') && !(resource === Naming.broad && !isOtherAccount(question))) {
      return 'identity-based policy'
    }
    if (policies.boundary !== undefined && isMissing('permissions boundary')) return 'permissions boundary'
    if (isLimited(policies) && isMissing('session policy')) return 'session policy'
  }
  return resourceType(policies)
}
