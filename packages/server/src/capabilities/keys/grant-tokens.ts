/** Grant tokens: which grant of which key, sealed. Grants hold at once here, so that a token need only be genuine. */
import type { Ground } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { KeyError } from './errors.ts'

const PURPOSE = 'grant token'

export interface GrantName {
  region: string
  keyId: string
  grantId: string
}

export const makeToken = ({ sealer }: Pick<Ground, 'sealer'>, { region, keyId, grantId }: GrantName): string =>
  sealer.seal(PURPOSE, Buffer.from(JSON.stringify({ region, keyId, grantId })), '').toString('base64')

/** InvalidGrantTokenException. */
export function readToken({ sealer }: Pick<Ground, 'sealer'>, token: string): GrantName {
  const text = sealer.unseal(PURPOSE, Buffer.from(token, 'base64'), '')
  if (!text) throw new KeyError('InvalidGrantTokenException', 'The grant token is not valid.')
  return JSON.parse(text.toString()) as GrantName
}

/** InvalidGrantTokenException; DescribeKey, which knows no such error, says ValidationException. */
export function checkTokens(ground: Pick<Ground, 'sealer'>, tokens: string[] | undefined, action: string): void {
  try {
    for (const token of tokens ?? []) readToken(ground, token)
  } catch (error) {
    throw action === 'kms:DescribeKey' && error instanceof KeyError ? validation(error.message) : error
  }
}
