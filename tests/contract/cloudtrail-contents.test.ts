/** What calls said in full, kept apart; nodes, routes and sessions of roles in the audit; and both modes without a store. */
import { CloudTrail, type Event } from '@aws-sdk/client-cloudtrail'
import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import {
  GetParameterCommand,
  GetParametersByPathCommand,
  PutParameterCommand,
  StartSessionCommand,
} from '@aws-sdk/client-ssm'
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import { eventually, startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { type Credentials, send, signed } from './signed-request.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

async function eventsOf({ config }: Pick<TestAccount, 'config'>, EventName?: string): Promise<Event[]> {
  const named = EventName && { LookupAttributes: [{ AttributeKey: 'EventName' as const, AttributeValue: EventName }] }
  return (await new CloudTrail(config).lookupEvents({ ...named })).Events ?? []
}
const recordOf = (event: Event | undefined) => JSON.parse(event?.CloudTrailEvent ?? '{}')

async function contentOf(credentials: Credentials, eventId: string | undefined) {
  const request = signed({
    credentials,
    host: new URL(testbed.endpoint).host,
    method: 'GET',
    path: `/v1/event-contents/${eventId}`,
    service: 'cloudtrail',
    body: '',
  })
  return send(testbed.endpoint, request)
}

async function newUser(account: TestAccount, UserName: string, ...Action: string[]): Promise<Credentials> {
  const iam = new IAMClient(account.config)
  await iam.send(new CreateUserCommand({ UserName }))
  const Statement = [{ Effect: 'Allow', Action, Resource: '*' }]
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'p', PolicyDocument }))
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }))
  return { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
}

describe('what a call said in full', () => {
  it('is kept apart, for whoever may decrypt with the key of the audit', async () => {
    const account = await testbed.account()
    await account.ssm.send(new PutParameterCommand({ Name: 'p', Value: 'the new value', Type: 'String' }))
    const [event] = await eventsOf(account, 'PutParameter')
    expect(event?.CloudTrailEvent).not.toContain('the new value')
    const read = await contentOf(account.config.credentials, event?.EventId)
    expect(read).toMatchObject({ status: 200, text: '{"value":"the new value"}' })

    const half = await newUser(account, 'half', 'cloudtrail:*')
    expect(await contentOf(half, event?.EventId)).toMatchObject({
      status: 403,
      text: expect.stringContaining('kms:Decrypt'),
    })
    const other = await newUser(account, 'other', 'kms:*')
    expect((await contentOf(other, event?.EventId)).text).toContain('cloudtrail:GetEventContent')
    const whole = await newUser(account, 'whole', 'cloudtrail:GetEventContent', 'kms:Decrypt')
    expect((await contentOf(whole, event?.EventId)).text).toBe('{"value":"the new value"}')
    expect((await eventsOf(account, 'GetEventContent')).map(({ Username }) => Username)).toEqual([
      'whole',
      'other',
      'half',
      'root',
    ])

    const stranger = await testbed.account()
    expect((await contentOf(stranger.config.credentials, event?.EventId)).status).toBe(400)
  })

  it('lies in the database under the key of the account, and not readable', async () => {
    const account = await testbed.account()
    await account.ssm.send(new PutParameterCommand({ Name: 'p', Value: 'plain as day', Type: 'String' }))
    await eventsOf(account)
    const [row] = await testbed.server.database<{ sealed: Buffer }[]>`
      select sealed from trail_contents where account = ${account.account}`
    expect(row?.sealed.includes('plain as day')).toBe(false)
    const { Aliases = [] } = await new KMS(account.config).listAliases({})
    expect(Aliases.map(({ AliasName }) => AliasName)).toContain('alias/aws/cloudtrail')
  })

  it('lies under a key that nobody can disable, delete or give another policy, the root neither', async () => {
    const account = await testbed.account()
    await account.ssm.send(new PutParameterCommand({ Name: 'p', Value: 'kept', Type: 'String' }))
    const [event] = await eventsOf(account, 'PutParameter')
    const kms = new KMS(account.config)
    const { KeyMetadata } = await kms.describeKey({ KeyId: 'alias/aws/cloudtrail' })
    const KeyId = KeyMetadata!.KeyId!
    const { Policy } = await kms.getKeyPolicy({ KeyId })
    for (const refused of [
      () => kms.scheduleKeyDeletion({ KeyId }),
      () => kms.disableKey({ KeyId }),
      () => kms.putKeyPolicy({ KeyId, Policy, BypassPolicyLockoutSafetyCheck: true }),
      () => kms.disableKeyRotation({ KeyId }),
      () => kms.createAlias({ AliasName: 'alias/mine', TargetKeyId: KeyId }),
      () => kms.createGrant({ KeyId, GranteePrincipal: event!.Username!, Operations: ['Decrypt'] }),
      () => kms.encrypt({ KeyId, Plaintext: Buffer.from('x') }),
    ])
      await expect(refused()).rejects.toMatchObject({ name: 'AccessDeniedException' })
    expect((await contentOf(account.config.credentials, event?.EventId)).text).toBe('{"value":"kept"}')
  })

  it('is opened through CloudTrail, which is not Systems Manager', async () => {
    const account = await testbed.account()
    await account.ssm.send(new PutParameterCommand({ Name: 'p', Value: 'kept', Type: 'String' }))
    const [event] = await eventsOf(account, 'PutParameter')
    const iam = new IAMClient(account.config)
    const reader = async (UserName: string, service: string) => {
      const credentials = await newUser(account, UserName, 'cloudtrail:GetEventContent')
      const Condition = { StringEquals: { 'kms:ViaService': `${service}.us-east-1.amazonaws.com` } }
      const Statement = [{ Effect: 'Allow', Action: 'kms:Decrypt', Resource: '*', Condition }]
      const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
      await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'via', PolicyDocument }))
      return contentOf(credentials, event?.EventId)
    }
    expect(await reader('parameters', 'ssm')).toMatchObject({ status: 403 })
    expect(await reader('auditor', 'cloudtrail')).toMatchObject({ status: 200, text: '{"value":"kept"}' })
  })

  it('is not kept of a SecureString, nor of a call that failed', async () => {
    const account = await testbed.account()
    const put = (Name: string, Type: 'String' | 'SecureString', Overwrite = false) =>
      account.ssm.send(new PutParameterCommand({ Name, Value: 'v', Type, Overwrite }))
    await put('secure', 'SecureString')
    await put('plain', 'String')
    await put('plain', 'String').catch(() => {})
    await account.ssm.send(new PutParameterCommand({ Name: 'secure', Value: 'new', Overwrite: true }))
    const events = await eventsOf(account, 'PutParameter')
    const kept = await Promise.all(
      events.map(async ({ EventId }) => (await contentOf(account.config.credentials, EventId)).status),
    )
    expect(kept).toEqual([400, 400, 200, 400])
  })
})

