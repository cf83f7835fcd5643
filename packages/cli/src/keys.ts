/** `musterbook keys rotate-root|status`: the change of the root key, asked for at the control plane and watched until it ends. */
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { route } from './client.ts'
import { defaultDataFolder } from './config.ts'
import { ConfigError } from './config-error.ts'
import { readEnvironment } from './environment-file.ts'

const HELP = `musterbook keys rotate-root [--now] [--data folder]
    seals everything under a new root key while the control plane goes on. What clients hold under the old one (session
    tokens, at most 36 hours) stays good until it has run out; with --now it is given up at once.
    Where the root key is in a file or wrapped by a KMS, the new one is made and put there. Where you keep it yourself
    (MUSTERBOOK_ROOT_KEY, --root-key-command), give every server process the new key before the old one first.
musterbook keys status [--data folder]
    which root key is in use, who holds it, and how far a change has come
`
const ASK_AGAIN_MS = 500

interface Status {
  InUse: string
  Processes: { Origin: string; Keys: string[]; SealsWith: string }[]
  Rotation?: {
    Phase: 'introduced' | 'switching' | 'rewrapping' | 'waiting' | 'done'
    From: string
    To: string
    Rewrapped: number
    Problem?: string
    RetireAt?: string
    EndedAt?: string
  }
}

export async function runKeys([, ...args]: string[]): Promise<void> {
  const { values, positionals } = readArguments(args)
  const [verb] = positionals
  if (values.help || verb === undefined) {
    process.stdout.write(HELP)
    if (!values.help) process.exitCode = 1
    return
  }
  const data = values.data ?? defaultDataFolder()
  if (verb === 'status') process.stdout.write(told(await ask(data, 'GET')))
  else if (verb === 'rotate-root') await rotate(data, values.now ?? false)
  else throw new ConfigError(`musterbook keys ${verb}: there is no such thing; it takes rotate-root or status`)
}

function readArguments(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: { data: { type: 'string' }, now: { type: 'boolean' }, help: { type: 'boolean' } },
    })
  } catch (error) {
    throw new ConfigError(error instanceof Error ? error.message : String(error))
  }
}

async function rotate(data: string, now: boolean): Promise<void> {
  let status = await ask(data, 'POST', { Now: now })
  let before = ''
  for (;;) {
    const text = line(status)
    if (text !== before) process.stdout.write(text)
    before = text
    const { Phase, Problem } = status.Rotation ?? {}
    if (Phase === 'done' || (Phase === 'waiting' && !now && !Problem)) return
    await pause(ASK_AGAIN_MS)
    status = await ask(data, 'GET')
  }
}

function line({ Rotation }: Status): string {
  if (!Rotation) return 'The root key has never been changed.\n'
  const { Phase, From, To, Rewrapped, Problem, RetireAt, EndedAt } = Rotation
  const waits = Problem === undefined ? '' : ` It waits: ${Problem}.`
  const lines = {
    introduced: `Every server process learns the new root key ${To}.${waits}`,
    switching: `Every server process begins to seal with ${To}.${waits}`,
    rewrapping: `What lies under ${From} is sealed under ${To}: ${Rewrapped} so far.${waits}`,
    waiting: `Everything is sealed under ${To} (${Rewrapped} sealed again). ${From} is forgotten at ${RetireAt}, when no client's session token needs it.${waits}`,
    done: `The root key ${To} has taken over from ${From} (${EndedAt}): ${Rewrapped} sealed again, the old key opens nothing.`,
  }
  return `${lines[Phase]}\n`
}

const told = (status: Status): string =>
  [
    `In use: ${status.InUse}\n`,
    ...status.Processes.map(({ Origin, Keys }) => `A server process holds ${Keys.join(', ')} from ${Origin}\n`),
    line(status),
  ].join('')

async function ask(data: string, method: 'GET' | 'POST', input?: object): Promise<Status> {
  const { endpoint, credentials } = await readEnvironment(data)
  // The root key belongs to no region.
  return route({ endpoint, region: 'us-east-1', credentials }, 'ssm', method, '/v1/root-key', input)
}
