/**
 * The official amazon-ssm-agent, run unmodified: in a mount and process namespace of its own, so that its fixed paths and
 * its children are nobody else's. The environment variable MUSTERBOOK_OFFICIAL_AGENT names the folder with its programs,
 * built from its own source; nothing of it lies here.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const PROGRAMS = [
  'amazon-ssm-agent',
  'ssm-agent-worker',
  'ssm-document-worker',
  'ssm-session-worker',
  'ssm-session-logger',
]

/** Why the official agent cannot be run here, or undefined. */
export function whyNot(): string | undefined {
  const folder = process.env.MUSTERBOOK_OFFICIAL_AGENT
  if (!folder) return 'MUSTERBOOK_OFFICIAL_AGENT names no folder with the programs of amazon-ssm-agent'
  const missing = PROGRAMS.find((name) => !existsSync(join(folder, name)))
  if (missing) return `${missing} is not in the folder that MUSTERBOOK_OFFICIAL_AGENT names`
  if (process.getuid?.() !== 0) return 'the agent needs root'
  if (spawnSync('unshare', ['-m', '-p', '-f', '--mount-proc', 'true']).status !== 0)
    return 'namespaces cannot be made here'
  return undefined
}

export interface OfficialAgent extends AsyncDisposable {
  /** Registers with an activation; answers the node's id. */
  register(activation: { id: string; code: string }): Promise<string>
  start(): void
  /** SIGKILL to everything at once. */
  kill(): Promise<void>
  log(): Promise<string>
  /** A path in its private /var/lib/amazon/ssm. */
  file(...parts: string[]): string
}

export interface OfficialOptions {
  ssm: string
  mds: string
  mgs: string
  region: string
  caFile: string
  settings?: Record<string, object>
}

export async function officialAgent(options: OfficialOptions): Promise<OfficialAgent> {
  const source = process.env.MUSTERBOOK_OFFICIAL_AGENT ?? ''
  const root = await mkdtemp(join(tmpdir(), 'musterbook-official-'))
  await chmod(root, 0o755)
  const [programs, home, lib, log] = ['bin', 'home', 'lib', 'log'].map((name) => join(root, name)) as [
    string,
    string,
    string,
    string,
  ]
  for (const folder of [join(programs, 'configuration'), home, join(lib, 'amazon', 'ssm'), log])
    await mkdir(folder, { recursive: true })
  for (const name of PROGRAMS) {
    await copyFile(join(source, name), join(programs, name))
    await chmod(join(programs, name), 0o755)
  }
  const settings = {
    Ssm: { Endpoint: options.ssm, HealthFrequencyMinutes: 5 },
    Mds: { Endpoint: options.mds },
    Mgs: { Endpoint: options.mgs },
    Agent: { Region: options.region, TelemetryMetricsToSSM: false },
    Identity: { ConsumptionOrder: ['OnPrem'] },
    ...options.settings,
  }
  await writeFile(join(programs, 'configuration', 'amazon-ssm-agent.json'), JSON.stringify(settings))
  await writeFile(join(programs, 'configuration', 'seelog.xml'), SEELOG)
  const agent = join(programs, 'amazon-ssm-agent')
  const script = 'mount --bind "$0" /var/lib && mount --bind "$1" /var/log && cd / && shift && exec "$@"'
  const env = { PATH: process.env.PATH, HOME: home, SSL_CERT_FILE: options.caFile }
  let running: ChildProcess | undefined
  let said = ''

  function run(...args: string[]): ChildProcess {
    const unshare = ['-m', '-p', '-f', '--mount-proc', '--kill-child', 'sh', '-c', script, lib, log, agent, ...args]
    const child = spawn('unshare', unshare, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        said += chunk
      })
    }
    return child
  }

  async function kill(): Promise<void> {
    const child = running
    running = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL') // the namespace ends with it, and everything in it
    await gone
  }

  return {
    async register({ id, code }) {
      said = ''
      const child = run('-register', '-code', code, '-id', id, '-region', options.region, '-y')
      const [exitCode] = await once(child, 'close')
      const text = await readFile(join(lib, 'amazon', 'ssm', 'registration'), 'utf8').catch(() => '{}')
      const { ManagedInstanceID } = JSON.parse(text) as { ManagedInstanceID?: string }
      if (exitCode === 0 && ManagedInstanceID) return ManagedInstanceID
      throw new Error(`the official agent did not register: ${await readLog()}`)
    },
    start() {
      running = run()
    },
    kill,
    log: readLog,
    file: (...parts) => join(lib, 'amazon', 'ssm', ...parts),
    async [Symbol.asyncDispose]() {
      await kill()
      await rm(root, { recursive: true, force: true, maxRetries: 5 })
    },
  }

  async function readLog(): Promise<string> {
    const folder = join(log, 'amazon', 'ssm')
    const names = await readdir(folder).catch(() => [])
    const texts = await Promise.all(
      names.filter((name) => name.endsWith('.log')).map((name) => readFile(join(folder, name), 'utf8')),
    )
    return [said, ...texts].join('\n')
  }
}

const SEELOG = `<seelog type="adaptive" mininterval="2000000" maxinterval="100000000" critmsgcount="500" minlevel="info">
  <outputs formatid="all"><rollingfile type="size" filename="/var/log/amazon/ssm/amazon-ssm-agent.log" maxsize="30000000" maxrolls="2"/></outputs>
  <formats><format id="all" format="%Date %Time %LEVEL %Msg%n"/></formats>
</seelog>`

export interface Crossing extends AsyncDisposable {
  /** `https://127.0.0.1:port`, which stays while servers behind it come and go. */
  endpoint: string
  /** New connections go to this port; those that are open are cut. */
  lead(port: number): void
  /** Cuts all connections and takes no new ones until the next `lead`. */
  cut(): void
}

/** One address for servers that come and go. */
export async function crossing(first: number): Promise<Crossing> {
  let target: number | undefined = first
  const open = new Set<Socket>()
  const server = createServer((near) => {
    if (target === undefined) return near.destroy()
    const far = connect(target, '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const cut = () => {
    for (const socket of open) socket.destroy()
  }
  return {
    endpoint: `https://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    lead(port) {
      target = port
      cut()
    },
    cut() {
      target = undefined
      cut()
    },
    async [Symbol.asyncDispose]() {
      cut()
      server.close()
    },
  }
}
