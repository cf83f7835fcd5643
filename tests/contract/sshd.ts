/** An OpenSSH server of a test's own: its keys, its port on the loopback, nothing of the machine's. */
import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { eventually } from '@musterbook/testbed'

const run = promisify(execFile)
const SSHD = '/usr/sbin/sshd'
/** Where sshd drops its privileges into; its package makes it at the machine's start. */
const EMPTY_FOLDER = '/run/sshd'

/** Why there can be none here, or undefined. */
export function whyNoSshd(): string | undefined {
  if (!existsSync(SSHD)) return `${SSHD} is not installed`
  if (process.getuid?.() !== 0) return 'sshd needs root to log anybody in'
  return undefined
}

export interface Sshd extends AsyncDisposable {
  port: number
  /** Holds the keys; free for the test's own files. */
  folder: string
  /** For ssh, scp and sftp: the key, and no word of the user's own configuration. */
  clientOptions: string[]
}

export async function startSshd(): Promise<Sshd> {
  const folder = await mkdtemp(join(tmpdir(), 'musterbook-sshd-'))
  const path = (name: string) => join(folder, name)
  await mkdir(EMPTY_FOLDER, { recursive: true, mode: 0o755 })
  for (const name of ['host', 'user']) await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path(name)])
  await writeFile(path('authorized'), await readFile(path('user.pub')), { mode: 0o600 })
  const port = await freePort()
  const settings = {
    ListenAddress: `127.0.0.1:${port}`,
    HostKey: path('host'),
    AuthorizedKeysFile: path('authorized'),
    PidFile: 'none',
    PermitRootLogin: 'yes',
    PasswordAuthentication: 'no',
    UsePAM: 'no',
    StrictModes: 'no',
    PrintMotd: 'no',
    Subsystem: 'sftp internal-sftp',
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} ${value}\n`)
  await writeFile(path('sshd_config'), lines.join(''))
  const child = spawn(SSHD, ['-D', '-e', '-f', path('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk
  })
  await eventually('sshd listens', () => {
    if (child.exitCode !== null) throw new Error(said)
    return said.includes('Server listening')
  })
  const fixed = { BatchMode: 'yes', StrictHostKeyChecking: 'no', UserKnownHostsFile: '/dev/null', LogLevel: 'ERROR' }
  return {
    port,
    folder,
    clientOptions: [
      '-F',
      'none',
      '-i',
      path('user'),
      ...Object.entries(fixed).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ],
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address ? address.port : 0
}
