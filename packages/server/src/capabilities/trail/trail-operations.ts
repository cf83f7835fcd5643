/** CloudTrail's operations on trails. What they write is carried out by deliver.ts; files follow within minutes. */
import type { Input, OperationTable, Output } from '../../contract/types.ts'
import { NotPut } from '../../platform/buckets.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { tagKeys } from '../tags/index.ts'
import { putFile, STOP_MS, TRAILS_WAKE } from './deliver.ts'
import { checkSelectors, DEFAULT_SELECTORS } from './selectors.ts'
import { listPublicKeys } from './signing-keys.ts'
import * as store from './store/trails.ts'
import {
  accountKey,
  checkBucket,
  checkName,
  MAX_TRAILS,
  readName,
  refuseElsewhere,
  second,
  type Tag,
  trailArn,
  withTags,
} from './trail-rules.ts'
import type { Writer } from './writer.ts'

type Operations = NonNullable<OperationTable['cloudtrail']>
type Trail = NonNullable<Output<'GetTrail', 'cloudtrail'>['Trail']>

const tagsAsKeys = (tags: readonly Tag[]) => tagKeys(tags.map(({ Key, Value = '' }) => ({ Key, Value })))

/** The trail that a name or an ARN names, with the keys of its tags. */
function accessTo(context: Context, given: string): Access {
  const resource = trailArn(context, given)
  return {
    resources: [resource],
    async resourceKeys() {
      const trails = await store.listTrails(context.sql, context.account)
      const { tags = {} } = trails.find((each) => trailArn(each, each.name) === resource) ?? {}
      const keys = Object.entries(tags).map(([key, value]) => [`aws:ResourceTag/${key}`, value])
      return new Map([[resource, Object.fromEntries(keys)]])
    },
  }
}
const byName = {
  authorize: ({ Name = '' }: { Name?: string | undefined }, context: Context) => accessTo(context, Name),
}
const byTrailName = {
  authorize: ({ TrailName = '' }: { TrailName?: string | undefined }, context: Context) => accessTo(context, TrailName),
}
const all = { authorize: (): Access => ({ resources: ['*'] }) }

const unknown = (context: Context, given: string): AwsError =>
  new AwsError('TrailNotFoundException', `Unknown trail: ${trailArn(context, given)} for the user: ${context.account}`)

/** A trail of this region, or one that reaches into it; TrailNotFoundException. */
async function find(context: Context, given: string): Promise<store.TrailRow> {
  const { account, region, name, isArn } = readName(context, given)
  const trails = account === context.account ? await store.listTrails(context.sql, account) : []
  const found = trails.find((each) => each.name === name && each.region === region)
  if (!found || (isArn && found.region !== context.region && !found.multiRegion)) throw unknown(context, given)
  return found
}

/** Changes a trail in its home region; TrailNotFoundException, InvalidHomeRegionException. */
function change<T>(
  context: Context,
  given: string,
  body: (change: Context, trail: store.TrailRow) => Promise<T>,
): Promise<T> {
  return context.transaction(async (inner) => {
    const { account, region, name, isArn } = readName(context, given)
    await store.lockTrails(inner.sql, context.account)
    const trails = account === context.account ? await store.listTrails(inner.sql, account) : []
    const found = trails.find((each) => each.name === name && each.region === region)
    const shadow = isArn ? found : trails.find((each) => each.name === name && each.multiRegion)
    if (!found || found.region !== context.region) {
      if (!shadow) throw unknown(context, given)
      throw new AwsError(
        'InvalidHomeRegionException',
        `The trail ${name} can be changed only in its home region, ${shadow.region}.`,
      )
    }
    return body(inner, found)
  })
}

/** A trail may write there: the folder of the account is made. S3BucketDoesNotExistException and its like. */
async function probe(context: Context, bucket: string, prefix: string): Promise<void> {
  checkBucket(bucket, prefix)
  const key = `${accountKey({ ...context, account: context.account, prefix })}/CloudTrail/.musterbook`
  try {
    await putFile(context, { bucket, key }, Buffer.alloc(0))
  } catch (error) {
    context.log.warn({ err: error, bucket }, 'a trail may not have this bucket')
    if (error instanceof NotPut && (error.code === 'NoSuchBucket' || error.code === 'HTTP404'))
      throw new AwsError('S3BucketDoesNotExistException', `S3 bucket ${bucket} does not exist!`)
    throw new AwsError(
      'InsufficientS3BucketPolicyException',
      `Incorrect S3 bucket policy is detected for bucket: ${bucket}`,
    )
  }
}

