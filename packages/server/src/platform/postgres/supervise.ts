/**
 * Starts PostgreSQL's programs so that they end with this process, even when it is killed with SIGKILL.
 *
 *   server ──pipe──> gate (sh), which becomes the program at the first line, or ends at the pipe's end
 *      └─────pipe──> watcher (sh): at the pipe's end SIGINT to the program, PostgreSQL's fast shutdown
 *
 * The gate opens when the watcher stands: there is no moment at which the program could outlive this process. Both are direct
 * children, so signals and exit codes need no relay, and no zombie is left where process 1 does not reap.
 * Sessions of their own keep a terminal's Ctrl-C away: the server closes its connections first, then stops PostgreSQL.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import type { Owner } from './owner.ts'

export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface Supervised {
  processId: number
  /** Fulfilled when the program has ended, for whatever reason. */
  exited: Promise<Ending>
  /** Sends a signal, unless the program has ended. */
  signal(name: NodeJS.Signals): void
}

/** POSIX sh: dash, busybox and bash agree on it. */
const GATE = 'read -r go && exec "$@" </dev/null'
const WATCHER = `trap '' INT TERM HUP
while read -r line; do [ "$line" = ended ] && exit 0; done
kill -INT "$1"`

/** Never the server's own environment: it may hold secrets, and PG* variables that mean another database. */
const ENVIRONMENT = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

/** Throws a system error when the shell cannot be started at all; a missing program ends with code 126 or 127. */
export async function supervise(
  command: string,
  args: string[],
  { owner, folder, output }: { owner: Owner; folder: string; output: number },
): Promise<Supervised> {
  const ground = { ...owner.credentials, cwd: folder, detached: true, env: ENVIRONMENT }
  const child = spawn('/bin/sh', ['-c', GATE, 'sh', command, ...args], { ...ground, stdio: ['pipe', output, output] })
  const ended = new Promise<Ending>((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
  const gate = writable(child.stdin)
  await once(child, 'spawn')
  const watcher = spawn('/bin/sh', ['-c', WATCHER, 'sh', String(child.pid)], {
    ...ground,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  const watch = writable(watcher.stdin)
  const dismissed = new Promise<void>((resolve) => watcher.once('exit', () => resolve()))
  try {
    await once(watcher, 'spawn')
  } catch (error) {
    gate.end()
    throw error
  }
  gate.end('go\n')
  return {
    processId: child.pid!,
    exited: ended.then(async (ending) => {
      // Told, so that it does not signal a process that happens to get the same pid.
      watch.end('ended\n')
      await dismissed
      return ending
    }),
    signal(name) {
      if (child.exitCode === null && child.signalCode === null) child.kill(name)
    },
  }
}

/** A pipe whose reader may be gone first. */
function writable(pipe: Writable | null): Writable {
  if (!pipe) throw new Error('the child process has no pipe')
  return pipe.on('error', () => {})
}
