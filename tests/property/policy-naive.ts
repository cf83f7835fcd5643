/**
 * A second policy evaluator, written from IAM's documentation alone and sharing no line with the first: it reads the JSON
 * anew for each request, turns wildcards into regular expressions and follows the documentation page by page.
 * Slow and plain, so that a person can check it against the documentation; `policy-laws.test.ts` holds the two together.
 */

export interface NaiveStatement {
  Sid?: string
  Effect: string
  Principal?: string | Record<string, string | string[]>
  NotPrincipal?: string | Record<string, string | string[]>
  Action?: string | string[]
  NotAction?: string | string[]
  Resource?: string | string[]
  NotResource?: string | string[]
  Condition?: Record<string, Record<string, string | string[]>>
}
export interface NaivePolicy {
  Version?: string
  Statement: NaiveStatement[]
}

export interface NaiveCaller {
  type: 'root' | 'user' | 'role' | 'federatedUser' | 'service' | 'webIdentity' | 'anonymous'
  account?: string
  arn?: string
  roleArn?: string
  userArn?: string
  service?: string
  provider?: string
}

export interface NaiveRequest {
  caller: NaiveCaller
  action: string
  resource: string
  keys: Record<string, string[]>
}

export interface NaivePolicies {
  identity: NaivePolicy[]
  resource?: NaivePolicy
  session?: NaivePolicy[]
  boundary?: NaivePolicy
  resourcePolicyRequired?: boolean
}

// ---- "Determining whether a request is allowed or denied within an account" and "across accounts" ----

export function naiveDecision(
  request: NaiveRequest,
  policies: NaivePolicies,
): 'allow' | 'explicitDeny' | 'implicitDeny' {
  const boundary = policies.boundary ? [policies.boundary] : []
  const session = policies.session ?? []
  const resource = policies.resource ? [policies.resource] : []

  for (const policy of [...policies.identity, ...boundary, ...session, ...resource]) {
    for (const statement of policy.Statement) {
      if (statement.Effect !== 'Deny') continue
      if (
        statementApplies(statement, policy, request) &&
        principalIsMeant(statement, request.caller, boundary.length > 0)
      ) {
        return 'explicitDeny'
      }
    }
  }

  const allows = (list: NaivePolicy[]) =>
    list.some((policy) =>
      policy.Statement.some((one) => one.Effect === 'Allow' && statementApplies(one, policy, request)),
    )
  const grants = resource.flatMap((policy) =>
    policy.Statement.filter((one) => one.Effect === 'Allow' && statementApplies(one, policy, request)).flatMap((one) =>
      waysOfNaming(one.Principal, request.caller),
    ),
  )

  const caller = request.caller
  if (caller.type === 'service' || caller.type === 'webIdentity' || caller.type === 'anonymous') {
    return grants.length > 0 ? 'allow' : 'implicitDeny'
  }

  const isRoot = caller.type === 'root'
  const identityAllows = isRoot || allows(policies.identity)
  const boundaryAllows = isRoot || boundary.length === 0 || allows(boundary)
  const sessionAllows = isRoot || session.length === 0 || allows(session)

  const owner = /^arn:[^:]*:[^:]*:[^:]*:(\d{12}):/.exec(request.resource)?.[1] ?? caller.account
  if (owner !== caller.account) {
    return identityAllows && boundaryAllows && sessionAllows && grants.length > 0 ? 'allow' : 'implicitDeny'
  }
  // A grant to the caller's own ARN is limited by nothing.
  if (grants.includes('own ARN')) return 'allow'
  // A grant to the role, to the federating user or to everybody is limited by the boundary and the session.
  if ((grants.includes('role') || grants.includes('everybody')) && boundaryAllows && sessionAllows) return 'allow'
  if (policies.resourcePolicyRequired && grants.length === 0) return 'implicitDeny'
  return identityAllows && boundaryAllows && sessionAllows ? 'allow' : 'implicitDeny'
}

// ---- "IAM JSON policy elements reference" ----

function statementApplies(statement: NaiveStatement, policy: NaivePolicy, request: NaiveRequest): boolean {
  const modern = policy.Version === '2012-10-17'
  if (statement.Action !== undefined && !many(statement.Action).some((one) => actionMatches(one, request.action)))
    return false
  if (statement.NotAction !== undefined && many(statement.NotAction).some((one) => actionMatches(one, request.action)))
    return false
  if (statement.Resource !== undefined) {
    const found = many(statement.Resource).some((one) => resourceMatches(one, request, modern) === true)
    if (!found) return false
  }
  if (statement.NotResource !== undefined) {
    const answers = many(statement.NotResource).map((one) => resourceMatches(one, request, modern))
    if (answers.includes(true)) return false
  }
  for (const [operator, block] of Object.entries(statement.Condition ?? {})) {
    for (const [key, values] of Object.entries(block)) {
      if (!conditionHolds(operator, key, many(values), request, modern)) return false
    }
  }
  return true
}

