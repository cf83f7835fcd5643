/** `migrate`: brings the database up to date and stops. */
import { capabilities, connectDatabase, createLog, migrate, startPostgres } from '@musterbook/server'
import type { Config } from './config.ts'
import { makeDataFolder } from './data-folder.ts'

export async function runMigrations(config: Config): Promise<string> {
  if (!config.databaseUrl) await makeDataFolder(config.data)
  const log = createLog(config.logLevel)
  const postgres = config.databaseUrl
    ? undefined
    : await startPostgres({ folder: config.data, log, user: config.postgresUser })
  const database = connectDatabase(postgres?.address ?? { url: config.databaseUrl! }, 'musterbook migrate', 1)
  try {
    const ran = await migrate(database, capabilities)
    return ran.length === 0 ? 'The database is up to date.\n' : `Applied:\n${ran.map((name) => `  ${name}\n`).join('')}`
  } finally {
    await database.end()
    await postgres?.stop()
  }
}
