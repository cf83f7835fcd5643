/**
 * The keys that an issuer signs with: from the installation's file for those that stand in it (closed networks), otherwise
 * by discovery. Kept for a while, asked for once at a time, and not asked again at once after a failure or for a key that
 * the issuer has not: anybody may send a token, and must not make this server knock at the issuer's door each time.
 */
import { readFile, stat } from 'node:fs/promises'
import type { JSONWebKeySet } from 'jose'
import type { Host } from '../../../platform/capability.ts'
import type { Logger } from '../../../platform/log.ts'
import { FetchRefusal, fetchJson } from './fetch-json.ts'

/** Asked anew after. */
const FRESH_MS = 10 * 60_000
/** While the issuer does not answer, keys are believed for so long: a key that it has withdrawn must end some time. */
const BELIEVED_MS = 60 * 60_000
/** Between two questions for a key that was not among the issuer's, and after a failure. */
const AGAIN_MS = 60_000
const AGAIN_AFTER_FAILURE_MS = 5_000
const MAX_ISSUERS = 1_000
const MAX_KEYS = 100
const MAX_FILE_BYTES = 4 * 1024 * 1024

export interface IssuerKeys {
  /**
   * `keyId`: of the token; a fresh set without it is asked for again. undefined: nobody could be asked. Throws no error
   * of the network: what went wrong is in the log.
   */
  of(issuer: string, keyId: string | undefined): Promise<JSONWebKeySet | undefined>
}

interface Kept {
  keys: JSONWebKeySet | undefined
  readAt: number
  triedAt: number
  reading: Promise<void> | undefined
}

export function issuerKeys({ settings, clock, log }: Pick<Host, 'settings' | 'clock' | 'log'>): IssuerKeys {
  const kept = new Map<string, Kept>()
  const file = settings.oidcKeysFile === undefined ? undefined : keysFile(settings.oidcKeysFile, log)

  async function ask(issuer: string, entry: Kept): Promise<void> {
    entry.triedAt = clock.now().getTime()
    try {
      entry.keys = await discover(issuer, settings.oidcNetworks)
      entry.readAt = entry.triedAt
    } catch (error) {
      if (!(error instanceof FetchRefusal)) throw error
      log.warn({ issuer, reason: error.message }, 'the keys of an OIDC issuer could not be read')
    }
  }

  function isDue(entry: Kept, keyId: string | undefined, now: number): boolean {
    const sinceTry = now - entry.triedAt
    if (entry.keys === undefined) return sinceTry >= AGAIN_AFTER_FAILURE_MS
    if (now - entry.readAt >= FRESH_MS) return sinceTry >= AGAIN_AFTER_FAILURE_MS
    const isUnknown = keyId !== undefined && !entry.keys.keys.some(({ kid }) => kid === keyId)
    return isUnknown && sinceTry >= AGAIN_MS
  }

  return {
    async of(issuer, keyId) {
      const local = await file?.(issuer)
      if (local) return local
      let entry = kept.get(issuer)
      if (!entry) {
        if (kept.size >= MAX_ISSUERS) kept.clear()
        entry = { keys: undefined, readAt: 0, triedAt: Number.NEGATIVE_INFINITY, reading: undefined }
        kept.set(issuer, entry)
      }
      const known = entry
      if (known.reading || isDue(known, keyId, clock.now().getTime())) {
        known.reading ??= ask(issuer, known).finally(() => {
          known.reading = undefined
        })
        await known.reading
      }
      return clock.now().getTime() - known.readAt < BELIEVED_MS ? known.keys : undefined
    },
  }
}

/** OpenID Connect Discovery 1.0. FetchRefusal. */
async function discover(issuer: string, networks: Host['settings']['oidcNetworks']): Promise<JSONWebKeySet> {
  const place = new URL(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)
  const configuration = (await fetchJson(place, networks)) as { issuer?: unknown; jwks_uri?: unknown } | null
  if (configuration?.issuer !== issuer) throw new FetchRefusal(`${place.href} speaks for another issuer`)
  if (typeof configuration.jwks_uri !== 'string' || !URL.canParse(configuration.jwks_uri))
    throw new FetchRefusal(`${place.href} names no jwks_uri`)
  const keys = await fetchJson(new URL(configuration.jwks_uri), networks)
  if (!isKeySet(keys)) throw new FetchRefusal(`${configuration.jwks_uri} has no key set of at most ${MAX_KEYS} keys`)
  return keys
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isKeySet = (value: unknown): value is JSONWebKeySet =>
  isObject(value) && Array.isArray(value.keys) && value.keys.length <= MAX_KEYS && value.keys.every(isObject)

/** Reads `{ "<issuer>": { "keys": [...] } }` whenever the file has changed; a broken file says so in the log and has none. */
function keysFile(path: string, log: Logger): (issuer: string) => Promise<JSONWebKeySet | undefined> {
  let read: { stamp: string; sets: Map<string, JSONWebKeySet> } | undefined
  return async (issuer) => {
    try {
      const { mtimeMs, size, ino } = await stat(path)
      const stamp = `${mtimeMs} ${size} ${ino}`
      if (read?.stamp !== stamp)
        read = { stamp, sets: parseKeysFile(size > MAX_FILE_BYTES ? '' : await readFile(path, 'utf8')) }
      return read.sets.get(issuer)
    } catch (error) {
      log.error({ err: error, path }, 'the file with the keys of OIDC issuers cannot be read')
      // What it held before is not believed: it may have been changed to take a key away.
      read = undefined
      return undefined
    }
  }
}

/** Throws an Error that says what is wrong with the file. */
export function parseKeysFile(text: string): Map<string, JSONWebKeySet> {
  const value: unknown = JSON.parse(text)
  if (!isObject(value)) throw new Error('it is no object of key sets by issuer')
  return new Map(
    Object.entries(value).map(([issuer, keys]) => {
      if (!isKeySet(keys)) throw new Error(`what it has for ${issuer} is no key set of at most ${MAX_KEYS} keys`)
      return [issuer, keys]
    }),
  )
}
