/**
 * Arguments and environment become a Config here and nowhere else. A bad value is one line that names the setting.
 */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import type { LogLevel, OutputDestination } from '@musterbook/server'
import { ConfigError } from './config-error.ts'
import {
  accessKey,
  account,
  auditMode,
  count,
  countOrNone,
  databaseUrl,
  hostNames,
  hours,
  httpsUrl,
  httpUrl,
  kmsEndpoint,
  kmsKey,
  logLevel,
  number,
  oidcNetworks,
  port,
  region,
  secret,
  tags,
  text,
  vaultKey,
  yes,
} from './setting-values.ts'
import {
  COMMANDS,
  type Command,
  DEFAULT_NODE_ENDPOINT,
  SETTINGS,
  type Setting,
  type SettingName,
  TOOLS,
} from './settings.ts'

export interface KmsSettings {
  /** The region is that of the ARN. */
  keyArn: string
  endpoint: string | undefined
  credentialsFile: string
  ca: string | undefined
}

export interface VaultSettings {
  /** As Vault names its keys: https://host:8200/v1/transit/keys/name */
  keyUrl: string
  tokenFile: string
  ca: string | undefined
}

/** One of them at most; none: a file in the data folder. */
export interface RootKeySettings {
  file?: string | undefined
  variable?: string | undefined
  command?: string | undefined
  kms?: KmsSettings | undefined
  vault?: VaultSettings | undefined
}

export interface Config {
  command: Command | 'help' | 'version'
  helpFor?: Command
  data: string
  host: string
  port: number
  tlsPort: number
  hostNames: string[]
  /** Files of a certificate that the authority of the data folder did not make. */
  certificate: { cert: string; key: string } | undefined
  noAgent: boolean
  region: string
  account: string | undefined
  databaseUrl: string | undefined
  postgresUser: string | undefined
  rootKey: RootKeySettings
  rootCredentials: { accessKeyId: string; secretAccessKey: string } | undefined
  maxConnections: number
  throttle: { unsignedPerMinute: number; failedSignaturesPerMinute: number; callsPerSecond: number }
  maxStandardParameters: number
  maxAdvancedParameters: number
  commandRetentionDays: number
  maxOutputBytes: number
  maxActivationDays: number
  connectionLostMinutes: number
  keyRotationDays: number
  audit: 'batched' | 'fail-closed'
  auditRetentionDays: number
  commandOutput: OutputDestination | undefined
  trailBuckets: OutputDestination
  trailDeliverySeconds: number
  notificationWebhook: string | undefined
  oidcKeysFile: string | undefined
  oidcNetworks: 'public' | 'private' | 'loopback'
  endpoint: string
  ca: string | undefined
  activation: { id: string; code: string } | undefined
  enrolment: { official: boolean; tags: Record<string, string>; ttlHours: number; count: number }
  logLevel: LogLevel
}

