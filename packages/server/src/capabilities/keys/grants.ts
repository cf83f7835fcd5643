/** Grants: permissions on one key that its users hand on, without a change of its policy. */
import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Input, Output } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { namesOf, principalId } from '../identity/index.ts'
import { accessOf, accessTo, allowing, keyOf, means } from './access.ts'
import { changing, checkState, LIVING } from './changing.ts'
import { KeyError, notFound, stopAtDryRun } from './errors.ts'
import { makeToken, readToken } from './grant-tokens.ts'
import { resourcePolicyOf } from './key-policy.ts'
import { page } from './listing.ts'
import { checkUsable, findNamed, keyArn } from './resolve.ts'
import { specOf } from './specs.ts'
import * as store from './store.ts'

const PRINCIPAL = /^arn:aws:(iam::\d{12}:(root|user\/.+|role\/.+)|sts::\d{12}:(assumed-role|federated-user)\/.+)$/

type Create = Input<'CreateGrant', 'kms'>

/** Copied: what is decoded has no prototype, and would equal nothing that was stored. */
const constraintsOf = (input: Create): store.GrantConstraints => {
  const { EncryptionContextSubset: subset, EncryptionContextEquals: equal } = input.Constraints ?? {}
  return {
    ...(subset && { EncryptionContextSubset: { ...subset } }),
    ...(equal && { EncryptionContextEquals: { ...equal } }),
  }
}

export function createGrantAccess(context: Context, input: Create): Promise<Access> {
  const constraints = constraintsOf(input)
  const types = Object.keys(constraints)
  return accessTo(
    context,
    input,
    { keyId: input.KeyId },
    {
      action: 'kms:CreateGrant',
      grantable: 'CreateGrant',
      grantTokens: input.GrantTokens,
      // What is handed on by a grant is no more than the grant gives.
      suits: (grant) =>
        input.Operations.every((operation) => grant.operations.includes(operation)) &&
        (Object.keys(grant.constraints).length === 0 || isDeepStrictEqual(grant.constraints, constraints)),
      keys: {
        'kms:GrantOperations': input.Operations,
        'kms:GranteePrincipal': input.GranteePrincipal,
        'kms:RetiringPrincipal': input.RetiringPrincipal,
        'kms:GrantConstraintType': types.length > 0 ? types : undefined,
        'kms:GrantIsForAWSResource': 'false',
      },
    },
  )
}

function checkCreate(input: Create, key: store.KeyRow): string {
  const grantee = input.GranteePrincipal
  if (
    grantee === undefined ||
    input.GranteeServicePrincipal !== undefined ||
    input.RetiringServicePrincipal !== undefined
  )
    throw validation('A grant here names its GranteePrincipal; service principals are not supported.')
  for (const principal of [grantee, input.RetiringPrincipal])
    if (principal !== undefined && !PRINCIPAL.test(principal))
      throw new KeyError('InvalidArnException', `${principal} is not a valid principal`)
  if (input.Constraints?.SourceArn !== undefined) throw validation('The constraint SourceArn is not supported here.')
  if (input.Operations.length === 0) throw validation('Operations must name at least one operation.')
  const useless = input.Operations.find((operation) => !grantsMake(key, operation))
  if (useless !== undefined)
    throw validation(`The operation ${useless} in the grant cannot be done with a key of the spec ${key.spec}.`)
  if (input.Constraints !== undefined && key.spec !== 'SYMMETRIC_DEFAULT')
    throw validation('Grant constraints need an encryption context, which only symmetric encryption keys know.')
  return grantee
}

const OF_ANY_KEY = ['CreateGrant', 'RetireGrant', 'DescribeKey']

/** Whether an operation can be done with a key of this kind at all. */
function grantsMake(key: store.KeyRow, operation: string): boolean {
  if (OF_ANY_KEY.includes(operation)) return true
  if (operation === 'GetPublicKey') return ['rsa', 'ec', 'ed25519'].includes(specOf(key.spec).family)
  if (key.usage === 'SIGN_VERIFY') return /^(Sign|Verify)$/.test(operation)
  if (key.usage === 'KEY_AGREEMENT') return operation === 'DeriveSharedSecret'
  if (key.usage === 'GENERATE_VERIFY_MAC') return /^(Generate|Verify)Mac$/.test(operation)
  return /^(Encrypt|Decrypt|ReEncrypt(From|To))$/.test(operation)
    ? key.usage === 'ENCRYPT_DECRYPT'
    : key.spec === 'SYMMETRIC_DEFAULT' && operation.startsWith('GenerateDataKey')
}

export const createGrant = (context: Context, input: Create): Promise<Output<'CreateGrant', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkUsable(key, inner.now())
    const grantee = checkCreate(input, key)
    const granteeId = await idOf(inner, grantee)
    const retiringId = input.RetiringPrincipal === undefined ? null : await idOf(inner, input.RetiringPrincipal)
    stopAtDryRun(input)
    const grant: store.GrantRow = {
      account: key.account,
      region: key.region,
      keyId: key.keyId,
      grantId: randomBytes(32).toString('hex'),
      name: input.Name ?? null,
      grantee,
      granteeId,
      retiring: input.RetiringPrincipal ?? null,
      retiringId,
      operations: [...new Set(input.Operations)],
      constraints: constraintsOf(input),
      issuingAccount: `arn:aws:iam::${context.account}:root`,
      createdAt: context.now(),
    }
    const same = input.Name === undefined ? [] : await store.grantsNamed(inner.sql, key, input.Name)
    const known = same.find((other) => isSame(other, grant))
    if (!known) await store.insertGrant(inner.sql, grant)
    const answered = known ?? grant
    return { GrantId: answered.grantId, GrantToken: makeToken(context, answered) }
  })

