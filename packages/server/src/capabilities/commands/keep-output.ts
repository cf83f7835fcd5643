/**
 * Writes the whole output of ended invocations to the place that their command named: a file or an object for each stream
 * that has any. Writing again writes the same, so a process that dies meanwhile costs nothing but the time; a store that
 * does not answer is tried again until the command is forgotten, and changes no status, as in AWS.
 */
import { createHash, createHmac } from 'node:crypto'
import { mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { millisToAmzDate, sign, UNSIGNED_PAYLOAD } from '@musterbook/wire'
import type { OutputDestination, Reconciler } from '../../platform/capability.ts'
import type { WorkContext } from '../../platform/context.ts'
import { keepReported } from './output.ts'
import { addressOf, placeOf } from './output-places.ts'
import * as store from './store.ts'
import { COMMANDS_WAKE } from './wake.ts'

/** The last of the output may come after the word that all is over. */
const SETTLE_MS = 5_000
/** Nobody else writes an invocation's output for so long; also the time until a failure is tried again. */
const LEASE_MS = 60_000
/** Chunks that one statement reads: at most a megabyte. */
const CHUNKS_AT_ONCE = 16

export const keepOutput: Reconciler = {
  name: 'commands.keep-output',
  wakes: [COMMANDS_WAKE],
  everySeconds: 30,
  async run(work) {
    const destination = work.choices.commandOutput
    if (!destination) return undefined
    while (!work.signal.aborted) {
      const now = work.now()
      const lease = new Date(now.getTime() + LEASE_MS)
      const invocation = await store.takeToKeep(work.sql, now, new Date(now.getTime() - SETTLE_MS), lease)
      if (!invocation) break
      try {
        await keep(work, destination, invocation)
        await store.markKept(work.sql, invocation, lease, work.now())
      } catch (error) {
        const { commandId, nodeId } = invocation
        work.log.warn({ err: error, commandId, nodeId }, 'output could not be written; it is tried again')
      }
    }
    return store.nextToKeep(work.sql, SETTLE_MS)
  },
}

async function keep(work: WorkContext, destination: OutputDestination, invocation: store.ToKeep): Promise<void> {
  await keepReported(work, invocation, work.now())
  for (const { step, stream, size } of await store.listStreams(work.sql, invocation)) {
    const address = addressOf(destination, placeOf(invocation.output, invocation, step, stream))
    const bytes = () => streamOf(work, invocation, step, stream, size)
    if ('folder' in destination) await writeFile(fileURLToPath(address), bytes())
    else await putObject(destination, address, size, bytes(), work.now())
  }
}

/** The first `size` bytes of one stream: what comes while it is written is written the next time. */
async function* streamOf(
  work: WorkContext,
  invocation: store.ToKeep,
  step: string,
  stream: string,
  size: number,
): AsyncGenerator<Buffer> {
  let at = 0
  while (at < size) {
    const chunks = await store.readStream(work.sql, invocation, { step, stream }, at, CHUNKS_AT_ONCE)
    if (chunks.length === 0) throw new Error('the output was forgotten while it was written')
    for (const { start, bytes } of chunks) {
      const part = bytes.subarray(at - start, size - start)
      at += part.length
      if (part.length > 0) yield part
    }
  }
}

/** Under another name first: whoever reads the file reads the whole. */
async function writeFile(path: string, bytes: AsyncIterable<Buffer>): Promise<void> {
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

async function putObject(
  { region, accessKeyId, secretAccessKey }: Exclude<OutputDestination, { folder: string }>,
  address: string,
  size: number,
  bytes: AsyncIterable<Buffer>,
  now: Date,
): Promise<void> {
  const { host, pathname } = new URL(address)
  const headers: [string, string][] = [
    ['host', host],
    ['x-amz-content-sha256', UNSIGNED_PAYLOAD],
  ]
  const signature = sign({
    method: 'PUT',
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
  const request: RequestInit & { duplex: 'half' } = {
    method: 'PUT',
    headers: [...headers.slice(1), ...signature, ['content-length', String(size)]] as [string, string][],
    body: Readable.toWeb(Readable.from(bytes)) as ReadableStream,
    duplex: 'half',
    signal: AbortSignal.timeout(LEASE_MS),
  }
  const response = await fetch(address, request)
  const text = await response.text()
  if (!response.ok) throw new Error(`the store answered ${response.status} ${text.slice(0, 200)}`)
}
