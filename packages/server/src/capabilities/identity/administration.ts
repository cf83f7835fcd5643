/**
 * The accounts of an installation, for the root of the account that it was made with: `musterbook accounts` calls these
 * routes, so that what it changes holds at once on every process. AWS has this in Organizations, which is not served.
 */
import { free, type Host, type Route } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { closeChannelsOf } from '../messaging/index.ts'
import { createAccount } from './accounts.ts'
import { changing, exists, noSuch } from './entities.ts'
import { json, objectOf } from './json-route.ts'
import * as store from './store.ts'
import { DISABLED_WAKE } from './wake.ts'

const MAX_NAME_CHARACTERS = 128

export function accountRoutes({ settings }: Host): Route[] {
  /** Keys of the root, or a session of its: no user and no role, whatever its policies. */
  const guard = ({ caller }: Context) => {
    if (caller.type !== 'root' || caller.account !== settings.account)
      throw new AwsError(
        'AccessDeniedException',
        `Accounts are made and ended by the root of account ${settings.account} alone.`,
      )
  }
  const route = (
    method: 'GET' | 'POST',
    path: RegExp,
    handle: (context: Context, params: string[], input: Record<string, unknown>) => Promise<object>,
  ): Route => ({
    ...{ method, path, signedFor: 'iam' },
    authorize: () => free('policies have no say in this: the guard lets the root of the installation in alone'),
    async handle(context, { params, body }) {
      guard(context)
      return json(200, await handle(context, params, method === 'POST' ? objectOf(body) : {}))
    },
  })
  return [
    route('GET', /^\/musterbook\/accounts$/, async ({ sql }) => ({ accounts: await store.listAccounts(sql) })),
    route('POST', /^\/musterbook\/accounts$/, (context, _, input) => create(context, input)),
    route('POST', /^\/musterbook\/accounts\/(\d{12})\/(disable|enable)$/, (context, [account = '', verb]) => {
      if (account === settings.account) throw validation(`Account ${account} is the installation's own.`)
      return changing(context, async (change) => {
        const changed = await store.setAccountStatus(change.sql, account, verb === 'disable' ? 'Disabled' : 'Active')
        if (!changed) throw noSuch(`There is no account ${account}.`)
        if (verb === 'disable') {
          await closeChannelsOf(change, account)
          change.wake(DISABLED_WAKE, account)
        }
        return changed
      })
    }),
    route('POST', /^\/musterbook\/accounts\/(\d{12})\/rotate-key$/, (context, [account = '']) =>
      changing(context, async (change) => {
        // Held: of two who ask at once, the later one's key is the one that counts.
        if (!(await store.holdAccount(change.sql, account))) throw noSuch(`There is no account ${account}.`)
        await store.deleteRootKeys(change.sql, account)
        return createAccount(change, { account, name: '' })
      }),
    ),
  ]
}

async function create(context: Context, { name, account }: Record<string, unknown>) {
  if (typeof name !== 'string' || name.trim() === '' || name.length > MAX_NAME_CHARACTERS || name.includes('\0'))
    throw validation(`An account has a name of 1 to ${MAX_NAME_CHARACTERS} characters.`)
  if (account !== undefined && (typeof account !== 'string' || !/^\d{12}$/.test(account)))
    throw validation('The id of an account has 12 digits.')
  // The key of an account that exists is not for another asker.
  if (account !== undefined && (await store.listAccounts(context.sql)).some((each) => each.account === account))
    throw exists(`Account ${account} exists already.`)
  return createAccount(context, { name: name.trim(), ...(account === undefined ? {} : { account }) })
}
