/**
 * The policies of principals, compiled and kept until a wake of `identity`. A text is compiled once, however many
 * principals carry it.
 */
import { hash } from 'node:crypto'
import type { Host } from '../../platform/capability.ts'
import type { Sealer } from '../../platform/seal.ts'
import { entityArn } from './entities.ts'
import { byIds } from './named-ids.ts'
import {
  type CompiledPolicy,
  compilePolicy,
  concerning,
  evaluate,
  isMalformed,
  MANAGED_POLICIES,
  noContextKeys,
  type PolicyKind,
  type PolicySet,
  parsePolicy,
} from './policy/index.ts'
import type { RoleRow } from './store/entities.ts'
import * as entities from './store/entities.ts'
import * as store from './store.ts'
import { compileTrust } from './trust.ts'
import { IDENTITY_WAKE } from './wake.ts'

const NO_IDS: Readonly<Record<string, string>> = {}
const MAX_PRINCIPALS = 20_000
const MAX_TEXTS = 20_000
/** Nothing is believed for longer than this, should a wake be lost. */
const BELIEVE_MS = 5_000

const managed = new Map(MANAGED_POLICIES.map((policy) => [policy.arn, policy.document]))

export interface PrincipalPolicies {
  identity: CompiledPolicy[]
  boundary: CompiledPolicy | undefined
}

export interface NodeRole {
  role: RoleRow
  policies: PrincipalPolicies
}

export interface Principals extends Disposable {
  /** Of a user (with its groups) or a role, by id. */
  policiesOf(ownerId: string): Promise<PrincipalPolicies>
  /** Of the role that a node carries; undefined: there is none of that name, or it does not trust Systems Manager. */
  nodeRole(account: string, roleName: string): Promise<NodeRole | undefined>
  session(texts: readonly string[]): CompiledPolicy[]
  /** What a capability grants a node for one action; it has looked at the resource itself. */
  granted(action: string): CompiledPolicy
  /** A resource's own policy, with the users and roles that it names by their ids. */
  resource(text: string, ids?: Readonly<Record<string, string>>): CompiledPolicy
}

/** The text of a managed policy, AWS's or the installation's own; undefined when there is none of that ARN. */
export const managedPolicyText = async (
  sql: Parameters<typeof store.readPolicyText>[0],
  arn: string,
): Promise<string | undefined> => managed.get(arn) ?? store.readPolicyText(sql, arn)

const allowing = (Action: string): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action, Resource: '*' }] })

/** A server process has one sealer, which all of its contexts carry: by it an operation finds its process's policies. */
const kept = new WeakMap<Sealer, Principals>()

export function principalsOf(context: { sealer: Sealer }): Principals {
  const principals = kept.get(context.sealer)
  if (!principals) throw new Error('identity has not been started')
  return principals
}

