/**
 * What CreateDocument refuses of a runbook (schema 0.3), from the published rules: steps, their actions and inputs, the ways
 * from one to another, and named outputs. What is not published is taken as it is; inputs that name an API's own members
 * are any.
 */
import { PARAMETER_TYPES } from './document.ts'
import { invalidContent } from './error.ts'
import { isObject, type Json, type JsonObject, member } from './json.ts'

/** Every published action with the inputs that it cannot be without. */
const REQUIRED: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    'aws:approve': ['Approvers'],
    'aws:assertAwsResourceProperty': ['Service', 'Api', 'PropertySelector', 'DesiredValues'],
    'aws:branch': ['Choices'],
    'aws:changeInstanceState': ['InstanceIds', 'DesiredState'],
    'aws:copyImage': ['SourceImageId', 'SourceRegion', 'ImageName'],
    'aws:createImage': ['InstanceId', 'ImageName'],
    'aws:createStack': ['StackName'],
    'aws:createTags': ['ResourceIds', 'Tags'],
    'aws:deleteImage': ['ImageId'],
    'aws:deleteStack': ['StackName'],
    'aws:executeAutomation': ['DocumentName'],
    'aws:executeAwsApi': ['Service', 'Api'],
    'aws:executeScript': ['Runtime'],
    'aws:executeStateMachine': ['stateMachineArn'],
    'aws:invokeLambdaFunction': ['FunctionName'],
    'aws:invokeWebhook': ['IntegrationName'],
    'aws:loop': ['Steps'],
    'aws:pause': [],
    'aws:runCommand': ['DocumentName'],
    'aws:runInstances': ['ImageId'],
    'aws:sleep': [],
    'aws:updateVariable': ['Name', 'Value'],
    'aws:waitForAwsResourceProperty': ['Service', 'Api', 'PropertySelector', 'DesiredValues'],
  }),
)

/** The one action whose inputs are published as all there are: those of SendCommand. */
const RUN_COMMAND_INPUTS = [
  'DocumentName',
  'DocumentVersion',
  'DocumentHash',
  'DocumentHashType',
  'InstanceIds',
  'Targets',
  'Parameters',
  'Comment',
  'TimeoutSeconds',
  'MaxConcurrency',
  'MaxErrors',
  'CloudWatchOutputConfig',
  'OutputS3BucketName',
  'OutputS3KeyPrefix',
  'ServiceRoleArn',
  'NotificationConfig',
]

const OPERATORS: ReadonlySet<string> = new Set([
  'StringEquals',
  'EqualsIgnoreCase',
  'StartsWith',
  'EndsWith',
  'Contains',
  'NumericEquals',
  'NumericGreater',
  'NumericLesser',
  'NumericGreaterOrEquals',
  'NumericLesserOrEquals',
  'BooleanEquals',
])

const MAX_STEP_NAME_CHARACTERS = 128
const MAX_ITERATIONS = 100

interface RunbookStep {
  name: string
  action: string
  has: JsonObject
  inputs: JsonObject
  /** Those of a loop's body. */
  steps: RunbookStep[]
}

/** Throws DocumentError InvalidDocumentContent. */
export function checkRunbook(content: JsonObject, mainSteps: readonly Json[], isTemplate: boolean): void {
  const names = new Set<string>()
  const steps = readSteps(mainSteps, names)
  for (const step of everyStep(steps)) {
    // The templates of change requests say who approves in a form of their own.
    if (!isTemplate) checkInputs(step)
    checkWays(step, names)
    checkOutputs(step)
  }
  checkEnds(steps)
  for (const output of listOf(member(content, 'outputs'), '"outputs" in the document')) {
    if (typeof output !== 'string') throw invalid('"outputs" in the document')
    const [, name] = /^([A-Za-z0-9_]+)\./.exec(output) ?? []
    if (name !== undefined && !names.has(name)) throw invalidContent(`Unknown step name in named output: ${name}`)
  }
}

const invalid = (what: string) => invalidContent(`Invalid ${what}.`)
const isToken = (value: Json | undefined): boolean => typeof value === 'string' && value.includes('{{')

function listOf(value: Json | undefined, what: string): Json[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw invalid(what)
  return value
}

/** A step's name is its own in the whole runbook, also inside loops. */
function readSteps(list: readonly Json[], names: Set<string>): RunbookStep[] {
  return list.map((item) => {
    const has = isObject(item) ? item : {}
    const [name, action] = [member(has, 'name'), member(has, 'action')]
    if (typeof name !== 'string' || name === '') throw invalidContent('Missing "name" in step detail.')
    if (typeof action !== 'string' || action === '') throw invalidContent('Missing "action" in step detail.')
    if (!/^[A-Za-z0-9_]+$/.test(name) || name.length > MAX_STEP_NAME_CHARACTERS)
      throw invalidContent(`StepName: ${name} is invalid.`)
    if (names.has(name)) throw invalidContent('Duplicate step names found in mainSteps of the document.')
    names.add(name)
    if (!REQUIRED.has(action)) throw invalidContent(`Unknown action: ${action}`)
    const inputs = member(has, 'inputs') ?? {}
    if (!isObject(inputs)) throw invalid(`"inputs" in step ${name}`)
    const body = action === 'aws:loop' ? listOf(member(inputs, 'Steps'), `"Steps" in step ${name}`) : []
    return { name, action, has, inputs, steps: readSteps(body, names) }
  })
}

const everyStep = (steps: RunbookStep[]): RunbookStep[] => steps.flatMap((step) => [step, ...everyStep(step.steps)])

