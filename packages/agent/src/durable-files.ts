// Files that survive a power cut: written beside, synced, renamed, and the folder synced after. Everything that the
// agent promises (an ack, a reply, a result) is on disk through here before it is promised.

import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { reason } from './log.ts'

const PRIVATE_FILE = 0o600
const PRIVATE_FOLDER = 0o700
let counter = 0

/** Replaces the file atomically; mode 0600 unless told otherwise. */
export async function writeDurably(path: string, content: string, mode = PRIVATE_FILE): Promise<void> {
  counter += 1
  const beside = `${path}.${process.pid}-${counter}.tmp`
  try {
    // A killed process of the same number may have left one: in a container the agent's is always the same.
    const file = await open(beside, 'w', mode)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
  await syncFolder(dirname(path))
}

/** Makes the names in a folder durable: new, renamed and removed ones. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Durable as well: what is written into it would be lost together with its folder. */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: PRIVATE_FOLDER })
  if (first === undefined) return
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made))
}

/** The parsed content; undefined when there is no such file. Throws when it is there and cannot be read or parsed. */
export async function readJson(path: string): Promise<unknown> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new DamagedFile(`${path} is damaged: ${reason(error)}`)
  }
}

class DamagedFile extends Error {}

/** The same, but null when it cannot be parsed. What cannot be read just now (EMFILE, EIO) is no damage and throws. */
export async function readJsonOrNull(path: string): Promise<unknown> {
  try {
    return await readJson(path)
  } catch (error) {
    if (error instanceof DamagedFile) return null
    throw error
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

export function isTaken(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EEXIST'
}
