import {
  CreateActivationCommand,
  DescribeActivationsCommand,
  DescribeInstanceInformationCommand,
  GetConnectionStatusCommand,
  ListCommandInvocationsCommand,
  SendCommandCommand,
} from '@aws-sdk/client-ssm'
import { eventually, startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { information, simulatedNode } from './simulated-node.ts'

describe('a node', () => {
  it('is enrolled with an activation, shown Online, and runs a shell command for real', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    await testbed.node(account, { tags: { Environment: 'Production' } })
    const { Command } = await account.ssm.send(
      new SendCommandCommand({
        Targets: [{ Key: 'tag:Environment', Values: ['Production'] }],
        DocumentName: 'AWS-RunShellScript',
        Parameters: { commands: ['echo hello; echo world >&2; exit 3'] },
      }),
    )
    expect(Command).toMatchObject({ Status: 'Pending', TargetCount: 1 })
    const invocation = await eventually('the command is done', async () => {
      const listed = await account.ssm.send(
        new ListCommandInvocationsCommand({ CommandId: Command?.CommandId, Details: true }),
      )
      return listed.CommandInvocations?.find(({ Status }) => Status === 'Failed')
    })
    expect(invocation.CommandPlugins?.[0]).toMatchObject({ Status: 'Failed', ResponseCode: 3 })
    expect(invocation.CommandPlugins?.[0]?.Output).toContain('hello')
    expect(invocation.CommandPlugins?.[0]?.Output).toContain('world')
  })

  it('tells whether its agent is the one that is served here, and says nothing of what Amazon publishes', async () => {
    await using testbed = await startTestbed({ options: { settings: { agentVersion: '0.2.0.0' } } })
    const account = await testbed.account()
    const latest: Record<string, boolean | undefined> = {}
    for (const AgentVersion of ['0.2.0.0', '0.1.9.0', '3.3.0.0']) {
      const { nodeId, call } = await simulatedNode(testbed, account)
      await call('AmazonSSM.UpdateInstanceInformation', { ...information(nodeId, 'Linux'), AgentVersion })
    }
    const { InstanceInformationList = [] } = await account.ssm.send(new DescribeInstanceInformationCommand({}))
    for (const { AgentVersion = '', IsLatestVersion } of InstanceInformationList) latest[AgentVersion] = IsLatestVersion
    expect(latest).toEqual({ '0.2.0.0': true, '0.1.9.0': false, '3.3.0.0': undefined })
  })

  it('is connected although the server it is connected to is late with its heartbeat', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const { nodeId } = await testbed.node(account)
    await testbed.server.ground.sql`update server_processes set heartbeat_at = heartbeat_at - interval '1 hour'`
    const { Status } = await account.ssm.send(new GetConnectionStatusCommand({ Target: nodeId }))
    expect(Status).toBe('connected')
  })
})

describe('an activation', () => {
  it('of one account is not seen by another', async () => {
    await using testbed = await startTestbed()
    const [one, other] = [await testbed.account(), await testbed.account()]
    await one.ssm.send(new CreateActivationCommand({ IamRole: 'node' }))
    const own = await one.ssm.send(new DescribeActivationsCommand({}))
    const seen = await other.ssm.send(new DescribeActivationsCommand({}))
    expect(own.ActivationList).toHaveLength(1)
    expect(seen.ActivationList).toEqual([])
  })
})
