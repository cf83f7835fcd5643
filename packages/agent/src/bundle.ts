// Entry of the one file that is copied to a node: `node agent.cjs run|register <settings.json>`, and the executor that it
// starts itself. The settings file holds an AgentSettings object; errors are one line on standard error and exit code 1.

import { readFileSync } from 'node:fs'
import { EXECUTOR_ARGUMENT } from './executor-process.ts'
import { reason } from './log.ts'
import { type AgentSettings, SettingsError } from './settings.ts'
import { staySmall } from './thrift.ts'

staySmall()

async function main([verb, ...args]: string[]): Promise<void> {
  if (verb === EXECUTOR_ARGUMENT) {
    const { runExecutorProcess } = await import('./executor.ts')
    return runExecutorProcess(args)
  }
  const [file] = args
  if ((verb !== 'run' && verb !== 'register') || file === undefined)
    throw new SettingsError('usage: run <settings.json> | register <settings.json>')
  const settings = readSettings(file)
  const agent = await import('./main.ts')
  if (verb === 'register') {
    process.stdout.write(`${await agent.registerAgent(settings)}\n`)
    return
  }
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort())
  await agent.runAgent(settings, stop.signal)
}

/** Members are checked where they are used: parseSettings. */
function readSettings(path: string): AgentSettings {
  try {
    const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof parsed === 'object' && parsed !== null) return parsed as AgentSettings
  } catch (error) {
    throw new SettingsError(`the settings file ${path} cannot be used: ${reason(error)}`)
  }
  throw new SettingsError(`the settings file ${path} holds no object`)
}

main(process.argv.slice(2)).then(
  () => process.exit(),
  (error: unknown) => {
    process.stderr.write(`${reason(error)}\n`)
    process.exit(1)
  },
)
