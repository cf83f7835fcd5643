/** `musterbook follow` as an operator runs it: two real nodes, one terminal, and the ways in which it ends. */
import { once } from 'node:events'
import { CancelCommandCommand, SendCommandCommand } from '@aws-sdk/client-ssm'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { buildOutputChunk, OUTPUT_MESSAGE } from '@musterbook/wire'
import { afterAll, describe, expect, it } from 'vitest'
import { simulatedNode } from '../contract/simulated-node.ts'
import { run } from './musterbook-process.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

function follow({ config }: TestAccount, ...args: string[]) {
  return run(['follow', ...args], {
    AWS_ENDPOINT_URL: config.endpoint,
    AWS_REGION: config.region,
    AWS_ACCESS_KEY_ID: config.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: config.credentials.secretAccessKey,
  })
}

async function sent({ ssm }: TestAccount, InstanceIds: string[], commands: string[]): Promise<string> {
  const input = { DocumentName: 'AWS-RunShellScript', InstanceIds, Parameters: { commands } }
  const { Command } = await ssm.send(new SendCommandCommand(input))
  return Command!.CommandId!
}

describe('musterbook follow', () => {
  it('shows the lines of every node under a name that is its own, and ends as the command does', async () => {
    const account = await testbed.account()
    const [one, two] = await Promise.all([testbed.node(account), testbed.node(account)])
    const ids = [one.nodeId, two.nodeId]
    const script = ['echo out one', 'echo err one >&2', 'printf "no end"', `test $AWS_SSM_INSTANCE_ID = ${one.nodeId}`]
    const id = await sent(account, ids, script)
    await using first = follow(account, id)
    expect(await first.ended, first.err()).toBe(1)
    // Both machines have one name, so that their ids tell them apart.
    for (const node of ids)
      for (const line of [`${node} | out one`, `${node} ! err one`, `${node} | no end`])
        expect(first.out().split('\n')).toContain(line)
    expect(first.err()).toBe(`2 of 2 done: 1 Failed, 1 Success\nFailed: ${two.nodeId}\n`)
    await using again = follow(account, id)
    expect(await again.ended).toBe(1)
    expect(again.out().split('\n').toSorted()).toEqual(first.out().split('\n').toSorted())
  })

  it('shows the nodes that run, of many more that wait for their turn', async () => {
    const account = await testbed.account()
    const tags = { fleet: 'large' }
    const nodes = await Promise.all(Array.from({ length: 70 }, () => simulatedNode(testbed, account, { tags })))
    // Commands are released in the order of the ids, and listed in the opposite one.
    const first = nodes.toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1))[0]!
    await first.connect()
    const Targets = [{ Key: 'tag:fleet', Values: ['large'] }]
    const input = { DocumentName: 'AWS-RunShellScript', Targets, MaxConcurrency: '1', Parameters: { commands: ['x'] } }
    const { Command } = await account.ssm.send(new SendCommandCommand(input))
    const CommandId = Command!.CommandId!
    await using following = follow(account, CommandId)
    const job = await first.nextJob()
    first.acknowledge(job)
    const data = Buffer.from('one of many\n').toString('base64')
    const chunk = { jobId: job.JobId, step: 'aws:runShellScript', stream: 'stdout' as const, start: 0, data }
    first.send(OUTPUT_MESSAGE.output, buildOutputChunk(chunk))
    await eventually('its line is shown', () => following.out().includes(`${first.nodeId} | one of many\n`))
    await account.ssm.send(new CancelCommandCommand({ CommandId }))
    first.acknowledge(await first.nextJob())
    await first.reply(job.JobId, 'Success', { 'aws:runShellScript': { stdout: 'one of many\n' } })
    expect(await following.ended, following.err()).toBe(1)
    expect(following.err()).toContain('70 of 70 done: 69 Cancelled, 1 Success\n')
  })

  it('goes when it is interrupted or nobody reads it, and the command goes on', async () => {
    const account = await testbed.account()
    const { nodeId } = await testbed.node(account)
    const id = await sent(account, [nodeId], ['while sleep 0.1; do date; done'])
    await using interrupted = follow(account, id)
    await eventually('it shows lines', () => interrupted.out().split('\n').length > 2)
    expect(await interrupted.kill('SIGINT')).toBe(130)
    expect(interrupted.err()).toContain(`the command goes on; it is shown again by: musterbook follow ${id}`)
    await using unread = follow(account, id)
    await once(unread.child.stdout!, 'data')
    unread.child.stdout!.destroy()
    expect(await unread.ended, unread.err()).toBe(0)
    expect(unread.err()).not.toContain('EPIPE')
    await account.ssm.send(new CancelCommandCommand({ CommandId: id }))
    await using last = follow(account, id)
    expect(await last.ended).toBe(1)
    expect(last.err()).toContain(`Cancelled: `)
  })

  it('says in one line what it cannot follow', async () => {
    const account = await testbed.account()
    const unknown = crypto.randomUUID()
    const Targets = [{ Key: 'tag:no', Values: ['body'] }]
    const input = { DocumentName: 'AWS-RunShellScript', Targets, Parameters: { commands: ['true'] } }
    const { Command } = await account.ssm.send(new SendCommandCommand(input))
    for (const [words, answer] of [
      [[unknown], `there is no command ${unknown} in us-east-1, or it is kept no longer`],
      [['nonsense'], "'nonsense' is not the id of a command"],
      [[unknown, 'more'], "'more' is one word too many"],
      [[Command!.CommandId!], 'the command went to no node: '],
    ] as const) {
      await using running = follow(account, ...words)
      expect(await running.ended).toBe(1)
      expect(running.err()).toMatch(/^musterbook: [^\n]*\n$/)
      expect(running.err()).toContain(answer)
    }
  })
})
