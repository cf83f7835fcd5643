/**
 * Under which user PostgreSQL runs. It refuses root, so a server that is root runs it as the owner of the cluster that is
 * there, else as the user that was asked for, else `postgres`, else `nobody`. An ordinary server runs it as itself.
 */
import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { errorCode, PostgresStartError } from './start-error.ts'

const run = promisify(execFile)

export interface Owner {
  uid: number
  /** For people: a user's name, or `uid 1000`. */
  name: string
  /** For `spawn`: empty when PostgreSQL runs as the user of this process. */
  credentials: { uid?: number; gid?: number }
}

const ROOT = 0
const DEFAULT_USERS = ['postgres', 'nobody']

/** Decides for the folder that holds the cluster, whether it exists yet or not. */
export async function chooseOwner(home: string, user: string | undefined): Promise<Owner> {
  const own = process.geteuid?.() ?? ROOT
  const present = await stat(home).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (own !== ROOT) {
    if (present && present.uid !== own)
      throw new PostgresStartError(
        `the database folder ${home} belongs to uid ${present.uid}, but this server runs as uid ${own}; start it as that user or as root, or change the owner: chown -R ${own} ${home}`,
      )
    return { uid: own, name: `uid ${own}`, credentials: {} }
  }
  const asked = user === undefined ? undefined : await lookUp(user)
  if (user !== undefined && (!asked || asked.uid === ROOT))
    throw new PostgresStartError(
      asked
        ? 'PostgreSQL refuses to run as root; name another user for it'
        : `there is no user ${user} on this machine to run PostgreSQL; name another one`,
    )
  if (present && present.uid !== ROOT) {
    if (asked && asked.uid !== present.uid)
      throw new PostgresStartError(
        `the database folder ${home} belongs to uid ${present.uid}, not to ${user}; leave the user out, or change the owner: chown -R ${asked.uid}:${asked.gid} ${home}`,
      )
    return ownerFrom(present.uid, present.gid, `uid ${present.uid}`)
  }
  if (asked) return ownerFrom(asked.uid, asked.gid, user ?? '')
  for (const name of DEFAULT_USERS) {
    const found = await lookUp(name)
    if (found && found.uid !== ROOT) return ownerFrom(found.uid, found.gid, name)
  }
  throw new PostgresStartError(
    `PostgreSQL refuses to run as root, and this machine has neither of the users ${DEFAULT_USERS.join(' and ')}; name a user for it, or set DATABASE_URL`,
  )
}

/** Which of these paths the owner cannot enter, read or run (`test -x`, `test -r`): the first, or undefined. */
export async function firstBarred(owner: Owner, test: '-x' | '-r', paths: string[]): Promise<string | undefined> {
  // Asked of the kernel under the owner's uid: mode bits alone know nothing of access lists and mount options.
  const script = `for path; do [ ${test} "$path" ] || { printf %s "$path"; exit 0; }; done`
  const { stdout } = await run('/bin/sh', ['-c', script, 'sh', ...paths], { ...owner.credentials, cwd: '/' })
  return stdout === '' ? undefined : stdout
}

const ownerFrom = (uid: number, gid: number, name: string): Owner => ({ uid, name, credentials: { uid, gid } })

/** Through `id`, which knows directories beyond /etc/passwd. */
async function lookUp(user: string): Promise<{ uid: number; gid: number } | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', '--', user]), run('id', ['-g', '--', user])])
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  } catch {
    return undefined
  }
}
