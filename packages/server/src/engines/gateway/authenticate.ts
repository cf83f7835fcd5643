/**
 * Who sends a request: SigV4 in the header or presigned in the query, with or without a session token, or a node's own
 * key. Secrets are compared in constant time; a signature is good for five minutes around its date (presigned ones for as
 * long as they say), and everything that decides what happens must be covered by it.
 */
import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import {
  amzDateToMillis,
  canonicalRequest,
  credentialScope,
  EMPTY_PAYLOAD_HASH,
  type HeaderPairs,
  type ParsedAuthorization,
  type ParsedPresigned,
  parseAuthorization,
  parsePresigned,
  type SignatureRefusal,
  stringToSign,
  UNSIGNED_PAYLOAD,
  unsignedHeader,
} from '@musterbook/wire'
import type { Caller } from '../../platform/caller.ts'
import type { CredentialSource, NodeKeyVerifier } from '../../platform/capability.ts'
import { AwsError } from '../../platform/errors.ts'
import { hmacUnder } from './hmac.ts'

/** Minutes by which a signature's date may differ from this clock (AWS: 5). */
const SKEW_MS = 5 * 60_000
/** Signers kept: one per access key, day, region, service and list of signed headers in use. */
const MAX_SIGNERS = 20_000

export interface SignedRequest {
  method: string
  path: string
  /** Without the question mark. */
  query: string
  headers: HeaderPairs
  body: Uint8Array
  /** Who is counted with it; absent: nobody is. */
  sourceIp?: string
}

export interface Authenticated {
  caller: Caller
  region: string
}

export interface Authenticator {
  /** Throws an AwsError that says what is wrong with the signature. */
  sigv4(request: SignedRequest, service: string): Promise<Authenticated>
  /** The RSA form that nodes sign with their own key. */
  nodeKey(request: SignedRequest, service: string): Promise<Authenticated>
  /** Called for what needs no signature. */
  unsigned(request: SignedRequest): void
}

const sha256 = (data: string | Uint8Array): string => hash('sha256', data, 'hex')

export function createAuthenticator(
  credentials: CredentialSource,
  nodeKeys: NodeKeyVerifier | undefined,
  now: () => Date,
): Authenticator {
  /**
   * What all Authorization headers of one signer say before their signature, and its key for the day. Only who has proved
   * to have the key is kept.
   */
  const signers = new Map<string, Signer>()

  function keep(header: string, signer: Signer): void {
    if (signers.size >= MAX_SIGNERS) signers.clear()
    signers.set(header.slice(0, -SIGNATURE_DIGITS), signer)
  }

  return {
    unsigned() {},

    async sigv4(request, service) {
      const read = readSignature(request, service, now().getTime(), signers)
      const { parsed, signature, amzDate, token, payloadHash, presigned, header } = read
      const found = credentials.find(parsed.accessKeyId, token)
      const credential = found instanceof Promise ? await found : found
      if (credential === 'expired')
        throw new AwsError('ExpiredTokenException', 'The security token included in the request is expired')
      if (credential === undefined)
        throw new AwsError('UnrecognizedClientException', 'The security token included in the request is invalid.')
      const secret = credential.secretAccessKey
      const known = read.signer?.secret === secret ? read.signer : undefined
      const signer = known ?? { parsed, secret, scope: scopeOf(parsed), sign: hmacUnder(signingKey(parsed, secret)) }
      const canonical = canonicalOf(request, parsed.signedHeaders, payloadHash, presigned)
      const toSign = stringToSign(amzDate, signer.scope, canonical, sha256)
      if (!isSignature(signature, signer.sign(toSign)))
        throw new AwsError(
          'InvalidSignatureException',
          'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
        )
      if (!known && header?.endsWith(`Signature=${signature}`)) keep(header, signer)
      return { caller: credential.caller, region: parsed.region }
    },

    async nodeKey(request, service) {
      const { parsed, signature, amzDate, payloadHash } = readSignature(request, service, now().getTime())
      const canonical = canonicalOf(request, parsed.signedHeaders, payloadHash, false)
      const toSign = stringToSign(amzDate, scopeOf(parsed), canonical, sha256)
      const node = { region: parsed.region, nodeId: parsed.accessKeyId }
      const caller = await nodeKeys?.verify(node, toSign, signature)
      if (!caller) throw new AwsError('AccessDeniedException', 'The node is not registered, or this is not its key.')
      return { caller, region: parsed.region }
    },
  }
}

