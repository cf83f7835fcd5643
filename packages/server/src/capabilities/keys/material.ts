/**
 * Unwrapped key material, kept in memory so that neither encrypting nor decrypting waits for the database. It is kept per
 * sealer, that is per installation, and dropped when a wake says that its key has changed.
 */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { Sealer } from '../../platform/seal.ts'
import { findMaterial } from './store.ts'

export const MATERIAL_PURPOSE = 'key material'
/** Key versions in memory: 10,000 of 200 bytes (RSA: 2,500) are 2 to 25 MB. The oldest used goes first. */
const MAX_KEPT = 10_000

const kept = new WeakMap<Sealer, Map<string, Buffer>>()

const prefixOf = (scope: Scope, keyId: string): string => `${scope.account}/${scope.region}/${keyId}/`
export const nameOfMaterial = (scope: Scope, keyId: string, version: number): string =>
  `${prefixOf(scope, keyId)}${version}`

/** Material, wrapped by the installation's root key for exactly this key version. */
export const sealMaterial = (
  sealer: Sealer,
  scope: Scope,
  keyId: string,
  version: number,
  material: Uint8Array,
): Buffer => sealer.seal(MATERIAL_PURPOSE, material, nameOfMaterial(scope, keyId, version))

/** undefined: there is no such key version here, or the root key that wrapped it is not ours. */
export async function materialOf(
  ground: Pick<Ground, 'sql' | 'sealer'>,
  key: Scope & { keyId: string },
  version: number,
): Promise<Buffer | undefined> {
  const name = nameOfMaterial(key, key.keyId, version)
  let own = kept.get(ground.sealer)
  if (!own) {
    own = new Map()
    kept.set(ground.sealer, own)
  }
  let material = own.get(name)
  if (!material) {
    const sealed = await findMaterial({ ...key, sql: ground.sql }, key.keyId, version)
    material = sealed && ground.sealer.unseal(MATERIAL_PURPOSE, sealed, name)
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

/** Forgets the material of one key, or of all. */
export function dropMaterial(sealer: Sealer, keyId: string | undefined): void {
  const own = kept.get(sealer)
  if (!own) return
  if (keyId === undefined) own.clear()
  else for (const name of own.keys()) if (name.includes(`/${keyId}/`)) own.delete(name)
}
