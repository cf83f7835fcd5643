/**
 * Records of KMS for what is not called but done: keys that a service uses for its caller, and what becomes of keys by
 * itself. As in AWS, each is a record of its own beside that of the call.
 */
import type { Auditor, Host } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { uuid } from '../../platform/ids.ts'
import type { Sealer } from '../../platform/seal.ts'
import { type KeyError, type KeyUse, onKeyEvents } from '../keys/index.ts'
import { recordServiceEvent } from './service-events.ts'

/** A server process has one sealer, which all of its contexts carry: by it a service finds the process's auditor. */
const auditors = new WeakMap<Sealer, Auditor>()

export function keepKeyRecords(host: Host, auditor: Auditor): void {
  auditors.set(host.sealer, auditor)
  onKeyEvents(host.sealer, async (work, key, eventName) => {
    const { account, region, keyId } = key
    const resources = [`arn:aws:kms:${region}:${account}:key/${keyId}`]
    const event = { eventName, eventSource: 'kms.amazonaws.com', serviceEventDetails: { keyId }, resources }
    await recordServiceEvent(work, key, event)
  })
}

/**
 * Records that Systems Manager used a key for the context's caller. Nobody waits for it, who may hold a transaction open: the
 * record of the call itself, which is waited for with `fail-closed`, comes after it in the same chain.
 */
export function recordKeyUse(context: Context, use: KeyUse, refusal?: KeyError): void {
  const { operation, keyArn, encryptionContext: EncryptionContext } = use
  const invokedBy = 'ssm.amazonaws.com'
  const kind = operation === 'GenerateDataKey' ? { KeySpec: 'AES_256' } : { EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' }
  const call = {
    // A request of its own, as with AWS: one record for each.
    context: { ...context, requestId: uuid(), sourceIp: invokedBy, userAgent: invokedBy },
    ...{ service: 'kms', operation, invokedBy },
    // A ciphertext names its key itself.
    input: { ...(operation !== 'Decrypt' && { KeyId: keyArn }), EncryptionContext, ...kind },
    access: { resources: [keyArn] },
  }
  auditors.get(context.sealer)?.note(call, undefined, refusal && { name: refusal.problem, message: refusal.message })
}
