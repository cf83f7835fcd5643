/**
 * Whom SendCommand lets at which nodes. The document and every node that InstanceIds names are asked about before
 * anything happens, and one refusal refuses the call. Nodes that Targets find are known only then: each one that the caller
 * may not command gets an invocation that ends as AccessDenied, and the others run.
 */
import type { Input } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { documentAccess } from '../documents/index.ts'
import { mayDo, refusalOf } from '../identity/index.ts'
import { onNode } from '../nodes/index.ts'

export async function sendAccess(input: Input<'SendCommand'>, context: Context): Promise<Access[]> {
  const document = await documentAccess(context, input.DocumentName)
  return [
    document,
    ...(input.InstanceIds?.length ? [onNode(context, ...input.InstanceIds)] : []),
    ...(input.ServiceRoleArn ? [passing(input.ServiceRoleArn)] : []),
  ]
}

/** Whoever names the role that notifies hands on what it grants. */
const passing = (role: string): Access => ({
  action: 'iam:PassRole',
  resources: [role],
  keys: { 'iam:PassedToService': 'ssm.amazonaws.com' },
})

/** Of these nodes, those that the caller may not send a command to. */
export async function deniedNodes(context: Context, nodeIds: string[]): Promise<Set<string>> {
  if (nodeIds.length === 0) return new Set()
  const action = 'ssm:SendCommand'
  const all = onNode(context, ...nodeIds)
  // Most callers may command all of them: one question, whatever their number.
  if (await mayDo(context, { ...all, action })) return new Set()
  let tags: ReturnType<NonNullable<Access['resourceKeys']>> | undefined
  const resourceKeys = () => {
    tags ??= all.resourceKeys?.() ?? Promise.resolve(new Map())
    return tags
  }
  const denied = new Set<string>()
  for (const [index, nodeId] of nodeIds.entries()) {
    const access = { action, resources: all.resources.slice(index, index + 1), resourceKeys }
    // Of a thousand the reason of the first is kept: the others have the same, and would push older refusals out.
    const isAllowed = denied.size > 0 ? await mayDo(context, access) : (await refusalOf(context, access)) === undefined
    if (!isAllowed) denied.add(nodeId)
  }
  return denied
}
