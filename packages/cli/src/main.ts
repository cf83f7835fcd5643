/** The one binary: reads its settings, then loads only the part that its command needs. */
import program from '../package.json' with { type: 'json' }
import { type Config, readConfig } from './config.ts'
import { ConfigError } from './config-error.ts'
import { help } from './help.ts'
import type { ToolName } from './settings.ts'
import { LOADERS } from './tools.ts'

const STARTED = Date.now() - process.uptime() * 1000

async function main(args: string[]): Promise<void> {
  const [name = ''] = args
  if (Object.hasOwn(LOADERS, name)) {
    const run = await LOADERS[name as ToolName]()
    return run(args)
  }
  const config = readConfig(args)
  switch (config.command) {
    case 'help':
      process.stdout.write(help(config.helpFor))
      return
    case 'version':
      process.stdout.write(`${program.version}\n`)
      return
    case 'agent': {
      const { becomeAgent } = await import('./agent.ts')
      return becomeAgent(config)
    }
    case 'doctor': {
      const { doctor } = await import('./doctor.ts')
      const { text, healthy } = await doctor(config)
      process.stdout.write(text)
      if (!healthy) process.exitCode = 1
      return
    }
    case 'enroll': {
      const { enroll } = await import('./enroll.ts')
      process.stdout.write(await enroll(config))
      return
    }
    case 'migrate': {
      const { runMigrations } = await import('./migrate.ts')
      process.stdout.write(await runMigrations(config))
      return
    }
    default:
      return runServer(config)
  }
}

/** Supervisors kill after 10 s (docker) to 90 s (systemd): by then everything must be put away, the database last. */
const LONGEST_STOP_MS = 9_000

async function runServer(config: Config): Promise<void> {
  const stop = new AbortController()
  const asked = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => {
        stop.abort(new Error(`stopped by ${signal}`))
        resolve()
      })
  })
  const { up } = await import('./up.ts')
  const starting = up({ ...config, noAgent: config.noAgent || config.command === 'serve' }, stop.signal)
  const running = await starting.catch((error: unknown) => {
    if (!stop.signal.aborted) throw error // otherwise it was told to stop before it stood, and has
  })
  if (!running) return
  const { greet } = await import('./greeting.ts')
  void greet(config, running, STARTED)
  const failure = await Promise.race([asked, running.serving.failed])
  setTimeout(() => {
    process.stderr.write('musterbook: what was still going on has been cut off\n')
    process.exit(1)
  }, LONGEST_STOP_MS).unref()
  await running[Symbol.asyncDispose]()
  if (failure !== undefined) throw new ConfigError(failure)
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
  'EHOSTUNREACH',
  'ETIMEDOUT',
  'CONNECT_TIMEOUT',
])

/** Errors for a person are one line; anything else is a defect and shows where it comes from. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const forPeople = ['ConfigError', 'PostgresStartError', 'ListenError', 'InstallationError', 'MigrationError']
  if (forPeople.includes(error.constructor.name) || forPeople.includes(error.name)) return error.message
  const cause = error.cause instanceof Error ? error.cause : error // fetch hides why behind 'fetch failed'
  const code = (cause as NodeJS.ErrnoException).code
  // Classes 28 and 3D: who may connect, and to which database. 42501: what its user may do there.
  if (error.name === 'PostgresError' && /^(28|3D|42501)/.test(code ?? ''))
    return `PostgreSQL refuses (${error.message}): check the user, password and database in DATABASE_URL`
  if (code !== undefined && UNREACHABLE.has(code))
    return `the database or the server does not answer (${cause.message || code}): check DATABASE_URL or --endpoint`
  return error.stack ?? error.message
}

main(process.argv.slice(2)).then(
  () => {
    // The agent goes on by itself; everything else has ended.
    if (process.argv[2] !== 'run') process.exitCode ??= 0
  },
  (error: unknown) => {
    process.stderr.write(`musterbook: ${explain(error)}\n`)
    process.exit(1)
  },
)
