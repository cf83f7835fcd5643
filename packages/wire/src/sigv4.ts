// AWS Signature Version 4 as pure functions: canonical request, string to sign, parsing of both places where a
// signature travels (Authorization header, presigned query) and signing for our own clients. Hash and HMAC are handed
// in, so the same code runs in node and in a browser. The server verifies with it, the agent and the tests sign with it.
// Nothing here compares signatures or looks up secrets: the caller does, in constant time.
//
//   canonical request = METHOD \n path \n query \n (name:value \n)* \n signed;header;names \n payload-hash
//   string to sign    = AWS4-HMAC-SHA256 \n yyyymmddThhmmssZ \n yyyymmdd/region/service/aws4_request \n sha256(canonical)
//   signature         = hex(HMAC(HMAC(HMAC(HMAC(HMAC("AWS4"+secret, date), region), service), "aws4_request"), string))

/** SHA-256 of UTF-8 text or bytes, as lower-case hex. */
export type Sha256 = (data: string | Uint8Array) => string
/** HMAC-SHA-256 of UTF-8 text; the key is UTF-8 text or bytes. */
export type Hmac = (key: Uint8Array | string, data: string) => Uint8Array
export type HeaderPairs = ReadonlyArray<readonly [name: string, value: string]>

export const SIGV4_ALGORITHM = 'AWS4-HMAC-SHA256'
/** Payload hash of a presigned S3 request, and of any request whose body is not signed. */
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD'
/** SHA-256 of zero bytes: the payload hash of a GET, an upgrade and a presigned request other than S3's. */
export const EMPTY_PAYLOAD_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
/** Longest life of a presigned request in seconds: seven days, the limit AWS publishes for SigV4 query signatures. */
export const PRESIGNED_MAX_SECONDS = 604_800

const TERMINATOR = 'aws4_request'

// ---------------------------------------------------------------------------------------------- canonical request

export interface CanonicalInput {
  method: string
  /** As on the wire: percent-encoded once, without the query. */
  path: string
  /** As on the wire, without the question mark. */
  query: string
  /** Every header of the request in wire order; names in any case, duplicates allowed. */
  headers: HeaderPairs
  /** Lower-case names in the order in which the signer listed them. A name without a header counts as empty. */
  signedHeaders: readonly string[]
  /** Lower-case hex SHA-256 of the body, or UNSIGNED_PAYLOAD. */
  payloadHash: string
  /** True for every service but S3: dot segments and empty segments vanish and the path is encoded once more. */
  doubleEncodePath?: boolean
  /** True for a signature in the query: X-Amz-Signature, and only that, is left out. */
  presigned?: boolean
}

/** The canonical request, byte for byte as AWS builds it. */
export function canonicalRequest(input: CanonicalInput): string {
  const { headers, signedHeaders, path, query } = input
  const canonicalPath = path === '/' ? '/' : input.doubleEncodePath === false ? singleEncoded(path) : normalised(path)
  const canonical = query === '' ? '' : canonicalQuery(query, input.presigned === true)
  let text = `${input.method}\n${canonicalPath}\n${canonical}\n`
  let names = ''
  for (const name of signedHeaders) {
    text += `${name}:${headerValue(headers, name)}\n`
    names = names === '' ? name : `${names};${name}`
  }
  return `${text}\n${names}\n${input.payloadHash}`
}

/** The canonical query: each name and value encoded once, sorted by name, then by value. */
export function canonicalQuery(query: string, dropSignature: boolean): string {
  const pairs: Array<[string, string]> = []
  for (const part of wireText(query).split('&')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = encodeOnce(equals < 0 ? part : part.slice(0, equals), true)
    if (dropSignature && name === 'X-Amz-Signature') continue
    pairs.push([name, equals < 0 ? '' : encodeOnce(part.slice(equals + 1), true)])
  }
  // Both halves are ASCII by now, so comparing UTF-16 units is comparing bytes. The halves are compared apart: '=' sorts
  // above '-', so sorting joined pairs would put `a-b=` before `a=`.
  pairs.sort((a, b) => (a[0] === b[0] ? (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0) : a[0] < b[0] ? -1 : 1))
  return pairs.map(([name, value]) => `${name}=${value}`).join('&')
}

