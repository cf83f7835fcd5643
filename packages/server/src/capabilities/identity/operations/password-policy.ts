/** What an account wants of its users' passwords, in place of IAM's default. */
import type { ServiceOperations } from '../../../contract/types.ts'
import { noSuch } from '../entities.ts'
import { anywhere } from '../permissions.ts'
import * as store from '../store/passwords.ts'
import { selfService } from './login-profiles.ts'

const noPolicy = (account: string) => noSuch(`The Password Policy with domain name ${account} cannot be found.`)

export const passwordPolicy: ServiceOperations<'iam'> = {
  UpdateAccountPasswordPolicy: {
    authorize: anywhere,
    async handle({ sql, account }, input) {
      // What is not given goes back to IAM's default: there is no change of a part.
      await store.putPasswordPolicy(sql, account, {
        MinimumPasswordLength: input.MinimumPasswordLength ?? 6,
        RequireSymbols: input.RequireSymbols ?? false,
        RequireNumbers: input.RequireNumbers ?? false,
        RequireUppercaseCharacters: input.RequireUppercaseCharacters ?? false,
        RequireLowercaseCharacters: input.RequireLowercaseCharacters ?? false,
        AllowUsersToChangePassword: input.AllowUsersToChangePassword ?? false,
        MaxPasswordAge: input.MaxPasswordAge,
        PasswordReusePrevention: input.PasswordReusePrevention,
        HardExpiry: input.HardExpiry,
      })
      return {}
    },
  },
  GetAccountPasswordPolicy: {
    authorize: async (_, context) => ({ ...anywhere(), ...(await selfService(context)) }),
    async handle({ sql, account }) {
      const policy = await store.readPasswordPolicy(sql, account)
      if (!policy) throw noPolicy(account)
      return { PasswordPolicy: { ...policy, ExpirePasswords: policy.MaxPasswordAge !== undefined } }
    },
  },
  DeleteAccountPasswordPolicy: {
    authorize: anywhere,
    async handle({ sql, account }) {
      if (!(await store.deletePasswordPolicy(sql, account))) throw noPolicy(account)
      return {}
    },
  },
}
