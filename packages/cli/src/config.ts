/**
 * The settings of the one binary: each a flag with an environment twin, parsed here and nowhere else. `--help` is made
 * from this table. A bad value is one line that names the setting.
 */
import { existsSync } from 'node:fs'
import { isIP } from 'node:net'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import type { LogLevel, OutputDestination } from '@musterbook/server'
import { TOOLS } from './tools.ts'

export const COMMANDS = {
  up: 'run everything: PostgreSQL, the control plane, and this machine as the first node (what npm start does)',
  serve: 'run the control plane alone',
  agent: 'run the agent of a node; the first time with an activation (--activation-id, --activation-code)',
  enroll: 'make an activation and print the command that turns a machine into a node',
  doctor: 'say in plain words what is wrong: with the control plane here, or with the way from a node to it',
  migrate: 'bring the database up to date and stop',
} as const
export type Command = keyof typeof COMMANDS

interface Setting {
  flag: string
  variable: string
  /** What stands for the value in --help; absent: a switch. */
  value?: string
  help: string
  fallback?: string
  /** Its variable leaves the environment once it is read. */
  secret?: true
  commands: readonly Command[]
}

/** pino's, from the least to the most silent. Named here, so that --help loads nothing else. */
const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

const SERVER = ['up', 'serve'] as const
const DATABASE = ['up', 'serve', 'migrate'] as const
const ALL = ['up', 'serve', 'agent', 'enroll', 'doctor', 'migrate'] as const

/** Where nodes dial unless told otherwise. */
export const DEFAULT_NODE_ENDPOINT = 'https://127.0.0.1:8771'

