/**
 * Policy text to `PolicyDocument`, by IAM's grammar. What IAM refuses is refused here, in its order and its words, so that
 * a client sees the message it knows; what is accepted can be compiled without another check.
 * Sizes are the caller's: they differ by kind of policy and entity.
 */
import { isAddressRange } from './address.ts'
import type {
  Condition,
  PolicyDocument,
  PolicyKind,
  PolicyVersion,
  Position,
  PrincipalElement,
  Statement,
} from './document.ts'
import { CONDITION_OPERATORS } from './document.ts'
import { parseInstant } from './instant.ts'
import { parseNumber } from './number.ts'
import { type Json, parseStrictJson, type Span } from './strict-json.ts'

/** What IAM answers with for a policy it refuses; `message` is the error's message. */
export interface MalformedPolicy {
  readonly code: 'MalformedPolicyDocument'
  readonly message: string
}

export const isMalformed = (parsed: PolicyDocument | MalformedPolicy): parsed is MalformedPolicy => 'code' in parsed

/** The policy in `text` as one of `kind`, or MalformedPolicyDocument with IAM's message. */
export function parsePolicy(text: string, kind: PolicyKind): PolicyDocument | MalformedPolicy {
  try {
    const spans = new WeakMap<object, Span>()
    const json = parseStrictJson(text, spans)
    if (!(json instanceof Map)) refuse(kind === 'trust' ? 'This policy contains invalid Json' : SYNTAX)
    const document = readDocument(json, kind, (statement) => positionOf(text, spans.get(statement)))
    checkSids(document)
    checkActions(document)
    checkResources(document)
    checkPrincipals(document)
    return document
  } catch (error) {
    if (error instanceof Refusal) return { code: 'MalformedPolicyDocument', message: error.message }
    throw error
  }
}

const SYNTAX = 'Syntax errors in policy.'
const LEGACY = 'The policy failed legacy parsing'

class Refusal extends Error {}

function refuse(message: string): never {
  throw new Refusal(message)
}

// ---- grammar ----

const DOCUMENT_ELEMENTS = ['Version', 'Id', 'Statement']
const STATEMENT_ELEMENTS = [
  'Sid',
  'Effect',
  'Principal',
  'NotPrincipal',
  'Action',
  'NotAction',
  'Resource',
  'NotResource',
  'Condition',
]

function readDocument(
  json: Map<string, Json>,
  kind: PolicyKind,
  place: (statement: object) => Statement['position'],
): PolicyDocument {
  onlyKnown(json, DOCUMENT_ELEMENTS, kind)
  const statement = json.get('Statement')
  const list = Array.isArray(statement) ? statement : [statement]
  if (list.length === 0) refuse(SYNTAX)
  return {
    kind,
    version: readVersion(json.get('Version')),
    id: optionalText(json.get('Id')),
    statements: list.map((each) =>
      each instanceof Map ? { ...readStatement(each, kind), position: place(each) } : refuse(SYNTAX),
    ),
  }
}

function positionOf(text: string, span: Span = { start: 0, end: 0 }): Statement['position'] {
  return { start: lineAndColumn(text, span.start), end: lineAndColumn(text, span.end) }
}

function lineAndColumn(text: string, at: number): Position {
  const before = text.slice(0, at)
  return { Line: before.split('\n').length, Column: at - before.lastIndexOf('\n') }
}

function readVersion(json: Json | undefined): PolicyVersion {
  if (json === undefined) return '2008-10-17'
  return json === '2008-10-17' || json === '2012-10-17' ? json : refuse(SYNTAX)
}

function readStatement(json: Map<string, Json>, kind: PolicyKind): Omit<Statement, 'position'> {
  onlyKnown(json, STATEMENT_ELEMENTS, kind)
  exclusive(json, 'Principal', 'NotPrincipal')
  exclusive(json, 'Action', 'NotAction')
  exclusive(json, 'Resource', 'NotResource')
  return {
    sid: optionalText(json.get('Sid')),
    effect: readEffect(json.get('Effect')),
    principal: readPrincipal(json.get('Principal')),
    notPrincipal: readPrincipal(json.get('NotPrincipal')),
    action: readTexts(json.get('Action')),
    notAction: readTexts(json.get('NotAction')),
    resource: readTexts(json.get('Resource')),
    notResource: readTexts(json.get('NotResource')),
    conditions: readConditions(json.get('Condition')),
  }
}

function readEffect(json: Json | undefined): 'Allow' | 'Deny' {
  if (json === 'Allow' || json === 'Deny') return json
  return refuse(typeof json === 'string' && /^(allow|deny)$/i.test(json) ? LEGACY : SYNTAX)
}

