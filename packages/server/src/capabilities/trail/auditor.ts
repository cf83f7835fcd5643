/**
 * What dispatch tells of each call, into the chain. `batched`: the record is written within a moment after the answer.
 * `fail-closed`: a write is put down before it is carried out and its outcome before it is answered, a read before it is
 * answered; what the store does not take is refused as ServiceUnavailable.
 */
import type { Scope } from '../../platform/arn.ts'
import { batch } from '../../platform/batch.ts'
import type { AuditedCall, Auditor, Host } from '../../platform/capability.ts'
import { AwsError } from '../../platform/errors.ts'
import { uuid } from '../../platform/ids.ts'
import { tokenBearerOf } from '../identity/index.ts'
import type { Contents } from './contents.ts'
import { beginCall, type Draft, finishCall, newEventId, type Outcome } from './event.ts'
import { contentOf, isReadOnly, isRecorded } from './recorded.ts'
import { ownersOf } from './resources.ts'
import { insertPending } from './store.ts'
import { strangerOf } from './user-identity.ts'
import { type Entry, LostEntry, type Writer } from './writer.ts'

const MAX_BATCH = 500

type Begun = Draft & ReturnType<typeof beginCall> & { pending: 'surely' | 'perhaps' }
type Intent = Parameters<typeof insertPending>[1][number]
type Content = Parameters<typeof insertPending>[2][number]

export function createAuditor(host: Host, writer: Writer, contents: Contents): Auditor {
  return host.choices.audit === 'fail-closed' ? failClosed(host, writer, contents) : batched(host, writer, contents)
}

export function batched(host: Host, writer: Writer, contents: Contents): Auditor {
  return {
    intend: () => undefined,
    note(call, output, error) {
      if (!concerns(call)) return undefined
      const outcome = { output: told(call, output), error }
      const shared = sharing(host, call, outcome)
      for (const { scope, copy } of shared?.copies ?? []) writer.add(scope, copy)
      const entry = entryOf(host, call, outcome, shared?.id)
      if (!error) entry.content = contentEntry(host, contents, call)
      writer.add(scopeOf(call), entry)
      return undefined
    },
  }
}

function failClosed(host: Host, writer: Writer, contents: Contents): Auditor {
  const begun = new WeakMap<AuditedCall, Begun>()
  const intents = batch<{ intent: Intent; content: Content | undefined }>(MAX_BATCH, (items) =>
    insertPending(
      host.sql,
      items.map(({ intent }) => intent),
      items.flatMap(({ content }) => content ?? []),
    ),
  )

  async function intend(call: AuditedCall): Promise<void> {
    const { account, region } = call.context
    const draft = draftOf(host, call)
    const start: Begun = { ...draft, ...beginCall(call, draft), pending: 'perhaps' }
    begun.set(call, start)
    const { eventId } = draft
    const at = new Date(draft.at)
    try {
      const text = contentOf(call.service, call.operation, call.input)
      const sealed = text && (await contents.seal(call.context, eventId, at, text))
      await intents.add({
        intent: { account, region, eventId, at, processId: host.processId, event: start.text },
        content: sealed && { ...sealed, account, region },
      })
      start.pending = 'surely'
    } catch (error) {
      throw refusal(host, error)
    }
  }

  /** First what others are told: whose own record is written has written those. */
  async function write(call: AuditedCall, entry: Entry, shared: Shared | undefined): Promise<void> {
    await Promise.all((shared?.copies ?? []).map(({ scope, copy }) => writer.write(scope, copy)))
    await writer.write(scopeOf(call), entry)
  }

  return {
    intend: (call) => (concerns(call) && !isReadOnly(call.service, call.operation) ? intend(call) : undefined),
    note(call, output, error) {
      if (!concerns(call)) return undefined
      const start = begun.get(call)
      const outcome = { output: told(call, output), error }
      const shared = sharing(host, call, outcome)
      const entry: Entry = start
        ? {
            eventId: start.eventId,
            at: start.at,
            pending: start.pending,
            dropContent: error !== undefined,
            record: () => finishCall(start, call, outcome, shared?.id),
          }
        : entryOf(host, call, outcome, shared?.id)
      return write(call, entry, shared).catch((reason: unknown) => {
        throw refusal(host, reason)
      })
    },
  }
}

/** Nobody's calls are in no account's audit, unless a token came for one; polls are in none. */
const concerns = ({ context, service }: AuditedCall): boolean =>
  (context.caller.type !== 'anonymous' || tokenBearerOf(context) !== undefined) && isRecorded(service)

/** Where a call is filed: with the account of its caller, or of the role that a token asked for. */
function scopeOf({ context }: AuditedCall): Scope {
  const bearer = context.caller.type === 'anonymous' ? tokenBearerOf(context) : undefined
  return bearer ? { account: bearer.account, region: context.region } : context
}

/** Answers of reads are not recorded, and may be long: they need not wait for the writer. */
const told = ({ service, operation }: AuditedCall, output: unknown): unknown =>
  isReadOnly(service, operation) && service !== 'sts' ? undefined : output

function draftOf(host: Host, call: AuditedCall): Draft {
  const at = host.now().getTime()
  const eventId = newEventId(at)
  call.eventId = eventId
  return { scope: scopeOf(call), eventId, at }
}

interface Shared {
  id: string
  copies: { scope: Scope; copy: Entry }[]
}

/** Records for the other accounts whose keys or roles were used; a refused call is its caller's affair alone. */
function sharing(host: Host, call: AuditedCall, outcome: Outcome): Shared | undefined {
  if (outcome.error) return undefined
  const owners = ownersOf(call.service, call.access, scopeOf(call).account)
  if (owners.length === 0) return undefined
  const at = host.now().getTime()
  const id = uuid()
  const copies = owners.map((account) => {
    const draft = { scope: { account, region: call.context.region }, eventId: newEventId(at), at }
    const record = () => finishCall(beginCall(call, draft, strangerOf(call.context)), call, outcome, id)
    return { scope: draft.scope, copy: { eventId: draft.eventId, at, record } }
  })
  return { id, copies }
}

function entryOf(host: Host, call: AuditedCall, outcome: Outcome, sharedEventId?: string): Entry {
  const draft = draftOf(host, call)
  return {
    eventId: draft.eventId,
    at: draft.at,
    record: () => finishCall(beginCall(call, draft), call, outcome, sharedEventId),
  }
}

function contentEntry(host: Host, contents: Contents, call: AuditedCall): Entry['content'] {
  const text = contentOf(call.service, call.operation, call.input)
  if (!text) return undefined
  return async () => {
    const { eventId = '', context } = call
    try {
      return await contents.seal(context, eventId, host.now(), text)
    } catch (error) {
      host.log.error({ err: error, eventId }, 'the content of a call could not be sealed and is not kept')
      return undefined
    }
  }
}

function refusal(host: Host, error: unknown): AwsError {
  if (!(error instanceof LostEntry)) host.log.error({ err: error }, 'a call could not be audited and is refused')
  return new AwsError('ServiceUnavailable', 'The call could not be recorded in the audit. Try again.')
}
