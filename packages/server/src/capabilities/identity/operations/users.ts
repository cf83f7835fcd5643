/** Users, their tags, and their passwords for the console. */
import { randomBytes, scrypt } from 'node:crypto'
import { promisify } from 'node:util'
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
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
  noSuch,
  withoutTags,
} from '../entities.ts'
import { pageFrom, pageOf } from '../marker.ts'
import { onEntity, onNew, onUserOrSelf, requestTags, userOrSelf } from '../permissions.ts'
import type { UserRow } from '../store/entities.ts'
import * as store from '../store/entities.ts'
import { listAttached, listInline } from '../store/policies.ts'
import { deletePassword, listDevices, listKeys, setPassword } from '../store/sign-in.ts'

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
      onNew(context, 'user', {
        name: input.UserName,
        path: input.Path,
        tags: input.Tags,
        boundary: input.PermissionsBoundary,
      }),
    handle: (context, input) =>
      changing(context, async (change) => {
        const boundaryArn = input.PermissionsBoundary ?? null
        if (boundaryArn !== null) await attachable(change, boundaryArn)
        const row: UserRow = {
          ...newEntity(change, 'user', input.UserName, input.Path),
          ...{ boundaryArn, tags: mergedTags([], input.Tags ?? []) },
          ...{ passwordCreatedAt: null, passwordResetRequired: false, passwordLastUsedAt: null },
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

  CreateLoginProfile: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', named(change, input.UserName))
        if (row.passwordCreatedAt) throw exists(`Login Profile for user ${row.name} already exists.`)
        const resetRequired = input.PasswordResetRequired ?? false
        const createdAt = change.now()
        const hash = input.Password === undefined ? undefined : await hashed(input.Password)
        await setPassword(change.sql, row.id, { hash, resetRequired, createdAt })
        return { LoginProfile: { UserName: row.name, CreateDate: createdAt, PasswordResetRequired: resetRequired } }
      }),
  },
  GetLoginProfile: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      const row = await found(context, 'user', named(context, input.UserName))
      if (!row.passwordCreatedAt) throw noProfile(row)
      return {
        LoginProfile: {
          UserName: row.name,
          CreateDate: row.passwordCreatedAt,
          PasswordResetRequired: row.passwordResetRequired,
        },
      }
    },
  },
  UpdateLoginProfile: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', input.UserName)
        if (!row.passwordCreatedAt) throw noProfile(row)
        const hash = input.Password === undefined ? undefined : await hashed(input.Password)
        await setPassword(change.sql, row.id, { hash, resetRequired: input.PasswordResetRequired })
        return {}
      }),
  },
  DeleteLoginProfile: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', named(change, input.UserName))
        if (!row.passwordCreatedAt) throw noProfile(row)
        await deletePassword(change.sql, row.id)
        return {}
      }),
  },
}

const noProfile = (row: UserRow) => noSuch(`Login Profile for User ${row.name} cannot be found.`)

/** Login profiles are users' alone: the root has none. */
function named(context: Context, name: string | undefined): string {
  const user = userOrSelf(context, name)
  if (user === undefined) throw noSuch('The root user has no login profile.')
  return user
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

const derive = promisify<string, Buffer, number, { N: number; r: number; p: number; maxmem: number }, Buffer>(scrypt)
/** OWASP's figures for scrypt: 2^15 rounds, blocks of 8, three lanes; 32 MiB and some 0.2 s each. */
const COST = { N: 32_768, r: 8, p: 3, maxmem: 64 * 1024 * 1024 }
/** IAM's default password policy: eight characters of three kinds at least. */
const LEAST_CHARACTERS = 8
const LEAST_KINDS = 3

/** `scrypt$N$r$p$salt$hash`. PasswordPolicyViolation. */
async function hashed(password: string): Promise<string> {
  const kinds = [/[a-z]/, /[A-Z]/, /\d/, /[^A-Za-z\d]/].filter((kind) => kind.test(password)).length
  if (password.length < LEAST_CHARACTERS || kinds < LEAST_KINDS)
    throw new AwsError(
      'PasswordPolicyViolationException',
      `Password does not conform to the account password policy: ${LEAST_CHARACTERS} characters of ${LEAST_KINDS} kinds at least.`,
    )
  const salt = randomBytes(16)
  const derived = await derive(password, salt, 32, COST)
  return `scrypt$${COST.N}$${COST.r}$${COST.p}$${salt.toString('base64')}$${derived.toString('base64')}`
}
