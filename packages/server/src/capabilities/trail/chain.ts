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

/** Texts of records in UTF-8 with a newline between them, and where each ends. */
export interface Body {
  bytes: Buffer
  ends: number[]
}

/** Every text is turned into bytes once, for its hash and for the segment: a record is long, and this is most of its cost. */
export function bodyOf(texts: readonly string[]): Body {
  // A UTF-16 unit has three bytes of UTF-8 at most.
  const bytes = Buffer.allocUnsafe(texts.reduce((sum, { length }) => sum + 3 * length + 1, 0))
  let end = 0
  const ends = texts.map((text, index) => {
    if (index > 0) end += bytes.write('\n', end, 'latin1')
    end += bytes.write(text, end)
    return end
  })
  return { bytes: bytes.subarray(0, end), ends }
}

/** A body as a segment keeps it. */
export const pack = ({ bytes }: Body): Promise<Buffer> => deflated(bytes, { level: LEVEL, dictionary: DICTIONARY })

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
export const follow = (before: Link, text: string): Link => followAll(before, bodyOf([text])).last

/**
 * The link after these records, and their tags. Each is hashed in one go from one piece of memory, and the hash comes as a
 * string: feeding a hash object piece by piece costs three times as much, and so does a buffer of its own for each hash.
 */
export function followAll(before: Link, { bytes, ends }: Body): { last: Link; tags: Buffer } {
  const tags = Buffer.allocUnsafe(ends.length * TAG_BYTES)
  const space = Buffer.allocUnsafe(HASH_BYTES + MAX_SEQ_BYTES + bytes.length)
  before.hash.copy(space)
  let { seq } = before
  let from = 0
  for (const [index, end] of ends.entries()) {
    const head = HASH_BYTES + space.write(`${++seq}\n`, HASH_BYTES, 'latin1')
    const length = head + bytes.copy(space, head, from, end)
    const next = hash('sha256', space.subarray(0, length), 'binary')
    space.write(next, 0, 'latin1')
    tags.write(next, index * TAG_BYTES, TAG_BYTES, 'latin1')
    from = end + 1
  }
  return { last: { seq, hash: Buffer.from(space.subarray(0, HASH_BYTES)) }, tags }
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

/** What LookupEvents finds a record by: a letter of ATTRIBUTES and a value. */
export function eachAttribute(facts: Facts, tell: (letter: string, value: string) => void): void {
  tell(ATTRIBUTES.EventName, facts.eventName)
  tell(ATTRIBUTES.EventSource, facts.eventSource)
  tell(ATTRIBUTES.ReadOnly, String(facts.readOnly))
  if (facts.userName) tell(ATTRIBUTES.Username, facts.userName)
  if (facts.accessKeyId) tell(ATTRIBUTES.AccessKeyId, facts.accessKeyId)
  for (const { type, arn } of facts.resources) {
    tell(ATTRIBUTES.ResourceType, type)
    tell(ATTRIBUTES.ResourceName, arn)
    tell(ATTRIBUTES.ResourceName, nameOf(arn))
  }
}

/** The attributes of all of these, hashed, each once, in order. */
export function indexOf(records: Iterable<Facts>): number[] {
  const distinct = new Set<number>()
  const add = (letter: string, value: string) => distinct.add(hashAttribute(value, hashAttribute(letter)))
  for (const facts of records) eachAttribute(facts, add)
  return [...distinct].sort((one, other) => one - other)
}

/** FNV-1a, 32 bits, signed as PostgreSQL's integer. Two attributes of one hash cost a look into a segment, nothing else. `before`: the hash of what stands before it. */
export function hashAttribute(attribute: string, before = 0x811c9dc5): number {
  let hash = before
  for (let at = 0; at < attribute.length; at++) {
    hash ^= attribute.charCodeAt(at)
    hash = Math.imul(hash, 0x01000193)
  }
  return hash | 0
}
