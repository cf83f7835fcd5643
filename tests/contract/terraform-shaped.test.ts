/**
 * As Terraform works: create, read, update, read, delete, read again, apply the same twice, with every other call at another
 * server process. What one process has answered the other knows: nothing is eventually consistent.
 */
import { IAM } from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
const second = await testbed.another()
afterAll(async () => {
  await second[Symbol.asyncDispose]()
  await testbed[Symbol.asyncDispose]()
})

const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const READ = policy({ Effect: 'Allow', Action: 'ssm:GetParameter', Resource: '*' })
const WRITE = policy({ Effect: 'Allow', Action: 'ssm:PutParameter', Resource: '*' })
const trust = (Service: string) => policy({ Effect: 'Allow', Principal: { Service }, Action: 'sts:AssumeRole' })
const Tags = [{ Key: 'team', Value: 'harbour' }]
const GONE = { name: 'NoSuchEntityException', message: expect.any(String) }
const text = (encoded: string | undefined) => decodeURIComponent(encoded ?? '')

/** Clients of one account whose calls go to the two processes in turn, so that each reads what the other has written. */
async function clients() {
  const { config } = await testbed.account()
  const [here, there] = [config, { ...config, endpoint: second.endpoint }]
  return { iam: inTurns(new IAM(here), new IAM(there)), kms: inTurns(new KMS(here), new KMS(there)) }
}

function inTurns<Client extends object>(...both: [Client, Client]): Client {
  let calls = 0
  return new Proxy(both[0], {
    get(_, name) {
      const client = both[calls++ % 2]!
      const member: unknown = Reflect.get(client, name)
      return typeof member === 'function' ? member.bind(client) : member
    },
  })
}

