/** A server process with what it stands on: the data folder, PostgreSQL, certificates. `serve` and `up` call it. */
import {
  createLog,
  type EmbeddedPostgres,
  type Logger,
  type ServerProcess,
  startPostgres,
  startServer,
} from '@musterbook/server'
import type { Config } from './config.ts'
import { makeDataFolder, rootKey, serverCertificate, writeEnvironment } from './data-folder.ts'

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
  const key = await rootKey(config.data, config.rootKeyFile)
  const [tls, postgres] = await Promise.all([
    serverCertificate(config.data, config.hostNames),
    embedded(config, log, signal),
  ])
  let server: ServerProcess
  const name = config.hostNames[0] ?? (['0.0.0.0', '::', '127.0.0.1'].includes(config.host) ? '127.0.0.1' : config.host)
  try {
    server = await startServer({
      database: postgres?.address ?? { url: config.databaseUrl! },
      rootKey: key,
      region: config.region,
      account: config.account,
      rootCredentials: config.rootCredentials,
      host: config.host,
      publicName: name,
      port: config.port,
      tlsPort: config.tlsPort,
      tls,
      maxConnections: config.maxConnections,
      settings: {
        maxStandardParameters: config.maxStandardParameters,
        maxAdvancedParameters: config.maxAdvancedParameters,
      },
      log,
    })
  } catch (error) {
    await postgres?.stop()
    throw error
  }
  const endpoint = `http://${bracketed(name)}:${server.listener.port}`
  const environmentFile = await writeEnvironment(config.data, {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ACCESS_KEY_ID: server.root.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.root.secretAccessKey,
    AWS_REGION: config.region,
    AWS_DEFAULT_REGION: config.region, // version 1 of the AWS CLI reads only this one
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
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await postgres?.stop()
    },
  }
}

async function embedded(config: Config, log: Logger, signal: AbortSignal): Promise<EmbeddedPostgres | undefined> {
  if (config.databaseUrl) return undefined
  return startPostgres({ folder: config.data, log, signal, user: config.postgresUser })
}

const bracketed = (name: string) => (name.includes(':') ? `[${name}]` : name)
