/** The settings that exist, their defaults and their values. Ids from the UpdateServiceSetting reference. */
import { AwsError, validation } from '../../platform/errors.ts'

interface SettingRule {
  default: string
  /** What it may be set to: one of a list, or a form. */
  values: readonly string[] | RegExp
}

const ON_OFF = ['true', 'false'] as const

/** CloudWatch Logs group names: 1-512 characters of this set. */
const LOG_GROUP_NAME = /^[.\-_/#A-Za-z0-9]{1,512}$/
/** IAM role names, with a path where there is one. */
const ROLE_NAME = /^[\w+=,.@/-]{1,576}$/

const RULES = {
  '/musterbook/session-manager/recording': { default: 'true', values: ON_OFF },
  '/ssm/parameter-store/default-parameter-tier': {
    default: 'Standard',
    values: ['Standard', 'Advanced', 'Intelligent-Tiering'],
  },
  '/ssm/parameter-store/high-throughput-enabled': { default: 'false', values: ON_OFF },
  '/ssm/appmanager/appmanager-enabled': { default: 'True', values: ['True', 'False', ...ON_OFF] },
  '/ssm/automation/customer-script-log-destination': { default: '', values: ['CloudWatch'] },
  '/ssm/automation/customer-script-log-group-name': {
    default: '/aws/ssm/automation/executeScript',
    values: LOG_GROUP_NAME,
  },
  '/ssm/automation/enable-adaptive-concurrency': { default: 'False', values: ['True', 'False', ...ON_OFF] },
  '/ssm/documents/console/public-sharing-permission': { default: 'Enable', values: ['Enable', 'Disable'] },
  '/ssm/managed-instance/activation-tier': { default: 'standard', values: ['standard', 'advanced'] },
  '/ssm/managed-instance/default-ec2-instance-management-role': { default: '', values: ROLE_NAME },
  '/ssm/opsinsights/opscenter': { default: 'Disabled', values: ['Enabled', 'Disabled'] },
} as const satisfies Record<string, SettingRule>

export type SettingId = keyof typeof RULES

const isSettingId = (id: string): id is SettingId => Object.hasOwn(RULES, id)

export const defaultValue = (id: SettingId): string => RULES[id].default

/** The id of a setting given shortly or as its own ARN; ServiceSettingNotFound. */
export function settingId(asked: string, ownArn: (id: string) => string): SettingId {
  const marker = ':servicesetting'
  const id = asked.startsWith('arn:') ? asked.slice(asked.indexOf(marker) + marker.length) : asked
  const full = id.startsWith('/') ? id : `/${id}`
  if (!isSettingId(full) || (asked.startsWith('arn:') && asked !== ownArn(full))) {
    throw new AwsError('ServiceSettingNotFound', `The specified service setting ${asked} was not found.`)
  }
  return full
}

/** ValidationException when the setting cannot take this value. */
export function checkValue(id: SettingId, value: string): void {
  const { values }: SettingRule = RULES[id]
  const allowed = values instanceof RegExp ? values.test(value) : values.includes(value)
  if (allowed) return
  const choice = values instanceof RegExp ? '' : ` Valid values include: [${values.join(', ')}].`
  throw validation(`The value is not valid for the service setting ${id}.${choice}`)
}
