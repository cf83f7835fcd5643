/**
 * Authorization messages as DecodeAuthorizationMessage opens them: the reason of a refusal, sealed for the account that it
 * concerns, so that it can be handed on by those who must not read it.
 */
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import type { Explanation, StatementTrace } from './policy/index.ts'

const PURPOSE = 'authorization message'

export interface Reason {
  principalArn: string
  action: string
  reason: Explanation
}

export const sealReason = ({ sealer, account }: Context, reason: Reason): string =>
  sealer.seal(PURPOSE, Buffer.from(JSON.stringify(reason)), account).toString('base64url')

/** InvalidAuthorizationMessage: not sealed here, or for another account. */
export function unsealReason({ sealer, account }: Context, message: string): Reason {
  const bytes = Buffer.from(message, 'base64url')
  const opened = bytes.toString('base64url') === message && sealer.unseal(PURPOSE, bytes, account)
  if (!opened) throw new AwsError('InvalidAuthorizationMessageException', 'The message could not be decoded.')
  return JSON.parse(opened.toString()) as Reason
}

/** The decoded message, in AWS's members. InvalidAuthorizationMessage. */
export function openReason(context: Context, message: string): string {
  const { principalArn, action, reason } = unsealReason(context, message)
  const { decision, resource, decidedBy, statements, missing, note } = reason
  return JSON.stringify({
    allowed: decision === 'allow',
    explicitDeny: decision === 'explicitDeny',
    matchedStatements: { items: decidedBy.map(statementItem) },
    failures: { items: statements.filter(({ outcome }) => outcome === 'condition').map(statementItem) },
    missing,
    note,
    context: { principal: { arn: principalArn }, action, resource },
  })
}

const statementItem = ({ policy, sid, index, effect, policyType, failedConditions }: StatementTrace) => ({
  statementId: sid ?? `statement ${index + 1}`,
  effect: effect.toUpperCase(),
  policy,
  policyType,
  conditions: { items: failedConditions },
})