/** Reads arguments and environment. Throws ConfigError with one line for a person. */
export function readConfig(args: string[], environment: NodeJS.ProcessEnv = process.env): Config {
  const { words, flags } = readFlags(args)
  const [word = 'help', ...rest] = words
  const wantsVersion = flags.get('version') !== undefined
  const wantsHelp = flags.get('help') !== undefined || (word === 'help' && !wantsVersion)
  const command = wantsHelp ? 'help' : wantsVersion ? 'version' : asCommand(word)
  if (command !== 'help' && rest.length > 0) throw new ConfigError(`'${rest[0]}' is one word too many after '${word}'`)
  const helpFor = wantsHelp ? [word, ...rest].find((each): each is Command => Object.hasOwn(COMMANDS, each)) : undefined
  const read = reader(flags, environment, command)
  const data = resolve(read('data', text) ?? defaultData(environment))
  const commandOutput = outputDestination(
    read('commandOutput', text) ?? join(data, 'command-output'),
    read('region', region) ?? 'us-east-1',
    read('outputAccessKeyId', text),
    read('outputSecretAccessKey', text),
  )
  const config: Config = {
    command,
    helpFor,
    data,
    host: read('host', text) ?? '127.0.0.1',
    port: read('port', port) ?? 8770,
    tlsPort: read('tlsPort', port) ?? 8771,
    hostNames: read('hostNames', hostNames) ?? [],
    certificate: ownCertificate(read('tlsCert', resolve), read('tlsKey', resolve)),
    noAgent: read('noAgent', yes) ?? false,
    region: read('region', region) ?? 'us-east-1',
    account: read('account', account),
    databaseUrl: read('databaseUrl', databaseUrl),
    postgresUser: read('postgresUser', text),
    rootKey: rootKeyOf(data, {
      file: read('rootKeyFile', text),
      variable: read('rootKey', text),
      command: read('rootKeyCommand', text),
      kms: read('rootKeyKms', kmsKey),
      vault: read('rootKeyVault', vaultKey),
      endpoint: read('rootKeyKmsEndpoint', kmsEndpoint),
      credentialsFile: read('rootKeyKmsCredentials', text),
      tokenFile: read('rootKeyVaultToken', text),
      ca: read('rootKeyCa', text),
    }),
    rootCredentials: rootCredentials(read('rootAccessKeyId', accessKey), read('rootSecretAccessKey', secret)),
    maxConnections: read('maxConnections', count) ?? 20_000,
    throttle: {
      unsignedPerMinute: read('maxRegistrationsPerMinute', countOrNone) ?? 30_000,
      failedSignaturesPerMinute: read('maxFailedSignaturesPerMinute', countOrNone) ?? 6_000,
      callsPerSecond: read('maxCallsPerSecond', countOrNone) ?? 0,
    },
    maxStandardParameters: read('maxStandardParameters', count) ?? 10_000,
    maxAdvancedParameters: read('maxAdvancedParameters', count) ?? 100_000,
    commandRetentionDays: read('commandRetentionDays', count) ?? 30,
    maxOutputBytes: read('maxOutputBytes', (value) => number(value, 1, Number.MAX_SAFE_INTEGER)) ?? 10 * 1024 ** 3,
    maxActivationDays: read('maxActivationDays', (value) => number(value, 0, 36_500)) ?? 30,
    connectionLostMinutes: read('connectionLostMinutes', count) ?? 15,
    keyRotationDays: read('keyRotationDays', (value) => number(value, 0, 36_500)) ?? 0,
    audit: read('audit', auditMode) ?? 'batched',
    auditRetentionDays: read('auditRetentionDays', (value) => number(value, 1, 36_500)) ?? 90,
    commandOutput,
    trailBuckets: trailBuckets(read('trailFolder', text), commandOutput, data),
    trailDeliverySeconds: read('trailDeliverySeconds', (value) => number(value, 1, 86_400)) ?? 300,
    notificationWebhook: read('notificationWebhook', httpUrl),
    oidcKeysFile: read('oidcKeysFile', resolve),
    oidcNetworks: read('oidcNetworks', oidcNetworks) ?? 'public',
    endpoint: read('endpoint', httpsUrl) ?? DEFAULT_NODE_ENDPOINT,
    ca: read('ca', text),
    activation: activation(read('activationId', text), read('activationCode', text)),
    enrolment: {
      official: whichAgent(read('own', yes) ?? false, read('official', yes) ?? false),
      tags: read('tags', tags) ?? {},
      ttlHours: read('ttl', hours) ?? 24,
      count: read('count', (value) => number(value, 1, 1_000)) ?? 1,
    },
    logLevel: read('logLevel', logLevel) ?? (command === 'up' ? 'warn' : 'info'),
  }
  // They are read: what this process starts (PostgreSQL, the agent, the root key command) has no business with them.
  for (const { secret, variable } of Object.values<Setting>(SETTINGS)) if (secret) delete environment[variable]
  if (config.ca === undefined && existsSync(join(data, 'ca.pem'))) config.ca = join(data, 'ca.pem')
  return config
}

function asCommand(word: string): Command {
  if (Object.hasOwn(COMMANDS, word)) return word as Command
  throw new ConfigError(
    `there is no command '${word}': the commands are ${[...Object.keys(COMMANDS), ...Object.keys(TOOLS)].join(', ')}`,
  )
}

/** The data folder of a command with words of its own that was told none. */
export const defaultDataFolder = (): string => resolve(process.env.MUSTERBOOK_DATA || defaultData(process.env))

function defaultData(environment: NodeJS.ProcessEnv): string {
  if (process.getuid?.() === 0) return '/var/lib/musterbook'
  const share = environment.XDG_DATA_HOME
  return join(share && isAbsolute(share) ? share : join(homedir(), '.local/share'), 'musterbook')
}

const SWITCHES = new Set([
  'help',
  'version',
  ...Object.values(SETTINGS).flatMap((each: Setting) => (each.value ? [] : [each.flag])),
])

function readFlags(args: string[]): { words: string[]; flags: Map<string, string> } {
  const known = new Set(Object.values(SETTINGS).flatMap(({ flag }) => (flag ? [flag as string] : [])))
  const words: string[] = []
  const flags = new Map<string, string>()
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!
    if (arg === '-h') flags.set('help', 'true')
    else if (!arg.startsWith('--')) words.push(arg)
    else {
      const [name = '', inline] = split(arg.slice(2))
      if (!SWITCHES.has(name) && !known.has(name))
        throw new ConfigError(`there is no setting --${name}: 'musterbook --help' lists them`)
      const value = inline ?? (SWITCHES.has(name) ? 'true' : args[++at])
      if (value === undefined || (inline === undefined && value.startsWith('--')))
        throw new ConfigError(`--${name} needs a value`)
      flags.set(name, value)
    }
  }
  return { words, flags }
}

