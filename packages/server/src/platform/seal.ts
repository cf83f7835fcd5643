/**
 * Sealing under the installation's root key: AES-256-GCM with a key derived for one purpose, bound to a context.
 * Everything secret that lies in the database lies sealed; the root key itself lies only where the operator keeps it. A seal
 * names the root key that made it, so that a current and former keys can be held at a time and one can take over from another.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'

export interface Sealer {
  /** `purpose` separates uses of the root key; `context` must be the same when unsealing. */
  seal(purpose: string, plaintext: Uint8Array, context: string): Buffer
  /** The plaintext, or undefined when the bytes were not sealed here for this purpose and context. */
  unseal(purpose: string, sealed: Uint8Array, context: string): Buffer | undefined
  readonly rootKeys: RootKeys
}

/** The root keys that this process holds. A name says nothing of its key. */
export interface RootKeys {
  /** The key that seals. */
  current(): string
  names(): string[]
  /** The names of those that will be there after a restart. */
  kept(): string[]
  /** Where they come from, for people. */
  readonly origin: string
  /** Whether a new one can be put there by this process. */
  readonly canKeep: boolean
  /** Takes a further key, which unseals from now on; its name. */
  learn(key: Uint8Array): string
  /** Seals with this key, which is held, from now on. */
  use(name: string): void
  /** A former key unseals nothing any more. */
  forget(name: string): void
  /** Puts exactly these, which are held, where keys come from. */
  keep(names: string[]): Promise<void>
}

/** Where root keys come from: a file, a variable, a command, an external KMS. */
export interface RootKeySource {
  keys: Uint8Array[]
  origin: string
  /** Absent: only its operator can change what is there. */
  keep?(keys: Uint8Array[]): Promise<void>
}

/** A column that holds what was sealed: what a change of the root key must seal again. */
export interface SealedColumn {
  table: string
  column: string
  /** The table's primary key and the SQL types of its columns. */
  key: Record<string, 'text' | 'uuid' | 'integer' | 'bigint' | 'boolean' | 'bytea'>
  purpose: string
  /** Columns that the context is made from, beyond the key; read as text. */
  also?: string[]
  /** The context of the row's seal; values are the columns as text. */
  boundTo(row: Record<string, string>): string
}

export const ROOT_KEY_BYTES = 32
const VERSION = 1
const KEY_NAME_BYTES = 4
const NONCE_BYTES = 12
const TAG_BYTES = 16
const PREFIX_BYTES = 1 + KEY_NAME_BYTES
const HEADER_BYTES = PREFIX_BYTES + NONCE_BYTES

/** The name of a root key in hex: of its hash, 32 bits. */
export const rootKeyName = (key: Uint8Array): string =>
  createHash('sha256')
    .update('musterbook root key')
    .update(key)
    .digest('hex')
    .slice(0, 2 * KEY_NAME_BYTES)

/** What everything begins with that was sealed under this root key. */
export const sealPrefix = (name: string): Buffer => Buffer.concat([Buffer.of(VERSION), Buffer.from(name, 'hex')])

/** The name of the root key that made a seal; undefined: it is no seal. */
export const sealedUnder = (sealed: Uint8Array): string | undefined =>
  sealed.length < HEADER_BYTES + TAG_BYTES || sealed[0] !== VERSION
    ? undefined
    : Buffer.from(sealed.subarray(1, PREFIX_BYTES)).toString('hex')

interface RootKey {
  bytes: Buffer
  prefix: Buffer
  derived: Map<string, Buffer>
}

/**
 * The first key seals, all of them unseal. A seal's layout: version 1 | root key name 4 | nonce 12 | ciphertext n | tag 16.
 */
export function createSealer(source: Uint8Array | RootKeySource): Sealer {
  const given: RootKeySource = source instanceof Uint8Array ? { keys: [source], origin: 'its starter' } : source
  const held = new Map<string, RootKey>()
  const learn = (key: Uint8Array): string => {
    if (key.length !== ROOT_KEY_BYTES) throw new Error(`the root key must have ${ROOT_KEY_BYTES} bytes`)
    const name = rootKeyName(key)
    if (!held.has(name)) held.set(name, { bytes: Buffer.from(key), prefix: sealPrefix(name), derived: new Map() })
    return name
  }
  const keyOf = (name: string): RootKey => {
    const key = held.get(name)
    if (!key) throw new Error(`the root key ${name} is not held here`)
    return key
  }
  const names = given.keys.map(learn)
  let kept = names
  let currentName = names[0] ?? ''
  let current = keyOf(currentName)

  return {
    seal(purpose, plaintext, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', keyFor(current, purpose), nonce)
      cipher.setAAD(Buffer.concat([current.prefix, Buffer.from(context)]))
      return Buffer.concat([current.prefix, nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
    },
    unseal(purpose, sealed, context) {
      if (sealed.length < HEADER_BYTES + TAG_BYTES || sealed[0] !== VERSION) return undefined
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength)
      const prefix = bytes.subarray(0, PREFIX_BYTES)
      const key = prefix.equals(current.prefix) ? current : held.get(prefix.toString('hex', 1))
      if (!key) return undefined
      const decipher = createDecipheriv(
        'aes-256-gcm',
        keyFor(key, purpose),
        bytes.subarray(PREFIX_BYTES, HEADER_BYTES),
        { authTagLength: TAG_BYTES },
      )
      decipher.setAAD(Buffer.concat([prefix, Buffer.from(context)]))
      decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
      try {
        return Buffer.concat([
          decipher.update(bytes.subarray(HEADER_BYTES, bytes.length - TAG_BYTES)),
          decipher.final(),
        ])
      } catch {
        return undefined // forged, or sealed for another context
      }
    },
    rootKeys: {
      origin: given.origin,
      canKeep: given.keep !== undefined,
      current: () => currentName,
      names: () => [...held.keys()],
      kept: () => kept,
      learn,
      use(name) {
        current = keyOf(name)
        currentName = name
      },
      forget(name) {
        if (name === currentName) throw new Error('the root key that seals cannot be forgotten')
        held.get(name)?.bytes.fill(0)
        held.delete(name)
      },
      async keep(wanted) {
        await given.keep?.(wanted.map((name) => keyOf(name).bytes))
        if (given.keep) kept = wanted
      },
    },
  }
}

function keyFor({ bytes, derived }: RootKey, purpose: string): Buffer {
  let key = derived.get(purpose)
  if (!key) {
    key = Buffer.from(hkdfSync('sha256', bytes, 'musterbook', purpose, 32))
    derived.set(purpose, key)
  }
  return key
}
