/** A server process with what it stands on: the data folder, PostgreSQL, certificates. `serve` and `up` call it. */
import { readFile } from 'node:fs/promises'
import { AGENT_VERSION } from '@musterbook/agent/platform'
import {
  createLog,
  type EmbeddedPostgres,
  type KeyAndCertificate,
  type Logger,
  parseKeysFile,
  type ServerProcess,
  startPostgres,
  startServer,
} from '@musterbook/server'
import { AGENT } from './agent.ts'
import { keepCertificate } from './certificate-renewal.ts'
import type { Config } from './config.ts'
import { ConfigError } from './config-error.ts'
import { makeDataFolder, ownCertificate, serverCertificate, writeEnvironment } from './data-folder.ts'
import { rootKeys } from './root-key.ts'

export interface Serving extends AsyncDisposable {
  server: ServerProcess
  endpoint: string
  nodeEndpoint: string
  environmentFile: string
  log: Logger
  /** Settles when the process cannot go on: PostgreSQL has ended by itself. */
  failed: Promise<string>
}

export async function serve(config: Config, signal: AbortSignal): Promise<Serving> {
  const log = createLog(config.logLevel)
  await makeDataFolder(config.data)
  await checkOidcKeys(config.oidcKeysFile)
  const rootKey = await rootKeys(config)
  const [tls, postgres] = await Promise.all([certificateOf(config), embedded(config, log, signal)])
  let server: ServerProcess
  const name = publicName(config)
  try {
    server = await startServer({
      database: postgres?.address ?? { url: config.databaseUrl! },
      rootKey,
      region: config.region,
      account: config.account,
      rootCredentials: config.rootCredentials,
      host: config.host,
      publicName: name,
      port: config.port,
      tlsPort: config.tlsPort,
      tls,
      maxConnections: config.maxConnections,
      throttle: config.throttle,
      settings: {
        maxStandardParameters: config.maxStandardParameters,
        maxAdvancedParameters: config.maxAdvancedParameters,
        commandRetentionDays: config.commandRetentionDays,
        maxOutputBytes: config.maxOutputBytes,
        maxActivationDays: config.maxActivationDays,
        connectionLostMinutes: config.connectionLostMinutes,
        keyRotationDays: config.keyRotationDays,
        audit: config.audit,
        auditRetentionDays: config.auditRetentionDays,
        commandOutput: config.commandOutput,
        trailBuckets: config.trailBuckets,
        trailDeliverySeconds: config.trailDeliverySeconds,
        notificationWebhook: config.notificationWebhook,
        oidcKeysFile: config.oidcKeysFile,
        oidcNetworks: config.oidcNetworks,
        agentFile: AGENT,
        agentVersion: AGENT_VERSION,
      },
      log,
    })
  } catch (error) {
    await postgres?.stop()
    throw error
  }
  const endpoint = `http://${bracketed(name)}:${server.listener.port}`
  const renewal = keepCertificate({
    read: () => certificateOf(config),
    current: tls,
    use: (certificate) => server.listener.useCertificate(certificate),
    log,
  })
  const stop = async () => {
    await renewal[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
    await postgres?.stop()
  }
  const environmentFile = await writeEnvironment(config.data, {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ACCESS_KEY_ID: server.root.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.root.secretAccessKey,
    AWS_REGION: config.region,
    AWS_DEFAULT_REGION: config.region, // version 1 of the AWS CLI reads only this one
  }).catch(async (error) => {
    await stop()
    throw error
  })
  return {
    server,
    endpoint,
    nodeEndpoint: `https://${bracketed(name)}:${server.listener.tlsPort}`,
    environmentFile,
    log,
    failed: postgres
      ? postgres.exited.then(() => 'PostgreSQL has ended; see postgres.log in the data folder')
      : new Promise(() => {}),
    [Symbol.asyncDispose]: stop,
  }
}

/** Told at the start rather than when the first token comes. */
async function checkOidcKeys(path: string | undefined): Promise<void> {
  if (path === undefined) return
  try {
    parseKeysFile(await readFile(path, 'utf8'))
  } catch (error) {
    throw new ConfigError(
      `--oidc-keys-file (MUSTERBOOK_OIDC_KEYS_FILE) ${path} cannot be used: ${error instanceof Error ? error.message : error}`,
    )
  }
}

async function embedded(config: Config, log: Logger, signal: AbortSignal): Promise<EmbeddedPostgres | undefined> {
  if (config.databaseUrl) return undefined
  return startPostgres({ folder: config.data, log, signal, user: config.postgresUser })
}

const everyAddress = (host: string) => host === '0.0.0.0' || host === '::'

/** What clients and nodes of this installation dial. */
const publicName = ({ host, hostNames }: Config): string =>
  hostNames.find((name) => !name.startsWith('*')) ?? (everyAddress(host) ? '127.0.0.1' : host)

/** It listens for other machines, and nobody has said by what name they know this one. */
export const isNameless = (config: Config): boolean => everyAddress(config.host) && publicName(config) === '127.0.0.1'

/** Where the server listens on a particular address, nodes may dial that. */
const certificateNames = ({ host, hostNames }: Config): string[] =>
  everyAddress(host) ? hostNames : [...hostNames, host]

/** Nodes and `up` know the authority of the data folder, which is there beside a certificate of one's own. */
async function certificateOf(config: Config): Promise<KeyAndCertificate> {
  const made = await serverCertificate(config.data, certificateNames(config))
  return config.certificate ? ownCertificate(config.certificate) : made
}

const bracketed = (name: string) => (name.includes(':') ? `[${name}]` : name)