const settings = (trail: store.TrailRow) => ({
  Name: trail.name,
  S3BucketName: trail.bucket,
  ...(trail.prefix !== '' && { S3KeyPrefix: trail.prefix }),
  IncludeGlobalServiceEvents: trail.includeGlobal,
  IsMultiRegionTrail: trail.multiRegion,
  TrailARN: trailArn(trail, trail.name),
  LogFileValidationEnabled: trail.validation,
  IsOrganizationTrail: false,
})

const described = (trail: store.TrailRow): Trail => ({
  ...settings(trail),
  HomeRegion: trail.region,
  HasCustomEventSelectors: trail.selectors !== null || trail.advancedSelectors !== null,
  HasInsightSelectors: false,
})

/** Those of a region, and those that reach into it. */
const reaching = (trails: store.TrailRow[], region: string) =>
  trails.filter((trail) => trail.region === region || trail.multiRegion)

async function createTrail(context: Context, input: Input<'CreateTrail', 'cloudtrail'>) {
  const { Name: name = '', S3BucketName: bucket = '', S3KeyPrefix: prefix = '' } = input
  checkName(name)
  refuseElsewhere(input)
  const { account, region } = context
  const trail = {
    account,
    region,
    name,
    bucket,
    prefix,
    includeGlobal: input.IncludeGlobalServiceEvents ?? true,
    multiRegion: input.IsMultiRegionTrail ?? false,
    validation: input.EnableLogFileValidation ?? false,
    tags: withTags({}, input.TagsList ?? []),
  }
  checkReach(trail)
  await probe(context, bucket, prefix)
  return context.transaction(async (inner) => {
    await store.lockTrails(inner.sql, account)
    const trails = await store.listTrails(inner.sql, account)
    if (trails.some((each) => each.name === name && (each.region === region || each.multiRegion || trail.multiRegion)))
      throw new AwsError('TrailAlreadyExistsException', `Trail ${name} already exists for customer: ${account}`)
    checkCount(trails, trail)
    await store.insertTrail(inner.sql, trail)
    const made = (await store.listTrails(inner.sql, account)).find(
      (each) => each.name === name && each.region === region,
    )
    return settings(made!)
  })
}

function checkReach({ multiRegion, includeGlobal }: { multiRegion: boolean; includeGlobal: boolean }): void {
  if (multiRegion && !includeGlobal)
    throw new AwsError('InvalidParameterCombinationException', 'Multi-Region trail must include global service events.')
}

/** MaximumNumberOfTrailsExceededException: in the trail's region, or in one that it reaches. */
function checkCount(others: store.TrailRow[], trail: { region: string; multiRegion: boolean }): void {
  const regions = new Set([trail.region, ...(trail.multiRegion ? others.map(({ region }) => region) : [])])
  for (const region of regions)
    if (reaching(others, region).length >= MAX_TRAILS)
      throw new AwsError(
        'MaximumNumberOfTrailsExceededException',
        `The maximum number of trails, ${MAX_TRAILS}, is reached in ${region}.`,
      )
}

async function updateTrail(context: Context, input: Input<'UpdateTrail', 'cloudtrail'>) {
  refuseElsewhere(input)
  const { Name = '' } = input
  const before = await find(context, Name).catch(() => undefined)
  if (before && (input.S3BucketName !== undefined || input.S3KeyPrefix !== undefined))
    await probe(context, input.S3BucketName ?? before.bucket, input.S3KeyPrefix ?? before.prefix)
  return change(context, Name, async (inner, trail) => {
    const changed = {
      ...trail,
      bucket: input.S3BucketName ?? trail.bucket,
      prefix: input.S3KeyPrefix ?? trail.prefix,
      includeGlobal: input.IncludeGlobalServiceEvents ?? trail.includeGlobal,
      multiRegion: input.IsMultiRegionTrail ?? trail.multiRegion,
      validation: input.EnableLogFileValidation ?? trail.validation,
    }
    checkReach(changed)
    if (changed.multiRegion && !trail.multiRegion) {
      const others = (await store.listTrails(inner.sql, trail.account)).filter((each) => each.region !== trail.region)
      checkCount(others, changed)
    }
    await store.updateTrail(inner.sql, changed)
    if (trail.isLogging && changed.multiRegion && !trail.multiRegion) await store.openSpans(inner.sql, trail, true)
    if (trail.multiRegion && !changed.multiRegion) await store.closeSpans(inner.sql, trail, true)
    return settings(changed)
  })
}

