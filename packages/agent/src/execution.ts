// One run of one document, seen from the agent: its process is started or found, each step is reported as it ends, and
// the end is whatever the process wrote last. A process that died without a last word makes the document Failed; it is
// never started again by itself. Called by runner.ts, before and after a restart of the agent alike.

import { watch } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readJsonOrNull } from './durable-files.ts'
import { type ExecutorChild, startExecutor } from './executor-process.ts'
import {
  begunSteps,
  isCancelled,
  markReported,
  type Orchestration,
  type RunResult,
  readRunResult,
  readStepBegin,
  readStepResults,
  reportedSteps,
  runnerOf,
  type StepBegin,
  type StepResult,
  stepFolder,
  writeRunResult,
  writeStepResult,
} from './orchestration.ts'
import { asProcessIdentity, isAlive, killGroup, processesNaming } from './process-table.ts'

/** Changes are seen by inotify; where that fails, or misses one, this many milliseconds later. */
const LOOK_EVERY = 500
/** Exit code of what was killed. */
const KILLED = 137

export const DIED = 'the process that ran this document ended unexpectedly'

export interface RunToFollow {
  at: Orchestration
  commandId: string
  run: number
  dataFolder: string
  executorCommand: string[]
  /** Posts what a finished step has to report; resolves when that is on disk. */
  report(result: StepResult, soFar: StepResult[]): Promise<void>
}

/** The end of the run; undefined when the signal came first: the process goes on without us. */
export async function followRun(what: RunToFollow, signal: AbortSignal): Promise<RunResult | undefined> {
  const { at, run } = what
  await mkdir(at.results, { recursive: true, mode: 0o700 })
  await mkdir(at.steps, { recursive: true, mode: 0o700 })
  let child: ExecutorChild | undefined
  const changes = watchChanges(at)
  try {
    while (!signal.aborted) {
      // First the end, then the steps: so no step that came before the end is missed.
      const result = await readRunResult(at, run)
      await reportSteps(what)
      if (result) return result
      const runner = await runnerOf(at, run)
      if (runner === undefined && child === undefined) {
        child = await startExecutor(what.executorCommand, at, [what.dataFolder, what.commandId, String(run)])
      } else if (runner ? !isAlive(runner) : child?.ended !== undefined) {
        // Its last word may have been written, and its claim made, since we looked.
        const last = (await readRunResult(at, run)) !== undefined || (runner === undefined && (await runnerOf(at, run)))
        if (!last) await writeEnd(what, runner ? DIED : (child?.ended ?? DIED))
        continue
      }
      await changes.next(signal)
    }
    return undefined
  } finally {
    changes.close()
  }
}

async function reportSteps({ at, report }: RunToFollow): Promise<void> {
  const results = await readStepResults(at)
  if (results.length === 0) return
  const reported = await reportedSteps(at)
  for (const [position, result] of results.entries()) {
    if (reported.has(`${result.index}-${result.run}`)) continue
    await report(result, results.slice(0, position + 1))
    await markReported(at, result)
  }
}

/** The end of a run whose process is gone: what it left running is stopped, and the step it was at has the truth. */
async function writeEnd({ at, run }: RunToFollow, message: string): Promise<void> {
  const cancelled = await isCancelled(at)
  const status = cancelled ? 'Cancelled' : 'Failed'
  const begun = await unfinishedStep(at, run)
  if (begun) {
    const folder = stepFolder(at, begun.index, begun.id)
    const leader = asProcessIdentity(await readJsonOrNull(join(folder, 'process.json')))
    if (leader && isAlive(leader)) killGroup(leader.pid)
    // The executor may have been killed between starting the script and noting its process.
    else if (!leader) for (const pid of processesNaming(`${folder}/`)) killGroup(pid)
    await writeStepResult(at, {
      index: begun.index,
      run,
      id: begun.id,
      action: begun.action,
      status,
      code: cancelled ? KILLED : 1,
      started: begun.started,
      ended: new Date().toISOString(),
      message: cancelled ? '' : message,
    })
  }
  await writeRunResult(at, { run, status, trace: cancelled ? '' : message, steps: begun?.steps ?? 0 })
}

async function unfinishedStep(at: Orchestration, run: number): Promise<StepBegin | undefined> {
  const ended = new Set((await readStepResults(at)).filter((result) => result.run === run).map(({ index }) => index))
  for (const index of await begunSteps(at)) {
    const begin = await readStepBegin(at, index)
    if (begin && begin.run === run && !ended.has(begin.index)) return begin
  }
  return undefined
}

interface Changes {
  next(signal: AbortSignal): Promise<void>
  close(): void
}

function watchChanges(at: Orchestration): Changes {
  let changed = false
  let wake = () => {}
  const note = () => {
    changed = true
    wake()
  }
  const watchers = [at.root, at.results].flatMap((folder) => {
    try {
      return [watch(folder, note).on('error', () => {})]
    } catch {
      // No inotify left (fs.inotify.max_user_instances is 128 by default): looking every half second has to do.
      return []
    }
  })
  return {
    next(signal) {
      if (changed || signal.aborted) {
        changed = false
        return Promise.resolve()
      }
      return new Promise((resolve) => {
        const finish = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', finish)
          wake = () => {}
          changed = false
          resolve()
        }
        const timer = setTimeout(finish, LOOK_EVERY)
        wake = finish
        signal.addEventListener('abort', finish, { once: true })
      })
    },
    close() {
      for (const watcher of watchers) watcher.close()
    },
  }
}
