/**
 * What a call said in full, kept apart from its record: encrypted under a data key of the account's alias/aws/cloudtrail,
 * for the event that it belongs to. Whoever wants to read it needs kms:Decrypt on that key. A data key serves for
 * DATA_KEY_MS or DATA_KEY_USES, so that sealing costs no use of the key for each call.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { Scope } from '../../platform/arn.ts'
import type { Host } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { CLOUDTRAIL_KEY_ALIAS, decrypt, generateDataKey } from '../keys/index.ts'
import { type ContentRow, readContent } from './store.ts'

const DATA_KEY_MS = 300_000
const DATA_KEY_USES = 10_000
const MAX_DATA_KEYS = 1_000
const NONCE_BYTES = 12
const TAG_BYTES = 16

export interface Contents {
  seal(scope: Scope, eventId: string, at: Date, content: Record<string, unknown>): Promise<ContentRow>
}

interface DataKey {
  plaintext: Buffer
  ciphertext: Buffer
  until: number
  uses: number
}

export function keepContents(host: Host): Contents {
  const keys = new Map<string, Promise<DataKey>>()

  async function newKey(scope: Scope): Promise<DataKey> {
    // As the account itself: who calls need not have a permission on the key of the audit.
    const { account } = scope
    const root = { type: 'root', account, arn: `arn:aws:iam::${account}:root`, accessKeyId: '', issuedAt: 0 } as const
    const made = await generateDataKey(host.contextFor(scope, root), {
      keyId: CLOUDTRAIL_KEY_ALIAS,
      context: boundTo(scope),
      via: 'cloudtrail',
    })
    return { ...made, until: host.now().getTime() + DATA_KEY_MS, uses: 0 }
  }

  async function keyFor({ account, region }: Scope): Promise<DataKey> {
    const name = `${account}/${region}`
    const known = await keys.get(name)
    if (known && known.uses++ < DATA_KEY_USES && known.until > host.now().getTime()) return known
    if (keys.size >= MAX_DATA_KEYS) keys.clear()
    const made = newKey({ account, region })
    keys.set(name, made)
    made.catch(() => keys.delete(name))
    return made
  }

  return {
    async seal(scope, eventId, at, content) {
      const { plaintext, ciphertext } = await keyFor(scope)
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', plaintext, nonce)
      cipher.setAAD(Buffer.from(eventId))
      const sealed = Buffer.concat([nonce, cipher.update(JSON.stringify(content)), cipher.final(), cipher.getAuthTag()])
      return { eventId, at, dataKey: ciphertext, sealed }
    },
  }
}

const boundTo = ({ account, region }: Scope) => ({
  'aws:cloudtrail:arn': `arn:aws:cloudtrail:${region}:${account}:events`,
})

/** The content of an event, under the caller's permissions on the key; undefined: none is kept. KeyError. */
export async function openContent(context: Context, eventId: string): Promise<unknown> {
  const row = await readContent(context.sql, context, eventId)
  if (!row) return undefined
  const key = await decrypt(context, { ciphertext: row.dataKey, context: boundTo(context), via: 'cloudtrail' })
  const { sealed } = row
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
  decipher.setAAD(Buffer.from(eventId))
  decipher.setAuthTag(sealed.subarray(end))
  const text = Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, end)), decipher.final()])
  return JSON.parse(text.toString()) as unknown
}