/** The key of a secret for the day, region and service that a signature names. */
function signingKey(parsed: ParsedAuthorization | ParsedPresigned, secret: string): Buffer {
  const steps = [parsed.date, parsed.region, parsed.service, 'aws4_request']
  return steps.reduce<Buffer>(
    (key, step) => createHmac('sha256', key).update(step).digest(),
    Buffer.from(`AWS4${secret}`),
  )
}

const SIGNATURE_DIGITS = 64
const SIGNATURE = /^[0-9a-f]{64}$/

/** Signers write lower-case hex; another spelling of the same bytes is not what was sent, and is refused. */
const isSignature = (given: string, expected: string): boolean =>
  SIGNATURE.test(given) && timingSafeEqual(Buffer.from(given), Buffer.from(expected))

/** Member by member: spreading a whole request cost more than hashing it. */
const canonicalOf = (
  request: SignedRequest,
  signedHeaders: string[],
  payloadHash: string,
  presigned: boolean,
): string =>
  canonicalRequest({
    method: request.method,
    path: request.path,
    query: request.query,
    headers: request.headers,
    signedHeaders,
    payloadHash,
    presigned,
  })

const scopeOf = (parsed: ParsedAuthorization | ParsedPresigned) =>
  credentialScope(parsed.date, parsed.region, parsed.service)

interface Signer {
  parsed: ParsedAuthorization | ParsedPresigned
  secret: string
  scope: string
  /** The signature of a string to sign, as hex. */
  sign(toSign: string): string
}

interface Signature {
  parsed: ParsedAuthorization | ParsedPresigned
  signature: string
  amzDate: string
  token: string | undefined
  payloadHash: string
  presigned: boolean
  /** The Authorization header, and who has sent one like it before. */
  header?: string
  signer?: Signer | undefined
}

type Signers = ReadonlyMap<string, Signer>

function readSignature(request: SignedRequest, service: string, now: number, signers?: Signers): Signature {
  const header = headerValue(request.headers, 'authorization')
  const signature = header === undefined ? readPresigned(request, now) : readHeader(request, header, now, signers)
  const { parsed, amzDate } = signature
  if (parsed.service !== service)
    throw new AwsError('InvalidSignatureException', `Credential should be scoped to correct service: '${service}'.`)
  if (parsed.date !== amzDate.slice(0, 8))
    throw new AwsError(
      'InvalidSignatureException',
      `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${parsed.date}' != '${amzDate.slice(0, 8)}', from '${amzDate}'.`,
    )
  const unsigned = unsignedHeader(request.headers, parsed.signedHeaders)
  if (unsigned !== undefined)
    throw new AwsError('InvalidSignatureException', `'${unsigned}' must be a 'SignedHeader' in the AWS Authorization.`)
  return signature
}

function readHeader(request: SignedRequest, header: string, now: number, signers: Signers | undefined): Signature {
  const last = header.slice(-SIGNATURE_DIGITS)
  const signer = SIGNATURE.test(last) ? signers?.get(header.slice(0, -SIGNATURE_DIGITS)) : undefined
  const parsed = signer ? signer.parsed : parseAuthorization(header)
  if (!parsed.ok) throw incomplete(parsed, header)
  const amzDate = headerValue(request.headers, 'x-amz-date')
  const at = amzDate === undefined ? undefined : amzDateToMillis(amzDate)
  if (amzDate === undefined || at === undefined)
    throw new AwsError(
      'IncompleteSignatureException',
      "Authorization header requires existence of a valid 'X-Amz-Date' header.",
    )
  if (at < now - SKEW_MS) throw late(amzDate, now, -SKEW_MS)
  if (at > now + SKEW_MS) throw early(amzDate, now)
  return {
    parsed,
    signature: signer ? last : parsed.signature,
    amzDate,
    token: headerValue(request.headers, 'x-amz-security-token'),
    payloadHash: checkedPayloadHash(request),
    presigned: false,
    header,
    signer,
  }
}

