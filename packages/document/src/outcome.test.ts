import { describe, expect, it } from 'vitest'
import {
  documentOutcome,
  mergeRuns,
  reportedCode,
  type StepStatus,
  settleStep,
  skippedByEarlier,
  stepOutcome,
} from './outcome.ts'
import { openDocument } from './parse.ts'
import { planDocument } from './plan.ts'

describe('an exit code', () => {
  it.each([
    [0, false, 'Success'],
    [1, false, 'Failed'],
    [168, false, 'Success'],
    [169, false, 'Failed'],
    [194, false, 'SuccessAndReboot'],
    [137, false, 'TimedOut'],
    [137, true, 'Cancelled'],
    [143, true, 'Failed'],
    [3010, false, 'Failed'],
    [-1, false, 'Failed'],
  ] as [number, boolean, StepStatus][])('%d with cancel asked for %s is %s', (code, cancelled, status) => {
    expect(stepOutcome(code, cancelled)).toEqual({ status, code })
  })

  it('has other numbers for reboot and kill on Windows', () => {
    expect(stepOutcome(3010, false, 'Windows').status).toBe('SuccessAndReboot')
    expect(stepOutcome(194, false, 'Windows').status).toBe('Failed')
    expect(stepOutcome(-1, true, 'Windows').status).toBe('Cancelled')
    expect(stepOutcome(-1, false, 'Windows').status).toBe('TimedOut')
  })
})

describe('the end of a step', () => {
  const result = (code: number) => ({ ...stepOutcome(code, false), stdout: 'out', stderr: 'err' })
  it('with 168 is a success without errors, with 169 a failure, each with its sentence', () => {
    expect(settleStep({}, result(168))).toEqual({
      status: 'Success',
      code: 168,
      stdout:
        'out\nStep exited with code 168. Therefore, marking step as succeeded. Further document steps will be skipped.',
      stderr: '',
    })
    const note =
      '\nStep exited with code 169. Therefore, marking step as Failed. Further document steps will be skipped.'
    expect(settleStep({}, result(169))).toEqual({
      status: 'Failed',
      code: 169,
      stdout: `out${note}`,
      stderr: `err${note}`,
    })
  })

  it('obeys onFailure when it failed and only then', () => {
    const note = '\nStep was found to have onFailure property. Further document steps will be skipped.'
    expect(settleStep({ onFailure: 'exit' }, result(3))).toEqual({
      status: 'Failed',
      code: 3,
      stdout: `out${note}`,
      stderr: `err${note}`,
    })
    expect(settleStep({ onFailure: 'successAndExit' }, result(3))).toMatchObject({ status: 'Success', code: 168 })
    expect(settleStep({ onFailure: 'exit' }, result(0))).toEqual(result(0))
    expect(settleStep({}, result(3))).toEqual(result(3))
  })
})

describe('later steps', () => {
  const plan = (...inputs: Record<string, string | boolean>[]) =>
    planDocument(
      openDocument({
        schemaVersion: '2.2',
        mainSteps: inputs.map((each, n) => ({ name: `s${n}`, action: 'aws:runShellScript', inputs: each })),
      }),
      {},
      'Linux',
    )
  const skipped = 'Plugin with name aws:runShellScript and id s1 skipped due to prior step with an exit condition'

  it('run after a plain failure', () => {
    expect(skippedByEarlier(plan({}, {}), [stepOutcome(1, false)], 1)).toBeUndefined()
  })

  it.each([
    [{}, 168],
    [{}, 169],
    [{ onFailure: 'exit' }, 1],
    [{ onSuccess: 'exit' }, 0],
  ] as [Record<string, string>, number][])(
    'are skipped after a step with inputs %j that exits with %d',
    (inputs, code) => {
      expect(skippedByEarlier(plan(inputs, {}), [stepOutcome(code, false)], 1)).toBe(skipped)
    },
  )

  it('run when the condition did not come true', () => {
    expect(skippedByEarlier(plan({ onFailure: 'exit' }, {}), [stepOutcome(0, false)], 1)).toBeUndefined()
    expect(skippedByEarlier(plan({ onSuccess: 'exit' }, {}), [stepOutcome(1, false)], 1)).toBeUndefined()
    expect(skippedByEarlier(plan({ onFailure: 'exit' }, {}), [stepOutcome(137, false)], 1)).toBeUndefined()
  })

  it('run all the same as finallyStep', () => {
    const steps = plan({}, {}, { finallyStep: true })
    const outcomes = [stepOutcome(169, false), { status: 'Skipped', code: 0 } as const]
    expect(skippedByEarlier(steps, outcomes, 1)).toBe(skipped)
    expect(skippedByEarlier(steps, outcomes, 2)).toBeUndefined()
  })
})

describe('the end of a document', () => {
  it.each([
    [['Success', 'Skipped'], 'Success'],
    [['Skipped'], 'Success'],
    [['Failed', 'SuccessAndReboot', 'TimedOut'], 'SuccessAndReboot'],
    [['Success', 'Cancelled', 'TimedOut', 'Failed'], 'Failed'],
    [['Cancelled', 'TimedOut'], 'TimedOut'],
    [['Success', 'Cancelled'], 'Cancelled'],
    [['Success', 'InProgress'], 'InProgress'],
    [['Success', 'NotStarted'], 'InProgress'],
    [['NotStarted', 'Failed'], 'Failed'],
  ] as [StepStatus[], StepStatus][])('of %j is %s', (statuses, status) => {
    expect(documentOutcome(statuses)).toBe(status)
  })

  it('never reports a failure with code 0', () => {
    expect(reportedCode({ status: 'Failed', code: 0 })).toBe(1)
    expect(reportedCode({ status: 'Failed', code: 7 })).toBe(7)
    expect(reportedCode({ status: 'Skipped', code: 0 })).toBe(0)
  })
})

it('the calls of one 1.2 step become one result', () => {
  const of = (code: number, stdout: string, stderr = '') => ({ ...stepOutcome(code, false), stdout, stderr })
  expect(mergeRuns([of(0, 'a'), of(3, 'b', 'x'), of(4, '', 'y')])).toEqual({
    status: 'Failed',
    code: 3,
    stdout: 'a\nb\n',
    stderr: 'x\ny',
  })
  expect(mergeRuns([of(137, ''), of(0, 'z')])).toMatchObject({ status: 'TimedOut', stdout: 'z' })
  expect(mergeRuns([])).toMatchObject({ status: 'Skipped', code: 0 })
})
