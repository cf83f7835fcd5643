/**
 * `POST /musterbook/explanations`: the reason behind an encoded authorization message, or of a call that nobody made. The
 * evaluator that decides on requests answers; whoever asks needs what AWS wants for the same: sts:DecodeAuthorizationMessage,
 * or iam:SimulatePrincipalPolicy on the principal. What the policies of resources say (of KMS keys) is not asked here.
 */
import { nodeArn } from '../../platform/arn.ts'
import { type Authorizer, free, type Route } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { nodeReason } from './authorize.ts'
import { entityArn, found, noSuch } from './entities.ts'
import { json, objectOf } from './json-route.ts'
import { sourceOf } from './operations/simulate.ts'
import { type ContextValue, contextKeys, type Explanation, explain } from './policy/index.ts'
import { principalsOf } from './principals.ts'
import { unsealReason } from './reasons.ts'
import * as store from './store.ts'

export const explanationRoute = (authorizer: Authorizer): Route => ({
  ...{ method: 'POST', path: /^\/musterbook\/explanations$/, signedFor: 'iam' },
  authorize: () => free('what must be allowed stands in the body, and the handler asks'),
  async handle(context, { body }) {
    const input = objectOf(body)
    const check = async (action: string, resource: string) => {
      const refused = await authorizer.decide(context.caller, { action, resources: [resource] }, context)
      if (refused !== undefined) throw new AwsError('AccessDeniedException', refused)
    }
    if (typeof input.encodedMessage === 'string') {
      await check('sts:DecodeAuthorizationMessage', '*')
      const { principalArn: principal, action, reason } = unsealReason(context, input.encodedMessage)
      return json(200, { principal, action, reason })
    }
    const asked = questionOf(input)
    await check('iam:SimulatePrincipalPolicy', asked.principal)
    return json(200, { principal: asked.principal, action: asked.action, reason: await reasonOf(context, asked) })
  },
})

interface Question {
  principal: string
  action: string
  resource: string
  context: Record<string, ContextValue>
}

/** ValidationException. */
function questionOf({ principal, action, resource = '*', context = {} }: Record<string, unknown>): Question {
  if (typeof principal !== 'string' || typeof action !== 'string' || typeof resource !== 'string')
    throw validation('Give an encodedMessage, or a principal, an action and perhaps a resource.')
  if (!/^[\w-]{1,64}:\w{1,128}$/.test(action))
    throw validation(`${action.slice(0, 200)} is no action, such as ssm:GetParameter.`)
  if (typeof context !== 'object' || context === null) throw validation('The context is an object of condition keys.')
  for (const [key, value] of Object.entries(context))
    if (typeof value !== 'string' && !(Array.isArray(value) && value.every((each) => typeof each === 'string')))
      throw validation(`The values of ${key.slice(0, 200)} in the context must be strings.`)
  return { principal, action, resource, context: context as Question['context'] }
}

const SESSION = /^arn:aws:sts::(\d{12}):assumed-role\/([\w+=,.@-]+)\/[\w+=,.@-]+$/
const NODE = /^arn:aws:ssm:([a-z0-9-]+):(\d{12}):managed-instance\/(mi-[0-9a-f]{17})$/

async function reasonOf(context: Context, asked: Question): Promise<Explanation> {
  const { principal, action, resource } = asked
  if (principal === `arn:aws:iam::${context.account}:root`)
    return { ...allowed(resource), note: "An account's root may do everything in it that no resource's policy denies." }
  const node = NODE.exec(principal)
  if (node) return nodeReasonOf(context, asked, node)
  const [, account, roleName] = SESSION.exec(principal) ?? []
  const isSession = roleName !== undefined && account === context.account
  // A session's ARN does not tell its role's path.
  const sourceArn = isSession ? entityArn('role', await found(context, 'role', roleName)) : principal
  const source = await sourceOf(context, sourceArn)
  const request = {
    principal: source.principal,
    action,
    resources: [{ arn: resource }],
    context: contextKeys({ ...source.keys, ...asked.context }),
  }
  return explain(request, source)
}

async function nodeReasonOf(
  context: Context,
  { principal, action, resource, context: keys }: Question,
  [, region = '', account = '', nodeId = '']: RegExpExecArray,
): Promise<Explanation> {
  const scope = { account, region }
  const grant = account === context.account ? await store.readNodeGrant(context.sql, scope, nodeId) : undefined
  if (!grant) throw noSuch(`The node ${principal} cannot be found in account ${context.account}.`)
  const roleName = grant.roleName ?? undefined
  const caller = { type: 'node' as const, ...scope, nodeId, arn: nodeArn(scope, nodeId), accessKeyId: '', roleName }
  const access = { action, resources: [resource], keys: keys as Record<string, string | string[]> }
  return nodeReason(principalsOf(context), caller, access, context)
}

const allowed = (resource: string): Explanation => ({ decision: 'allow', resource, decidedBy: [], statements: [] })