export const SETTINGS = {
  data: {
    flag: 'data',
    variable: 'MUSTERBOOK_DATA',
    value: 'folder',
    help: 'the data folder',
    fallback: '/var/lib/musterbook for root, otherwise ~/.local/share/musterbook',
    commands: ALL,
  },
  host: {
    flag: 'host',
    variable: 'MUSTERBOOK_HOST',
    value: 'address',
    help: 'the address to listen on; 0.0.0.0 for every one',
    fallback: '127.0.0.1',
    commands: SERVER,
  },
  port: {
    flag: 'port',
    variable: 'MUSTERBOOK_PORT',
    value: 'port',
    help: 'the port of the AWS endpoint over HTTP',
    fallback: '8770',
    commands: SERVER,
  },
  tlsPort: {
    flag: 'tls-port',
    variable: 'MUSTERBOOK_TLS_PORT',
    value: 'port',
    help: 'the port of the same over TLS, which nodes dial',
    fallback: '8771',
    commands: SERVER,
  },
  hostNames: {
    flag: 'host-names',
    variable: 'MUSTERBOOK_HOST_NAMES',
    value: 'names',
    help: 'further names and addresses for the server certificate, separated by commas',
    fallback: 'none',
    commands: SERVER,
  },
  tlsCert: {
    flag: 'tls-cert',
    variable: 'MUSTERBOOK_TLS_CERT_FILE',
    value: 'file',
    help: 'a certificate of your own with its chain, PEM; taken anew within a minute when the file changes',
    fallback: "one of the data folder's authority",
    commands: SERVER,
  },
  tlsKey: {
    flag: 'tls-key',
    variable: 'MUSTERBOOK_TLS_KEY_FILE',
    value: 'file',
    help: 'its key, PEM, 0600',
    commands: SERVER,
  },
  noAgent: {
    flag: 'no-agent',
    variable: 'MUSTERBOOK_NO_AGENT',
    help: 'do not enrol this machine as a node',
    commands: ['up'],
  },
  region: {
    flag: 'region',
    variable: 'MUSTERBOOK_REGION',
    value: 'name',
    help: 'the region of a new installation, and of this node',
    fallback: 'us-east-1',
    commands: ALL,
  },
  account: {
    flag: 'account',
    variable: 'MUSTERBOOK_ACCOUNT_ID',
    value: 'id',
    help: 'the account id of a new installation, 12 digits',
    fallback: 'chosen at random',
    commands: SERVER,
  },
  databaseUrl: {
    flag: 'database-url',
    variable: 'DATABASE_URL',
    value: 'url',
    help: 'a PostgreSQL 15 or newer to use instead of the embedded one (better given as a variable: flags show in process lists)',
    fallback: 'the embedded one',
    secret: true,
    commands: DATABASE,
  },
  postgresUser: {
    flag: 'postgres-user',
    variable: 'MUSTERBOOK_POSTGRES_USER',
    value: 'user',
    help: 'as root: the user that the embedded PostgreSQL runs as',
    fallback: 'postgres, or nobody',
    commands: DATABASE,
  },
  rootKeyFile: {
    flag: 'root-key-file',
    variable: 'MUSTERBOOK_ROOT_KEY_FILE',
    value: 'file',
    help: 'the file with the root key, 32 bytes in base 64; processes on one database share it',
    fallback: '<data>/root.key, made at the first start',
    commands: SERVER,
  },
  // No flag: the process list would show it.
  rootKey: {
    flag: '',
    variable: 'MUSTERBOOK_ROOT_KEY',
    value: 'key',
    help: 'the root key itself, which then lies in no file; taken out of the environment once it is read',
    secret: true,
    commands: SERVER,
  },
  rootKeyCommand: {
    flag: 'root-key-command',
    variable: 'MUSTERBOOK_ROOT_KEY_COMMAND',
    value: 'command',
    help: 'a command that prints the root key within 10 seconds, run by sh at every start',
    commands: SERVER,
  },
  rootKeyKms: {
    flag: 'root-key-kms',
    variable: 'MUSTERBOOK_ROOT_KEY_KMS',
    value: 'arn',
    help: 'a key of AWS KMS, or of what speaks its protocol, that wraps the root key; <data>/root.key.wrapped is what it made',
    commands: SERVER,
  },
  rootKeyKmsEndpoint: {
    flag: 'root-key-kms-endpoint',
    variable: 'MUSTERBOOK_ROOT_KEY_KMS_ENDPOINT',
    value: 'url',
    help: 'where that KMS is',
    fallback: 'that of AWS in the region of the key',
    commands: SERVER,
  },
  rootKeyKmsCredentials: {
    flag: 'root-key-kms-credentials',
    variable: 'MUSTERBOOK_ROOT_KEY_KMS_CREDENTIALS',
    value: 'file',
    help: 'the credentials for it, in the form of an AWS credentials file; read again at each use',
    fallback: '<data>/root.key.credentials',
    commands: SERVER,
  },
  rootKeyVault: {
    flag: 'root-key-vault',
    variable: 'MUSTERBOOK_ROOT_KEY_VAULT',
    value: 'url',
    help: 'a key of the transit engine of HashiCorp Vault that wraps the root key: https://host:8200/v1/transit/keys/name',
    commands: SERVER,
  },
  rootKeyVaultToken: {
    flag: 'root-key-vault-token',
    variable: 'MUSTERBOOK_ROOT_KEY_VAULT_TOKEN_FILE',
    value: 'file',
    help: 'the file with the token for it; read again at each use',
    fallback: '<data>/root.key.token',
    commands: SERVER,
  },
  rootKeyCa: {
    flag: 'root-key-ca',
    variable: 'MUSTERBOOK_ROOT_KEY_CA',
    value: 'file',
    help: 'the certificate of the authority that the KMS or Vault is known by',
    fallback: 'the authorities of this system',
    commands: SERVER,
  },
  rootAccessKeyId: {
    flag: 'root-access-key-id',
    variable: 'MUSTERBOOK_ROOT_ACCESS_KEY_ID',
    value: 'id',
    help: 'the root access key of a new installation',
    fallback: 'generated',
    commands: SERVER,
  },
  // No flag: the process list would show it.
  rootSecretAccessKey: {
    flag: '',
    variable: 'MUSTERBOOK_ROOT_SECRET_ACCESS_KEY',
    value: 'secret',
    help: 'its secret, 16 characters or more (no flag: the process list would show it)',
    fallback: 'generated',
    secret: true,
    commands: SERVER,
  },
  maxConnections: {
    flag: 'max-connections',
    variable: 'MUSTERBOOK_MAX_CONNECTIONS',
    value: 'number',
    help: 'connections that are open at a time',
    fallback: '20000',
    commands: SERVER,
  },
  maxRegistrationsPerMinute: {
    flag: 'max-registrations-per-minute',
    variable: 'MUSTERBOOK_MAX_REGISTRATIONS_PER_MINUTE',
    value: 'number',
    help: 'registrations of nodes, and other calls without a signature, of one address; 0: no limit',
    fallback: '30000',
    commands: SERVER,
  },
  maxFailedSignaturesPerMinute: {
    flag: 'max-failed-signatures-per-minute',
    variable: 'MUSTERBOOK_MAX_FAILED_SIGNATURES_PER_MINUTE',
    value: 'number',
    help: 'signatures of one address that may be refused before it has to wait; 0: no limit',
    fallback: '6000',
    commands: SERVER,
  },
  maxCallsPerSecond: {
    flag: 'max-calls-per-second',
    variable: 'MUSTERBOOK_MAX_CALLS_PER_SECOND',
    value: 'number',
    help: 'calls of one user, role session or node at one server process; 0: no limit',
    fallback: '0',
    commands: SERVER,
  },
  maxStandardParameters: {
    flag: 'max-standard-parameters',
    variable: 'MUSTERBOOK_MAX_STANDARD_PARAMETERS',
    value: 'number',
    help: 'standard parameters per account and region',
    fallback: '10000',
    commands: SERVER,
  },
  maxAdvancedParameters: {
    flag: 'max-advanced-parameters',
    variable: 'MUSTERBOOK_MAX_ADVANCED_PARAMETERS',
    value: 'number',
    help: 'advanced parameters per account and region',
    fallback: '100000',
    commands: SERVER,
  },
  commandRetentionDays: {
    flag: 'command-retention-days',
    variable: 'MUSTERBOOK_COMMAND_RETENTION_DAYS',
    value: 'days',
    help: 'how long ended commands and their output are kept',
    fallback: '30',
    commands: SERVER,
  },
  maxActivationDays: {
    flag: 'max-activation-days',
    variable: 'MUSTERBOOK_MAX_ACTIVATION_DAYS',
    value: 'days',
    help: 'how long an activation may live at most; 0: as long as its creator says',
    fallback: '30',
    commands: SERVER,
  },
  connectionLostMinutes: {
    flag: 'connection-lost-minutes',
    variable: 'MUSTERBOOK_CONNECTION_LOST_MINUTES',
    value: 'minutes',
    help: 'without a channel and without a ping for so long, a node is shown as ConnectionLost',
    fallback: '15',
    commands: SERVER,
  },
  keyRotationDays: {
    flag: 'key-rotation-days',
    variable: 'MUSTERBOOK_KEY_ROTATION_DAYS',
    value: 'days',
    help: 'nodes are asked to replace their key pair when it is so old; 0: never',
    fallback: '0',
    commands: SERVER,
  },
  commandOutput: {
    flag: 'command-output',
    variable: 'MUSTERBOOK_COMMAND_OUTPUT',
    value: 'folder|url',
    help: 'where output goes that a command wants in a bucket: a folder, or the http(s) address of an S3-compatible store; none: such commands are refused',
    fallback: '<data>/command-output',
    commands: SERVER,
  },
  // No flags: the process list would show them.
  outputAccessKeyId: {
    flag: '',
    variable: 'MUSTERBOOK_COMMAND_OUTPUT_ACCESS_KEY_ID',
    value: 'id',
    help: 'the access key for that store',
    commands: SERVER,
  },
  outputSecretAccessKey: {
    flag: '',
    variable: 'MUSTERBOOK_COMMAND_OUTPUT_SECRET_ACCESS_KEY',
    value: 'secret',
    help: 'its secret (no flag: the process list would show it)',
    secret: true,
    commands: SERVER,
  },
  notificationWebhook: {
    flag: 'notification-webhook',
    variable: 'MUSTERBOOK_NOTIFICATION_WEBHOOK',
    value: 'url',
    help: 'where notifications of commands are posted, in the form of Amazon SNS',
    fallback: 'none: commands that ask for notifications are refused',
    commands: SERVER,
  },
  audit: {
    flag: 'audit',
    variable: 'MUSTERBOOK_AUDIT',
    value: 'mode',
    help: 'batched: calls are recorded within a moment after their answer; fail-closed: what cannot be recorded is not done',
    fallback: 'batched',
    commands: SERVER,
  },
  auditRetentionDays: {
    flag: 'audit-retention-days',
    variable: 'MUSTERBOOK_AUDIT_RETENTION_DAYS',
    value: 'days',
    help: 'how long records of calls are kept',
    fallback: '90',
    commands: SERVER,
  },
  trailFolder: {
    flag: 'trail-folder',
    variable: 'MUSTERBOOK_TRAIL_FOLDER',
    value: 'folder',
    help: 'where trails deliver their files: a folder that has a folder for each bucket',
    fallback: 'the store of --command-output where that is one, otherwise <data>/trails',
    commands: SERVER,
  },
  trailDeliverySeconds: {
    flag: 'trail-delivery-seconds',
    variable: 'MUSTERBOOK_TRAIL_DELIVERY_SECONDS',
    value: 'seconds',
    help: 'how often a trail delivers what was recorded',
    fallback: '300',
    commands: SERVER,
  },
  oidcKeysFile: {
    flag: 'oidc-keys-file',
    variable: 'MUSTERBOOK_OIDC_KEYS_FILE',
    value: 'file',
    help: 'a JSON file { "<issuer>": { "keys": [...] } }: key sets of OIDC issuers that are not asked over the network',
    fallback: 'none: every issuer is asked',
    commands: SERVER,
  },
  oidcNetworks: {
    flag: 'oidc-networks',
    variable: 'MUSTERBOOK_OIDC_NETWORKS',
    value: 'networks',
    help: 'where OIDC issuers may lie: public, private (also addresses such as 10.0.0.0/8) or loopback (also this machine)',
    fallback: 'public',
    commands: SERVER,
  },
  endpoint: {
    flag: 'endpoint',
    variable: 'MUSTERBOOK_ENDPOINT',
    value: 'url',
    help: 'agent: the https address of the control plane to join',
    fallback: DEFAULT_NODE_ENDPOINT,
    commands: ['agent', 'enroll', 'doctor'],
  },
  ca: {
    flag: 'ca',
    variable: 'MUSTERBOOK_CA',
    value: 'file',
    help: "agent: the control plane's ca.pem",
    fallback: '<data>/ca.pem where there is one, otherwise the authorities of this system',
    commands: ['agent', 'enroll', 'doctor'],
  },
  own: {
    flag: 'own',
    variable: 'MUSTERBOOK_ENROLL_OWN',
    help: 'the machine runs the Musterbook agent (this is the default)',
    commands: ['enroll'],
  },
  official: {
    flag: 'official',
    variable: 'MUSTERBOOK_ENROLL_OFFICIAL',
    help: 'the machine runs the amazon-ssm-agent that is installed on it',
    commands: ['enroll'],
  },
  tags: {
    flag: 'tags',
    variable: 'MUSTERBOOK_ENROLL_TAGS',
    value: 'k=v,…',
    help: 'tags that the nodes get',
    fallback: 'none',
    commands: ['enroll'],
  },
  ttl: {
    flag: 'ttl',
    variable: 'MUSTERBOOK_ENROLL_TTL',
    value: 'time',
    help: 'how long the line is good, such as 30m, 24h or 7d',
    fallback: '24h',
    commands: ['enroll'],
  },
  count: {
    flag: 'count',
    variable: 'MUSTERBOOK_ENROLL_COUNT',
    value: 'number',
    help: 'for how many machines it is good, 1 to 1000',
    fallback: '1',
    commands: ['enroll'],
  },
  activationId: {
    flag: 'activation-id',
    variable: 'MUSTERBOOK_ACTIVATION_ID',
    value: 'id',
    help: 'agent: the activation that registers this machine, the first time',
    commands: ['agent'],
  },
  activationCode: {
    flag: 'activation-code',
    variable: 'MUSTERBOOK_ACTIVATION_CODE',
    value: 'code',
    help: 'agent: its code (good for nothing after the registration)',
    secret: true,
    commands: ['agent'],
  },
  logLevel: {
    flag: 'log-level',
    variable: 'MUSTERBOOK_LOG_LEVEL',
    value: 'level',
    help: LOG_LEVELS.join(', '),
    fallback: 'info for serve and agent, warn for up',
    commands: ALL,
  },
} as const satisfies Record<string, Setting>

