/**
 * How long a document may run: the step timeouts that agents enforce, and their sum, which the server adds to the
 * delivery timeout for a command's ExpiresAfter.
 */
import type { SsmDocument } from './document.ts'
import { isObject, type Json, type JsonObject, member } from './json.ts'
import { PLATFORMS, PLUGINS, type Platform } from './plugins.ts'
import { type ParameterValues, substitute } from './tokens.ts'
import { judge } from './verdict.ts'

/** Seconds a step may run when it does not say, or says something outside the range. */
export const DEFAULT_STEP_SECONDS = 3_600
/** Range of timeoutSeconds, in seconds (5 s to 48 h). */
export const MIN_STEP_SECONDS = 5
export const MAX_STEP_SECONDS = 172_800

/** The `timeoutSeconds` input in whole seconds; 3600 when absent, unreadable or outside 5-172800. */
export function stepTimeoutSeconds(inputs: JsonObject): number {
  const given = member(inputs, 'timeoutSeconds')
  const seconds = Math.trunc(
    typeof given === 'string' && /^[+-]?[0-9]+(?:\.[0-9]+)?$/.test(given)
      ? Number(given)
      : typeof given === 'number'
        ? given
        : 0,
  )
  return seconds >= MIN_STEP_SECONDS && seconds <= MAX_STEP_SECONDS ? seconds : DEFAULT_STEP_SECONDS
}

/**
 * Seconds of all steps that a node of this platform would run, one after the other; without a platform, of the platform
 * where that takes longest. 3600 for a document that runs nothing on a node.
 */
export function totalExecutionSeconds(document: SsmDocument, parameters: JsonObject, platform?: Platform): number {
  const values = allValues(document, parameters)
  const sums = (platform ? [platform] : PLATFORMS).map((each) => secondsOn(document, values, each))
  return Math.max(...sums) || DEFAULT_STEP_SECONDS
}

function secondsOn(document: SsmDocument, values: ParameterValues, platform: Platform): number {
  const plugins = pluginsOn(platform)
  const seconds = (inputs: Json | undefined) => {
    const ready = inputs === undefined ? {} : substitute(inputs, values)
    return stepTimeoutSeconds(isObject(ready) ? ready : {})
  }
  let sum = 0
  if (document.kind === 'mainSteps') {
    for (const { name: id, action, inputs, precondition } of document.steps) {
      const crossPlatform = document.schemaVersion === '2.2'
      if (judge({ id, action, precondition, crossPlatform, platform, plugins, values }).do === 'run')
        sum += seconds(inputs)
    }
  } else if (document.kind === 'runtimeConfig') {
    for (const { name, properties } of document.plugins) {
      if (!plugins.has(name)) continue
      for (const inputs of Array.isArray(properties) ? properties : [properties]) sum += seconds(inputs)
    }
  }
  return sum
}

/** Every value by name: those given, and defaults for the rest. Names that are not alpha-numeric are dropped, as agents do. */
export function allValues(document: SsmDocument, parameters: JsonObject): ParameterValues {
  const values = new Map(Object.entries(parameters).filter(([name]) => /^[a-zA-Z0-9]+$/.test(name)))
  for (const [name, definition] of document.parameters) {
    if (!values.has(name) && definition.default !== undefined) values.set(name, definition.default)
  }
  return values
}

/** The plugins that agents on this platform have. */
export function pluginsOn(platform: Platform): ReadonlySet<string> {
  return new Set([...PLUGINS].filter(([, platforms]) => platforms.includes(platform)).map(([name]) => name))
}
