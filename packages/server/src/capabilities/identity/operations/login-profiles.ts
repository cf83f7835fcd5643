/** Login profiles: the passwords of users for a console. An administrator gives them, and their users may change them. */
import { isDeepStrictEqual } from 'node:util'
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Access } from '../../../platform/capability.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import { changing, exists, found, held, noSuch } from '../entities.ts'
import { hashed, isHashOf, isHashOfAny, passwordFault } from '../passwords.ts'
import { onEntity, onUserOrSelf, userOrSelf } from '../permissions.ts'
import type { UserRow } from '../store/entities.ts'
import * as store from '../store/passwords.ts'

export const loginProfiles: ServiceOperations<'iam'> = {
  CreateLoginProfile: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      const name = named(context, input.UserName)
      const made = await newPassword(context, checkNone(await found(context, 'user', name)), input.Password)
      return changing(context, async (change) => {
        const row = checkNone(await held(change, 'user', name))
        const resetRequired = input.PasswordResetRequired ?? false
        const createdAt = change.now()
        await setPassword(change, row, made, { resetRequired, createdAt })
        return { LoginProfile: { UserName: row.name, CreateDate: createdAt, PasswordResetRequired: resetRequired } }
      })
    },
  },
  GetLoginProfile: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      const row = checkSome(await found(context, 'user', named(context, input.UserName)))
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
    async handle(context, input) {
      const made = await newPassword(context, checkSome(await found(context, 'user', input.UserName)), input.Password)
      return changing(context, async (change) => {
        const row = checkSome(await held(change, 'user', input.UserName))
        await setPassword(change, row, made, { resetRequired: input.PasswordResetRequired })
        return {}
      })
    },
  },
  DeleteLoginProfile: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = checkSome(await held(change, 'user', named(change, input.UserName)))
        await store.deletePassword(change.sql, row.id, await store.readHashes(change.sql, row.id))
        return {}
      }),
  },
  ChangePassword: {
    authorize: async (_, context) => ({
      ...(await onUserOrSelf(context, undefined)),
      ...(await selfService(context)),
    }),
    async handle(context, input) {
      const { caller } = context
      if (caller.type !== 'user')
        throw new AwsError('InvalidUserTypeException', 'Only IAM Users can change their own password')
      const profile = checkSome(await found(context, 'user', caller.userName))
      const [hash] = await store.readHashes(context.sql, profile.id)
      if (hash === undefined) throw noProfile(profile)
      if (!(await isHashOf(hash, input.OldPassword)))
        throw new AwsError('AccessDeniedException', 'The old password was incorrect.')
      const made = await newPassword(context, profile, input.NewPassword)
      return changing(context, async (change) => {
        const row = checkSome(await held(change, 'user', caller.userName))
        await setPassword(change, row, made, { resetRequired: false })
        return {}
      })
    },
  },
}

const noProfile = (row: UserRow) => noSuch(`Login Profile for User ${row.name} cannot be found.`)

/** NoSuchEntity: the user has no login profile. */
function checkSome(row: UserRow): UserRow & { passwordCreatedAt: Date } {
  const { passwordCreatedAt } = row
  if (!passwordCreatedAt) throw noProfile(row)
  return { ...row, passwordCreatedAt }
}

/** EntityAlreadyExists: the user has one. */
function checkNone(row: UserRow): UserRow {
  if (row.passwordCreatedAt) throw exists(`Login Profile for user ${row.name} already exists.`)
  return row
}

/** Login profiles are users' alone: the root has none. */
function named(context: Context, name: string | undefined): string {
  const user = userOrSelf(context, name)
  if (user === undefined) throw noSuch('The root user has no login profile.')
  return user
}

/** The most that a policy can forbid to use again. */
const MAX_REMEMBERED = 24

/** Hashes of a user's passwords, the newest first: as they were, and with a new one. */
interface NewPassword {
  before: string[]
  hashes: string[]
}

/**
 * Made before anything is held: each hash takes a fifth of a second, and whoever waits for a user's row has a connection of
 * the database. PasswordPolicyViolation.
 */
async function newPassword(
  { sql, account }: Context,
  { id }: UserRow,
  password: string | undefined,
): Promise<NewPassword | undefined> {
  if (password === undefined) return undefined
  const policy = await store.readPasswordPolicy(sql, account)
  const fault = passwordFault(password, policy)
  if (fault !== undefined) throw violation(fault)
  const before = await store.readHashes(sql, id)
  if (await isHashOfAny(before.slice(0, policy?.PasswordReusePrevention ?? 0), password))
    throw violation('none of the passwords before it')
  return { before, hashes: [await hashed(password), ...before].slice(0, MAX_REMEMBERED) }
}

/** EntityTemporarilyUnmodifiable: the user has got another password since `made` was made. */
async function setPassword(
  { sql, now }: Context,
  { id }: UserRow,
  made: NewPassword | undefined,
  change: { resetRequired?: boolean | undefined; createdAt?: Date },
): Promise<void> {
  if (made && !isDeepStrictEqual(await store.readHashes(sql, id), made.before))
    throw new AwsError('EntityTemporarilyUnmodifiableException', 'The password is being changed by another call.')
  await store.setPassword(sql, id, { hashes: made?.hashes, ...change }, now())
}

const violation = (wanted: string) =>
  new AwsError(
    'PasswordPolicyViolationException',
    `Password does not conform to the account password policy: ${wanted}.`,
  )

const SELF_SERVICE = JSON.stringify({
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Principal: '*',
      Action: ['iam:ChangePassword', 'iam:GetAccountPasswordPolicy'],
      Resource: '*',
    },
  ],
})

/** Where the account lets its users change their passwords, each may do so and ask what passwords must be like. */
export async function selfService({ sql, account, caller }: Context): Promise<Pick<Access, 'resourcePolicy'>> {
  if (caller.type !== 'user') return {}
  const policy = await store.readPasswordPolicy(sql, account)
  return policy?.AllowUsersToChangePassword ? { resourcePolicy: { text: SELF_SERVICE, required: false } } : {}
}
