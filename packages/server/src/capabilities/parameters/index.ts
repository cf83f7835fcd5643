/**
 * Parameter Store: names and hierarchies, versions and labels, tiers and policies, encrypted values. Documents and
 * commands resolve `{{ssm:…}}` through the door below.
 */
import type { Capability } from '../../platform/capability.ts'
import { setLimits } from './capacity.ts'
import { keepLatest } from './latest.ts'
import init from './migrations/0001-init.sql'
import parentFirst from './migrations/0002-parent-first.sql'
import { parseName, resourceOf } from './names.ts'
import { operations } from './operations.ts'
import { expireParameters } from './reconcile.ts'
import { holdParameter } from './store.ts'

export const parameters: Capability = {
  name: 'parameters',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-parent-first', sql: parentFirst },
  ],
  operations: { ssm: operations },
  reconcilers: [expireParameters],
  taggable: {
    Parameter: {
      arn: resourceOf,
      async resolve(context, resourceId) {
        const key = parseName(resourceId)
        return key !== undefined && (await holdParameter(context, key)) ? key : undefined
      },
    },
  },
  start(host) {
    setLimits(host.sql, {
      Standard: host.settings.maxStandardParameters,
      Advanced: host.settings.maxAdvancedParameters,
    })
    const latest = keepLatest(host)
    return { close: async () => latest[Symbol.dispose]() }
  },
}