function headerValue(headers: HeaderPairs, name: string): string {
  let joined: string | undefined
  for (const pair of headers) {
    const candidate = pair[0]
    if (candidate.length !== name.length) continue
    if (candidate !== name && candidate.toLowerCase() !== name) continue
    const value = folded(pair[1])
    joined = joined === undefined ? value : `${joined},${value}`
  }
  return joined ?? ''
}

/** Trims, and folds every run of blanks into one space; a value that needs neither comes back untouched. */
function folded(value: string): string {
  let previousBlank = true
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at)
    const blank = code === 0x20
    if ((blank && previousBlank) || code === 0x09 || code === 0x0a || code === 0x0d || code >= 0x80) {
      return wireText(value)
        .replace(/[ \t\r\n]+/g, ' ')
        .replace(/^ | $/g, '')
    }
    previousBlank = blank
  }
  return previousBlank && value !== '' ? value.slice(0, -1) : value
}

/** The path for all services but S3: RFC 3986 dot segments and doubled slashes removed, then encoded once more. */
function normalised(path: string): string {
  const kept: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue
    if (segment === '..') kept.pop()
    else kept.push(segment)
  }
  if (kept.length === 0) return '/'
  return encodeAgain(wireText(`/${kept.join('/')}${path.endsWith('/') ? '/' : ''}`))
}

/** The path for S3: as it stands, with every escape brought into the one canonical spelling. */
function singleEncoded(path: string): string {
  if (path === '') return '/'
  const segments = wireText(path).split('/')
  return segments.map((segment) => encodeOnce(segment, false)).join('/')
}

/** Brings text that may be encoded already into AWS's spelling: A-Z a-z 0-9 - . _ ~ bare, the rest %XX in upper case. */
function encodeOnce(text: string, plusIsSpace: boolean): string {
  let encoded = ''
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (unreserved(code)) {
      encoded += text[at]
    } else if (code === PLUS && plusIsSpace) {
      encoded += '%20'
    } else {
      const byte = code === PERCENT ? hexPair(text, at + 1) : -1
      if (byte >= 0) {
        encoded += unreserved(byte) ? String.fromCharCode(byte) : percent(byte)
        at += 2
      } else {
        const point = text.codePointAt(at) as number
        encoded += percentEncoded(point)
        if (point > 0xffff) at++
      }
    }
  }
  return encoded
}

/** Encodes a path without regard to what is encoded in it already: `%` becomes `%25`, slashes stay. */
function encodeAgain(path: string): string {
  let encoded = ''
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at)
    if (code === SLASH || unreserved(code)) {
      encoded += path[at]
    } else {
      const point = path.codePointAt(at) as number
      encoded += percentEncoded(point)
      if (point > 0xffff) at++
    }
  }
  return encoded
}

const PERCENT = 0x25
const PLUS = 0x2b
const SLASH = 0x2f

function percent(byte: number): string {
  return `%${byte < 16 ? '0' : ''}${byte.toString(16).toUpperCase()}`
}

function percentEncoded(point: number): string {
  if (point < 0x80) return percent(point)
  // A lone half of a surrogate pair has no UTF-8 form; encoders write the replacement character.
  if (point >= 0xd800 && point <= 0xdfff) return '%EF%BF%BD'
  return encodeURIComponent(String.fromCodePoint(point))
}

function unreserved(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === 0x2e ||
    code === 0x5f ||
    code === 0x7e
  )
}

function hexPair(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at))
  const low = hexDigit(text.charCodeAt(at + 1))
  return high < 0 || low < 0 ? -1 : high * 16 + low
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const lower = code | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/**
 * The text that a string from the wire stands for. HTTP parsers hand over one character per byte, while signers hash
 * UTF-8: a string of bytes that is valid UTF-8 is decoded, any other is text already.
 */
function wireText(value: string): string {
  let high = false
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at)
    if (code > 0xff) return value
    if (code >= 0x80) high = true
  }
  if (!high) return value
  try {
    return STRICT_UTF8.decode(Uint8Array.from(value, (char) => char.charCodeAt(0)))
  } catch {
    return value
  }
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

// ------------------------------------------------------------------------------------- string to sign and signature

