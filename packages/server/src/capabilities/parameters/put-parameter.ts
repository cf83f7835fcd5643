/**
 * PutParameter. Creating is one statement, overwriting one read and one statement that holds only if nothing changed in
 * between; both are gathered with what others put in the same turn. A second try holds the row instead, so that any
 * number of writers of one name each get a version of their own.
 */
import type { Input, Output } from '../../contract/types.ts'
import { callerName } from '../../platform/caller.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { SSM_KEY_ALIAS } from '../keys/index.ts'
import { serviceSetting } from '../settings/index.ts'
import { setTags } from '../tags/index.ts'
import { checkAllowedPattern } from './allowed-pattern.ts'
import { type Capacity, capacityOf } from './capacity.ts'
import { checkNewName, parentOf } from './names.ts'
import { keepPolicies, nextDue, parsePolicies, type StoredPolicy } from './policies.ts'
import {
  alreadyExists,
  checkDataType,
  checkSize,
  checkTagsAtCreation,
  checkTexts,
  checkValueOfDataType,
  MAX_VERSIONS,
  type RequestedTier,
  resolveTier,
  resolveType,
  type Tier,
  versionLimitExceeded,
} from './rules.ts'
import { encryptValue } from './secure-value.ts'
import {
  countTier,
  createParameter,
  type Draft,
  type LatestRow,
  lockLatest,
  lockTier,
  policiesOf,
  readLatest,
  replaceParameter,
} from './store.ts'

/** Topic of the wake that tells the reconciler of a new moment to look at. */
export const POLICIES_TOPIC = 'parameters.policies'

/** Every try past the first fails only if the parameter was deleted and re-created meanwhile. */
const MAX_TRIES = 10

interface Put {
  input: Input<'PutParameter'>
  name: string
  key: string
  capacity: Capacity
}

export async function putParameter(context: Context, input: Input<'PutParameter'>): Promise<Output<'PutParameter'>> {
  checkTagsAtCreation(input)
  const put: Put = { input, ...checkNewName(context, input.Name), capacity: capacityOf(context.sql) }
  checkDataType(input.DataType)
  checkTexts(input)
  const { version, draft } = input.Overwrite ? await overwrite(context, put) : await createNew(context, put)
  if (draft.policyDueAt) context.wake(POLICIES_TOPIC)
  return { Version: version, Tier: draft.tier }
}

interface Written {
  version: number
  draft: Draft
}

async function createNew(context: Context, put: Put): Promise<Written> {
  try {
    const draft = await create(context, put)
    if (!draft) throw alreadyExists()
    return { version: 1, draft }
  } catch (error) {
    // That the name is taken goes before whatever else is wrong with the request.
    if (error instanceof AwsError && (await readLatest(context, put.key))) throw alreadyExists()
    throw error
  }
}

async function overwrite(context: Context, put: Put): Promise<Written> {
  for (let tries = 1; tries <= MAX_TRIES; tries++) {
    const existing = await readLatest(context, put.key)
    if (!existing) {
      const draft = await create(context, put)
      if (draft) return { version: 1, draft }
      continue
    }
    const written = await replace(context, put, existing)
    if (written) return written
    const held = await context.transaction(async (change) => {
      const row = await lockLatest(change, put.key)
      return row && replace(change, put, row)
    })
    if (held) return held
  }
  throw new AwsError(
    'TooManyUpdates',
    'There are concurrent updates for a resource that supports one update at a time.',
  )
}

/** undefined: `existing` has changed since it was read. */
async function replace(context: Context, put: Put, existing: LatestRow): Promise<Written | undefined> {
  const { draft } = await draftOf(context, put, existing)
  if (draft.tier === existing.tier || (await put.capacity.isPlenty(context, draft.tier)))
    return replaceWith(context, put, existing, draft)
  return context.transaction(async (change) => {
    // The row first, as a second try has it already: two that take row and tier in different orders would wait for each other.
    if ((await lockLatest(change, put.key))?.revision !== existing.revision) return undefined
    await lockTier(change, draft.tier)
    if (await isFull(change, put.capacity, draft.tier)) throw limitExceeded()
    return replaceWith(change, put, existing, draft)
  })
}

async function replaceWith(
  context: Context,
  put: Put,
  existing: LatestRow,
  draft: Draft,
): Promise<Written | undefined> {
  const outcome = await replaceParameter(context, existing, draft)
  if (outcome === 'labelled') throw versionLimitExceeded(put.name, existing.version + 1 - MAX_VERSIONS)
  return outcome === 'replaced' ? { version: existing.version + 1, draft } : undefined
}

