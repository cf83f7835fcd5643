/** A shell of the official agent in the official plugin whose server goes away: both come back to the next one, and nothing is lost. */
import { CreateActivationCommand, SSMClient } from '@aws-sdk/client-ssm'
import { connected, eventually, REGION, startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { crossing, officialAgent, whyNot } from './official-agent.ts'
import { runPlugin, whyNoPlugin } from './plugin.ts'

const why = whyNot() ?? whyNoPlugin()
const MINUTE = 60_000
const LINES = 2_000
const COUNTING = `stty -echo; i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo "<$i>"; sleep 0.005; done; echo counted-$((1 + 1))\r`

/** The client, with the sessions that it starts carried through this port. */
function through(port: string, client: SSMClient): SSMClient {
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      const output = result.output as { StreamUrl?: string }
      if (output.StreamUrl) output.StreamUrl = output.StreamUrl.replace(/:\d+\//, `:${port}/`)
      return result
    },
    { step: 'initialize' },
  )
  return client
}

describe.skipIf(why)(why ? `the official pair: ${why}` : 'the official pair', { timeout: 4 * MINUTE }, () => {
  it('goes on with a shell where it was when its server was replaced', async () => {
    await using testbed = await startTestbed({ logLevel: 'error' })
    const account = await testbed.account()
    const second = await testbed.another()
    await using door = await crossing(Number(new URL(second.nodeEndpoint).port))
    const { endpoint: at } = door
    await using agent = await officialAgent({ ssm: at, mds: at, mgs: at, region: REGION, caFile: testbed.caFile })
    const { ActivationId: id = '', ActivationCode: code = '' } = await account.ssm.send(
      new CreateActivationCommand({ IamRole: 'node' }),
    )
    const Target = await agent.register({ id, code })
    agent.start()
    await connected(account.ssm, Target, MINUTE)
    const ssm = through(new URL(at).port, new SSMClient(account.config))
    await using shell = await runPlugin(ssm, testbed, { Target })
    await eventually('there is a prompt', () => /[$#] $/.test(shell.output()))
    shell.type(COUNTING)
    await shell.shows('<200>')
    await second[Symbol.asyncDispose]()
    await using third = await testbed.another()
    door.lead(Number(new URL(third.nodeEndpoint).port))
    await eventually('it has counted', () => shell.output().includes('counted-2'), 2 * MINUTE)
    const counted = [...shell.output().matchAll(/<(\d+)>/g)].map(([, number]) => Number(number))
    expect(counted).toEqual(Array.from({ length: LINES }, (_, before) => before + 1))
    shell.type('echo typed-$((1 + 1)); exit\r')
    await shell.shows('typed-2')
    await shell.ended
    ssm.destroy()
  })
})
