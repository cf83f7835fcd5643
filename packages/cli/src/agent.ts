/** The agent's program and its settings file, in `<data>/agent`. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from './config.ts'

/** The agent as one file, beside this one once both are built. */
export const AGENT = fileURLToPath(new URL('agent.cjs', import.meta.url))

const folderOf = (data: string): string => join(data, 'agent')

export interface Joining {
  endpoint: string
  ca: string | undefined
  activation: { id: string; code: string } | undefined
  watchStdin?: boolean
}

/** Writes what the agent starts with; in a file of its own, since arguments and variables show in process lists. */
export async function writeAgentSettings(
  config: Config,
  { endpoint, ca, activation, watchStdin }: Joining,
): Promise<string> {
  const folder = folderOf(config.data)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, 'settings.json')
  const settings = {
    endpoint,
    region: config.region,
    dataFolder: folder,
    caFile: ca,
    activation,
    watchStdin,
    logLevel: agentLevel(config),
  }
  await writeFile(file, JSON.stringify(settings), { mode: 0o600 })
  return file
}

const agentLevel = ({ logLevel }: Config) =>
  logLevel === 'trace' ? 'debug' : logLevel === 'fatal' || logLevel === 'silent' ? 'error' : logLevel

/** The id under which this machine is registered, or undefined. */
export async function registeredId(data: string): Promise<string | undefined> {
  const text = await readFile(join(folderOf(data), 'identity.json'), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as { instanceId?: string }).instanceId
}

/** Becomes the agent: the rest of this process is the agent's program. */
export async function becomeAgent(config: Config): Promise<void> {
  const { endpoint, ca, activation } = config
  const settings = await writeAgentSettings(config, { endpoint, ca, activation })
  process.argv = [process.execPath, AGENT, 'run', settings]
  await import(AGENT)
}
