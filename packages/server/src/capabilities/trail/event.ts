/**
 * One record: a call, or what a service tells of itself, as CloudTrail's event of version 1.11 in JSON text, and what LookupEvents finds
 * it by. A record is made when its batch is written, off the way of the request.
 */
import { findOperation } from '../../contract/model.ts'
import type { Scope } from '../../platform/arn.ts'
import type { AuditedCall } from '../../platform/capability.ts'
import { uuid } from '../../platform/ids.ts'
import { elements } from './elements.ts'
import { answersAreRecorded, hiddenInputs, isReadOnly } from './recorded.ts'
import { madeBy, type NamedResource, resourcesOf, resourceText } from './resources.ts'
import { identityOf } from './user-identity.ts'

const EVENT_VERSION = '1.11'

/** What a record says, apart from its text. */
export interface Facts {
  eventName: string
  eventSource: string
  userName: string
  accessKeyId: string
  readOnly: boolean
  resources: readonly Pick<NamedResource, 'type' | 'arn'>[]
}

export interface Outcome {
  output: unknown
  error: { name: string; message: string } | undefined
}

/** A UUID that begins with its moment (version 7), the rest at random: a record is found by its id without an index of ids. */
export function newEventId(at: number): string {
  const time = at.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${uuid().slice(AFTER_VERSION)}`
}
const AFTER_VERSION = 15

/** Milliseconds since the epoch that an event id tells. */
export const momentOf = (eventId: string): number => Number.parseInt(eventId.slice(0, 8) + eventId.slice(9, 13), 16)

export interface Draft {
  scope: Scope
  eventId: string
  /** Milliseconds since the epoch. */
  at: number
}

/** A record, or as much of it as is known. */
export interface AuditRecord {
  text: string
  facts: Facts
}

/** A call's record up to its outcome; `finishCall` adds that. */
export function beginCall(call: AuditedCall, draft: Draft, identity = identityOf(call.context)): AuditRecord {
  const { context, service, operation } = call
  const readOnly = isReadOnly(service, operation)
  const resources = resourcesOf(call.access)
  const eventSource = `${service}.amazonaws.com`
  const text = `{"eventVersion":"${EVENT_VERSION}","userIdentity":${invoked(identity.text, call.invokedBy)},"eventTime":"${secondOf(draft.at)}","eventSource":"${eventSource}","eventName":${JSON.stringify(operation)},"awsRegion":${JSON.stringify(draft.scope.region)},${clientText(context.sourceIp, context.userAgent)},"requestParameters":${requestParameters(call)},"requestID":"${context.requestId}","eventID":"${draft.eventId}","readOnly":${readOnly},${resources.length === 0 ? '' : `"resources":${resourceText(resources, draft.scope.account)},`}"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"${draft.scope.account}","eventCategory":"Management"`
  const { userName, accessKeyId } = identity
  return { text, facts: { eventName: operation, eventSource, userName, accessKeyId, readOnly, resources } }
}

const invoked = (identity: string, service: string | undefined): string =>
  service === undefined ? identity : `${identity.slice(0, -1)},"invokedBy":"${service}"}`

/** The whole record. `sharedEventId`: what the records of one call in several accounts have in common. */
export function finishCall(
  { text, facts }: AuditRecord,
  call: AuditedCall,
  outcome: Outcome,
  sharedEventId?: string,
): AuditRecord {
  const { service, operation } = call
  const { output, error } = outcome
  if (error)
    return {
      facts,
      text: `${text},"errorCode":"${errorCode(error.name)}",${error.message === '' ? '' : `"errorMessage":${JSON.stringify(error.message)},`}"responseElements":null}`,
    }
  const model = findOperation(service, operation)
  const isTold = model && (!isReadOnly(service, operation) || answersAreRecorded(service, operation))
  const answered = `"responseElements":${isTold ? elements(model.output, output) : 'null'}`
  const shared = sharedEventId === undefined ? '' : `"sharedEventID":"${sharedEventId}",`
  const made = madeBy(service, operation, output)
  if (made.length === 0) return { facts, text: `${text},${shared}${answered}}` }
  const resources = resourceText(made, call.context.account)
  return {
    text: `${text},"resources":${resources},${shared}${answered}}`,
    facts: { ...facts, resources: made },
  }
}

/** The record of a call whose process died before it could say how the call ended. */
export const finishUnknown = (begun: string): string =>
  `${begun},"errorCode":"OutcomeUnknown","errorMessage":"The server process ended before the outcome of this call was known.","responseElements":null}`

export interface ServiceEvent {
  /** `SessionEnded` */
  eventName: string
  /** `ssm.amazonaws.com` */
  eventSource: string
  /** What the event tells; no secrets. */
  serviceEventDetails: Record<string, unknown>
  /** Full ARNs. */
  resources?: string[]
}

/** The whole record of a service event. */
export function serviceRecord(event: ServiceEvent, { scope, eventId, at }: Draft): string {
  const resources = resourcesOf({ resources: event.resources ?? [] })
  return JSON.stringify({
    eventVersion: EVENT_VERSION,
    userIdentity: { accountId: scope.account, invokedBy: event.eventSource },
    eventTime: secondOf(at),
    eventSource: event.eventSource,
    eventName: event.eventName,
    awsRegion: scope.region,
    sourceIPAddress: event.eventSource,
    userAgent: event.eventSource,
    requestParameters: null,
    responseElements: null,
    eventID: eventId,
    readOnly: false,
    ...(resources.length > 0 && { resources: JSON.parse(resourceText(resources, scope.account)) }),
    eventType: 'AwsServiceEvent',
    managementEvent: true,
    recipientAccountId: scope.account,
    serviceEventDetails: event.serviceEventDetails,
    eventCategory: 'Management',
  })
}

/** What a record's text says. */
export function factsOf(text: string): Facts & { eventId: string; eventTime: string } {
  const event = JSON.parse(text) as {
    eventID: string
    eventTime: string
    eventName: string
    eventSource: string
    readOnly: boolean
    resources?: { type: string; ARN: string }[]
    userIdentity: {
      type?: string
      userName?: string
      principalId?: string
      accessKeyId?: string
    }
  }
  const { type, userName, principalId = '', accessKeyId = '' } = event.userIdentity
  const afterColon = principalId.slice(principalId.indexOf(':') + 1)
  return {
    eventId: event.eventID,
    eventTime: event.eventTime,
    eventName: event.eventName,
    eventSource: event.eventSource,
    userName: type === 'Root' ? 'root' : (userName ?? (type === undefined || type === 'AWSAccount' ? '' : afterColon)),
    accessKeyId,
    readOnly: event.readOnly,
    resources: (event.resources ?? []).map(({ type, ARN }) => ({ type, arn: ARN })),
  }
}

function requestParameters({ service, operation, input }: AuditedCall): string {
  if (input === undefined) return 'null'
  const model = findOperation(service, operation)
  // Routes beside AWS's protocol are known by their path.
  if (!model || 'path' in (input as object)) return JSON.stringify(input)
  return elements(model.input, input, hiddenInputs(service, operation))
}

/** CloudTrail's word for what a caller may not do. */
const errorCode = (name: string): string => (name === 'AccessDeniedException' ? 'AccessDenied' : name)

const plainAddress = (address: string): string => (address.startsWith('::ffff:') ? address.slice(7) : address)

let lastClient = { sourceIp: '', userAgent: '', text: '' }
/** One client calls many times over. */
function clientText(sourceIp: string, userAgent: string): string {
  if (lastClient.sourceIp !== sourceIp || lastClient.userAgent !== userAgent || lastClient.text === '') {
    const text = `"sourceIPAddress":${JSON.stringify(plainAddress(sourceIp))},"userAgent":${JSON.stringify(userAgent)}`
    lastClient = { sourceIp, userAgent, text }
  }
  return lastClient.text
}

let lastSecond = Number.NaN
let lastText = ''
function secondOf(at: number): string {
  const second = Math.floor(at / 1000)
  if (second !== lastSecond) {
    lastSecond = second
    lastText = `${new Date(second * 1000).toISOString().slice(0, 19)}Z`
  }
  return lastText
}
