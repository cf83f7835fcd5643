/**
 * The policies of principals, compiled and kept until a wake of `identity`. A text is compiled once, however many
 * principals carry it.
 */
import { hash } from 'node:crypto'
import type { Host } from '../../platform/capability.ts'
import type { Sealer } from '../../platform/seal.ts'
import { IDENTITY_WAKE } from './credentials.ts'
import {
  type CompiledPolicy,
  compilePolicy,
  isMalformed,
  MANAGED_POLICIES,
  type PolicyKind,
  parsePolicy,
} from './policy/index.ts'
import * as store from './store.ts'

const MAX_PRINCIPALS = 20_000
const MAX_TEXTS = 20_000
/** Nothing is believed for longer than this, should a wake be lost. */
const BELIEVE_MS = 5_000

const managed = new Map(MANAGED_POLICIES.map((policy) => [policy.arn, policy.document]))

export interface PrincipalPolicies {
  identity: CompiledPolicy[]
  boundary: CompiledPolicy | undefined
}

export interface Principals extends Disposable {
  /** Of a user (with its groups) or a role, by id. */
  policiesOf(ownerId: string, boundaryArn: string | null): Promise<PrincipalPolicies>
  session(texts: readonly string[]): CompiledPolicy[]
  /** A resource's own policy. */
  resource(text: string): CompiledPolicy
}

/** The text of a managed policy, AWS's or the installation's own; undefined when there is none of that ARN. */
export const managedPolicyText = async (
  sql: Parameters<typeof store.readPolicyText>[0],
  arn: string,
): Promise<string | undefined> => managed.get(arn) ?? store.readPolicyText(sql, arn)

/** A server process has one sealer, which all of its contexts carry: by it an operation finds its process's policies. */
const kept = new WeakMap<Sealer, Principals>()

export function principalsOf(context: { sealer: Sealer }): Principals {
  const principals = kept.get(context.sealer)
  if (!principals) throw new Error('identity has not been started')
  return principals
}

export function keepPrincipals(host: Host): Principals {
  const known = new Map<string, { policies: PrincipalPolicies; until: number }>()
  const texts = new Map<string, CompiledPolicy>()
  let generation = 0
  const subscription = host.onWake(IDENTITY_WAKE, () => {
    generation++
    known.clear()
  })

  function compiled(text: string, kind: PolicyKind, name: string): CompiledPolicy {
    const id = `${kind} ${name} ${hash('sha256', text, 'base64')}`
    const before = texts.get(id)
    if (before) return before
    const document = parsePolicy(text, kind)
    // Every stored policy was parsed before it was stored: one that cannot be read would silently deny or allow.
    if (isMalformed(document)) throw new Error(`the stored policy ${name} cannot be read: ${document.message}`)
    const policy = compilePolicy(document, name)
    if (texts.size >= MAX_TEXTS) texts.clear()
    texts.set(id, policy)
    return policy
  }

  async function read(ownerId: string, boundaryArn: string | null): Promise<PrincipalPolicies> {
    const rows = await store.readPolicyTexts(host.sql, ownerId)
    const identity = rows.flatMap(({ name, document }) => {
      const text = document ?? managed.get(name)
      return text === undefined ? [] : [compiled(text, 'identity', name)]
    })
    if (boundaryArn === null) return { identity, boundary: undefined }
    const text = await managedPolicyText(host.sql, boundaryArn)
    // A boundary that is gone allows nothing; without this it would allow everything.
    return { identity, boundary: compiled(text ?? NOTHING, 'boundary', boundaryArn) }
  }

  const principals: Principals = {
    async policiesOf(ownerId, boundaryArn) {
      const now = host.clock.now().getTime()
      const before = known.get(ownerId)
      if (before && before.until > now) return before.policies
      const asOf = generation
      const policies = await read(ownerId, boundaryArn)
      if (asOf === generation) {
        if (known.size >= MAX_PRINCIPALS) known.clear()
        known.set(ownerId, { policies, until: now + BELIEVE_MS })
      }
      return policies
    },
    session: (sessionTexts) => sessionTexts.map((text) => compiled(text, 'session', 'session policy')),
    resource: (text) => compiled(text, 'resource', 'resource policy'),
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  }
  kept.set(host.sealer, principals)
  return principals
}

const NOTHING = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'
