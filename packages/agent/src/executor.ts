// The process that runs one document, once. It claims the run, follows the plan step by step, and leaves each result on
// disk before it goes on; it never talks to the agent, and a killed agent does not touch it. SIGTERM with a cancel mark
// in its folder cancels; SIGTERM without one (a service manager stopping the agent) is ignored.

import { appendFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  documentOutcome,
  type JsonObject,
  openDocument,
  type PlannedStep,
  parseDocument,
  planDocument,
  reportedCode,
  type SsmDocument,
  type StepOutcome,
  type StepRun,
  settleStep,
  skippedByEarlier,
  ssmReferences,
  stepOutcome,
} from '@musterbook/document'
import { parseSendCommandPayload, type SigningCredentials } from '@musterbook/wire'
import { callSigned } from './api.ts'
import { readCredentials } from './credentials.ts'
import { type DataFolder, dataFolderOf } from './data-folder.ts'
import { download } from './download.ts'
import { readJson } from './durable-files.ts'
import { type Job, readJob } from './inbox.ts'
import { createLog, type Log, reason } from './log.ts'
import {
  begunSteps,
  claimRun,
  DAMAGED_RESULT,
  isCancelled,
  type Orchestration,
  orchestrationOf,
  readCallEnd,
  readInnerDocument,
  readStepResults,
  type StepBegin,
  type StepResult,
  stepFolder,
  writeCallEnd,
  writeInnerDocument,
  writeRunResult,
  writeStepResult,
} from './orchestration.ts'
import { readPlatform } from './platform.ts'
import { PLUGIN_TABLE } from './plugins.ts'
import { processIdentity } from './process-table.ts'
import type { InnerDocument, PluginRun, StepEnd } from './steps/step.ts'
import { storedValues } from './stored-values.ts'
import { createTransport, type Transport } from './transport.ts'

/** How deep aws:runDocument may nest. */
const MOST_DEPTH = 3
const KILLED = 137
const REBOOT = 194

/** Runs the document to its end; resolves at once when another process has the run. */
async function runExecutor(dataFolder: string, commandId: string, runText: string, log: Log): Promise<void> {
  const run = Number(runText)
  const folder = dataFolderOf(dataFolder)
  const at = orchestrationOf(folder.orchestration, commandId)
  const cancel = new AbortController()
  const look = () =>
    isCancelled(at).then(
      (yes) => yes && cancel.abort(),
      () => {},
    )
  process.on('SIGTERM', look)
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
  const self = processIdentity(process.pid)
  if (self === undefined || !(await claimRun(at, run, self))) return
  await look()
  try {
    const job = await readJob(folder, 'current', commandId).catch((error) => {
      log.error('document is damaged', { commandId, reason: reason(error) })
      throw new Error('the document was damaged on the disk of this node and cannot be run')
    })
    if (job === undefined) throw new Error('the document is no longer in the inbox')
    await runJob({ folder, at, job, run, cancelled: cancel.signal })
  } catch (error) {
    await writeRunResult(at, { run, status: 'Failed', trace: reason(error), steps: 0 })
  }
}

interface Task {
  folder: DataFolder
  at: Orchestration
  job: Job
  run: number
  cancelled: AbortSignal
}

interface Context extends Task {
  connection: { transport: Transport; ca: string | undefined; instanceId: string; region: string }
  platform: ReturnType<typeof readPlatform>
  credentials: SigningCredentials | undefined
}

async function runJob(task: Task): Promise<void> {
  const { at, run, cancelled } = task
  const payload = parseSendCommandPayload(task.job.content)
  const context: Context = {
    ...task,
    connection: await readConnection(task.folder),
    platform: readPlatform(),
    credentials: await readCredentials(task.folder.credentialsJson).catch(() => undefined),
  }
  const steps = await planned(context, openDocument(payload.DocumentContent), payload.Parameters, 'by-server')
  const earlier = new Map((await readStepResults(at)).map((result) => [result.index, result]))
  const begun = await begunSteps(at)
  const outcomes: StepOutcome[] = []
  for (const [index, step] of steps.entries()) {
    const before = earlier.get(index)
    // Whether it has run to its end nobody knows: it must not run again, and nothing that builds on it may.
    if (begun.has(index) && (before === undefined || before.message === DAMAGED_RESULT))
      throw new Error(`${DAMAGED_RESULT}: ${step.id}`)
    if (before && before.status !== 'SuccessAndReboot') {
      outcomes.push(before)
      continue
    }
    const started = new Date().toISOString()
    const begin: StepBegin = { index, run, id: step.id, action: step.action, started, steps: steps.length }
    await writeFile(join(at.results, `${index}.begin`), JSON.stringify(begin), { mode: 0o600 })
    const end = cancelled.aborted
      ? { status: 'Cancelled' as const, code: KILLED, message: '', hideErrors: false }
      : await runStep(context, step, index, skippedByEarlier(steps, outcomes, index))
    const { hideErrors, message } = end
    const code = reportedCode(end)
    const ended = new Date().toISOString()
    const result = { index, run, id: step.id, action: step.action, status: end.status, code, started, ended, message }
    await writeStepResult(at, hideErrors ? { ...result, hideErrors } : result)
    outcomes.push(end)
    if (end.status === 'SuccessAndReboot') break
  }
  const status = documentOutcome(outcomes.map((outcome) => outcome.status))
  await writeRunResult(at, { run, status, trace: '', steps: steps.length })
}