function checkInputs({ name, action, inputs, steps }: RunbookStep): void {
  const given = (key: string) => member(inputs, key) !== undefined && member(inputs, key) !== null
  const lacking = REQUIRED.get(action)?.find((key) => !given(key))
  if (lacking !== undefined) throw invalidContent(`Missing "${lacking}" in inputs of step ${name}.`)
  if (action === 'aws:sleep' && !given('Duration') && !given('Timestamp'))
    throw invalidContent(`Missing "Duration" or "Timestamp" in inputs of step ${name}.`)
  if (action === 'aws:runCommand' && Object.keys(inputs).some((key) => !RUN_COMMAND_INPUTS.includes(key)))
    throw invalidContent(
      `Unknown input names provided. Known=[ [${RUN_COMMAND_INPUTS.join(', ')}] ], Provided=[ [${Object.keys(inputs).join(', ')}] ].`,
    )
  if (action === 'aws:updateVariable' && !String(member(inputs, 'Name')).startsWith('variable:'))
    throw invalid(`"Name" in step ${name}`)
  if (action !== 'aws:loop') return
  if (steps.length === 0) throw invalid(`"Steps" in step ${name}`)
  if (given('Iterators') === given('LoopCondition'))
    throw invalidContent(`Step ${name} must have exactly one of "Iterators" and "LoopCondition".`)
  const most = member(inputs, 'MaxIterations')
  if (typeof most === 'number' && !(Number.isInteger(most) && most >= 1 && most <= MAX_ITERATIONS))
    throw invalid(`"MaxIterations" in step ${name}`)
}

/** Wherever a step may lead is a step. */
function checkWays({ name, action, has, inputs }: RunbookStep, names: ReadonlySet<string>): void {
  const check = (target: Json | undefined, property: string) => {
    if (target === undefined || target === null || isToken(target)) return
    if (typeof target !== 'string') throw invalid(`"${property}" in step ${name}`)
    if (!names.has(target)) throw invalidContent(`Unknown step name: "${target}" in ${property}`)
  }
  const next = member(has, 'nextStep')
  check(next, 'nextStep')
  if (typeof next === 'string' && isEnd(has))
    throw invalidContent('"isEnd == true" and nextStep should not exist in same step.')
  for (const property of ['onFailure', 'onCancel']) {
    const value = member(has, property)
    if (value === undefined || value === null || isToken(value) || value === 'Abort' || value === 'Continue') continue
    const [, target] = /^step:(.*)$/s.exec(typeof value === 'string' ? value : '') ?? []
    if (target === undefined) throw invalid(`"${property}" in step ${name}`)
    check(target, property)
  }
  if (action === 'aws:branch') {
    check(member(inputs, 'Default'), 'Default')
    const choices = member(inputs, 'Choices')
    if (choices === undefined) return
    if (!Array.isArray(choices) || choices.length === 0) throw invalid(`"Choices" in step ${name}`)
    for (const choice of choices) {
      if (!isObject(choice) || member(choice, 'NextStep') === undefined)
        throw invalidContent(`Missing "NextStep" in a choice of step ${name}.`)
      check(member(choice, 'NextStep'), 'NextStep')
      checkCondition(choice, name)
    }
  }
  const condition = action === 'aws:loop' ? member(inputs, 'LoopCondition') : undefined
  if (isObject(condition)) checkCondition(condition, name)
}

function checkCondition(condition: JsonObject, step: string): void {
  for (const [key, value] of Object.entries(condition)) {
    if (key === 'NextStep' || key === 'Variable' || OPERATORS.has(key)) continue
    const parts = key === 'Not' ? [value] : key === 'And' || key === 'Or' ? value : undefined
    if (parts === undefined) throw invalidContent(`Unknown operator: ${key} in step ${step}.`)
    if (!Array.isArray(parts) || !parts.every(isObject)) throw invalid(`"${key}" in step ${step}`)
    for (const part of parts) checkCondition(part, step)
  }
}

/** In JSON it is often written in quotes. */
const isEnd = (has: JsonObject): boolean => ['true', true].includes(member(has, 'isEnd') as string | boolean)

function checkOutputs({ name, has }: RunbookStep): void {
  for (const output of listOf(member(has, 'outputs'), `"outputs" in step ${name}`)) {
    if (!isObject(output) || typeof member(output, 'Name') !== 'string') throw invalid(`"outputs" in step ${name}`)
    const type = member(output, 'Type')
    if (type !== undefined && !PARAMETER_TYPES.some((known) => known === type))
      throw invalidContent(`Output type: ${JSON.stringify(type)} of step ${name} is invalid.`)
  }
}

/** Steps that succeed one after the other must come to an end, or to a branch that may lead out. */
function checkEnds(steps: RunbookStep[]): void {
  const following = new Map<string, string | undefined>()
  for (const [index, { name, action, has }] of steps.entries()) {
    const next = member(has, 'nextStep')
    const stays = isEnd(has) || action === 'aws:branch' || isToken(next)
    following.set(name, stays ? undefined : typeof next === 'string' ? next : steps[index + 1]?.name)
  }
  const known = new Set<string>()
  for (const { name } of steps) {
    const trace: string[] = []
    for (let at: string | undefined = name; at !== undefined && !known.has(at); at = following.get(at)) {
      if (trace.includes(at))
        throw invalidContent(`Infinite loop detected: ${[...trace.slice(trace.indexOf(at)), at].join(' -> ')}.`)
      trace.push(at)
    }
    for (const each of trace) known.add(each)
  }
}
