/** Activations: CreateActivation, DescribeActivations, DeleteActivation. */
import { randomBytes } from 'node:crypto'
import type { Input, Output } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { uuid } from '../../platform/ids.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { passingRole } from '../identity/index.ts'
import { checkNewTags, tagKeys } from '../tags/index.ts'
import { codeDigest } from './registration.ts'
import { activationEnd, DEFAULT_REGISTRATION_LIMIT, wantedNodeId } from './rules.ts'
import * as store from './store.ts'

/** Bytes of an activation code: 160 bits, 27 characters; agents refuse codes of less than 20. */
const CODE_BYTES = 20

/** The tags that nodes will have, and the role whose rights they will. */
export const activationAccess = async (
  { IamRole, Tags = [] }: Input<'CreateActivation'>,
  context: Context,
): Promise<Access[]> => [
  { resources: ['*'], keys: tagKeys(Tags) },
  await passingRole(context, IamRole, 'ssm.amazonaws.com'),
]

export async function createActivation(
  context: Context,
  input: Input<'CreateActivation'>,
): Promise<Output<'CreateActivation'>> {
  const now = context.now()
  const code = randomBytes(CODE_BYTES).toString('base64url')
  const tags = (input.Tags ?? []).map(({ Key, Value }) => ({ Key, Value }))
  checkNewTags(tags) // now, and not when the machine registers, where nobody could mend them
  const registrationLimit = input.RegistrationLimit ?? DEFAULT_REGISTRATION_LIMIT
  const activationId = uuid()
  await store.insertActivation(context.sql, context, {
    activationId,
    codeDigest: codeDigest(code),
    description: input.Description ?? '',
    defaultInstanceName: input.DefaultInstanceName ?? '',
    iamRole: input.IamRole,
    registrationLimit,
    expirationDate: activationEnd(input.ExpirationDate, now, context.choices.maxActivationDays),
    createdDate: now,
    tags,
    nodeId: wantedNodeId(tags, registrationLimit) ?? null,
  })
  return { ActivationId: activationId, ActivationCode: code }
}

const DEFAULT_PAGE = 50

export async function describeActivations(
  context: Context,
  input: Input<'DescribeActivations'>,
): Promise<Output<'DescribeActivations'>> {
  const limit = input.MaxResults ?? DEFAULT_PAGE
  const after = decodeToken<{ createdDate: string; activationId: string }>(
    context,
    'DescribeActivations',
    input.NextToken,
  )
  const rows = await store.listActivations(context.sql, context, activationFilter(input), after, limit + 1)
  const page = rows.slice(0, limit)
  const last = rows.length > limit ? page.at(-1) : undefined
  const now = context.now()
  return {
    ActivationList: page.map((row) => ({
      ActivationId: row.activationId,
      Description: row.description || undefined,
      DefaultInstanceName: row.defaultInstanceName || undefined,
      IamRole: row.iamRole,
      RegistrationLimit: row.registrationLimit,
      RegistrationsCount: row.registrationsCount,
      ExpirationDate: row.expirationDate,
      Expired: row.expirationDate <= now,
      CreatedDate: row.createdDate,
      Tags: row.tags,
    })),
    NextToken:
      last &&
      encodeToken(context, 'DescribeActivations', {
        createdDate: last.createdDate.toISOString(),
        activationId: last.activationId,
      }),
  }
}

function activationFilter(input: Input<'DescribeActivations'>): store.ActivationFilter {
  const filter: store.ActivationFilter = {}
  for (const { FilterKey, FilterValues = [] } of input.Filters ?? []) {
    if (FilterKey === 'ActivationIds') filter.activationIds = FilterValues
    else if (FilterKey === 'DefaultInstanceName') filter.defaultInstanceNames = FilterValues
    else if (FilterKey === 'IamRole') filter.iamRoles = FilterValues
    else throw new AwsError('InvalidFilter', `The filter key ${FilterKey} is not valid.`)
  }
  return filter
}

/** Errors: InvalidActivation. Nodes that it registered stay. */
export async function deleteActivation(
  context: Context,
  input: Input<'DeleteActivation'>,
): Promise<Output<'DeleteActivation'>> {
  if (!(await store.deleteActivation(context.sql, context, input.ActivationId)))
    throw new AwsError('InvalidActivation', `The activation ${input.ActivationId} does not exist.`)
  return {}
}
