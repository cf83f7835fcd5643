/** The one node of a fresh installation, once it is connected. */
import { DescribeInstanceInformationCommand, GetConnectionStatusCommand, type SSMClient } from '@aws-sdk/client-ssm'
import { eventually } from '@musterbook/testbed'

export const enrolled = (ssm: SSMClient): Promise<{ nodeId: string }> =>
  eventually('the node is connected', async () => {
    const { InstanceInformationList } = await ssm.send(new DescribeInstanceInformationCommand({}))
    const nodeId = InstanceInformationList?.[0]?.InstanceId
    if (!nodeId) return undefined
    const { Status } = await ssm.send(new GetConnectionStatusCommand({ Target: nodeId }))
    return Status === 'connected' && { nodeId }
  })
