/**
 * `musterbook trail verify`: whether the audit is as it was written. Reads the database and the root key itself: the word
 * of a server would say nothing about that server.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  connectDatabase,
  createLog,
  createSealer,
  type DatabaseAddress,
  type EarlierHead,
  startPostgres,
  type TrailReport,
  verifyTrail,
} from '@musterbook/server'
import { type Config, readConfig } from './config.ts'
import { ConfigError } from './config-error.ts'
import { rootKeys } from './root-key.ts'

export const TRAIL_USAGE = `musterbook trail verify [--account id] [--region name] [--since file]
    follow every chain of the audit, record by record, and name the first that was changed, removed or cut off;
    with the output of an earlier run, kept elsewhere, also notice a chain that was put back to what it was before
Takes --data folder, --database-url url and --root-key-file file as serve does. Ends with 1 when something is wrong.
`

export async function runTrail([, verb, ...words]: string[]): Promise<void> {
  if (verb !== 'verify') {
    process.stdout.write(TRAIL_USAGE)
    if (verb !== '--help') process.exitCode = 1
    return
  }
  const { since, flags } = takeSince(words)
  const config = readConfig(['serve', ...flags])
  if (config.command === 'help') {
    process.stdout.write(TRAIL_USAGE)
    return
  }
  const has = (flag: string) => flags.some((each) => each === flag || each.startsWith(`${flag}=`))
  const only = {
    ...(has('--account') && config.account !== undefined && { account: config.account }),
    ...(has('--region') && { region: config.region }),
  }
  const report = await verify(config, only, since === undefined ? [] : await readHeads(since))
  process.stdout.write(inWords(report))
  if (report.flaw || report.chains.some(({ flaw }) => flaw)) process.exitCode = 1
}

/** `--since file` or `--since=file`, which no other command takes, and the rest. */
function takeSince(words: readonly string[]): { since?: string; flags: string[] } {
  const at = words.findIndex((word) => word === '--since' || word.startsWith('--since='))
  if (at < 0) return { flags: [...words] }
  const joined = words[at]!.startsWith('--since=')
  const since = joined ? words[at]!.slice('--since='.length) : words[at + 1]
  if (!since) throw new ConfigError('--since takes the file with the output of an earlier run')
  return { since, flags: words.toSpliced(at, joined ? 1 : 2) }
}

/** The heads that an earlier run has printed; a chain that was broken then has none. */
async function readHeads(file: string): Promise<EarlierHead[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError(`${file} cannot be read (${error.code})`)
  })
  const lines = text.matchAll(/^(\d{12}) (\S+): whole, .*head (\d+) ([0-9a-f]{64})$/gm)
  const heads = Array.from(lines, ([, account = '', region = '', seq, hash = '']) => {
    return { account, region, seq: Number(seq), hash }
  })
  if (heads.length === 0) throw new ConfigError(`${file} holds no output of musterbook trail verify`)
  return heads
}

async function verify(
  config: Config,
  only: { account?: string; region?: string },
  earlier: EarlierHead[],
): Promise<TrailReport> {
  const sealer = createSealer(await rootKeys(config))
  const running = config.databaseUrl ? { url: config.databaseUrl } : await runningPostgres(config.data)
  const own = running ? undefined : await ownPostgres(config)
  const database = connectDatabase(running ?? own!.address, 'musterbook trail verify', 1)
  try {
    return await verifyTrail(database, sealer, only, earlier)
  } finally {
    await database.end()
    await own?.stop()
  }
}

const ownPostgres = (config: Config) =>
  startPostgres({ folder: config.data, log: createLog('warn'), user: config.postgresUser })

/** The embedded PostgreSQL of a server that runs, from the file in which PostgreSQL says where it listens. */
async function runningPostgres(data: string): Promise<DatabaseAddress | undefined> {
  const file = join(data, 'postgres', 'cluster', 'postmaster.pid')
  const lines = (
    await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return ''
      throw new ConfigError(`${file} cannot be read (${error.code}): run this as the user that runs the server`)
    })
  ).split('\n')
  const [processId, , , port, socketFolder, , , state = ''] = lines
  if (!socketFolder || state.trim() !== 'ready' || !isAlive(Number(processId))) return undefined
  return { socketFolder, port: Number(port) }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function inWords({ chains, flaw }: TrailReport): string {
  const lines = chains.map((chain) => {
    const name = `${chain.account} ${chain.region}`
    const trimmed = chain.trimmed > 0 ? ` after ${chain.trimmed} that were trimmed by age` : ''
    const size = chain.records > 0 ? ` of ${Math.round(chain.bytes / chain.records)} bytes` : ''
    if (!chain.flaw)
      return `${name}: whole, ${chain.records} records${size}${trimmed}, head ${chain.trimmed + chain.records} ${chain.hash}`
    const { record, eventId, reason } = chain.flaw
    return `${name}: BROKEN at record ${record}${eventId ? ` (event ${eventId})` : ''}: ${reason}`
  })
  if (flaw) lines.push(`BROKEN: ${flaw}`)
  return lines.length > 0 ? `${lines.join('\n')}\n` : 'There are no records yet.\n'
}