function split(text: string): [string, string | undefined] {
  const equals = text.indexOf('=')
  return equals < 0 ? [text, undefined] : [text.slice(0, equals), text.slice(equals + 1)]
}

/** Flags win over variables. A flag that the command does not know is refused; a variable is left to the others. */
function reader(flags: Map<string, string>, environment: NodeJS.ProcessEnv, command: Config['command']) {
  return <T>(name: SettingName, parse: (text: string) => T): T | undefined => {
    const setting: Setting = SETTINGS[name]
    const flag = setting.flag ? flags.get(setting.flag) : undefined
    const value = flag ?? environment[setting.variable]
    if (value === undefined || value === '') return undefined
    if (command === 'help' || command === 'version') return undefined // they work whatever else is wrong
    const knows = setting.commands.includes(command)
    if (!knows && flag !== undefined) throw new ConfigError(`--${setting.flag} says nothing to '${command}'`)
    if (!knows) return undefined
    try {
      return parse(value)
    } catch (error) {
      const where = flag === undefined ? setting.variable : `--${setting.flag} (${setting.variable})`
      throw new ConfigError(`${where} ${error instanceof Error ? error.message : error}`)
    }
  }
}
function outputDestination(
  place: string,
  region: string,
  accessKeyId: string | undefined,
  secretAccessKey: string | undefined,
): OutputDestination | undefined {
  if (place === 'none') return undefined
  if (!/^https?:\/\//.test(place)) return { folder: resolve(place) }
  if (!URL.canParse(place)) throw new ConfigError(`--command-output is '${place}', which is no address`)
  if (!accessKeyId || !secretAccessKey)
    throw new ConfigError(
      '--command-output names a store: MUSTERBOOK_COMMAND_OUTPUT_ACCESS_KEY_ID and MUSTERBOOK_COMMAND_OUTPUT_SECRET_ACCESS_KEY must be set',
    )
  return { endpoint: new URL(place).origin, region, accessKeyId, secretAccessKey }
}

function trailBuckets(
  folder: string | undefined,
  store: OutputDestination | undefined,
  data: string,
): OutputDestination {
  if (folder !== undefined) return { folder: resolve(folder) }
  return store && !('folder' in store) ? store : { folder: join(data, 'trails') }
}

function rootKeyOf(
  data: string,
  told: {
    [name in 'file' | 'variable' | 'command' | 'kms' | 'vault' | 'endpoint' | 'credentialsFile' | 'tokenFile' | 'ca']:
      | string
      | undefined
  },
): RootKeySettings {
  const { file, variable, command, kms, vault, endpoint, ca } = told
  const places = { rootKeyFile: file, rootKey: variable, rootKeyCommand: command, rootKeyKms: kms, rootKeyVault: vault }
  const given = Object.entries(places).filter(([, value]) => value !== undefined)
  if (given.length > 1) {
    const names = given.map(([name]) => SETTINGS[name as keyof typeof places].variable)
    throw new ConfigError(`${names.join(' and ')} exclude each other: the root key comes from one place`)
  }
  const credentialsFile = told.credentialsFile ?? join(data, 'root.key.credentials')
  const tokenFile = told.tokenFile ?? join(data, 'root.key.token')
  return {
    file,
    variable,
    command,
    kms: kms === undefined ? undefined : { keyArn: kms, endpoint, credentialsFile, ca },
    vault: vault === undefined ? undefined : { keyUrl: vault, tokenFile, ca },
  }
}

function whichAgent(own: boolean, official: boolean): boolean {
  if (own && official) throw new ConfigError('--own and --official exclude each other: give one')
  return official
}

function rootCredentials(accessKeyId: string | undefined, secretAccessKey: string | undefined) {
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey }
  if (accessKeyId || secretAccessKey)
    throw new ConfigError(
      'MUSTERBOOK_ROOT_ACCESS_KEY_ID and MUSTERBOOK_ROOT_SECRET_ACCESS_KEY go together: give both or neither',
    )
  return undefined
}

function ownCertificate(cert: string | undefined, key: string | undefined) {
  if (cert && key) return { cert, key }
  if (cert || key) throw new ConfigError('--tls-cert and --tls-key go together: give both or neither')
  return undefined
}

function activation(id: string | undefined, code: string | undefined) {
  if (id && code) return { id, code }
  if (id || code) throw new ConfigError('--activation-id and --activation-code go together: give both or neither')
  return undefined
}
