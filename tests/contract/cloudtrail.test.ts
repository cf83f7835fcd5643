import { randomUUID } from 'node:crypto'
import { CloudTrail, type Event } from '@aws-sdk/client-cloudtrail'
import { AttachUserPolicyCommand, CreateAccessKeyCommand, CreateUserCommand, IAM, IAMClient } from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import {
  DeleteParameterCommand,
  GetParameterCommand,
  PutParameterCommand,
  SendCommandCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm'
import { STS } from '@aws-sdk/client-sts'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const trailOf = ({ config }: TestAccount) => new CloudTrail(config)
const recordOf = (event: Event | undefined) => JSON.parse(event?.CloudTrailEvent ?? '{}') as Record<string, unknown>

/** Of a user who may do nothing unless a policy is given. */
async function newKey(account: TestAccount, UserName = `u-${randomUUID()}`, PolicyArn?: string) {
  const iam = new IAMClient(account.config)
  await iam.send(new CreateUserCommand({ UserName }))
  if (PolicyArn) await iam.send(new AttachUserPolicyCommand({ UserName, PolicyArn }))
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }))
  return { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
}

async function newUser(account: TestAccount, UserName: string, PolicyArn?: string): Promise<SSMClient> {
  return account.client({ credentials: await newKey(account, UserName, PolicyArn) } as object)
}

