// Where everything lies in the agent's data folder, and the lock that keeps a second agent out of it.
//
//   identity.json (0600)          instance id, private key, fingerprint
//   credentials, credentials.json the role token of the hour: for the scripts (ini) and for the executors
//   connection.json               endpoint, region, CA and node id, for the executors
//   agent.pid                     who works here
//   inbox/{pending,current,done}  one file per command; done keeps only names, for seven days
//   replies/                      replies that the control plane has not acknowledged
//   unsent/                       documents that ended before the control plane had all of their output
//   orchestration/<command id>/   scripts, output, results: see orchestration.ts
//   runtime/                      what a restart of the machine makes void

import { chmod, link, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isTaken, makeFolder, readJsonOrNull } from './durable-files.ts'
import { asProcessIdentity, isAlive, type ProcessIdentity, processIdentity } from './process-table.ts'

export interface DataFolder {
  root: string
  identity: string
  nextIdentity: string
  connection: string
  credentialsIni: string
  credentialsJson: string
  lock: string
  pending: string
  current: string
  done: string
  replies: string
  unsent: string
  orchestration: string
}

export function dataFolderOf(root: string): DataFolder {
  return {
    root,
    identity: join(root, 'identity.json'),
    nextIdentity: join(root, 'identity.next.json'),
    connection: join(root, 'connection.json'),
    credentialsIni: join(root, 'credentials'),
    credentialsJson: join(root, 'credentials.json'),
    lock: join(root, 'agent.pid'),
    pending: join(root, 'inbox', 'pending'),
    current: join(root, 'inbox', 'current'),
    done: join(root, 'inbox', 'done'),
    replies: join(root, 'replies'),
    unsent: join(root, 'unsent'),
    orchestration: join(root, 'orchestration'),
  }
}

export async function makeDataFolder(folder: DataFolder): Promise<void> {
  const { root, pending, current, done, replies, unsent, orchestration } = folder
  await makeFolder(root)
  await makePrivate(root)
  for (const path of [pending, current, done, replies, unsent, orchestration]) await makeFolder(path)
}

/** Whoever may write here says what the agent runs. A folder that was there before is not always the agent's alone. */
async function makePrivate(root: string): Promise<void> {
  const { uid, mode } = await stat(root)
  const self = process.geteuid?.() ?? uid
  if (uid !== self)
    throw new Error(
      `${root} belongs to another user (uid ${uid}): the agent's data folder must be its own user's (${self})`,
    )
  if ((mode & 0o077) !== 0) await chmod(root, 0o700)
}

/** How long an agent that is just ending may hold the lock, in milliseconds. */
const LOCK_PATIENCE = 5000

/** Takes the folder for this process; throws when another live agent has it. The answer gives it back. */
export async function lockDataFolder(folder: DataFolder): Promise<() => Promise<void>> {
  const until = Date.now() + LOCK_PATIENCE
  for (;;) {
    if (await takeLock(folder.lock)) return () => rm(folder.lock, { force: true })
    const holder = (await holderOf(folder.lock)).process
    if (holder && isAlive(holder) && Date.now() >= until)
      throw new Error(`another agent (process ${holder.pid}) already works in ${folder.root}`)
    await sleep(100)
  }
}

/**
 * True when the lock is this process's now. A dead process's lock is replaced by whoever holds the right to replace it:
 * a lock of its own, named after the dead process. Without it two agents could both find the same process dead, and the
 * slower one would replace the lock of the faster one.
 */
async function takeLock(path: string): Promise<boolean> {
  const { process: holder, name } = await holderOf(path)
  if (holder && isAlive(holder)) return false
  const own = `${path}.${process.pid}.tmp`
  // One that an earlier process of this number left may be the same file as the lock: removed, never written into.
  await rm(own, { force: true })
  await writeFile(own, JSON.stringify(processIdentity(process.pid)), { mode: 0o600, flag: 'wx' })
  try {
    // A link either appears whole or not at all, and never over another one.
    await link(own, path)
    return true
  } catch (error) {
    if (!isTaken(error)) throw error
    if (name === undefined) return false
    const right = `${path}.after-${name}`
    if (!(await takeLock(right))) return false
    try {
      if ((await holderOf(path)).name !== name) return false
      await rename(own, path)
      return true
    } finally {
      await rm(right, { force: true })
    }
  } finally {
    await rm(own, { force: true })
  }
}

/** Its name is undefined when nobody holds the lock; a lock that names no process is that of nobody who is alive. */
async function holderOf(path: string): Promise<{ process?: ProcessIdentity; name?: string }> {
  const found = await readJsonOrNull(path)
  if (found === undefined) return {}
  const holder = asProcessIdentity(found)
  return holder ? { process: holder, name: `${holder.pid}-${holder.startTime}-${holder.bootId}` } : { name: 'damaged' }
}
