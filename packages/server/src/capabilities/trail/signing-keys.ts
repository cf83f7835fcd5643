/** The keys that sign digest files. The public part is anybody's who may call ListPublicKeys; the private one lies sealed. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import type { Input, Output } from '../../contract/types.ts'
import type { Context, Ground } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { insertSigningKey, listSigningKeys, lockSigningKeys, type SigningKeyRow } from './store/trails.ts'

export const SIGNING_PURPOSE = 'trail signing key'
const DAY_MS = 86_400_000
/** A key signs for a year; another one follows it by itself. */
const VALID_MS = 365 * DAY_MS
/** Clocks of processes may differ, and clients ask from a little before the first digest. */
const BEFORE_MS = DAY_MS
const RSA_BITS = 2_048

export interface SigningKey {
  fingerprint: string
  key: KeyObject
}

/** The key of this moment; made where there is none. */
export async function signingKey(ground: Ground): Promise<SigningKey> {
  const now = ground.now()
  const [found] = (await listSigningKeys(ground.sql, { from: now, to: now })).slice(-1)
  return open(ground, found ?? (await makeKey(ground, now)))
}

function open(ground: Ground, { fingerprint, privateKey }: SigningKeyRow): SigningKey {
  const der = ground.sealer.unseal(SIGNING_PURPOSE, privateKey, fingerprint)
  if (!der) throw new Error(`the signing key ${fingerprint} of trails was not sealed here`)
  return { fingerprint, key: createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }) }
}

async function makeKey(ground: Ground, now: Date): Promise<SigningKeyRow> {
  const pair = await promisify(generateKeyPair)('rsa', { modulusLength: RSA_BITS })
  const publicKey = createPublicKey(pair.privateKey).export({ format: 'der', type: 'pkcs1' })
  const fingerprint = createHash('sha256').update(publicKey).digest('hex').slice(0, 32)
  const der = pair.privateKey.export({ format: 'der', type: 'pkcs8' })
  return ground.transaction(async ({ sql, sealer }) => {
    await lockSigningKeys(sql)
    const [other] = await listSigningKeys(sql, { from: now, to: now })
    if (other) return other
    const made: SigningKeyRow = {
      fingerprint,
      publicKey,
      privateKey: sealer.seal(SIGNING_PURPOSE, der, fingerprint),
      validFrom: new Date(now.getTime() - BEFORE_MS),
      validUntil: new Date(now.getTime() + VALID_MS),
    }
    await insertSigningKey(sql, made)
    return made
  })
}

/** ListPublicKeys: all in one page, a year has one. InvalidTimeRangeException, InvalidTokenException. */
export async function listPublicKeys(
  context: Context,
  { StartTime, EndTime, NextToken }: Input<'ListPublicKeys', 'cloudtrail'>,
): Promise<Output<'ListPublicKeys', 'cloudtrail'>> {
  if (NextToken !== undefined) throw new AwsError('InvalidTokenException', 'Invalid token.')
  const from = StartTime ?? EndTime ?? context.now()
  const to = EndTime ?? (StartTime && StartTime > context.now() ? StartTime : context.now())
  if (from > to) throw new AwsError('InvalidTimeRangeException', 'Start time must be before end time.')
  const keys = await listSigningKeys(context.sql, { from, to })
  return {
    PublicKeyList: keys.map(({ publicKey, fingerprint, validFrom, validUntil }) => ({
      Value: publicKey,
      ValidityStartTime: validFrom,
      ValidityEndTime: validUntil,
      Fingerprint: fingerprint,
    })),
  }
}
