/**
 * Service settings: account-wide choices of Systems Manager, such as the tier of parameters that name none.
 * Others read them through `serviceSetting`.
 */
import type { Input } from '../../contract/types.ts'
import { arn, type Scope } from '../../platform/arn.ts'
import { callerName } from '../../platform/caller.ts'
import type { Access, Capability } from '../../platform/capability.ts'
import type { Context, Ground } from '../../platform/context.ts'
import init from './migrations/0001-init.sql'
import { checkValue, defaultValue, type SettingId, settingId } from './rules.ts'
import { customise, customised, reset } from './store.ts'

export type { SettingId }

/** The value that holds in this account and region now: the customised one or the default. */
export async function serviceSetting(context: Scope & Pick<Ground, 'sql'>, id: SettingId): Promise<string> {
  return (await customised(context, id))?.value ?? defaultValue(id)
}

const settingArn = (scope: Scope) => (id: string) => arn('ssm', scope, `servicesetting${id}`)

/** Also for ids that do not exist: permission is asked before existence. */
function access(input: { SettingId: string }, context: Context): Access {
  const id = input.SettingId
  return { resources: [id.startsWith('arn:') ? id : settingArn(context)(id.startsWith('/') ? id : `/${id}`)] }
}

async function describe(context: Context, id: SettingId) {
  const setting = await customised(context, id)
  return {
    ServiceSetting: {
      SettingId: id,
      SettingValue: setting?.value ?? defaultValue(id),
      LastModifiedDate: setting?.lastModifiedAt ?? NEVER,
      LastModifiedUser: setting?.lastModifiedBy ?? 'System',
      ARN: settingArn(context)(id),
      Status: setting ? 'Customized' : 'Default',
    },
  }
}

/** LastModifiedDate of a default, which nobody ever set. */
const NEVER = new Date(0)

export const settings: Capability = {
  name: 'settings',
  migrations: [{ name: '0001-init', sql: init }],
  operations: {
    ssm: {
      GetServiceSetting: {
        authorize: access,
        handle: (context, input) => describe(context, settingId(input.SettingId, settingArn(context))),
      },
      UpdateServiceSetting: {
        authorize: access,
        async handle(context, input: Input<'UpdateServiceSetting'>) {
          const id = settingId(input.SettingId, settingArn(context))
          checkValue(id, input.SettingValue)
          await customise(context, id, {
            value: input.SettingValue,
            lastModifiedAt: context.now(),
            lastModifiedBy: callerName(context.caller),
          })
          return {}
        },
      },
      ResetServiceSetting: {
        authorize: access,
        async handle(context, input) {
          const id = settingId(input.SettingId, settingArn(context))
          await reset(context, id)
          return describe(context, id)
        },
      },
    },
  },
}
