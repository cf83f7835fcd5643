/**
 * Delivers what trails take: files of records about every `trailDeliverySeconds`, or sooner at RECORDS_AT_ONCE, and a digest each
 * hour. What a file will hold is put down first, then the file is stored, then the position moves: whoever is killed in
 * between, the next process makes the same file under the same name. A store that refuses is tried again, later each time.
 */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { NotPut, type Place, PUT_MS, put } from '../../platform/buckets.ts'
import type { OutputDestination, Reconciler } from '../../platform/capability.ts'
import type { WorkContext } from '../../platform/context.ts'
import { uuid } from '../../platform/ids.ts'
import { unpack } from './chain.ts'
import { deliverDigest } from './digest.ts'
import { momentOf } from './event.ts'
import { type SelectedEvent, takes } from './selectors.ts'
import * as store from './store/trails.ts'
import { readSegments } from './store.ts'
import { fileKey } from './trail-rules.ts'

export const TRAILS_WAKE = 'trails'
/** So many records are delivered before their time; also the most of one file. */
const RECORDS_AT_ONCE = 10_000
/** Not more often than that before its time. */
const EARLY_MS = 5_000
/** Deflated bytes of one file's records: a file is put together in memory. */
const FILE_BYTES = 4 * 1024 * 1024
const SEGMENTS_AT_A_TIME = 20
/** Longer than a store may take for one file. */
const LEASE_MS = 2 * PUT_MS
/** The record of StopLogging itself is written a moment after it is answered. */
export const STOP_MS = 3_000
const FIRST_RETRY_MS = 10_000
const LONGEST_RETRY_MS = 900_000

const compressed = promisify<Buffer, Buffer>(gzip)

export const deliverTrails: Reconciler = {
  name: 'trail.deliver',
  wakes: [TRAILS_WAKE],
  everySeconds: 15,
  async run(work) {
    while (!work.signal.aborted) {
      const lease = leaseOf(work)
      const now = work.now()
      const notSince = new Date(now.getTime() - EARLY_MS)
      const trail = await store.takeTrail(work.sql, { ...lease, now, notSince }, RECORDS_AT_ONCE)
      if (!trail) break
      await deliver(work, trail, lease.id)
    }
    return store.nextTrail(work.sql)
  },
}

const leaseOf = (work: WorkContext, id = uuid()) => ({ id, until: new Date(work.now().getTime() + LEASE_MS) })

class LeaseLost extends Error {}

/** Puts one thing into the trail's bucket while the lease holds. */
export type Deliver = (key: string, bytes: Buffer, metadata?: Record<string, string>) => Promise<void>

async function deliver(work: WorkContext, trail: store.TrailRow, leaseId: string): Promise<void> {
  const { account, region, name, bucket } = trail
  const now = work.now()
  const state = {
    attemptedAt: now,
    deliveredAt: trail.deliveredAt,
    deliveryError: trail.deliveryError,
    digestedAt: trail.digestedAt,
    digestError: trail.digestError,
  }
  const send: Deliver = async (key, content, metadata) => {
    if (!(await store.holdLease(work.sql, trail, leaseOf(work, leaseId)))) throw new LeaseLost()
    await putFile(work, { bucket, key }, await compressed(content), metadata)
  }
  let failed = false
  const told = (what: string, error: unknown): string => {
    if (error instanceof LeaseLost || work.signal.aborted) throw error
    failed = true
    const code = codeOf(error)
    work.log.warn(
      { err: error, account, region, trail: name, bucket, code },
      `${what} could not be delivered; it is tried again`,
    )
    return code
  }
  try {
    await followChains(work, trail)
    try {
      if (await deliverFiles(work, trail, send)) state.deliveredAt = work.now()
      state.deliveryError = null
    } catch (error) {
      state.deliveryError = told('files of a trail', error)
    }
    try {
      if (await deliverDigest(work, trail, send)) state.digestedAt = work.now()
      state.digestError = null
    } catch (error) {
      state.digestError = told('a digest of a trail', error)
    }
  } catch (error) {
    if (error instanceof LeaseLost) return
    throw error
  }
  const failures = failed ? trail.failures + 1 : 0
  const nextAt = await whenNext(work, trail, failures)
  await store.release(work.sql, trail, leaseId, { ...state, failures, nextAt })
}

