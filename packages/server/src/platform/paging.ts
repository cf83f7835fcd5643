/**
 * NextToken: where a listing goes on, sealed, so that clients can neither read nor make one. A token belongs to one
 * operation of one account and region; any other is refused as InvalidNextToken.
 */
import type { Scope } from './arn.ts'
import type { Ground } from './context.ts'
import { AwsError } from './errors.ts'

type Pager = Scope & Pick<Ground, 'sealer'>

const PURPOSE = 'next token'

const belongsTo = (context: Scope, kind: string): string => `${context.account}/${context.region}/${kind}`

/** `kind` names the listing, such as the operation; `position` is what the next page needs to know. */
export const encodeToken = (context: Pager, kind: string, position: unknown): string =>
  context.sealer.seal(PURPOSE, Buffer.from(JSON.stringify(position)), belongsTo(context, kind)).toString('base64url')

/** The position of a token that `encodeToken` made for the same listing, or undefined without a token; InvalidNextToken. */
export function decodeToken<Position>(context: Pager, kind: string, token: string | undefined): Position | undefined {
  if (token === undefined) return undefined
  const position = context.sealer.unseal(PURPOSE, Buffer.from(token, 'base64url'), belongsTo(context, kind))
  if (!position) throw new AwsError('InvalidNextToken', "The specified token isn't valid.")
  return JSON.parse(position.toString()) as Position
}
