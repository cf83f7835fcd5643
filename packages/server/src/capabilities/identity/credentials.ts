/**
 * Finds the secret behind an access key id. Found ones are kept in memory until a wake of `identity` says that something
 * about credentials changed, so a busy key costs no statement; unknown ones are never kept.
 */
import { nodeArn } from '../../platform/arn.ts'
import type { Caller } from '../../platform/caller.ts'
import type { Credential, CredentialSource, Host } from '../../platform/capability.ts'
import { openSessionToken } from './session-token.ts'
import { readAccessKey, readNodeSerial } from './store.ts'

/** Topic that drops cached credentials on every process. */
export const IDENTITY_WAKE = 'identity'
const MAX_CACHED = 20_000
/** A lost wake must not keep a revoked key alive: nothing is believed for longer than this. */
const BELIEVE_MS = 5_000

export function credentialSource(host: Host): CredentialSource & Disposable {
  const known = new Map<string, { credential: Credential; until: number }>()
  const subscription = host.onWake(IDENTITY_WAKE, (key) => {
    // Keys of node sessions are cached under key id and token: anything about a node drops all of them.
    if (key === undefined || !known.delete(key)) known.clear()
  })

  async function read(
    accessKeyId: string,
    sessionToken: string | undefined,
  ): Promise<Credential | 'expired' | undefined> {
    if (sessionToken !== undefined) return readSession(host, accessKeyId, sessionToken)
    const row = await readAccessKey(host.sql, accessKeyId)
    if (row?.status !== 'Active') return undefined
    const secret = host.sealer.unseal('access key', row.secretSealed, accessKeyId)
    if (!secret) throw new Error(`the secret of ${accessKeyId} cannot be unsealed with this root key`)
    return { secretAccessKey: secret.toString(), caller: rootCaller(row.account, accessKeyId) }
  }

  return {
    async find(accessKeyId, sessionToken) {
      const id = sessionToken === undefined ? accessKeyId : `${accessKeyId} ${sessionToken}`
      const now = host.clock.now().getTime()
      const cached = known.get(id)
      if (cached && cached.until > now) return expired(cached.credential, now) ? 'expired' : cached.credential
      const credential = await read(accessKeyId, sessionToken)
      if (credential === undefined || credential === 'expired') return credential
      if (known.size >= MAX_CACHED) known.clear()
      known.set(id, { credential, until: now + BELIEVE_MS })
      return expired(credential, now) ? 'expired' : credential
    },
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  }
}

const expired = (credential: Credential, now: number) =>
  credential.expiresAt !== undefined && credential.expiresAt <= now

async function readSession(host: Host, accessKeyId: string, token: string): Promise<Credential | undefined> {
  const statement = openSessionToken(host.sealer, token, accessKeyId)
  if (!statement) return undefined
  const { account, region, nodeId } = statement
  if ((await readNodeSerial(host.sql, { account, region }, nodeId)) !== statement.serial) return undefined
  const arn = nodeArn({ account, region }, nodeId)
  const caller: Caller = { type: 'node', account, region, nodeId, arn, accessKeyId }
  return { secretAccessKey: statement.secretAccessKey, caller, expiresAt: statement.expiresAt }
}

export const rootCaller = (account: string, accessKeyId: string): Caller => ({
  type: 'root',
  account,
  arn: `arn:aws:iam::${account}:root`,
  accessKeyId,
})
