// The node's role credentials: fetched at start, renewed at half their life for as long as the agent runs, written for
// scripts and executors, and the key pair rotated when the control plane asks for it. Calls take them from `current`.

import { createPrivateKey } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { SigningCredentials } from '@musterbook/wire'
import { ApiError } from './api.ts'
import type { DataFolder } from './data-folder.ts'
import { readJson, writeDurably } from './durable-files.ts'
import { adoptNextIdentity, type Identity, newKeyPair, publicKeyText, readIdentity } from './identity.ts'
import { type Log, reason } from './log.ts'
import { pause } from './pause.ts'
import { type RoleToken, requestRoleToken, updatePublicKey } from './role-token.ts'
import type { Transport } from './transport.ts'

/** Pauses after a failure, in milliseconds: half to all of the first, doubling up to the longest. */
const FIRST_PAUSE = 1000
const LONGEST_PAUSE = 5 * 60_000
/** The shortest time between two renewals in milliseconds, whatever expiry the control plane names. */
const SHORTEST_LIFE = 2000

export interface RoleCredentials {
  /** Throws while there are none yet. */
  current(): SigningCredentials
  /** Resolves with the first token. */
  ready: Promise<void>
  /** Asks for a new token now: the control plane refused the one at hand. */
  renewSoon(): void
  /** Renews until the signal; never throws. */
  run(signal: AbortSignal): Promise<void>
}

export function createRoleCredentials(
  first: Identity,
  folder: DataFolder,
  transport: Transport,
  log: Log,
): RoleCredentials {
  let identity = first
  let token: RoleToken | undefined
  let nudge = new AbortController()
  let markReady = () => {}
  const whenReady = new Promise<void>((resolve) => {
    markReady = resolve
  })

  const request = (signal: AbortSignal, from: Identity) =>
    requestRoleToken(transport, { ...from, key: createPrivateKey(from.privateKey) }, { signal })

  /** A rotation that was cut short leaves two keys; the control plane holds exactly one of them. */
  async function settleRotation(signal: AbortSignal): Promise<RoleToken | undefined> {
    const next = await readIdentity(folder.nextIdentity).catch(() => undefined)
    if (next === undefined || next.instanceId !== identity.instanceId) return undefined
    const candidate = { ...next, fingerprint: identity.fingerprint }
    const fresh = await request(signal, candidate)
    await adoptNextIdentity(folder)
    identity = candidate
    log.info('key pair rotated', { instanceId: identity.instanceId })
    return fresh
  }

  async function fetchToken(signal: AbortSignal): Promise<RoleToken> {
    try {
      return await request(signal, identity)
    } catch (error) {
      if (!(error instanceof ApiError) || error.status >= 500) throw error
      const settled = await settleRotation(signal).catch(() => undefined)
      if (settled) return settled
      throw error
    }
  }

  async function rotateKey(signal: AbortSignal): Promise<void> {
    const { privateKey } = await newKeyPair()
    const next: Identity = { ...identity, privateKey, keyCreated: new Date().toISOString() }
    // On disk before it is told: whichever of the two the control plane keeps, the node has it.
    await writeDurably(folder.nextIdentity, JSON.stringify(next))
    const key = createPrivateKey(identity.privateKey)
    try {
      await updatePublicKey(transport, { ...identity, key }, publicKeyText(privateKey), { signal })
    } catch (error) {
      log.warn('key pair not rotated', { reason: reason(error) })
      if (error instanceof ApiError && error.status < 500) await rm(folder.nextIdentity, { force: true })
      return
    }
    await adoptNextIdentity(folder)
    identity = next
    log.info('key pair rotated', { instanceId: identity.instanceId })
  }

  async function renew(signal: AbortSignal): Promise<void> {
    token = await fetchToken(signal)
    await writeCredentials(folder, token)
    markReady()
    if (token.updateKeyPair) await rotateKey(signal)
  }

  async function run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      let millis: number
      try {
        await renew(signal)
        failures = 0
        millis = Math.max(SHORTEST_LIFE, ((token?.expires ?? 0) - transport.now()) / 2)
      } catch (error) {
        if (signal.aborted) return
        log.error(explained(error), { instanceId: identity.instanceId })
        millis = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures) * (0.5 + Math.random() / 2)
        failures += 1
      }
      nudge = new AbortController()
      await pause(millis, signal, nudge.signal)
    }
  }

  let lastNudge = 0
  return {
    current() {
      if (token === undefined) throw new Error('the node has no role credentials yet')
      return token
    },
    ready: whenReady,
    renewSoon() {
      // Whoever refuses every token shall not make the node ask at every refusal.
      if (Date.now() - lastNudge < LONGEST_PAUSE / 10) return
      lastNudge = Date.now()
      nudge.abort()
    },
    run,
  }
}

function explained(error: unknown): string {
  if (error instanceof ApiError && error.code === 'MachineFingerprintDoesNotMatch') {
    return 'the control plane does not take this for the machine that was registered (MachineFingerprintDoesNotMatch): if it is a clone, give it an empty data folder and an activation of its own'
  }
  return `no role credentials: ${reason(error)}`
}

async function writeCredentials(folder: DataFolder, token: RoleToken): Promise<void> {
  const { accessKeyId, secretAccessKey, sessionToken } = token
  const lines = [
    '[default]',
    `aws_access_key_id=${accessKeyId}`,
    `aws_secret_access_key=${secretAccessKey}`,
    `aws_session_token=${sessionToken}`,
  ]
  await writeDurably(folder.credentialsIni, `${lines.join('\n')}\n`)
  await writeDurably(folder.credentialsJson, JSON.stringify({ accessKeyId, secretAccessKey, sessionToken }))
}

/** What the agent wrote last, for an executor; throws when there is nothing usable. */
export async function readCredentials(path: string): Promise<SigningCredentials> {
  const found = await readJson(path)
  if (typeof found === 'object' && found !== null) {
    const { accessKeyId, secretAccessKey, sessionToken } = found as Partial<Record<string, unknown>>
    if (typeof accessKeyId === 'string' && typeof secretAccessKey === 'string' && typeof sessionToken === 'string')
      return { accessKeyId, secretAccessKey, sessionToken }
  }
  throw new Error('the node has no role credentials')
}
