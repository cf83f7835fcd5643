/** Commands to more nodes than are released at once: part after part, and whatever happens between two of them. */
import type { SSM } from '@aws-sdk/client-ssm'
import { eventually, REGION, startTestbed } from '@musterbook/testbed'
import { CANCEL_COMMAND_TOPIC } from '@musterbook/wire'
import { afterAll, describe, expect, it } from 'vitest'
import { clientOf, type SimulatedNode, simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
const { sql } = testbed.server.ground

/** What one transaction puts into mailboxes at most, and a fleet of three such parts. */
const PART = 500
const SILENT = 1_200
const tags = { fleet: 'big' }

/** Some nodes with channels, and behind them in order a fleet that nobody has heard of since it was registered. */
async function given(connected: number) {
  const { account, ...rest } = await testbed.account()
  const nodes: SimulatedNode[] = []
  for (let nth = 0; nth < connected; nth++) nodes.push(await simulatedNode(testbed, { account, ...rest }, { tags }))
  for (const node of nodes) await node.connect()
  await sql`
    insert into nodes (account, region, node_id, registration_date, public_key, fingerprint, key_date)
    select ${account}, ${REGION}, 'mi-ffffffffffff' || lpad(nth::text, 5, '0'), now(), '', '', now()
    from generate_series(1, ${SILENT}) nth`
  await sql`
    insert into tags (account, region, resource_type, resource_id, key, value)
    select account, region, 'ManagedInstance', node_id, 'fleet', 'big' from nodes
    where account = ${account} and node_id like 'mi-ffffffffffff%'`
  const ssm = clientOf(testbed, { account, ...rest })
  const send = async (more = {}) => {
    const { Command } = await ssm.sendCommand({
      DocumentName: 'AWS-RunShellScript',
      Parameters: { commands: ['true'] },
      Targets: [{ Key: 'tag:fleet', Values: ['big'] }],
      MaxConcurrency: '100%',
      ...more,
    })
    return Command?.CommandId ?? ''
  }
  return { account, ssm, nodes, send }
}

/** How many messages each transaction has put into the account's mailboxes, and how many nodes have one. */
async function mailboxes(account: string) {
  // In one statement: parts go on coming.
  const rows = await sql<{ transaction: string; nodeId: string }[]>`
    select xmin::text as transaction, node_id as "nodeId" from mailbox where account = ${account}`
  const parts = new Map<string, number>()
  for (const { transaction } of rows) parts.set(transaction, (parts.get(transaction) ?? 0) + 1)
  return { parts: [...parts.values()], nodes: new Set(rows.map(({ nodeId }) => nodeId)).size }
}

/** While it lasts, every part behind the first is undone before its commit, as if its process were killed. */
async function noPartButTheFirst(account: string): Promise<AsyncDisposable> {
  await sql.unsafe(`
    create function die() returns trigger language plpgsql as $$ begin
      if exists (select 1 from mailbox where account = '${account}' and xmin::text <> pg_current_xact_id()::xid::text)
      then raise exception 'killed between two parts'; end if;
      return null;
    end $$;
    create trigger die after insert on mailbox for each statement execute function die()`)
  return { [Symbol.asyncDispose]: async () => void (await sql`drop function die cascade`) }
}

const command = async (ssm: SSM, CommandId: string) => (await ssm.listCommands({ CommandId })).Commands?.[0]

const ended = (ssm: SSM, CommandId: string) =>
  eventually('the command has ended', async () => {
    const found = await command(ssm, CommandId)
    return found?.CompletedCount === found?.TargetCount ? found : undefined
  })

describe('a command to a big fleet', () => {
  it('is put into the mailboxes of all nodes in parts, into each once', async () => {
    const { account, ssm, send } = await given(0)
    const CommandId = await send()
    const { parts } = await eventually('all nodes have it', async () => {
      const found = await mailboxes(account)
      return found.nodes === SILENT ? found : undefined
    })
    expect(parts.reduce((sum, part) => sum + part)).toBe(SILENT)
    expect(Math.max(...parts)).toBeLessThanOrEqual(PART)
    expect(await command(ssm, CommandId)).toMatchObject({ StatusDetails: 'InProgress', TargetCount: SILENT })
  })

  it('reaches the rest of them after a death between two parts, and nobody twice', async () => {
    const { account, send } = await given(0)
    {
      await using _ = await noPartButTheFirst(account)
      await send()
      await eventually('a part has it', async () => (await mailboxes(account)).nodes === PART)
      await testbed.server.work.settle()
      expect((await mailboxes(account)).nodes).toBe(PART)
    }
    await testbed.server.work.settle()
    const { parts, nodes } = await mailboxes(account)
    expect([nodes, parts.reduce((sum, part) => sum + part)]).toEqual([SILENT, SILENT])
  })

  it('has no more nodes at it than MaxConcurrency, in however many parts', async () => {
    const { account, send } = await given(0)
    await send({ MaxConcurrency: '700' })
    await eventually('a part has it', async () => (await mailboxes(account)).nodes > 0)
    await testbed.server.work.settle()
    expect((await mailboxes(account)).nodes).toBe(700)
  })

  it('can be cancelled between two parts: nodes that have it are told, and nothing stays in a mailbox', async () => {
    const { account, ssm, nodes, send } = await given(2)
    let CommandId: string
    {
      await using _ = await noPartButTheFirst(account)
      CommandId = await send()
      for (const node of nodes) {
        const job = await node.nextJob()
        node.acknowledge(job)
        await node.reply(job.JobId, 'InProgress')
      }
    }
    await ssm.cancelCommand({ CommandId })
    for (const node of nodes) {
      const job = await node.nextJob()
      expect(job.Topic).toBe(CANCEL_COMMAND_TOPIC)
      expect(JSON.parse(job.Content)).toEqual({ CancelMessageId: `aws.ssm.${CommandId}.${node.nodeId}` })
      node.acknowledge(job)
      await node.reply(`aws.ssm.${CommandId}.${node.nodeId}`, 'Cancelled')
    }
    expect(await ended(ssm, CommandId)).toMatchObject({ Status: 'Cancelled', CompletedCount: SILENT + 2 })
    expect((await mailboxes(account)).nodes).toBe(0)
  })

  it('ends on all of them when the time to reach them is over', async () => {
    const { account, ssm, send } = await given(0)
    const CommandId = await send({ MaxConcurrency: '700' })
    await eventually('some have it', async () => (await mailboxes(account)).nodes === 700)
    testbed.clock.advance(3_601_000)
    expect(await ended(ssm, CommandId)).toMatchObject({
      Status: 'TimedOut',
      StatusDetails: 'DeliveryTimedOut',
      DeliveryTimedOutCount: SILENT,
    })
    expect((await mailboxes(account)).nodes).toBe(0)
  })

  it('is kept from the rest of them by one error too many', async () => {
    const { ssm, nodes, send } = await given(1)
    const CommandId = await send({ MaxConcurrency: '1' })
    const job = await nodes[0]!.nextJob()
    await nodes[0]!.reply(job.JobId, 'Failed')
    expect(await ended(ssm, CommandId)).toMatchObject({ Status: 'Failed', StatusDetails: 'Failed', ErrorCount: 1 })
    const { CommandInvocations } = await ssm.listCommandInvocations({
      CommandId,
      Filters: [{ key: 'Status', value: 'Terminated' }],
    })
    expect(CommandInvocations).toHaveLength(50)
  })
})
