/**
 * Whether a step runs, is skipped or fails before it has begun: plugin and precondition rules of the official agent
 * (agent/framework/runpluginutil), with its own words, since people search for them.
 */
import type { Step } from './document.ts'
import { PLUGINS, type Platform } from './plugins.ts'
import { asText, hasSsmToken, type ParameterValues, substitute } from './tokens.ts'

export type Verdict = { readonly do: 'run' } | { readonly do: 'skip' | 'fail'; readonly reason: string }

export interface VerdictFacts {
  readonly id: string
  readonly action: string
  readonly precondition: Step['precondition']
  /** Schema 2.2 and later: preconditions count, and a plugin that is missing here is skipped instead of failed. */
  readonly crossPlatform: boolean
  readonly platform: Platform
  /** Plugins that this agent has. */
  readonly plugins: ReadonlySet<string>
  readonly values: ParameterValues
}

const RUN: Verdict = { do: 'run' }
const skip = (reason: string): Verdict => ({ do: 'skip', reason })
const fail = (reason: string): Verdict => ({ do: 'fail', reason })

/** What to do with the step, and why when it does not run. */
export function judge(facts: VerdictFacts): Verdict {
  const { id, action, precondition } = facts
  const known = PLUGINS.has(action)
  const found = facts.plugins.has(action)
  const unknownPlugin = fail(
    `Plugin with name ${action} is not supported by this version of ssm agent, please update to latest version. Step name: ${id}`,
  )
  const present = precondition !== undefined && Object.keys(precondition).length > 0

  if (!facts.crossPlatform) {
    if (!known) return unknownPlugin
    if (!PLUGINS.get(action)?.includes(facts.platform)) {
      return fail(`Plugin with name ${action} is not supported in current platform. Step name: ${id}`)
    }
    if (present) return fail(`Precondition is not supported for document schema version prior to 2.2. Step name: ${id}`)
    return found ? RUN : fail(`Plugin with name ${action} not found. Step name: ${id}`)
  }
  const unsupported = skip(`Step execution skipped due to unsupported plugin: ${action}. Step name: ${id}`)
  if (!present) {
    if (!known) return unknownPlugin
    return found ? RUN : unsupported
  }
  const { met, remarks } = evaluate(precondition, facts)
  if (met && !known) return unknownPlugin
  if (!found) return unsupported
  if (!met)
    return skip(`Step execution skipped due to unsatisfied preconditions: '${remarks.join(', ')}'. Step name: ${id}`)
  if (remarks.length === 0) return RUN
  return fail(
    `Unrecognized precondition(s): '${remarks.join(', ')}', please update agent to latest version. Step name: ${id}`,
  )
}

/** `met` is false when a comparison came out unequal; remarks on a met one mean that it could not be understood. */
function evaluate(precondition: NonNullable<Step['precondition']>, facts: VerdictFacts) {
  let met = true
  const remarks: string[] = []
  for (const [operator, operands] of Object.entries(precondition)) {
    if (operator !== 'StringEquals') {
      remarks.push(`unrecognized operator: "${operator}"`)
      continue
    }
    const result = compare(operands, facts)
    if (result === 'equal') continue
    if (typeof result === 'string') remarks.push(`"${operator}": ${result}`)
    else {
      met = false
      remarks.push(`"${operator}": [${operands.join(', ')}]`)
    }
  }
  return { met, remarks }
}

/** 'equal', false for unequal, or what is wrong with the comparison. */
function compare(operands: readonly string[], { platform, values }: VerdictFacts): 'equal' | false | string {
  const [left, right] = operands
  if (left === undefined || right === undefined || operands.length !== 2) return 'operator accepts exactly 2 arguments'
  // Identical operands may hold values of the user's, so only the platform ones are repeated.
  if (left === right) {
    return left === 'platformType' ? `[${left} ${right}]` : "operator's arguments can't be identical"
  }
  if (/\{\{\s*ssm-secure:/.test(left) || /\{\{\s*ssm-secure:/.test(right)) {
    return "operator's arguments can't contain secure SSM parameters"
  }
  if (hasSsmToken(left) || hasSsmToken(right)) return "operator's arguments can't contain SSM parameters"
  const resolved = [left, right].map((operand) => asText(substitute(operand, values)))
  if (left === 'platformType' || right === 'platformType') {
    const wanted = left === 'platformType' ? right : left
    const after = left === 'platformType' ? resolved[1] : resolved[0]
    if (wanted.toLowerCase() !== after?.toLowerCase()) {
      return "the second argument for the platformType variable can't contain document parameters"
    }
    return wanted.toLowerCase() === platform.toLowerCase() ? 'equal' : false
  }
  if (resolved[0] === left && resolved[1] === right) {
    return "at least one of operator's arguments must contain a valid document parameter"
  }
  return resolved[0] === resolved[1] ? 'equal' : false
}
