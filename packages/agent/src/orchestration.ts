// The folder of one document, where its executor and the agent meet. The executor writes, the agent reads; each file
// appears whole. An agent that comes later finds everything here: who runs, what has ended, with what output.
//
//   run-<n>.json             the process that runs the document for the n-th time; made once, with a link
//   result-<n>.json          how that run ended
//   cancel                   somebody wants it ended
//   results/<i>.begin        step i has begun
//   results/<i>.json         how step i ended                 results/<i>-<n>.reported  the agent has posted it
//   steps/<i>-<name>/        _script.sh, stdout, stderr, process.json
//   calls/<i.n…>.json        how a part of step i ended    calls/<i.n…>.document.json  the document that it runs
//   executor.log             what the executor itself had to say

import { link, open, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { StepStatus } from '@musterbook/document'
import { isMissing, isTaken, makeFolder, readJson, readJsonOrNull, syncFolder, writeDurably } from './durable-files.ts'
import { asProcessIdentity, bootId, type ProcessIdentity, processesNaming, processIdentity } from './process-table.ts'
import type { InnerDocument, StepEnd } from './steps/step.ts'
import { sha256 } from './transport.ts'

export interface StepResult {
  index: number
  /** The run that ended it. */
  run: number
  /** Step name (schema 2.x) or plugin name (1.x): the key in replies. */
  id: string
  /** For example aws:runShellScript. */
  action: string
  status: StepStatus
  code: number
  /** ISO 8601 with milliseconds. */
  started: string
  ended: string
  /** Instead of the combined output, when the plugin itself has to say something. */
  message: string
  /** Exit code 168 reports no errors, whatever the script wrote. */
  hideErrors?: boolean
}

/** On disk before the step begins. */
export interface StepBegin {
  index: number
  run: number
  id: string
  action: string
  started: string
  /** Of the whole document. */
  steps: number
}

export interface RunResult {
  run: number
  status: StepStatus
  /** What is wrong with the document as a whole. */
  trace: string
  /** Steps that the document has, run or not. */
  steps: number
}

/** No process has this number: Linux counts to 2^22. */
const NOBODY = 2 ** 22 + 1

export interface Orchestration {
  root: string
  results: string
  steps: string
  calls: string
  cancel: string
  log: string
}

export function orchestrationOf(parent: string, commandId: string): Orchestration {
  const root = join(parent, commandId)
  return {
    root,
    results: join(root, 'results'),
    steps: join(root, 'steps'),
    calls: join(root, 'calls'),
    cancel: join(root, 'cancel'),
    log: join(root, 'executor.log'),
  }
}

/** The folder of a step; whatever its name holds, it is one folder. */
export function stepFolder(at: Orchestration, index: number, id: string): string {
  return join(at.steps, `${index}-${id.replaceAll(/[^A-Za-z0-9_.-]/g, '').slice(0, 100)}`)
}

/** True for exactly one process per run, however many try: the one that may run the document. Durable when true. */
export async function claimRun(at: Orchestration, run: number, identity: ProcessIdentity): Promise<boolean> {
  const own = join(at.root, `claim-${identity.pid}.tmp`)
  // One that a killed process of this number left may be the same file as an earlier run's.
  await rm(own, { force: true })
  const file = await open(own, 'wx', 0o600)
  await file.writeFile(JSON.stringify(identity))
  await file.sync()
  await file.close()
  try {
    await link(own, join(at.root, `run-${run}.json`))
    await syncFolder(at.root)
    return true
  } catch (error) {
    if (isTaken(error)) return false
    throw error
  } finally {
    await rm(own, { force: true })
  }
}

/** Who runs or ran it for the n-th time; undefined before anyone has. A damaged file was somebody's: who is still there? */
export async function runnerOf(at: Orchestration, run: number): Promise<ProcessIdentity | undefined> {
  const found = await readJsonOrNull(join(at.root, `run-${run}.json`))
  if (found === undefined) return undefined
  const named = asProcessIdentity(found)
  if (named) return named
  const [alive] = processesNaming(`\0${basename(at.root)}\0${run}\0`)
  return (alive === undefined ? undefined : processIdentity(alive)) ?? { pid: NOBODY, startTime: '', bootId: bootId() }
}

/** The highest number of a run that has begun; 0 before the first. */
export async function lastRun(at: Orchestration): Promise<number> {
  const numbers = (await namesIn(at.root)).map((name) => Number(/^run-(\d+)\.json$/.exec(name)?.[1] ?? 0))
  return Math.max(0, ...numbers)
}

export async function writeStepResult(at: Orchestration, result: StepResult): Promise<void> {
  await writeDurably(join(at.results, `${result.index}.json`), JSON.stringify(result))
}

/** In the order of the document. A step whose result is damaged has failed; one that nothing is known of is left out. */
export async function readStepResults(at: Orchestration): Promise<StepResult[]> {
  const results: StepResult[] = []
  for (const index of indexesIn(await namesIn(at.results), /^(\d+)\.json$/)) {
    const found = asStepResult(await readJsonOrNull(join(at.results, `${index}.json`)))
    const result = found?.index === index ? found : await damagedResult(at, index)
    if (result) results.push(result)
  }
  return results.sort((a, b) => a.index - b.index)
}

export const DAMAGED_RESULT = 'how this step ended was damaged on the disk of this node'

async function damagedResult(at: Orchestration, index: number): Promise<StepResult | undefined> {
  const begin = await readStepBegin(at, index)
  if (begin === undefined) return undefined
  const { run, id, action, started } = begin
  return { index, run, id, action, status: 'Failed', code: 1, started, ended: started, message: DAMAGED_RESULT }
}

/** Steps that have begun in any run, whether anything can be read of it or not. */
export async function begunSteps(at: Orchestration): Promise<Set<number>> {
  return new Set(indexesIn(await namesIn(at.results), /^(\d+)\.(?:begin|json)$/))
}

function indexesIn(names: string[], pattern: RegExp): number[] {
  return names.flatMap((name) => pattern.exec(name)?.[1] ?? []).map(Number)
}

/** Undefined as well when it is damaged: it is not synced, and after a power cut nobody needs it. */
export async function readStepBegin(at: Orchestration, index: number): Promise<StepBegin | undefined> {
  const found = await readJsonOrNull(join(at.results, `${index}.begin`))
  if (typeof found !== 'object' || found === null) return undefined
  const { run, id, action, started, steps } = found as Partial<StepBegin>
  if (run === undefined || !id || !action || !started || !steps) return undefined
  return { index, run, id, action, started, steps }
}

/** Calls of one step, or of a document that it runs: those that have ended are not made again after a restart. */
export async function writeCallEnd(at: Orchestration, call: string, end: StepEnd): Promise<void> {
  await makeFolder(at.calls)
  await writeDurably(join(at.calls, `${call}.json`), JSON.stringify(end))
}

/** Throws when it cannot be known how the call ended: it must not be made again. */
export async function readCallEnd(at: Orchestration, call: string): Promise<StepEnd | undefined> {
  const path = join(at.calls, `${call}.json`)
  const end = (await readJson(path)) as StepEnd | undefined
  if (end === undefined || Number.isInteger(end?.exitCode)) return end
  throw new Error(`${path} is damaged`)
}

export async function writeInnerDocument(at: Orchestration, call: string, document: InnerDocument): Promise<void> {
  await makeFolder(at.calls)
  await writeDurably(
    join(at.calls, `${call}.document.json`),
    JSON.stringify({ ...document, digest: sha256(document.text) }),
  )
}

/** Throws when it is not what was written: half of it may have run. */
export async function readInnerDocument(at: Orchestration, call: string): Promise<InnerDocument | undefined> {
  const path = join(at.calls, `${call}.document.json`)
  const found = await readJson(path)
  if (found === undefined) return undefined
  const { text, format, digest } = (found ?? {}) as InnerDocument & { digest: unknown }
  if (typeof text === 'string' && digest === sha256(text)) return { text, format }
  throw new Error(`${path} is damaged`)
}

export async function writeRunResult(at: Orchestration, result: RunResult): Promise<void> {
  await writeDurably(join(at.root, `result-${result.run}.json`), JSON.stringify(result))
}

/** A run whose end is damaged has ended, and failed: whatever it ran is not run again. */
export async function readRunResult(at: Orchestration, run: number): Promise<RunResult | undefined> {
  const found = await readJsonOrNull(join(at.root, `result-${run}.json`))
  if (found === undefined) return undefined
  const result = asRunResult(found)
  return result?.run === run ? result : { run, status: 'Failed', trace: DAMAGED_END, steps: 0 }
}

const DAMAGED_END = 'how this document ended was damaged on the disk of this node'

/** Names of the step results that were posted, as `<index>-<run>`. */
export async function reportedSteps(at: Orchestration): Promise<Set<string>> {
  const names = (await namesIn(at.results)).filter((name) => name.endsWith('.reported'))
  return new Set(names.map((name) => name.slice(0, -'.reported'.length)))
}

export async function markReported(at: Orchestration, result: StepResult): Promise<void> {
  await writeFile(join(at.results, `${result.index}-${result.run}.reported`), '')
}

/** Durable: an acknowledged cancellation is not lost. */
export async function requestCancel(at: Orchestration): Promise<void> {
  await writeDurably(at.cancel, '')
}

export async function isCancelled(at: Orchestration): Promise<boolean> {
  return (await namesIn(at.root)).includes('cancel')
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

const STATUSES: readonly StepStatus[] = [
  'Success',
  'SuccessAndReboot',
  'Failed',
  'Cancelled',
  'TimedOut',
  'Skipped',
  'InProgress',
]

function asStepResult(value: unknown): StepResult | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { index, run, id, action, code, started, ended, message, ...rest } = value as Partial<StepResult>
  const status = STATUSES.find((candidate) => candidate === rest.status)
  if (status === undefined || index === undefined || run === undefined || id === undefined) return undefined
  return {
    index,
    run,
    id,
    action: action ?? '',
    status,
    code: code ?? 0,
    started: started ?? '',
    ended: ended ?? '',
    message: message ?? '',
    ...(rest.hideErrors === true ? { hideErrors: true } : {}),
  }
}

function asRunResult(value: unknown): RunResult | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { run, trace, steps, ...rest } = value as Partial<RunResult>
  const status = STATUSES.find((candidate) => candidate === rest.status)
  if (status === undefined || run === undefined) return undefined
  return { run, status, trace: trace ?? '', steps: steps ?? 0 }
}