describe('the audit', () => {
  it('has a record of a write by root, in the shape of CloudTrail and without the value', async () => {
    const account = await testbed.account()
    const { $metadata } = await account.ssm.send(
      new PutParameterCommand({ Name: '/app/db', Value: 'a value to hide', Type: 'String' }),
    )
    const { Events = [] } = await trailOf(account).lookupEvents({})
    expect(Events).toHaveLength(1)
    expect(Events[0]).toMatchObject({
      EventName: 'PutParameter',
      EventSource: 'ssm.amazonaws.com',
      ReadOnly: 'false',
      Username: 'root',
      AccessKeyId: account.config.credentials.accessKeyId,
      Resources: [{ ResourceType: 'AWS::SSM::Parameter', ResourceName: '/app/db' }],
    })
    const arn = `arn:aws:iam::${account.account}:root`
    expect(recordOf(Events[0])).toEqual({
      eventVersion: '1.11',
      userIdentity: {
        type: 'Root',
        principalId: account.account,
        arn,
        accountId: account.account,
        accessKeyId: account.config.credentials.accessKeyId,
      },
      eventTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      eventSource: 'ssm.amazonaws.com',
      eventName: 'PutParameter',
      awsRegion: 'us-east-1',
      sourceIPAddress: '127.0.0.1',
      userAgent: expect.stringContaining('aws-sdk-js'),
      requestParameters: { name: '/app/db', value: 'HIDDEN_DUE_TO_SECURITY_REASONS', type: 'String' },
      responseElements: { version: 1, tier: 'Standard' },
      requestID: $metadata.requestId,
      eventID: Events[0]?.EventId,
      readOnly: false,
      resources: [
        {
          accountId: account.account,
          type: 'AWS::SSM::Parameter',
          ARN: `arn:aws:ssm:us-east-1:${account.account}:parameter/app/db`,
        },
      ],
      eventType: 'AwsApiCall',
      managementEvent: true,
      recipientAccountId: account.account,
      eventCategory: 'Management',
    })
  })

  it('has what a user was denied, and what failed', async () => {
    const account = await testbed.account()
    const ssm = await newUser(account, 'mallory')
    await expect(ssm.send(new GetParameterCommand({ Name: 'x' }))).rejects.toThrow(/not authorized/)
    await expect(account.ssm.send(new GetParameterCommand({ Name: 'none' }))).rejects.toThrow()
    const [failed, denied] =
      (
        await trailOf(account).lookupEvents({
          LookupAttributes: [{ AttributeKey: 'EventName', AttributeValue: 'GetParameter' }],
        })
      ).Events ?? []
    expect(recordOf(failed)).toMatchObject({ errorCode: 'ParameterNotFound', responseElements: null, readOnly: true })
    expect(denied?.Username).toBe('mallory')
    expect(recordOf(denied)).toMatchObject({
      errorCode: 'AccessDenied',
      errorMessage: expect.stringContaining('is not authorized to perform: ssm:GetParameter'),
      requestParameters: { name: 'x' },
      userIdentity: { type: 'IAMUser', userName: 'mallory', arn: `arn:aws:iam::${account.account}:user/mallory` },
    })
  })

  it('holds no secret: neither values, nor keys that were made, nor texts of commands', async () => {
    const account = await testbed.account()
    const iam = new IAMClient(account.config)
    await iam.send(new CreateUserCommand({ UserName: 'ann' }))
    const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: 'ann' }))
    const kms = new KMS(account.config)
    const { KeyMetadata } = await kms.createKey({})
    await kms.encrypt({ KeyId: KeyMetadata!.KeyId!, Plaintext: Buffer.from('attack at dawn') })
    const Value = 'correct horse'
    await account.ssm.send(new PutParameterCommand({ Name: 's', Value, Type: 'SecureString' }))
    await account.ssm.send(new GetParameterCommand({ Name: 's', WithDecryption: true }))
    const Parameters = { commands: ['rm -rf /secret'] }
    await account.ssm
      .send(
        new SendCommandCommand({
          DocumentName: 'AWS-RunShellScript',
          InstanceIds: ['mi-00000000000000000'],
          Parameters,
        }),
      )
      .catch(() => {})
    const { Events = [] } = await trailOf(account).lookupEvents({})
    const all = Events.map(({ CloudTrailEvent }) => CloudTrailEvent).join('\n')
    for (const secret of [
      AccessKey!.SecretAccessKey!,
      Value,
      'attack',
      Buffer.from('attack at dawn').toString('base64'),
      'rm -rf',
    ])
      expect(all).not.toContain(secret)
    expect(Events.map(({ EventName }) => EventName)).toEqual([
      'SendCommand',
      'GetParameter',
      'Decrypt',
      'PutParameter',
      'Encrypt',
      'Encrypt',
      'CreateKey',
      'CreateAccessKey',
      'CreateUser',
    ])
  })

  it('tells of the keys that Systems Manager used for its callers, and of those that it was refused', async () => {
    const [owner, guest] = [await testbed.account(), await testbed.account()]
    const kms = new KMS(owner.config)
    const { KeyMetadata } = await kms.createKey({})
    const KeyId = KeyMetadata!.Arn!
    const Statement = [owner, guest].map(({ account }) => ({
      ...{ Effect: 'Allow', Principal: { AWS: account }, Action: 'kms:*', Resource: '*' },
    }))
    await kms.putKeyPolicy({ KeyId, Policy: JSON.stringify({ Version: '2012-10-17', Statement }) })
    const put = (Tier: 'Standard' | 'Advanced') =>
      guest.ssm.send(new PutParameterCommand({ Name: Tier, Value: 'v', Type: 'SecureString', KeyId, Tier }))
    await put('Standard')
    await put('Advanced')
    await guest.ssm.send(new GetParameterCommand({ Name: 'Standard', WithDecryption: true }))
    await kms.disableKey({ KeyId })
    await guest.ssm.send(new GetParameterCommand({ Name: 'Advanced', WithDecryption: true })).catch(() => {})
    const ofKms = async (account: TestAccount) => {
      const LookupAttributes = [{ AttributeKey: 'EventSource' as const, AttributeValue: 'kms.amazonaws.com' }]
      const { Events = [] } = await trailOf(account).lookupEvents({ LookupAttributes })
      return Events.map(recordOf).filter(({ sourceIPAddress }) => sourceIPAddress === 'ssm.amazonaws.com')
    }
    const records = await ofKms(guest)
    const bound = (name: string) => ({ PARAMETER_ARN: `arn:aws:ssm:us-east-1:${guest.account}:parameter/${name}` })
    const encryptionAlgorithm = 'SYMMETRIC_DEFAULT'
    const told = records.map(({ eventName, requestParameters, errorCode }) => [eventName, requestParameters, errorCode])
    expect(told).toEqual([
      ['Decrypt', { encryptionContext: bound('Advanced'), encryptionAlgorithm }, 'DisabledException'],
      ['Decrypt', { encryptionContext: bound('Standard'), encryptionAlgorithm }, undefined],
      ['GenerateDataKey', { keyId: KeyId, encryptionContext: bound('Advanced'), keySpec: 'AES_256' }, undefined],
      ['Encrypt', { keyId: KeyId, encryptionContext: bound('Standard'), encryptionAlgorithm }, undefined],
    ])
    expect(records[1]).toMatchObject({
      userIdentity: { type: 'Root', accountId: guest.account, invokedBy: 'ssm.amazonaws.com' },
      sourceIPAddress: 'ssm.amazonaws.com',
      userAgent: 'ssm.amazonaws.com',
      readOnly: true,
      responseElements: null,
      resources: [{ accountId: owner.account, type: 'AWS::KMS::Key', ARN: KeyId }],
      eventType: 'AwsApiCall',
    })
    const ids = (await trailOf(guest).lookupEvents({})).Events?.map((event) => recordOf(event).requestID) ?? []
    expect(new Set(ids).size).toBe(ids.length)
    // The owner of the key is told as well, of what was done.
    expect((await ofKms(owner)).map(({ eventName, sharedEventID }) => [eventName, sharedEventID])).toEqual(
      records.slice(1).map(({ eventName, sharedEventID }) => [eventName, sharedEventID]),
    )
  })

  it('holds no code of a second factor that was mistyped, nor does the refusal', async () => {
    const account = await testbed.account()
    const mistyped = '12 34 56'
    await expect(
      new STS(account.config).getSessionToken({ SerialNumber: 'arn:aws:iam::1:mfa/x', TokenCode: mistyped }),
    ).rejects.toThrow("Value at 'tokenCode' failed to satisfy constraint")
    const codes = { AuthenticationCode1: mistyped, AuthenticationCode2: mistyped }
    await expect(
      new IAM(account.config).enableMFADevice({ UserName: 'ann', SerialNumber: 'arn:aws:iam::1:mfa/x', ...codes }),
    ).rejects.toThrow("Value at 'authenticationCode1' failed to satisfy constraint")
    const { Events = [] } = await trailOf(account).lookupEvents({})
    expect(Events.map(({ EventName }) => EventName)).toEqual(['EnableMFADevice', 'GetSessionToken'])
    expect(Events.map(({ CloudTrailEvent }) => CloudTrailEvent).join('\n')).not.toContain(mistyped)
  })

  it('tells which temporary credentials a user was given, and neither their secret nor their token', async () => {
    const account = await testbed.account()
    const credentials = await newKey(account, 'ann', 'arn:aws:iam::aws:policy/AdministratorAccess')
    const sts = new STS({ ...account.config, credentials })
    const own = await sts.getSessionToken({})
    const federated = await sts.getFederationToken({ Name: 'guest' })
    const { Events = [] } = await trailOf(account).lookupEvents({
      LookupAttributes: [{ AttributeKey: 'EventSource', AttributeValue: 'sts.amazonaws.com' }],
    })
    const hidden = 'HIDDEN_DUE_TO_SECURITY_REASONS'
    expect(Events.map(recordOf)).toMatchObject(
      [federated, own].map(({ Credentials }) => ({
        userIdentity: { type: 'IAMUser', userName: 'ann' },
        responseElements: {
          credentials: { accessKeyId: Credentials?.AccessKeyId, secretAccessKey: hidden, sessionToken: hidden },
        },
      })),
    )
    for (const { Credentials } of [own, federated])
      for (const secret of [Credentials!.SecretAccessKey!, Credentials!.SessionToken!])
        expect(Events.map(({ CloudTrailEvent }) => CloudTrailEvent).join()).not.toContain(secret)
  })

  it('stays readable whatever a caller names', async () => {
    const account = await testbed.account()
    const trail = trailOf(account)
    const hostile = [
      'arn:aws:cloudtrail:us-east-1:1"2:trail/x',
      'arn:aws:cl"oud:us-east-1:1:tr"ail\\/x',
      `arn:a:b:c:","x`,
      'arn:aws:iam::1\n2:x',
    ]
    for (const arn of hostile) {
      await expect(trail.listTags({ ResourceIdList: [arn] })).rejects.toThrow()
      const mallory = new CloudTrail({ ...account.config, credentials: await newKey(account) })
      await expect(mallory.listTags({ ResourceIdList: [arn] })).rejects.toThrow(/not authorized/)
    }
    const { Events = [] } = await trail.lookupEvents({
      LookupAttributes: [{ AttributeKey: 'EventName', AttributeValue: 'ListTags' }],
    })
    expect(Events).toHaveLength(2 * hostile.length)
    for (const event of Events)
      expect(recordOf(event)).toMatchObject({ eventName: 'ListTags', recipientAccountId: account.account })
    const found = Events.flatMap((event) => recordOf(event).resources as { ARN: string }[]).map(({ ARN }) => ARN)
    expect(new Set(found)).toEqual(new Set(hostile))
  })

  it('names the role that is taken on and the key that is made, and a lookup by them finds it', async () => {
    const account = await testbed.account()
    const { KeyMetadata } = await new KMS(account.config).createKey({})
    const credentials = await newKey(account, 'ann')
    const RoleArn = `arn:aws:iam::${account.account}:role/none`
    const sts = new STS({ ...account.config, credentials })
    await expect(sts.assumeRole({ RoleArn, RoleSessionName: 'ann' })).rejects.toThrow(/not authorized/)
    const find = async (AttributeValue: string) =>
      (await trailOf(account).lookupEvents({ LookupAttributes: [{ AttributeKey: 'ResourceName', AttributeValue }] }))
        .Events ?? []
    const [assumed] = await find(RoleArn)
    expect(assumed?.Resources).toEqual([{ ResourceType: 'AWS::IAM::Role', ResourceName: 'none' }])
    expect(recordOf(assumed)).toMatchObject({ eventName: 'AssumeRole', errorCode: 'AccessDenied', readOnly: true })
    const [made] = await find(KeyMetadata!.KeyId!)
    expect(recordOf(made)).toMatchObject({
      eventName: 'CreateKey',
      resources: [{ accountId: account.account, type: 'AWS::KMS::Key', ARN: KeyMetadata!.Arn }],
    })
  })

  it.each(['batched', 'fail-closed'] as const)(
    'tells an account who from another one used its key or its role, and that one too, %s',
    async (audit) => {
      await using testbed = await startTestbed({ options: { settings: { audit } } })
      const [guest, host] = [await testbed.account(), await testbed.account()]
      const trust = (Action: string) =>
        JSON.stringify({
          Version: '2012-10-17',
          Statement: [guest, host].map(({ account }) => ({
            Effect: 'Allow',
            Principal: { AWS: `arn:aws:iam::${account}:root` },
            Action,
            ...(Action.startsWith('kms') && { Resource: '*' }),
          })),
        })
      const { KeyMetadata } = await new KMS(host.config).createKey({ Policy: trust('kms:*') })
      const AssumeRolePolicyDocument = trust('sts:AssumeRole')
      await new IAM(host.config).createRole({ RoleName: 'open', AssumeRolePolicyDocument })
      const credentials = await newKey(guest, 'ann', 'arn:aws:iam::aws:policy/AdministratorAccess')
      const config = { ...guest.config, credentials }
      const KeyId = KeyMetadata!.Arn!
      await new KMS(config).encrypt({ KeyId, Plaintext: Buffer.from('x') })
      const RoleArn = `arn:aws:iam::${host.account}:role/open`
      await new STS(config).assumeRole({ RoleArn, RoleSessionName: 'visit' })
      await expect(new KMS(config).disableKey({ KeyId })).rejects.toThrow()

      const named = async (account: TestAccount, AttributeValue: string) => {
        const LookupAttributes = [{ AttributeKey: 'EventName' as const, AttributeValue }]
        return ((await trailOf(account).lookupEvents({ LookupAttributes })).Events ?? []).map(recordOf)
      }
      for (const eventName of ['Encrypt', 'AssumeRole']) {
        const [own, ...more] = await named(guest, eventName)
        const [theirs, ...others] = await named(host, eventName)
        expect([...more, ...others]).toEqual([])
        expect(own).toMatchObject({
          recipientAccountId: guest.account,
          userIdentity: { type: 'IAMUser', userName: 'ann' },
        })
        expect(theirs).toMatchObject({
          recipientAccountId: host.account,
          resources: own?.resources,
          requestParameters: own?.requestParameters,
          requestID: own?.requestID,
          sharedEventID: expect.stringMatching(/^[0-9a-f-]{36}$/),
        })
        expect(theirs?.userIdentity).toEqual({
          type: 'AWSAccount',
          principalId: expect.stringMatching(/^AIDA/),
          accountId: guest.account,
        })
        expect(theirs?.sharedEventID).toBe(own?.sharedEventID)
        expect(theirs?.eventID).not.toBe(own?.eventID)
      }
      expect(await named(host, 'DisableKey')).toEqual([])
      const [refused] = await named(guest, 'DisableKey')
      expect(refused).toMatchObject({ errorCode: 'AccessDenied' })
      expect(refused).not.toHaveProperty('sharedEventID')
    },
  )

  it('is looked up by each attribute, by time, and page by page', async () => {
    const account = await testbed.account()
    const trail = trailOf(account)
    for (let count = 0; count < 7; count++)
      await account.ssm.send(new PutParameterCommand({ Name: `p${count}`, Value: 'v', Type: 'String' }))
    await account.ssm.send(new GetParameterCommand({ Name: 'p3' }))
    await account.ssm.send(new DeleteParameterCommand({ Name: 'p3' }))
    const find = async (
      AttributeKey:
        | 'EventId'
        | 'EventName'
        | 'ReadOnly'
        | 'Username'
        | 'ResourceType'
        | 'ResourceName'
        | 'EventSource'
        | 'AccessKeyId',
      AttributeValue: string,
    ) => (await trail.lookupEvents({ LookupAttributes: [{ AttributeKey, AttributeValue }] })).Events ?? []
    expect((await find('ResourceName', 'p3')).map(({ EventName }) => EventName)).toEqual([
      'DeleteParameter',
      'GetParameter',
      'PutParameter',
    ])
    expect(await find('EventName', 'PutParameter')).toHaveLength(7)
    expect((await find('ReadOnly', 'true')).every(({ ReadOnly }) => ReadOnly === 'true')).toBe(true)
    expect((await find('ReadOnly', 'false')).length).toBe(8)
    expect((await find('Username', 'root')).length).toBeGreaterThan(8)
    expect((await find('Username', 'nobody')).length).toBe(0)
    expect((await find('ResourceType', 'AWS::SSM::Parameter')).length).toBe(9)
    expect((await find('EventSource', 'cloudtrail.amazonaws.com')).length).toBe(7)
    expect((await find('AccessKeyId', account.config.credentials.accessKeyId)).length).toBeGreaterThan(8)
    const [one] = await find('EventName', 'DeleteParameter')
    expect(await find('EventId', one!.EventId!)).toEqual([one])
    expect(await find('EventId', crypto.randomUUID())).toEqual([])

    const seen: (string | undefined)[] = []
    let NextToken: string | undefined
    const LookupAttributes = [{ AttributeKey: 'EventName' as const, AttributeValue: 'PutParameter' }]
    do {
      const page = await trail.lookupEvents({ LookupAttributes, MaxResults: 3, NextToken })
      seen.push(...(page.Events ?? []).map(({ Resources }) => Resources?.[0]?.ResourceName))
      NextToken = page.NextToken
    } while (NextToken)
    expect(seen).toEqual(['p6', 'p5', 'p4', 'p3', 'p2', 'p1', 'p0'])
    await expect(trail.lookupEvents({ LookupAttributes, NextToken: 'x' })).rejects.toMatchObject({
      name: 'InvalidNextTokenException',
    })

    const before = new Date(testbed.clock.now().getTime() - 3_600_000)
    expect((await trail.lookupEvents({ EndTime: before })).Events).toEqual([])
    expect((await trail.lookupEvents({ StartTime: before, LookupAttributes })).Events).toHaveLength(7)
    await expect(trail.lookupEvents({ StartTime: new Date(), EndTime: before })).rejects.toMatchObject({
      name: 'InvalidTimeRangeException',
    })
  })

  it("is its account's own", async () => {
    const [one, other] = [await testbed.account(), await testbed.account()]
    await one.ssm.send(new PutParameterCommand({ Name: 'p', Value: 'v', Type: 'String' }))
    expect((await trailOf(other).lookupEvents({})).Events).toEqual([])
  })
})
