/**
 * Condition operators as closures. The rules are those of IAM's "condition operators" and "multivalued keys" pages:
 *
 *   key missing:  IfExists → holds · ForAllValues → holds · ForAnyValue → fails · Null true → holds
 *                 otherwise a negated operator holds, any other fails
 *   many values:  ForAllValues every · ForAnyValue some · no qualifier: some match, or for a negated operator none matches
 *
 * A policy's value with a variable that has no value in the request is equal to and like nothing (IAM, "policy variables with
 * no value"): a negated operator holds against it, so that a Deny of whoever does not carry the owner's tag also means
 * whoever carries none.
 */
import { isWithin, parseAddress, parseAddressRange } from './address.ts'
import type { Condition, ConditionOperator } from './document.ts'
import { parseInstant } from './instant.ts'
import { parseNumber } from './number.ts'
import {
  arnOf,
  type CompiledPattern,
  compileArnPattern,
  compilePattern,
  fixedTo,
  type Lookup,
  type TextTest,
} from './pattern.ts'

export type ConditionTest = (lookup: Lookup) => boolean

export function compileCondition(condition: Condition, variables: boolean): ConditionTest {
  const key = condition.key.toLowerCase()
  if (condition.operator === 'Null') return nullTest(key, condition.values)
  const { isNegated, compile } = OPERATORS[condition.operator]
  const holds = holdsFor(condition, isNegated)
  const patterns = condition.values.map((value) => compile(value, variables))
  const fixed = patterns.map((pattern) => pattern.fixed).filter((test) => test !== undefined)
  if (fixed.length === patterns.length) {
    const test = anyOf(fixed)
    return (lookup) => holds(lookup.valuesOf(key), test)
  }
  return (lookup) => {
    const tests = patterns.map((pattern) => pattern.fixed ?? pattern.fill(lookup) ?? nothing)
    return holds(lookup.valuesOf(key), anyOf(tests))
  }
}

const nothing: TextTest = () => false

function nullTest(key: string, values: readonly string[]): ConditionTest {
  const wanted = values.map((value) => value.toLowerCase() === 'true')
  return (lookup) => wanted.includes(lookup.valuesOf(key) === undefined)
}

type Holds = (values: readonly string[] | undefined, test: TextTest) => boolean

function holdsFor({ qualifier, ifExists }: Condition, isNegated: boolean): Holds {
  if (qualifier === 'ForAllValues') {
    return (values, test) =>
      values === undefined || isNullSet(values) || values.every((value) => test(value) !== isNegated)
  }
  if (qualifier === 'ForAnyValue') {
    return (values, test) =>
      values === undefined ? ifExists : !isNullSet(values) && values.some((value) => test(value) !== isNegated)
  }
  const whenMissing = ifExists || isNegated
  return (values, test) => {
    if (values === undefined) return whenMissing
    return (values.length === 1 ? test(values[0] ?? '') : values.some(test)) !== isNegated
  }
}

/** IAM's "null data set, such as an empty string". */
const isNullSet = (values: readonly string[]): boolean => values.every((value) => value === '')

function anyOf(tests: readonly TextTest[]): TextTest {
  const [only, ...others] = tests
  if (only !== undefined && others.length === 0) return only
  return (text) => tests.some((test) => test(text))
}

// ---- operators ----

interface Operator {
  readonly isNegated: boolean
  /** The positive test for one value of the policy. */
  compile(value: string, variables: boolean): CompiledPattern
}

const text = (options: { wildcards: boolean; ignoreCase?: boolean }): Operator['compile'] => {
  return (value, variables) => compilePattern(value, { ...options, variables })
}

