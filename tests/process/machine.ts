/**
 * A machine of one's own on this machine: a mount and process namespace in which /etc, /opt, /run, /usr and /var are
 * overlays, so that a script may install, register and start what it likes as root, and all of it is gone afterwards.
 * systemd cannot run in it: `systemctl` is a recorder that notes each call and starts or stops what the unit names.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { eventually } from '@musterbook/testbed'

const FOLDERS = ['etc', 'opt', 'run', 'usr', 'var']

/** Why there can be none here, or undefined. */
export function noMachine(): string | undefined {
  if (process.getuid?.() !== 0) return 'namespaces with overlays need root'
  if (!/^\/usr\/(local\/)?bin\//.test(process.execPath)) return 'Node.js is not where a package puts it'
  const script =
    'mkdir -p "$0/l" "$0/u" "$0/w" "$0/m" && mount -t overlay -o lowerdir="$0/l",upperdir="$0/u",workdir="$0/w" overlay "$0/m"'
  const place = spawnSync('mktemp', ['-d']).stdout.toString().trim()
  const made = spawnSync('unshare', ['-m', '-p', '-f', '--mount-proc', 'sh', '-c', script, place])
  spawnSync('rm', ['-rf', place])
  return made.status === 0 ? undefined : 'namespaces with overlays cannot be made here'
}

export interface Ran {
  code: number
  /** Standard output and error, as they came. */
  text: string
}

export interface Machine extends AsyncDisposable {
  /** Runs a shell script in it, as root, with nothing of this process's environment. */
  run(script: string): Promise<Ran>
  /** A file of it as it is seen from inside. */
  read(path: string): Promise<string>
  /** Puts a program there. */
  install(from: string, to: string): Promise<void>
  /** The calls of systemctl so far. */
  calls(): Promise<string[]>
}

export async function startMachine(options: { systemd: boolean }): Promise<Machine> {
  const root = await mkdtemp(join(tmpdir(), 'musterbook-machine-'))
  await chmod(root, 0o755)
  const upper = (path: string) => join(root, path.split('/')[1]!, 'upper', ...path.split('/').slice(2))
  for (const folder of FOLDERS)
    for (const part of ['upper', 'work']) await mkdir(join(root, folder, part), { recursive: true })
  await mkdir(upper('/var/home'))
  async function write(path: string, content: string, mode = 0o644): Promise<void> {
    await mkdir(dirname(upper(path)), { recursive: true })
    await writeFile(upper(path), content, { mode })
  }
  if (options.systemd) {
    await mkdir(upper('/run/systemd/system'), { recursive: true })
    await write('/usr/local/bin/systemctl', RECORDER, 0o755)
  }
  const mounts = FOLDERS.map(
    (name) =>
      `mount -t overlay -o lowerdir=/${name},upperdir=${root}/${name}/upper,workdir=${root}/${name}/work overlay /${name}`,
  )
  // Those that the host keeps are not this machine's.
  const hidden = `rm -rf /var/lib/amazon /etc/amazon${options.systemd ? '' : ' /run/systemd/system'}`
  const script = [...mounts, hidden, 'echo ready', INIT].join(' && ')
  const unshare = ['-m', '-p', '-f', '--mount-proc', '--propagation', 'private', '--kill-child', 'sh', '-c', script]
  const holder: ChildProcess = spawn('unshare', unshare, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(holder.stdout!, 'data')
  const inside = await eventually('the namespace has its first process', async () => {
    const children = await readFile(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8')
    return children.trim().split(' ')[0] || undefined
  })

  // Through the mount: an overlay does not see what is put below it.
  const seen = (path: string) => `/proc/${inside}/root${path}`

  const run = (text: string) =>
    new Promise<Ran>((resolve) => {
      const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
      const args = ['-t', inside, '-m', '-p', 'sh', '-c', text]
      const child = execFile(
        'nsenter',
        args,
        { cwd: '/', env: { PATH, HOME: '/var/home' } },
        (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, text: `${stdout}${stderr}` }),
      )
    })

  return {
    run,
    read: (path) => readFile(seen(path), 'utf8'),
    async install(from, to) {
      await mkdir(dirname(seen(to)), { recursive: true })
      await copyFile(from, seen(to))
      await chmod(seen(to), 0o755)
    },
    calls: () =>
      readFile(seen('/var/systemctl.calls'), 'utf8').then(
        (text) => text.trimEnd().split('\n'),
        () => [],
      ),
    async [Symbol.asyncDispose]() {
      const gone = once(holder, 'exit')
      holder.kill('SIGKILL') // the namespaces end with it, and everything in them
      await gone
      await rm(root, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** The first process collects what others leave, as that of a real machine does. */
const INIT = 'while :; do sleep 1; done'

/** Notes what it is asked, and does to the service what systemd would: by its unit, or by its name where it has none. */
const RECORDER = `#!/bin/sh
echo "$*" >> /var/systemctl.calls
verb="$1"
for name in "$@"; do :; done
unit="/etc/systemd/system/$name.service"
pid="/run/$name.pid"
stop() { if [ -f "$pid" ]; then kill "$(cat "$pid")" 2>/dev/null; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.1; done; rm -f "$pid"; fi; }
case "$verb" in
  enable|start|restart)
    stop
    if [ -f "$unit" ]; then command="$(sed -n 's/^ExecStart=//p' "$unit")"; else command="$name"; fi
    nohup $command > "/var/$name.log" 2>&1 < /dev/null &
    echo $! > "$pid" ;;
  disable|stop) stop ;;
esac
exit 0
`