function many(value: string | string[]): string[] {
  return typeof value === 'string' ? [value] : value
}

function actionMatches(pattern: string, action: string): boolean {
  return new RegExp(`^${wild(pattern.toLowerCase())}$`, 's').test(action.toLowerCase())
}

function resourceMatches(pattern: string, request: NaiveRequest, modern: boolean): boolean | 'unknown variable' {
  if (pattern === '*') return true
  return arnMatches(pattern, request.resource, request, modern)
}

/** Five segments one by one, the rest as one; a pattern that ends early in a star takes what is left. */
function arnMatches(
  pattern: string,
  arn: string,
  request: NaiveRequest,
  modern: boolean,
): boolean | 'unknown variable' {
  const protectedText = modern ? pattern.replace(/\$\{[^}]*\}/g, (found) => found.replaceAll(':', '\u0001')) : pattern
  const wanted = cut(protectedText).map((part) => part.replaceAll('\u0001', ':'))
  const expressions = wanted.map((part) => expression(part, request, modern))
  if (expressions.includes(undefined)) return 'unknown variable'
  const actual = cut(arn)
  if (actual.length < 6 || actual[0] !== 'arn') return false
  if (wanted.length < 6) {
    if (!wanted[wanted.length - 1]?.endsWith('*') || /\$\{\*\}$/.test(wanted[wanted.length - 1] ?? '')) return false
    actual.push(actual.splice(wanted.length - 1).join(':'))
  }
  return expressions.every((one, index) => new RegExp(`^${one}$`, 's').test(actual[index] ?? ''))
}

function cut(text: string): string[] {
  const parts = text.split(':')
  return parts.length <= 6 ? parts : [...parts.slice(0, 5), parts.slice(5).join(':')]
}

/** A regular expression's source for text with wildcards and variables; undefined where a variable has no value. */
function expression(text: string, request: NaiveRequest, modern: boolean): string | undefined {
  if (!modern) return wild(text)
  let source = ''
  for (const piece of text.split(/(\$\{[^}]*\})/)) {
    if (/^\$\{.*\}$/.test(piece)) {
      const value = variable(piece, request)
      if (value === undefined) return undefined
      source += literal(value)
    } else source += wild(piece)
  }
  return source
}

function variable(piece: string, request: NaiveRequest): string | undefined {
  const inner = piece.slice(2, -1)
  if (inner === '*' || inner === '?' || inner === '$') return inner
  const [name = '', fallback] = inner.split(/\s*,\s*/)
  const values = keyValues(name, request)
  if (values === undefined) return fallback?.replace(/^'|'$/g, '')
  return values.length === 1 ? values[0] : undefined
}

function wild(text: string): string {
  return [...text].map((each) => (each === '*' ? '.*' : each === '?' ? '.' : literal(each))).join('')
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
}

function keyValues(name: string, request: NaiveRequest): string[] | undefined {
  const found = Object.keys(request.keys).find((key) => key.toLowerCase() === name.trim().toLowerCase())
  const values = found === undefined ? undefined : request.keys[found]
  return values === undefined || values.length === 0 ? undefined : values
}

// ---- "Condition operators", "Multivalued context keys" ----

function conditionHolds(
  written: string,
  key: string,
  wanted: string[],
  request: NaiveRequest,
  modern: boolean,
): boolean {
  const set = /^(ForAllValues|ForAnyValue):/.exec(written)?.[1]
  const operator = written.replace(/^For(All|Any)Values?:/, '').replace(/IfExists$/, '')
  const ifExists = written.endsWith('IfExists')
  const actual = keyValues(key, request)

  if (operator === 'Null') return wanted.some((value) => (value === 'true') === (actual === undefined))

  const negative = operator.includes('Not')
  const positive = operator.replace('Not', '')

  let candidates = wanted
  if (modern && /^(String|Arn)/.test(operator)) {
    // "Policy variables with no value": nothing is equal to them or like them.
    candidates = wanted.filter((value) => expression(value, request, true) !== undefined)
  }
  const matchesSome = (value: string) =>
    candidates.some((candidate) => compare(positive, value, candidate, request, modern))

  if (actual === undefined) {
    if (ifExists) return true
    if (set === 'ForAllValues') return true
    if (set === 'ForAnyValue') return false
    return negative
  }
  if (set !== undefined && actual.join('') === '') return set === 'ForAllValues'
  if (set === 'ForAllValues') return negative ? !actual.some(matchesSome) : actual.every(matchesSome)
  if (set === 'ForAnyValue') return negative ? !actual.every(matchesSome) : actual.some(matchesSome)
  return negative ? !actual.some(matchesSome) : actual.some(matchesSome)
}

