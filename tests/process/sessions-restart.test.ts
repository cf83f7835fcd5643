/** What becomes of sessions when the server process that carries them dies: they go on, or end and say how. */
import { join } from 'node:path'
import { CreateActivationCommand, DescribeSessionsCommand } from '@aws-sdk/client-ssm'
import { eventually, startAgent, startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { musterbook } from '../contract/musterbook.ts'
import { startSession } from '../contract/session-end.ts'
import { enrolled } from './enrolled.ts'
import { newPlace, run, startMusterbook } from './musterbook-process.ts'

const COUNTING = `i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "<$i>"; sleep 0.02; done; echo counted-$((1 + 1))\r`

describe('a session whose server is killed', () => {
  it('goes on where both ends come back to its next process, and its recording tells of the gap', async () => {
    await using place = await newPlace()
    await using first = await startMusterbook(place, 'serve')
    const { ActivationId: id = '', ActivationCode: code = '' } = await first.ssm.send(
      new CreateActivationCommand({ IamRole: 'node' }),
    )
    const caFile = join(place.folder, 'ca.pem')
    const endpoint = `https://127.0.0.1:${place.tlsPort}`
    const { region } = first.config
    await using agent = await startAgent({ endpoint, region, caFile, activation: { id, code }, sessionUser: '' })
    const { nodeId } = await enrolled(first.ssm)
    const shell = await startSession(first.ssm, caFile, { Target: nodeId })
    shell.type(`stty -echo; ${COUNTING}`)
    await shell.shows('<60>')
    await first.kill('SIGKILL')
    await using _second = await startMusterbook(place, 'serve')
    await shell.shows('counted-2')
    const counted = [...shell.output().matchAll(/<(\d+)>/g)].map(([, number]) => Number(number))
    expect(counted).toEqual(Array.from({ length: 300 }, (_, at) => at + 1))
    shell.type('exit\r')
    expect(await eventually('the client is told', () => shell.ended())).toBe('')

    const sessions = async (verb: string) => {
      await using started = run(['sessions', verb, shell.sessionId, '--data', place.folder])
      await started.ended
      return started.out()
    }
    await eventually('it is sealed', async () => (await sessions('verify')).includes('whole and sealed'))
    const lines = (await sessions('play')).trim().split('\n')
    expect(lines.some((line) => line.includes('{\\"continued\\":true}'))).toBe(true)
    expect(lines.filter((line) => line.startsWith('{'))).toHaveLength(1)
    expect(agent.log()).not.toContain('session failed')
  })

  it('ends when neither comes back, and its recording is sealed with what is known', async () => {
    await using testbed = await startTestbed({ logLevel: 'warn' })
    const second = await testbed.another()
    const account = await testbed.account()
    const node = await testbed.node(account, { settings: { endpoint: second.nodeEndpoint, sessionUser: '' } })
    const shell = await startSession(account.ssm, testbed.caFile, { Target: node.nodeId })
    shell.type('echo shown-$((1 + 1))\r')
    await shell.shows('shown-2')
    expect(shell.streamUrl).toContain(new URL(second.nodeEndpoint).host)
    await node.agent.kill('SIGKILL')
    shell.client.close()
    await second[Symbol.asyncDispose]()
    testbed.clock.advance(121_000)
    const past = await eventually('it is history', async () => {
      await testbed.server.work.settle()
      const Filters = [{ key: 'SessionId' as const, value: shell.sessionId }]
      const { Sessions } = await account.ssm.send(new DescribeSessionsCommand({ State: 'History', Filters }))
      return Sessions?.[0]
    })
    expect(past).toMatchObject({ Status: 'Terminated', Details: 'The server that carried the session is gone.' })
    testbed.clock.advance(61_000)
    const run = (verb: string) => musterbook(testbed, account, 'sessions', verb, shell.sessionId)
    await eventually('it is sealed', async () => {
      await testbed.server.work.settle()
      return (await run('verify')).text.includes('whole and sealed')
    })
    const events = (await run('play')).text.trim().split('\n')
    expect(events.join('\n')).toContain('shown-2')
    const [, kind, data] = JSON.parse(events.at(-1)!)
    expect(kind).toBe('m')
    expect(JSON.parse(data)).toMatchObject({ cutShort: true, ended: 'The server that carried the session is gone.' })
  })
})