/** `yyyymmdd/region/service/aws4_request`. */
export function credentialScope(date: string, region: string, service: string): string {
  return `${date}/${region}/${service}/${TERMINATOR}`
}

/** The text that is signed; amzDate is `yyyymmddThhmmssZ`. */
export function stringToSign(amzDate: string, scope: string, canonical: string, sha256: Sha256): string {
  return `${SIGV4_ALGORITHM}\n${amzDate}\n${scope}\n${sha256(canonical)}`
}

/** The key of one secret for one day, region and service; it may be kept until that day ends. */
export function signingKey(secret: string, date: string, region: string, service: string, hmac: Hmac): Uint8Array {
  return hmac(hmac(hmac(hmac(`AWS4${secret}`, date), region), service), TERMINATOR)
}

/** The signature as 64 lower-case hex digits. */
export function signatureOf(key: Uint8Array, toSign: string, hmac: Hmac): string {
  return toHex(hmac(key, toSign))
}

function toHex(bytes: Uint8Array): string {
  let hex = ''
  for (const byte of bytes) hex += byte < 16 ? `0${byte.toString(16)}` : byte.toString(16)
  return hex
}

/** Milliseconds since 1970 of `yyyymmddThhmmssZ`; undefined when it is not exactly that or names no real moment. */
export function amzDateToMillis(amzDate: string): number | undefined {
  if (amzDate.length !== 16 || amzDate[8] !== 'T' || amzDate[15] !== 'Z') return undefined
  const year = digits(amzDate, 0, 4)
  const month = digits(amzDate, 4, 6)
  const day = digits(amzDate, 6, 8)
  const hour = digits(amzDate, 9, 11)
  const minute = digits(amzDate, 11, 13)
  const second = digits(amzDate, 13, 15)
  if (year < 1970 || !isDay(year, month, day)) return undefined
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return undefined
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Date.UTC carries 31 April over into May; here that is no day. */
function isDay(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false
  const isLeap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return day <= (MONTH_DAYS[month - 1] ?? 0) + (isLeap ? 1 : 0)
}

function digits(text: string, from: number, to: number): number {
  let number = 0
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - 0x30
    if (!(digit >= 0 && digit <= 9)) return -1
    number = number * 10 + digit
  }
  return number
}

/** `yyyymmddThhmmssZ` of milliseconds since 1970; years 0000 to 9999. */
export function millisToAmzDate(millis: number): string {
  const iso = new Date(millis).toISOString()
  return `${iso.slice(0, 4)}${iso.slice(5, 7)}${iso.slice(8, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`
}

// -------------------------------------------------------------------------------------------------- what was signed

export interface Credential {
  accessKeyId: string
  /** `yyyymmdd` */
  date: string
  region: string
  service: string
}

export interface ParsedAuthorization extends Credential {
  ok: true
  algorithm: typeof SIGV4_ALGORITHM
  /** As listed, in that order. */
  signedHeaders: string[]
  /** 64 hex digits; 344 characters of base64 when a node signs its role-token request with its RSA key. */
  signature: string
}

export interface ParsedPresigned extends Omit<ParsedAuthorization, 'ok'> {
  ok: true
  /** `yyyymmddThhmmssZ` */
  amzDate: string
  /** Seconds from amzDate, 1 to PRESIGNED_MAX_SECONDS. */
  expires: number
  securityToken: string | undefined
}

export type SignatureProblem =
  | 'algorithm' // absent, or another one than AWS4-HMAC-SHA256
  | 'missing-credential'
  | 'missing-signed-headers'
  | 'missing-signature'
  | 'missing-date'
  | 'missing-expires'
  | 'credential-scope' // not <key>/<yyyymmdd>/<region>/<service>/aws4_request
  | 'signed-headers' // an empty name or one that cannot be a header name
  | 'expires' // not a whole number of seconds in 1..604800
  | 'malformed' // a part that is not name=value
  | 'duplicate' // the same part twice

export interface SignatureRefusal {
  ok: false
  reason: SignatureProblem
}

