/**
 * `musterbook explain`: why a call was denied, or whether one would be. The reason comes from the control plane, for whom
 * it lets know; this file only puts it into words.
 */

import { readAccess, readWords, WHERE_USAGE } from './access.ts'
import { route } from './client.ts'
import { ConfigError } from './config-error.ts'
import type { ControlPlane } from './signed-request.ts'

export const EXPLAIN_USAGE = `musterbook explain <request id>
    why the call with this request id was denied (the AWS CLI shows it with --debug, SDKs as $metadata.requestId)
musterbook explain <encoded authorization message>
    the same from the message that somebody was given to pass on
musterbook explain --principal arn --action service:Action [--resource arn] [--context key=value]...
    whether a user, role, root or node may, and why; nothing is carried out
All take --json for the whole reason, every statement in it.
${WHERE_USAGE}`

interface Condition {
  operator: string
  key: string
  expected: string[]
  actual?: string[]
}
interface Trace {
  policyType: string
  policy?: string
  index: number
  sid?: string
  effect: 'Allow' | 'Deny'
  outcome: 'matched' | 'action' | 'resource' | 'principal' | 'condition'
  failedConditions: Condition[]
}
export interface Told {
  principal: string
  action: string
  reason: {
    decision: 'allow' | 'explicitDeny' | 'implicitDeny'
    resource: string
    message?: string
    note?: string
    decidedBy: Trace[]
    missing?: { action: string; resource: string; policyType: string }
    statements: Trace[]
  }
  requestId?: string
  deniedAt?: string
  encodedMessage?: string
}

const REQUEST_ID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/

export async function runExplain(args: string[]): Promise<void> {
  const text = { type: 'string' } as const
  const { values, positionals } = readWords(args.slice(1), {
    ...{ principal: text, action: text, resource: text },
    context: { type: 'string', multiple: true },
    json: { type: 'boolean' },
  })
  const [what, ...rest] = positionals
  if (values.help || (what === undefined && values.principal === undefined)) {
    process.stdout.write(EXPLAIN_USAGE)
    if (!values.help) process.exitCode = 1
    return
  }
  if (rest.length > 0) throw new ConfigError(`'${rest[0]}' is one word too many after 'explain'`)
  if (what === undefined && !values.action) throw new ConfigError('musterbook explain wants an --action too')
  const plane = await readAccess(values)
  const told = what === undefined ? await question(plane, values) : await known(plane, what)
  process.stdout.write(values.json ? `${JSON.stringify(told, null, 2)}\n` : explanation(told))
  if (told.reason.decision !== 'allow') process.exitCode = 2
}

const known = (plane: ControlPlane, what: string): Promise<Told> =>
  REQUEST_ID.test(what)
    ? route(plane, 'iam', 'GET', `/musterbook/denials/${what}`)
    : route(plane, 'iam', 'POST', '/musterbook/explanations', { encodedMessage: what })

interface Question {
  principal?: string
  action?: string
  resource?: string
  context?: string[]
}

function question(plane: ControlPlane, { principal, action, resource, context = [] }: Question): Promise<Told> {
  const keys: Record<string, string[]> = {}
  for (const pair of context) {
    const equals = pair.indexOf('=')
    if (equals < 1) throw new ConfigError(`--context is '${pair}': it must look like aws:RequestTag/team=harbour`)
    const key = pair.slice(0, equals)
    keys[key] = [...(keys[key] ?? []), pair.slice(equals + 1)]
  }
  return route(plane, 'iam', 'POST', '/musterbook/explanations', { principal, action, resource, context: keys })
}

const VERDICTS = { allow: 'ALLOWED', explicitDeny: 'DENIED explicitly', implicitDeny: 'DENIED: nothing allows it' }

/** What a person reads. */
export function explanation({ principal, action, reason, requestId, deniedAt, encodedMessage }: Told): string {
  const { decision, resource, decidedBy, missing, statements, note } = reason
  const lines = [
    ...(requestId === undefined ? [] : [`request    ${requestId}, ${deniedAt}`]),
    `principal  ${principal}`,
    `action     ${action}`,
    `resource   ${resource}`,
    `verdict    ${VERDICTS[decision]}`,
    ...(note === undefined ? [] : [`           ${note}`]),
  ]
  for (const trace of decidedBy) lines.push(`decided by ${nameOf(trace)}`)
  if (missing)
    lines.push(`missing    an Allow for ${missing.action} on ${missing.resource} in the ${missing.policyType}`)
  const near = statements.filter(({ outcome }) => outcome === 'condition')
  if (near.length > 0) lines.push('', 'Statements that did not apply because of their conditions:')
  for (const trace of near) lines.push(`  ${nameOf(trace)}`, ...trace.failedConditions.map(conditionLine))
  const others = statements.filter(({ outcome }) => outcome === 'resource' || outcome === 'principal')
  if (others.length > 0) lines.push('', 'Statements on this action that did not apply:')
  for (const trace of others) lines.push(`  ${nameOf(trace)}: its ${outcomeWord(trace)} is another`)
  if (encodedMessage !== undefined) lines.push('', 'To pass on to who may decode it:', encodedMessage)
  return `${lines.join('\n')}\n`
}

const outcomeWord = ({ outcome }: Trace): string => (outcome === 'resource' ? 'Resource' : 'Principal')

const nameOf = ({ effect, sid, index, policy, policyType }: Trace): string =>
  `${effect} ${sid === undefined ? `statement ${index + 1}` : `'${sid}'`} of ${policy ?? 'a policy'} (${policyType})`

const conditionLine = ({ operator, key, expected, actual }: Condition): string =>
  `    ${operator} ${key}: wants ${expected.join(' or ')}, the request has ${actual === undefined ? 'no such key' : actual.join(', ')}`
