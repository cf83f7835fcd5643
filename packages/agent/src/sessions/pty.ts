// A program on a pseudo terminal, on the native half of @lydell/node-pty alone: its JavaScript half drops what a program
// printed last when the reader is slow (it closes the terminal 200 ms after the exit). Here the slave side is held open
// until everything has been read, since Node 20 loses the tail otherwise. Bytes pass as they are. Loaded when the first
// session needs it, from node_modules or, in the one-file agent, from what the build put into it.

import {
  close,
  constants as fsConstants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { constants as osConstants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ReadStream } from 'node:tty'

export interface PtyProgram {
  file: string
  args: string[]
  environment: Record<string, string>
  folder: string
  cols: number
  rows: number
}

export interface Pty {
  pid: number
  /** Calls back when the terminal has taken the bytes. */
  write(bytes: Uint8Array, taken: () => void): void
  resize(cols: number, rows: number): void
  pause(): void
  resume(): void
  /** Hangs up on everything that runs on this terminal, then kills what stays. */
  kill(): void
}

export interface PtyEvents {
  output(bytes: Buffer): void
  /** After the last output; 128 + n for a program that signal n ended. */
  exit(code: number): void
}

interface NativePty {
  fork(
    file: string,
    args: string[],
    environment: string[],
    folder: string,
    cols: number,
    rows: number,
    uid: number,
    gid: number,
    utf8: boolean,
    helper: string,
    exited: (code: number, signal: number) => void,
  ): { fd: number; pid: number; pty: string }
  resize(fd: number, cols: number, rows: number): void
}

/** After the exit, what a terminal still holds is there at once: this many milliseconds of silence mean that it is empty. */
const QUIET_MS = 20
/** Programs that live on behind the shell and keep printing are not waited for. */
const LINGER_MS = 1_000
const KILL_AFTER_MS = 500

export function startPty(program: PtyProgram, events: PtyEvents): Pty {
  const native = nativePty()
  const environment = Object.entries(program.environment).map(([name, value]) => `${name}=${value}`)
  const { file, args, folder, cols, rows } = program
  let code: number | undefined
  let paused = false
  let over = false
  let quiet: NodeJS.Timeout | undefined
  let linger: NodeJS.Timeout | undefined
  const child = native.fork(
    file,
    args,
    environment,
    folder,
    cols,
    rows,
    -1,
    -1,
    false,
    helperPath(),
    (status, signal) => {
      code = signal > 0 ? 128 + signal : status
      linger = setTimeout(finish, LINGER_MS)
      settle()
    },
  )
  const slave = openSync(child.pty, fsConstants.O_RDWR | fsConstants.O_NOCTTY)
  const master = new ReadStream(child.fd)

  function settle(): void {
    clearTimeout(quiet)
    if (code !== undefined && !paused) quiet = setTimeout(finish, QUIET_MS)
  }

  function finish(): void {
    if (over) return
    if (paused) {
      linger = setTimeout(finish, LINGER_MS)
      return
    }
    over = true
    clearTimeout(quiet)
    clearTimeout(linger)
    master.destroy()
    close(slave, () => events.exit(code ?? 0))
  }

  master.on('data', (bytes: Buffer) => {
    if (!over) events.output(bytes)
    if (code !== undefined) settle()
  })
  master.on('error', () => {}) // EIO once every program has let go of the terminal
  return {
    pid: child.pid,
    write: (bytes, taken) => {
      if (!over) master.write(bytes, taken)
    },
    resize(cols, rows) {
      if (!over) native.resize(child.fd, cols, rows)
    },
    pause() {
      paused = true
      master.pause()
      settle()
    },
    resume() {
      paused = false
      master.resume()
      settle()
    },
    kill() {
      signalSession(child.pid, 'SIGHUP')
      setTimeout(() => signalSession(child.pid, 'SIGKILL'), KILL_AFTER_MS)
    },
  }
}

/** Signals every process of the terminal's session: a shell hands a hangup on to its own job only. */
function signalSession(leader: number, signal: NodeJS.Signals): void {
  for (const pid of membersOf(leader)) {
    try {
      process.kill(pid, signal)
    } catch {
      // It ended between the look and the signal.
    }
  }
}

function membersOf(leader: number): number[] {
  if (process.platform !== 'linux') return [-leader]
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name)
    if (!Number.isInteger(pid)) return []
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      // state ppid pgrp session, behind the name in brackets
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]) === leader ? [pid] : []
    } catch {
      return []
    }
  })
}

/** What scripts/build.mjs puts into the one-file agent: the native half for the platform that it was built on. */
declare const EMBEDDED_PTY: { platform: string; base64: string } | null

let loaded: NativePty | undefined

function nativePty(): NativePty {
  loaded ??= embedded() ?? (requireHere(`${PACKAGE}/pty.node`) as NativePty)
  return loaded
}

const PACKAGE = `@lydell/node-pty-${process.platform}-${process.arch}`

/** The program's own file: where node_modules is looked for. */
const requireHere = (name: string): unknown => createRequire(process.argv[1] ?? join(process.cwd(), 'agent'))(name)

function embedded(): NativePty | undefined {
  if (typeof EMBEDDED_PTY === 'undefined') return undefined
  if (EMBEDDED_PTY?.platform !== `${process.platform}-${process.arch}`) return undefined
  // A folder that only this user can enter: nobody else may put another file in this one's place.
  const folder = mkdtempSync(join(tmpdir(), 'musterbook-pty-'))
  const file = join(folder, 'pty.node')
  try {
    writeFileSync(file, Buffer.from(EMBEDDED_PTY.base64, 'base64'), { mode: 0o500 })
    const module = { exports: {} }
    process.dlopen(module, file, osConstants.dlopen?.RTLD_NOW)
    return module.exports as NativePty
  } finally {
    rmSync(folder, { recursive: true, force: true }) // the loaded library stays mapped
  }
}

/** macOS starts programs through a helper that lies beside the native half. */
function helperPath(): string {
  return process.platform === 'darwin' ? createRequire(process.argv[1] ?? '/').resolve(`${PACKAGE}/spawn-helper`) : ''
}