/** Takes an Authorization header apart; whatever is wrong with it is the reason in the answer, never a throw. */
export function parseAuthorization(header: string): ParsedAuthorization | SignatureRefusal {
  const value = header.trim()
  const blank = value.indexOf(' ')
  if ((blank < 0 ? value : value.slice(0, blank)) !== SIGV4_ALGORITHM) return refused('algorithm')
  let credential: string | undefined
  let names: string | undefined
  let signature: string | undefined
  if (blank > 0) {
    for (const piece of value.slice(blank + 1).split(',')) {
      const part = piece.trim()
      // Signatures in base64 hold '=' themselves: only the first one parts name and value.
      const equals = part.indexOf('=')
      if (equals < 0) return refused('malformed')
      const text = part.slice(equals + 1)
      switch (part.slice(0, equals)) {
        case 'Credential':
          if (credential !== undefined) return refused('duplicate')
          credential = text
          break
        case 'SignedHeaders':
          if (names !== undefined) return refused('duplicate')
          names = text
          break
        case 'Signature':
          if (signature !== undefined) return refused('duplicate')
          signature = text
          break
        default:
          return refused('malformed')
      }
    }
  }
  return assembled(credential, names, signature)
}

/** Takes the X-Amz-* parameters of a presigned query apart; `algorithm` as a reason also means: not presigned at all. */
export function parsePresigned(query: string): ParsedPresigned | SignatureRefusal {
  const found = new Map<string, string>()
  for (const part of query.split('&')) {
    const equals = part.indexOf('=')
    const name = decoded(equals < 0 ? part : part.slice(0, equals))
    const value = decoded(equals < 0 ? '' : part.slice(equals + 1))
    if (name === undefined || value === undefined) return refused('malformed')
    if (!PRESIGNED_NAMES.has(name)) continue
    if (found.has(name)) return refused('duplicate')
    found.set(name, value)
  }
  if (found.get('X-Amz-Algorithm') !== SIGV4_ALGORITHM) return refused('algorithm')
  const parsed = assembled(
    found.get('X-Amz-Credential'),
    found.get('X-Amz-SignedHeaders'),
    found.get('X-Amz-Signature'),
  )
  if (!parsed.ok) return parsed
  const amzDate = found.get('X-Amz-Date')
  if (amzDate === undefined || amzDate === '') return refused('missing-date')
  const lifetime = found.get('X-Amz-Expires')
  if (lifetime === undefined || lifetime === '') return refused('missing-expires')
  const expires = lifetime.length <= 6 ? digits(lifetime, 0, lifetime.length) : -1
  if (expires < 1 || expires > PRESIGNED_MAX_SECONDS) return refused('expires')
  return { ...parsed, amzDate, expires, securityToken: found.get('X-Amz-Security-Token') }
}

const PRESIGNED_NAMES: ReadonlySet<string> = new Set([
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-SignedHeaders',
  'X-Amz-Signature',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-Security-Token',
])

function decoded(text: string): string | undefined {
  try {
    // The same reading of '+' as in the canonical query: what was signed is what is acted on.
    return decodeURIComponent(text.includes('+') ? text.replaceAll('+', ' ') : text)
  } catch {
    return undefined
  }
}

function assembled(
  credential: string | undefined,
  names: string | undefined,
  signature: string | undefined,
): ParsedAuthorization | SignatureRefusal {
  if (credential === undefined || credential === '') return refused('missing-credential')
  if (names === undefined || names === '') return refused('missing-signed-headers')
  if (signature === undefined || signature === '') return refused('missing-signature')
  const scope = credential.split('/')
  const [accessKeyId, date, region, service, terminator] = scope
  if (scope.length !== 5 || terminator !== TERMINATOR) return refused('credential-scope')
  if (!accessKeyId || !date || !region || !service) return refused('credential-scope')
  if (date.length !== 8 || digits(date, 0, 8) < 0) return refused('credential-scope')
  const signedHeaders = names.split(';')
  if (!signedHeaders.every(isHeaderName)) return refused('signed-headers')
  return { ok: true, algorithm: SIGV4_ALGORITHM, accessKeyId, date, region, service, signedHeaders, signature }
}

function isHeaderName(name: string): boolean {
  if (name === '') return false
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at)
    if (code <= 0x20 || code >= 0x7f || code === 0x3a) return false
  }
  return true
}

function refused(reason: SignatureProblem): SignatureRefusal {
  return { ok: false, reason }
}