type Name = keyof typeof SETTINGS

export class ConfigError extends Error {}

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
  return <T>(name: Name, parse: (text: string) => T): T | undefined => {
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

const wrong = (message: string): never => {
  throw new Error(message)
}
const text = (value: string) => value
const yes = (value: string) =>
  ['true', '1', 'yes'].includes(value)
    ? true
    : ['false', '0', 'no'].includes(value)
      ? false
      : wrong(`is '${value}': it must be true or false`)
const number = (value: string, from: number, to: number) =>
  /^\d{1,10}$/.test(value) && Number(value) >= from && Number(value) <= to
    ? Number(value)
    : wrong(`is '${value}': it must be a number from ${from} to ${to}`)
const port = (value: string) => number(value, 0, 65_535)
const count = (value: string) => number(value, 1, 1_000_000_000)
const countOrNone = (value: string) => number(value, 0, 1_000_000_000)
/** Host names, wildcards of one label, and addresses: what a certificate can name. */
const hostNames = (value: string) => {
  const names = value
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean)
  const odd = names.find((name) => isIP(name) === 0 && !/^(\*\.)?[\w-]+(\.[\w-]+)*$/.test(name))
  return odd === undefined ? names : wrong(`has '${odd}', which is neither a host name nor an address`)
}
const region = (value: string) =>
  /^[a-z0-9-]{1,63}$/.test(value) ? value : wrong(`is '${value}': a region is made of a-z, 0-9 and -`)
