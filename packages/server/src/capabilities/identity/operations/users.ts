/** Users and their tags. */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import {
  attachable,
  boundaryOf,
  changing,
  checkAccountQuota,
  conflict,
  entityArn,
  exists,
  found,
  held,
  mergedTags,
  newEntity,
  withoutTags,
} from '../entities.ts'
import { pageFrom, pageOf } from '../marker.ts'
import { andTag, onEntity, onNew, onUserOrSelf, requestTags, userOrSelf } from '../permissions.ts'
import type { UserRow } from '../store/entities.ts'
import * as store from '../store/entities.ts'
import { listAttached, listInline } from '../store/policies.ts'
import { listDevices, listKeys } from '../store/sign-in.ts'

export const userSummary = (row: UserRow) => ({
  Path: row.path,
  UserName: row.name,
  UserId: row.id,
  Arn: entityArn('user', row),
  CreateDate: row.createdAt,
  PasswordLastUsed: row.passwordLastUsedAt ?? undefined,
})

const userAnswer = (row: UserRow) => ({
  ...userSummary(row),
  PermissionsBoundary: boundaryOf(row.boundaryArn),
  Tags: row.tags.length > 0 ? row.tags : undefined,
})

export const users: ServiceOperations<'iam'> = {
  CreateUser: {
    authorize: (input, context) =>
      andTag(
        onNew(context, 'user', {
          name: input.UserName,
          path: input.Path,
          tags: input.Tags,
          boundary: input.PermissionsBoundary,
        }),
        'iam:TagUser',
        input.Tags,
      ),
    handle: (context, input) =>
      changing(context, async (change) => {
        const boundaryArn = input.PermissionsBoundary ?? null
        if (boundaryArn !== null) await attachable(change, boundaryArn)
        const row: UserRow = {
          ...newEntity(change, 'user', input.UserName, input.Path),
          ...{ boundaryArn, tags: mergedTags([], input.Tags ?? []) },
          ...{ passwordCreatedAt: null, passwordChangedAt: null },
          ...{ passwordResetRequired: false, passwordLastUsedAt: null },
        }
        await checkAccountQuota(change, 'user')
        if (!(await store.insertUser(change.sql, row))) throw exists(`User with name ${input.UserName} already exists.`)
        return { User: userAnswer(row) }
      }),
  },
  GetUser: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      const name = userOrSelf(context, input.UserName)
      if (name !== undefined) return { User: userAnswer(await found(context, 'user', name)) }
      const { account } = context
      return { User: { Path: '/', UserName: '', UserId: account, Arn: context.caller.arn, CreateDate: new Date(0) } }
    },
  },
  UpdateUser: {
    authorize: async (input, context) => {
      const own = await onEntity(context, 'user', input.UserName)
      if (input.NewUserName === undefined && input.NewPath === undefined) return own
      // Also on what it becomes, as in AWS: a new path must not carry a user out of what a policy bounds.
      const row = await store.find(context.sql, 'user', context.account, input.UserName)
      const becomes = { name: input.NewUserName ?? row?.name ?? input.UserName, path: input.NewPath ?? row?.path }
      return { ...own, resources: [...own.resources, ...onNew(context, 'user', becomes).resources] }
    },
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', input.UserName)
        const [name, path] = [input.NewUserName ?? row.name, input.NewPath ?? row.path]
        if (!(await store.rename(change.sql, 'user', row.id, name, path)))
          throw exists(`User with name ${name} already exists.`)
        return {}
      }),
  },
  DeleteUser: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', input.UserName)
        await checkUnused(change, row)
        await store.remove(change.sql, 'user', row.id)
        return {}
      }),
  },
  ListUsers: {
    authorize: (input, context) => ({
      resources: [`arn:aws:iam::${context.account}:user${input.PathPrefix ?? '/'}`],
    }),
    async handle(context, input) {
      const { items, rest } = await pageFrom(
        context,
        `ListUsers ${input.PathPrefix ?? ''}`,
        input,
        (row: UserRow) => row.name.toLowerCase(),
        (from) => store.list(context.sql, 'user', context.account, { ...from, pathPrefix: input.PathPrefix }),
      )
      return { Users: items.map(userSummary), ...rest }
    },
  },
  TagUser: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName, requestTags(input.Tags)),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', input.UserName)
        await store.setTags(change.sql, 'user', row.id, mergedTags(row.tags, input.Tags))
        return {}
      }),
  },
  UntagUser: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName, { 'aws:TagKeys': input.TagKeys }),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', input.UserName)
        await store.setTags(change.sql, 'user', row.id, withoutTags(row.tags, input.TagKeys))
        return {}
      }),
  },
  ListUserTags: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    async handle(context, input) {
      const row = await found(context, 'user', input.UserName)
      const { items, rest } = await pageOf(context, `ListUserTags ${row.id}`, input, (tag) => tag.Key, row.tags)
      return { Tags: items, ...rest }
    },
  },
}

/** Everything that AWS wants gone before a user goes, in its order. DeleteConflict. */
async function checkUnused({ sql, account }: Context, { id, passwordCreatedAt }: UserRow): Promise<void> {
  if ((await listAttached(sql, id)).length > 0) throw conflict('Cannot delete entity, must detach all policies first.')
  if ((await listInline(sql, id)).length > 0) throw conflict('Cannot delete entity, must delete policies first.')
  if ((await store.listGroupsOf(sql, id)).length > 0)
    throw conflict('Cannot delete entity, must remove users from group first.')
  if ((await listKeys(sql, account, id)).length > 0)
    throw conflict('Cannot delete entity, must delete access keys first.')
  if (passwordCreatedAt) throw conflict('Cannot delete entity, must delete login profile first.')
  if ((await listDevices(sql, account, id)).length > 0)
    throw conflict('Cannot delete entity, must delete MFA device first.')
}
