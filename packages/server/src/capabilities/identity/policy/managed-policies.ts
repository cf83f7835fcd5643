/**
 * The AWS-managed policies that matter to an installation of this size, with AWS's names, ARNs and permissions.
 * ReadOnlyAccess is AWS's for the services served here; AWS's own goes on for hundreds that are not.
 */

export interface ManagedPolicy {
  readonly name: string
  readonly arn: string
  readonly path: string
  /** The identifier of the default version, as AWS counts. */
  readonly versionId: string
  /** When AWS first published it, ISO 8601. */
  readonly createDate: string
  readonly description: string
  readonly document: string
}

interface Grant {
  readonly Sid?: string
  readonly Effect: 'Allow'
  readonly Action: string | readonly string[]
  readonly Resource: string
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>
}

const allow = (actions: string | readonly string[], resource = '*'): Grant => ({
  Effect: 'Allow',
  Action: actions,
  Resource: resource,
})

function managed(
  name: string,
  versionId: string,
  createDate: string,
  description: string,
  statements: readonly Grant[],
): ManagedPolicy {
  const document = JSON.stringify({ Version: '2012-10-17', Statement: statements }, null, 2)
  return { name, arn: `arn:aws:iam::aws:policy/${name}`, path: '/', versionId, createDate, description, document }
}

const actions = (service: string, names: string): string[] => names.split(' ').map((name) => `${service}:${name}`)

const SESSION_CHANNELS = actions(
  'ssmmessages',
  'CreateControlChannel CreateDataChannel OpenControlChannel OpenDataChannel',
)
const SERVICE_LINKED_ROLE = 'arn:aws:iam::*:role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM*'
const PATCH_BASELINES = 'arn:aws:ssm:*:*:patchbaseline/*'

export const MANAGED_POLICIES: readonly ManagedPolicy[] = [
  managed('AdministratorAccess', 'v1', '2015-02-06T18:39:46Z', 'Provides full access to AWS services and resources.', [
    allow('*'),
  ]),
  managed(
    'ReadOnlyAccess',
    'v1',
    '2015-02-06T18:39:48Z',
    'Provides read-only access to the services of this installation.',
    [
      allow([
        ...actions('cloudtrail', 'Describe* Get* List* LookupEvents'),
        ...actions('cloudwatch', 'Describe* Get* List*'),
        ...actions('ec2', 'Describe* Get*'),
        ...actions('iam', 'Generate* Get* List* Simulate*'),
        ...actions('kms', 'Describe* Get* List*'),
        ...actions(
          'logs',
          'Describe* FilterLogEvents Get* List* StartLiveTail StartQuery StopLiveTail StopQuery TestMetricFilter',
        ),
        ...actions('ssm', 'Describe* Get* List*'),
        ...actions('sts', 'GetAccessKeyInfo GetCallerIdentity GetSessionToken'),
        ...actions('tag', 'DescribeReportCreation Get*'),
      ]),
    ],
  ),
  managed('AmazonSSMFullAccess', 'v4', '2015-05-29T17:39:47Z', 'Provides full access to Amazon SSM.', [
    allow([
      'cloudwatch:PutMetricData',
      ...actions('ds', 'CreateComputer DescribeDirectories'),
      'ec2:DescribeInstanceStatus',
      'ec2messages:*',
      'logs:*',
      'ssm:*',
    ]),
    {
      ...allow('iam:CreateServiceLinkedRole', SERVICE_LINKED_ROLE),
      Condition: { StringLike: { 'iam:AWSServiceName': 'ssm.amazonaws.com' } },
    },
    allow(actions('iam', 'DeleteServiceLinkedRole GetServiceLinkedRoleDeletionStatus'), SERVICE_LINKED_ROLE),
    allow(SESSION_CHANNELS),
  ]),
  managed('AmazonSSMReadOnlyAccess', 'v1', '2015-05-29T17:44:19Z', 'Provides read only access to Amazon SSM.', [
    allow(actions('ssm', 'Describe* Get* List*')),
  ]),
  managed(
    'AmazonSSMManagedInstanceCore',
    'v2',
    '2019-03-15T17:22:12Z',
    'The policy for a node role to enable AWS Systems Manager service core functionality.',
    [
      allow([
        ...actions('ssm', 'DescribeAssociation DescribeDocument GetDeployablePatchSnapshotForInstance GetDocument'),
        ...actions('ssm', 'GetManifest GetParameter GetParameters ListAssociations ListInstanceAssociations'),
        ...actions('ssm', 'PutComplianceItems PutConfigurePackageResult PutInventory'),
        ...actions('ssm', 'UpdateAssociationStatus UpdateInstanceAssociationStatus UpdateInstanceInformation'),
      ]),
      allow(SESSION_CHANNELS),
      allow(actions('ec2messages', 'AcknowledgeMessage DeleteMessage FailMessage GetEndpoint GetMessages SendReply')),
    ],
  ),
  managed(
    'AmazonSSMPatchAssociation',
    'v1',
    '2020-05-13T16:00:42Z',
    'Provides access to the patch baselines that a patch association on a node needs.',
    [
      allow(actions('ssm', 'DescribeEffectivePatchesForPatchBaseline GetPatchBaseline'), PATCH_BASELINES),
      allow(['ssm:DescribePatchBaselines', 'tag:GetResources']),
    ],
  ),
]
