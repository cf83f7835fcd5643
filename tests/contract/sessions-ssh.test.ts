/**
 * OpenSSH through a session: `musterbook session` as ProxyCommand, against an sshd of our own on a loopback port, with
 * keys of its own. What ssh, scp and rsync carry arrives whole.
 */
import { execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DescribeSessionsCommand } from '@aws-sdk/client-ssm'
import { eventually, MUSTERBOOK, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { environmentOf } from './musterbook.ts'
import { type Sshd, startSshd, whyNoSshd } from './sshd.ts'

const run = promisify(execFile)
const why = whyNoSshd()
const hasRsync = existsSync('/usr/bin/rsync')
const MEGABYTE = 1024 * 1024

let testbed: Testbed
let account: TestAccount
let node: Node
let sshd: Sshd

beforeAll(async () => {
  if (why) return
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  node = await testbed.node(account, { settings: { sessionUser: '' } })
  sshd = await startSshd()
})
afterAll(async () => {
  await sshd?.[Symbol.asyncDispose]()
  await testbed?.[Symbol.asyncDispose]()
})

const proxyCommand = () =>
  `${process.execPath} ${MUSTERBOOK} session %h --document AWS-StartSSHSession --parameter portNumber=${sshd.port}`
/** As ~/.ssh/config has it. */
const options = () => [...sshd.clientOptions, '-o', `ProxyCommand=${proxyCommand()}`]
const env = () => ({ ...environmentOf(testbed, account), HOME: sshd.folder })
const ssh = (...args: string[]) =>
  run('ssh', [...options(), `${userInfo().username}@${node.nodeId}`, ...args], { env: env(), maxBuffer: 64 * MEGABYTE })

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

async function sessions(State: 'Active' | 'History') {
  const { Sessions } = await account.ssm.send(new DescribeSessionsCommand({ State }))
  return Sessions ?? []
}

describe.skipIf(why)(why ? `OpenSSH: ${why}` : 'OpenSSH through a session', () => {
  it('runs a command on the node, whose session is over when ssh is', async () => {
    const { stdout, stderr } = await ssh('echo', 'reached', '$SSH_CONNECTION')
    expect([stdout.trim().split(' ')[0], stderr]).toEqual(['reached', ''])
    await eventually('no session is left', async () => (await sessions('Active')).length === 0)
    expect((await sessions('History'))[0]).toMatchObject({ DocumentName: 'AWS-StartSSHSession', Status: 'Terminated' })
  })

  it('hands on the exit code, both outputs and the input', async () => {
    const failed = ssh('cat /no/such/file; exit 7')
    await expect(failed).rejects.toMatchObject({ code: 7, stderr: expect.stringContaining('No such file') })
    const bytes = randomBytes(3 * MEGABYTE)
    const child = spawn('ssh', [...options(), `${userInfo().username}@${node.nodeId}`, 'sha256sum'], { env: env() })
    child.stdin.end(bytes)
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk
    })
    await new Promise((resolve) => child.once('close', resolve))
    expect(said.split(' ')[0]).toBe(sha256(bytes))
  })

  it('copies files with scp both ways', async () => {
    const bytes = randomBytes(5 * MEGABYTE)
    const [here, there, back] = ['here', 'there', 'back'].map((name) => join(sshd.folder, name)) as [
      string,
      string,
      string,
    ]
    await writeFile(here, bytes)
    await run('scp', [...options(), here, `${node.nodeId}:${there}`], { env: env() })
    expect(sha256(await readFile(there))).toBe(sha256(bytes))
    await run('scp', [...options(), `${node.nodeId}:${there}`, back], { env: env() })
    expect(sha256(await readFile(back))).toBe(sha256(bytes))
  })

  it.skipIf(!hasRsync)(hasRsync ? 'keeps folders alike with rsync' : 'rsync is not installed', async () => {
    const [from, to] = ['from', 'to'].map((name) => join(sshd.folder, name)) as [string, string]
    await mkdir(from)
    for (let file = 0; file < 50; file++) await writeFile(join(from, `file-${file}`), randomBytes(20_000 + file))
    const shell = ['ssh', ...options()].map((word) => (word.includes(' ') ? `"${word}"` : word)).join(' ')
    await run('rsync', ['-a', '-e', shell, `${from}/`, `${node.nodeId}:${to}/`], { env: env() })
    const names = await readdir(from)
    expect(await readdir(to)).toEqual(names)
    for (const name of names)
      expect(sha256(await readFile(join(to, name)))).toBe(sha256(await readFile(join(from, name))))
  })

  it('says on standard error alone why there is no session', async () => {
    const refused = run('ssh', [...options(), 'mi-00000000000000000', 'true'], { env: env() })
    await expect(refused).rejects.toMatchObject({
      code: 255,
      stdout: '',
      stderr: expect.stringContaining('StartSession was refused: TargetNotConnected'),
    })
  })

  it('ends when nothing listens on the port', async () => {
    const command = proxyCommand().replace(`portNumber=${sshd.port}`, 'portNumber=1')
    const refused = run('ssh', [...sshd.clientOptions, '-o', `ProxyCommand=${command}`, node.nodeId, 'true'], {
      env: env(),
    })
    await expect(refused).rejects.toMatchObject({ code: 255, stderr: expect.stringMatching(/ECONNREFUSED|refused/) })
  })
})
