/** `musterbook session` and `musterbook forward` at a terminal: what they leave behind, whom they trust, and what they say. */
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { DescribeSessionsCommand } from '@aws-sdk/client-ssm'
import { eventually, MUSTERBOOK, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startPty } from '../../packages/agent/src/sessions/pty.ts'
import { environmentOf, musterbook, spawnMusterbook } from './musterbook.ts'

let testbed: Testbed
let account: TestAccount
let node: Node
let folder: string

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  node = await testbed.node(account, { settings: { sessionUser: '' } })
  folder = await mkdtemp(join(tmpdir(), 'musterbook-client-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
  await testbed[Symbol.asyncDispose]()
})

const activeSessions = async () =>
  (await account.ssm.send(new DescribeSessionsCommand({ State: 'Active' }))).Sessions ?? []

describe('the terminal of `musterbook session`', () => {
  const text = (name: string) => readFile(join(folder, name), 'utf8')

  /** A terminal of a person's, whose settings are noted before and after the session. */
  function terminal(name: string) {
    const session = `sh -c 'echo $$ >pid-${name}; exec ${process.execPath} ${MUSTERBOOK} session ${node.nodeId}'`
    const script = `cd ${folder}; stty -a >before; ${session}; echo $? >${name}; stty -a >after-${name}`
    const shown: Buffer[] = []
    let over = false
    const pty = startPty(
      {
        file: 'sh',
        args: ['-c', script],
        environment: { ...environmentOf(testbed, account), PATH: process.env.PATH ?? '', TERM: 'xterm' },
        folder,
        cols: 97,
        rows: 31,
      },
      {
        output: (bytes) => void shown.push(bytes),
        exit: () => {
          over = true
        },
      },
    )
    const output = () => Buffer.concat(shown).toString()
    return {
      type: (bytes: string) => pty.write(Buffer.from(bytes), () => {}),
      shows: (words: string) =>
        eventually(`the terminal shows ${words}`, () => output().includes(words)).catch((error) => {
          throw new Error(`${error.message}: ${output()}`)
        }),
      over: () => eventually('it is over', () => over),
    }
  }

  it('is as it was when the shell is left, and had its size meanwhile', async () => {
    const person = terminal('left')
    person.type('stty size; echo here-$((1 + 1))\r')
    await person.shows('here-2')
    await person.shows('31 97')
    person.type('\u0003') // for the far side: here the terminal is raw
    await person.shows('^C')
    person.type('echo still-$((1 + 1))\r')
    await person.shows('still-2')
    person.type('exit\r')
    await person.over()
    expect((await text('left')).trim()).toBe('0')
    expect(await text('after-left')).toBe(await text('before'))
  })

  it('is as it was when the client is ended by a signal, and so is the session', async () => {
    const person = terminal('signalled')
    person.type('echo here-$((1 + 1))\r')
    await person.shows('here-2')
    process.kill(Number(await text('pid-signalled')), 'SIGTERM')
    await person.over()
    await person.shows('The session was ended by SIGTERM.')
    expect(await text('after-signalled')).toBe(await text('before'))
    await eventually('no session is left', async () => (await activeSessions()).length === 0)
  })
})

