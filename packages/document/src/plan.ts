/**
 * From a document and its parameters to what an agent does, step by step, as the official agent decides it.
 * Everything that can be known before the first step is decided here; what depends on how steps end is in outcome.ts.
 */
import type { ParameterDefinition, SessionDocument, SsmDocument, Step } from './document.ts'
import { DocumentError } from './error.ts'
import { isObject, type Json, type JsonObject, member } from './json.ts'
import { putStored, referencesIn, type StoredValues } from './parameter-store.ts'
import { checkOnNode } from './parameters.ts'
import { isScriptPlugin, type Platform } from './plugins.ts'
import { allValues, pluginsOn, stepTimeoutSeconds } from './timeouts.ts'
import { asText, type ParameterValues, substitute } from './tokens.ts'
import { judge, type Verdict } from './verdict.ts'

/** One call of a plugin. */
export interface StepRun {
  /** Names the folder and the S3 prefix of its output: the step's name, or the `id` of a 1.2 properties object. */
  readonly name: string
  readonly inputs: JsonObject
  /** Variables for scripts: the `environment` input, and `SSM_<name>` for parameters with interpolationType ENV_VAR. */
  readonly environment: Readonly<Record<string, string>>
  /** Seconds after which a script is killed, 5 to 172800. */
  readonly timeoutSeconds: number
}

export interface PlannedStep {
  /** The key in a reply's runtimeStatus: step name (2.x) or plugin name (1.x). */
  readonly id: string
  readonly action: string
  readonly settings: Json
  /** One, except in 1.x documents whose `properties` is a list: those are called in turn, as one step. */
  readonly runs: readonly StepRun[]
  readonly verdict: Verdict
  /** Runs even when an earlier step has ended the document; true for the last step only. */
  readonly finallyStep: boolean
  readonly onFailure?: 'exit' | 'successAndExit'
  readonly onSuccess?: 'exit'
}

export interface PlanOptions {
  /** Plugins this agent has; all that exist on the platform when absent. */
  readonly plugins?: ReadonlySet<string>
  /** Values for the names that ssmReferences listed. */
  readonly stored?: StoredValues
  /** 'by-run-document' has parameters that no server has checked: then all constraints are. */
  readonly opened?: 'by-server' | 'by-run-document'
}

/** The Parameter Store names that must be looked up before planDocument, each once, in order. */
export function ssmReferences(document: SsmDocument, parameters: JsonObject): string[] {
  const values = allValues(document, parameters)
  const bodies = bodiesOf(document).map((body) => substitute(body, values))
  return referencesIn(...values.values(), ...bodies)
}

/**
 * The steps in order. DocumentError fails the document as a whole: InvalidParameters when a value breaks its pattern or
 * a Parameter Store name has no usable value, InvalidDocument for a document that nodes do not run.
 */
export function planDocument(
  document: SsmDocument,
  parameters: JsonObject,
  platform: Platform,
  options: PlanOptions = {},
): PlannedStep[] {
  const values = allValues(document, parameters)
  const stored = options.stored ?? new Map()
  const resolved: ParameterValues = new Map([...values].map(([name, value]) => [name, putStored(value, stored)]))
  checkOnNode(document, resolved, values, options.opened ?? 'by-server')

  const ready = (body: Json, hidden?: ReadonlySet<string>) =>
    putStored(substitute(body, without(values, hidden)), stored)
  const facts = { platform, plugins: options.plugins ?? pluginsOn(platform), values }
  if (document.kind === 'runtimeConfig') {
    return document.plugins.map(({ name, settings = null, properties = {} }) => {
      const whole = ready(properties)
      const runs = (Array.isArray(whole) ? whole : [whole]).map((item) => {
        const inputs = isObject(item) ? item : {}
        const id = member(inputs, 'id')
        return runOf(typeof id === 'string' ? id : '', inputs, {})
      })
      const flow = Array.isArray(whole) ? {} : flowOf(runs[0]?.inputs ?? {})
      const verdict = judge({ ...facts, id: name, action: name, precondition: undefined, crossPlatform: false })
      return { id: name, action: name, settings: ready(settings), runs, verdict, finallyStep: false, ...flow }
    })
  }
  if (document.kind !== 'mainSteps') throw new DocumentError('InvalidDocument', 'Unsupported document')

  const crossPlatform = document.schemaVersion === '2.2'
  const variables = environmentParameters(document, resolved)
  const last = document.steps.length - 1
  return document.steps.map(({ name, action, inputs, settings = null, precondition }, index) => {
    const given = readyInputs({ action, inputs }, variables, ready)
    return {
      id: name,
      action,
      settings: ready(settings),
      runs: [runOf(name, given, isScriptPlugin(action) ? variables.environment : {})],
      verdict: judge({ ...facts, id: name, action, precondition, crossPlatform }),
      finallyStep: index === last && flag(given, 'finallyStep') === 'true',
      ...flowOf(given),
    }
  })
}