describe('the audit', () => {
  it('has the calls and the channels of a node under its name, and not its polls', async () => {
    const account = await testbed.account()
    const { nodeId } = await testbed.node(account)
    const names = await eventually('the node has opened its channel', async () => {
      const found = (await eventsOf(account)).filter(({ Username }) => Username === nodeId)
      return found.some(({ EventName }) => EventName === 'OpenControlChannel') && found
    })
    const record = recordOf(names.find(({ EventName }) => EventName === 'OpenControlChannel'))
    expect(record).toMatchObject({
      eventSource: 'ssmmessages.amazonaws.com',
      userIdentity: { type: 'AssumedRole', accountId: account.account },
    })
    expect(names.some(({ EventName }) => EventName === 'UpdateInstanceInformation')).toBe(true)
    expect(names.some(({ EventSource }) => EventSource?.startsWith('ec2messages'))).toBe(false)

    await account.ssm.send(new StartSessionCommand({ Target: nodeId, Reason: 'look' })).catch(() => {})
    const [session] = await eventsOf(account, 'StartSession')
    expect(session?.CloudTrailEvent).toContain(nodeId)
    expect(session?.CloudTrailEvent).not.toMatch(/"tokenValue":"(?!HIDDEN)/)
  })

  it('has a role with who took it on, and who was given it', async () => {
    const account = await testbed.account()
    const iam = new IAMClient(account.config)
    const trust = { Effect: 'Allow', Principal: { AWS: account.account }, Action: 'sts:AssumeRole' }
    const AssumeRolePolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [trust] })
    const { Role } = await iam.send(new CreateRoleCommand({ RoleName: 'ops', AssumeRolePolicyDocument }))
    const ann = await newUser(account, 'ann', 'sts:AssumeRole')
    const sts = new STSClient({ ...account.config, credentials: ann })
    const { Credentials: given } = await sts.send(
      new AssumeRoleCommand({ RoleArn: Role!.Arn!, RoleSessionName: 'night' }),
    )
    const credentials = {
      accessKeyId: given!.AccessKeyId!,
      secretAccessKey: given!.SecretAccessKey!,
      sessionToken: given!.SessionToken!,
    }
    const asRole = account.client({ credentials } as object)
    await expect(asRole.send(new GetParameterCommand({ Name: 'x' }))).rejects.toThrow(/not authorized/)
    const [assumed] = await eventsOf(account, 'AssumeRole')
    expect(recordOf(assumed).responseElements).toMatchObject({
      credentials: { accessKeyId: credentials.accessKeyId, sessionToken: 'HIDDEN_DUE_TO_SECURITY_REASONS' },
    })
    expect(assumed?.CloudTrailEvent).not.toContain(credentials.secretAccessKey)
    const [denied] = await eventsOf(account, 'GetParameter')
    expect(denied?.Username).toBe('night')
    expect(recordOf(denied).userIdentity).toMatchObject({
      type: 'AssumedRole',
      principalId: `${Role!.RoleId}:night`,
      accessKeyId: credentials.accessKeyId,
      sessionContext: {
        sessionIssuer: { type: 'Role', arn: Role!.Arn, userName: 'ops' },
        attributes: { mfaAuthenticated: 'false' },
      },
    })
  })

  it('has operations that are missing here', async () => {
    const account = await testbed.account()
    await new CloudTrail(account.config).listChannels({}).catch(() => {})
    const [event] = await eventsOf(account, 'ListChannels')
    expect(recordOf(event).errorCode).toBe('NotImplementedException')
  })
})

