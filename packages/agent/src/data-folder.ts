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

import { link, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isTaken, makeFolder, readJson } from './durable-files.ts'
import { asProcessIdentity, isAlive, processIdentity } from './process-table.ts'

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
  for (const path of [root, pending, current, done, replies, unsent, orchestration]) await makeFolder(path)
}

/** How long an agent that is just ending may hold the lock, in milliseconds. */
const LOCK_PATIENCE = 5000

/** Takes the folder for this process; throws when another live agent has it. The answer gives it back. */
export async function lockDataFolder(folder: DataFolder): Promise<() => Promise<void>> {
  const own = join(folder.root, `agent.pid.${process.pid}`)
  await writeFile(own, JSON.stringify(processIdentity(process.pid)), { mode: 0o600 })
  try {
    const until = Date.now() + LOCK_PATIENCE
    for (;;) {
      try {
        // A link either appears whole or not at all, and never over another one.
        await link(own, folder.lock)
        return () => rm(folder.lock, { force: true })
      } catch (error) {
        if (!isTaken(error)) throw error
      }
      const holder = asProcessIdentity(await readJson(folder.lock).catch(() => null))
      if (holder === undefined || !isAlive(holder)) await rm(folder.lock, { force: true })
      else if (Date.now() < until) await sleep(100)
      else throw new Error(`another agent (process ${holder.pid}) already works in ${folder.root}`)
    }
  } finally {
    await rm(own, { force: true })
  }
}
