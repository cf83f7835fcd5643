/** Login profiles: the passwords of users for a console. An administrator gives them, and their users may change them. */
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
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', named(change, input.UserName))
        if (row.passwordCreatedAt) throw exists(`Login Profile for user ${row.name} already exists.`)
        const resetRequired = input.PasswordResetRequired ?? false
        const createdAt = change.now()
        const hashes = input.Password === undefined ? undefined : await hashesWith(change, row, input.Password)
        await store.setPassword(change.sql, row.id, { hashes, resetRequired, createdAt }, createdAt)
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
        const hashes = input.Password === undefined ? undefined : await hashesWith(change, row, input.Password)
        const resetRequired = input.PasswordResetRequired
        await store.setPassword(change.sql, row.id, { hashes, resetRequired }, change.now())
        return {}
      }),
  },
  DeleteLoginProfile: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'user', named(change, input.UserName))
        if (!row.passwordCreatedAt) throw noProfile(row)
        await store.deletePassword(change.sql, row.id, await store.readHashes(change.sql, row.id))
        return {}
      }),
  },
  ChangePassword: {
    authorize: async (_, context) => ({
      ...(await onUserOrSelf(context, undefined)),
      ...(await selfService(context)),
    }),
    handle: (context, input) =>
      changing(context, async (change) => {
        if (change.caller.type !== 'user')
          throw new AwsError('InvalidUserTypeException', 'Only IAM Users can change their own password')
        const row = await held(change, 'user', change.caller.userName)
        const [hash] = await store.readHashes(change.sql, row.id)
        if (!row.passwordCreatedAt || hash === undefined) throw noProfile(row)
        if (!(await isHashOf(hash, input.OldPassword)))
          throw new AwsError('AccessDeniedException', 'The old password was incorrect.')
        const hashes = await hashesWith(change, row, input.NewPassword)
        await store.setPassword(change.sql, row.id, { hashes, resetRequired: false }, change.now())
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

/** The most that a policy can forbid to use again. */
const MAX_REMEMBERED = 24

/** The hashes of a user's passwords with that of a new one before them. PasswordPolicyViolation. */
async function hashesWith(context: Context, { id }: UserRow, password: string): Promise<string[]> {
  const policy = await store.readPasswordPolicy(context.sql, context.account)
  const fault = passwordFault(password, policy)
  if (fault !== undefined) throw violation(fault)
  const before = await store.readHashes(context.sql, id)
  if (await isHashOfAny(before.slice(0, policy?.PasswordReusePrevention ?? 0), password))
    throw violation('none of the passwords before it')
  return [await hashed(password), ...before].slice(0, MAX_REMEMBERED)
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
