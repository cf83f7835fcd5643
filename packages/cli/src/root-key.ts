/**
 * Where the root key comes from: a file (the default), a variable, a command, or wrapped by an external KMS or a transit
 * engine of Vault. Each may give several keys, the newest first, while one takes over from another. `serve` reads them;
 * what is wrong is one line that never repeats a key.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { ROOT_KEY_BYTES, type RootKeySource } from '@musterbook/server'
import type { Config } from './config.ts'
import { ConfigError } from './config-error.ts'
import { kmsWrapping, vaultWrapping, type Wrapping } from './root-key-wrapping.ts'
import { readSecret, writeNewSecret, writeSecret } from './secret-file.ts'

const COMMAND_MS = 10_000
/** More than any root keys take. */
const MAX_COMMAND_BYTES = 4_096

export function rootKeys(config: Config): Promise<RootKeySource> {
  const { file, variable, command, kms, vault } = config.rootKey
  if (variable !== undefined)
    return Promise.resolve(fixed(keysIn(variable, 'MUSTERBOOK_ROOT_KEY'), 'MUSTERBOOK_ROOT_KEY'))
  if (command !== undefined) return fromCommand(command)
  if (kms) return wrapped(config.data, kmsWrapping(kms))
  if (vault) return wrapped(config.data, vaultWrapping(vault))
  return fromFile(join(config.data, 'root.key'), file)
}

const newRootKey = (): Buffer => randomBytes(ROOT_KEY_BYTES)
const fixed = (keys: Buffer[], origin: string): RootKeySource => ({ keys, origin })

/** Base 64 in words: one key each. A word that begins a line with # ends it. */
function keysIn(text: string, where: string): Buffer[] {
  const words = text
    .split('\n')
    .flatMap((line) => line.replace(/#.*/, '').trim().split(/\s+/))
    .filter(Boolean)
  const keys = words.map((word) => Buffer.from(word, 'base64'))
  const isKey = (key: Buffer, index: number) =>
    key.length === ROOT_KEY_BYTES && /^[A-Za-z0-9+/_-]+=*$/.test(words[index] ?? '')
  if (keys.length === 0 || !keys.every(isKey))
    throw new ConfigError(
      `${where} must hold ${ROOT_KEY_BYTES} bytes in base 64; make a root key with: openssl rand -base64 ${ROOT_KEY_BYTES}`,
    )
  return keys
}

const textOf = (keys: Uint8Array[]): string => keys.map((key) => `${Buffer.from(key).toString('base64')}\n`).join('')

// ---- a file ----

async function fromFile(own: string, chosen: string | undefined): Promise<RootKeySource> {
  const path = chosen ?? own
  let text = await readSecret(path)
  if (text === undefined) {
    if (chosen)
      throw new ConfigError(
        `the root key file ${path} does not exist; make one with: openssl rand -base64 ${ROOT_KEY_BYTES}`,
      )
    await writeNewSecret(path, textOf([newRootKey()]))
    text = (await readSecret(path)) ?? '' // another process may have been first
  }
  return {
    keys: keysIn(text, `the root key file ${path}`),
    origin: path,
    keep: (keys) => writeSecret(path, textOf(keys)),
  }
}

// ---- a command ----

/** For `limitMs` milliseconds at most. */
export async function fromCommand(command: string, limitMs = COMMAND_MS): Promise<RootKeySource> {
  const where = '--root-key-command (MUSTERBOOK_ROOT_KEY_COMMAND)'
  // A group of its own: what the shell has started ends with it.
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  let [out, complaint, late] = ['', '', false]
  const end = () => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // it has ended
    }
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
    if (out.length > MAX_COMMAND_BYTES) end()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (complaint.length < MAX_COMMAND_BYTES) complaint += text
  })
  const timer = setTimeout(() => {
    late = true
    end()
  }, limitMs)
  const [code, signal] = await once(child, 'close').finally(() => clearTimeout(timer))
  if (late) throw new ConfigError(`${where} has not ended after ${limitMs / 1000} seconds`)
  if (out.length > MAX_COMMAND_BYTES) throw new ConfigError(`${where} prints more than a root key`)
  if (code !== 0) {
    const [said = ''] = complaint.trim().split('\n')
    throw new ConfigError(`${where} failed with ${signal ?? `exit code ${code}`}${said && `: ${said.slice(0, 200)}`}`)
  }
  return fixed(keysIn(out, `what ${where} prints`), where)
}

// ---- wrapped by something outside ----

/**
 * The wrapped keys lie in the data folder, a line each, and are opened at every start. The first start makes a root key, or
 * takes that of an installation which had it in a file until now.
 */
async function wrapped(folder: string, { wrap, unwrap, origin }: Wrapping): Promise<RootKeySource> {
  const path = join(folder, 'root.key.wrapped')
  const write = async (keys: Uint8Array[], put: (path: string, text: string) => Promise<void>) => {
    const lines: string[] = []
    for (const key of keys) lines.push(`${await wrap(key)}\n`)
    await put(path, lines.join(''))
  }
  let text = await readSecret(path)
  if (text === undefined) {
    const plain = await readSecret(join(folder, 'root.key'))
    await write(plain === undefined ? [newRootKey()] : keysIn(plain, `${folder}/root.key`), writeNewSecret)
    text = (await readSecret(path)) ?? ''
  }
  const keys: Buffer[] = []
  for (const line of text.split('\n').filter(Boolean)) {
    const key = await unwrap(line)
    if (key.length !== ROOT_KEY_BYTES) throw new ConfigError(`what ${origin} unwraps from ${path} is no root key`)
    keys.push(key)
  }
  if (keys.length === 0) throw new ConfigError(`${path} holds no wrapped root key`)
  return { keys, origin: `${path}, wrapped by ${origin}`, keep: (wanted) => write(wanted, writeSecret) }
}