const account = (value: string) =>
  /^\d{12}$/.test(value) ? value : wrong(`is '${value}': an account id has 12 digits`)
const accessKey = (value: string) =>
  /^\w{16,128}$/.test(value) ? value : wrong(`is '${value}': an access key id has 16 to 128 letters and digits`)
const secret = (value: string) =>
  /^[A-Za-z0-9/+=_.-]{16,256}$/.test(value) ? value : wrong('must have 16 to 256 letters, digits and / + = _ . -')
const databaseUrl = (value: string) =>
  /^postgres(ql)?:\/\//.test(value) && URL.canParse(value)
    ? value
    : wrong(
        'must look like postgres://user:password@host:5432/database, or postgres://user@localhost/database?host=/socket/folder',
      )
const httpsUrl = (value: string) =>
  value.startsWith('https://') && URL.canParse(value)
    ? new URL(value).origin
    : wrong(`is '${value}': it must look like https://host:port`)
const httpUrl = (value: string) =>
  /^https?:\/\//.test(value) && URL.canParse(value)
    ? value
    : wrong(`is '${value}': it must look like https://host:port/path`)
const kmsKey = (value: string) =>
  /^arn:[\w-]+:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/.test(value)
    ? value
    : wrong(`is '${value}': it must look like arn:aws:kms:region:account:key/id`)
