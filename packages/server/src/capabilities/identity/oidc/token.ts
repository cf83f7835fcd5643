/** ID tokens: what AssumeRoleWithWebIdentity believes of one, or AWS's error for what is wrong with it. */
import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
} from 'jose'
import { AwsError } from '../../../platform/errors.ts'

/** What AWS takes; none of them lets a public key be used as a shared secret. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512']
/** Seconds by which an issuer's clock may be ahead or behind. */
const SKEW_SECONDS = 60

export interface Claims {
  issuer: string
  subject: string
  /** What the condition key `aud` sees: azp where the token has one. */
  audience: string
  /** The aud claim where azp takes its place. */
  original: string | undefined
  amr: string[]
  /** AWS's own claims for session tags and a source identity. */
  tags: Record<string, string>
  transitiveTagKeys: string[]
  sourceIdentity: string | undefined
}

const invalid = (message: string): AwsError => new AwsError('InvalidIdentityTokenException', message)
const notJwt = () =>
  invalid('The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)')

/** Who says to have signed it and with which key: nothing of it is believed yet. InvalidIdentityToken. */
export function peek(token: string): { issuer: string; keyId: string | undefined } {
  try {
    const { iss } = decodeJwt(token)
    const { kid, alg } = decodeProtectedHeader(token)
    // Decoding is lenient: another spelling of the same bytes is not what was signed.
    const isPlain = token.split('.').every((part) => Buffer.from(part, 'base64url').toString('base64url') === part)
    if (!isPlain || typeof iss !== 'string' || !ALGORITHMS.includes(alg ?? '')) throw notJwt()
    return { issuer: iss, keyId: typeof kid === 'string' ? kid : undefined }
  } catch (error) {
    throw error instanceof AwsError ? error : notJwt()
  }
}

/** The claims of a token that one of the issuer's keys signed. InvalidIdentityToken, ExpiredToken. */
export async function verify(
  token: string,
  keys: JSONWebKeySet,
  expected: { issuer: string; clientIds: readonly string[]; now: Date },
): Promise<Claims> {
  const payload = await verified(token, keys, expected.issuer, expected.now)
  const { sub: subject, aud, azp } = payload
  if (typeof subject !== 'string' || subject === '') throw invalid('The ID Token has no subject (sub).')
  const audiences = (Array.isArray(aud) ? aud : [aud]).filter((each) => typeof each === 'string')
  const authorized = typeof azp === 'string' ? azp : undefined
  // Several audiences without an authorized party name nobody in particular.
  const audience = authorized ?? (audiences.length === 1 ? audiences[0] : undefined)
  if (audience === undefined || !expected.clientIds.includes(audience)) throw invalid('Incorrect token audience')
  return {
    ...{ issuer: expected.issuer, subject, audience },
    original: authorized === undefined ? undefined : audiences[0],
    amr: Array.isArray(payload.amr) ? payload.amr.filter((each) => typeof each === 'string') : [],
    ...sessionClaims(payload),
  }
}

async function verified(token: string, keys: JSONWebKeySet, issuer: string, now: Date): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, createLocalJWKSet(keys), {
      ...{ issuer, algorithms: ALGORITHMS, currentDate: now, clockTolerance: SKEW_SECONDS },
      requiredClaims: ['exp', 'iat', 'sub', 'aud'],
    })
    return payload
  } catch (error) {
    throw refusalOf(error, now)
  }
}

function refusalOf(error: unknown, now: Date): unknown {
  if (error instanceof errors.JWTExpired) {
    const [current, expiration] = [Math.floor(now.getTime() / 1000), error.payload.exp]
    return new AwsError(
      'ExpiredTokenException',
      `Token expired: current date/time ${current} must be before the expiration date/time ${expiration}`,
    )
  }
  if (error instanceof errors.JWTClaimValidationFailed)
    return invalid(`The claim ${error.claim} of the ID Token is missing or not acceptable.`)
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return invalid("No key of the identity provider's fits the ID Token.")
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return invalid('The signature of the ID Token is not valid.')
  // Keys of an issuer that cannot be imported end here as well: they are no defect of this server.
  return error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException
    ? notJwt()
    : error
}

/** `https://aws.amazon.com/tags` and `https://aws.amazon.com/source_identity`. InvalidIdentityToken: of another shape. */
function sessionClaims(payload: JWTPayload): Pick<Claims, 'tags' | 'transitiveTagKeys' | 'sourceIdentity'> {
  const given = payload['https://aws.amazon.com/tags']
  const source = payload['https://aws.amazon.com/source_identity']
  if (source !== undefined && (typeof source !== 'string' || !/^[\w+=,.@-]{2,64}$/.test(source)))
    throw invalid('The claim https://aws.amazon.com/source_identity is not acceptable.')
  if (given === undefined) return { tags: {}, transitiveTagKeys: [], sourceIdentity: source }
  const { principal_tags: tags = {}, transitive_tag_keys: transitive = [] } = given as Record<string, unknown>
  const wrong = () => invalid('The claim https://aws.amazon.com/tags is not acceptable.')
  if (typeof tags !== 'object' || tags === null || !Array.isArray(transitive)) throw wrong()
  const pairs = Object.entries(tags).map(([key, values]): [string, string] => {
    const [value, second] = Array.isArray(values) ? values : [values]
    if (typeof value !== 'string' || second !== undefined || !TAG_KEY.test(key) || !TAG_VALUE.test(value)) throw wrong()
    return [key, value]
  })
  if (pairs.length > MAX_SESSION_TAGS || !transitive.every((key) => pairs.some(([name]) => name === key))) throw wrong()
  return { tags: Object.fromEntries(pairs), transitiveTagKeys: transitive as string[], sourceIdentity: source }
}

/** As AssumeRole takes them. */
const MAX_SESSION_TAGS = 50
const TAG_KEY = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$/u
const TAG_VALUE = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u
