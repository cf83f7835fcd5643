/** Tokens that open channels: sealed, for one node, good for a minute between the REST call and the WebSocket's first frame. */
import type { Scope } from '../../platform/arn.ts'
import type { Sealer } from '../../platform/seal.ts'

const TOKEN_MS = 60_000
const PURPOSE = 'control channel token'
const MAX_TOKEN_CHARACTERS = 512

const contextOf = (node: Scope & { nodeId: string }) => `${node.account}/${node.region}/${node.nodeId}`

export const makeToken = (sealer: Sealer, node: Scope & { nodeId: string }, now: Date): string =>
  sealer.seal(PURPOSE, Buffer.from(String(now.getTime() + TOKEN_MS)), contextOf(node)).toString('base64')

export function isToken(sealer: Sealer, token: string, node: Scope & { nodeId: string }, now: Date): boolean {
  if (token.length > MAX_TOKEN_CHARACTERS) return false
  const until = sealer.unseal(PURPOSE, Buffer.from(token, 'base64'), contextOf(node))
  return until !== undefined && Number(until.toString()) >= now.getTime()
}
