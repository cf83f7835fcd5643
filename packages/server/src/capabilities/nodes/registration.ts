/**
 * How a machine becomes a node: it shows an activation's code and its own public key, and from then on signs with its
 * private key for short-lived role credentials. No secret of ours lies on it for longer than an hour.
 */
import { constants, createHash, verify } from 'node:crypto'
import type { Input, Output } from '../../contract/types.ts'
import { nodeArn } from '../../platform/arn.ts'
import type { Host, NodeKeyVerifier } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { sqlState, UNIQUE_VIOLATION } from '../../platform/database.ts'
import { AwsError } from '../../platform/errors.ts'
import { managedNodeId } from '../../platform/ids.ts'
import { grantNode, issueNodeCredentials } from '../identity/index.ts'
import { setTags } from '../tags/index.ts'
import { isKeyDue, NODE_ID_TAG, parsePublicKey } from './rules.ts'
import * as store from './store.ts'

export const codeDigest = (code: string): Buffer => createHash('sha256').update(code).digest()

/**
 * Registers a node by activation id and code. Errors: InvalidActivation, ActivationExpired, RegistrationLimitExceeded,
 * InvalidPublicKey, DuplicateInstanceId.
 */
export async function registerManagedInstance(
  context: Context,
  input: Input<'RegisterManagedInstance'>,
): Promise<Output<'RegisterManagedInstance'>> {
  const publicKey = parsePublicKey(input.PublicKey)
  if (!input.ActivationId || !input.ActivationCode)
    throw new AwsError('InvalidActivation', 'An activation id and an activation code are required.')
  const [id, digest] = [input.ActivationId, codeDigest(input.ActivationCode)]
  return context.transaction(async (transaction) => {
    const activation = await store.lockActivation(transaction.sql, id, digest)
    if (!activation) throw new AwsError('InvalidActivation', 'The activation is unknown or its code is wrong.')
    const scoped: Context = { ...transaction, account: activation.account, region: activation.region }
    if (activation.expirationDate <= context.now())
      throw new AwsError('ActivationExpired', `The activation expired at ${activation.expirationDate.toISOString()}.`)
    if (activation.registrationsCount >= activation.registrationLimit)
      throw new AwsError(
        'RegistrationLimitExceeded',
        `The activation has registered all ${activation.registrationLimit} of its nodes.`,
      )
    const nodeId = activation.nodeId ?? managedNodeId()
    await insertNode(scoped, activation, nodeId, publicKey, input.Fingerprint)
    await store.countRegistration(scoped.sql, id)
    const tags = activation.tags.filter((tag) => tag.Key !== NODE_ID_TAG)
    if (tags.length > 0) await setTags(scoped, 'ManagedInstance', nodeId, tags)
    await grantNode(scoped, nodeId, activation.iamRole)
    context.log.info({ nodeId, account: scoped.account, region: scoped.region }, 'a node was registered')
    return { InstanceId: nodeId }
  })
}

async function insertNode(
  context: Context,
  activation: store.ActivationRow,
  nodeId: string,
  publicKey: Buffer,
  fingerprint: string,
): Promise<void> {
  const { account, region } = context
  const { activationId, defaultInstanceName: name, iamRole } = activation
  const registrationDate = context.now()
  const row = { account, region, nodeId, activationId, name, iamRole, registrationDate, publicKey, fingerprint }
  try {
    await store.insertNode(context.sql, row)
  } catch (error) {
    if (sqlState(error) !== UNIQUE_VIOLATION) throw error
    throw new AwsError(
      'DuplicateInstanceId',
      `The node ${nodeId} is registered already. Deregister it before another machine takes its id.`,
    )
  }
}

/** Role credentials for the node that signed with its own key. Errors: MachineFingerprintDoesNotMatch, InvalidInstanceId. */
export async function requestManagedInstanceRoleToken(
  context: Context,
  input: Input<'RequestManagedInstanceRoleToken'>,
): Promise<Output<'RequestManagedInstanceRoleToken'>> {
  const nodeId = callerNodeId(context)
  const node = await store.readNode(context.sql, context, nodeId)
  if (node && node.fingerprint !== input.Fingerprint)
    // A cloned disk carries the node's key but not its machine: it must not act as the original.
    throw new AwsError(
      'MachineFingerprintDoesNotMatch',
      'This machine is not the one that was registered. Register it anew.',
    )
  const credentials = node && (await issueNodeCredentials(context, context, nodeId))
  if (!credentials) throw new AwsError('InvalidInstanceId', `The node ${nodeId} is not registered.`)
  return {
    AccessKeyId: credentials.accessKeyId,
    SecretAccessKey: credentials.secretAccessKey,
    SessionToken: credentials.sessionToken,
    TokenExpirationDate: credentials.expiration,
    UpdateKeyPair: isKeyDue(node.keyDate, context.now(), context.choices.keyRotationDays),
  }
}

/** Replaces the key that the node signs with; committed before the answer, as the agent then forgets the old one. */
export async function updateManagedInstancePublicKey(
  context: Context,
  input: Input<'UpdateManagedInstancePublicKey'>,
): Promise<Output<'UpdateManagedInstancePublicKey'>> {
  const publicKey = parsePublicKey(input.NewPublicKey)
  await store.updatePublicKey(context.sql, context, callerNodeId(context), publicKey, context.now())
  return {}
}

export function callerNodeId(context: Context): string {
  if (context.caller.type !== 'node')
    throw new AwsError('AccessDeniedException', 'Only a node may ask this about itself.')
  return context.caller.nodeId
}

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } as const

/** Checks RSASSA-PSS (SHA-256, salt of 32 bytes) over the string to sign with the key the node registered. */
export function nodeKeyVerifier(host: Host): NodeKeyVerifier {
  return {
    async verify({ region, nodeId }, stringToSign, signature) {
      const bytes = Buffer.from(signature, 'base64')
      const nodes = await store.readNodesOfId(host.sql, region, nodeId)
      if (nodes.length === 0) throw new AwsError('AccessDeniedException', `The node ${nodeId} is not registered.`)
      for (const node of nodes) {
        const key = { key: node.publicKey, format: 'der', type: 'spki', ...PSS } as const
        if (!verify('sha256', Buffer.from(stringToSign), key, bytes)) continue
        return { type: 'node', account: node.account, region, nodeId, arn: nodeArn(node, nodeId), accessKeyId: nodeId }
      }
      throw new AwsError('AccessDeniedException', `This is not the key that the node ${nodeId} was registered with.`)
    },
  }
}
