// As whom a session's programs run, as the official agent decides it: runAsElevated stays the agent's own user; with
// runAsEnabled the user that the session or the preferences name; otherwise `ssm-user`, made when it is missing, or the
// agent's own user when the agent is not root. setpriv changes uid, gid and the groups of the user in one go.

import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { promisify } from 'node:util'

const run = promisify(execFile)

export const DEFAULT_SESSION_USER = 'ssm-user'
const SUDOERS_FILE = '/etc/sudoers.d/ssm-agent-users'
const USER_NAME = /^[A-Za-z_][A-Za-z0-9_.@-]{0,63}\$?$/
const SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface RunAs {
  name: string
  home: string
  /** What stands before the program; empty for the agent's own user. */
  prefix: string[]
}

export interface RunAsWish {
  elevated: boolean
  /** Undefined: not enabled. */
  user: string | undefined
  /** Whose shell it is when nothing else is said; empty: the agent's own user. */
  sessionUser: string
}

/** Throws an Error in words for the person who started the session. */
export async function runAs({ elevated, user, sessionUser }: RunAsWish): Promise<RunAs> {
  const isRoot = process.getuid?.() === 0
  if (user !== undefined && !elevated) {
    if (user === '')
      throw new Error('RunAs is enabled, but no user is named: neither by the session nor by the preferences.')
    if (!isRoot) throw new Error('RunAs needs an agent that runs as root.')
    return other(user)
  }
  if (elevated || !isRoot || sessionUser === '') return own()
  return other(sessionUser).catch(async (error) => {
    if (sessionUser !== DEFAULT_SESSION_USER) throw error
    await makeSessionUser()
    return other(sessionUser)
  })
}

function own(): RunAs {
  const { username, homedir } = userInfo()
  return { name: username, home: homedir, prefix: [] }
}

async function other(name: string): Promise<RunAs> {
  if (!USER_NAME.test(name)) throw new Error('RunAs: that is not the name of a user.')
  const { stdout } = await run('getent', ['passwd', name], { encoding: 'utf8' }).catch(() => {
    throw new Error(`RunAs: there is no user ${name} on this node.`)
  })
  const [, , uid = '', gid = '', , home = '/'] = stdout.trim().split(':')
  if (uid === '0' || gid === '0') throw new Error(`RunAs: ${name} is root, which sessions do not run as.`)
  return { name, home, prefix: ['/usr/bin/setpriv', '--reuid', uid, '--regid', gid, '--init-groups', '--'] }
}

/** With sudo, as the official agent makes it: who may start a session is decided before. */
async function makeSessionUser(): Promise<void> {
  await run('useradd', ['-m', '-c', 'Session Manager', DEFAULT_SESSION_USER])
  await writeFile(SUDOERS_FILE, `${DEFAULT_SESSION_USER} ALL=(ALL) NOPASSWD:ALL\n`, { mode: 0o440 }).catch(() => {
    // A machine without sudo has no such folder.
  })
}

/** Nothing of the agent's own environment: it may hold credentials. */
export function environmentOf({ name, home }: RunAs): Record<string, string> {
  return {
    PATH: SEARCH_PATH,
    HOME: home,
    USER: name,
    LOGNAME: name,
    SHELL: '/bin/sh',
    TERM: 'xterm-256color',
    LANG: 'C.UTF-8',
  }
}
