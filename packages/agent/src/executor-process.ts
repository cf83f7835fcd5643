// Starting the process that runs one document: this same program with an internal argument, in a session of its own, so
// that it outlives the agent. Nothing of the agent's environment that could be a secret or mislead a script goes along.

import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { reason } from './log.ts'
import type { Orchestration } from './orchestration.ts'

/** First argument of the process that runs one document; then data folder, command id and run. */
export const EXECUTOR_ARGUMENT = '__musterbook_executor'

export interface ExecutorChild {
  /** Undefined while it runs, as far as this agent knows; then why it ended. */
  ended: string | undefined
}

const WITHHELD = /^(?:MUSTERBOOK_|AWS_|DATABASE_URL$|PG|NODE_OPTIONS$|NODE_CHANNEL_FD$|UV_THREADPOOL_SIZE$|npm_)/

export async function startExecutor(
  [program, ...args]: string[],
  at: Orchestration,
  internal: [dataFolder: string, commandId: string, run: string],
): Promise<ExecutorChild> {
  const state: ExecutorChild = { ended: undefined }
  const log = await open(at.log, 'a', 0o600)
  try {
    const child = spawn(program ?? '', [...args, EXECUTOR_ARGUMENT, ...internal], {
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !WITHHELD.test(name))),
    })
    child.on('error', (error) => {
      state.ended = `the process for this document cannot be started: ${reason(error)}`
    })
    child.on('exit', () => {
      state.ended = 'the process for this document ended before it began'
    })
    child.unref()
  } finally {
    await log.close()
  }
  return state
}
