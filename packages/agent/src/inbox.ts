// The documents that this node has taken on, one file each: pending until a process runs it, current until its end is
// reported, then only a name in done, kept for seven days so that no document is ever taken twice. A file that is in
// pending or current was synced before it was acknowledged. Called by runner.ts.

import { readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { buildJobId, parseSendCommandPayload, SEND_COMMAND_TOPIC } from '@musterbook/wire'
import type { DataFolder } from './data-folder.ts'
import { isMissing, readJson, syncFolder, writeDurably } from './durable-files.ts'
import { type Log, reason } from './log.ts'
import { sha256 } from './transport.ts'

export interface Job {
  commandId: string
  /** `aws.ssm.<CommandId>.<node id>` */
  jobId: string
  topic: string
  /** SendCommandPayload as JSON text. */
  content: string
  /** Milliseconds since 1970. */
  received: number
}

/** How long a name is remembered, in milliseconds. */
const REMEMBER = 7 * 24 * 3600_000

/** A command id that may be a file's name. */
export function isCommandId(text: string): boolean {
  return /^[A-Za-z0-9-]{1,128}$/.test(text)
}

export async function isKnown(folder: DataFolder, commandId: string): Promise<boolean> {
  for (const place of [folder.pending, folder.current, folder.done]) {
    try {
      await stat(fileOf(place, commandId))
      return true
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
  return false
}

export async function putPending(folder: DataFolder, job: Job): Promise<void> {
  await writeDurably(fileOf(folder.pending, job.commandId), JSON.stringify({ ...job, digest: digestOf(job) }))
}

export async function makeCurrent(folder: DataFolder, commandId: string): Promise<void> {
  await rename(fileOf(folder.pending, commandId), fileOf(folder.current, commandId))
  await syncFolder(folder.current)
}

/** The last step of a document: the name is remembered, the content is gone. */
export async function makeDone(folder: DataFolder, commandId: string): Promise<void> {
  await writeDurably(fileOf(folder.done, commandId), JSON.stringify({ ended: Date.now() }))
  await rm(fileOf(folder.current, commandId), { force: true })
  await rm(fileOf(folder.pending, commandId), { force: true })
}

/**
 * What an earlier agent left, oldest first. Of a damaged file the name is left: the document goes on without content,
 * which lets nothing be run and everything be reported.
 */
export async function readJobs(
  folder: DataFolder,
  instanceId: string,
  state: 'pending' | 'current',
  log: Log,
): Promise<Job[]> {
  const jobs: Job[] = []
  for (const name of await readdir(folder[state])) {
    const commandId = name.replace(/\.json$/, '')
    if (!name.endsWith('.json') || !isCommandId(commandId)) continue
    if (await isDone(folder, commandId)) {
      await makeDone(folder, commandId)
      continue
    }
    try {
      const job = await readJob(folder, state, commandId)
      if (job) jobs.push(job)
    } catch (error) {
      log.error('document is damaged', { commandId, reason: reason(error) })
      const received = (await stat(join(folder[state], name))).mtimeMs
      jobs.push({
        commandId,
        jobId: buildJobId(commandId, instanceId),
        topic: SEND_COMMAND_TOPIC,
        content: '',
        received,
      })
    }
  }
  return jobs.sort((a, b) => a.received - b.received)
}

/** Throws when it is damaged: a document that is not what was sent must not be run. */
export async function readJob(
  folder: DataFolder,
  state: 'pending' | 'current',
  commandId: string,
): Promise<Job | undefined> {
  const found = await readJson(fileOf(folder[state], commandId))
  if (found === undefined) return undefined
  if (typeof found === 'object' && found !== null) {
    const { digest, ...job } = found as Job & { digest: unknown }
    if (job.commandId === commandId && digest === digestOf(job)) {
      parseSendCommandPayload(job.content)
      return job
    }
  }
  throw new Error(`${commandId} is not what was written`)
}

function digestOf({ commandId, jobId, topic, content, received }: Job): string {
  return sha256(JSON.stringify([commandId, jobId, topic, content, received]))
}

/** Forgets names older than seven days and removes what those documents left; answers how many. */
export async function forgetOld(folder: DataFolder): Promise<number> {
  let forgotten = 0
  for (const name of await readdir(folder.done)) {
    const path = join(folder.done, name)
    const { mtimeMs } = await stat(path)
    if (Date.now() - mtimeMs < REMEMBER) continue
    const commandId = name.replace(/\.json$/, '')
    if (isCommandId(commandId)) await rm(join(folder.orchestration, commandId), { recursive: true, force: true })
    await rm(path, { force: true })
    forgotten += 1
  }
  return forgotten
}

async function isDone(folder: DataFolder, commandId: string): Promise<boolean> {
  return (await readJson(fileOf(folder.done, commandId)).catch(() => null)) !== undefined
}

function fileOf(place: string, commandId: string): string {
  return join(place, `${commandId}.json`)
}