/** ArnEquals and ArnLike are one: both take wildcards, segment by segment. A text that is no ARN is like none, `*` included. */
const arn: Operator['compile'] = (value, variables) => {
  const pattern = compileArnPattern(value, variables)
  const ofText = (test: ReturnType<typeof pattern.fill>): TextTest | undefined =>
    test === undefined
      ? undefined
      : (candidate) => {
          const parsed = arnOf(candidate)
          return parsed.segments.length > 0 && test(parsed)
        }
  return { fixed: ofText(pattern.fixed), fill: (lookup) => ofText(pattern.fill(lookup)) }
}

function ordered(parse: (text: string) => number | undefined, compare: (actual: number, wanted: number) => boolean) {
  return (value: string): CompiledPattern => {
    const wanted = parse(value)
    return fixedTo((candidate) => {
      const actual = parse(candidate)
      return actual !== undefined && wanted !== undefined && compare(actual, wanted)
    })
  }
}

/** Ten policies ask about one address or one moment: reading it once is two thirds of the time of such a condition. */
function rememberingLast<T>(parse: (text: string) => T): (text: string) => T {
  let last: { text: string; value: T } | undefined
  return (text) => {
    if (last?.text !== text) last = { text, value: parse(text) }
    return last.value
  }
}

const instantOf = rememberingLast(parseInstant)
const addressOf = rememberingLast(parseAddress)

const numeric = (compare: (actual: number, wanted: number) => boolean) => ordered(parseNumber, compare)
const date = (compare: (actual: number, wanted: number) => boolean) => ordered(instantOf, compare)
const equal = (actual: number, wanted: number): boolean => actual === wanted
const less = (actual: number, wanted: number): boolean => actual < wanted
const lessOrEqual = (actual: number, wanted: number): boolean => actual <= wanted
const greater = (actual: number, wanted: number): boolean => actual > wanted
const greaterOrEqual = (actual: number, wanted: number): boolean => actual >= wanted

const truth: Operator['compile'] = (value) => {
  const wanted = value.toLowerCase()
  return fixedTo((candidate) => candidate.toLowerCase() === wanted)
}

const binary: Operator['compile'] = (value) => {
  const wanted = Buffer.from(value, 'base64')
  return fixedTo((candidate) => wanted.equals(Buffer.from(candidate, 'base64')))
}

const address: Operator['compile'] = (value) => {
  const range = parseAddressRange(value)
  return fixedTo((candidate) => {
    const actual = addressOf(candidate)
    return actual !== undefined && range !== undefined && isWithin(actual, range)
  })
}

const is = (compile: Operator['compile']): Operator => ({ isNegated: false, compile })
const not = (compile: Operator['compile']): Operator => ({ isNegated: true, compile })

const OPERATORS: Record<Exclude<ConditionOperator, 'Null'>, Operator> = {
  StringEquals: is(text({ wildcards: false })),
  StringNotEquals: not(text({ wildcards: false })),
  StringEqualsIgnoreCase: is(text({ wildcards: false, ignoreCase: true })),
  StringNotEqualsIgnoreCase: not(text({ wildcards: false, ignoreCase: true })),
  StringLike: is(text({ wildcards: true })),
  StringNotLike: not(text({ wildcards: true })),
  NumericEquals: is(numeric(equal)),
  NumericNotEquals: not(numeric(equal)),
  NumericLessThan: is(numeric(less)),
  NumericLessThanEquals: is(numeric(lessOrEqual)),
  NumericGreaterThan: is(numeric(greater)),
  NumericGreaterThanEquals: is(numeric(greaterOrEqual)),
  DateEquals: is(date(equal)),
  DateNotEquals: not(date(equal)),
  DateLessThan: is(date(less)),
  DateLessThanEquals: is(date(lessOrEqual)),
  DateGreaterThan: is(date(greater)),
  DateGreaterThanEquals: is(date(greaterOrEqual)),
  Bool: is(truth),
  BinaryEquals: is(binary),
  IpAddress: is(address),
  NotIpAddress: not(address),
  ArnEquals: is(arn),
  ArnLike: is(arn),
  ArnNotEquals: not(arn),
  ArnNotLike: not(arn),
}
