// Restarts of the machine: told apart by a mark in a folder that a restart voids, and asked for with the configured
// command. Called by runner.ts when a script ended with 194.

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { makeFolder, readJsonOrNull, writeDurably } from './durable-files.ts'
import { reason } from './log.ts'
import { bootId } from './process-table.ts'

/** The same text until the machine restarts, or until the runtime folder is emptied; a new one after that. */
export async function currentBoot(runtimeFolder: string): Promise<string> {
  await makeFolder(runtimeFolder)
  const path = join(runtimeFolder, 'boot.json')
  const found = await readJsonOrNull(path)
  if (typeof found === 'object' && found !== null) {
    const { kernel, mark } = found as { kernel?: unknown; mark?: unknown }
    if (kernel === bootId() && typeof mark === 'string') return mark
  }
  const mark = randomUUID()
  await writeDurably(path, JSON.stringify({ kernel: bootId(), mark }))
  return mark
}

/** Runs the reboot command; undefined when it succeeded or the signal came first, else what was wrong. */
export function requestReboot(
  [program, ...args]: string[],
  patience: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program ?? '', args, { stdio: 'ignore', timeout: patience })
    // A restart ends the agent first, and the command may be waiting for just that.
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
    child.on('error', (error) => resolve(`the reboot command cannot be started: ${reason(error)}`))
    child.on('exit', (code, signal) =>
      resolve(code === 0 ? undefined : `the reboot command ended with ${signal ?? `code ${code}`}`),
    )
  })
}
