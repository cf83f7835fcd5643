// The documents of this node: some run, some wait, the rest is refused. What is taken on is on disk before it is
// acknowledged; after a restart everything goes on where it stood. Called by mail.ts with jobs and cancellations.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AgentJobStatus, SEND_COMMAND_TOPIC } from '@musterbook/wire'
import { currentBoot, requestReboot } from './boot.ts'
import type { DataFolder } from './data-folder.ts'
import { isMissing, makeFolder, writeDurably } from './durable-files.ts'
import { followRun } from './execution.ts'
import { isKnown, type Job, makeCurrent, makeDone, putPending, readJobs } from './inbox.ts'
import type { LiveOutput } from './live-output.ts'
import { type Log, reason } from './log.ts'
import {
  lastRun,
  type Orchestration,
  orchestrationOf,
  type RunResult,
  readRunResult,
  readStepResults,
  requestCancel,
  runnerOf,
} from './orchestration.ts'
import { type Outbox, replyId } from './outbox.ts'
import { pause } from './pause.ts'
import { bootId, signalProcess } from './process-table.ts'
import { documentReply, finalReply, stepReply } from './reply-payload.ts'
import type { Settings } from './settings.ts'

export interface Runner {
  /** Resolves when the document is on disk, or why it is not. */
  accept(job: Omit<Job, 'received'>): Promise<AgentJobStatus>
  /** Resolves when the wish is on disk; an unknown or finished document is left alone. */
  cancel(commandId: string): Promise<void>
  /** Resolves when nothing is watched any more; what runs goes on. */
  stopped(): Promise<void>
}

/** How often a document may begin anew after a reboot; amazon-ssm-agent's CommandRetryLimit. */
const MOST_RUNS = 15
/** The SuccessAndReboot reply gets this long to be acknowledged before the machine goes down, in milliseconds. */
const REPLY_BEFORE_REBOOT = 5000
/** A machine that has not restarted this many milliseconds after it was asked to will not. */
const REBOOT_PATIENCE = 15 * 60_000
/** Pauses after a document could not be carried through, in milliseconds; they double up to the longest. */
const FIRST_PAUSE = 1000
const LONGEST_PAUSE = 60_000

