/** The roll: which chains there are, sealed, so that one that is gone as a whole is noticed. */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { Sealer } from '../../platform/seal.ts'
import * as store from './store.ts'

export const ROLL_PURPOSE = 'trail roll'
export const ROLL_NAME = 'roll'

const sealRoll = (sealer: Sealer, scopes: readonly Scope[]): Buffer =>
  sealer.seal(ROLL_PURPOSE, Buffer.from(JSON.stringify(scopes)), ROLL_NAME)

/** undefined: it was not sealed here. */
export function openRoll(sealer: Sealer, seal: Uint8Array): Scope[] | undefined {
  const text = sealer.unseal(ROLL_PURPOSE, seal, ROLL_NAME)
  return text && (JSON.parse(text.toString()) as Scope[])
}

/** An installation has a roll from its first start on. */
export const beginRoll = (ground: Ground): Promise<void> => store.insertRoll(ground.sql, sealRoll(ground.sealer, []))

/** Puts a chain on the roll, in the transaction that begins it. A roll that cannot be read stays as it is, for verify to find. */
export async function enrol(ground: Ground, { account, region }: Scope): Promise<void> {
  const seal = await store.lockRoll(ground.sql)
  const scopes = seal && openRoll(ground.sealer, seal)
  if (!scopes || scopes.some((each) => each.account === account && each.region === region)) return
  await store.updateRoll(ground.sql, sealRoll(ground.sealer, [...scopes, { account, region }]))
}
