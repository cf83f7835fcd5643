/**
 * Where files go that AWS puts into S3: a bucket of an S3-compatible store, or a folder of that name. Putting the same
 * thing again leaves the same, so whoever is killed meanwhile puts it again. Output of commands and files of trails go here.
 */
import { createHash, createHmac } from 'node:crypto'
import { mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { millisToAmzDate, sign, UNSIGNED_PAYLOAD } from '@musterbook/wire'
import type { OutputDestination } from './capability.ts'

export interface Place {
  bucket: string
  key: string
}

export interface Thing {
  bytes: AsyncIterable<Buffer>
  /** Bytes in all. */
  size: number
  /** S3's user metadata; in a folder a file `<name>.metadata.json` beside it. */
  metadata?: Readonly<Record<string, string>>
}

/** What kept a thing from being put: S3's word for it, such as `NoSuchBucket` or `AccessDenied`. */
export class NotPut extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** A store that has not taken a thing by then takes it no more. */
export const PUT_MS = 60_000

/** S3's own rule for the names of buckets. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/

export const isBucketName = (name: string): boolean => BUCKET.test(name) && !name.includes('..')

/** It does not leave the folder that the bucket is. */
export const isKeyPrefix = (prefix: string): boolean =>
  !prefix.includes('\0') && !prefix.split('/').some((part) => part === '.' || part === '..')

const encoded = (key: string): string => key.split('/').map(strictly).join('/')
/** As SigV4 wants it: what encodeURIComponent leaves is encoded too. */
const strictly = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)

/** Path-style, as every S3-compatible store knows it. */
export const addressOf = (destination: OutputDestination, { bucket, key }: Place): string =>
  'folder' in destination
    ? pathToFileURL(`${destination.folder}/${bucket}/${key}`).href
    : `${destination.endpoint}/${bucket}/${encoded(key)}`

/**
 * Resolves when the whole lies there; NotPut where a store has refused it, and for a place that no caller should ask for:
 * outside of its bucket.
 */
export async function put(destination: OutputDestination, place: Place, thing: Thing, now: Date): Promise<void> {
  if (!isBucketName(place.bucket) || !isKeyPrefix(place.key))
    throw new NotPut('InvalidKey', 'the place lies outside of its bucket')
  const address = addressOf(destination, place)
  if (!('folder' in destination)) return putObject(destination, address, thing, now)
  const path = fileURLToPath(address)
  if (thing.metadata) await writeFile(`${path}.metadata.json`, [Buffer.from(`${JSON.stringify(thing.metadata)}\n`)])
  await writeFile(path, thing.bytes)
}

/** Under another name first: whoever reads the file reads the whole. */
async function writeFile(path: string, bytes: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const unfinished = `${path}.part`
  const file = await open(unfinished, 'w', 0o600)
  try {
    for await (const part of bytes) await file.write(part)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(unfinished, path)
}

type Store = Exclude<OutputDestination, { folder: string }>

/** A store that has not said by then whether there is a bucket is not waited for: a request of somebody's is. */
const HEAD_MS = 3_000

/**
 * False where the store says that there is no such bucket. A folder is made when it is needed, and a store that does not
 * answer, or does not let its buckets be looked at, is asked again when there is something to put.
 */
export async function hasBucket(destination: OutputDestination, bucket: string, now: Date): Promise<boolean> {
  if ('folder' in destination) return true
  const address = `${destination.endpoint}/${bucket}`
  try {
    const headers = signedFor(destination, 'HEAD', address, {}, now)
    const signal = AbortSignal.timeout(HEAD_MS)
    const response = await fetch(address, { method: 'HEAD', headers, redirect: 'manual', signal })
    return response.status !== 404
  } catch {
    return true
  }
}

async function putObject(
  store: Store,
  address: string,
  { bytes, size, metadata = {} }: Thing,
  now: Date,
): Promise<void> {
  const headers = signedFor(store, 'PUT', address, metadata, now)
  const request: RequestInit & { duplex: 'half' } = {
    method: 'PUT',
    headers: [...headers, ['content-length', String(size)]],
    body: Readable.toWeb(Readable.from(bytes)) as ReadableStream,
    duplex: 'half',
    signal: AbortSignal.timeout(PUT_MS),
  }
  const response = await fetch(address, request)
  const text = await response.text()
  if (response.ok) return
  const [, code = `HTTP${response.status}`] = /<Code>(\w{1,100})<\/Code>/.exec(text) ?? []
  throw new NotPut(code, `the store answered ${response.status} ${text.slice(0, 200)}`)
}

/** The headers of a request to the store, with its signature. */
function signedFor(
  { region, accessKeyId, secretAccessKey }: Store,
  method: 'HEAD' | 'PUT',
  address: string,
  metadata: Readonly<Record<string, string>>,
  now: Date,
): [string, string][] {
  const { host, pathname } = new URL(address)
  const headers: [string, string][] = [
    ['host', host],
    ['x-amz-content-sha256', UNSIGNED_PAYLOAD],
    ...Object.entries(metadata).map(([name, value]): [string, string] => [`x-amz-meta-${name}`, value]),
  ]
  const signature = sign({
    method,
    path: pathname,
    query: '',
    headers,
    payloadHash: UNSIGNED_PAYLOAD,
    region,
    service: 's3',
    doubleEncodePath: false,
    amzDate: millisToAmzDate(now.getTime()),
    credentials: { accessKeyId, secretAccessKey },
    sha256: (data) => createHash('sha256').update(data).digest('hex'),
    hmac: (key, data) => createHmac('sha256', key).update(data).digest(),
  })
  return [...headers.slice(1), ...signature]
}
