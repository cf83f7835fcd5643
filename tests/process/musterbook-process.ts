/**
 * The one binary as a process, in a data folder of its own on free ports: started, killed and started again by the tests of
 * faults, of several servers and of the command line.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SSMClient } from '@aws-sdk/client-ssm'
import { eventually, MUSTERBOOK, REPOSITORY } from '@musterbook/testbed'

export interface Place extends AsyncDisposable {
  folder: string
  port: number
  tlsPort: number
}

/** A data folder and two ports that were free a moment ago; disposing removes the folder. */
export async function newPlace(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'musterbook-process-'))
  const [port, tlsPort] = await freePorts()
  const remove = () => rm(folder, { recursive: true, force: true, maxRetries: 10 })
  return { folder, port, tlsPort, [Symbol.asyncDispose]: remove }
}

async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()]
  const ports: number[] = []
  for (const server of servers) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    ports.push(typeof address === 'object' && address ? address.port : 0)
  }
  for (const server of servers) server.close()
  return [ports[0]!, ports[1]!]
}

export interface Run extends AsyncDisposable {
  child: ChildProcess
  /** Standard output and standard error so far. */
  out(): string
  err(): string
  /** Exit code, or the signal that ended it. */
  ended: Promise<number | string>
  kill(signal: NodeJS.Signals): Promise<number | string>
}

/** Runs the binary with these arguments and nothing of this process's environment that it would read. */
export const run = (args: string[], env: Record<string, string> = {}): Run =>
  runProgram(process.execPath, [MUSTERBOOK, ...args], env)

/** Any program, from the repository's folder. */
export function runProgram(program: string, args: string[], env: Record<string, string> = {}): Run {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(MUSTERBOOK_|DATABASE_URL|AWS_|PG)/.test(name))
  const child = spawn(program, args, {
    cwd: REPOSITORY,
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.err += text
  })
  const ended = once(child, 'close').then(([code, signal]): number | string => signal ?? code)
  const kill = (signal: NodeJS.Signals) => {
    child.kill(signal)
    return ended
  }
  return {
    child,
    out: () => said.out,
    err: () => said.err,
    ended,
    kill,
    [Symbol.asyncDispose]: async () => void (await kill('SIGKILL')),
  }
}

export interface RunningServer extends Run {
  /** Of this machine's node, with `up`. */
  config: { endpoint: string; region: string; credentials: { accessKeyId: string; secretAccessKey: string } }
  ssm: SSMClient
}

/** A start takes two seconds of processor; on a machine that does a hundred other things it takes longer. */
const READY_MS = 120_000

/** Starts `serve` or `up` in the place and waits until it says that it is ready. */
export async function startMusterbook(
  place: Place,
  command: 'serve' | 'up',
  options: { args?: string[]; env?: Record<string, string> } = {},
): Promise<RunningServer> {
  const { folder, port, tlsPort } = place
  const args = [command, '--data', folder, '--port', String(port), '--tls-port', String(tlsPort)]
  const started = run([...args, ...(options.args ?? [])], options.env)
  let end: number | string | undefined
  void started.ended.then((value) => {
    end = value
  })
  const isReady = () => {
    if (end !== undefined) return true
    return /Musterbook is ready/.test(started.out()) && (command === 'serve' || /this machine/.test(started.out()))
  }
  await eventually('the server is ready', isReady, READY_MS).catch(async (error) => {
    // Nobody else would end it, and it would write on into folders that are removed.
    await started[Symbol.asyncDispose]()
    throw new Error(`musterbook ${command} was not ready: ${started.err()}`, { cause: error })
  })
  if (end !== undefined) throw new Error(`musterbook ${command} ended (${end}): ${started.err()}`)
  const config = await readConfig(folder)
  const ssm = new SSMClient({ ...config, credentials: { ...config.credentials }, maxAttempts: 1 })
  return {
    ...started,
    config,
    ssm,
    async [Symbol.asyncDispose]() {
      ssm.destroy()
      await started[Symbol.asyncDispose]()
    },
  }
}

/** What `source <data>/env` tells a client. */
async function readConfig(folder: string): Promise<RunningServer['config']> {
  const text = await readFile(join(folder, 'env'), 'utf8')
  const value = (name: string) => new RegExp(`^export ${name}='(.*)'$`, 'm').exec(text)?.[1] ?? ''
  return {
    endpoint: value('AWS_ENDPOINT_URL'),
    region: value('AWS_REGION'),
    credentials: { accessKeyId: value('AWS_ACCESS_KEY_ID'), secretAccessKey: value('AWS_SECRET_ACCESS_KEY') },
  }
}

export interface ProcessRow {
  pid: number
  parent: number
  state: string
  args: string
}

/** All processes of this machine, zombies left out: those have ended. */
export function processes(): ProcessRow[] {
  const text = execFileSync('ps', ['axww', '-o', 'pid=,ppid=,stat=,args='], { encoding: 'utf8' })
  return text
    .split('\n')
    .flatMap((line): ProcessRow[] => {
      const [, pid, parent, state = '', args = ''] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? []
      return pid ? [{ pid: Number(pid), parent: Number(parent), state, args }] : []
    })
    .filter(({ state }) => !state.startsWith('Z'))
}

/** What this process has started, and what that has started, and so on. */
export function descendants(pid: number | undefined): ProcessRow[] {
  const all = processes()
  const found: ProcessRow[] = []
  let parents = new Set([pid])
  while (parents.size > 0) {
    const children = all.filter(({ parent }) => parents.has(parent))
    found.push(...children)
    parents = new Set(children.map((child) => child.pid))
  }
  return found
}

/** Waits until none of these runs any more (by pid and arguments: pids are given again). */
export const allGone = (rows: ProcessRow[]): Promise<true> =>
  eventually(`all of these have ended: ${rows.map(({ pid, args }) => `${pid} ${args}`).join('; ')}`, () => {
    const alive = processes()
    return !rows.some(({ pid, args }) => alive.some((each) => each.pid === pid && each.args === args)) || undefined
  })
