/**
 * Nodes: activations, registration, signs of life, what is known of each machine. Its door resolves the targets of
 * commands into nodes.
 */

import { nodeArn } from '../../platform/arn.ts'
import { type Access, type Capability, free, type Reconciler } from '../../platform/capability.ts'
import type { Context, WorkContext } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { changeNodeRole, passingRole, revokeNode } from '../identity/index.ts'
import { forgetNode } from '../messaging/index.ts'
import { deleteTags, resourceTagKeys, tagsOf } from '../tags/index.ts'
import { activationAccess, createActivation, deleteActivation, describeActivations } from './activations.ts'
import { enrolmentRoutes, sealedCode } from './enrolment.ts'
import { describeInstanceInformation, getConnectionStatus, updateInstanceInformation } from './instance-information.ts'
import { describeInstanceProperties, listNodes, listNodesSummary } from './instance-properties.ts'
import init from './migrations/0001-init.sql'
import enrolments from './migrations/0002-enrolments.sql'
import keyDate from './migrations/0003-key-date.sql'
import {
  callerNodeId,
  nodeKeyVerifier,
  registerManagedInstance,
  requestManagedInstanceRoleToken,
  updateManagedInstancePublicKey,
} from './registration.ts'
import * as store from './store.ts'
import { tagFilter, taggedNodes } from './tagged.ts'

const forgetEnrolments: Reconciler = {
  name: 'nodes.forget-enrolments',
  wakes: [],
  everySeconds: 3_600,
  async run(work) {
    await store.deleteEnrolments(work.sql, work.now())
    return undefined
  },
}

const anywhere = (): Access => ({ resources: ['*'] })
const itself = (_: unknown, context: Context): Access => ({ resources: [nodeArn(context, callerNodeId(context))] })

/** Permission on nodes, with their tags as condition keys where a policy asks for them. */
export function onNode(context: Context, ...nodeIds: string[]): Access {
  return {
    resources: nodeIds.map((nodeId) => nodeArn(context, nodeId)),
    async resourceKeys() {
      const tags = await tagsOf(context, 'ManagedInstance', nodeIds)
      return new Map(nodeIds.map((nodeId) => [nodeArn(context, nodeId), resourceTagKeys(tags.get(nodeId) ?? [])]))
    },
  }
}

export const nodes: Capability = {
  name: 'nodes',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-enrolments', sql: enrolments },
    { name: '0003-key-date', sql: keyDate },
  ],
  sealed: [sealedCode],
  reconcilers: [forgetEnrolments],
  operations: {
    ssm: {
      CreateActivation: {
        authorize: activationAccess,
        handle: createActivation,
      },
      DescribeActivations: { authorize: anywhere, handle: describeActivations },
      DeleteActivation: { authorize: anywhere, handle: deleteActivation },
      RegisterManagedInstance: {
        authentication: 'anonymous',
        authorize: () => free('the activation code is the proof'),
        handle: registerManagedInstance,
      },
      RequestManagedInstanceRoleToken: {
        authentication: 'node-key',
        authorize: itself,
        handle: requestManagedInstanceRoleToken,
      },
      UpdateManagedInstancePublicKey: {
        authentication: 'node-key',
        authorize: itself,
        handle: updateManagedInstancePublicKey,
      },
      UpdateInstanceInformation: {
        authorize: (input, context) => ({ resources: [nodeArn(context, input.InstanceId)] }),
        handle: updateInstanceInformation,
      },
      DescribeInstanceInformation: { authorize: anywhere, handle: describeInstanceInformation },
      GetConnectionStatus: {
        authorize: (input, context) => onNode(context, input.Target),
        handle: getConnectionStatus,
      },
      DescribeInstanceProperties: { authorize: anywhere, handle: describeInstanceProperties },
      ListNodes: { authorize: anywhere, handle: listNodes },
      ListNodesSummary: { authorize: anywhere, handle: listNodesSummary },
      UpdateManagedInstanceRole: {
        authorize: async (input, context) => [
          onNode(context, input.InstanceId),
          await passingRole(context, input.IamRole, 'ssm.amazonaws.com'),
        ],
        async handle(context, input) {
          await context.transaction(async (transaction) => {
            if (!(await store.updateRole(transaction.sql, transaction, input.InstanceId, input.IamRole)))
              throw new AwsError('InvalidInstanceId', `The node ${input.InstanceId} is not registered.`)
            await changeNodeRole(transaction, input.InstanceId, input.IamRole)
          })
          return {}
        },
      },
      // State Manager is not here yet: agents ask every ten minutes and are told that there is nothing for them.
      ListInstanceAssociations: {
        authorize: (input, context) => ({ resources: [nodeArn(context, input.InstanceId)] }),
        async handle() {
          return { Associations: [] }
        },
      },
      // Agents then take a package for a document of the account, as every package here is.
      GetManifest: {
        authorize: anywhere,
        async handle(_, input) {
          throw new AwsError('ResourceNotFoundException', `There is no manifest of the package ${input.PackageName}.`)
        },
      },
      DeregisterManagedInstance: {
        authorize: (input, context) => onNode(context, input.InstanceId),
        async handle(context, input) {
          await context.transaction(async (transaction) => {
            if (!(await store.deleteNode(transaction.sql, transaction, input.InstanceId)))
              throw new AwsError('InvalidInstanceId', `The node ${input.InstanceId} is not registered.`)
            await revokeNode(transaction, input.InstanceId)
            await deleteTags(transaction, 'ManagedInstance', [input.InstanceId])
            await forgetNode(transaction, input.InstanceId)
            transaction.wake(NODE_GONE_WAKE, input.InstanceId)
          })
          return {}
        },
      },
    },
  },
  taggable: {
    ManagedInstance: {
      arn: nodeArn,
      resolve: (context, nodeId) => store.holdNode(context.sql, context, nodeId),
    },
  },
  start: (host) => ({ nodeKeys: nodeKeyVerifier(host), routes: enrolmentRoutes(host) }),
}

