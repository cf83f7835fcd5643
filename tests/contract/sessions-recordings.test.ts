/** Recordings are made where no node can reach them: chained, sealed, readable by whoever may. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { StartSessionCommand, TerminateSessionCommand, UpdateServiceSettingCommand } from '@aws-sdk/client-ssm'
import { eventually, MUSTERBOOK, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startSession } from './session-end.ts'

let testbed: Testbed
let account: TestAccount
let node: Node

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  node = await testbed.node(account, { settings: { sessionUser: '' } })
})
afterAll(() => testbed[Symbol.asyncDispose]())

/** `musterbook sessions …` as a person types it. */
async function musterbook(...args: string[]): Promise<{ code: number; text: string }> {
  const { accessKeyId, secretAccessKey } = account.config.credentials
  const env = {
    PATH: process.env.PATH,
    AWS_ENDPOINT_URL: testbed.endpoint,
    AWS_REGION: account.config.region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  }
  const run = promisify(execFile)(process.execPath, [MUSTERBOOK, 'sessions', ...args], { env })
  return run.then(
    ({ stdout }) => ({ code: 0, text: stdout }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      text: error.stdout + error.stderr,
    }),
  )
}

async function recordedShell(secretWord: string): Promise<string> {
  const shell = await startSession(account.ssm, testbed.caFile, { Target: node.nodeId })
  shell.client.resize({ cols: 100, rows: 40 })
  shell.type(`stty -echo; printf '%s' hid; printf '%s\\n' ${secretWord.slice(3)}; exit\r`)
  await eventually('it ends', () => shell.ended() !== undefined)
  await eventually('it is sealed', async () => (await musterbook('verify', shell.sessionId)).text.includes('sealed,'))
  return shell.sessionId
}

describe('a recorded shell', () => {
  it('is asciicast, whole and sealed, and found by what it showed', async () => {
    const sessionId = await recordedShell('hidden-treasure')
    const { text } = await musterbook('play', sessionId)
    const [header, ...events] = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(header).toMatchObject({ version: 2, width: 80, height: 24 })
    expect(header.title).toContain(sessionId)
    const shown = events.filter(([, kind]) => kind === 'o').map(([, , data]) => data)
    expect(shown.join('')).toContain('hidden-treasure')
    expect(events.some(([, kind, data]) => kind === 'r' && data === '100x40')).toBe(true)
    const times = events.map(([seconds]) => seconds)
    expect(times).toEqual([...times].sort((a, b) => a - b))
    const found = await musterbook('search', 'hidden-treasure')
    expect([found.code, found.text.split(' ')[0]]).toEqual([0, sessionId])
    expect((await musterbook('search', 'never-shown')).code).toBe(1)
  })

  it('is found by what was typed letter by letter, coloured or not', async () => {
    const shell = await startSession(account.ssm, testbed.caFile, { Target: node.nodeId })
    for (const letter of 'echo hid') shell.type(letter)
    shell.type("; printf 'col\\033[31mour\\033[0med-word\\n'; exit\r")
    await eventually('it ends', () => shell.ended() !== undefined)
    for (const word of ['echo hid; printf', 'coloured-word']) {
      const found = await eventually(word, async () => {
        const { code, text } = await musterbook('search', word)
        return code === 0 && text
      })
      expect(found.split(' ')[0]).toBe(shell.sessionId)
    }
  })

  it('is found once by what it showed once, also where more was shown a while later', async () => {
    const shell = await startSession(account.ssm, testbed.caFile, { Target: node.nodeId })
    shell.type('stty -echo; echo only-$((1 + 1))-once\r')
    await shell.shows('only-2-once')
    await eventually('it is written', async () => (await musterbook('search', 'only-2-once')).code === 0)
    shell.type('echo another-$((1 + 1))-part; exit\r') // repeats the last words of the part before
    await eventually('it ends', () => shell.ended() !== undefined)
    await eventually('that is written, too', async () => (await musterbook('search', 'another-2-part')).code === 0)
    const { text } = await musterbook('search', 'only-2-once')
    expect(text.trim().split('\n')).toHaveLength(1)
  })

  it('shows what was changed, cut off or taken out', async () => {
    const { sql } = testbed.server.ground
    const changed = await recordedShell('hidden-one')
    // What was typed may be shown in a part before the one that the shell shows it in.
    const [part] = await sql`update session_recordings set body = replace(body, 'den-one', 'den-two')
      where session_id = ${changed} and number = (select min(number) from session_recordings
        where session_id = ${changed} and body like '%den-one%') returning number`
    expect(await musterbook('verify', changed)).toMatchObject({
      code: 1,
      text: expect.stringContaining(`BROKEN at part ${part?.number}`),
    })

    const cut = await recordedShell('hidden-cut')
    await sql`delete from session_recordings where session_id = ${cut}
      and number = (select max(number) from session_recordings where session_id = ${cut})`
    expect((await musterbook('verify', cut)).code).toBe(1)
  })

  it('is not for other accounts', async () => {
    const sessionId = await recordedShell('hidden-mine')
    const stranger = await testbed.account()
    const mine = account
    account = stranger
    try {
      expect((await musterbook('search', 'hidden')).code).toBe(1)
      expect((await musterbook('play', sessionId)).text).toContain('There is no recording')
    } finally {
      account = mine
    }
  })

  it('is not made when the account does not want it', async () => {
    const SettingId = '/musterbook/session-manager/recording'
    await account.ssm.send(new UpdateServiceSettingCommand({ SettingId, SettingValue: 'false' }))
    const { SessionId } = await account.ssm.send(new StartSessionCommand({ Target: node.nodeId }))
    await account.ssm.send(new TerminateSessionCommand({ SessionId }))
    expect((await musterbook('play', SessionId!)).text).toContain('There is no recording')
  })
})
