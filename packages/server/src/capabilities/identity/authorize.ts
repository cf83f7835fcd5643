/**
 * Who may do what. The account's root may do everything in its account; a node may act as itself and nothing else.
 */
import { nodeArn } from '../../platform/arn.ts'
import type { Caller } from '../../platform/caller.ts'
import type { Access, Authorizer } from '../../platform/capability.ts'

/** What the official agent calls about itself. Each must name the node's own ARN as its only resource. */
const NODE_ACTIONS = new Set([
  'ssm:UpdateInstanceInformation',
  'ssm:UpdateManagedInstancePublicKey',
  'ssm:RequestManagedInstanceRoleToken',
  'ssm:ListInstanceAssociations',
  'ssm:ListAssociations',
  'ssm:UpdateInstanceAssociationStatus',
  'ssm:PutInventory',
  'ssm:PutComplianceItems',
  'ssm:PutConfigurePackageResult',
  'ssmmessages:CreateControlChannel',
  'ssmmessages:OpenControlChannel',
  'ssmmessages:CreateDataChannel',
  'ssmmessages:OpenDataChannel',
  'ec2messages:GetMessages',
  'ec2messages:AcknowledgeMessage',
  'ec2messages:SendReply',
  'ec2messages:FailMessage',
  'ec2messages:DeleteMessage',
  'ec2messages:GetEndpoint',
])

/** Documents are read by name; they carry no secrets. */
const NODE_READS = new Set(['ssm:GetDocument', 'ssm:DescribeDocument', 'ssm:GetManifest'])

export const authorizer: Authorizer = {
  async decide(caller, access) {
    if (allowed(caller, access)) return undefined
    const resource = access.resources[0] ?? '*'
    const who = caller.arn || 'anonymous'
    return `User: ${who} is not authorized to perform: ${access.action} on resource: ${resource} because no identity-based policy allows the ${access.action} action`
  },
}

function allowed(caller: Caller, access: Required<Pick<Access, 'action' | 'resources'>>): boolean {
  if (caller.type === 'root') return true
  if (caller.type !== 'node') return false
  if (NODE_READS.has(access.action)) return true
  const itself = nodeArn(caller, caller.nodeId)
  return NODE_ACTIONS.has(access.action) && access.resources.every((resource) => resource === itself)
}
