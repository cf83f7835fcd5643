/** `musterbook accounts create|list|disable|enable|rotate-key`: the accounts of an installation, for its root alone. */

import { readAccess, readWords, WHERE_USAGE } from './access.ts'
import { route } from './client.ts'
import { ConfigError } from './config-error.ts'
import type { ControlPlane } from './signed-request.ts'

export const ACCOUNTS_USAGE = `musterbook accounts create --name text [--account id]
    a new account; prints what 'source' gives to the AWS CLI: its root key is shown this once
musterbook accounts list
    every account: its id, whether it is active, since when, its name
musterbook accounts disable <id>
    from now on nothing of the account's may call: no key, no session, no node, on no process; what is open is closed
musterbook accounts enable <id>
    undoes disable
musterbook accounts rotate-key <id>
    a new root key for one that is lost or known to somebody; printed as 'create' does, the old one is dead at once
Only the root of the installation's own account may.
${WHERE_USAGE}`

interface Account {
  account: string
  name: string
  status: string
  createdAt: string
}

export async function runAccounts(args: string[]): Promise<void> {
  const { values, positionals } = readWords(args.slice(1), { name: { type: 'string' }, account: { type: 'string' } })
  const [verb, id, ...rest] = positionals
  if (values.help || verb === undefined) {
    process.stdout.write(ACCOUNTS_USAGE)
    if (!values.help) process.exitCode = 1
    return
  }
  const wantsId = verb === 'disable' || verb === 'enable' || verb === 'rotate-key'
  if (wantsId && !/^\d{12}$/.test(id ?? ''))
    throw new ConfigError(`musterbook accounts ${verb} takes the id of an account, 12 digits`)
  if (rest.length > 0 || (!wantsId && id !== undefined))
    throw new ConfigError(`'${wantsId ? rest[0] : id}' is one word too many after 'accounts ${verb}'`)
  if (!wantsId && verb !== 'create' && verb !== 'list')
    throw new ConfigError(
      `musterbook accounts ${verb}: there is no such thing; it takes create, list, disable, enable or rotate-key`,
    )
  if (verb === 'create' && !values.name) throw new ConfigError('musterbook accounts create wants a name: --name text')
  const plane = await readAccess(values)
  process.stdout.write(await carryOut(plane, verb, id ?? '', { name: values.name, account: values.account }))
}

async function carryOut(
  plane: ControlPlane,
  verb: string,
  id: string,
  wanted: { name?: string; account?: string },
): Promise<string> {
  if (verb === 'create')
    return rootKeyText(plane, await route<RootKey>(plane, 'iam', 'POST', '/musterbook/accounts', wanted))
  if (verb === 'list') {
    const { accounts } = await route<{ accounts: Account[] }>(plane, 'iam', 'GET', '/musterbook/accounts')
    return accounts.map(lineOf).join('')
  }
  const path = `/musterbook/accounts/${id}/${verb}`
  if (verb === 'rotate-key') return rootKeyText(plane, await route<RootKey>(plane, 'iam', 'POST', path, {}))
  return lineOf(await route<Account>(plane, 'iam', 'POST', path, {}))
}

const lineOf = ({ account, status, createdAt, name }: Account): string =>
  `${account}  ${status.padEnd(8)}  ${createdAt.slice(0, 10)}  ${name}\n`

interface RootKey {
  account: string
  accessKeyId: string
  secretAccessKey: string
}

function rootKeyText(plane: ControlPlane, made: RootKey): string {
  const variables = {
    AWS_ENDPOINT_URL: plane.endpoint,
    AWS_ACCESS_KEY_ID: made.accessKeyId,
    AWS_SECRET_ACCESS_KEY: made.secretAccessKey,
    AWS_REGION: plane.region,
    AWS_DEFAULT_REGION: plane.region,
  }
  const lines = Object.entries(variables).map(([variable, value]) => `export ${variable}='${value}'\n`)
  return `# account ${made.account}: source this, or keep it (mode 600); the key is not shown again\n${lines.join('')}`
}
