/**
 * CloudTrail: every call of whoever has proved who it is, in a chain of hashes for each account and region; looking events up, and
 * the contents of calls, kept apart; trails that deliver files of them. Other capabilities record what they do by themselves through `recordServiceEvent`.
 */
import { arn } from '../../platform/arn.ts'
import type { Capability, Host, Route } from '../../platform/capability.ts'
import { atMost } from '../../platform/clock.ts'
import { AwsError } from '../../platform/errors.ts'
import { batched, createAuditor } from './auditor.ts'
import { keepContents, openContent } from './contents.ts'
import { deliverTrails } from './deliver.ts'
import { keepKeyRecords } from './key-uses.ts'
import { lookUp } from './lookup.ts'
import init from './migrations/0001-init.sql'
import trails from './migrations/0002-trails.sql'
import { takeIn, trimOld, writers } from './reconcile.ts'
import { beginRoll } from './roll.ts'
import { sealed } from './sealed.ts'
import * as store from './store.ts'
import { trailOperations } from './trail-operations.ts'
import { openWriter, type Writer } from './writer.ts'

export type { ServiceEvent } from './event.ts'
export { recordKeyUse } from './key-uses.ts'
export { recordServiceEvent } from './service-events.ts'
export { type ChainReport, type EarlierHead, type TrailReport, verifyTrail } from './verify.ts'

/** The content of a call: not an operation of AWS, which keeps none. */
const contentRoute: Route = {
  method: 'GET',
  path: /^\/v1\/event-contents\/([0-9a-f-]{36})$/,
  signedFor: 'cloudtrail',
  authorize: (context, [eventId = '']) => ({
    action: 'cloudtrail:GetEventContent',
    resources: [arn('cloudtrail', context, `event/${eventId}`)],
  }),
  async handle(context, { params: [eventId = ''] }) {
    const content = await openContent(context, eventId)
    if (content === undefined)
      throw new AwsError('ResourceNotFoundException', `No content is kept of event ${eventId}.`)
    return { status: 200, contentType: 'application/json', body: JSON.stringify(content) }
  },
}

/** What waits is written as long as the database takes it; one that is away must not keep the process for ever. */
const LEAVE_MS = 5_000

async function leave(host: Host, writer: Writer): Promise<void> {
  await writer[Symbol.asyncDispose]()
  await store.deleteProcess(host.sql, host.processId).catch(() => {})
}

export const trail: Capability = {
  name: 'trail',
  migrations: [
    { name: '0001-init', sql: init },
    { name: '0002-trails', sql: trails },
  ],
  reconcilers: [takeIn, trimOld, deliverTrails],
  sealed,
  async start(host) {
    await beginRoll(host)
    await store.beat(host.sql, host.processId)
    const writer = openWriter(host)
    writers.set(host.sealer, writer)
    const contents = keepContents(host)
    keepKeyRecords(host, batched(host, writer, contents))
    return {
      auditor: createAuditor(host, writer, contents),
      routes: [contentRoute],
      operations: {
        cloudtrail: {
          ...trailOperations(writer),
          LookupEvents: {
            authorize: () => ({ resources: ['*'] }),
            async handle(context, input) {
              await writer.flush(context) // what this process has answered can be looked up at once
              return lookUp(context, input)
            },
          },
        },
      },
      close: () => atMost(LEAVE_MS, leave(host, writer)),
    }
  },
}