type Ended = Pick<StepResult, 'status' | 'code' | 'message'> & StepOutcome & { hideErrors: boolean }

async function runStep(
  context: Context,
  step: PlannedStep,
  index: number,
  skipped: string | undefined,
): Promise<Ended> {
  const folder = stepFolder(context.at, index, step.id)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const refusal = skipped ?? (step.verdict.do === 'run' ? undefined : step.verdict.reason)
  if (refusal !== undefined) {
    const status = skipped !== undefined || step.verdict.do === 'skip' ? 'Skipped' : 'Failed'
    return { status, code: status === 'Failed' ? 1 : 0, message: refusal, hideErrors: false }
  }
  const end = await runPlugin(context, step, { folder, name: String(index), depth: 0 })
  const outcome = stepOutcome(end.exitCode, end.cancelled === true)
  // Asked with empty output: what comes back is what is to be added to the output on disk.
  const settled = settleStep(step, { ...outcome, stdout: '', stderr: '' })
  if (settled.stdout !== '') await appendFile(join(folder, 'stdout'), settled.stdout)
  if (settled.stderr !== '') await appendFile(join(folder, 'stderr'), settled.stderr)
  const hideErrors = end.exitCode === 168
  return { status: settled.status, code: settled.code, message: end.message ?? '', hideErrors }
}

/** Where a step stands: in the document itself, or in one that a step of it runs. */
interface Place {
  /** Of the document's own step: every output goes there. */
  folder: string
  /** The numbers of the steps and calls that lead there. */
  name: string
  depth: number
}

/** The calls of one step in turn; the first that does not end with 0 decides, as one that was cancelled does. */
async function runPlugin(context: Context, step: PlannedStep, place: Place): Promise<StepEnd> {
  const plugin = PLUGIN_TABLE.get(step.action)
  if (plugin === undefined) return { exitCode: 1, message: `${step.action} is not supported by this agent` }
  // What is only part of a document's own step has no result there that would keep it from running again.
  const isPart = place.depth > 0 || step.runs.length > 1
  let sum: StepEnd = { exitCode: 0 }
  for (const [nth, run] of step.runs.entries()) {
    const call = `${place.name}.${nth}`
    let end = isPart ? await readCallEnd(context.at, call) : undefined
    if (end === undefined) {
      if (context.cancelled.aborted) return { exitCode: KILLED, cancelled: true }
      end = await plugin(pluginRun(context, step, run, { ...place, name: call })).catch(
        (error): StepEnd => ({ exitCode: 1, message: reason(error) }),
      )
      if (end.exitCode === REBOOT) return end
      if (isPart) await writeCallEnd(context.at, call, end)
    }
    if (sum.exitCode === 0) sum = end
  }
  return sum
}

function pluginRun(context: Context, step: PlannedStep, run: StepRun, place: Place): PluginRun {
  const { folder } = place
  const { at, job, cancelled, connection, platform, folder: data } = context
  const signer = () => {
    if (context.credentials === undefined) throw new Error('the node has no role credentials')
    return context.credentials
  }
  return {
    id: step.id,
    action: step.action,
    inputs: run.inputs,
    environment: {
      AWS_SSM_INSTANCE_ID: connection.instanceId,
      AWS_SSM_REGION_NAME: connection.region,
      AWS_SSM_PLATFORM_NAME: platform.name,
      AWS_SSM_PLATFORM_VERSION: platform.version,
      SSM_COMMAND_ID: job.commandId,
      AWS_SHARED_CREDENTIALS_FILE: data.credentialsIni,
      ...run.environment,
    },
    timeoutSeconds: run.timeoutSeconds,
    folder,
    downloads: join(at.root, 'downloads'),
    cancelled,
    write: (stream, text) => appendFile(join(folder, stream), text, { mode: 0o600 }),
    call: (operation, input) => callFresh(context, operation, input),
    async download(url, path, headers = {}) {
      await refresh(context)
      const { transport, ca } = connection
      await download(url, path, headers, { transport, ca, credentials: signer, signal: cancelled })
    },
    runInner: (read, parameters) => runInner(context, read, parameters, place),
  }
}