/** undefined: the name is taken. */
async function create(context: Context, put: Put): Promise<Draft | undefined> {
  let { draft, tierFollowsNeed } = await draftOf(context, put, undefined)
  let outcome = await insert(context, put, draft)
  if (outcome === 'full' && tierFollowsNeed && draft.tier === 'Standard') {
    draft = { ...draft, tier: 'Advanced' }
    outcome = await insert(context, put, draft)
  }
  if (outcome === 'full') throw limitExceeded()
  return outcome === 'created' ? draft : undefined
}

async function insert(context: Context, put: Put, draft: Draft): Promise<'created' | 'taken' | 'full'> {
  const tags = put.input.Tags ?? []
  const plenty = await put.capacity.isPlenty(context, draft.tier)
  if (plenty && tags.length === 0) return (await createParameter(context, draft)) ? 'created' : 'taken'
  return context.transaction(async (change) => {
    if (!plenty) {
      await lockTier(change, draft.tier)
      if (await isFull(change, put.capacity, draft.tier)) return 'full'
    }
    if (!(await createParameter(change, draft))) return 'taken'
    await setTags(change, 'Parameter', draft.nameKey, tags)
    return 'created'
  })
}

async function isFull(context: Context, capacity: Capacity, tier: Tier): Promise<boolean> {
  const limit = capacity.limit(tier)
  return (await countTier(context, tier, limit)) >= limit
}

const limitExceeded = () =>
  new AwsError(
    'ParameterLimitExceeded',
    'You have exceeded the number of parameters for this AWS account. Delete one or more parameters and try again.',
  )

/** What the new version will be: what the request says, and what it leaves out as it was. */
async function draftOf(
  context: Context,
  { input, name, key }: Put,
  existing: LatestRow | undefined,
): Promise<{ draft: Draft; tierFollowsNeed: boolean }> {
  const type = resolveType(input.Type, existing?.type)
  if (input.KeyId !== undefined && type !== 'SecureString') {
    throw validation('KeyId is required for SecureString type parameter only.')
  }
  const dataType = input.DataType || existing?.dataType || 'text'
  checkValueOfDataType(dataType, type, input.Value)
  const now = context.now()
  const policies = resolvePolicies(input.Policies, existing)
  const bytes = Buffer.byteLength(input.Value)
  const accountDefault = await defaultTier(context, input.Tier, existing)
  const tier = resolveTier({
    requested: input.Tier,
    existing: existing?.tier,
    accountDefault,
    bytes,
    hasPolicies: policies.length > 0,
  })
  checkSize(tier, bytes)
  if (tier === 'Standard' && policies.length > 0) {
    throw validation(
      'Parameter policies are supported by the advanced-parameter tier only. To add policies, choose the tier Advanced.',
    )
  }
  const allowedPattern = input.AllowedPattern ?? existing?.allowedPattern ?? null
  if (allowedPattern) checkAllowedPattern(allowedPattern, input.Value)
  const keyId = type === 'SecureString' ? (input.KeyId ?? existing?.keyId ?? SSM_KEY_ALIAS) : null
  return {
    tierFollowsNeed: (input.Tier ?? accountDefault) === 'Intelligent-Tiering',
    draft: {
      nameKey: key,
      parent: parentOf(key),
      name: existing?.name ?? name,
      type,
      value: keyId === null ? input.Value : await encryptValue(context, key, tier, keyId, input.Value),
      dataType,
      tier,
      keyId,
      description: input.Description ?? existing?.description ?? null,
      allowedPattern,
      policies: policies.length > 0 ? JSON.stringify(policies) : null,
      policyDueAt: nextDue(policies, now) ?? null,
      lastModifiedAt: now,
      lastModifiedBy: callerName(context.caller),
    },
  }
}

function resolvePolicies(text: string | undefined, existing: LatestRow | undefined): StoredPolicy[] {
  if (text !== undefined) return parsePolicies(text)
  return existing ? keepPolicies(policiesOf(existing)) : []
}

const DEFAULT_TIER = '/ssm/parameter-store/default-parameter-tier'

/** Asked for only where it decides. */
async function defaultTier(
  context: Context,
  requested: RequestedTier | undefined,
  existing: LatestRow | undefined,
): Promise<RequestedTier> {
  if (requested !== undefined || existing?.tier === 'Advanced') return 'Standard'
  const setting = await serviceSetting(context, DEFAULT_TIER)
  return setting === 'Advanced' || setting === 'Intelligent-Tiering' ? setting : 'Standard'
}
