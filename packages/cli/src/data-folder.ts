/**
 * The data folder of a control plane: what is made at the first start and read at every later one. Secrets are 0600, and
 * files that others may read are refused rather than trusted.
 *
 *   root.key       the key above all keys; without it the database cannot be read (root-key.ts)
 *   ca.pem         the authority's certificate, for nodes and clients        ca.key      its key
 *   server.pem     the server's certificate with its chain                   server.key  its key
 *   env            what `source` gives to the AWS CLI
 *   postgres/, postgres.log, agent/    the embedded database, this machine's agent
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { access, chmod, constants, mkdir, readFile, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { createAuthority, isCurrent, issueServerCertificate, type KeyAndCertificate } from '@musterbook/server'
import { ConfigError } from './config-error.ts'
import { readSecret, writePublic, writeSecret } from './secret-file.ts'

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

/** A certificate of the operator's own. ConfigError where it cannot be read, others can read its key, or the two do not fit. */
export async function ownCertificate(files: { cert: string; key: string }): Promise<KeyAndCertificate> {
  const key = await readSecret(files.key)
  if (key === undefined) throw new ConfigError(`--tls-key (MUSTERBOOK_TLS_KEY_FILE) ${files.key} does not exist`)
  const cert = await readFile(files.cert, 'utf8').catch((error: unknown) => {
    throw new ConfigError(`--tls-cert (MUSTERBOOK_TLS_CERT_FILE) ${files.cert} cannot be read (${reason(error)})`)
  })
  try {
    if (new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) return { key, cert }
  } catch {
    throw new ConfigError(`${files.cert} and ${files.key} are no certificate and key in PEM`)
  }
  throw new ConfigError(`the key ${files.key} is not that of the certificate ${files.cert}`)
}

export async function writeEnvironment(folder: string, environment: Record<string, string>): Promise<string> {
  const path = join(folder, 'env')
  const lines = Object.entries(environment).map(([name, value]) => `export ${name}='${value}'`)
  const text = `# source this: the AWS CLI and SDKs then speak to Musterbook as the account's root\n${lines.join('\n')}\n`
  if ((await readSecret(path)) !== text) await writeSecret(path, text)
  return path
}

async function readPair(folder: string, name: string): Promise<KeyAndCertificate | undefined> {
  const key = await readSecret(join(folder, `${name}.key`))
  const cert = await readFile(join(folder, `${name}.pem`), 'utf8').catch(() => undefined)
  return key !== undefined && cert !== undefined ? { key, cert } : undefined
}

async function writePair(folder: string, name: string, pair: KeyAndCertificate): Promise<void> {
  await writeSecret(join(folder, `${name}.key`), pair.key)
  await writePublic(join(folder, `${name}.pem`), pair.cert)
}

const reason = (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error)
