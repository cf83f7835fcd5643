/** The credential report: a table of an account's users and of what they can sign in and call with, once every four hours. */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import { entityArn } from '../entities.ts'
import { anywhere } from '../permissions.ts'
import * as store from '../store/credential-reports.ts'
import { list, type UserRow } from '../store/entities.ts'
import { readPasswordPolicy } from '../store/passwords.ts'
import { listDevices } from '../store/sign-in.ts'

const LIFE_MS = 4 * 3_600_000
const DAY_MS = 86_400_000

export const credentialReport: ServiceOperations<'iam'> = {
  GenerateCredentialReport: {
    authorize: anywhere,
    async handle(context) {
      const { sql, account, now } = context
      const before = await store.readReport(sql, account)
      if (before && isFresh(before, now())) return { State: 'COMPLETE' }
      await store.putReport(sql, account, { generatedAt: now(), content: await contentOf(context) })
      return { State: 'STARTED', Description: 'No report exists. Starting a new report generation task' }
    },
  },
  GetCredentialReport: {
    authorize: anywhere,
    async handle({ sql, account, now }) {
      const report = await store.readReport(sql, account)
      if (!report)
        throw new AwsError(
          'CredentialReportNotPresentException',
          'There is no credential report. Use GenerateCredentialReport to make one.',
        )
      if (!isFresh(report, now()))
        throw new AwsError(
          'CredentialReportExpiredException',
          'The credential report is older than four hours. Use GenerateCredentialReport to make a new one.',
        )
      return { Content: Buffer.from(report.content), ReportFormat: 'text/csv', GeneratedTime: report.generatedAt }
    },
  },
}

const isFresh = ({ generatedAt }: store.Report, now: Date): boolean => now.getTime() < generatedAt.getTime() + LIFE_MS

const keyColumns = (key: string) =>
  ['active', 'last_rotated', 'last_used_date', 'last_used_region', 'last_used_service'].map((each) => `${key}_${each}`)

/** As the user guide of IAM lists them. */
const COLUMNS = [
  ...['user', 'arn', 'user_creation_time'],
  ...['password_enabled', 'password_last_used', 'password_last_changed', 'password_next_rotation', 'mfa_active'],
  ...[...keyColumns('access_key_1'), ...keyColumns('access_key_2')],
  ...['cert_1_active', 'cert_1_last_rotated', 'cert_2_active', 'cert_2_last_rotated'],
]

/** Nobody has certificates here. */
const NO_CERTIFICATES = ['false', 'N/A', 'false', 'N/A']
const NO_PASSWORD = ['false', 'N/A', 'N/A', 'N/A']

async function contentOf({ sql, account }: Context): Promise<string> {
  const [users, keys, devices, policy, birth] = await Promise.all([
    list(sql, 'user', account),
    store.listReportedKeys(sql, account),
    listDevices(sql, account),
    readPasswordPolicy(sql, account),
    store.readAccountBirth(sql, account),
  ])
  const keysOf = (id: string | null) => {
    const [first, second] = keys.filter(({ userId }) => userId === id)
    return [...keyFields(first), ...keyFields(second)]
  }
  const isSecured = new Set(devices.map(({ userId }) => userId))
  const root = [
    ...['<root_account>', `arn:aws:iam::${account}:root`, birth ? moment(birth) : 'N/A'],
    ...['not_supported', 'no_information', 'not_supported', 'not_supported', 'false'],
    ...[...keysOf(null), ...NO_CERTIFICATES],
  ]
  const rows = users.map((user) => [
    ...[user.name, entityArn('user', user), moment(user.createdAt)],
    ...passwordFields(user, policy?.MaxPasswordAge),
    ...[String(isSecured.has(user.id)), ...keysOf(user.id), ...NO_CERTIFICATES],
  ])
  return [COLUMNS, root, ...rows].map((fields) => fields.map(quoted).join(',')).join('\n')
}

function passwordFields(user: UserRow, maxAge: number | undefined): string[] {
  const { passwordChangedAt: changedAt, passwordLastUsedAt: usedAt } = user
  if (!user.passwordCreatedAt || !changedAt) return NO_PASSWORD
  const next = maxAge === undefined ? 'N/A' : moment(new Date(changedAt.getTime() + maxAge * DAY_MS))
  return ['true', usedAt ? moment(usedAt) : 'no_information', moment(changedAt), next]
}

function keyFields(key: store.ReportedKey | undefined): string[] {
  if (!key) return ['false', 'N/A', 'N/A', 'N/A', 'N/A']
  const used = key.usedAt ? moment(key.usedAt) : 'N/A'
  return [String(key.status === 'Active'), moment(key.createdAt), used, key.region ?? 'N/A', key.service ?? 'N/A']
}

const moment = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, '+00:00')

/** Names of users may have commas. */
const quoted = (field: string): string => (field.includes(',') ? `"${field}"` : field)
