import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buildSync } from 'esbuild'
import { afterEach, beforeEach, expect, it } from 'vitest'

const PROCESSES = 8
/** Taken side by side, so that whoever gets none of them waits for all of them at once. */
const FOLDERS = 20

/** Locks every folder of its arguments when told to, says which it has got, and holds them until its input ends. */
const LOCKER = `
  import { dataFolderOf, lockDataFolder } from './data-folder.ts'
  const taken = (root) => lockDataFolder(dataFolderOf(root)).then(() => true, () => false)
  process.stdin.on('end', () => process.exit())
  process.stdin.once('data', async () => {
    const all = await Promise.all(process.argv.slice(2).map(taken))
    process.stdout.write(JSON.stringify(all) + '\\n')
  })
  process.stdout.write('ready\\n')`

let place: string
let program: string
let processes: ChildProcess[]

beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'musterbook-locks-'))
  program = join(place, 'locker.cjs')
  const resolveDir = join(import.meta.dirname, '../../packages/agent/src')
  buildSync({ stdin: { contents: LOCKER, resolveDir }, outfile: program, bundle: true, platform: 'node' })
  processes = []
})

afterEach(async () => {
  await Promise.all(
    processes.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    }),
  )
  rmSync(place, { recursive: true, force: true })
})

/** For each folder how many of the processes, which start at one moment, have got it. */
async function holders(folders: string[]): Promise<number[]> {
  const talks = Array.from({ length: PROCESSES }, () => {
    const child = spawn(process.execPath, [program, ...folders], { stdio: ['pipe', 'pipe', 'inherit'] })
    processes.push(child)
    return { child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() }
  })
  for (const { lines } of talks) await lines.next()
  for (const { child } of talks) child.stdin.write('go\n')
  const counts = folders.map(() => 0)
  for (const { lines } of talks) {
    const all = JSON.parse((await lines.next()).value) as boolean[]
    for (const [at, taken] of all.entries()) if (taken) counts[at] = (counts[at] ?? 0) + 1
  }
  return counts
}

function foldersWith(lock: string | undefined): string[] {
  return Array.from({ length: FOLDERS }, (_, nth) => {
    const folder = join(place, String(nth))
    mkdirSync(folder)
    if (lock !== undefined) writeFileSync(join(folder, 'agent.pid'), lock)
    return folder
  })
}

it.each([
  ['over the lock of a dead process', JSON.stringify({ pid: 4_194_305, startTime: '1', bootId: 'another' })],
  ['over a lock that a power cut has left empty', ''],
  ['where there is no lock', undefined],
])('lets exactly one of many agents that start at one moment work in a data folder, %s', async (_, lock) => {
  const folders = foldersWith(lock)
  expect(await holders(folders)).toEqual(folders.map(() => 1))
  for (const folder of folders) expect(readdirSync(folder)).toEqual(['agent.pid'])
})