describe('without a store for the audit', () => {
  const without = (table: string, lost: boolean) =>
    lost ? `alter table ${table} rename to ${table}_away` : `alter table ${table}_away rename to ${table}`
  async function lose(bed: typeof testbed, lost: boolean) {
    for (const table of ['trail_pending', 'trail_chains']) await bed.server.database.unsafe(without(table, lost))
  }

  it('nothing is done in fail-closed mode, and all is again once it is back', async () => {
    await using bed = await startTestbed({ options: { settings: { audit: 'fail-closed' } } })
    const account = await bed.account()
    const { ssm } = account
    const put = (Name: string) => ssm.send(new PutParameterCommand({ Name, Value: 'v', Type: 'String' }))
    await put('/a/before')
    await lose(bed, true)
    await expect(put('/a/during')).rejects.toMatchObject({
      name: 'ServiceUnavailable',
      $metadata: { httpStatusCode: 503 },
    })
    await expect(ssm.send(new GetParameterCommand({ Name: '/a/before' }))).rejects.toMatchObject({
      name: 'ServiceUnavailable',
    })
    await lose(bed, false)
    const list = new GetParametersByPathCommand({ Path: '/a' })
    expect((await ssm.send(list)).Parameters?.map(({ Name }) => Name)).toEqual(['/a/before'])
    await put('/a/after')
    const events = await eventsOf(account, 'PutParameter')
    const told = events.map(recordOf).map(({ requestParameters, errorCode }) => [requestParameters.name, errorCode])
    expect(told).toEqual([
      ['/a/after', undefined],
      ['/a/during', 'ServiceUnavailable'],
      ['/a/before', undefined],
    ])
    const [waiting] = await bed.server.database`select count(*)::integer as count from trail_pending`
    expect(waiting?.count).toBe(0)
  })

  it('calls go on in batched mode, and their records are written once it is back', async () => {
    await using bed = await startTestbed()
    const account = await bed.account()
    await lose(bed, true)
    for (const Name of ['a', 'b']) await account.ssm.send(new PutParameterCommand({ Name, Value: 'v', Type: 'String' }))
    await eventsOf(account).catch(() => {})
    await lose(bed, false)
    const events = await eventually('the records are there', async () => {
      const found = await eventsOf(account, 'PutParameter')
      return found.length >= 2 && found
    })
    expect(events).toHaveLength(2)
  })
})
