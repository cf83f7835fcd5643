/** How long sessions live, on a clock that the tests move (by no more than the minutes that signatures allow). */
import {
  CreateDocumentCommand,
  DescribeSessionsCommand,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm'
import { eventually, type Node, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startSession } from './session-end.ts'

const SECOND_MS = 1_000
const MINUTE_MS = 60_000

let testbed: Testbed
let account: TestAccount
let node: Node

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'warn' })
  account = await testbed.account()
  node = await testbed.node(account, { settings: { sessionUser: '' } })
})
afterAll(() => testbed[Symbol.asyncDispose]())

const start = (DocumentName?: string) =>
  startSession(account.ssm, testbed.caFile, { Target: node.nodeId, DocumentName })

const document = (Name: string, inputs: object) =>
  account.ssm.send(
    new CreateDocumentCommand({
      Name,
      DocumentType: 'Session',
      DocumentFormat: 'JSON',
      Content: JSON.stringify({ schemaVersion: '1.0', sessionType: 'Standard_Stream', inputs }),
    }),
  )

async function stateOf(sessionId: string, State: 'Active' | 'History') {
  const Filters = [{ key: 'SessionId' as const, value: sessionId }]
  const { Sessions } = await account.ssm.send(new DescribeSessionsCommand({ State, Filters }))
  return Sessions?.[0]
}

/** Moves the clock second by second, with a call in each: what was on its way to the server has arrived. */
async function seconds(count: number): Promise<void> {
  for (let second = 0; second < count; second++) {
    testbed.clock.advance(SECOND_MS)
    await account.ssm.send(new DescribeSessionsCommand({ State: 'Active' }))
  }
}

describe('a session', () => {
  it('ends when nobody uses it for as long as the preferences say, and lives on when it is used', async () => {
    await document('SSM-SessionManagerRunShell', { idleSessionTimeout: '1' })
    const [used, idle] = await Promise.all([start(), start()])
    used.type('\r')
    await Promise.all([used, idle].map((shell) => eventually('it runs', () => shell.session())))
    testbed.clock.advance(MINUTE_MS - 5_000)
    used.type('echo still-$((1 + 1))\r')
    await used.shows('still-2')
    testbed.clock.advance(6_000)
    expect(await eventually('the client is told', () => idle.ended())).toBe('The session ended because nobody used it.')
    used.type('echo here-$((1 + 1))\r')
    await used.shows('here-2')
    await account.ssm.send(new TerminateSessionCommand({ SessionId: used.sessionId }))
    await eventually('the client is told', async () => used.ended() !== undefined)
  })

  it('ends at its maximum duration', async () => {
    await document('OneMinute', { maxSessionDuration: '1', idleSessionTimeout: '5' })
    const shell = await start('OneMinute')
    await eventually('it runs', () => shell.session())
    testbed.clock.advance(MINUTE_MS)
    expect(await eventually('the client is told', () => shell.ended())).toBe(
      'The session ended because it reached its maximum duration.',
    )
  })

  it('ends within five seconds when its node stands still, and no sooner', async () => {
    const shell = await start()
    shell.type('echo here-$((1 + 1))\r')
    await shell.shows('here-2')
    await seconds(2)
    shell.type('echo still-$((1 + 1))\r')
    await shell.shows('still-2')
    node.agent.process().kill('SIGSTOP')
    try {
      await seconds(5)
      expect(await eventually('the client is told', () => shell.ended(), 15_000)).toBe(
        'The connection to the node was lost.',
      )
    } finally {
      node.agent.process().kill('SIGCONT')
    }
    const again = await start()
    await eventually('it can be opened again', () => again.session())
    await account.ssm.send(new TerminateSessionCommand({ SessionId: again.sessionId }))
  })

  it('ends when nobody comes to it', async () => {
    const { SessionId } = await account.ssm.send(
      new StartSessionCommand({ Target: node.nodeId, DocumentName: 'OneMinute' }),
    )
    await eventually('the agent came', async () => (await stateOf(SessionId!, 'Active'))?.Status === 'Connected')
    testbed.clock.advance(MINUTE_MS + 1_000)
    const past = await eventually('it is history', () => stateOf(SessionId!, 'History'))
    expect(past.Status).toBe('Terminated')
  })
})