export function keepPrincipals(host: Host): Principals {
  const known = new Map<string, { answer: unknown; until: number }>()
  const texts = new Map<string, CompiledPolicy>()
  /** Kept as long as the callers whose lists of texts they are. */
  const sessions = new WeakMap<readonly string[], CompiledPolicy[]>()
  let generation = 0
  const subscription = host.onWake(IDENTITY_WAKE, () => {
    generation++
    known.clear()
  })

  function compiled(
    text: string,
    kind: PolicyKind,
    name: string,
    ids: Readonly<Record<string, string>> = NO_IDS,
  ): CompiledPolicy {
    const named = ids === NO_IDS ? '' : JSON.stringify(ids)
    const id = `${kind} ${name} ${hash('sha256', `${named}${text}`, 'base64')}`
    const before = texts.get(id)
    if (before) return before
    const document = parsePolicy(text, kind)
    // Every stored policy was parsed before it was stored: one that cannot be read would silently deny or allow.
    if (isMalformed(document)) throw new Error(`the stored policy ${name} cannot be read: ${document.message}`)
    const policy = compilePolicy(named === '' ? document : byIds(document, ids), name)
    if (RESOURCE_TAG.test(text)) noteTagged(policy)
    if (texts.size >= MAX_TEXTS) texts.clear()
    texts.set(id, policy)
    return policy
  }

  /** What `read` answers, kept until a wake; an answer read while a wake came in is used once and not kept. */
  async function remembered<T>(id: string, read: () => Promise<T>): Promise<T> {
    const now = host.clock.now().getTime()
    const before = known.get(id)
    if (before && before.until > now) return before.answer as T
    const asOf = generation
    const answer = await read()
    if (asOf === generation) {
      if (known.size >= MAX_PRINCIPALS) known.clear()
      known.set(id, { answer, until: now + BELIEVE_MS })
    }
    return answer
  }

  async function read(ownerId: string): Promise<PrincipalPolicies> {
    const [rows, boundaryArn] = await Promise.all([
      store.readPolicyTexts(host.sql, ownerId),
      store.readBoundary(host.sql, ownerId),
    ])
    const identity = rows.flatMap(({ name, document }) => {
      const text = document ?? managed.get(name)
      return text === undefined ? [] : [compiled(text, 'identity', name)]
    })
    if (boundaryArn === null) return { identity, boundary: undefined }
    const text = await managedPolicyText(host.sql, boundaryArn)
    // A boundary that is gone allows nothing; without this it would allow everything.
    return { identity, boundary: compiled(text ?? NOTHING, 'boundary', boundaryArn) }
  }

  async function readNodeRole(account: string, roleName: string): Promise<NodeRole | undefined> {
    const role = await entities.find(host.sql, 'role', account, roleName)
    if (!role || !trustsSystemsManager(role)) return undefined
    const { identity, boundary } = await read(role.id)
    return { role, policies: { identity: identity.filter(({ name }) => name !== NODE_CORE), boundary } }
  }

  const principals: Principals = {
    policiesOf: (ownerId) => remembered(ownerId, () => read(ownerId)),
    nodeRole: (account, roleName) => remembered(`node ${account} ${roleName}`, () => readNodeRole(account, roleName)),
    session(sessionTexts) {
      const before = sessions.get(sessionTexts)
      if (before) return before
      const policies = sessionTexts.map((text) => compiled(text, 'session', 'session policy'))
      sessions.set(sessionTexts, policies)
      return policies
    },
    granted: (action) => compiled(allowing(action), 'identity', 'what nodes are granted'),
    resource: (text, ids) => compiled(text, 'resource', 'resource policy', ids),
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  }
  kept.set(host.sealer, principals)
  return principals
}

/**
 * What every node may do as itself, whatever its role: the policy that AWS has for it also lets a node read every
 * parameter of the account, which no node does here unless another policy says so.
 */
export const NODE_CORE = 'arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore'

/** Whether nodes may carry the role. */
export function trustsSystemsManager(role: RoleRow): boolean {
  const request = {
    principal: { type: 'service' as const, service: 'ssm.amazonaws.com' },
    action: 'sts:AssumeRole',
    resources: [{ arn: entityArn('role', role) }],
    context: noContextKeys,
  }
  return evaluate(request, { identity: [], resource: compileTrust(role) }) === 'allow'
}

const RESOURCE_TAG = /resourcetag\//i
/** Statements that ask for the tags of resources. */
const tagged = new WeakSet<CompiledPolicy['statements'][number]>()

function noteTagged(policy: CompiledPolicy): void {
  for (const statement of policy.statements)
    if (RESOURCE_TAG.test(JSON.stringify(statement.source))) tagged.add(statement)
}

/**
 * Whether any of these policies asks for the tags of resources where it speaks of this action, so that they must be looked
 * up: that is a statement to the database, which cost a call as much as everything else of it.
 */
export function asksForTags({ identity, boundary, session, resource }: PolicySet, action: string): boolean {
  const name = action.toLowerCase()
  const asks = (statement: CompiledPolicy['statements'][number]): boolean => tagged.has(statement)
  return (
    concerning(identity, name).some(asks) ||
    (session && concerning(session, name).some(asks)) ||
    boundary?.concerning(name).some(asks) ||
    resource?.concerning(name).some(asks) ||
    false
  )
}

const NOTHING = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'
