/**
 * Files that only their owner may read: root keys, keys of certificates, credentials. Written whole or not at all, also when
 * the power goes; one that others may read is refused rather than trusted.
 */
import { constants } from 'node:fs'
import { chmod, type FileHandle, link, open, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ConfigError } from './config-error.ts'

const SECRET = 0o600
const PUBLIC = 0o644

/** The text of a file that only its owner may read, or undefined when there is none. ConfigError when others may, too. */
export async function readSecret(path: string): Promise<string | undefined> {
  let file: FileHandle | undefined
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK) // a pipe would wait for its writer
    await checkSecret(file, path)
    return await file.readFile('utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error instanceof ConfigError ? error : new ConfigError(`${path} cannot be read (${reason(error)})`)
  } finally {
    await file?.close()
  }
}

/** The file that is open, not whatever its name leads to a moment later. */
async function checkSecret(file: FileHandle, path: string): Promise<void> {
  const { mode, uid } = await file.stat()
  if (mode & 0o077) throw new ConfigError(`${path} can be read by others: run chmod 600 ${path}`)
  const own = process.geteuid?.()
  if (own !== undefined && uid !== own && uid !== 0)
    throw new ConfigError(`${path} belongs to another user (uid ${uid}): run chown ${own} ${path}`)
}

export const writeSecret = (path: string, text: string): Promise<void> => writeWhole(path, text, SECRET)
export const writePublic = (path: string, text: string): Promise<void> => writeWhole(path, text, PUBLIC)

/** What another process has put there first stays, as a root key that something was sealed with must. */
export const writeNewSecret = (path: string, text: string): Promise<void> => writeWhole(path, text, SECRET, 'keep')

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
