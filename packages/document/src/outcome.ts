/**
 * What an exit code means, when steps end the document early, and what the document's end is: the rules of the
 * official agent (runpluginutil, contracts/aggregator), as pure functions over what has happened so far.
 */
import type { PlannedStep } from './plan.ts'
import type { Platform } from './plugins.ts'

/** Statuses in agent replies. */
export type StepStatus =
  | 'NotStarted'
  | 'InProgress'
  | 'Success'
  | 'SuccessAndReboot'
  | 'PassedAndReboot'
  | 'Failed'
  | 'Cancelled'
  | 'TimedOut'
  | 'Skipped'

/** A script ends the document and calls it a success. */
export const EXIT_WITH_SUCCESS = 168
/** A script ends the document and calls it a failure. */
export const EXIT_WITH_FAILURE = 169

export interface StepOutcome {
  readonly status: StepStatus
  readonly code: number
}
export interface StepResult extends StepOutcome {
  readonly stdout: string
  readonly stderr: string
}

/**
 * The status a script's exit code stands for: 0 Success, 168 Success, 194 (Windows 3010) SuccessAndReboot,
 * 137 (Windows -1) Cancelled when a cancel was asked for and TimedOut otherwise, everything else Failed.
 */
export function stepOutcome(exitCode: number, cancelled: boolean, platform: Platform = 'Linux'): StepOutcome {
  const windows = platform === 'Windows'
  const of = (status: StepStatus) => ({ status, code: exitCode })
  if (exitCode === 0 || exitCode === EXIT_WITH_SUCCESS) return of('Success')
  if (exitCode === (windows ? 3010 : 194)) return of('SuccessAndReboot')
  if (exitCode === (windows ? -1 : 137)) return of(cancelled ? 'Cancelled' : 'TimedOut')
  return of('Failed')
}

/** The result as it is reported: with the sentence that explains an early end, and successAndExit carried out. */
export function settleStep(step: Pick<PlannedStep, 'onFailure'>, result: StepResult): StepResult {
  const { code, status, stdout, stderr } = result
  if (code === EXIT_WITH_SUCCESS) {
    const note =
      '\nStep exited with code 168. Therefore, marking step as succeeded. Further document steps will be skipped.'
    return { status: 'Success', code, stdout: stdout + note, stderr: '' }
  }
  if (code === EXIT_WITH_FAILURE) {
    const note =
      '\nStep exited with code 169. Therefore, marking step as Failed. Further document steps will be skipped.'
    return { status, code, stdout: stdout + note, stderr: stderr + note }
  }
  if (status !== 'Failed' || !step.onFailure) return result
  const note = '\nStep was found to have onFailure property. Further document steps will be skipped.'
  const noted = { stdout: stdout + note, stderr: stderr + note }
  if (step.onFailure === 'exit') return { ...noted, status, code }
  return { ...noted, status: 'Success', code: EXIT_WITH_SUCCESS }
}

/** Why the step at `index` is skipped because of an earlier one, or undefined; `outcomes` holds those of the steps before it. */
export function skippedByEarlier(
  steps: readonly PlannedStep[],
  outcomes: readonly StepOutcome[],
  index: number,
): string | undefined {
  const step = steps[index]
  if (!step || step.finallyStep) return undefined
  const ended = steps.slice(0, index).some((earlier, at) => {
    const outcome = outcomes[at]
    if (!outcome) return false
    if (outcome.code === EXIT_WITH_SUCCESS || outcome.code === EXIT_WITH_FAILURE) return true
    if (outcome.status === 'Failed') return earlier.onFailure === 'exit'
    return outcome.status === 'Success' && earlier.onSuccess === 'exit'
  })
  return ended
    ? `Plugin with name ${step.action} and id ${step.id} skipped due to prior step with an exit condition`
    : undefined
}

/** The document's status from its steps' statuses; a step that has not ended leaves it InProgress. */
export function documentOutcome(statuses: readonly StepStatus[]): StepStatus {
  for (const decisive of ['SuccessAndReboot', 'Failed', 'TimedOut', 'Cancelled'] as const) {
    if (statuses.includes(decisive)) return decisive
  }
  return statuses.every((status) => status === 'Success' || status === 'Skipped') ? 'Success' : 'InProgress'
}

/** Later ones win when the calls of one 1.x step are put together. */
const PRECEDENCE: readonly StepStatus[] = [
  'Skipped',
  'Success',
  'SuccessAndReboot',
  'PassedAndReboot',
  'NotStarted',
  'InProgress',
  'Failed',
  'Cancelled',
  'TimedOut',
]

/** The results of a step's calls as one: outputs joined by a line end, the first code that is not 0, the gravest status. */
export function mergeRuns(results: readonly StepResult[]): StepResult {
  const [first, ...others] = results
  if (!first) return { status: 'Skipped', code: 0, stdout: '', stderr: '' }
  return others.reduce(
    (sum, next) => ({
      status: PRECEDENCE.indexOf(next.status) > PRECEDENCE.indexOf(sum.status) ? next.status : sum.status,
      code: sum.code === 0 ? next.code : sum.code,
      stdout: sum.stdout === '' ? next.stdout : `${sum.stdout}\n${next.stdout}`,
      stderr: sum.stderr === '' ? next.stderr : `${sum.stderr}\n${next.stderr}`,
    }),
    first,
  )
}

/** The code in a reply: a failure never says 0. */
export function reportedCode({ status, code }: StepOutcome): number {
  return status === 'Failed' && code === 0 ? 1 : code
}
