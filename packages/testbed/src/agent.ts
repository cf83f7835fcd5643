/** Real agent processes: the bundle that nodes run, started, killed and restarted by tests, demos and benches. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AGENT } from './programs.ts'

export interface AgentSettings {
  endpoint: string
  region: string
  caFile: string
  activation: { id: string; code: string }
  [setting: string]: unknown
}

export interface AgentProcess extends AsyncDisposable {
  dataFolder: string
  process(): ChildProcess
  /** What it has written to standard error so far, in all of its lives. */
  log(): string
  kill(signal: NodeJS.Signals): Promise<void>
  restart(): void
}

export async function startAgent(settings: AgentSettings): Promise<AgentProcess> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'musterbook-agent-'))
  const file = join(dataFolder, 'settings.json')
  await writeFile(
    file,
    JSON.stringify({ rebootCommand: ['true'], ...settings, dataFolder: join(dataFolder, 'data') }),
    { mode: 0o600 },
  )
  let said = ''
  let child: ChildProcess
  const start = () => {
    child = spawn(process.execPath, [AGENT, 'run', file], { stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk
    })
  }
  start()
  async function kill(signal: NodeJS.Signals): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }
  return {
    dataFolder: join(dataFolder, 'data'),
    process: () => child,
    log: () => said,
    kill,
    restart: start,
    async [Symbol.asyncDispose]() {
      await kill('SIGKILL')
      await rm(dataFolder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
