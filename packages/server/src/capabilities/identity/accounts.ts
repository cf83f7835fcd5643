/** The installation and its accounts: made on the first start, read on every later one; each account has a root key. */
import type { Ground } from '../../platform/context.ts'
import { accessKeyId, accountId, secretAccessKey } from '../../platform/ids.ts'
import * as store from './store.ts'

export interface RootCredentials {
  account: string
  accessKeyId: string
  secretAccessKey: string
}

export class InstallationError extends Error {}

const CHECK_TEXT = 'musterbook'

/**
 * Makes the installation on its first start and reads it on every later one; returns the root credentials of its account.
 * Throws InstallationError when the root key or the asked-for account is not the one this database was made with.
 */
export async function openInstallation(
  ground: Ground,
  wanted: { account?: string; region: string; accessKeyId?: string; secretAccessKey?: string },
): Promise<RootCredentials> {
  const { sql, sealer } = ground
  let row = await store.readInstallation(sql)
  if (!row) {
    const rootKeyCheck = sealer.seal('installation', Buffer.from(CHECK_TEXT), 'root key check')
    const first = { account: wanted.account ?? accountId(), region: wanted.region, rootKeyCheck }
    await store.insertInstallation(sql, first, ground.now())
    row = (await store.readInstallation(sql))! // another process may have been first
  }
  if (!sealer.unseal('installation', row.rootKeyCheck, 'root key check'))
    throw new InstallationError(
      'this database was made with another root key; give the server the root key it was made with',
    )
  if (wanted.account && wanted.account !== row.account)
    throw new InstallationError(
      `this database belongs to account ${row.account}, not ${wanted.account}; leave --account out or use another database`,
    )
  return createAccount(ground, { account: row.account, name: 'musterbook', ...keyOf(wanted) })
}

const keyOf = (wanted: { accessKeyId?: string; secretAccessKey?: string }) =>
  wanted.accessKeyId && wanted.secretAccessKey
    ? { accessKeyId: wanted.accessKeyId, secretAccessKey: wanted.secretAccessKey }
    : {}

/** Creates an account with a root access key, or returns the root access key of the one that exists. */
export async function createAccount(
  ground: Ground,
  wanted: { account?: string; name: string; accessKeyId?: string; secretAccessKey?: string },
): Promise<RootCredentials> {
  const { sql, sealer } = ground
  const account = wanted.account ?? accountId()
  await store.insertAccount(sql, account, wanted.name, ground.now())
  let row = await store.readRootKey(sql, account)
  if (!row) {
    const id = wanted.accessKeyId ?? accessKeyId('AKIA')
    const secretSealed = sealer.seal('access key', Buffer.from(wanted.secretAccessKey ?? secretAccessKey()), id)
    await store.insertAccessKey(sql, { accessKeyId: id, account, owner: 'root', secretSealed }, ground.now())
    row = await store.readRootKey(sql, account)
    if (!row) throw new InstallationError(`the access key ${id} belongs to another account of this installation`)
  }
  const secret = sealer.unseal('access key', row.secretSealed, row.accessKeyId)
  if (!secret) throw new InstallationError(`the root access key of ${account} was sealed under another root key`)
  return { account, accessKeyId: row.accessKeyId, secretAccessKey: secret.toString() }
}
