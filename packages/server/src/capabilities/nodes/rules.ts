/** Pure decisions about nodes and activations. */
import { createPublicKey } from 'node:crypto'
import { AwsError, validation } from '../../platform/errors.ts'

/** Hours that an activation lives when its creator names no end (AWS: 24). */
export const DEFAULT_ACTIVATION_HOURS = 24
/** Nodes one activation may register when its creator names no limit. */
export const DEFAULT_REGISTRATION_LIMIT = 1

/** The tag by which an activation lets a machine that is known elsewhere keep its id. */
export const NODE_ID_TAG = 'musterbook:node-id'
const NODE_ID = /^(i-([0-9a-f]{8}|[0-9a-f]{17})|mi-[0-9a-f]{17})$/

export const isNodeId = (text: string): boolean => NODE_ID.test(text)

/** The kind of id that AWS gives instances of EC2: it is known before the machine registers. */
export const isInstanceId = (text: string): boolean => text.startsWith('i-') && isNodeId(text)

/** The id that an activation's tags ask for, if they ask for one. Throws ValidationException when it cannot be given. */
export function wantedNodeId(tags: { Key?: string; Value?: string }[], registrationLimit: number): string | undefined {
  const wanted = tags.find((tag) => tag.Key === NODE_ID_TAG)?.Value
  if (wanted === undefined) return undefined
  if (!isNodeId(wanted))
    throw validation(
      `The value of the tag ${NODE_ID_TAG} must be a node id such as i-1234567890abcdef0: '${wanted}' is none.`,
    )
  if (registrationLimit !== 1)
    throw validation(`An activation with the tag ${NODE_ID_TAG} registers one node: its RegistrationLimit must be 1.`)
  return wanted
}

/** The last date that every client reads: an activation that lives until then has no end. */
export const NO_END = new Date('9999-12-31T23:59:59Z')

/** `maxDays`: how long it may live at most, 0 for as long as its creator says. */
export function activationEnd(wanted: Date | undefined, now: Date, maxDays: number): Date {
  const end = wanted ?? new Date(now.getTime() + DEFAULT_ACTIVATION_HOURS * 3_600_000)
  if (end <= now) throw new AwsError('ValidationException', 'The expiration date must be in the future.')
  if (maxDays > 0 && end.getTime() > now.getTime() + maxDays * 86_400_000)
    throw validation(
      `The expiration date can't be more than ${maxDays} days in the future: the control plane's setting --max-activation-days allows more, and 0 any date.`,
    )
  return end
}

const LEAST_RSA_BITS = 2_048

/** The DER of a node's RSA public key as agents send it: base 64 of SubjectPublicKeyInfo. Throws InvalidPublicKey. */
export function parsePublicKey(text: string): Buffer {
  const der = Buffer.from(text, 'base64')
  try {
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
    if (key.asymmetricKeyType !== 'rsa' || (key.asymmetricKeyDetails?.modulusLength ?? 0) < LEAST_RSA_BITS)
      throw new Error('not an RSA key of at least 2048 bits')
  } catch {
    throw new AwsError(
      'InvalidPublicKey',
      'The public key is not a base 64 encoded RSA public key of at least 2048 bits.',
    )
  }
  return der
}

/** Whether a node is asked for a new key pair: `rotationDays` after its last one, never where they are 0. */
export const isKeyDue = (keyDate: Date, now: Date, rotationDays: number): boolean =>
  rotationDays > 0 && now.getTime() - keyDate.getTime() >= rotationDays * 86_400_000

/**
 * Whether a node runs the agent that is served here. Nobody here knows which version of Amazon's agent is the latest; those
 * begin at 1, ours at 0.
 */
export const isLatestVersion = (version: string | null, served: string | undefined): boolean | undefined =>
  version === null || served === undefined || !version.startsWith('0.') ? undefined : version === served

export type PingStatus = 'Online' | 'ConnectionLost'

/** Online: a control channel is open, or the node has pinged within `lostMinutes` (agents ping every 5). */
export function pingStatus(lastPing: Date | undefined, connected: boolean, now: Date, lostMinutes: number): PingStatus {
  if (connected) return 'Online'
  if (lastPing && now.getTime() - lastPing.getTime() <= lostMinutes * 60_000) return 'Online'
  return 'ConnectionLost'
}
