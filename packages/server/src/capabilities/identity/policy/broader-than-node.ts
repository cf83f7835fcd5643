/**
 * The linter for node roles: names each grant that reaches beyond the node that holds the credentials.
 * A node's own plane (registering, its channels, its associations, inventory and compliance) is bound to the node by the
 * service itself, whatever the resource. Anything else must be bound by the policy: a resource or a condition with
 * `${ssm:NodeId}` or another key of the node, or a condition on the resource's tags.
 */
import type { Condition, PolicyDocument, Statement } from './document.ts'
import { compilePattern } from './pattern.ts'

export interface BroadGrant {
  /** From 0, in the document. */
  readonly statement: number
  readonly sid: string | undefined
  /** As written; `everything but …` for NotAction. */
  readonly action: string
  /** As written; `everything but …` for NotResource. */
  readonly resource: string
  /** `everything`: any resource; `wildcard`: all of a kind; `named`: one that every node with this role shares. */
  readonly reach: 'everything' | 'wildcard' | 'named'
  /** One sentence for a person, with what would bind it. */
  readonly reason: string
}

/** The grants of `document` that let a node act on more than itself; empty where there are none. */
export function broaderThanNode(document: PolicyDocument): BroadGrant[] {
  return document.statements.flatMap((statement, index) =>
    statement.effect === 'Deny' || isBoundByCondition(statement, document)
      ? []
      : actionsBeyondNode(statement).flatMap((action) =>
          resourcesBeyondNode(statement, document).map((resource) => broadGrant(statement, index, action, resource)),
        ),
  )
}

/** What a node does as itself: the service answers with, and writes to, the calling node only. */
const NODE_SERVICES = /^(ec2messages|ssmmessages):/
const NODE_PLANE = [
  'ssm:DescribeAssociation',
  'ssm:GetDeployablePatchSnapshotForInstance',
  'ssm:GetManifest',
  'ssm:ListAssociations',
  'ssm:ListInstanceAssociations',
  'ssm:PutComplianceItems',
  'ssm:PutConfigurePackageResult',
  'ssm:PutInventory',
  'ssm:RequestManagedInstanceRoleToken',
  'ssm:UpdateAssociationStatus',
  'ssm:UpdateInstanceAssociationStatus',
  'ssm:UpdateInstanceInformation',
  'ssm:UpdateManagedInstancePublicKey',
  'sts:GetCallerIdentity',
].map((action) => action.toLowerCase())

/** Documents are code that associations hand to every node, not secrets; the agent reads them by name. */
const HARMLESS = ['ssm:DescribeDocument', 'ssm:GetDocument'].map((action) => action.toLowerCase())

function actionsBeyondNode(statement: Statement): string[] {
  if (statement.notAction !== undefined) return [`everything but ${statement.notAction.join(', ')}`]
  return (statement.action ?? []).filter((action) => !staysOnNode(action.toLowerCase()))
}

/** Of the patterns only those of a whole node service stay on the node: what else they match may grow. */
const staysOnNode = (action: string): boolean =>
  NODE_SERVICES.test(action) || NODE_PLANE.includes(action) || HARMLESS.includes(action)

function resourcesBeyondNode(statement: Statement, document: PolicyDocument): string[] {
  if (statement.notResource !== undefined) return [`everything but ${statement.notResource.join(', ')}`]
  return (statement.resource ?? ['*']).filter((resource) => !namesNode(resource, document))
}

// ---- what binds to the node ----

/** Keys that carry the calling node's identity. */
const NODE_KEYS = [
  'ssm:nodeid',
  'ssm:sourceinstancearn',
  'ec2:sourceinstancearn',
  'aws:sourceinstancearn',
  'aws:userid',
]
const NODE_VARIABLE = /\$\{\s*([^},\s]+)\s*\}/g
const TAG_KEY = /^(ssm:resourcetag|aws:resourcetag)\//

/** A variable with a default binds nothing: without the key it stands for the default. Before 2012-10-17 there are none. */
function namesNode(text: string, document: PolicyDocument): boolean {
  if (document.version !== '2012-10-17') return false
  return [...text.matchAll(NODE_VARIABLE)].some(([, key = '']) => NODE_KEYS.includes(key.toLowerCase()))
}

const isBoundByCondition = (statement: Statement, document: PolicyDocument): boolean =>
  statement.conditions.some((condition) => binds(condition, document))

/** A negated operator, IfExists and ForAllValues also hold where the key is missing: they bind nothing. */
function binds(condition: Condition, document: PolicyDocument): boolean {
  if (condition.ifExists || condition.qualifier === 'ForAllValues') return false
  if (!/^(String(Equals|EqualsIgnoreCase|Like)|Arn(Equals|Like))$/.test(condition.operator)) return false
  const key = condition.key.toLowerCase()
  // Which node asks says nothing of what it reaches: only the other side of the comparison can bind.
  if (NODE_KEYS.includes(key)) return false
  if (TAG_KEY.test(key)) return condition.values.every((value) => !matchesAnything(value, condition))
  return condition.values.every((value) => namesNode(value, document))
}

/** A pattern that two strangers match is no bound. */
function matchesAnything(value: string, condition: Condition): boolean {
  if (!condition.operator.endsWith('Like')) return false
  const { fixed } = compilePattern(value, { wildcards: true, variables: false })
  return fixed?.('a') === true && fixed('0123456789 z') === true
}

// ---- telling ----

function broadGrant(statement: Statement, index: number, action: string, resource: string): BroadGrant {
  const reach = reachOf(resource)
  const over = { everything: 'every resource', wildcard: `every resource like ${resource}`, named: resource }[reach]
  return {
    statement: index,
    sid: statement.sid,
    action,
    resource,
    reach,
    reason: `Allows ${action} on ${over} to every node with this role; bind it with \${ssm:NodeId} in the resource or a condition on ssm:resourceTag.`,
  }
}

function reachOf(resource: string): BroadGrant['reach'] {
  if (resource === '*' || resource.startsWith('everything but ')) return 'everything'
  return /[*?]/.test(resource) ? 'wildcard' : 'named'
}
