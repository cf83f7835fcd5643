/**
 * What the text of one setting means. Each throws an Error that says what is wrong, to be read behind the setting's name.
 */
import { isIP } from 'node:net'
import type { LogLevel } from '@musterbook/server'
import { LOG_LEVELS } from './settings.ts'

const wrong = (message: string): never => {
  throw new Error(message)
}
export const text = (value: string) => value
export const yes = (value: string) =>
  ['true', '1', 'yes'].includes(value)
    ? true
    : ['false', '0', 'no'].includes(value)
      ? false
      : wrong(`is '${value}': it must be true or false`)
export const number = (value: string, from: number, to: number) =>
  /^\d{1,10}$/.test(value) && Number(value) >= from && Number(value) <= to
    ? Number(value)
    : wrong(`is '${value}': it must be a number from ${from} to ${to}`)
export const port = (value: string) => number(value, 0, 65_535)
export const count = (value: string) => number(value, 1, 1_000_000_000)
export const countOrNone = (value: string) => number(value, 0, 1_000_000_000)
/** Host names, wildcards of one label, and addresses: what a certificate can name. */
export const hostNames = (value: string) => {
  const names = value
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean)
  const odd = names.find((name) => isIP(name) === 0 && !/^(\*\.)?[\w-]+(\.[\w-]+)*$/.test(name))
  return odd === undefined ? names : wrong(`has '${odd}', which is neither a host name nor an address`)
}
export const region = (value: string) =>
  /^[a-z0-9-]{1,63}$/.test(value) ? value : wrong(`is '${value}': a region is made of a-z, 0-9 and -`)
export const account = (value: string) =>
  /^\d{12}$/.test(value) ? value : wrong(`is '${value}': an account id has 12 digits`)
export const accessKey = (value: string) =>
  /^\w{16,128}$/.test(value) ? value : wrong(`is '${value}': an access key id has 16 to 128 letters and digits`)
export const secret = (value: string) =>
  /^[A-Za-z0-9/+=_.-]{16,256}$/.test(value) ? value : wrong('must have 16 to 256 letters, digits and / + = _ . -')
export const databaseUrl = (value: string) =>
  /^postgres(ql)?:\/\//.test(value) && URL.canParse(value)
    ? value
    : wrong(
        'must look like postgres://user:password@host:5432/database, or postgres://user@localhost/database?host=/socket/folder',
      )
export const httpsUrl = (value: string) =>
  value.startsWith('https://') && URL.canParse(value)
    ? new URL(value).origin
    : wrong(`is '${value}': it must look like https://host:port`)
export const httpUrl = (value: string) =>
  /^https?:\/\//.test(value) && URL.canParse(value)
    ? value
    : wrong(`is '${value}': it must look like https://host:port/path`)
export const kmsKey = (value: string) =>
  /^arn:[\w-]+:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/.test(value)
    ? value
    : wrong(`is '${value}': it must look like arn:aws:kms:region:account:key/id`)
export const kmsEndpoint = (value: string) =>
  /^https?:\/\//.test(value) && URL.canParse(value)
    ? new URL(value).origin
    : wrong(`is '${value}': it must look like https://host`)
export const vaultKey = (value: string) =>
  URL.canParse(value) && /^https?:.*\/v1\/.+\/keys\/[\w.-]+$/.test(value)
    ? value
    : wrong(`is '${value}': it must look like https://host:8200/v1/transit/keys/name`)
export const auditMode = (value: string) =>
  value === 'batched' || value === 'fail-closed' ? value : wrong(`is '${value}': it must be batched or fail-closed`)
export const oidcNetworks = (value: string) =>
  value === 'public' || value === 'private' || value === 'loopback'
    ? value
    : wrong(`is '${value}': it must be public, private or loopback`)
export const logLevel = (value: string) =>
  (LOG_LEVELS as readonly string[]).includes(value)
    ? (value as LogLevel)
    : wrong(`is '${value}': it must be one of ${LOG_LEVELS.join(', ')}`)

const UNIT_HOURS: Record<string, number> = { m: 1 / 60, h: 1, d: 24 }
/** Infinity for none. */
export const hours = (value: string) => {
  if (value === 'none') return Number.POSITIVE_INFINITY
  const [, count, unit = ''] = /^(\d{1,6})([mhd])$/.exec(value) ?? []
  return count && Number(count) > 0
    ? Number(count) * (UNIT_HOURS[unit] ?? 1)
    : wrong(`is '${value}': it must look like 30m, 24h or 7d, or be none`)
}
export const tags = (value: string): Record<string, string> =>
  Object.fromEntries(
    value.split(',').map((pair) => {
      const equals = pair.indexOf('=')
      return equals > 0
        ? [pair.slice(0, equals), pair.slice(equals + 1)]
        : wrong(`is '${value}': it must look like Env=prod,Role=web`)
    }),
  )
