/**
 * The chain and its segments, without a database. A record's hash covers the hash before it, its number and its text; a
 * segment keeps eight bytes of each, which name a changed record, and the whole hash at its end, sealed under the root key, on which the
 * chain's strength rests. Texts are deflated with a dictionary of what every record says.
 *
 *   hash(n) = SHA-256(hash(n-1) | n in decimal | newline | text of record n)         hash(0) = 32 zero bytes
 */
import { hash } from 'node:crypto'
import { promisify } from 'node:util'
import { deflateRaw, inflateRaw } from 'node:zlib'
import type { Facts } from './event.ts'
import { nameOf } from './resources.ts'

export const FIRST_HASH: Buffer = Buffer.alloc(32)
export const TAG_BYTES = 8
/** Fast is enough: level 6 takes three times as long for a tenth less. */
const LEVEL = 1
/** What a segment may inflate to; 1,000 records of the longest kind stay below it. */
const MAX_INFLATED_BYTES = 256 * 1024 * 1024

/** Part of the format: a change of it makes what is stored unreadable. */
const DICTIONARY = Buffer.from(
  '"errorCode":"AccessDenied","errorMessage":"User: arn:aws:sts::assumed-role/ is not authorized to perform: on resource: because no identity-based policy allows the action"' +
    '{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"AIDA","userName":"' +
    '{"eventVersion":"1.11","userIdentity":{"type":"Root","principalId":"' +
    '{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROA","arn":"arn:aws:sts::assumed-role/","accountId":"","accessKeyId":"ASIA","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"","arn":"arn:aws:iam:::role/","accountId":"","userName":"' +
    '"},"attributes":{"creationDate":"2026-","mfaAuthenticated":"false"}}},"eventTime":"2026-T:Z","eventSource":"ssm.amazonaws.com","eventName":"GetParameter","awsRegion":"us-east-1","sourceIPAddress":"127.0.0.1","userAgent":"aws-sdk-js/3. ua/2.1 os/linux# lang/js md/nodejs# api/ssm#"' +
    ',"requestParameters":{"name":"/","withDecryption":true},"requestID":"","eventID":"019","readOnly":true,"resources":[{"accountId":"","type":"AWS::SSM::Parameter","ARN":"arn:aws:ssm:us-east-1::parameter/"}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"","eventCategory":"Management","responseElements":null}\n',
)

const deflated = promisify<Buffer, object, Buffer>(deflateRaw)
const inflated = promisify<Uint8Array, object, Buffer>(inflateRaw)

/** Texts of records as a segment's body. */
export const pack = (texts: readonly string[]): Promise<Buffer> =>
  deflated(Buffer.from(texts.join('\n')), { level: LEVEL, dictionary: DICTIONARY })

/** Throws where the bytes are no body. */
export async function unpack(body: Uint8Array): Promise<string[]> {
  const options = { dictionary: DICTIONARY, maxOutputLength: MAX_INFLATED_BYTES }
  return (await inflated(body, options)).toString().split('\n')
}

export interface Link {
  /** The number of the last record, from 1. */
  seq: number
  hash: Buffer
}

const HASH_BYTES = 32
/** `12345` and a newline: the number of a record, at its longest. */
const MAX_SEQ_BYTES = 17

/** The link after one more record. */
export const follow = (before: Link, text: string): Link => followIn(spaceFor([text]), before, text)

/** The link after these records, and their tags. */
export function followAll(before: Link, texts: readonly string[]): { last: Link; tags: Buffer } {
  const tags = Buffer.allocUnsafe(texts.length * TAG_BYTES)
  const space = spaceFor(texts)
  let last = before
  for (const [index, text] of texts.entries()) {
    last = followIn(space, last, text)
    last.hash.copy(tags, index * TAG_BYTES, 0, TAG_BYTES)
  }
  return { last, tags }
}

/** Room for what any of these texts is hashed with; a UTF-16 unit has three bytes of UTF-8 at most. */
const spaceFor = (texts: readonly string[]): Buffer =>
  Buffer.allocUnsafe(HASH_BYTES + MAX_SEQ_BYTES + 3 * texts.reduce((most, { length }) => Math.max(most, length), 0))

/** Hashed in one go from one piece of memory: a hash object that is fed piece by piece costs three times as much. */
function followIn(space: Buffer, { seq, hash: before }: Link, text: string): Link {
  before.copy(space)
  const head = HASH_BYTES + space.write(`${seq + 1}\n`, HASH_BYTES, 'latin1')
  const end = head + space.write(text, head)
  return { seq: seq + 1, hash: hash('sha256', space.subarray(0, end), 'buffer') }
}

/** What a seal says of a link. */
export const sealedText = ({ seq, hash }: Link): Buffer => Buffer.from(`${seq} ${hash.toString('hex')}`)

export const ATTRIBUTES = {
  EventName: 'N',
  ReadOnly: 'O',
  Username: 'U',
  ResourceType: 'T',
  ResourceName: 'R',
  EventSource: 'S',
  AccessKeyId: 'K',
} as const

/** What LookupEvents finds a record by, each as `<letter><value>`. */
export function* attributesOf(facts: Facts): Generator<string> {
  yield ATTRIBUTES.EventName + facts.eventName
  yield ATTRIBUTES.EventSource + facts.eventSource
  yield ATTRIBUTES.ReadOnly + facts.readOnly
  if (facts.userName) yield ATTRIBUTES.Username + facts.userName
  if (facts.accessKeyId) yield ATTRIBUTES.AccessKeyId + facts.accessKeyId
  for (const { type, arn } of facts.resources) {
    yield ATTRIBUTES.ResourceType + type
    yield ATTRIBUTES.ResourceName + arn
    yield ATTRIBUTES.ResourceName + nameOf(arn)
  }
}

/** The attributes of all of these, hashed, each once, in order. */
export function indexOf(records: Iterable<Facts>): number[] {
  const distinct = new Set<string>()
  for (const facts of records) for (const attribute of attributesOf(facts)) distinct.add(attribute)
  return [...new Set(Array.from(distinct, hashAttribute))].sort((one, other) => one - other)
}

/** FNV-1a, 32 bits, signed as PostgreSQL's integer. Two attributes of one hash cost a look into a segment, nothing else. */
export function hashAttribute(attribute: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < attribute.length; at++) {
    hash ^= attribute.charCodeAt(at)
    hash = Math.imul(hash, 0x01000193)
  }
  return hash | 0
}
