/**
 * The data folder of a control plane: what is made at the first start and read at every later one. Secrets are 0600, and
 * files that others may read are refused rather than trusted.
 *
 *   root.key       the key above all keys; without it the database cannot be read
 *   ca.pem         the authority's certificate, for nodes and clients        ca.key      its key
 *   server.pem     the server's certificate with its chain                   server.key  its key
 *   env            what `source` gives to the AWS CLI
 *   postgres/, postgres.log, agent/    the embedded database, this machine's agent
 */
import { randomBytes } from 'node:crypto'
import { access, chmod, constants, link, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import {
  createAuthority,
  isCurrent,
  issueServerCertificate,
  type KeyAndCertificate,
  ROOT_KEY_BYTES,
} from '@musterbook/server'
import { ConfigError } from './config.ts'

const SECRET = 0o600
const PUBLIC = 0o644

export async function makeDataFolder(folder: string): Promise<void> {
  try {
    // 0711: PostgreSQL's own user passes through to its part, and lists nothing. A folder that was there before may be
    // anything, such as /tmp, and keeps its mode.
    if (await makeFolders(folder)) await chmod(folder, 0o711)
    await access(folder, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new ConfigError(
      `the data folder ${folder} cannot be made or used (${reason(error)}): choose another with --data (MUSTERBOOK_DATA)`,
    )
  }
}

/**
 * Makes the folder and those above it; true when it was made. Level by level: Node's own recursive mkdir never returns where
 * the system answers ENOENT for a new entry of an existing folder, as /proc does.
 */
async function makeFolders(folder: string): Promise<boolean> {
  try {
    return (await stat(folder)).isDirectory() ? false : Promise.reject(new ConfigError('it is no folder'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  await makeFolders(dirname(folder))
  await mkdir(folder, { mode: 0o711 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error // another start was first
  })
  return true
}

export async function rootKey(folder: string, file: string | undefined): Promise<Buffer> {
  const path = file ?? join(folder, 'root.key')
  const text = await readSecret(path)
  if (text === undefined) {
    if (file) throw new ConfigError(`the root key file ${path} does not exist; make one with: openssl rand -base64 32`)
    await writeWhole(path, `${randomBytes(ROOT_KEY_BYTES).toString('base64')}\n`, SECRET, 'keep')
    return rootKey(folder, file)
  }
  const key = Buffer.from(text.trim(), 'base64')
  if (key.length !== ROOT_KEY_BYTES)
    throw new ConfigError(`the root key file ${path} must hold ${ROOT_KEY_BYTES} bytes in base 64`)
  return key
}

/** The server's certificate, made or renewed by our own authority for these names. */
export async function serverCertificate(folder: string, names: string[]): Promise<KeyAndCertificate> {
  const now = new Date()
  const authority = await readPair(folder, 'ca')
  const server = await readPair(folder, 'server')
  const all = [...new Set([...names, 'localhost', hostname(), '127.0.0.1', '::1'])]
  if (authority && server && isCurrent(server, authority, all, now)) return server
  const signer = authority ?? (await createAuthority(`Musterbook ${hostname()}`, now))
  if (!authority) await writePair(folder, 'ca', signer)
  const issued = await issueServerCertificate(signer, all, now)
  await writePair(folder, 'server', issued)
  return issued
}

export async function writeEnvironment(folder: string, environment: Record<string, string>): Promise<string> {
  const path = join(folder, 'env')
  const lines = Object.entries(environment).map(([name, value]) => `export ${name}='${value}'`)
  const text = `# source this: the AWS CLI and SDKs then speak to Musterbook as the account's root\n${lines.join('\n')}\n`
  if ((await readSecret(path)) !== text) await writeWhole(path, text, SECRET)
  return path
}

async function readPair(folder: string, name: string): Promise<KeyAndCertificate | undefined> {
  const key = await readSecret(join(folder, `${name}.key`))
  const cert = await readFile(join(folder, `${name}.pem`), 'utf8').catch(() => undefined)
  return key !== undefined && cert !== undefined ? { key, cert } : undefined
}

async function writePair(folder: string, name: string, pair: KeyAndCertificate): Promise<void> {
  await writeWhole(join(folder, `${name}.key`), pair.key, SECRET)
  await writeWhole(join(folder, `${name}.pem`), pair.cert, PUBLIC)
}

/** The text of a file that only its owner may read, or undefined when there is none. */
async function readSecret(path: string): Promise<string | undefined> {
  try {
    const { mode } = await stat(path)
    if (mode & 0o077) throw new ConfigError(`${path} can be read by others: run chmod 600 ${path}`)
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error instanceof ConfigError ? error : new ConfigError(`${path} cannot be read (${reason(error)})`)
  }
}

/**
 * Written whole or not at all, also when the power goes. `keep`: what another process has put there first stays, as a
 * root key that something was sealed with must.
 */
async function writeWhole(path: string, text: string, mode: number, present?: 'keep'): Promise<void> {
  const draft = `${path}.${process.pid}.new`
  await rm(draft, { force: true })
  await writeFile(draft, text, { mode, flag: 'wx' })
  await chmod(draft, mode)
  await sync(draft)
  if (present === 'keep') {
    await link(draft, path).catch((error) => {
      if (error.code !== 'EEXIST') throw error
    })
    await rm(draft)
  } else await rename(draft, path)
  await sync(dirname(path))
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r')
  await file.sync()
  await file.close()
}

const reason = (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error)