function compare(operator: string, actual: string, wanted: string, request: NaiveRequest, modern: boolean): boolean {
  switch (operator) {
    case 'StringEquals':
      return actual === exact(wanted, request, modern)
    case 'StringEqualsIgnoreCase':
      return actual.toLowerCase() === exact(wanted, request, modern)?.toLowerCase()
    case 'StringLike':
      return new RegExp(`^${expression(wanted, request, modern)}$`, 's').test(actual)
    case 'ArnEquals':
    case 'ArnLike':
      if (wanted === '*') return cut(actual).length === 6 && actual.startsWith('arn:')
      return arnMatches(wanted, actual, request, modern) === true
    case 'NumericEquals':
      return Number(actual) === Number(wanted)
    case 'NumericLessThan':
      return Number(actual) < Number(wanted)
    case 'NumericLessThanEquals':
      return Number(actual) <= Number(wanted)
    case 'NumericGreaterThan':
      return Number(actual) > Number(wanted)
    case 'NumericGreaterThanEquals':
      return Number(actual) >= Number(wanted)
    case 'DateEquals':
      return moment(actual) === moment(wanted)
    case 'DateLessThan':
      return moment(actual) < moment(wanted)
    case 'DateLessThanEquals':
      return moment(actual) <= moment(wanted)
    case 'DateGreaterThan':
      return moment(actual) > moment(wanted)
    case 'DateGreaterThanEquals':
      return moment(actual) >= moment(wanted)
    case 'Bool':
      return actual.toLowerCase() === wanted.toLowerCase()
    case 'BinaryEquals':
      return atob(actual) === atob(wanted)
    case 'IpAddress':
      return inRange(actual, wanted)
    default:
      throw new Error(`no such operator: ${operator}`)
  }
}

function exact(text: string, request: NaiveRequest, modern: boolean): string | undefined {
  if (!modern) return text
  return text.replace(/\$\{[^}]*\}/g, (piece) => variable(piece, request) ?? '')
}

function moment(text: string): number {
  return /^\d{5,}$/.test(text) ? Number(text) * 1000 : Date.parse(text)
}

/** IPv4 and IPv6 as strings of bits. */
function inRange(address: string, range: string): boolean {
  const [base = '', length] = range.split('/')
  const one = bits(address)
  const other = bits(base)
  if (one === undefined || other === undefined || one.length !== other.length) return false
  const prefix = length === undefined ? other.length : Number(length)
  return one.slice(0, prefix) === other.slice(0, prefix)
}

function bits(address: string): string | undefined {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(address)) {
    return address
      .split('.')
      .map((octet) => Number(octet).toString(2).padStart(8, '0'))
      .join('')
  }
  if (!address.includes(':')) return undefined
  const [head = '', tail] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0')).join('')
}

// ---- "Principal", "NotPrincipal" ----

function principalIsMeant(statement: NaiveStatement, caller: NaiveCaller, hasBoundary: boolean): boolean {
  if (statement.NotPrincipal !== undefined) {
    if (hasBoundary) return true
    const listed = listedPrincipals(statement.NotPrincipal)
    if (listed.AWS.includes('*')) return false
    return !waysOfNaming(statement.NotPrincipal, caller).includes('own ARN')
  }
  if (statement.Principal !== undefined) return waysOfNaming(statement.Principal, caller).length > 0
  return true
}

type Way = 'own ARN' | 'role' | 'everybody' | 'account'

function waysOfNaming(element: NaiveStatement['Principal'], caller: NaiveCaller): Way[] {
  const { AWS, Service, Federated } = listedPrincipals(element)
  const ways: Way[] = []
  if (AWS.includes('*')) ways.push('everybody')
  if (caller.type === 'service' && Service.includes(caller.service ?? '')) ways.push('own ARN')
  if (caller.type === 'webIdentity' && Federated.includes(caller.provider ?? '')) ways.push('own ARN')
  if (caller.arn !== undefined && AWS.includes(caller.arn)) ways.push('own ARN')
  if (caller.type === 'role' && AWS.includes(caller.roleArn ?? '')) ways.push('role')
  if (caller.type === 'federatedUser' && AWS.includes(caller.userArn ?? '')) ways.push('role')
  if (
    caller.account !== undefined &&
    (AWS.includes(caller.account) || AWS.includes(`arn:aws:iam::${caller.account}:root`))
  ) {
    ways.push(caller.type === 'root' ? 'own ARN' : 'account')
  }
  return ways
}

function listedPrincipals(element: NaiveStatement['Principal']): {
  AWS: string[]
  Service: string[]
  Federated: string[]
} {
  if (element === undefined) return { AWS: [], Service: [], Federated: [] }
  if (typeof element === 'string') return { AWS: [element], Service: [], Federated: [] }
  return {
    AWS: many(element.AWS ?? []),
    Service: many(element.Service ?? []),
    Federated: many(element.Federated ?? []),
  }
}
