/**
 * A policy document as the evaluator sees it: the JSON of IAM's grammar with its one-or-many forms made uniform.
 * Made by `parsePolicy`, read by `compilePolicy`, the linter and whoever must know which principals a policy names.
 */

/** Where a policy stands decides what it may say: only resource and trust policies name principals. */
export type PolicyKind = 'identity' | 'resource' | 'trust' | 'session' | 'boundary'

/** Policy variables work from 2012-10-17 on; a document without a version is of 2008-10-17. */
export type PolicyVersion = '2008-10-17' | '2012-10-17'

export type Effect = 'Allow' | 'Deny'

export interface PolicyDocument {
  readonly kind: PolicyKind
  readonly version: PolicyVersion
  readonly id?: string
  readonly statements: readonly Statement[]
}

/** In the text of a policy, both from 1. */
export interface Position {
  readonly Line: number
  readonly Column: number
}

export interface Statement {
  /** `end` is behind its last character. */
  readonly position: { readonly start: Position; readonly end: Position }
  readonly sid?: string
  readonly effect: Effect
  readonly principal?: PrincipalElement
  readonly notPrincipal?: PrincipalElement
  readonly action?: readonly string[]
  readonly notAction?: readonly string[]
  readonly resource?: readonly string[]
  readonly notResource?: readonly string[]
  /** All must hold. */
  readonly conditions: readonly Condition[]
}

/** Canonical users are S3's alone, and S3 is not served: they are refused as invalid principals. */
export type PrincipalType = 'AWS' | 'Service' | 'Federated'
export type PrincipalElement = '*' | { readonly [type in PrincipalType]?: readonly string[] }

export interface Condition {
  readonly operator: ConditionOperator
  readonly qualifier?: 'ForAllValues' | 'ForAnyValue'
  readonly ifExists: boolean
  readonly key: string
  /** Any may match. */
  readonly values: readonly string[]
}

export const CONDITION_OPERATORS = [
  'StringEquals',
  'StringNotEquals',
  'StringEqualsIgnoreCase',
  'StringNotEqualsIgnoreCase',
  'StringLike',
  'StringNotLike',
  'NumericEquals',
  'NumericNotEquals',
  'NumericLessThan',
  'NumericLessThanEquals',
  'NumericGreaterThan',
  'NumericGreaterThanEquals',
  'DateEquals',
  'DateNotEquals',
  'DateLessThan',
  'DateLessThanEquals',
  'DateGreaterThan',
  'DateGreaterThanEquals',
  'Bool',
  'BinaryEquals',
  'IpAddress',
  'NotIpAddress',
  'ArnEquals',
  'ArnLike',
  'ArnNotEquals',
  'ArnNotLike',
  'Null',
] as const

export type ConditionOperator = (typeof CONDITION_OPERATORS)[number]

/** `ForAnyValue:StringLikeIfExists`, as the condition was written. */
export const operatorText = (condition: Condition): string =>
  `${condition.qualifier === undefined ? '' : `${condition.qualifier}:`}${condition.operator}${condition.ifExists ? 'IfExists' : ''}`
