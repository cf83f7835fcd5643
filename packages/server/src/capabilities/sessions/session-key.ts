/**
 * The KMS key of an encrypted session: found at its start, and what lets the session's node, and nobody else, open the one
 * data key that was made for it while the session goes on. Its client needs kms:GenerateDataKey of its own.
 */
import type { NodeCaller } from '../../platform/caller.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { KeyError, keyArnOf } from '../keys/index.ts'
import * as store from './store.ts'

const SESSION = 'aws:ssm:SessionId'
const TARGET = 'aws:ssm:TargetId'
/** The official ends' names of what a data key is bound to; the last is the agent's challenge. */
const BOUND_TO = new Set([SESSION, TARGET, 'aws:ssm:RandomChallenge'])

/** Its ARN. InvalidDocument: the session's document names a key that does not exist. */
export async function sessionKey(context: Context, keyId: string): Promise<string> {
  try {
    return await keyArnOf(context, keyId)
  } catch (error) {
    if (!(error instanceof KeyError)) throw error
    throw new AwsError(
      'InvalidDocument',
      `The KMS key ${keyId} of the session's document cannot be used: ${error.message}`,
    )
  }
}

/** A node may decrypt what was encrypted under its session's key for this session and this node, until the session ends. */
export async function opensSessionKey(
  { account, nodeId }: NodeCaller,
  { resources, keys = {} }: Access,
  context: Context,
): Promise<boolean> {
  const names = [keys['kms:EncryptionContextKeys'] ?? []].flat()
  const sessionId = keys[`kms:EncryptionContext:${SESSION}`]
  if (typeof sessionId !== 'string' || keys[`kms:EncryptionContext:${TARGET}`] !== nodeId) return false
  if (!names.every((name) => BOUND_TO.has(name))) return false
  const session = await store.readSession(context.sql, sessionId)
  return (
    session !== undefined &&
    session.account === account &&
    session.region === context.region &&
    session.nodeId === nodeId &&
    session.endedAt === null &&
    session.kmsKey !== '' &&
    resources.length === 1 &&
    resources[0] === session.kmsKey
  )
}