/** Topic: a node was deregistered. */
export const NODE_GONE_WAKE = 'node-gone'

const NODES_AT_ONCE = 1_000

/** Of all nodes that `list` names, in order from behind `after`, those that are registered no longer. */
export async function* missingNodes(
  work: WorkContext,
  list: (after: store.NodeKey, limit: number) => Promise<store.NodeKey[]>,
): AsyncGenerator<store.NodeKey, void> {
  let last = { account: '', region: '', nodeId: '' }
  while (!work.signal.aborted) {
    const nodes = await list(last, NODES_AT_ONCE)
    const there = new Set((await store.listExisting(work.sql, nodes)).map(keyOf))
    yield* nodes.filter((node) => !there.has(keyOf(node)))
    if (nodes.length < NODES_AT_ONCE) return
    last = nodes.at(-1)!
  }
}
const keyOf = ({ account, region, nodeId }: store.NodeKey) => `${account}/${region}/${nodeId}`

export interface TargetNode {
  nodeId: string
  /** As the node's agent told it; null until its first full ping. */
  platformType: string | null
}

/** Of these ids, the registered nodes. */
export const findNodes = (context: Context, nodeIds: string[]): Promise<TargetNode[]> =>
  store.readPlatforms(context.sql, context, nodeIds)

/** What the machines of these nodes call themselves, by node id; a node that has not told is left out. */
export async function nodeNames(context: Context, nodeIds: string[]): Promise<Map<string, string>> {
  return nodeIds.length === 0 ? new Map() : store.readComputerNames(context.sql, context, nodeIds)
}

/**
 * The nodes that match every one of the targets: `InstanceIds`, `tag:<key>` (any of the values; none given: has the
 * tag) or `tag-key` (any of the keys).
 */
export async function resolveTargets(
  context: Context,
  targets: { Key?: string; Values?: string[] }[],
): Promise<TargetNode[]> {
  let matching: Set<string> | undefined
  for (const { Key = '', Values = [] } of targets) {
    const found = new Set(await matchTarget(context, Key, Values))
    matching = matching ? new Set([...matching].filter((nodeId) => found.has(nodeId))) : found
  }
  return findNodes(context, [...(matching ?? [])])
}

/** The case of letters counts in the key of a tag only. */
async function matchTarget(context: Context, key: string, values: string[]): Promise<string[]> {
  const kind = key.toLowerCase()
  if (kind === 'instanceids') return values
  if (kind.startsWith('tag:')) return taggedNodes(context, tagFilter(key, values))
  if (kind === 'tag-key') return taggedNodes(context, ...values.map((name) => ({ key: name })))
  throw new AwsError(
    'InvalidParameters',
    `The target key ${key} is not supported: use InstanceIds, tag:<key> or tag-key.`,
  )
}