/** Every output goes to the outer step's files; the document's status becomes the step's. */
async function runInner(
  context: Context,
  read: () => Promise<InnerDocument>,
  parameters: JsonObject,
  { folder, name, depth }: Place,
): Promise<StepEnd> {
  if (depth >= MOST_DEPTH) return { exitCode: 1, message: `documents nest deeper than ${MOST_DEPTH}` }
  const document = openInner(await onceRead(context.at, name, read))
  const steps = await planned(context, document, parameters, 'by-run-document')
  const outcomes: StepOutcome[] = []
  const messages: string[] = []
  for (const [index, step] of steps.entries()) {
    const skipped = skippedByEarlier(steps, outcomes, index)
    if (skipped !== undefined || step.verdict.do === 'skip') {
      outcomes.push({ status: 'Skipped', code: 0 })
      continue
    }
    const end: StepEnd =
      step.verdict.do === 'fail'
        ? { exitCode: 1, message: step.verdict.reason }
        : await runPlugin(context, step, { folder, name: `${name}.${index}`, depth: depth + 1 })
    if (end.message !== undefined) messages.push(end.message)
    const settled = settleStep(step, { ...stepOutcome(end.exitCode, end.cancelled === true), stdout: '', stderr: '' })
    outcomes.push(settled)
    if (settled.status === 'SuccessAndReboot' || settled.status === 'Cancelled') break
  }
  const message = messages.length === 0 ? {} : { message: messages.join('\n') }
  switch (documentOutcome(outcomes.map((outcome) => outcome.status))) {
    case 'Success':
      return { exitCode: 0 }
    case 'SuccessAndReboot':
      return { exitCode: REBOOT }
    case 'TimedOut':
      return { exitCode: KILLED, ...message }
    case 'Cancelled':
      return { exitCode: KILLED, cancelled: true }
    default:
      return { exitCode: outcomes.find((outcome) => outcome.status === 'Failed')?.code || 1, ...message }
  }
}

/** After a restart of the machine the same document goes on, whatever has become of it where it came from. */
async function onceRead(at: Orchestration, call: string, read: () => Promise<InnerDocument>): Promise<InnerDocument> {
  const kept = await readInnerDocument(at, call)
  if (kept) return kept
  const document = await read()
  await writeInnerDocument(at, call, document)
  return document
}

function openInner({ text, format }: InnerDocument): SsmDocument {
  return format === 'YAML' ? parseDocument(text, format, 'Command') : openDocument(JSON.parse(text))
}

async function planned(
  context: Context,
  document: SsmDocument,
  parameters: JsonObject,
  opened: 'by-server' | 'by-run-document',
): Promise<PlannedStep[]> {
  const names = ssmReferences(document, parameters)
  const stored = await storedValues((operation, input) => callFresh(context, operation, input), names)
  return planDocument(document, parameters, context.platform.type, { opened, stored })
}

/** The agent may have renewed them since this process began; a document may run for two days. */
async function refresh(context: Context): Promise<SigningCredentials> {
  context.credentials = await readCredentials(context.folder.credentialsJson)
  return context.credentials
}

async function callFresh(context: Context, operation: string, input: object) {
  const credentials = await refresh(context)
  return callSigned(context.connection.transport, () => credentials, operation, input, { signal: context.cancelled })
}

async function readConnection(folder: DataFolder): Promise<Context['connection']> {
  const { endpoint, region, ca, instanceId } = (await readJson(folder.connection)) as Record<string, string | undefined>
  if (!endpoint || !region || !instanceId) throw new Error('the agent left no address of the control plane')
  return { transport: createTransport({ endpoint, region, ca }), ca, instanceId, region }
}

/** For the bundle's entry: the process ends with its document, and an error goes to the executor's own log. */
export async function runExecutorProcess(args: string[]): Promise<void> {
  const [dataFolder, commandId, run] = args
  const log = createLog('info')
  try {
    if (!dataFolder || !commandId || !run) throw new Error('data folder, command id and run are needed')
    await runExecutor(dataFolder, commandId, run, log)
  } catch (error) {
    log.error('executor failed', { reason: reason(error) })
    process.exitCode = 1
  }
  // Nothing that a plugin left open (a socket, a timer) may keep the process.
  process.exit()
}
