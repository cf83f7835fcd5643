/**
 * Why requests were refused: the reasons that the authorizer gave, kept for those who may know them. `musterbook explain`
 * reads one by its request id through `GET /musterbook/denials/<request id>`, which is signed as for IAM and needs the
 * permission to simulate. The newest of each account are kept; writing one never delays or fails the refusal itself.
 */
import { batch } from '../../platform/batch.ts'
import type { Host, Route } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import type { Sealer } from '../../platform/seal.ts'
import { json } from './json-route.ts'
import type { Explanation, PolicyType } from './policy/index.ts'
import { sealReason } from './reasons.ts'
import * as store from './store.ts'

/** Kept for each account. */
const MAX_DENIALS = 1_000
const MAX_BATCH = 200
/** Not yet written: beyond it a storm of refusals is no longer told one by one. */
const MAX_WAITING = 2_000

export interface Denials {
  note(context: Context, action: string, reason: Explanation): void
  idle(): Promise<void>
}

/** A server process has one sealer, which all of its contexts carry: by it an operation finds where refusals are kept. */
const kept = new WeakMap<Sealer, Denials>()

/** Keeps a refusal that an operation found out itself. */
export const noteDenial = (context: Context, action: string, reason: Explanation): void =>
  kept.get(context.sealer)?.note(context, action, reason)

export function keepDenials(host: Host): Denials {
  let waiting = 0
  const writing = batch<store.DenialRow>(MAX_BATCH, (rows) => store.insertDenials(host.sql, rows, MAX_DENIALS))
  const denials: Denials = {
    note({ caller, requestId, now }, action, reason) {
      if (waiting >= MAX_WAITING) return
      waiting++
      const { account, arn: principalArn } = caller
      const row = { account, requestId, deniedAt: now(), principalArn, action, reason: tellable(account, reason) }
      writing
        .add(row)
        .catch((error: unknown) => host.log.warn({ err: error, requestId }, 'a refusal could not be kept'))
        .finally(() => waiting--)
    },
    idle: () => writing.idle(),
  }
  kept.set(host.sealer, denials)
  return denials
}

/**
 * What those of the caller's account may know: of a role or key of another account, not what its policy says. The external
 * id that a trust policy wants would be told to whoever asks without it.
 */
function tellable(account: string, reason: Explanation): Explanation {
  const [, owner = account] = /^arn:[^:]*:[^:]*:[^:]*:(\d{12}):/.exec(reason.resource) ?? []
  if (owner === account) return reason
  const isTold = ({ policyType }: { policyType: PolicyType }) => !OF_RESOURCES.has(policyType)
  const [decidedBy, statements] = [reason.decidedBy.filter(isTold), reason.statements.filter(isTold)]
  return {
    ...reason,
    decidedBy,
    statements,
    note: `What the policy of the resource says is for account ${owner} to know.`,
  }
}
const OF_RESOURCES: ReadonlySet<PolicyType> = new Set(['resource-based policy', 'role trust policy'])

export const denialRoute: Route = {
  method: 'GET',
  path: /^\/musterbook\/denials\/([\w-]{1,64})$/,
  signedFor: 'iam',
  authorize: () => ({ action: 'iam:SimulatePrincipalPolicy', resources: ['*'] }),
  async handle(context, { params: [requestId = ''] }) {
    const denial = await store.readDenial(context.sql, context.account, requestId)
    if (!denial)
      return json(404, { message: `No refusal of request ${requestId} is known in account ${context.account}.` })
    const { deniedAt, principalArn, action, reason } = denial
    const encodedMessage = sealReason(context, { principalArn, action, reason: reason as Explanation })
    return json(200, { requestId, deniedAt, principal: principalArn, action, reason, encodedMessage })
  },
}
