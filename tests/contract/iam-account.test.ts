/** What an account has of its own: the report on its credentials, roles of services, pictures for authenticator apps. */
import { inflateSync } from 'node:zlib'
import { CloudTrail } from '@aws-sdk/client-cloudtrail'
import { IAM } from '@aws-sdk/client-iam'
import { STS } from '@aws-sdk/client-sts'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import decodeQR from 'qr/decode.js'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

/** Signs by the clock of the testbed, which these tests move. */
function byTheClock<C extends { config: object }>(client: C): C {
  const get = () => testbed.clock.now().getTime() - Date.now()
  Object.defineProperty(client.config, 'systemClockOffset', { get, set() {} })
  return client
}
const iamOf = ({ config }: TestAccount, credentials = config.credentials) =>
  byTheClock(new IAM({ ...config, credentials }))

describe('the credential report', () => {
  const HOUR = 3_600_000
  const report = async (iam: IAM): Promise<Record<string, string>[]> => {
    const { Content } = await iam.getCredentialReport({})
    const [head = '', ...rows] = Buffer.from(Content!).toString().split('\n')
    const names = head.split(',')
    // Of these tests one name has a comma, in the first field.
    const fields = (row: string) => row.match(/"[^"]*"|[^,]+/g) ?? []
    return rows.map((row) => Object.fromEntries(fields(row).map((field, at) => [names[at], field])))
  }

  it('tells of each user and of the root what they have, as of the last four hours', async () => {
    const account = await testbed.account()
    const iam = iamOf(account)
    expect(await refusal(iam.getCredentialReport({}))).toMatchObject({ name: 'CredentialReportNotPresentException' })
    await iam.updateAccountPasswordPolicy({ MaxPasswordAge: 90 })
    await iam.createUser({ UserName: 'ada', Path: '/crew/' })
    await iam.createUser({ UserName: 'a,b' })
    await iam.createLoginProfile({ UserName: 'ada', Password: 'Harbour bell 7' })
    const { AccessKey } = await iam.createAccessKey({ UserName: 'ada' })
    const { AccessKeyId, SecretAccessKey } = AccessKey!
    const second = await iam.createAccessKey({ UserName: 'ada' })
    await iam.updateAccessKey({
      ...{ UserName: 'ada', AccessKeyId: second.AccessKey!.AccessKeyId!, Status: 'Inactive' },
    })
    const credentials = { accessKeyId: AccessKeyId!, secretAccessKey: SecretAccessKey! }
    await byTheClock(new STS({ ...account.config, credentials })).getCallerIdentity({})
    await eventually('the use of the key is known', async () => {
      const { AccessKeyLastUsed } = await iam.getAccessKeyLastUsed({ AccessKeyId })
      return AccessKeyLastUsed?.ServiceName === 'sts'
    })
    expect(await iam.generateCredentialReport({})).toMatchObject({ State: 'STARTED' })
    expect(await iam.generateCredentialReport({})).toMatchObject({ State: 'COMPLETE' })
    const answer = await iam.getCredentialReport({})
    expect(answer.ReportFormat).toBe('text/csv')
    expect(Buffer.from(answer.Content!).toString().split('\n')[0]).toBe(
      'user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,mfa_active,' +
        'access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,' +
        'access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,' +
        'cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated',
    )
    const [root, comma, ada] = await report(iam)
    expect(root).toMatchObject({
      user: '<root_account>',
      password_enabled: 'not_supported',
      access_key_1_active: 'true',
    })
    expect(comma).toMatchObject({ user: '"a,b"', password_enabled: 'false', access_key_1_active: 'false' })
    const MOMENT = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$/)
    expect(ada).toEqual({
      user: 'ada',
      arn: `arn:aws:iam::${account.account}:user/crew/ada`,
      user_creation_time: MOMENT,
      password_enabled: 'true',
      password_last_used: 'no_information',
      password_last_changed: MOMENT,
      password_next_rotation: MOMENT,
      mfa_active: 'false',
      access_key_1_active: 'true',
      access_key_1_last_rotated: MOMENT,
      access_key_1_last_used_date: MOMENT,
      access_key_1_last_used_region: account.config.region,
      access_key_1_last_used_service: 'sts',
      access_key_2_active: 'false',
      access_key_2_last_rotated: MOMENT,
      access_key_2_last_used_date: 'N/A',
      access_key_2_last_used_region: 'N/A',
      access_key_2_last_used_service: 'N/A',
      ...{ cert_1_active: 'false', cert_1_last_rotated: 'N/A', cert_2_active: 'false', cert_2_last_rotated: 'N/A' },
    })
    const days = Date.parse(ada!.password_next_rotation!) - Date.parse(ada!.password_last_changed!)
    expect(days).toBe(90 * 24 * HOUR)
    testbed.clock.advance(4 * HOUR)
    expect(await refusal(iam.getCredentialReport({}))).toMatchObject({ name: 'CredentialReportExpiredException' })
    expect(await iam.generateCredentialReport({})).toMatchObject({ State: 'STARTED' })
    expect(await report(iam)).toHaveLength(3)
  })
})

