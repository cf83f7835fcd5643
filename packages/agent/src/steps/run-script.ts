// One script from start to end: a file of mode 0700, a process group of its own, output straight into files by the
// kernel (a killed executor or agent loses none of it), SIGKILL to the whole group when time is up or it is cancelled.

import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { open, stat, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { stepOutcome } from '@musterbook/document'
import { reason } from '../log.ts'
import { killGroup, processIdentity } from '../process-table.ts'
import { failed, type PluginRun, type StepEnd, textInput } from './step.ts'

/** Exit code of a script that a signal ended, minus the signal's number; shells count so. */
const SIGNAL_BASE = 128

export interface Script {
  file: string
  lines: string
  /** Program and arguments that run the file at this path. */
  command(path: string): [program: string, ...args: string[]]
}

export async function runScript(step: PluginRun, script: Script): Promise<StepEnd> {
  const path = join(step.folder, script.file)
  await writeFile(path, script.lines, { mode: 0o700 })
  const cwd = await workingDirectory(step)
  if (cwd !== undefined && !(await isFolder(cwd))) return failed(`the working directory ${cwd} does not exist`)
  const stdout = await open(join(step.folder, 'stdout'), 'a', 0o600)
  const stderr = await open(join(step.folder, 'stderr'), 'a', 0o600)
  let end: StepEnd
  try {
    end = await runToEnd(step, script.command(path), cwd, [stdout.fd, stderr.fd])
  } finally {
    await stdout.close()
    await stderr.close()
  }
  const { status } = stepOutcome(end.exitCode, end.cancelled === true)
  if (status === 'Failed' && end.message === undefined)
    await step.write('stderr', `failed to run commands: exit status ${end.exitCode}`)
  return end
}

function runToEnd(
  step: PluginRun,
  [program, ...args]: [string, ...string[]],
  cwd: string | undefined,
  [stdout, stderr]: [number, number],
): Promise<StepEnd> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      detached: true,
      stdio: ['ignore', stdout, stderr],
      env: { ...process.env, ...step.environment },
    })
    let cancelled = false
    const kill = () => child.pid !== undefined && killGroup(child.pid)
    const onCancel = () => {
      cancelled = true
      kill()
    }
    const timer = setTimeout(kill, step.timeoutSeconds * 1000)
    const finish = (end: StepEnd) => {
      clearTimeout(timer)
      step.cancelled.removeEventListener('abort', onCancel)
      resolve(end)
    }
    child.on('error', (error) => finish(failed(`${program} cannot be started: ${reason(error)}`)))
    child.on('exit', (code, signal) => {
      finish({ exitCode: code ?? SIGNAL_BASE + (signal === null ? 0 : constants.signals[signal]), cancelled })
    })
    if (child.pid === undefined) return
    // At once, so that whoever finds this executor dead also finds the group that it left.
    writeFileSync(join(step.folder, 'process.json'), JSON.stringify(processIdentity(child.pid) ?? null), {
      mode: 0o600,
    })
    step.cancelled.addEventListener('abort', onCancel, { once: true })
    if (step.cancelled.aborted) onCancel()
  })
}

/** Lines of runCommand as one script. */
export function scriptLines(step: PluginRun): string {
  const { runCommand } = step.inputs
  const lines = Array.isArray(runCommand) ? runCommand : [runCommand ?? '']
  return lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n')
}

/** An absolute path, or a folder that aws:downloadContent made; otherwise the agent's own. */
async function workingDirectory(step: PluginRun): Promise<string | undefined> {
  const wanted = textInput(step.inputs, 'workingDirectory')
  if (wanted === '') return undefined
  if (isAbsolute(wanted)) return wanted
  const downloaded = join(step.downloads, wanted)
  return (await isFolder(downloaded)) ? downloaded : undefined
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch {
    return false
  }
}
