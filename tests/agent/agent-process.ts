// The built agent as a real process: bundled once per test file, started with a settings file, stopped or killed.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { AgentSettings } from '@musterbook/agent'
import { buildSync } from 'esbuild'
import { ACTIVATION, type Peer, REGION } from './peer.ts'

let bundled: string | undefined

/** One file, as it is copied to nodes. */
export function agentBundle(): string {
  if (bundled) return bundled
  const folder = mkdtempSync(join(tmpdir(), 'musterbook-bundle-'))
  const outfile = join(folder, 'agent.cjs')
  buildSync({
    entryPoints: [join(import.meta.dirname, '../../packages/agent/src/bundle.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['bufferutil', 'utf-8-validate', '@lydell/node-pty'],
    logLevel: 'error',
  })
  bundled = outfile
  return outfile
}

export interface AgentProcess {
  dataFolder: string
  pid: number
  /** What it wrote on standard error so far. */
  log(): string
  /** SIGTERM, and resolves with the exit code. */
  stop(): Promise<number | null>
  /** SIGKILL, and resolves when it is gone. */
  kill(): Promise<void>
  closeStdin(): void
  ended: Promise<number | null>
}

export function newDataFolder(): string {
  return mkdtempSync(join(tmpdir(), 'musterbook-node-'))
}

/** `preload`: a file that Node.js runs in the agent's process before the agent. */
export function startAgent(
  peer: Peer,
  dataFolder: string,
  more: Partial<AgentSettings> = {},
  preload?: string,
): AgentProcess {
  const settings: AgentSettings = {
    endpoint: peer.endpoint,
    region: REGION,
    caFile: peer.caFile,
    dataFolder,
    activation: ACTIVATION,
    rebootCommand: ['true'],
    ...more,
  }
  const file = join(mkdtempSync(join(tmpdir(), 'musterbook-settings-')), 'settings.json')
  writeFileSync(file, JSON.stringify(settings))
  const stdin = more.watchStdin ? 'pipe' : 'ignore'
  const before = preload === undefined ? [] : ['--require', preload]
  const child = spawn(process.execPath, [...before, agentBundle(), 'run', file], { stdio: [stdin, 'ignore', 'pipe'] })
  return handle(child, dataFolder)
}

function handle(child: ChildProcess, dataFolder: string): AgentProcess {
  let log = ''
  child.stderr?.on('data', (chunk) => {
    log += chunk
  })
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal)
    return ended
  }
  return {
    dataFolder,
    pid: child.pid ?? 0,
    log: () => log,
    closeStdin: () => child.stdin?.end(),
    ended,
    stop: () => end('SIGTERM'),
    kill: async () => void (await end('SIGKILL')),
  }
}

/** Documents outlive agents on purpose: at the end of a test whatever still runs for this folder is ended. */
export function endExecutors(dataFolder: string): void {
  // Executors first, so that none starts another step; then the scripts, which name the folder in their environment.
  for (const pid of [...executorsOf(dataFolder), ...processesThat('environ', dataFolder)]) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Ended by itself.
    }
  }
  rmSync(dataFolder, { recursive: true, force: true, maxRetries: 5 })
}

/** Process ids of the executors that work in this data folder. */
export function executorsOf(dataFolder: string): number[] {
  const ours = new Set(processesThat('cmdline', dataFolder))
  return processesThat('cmdline', '__musterbook_executor').filter((pid) => ours.has(pid))
}

function processesThat(file: 'cmdline' | 'environ', mention: string): number[] {
  const numbers = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return numbers.filter((pid) => contentOf(`/proc/${pid}/${file}`).includes(mention)).map(Number)
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Waits until the condition holds; fails with what was awaited after 30 seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 90_000
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`still waiting until ${what}`)
    await pause(15)
  }
}

/** A document of schema 2.2 with one shell step per script. */
export function shellDocument(...scripts: string[]): object {
  return {
    schemaVersion: '2.2',
    description: 'test',
    mainSteps: scripts.map((script, index) => ({
      action: 'aws:runShellScript',
      name: `step${index + 1}`,
      inputs: { runCommand: script.split('\n') },
    })),
  }
}

/** Proportional share of the process's memory in MB, and its resident set. */
export function memoryOf(pid: number): { pss: number; rss: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0)
  return { pss: kilobytes('Pss') / 1024, rss: kilobytes('Rss') / 1024 }
}
