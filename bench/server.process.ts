/**
 * A real server process as a bench's subject: the built program with a data folder of its own below the system's temporary
 * one, and its embedded PostgreSQL. Disposing stops it and removes the folder.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { descendants, processorSeconds } from './measure.ts'

export const PROGRAM = fileURLToPath(new URL('../dist/musterbook.js', import.meta.url))
export const REGION = 'us-east-1'

export interface Subject extends AsyncDisposable {
  pid: number
  port: number
  tlsPort: number
  data: string
  credentials: { accessKeyId: string; secretAccessKey: string }
  /** Milliseconds from starting the process to its greeting. */
  startMs: number
  /** The address of the inspector, opened on demand. */
  inspector(): Promise<string>
  processor(): { server: number; database: number }
  /** A connection to its database, for what no API call does in reasonable time. */
  database(): Promise<postgres.Sql>
  stop(): Promise<void>
}

export const makeFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'musterbook-bench-'))

/** `command` is `serve`, or `up` with the agent beside it. */
export async function startSubject(
  options: { args?: string[]; nodeArgs?: string[]; data?: string; command?: 'serve' | 'up'; ready?: RegExp } = {},
): Promise<Subject> {
  const data = options.data ?? (await makeFolder())
  const [port, tlsPort] = [await freePort(), await freePort()]
  const started = performance.now()
  const listening = ['--data', data, '--port', String(port), '--tls-port', String(tlsPort), '--log-level', 'warn']
  const child = spawn(
    process.execPath,
    [
      '--inspect-port=127.0.0.1:0',
      ...(options.nodeArgs ?? []),
      PROGRAM,
      options.command ?? 'serve',
      ...listening,
      ...(options.args ?? []),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const pid = child.pid
  if (pid === undefined) throw new Error('the server could not be started')
  let told = ''
  child.stderr.on('data', (chunk) => {
    told += chunk
    if (!/Debugger|inspector/.test(String(chunk))) process.stderr.write(chunk)
  })
  await said(child, options.ready ?? /Musterbook is ready/)
  const startMs = performance.now() - started
  const database = descendants(pid)
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await gone
    }
  }
  return {
    pid,
    port,
    tlsPort,
    data,
    startMs,
    credentials: await readCredentials(data),
    async inspector() {
      if (!/ws:\/\/\S+/.test(told)) child.kill('SIGUSR1')
      for (;;) {
        const address = /ws:\/\/\S+/.exec(told)?.[0]
        if (address) return address
        await once(child.stderr, 'data')
      }
    },
    processor() {
      // Backends come with the pool: look again.
      const below = descendants(pid)
      const all = below.length > 0 ? below : database
      return { server: processorSeconds(pid), database: all.map(usedBy).reduce((sum, each) => sum + each, 0) }
    },
    async database() {
      const pidFile = await readFile(join(data, 'postgres', 'cluster', 'postmaster.pid'), 'utf8')
      const [, , , databasePort = '', socketFolder = ''] = pidFile.split('\n')
      return postgres({
        host: socketFolder,
        port: Number(databasePort),
        user: 'musterbook',
        database: 'musterbook',
        max: 1,
        onnotice: () => {},
      })
    },
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
      if (options.data === undefined) await rm(data, { recursive: true, force: true })
    },
  }
}

function usedBy(pid: number): number {
  try {
    return processorSeconds(pid)
  } catch {
    return 0 // it has ended
  }
}

async function said(child: ChildProcess, words: RegExp): Promise<void> {
  let text = ''
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (chunk) => {
      text += chunk
      if (words.test(text)) resolve()
    })
    child.once('exit', (code) => reject(new Error(`the server ended with ${code} before it was ready`)))
  })
}

async function readCredentials(data: string): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  const text = await readFile(join(data, 'env'), 'utf8')
  const value = (name: string) => new RegExp(`${name}='([^']*)'`).exec(text)?.[1] ?? ''
  return { accessKeyId: value('AWS_ACCESS_KEY_ID'), secretAccessKey: value('AWS_SECRET_ACCESS_KEY') }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (typeof address !== 'object' || !address) throw new Error('no port is free')
  return address.port
}
