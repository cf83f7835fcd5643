/**
 * Unwrapped key material, kept in memory so that neither encrypting nor decrypting waits for the database. A key version
 * never changes once made, so what is kept cannot become stale; it is kept per sealer, that is per installation.
 */
import { randomBytes } from 'node:crypto'
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { Sealer } from '../../platform/seal.ts'
import { MATERIAL_BYTES } from './ciphertext.ts'
import { findMaterial } from './store.ts'

const PURPOSE = 'key material'
/** Key versions in memory: 10,000 of about 200 bytes are 2 MB. The oldest used goes first. */
const MAX_KEPT = 10_000

const kept = new WeakMap<Sealer, Map<string, Buffer>>()

const nameOf = (scope: Scope, keyId: string, version: number): string =>
  `${scope.account}/${scope.region}/${keyId}/${version}`

/** New material, wrapped by the installation's root key for exactly this key version. */
export function newMaterial(context: Scope & Pick<Ground, 'sealer'>, keyId: string, version: number): Buffer {
  return context.sealer.seal(PURPOSE, randomBytes(MATERIAL_BYTES), nameOf(context, keyId, version))
}

/** undefined: there is no such key version here, or the root key that wrapped it is not ours. */
export async function materialOf(
  context: Scope & Pick<Ground, 'sql' | 'sealer'>,
  keyId: string,
  version: number,
): Promise<Buffer | undefined> {
  const name = nameOf(context, keyId, version)
  let own = kept.get(context.sealer)
  if (!own) {
    own = new Map()
    kept.set(context.sealer, own)
  }
  let material = own.get(name)
  if (!material) {
    const sealed = await findMaterial(context, keyId, version)
    material = sealed && context.sealer.unseal(PURPOSE, sealed, name)
    if (!material) return undefined
  }
  own.delete(name) // to the young end
  own.set(name, material)
  if (own.size > MAX_KEPT) {
    const [oldest] = own.keys()
    if (oldest !== undefined) own.delete(oldest)
  }
  return material
}