function statusOf(trail: store.TrailRow): Output<'GetTrailStatus', 'cloudtrail'> {
  const text = (at: Date | null) => (at ? second(at) : '')
  const { deliveredAt, digestedAt, startedAt, stoppedAt } = trail
  return {
    IsLogging: trail.isLogging,
    ...(trail.deliveryError && { LatestDeliveryError: trail.deliveryError }),
    ...(trail.digestError && { LatestDigestDeliveryError: trail.digestError }),
    ...(deliveredAt && { LatestDeliveryTime: deliveredAt }),
    ...(digestedAt && { LatestDigestDeliveryTime: digestedAt }),
    ...(startedAt && { StartLoggingTime: startedAt }),
    ...(stoppedAt && { StopLoggingTime: stoppedAt }),
    LatestDeliveryAttemptTime: text(trail.attemptedAt),
    LatestDeliveryAttemptSucceeded: text(deliveredAt),
    LatestNotificationAttemptTime: '',
    LatestNotificationAttemptSucceeded: '',
    TimeLoggingStarted: text(startedAt),
    TimeLoggingStopped: text(stoppedAt),
  }
}

const taggedAs = (tags: Record<string, string>): Tag[] =>
  Object.entries(tags)
    .map(([Key, Value]) => (Value === '' ? { Key } : { Key, Value }))
    .sort((one, other) => (one.Key < other.Key ? -1 : 1))

/** CloudTrailARNInvalidException, ResourceTypeNotSupportedException. */
function checkTaggable(id: string): void {
  if (!/^arn:aws:cloudtrail:[a-z0-9-]+:\d{12}:./.test(id))
    throw new AwsError('CloudTrailARNInvalidException', `The ARN ${id} is not valid.`)
  if (!id.includes(':trail/')) throw new AwsError('ResourceTypeNotSupportedException', 'Only trails have tags here.')
}

async function tagged(context: Context, id: string): Promise<store.TrailRow> {
  checkTaggable(id)
  const trails = await store.listTrails(context.sql, context.account)
  const found = trails.find((each) => trailArn(each, each.name) === id)
  if (!found) throw new AwsError('ResourceNotFoundException', `The trail ${id} was not found.`)
  return found
}

function changeTags(
  context: Context,
  id: string,
  body: (tags: Record<string, string>) => Record<string, string>,
): Promise<Record<string, never>> {
  return context.transaction(async (inner) => {
    await store.lockTrails(inner.sql, context.account)
    const trail = await tagged(inner, id)
    await store.updateTrail(inner.sql, { ...trail, tags: body(trail.tags) })
    return {}
  })
}

const without = (tags: Record<string, string>, gone: readonly string[]): Record<string, string> =>
  Object.fromEntries(Object.entries(tags).filter(([key]) => !gone.includes(key)))