const kmsEndpoint = (value: string) =>
  /^https?:\/\//.test(value) && URL.canParse(value)
    ? new URL(value).origin
    : wrong(`is '${value}': it must look like https://host`)
const vaultKey = (value: string) =>
  URL.canParse(value) && /^https?:.*\/v1\/.+\/keys\/[\w.-]+$/.test(value)
    ? value
    : wrong(`is '${value}': it must look like https://host:8200/v1/transit/keys/name`)
const auditMode = (value: string) =>
  value === 'batched' || value === 'fail-closed' ? value : wrong(`is '${value}': it must be batched or fail-closed`)
const oidcNetworks = (value: string) =>
  value === 'public' || value === 'private' || value === 'loopback'
    ? value
    : wrong(`is '${value}': it must be public, private or loopback`)
const logLevel = (value: string) =>
  (LOG_LEVELS as readonly string[]).includes(value)
    ? (value as LogLevel)
    : wrong(`is '${value}': it must be one of ${LOG_LEVELS.join(', ')}`)

const UNIT_HOURS: Record<string, number> = { m: 1 / 60, h: 1, d: 24 }
const hours = (value: string) => {
  const [, count, unit = ''] = /^(\d{1,6})([mhd])$/.exec(value) ?? []
  return count && Number(count) > 0
    ? Number(count) * (UNIT_HOURS[unit] ?? 1)
    : wrong(`is '${value}': it must look like 30m, 24h or 7d`)
}
const tags = (value: string): Record<string, string> =>
  Object.fromEntries(
    value.split(',').map((pair) => {
      const equals = pair.indexOf('=')
      return equals > 0
        ? [pair.slice(0, equals), pair.slice(equals + 1)]
        : wrong(`is '${value}': it must look like Env=prod,Role=web`)
    }),
  )

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
