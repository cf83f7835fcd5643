/**
 * Finds the secret behind an access key id. Found ones are kept in memory until a wake of `identity` says that something
 * about principals changed, so a busy key costs no statement; unknown ones are never kept.
 */
import { nodeArn } from '../../platform/arn.ts'
import type { Caller } from '../../platform/caller.ts'
import type { Credential, CredentialSource, Host } from '../../platform/capability.ts'
import { entityArn } from './entities.ts'
import { type NodeStatement, openSessionToken, type RoleStatement, type UserStatement } from './session-token.ts'
import * as entities from './store/entities.ts'
import * as store from './store.ts'
import { IDENTITY_WAKE } from './wake.ts'

const MAX_CACHED = 20_000
/** A lost wake must not keep a revoked key alive: nothing is believed for longer than this. */
const BELIEVE_MS = 5_000

export function credentialSource(host: Host): CredentialSource & Disposable {
  const known = new Map<string, { credential: Credential; until: number }>()
  // What is read while a wake comes in may be older than the wake: it is used once and not kept.
  let generation = 0
  const subscription = host.onWake(IDENTITY_WAKE, () => {
    generation++
    known.clear()
  })

  async function look(id: string, accessKeyId: string, sessionToken: string | undefined, now: number) {
    const asOf = generation
    const credential = await read(host, accessKeyId, sessionToken)
    if (credential === undefined) return undefined
    if (asOf === generation) {
      if (known.size >= MAX_CACHED) known.clear()
      known.set(id, { credential, until: now + BELIEVE_MS })
    }
    return expired(credential, now) ? 'expired' : credential
  }

  return {
    find(accessKeyId, sessionToken) {
      const id = sessionToken === undefined ? accessKeyId : `${accessKeyId} ${sessionToken}`
      const now = host.clock.now().getTime()
      const cached = known.get(id)
      if (!cached || cached.until <= now) return look(id, accessKeyId, sessionToken, now)
      return expired(cached.credential, now) ? 'expired' : cached.credential
    },
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  }
}

const expired = (credential: Credential, now: number) =>
  credential.expiresAt !== undefined && credential.expiresAt <= now

async function read(host: Host, accessKeyId: string, token: string | undefined): Promise<Credential | undefined> {
  if (token !== undefined) return readSession(host, accessKeyId, token)
  const row = await store.readAccessKey(host.sql, accessKeyId)
  if (row?.status !== 'Active') return undefined
  const secret = host.sealer.unseal('access key', row.secretSealed, accessKeyId)
  if (!secret) throw new Error(`the secret of ${accessKeyId} cannot be unsealed with this root key`)
  const caller =
    row.userId === null ? rootCaller(row.account, accessKeyId) : await userCaller(host, row.userId, accessKeyId)
  return caller && { secretAccessKey: secret.toString(), caller }
}

async function readSession(host: Host, accessKeyId: string, token: string): Promise<Credential | undefined> {
  const statement = openSessionToken(host.sealer, token, accessKeyId)
  if (!statement) return undefined
  const caller = await sessionCaller(host, statement)
  return caller && { secretAccessKey: statement.secretAccessKey, caller, expiresAt: statement.expiresAt }
}

function sessionCaller(
  host: Host,
  statement: NodeStatement | RoleStatement | UserStatement,
): Promise<Caller | undefined> {
  if (statement.kind === 'node') return nodeCaller(host, statement)
  if (statement.kind === 'role') return roleCaller(host, statement)
  return userSessionCaller(host, statement)
}

async function nodeCaller(
  host: Host,
  { account, region, nodeId, serial, accessKeyId }: NodeStatement,
): Promise<Caller | undefined> {
  const grant = await store.readNodeGrant(host.sql, { account, region }, nodeId)
  if (grant?.serial !== serial) return undefined
  const roleName = grant.roleName ?? undefined
  return { type: 'node', account, region, nodeId, arn: nodeArn({ account, region }, nodeId), accessKeyId, roleName }
}

async function roleCaller(host: Host, statement: RoleStatement): Promise<Caller | undefined> {
  const role = await entities.findById(host.sql, 'role', statement.roleId)
  if (!role) return undefined
  const { account, name: roleName, id: roleId } = role
  const { accessKeyId, sessionName, sessionPolicies, sessionTags, sourceIdentity, issuedAt, mfa } = statement
  const { transitiveTags, mfaAt, federation } = statement
  return {
    type: 'role',
    account,
    arn: `arn:aws:sts::${account}:assumed-role/${roleName}/${sessionName}`,
    accessKeyId,
    roleArn: entityArn('role', role),
    roleName,
    roleId,
    sessionName,
    sourceIdentity,
    transitiveTags,
    sessionPolicies,
    tags: joined(tagMap(role.tags), sessionTags),
    issuedAt,
    mfa,
    mfaAt,
    federation,
  }
}

async function userSessionCaller(host: Host, statement: UserStatement): Promise<Caller | undefined> {
  const { accessKeyId, account, userId, name, sessionPolicies, sessionTags, issuedAt, mfa } = statement
  // Ends with the key that asked for it, with its user and with its account.
  const parent = await store.readAccessKey(host.sql, statement.parentKeyId)
  if (parent?.status !== 'Active' || parent.account !== account || (parent.userId ?? account) !== userId)
    return undefined
  if (userId === account) return rootCaller(account, accessKeyId, issuedAt)
  const user = await userCaller(host, userId, accessKeyId)
  if (!user) return undefined
  if (name === undefined) return { ...user, issuedAt, mfa }
  return {
    ...user,
    type: 'federated',
    arn: `arn:aws:sts::${account}:federated-user/${name}`,
    name,
    sessionPolicies,
    tags: joined(user.tags, sessionTags),
    issuedAt,
    mfa,
  }
}

async function userCaller(host: Host, userId: string, accessKeyId: string) {
  const user = await entities.findById(host.sql, 'user', userId)
  if (!user) return undefined
  const { account, name: userName } = user
  const arn = entityArn('user', user)
  const tags = tagMap(user.tags)
  return {
    type: 'user' as const,
    account,
    arn,
    accessKeyId,
    userName,
    userId,
    sessionPolicies: [],
    tags,
    issuedAt: 0,
    mfa: false,
  }
}

/** Tag keys know no case: a session's tag takes the place of the principal's. */
function joined(own: Record<string, string>, session: Record<string, string>): Record<string, string> {
  const taken = new Set(Object.keys(session).map((key) => key.toLowerCase()))
  return { ...Object.fromEntries(Object.entries(own).filter(([key]) => !taken.has(key.toLowerCase()))), ...session }
}

const tagMap = (tags: { Key: string; Value: string }[]): Record<string, string> =>
  Object.fromEntries(tags.map(({ Key, Value }) => [Key, Value]))

const rootCaller = (account: string, accessKeyId: string, issuedAt = 0) => ({
  type: 'root' as const,
  account,
  arn: `arn:aws:iam::${account}:root`,
  accessKeyId,
  issuedAt,
})