const PRINCIPAL_TYPES = ['AWS', 'Service', 'Federated'] as const

function readPrincipal(json: Json | undefined): PrincipalElement | undefined {
  if (json === undefined || json === '*') return json
  if (!(json instanceof Map)) refuse(SYNTAX)
  onlyKnown(json, PRINCIPAL_TYPES)
  const named = PRINCIPAL_TYPES.filter((type) => json.has(type)).map((type) => [type, readTexts(json.get(type)) ?? []])
  return Object.fromEntries(named)
}

function readConditions(json: Json | undefined): Condition[] {
  if (json === undefined) return []
  if (!(json instanceof Map)) refuse(SYNTAX)
  return [...json].flatMap(([operator, keys]) => {
    if (!(keys instanceof Map)) refuse(SYNTAX)
    return [...keys].map(([key, values]) => readCondition(operator, key, values))
  })
}

const OPERATOR_TEXT = /^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/

function readCondition(text: string, key: string, json: Json): Condition {
  const [, qualifier, name, ifExists] = OPERATOR_TEXT.exec(text) ?? []
  const operator = CONDITION_OPERATORS.find((known) => known === name)
  if (operator === undefined || key === '') refuse(SYNTAX)
  // A key is there or it is not: IAM knows neither NullIfExists nor a Null over sets.
  if (operator === 'Null' && (ifExists !== undefined || qualifier !== undefined)) refuse(SYNTAX)
  const values = (Array.isArray(json) ? json : [json]).map(readConditionValue)
  if (values.length === 0) refuse(SYNTAX)
  if (!values.every((value) => isLiteralOf(operator, value))) refuse(LEGACY)
  return {
    operator,
    qualifier: qualifier === 'ForAllValues' || qualifier === 'ForAnyValue' ? qualifier : undefined,
    ifExists: ifExists !== undefined,
    key,
    values,
  }
}

function readConditionValue(json: Json): string {
  if (typeof json === 'string') return json
  if (typeof json === 'boolean') return String(json)
  if (json !== null && typeof json === 'object' && 'digits' in json) return json.digits
  return refuse(SYNTAX)
}

/** Policy variables stand only in text and ARN values; every other value must be readable now. */
function isLiteralOf(operator: Condition['operator'], value: string): boolean {
  if (operator.startsWith('Numeric')) return parseNumber(value) !== undefined
  if (operator.startsWith('Date')) return parseInstant(value) !== undefined
  if (operator === 'Bool' || operator === 'Null') return /^(true|false)$/i.test(value)
  if (operator === 'IpAddress' || operator === 'NotIpAddress') return isAddressRange(value)
  if (operator === 'BinaryEquals') return /^[A-Za-z0-9+/]*={0,2}$/.test(value)
  return true
}

function readTexts(json: Json | undefined): string[] | undefined {
  if (json === undefined) return undefined
  return (Array.isArray(json) ? json : [json]).map((each) => (typeof each === 'string' ? each : refuse(SYNTAX)))
}

function optionalText(json: Json | undefined): string | undefined {
  return json === undefined || typeof json === 'string' ? json : refuse(SYNTAX)
}

function onlyKnown(json: Map<string, Json>, known: readonly string[], kind?: PolicyKind): void {
  for (const element of json.keys()) {
    if (!known.includes(element)) refuse(kind === 'trust' ? `Unknown field ${element}` : SYNTAX)
  }
}

function exclusive(json: Map<string, Json>, one: string, other: string): void {
  if (json.has(one) && json.has(other)) refuse(SYNTAX)
}

// ---- what the grammar alone does not say ----

function checkSids(document: PolicyDocument): void {
  const sids = document.statements.map((statement) => statement.sid).filter((sid) => sid !== undefined && sid !== '')
  if (new Set(sids).size < sids.length) refuse('Statement IDs (SID) in a single policy must be unique.')
  // Resource policies of other services carry sentences here: a key policy's first Sid is "Enable IAM User Permissions".
  if (document.kind !== 'resource' && sids.some((sid) => !/^[0-9A-Za-z]*$/.test(sid ?? ''))) {
    refuse(
      'Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*',
    )
  }
}

function checkActions(document: PolicyDocument): void {
  for (const statement of document.statements) {
    const actions = statement.action ?? statement.notAction ?? []
    if (actions.length === 0) refuse('Policy statement must contain actions.')
    for (const action of actions) checkAction(action)
    const foreign = statement.notAction !== undefined || actions.some((action) => !/^sts:/i.test(action))
    if (document.kind === 'trust' && foreign) refuse('AssumeRole policy may only specify STS AssumeRole actions.')
  }
}

