/** Trails, without a database: names, ARNs, what a trail may ask for, and where its files lie in a bucket. */
import { createHash } from 'node:crypto'
import { arn, type Scope } from '../../platform/arn.ts'
import { isBucketName, isKeyPrefix } from '../../platform/buckets.ts'
import { AwsError } from '../../platform/errors.ts'

/** Per region, those of other regions that reach into it included. */
export const MAX_TRAILS = 5
const MAX_TAGS = 50
/** AWS's longest S3KeyPrefix. */
const MAX_PREFIX = 200

export interface TrailKey extends Scope {
  name: string
}

export interface Tag {
  Key: string
  Value?: string | undefined
}

/** What a permission names: `given` is a name or an ARN already. */
export const trailArn = (scope: Scope, given: string): string =>
  given.startsWith('arn:') ? given : arn('cloudtrail', scope, `trail/${given}`)

/** InvalidTrailNameException. */
export function checkName(name: string): void {
  const wrong = (why: string) => new AwsError('InvalidTrailNameException', why)
  if (name.length < 3) throw wrong('Trail name too short. Minimum allowed length: 3 characters.')
  if (name.length > 128) throw wrong('Trail name too long. Maximum allowed length: 128 characters.')
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name))
    throw wrong(
      'Trail name must start with a letter or number and have letters, numbers, periods, underscores and dashes.',
    )
  if (!/[A-Za-z0-9]$/.test(name)) throw wrong('Trail name must end with a letter or number.')
  if (/[._-]{2}/.test(name)) throw wrong('Trail name cannot have adjacent periods, underscores or dashes.')
  if (/^\d+\.\d+\.\d+\.\d+$/.test(name)) throw wrong('Trail name cannot be an IP address.')
}

/** Which trail a name or ARN names; InvalidTrailNameException, CloudTrailARNInvalidException. */
export function readName(
  scope: Scope,
  given: string,
): { account: string; region: string; name: string; isArn: boolean } {
  if (!given.startsWith('arn:')) {
    checkName(given)
    return { account: scope.account, region: scope.region, name: given, isArn: false }
  }
  const [, region, account, name] = /^arn:aws:cloudtrail:([a-z0-9-]+):(\d{12}):trail\/(.+)$/.exec(given) ?? []
  if (!region || !account || !name)
    throw new AwsError('CloudTrailARNInvalidException', `Trail ARN ${given} is not valid.`)
  checkName(name)
  return { account, region, name, isArn: true }
}

/** InvalidS3BucketNameException, InvalidS3PrefixException. */
export function checkBucket(bucket: string, prefix: string): void {
  if (!isBucketName(bucket)) throw new AwsError('InvalidS3BucketNameException', `Bucket name ${bucket} is not valid.`)
  const parts = prefix.split('/')
  // An empty part is a name that no folder can have.
  if (
    prefix !== '' &&
    (prefix.length > MAX_PREFIX || !isKeyPrefix(prefix) || parts.includes('') || /\p{Cc}/u.test(prefix))
  )
    throw new AwsError('InvalidS3PrefixException', `The prefix ${prefix} is not valid.`)
}

/** What this installation has no service for. */
export function refuseElsewhere(input: {
  SnsTopicName?: string | undefined
  CloudWatchLogsLogGroupArn?: string | undefined
  CloudWatchLogsRoleArn?: string | undefined
  KmsKeyId?: string | undefined
  IsOrganizationTrail?: boolean | undefined
}): void {
  if (input.SnsTopicName) throw new AwsError('InvalidSnsTopicNameException', 'Trails notify no SNS topics here.')
  if (input.CloudWatchLogsLogGroupArn || input.CloudWatchLogsRoleArn)
    throw new AwsError('CloudWatchLogsDeliveryUnavailableException', 'Trails deliver to no log groups here.')
  if (input.KmsKeyId)
    throw new AwsError('UnsupportedOperationException', 'Files of trails are encrypted by the store that they lie in.')
  if (input.IsOrganizationTrail) throw new AwsError('OrganizationsNotInUseException', 'There is no organization here.')
}

/** The tags after more of them; InvalidTagParameterException, TagsLimitExceededException. */
export function withTags(existing: Record<string, string>, added: readonly Tag[]): Record<string, string> {
  if (new Set(added.map(({ Key }) => Key)).size < added.length)
    throw new AwsError('InvalidTagParameterException', 'The tag list has a key more than once.')
  if (added.some(({ Key }) => /^aws:/i.test(Key)))
    throw new AwsError('InvalidTagParameterException', 'Tag keys that begin with aws: are reserved.')
  const tags = { ...existing, ...Object.fromEntries(added.map(({ Key, Value = '' }) => [Key, Value])) }
  if (Object.keys(tags).length > MAX_TAGS)
    throw new AwsError('TagsLimitExceededException', `A trail can have up to ${MAX_TAGS} tags.`)
  return tags
}

/** `2026-11-24T04:05:06Z` */
export const second = (at: Date): string => `${at.toISOString().slice(0, 19)}Z`
const compact = (at: Date): string => second(at).replaceAll(/[-:]/g, '')
const day = (at: Date): string => at.toISOString().slice(0, 10).replaceAll('-', '/')

interface Delivery extends TrailKey {
  prefix: string
}

const below = (prefix: string, key: string): string => (prefix === '' ? key : `${prefix}/${key}`)

/** The folder of an account; what exists below it tells that a trail may write there. */
export const accountKey = ({ account, prefix }: Pick<Delivery, 'account' | 'prefix'>): string =>
  below(prefix, `AWSLogs/${account}`)

/** The same range of records has the same name, whoever makes the file. */
export function fileKey(trail: Delivery, region: string, file: { first: number; last: number; at: Date }): string {
  const { account } = trail
  const range = `${trail.region}/${trail.name}/${region}/${file.first}-${file.last}`
  const unique = createHash('sha256')
    .update(`${account}/${range}`)
    .digest('base64')
    .replaceAll(/[+/=]/g, '')
    .slice(0, 16)
  const minute = compact(file.at).replace(/\d\dZ$/, 'Z')
  return `${accountKey(trail)}/CloudTrail/${region}/${day(file.at)}/${account}_CloudTrail_${region}_${minute}_${unique}.json.gz`
}

export function digestKey(trail: Delivery, region: string, end: Date): string {
  const { account } = trail
  const name = `${account}_CloudTrail-Digest_${region}_${trail.name}_${trail.region}_${compact(end)}.json.gz`
  return `${accountKey(trail)}/CloudTrail-Digest/${region}/${day(end)}/${name}`
}
