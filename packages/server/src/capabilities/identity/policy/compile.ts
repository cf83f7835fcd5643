/**
 * A policy document made ready to be asked: every statement becomes closures, and which statements concern an action is
 * found out once per action: a principal calls few of them, many times over.
 * Compile once per policy version and keep the result; it may be shared by any number of requests.
 */
import { type ConditionTest, compileCondition } from './condition.ts'
import type { Condition, Effect, PolicyDocument, PolicyKind, Statement } from './document.ts'
import { type Arn, type ArnTest, type Compiled, compileArnPattern, compilePattern, type Lookup } from './pattern.ts'
import { compileNotPrincipal, compilePrincipal, Naming, type PrincipalTest } from './principal.ts'

export interface CompiledPolicy {
  readonly kind: PolicyKind
  /** The policy's ARN or name, as explanations show it. */
  readonly name: string | undefined
  readonly document: PolicyDocument
  /** In the document's order. */
  readonly statements: readonly CompiledStatement[]
  /** The statements whose Action or NotAction matches `action`, which is in lower case. */
  readonly concerning: (action: string) => readonly CompiledStatement[]
}

export interface CompiledStatement {
  readonly effect: Effect
  /** From 0, in the document. */
  readonly index: number
  readonly source: Statement
  /** `action` in lower case. */
  readonly matchesAction: (action: string) => boolean
  readonly matchesResource: (arn: Arn, lookup: Lookup) => boolean
  readonly names: PrincipalTest
  readonly conditions: readonly CompiledCondition[]
}

export interface CompiledCondition {
  readonly source: Condition
  readonly holds: ConditionTest
}

/** `name` is the policy's ARN or name, for explanations. */
export function compilePolicy(document: PolicyDocument, name?: string): CompiledPolicy {
  const statements = document.statements.map((statement, index) => compileStatement(document, statement, index))
  const concerning = remembering((action) => statements.filter((statement) => statement.matchesAction(action)))
  return { kind: document.kind, name, document, statements, concerning }
}

/** One policy of the statements of two. */
export function joinPolicies(one: CompiledPolicy, other: CompiledPolicy): CompiledPolicy {
  const statements = [...one.statements, ...other.statements]
  return { ...one, statements, concerning: (action) => [...one.concerning(action), ...other.concerning(action)] }
}

/** AWS's API has some 16,000 actions, an installation's callers use tens; the bound is for those who make names up. */
const MAX_INDEXED_ACTIONS = 256

/** What `find` finds for an action, kept. */
function remembering(find: CompiledPolicy['concerning']): CompiledPolicy['concerning'] {
  const index = new Map<string, readonly CompiledStatement[]>()
  return (action) => {
    const known = index.get(action)
    if (known !== undefined) return known
    if (index.size >= MAX_INDEXED_ACTIONS) index.clear()
    const found = find(action)
    index.set(action, found)
    return found
  }
}

const indexes = new WeakMap<readonly CompiledPolicy[], CompiledPolicy['concerning']>()

/**
 * The statements of all these policies that concern an action, those that deny first: one of them decides alone. They are
 * found once for a list, so whoever asks time and again hands in the same one.
 */
export function concerning(policies: readonly CompiledPolicy[], action: string): readonly CompiledStatement[] {
  const known = indexes.get(policies)
  if (known !== undefined) return known(action)
  const made = remembering((each) =>
    policies.flatMap((policy) => policy.concerning(each)).sort((one, other) => rank(one) - rank(other)),
  )
  indexes.set(policies, made)
  return made(action)
}

const rank = ({ effect }: CompiledStatement): number => (effect === 'Deny' ? 0 : 1)

function compileStatement(document: PolicyDocument, source: Statement, index: number): CompiledStatement {
  const variables = document.version === '2012-10-17'
  return {
    effect: source.effect,
    index,
    source,
    matchesAction: compileActions(source),
    matchesResource: compileResources(document.kind, source, variables),
    names: compileNames(source),
    conditions: source.conditions.map((each) => ({ source: each, holds: compileCondition(each, variables) })),
  }
}

function compileActions(statement: Statement): CompiledStatement['matchesAction'] {
  const listed = (statement.action ?? statement.notAction ?? []).map((action) => action.toLowerCase())
  const exact = new Set(listed.filter((action) => !/[*?]/.test(action)))
  const tests = listed
    .filter((action) => /[*?]/.test(action))
    .map((action) => compilePattern(action === '*:*' ? '*' : action, { wildcards: true, variables: false }).fixed)
    .filter((test) => test !== undefined)
  const isListed = (action: string): boolean => exact.has(action) || tests.some((test) => test(action))
  return statement.notAction === undefined ? isListed : (action) => !isListed(action)
}

function compileResources(
  kind: PolicyKind,
  statement: Statement,
  variables: boolean,
): CompiledStatement['matchesResource'] {
  const listed = statement.resource ?? statement.notResource
  // A trust policy is about its role, whatever its ARN; a resource policy's statement without Resource is about nothing.
  if (listed === undefined) return () => kind === 'trust'
  const patterns = listed.map((resource) => compileArnPattern(resource, variables))
  return statement.notResource === undefined ? matchesSome(patterns) : matchesNone(patterns)
}

/** A pattern whose variable has no value in the request matches nothing. */
function matchesSome(patterns: readonly Compiled<ArnTest>[]): CompiledStatement['matchesResource'] {
  return (arn, lookup) => {
    for (const pattern of patterns) {
      const test = pattern.fixed ?? pattern.fill(lookup)
      if (test?.(arn)) return true
    }
    return false
  }
}

/**
 * As AWS has it, a pattern whose variable has no value in the request matches no resource here either, so that NotResource
 * means them all: a Deny of what is not one's own is a Deny of everything for whoever has nothing. An Allow wants a default.
 */
function matchesNone(patterns: readonly Compiled<ArnTest>[]): CompiledStatement['matchesResource'] {
  const isSome = matchesSome(patterns)
  return (arn, lookup) => !isSome(arn, lookup)
}

function compileNames(statement: Statement): PrincipalTest {
  if (statement.principal !== undefined) return compilePrincipal(statement.principal)
  if (statement.notPrincipal !== undefined) return compileNotPrincipal(statement.notPrincipal)
  return () => Naming.direct
}
