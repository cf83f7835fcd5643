/** `musterbook accounts create|list|disable|enable`: the accounts of an installation, for its root alone. */
import { ConfigError } from './config.ts'
import { ask, type ControlPlane, findControlPlane, readWords, WHERE_USAGE } from './control-plane.ts'

export const ACCOUNTS_USAGE = `musterbook accounts create --name text [--account id]
    a new account; prints what 'source' gives to the AWS CLI: its root key is shown this once
musterbook accounts list
    every account: its id, whether it is active, since when, its name
musterbook accounts disable <id>
    from now on nothing of the account's may call: no key, no session, no node, on no process
musterbook accounts enable <id>
    undoes disable
Only the root of the installation's own account may. ${WHERE_USAGE}`

interface Account {
  account: string
  name: string
  status: string
  createdAt: string
}

export async function runAccounts(args: string[]): Promise<void> {
  const { values, positionals } = readWords(args, { name: { type: 'string' }, account: { type: 'string' } })
  const [verb, id, ...rest] = positionals
  if (values.help || verb === undefined) {
    process.stdout.write(ACCOUNTS_USAGE)
    if (!values.help) process.exitCode = 1
    return
  }
  const wantsId = verb === 'disable' || verb === 'enable'
  if (wantsId && !/^\d{12}$/.test(id ?? ''))
    throw new ConfigError(`musterbook accounts ${verb} takes the id of an account, 12 digits`)
  if (rest.length > 0 || (!wantsId && id !== undefined))
    throw new ConfigError(`'${wantsId ? rest[0] : id}' is one word too many after 'accounts ${verb}'`)
  if (!wantsId && verb !== 'create' && verb !== 'list')
    throw new ConfigError(
      `musterbook accounts ${verb}: there is no such thing; it takes create, list, disable or enable`,
    )
  if (verb === 'create' && !values.name) throw new ConfigError('musterbook accounts create wants a name: --name text')
  const plane = await findControlPlane(values)
  process.stdout.write(await carryOut(plane, verb, id ?? '', values))
}

async function carryOut(
  plane: ControlPlane,
  verb: string,
  id: string,
  wanted: { name?: string; account?: string },
): Promise<string> {
  if (verb === 'create') return create(plane, wanted)
  if (verb === 'list') {
    const { accounts } = await ask<{ accounts: Account[] }>(plane, 'GET', '/musterbook/accounts')
    return accounts.map(lineOf).join('')
  }
  return lineOf(await ask<Account>(plane, 'POST', `/musterbook/accounts/${id}/${verb}`, {}))
}

const lineOf = ({ account, status, createdAt, name }: Account): string =>
  `${account}  ${status.padEnd(8)}  ${createdAt.slice(0, 10)}  ${name}\n`

async function create(plane: ControlPlane, { name, account }: { name?: string; account?: string }): Promise<string> {
  const made = await ask<{ account: string; accessKeyId: string; secretAccessKey: string }>(
    plane,
    'POST',
    '/musterbook/accounts',
    { name, account },
  )
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