/** The id of a user or a role; null: of an account or a session. InvalidArnException: there is none of that ARN. */
async function idOf({ sql }: Context, arn: string): Promise<string | null> {
  const id = await principalId(sql, arn)
  if (id === undefined) throw new KeyError('InvalidArnException', `ARN does not refer to a valid principal: ${arn}`)
  return id
}

/** A named grant that is asked for again is the same grant. */
const isSame = (one: store.GrantRow, other: store.GrantRow): boolean =>
  one.grantee === other.grantee &&
  one.granteeId === other.granteeId &&
  one.retiring === other.retiring &&
  one.retiringId === other.retiringId &&
  isDeepStrictEqual(one.operations.toSorted(), other.operations.toSorted()) &&
  isDeepStrictEqual(one.constraints, other.constraints)

const entryOf = (grant: store.GrantRow) => ({
  KeyId: keyArn(grant),
  GrantId: grant.grantId,
  Name: grant.name ?? '',
  CreationDate: grant.createdAt,
  GranteePrincipal: grant.grantee,
  RetiringPrincipal: grant.retiring ?? undefined,
  IssuingAccount: grant.issuingAccount,
  Operations: grant.operations as Create['Operations'],
  Constraints: Object.keys(grant.constraints).length > 0 ? grant.constraints : undefined,
})

export async function listGrants(
  context: Context,
  input: Input<'ListGrants', 'kms'>,
): Promise<Output<'ListGrants', 'kms'>> {
  const key = keyOf(input)
  checkState(key, [...LIVING, 'PendingDeletion'])
  const only = { grantId: input.GrantId, grantee: input.GranteePrincipal }
  const { rows, rest } = await page(
    context,
    'ListGrants',
    { ...input, Limit: input.Limit ?? 50 },
    '',
    (after, limit) => store.listGrants(context.sql, key, only, after, limit),
    (row) => row.grantId,
  )
  return { Grants: rows.map(entryOf), ...rest }
}

/** Of the caller's own account, or of its own name: who else may retire what is nobody else's to know. */
export async function listRetirableGrants(
  context: Context,
  input: Input<'ListRetirableGrants', 'kms'>,
): Promise<Output<'ListRetirableGrants', 'kms'>> {
  const retiring = input.RetiringPrincipal
  if (retiring === undefined) throw validation('RetiringPrincipal is required.')
  if (!PRINCIPAL.test(retiring)) throw new KeyError('InvalidArnException', `${retiring} is not a valid principal`)
  if (retiring.split(':')[4] !== context.account)
    throw new KeyError('AccessDeniedException', `${retiring} does not belong to the account ${context.account}.`)
  const { rows, rest } = await page(
    context,
    'ListRetirableGrants',
    { ...input, Limit: input.Limit ?? 50 },
    '',
    (after, limit) => store.listRetirable(context.sql, context.region, retiring, after, limit),
    (row) => row.grantId,
  )
  return { Grants: rows.map(entryOf), ...rest }
}

export const revokeGrant = (
  context: Context,
  input: Input<'RevokeGrant', 'kms'>,
): Promise<Output<'RevokeGrant', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    const grant = await grantOf(inner, key, input.GrantId)
    stopAtDryRun(input)
    await store.deleteGrant(inner.sql, grant)
    return {}
  })

async function grantOf(context: Context, key: store.KeyRow, grantId: string): Promise<store.GrantRow> {
  const grant = await store.findGrant(context.sql, key, grantId)
  if (!grant) throw notFound(`Grant with ID ${grantId} does not exist on ${keyArn(key)}`)
  return grant
}

const retired = new WeakMap<object, { key: store.KeyRow; grant: store.GrantRow }>()

/** The retiring principal may, a grantee whose grant names RetireGrant, and who has kms:RetireGrant. */
export async function retireGrantAccess(context: Context, input: Input<'RetireGrant', 'kms'>): Promise<Access> {
  const { keyId, account, grantId } = whichGrant(context, input)
  const { region } = context
  const found = await store.findKey(context.sql, region, keyId)
  const key = found ?? (await findNamed(context, { account: account ?? context.account, region, keyId }))
  const grant = await grantOf(context, key, grantId)
  retired.set(input, { key, grant })
  const action = 'kms:RetireGrant'
  const access = await accessOf(context, key, { action })
  const may = (await namesOf(context)).find(
    (name) =>
      means(grant.retiring, grant.retiringId, name) ||
      (grant.operations.includes('RetireGrant') && means(grant.grantee, grant.granteeId, name)),
  )
  return may ? { ...access, resourcePolicy: resourcePolicyOf(key, allowing([may.arn], action)) } : access
}

function whichGrant(context: Context, input: Input<'RetireGrant', 'kms'>) {
  if (input.GrantToken !== undefined) return { ...readToken(context, input.GrantToken), account: undefined }
  const [, account, keyId] = /^arn:aws:kms:[a-z0-9-]+:(\d{12}):key\/([0-9a-f-]{36})$/.exec(input.KeyId ?? '') ?? []
  if (keyId === undefined || account === undefined || input.GrantId === undefined)
    throw validation('Give a GrantToken, or the ARN of a key as KeyId and a GrantId.')
  return { keyId, account, grantId: input.GrantId }
}

export async function retireGrant(
  context: Context,
  input: Input<'RetireGrant', 'kms'>,
): Promise<Output<'RetireGrant', 'kms'>> {
  const known = retired.get(input)
  if (!known) throw new Error('the request named no grant before it was handled')
  stopAtDryRun(input)
  await store.deleteGrant(context.sql, known.grant)
  return {}
}