/** `writer`: what this process has answered is in its chain before a trail begins or ends. */
export const trailOperations = (writer: Writer): Operations => ({
  CreateTrail: {
    authorize(input, context) {
      const { TagsList: tags = [] } = input
      const resources = [trailArn(context, input.Name ?? '')]
      const keys = tagsAsKeys(tags)
      return [{ resources, keys }, ...(tags.length > 0 ? [{ action: 'cloudtrail:AddTags', resources, keys }] : [])]
    },
    handle: createTrail,
  },
  UpdateTrail: { ...byName, handle: updateTrail },
  DeleteTrail: {
    ...byName,
    handle: (context, { Name = '' }) =>
      change(context, Name, async ({ sql }, trail) => {
        await store.deleteTrail(sql, trail)
        return {}
      }),
  },
  DescribeTrails: {
    ...all,
    async handle(context, { trailNameList: names = [], includeShadowTrails = true }) {
      const trails = reaching(await store.listTrails(context.sql, context.account), context.region)
      const wanted = names.map((name) => readName(context, name))
      return {
        trailList: trails
          .filter((trail) => includeShadowTrails || trail.region === context.region)
          .filter(
            (trail) =>
              names.length === 0 ||
              wanted.some(
                ({ account, region, name }) =>
                  account === trail.account && name === trail.name && region === trail.region,
              ),
          )
          .map(described),
      }
    },
  },
  GetTrail: {
    ...byName,
    handle: async (context, { Name = '' }) => ({ Trail: described(await find(context, Name)) }),
  },
  ListTrails: {
    ...all,
    // In one page: there are five of a region.
    handle: async (context) => ({
      Trails: (await store.listTrails(context.sql, context.account)).map((trail) => ({
        TrailARN: trailArn(trail, trail.name),
        Name: trail.name,
        HomeRegion: trail.region,
      })),
    }),
  },
  GetTrailStatus: {
    ...byName,
    handle: async (context, { Name = '' }) => statusOf(await find(context, Name)),
  },
  StartLogging: {
    ...byName,
    async handle(context, { Name = '' }) {
      await writer.flush(context)
      return change(context, Name, async (inner, trail) => {
        if (trail.isLogging) return {}
        const now = context.now()
        await store.startLogging(inner.sql, trail, now, now)
        await store.openSpans(inner.sql, trail, trail.multiRegion)
        inner.wake(TRAILS_WAKE)
        return {}
      })
    },
  },
  StopLogging: {
    ...byName,
    handle: (context, { Name = '' }) =>
      change(context, Name, async (inner, trail) => {
        if (!trail.isLogging) return {}
        const now = context.now()
        await store.stopLogging(inner.sql, trail, now, new Date(now.getTime() + STOP_MS))
        inner.wake(TRAILS_WAKE)
        return {}
      }),
  },
  PutEventSelectors: {
    ...byTrailName,
    handle: (context, input) =>
      change(context, input.TrailName ?? '', async (inner, trail) => {
        const checked = checkSelectors(input)
        await store.updateTrail(inner.sql, { ...trail, ...checked })
        return { TrailARN: trailArn(trail, trail.name), ...shown(checked) }
      }),
  },
  GetEventSelectors: {
    ...byTrailName,
    async handle(context, { TrailName = '' }) {
      const trail = await find(context, TrailName)
      return { TrailARN: trailArn(trail, trail.name), ...shown(trail) }
    },
  },
  AddTags: {
    authorize: ({ ResourceId = '', TagsList = [] }, context) => ({
      ...accessTo(context, ResourceId),
      keys: tagsAsKeys(TagsList),
    }),
    handle: (context, { ResourceId = '', TagsList = [] }) =>
      changeTags(context, ResourceId, (tags) => withTags(tags, TagsList)),
  },
  RemoveTags: {
    authorize: ({ ResourceId = '', TagsList = [] }, context) => ({
      ...accessTo(context, ResourceId),
      keys: { 'aws:TagKeys': TagsList.map(({ Key }) => Key) },
    }),
    handle: (context, { ResourceId = '', TagsList = [] }) =>
      changeTags(context, ResourceId, (tags) =>
        without(
          tags,
          TagsList.map(({ Key }) => Key),
        ),
      ),
  },
  ListTags: {
    authorize: ({ ResourceIdList = [] }, context) => ResourceIdList.map((id) => accessTo(context, id)),
    handle: async (context, { ResourceIdList = [] }) => ({
      ResourceTagList: await Promise.all(
        ResourceIdList.map(async (ResourceId) => ({
          ResourceId,
          TagsList: taggedAs((await tagged(context, ResourceId)).tags),
        })),
      ),
    }),
  },
  ListPublicKeys: { ...all, handle: listPublicKeys },
})

const shown = ({ selectors, advancedSelectors }: Pick<store.TrailRow, 'selectors' | 'advancedSelectors'>) =>
  advancedSelectors ? { AdvancedEventSelectors: advancedSelectors } : { EventSelectors: selectors ?? DEFAULT_SELECTORS }
