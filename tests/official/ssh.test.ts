/** OpenSSH through the AWS CLI and the official plugin, as AWS documents the ProxyCommand. */
import { execFile, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { environmentOf } from '../contract/musterbook.ts'
import { type Sshd, startSshd, whyNoSshd } from '../contract/sshd.ts'
import { whyNoPlugin } from './plugin.ts'

const run = promisify(execFile)
const noCli = spawnSync('aws', ['--version']).status === 0 ? undefined : 'the AWS CLI is not installed'
const why = whyNoPlugin() ?? whyNoSshd() ?? noCli

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

const env = () => ({
  ...environmentOf(testbed, account),
  PATH: `${process.env.MUSTERBOOK_OFFICIAL_PLUGIN}:${process.env.PATH}`,
  HOME: process.env.HOME,
  AWS_DEFAULT_REGION: account.config.region,
  AWS_PAGER: '',
})
const options = () => [
  ...sshd.clientOptions,
  '-o',
  `ProxyCommand=aws ssm start-session --target %h --document-name AWS-StartSSHSession --parameters portNumber=${sshd.port}`,
]
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe.skipIf(why)(why ? `ssh through the AWS CLI: ${why}` : 'ssh through the AWS CLI', () => {
  it('runs a command and hands on its exit code', async () => {
    const { stdout } = await run('ssh', [...options(), node.nodeId, 'echo', 'reached'], { env: env() })
    expect(stdout).toBe('reached\n')
    await expect(run('ssh', [...options(), node.nodeId, 'exit 7'], { env: env() })).rejects.toMatchObject({ code: 7 })
  })

  it('copies a file with scp both ways', async () => {
    const bytes = randomBytes(2 * 1024 * 1024)
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
})
