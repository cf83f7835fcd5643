/**
 * How much one sender may ask: token buckets for unsigned calls (the registration of nodes, web identities) and for failed
 * signatures of one address, and for the calls of one principal. They stand before and after the authenticator, in the
 * memory of this process, and are bounded: the address or principal that was quiet longest is forgotten first.
 */
import { AwsError } from '../../platform/errors.ts'
import type { Authenticated, Authenticator, SignedRequest } from './authenticate.ts'

/** 0: no limit. Each may also come at once, as a burst. */
export interface ThrottleLimits {
  /** Calls without a signature, for each source address. */
  unsignedPerMinute: number
  /** Signatures that are refused, for each source address. */
  failedSignaturesPerMinute: number
  /** Calls of one user, role or node. */
  callsPerSecond: number
}

/** Ten thousand machines behind one address may register within half a minute; guessing is hopeless at any of these rates. */
export const DEFAULT_THROTTLE: ThrottleLimits = {
  unsignedPerMinute: 30_000,
  failedSignaturesPerMinute: 6_000,
  callsPerSecond: 0,
}

/** Senders that are remembered, of each kind: some 2 MB. */
const MAX_SENDERS = 10_000

interface Bucket {
  tokens: number
  at: number
}

/** Of `burst` tokens, which come back at `perSecond`. */
export function createBuckets(burst: number, perSecond: number, now: () => number, most = MAX_SENDERS) {
  const buckets = new Map<string, Bucket>()
  function filled(sender: string): Bucket {
    const at = now()
    const known = buckets.get(sender)
    const tokens = known ? Math.min(burst, known.tokens + (Math.max(0, at - known.at) / 1000) * perSecond) : burst
    return { tokens, at }
  }
  return {
    has: (sender: string): boolean => buckets.has(sender),
    isEmpty: (sender: string): boolean => buckets.has(sender) && filled(sender).tokens < 1,
    /** False: there was none left. */
    take(sender: string): boolean {
      const bucket = filled(sender)
      const isGiven = bucket.tokens >= 1
      if (isGiven) bucket.tokens--
      buckets.delete(sender) // to the young end
      buckets.set(sender, bucket)
      if (buckets.size > most) {
        const [oldest] = buckets.keys()
        if (oldest !== undefined) buckets.delete(oldest)
      }
      return isGiven
    },
    size: (): number => buckets.size,
  }
}

const exceeded = () => new AwsError('ThrottlingException', 'Rate exceeded')

/** One IPv4 address; of IPv6 the network of 64 bits that one customer gets. */
export function senderOf(address: string): string {
  const bare = address.replace(/^::ffff:/, '').replace(/%.*$/, '')
  if (!bare.includes(':')) return bare
  const [head = '', tail] = bare.split('::')
  const before = head.split(':').filter(Boolean)
  const after = (tail ?? '').split(':').filter(Boolean)
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0')
  return [...before, ...zeros, ...after].slice(0, 4).join(':')
}

/** The same authenticator for those who keep within the limits. ThrottlingException. */
export function throttled(inner: Authenticator, limits: ThrottleLimits, now: () => number): Authenticator {
  const perMinute = (count: number) => (count > 0 ? createBuckets(count, count / 60, now) : undefined)
  const unsigned = perMinute(limits.unsignedPerMinute)
  const failed = perMinute(limits.failedSignaturesPerMinute)
  const { callsPerSecond } = limits
  const principals = callsPerSecond > 0 ? createBuckets(Math.max(1, callsPerSecond), callsPerSecond, now) : undefined
  /** Keys that were proved at an address of which others have failed: they are not kept out with those. */
  const proved = new Set<string>()

  async function check(request: SignedRequest, authenticate: () => Promise<Authenticated>): Promise<Authenticated> {
    const sender = senderOf(request.sourceIp ?? '')
    if (failed?.isEmpty(sender) && !proved.has(`${sender} ${keyIn(request)}`)) throw exceeded()
    let authenticated: Authenticated
    try {
      authenticated = await authenticate()
    } catch (error) {
      // What has run out was good once; its holder is about to ask for more.
      if (error instanceof AwsError && error.name !== 'ExpiredTokenException') failed?.take(sender)
      throw error
    }
    if (failed?.has(sender)) {
      if (proved.size >= MAX_SENDERS) proved.clear()
      proved.add(`${sender} ${keyIn(request)}`)
    }
    if (principals && !principals.take(authenticated.caller.arn)) throw exceeded()
    return authenticated
  }

  return {
    sigv4: (request, service) => check(request, () => inner.sigv4(request, service)),
    nodeKey: (request, service) => check(request, () => inner.nodeKey(request, service)),
    unsigned(request) {
      if (unsigned && !unsigned.take(senderOf(request.sourceIp ?? ''))) throw exceeded()
      inner.unsigned(request)
    },
  }
}

/** The access key id that a request names; it proves nothing. */
function keyIn({ headers, query }: SignedRequest): string {
  const header = headers.find(([name]) => name.toLowerCase() === 'authorization')?.[1] ?? query
  return /Credential=([\w-]{1,128})/.exec(header)?.[1] ?? ''
}
