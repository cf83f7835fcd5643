/**
 * The settings of the one binary, each a flag with an environment twin, and the commands that know them. `--help` is made
 * from these tables; config.ts reads what stands here.
 */
import type { LogLevel } from '@musterbook/server'

export const COMMANDS = {
  up: 'run everything: PostgreSQL, the control plane, and this machine as the first node (what npm start does)',
  serve: 'run the control plane alone',
  agent: 'run the agent of a node; the first time with an activation (--activation-id, --activation-code)',
  enroll: 'make an activation and print the command that turns a machine into a node',
  doctor: 'say in plain words what is wrong: with the control plane here, or with the way from a node to it',
  migrate: 'bring the database up to date and stop',
} as const
export type Command = keyof typeof COMMANDS

/** Commands with words of their own, which the table of settings does not know; their usage and work are in tools.ts. */
export const TOOLS = {
  follow: 'show the output of a command on all of its nodes while they run it',
  keys: 'change the root key while everything runs, and tell which one is in use',
  session: 'a shell on a node, without session-manager-plugin',
  forward: 'a local port that leads to a port of a node, or to a host that the node reaches',
  sessions: 'play, verify or search the recordings of sessions',
  accounts: 'create, list, disable and enable accounts, each with a root key of its own',
  explain: 'say why a call was denied, or would be: which statement, which condition, which permission is missing',
  trail: 'verify: find out whether the audit is as it was written, and name the first bad record',
  policy: 'lint: name the grants of node roles that reach beyond the node itself',
} as const
export type ToolName = keyof typeof TOOLS

export interface Setting {
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
export const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

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
  maxOutputBytes: {
    flag: 'max-output-bytes',
    variable: 'MUSTERBOOK_MAX_OUTPUT_BYTES',
    value: 'bytes',
    help: 'output that is kept of one command on one node; the rest is dropped, and a last line says so',
    fallback: '10737418240',
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
    help: 'how long the line is good, such as 30m, 24h or 7d, or none; more than 30 days if --max-activation-days of the server allows it',
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

export type SettingName = keyof typeof SETTINGS