describe('Terraform, at two processes in turn', () => {
  it('keeps a user with its policies and its key', async () => {
    const { iam } = await clients()
    const UserName = 'ada'
    const made = await iam.createUser({ UserName, Path: '/crew/', Tags })
    for (let times = 0; times < 2; times++) expect((await iam.getUser({ UserName })).User).toEqual(made.User)
    expect(await refusal(iam.createUser({ UserName }))).toMatchObject({ name: 'EntityAlreadyExistsException' })
    for (const PolicyDocument of [READ, READ, WRITE, WRITE]) {
      await iam.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument })
      expect(text((await iam.getUserPolicy({ UserName, PolicyName: 'own' })).PolicyDocument)).toBe(PolicyDocument)
    }
    const PolicyArn = 'arn:aws:iam::aws:policy/ReadOnlyAccess'
    for (let times = 0; times < 2; times++) {
      await iam.attachUserPolicy({ UserName, PolicyArn })
      const { AttachedPolicies } = await iam.listAttachedUserPolicies({ UserName })
      expect(AttachedPolicies).toEqual([{ PolicyArn, PolicyName: 'ReadOnlyAccess' }])
    }
    const { AccessKey } = await iam.createAccessKey({ UserName })
    const AccessKeyId = AccessKey!.AccessKeyId!
    for (const Status of ['Inactive', 'Inactive', 'Active'] as const) {
      await iam.updateAccessKey({ UserName, AccessKeyId, Status })
      expect((await iam.listAccessKeys({ UserName })).AccessKeyMetadata).toMatchObject([{ AccessKeyId, Status }])
    }
    await iam.updateUser({ UserName, NewUserName: 'lovelace', NewPath: '/' })
    const User = { ...made.User, UserName: 'lovelace', Path: '/', Arn: made.User!.Arn!.replace('crew/ada', 'lovelace') }
    expect((await iam.getUser({ UserName: 'lovelace' })).User).toEqual(User)
    expect(await refusal(iam.getUser({ UserName }))).toEqual(GONE)
    const renamed = { UserName: 'lovelace' }
    expect((await iam.listUserPolicies(renamed)).PolicyNames).toEqual(['own'])
    await iam.deleteUserPolicy({ ...renamed, PolicyName: 'own' })
    expect(await refusal(iam.deleteUserPolicy({ ...renamed, PolicyName: 'own' }))).toEqual(GONE)
    await iam.detachUserPolicy({ ...renamed, PolicyArn })
    expect(await refusal(iam.detachUserPolicy({ ...renamed, PolicyArn }))).toEqual(GONE)
    await iam.deleteAccessKey({ ...renamed, AccessKeyId })
    expect(await refusal(iam.deleteAccessKey({ ...renamed, AccessKeyId }))).toEqual(GONE)
    await iam.deleteUser(renamed)
    expect(await refusal(iam.getUser(renamed))).toEqual(GONE)
    expect(await refusal(iam.deleteUser(renamed))).toEqual(GONE)
    // Made anew it is somebody else.
    const again = await iam.createUser({ UserName })
    expect((await iam.getUser({ UserName })).User).toEqual(again.User)
    expect(again.User?.UserId).not.toBe(made.User?.UserId)
    expect((await iam.listUserPolicies({ UserName })).PolicyNames).toEqual([])
  })

  it('looks for all that a user may have before it deletes him by force', async () => {
    const { iam } = await clients()
    const UserName = 'leaving'
    await iam.createUser({ UserName })
    await iam.createAccessKey({ UserName })
    await iam.createLoginProfile({ UserName, Password: 'Correct horse 1' })
    expect((await iam.listGroupsForUser({ UserName })).Groups).toEqual([])
    for (const { AccessKeyId } of (await iam.listAccessKeys({ UserName })).AccessKeyMetadata!)
      await iam.deleteAccessKey({ UserName, AccessKeyId })
    expect((await iam.listSSHPublicKeys({ UserName })).SSHPublicKeys).toEqual([])
    expect((await iam.listVirtualMFADevices({ AssignmentStatus: 'Assigned' })).VirtualMFADevices).toEqual([])
    expect((await iam.listMFADevices({ UserName })).MFADevices).toEqual([])
    await iam.deleteLoginProfile({ UserName })
    expect((await iam.listSigningCertificates({ UserName })).Certificates).toEqual([])
    expect((await iam.listServiceSpecificCredentials({ UserName })).ServiceSpecificCredentials).toEqual([])
    await iam.deleteUser({ UserName })
    expect(await refusal(iam.listSSHPublicKeys({ UserName }))).toMatchObject(GONE)
    expect(await refusal(iam.listSigningCertificates({ UserName }))).toMatchObject(GONE)
    expect(await refusal(iam.listServiceSpecificCredentials({ UserName }))).toMatchObject(GONE)
    expect((await iam.listServerCertificates({})).ServerCertificateMetadataList).toEqual([])
    expect((await iam.listSAMLProviders({})).SAMLProviderList).toEqual([])
    expect(await refusal(iam.getAccountPasswordPolicy({}))).toEqual({
      ...GONE,
      message: expect.stringMatching(/^The Password Policy with domain name \d{12} cannot be found\.$/),
    })
  })

  it('keeps a virtual MFA device and its tags', async () => {
    const { iam } = await clients()
    const made = await iam.createVirtualMFADevice({ VirtualMFADeviceName: 'phone', Tags })
    expect(made.VirtualMFADevice?.Tags).toEqual(Tags)
    const SerialNumber = made.VirtualMFADevice!.SerialNumber!
    for (let times = 0; times < 2; times++) expect((await iam.listMFADeviceTags({ SerialNumber })).Tags).toEqual(Tags)
    await iam.tagMFADevice({ SerialNumber, Tags: [{ Key: 'TEAM', Value: 'engine' }, ...[{ Key: 'of', Value: 'ada' }]] })
    for (let times = 0; times < 2; times++) await iam.untagMFADevice({ SerialNumber, TagKeys: ['of'] })
    expect((await iam.listMFADeviceTags({ SerialNumber })).Tags).toEqual([{ Key: 'TEAM', Value: 'engine' }])
    const device = await iam.getMFADevice({ SerialNumber })
    expect([device.SerialNumber, device.EnableDate]).toEqual([SerialNumber, undefined])
    await iam.deleteVirtualMFADevice({ SerialNumber })
    expect(await refusal(iam.getMFADevice({ SerialNumber }))).toMatchObject(GONE)
    expect(await refusal(iam.listMFADeviceTags({ SerialNumber }))).toMatchObject(GONE)
  })

  it('keeps a role with its trust, its policies and its instance profile', async () => {
    const { iam } = await clients()
    const RoleName = 'node'
    const InstanceProfileName = 'nodes'
    const made = await iam.createRole({ RoleName, AssumeRolePolicyDocument: trust('ssm.amazonaws.com'), Tags })
    expect((await iam.getRole({ RoleName })).Role).toMatchObject({ ...made.Role, RoleLastUsed: {} })
    for (const service of ['ec2.amazonaws.com', 'ec2.amazonaws.com', 'ssm.amazonaws.com']) {
      await iam.updateAssumeRolePolicy({ RoleName, PolicyDocument: trust(service) })
      expect(text((await iam.getRole({ RoleName })).Role?.AssumeRolePolicyDocument)).toBe(trust(service))
    }
    await iam.updateRole({ RoleName, Description: 'of nodes', MaxSessionDuration: 7_200 })
    expect((await iam.getRole({ RoleName })).Role).toMatchObject({ Description: 'of nodes', MaxSessionDuration: 7_200 })
    await iam.tagRole({
      RoleName,
      Tags: [
        { Key: 'team', Value: 'engine' },
        { Key: 'b', Value: '' },
      ],
    })
    await iam.untagRole({ RoleName, TagKeys: ['team', 'none'] })
    expect((await iam.listRoleTags({ RoleName })).Tags).toEqual([{ Key: 'b', Value: '' }])
    await iam.putRolePolicy({ RoleName, PolicyName: 'own', PolicyDocument: READ })
    expect((await iam.listRolePolicies({ RoleName })).PolicyNames).toEqual(['own'])
    await iam.createInstanceProfile({ InstanceProfileName })
    await iam.addRoleToInstanceProfile({ InstanceProfileName, RoleName })
    expect((await iam.getInstanceProfile({ InstanceProfileName })).InstanceProfile?.Roles?.[0]).toMatchObject({
      RoleName,
    })
    expect((await iam.listInstanceProfilesForRole({ RoleName })).InstanceProfiles).toHaveLength(1)
    await iam.removeRoleFromInstanceProfile({ InstanceProfileName, RoleName })
    await iam.deleteInstanceProfile({ InstanceProfileName })
    expect(await refusal(iam.getInstanceProfile({ InstanceProfileName }))).toEqual(GONE)
    await iam.deleteRolePolicy({ RoleName, PolicyName: 'own' })
    await iam.deleteRole({ RoleName })
    expect(await refusal(iam.getRole({ RoleName }))).toEqual(GONE)
    expect((await iam.listRoles({})).Roles).toEqual([])
  })

  it('keeps a managed policy through its versions', async () => {
    const { iam } = await clients()
    const { Policy } = await iam.createPolicy({
      PolicyName: 'p',
      Path: '/crew/',
      PolicyDocument: READ,
      Description: 'd',
    })
    const PolicyArn = Policy!.Arn!
    expect((await iam.getPolicy({ PolicyArn })).Policy).toMatchObject({ ...Policy, Description: 'd' })
    const current = async () => {
      const { Policy: read } = await iam.getPolicy({ PolicyArn })
      const { PolicyVersion } = await iam.getPolicyVersion({ PolicyArn, VersionId: read!.DefaultVersionId! })
      return text(PolicyVersion?.Document)
    }
    expect(await current()).toBe(READ)
    // As the provider updates: the oldest goes when there are five.
    for (const PolicyDocument of [WRITE, READ, WRITE, READ, WRITE, READ]) {
      const { Versions = [] } = await iam.listPolicyVersions({ PolicyArn })
      if (Versions.length === 5) await iam.deletePolicyVersion({ PolicyArn, VersionId: Versions.at(-1)!.VersionId! })
      await iam.createPolicyVersion({ PolicyArn, PolicyDocument, SetAsDefault: true })
      expect(await current()).toBe(PolicyDocument)
    }
    expect((await iam.listPolicyVersions({ PolicyArn })).Versions?.map(({ VersionId }) => VersionId)).toEqual([
      ...['v7', 'v6', 'v5', 'v4', 'v3'],
    ])
    for (const VersionId of ['v6', 'v5', 'v4', 'v3']) await iam.deletePolicyVersion({ PolicyArn, VersionId })
    await iam.deletePolicy({ PolicyArn })
    expect(await refusal(iam.getPolicy({ PolicyArn }))).toEqual(GONE)
    expect(await refusal(iam.deletePolicy({ PolicyArn }))).toEqual(GONE)
  })

  it('keeps a group, its members and the alias of the account', async () => {
    const { iam } = await clients()
    const [GroupName, UserName] = ['crew', 'ada']
    await iam.createUser({ UserName })
    await iam.createGroup({ GroupName })
    for (let times = 0; times < 2; times++) {
      await iam.addUserToGroup({ GroupName, UserName })
      expect((await iam.getGroup({ GroupName })).Users?.map((each) => each.UserName)).toEqual([UserName])
      expect((await iam.listGroupsForUser({ UserName })).Groups).toHaveLength(1)
    }
    await iam.removeUserFromGroup({ GroupName, UserName })
    expect((await iam.getGroup({ GroupName })).Users).toEqual([])
    await iam.deleteGroup({ GroupName })
    expect(await refusal(iam.getGroup({ GroupName }))).toEqual(GONE)
    for (const AccountAlias of ['harbour-one', 'harbour-one', 'harbour-two'])
      await iam.createAccountAlias({ AccountAlias }).catch((error: Error) => {
        expect(error.name).toBe('EntityAlreadyExistsException')
      })
    const { AccountAliases } = await iam.listAccountAliases({})
    expect(AccountAliases).toEqual(['harbour-two'])
    await iam.deleteAccountAlias({ AccountAlias: 'harbour-two' })
    expect((await iam.listAccountAliases({})).AccountAliases).toEqual([])
    expect(await refusal(iam.deleteAccountAlias({ AccountAlias: 'harbour-two' }))).toEqual(GONE)
  })

  it('keeps a key of KMS and its alias', async () => {
    const { kms } = await clients()
    const { KeyMetadata } = await kms.createKey({ Description: 'd', Tags: [{ TagKey: 'a', TagValue: 'b' }] })
    const KeyId = KeyMetadata!.KeyId!
    expect((await kms.describeKey({ KeyId })).KeyMetadata).toEqual(KeyMetadata)
    await kms.updateKeyDescription({ KeyId, Description: 'other' })
    expect((await kms.describeKey({ KeyId })).KeyMetadata?.Description).toBe('other')
    for (let times = 0; times < 2; times++) {
      await kms.enableKeyRotation({ KeyId })
      expect((await kms.getKeyRotationStatus({ KeyId })).KeyRotationEnabled).toBe(true)
      await kms.disableKey({ KeyId })
      expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('Disabled')
      await kms.enableKey({ KeyId })
      expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('Enabled')
    }
    const AliasName = 'alias/harbour'
    await kms.createAlias({ AliasName, TargetKeyId: KeyId })
    expect((await kms.describeKey({ KeyId: AliasName })).KeyMetadata?.KeyId).toBe(KeyId)
    const other = (await kms.createKey({})).KeyMetadata!.KeyId!
    await kms.updateAlias({ AliasName, TargetKeyId: other })
    expect((await kms.describeKey({ KeyId: AliasName })).KeyMetadata?.KeyId).toBe(other)
    await kms.deleteAlias({ AliasName })
    expect(await refusal(kms.describeKey({ KeyId: AliasName }))).toMatchObject({ name: 'NotFoundException' })
    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 })
    expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('PendingDeletion')
    await kms.cancelKeyDeletion({ KeyId })
    expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('Disabled')
  })
})