/**
 * The first header that a verifier must not believe because its signer left it out: `host` always, and of those
 * present x-amz-date, x-amz-security-token and x-amz-target. Undefined when all are signed. X-Amz-Content-Sha256 is
 * not among them: amazon-ssm-agent sends it unsigned with its role-token request.
 */
export function unsignedHeader(headers: HeaderPairs, signedHeaders: readonly string[]): string | undefined {
  if (!signedHeaders.includes('host')) return 'host'
  for (const [name] of headers) {
    if (name[0] !== 'x' && name[0] !== 'X') continue // they all begin so, and few others do
    const lower = name.toLowerCase()
    if (MUST_BE_SIGNED.has(lower) && !signedHeaders.includes(lower)) return lower
  }
  return undefined
}

const MUST_BE_SIGNED: ReadonlySet<string> = new Set(['x-amz-date', 'x-amz-security-token', 'x-amz-target'])

// ---------------------------------------------------------------------------------------------------------- signing

export interface SigningCredentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string | undefined
}

export interface ToSign {
  method: string
  path: string
  query: string
  /** All headers that will be sent, `host` among them; without X-Amz-Date, X-Amz-Security-Token and Authorization. */
  headers: HeaderPairs
  payloadHash: string
  region: string
  service: string
  /** `yyyymmddThhmmssZ`, see millisToAmzDate. */
  amzDate: string
  sessionToken?: string | undefined
  doubleEncodePath?: boolean
  sha256: Sha256
}

export interface Prepared {
  scope: string
  signedHeaders: string[]
  stringToSign: string
  /** X-Amz-Date, and X-Amz-Security-Token when there is a session token. */
  headers: Array<[name: string, value: string]>
}

/**
 * All of signing but the signature, for callers that sign in another way: a node signs the role-token request with
 * RSASSA-PSS over this string. Throws a TypeError when `host` is not among the headers.
 */
export function prepareSigning(request: ToSign): Prepared {
  const { amzDate, region, service, sessionToken, sha256, ...rest } = request
  const headers: Array<[string, string]> = [['X-Amz-Date', amzDate]]
  if (sessionToken) headers.push(['X-Amz-Security-Token', sessionToken])
  const all = [...request.headers, ...headers]
  const names = new Set(all.map(([name]) => name.toLowerCase()))
  for (const name of NEVER_SIGNED) names.delete(name)
  if (!names.has('host')) throw new TypeError('a request without a Host header cannot be signed')
  const signedHeaders = [...names].sort()
  const scope = credentialScope(amzDate.slice(0, 8), region, service)
  const canonical = canonicalRequest({ ...rest, headers: all, signedHeaders })
  return { scope, signedHeaders, stringToSign: stringToSign(amzDate, scope, canonical, sha256), headers }
}

// Proxies and HTTP stacks rewrite these on the way.
const NEVER_SIGNED = ['authorization', 'connection', 'expect', 'transfer-encoding', 'user-agent', 'x-amzn-trace-id']

/** The Authorization header's value for a signature made by the caller: hex, or base64 for RSA. */
export function authorizationValue(
  accessKeyId: string,
  prepared: Pick<Prepared, 'scope' | 'signedHeaders'>,
  signature: string,
): string {
  const names = prepared.signedHeaders.join(';')
  return `${SIGV4_ALGORITHM} Credential=${accessKeyId}/${prepared.scope}, SignedHeaders=${names}, Signature=${signature}`
}

/** The headers to add to a request so that AWS accepts it: X-Amz-Date, X-Amz-Security-Token if any, Authorization. */
export function sign(
  request: Omit<ToSign, 'sessionToken'> & { credentials: SigningCredentials; hmac: Hmac },
): Array<[name: string, value: string]> {
  const { credentials, hmac, ...rest } = request
  const prepared = prepareSigning({ ...rest, sessionToken: credentials.sessionToken })
  const date = request.amzDate.slice(0, 8)
  const key = signingKey(credentials.secretAccessKey, date, request.region, request.service, hmac)
  const signature = signatureOf(key, prepared.stringToSign, hmac)
  return [...prepared.headers, ['Authorization', authorizationValue(credentials.accessKeyId, prepared, signature)]]
}
