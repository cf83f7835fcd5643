/** Trails: what they are asked for, the files that they deliver, and what is done with files by the AWS CLI. */
import { execFile, spawnSync } from 'node:child_process'
import { createHash, createPublicKey, verify } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { CloudTrail } from '@aws-sdk/client-cloudtrail'
import { AttachUserPolicyCommand, CreateAccessKeyCommand, CreateUserCommand, IAMClient } from '@aws-sdk/client-iam'
import { PutParameterCommand } from '@aws-sdk/client-ssm'
import { createSealer, verifyTrail } from '@musterbook/server'
import { eventually, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { type S3Server, startS3 } from './s3-server.ts'

const HOUR_MS = 3_600_000
const folder = await mkdtemp(join(tmpdir(), 'musterbook-trails-'))
await mkdir(join(folder, 'audit-files'))
const toFolder = await startTestbed({ options: { settings: { trailBuckets: { folder } } } })
const s3 = await startS3('audit-bucket')
const storeOf = ({ origin }: S3Server) => ({
  trailBuckets: { endpoint: origin, region: 'us-east-1', accessKeyId: 'AKIASTORE', secretAccessKey: 'secret' },
})
const toStore = await startTestbed({ options: { settings: storeOf(s3) } })
afterAll(async () => {
  for (const testbed of [toFolder, toStore]) await testbed[Symbol.asyncDispose]()
  await s3[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** A client that signs by the clock of the control plane, however far it was moved. */
function clocked<Client extends { config: object }>(testbed: Testbed, client: Client): Client {
  const get = () => testbed.clock.now().getTime() - Date.now()
  Object.defineProperty(client.config, 'systemClockOffset', { get, set() {} })
  return client
}
const trailsOf = (testbed: Testbed, { config }: TestAccount, region = config.region) =>
  clocked(testbed, new CloudTrail({ ...config, region }))
const put = (testbed: Testbed, account: TestAccount, Name: string, region = 'us-east-1') =>
  clocked(testbed, account.client({ region })).send(new PutParameterCommand({ Name, Value: 'v', Type: 'String' }))

interface TrailRecord {
  eventName: string
  eventID: string
  awsRegion: string
  requestParameters: { name?: string } | null
}

const recordsIn = (bytes: Buffer) => (JSON.parse(gunzipSync(bytes).toString()) as { Records: TrailRecord[] }).Records
const isFile = (key: string) => /\/CloudTrail\/.*\.json\.gz$/.test(key)
const namesOf = (records: TrailRecord[]) =>
  records.flatMap(({ eventName, requestParameters }) => (eventName === 'PutParameter' && requestParameters?.name) || [])

async function filesIn(account: TestAccount): Promise<Map<string, Buffer>> {
  const paths = await readdir(folder, { recursive: true, withFileTypes: true })
  const found = new Map<string, Buffer>()
  for (const each of paths) {
    const path = join(each.parentPath, each.name)
    if (each.isFile() && path.includes(`/${account.account}/`)) found.set(relative(folder, path), await readFile(path))
  }
  return found
}
const objectsOf = (account: TestAccount) =>
  new Map([...s3.objects].filter(([key]) => key.includes(`/${account.account}/`)).map(([key, { body }]) => [key, body]))
const recordsOf = (files: Map<string, Buffer>) =>
  [...files].filter(([key]) => isFile(key)).flatMap(([, body]) => recordsIn(body))

/** What was recorded lies in its chain: answers are recorded within a moment. */
async function delivered(
  testbed: Testbed,
  account: TestAccount,
  files: () => Promise<Map<string, Buffer>>,
  name: string,
) {
  await trailsOf(testbed, account).lookupEvents({})
  return eventually(`a file has ${name}`, async () => {
    testbed.clock.advance(301_000)
    await testbed.server.work.settle()
    const records = recordsOf(await files())
    return namesOf(records).includes(name) ? records : undefined
  })
}

describe('a trail', () => {
  it('is created, shown, changed, tagged and deleted, as AWS does it', async () => {
    const account = await toFolder.account()
    const trail = trailsOf(toFolder, account)
    const arn = `arn:aws:cloudtrail:us-east-1:${account.account}:trail/main`
    const made = await trail.createTrail({
      Name: 'main',
      S3BucketName: 'audit-files',
      S3KeyPrefix: 'ship',
      IsMultiRegionTrail: true,
      TagsList: [{ Key: 'team', Value: 'harbour' }],
    })
    expect(made).toMatchObject({
      Name: 'main',
      S3BucketName: 'audit-files',
      S3KeyPrefix: 'ship',
      IncludeGlobalServiceEvents: true,
      IsMultiRegionTrail: true,
      LogFileValidationEnabled: false,
      TrailARN: arn,
    })
    expect((await trail.getTrail({ Name: arn })).Trail).toMatchObject({ HomeRegion: 'us-east-1', Name: 'main' })
    expect((await trail.listTrails({})).Trails).toEqual([{ TrailARN: arn, Name: 'main', HomeRegion: 'us-east-1' }])
    expect(await trail.updateTrail({ Name: 'main', EnableLogFileValidation: true })).toMatchObject({
      LogFileValidationEnabled: true,
    })
    const elsewhere = trailsOf(toFolder, account, 'eu-west-1')
    expect((await elsewhere.describeTrails({})).trailList).toMatchObject([{ Name: 'main', HomeRegion: 'us-east-1' }])
    expect((await elsewhere.describeTrails({ includeShadowTrails: false })).trailList).toEqual([])
    await expect(elsewhere.deleteTrail({ Name: arn })).rejects.toMatchObject({ name: 'InvalidHomeRegionException' })
    await trail.addTags({ ResourceId: arn, TagsList: [{ Key: 'ship', Value: 'Ann' }] })
    await trail.removeTags({ ResourceId: arn, TagsList: [{ Key: 'team' }] })
    expect((await trail.listTags({ ResourceIdList: [arn] })).ResourceTagList).toEqual([
      { ResourceId: arn, TagsList: [{ Key: 'ship', Value: 'Ann' }] },
    ])
    expect((await trail.getEventSelectors({ TrailName: 'main' })).EventSelectors).toMatchObject([
      { ReadWriteType: 'All', IncludeManagementEvents: true },
    ])
    await trail.deleteTrail({ Name: 'main' })
    await expect(trail.getTrailStatus({ Name: 'main' })).rejects.toMatchObject({ name: 'TrailNotFoundException' })
  })

  it('is refused with the words of AWS', async () => {
    const account = await toFolder.account()
    const trail = trailsOf(toFolder, account)
    const S3BucketName = 'audit-files'
    const refused = (input: object, name: string) =>
      expect(trail.createTrail({ Name: 'main', S3BucketName, ...input })).rejects.toMatchObject({ name })
    await refused({ Name: 'a..b' }, 'InvalidTrailNameException')
    await refused({ Name: '10.0.0.1' }, 'InvalidTrailNameException')
    await refused({ S3BucketName: 'no-such-bucket' }, 'S3BucketDoesNotExistException')
    await refused({ S3BucketName: '..' }, 'InvalidS3BucketNameException')
    await refused({ S3KeyPrefix: '../../etc' }, 'InvalidS3PrefixException')
    await refused({ SnsTopicName: 'topic' }, 'InvalidSnsTopicNameException')
    await refused(
      { IsMultiRegionTrail: true, IncludeGlobalServiceEvents: false },
      'InvalidParameterCombinationException',
    )
    for (const Name of ['t-1', 't-2', 't-3', 't-4', 't-5']) await trail.createTrail({ Name, S3BucketName })
    await refused({ Name: 't-1' }, 'TrailAlreadyExistsException')
    await refused({ Name: 't-6' }, 'MaximumNumberOfTrailsExceededException')
    await expect(trail.startLogging({ Name: 'none' })).rejects.toMatchObject({ name: 'TrailNotFoundException' })
    await expect(trail.getTrail({ Name: 'arn:aws:s3:::x' })).rejects.toMatchObject({
      name: 'CloudTrailARNInvalidException',
    })
  })

  it("is nobody's who has no permission", async () => {
    const account = await toFolder.account()
    const iam = new IAMClient(account.config)
    await iam.send(new CreateUserCommand({ UserName: 'bob' }))
    const PolicyArn = 'arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess'
    await iam.send(new AttachUserPolicyCommand({ UserName: 'bob', PolicyArn })).catch(() => {})
    const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: 'bob' }))
    const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
    const config = { ...account.config, credentials }
    const trail = trailsOf(toFolder, { ...account, config })
    await trailsOf(toFolder, account).createTrail({ Name: 'main', S3BucketName: 'audit-files' })
    for (const call of [() => trail.stopLogging({ Name: 'main' }), () => trail.deleteTrail({ Name: 'main' })])
      await expect(call()).rejects.toThrow(/not authorized to perform: cloudtrail:/)
  })
})

describe('files in a folder', () => {
  it('have the calls since StartLogging in the shape of AWS, each once, up to StopLogging', async () => {
    const account = await toFolder.account()
    const trail = trailsOf(toFolder, account)
    await put(toFolder, account, 'before')
    await trail.createTrail({ Name: 'main', S3BucketName: 'audit-files', S3KeyPrefix: 'ship' })
    await trail.startLogging({ Name: 'main' })
    await put(toFolder, account, 'one')
    await delivered(toFolder, account, () => filesIn(account), 'one')
    await put(toFolder, account, 'two')
    const records = await delivered(toFolder, account, () => filesIn(account), 'two')
    expect(namesOf(records)).not.toContain('before')
    const ids = records.map(({ eventID }) => eventID)
    expect(new Set(ids).size).toBe(ids.length)
    expect(records.find(({ eventName }) => eventName === 'PutParameter')).toMatchObject({
      eventVersion: '1.11',
      userIdentity: { type: 'Root', accountId: account.account },
      eventSource: 'ssm.amazonaws.com',
      eventCategory: 'Management',
      requestParameters: { name: 'one', value: 'HIDDEN_DUE_TO_SECURITY_REASONS' },
    })
    const key = [...(await filesIn(account)).keys()].find(isFile)
    expect(key).toMatch(
      new RegExp(
        `^audit-files/ship/AWSLogs/${account.account}/CloudTrail/us-east-1/\\d{4}/\\d\\d/\\d\\d/${account.account}_CloudTrail_us-east-1_\\d{8}T\\d{4}Z_[A-Za-z0-9]{16}\\.json\\.gz$`,
      ),
    )
    expect(await trail.getTrailStatus({ Name: 'main' })).toMatchObject({
      IsLogging: true,
      LatestDeliveryTime: expect.any(Date),
      StartLoggingTime: expect.any(Date),
    })
    await trail.stopLogging({ Name: 'main' })
    await trail.lookupEvents({})
    toFolder.clock.advance(10_000)
    await toFolder.server.work.settle()
    await put(toFolder, account, 'after')
    await trail.lookupEvents({})
    toFolder.clock.advance(400_000)
    await toFolder.server.work.settle()
    const all = recordsOf(await filesIn(account))
    expect(namesOf(all)).not.toContain('after')
    expect(all.map(({ eventName }) => eventName)).toContain('StopLogging')
    expect((await trail.getTrailStatus({ Name: 'main' })).IsLogging).toBe(false)
  })

  it('have both regions for a trail that reaches over them, and only what the selectors name', async () => {
    const account = await toFolder.account()
    const trail = trailsOf(toFolder, account)
    await trail.createTrail({ Name: 'all', S3BucketName: 'audit-files', IsMultiRegionTrail: true })
    await trail.putEventSelectors({
      TrailName: 'all',
      AdvancedEventSelectors: [
        {
          FieldSelectors: [
            { Field: 'eventCategory', Equals: ['Management'] },
            { Field: 'eventSource', NotEquals: ['cloudtrail.amazonaws.com'] },
          ],
        },
      ],
    })
    expect((await trail.getTrail({ Name: 'all' })).Trail?.HasCustomEventSelectors).toBe(true)
    await trail.startLogging({ Name: 'all' })
    await put(toFolder, account, 'west', 'eu-west-1')
    await put(toFolder, account, 'east')
    await trailsOf(toFolder, account, 'eu-west-1').lookupEvents({})
    await delivered(toFolder, account, () => filesIn(account), 'east')
    const records = await delivered(toFolder, account, () => filesIn(account), 'west')
    expect(records.map(({ eventName }) => eventName)).toEqual(['PutParameter', 'PutParameter'])
    expect(new Set(records.map(({ awsRegion }) => awsRegion))).toEqual(new Set(['us-east-1', 'eu-west-1']))
  })
})

describe('files in a store', () => {
  it('are tried again when it refuses, and GetTrailStatus says why', async () => {
    const account = await toStore.account()
    const trail = trailsOf(toStore, account)
    await trail.createTrail({ Name: 'main', S3BucketName: 'audit-bucket' })
    await trail.startLogging({ Name: 'main' })
    await put(toStore, account, 'late')
    await trail.lookupEvents({})
    // A pass that began before the clock is moved would count its five minutes from after that.
    await toStore.server.work.settle()
    s3.refuses = true
    toStore.clock.advance(301_000)
    await eventually('the refusal is told', async () => {
      await toStore.server.work.settle()
      return (await trail.getTrailStatus({ Name: 'main' })).LatestDeliveryError === 'AccessDenied'
    })
    s3.refuses = false
    await delivered(toStore, account, async () => objectsOf(account), 'late')
    expect((await trail.getTrailStatus({ Name: 'main' })).LatestDeliveryError).toBeUndefined()
  })

  it('are the same, and no more, when a process died between the put and the position', async () => {
    const account = await toStore.account()
    const trail = trailsOf(toStore, account)
    await trail.createTrail({ Name: 'main', S3BucketName: 'audit-bucket' })
    await trail.startLogging({ Name: 'main' })
    await put(toStore, account, 'first')
    await delivered(toStore, account, async () => objectsOf(account), 'first')
    const [[key, file] = ['', Buffer.alloc(0)]] = [...objectsOf(account)].filter(([each]) => isFile(each))
    // As the killed process left it: the range was put down and the file was put, the position was not moved.
    const { database } = toStore.server
    const span = await database<{ after_seq: number }[]>`
      select after_seq from trail_spans where account = ${account.account}`
    const [digits = ''] = /\d{8}T\d{4}/.exec(key) ?? []
    const at = new Date(digits.replace(/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)/, '$1-$2-$3T$4:$5:30Z'))
    await database`
      update trail_spans set after_seq = begin_seq, file_to = ${span[0]!.after_seq}, file_at = ${at}
      where account = ${account.account}`
    await database`delete from trail_files where account = ${account.account}`
    await put(toStore, account, 'second')
    const records = await delivered(toStore, account, async () => objectsOf(account), 'second')
    expect(s3.puts.get(key)).toBe(2)
    expect(objectsOf(account).get(key)?.equals(file)).toBe(true)
    expect(namesOf(records).sort()).toEqual(['first', 'second'])
    const ids = records.map(({ eventID }) => eventID)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it('are put once when two processes deliver', async () => {
    await using second = await toStore.another()
    const account = await toStore.account()
    const trail = trailsOf(toStore, account)
    await trail.createTrail({ Name: 'main', S3BucketName: 'audit-bucket' })
    await trail.startLogging({ Name: 'main' })
    for (const name of ['a', 'b', 'c']) {
      await put(toStore, account, name)
      await trail.lookupEvents({})
      toStore.clock.advance(301_000)
      await Promise.all([toStore.server.work.settle(), second.server.work.settle()])
    }
    const records = await delivered(toStore, account, async () => objectsOf(account), 'c')
    expect(namesOf(records).sort()).toEqual(['a', 'b', 'c'])
    const files = [...objectsOf(account).keys()].filter(isFile)
    expect(files.map((key) => s3.puts.get(key))).toEqual(files.map(() => 1))
  })

  it('are told by digests that follow one another and are signed', async () => {
    const account = await toStore.account()
    const trail = trailsOf(toStore, account)
    await trail.createTrail({ Name: 'main', S3BucketName: 'audit-bucket', EnableLogFileValidation: true })
    await trail.startLogging({ Name: 'main' })
    await put(toStore, account, 'told')
    await delivered(toStore, account, async () => objectsOf(account), 'told')
    const digests = () =>
      [...s3.objects].filter(([key]) => key.includes(`/${account.account}/CloudTrail-Digest/`)).sort()
    for (const count of [1, 2]) {
      toStore.clock.advance(HOUR_MS)
      await eventually(`there are ${count} digests`, async () => {
        await toStore.server.work.settle()
        return digests().length === count
      })
    }
    const { PublicKeyList = [] } = await trail.listPublicKeys({})
    const key = createPublicKey({ key: Buffer.from(PublicKeyList[0]!.Value!), format: 'der', type: 'pkcs1' })
    let previous: { signature: string; hash: string; object: string } | undefined
    for (const [path, { body, metadata }] of digests()) {
      const content = gunzipSync(body)
      const digest = JSON.parse(content.toString()) as Record<string, string | null> & {
        logFiles: { s3Object: string; hashValue: string }[]
      }
      const hash = createHash('sha256').update(content).digest('hex')
      const signed = `${digest.digestEndTime}\n${path}\n${hash}\n${previous?.signature ?? 'null'}`
      const signature = metadata['x-amz-meta-signature'] ?? ''
      expect(verify('sha256', Buffer.from(signed), key, Buffer.from(signature, 'hex'))).toBe(true)
      expect(digest).toMatchObject({
        digestPublicKeyFingerprint: PublicKeyList[0]!.Fingerprint,
        previousDigestS3Object: previous?.object ?? null,
        previousDigestHashValue: previous?.hash ?? null,
        previousDigestSignature: previous?.signature ?? null,
      })
      for (const { s3Object, hashValue } of digest.logFiles) {
        const file = gunzipSync(s3.objects.get(`audit-bucket/${s3Object}`)!.body)
        expect(createHash('sha256').update(file).digest('hex')).toBe(hashValue)
      }
      expect(digest.logFiles.length > 0 || previous !== undefined).toBe(true)
      previous = { signature, hash, object: path.slice('audit-bucket/'.length) }
    }
    const { chains } = await verifyTrail(toStore.server.database, createSealer(Buffer.alloc(32, 7)))
    expect(chains.filter(({ flaw }) => flaw)).toEqual([])
  })
})

const why = spawnSync('aws', ['--version']).status === 0 ? undefined : 'there is no aws on this machine'
describe.skipIf(why)(why ? `the AWS CLI: ${why}` : 'the AWS CLI', () => {
  it('validates the files with validate-logs, and finds the one that was changed', async () => {
    await using testbed = await startTestbed({ options: { settings: storeOf(s3) } })
    const account = await testbed.account()
    const trail = trailsOf(testbed, account)
    const { TrailARN = '' } = await trail.createTrail({
      Name: 'main',
      S3BucketName: 'audit-bucket',
      S3KeyPrefix: 'ship',
      EnableLogFileValidation: true,
    })
    await trail.startLogging({ Name: 'main' })
    await put(testbed, account, 'told')
    await trail.lookupEvents({})
    await testbed.server.work.settle()
    // The CLI goes by the wall clock: instead of the clock, what is due is moved.
    const { database } = testbed.server
    const due = async (digest: string, times: number) => {
      await database`update trails set next_at = now()`
      await testbed.server.work.settle()
      await database`update trail_digests set start_at = start_at - interval '1 hour'`
      await database`update trails set next_at = now()`
      await eventually(`there are digests: ${digest}`, async () => {
        await testbed.server.work.settle()
        return [...objectsOf(account).keys()].filter((key) => key.includes('/CloudTrail-Digest/')).length === times
      })
    }
    await due('one', 1)
    const run = () =>
      new Promise<{ code: number; out: string }>((resolve) => {
        const { accessKeyId, secretAccessKey } = account.config.credentials
        const start = new Date(Date.now() - 3 * HOUR_MS).toISOString()
        const args = ['cloudtrail', 'validate-logs', '--trail-arn', TrailARN, '--start-time', start, '--verbose']
        const env = {
          PATH: process.env.PATH ?? '',
          HOME: folder,
          LC_ALL: 'C.UTF-8',
          AWS_PAGER: '',
          AWS_EC2_METADATA_DISABLED: 'true',
          AWS_ENDPOINT_URL: testbed.endpoint,
          AWS_ENDPOINT_URL_S3: s3.origin,
          AWS_DEFAULT_REGION: 'us-east-1',
          AWS_ACCESS_KEY_ID: accessKeyId,
          AWS_SECRET_ACCESS_KEY: secretAccessKey,
        }
        execFile('aws', args, { env }, (error, stdout, stderr) =>
          resolve({ code: typeof error?.code === 'number' ? error.code : error ? 255 : 0, out: stdout + stderr }),
        )
      })
    const good = await run()
    expect(good.out).toContain('1/1 digest files valid')
    expect(good.out).toMatch(/\b([1-9]\d*)\/\1 log files valid\n/)
    expect(good.code).toBe(0)
    const [[key, body] = ['', Buffer.alloc(0)]] = [...objectsOf(account)].filter(
      ([each, file]) => isFile(each) && namesOf(recordsIn(file)).includes('told'),
    )
    const text = gunzipSync(body).toString().replace('told', 'sold')
    s3.objects.set(key, { body: gzipSync(text), metadata: {} })
    const changed = await run()
    expect(changed.out).toMatch(/\b1\/\d+ log files INVALID/)
    expect(changed.code).toBe(1)
  })
})
