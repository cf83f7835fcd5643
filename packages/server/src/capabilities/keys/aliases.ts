/** Aliases: names of keys that can move from one to another. `alias/aws/…` belongs to AWS's services. */
import type { Input, Output } from '../../contract/types.ts'
import { arn, type Scope } from '../../platform/arn.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { accessTo, keyOf } from './access.ts'
import { changing, checkState, LIVING } from './changing.ts'
import { KeyError } from './errors.ts'
import { page } from './listing.ts'
import { findNamed, KEYS_WAKE } from './resolve.ts'
import * as store from './store.ts'

const aliasArn = (scope: Scope, alias: string): string => arn('kms', scope, alias)

/** ValidationException; `alias/aws/` is refused as `reserved` says. */
function checkAlias(name: string, reserved: () => Error): void {
  if (!/^alias\/[a-zA-Z0-9/_-]+$/.test(name))
    throw validation(
      'Alias must start with the prefix "alias/" and contain only alphanumeric characters, forward slashes (/), underscores (_), and dashes (-).',
    )
  if (name.startsWith('alias/aws/')) throw reserved()
}

const reservedName = () => new KeyError('InvalidAliasNameException', 'Aliases that begin with alias/aws/ are reserved.')
const reservedValue = () => validation('Aliases that begin with alias/aws/ are reserved.')

const onAlias = (context: Scope, action: string, alias: string): Access => ({
  action,
  resources: [aliasArn(context, alias)],
})

export async function createAliasAccess(context: Context, input: Input<'CreateAlias', 'kms'>): Promise<Access[]> {
  checkAlias(input.AliasName, reservedName)
  const action = 'kms:CreateAlias'
  const key = await accessTo(context, input, { keyId: input.TargetKeyId, own: true }, { action })
  return [onAlias(context, action, input.AliasName), key]
}

export const createAlias = (
  context: Context,
  input: Input<'CreateAlias', 'kms'>,
): Promise<Output<'CreateAlias', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    checkState(key, LIVING)
    if (await store.insertAlias(inner.sql, key, input.AliasName, context.now())) return {}
    const name = aliasArn(context, input.AliasName)
    throw new KeyError('AlreadyExistsException', `An alias with the name ${name} already exists`)
  })

export async function updateAliasAccess(context: Context, input: Input<'UpdateAlias', 'kms'>): Promise<Access[]> {
  checkAlias(input.AliasName, reservedValue)
  const action = 'kms:UpdateAlias'
  return [
    onAlias(context, action, input.AliasName),
    await accessTo(context, input, { keyId: input.AliasName, aliases: true, role: 'before' }, { action }),
    await accessTo(context, input, { keyId: input.TargetKeyId, own: true }, { action }),
  ]
}

export const updateAlias = (
  context: Context,
  input: Input<'UpdateAlias', 'kms'>,
): Promise<Output<'UpdateAlias', 'kms'>> =>
  changing(context, input, async (inner, key) => {
    const before = await findNamed(inner, { account: inner.account, region: inner.region, alias: input.AliasName })
    checkState(key, LIVING)
    if (before.spec !== key.spec || before.usage !== key.usage)
      throw validation(`Alias ${aliasArn(context, input.AliasName)} cannot be moved to a key of another type or usage.`)
    await store.pointAlias(inner.sql, key, input.AliasName, context.now())
    return {}
  })

export async function deleteAliasAccess(context: Context, input: Input<'DeleteAlias', 'kms'>): Promise<Access[]> {
  checkAlias(input.AliasName, reservedValue)
  const action = 'kms:DeleteAlias'
  const key = await accessTo(context, input, { keyId: input.AliasName, aliases: true }, { action })
  return [onAlias(context, action, input.AliasName), key]
}

export async function deleteAlias(
  context: Context,
  input: Input<'DeleteAlias', 'kms'>,
): Promise<Output<'DeleteAlias', 'kms'>> {
  const { keyId } = keyOf(input)
  await store.deleteAlias(context, input.AliasName)
  context.wake(KEYS_WAKE, keyId)
  return {}
}

export async function listAliases(
  context: Context,
  input: Input<'ListAliases', 'kms'>,
): Promise<Output<'ListAliases', 'kms'>> {
  const keyId = input.KeyId === undefined ? undefined : keyOf(input).keyId
  const { rows, rest } = await page(
    context,
    'ListAliases',
    { ...input, Limit: input.Limit ?? 50 },
    '',
    (after, limit) => store.listAliases(context, keyId, after, limit),
    (row) => row.alias,
  )
  return {
    Aliases: rows.map((row) => ({
      AliasName: row.alias,
      AliasArn: aliasArn(context, row.alias),
      TargetKeyId: row.keyId,
      CreationDate: row.createdAt,
      LastUpdatedDate: row.updatedAt ?? row.createdAt,
    })),
    ...rest,
  }
}
