/**
 * PostgreSQL's own log: `postgres.log` in the data folder, two files of a bounded size, opened by the server (so that it
 * belongs to it) and inherited by PostgreSQL.
 */
import { unwatchFile, watchFile } from 'node:fs'
import { copyFile, type FileHandle, open, rename, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'

/** PostgreSQL writes a few lines per start: years fit. */
const LARGEST_BYTES = 1024 * 1024
const WATCH_MS = 60_000
const TAIL_BYTES = 4096
const TAIL_LINES = 6

export interface LogFile {
  path: string
  descriptor: number
  /** The last lines that were written since the log was opened. */
  tail(): Promise<string>
  close(): Promise<void>
}

export async function openLog(folder: string): Promise<LogFile> {
  const path = join(folder, 'postgres.log')
  const old = await stat(path).catch(() => undefined)
  if (old && old.size > LARGEST_BYTES) await rename(path, `${path}.1`)
  const file = await open(path, 'a+', 0o600)
  const start = (await file.stat()).size
  const bound = ({ size }: { size: number }) => {
    if (size > LARGEST_BYTES) void shorten(path)
  }
  watchFile(path, { interval: WATCH_MS, persistent: false }, bound)
  return {
    path,
    descriptor: file.fd,
    tail: () => readTail(file, start),
    async close() {
      unwatchFile(path, bound)
      await file.close()
    },
  }
}

/** Copies and empties: PostgreSQL keeps its descriptor, and appending it goes on at the new end. */
async function shorten(path: string): Promise<void> {
  try {
    await copyFile(path, `${path}.1`)
    await truncate(path)
  } catch {
    // A full disk: the next look tries again.
  }
}

async function readTail(file: FileHandle, start: number): Promise<string> {
  const { size } = await file.stat()
  const from = Math.max(Math.min(start, size), size - TAIL_BYTES)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from)
  return buffer.toString('utf8', 0, bytesRead).trim().split('\n').slice(-TAIL_LINES).join('\n')
}