describe('`musterbook session`', () => {
  it('runs what is piped into its shell, and ends when that is at its end', async () => {
    for (const [input, shown] of [
      ['echo piped-$((1 + 1))\n', 'piped-2'],
      ['echo piped-$((1 + 2))', 'piped-3'], // the last line is not ended
    ] as const) {
      const child = spawnMusterbook(testbed, account, 'session', node.nodeId)
      let said = ''
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk
      })
      child.stdin.end(input)
      expect(await once(child, 'close')).toEqual([0, null])
      expect(said).toContain(shown)
    }
    await eventually('no session is left', async () => (await activeSessions()).length === 0)
  })

  it('ends at once, and says whom it trusts, when the certificate is not of theirs', async () => {
    const wrong = join(folder, 'wrong.pem')
    await writeFile(wrong, rootCertificates[0] ?? '')
    // The node is held by the first process, which its client reaches over TLS alone.
    await using second = await testbed.another()
    const at = { ...testbed, endpoint: second.endpoint }
    for (const command of [
      ['session', node.nodeId],
      ['forward', node.nodeId, '--local', '0', '--port', '22'],
    ]) {
      const { code, text } = await musterbook(at, account, ...command, '--ca', wrong)
      expect(code).toBe(1)
      expect(text).toMatch(/The certificate of 127\.0\.0\.1:\d+ is not to be trusted \(.*certificate.*\)\./)
      expect(text).toContain(
        `Trusted are those in ${wrong}; name the control plane's ca.pem with --ca or SSL_CERT_FILE.`,
      )
      expect(text).not.toContain('    at ')
    }
    await eventually('no session is left', async () => (await activeSessions()).length === 0)
  })

  it('works from elsewhere, over TLS from the first call on, and says whom it trusts', async () => {
    const at = { ...testbed, endpoint: testbed.nodeEndpoint }
    const command = [
      'session',
      node.nodeId,
      '--document',
      'AWS-StartNonInteractiveCommand',
      '--parameter',
      'command=echo over-tls',
    ]
    expect(await musterbook(at, account, ...command)).toMatchObject({ code: 0, text: 'over-tls\n' })
    const wrong = join(folder, 'stranger.pem')
    await writeFile(wrong, rootCertificates[0] ?? '')
    for (const asked of [
      command,
      ['follow', '0'.repeat(36)],
      ['explain', 'x'],
      ['sessions', 'search', 'x'],
      ['accounts', 'list'],
    ]) {
      const { code, text } = await musterbook(at, account, ...asked, '--ca', wrong)
      expect([code, text]).toEqual([
        1,
        expect.stringMatching(/^musterbook: The certificate of 127\.0\.0\.1:\d+ is not to be trusted/),
      ])
    }
  })

  it('refuses a file of authorities that is not there', async () => {
    const { code, text } = await musterbook(testbed, account, 'session', node.nodeId, '--ca', join(folder, 'none.pem'))
    expect([code, text.trim()]).toEqual([1, `musterbook: --ca ${join(folder, 'none.pem')} cannot be read (ENOENT)`])
  })

  const named = async (data: string) => {
    const { accessKeyId, secretAccessKey } = account.config.credentials
    const lines = {
      AWS_ENDPOINT_URL: testbed.endpoint,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    }
    const text = Object.entries(lines).map(([name, value]) => `export ${name}='${value}'\n`)
    await writeFile(join(data, 'env'), text.join(''), { mode: 0o600 })
  }
  const search = ['sessions', 'search', 'nothing-that-was-shown']
  const as = (accessKeyId: string) => ({
    ...account,
    config: { ...account.config, credentials: { accessKeyId, secretAccessKey: accessKeyId } },
  })

  it('takes no credentials from a file that others can read', async () => {
    await named(folder)
    const file = join(folder, 'env')
    await chmod(file, 0o644)
    expect(await musterbook(testbed, as(''), ...search, '--data', folder)).toEqual({
      code: 1,
      text: `musterbook: ${file} can be read by others: run chmod 600 ${file}\n`,
    })
    await chmod(file, 0o600)
    expect((await musterbook(testbed, as(''), ...search, '--data', folder)).text).not.toMatch(/chmod|control plane/)
  })

  it('is root of the data folder that is named, whoever the environment says, and without one whom that says', async () => {
    await named(folder)
    const stranger = as('AKIAIOSFODNN7EXAMPLE')
    expect((await musterbook(testbed, stranger, ...search)).text).toMatch(/security token/)
    expect((await musterbook(testbed, stranger, ...search, '--data', folder)).text).not.toMatch(/security token/)
  })
})
