/**
 * Digest files: each hour and region one, which tells the hashes of the files that were delivered and of the digest before it, and
 * is signed. What `aws cloudtrail validate-logs` checks; the form is AWS's.
 */
import { createHash, sign } from 'node:crypto'
import type { WorkContext } from '../../platform/context.ts'
import type { Deliver } from './deliver.ts'
import { signingKey } from './signing-keys.ts'
import * as store from './store/trails.ts'
import { digestKey, second } from './trail-rules.ts'

export const DIGEST_MS = 3_600_000

/** Delivers what is due; a server that was away makes one digest of the hours that it missed. True: there was one. */
export async function deliverDigest(work: WorkContext, trail: store.TrailRow, send: Deliver): Promise<boolean> {
  let any = false
  const isOn = trail.isLogging && trail.validation
  const spans = new Set((await store.listSpans(work.sql, trail)).map(({ region }) => region))
  for (const digest of await store.listDigests(work.sql, trail)) {
    const { region } = digest
    const isLast = !isOn || !spans.has(region)
    if (isLast && spans.has(region) && trail.validation) continue // what was stopped is still being delivered
    const end = digest.endAt ?? (await planEnd(work, trail, digest, isLast))
    if (end) {
      const files = await store.listFiles(work.sql, trail, region, end)
      const made = await deliverOne(work, trail, { ...digest, end }, files, send)
      await store.advanceDigest(work.sql, trail, region, { end, digest: made })
      any = true
    }
    if (isLast) await store.endDigests(work.sql, trail, region)
  }
  if (!trail.validation) await store.forgetFiles(work.sql, trail)
  return any
}

/** undefined: its hour is not over, or nothing is left for a last one. */
async function planEnd(
  work: WorkContext,
  trail: store.TrailRow,
  { region, startAt }: store.DigestRow,
  isLast: boolean,
): Promise<Date | undefined> {
  const now = work.now().getTime()
  const hours = Math.floor((now - startAt.getTime()) / DIGEST_MS)
  if (isLast && (await store.listFiles(work.sql, trail, region, null)).length === 0) return undefined
  if (!isLast && hours < 1) return undefined
  // Names of digests tell seconds: a whole one, and never that of the digest before.
  const last = new Date(Math.max(Math.floor(now / 1_000) * 1_000, startAt.getTime() + 1_000))
  const end = isLast ? last : new Date(startAt.getTime() + hours * DIGEST_MS)
  await store.planDigest(work.sql, trail, region, end)
  return end
}

async function deliverOne(
  work: WorkContext,
  trail: store.TrailRow,
  { region, startAt, end, previous }: store.DigestRow & { end: Date },
  files: store.FileRow[],
  send: Deliver,
): Promise<store.PreviousDigest> {
  const { fingerprint, key: privateKey } = await signingKey(work)
  const { bucket } = trail
  const key = digestKey(trail, region, end)
  const [oldest] = files.map(({ oldestAt }) => oldestAt).sort((one, other) => one.getTime() - other.getTime())
  const [newest] = files.map(({ newestAt }) => newestAt).sort((one, other) => other.getTime() - one.getTime())
  const content = Buffer.from(
    JSON.stringify({
      awsAccountId: trail.account,
      digestStartTime: second(startAt),
      digestEndTime: second(end),
      digestS3Bucket: bucket,
      digestS3Object: key,
      digestPublicKeyFingerprint: fingerprint,
      digestSignatureAlgorithm: 'SHA256withRSA',
      newestEventTime: newest ? second(newest) : null,
      oldestEventTime: oldest ? second(oldest) : null,
      previousDigestS3Bucket: previous?.bucket ?? null,
      previousDigestS3Object: previous?.key ?? null,
      previousDigestHashValue: previous?.hash ?? null,
      previousDigestHashAlgorithm: previous ? 'SHA-256' : null,
      previousDigestSignature: previous?.signature ?? null,
      logFiles: files.map((file) => ({
        s3Bucket: file.bucket,
        s3Object: file.key,
        hashValue: file.hash.toString('hex'),
        hashAlgorithm: 'SHA-256',
        newestEventTime: second(file.newestAt),
        oldestEventTime: second(file.oldestAt),
      })),
    }),
  )
  const hash = createHash('sha256').update(content).digest('hex')
  const toSign = `${second(end)}\n${bucket}/${key}\n${hash}\n${previous?.signature ?? 'null'}`
  const signature = sign('sha256', Buffer.from(toSign), privateKey).toString('hex')
  await send(key, content, { signature, 'signature-algorithm': 'SHA256withRSA' })
  return { bucket, key, hash, signature }
}
