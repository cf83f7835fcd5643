// Which processes are alive, told apart from later ones with the same number: pid, start time in clock ticks since boot
// and the kernel's boot id. The agent finds its executors by it after a restart, and nobody kills a stranger.

import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessIdentity {
  pid: number
  /** Field 22 of /proc/<pid>/stat; empty where there is no /proc. */
  startTime: string
  bootId: string
}

/** The kernel's boot id; empty where the kernel has none. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return ''
  }
}

/** Undefined when there is no such process, or when only its entry waits to be collected. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    if (process.platform === 'linux' || !answers(pid)) return undefined
    return { pid, startTime: '', bootId: bootId() }
  }
  // The second field is the program's name in brackets and may itself hold blanks and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state] = fields
  if (state === 'Z' || state === 'X') return undefined
  return { pid, startTime: fields[19] ?? '', bootId: bootId() }
}

export function isAlive(identity: ProcessIdentity): boolean {
  const now = processIdentity(identity.pid)
  return now !== undefined && now.startTime === identity.startTime && now.bootId === identity.bootId
}

/** Sends a signal to exactly that process; false when it is gone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  return isAlive(identity) && send(identity.pid, signal)
}

/** Kills the process group that the process leads; false when nothing of it is left. */
export function killGroup(leaderPid: number): boolean {
  return leaderPid > 1 && send(-leaderPid, 'SIGKILL')
}

/** Processes whose command line names this path: what a script started by that path is found by when nobody noted its pid. */
export function processesNaming(path: string): number[] {
  return listed('/proc').filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(path)
    } catch {
      return false // it has ended meanwhile
    }
  })
}

function listed(folder: string): number[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
  } catch {
    return [] // no /proc here
  }
}

function answers(pid: number): boolean {
  return send(pid, 0)
}

function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}

/** What was read from a file as a process identity; undefined when it is none. */
export function asProcessIdentity(value: unknown): ProcessIdentity | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { pid, startTime, bootId: boot } = value as Partial<Record<keyof ProcessIdentity, unknown>>
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid < 2) return undefined
  if (typeof startTime !== 'string' || typeof boot !== 'string') return undefined
  return { pid, startTime, bootId: boot }
}
