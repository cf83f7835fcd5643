/** DescribeSessions: what runs and what has been, the youngest first. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { ACTIVE, ENDED } from './rules.ts'
import * as store from './store.ts'

/** AWS's MaxResults goes up to this. */
const PAGE = 200

/** Errors: InvalidFilterKey, InvalidNextToken. */
export async function describeSessions(
  context: Context,
  input: Input<'DescribeSessions'>,
): Promise<Output<'DescribeSessions'>> {
  const limit = input.MaxResults ?? PAGE
  const kind = `sessions/${input.State}`
  const after = decodeToken<NonNullable<store.Listing['after']>>(context, kind, input.NextToken)
  const listing = filtered(input)
  if (!listing) return { Sessions: [] }
  const rows = await store.listSessions(context.sql, context, { ...listing, after, limit: limit + 1 })
  const page = rows.slice(0, limit)
  const last = rows.length > limit ? page.at(-1) : undefined
  return {
    Sessions: page.map(describe),
    NextToken:
      last && encodeToken(context, kind, { startedAt: last.startedAt.toISOString(), sessionId: last.sessionId }),
  }
}

const describe = (row: store.SessionRow) => ({
  SessionId: row.sessionId,
  Target: row.nodeId,
  Status: row.status,
  StartDate: row.startedAt,
  EndDate: row.endedAt ?? undefined,
  DocumentName: row.documentName,
  Owner: row.owner,
  Reason: row.reason || undefined,
  Details: row.details || undefined,
  MaxSessionDuration: row.longestSeconds === null ? undefined : String(row.longestSeconds / 60),
  AccessType: 'Standard' as const,
})

/** undefined: nothing can match. */
function filtered(input: Input<'DescribeSessions'>): Omit<store.Listing, 'limit'> | undefined {
  let statuses: readonly string[] = input.State === 'Active' ? ACTIVE : ENDED
  const listing: Omit<store.Listing, 'limit' | 'statuses'> = {}
  for (const { key, value } of input.Filters ?? []) {
    if (key === 'Target') listing.target = value
    else if (key === 'Owner') listing.owner = value
    else if (key === 'SessionId') listing.sessionId = value
    else if (key === 'Status') statuses = statuses.filter((status) => status === value)
    else if (key === 'InvokedAfter') listing.invokedAfter = moment(value)
    else if (key === 'InvokedBefore') listing.invokedBefore = moment(value)
    else if (key === 'AccessType') {
      if (value !== 'Standard') return undefined
    } else throw new AwsError('InvalidFilterKey', `The filter key ${key} is not valid.`)
  }
  return statuses.length === 0 ? undefined : { ...listing, statuses }
}

function moment(value: string | undefined): Date {
  const date = new Date(value ?? '')
  if (Number.isNaN(date.getTime()))
    throw new AwsError('InvalidFilterKey', 'InvokedAfter and InvokedBefore take a moment such as 2026-08-29T00:00:00Z.')
  return date
}
