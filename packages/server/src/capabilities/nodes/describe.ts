/** A node in AWS's words. */
import type { Output } from '../../contract/types.ts'
import type { KnownNode } from './scan.ts'

type InstanceInformation = NonNullable<Output<'DescribeInstanceInformation'>['InstanceInformationList']>[number]
type InstanceProperty = NonNullable<Output<'DescribeInstanceProperties'>['InstanceProperties']>[number]
type ListedNode = NonNullable<Output<'ListNodes'>['Nodes']>[number]

const isInstance = (node: KnownNode): boolean => node.nodeId.startsWith('i-')

/** EC2Instance for what kept the id of an instance. */
export const resourceType = (node: KnownNode): 'EC2Instance' | 'ManagedInstance' =>
  isInstance(node) ? 'EC2Instance' : 'ManagedInstance'

export const sourceType = (node: KnownNode): 'AWS::EC2::Instance' | 'AWS::SSM::ManagedInstance' =>
  isInstance(node) ? 'AWS::EC2::Instance' : 'AWS::SSM::ManagedInstance'

export const describeInformation = (node: KnownNode): InstanceInformation => ({
  InstanceId: node.nodeId,
  PingStatus: node.pingStatus,
  LastPingDateTime: node.lastPingAt ?? undefined,
  AgentVersion: node.agentVersion ?? undefined,
  IsLatestVersion: node.isLatestVersion,
  PlatformType: (node.platformType as InstanceInformation['PlatformType']) ?? undefined,
  PlatformName: node.platformName ?? undefined,
  PlatformVersion: node.platformVersion ?? undefined,
  ActivationId: node.activationId ?? undefined,
  IamRole: node.iamRole,
  RegistrationDate: node.registrationDate,
  ResourceType: resourceType(node),
  Name: node.name,
  IPAddress: node.ipAddress ?? undefined,
  ComputerName: node.computerName ?? undefined,
  SourceId: node.nodeId,
  SourceType: sourceType(node),
})

/** Of a machine that is no instance of EC2 there is no type, key name, state or launch time to tell. */
export const describeProperty = (node: KnownNode): InstanceProperty => ({
  Name: node.name,
  InstanceId: node.nodeId,
  IPAddress: node.ipAddress ?? undefined,
  PingStatus: node.pingStatus,
  LastPingDateTime: node.lastPingAt ?? undefined,
  AgentVersion: node.agentVersion ?? undefined,
  PlatformType: (node.platformType as InstanceProperty['PlatformType']) ?? undefined,
  PlatformName: node.platformName ?? undefined,
  PlatformVersion: node.platformVersion ?? undefined,
  ActivationId: node.activationId ?? undefined,
  IamRole: node.iamRole,
  RegistrationDate: node.registrationDate,
  ResourceType: resourceType(node),
  ComputerName: node.computerName ?? undefined,
  SourceId: node.nodeId,
  SourceType: sourceType(node),
})

export const describeNode = (node: KnownNode): ListedNode => ({
  CaptureTime: node.lastPingAt ?? node.registrationDate,
  Id: node.nodeId,
  Owner: { AccountId: node.account },
  Region: node.region,
  NodeType: {
    Instance: {
      AgentType: node.agentName ?? undefined,
      AgentVersion: node.agentVersion ?? undefined,
      ComputerName: node.computerName ?? undefined,
      InstanceStatus: node.agentStatus ?? undefined,
      IpAddress: node.ipAddress ?? undefined,
      ManagedStatus: 'Managed',
      Name: node.name || undefined,
      PlatformType: (node.platformType as 'Linux' | 'Windows' | 'MacOS' | null) ?? undefined,
      PlatformName: node.platformName ?? undefined,
      PlatformVersion: node.platformVersion ?? undefined,
      ResourceType: resourceType(node),
    },
  },
})