function checkAction(action: string): void {
  const [vendor = '', ...rest] = action.split(':')
  if (action === '*') return
  if (rest.length === 0) refuse('Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.')
  if (rest.length > 1) refuse('Actions/Condition can contain only one colon.')
  if (vendor !== '*' && !/^[a-zA-Z0-9\-.]+$/.test(vendor)) refuse(`Vendor ${vendor} is not valid`)
}

function checkResources(document: PolicyDocument): void {
  for (const statement of document.statements) {
    const resources = statement.resource ?? statement.notResource
    if (document.kind === 'trust') {
      if (resources !== undefined) refuse('Has prohibited field Resource')
      continue
    }
    // A resource policy's statement without Resource is accepted and has no effect, as KMS documents it.
    if (document.kind === 'resource' && resources === undefined) continue
    if (resources === undefined || resources.length === 0) refuse('Policy statement must contain resources.')
    for (const resource of resources) checkResource(resource)
  }
}

const PARTITION = /^(\*|aws(-[a-z]+)*)$/
const SERVICES_WITHOUT_REGION: Record<string, (resource: string) => string> = {
  iam: (resource) => `IAM resource ${resource} cannot contain region information.`,
  s3: (resource) => `Resource ${resource} can not contain region information.`,
}
const IAM_PATHS = [
  'user/',
  'federated-user/',
  'role/',
  'group/',
  'instance-profile/',
  'mfa/',
  'server-certificate/',
  'policy/',
  'sms-mfa/',
  'saml-provider/',
  'oidc-provider/',
  'report/',
  'access-report/',
]

function checkResource(resource: string): void {
  if (resource === '*') return
  const [prefix, partition = '', vendor, region, account, ...path] = resource.split(':')
  if (prefix !== 'arn') refuse(`Resource ${resource} must be in ARN format or "*".`)
  if (!PARTITION.test(partition)) {
    const told = [vendor, region, account, path.length > 0 ? path.join(':') : undefined].map((part) => part ?? '*')
    refuse(`Partition "${partition}" is not valid for resource "arn:${partition}:${told.join(':')}".`)
  }
  if (vendor === undefined || /[^a-zA-Z0-9-]/.test(vendor)) {
    refuse('Resource vendor must be fully qualified and cannot contain regexes.')
  }
  if (vendor === '' || (resource.includes('::') && account === undefined)) refuse(LEGACY)
  const regionFault = SERVICES_WITHOUT_REGION[vendor]
  if (regionFault !== undefined && region !== undefined && !['', '*'].includes(region)) refuse(regionFault(resource))
  const first = path.join(':')
  if (vendor === 'iam' && path.length > 0 && first !== '*' && !IAM_PATHS.some((start) => first.startsWith(start))) {
    refuse(`IAM resource path must either be "*" or start with ${IAM_PATHS.join(', ')}.`)
  }
}

function checkPrincipals(document: PolicyDocument): void {
  for (const { effect, principal, notPrincipal } of document.statements) {
    const named = principal ?? notPrincipal
    if (document.kind !== 'resource' && document.kind !== 'trust') {
      if (named !== undefined) refuse('Policy document should not specify a principal.')
      continue
    }
    if (named === undefined) refuse('Missing required field Principal')
    // IAM documents NotPrincipal for Deny in resource policies only: with Allow it would let in everybody else.
    if (notPrincipal !== undefined && (document.kind === 'trust' || effect === 'Allow')) {
      refuse('Has prohibited field NotPrincipal')
    }
    checkPrincipal(named)
  }
}

const PRINCIPAL_FORMS: Record<string, RegExp> = {
  AWS: /^(\*|\d{12}|arn:aws[a-z-]*:iam::\d{12}:(root|(user|role)\/[^*?$]+)|arn:aws[a-z-]*:sts::\d{12}:(assumed-role\/[^*?$/]+\/[^*?$/]+|federated-user\/[^*?$]+))$/,
  Service: /^[a-z0-9-]+(\.[a-z0-9-]+)+$/,
  Federated: /^[^*?$]+$/,
}

function checkPrincipal(element: PrincipalElement): void {
  if (element === '*') return
  const named = Object.entries(element)
  if (named.length === 0 || named.some(([, values]) => values.length === 0)) {
    refuse('Missing required field Principal cannot be empty!')
  }
  for (const [type, values] of named) {
    const bad = values.find((value) => !PRINCIPAL_FORMS[type]?.test(value))
    if (bad !== undefined) refuse(`Invalid principal in policy: "${type}":"${bad}"`)
  }
}