describe('the service-linked role of Systems Manager', () => {
  const RoleName = 'AWSServiceRoleForAmazonSSM'
  const AWSServiceName = 'ssm.amazonaws.com'
  const PROTECTED = {
    name: 'UnmodifiableEntityException',
    message: `Cannot perform the operation on the protected role '${RoleName}' - this role is only modifiable by AWS`,
  }

  it('is made once, changed by nobody, described and tagged by its account, and deleted as a task', async () => {
    const account = await testbed.account()
    const iam = iamOf(account)
    const { Role } = await iam.createServiceLinkedRole({ AWSServiceName, Description: 'for nodes' })
    expect(Role).toMatchObject({ RoleName, Path: '/aws-service-role/ssm.amazonaws.com/', Description: 'for nodes' })
    expect(Role?.Arn).toBe(`arn:aws:iam::${account.account}:role/aws-service-role/ssm.amazonaws.com/${RoleName}`)
    expect(await refusal(iam.createServiceLinkedRole({ AWSServiceName }))).toEqual({
      name: 'InvalidInputException',
      message: `Service role name ${RoleName} has been taken in this account, please try a different suffix.`,
    })
    const PolicyArn = 'arn:aws:iam::aws:policy/AdministratorAccess'
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } })
    await iam.createInstanceProfile({ InstanceProfileName: 'nodes' })
    const changes = [
      () => iam.attachRolePolicy({ RoleName, PolicyArn }),
      () => iam.detachRolePolicy({ RoleName, PolicyArn }),
      () => iam.putRolePolicy({ RoleName, PolicyName: 'own', PolicyDocument: policy }),
      () => iam.deleteRolePolicy({ RoleName, PolicyName: 'own' }),
      () => iam.putRolePermissionsBoundary({ RoleName, PermissionsBoundary: PolicyArn }),
      () => iam.deleteRolePermissionsBoundary({ RoleName }),
      () =>
        iam.updateAssumeRolePolicy({ RoleName, PolicyDocument: decodeURIComponent(Role!.AssumeRolePolicyDocument!) }),
      () => iam.updateRole({ RoleName, MaxSessionDuration: 7_200 }),
      () => iam.addRoleToInstanceProfile({ InstanceProfileName: 'nodes', RoleName }),
      () => iam.deleteRole({ RoleName }),
    ]
    for (const change of changes) expect(await refusal(change())).toEqual(PROTECTED)
    await iam.updateRole({ RoleName, Description: 'for all nodes' })
    await iam.tagRole({ RoleName, Tags: [{ Key: 'team', Value: 'harbour' }] })
    const read = await iam.getRole({ RoleName })
    expect(read.Role).toMatchObject({ Description: 'for all nodes', Tags: [{ Key: 'team', Value: 'harbour' }] })
    const { DeletionTaskId } = await iam.deleteServiceLinkedRole({ RoleName })
    expect(DeletionTaskId).toMatch(
      /^task\/aws-service-role\/ssm\.amazonaws\.com\/AWSServiceRoleForAmazonSSM\/[0-9a-f-]{36}$/,
    )
    expect(await iam.getServiceLinkedRoleDeletionStatus({ DeletionTaskId })).toMatchObject({ Status: 'SUCCEEDED' })
    const other = iamOf(await testbed.account())
    const [gone, foreign] = [
      await refusal(iam.getRole({ RoleName })),
      await refusal(other.getServiceLinkedRoleDeletionStatus({ DeletionTaskId })),
    ]
    for (const each of [gone, foreign]) expect(each).toMatchObject({ name: 'NoSuchEntityException' })
    await iam.createServiceLinkedRole({ AWSServiceName })
  })

  it('is not made for other services, under a suffix, or by CreateRole', async () => {
    const iam = iamOf(await testbed.account())
    const refused = [
      iam.createServiceLinkedRole({ AWSServiceName: 'ecs.amazonaws.com' }),
      iam.createServiceLinkedRole({ AWSServiceName, CustomSuffix: 'mine' }),
      iam.createRole({
        RoleName,
        Path: '/aws-service-role/ssm.amazonaws.com/',
        AssumeRolePolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: { Effect: 'Allow', Principal: { Service: AWSServiceName }, Action: 'sts:AssumeRole' },
        }),
      }),
    ]
    for (const each of await Promise.all(refused.map(refusal)))
      expect(each).toMatchObject({ name: 'InvalidInputException' })
  })

  it('may be made by whoever may make the roles of that service', async () => {
    const account = await testbed.account()
    const iam = iamOf(account)
    const mayMakeFor = async (UserName: string, service: string) => {
      await iam.createUser({ UserName })
      const Statement = {
        ...{ Effect: 'Allow', Action: 'iam:CreateServiceLinkedRole', Resource: '*' },
        Condition: { StringEquals: { 'iam:AWSServiceName': service } },
      }
      const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
      await iam.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument })
      const { AccessKey } = await iam.createAccessKey({ UserName })
      const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
      return iamOf(account, credentials)
    }
    const [ssm, other] = [await mayMakeFor('ada', AWSServiceName), await mayMakeFor('bob', 'ecs.amazonaws.com')]
    expect(await refusal(other.createServiceLinkedRole({ AWSServiceName }))).toMatchObject({ name: 'AccessDenied' })
    await ssm.createServiceLinkedRole({ AWSServiceName })
  })
})

