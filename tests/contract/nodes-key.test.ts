import { createPrivateKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SSM } from '@aws-sdk/client-ssm'
import { connected, eventually, REGION, startTestbed } from '@musterbook/testbed'
import { afterAll, expect, it } from 'vitest'
import { requestRoleToken } from '../../packages/agent/src/role-token.ts'
import { createTransport } from '../../packages/agent/src/transport.ts'
import { simulatedNode } from './simulated-node.ts'

const testbed = await startTestbed({ options: { settings: { keyRotationDays: 30 } } })
afterAll(() => testbed[Symbol.asyncDispose]())
const { sql } = testbed.server.ground

it('is asked for a new key when its own is as old as the installation allows, not before', async () => {
  const node = await simulatedNode(testbed, await testbed.account())
  const asked = async () => {
    await node.renew()
    return node.token().updateKeyPair
  }
  const age = (days: number) => sql`
    update nodes set key_date = registration_date - make_interval(days => ${days}) where node_id = ${node.nodeId}`
  expect(await asked()).toBe(false)
  await age(29)
  expect(await asked()).toBe(false)
  await age(30)
  expect(await asked()).toBe(true)
})

it('goes on with the new key, and the old one is refused', async () => {
  const account = await testbed.account()
  const { nodeId, agent } = await testbed.node(account)
  const identity = async () =>
    JSON.parse(await readFile(join(agent.dataFolder, 'identity.json'), 'utf8')) as {
      privateKey: string
      fingerprint: string
    }
  const before = await identity()
  await sql`update nodes set key_date = key_date - interval '31 days' where node_id = ${nodeId}`
  await agent.kill('SIGTERM')
  agent.restart()
  const after = await eventually('the key is another', async () => {
    const now = await identity()
    return now.privateKey !== before.privateKey && now
  })
  const transport = createTransport({ endpoint: testbed.endpoint, region: REGION })
  const ask = ({ privateKey, fingerprint }: typeof before) =>
    requestRoleToken(transport, { instanceId: nodeId, fingerprint, key: createPrivateKey(privateKey) })
  await expect(ask(before)).rejects.toThrow('AccessDeniedException')
  // It is young again: it is not asked a second time.
  expect((await ask(after)).updateKeyPair).toBe(false)
  transport.close()
  await agent.kill('SIGKILL')
  agent.restart()
  await connected(account.ssm, nodeId)
  const ssm = new SSM(account.config)
  const { Command } = await ssm.sendCommand({
    DocumentName: 'AWS-RunShellScript',
    InstanceIds: [nodeId],
    Parameters: { commands: ['echo rotated'] },
  })
  await eventually('the command has run', async () => {
    const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId: Command?.CommandId ?? '' })
    return CommandInvocations?.[0]?.Status === 'Success'
  })
})
