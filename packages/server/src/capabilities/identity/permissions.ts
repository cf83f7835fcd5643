/**
 * What IAM's operations ask permission for: the entity's ARN as it is stored (its path included, whatever the case in
 * which the request spells its name), with the condition keys that IAM gives the action.
 */
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { entityArn, findPolicy, type Kind, type Tag } from './entities.ts'
import * as store from './store/entities.ts'

type Keys = Record<string, string | string[]>

export const anywhere = (): Access => ({ resources: ['*'] })

/** Permission on an entity by its name; one that does not exist has the ARN that it would have at the root path. */
export async function onEntity(context: Context, kind: Kind, name: string, keys: Keys = {}): Promise<Access> {
  const row = await store.find(context.sql, kind, context.account, name)
  if (!row) return { resources: [entityArn(kind, { account: context.account, path: '/', name })], keys }
  const boundary: Keys = 'boundaryArn' in row && row.boundaryArn ? { 'iam:PermissionsBoundary': row.boundaryArn } : {}
  const tags = 'tags' in row ? resourceTags(row.tags) : {}
  return { resources: [entityArn(kind, row)], keys: { ...boundary, ...tags, ...keys } }
}

/** Permission to make an entity. */
export const onNew = (
  context: Context,
  kind: Kind,
  input: { name: string; path?: string; tags?: Tag[]; boundary?: string },
): Access => ({
  resources: [entityArn(kind, { account: context.account, path: input.path ?? '/', name: input.name })],
  keys: {
    ...(input.boundary === undefined ? {} : { 'iam:PermissionsBoundary': input.boundary }),
    ...(input.tags?.length ? requestTags(input.tags) : {}),
  },
})

/** Who makes something with tags must be allowed to tag it as well: policies go by tags. */
export const andTag = (access: Access, action: string, tags: readonly unknown[] = []): Access[] =>
  tags.length === 0 ? [access] : [access, { ...access, action }]

/** Permission to hand a role on to a service, and with it all that the role grants: the role that is meant, however it is spelt. */
export const passingRole = async (context: Context, name: string, service: string): Promise<Access> => ({
  ...(await onEntity(context, 'role', name, { 'iam:PassedToService': service })),
  action: 'iam:PassRole',
})

/** Permission on a managed policy by its ARN. */
export async function onPolicy(context: Context, arn: string, keys: Keys = {}): Promise<Access> {
  const policy = await findPolicy(context, arn)
  return { resources: [arn], keys: { ...resourceTags(policy?.own?.tags ?? []), ...keys } }
}

/** Operations on a user that mean the caller when they name nobody. */
export const onUserOrSelf = (context: Context, name: string | undefined): Promise<Access> | Access => {
  if (name !== undefined) return onEntity(context, 'user', name)
  const { caller } = context
  return caller.type === 'user' ? onEntity(context, 'user', caller.userName) : { resources: [`${caller.arn}`] }
}

/** The user that is meant: the caller when nobody is named, undefined for the root. ValidationError. */
export function userOrSelf({ caller }: Context, name: string | undefined): string | undefined {
  if (name !== undefined) return name
  if (caller.type === 'user') return caller.userName
  if (caller.type === 'root') return undefined
  throw validation('Must specify userName when calling with non-User credentials')
}

export const requestTags = (tags: readonly Tag[]): Keys => ({
  'aws:TagKeys': tags.map(({ Key }) => Key),
  ...Object.fromEntries(tags.map(({ Key, Value }) => [`aws:RequestTag/${Key}`, Value])),
})

export const resourceTags = (tags: readonly Tag[]): Keys =>
  Object.fromEntries(
    tags.flatMap(({ Key, Value }) => [
      [`aws:ResourceTag/${Key}`, Value],
      [`iam:ResourceTag/${Key}`, Value],
    ]),
  )