async function whenNext(work: WorkContext, trail: store.TrailRow, failures: number): Promise<Date | null> {
  const now = work.now().getTime()
  if (failures > 0) return new Date(now + Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LONGEST_RETRY_MS))
  const isDone = !trail.isLogging && (await store.listSpans(work.sql, trail)).length === 0
  return isDone ? null : new Date(now + work.choices.trailDeliverySeconds * 1_000)
}

/** Opens what was begun since the last time, and ends what was stopped. */
async function followChains(work: WorkContext, trail: store.TrailRow): Promise<void> {
  if (!trail.isLogging) await store.closeSpans(work.sql, trail, false)
  else await store.openNewSpans(work.sql, trail, trail.multiRegion)
  if (trail.isLogging && trail.validation) await store.beginDigests(work.sql, trail, work.now())
}

async function deliverFiles(work: WorkContext, trail: store.TrailRow, send: Deliver): Promise<boolean> {
  let any = false
  for (const span of await store.listSpans(work.sql, trail)) {
    const limits = { records: RECORDS_AT_ONCE, bytes: FILE_BYTES }
    for (let now = span; !work.signal.aborted; ) {
      const begun =
        now.fileTo !== null && now.fileAt !== null
          ? { fileTo: now.fileTo, fileAt: now.fileAt }
          : await store.planFile(work.sql, trail, now, { at: work.now(), ...limits })
      if (!begun) break
      const planned = { ...now, ...begun }
      const file = await deliverFile(work, trail, planned, send)
      await store.advance(work.sql, trail, planned, file)
      any ||= file !== undefined
      now = { ...now, afterSeq: begun.fileTo, fileTo: null, fileAt: null }
    }
  }
  await store.deleteEnded(work.sql, trail)
  return any
}

/** undefined: the trail takes none of these records. */
async function deliverFile(
  work: WorkContext,
  trail: store.TrailRow,
  span: store.SpanRow & { fileTo: number; fileAt: Date },
  send: Deliver,
): Promise<store.FileRow | undefined> {
  const texts: string[] = []
  let [oldest, newest] = [Number.POSITIVE_INFINITY, 0]
  const scope = { account: trail.account, region: span.region }
  for (let after = span.afterSeq; after < span.fileTo; ) {
    const segments = await readSegments(work.sql, scope, after, SEGMENTS_AT_A_TIME)
    if (segments.length === 0) break
    for (const { lastSeq, body } of segments) {
      after = lastSeq
      if (lastSeq > span.fileTo) break
      for (const text of await unpack(body)) {
        const event = JSON.parse(text) as SelectedEvent & { eventID: string }
        if (!takes(trail, event)) continue
        texts.push(text)
        const at = momentOf(event.eventID)
        oldest = Math.min(oldest, at)
        newest = Math.max(newest, at)
      }
    }
  }
  if (texts.length === 0) return undefined
  const content = Buffer.from(`{"Records":[${texts.join(',')}]}`)
  const key = fileKey(trail, span.region, { first: span.afterSeq + 1, last: span.fileTo, at: span.fileAt })
  await send(key, content)
  return {
    lastSeq: span.fileTo,
    bucket: trail.bucket,
    key,
    hash: createHash('sha256').update(content).digest(),
    oldestAt: new Date(oldest),
    newestAt: new Date(newest),
  }
}

/** Puts one thing where trails go; a folder's bucket must be there, as S3's must. NotPut. */
export async function putFile(
  { choices, now }: Pick<WorkContext, 'choices' | 'now'>,
  place: Place,
  bytes: Buffer,
  metadata?: Record<string, string>,
): Promise<void> {
  const destination = choices.trailBuckets
  if (!destination) throw new NotPut('NoSuchBucket', 'this installation has no place for the files of trails')
  if ('folder' in destination) await findFolder(destination, place.bucket)
  await put(destination, place, { size: bytes.length, bytes: once(bytes), ...(metadata && { metadata }) }, now())
}

async function findFolder({ folder }: Extract<OutputDestination, { folder: string }>, bucket: string): Promise<void> {
  const found = await stat(`${folder}/${bucket}`).catch(() => undefined)
  if (!found?.isDirectory()) throw new NotPut('NoSuchBucket', `there is no folder ${bucket} in the folder of trails`)
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

/** S3's word for what is wrong, as GetTrailStatus tells it. */
function codeOf(error: unknown): string {
  if (error instanceof NotPut) return error.code
  const { code = '' } = error as NodeJS.ErrnoException
  return code === 'EACCES' || code === 'EPERM' || code === 'EROFS' ? 'AccessDenied' : 'ServiceUnavailable'
}
