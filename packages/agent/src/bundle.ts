// Entry of the one file that is copied to a node: `node agent.cjs run|register|doctor <settings.json>`, and the executor
// that it starts itself. The settings file holds an AgentSettings object, and lies beside this file where none is named;
// errors are one line on standard error and exit code 1.

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { EXECUTOR_ARGUMENT } from './executor-process.ts'
import { reason } from './log.ts'
import { type AgentSettings, SettingsError } from './settings.ts'
import { staySmall } from './thrift.ts'

staySmall()

const USAGE = `usage: node agent.cjs <verb> [settings.json]
  run       be the agent of this node
  register  make this machine a node, once, and print its id
  doctor    say in plain words what is wrong`

async function main([verb, ...args]: string[]): Promise<void> {
  if (verb === EXECUTOR_ARGUMENT) {
    const { runExecutorProcess } = await import('./executor.ts')
    return runExecutorProcess(args)
  }
  if (verb !== 'run' && verb !== 'register' && verb !== 'doctor') throw new SettingsError(USAGE)
  const settings = readSettings(args[0] ?? join(dirname(process.argv[1] ?? ''), 'settings.json'))
  if (verb === 'doctor') {
    const { examineNode, report } = await import('./doctor.ts')
    const { text, healthy } = report(await examineNode(settings))
    process.stdout.write(text)
    process.exitCode = healthy ? 0 : 1
    return
  }
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