export async function createRunner(
  settings: Settings,
  folder: DataFolder,
  instanceId: string,
  outbox: Outbox,
  output: LiveOutput,
  log: Log,
  signal: AbortSignal,
): Promise<Runner> {
  const boot = await currentBoot(settings.runtimeFolder)
  const current = await readJobs(folder, instanceId, 'current', log)
  const isCurrent = ({ commandId }: Job) => current.some((job) => job.commandId === commandId)
  // A power cut between the two folders may leave a document in both.
  const pending = (await readJobs(folder, instanceId, 'pending', log)).filter((job) => !isCurrent(job))
  const running = new Map<string, Promise<void>>()
  let rebooting = false
  /** One accept at a time: two deliveries of one document must not both find it unknown. */
  let accepting: Promise<unknown> = Promise.resolve()

  const post = (job: Job, event: string, content: string) =>
    outbox.post(replyId(job.jobId, event), { jobId: job.jobId, topic: SEND_COMMAND_TOPIC, content })

  let lastReceived = 0

  async function accept(given: Omit<Job, 'received'>): Promise<AgentJobStatus> {
    // Never the same moment twice: the order of arrival is all that a later agent has to go by.
    lastReceived = Math.max(Date.now(), lastReceived + 1)
    const job: Job = { ...given, received: lastReceived }
    if (signal.aborted) return 'ClosedProcessor'
    if (running.has(job.commandId) || (await isKnown(folder, job.commandId))) return 'DuplicateCommand'
    const free = rebooting ? 0 : Math.max(0, settings.commandWorkers - running.size)
    if (pending.length >= settings.commandQueue + free) return 'ProcessorBufferFull'
    await putPending(folder, job)
    pending.push(job)
    return 'Successful'
  }

  function pump(): void {
    while (!signal.aborted && !rebooting && running.size < settings.commandWorkers) {
      const job = pending.shift()
      if (job === undefined) return
      start(job, () => makeCurrent(folder, job.commandId))
    }
  }

  function start(job: Job, ready: () => Promise<void>): void {
    const work = untilCarriedThrough(job, ready).finally(() => {
      running.delete(job.commandId)
      pump()
    })
    running.set(job.commandId, work)
  }

  /** What a full disk kept from being written is written once there is room: everything here may begin again anywhere. */
  async function untilCarriedThrough(job: Job, ready: () => Promise<void>): Promise<void> {
    let isReady = false
    for (let millis = FIRST_PAUSE; !signal.aborted; millis = Math.min(LONGEST_PAUSE, millis * 2)) {
      try {
        if (!isReady) await ready()
        isReady = true
        return await execute(job)
      } catch (error) {
        log.error('document not carried through', { commandId: job.commandId, reason: reason(error) })
        await pause(millis, signal)
      }
    }
  }

  async function execute(job: Job): Promise<void> {
    const at = orchestrationOf(folder.orchestration, job.commandId)
    await makeFolder(at.root)
    const run = await nextRun(at, boot)
    log.info('document runs', { commandId: job.commandId, run })
    if (run > MOST_RUNS) {
      const trace = `the document asked for more than ${MOST_RUNS} runs`
      return finish(job, at, { run, status: 'Failed', trace, steps: 0 })
    }
    output.follow(job.jobId, at)
    const end = await follow(job, at, run)
    if (end === undefined) return
    if (end.status !== 'SuccessAndReboot') return finish(job, at, end)
    const failure = await reboot(job, at, end)
    if (failure !== undefined) return finish(job, at, { ...end, status: 'Failed', trace: failure })
  }

  function follow(job: Job, at: Orchestration, run: number): Promise<RunResult | undefined> {
    const { executorCommand, dataFolder } = settings
    const report: Parameters<typeof followRun>[0]['report'] = async (result, soFar) => {
      await output.flushed(job.jobId)
      await post(job, `step-${result.index}-${result.run}`, await stepReply(at, result, soFar))
    }
    return followRun({ at, commandId: job.commandId, run, dataFolder, executorCommand, report }, signal)
  }

  async function finish(job: Job, at: Orchestration, end: RunResult): Promise<void> {
    await output.flushed(job.jobId)
    await post(job, 'final', await finalReply(at, end, await readStepResults(at)))
    await output.ended(job.jobId)
    await makeDone(folder, job.commandId)
    log.info('document ended', { commandId: job.commandId, status: end.status })
  }

  /** Undefined when the agent stops first, as it does in a restart; else why there will be none. */
  async function reboot(job: Job, at: Orchestration, end: RunResult): Promise<string | undefined> {
    rebooting = true
    try {
      const event = `reboot-${end.run}`
      await post(job, event, await finalReply(at, end, await readStepResults(at)))
      await outbox.settled(replyId(job.jobId, event), REPLY_BEFORE_REBOOT)
      if (signal.aborted) return undefined
      await writeDurably(rebootMark(at, end.run), boot)
      log.warn('restarting this machine', { commandId: job.commandId })
      const failure = await requestReboot(settings.rebootCommand, REBOOT_PATIENCE, signal)
      if (failure !== undefined) return failure
      await pause(REBOOT_PATIENCE, signal)
      return signal.aborted ? undefined : 'this machine did not restart within 15 minutes'
    } finally {
      rebooting = false
    }
  }

  async function cancelQueued(job: Job): Promise<void> {
    await post(job, 'final', documentReply('Cancelled', ''))
    await makeDone(folder, job.commandId)
    log.info('document cancelled while it waited', { commandId: job.commandId })
  }

  async function cancel(commandId: string): Promise<void> {
    const position = pending.findIndex((job) => job.commandId === commandId)
    const [waiting] = position < 0 ? [] : pending.splice(position, 1)
    if (waiting) return cancelQueued(waiting)
    if (!running.has(commandId)) return
    const at = orchestrationOf(folder.orchestration, commandId)
    await makeFolder(at.root)
    await requestCancel(at)
    // An executor that has not claimed its run yet finds the mark by itself.
    const runner = await runnerOf(at, Math.max(1, await lastRun(at)))
    if (runner) signalProcess(runner, 'SIGTERM')
  }

  for (const job of current) start(job, async () => {})
  pump()

  return {
    accept(job) {
      const answer = accepting.then(() => accept(job))
      accepting = answer.catch(() => {})
      // What was accepted begins only after its acknowledgement could be sent.
      answer.then(() => setImmediate(pump)).catch(() => {})
      return answer
    },
    cancel(commandId) {
      const done = accepting.then(() => cancel(commandId))
      accepting = done.catch(() => {})
      return done
    },
    async stopped() {
      await accepting
      await Promise.all(running.values())
    },
  }
}

/** The run to begin or to follow: the next one only when the last asked for a restart and the machine did restart. */
async function nextRun(at: Orchestration, boot: string): Promise<number> {
  const last = await lastRun(at)
  if (last === 0) return 1
  const result = await readRunResult(at, last)
  if (result?.status !== 'SuccessAndReboot') return last
  const asked = await readMark(rebootMark(at, last))
  // A script may restart the machine itself before the agent was told to.
  const restarted = asked === undefined ? (await runnerOf(at, last))?.bootId !== bootId() : asked !== boot
  return restarted ? last + 1 : last
}

function rebootMark(at: Orchestration, run: number): string {
  return join(at.root, `reboot-${run}`)
}

async function readMark(path: string): Promise<string | undefined> {
  try {
    const mark = await readFile(path, 'utf8')
    // Half a mark is none: it would look like that of another boot, and the script would run again without a restart.
    return /^[0-9a-f-]{36}$/.test(mark) ? mark : undefined
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}
