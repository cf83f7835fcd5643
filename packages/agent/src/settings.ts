// The agent's settings: one object in, checked once, everything optional filled in. The caller (the command line, a
// test, the bundle's entry) decides where the values come from; nothing here reads the environment.

import { readFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { LOG_LEVELS, type LogLevel } from './log.ts'

/** What a caller gives to `runAgent` and `registerAgent`. */
export interface AgentSettings {
  /** `https://host:port` of the control plane. */
  endpoint: string
  /** AWS region name, up to 100 of A-Z a-z 0-9 and `-`. */
  region: string
  /** Absolute path; made with mode 0700 when missing. One agent at a time works in it. */
  dataFolder: string
  /** PEM file with the certificates to trust instead of the system's. */
  caFile?: string | undefined
  /** Needed until the data folder holds an identity for this endpoint. */
  activation?: { id: string; code: string } | undefined
  /** Documents that run at once, 1 to 100; 5 as in amazon-ssm-agent. */
  commandWorkers?: number | undefined
  /** Documents that wait, 0 to 10,000; 5 as in amazon-ssm-agent. The next one is answered 51402. */
  commandQueue?: number | undefined
  /** Seconds between two UpdateInstanceInformation calls, 5 to 3,600; 300. */
  healthSeconds?: number | undefined
  /** Program and arguments that restart the machine after exit code 194; `shutdown -r +1`. */
  rebootCommand?: string[] | undefined
  /** The user whom shells run as when nothing else is said, made when missing; `ssm-user`. Empty: the agent's own. */
  sessionUser?: string | undefined
  /** Folder that does not outlive a restart of the machine; `<dataFolder>/runtime`, which is compared by boot id. */
  runtimeFolder?: string | undefined
  /** Program and arguments to which the internal executor argument is appended; this node and this script. */
  executorCommand?: string[] | undefined
  /** The agent ends when this process is no longer its parent. */
  parentPid?: number | undefined
  /** The agent ends when its standard input ends. */
  watchStdin?: boolean | undefined
  logLevel?: LogLevel | undefined
}

/** The same, complete and checked. */
export interface Settings extends Required<Omit<AgentSettings, 'caFile' | 'activation' | 'parentPid'>> {
  ca: string | undefined
  activation: { id: string; code: string } | undefined
  parentPid: number | undefined
}

/** A setting that cannot be used; the message names it and says what is wanted. */
export class SettingsError extends Error {
  override name = 'SettingsError'
}

/** Checks every setting and fills in the defaults; throws SettingsError naming the first bad one. */
export function parseSettings(given: AgentSettings): Settings {
  const dataFolder = absolute('dataFolder', given.dataFolder)
  return {
    endpoint: endpoint(given.endpoint),
    region: matching('region', given.region, /^[A-Za-z0-9-]{1,100}$/, 'a region name such as us-east-1'),
    dataFolder,
    ca: given.caFile === undefined ? undefined : certificates(given.caFile),
    activation: given.activation === undefined ? undefined : activation(given.activation),
    commandWorkers: whole('commandWorkers', given.commandWorkers ?? 5, 1, 100),
    commandQueue: whole('commandQueue', given.commandQueue ?? 5, 0, 10_000),
    healthSeconds: whole('healthSeconds', given.healthSeconds ?? 300, 5, 3600),
    rebootCommand: command('rebootCommand', given.rebootCommand ?? ['shutdown', '-r', '+1']),
    sessionUser: matching(
      'sessionUser',
      given.sessionUser ?? 'ssm-user',
      /^[A-Za-z0-9_.@-]{0,64}$/,
      'the name of a user',
    ),
    runtimeFolder: absolute('runtimeFolder', given.runtimeFolder ?? join(dataFolder, 'runtime')),
    executorCommand: command('executorCommand', given.executorCommand ?? [process.execPath, process.argv[1] ?? '']),
    parentPid: given.parentPid === undefined ? undefined : whole('parentPid', given.parentPid, 1, 2 ** 31),
    watchStdin: given.watchStdin ?? false,
    logLevel: logLevel(given.logLevel ?? 'info'),
  }
}

function endpoint(value: string): string {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '')
    throw new SettingsError('endpoint: must look like https://host:port')
  return url.origin
}

function certificates(path: string): string {
  try {
    const pem = readFileSync(path, 'utf8')
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem
  } catch (error) {
    throw new SettingsError(`caFile: ${path} cannot be read (${error instanceof Error ? error.message : error})`)
  }
  throw new SettingsError(`caFile: ${path} holds no PEM certificate`)
}

function activation(value: { id: string; code: string }): { id: string; code: string } {
  return {
    id: matching('activation id', value.id, /^[A-Za-z0-9-]{36,64}$/, 'the ActivationId of create-activation'),
    // The code is a secret: its own text never stands in the message.
    code: matching('activation code', value.code, /^\S{20,250}$/, 'the ActivationCode of create-activation'),
  }
}

function matching(name: string, value: string, pattern: RegExp, wanted: string): string {
  if (typeof value === 'string' && pattern.test(value)) return value
  throw new SettingsError(`${name}: must be ${wanted}`)
}

function absolute(name: string, value: string): string {
  if (typeof value === 'string' && isAbsolute(value)) return value
  throw new SettingsError(`${name}: must be an absolute path`)
}

function whole(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw new SettingsError(`${name}: must be a whole number from ${least} to ${most}`)
}

function command(name: string, value: string[]): string[] {
  if (Array.isArray(value) && value.length > 0 && value.every((part) => typeof part === 'string' && part !== ''))
    return value
  throw new SettingsError(`${name}: must be a program and its arguments`)
}

function logLevel(value: string): LogLevel {
  const found = LOG_LEVELS.find((level) => level === value)
  if (found) return found
  throw new SettingsError(`logLevel: must be one of ${LOG_LEVELS.join(', ')}`)
}
