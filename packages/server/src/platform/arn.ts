/** Amazon resource names of this installation: `arn:aws:<service>:<region>:<account>:<resource>`. */
export interface Scope {
  /** Twelve digits. */
  account: string
  region: string
}

export const arn = (service: string, scope: Scope, resource: string): string =>
  `arn:aws:${service}:${scope.region}:${scope.account}:${resource}`

export const nodeArn = (scope: Scope, nodeId: string): string =>
  nodeId.startsWith('i-') ? arn('ec2', scope, `instance/${nodeId}`) : arn('ssm', scope, `managed-instance/${nodeId}`)
