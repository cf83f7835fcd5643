/**
 * UpdateDocumentMetadata and ListDocumentMetadataHistory: a version is sent for review, and approved or rejected.
 * Where a request names no version the latest is meant: that is the one under review, the default one was reviewed before.
 */
import type { Input, Output } from '../../contract/types.ts'
import { callerName } from '../../platform/caller.ts'
import type { Context } from '../../platform/context.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { lockOwn } from './changing.ts'
import { findVersion } from './find.ts'
import { invalidOperation, notYours, reviewed } from './rules.ts'
import * as store from './store.ts'

/** Results of one page when the request does not say. */
const DEFAULT_RESULTS = 50

/** Errors: InvalidDocument, InvalidDocumentOperation, InvalidDocumentVersion. */
export function updateDocumentMetadata(
  context: Context,
  input: Input<'UpdateDocumentMetadata'>,
): Promise<Output<'UpdateDocumentMetadata'>> {
  const { Action, Comment: comment = [] } = input.DocumentReviews
  return context.transaction(async (change) => {
    await lockOwn(change, input.Name)
    const { version, reviewStatus } = await findVersion(change, input.Name, {
      version: input.DocumentVersion ?? '$LATEST',
    })
    const next = reviewed(reviewStatus, Action)
    const reviews = await store.listReviews(change, input.Name, version)
    const caller = callerName(context.caller)
    const updatedAt = context.now()
    if (next === undefined) {
      const own = reviews.find(({ reviewer }) => reviewer === caller)
      if (!own) throw invalidOperation('You have not reviewed this document version.')
      await store.updateReviewComment(change, input.Name, version, { number: own.number, comment, updatedAt })
    } else {
      await store.insertReview(change, input.Name, version, {
        number: (reviews[0]?.number ?? 0) + 1,
        reviewStatus: next,
        reviewer: Action === 'SendForReview' ? null : caller,
        comment,
        // What answers a request for review is of the moment that it was asked for.
        createdAt: Action === 'SendForReview' ? updatedAt : (reviews[0]?.createdAt ?? updatedAt),
        updatedAt,
      })
    }
    return {}
  })
}

/** Newest first. Errors: InvalidDocument, InvalidDocumentVersion, InvalidNextToken. */
export async function listDocumentMetadataHistory(
  context: Context,
  input: Input<'ListDocumentMetadataHistory'>,
): Promise<Output<'ListDocumentMetadataHistory'>> {
  const found = await findVersion(context, input.Name, { version: input.DocumentVersion ?? '$LATEST' })
  if (found.owner !== context.account) throw notYours(input.Name)
  const listing = `ListDocumentMetadataHistory/${input.Name}/${found.version}`
  const limit = input.MaxResults ?? DEFAULT_RESULTS
  const before = decodeToken<number>(context, listing, input.NextToken)
  const rows = await store.listReviews(context, input.Name, found.version, before, limit + 1)
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  return {
    Name: input.Name,
    DocumentVersion: String(found.version),
    Author: found.author,
    Metadata: {
      ReviewerResponse: page.map((row) => ({
        CreateTime: row.createdAt,
        UpdatedTime: row.updatedAt,
        ReviewStatus: row.reviewStatus,
        Comment: row.comment,
        Reviewer: row.reviewer ?? undefined,
      })),
    },
    NextToken: last && rows.length > limit ? encodeToken(context, listing, last.number) : undefined,
  }
}
