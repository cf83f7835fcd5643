/** LookupEvents: by one attribute and a span of time, newest first. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { ATTRIBUTES, eachAttribute, hashAttribute, unpack } from './chain.ts'
import { type Facts, factsOf, momentOf } from './event.ts'
import { nameOf } from './resources.ts'
import * as store from './store.ts'

const MAX_RESULTS = 50
/** Segments read at a time: a busy one holds more records than a page. */
const FEW_SEGMENTS = 3
const MORE_SEGMENTS = 50

type Lookup = Input<'LookupEvents', 'cloudtrail'>
type Event = NonNullable<Output<'LookupEvents', 'cloudtrail'>['Events']>[number]

export async function lookUp(context: Context, input: Lookup): Promise<Output<'LookupEvents', 'cloudtrail'>> {
  const { StartTime, EndTime, MaxResults = MAX_RESULTS } = input
  if (input.EventCategory !== undefined) return { Events: [] } // insights: there are none
  if (StartTime && EndTime && StartTime > EndTime)
    throw new AwsError('InvalidTimeRangeException', 'Start time must be before end time.')
  const filter = filterOf(input)
  // The end of a second belongs to it: clients know events by their second.
  const to = EndTime && new Date(EndTime.getTime() + (EndTime.getMilliseconds() === 0 ? 999 : 0))
  const { account, region } = context
  const wanted: store.Wanted = {
    account,
    region,
    before: positionOf(context, input),
    from: later(StartTime, filter.from),
    to: earlier(to, filter.to),
    attribute: filter.hash,
  }
  const Events: Event[] = []
  for (let limit = FEW_SEGMENTS; ; limit = MORE_SEGMENTS) {
    const segments = await store.findSegments(context.sql, wanted, limit)
    for (const { firstSeq, lastSeq, body } of segments) {
      const texts = await unpack(body)
      const from = Math.min(lastSeq, (wanted.before ?? Number.POSITIVE_INFINITY) - 1)
      for (let seq = from; seq >= firstSeq; seq--) {
        const event = eventOf(texts[seq - firstSeq] ?? '', filter, wanted)
        if (!event) continue
        Events.push(event)
        if (Events.length === MaxResults)
          return { Events, NextToken: encodeToken(context, kindOf(input), { before: seq }) }
      }
      wanted.before = firstSeq
    }
    if (segments.length < limit) return { Events }
  }
}

interface Filter {
  hash?: number
  /** What the record must contain, before it is read as a whole. */
  needle?: string
  attribute?: string
  eventId?: string
  from?: Date
  to?: Date
}

function filterOf({ LookupAttributes = [] }: Lookup): Filter {
  const [first, second] = LookupAttributes
  if (second)
    throw new AwsError('InvalidLookupAttributesException', 'You can specify only one lookup attribute per request.')
  if (!first) return {}
  const { AttributeKey: key, AttributeValue: value } = first
  if (key === 'EventId') {
    const moment = new Date(momentOf(value))
    // An id that is none of ours is the id of no event.
    const at = Number.isNaN(moment.getTime()) ? new Date(0) : moment
    return { eventId: value, from: at, to: at }
  }
  const attribute = ATTRIBUTES[key] + value
  // A name may be written with a slash where the ARN has one, so it is not looked for as it stands.
  return { attribute, hash: hashAttribute(attribute) }
}

function eventOf(text: string, filter: Filter, { from, to }: store.Wanted): Event | undefined {
  if (filter.eventId !== undefined && !text.includes(`"eventID":"${filter.eventId}"`)) return undefined
  const facts = factsOf(text)
  const { attribute } = filter
  if (attribute !== undefined && !has(facts, attribute)) return undefined
  const at = momentOf(facts.eventId)
  if ((from && at < from.getTime()) || (to && at > to.getTime())) return undefined
  return {
    EventId: facts.eventId,
    EventName: facts.eventName,
    ReadOnly: String(facts.readOnly),
    ...(facts.accessKeyId && { AccessKeyId: facts.accessKeyId }),
    EventTime: new Date(facts.eventTime),
    EventSource: facts.eventSource,
    ...(facts.userName && { Username: facts.userName }),
    Resources: facts.resources.map(({ type, arn }) => ({ ResourceType: type, ResourceName: nameOf(arn) })),
    CloudTrailEvent: text,
  }
}

function has(facts: Facts, wanted: string): boolean {
  let found = false
  eachAttribute(facts, (letter, value) => {
    found ||= letter + value === wanted
  })
  return found
}

const kindOf = ({ LookupAttributes, StartTime, EndTime }: Lookup): string =>
  `LookupEvents ${JSON.stringify([LookupAttributes ?? [], StartTime ?? null, EndTime ?? null])}`

function positionOf(context: Context, input: Lookup): number | undefined {
  try {
    return decodeToken<{ before: number }>(context, kindOf(input), input.NextToken)?.before
  } catch (error) {
    if (error instanceof AwsError) throw new AwsError('InvalidNextTokenException', 'Invalid token.')
    throw error
  }
}

const later = (one: Date | undefined, other: Date | undefined) =>
  one && other ? (one > other ? one : other) : (one ?? other)
const earlier = (one: Date | undefined, other: Date | undefined) =>
  one && other ? (one < other ? one : other) : (one ?? other)
