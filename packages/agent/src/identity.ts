// Who this node is: RegisterManagedInstance with a fresh RSA-2048 key, and the file that keeps the answer. Registering is
// idempotent: an identity for the same endpoint is used as it is. Called by main.ts and by the command line's enrol.

import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, randomUUID } from 'node:crypto'
import { copyFile, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { ApiError, callWith, worthRetrying } from './api.ts'
import type { DataFolder } from './data-folder.ts'
import { readJsonOrNull, syncFolder, writeDurably } from './durable-files.ts'
import { fingerprintFor, type MachineTraits, machineTraits } from './fingerprint.ts'
import type { Log } from './log.ts'
import { requestRoleToken } from './role-token.ts'
import type { Settings } from './settings.ts'
import type { Transport } from './transport.ts'

export interface Identity {
  endpoint: string
  region: string
  instanceId: string
  /** Sent with every role-token request. */
  fingerprint: string
  machine: MachineTraits
  /** PKCS#8 PEM. */
  privateKey: string
  /** ISO 8601 */
  keyCreated: string
}

/** A registration that cannot succeed by trying again; the message says what to do. */
export class RegistrationError extends Error {
  override name = 'RegistrationError'
}

/** The identity to use: the kept one, or a new one for the activation. Throws RegistrationError. */
export async function registered(
  settings: Settings,
  folder: DataFolder,
  transport: Transport,
  log: Log,
): Promise<Identity> {
  const kept = await readIdentity(folder.identity)
  if (kept && (kept.endpoint === settings.endpoint || settings.activation === undefined)) {
    return { ...kept, endpoint: settings.endpoint, fingerprint: sameMachine(kept, log) }
  }
  return registeredAnew(settings, folder, transport, log)
}

/**
 * As `registered`, but an identity that the control plane refuses (a node that was deregistered, a copy of another
 * machine's disk) gives way to a new one. Throws RegistrationError.
 */
export async function registeredForGood(
  settings: Settings,
  folder: DataFolder,
  transport: Transport,
  log: Log,
): Promise<Identity> {
  const kept = await readIdentity(folder.identity)
  if (kept === undefined || kept.endpoint !== settings.endpoint || settings.activation === undefined)
    return registered(settings, folder, transport, log)
  const mine = { ...kept, fingerprint: sameMachine(kept, log) }
  // A rotation that was cut short leaves two keys, either of which may be the one that is known.
  const next = await readIdentity(folder.nextIdentity).catch(() => undefined)
  for (const { privateKey } of next?.instanceId === kept.instanceId ? [mine, next] : [mine])
    if (!(await isRefused(transport, { ...mine, privateKey }))) return mine
  log.warn('the control plane does not take this machine for its node any more', { instanceId: kept.instanceId })
  return registeredAnew(settings, folder, transport, log)
}

/** Only a plain refusal counts: a control plane that does not answer may know the node very well. */
async function isRefused(transport: Transport, identity: Identity): Promise<boolean> {
  try {
    await requestRoleToken(transport, { ...identity, key: createPrivateKey(identity.privateKey) })
    return false
  } catch (error) {
    return error instanceof ApiError && REFUSALS.has(error.code)
  }
}

const REFUSALS = new Set(['AccessDeniedException', 'InvalidInstanceId', 'MachineFingerprintDoesNotMatch'])

async function registeredAnew(
  settings: Settings,
  folder: DataFolder,
  transport: Transport,
  log: Log,
): Promise<Identity> {
  if (settings.activation === undefined) {
    throw new RegistrationError(
      `no identity in ${folder.root} yet: an activation (id and code) from create-activation is needed to register`,
    )
  }
  const identity = await register(settings, settings.activation, transport)
  await putAside(folder, log)
  await writeDurably(folder.identity, JSON.stringify(identity))
  log.info('registered', { instanceId: identity.instanceId, endpoint: identity.endpoint })
  return identity
}

/** Kept, not overwritten: the key of a node of another control plane is nobody else's copy. Its work ends with it. */
async function putAside(folder: DataFolder, log: Log): Promise<void> {
  const kept = await readIdentity(folder.identity)
  if (kept === undefined) return
  for (const place of [folder.pending, folder.current, folder.replies, folder.unsent])
    for (const name of await readdir(place)) await rm(join(place, name), { force: true })
  await rm(folder.nextIdentity, { force: true })
  await copyFile(folder.identity, `${folder.identity}.${kept.instanceId}`)
  log.warn('the identity of an earlier node was put aside', { instanceId: kept.instanceId })
}

async function register(
  settings: Settings,
  activation: { id: string; code: string },
  transport: Transport,
): Promise<Identity> {
  const { privateKey } = await newKeyPair()
  const fingerprint = randomUUID()
  const instanceId = await registerKey(transport, activation, fingerprint, publicKeyText(privateKey))
  return {
    endpoint: settings.endpoint,
    region: settings.region,
    instanceId,
    fingerprint,
    machine: machineTraits(),
    privateKey,
    keyCreated: new Date().toISOString(),
  }
}

/** RegisterManagedInstance: anonymous, with the public key of the node's own; answers the node id. */
export async function registerKey(
  transport: Transport,
  activation: { id: string; code: string },
  fingerprint: string,
  publicKey: string,
): Promise<string> {
  const input = {
    ActivationCode: activation.code,
    ActivationId: activation.id,
    Fingerprint: fingerprint,
    PublicKey: publicKey,
    PublicKeyType: 'Rsa',
  }
  try {
    const answer = await callWith(transport, 'RegisterManagedInstance', input, (headers) => [
      ['host', transport.host],
      ...headers,
    ])
    const { InstanceId: id } = answer
    if (typeof id === 'string' && /^[A-Za-z0-9-]{10,124}$/.test(id)) return id
  } catch (error) {
    if (error instanceof ApiError && !worthRetrying(error)) throw new RegistrationError(explained(error))
    throw error
  }
  throw new RegistrationError('the control plane answered the registration without a usable node id')
}

function explained(error: ApiError): string {
  switch (error.code) {
    case 'InvalidActivation':
    case 'InvalidActivationId':
      return 'the activation id or code is wrong, or the activation was deleted (InvalidActivation)'
    case 'ActivationExpired':
      return 'the activation has expired: make a new one with create-activation (ActivationExpired)'
    case 'RegistrationLimitExceeded':
      return 'the activation has registered as many nodes as it may: make a new one (RegistrationLimitExceeded)'
    default:
      return `the control plane refused the registration: ${error.message}`
  }
}

function sameMachine(kept: Identity, log: Log): string {
  const fingerprint = fingerprintFor(kept.fingerprint, kept.machine, machineTraits())
  if (fingerprint !== kept.fingerprint) {
    log.error('this is not the machine that was registered: the data folder was copied from another one', {
      instanceId: kept.instanceId,
    })
  }
  return fingerprint
}

/** The kept identity; undefined when there is none. Throws when the file is damaged. */
export async function readIdentity(path: string): Promise<Identity | undefined> {
  const found = await readJsonOrNull(path)
  if (found === undefined) return undefined
  if (typeof found === 'object' && found !== null) {
    const identity = found as Partial<Identity>
    const { endpoint, region, instanceId, fingerprint, machine, privateKey, keyCreated } = identity
    if (endpoint && region && instanceId && fingerprint && machine && privateKey && keyCreated && isKey(privateKey))
      return { endpoint, region, instanceId, fingerprint, machine, privateKey, keyCreated }
  }
  throw new RegistrationError(`${path} is damaged: register this node anew in an empty data folder`)
}

function isKey(pem: string): boolean {
  try {
    createPrivateKey(pem)
    return true
  } catch {
    return false
  }
}

/** Makes the prepared key the node's own. */
export async function adoptNextIdentity(folder: DataFolder): Promise<void> {
  await rename(folder.nextIdentity, folder.identity)
  await syncFolder(dirname(folder.identity))
}

const RSA_BITS = 2048
const generate = promisify(generateKeyPair)

/** A fresh RSA-2048 key as PKCS#8 PEM; takes 50 to 500 ms off the event loop. */
export async function newKeyPair(): Promise<{ privateKey: string }> {
  const { privateKey } = await generate('rsa', { modulusLength: RSA_BITS })
  return { privateKey: String(privateKey.export({ format: 'pem', type: 'pkcs8' })) }
}

/** The public half as RegisterManagedInstance wants it: 392 characters of base64, DER SubjectPublicKeyInfo. */
export function publicKeyText(privateKey: string | KeyObject): string {
  const key = typeof privateKey === 'string' ? createPrivateKey(privateKey) : privateKey
  return createPublicKey(key.export({ format: 'pem', type: 'pkcs8' }))
    .export({ format: 'der', type: 'spki' })
    .toString('base64')
}
