/**
 * KMS: keys whose material never leaves, what they encrypt, sign and authenticate, and who may use them. Its door lets
 * other services encrypt under their caller's permissions. A key is named by id, ARN, alias or alias ARN; a ciphertext
 * names key and version itself. `alias/aws/ssm` exists in every account and region from its first use on.
 */
import type { Capability } from '../../platform/capability.ts'
import type { EncryptionContext } from './ciphertext.ts'
import { KeyError } from './errors.ts'
import init from './migrations/0001-init.sql'
import kms from './migrations/0002-kms.sql'
import principalIds from './migrations/0003-principal-ids.sql'
import { operations } from './operations.ts'
import { keepAppointments } from './reconcile.ts'
import { CLOUDTRAIL_KEY_ALIAS, forget, KEYS_WAKE, SSM_KEY_ALIAS } from './resolve.ts'
import { sealed } from './sealed.ts'

export { decrypt, encrypt, generateDataKey, type KeyUse, keyArnOf } from './door.ts'
export { type KeyEvent, onKeyEvents } from './key-events.ts'
export { CLOUDTRAIL_KEY_ALIAS, type EncryptionContext, KeyError, SSM_KEY_ALIAS }

export const keys: Capability = {
  name: 'keys',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-kms', sql: kms },
    { name: '0003-principal-ids', sql: principalIds },
  ],
  sealed,
  operations: { kms: operations },
  reconcilers: [keepAppointments],
  start(host) {
    const subscription = host.onWake(KEYS_WAKE, (keyId) => forget(host.sealer, keyId))
    return {
      async close() {
        subscription[Symbol.dispose]()
      },
    }
  },
}