describe('CreateVirtualMFADevice', () => {
  /** The grey values of a PNG of one bit a pixel whose lines are not filtered. */
  function pixelsOf(png: Uint8Array) {
    const bytes = Buffer.from(png)
    const width = bytes.readUInt32BE(16)
    const height = bytes.readUInt32BE(20)
    const start = bytes.indexOf('IDAT') + 4
    const lines = inflateSync(bytes.subarray(start, start + bytes.readUInt32BE(start - 8)))
    const bytesOfLine = 1 + Math.ceil(width / 8)
    const data = new Uint8Array(width * height * 4).fill(255)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const isWhite = (lines[y * bytesOfLine + 1 + (x >> 3)]! & (0x80 >> (x & 7))) !== 0
        if (!isWhite) data.fill(0, (y * width + x) * 4, (y * width + x) * 4 + 3)
      }
    return { width, height, data }
  }

  it('answers a picture that an authenticator app reads, which is in no record', async () => {
    const account = await testbed.account()
    const iam = iamOf(account)
    await iam.createAccountAlias({ AccountAlias: 'harbour' })
    const { VirtualMFADevice } = await iam.createVirtualMFADevice({ VirtualMFADeviceName: 'ada' })
    const secret = Buffer.from(VirtualMFADevice!.Base32StringSeed!).toString()
    const png = VirtualMFADevice!.QRCodePNG!
    expect(decodeQR(pixelsOf(png))).toBe(`otpauth://totp/ada%40harbour?secret=${secret}`)
    const trail = byTheClock(new CloudTrail(account.config))
    const record = await eventually('the record of the call', async () => {
      const LookupAttributes = [{ AttributeKey: 'EventName' as const, AttributeValue: 'CreateVirtualMFADevice' }]
      const { Events = [] } = await trail.lookupEvents({ LookupAttributes })
      return Events[0]?.CloudTrailEvent
    })
    expect(record).toContain(VirtualMFADevice!.SerialNumber)
    expect(record).not.toContain(secret)
    expect(record).not.toContain(Buffer.from(png).toString('base64').slice(0, 40))
  })
})