function readPresigned(request: SignedRequest, now: number): Signature {
  if (!request.query.includes('X-Amz-Signature'))
    throw new AwsError('MissingAuthenticationTokenException', 'Missing Authentication Token')
  const parsed = parsePresigned(request.query)
  if (!parsed.ok) throw incomplete(parsed, 'the query')
  const at = amzDateToMillis(parsed.amzDate)
  if (at === undefined) throw new AwsError('IncompleteSignatureException', "The query requires a valid 'X-Amz-Date'.")
  if (at > now + SKEW_MS) throw early(parsed.amzDate, now)
  if (now > at + parsed.expires * 1000) throw late(parsed.amzDate, now, -parsed.expires * 1000)
  const payloadHash = checkedPayloadHash(request)
  return {
    parsed,
    signature: parsed.signature,
    amzDate: parsed.amzDate,
    token: parsed.securityToken,
    payloadHash,
    presigned: true,
  }
}

/** The hash of the body as it came; a header that names another one is refused, and so is an unsigned payload. */
function checkedPayloadHash(request: SignedRequest): string {
  const actual = request.body.length === 0 ? EMPTY_PAYLOAD_HASH : sha256(request.body)
  const told = headerValue(request.headers, 'x-amz-content-sha256')
  if (told !== undefined && (told === UNSIGNED_PAYLOAD || told !== actual))
    throw new AwsError('InvalidSignatureException', 'The value of x-amz-content-sha256 is not the SHA-256 of the body.')
  return actual
}

const stamp = (millis: number) => `${new Date(millis).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`

const late = (amzDate: string, now: number, shift: number) =>
  new AwsError(
    'InvalidSignatureException',
    `Signature expired: ${amzDate} is now earlier than ${stamp(now + shift)} (${stamp(now)} - ${-shift / 60_000} min.)`,
  )
const early = (amzDate: string, now: number) =>
  new AwsError(
    'InvalidSignatureException',
    `Signature not yet current: ${amzDate} is still later than ${stamp(now + SKEW_MS)} (${stamp(now)} + 5 min.)`,
  )

const REASONS: Record<SignatureRefusal['reason'], string> = {
  algorithm: 'it must begin with AWS4-HMAC-SHA256',
  'missing-credential': "it requires 'Credential' parameter",
  'missing-signed-headers': "it requires 'SignedHeaders' parameter",
  'missing-signature': "it requires 'Signature' parameter",
  'missing-date': "it requires 'X-Amz-Date'",
  'missing-expires': "it requires 'X-Amz-Expires'",
  'credential-scope': 'its Credential must have the form <key>/<yyyymmdd>/<region>/<service>/aws4_request',
  'signed-headers': "its 'SignedHeaders' are not names of headers",
  expires: 'X-Amz-Expires must be a number of seconds from 1 to 604800',
  malformed: 'it cannot be read',
  duplicate: 'it says something twice',
}

const incomplete = (refusal: SignatureRefusal, where: string) =>
  new AwsError(
    'IncompleteSignatureException',
    `The signature in ${where === 'the query' ? where : 'the Authorization header'} is incomplete: ${REASONS[refusal.reason]}.`,
  )

function headerValue(headers: HeaderPairs, name: string): string | undefined {
  for (const [key, value] of headers) if (key.length === name.length && key.toLowerCase() === name) return value.trim()
  return undefined
}
