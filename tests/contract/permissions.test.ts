/**
 * One permission for each operation: with exactly that action on exactly that resource it is carried out; without the action,
 * or with it on another resource, it is refused in AWS's words, whatever else is allowed. So that no operation asks for
 * less than AWS does, or for something else.
 */
import { IAM } from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import { SSM } from '@aws-sdk/client-ssm'
import { STS } from '@aws-sdk/client-sts'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { enrol } from './signed-request.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
const account = await testbed.account()
const id = account.account
const clientsOf = (credentials = account.config.credentials) => {
  const config = { ...account.config, credentials }
  return { ssm: new SSM(config), iam: new IAM(config), kms: new KMS(config), sts: new STS(config) }
}
type Clients = ReturnType<typeof clientsOf>
const root = clientsOf()

const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const TRUST = policy({ Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' })
const READ = policy({ Effect: 'Allow', Action: 'ssm:GetParameter', Resource: '*' })
const CONTENT = JSON.stringify({
  ...{ schemaVersion: '2.2', description: 'x' },
  mainSteps: [{ action: 'aws:runShellScript', name: 'run', inputs: { runCommand: ['true'] } }],
})
const CONTENT_2 = CONTENT.replace('"x"', '"y"')

await root.iam.createUser({ UserName: 'ada' })
const { AccessKey } = await root.iam.createAccessKey({ UserName: 'ada' })
const user = clientsOf({ accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! })
const node = await enrol(testbed, account)
const { KeyMetadata } = await root.kms.createKey({})
const key = KeyMetadata!.Arn!
await root.iam.createRole({ RoleName: 'node', AssumeRolePolicyDocument: TRUST })

const ssmArn = (resource: string) => `arn:aws:ssm:us-east-1:${id}:${resource}`
const iamArn = (resource: string) => `arn:aws:iam::${id}:${resource}`
const nodeArn = ssmArn(`managed-instance/${node.nodeId}`)
const parameter = (Name: string) => root.ssm.putParameter({ Name, Value: 'v', Type: 'String', Overwrite: true })
const document = (Name: string) => root.ssm.createDocument({ Name, Content: CONTENT, DocumentType: 'Command' })

interface Row {
  action: string
  /** `*`: the action knows no resource. */
  resource: string
  /** Made by the root before. */
  given?: () => Promise<unknown>
  call: (clients: Clients) => Promise<unknown>
  /** What else the call needs. */
  also?: { action: string; resource: string }[]
}

const serviceRole = iamArn('role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM')
const serial = `arn:aws:iam::${id}:mfa/phone`
const setting = '/ssm/parameter-store/high-throughput-enabled'
const one = { Names: ['/a'] }
const role = { RoleName: 'worker' }
const given = (make: () => Promise<unknown>) => () => make().catch(() => undefined)
const worker = given(() => root.iam.createRole({ ...role, AssumeRolePolicyDocument: TRUST }))
const managed = `arn:aws:iam::${id}:policy/read`
const aPolicy = given(() => root.iam.createPolicy({ PolicyName: 'read', PolicyDocument: READ }))
const issuer = `arn:aws:iam::${id}:oidc-provider/issuer.example.com`
const anIssuer = given(() => root.iam.createOpenIDConnectProvider({ Url: 'https://issuer.example.com' }))
const tags = { Tags: [{ Key: 'a', Value: 'b' }] }
const onParameter = { ResourceType: 'Parameter', ResourceId: '/a' } as const
const onNode = { ResourceType: 'ManagedInstance', ResourceId: node.nodeId } as const
const a = ssmArn('parameter/a')
const paper = ssmArn('document/paper')
const Name = 'paper'
const aPaper = given(() => document(Name))

const TABLE: Row[] = [
  // Parameter Store
  {
    action: 'ssm:PutParameter',
    resource: a,
    call: ({ ssm }) => ssm.putParameter({ Name: '/a', Value: 'v', Type: 'String', Overwrite: true }),
  },
  { action: 'ssm:GetParameter', resource: a, call: ({ ssm }) => ssm.getParameter({ Name: '/a' }) },
  { action: 'ssm:GetParameters', resource: a, call: ({ ssm }) => ssm.getParameters(one) },
  {
    action: 'ssm:GetParametersByPath',
    resource: ssmArn('parameter/path'),
    call: ({ ssm }) => ssm.getParametersByPath({ Path: '/path' }),
  },
  { action: 'ssm:GetParameterHistory', resource: a, call: ({ ssm }) => ssm.getParameterHistory({ Name: '/a' }) },
  { action: 'ssm:DescribeParameters', resource: '*', call: ({ ssm }) => ssm.describeParameters({}) },
  {
    action: 'ssm:LabelParameterVersion',
    resource: a,
    call: ({ ssm }) => ssm.labelParameterVersion({ Name: '/a', Labels: ['b'] }),
  },
  {
    action: 'ssm:UnlabelParameterVersion',
    resource: a,
    call: ({ ssm }) => ssm.unlabelParameterVersion({ Name: '/a', ParameterVersion: 1, Labels: ['b'] }),
  },
  {
    action: 'ssm:DeleteParameter',
    resource: ssmArn('parameter/b'),
    given: () => parameter('/b'),
    call: ({ ssm }) => ssm.deleteParameter({ Name: '/b' }),
  },
  {
    action: 'ssm:DeleteParameters',
    resource: ssmArn('parameter/b'),
    given: () => parameter('/b'),
    call: ({ ssm }) => ssm.deleteParameters({ Names: ['/b'] }),
  },
  // Tags and settings
  {
    action: 'ssm:AddTagsToResource',
    resource: a,
    call: ({ ssm }) => ssm.addTagsToResource({ ...onParameter, ...tags }),
  },
  {
    action: 'ssm:AddTagsToResource',
    resource: nodeArn,
    call: ({ ssm }) => ssm.addTagsToResource({ ...onNode, ...tags }),
  },
  { action: 'ssm:ListTagsForResource', resource: a, call: ({ ssm }) => ssm.listTagsForResource(onParameter) },
  {
    action: 'ssm:RemoveTagsFromResource',
    resource: a,
    call: ({ ssm }) => ssm.removeTagsFromResource({ ...onParameter, TagKeys: ['a'] }),
  },
  {
    action: 'ssm:GetServiceSetting',
    resource: ssmArn(`servicesetting${setting}`),
    call: ({ ssm }) => ssm.getServiceSetting({ SettingId: setting }),
  },
  {
    action: 'ssm:UpdateServiceSetting',
    resource: ssmArn(`servicesetting${setting}`),
    call: ({ ssm }) => ssm.updateServiceSetting({ SettingId: setting, SettingValue: 'true' }),
  },
  {
    action: 'ssm:ResetServiceSetting',
    resource: ssmArn(`servicesetting${setting}`),
    call: ({ ssm }) => ssm.resetServiceSetting({ SettingId: setting }),
  },
  // Documents
  {
    action: 'ssm:CreateDocument',
    resource: ssmArn('document/fresh'),
    call: ({ ssm }) => ssm.createDocument({ Name: 'fresh', Content: CONTENT, DocumentType: 'Command' }),
  },
  { action: 'ssm:GetDocument', resource: paper, call: ({ ssm }) => ssm.getDocument({ Name }) },
  { action: 'ssm:DescribeDocument', resource: paper, call: ({ ssm }) => ssm.describeDocument({ Name }) },
  {
    action: 'ssm:UpdateDocument',
    resource: paper,
    call: ({ ssm }) => ssm.updateDocument({ Name, Content: CONTENT_2, DocumentVersion: '$LATEST' }),
  },
  {
    action: 'ssm:UpdateDocumentDefaultVersion',
    resource: paper,
    call: ({ ssm }) => ssm.updateDocumentDefaultVersion({ Name, DocumentVersion: '1' }),
  },
  { action: 'ssm:ListDocumentVersions', resource: paper, call: ({ ssm }) => ssm.listDocumentVersions({ Name }) },
  {
    action: 'ssm:DescribeDocumentPermission',
    resource: paper,
    call: ({ ssm }) => ssm.describeDocumentPermission({ Name, PermissionType: 'Share' }),
  },
  {
    action: 'ssm:ModifyDocumentPermission',
    resource: paper,
    call: ({ ssm }) =>
      ssm.modifyDocumentPermission({ Name, PermissionType: 'Share', AccountIdsToAdd: ['123456789012'] }),
  },
  {
    action: 'ssm:ListDocumentMetadataHistory',
    resource: paper,
    call: ({ ssm }) => ssm.listDocumentMetadataHistory({ Name, Metadata: 'DocumentReviews' }),
  },
  { action: 'ssm:ListDocuments', resource: '*', call: ({ ssm }) => ssm.listDocuments({}) },
  {
    action: 'ssm:DeleteDocument',
    resource: ssmArn('document/gone'),
    given: () => document('gone'),
    call: ({ ssm }) => ssm.deleteDocument({ Name: 'gone' }),
  },
  // Nodes
  {
    action: 'ssm:CreateActivation',
    resource: '*',
    call: ({ ssm }) => ssm.createActivation({ IamRole: 'node' }),
    also: [{ action: 'iam:PassRole', resource: iamArn('role/node') }],
  },
  { action: 'ssm:DescribeActivations', resource: '*', call: ({ ssm }) => ssm.describeActivations({}) },
  { action: 'ssm:DescribeInstanceInformation', resource: '*', call: ({ ssm }) => ssm.describeInstanceInformation({}) },
  { action: 'ssm:DescribeInstanceProperties', resource: '*', call: ({ ssm }) => ssm.describeInstanceProperties({}) },
  { action: 'ssm:ListNodes', resource: '*', call: ({ ssm }) => ssm.listNodes({}) },
  {
    action: 'ssm:GetConnectionStatus',
    resource: nodeArn,
    call: ({ ssm }) => ssm.getConnectionStatus({ Target: node.nodeId }),
  },
  {
    action: 'ssm:UpdateManagedInstanceRole',
    resource: nodeArn,
    call: ({ ssm }) => ssm.updateManagedInstanceRole({ InstanceId: node.nodeId, IamRole: 'node' }),
    also: [{ action: 'iam:PassRole', resource: iamArn('role/node') }],
  },
  // Commands and sessions
  {
    action: 'ssm:SendCommand',
    resource: nodeArn,
    call: ({ ssm }) => ssm.sendCommand({ DocumentName: Name, InstanceIds: [node.nodeId] }),
    also: [{ action: 'ssm:SendCommand', resource: paper }],
  },
  {
    action: 'ssm:SendCommand',
    resource: paper,
    call: ({ ssm }) => ssm.sendCommand({ DocumentName: Name, InstanceIds: [node.nodeId] }),
    also: [{ action: 'ssm:SendCommand', resource: nodeArn }],
  },
  { action: 'ssm:ListCommands', resource: '*', call: ({ ssm }) => ssm.listCommands({}) },
  { action: 'ssm:ListCommandInvocations', resource: '*', call: ({ ssm }) => ssm.listCommandInvocations({}) },
  { action: 'ssm:DescribeSessions', resource: '*', call: ({ ssm }) => ssm.describeSessions({ State: 'Active' }) },
  // IAM
  {
    action: 'iam:CreateUser',
    resource: iamArn('user/crew/bob'),
    call: ({ iam }) => iam.createUser({ UserName: 'bob', Path: '/crew/' }),
  },
  {
    action: 'iam:CreateUser',
    resource: iamArn('user/tagged'),
    call: ({ iam }) => iam.createUser({ UserName: 'tagged', ...tags }),
    also: [{ action: 'iam:TagUser', resource: iamArn('user/tagged') }],
  },
  {
    action: 'iam:TagUser',
    resource: iamArn('user/tagged-2'),
    call: ({ iam }) => iam.createUser({ UserName: 'tagged-2', ...tags }),
    also: [{ action: 'iam:CreateUser', resource: iamArn('user/tagged-2') }],
  },
  {
    action: 'iam:TagRole',
    resource: iamArn('role/tagged'),
    call: ({ iam }) => iam.createRole({ RoleName: 'tagged', AssumeRolePolicyDocument: TRUST, ...tags }),
    also: [{ action: 'iam:CreateRole', resource: iamArn('role/tagged') }],
  },
  {
    action: 'iam:TagPolicy',
    resource: iamArn('policy/tagged'),
    call: ({ iam }) => iam.createPolicy({ PolicyName: 'tagged', PolicyDocument: READ, ...tags }),
    also: [{ action: 'iam:CreatePolicy', resource: iamArn('policy/tagged') }],
  },
  {
    action: 'iam:TagInstanceProfile',
    resource: iamArn('instance-profile/tagged'),
    call: ({ iam }) => iam.createInstanceProfile({ InstanceProfileName: 'tagged', ...tags }),
    also: [{ action: 'iam:CreateInstanceProfile', resource: iamArn('instance-profile/tagged') }],
  },
  {
    action: 'iam:TagMFADevice',
    resource: iamArn('mfa/tagged'),
    call: ({ iam }) => iam.createVirtualMFADevice({ VirtualMFADeviceName: 'tagged', ...tags }),
    also: [{ action: 'iam:CreateVirtualMFADevice', resource: iamArn('mfa/tagged') }],
  },
  { action: 'iam:GetUser', resource: iamArn('user/crew/bob'), call: ({ iam }) => iam.getUser({ UserName: 'bob' }) },
  { action: 'iam:ListUsers', resource: iamArn('user/'), call: ({ iam }) => iam.listUsers({}) },
  {
    action: 'iam:TagUser',
    resource: iamArn('user/crew/bob'),
    call: ({ iam }) => iam.tagUser({ UserName: 'bob', ...tags }),
  },
  {
    action: 'iam:PutUserPolicy',
    resource: iamArn('user/crew/bob'),
    call: ({ iam }) => iam.putUserPolicy({ UserName: 'bob', PolicyName: 'p', PolicyDocument: READ }),
  },
  {
    action: 'iam:DeleteUserPolicy',
    resource: iamArn('user/crew/bob'),
    call: ({ iam }) => iam.deleteUserPolicy({ UserName: 'bob', PolicyName: 'p' }),
  },
  {
    action: 'iam:CreateAccessKey',
    resource: iamArn('user/crew/bob'),
    call: ({ iam }) => iam.createAccessKey({ UserName: 'bob' }),
  },
  {
    action: 'iam:ListAccessKeys',
    resource: iamArn('user/crew/bob'),
    call: ({ iam }) => iam.listAccessKeys({ UserName: 'bob' }),
  },
  {
    action: 'iam:CreateLoginProfile',
    resource: iamArn('user/crew/bob'),
    call: ({ iam }) => iam.createLoginProfile({ UserName: 'bob', Password: 'Correct horse 1' }),
  },
  {
    action: 'iam:UpdateAccountPasswordPolicy',
    resource: '*',
    call: ({ iam }) => iam.updateAccountPasswordPolicy({ MinimumPasswordLength: 8 }),
  },
  { action: 'iam:GetAccountPasswordPolicy', resource: '*', call: ({ iam }) => iam.getAccountPasswordPolicy({}) },
  { action: 'iam:DeleteAccountPasswordPolicy', resource: '*', call: ({ iam }) => iam.deleteAccountPasswordPolicy({}) },
  { action: 'iam:GenerateCredentialReport', resource: '*', call: ({ iam }) => iam.generateCredentialReport({}) },
  { action: 'iam:GetCredentialReport', resource: '*', call: ({ iam }) => iam.getCredentialReport({}) },
  {
    action: 'iam:CreateServiceLinkedRole',
    resource: serviceRole,
    call: ({ iam }) => iam.createServiceLinkedRole({ AWSServiceName: 'ssm.amazonaws.com' }),
  },
  {
    action: 'iam:DeleteServiceLinkedRole',
    resource: serviceRole,
    call: ({ iam }) => iam.deleteServiceLinkedRole({ RoleName: 'AWSServiceRoleForAmazonSSM' }),
  },
  {
    action: 'iam:CreateGroup',
    resource: iamArn('group/crew'),
    call: ({ iam }) => iam.createGroup({ GroupName: 'crew' }),
  },
  {
    action: 'iam:AddUserToGroup',
    resource: iamArn('group/crew'),
    call: ({ iam }) => iam.addUserToGroup({ GroupName: 'crew', UserName: 'bob' }),
  },
  { action: 'iam:GetGroup', resource: iamArn('group/crew'), call: ({ iam }) => iam.getGroup({ GroupName: 'crew' }) },
  {
    action: 'iam:CreateRole',
    resource: iamArn('role/fresh'),
    call: ({ iam }) => iam.createRole({ RoleName: 'fresh', AssumeRolePolicyDocument: TRUST }),
  },
  { action: 'iam:GetRole', resource: iamArn('role/worker'), given: worker, call: ({ iam }) => iam.getRole(role) },
  {
    action: 'iam:UpdateRole',
    resource: iamArn('role/worker'),
    call: ({ iam }) => iam.updateRole({ ...role, Description: 'd' }),
  },
  {
    action: 'iam:UpdateAssumeRolePolicy',
    resource: iamArn('role/worker'),
    call: ({ iam }) => iam.updateAssumeRolePolicy({ ...role, PolicyDocument: TRUST }),
  },
  {
    action: 'iam:CreatePolicy',
    resource: iamArn('policy/fresh'),
    call: ({ iam }) => iam.createPolicy({ PolicyName: 'fresh', PolicyDocument: READ }),
  },
  {
    action: 'iam:GetPolicy',
    resource: managed,
    given: aPolicy,
    call: ({ iam }) => iam.getPolicy({ PolicyArn: managed }),
  },
  {
    action: 'iam:CreatePolicyVersion',
    resource: managed,
    call: ({ iam }) => iam.createPolicyVersion({ PolicyArn: managed, PolicyDocument: READ }),
  },
  {
    action: 'iam:AttachRolePolicy',
    resource: iamArn('role/worker'),
    call: ({ iam }) => iam.attachRolePolicy({ ...role, PolicyArn: managed }),
  },
  {
    action: 'iam:DetachRolePolicy',
    resource: iamArn('role/worker'),
    call: ({ iam }) => iam.detachRolePolicy({ ...role, PolicyArn: managed }),
  },
  {
    action: 'iam:PutRolePermissionsBoundary',
    resource: iamArn('role/worker'),
    call: ({ iam }) => iam.putRolePermissionsBoundary({ ...role, PermissionsBoundary: managed }),
  },
  {
    action: 'iam:DeleteRolePermissionsBoundary',
    resource: iamArn('role/worker'),
    call: ({ iam }) => iam.deleteRolePermissionsBoundary(role),
  },
  { action: 'iam:DeleteRole', resource: iamArn('role/worker'), call: ({ iam }) => iam.deleteRole(role) },
  {
    action: 'iam:CreateInstanceProfile',
    resource: iamArn('instance-profile/p'),
    call: ({ iam }) => iam.createInstanceProfile({ InstanceProfileName: 'p' }),
  },
  {
    action: 'iam:CreateVirtualMFADevice',
    resource: serial,
    call: ({ iam }) => iam.createVirtualMFADevice({ VirtualMFADeviceName: 'phone' }),
  },
  {
    action: 'iam:DeleteVirtualMFADevice',
    resource: serial,
    call: ({ iam }) => iam.deleteVirtualMFADevice({ SerialNumber: serial }),
  },
  {
    action: 'iam:CreateAccountAlias',
    resource: '*',
    call: ({ iam }) => iam.createAccountAlias({ AccountAlias: `a${id}` }),
  },
  {
    action: 'iam:GetAccountAuthorizationDetails',
    resource: '*',
    call: ({ iam }) => iam.getAccountAuthorizationDetails({}),
  },
  {
    action: 'iam:SimulatePrincipalPolicy',
    resource: iamArn('user/ada'),
    call: ({ iam }) =>
      iam.simulatePrincipalPolicy({ PolicySourceArn: iamArn('user/ada'), ActionNames: ['ssm:GetParameter'] }),
  },
  {
    action: 'iam:GetOpenIDConnectProvider',
    resource: issuer,
    given: anIssuer,
    call: ({ iam }) => iam.getOpenIDConnectProvider({ OpenIDConnectProviderArn: issuer }),
  },
  {
    action: 'iam:AddClientIDToOpenIDConnectProvider',
    resource: issuer,
    call: ({ iam }) => iam.addClientIDToOpenIDConnectProvider({ OpenIDConnectProviderArn: issuer, ClientID: 'c' }),
  },
  {
    action: 'iam:DeleteOpenIDConnectProvider',
    resource: issuer,
    call: ({ iam }) => iam.deleteOpenIDConnectProvider({ OpenIDConnectProviderArn: issuer }),
  },
  {
    action: 'sts:GetFederationToken',
    resource: `arn:aws:sts::${id}:federated-user/guest`,
    call: ({ sts }) => sts.getFederationToken({ Name: 'guest' }),
  },
  // KMS: the key's policy leaves the decision to these
  { action: 'kms:Encrypt', resource: key, call: ({ kms }) => kms.encrypt({ KeyId: key, Plaintext: Buffer.from('x') }) },
  {
    action: 'kms:GenerateDataKey',
    resource: key,
    call: ({ kms }) => kms.generateDataKey({ KeyId: key, KeySpec: 'AES_256' }),
  },
  { action: 'kms:DescribeKey', resource: key, call: ({ kms }) => kms.describeKey({ KeyId: key }) },
  { action: 'kms:GetKeyPolicy', resource: key, call: ({ kms }) => kms.getKeyPolicy({ KeyId: key }) },
  { action: 'kms:EnableKeyRotation', resource: key, call: ({ kms }) => kms.enableKeyRotation({ KeyId: key }) },
  {
    action: 'kms:TagResource',
    resource: key,
    call: ({ kms }) => kms.tagResource({ KeyId: key, Tags: [{ TagKey: 'a', TagValue: 'b' }] }),
  },
  { action: 'kms:ListKeys', resource: '*', call: ({ kms }) => kms.listKeys({}) },
  { action: 'kms:GenerateRandom', resource: '*', call: ({ kms }) => kms.generateRandom({ NumberOfBytes: 8 }) },
  { action: 'kms:CreateKey', resource: '*', call: ({ kms }) => kms.createKey({}) },
  // Last: the node is gone afterwards
  {
    action: 'ssm:DeregisterManagedInstance',
    resource: nodeArn,
    call: ({ ssm }) => ssm.deregisterManagedInstance({ InstanceId: node.nodeId }),
  },
]

const may = (...statements: object[]) =>
  root.iam.putUserPolicy({ UserName: 'ada', PolicyName: 'own', PolicyDocument: policy(...statements) })
const allow = ({ action, resource }: { action: string; resource: string }) => ({
  ...{ Effect: 'Allow', Action: action, Resource: resource },
})

describe('each of these operations needs its permission and no other', async () => {
  await parameter('/a')
  await aPaper()

  it.each(TABLE.map((row) => [`${row.action} on ${row.resource.replaceAll(id, '<account>')}`, row] as const))(
    '%s',
    async (_, { action, resource, also = [], given: make, call }) => {
      await make?.()
      const refused = {
        name: expect.stringMatching(/^AccessDenied(Exception)?$/),
        message: `User: ${iamArn('user/ada')} is not authorized to perform: ${action} on resource: ${resource} because no identity-based policy allows the ${action} action`,
      }
      const others = also.map(allow)
      // Everything but this.
      await may(
        ...(also.some((each) => each.action === action) ? [] : [{ Effect: 'Allow', NotAction: action, Resource: '*' }]),
        ...others,
        allow({ action: 'sts:GetCallerIdentity', resource: '*' }),
      )
      expect(await refusal(call(user))).toEqual(refused)
      if (resource !== '*') {
        await may(allow({ action, resource: `${resource}-other` }), ...others)
        expect(await refusal(call(user))).toEqual(refused)
      }
      // This alone.
      await may(allow({ action, resource }), ...others)
      await call(user)
    },
  )
})