/** What a session opens with, parameters and stored values put in; errors as for planDocument. */
export function planSession(
  document: SessionDocument,
  parameters: JsonObject,
  stored: StoredValues = new Map(),
): Pick<SessionDocument, 'sessionType' | 'inputs' | 'properties'> {
  const values = allValues(document, parameters)
  const resolved: ParameterValues = new Map([...values].map(([name, value]) => [name, putStored(value, stored)]))
  checkOnNode(document, resolved, values, 'by-server')
  const ready = (body: JsonObject) => {
    const data = putStored(substitute(body, values), stored)
    return isObject(data) ? data : {}
  }
  const { sessionType, inputs, properties } = document
  return { sessionType, inputs: ready(inputs), ...(properties ? { properties: ready(properties) } : {}) }
}

function bodiesOf(document: SsmDocument): Json[] {
  if (document.kind === 'mainSteps') return document.steps.flatMap(({ inputs, settings = null }) => [settings, inputs])
  if (document.kind === 'runtimeConfig') {
    return document.plugins.flatMap(({ settings = null, properties = null }) => [settings, properties])
  }
  return document.kind === 'session' ? [document.properties ?? null, document.inputs] : []
}

function runOf(name: string, inputs: JsonObject, variables: Readonly<Record<string, string>>): StepRun {
  const own = member(inputs, 'environment')
  const written = isObject(own) ? Object.entries(own).map(([key, value]) => [key, asText(value)]) : []
  return {
    name,
    inputs,
    environment: { ...Object.fromEntries(written), ...variables },
    timeoutSeconds: stepTimeoutSeconds(inputs),
  }
}

// ---- parameters as variables

interface EnvironmentParameters {
  readonly names: ReadonlySet<string>
  readonly environment: Readonly<Record<string, string>>
}

function environmentParameters(document: SsmDocument, resolved: ParameterValues): EnvironmentParameters {
  const chosen = [...document.parameters].filter(
    ([name, { interpolationType }]: [string, ParameterDefinition]) =>
      interpolationType === 'ENV_VAR' && resolved.has(name),
  )
  return {
    names: new Set(chosen.map(([name]) => name)),
    environment: Object.fromEntries(chosen.map(([name]) => [`SSM_${name}`, asText(resolved.get(name) ?? '')])),
  }
}

/** A parameter that travels as a variable is never pasted into the script's text: that is what its author asked for. */
function readyInputs(
  { action, inputs }: Pick<Step, 'action' | 'inputs'>,
  { names }: EnvironmentParameters,
  ready: (body: Json, hidden?: ReadonlySet<string>) => Json,
): JsonObject {
  return Object.fromEntries(
    Object.entries(inputs).map(([key, value]) => {
      const isScript = key === 'runCommand' && isScriptPlugin(action)
      return [key, ready(value, isScript ? names : undefined)]
    }),
  )
}

function without(values: ParameterValues, hidden: ReadonlySet<string> | undefined): ParameterValues {
  return hidden && hidden.size > 0 ? new Map([...values].filter(([name]) => !hidden.has(name))) : values
}

// ---- control flow in inputs

function flowOf(inputs: JsonObject): Pick<PlannedStep, 'onFailure' | 'onSuccess'> {
  const onFailure = flag(inputs, 'onFailure')
  return {
    ...(onFailure === 'exit' || onFailure === 'successAndExit' ? { onFailure } : {}),
    ...(flag(inputs, 'onSuccess') === 'exit' ? { onSuccess: 'exit' } : {}),
  }
}

function flag(inputs: JsonObject, name: string): string | undefined {
  const value = member(inputs, name)
  return typeof value === 'string' || typeof value === 'boolean' ? String(value) : undefined
}
