/** ModifyDocumentPermission and DescribeDocumentPermission: who beside the owner may read and run a document. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { serviceSetting } from '../settings/index.ts'
import { lockOwn } from './changing.ts'
import { MAX_PUBLIC_DOCUMENTS, MAX_SHARED_ACCOUNTS, notYours, type SharedVersion, shareChange } from './rules.ts'
import * as store from './store.ts'

/** Entries of one page when the request does not say; also the most it may ask for. */
const DEFAULT_RESULTS = 200

/** Errors: DocumentPermissionLimit, InvalidDocument, ValidationException. */
export function modifyDocumentPermission(
  context: Context,
  input: Input<'ModifyDocumentPermission'>,
): Promise<Output<'ModifyDocumentPermission'>> {
  const { add, remove } = shareChange(input.AccountIdsToAdd, input.AccountIdsToRemove)
  return context.transaction(async (change) => {
    await lockOwn(change, input.Name)
    await store.deleteShares(change, input.Name, remove)
    if (add.includes('all')) await checkPublicSharing(change)
    await store.writeShares(change, input.Name, add, (input.SharedDocumentVersion ?? '$DEFAULT') as SharedVersion)
    if ((await store.countShares(change, input.Name)) > MAX_SHARED_ACCOUNTS)
      throw new AwsError(
        'DocumentPermissionLimit',
        `The document can't be shared with more than ${MAX_SHARED_ACCOUNTS} accounts.`,
      )
    if (add.includes('all') && (await store.countPublicDocuments(change)) > MAX_PUBLIC_DOCUMENTS)
      throw new AwsError('DocumentPermissionLimit', `You can publicly share up to ${MAX_PUBLIC_DOCUMENTS} documents.`)
    return {}
  })
}

/** The account's own setting may forbid it; two documents made public at once are counted one after the other. */
async function checkPublicSharing(change: Context): Promise<void> {
  await store.lockCount(change)
  const permission = await serviceSetting(change, '/ssm/documents/console/public-sharing-permission')
  if (permission === 'Disable')
    throw validation('Public sharing is blocked by the setting /ssm/documents/console/public-sharing-permission.')
}

/** In order of the accounts, `all` last. Errors: InvalidDocument, InvalidNextToken. */
export async function describeDocumentPermission(
  context: Context,
  input: Input<'DescribeDocumentPermission'>,
): Promise<Output<'DescribeDocumentPermission'>> {
  if (!(await store.holdDocument(context, input.Name))) throw notYours(input.Name)
  const listing = `DescribeDocumentPermission/${input.Name}`
  const limit = input.MaxResults ?? DEFAULT_RESULTS
  const after = decodeToken<string>(context, listing, input.NextToken)
  const rows = await store.listShares(context, input.Name, after, limit + 1)
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  return {
    AccountIds: page.map((row) => row.sharedWith),
    AccountSharingInfoList: page.map((row) => ({
      AccountId: row.sharedWith,
      SharedDocumentVersion: row.sharedVersion,
    })),
    NextToken: last && rows.length > limit ? encodeToken(context, listing, last.sharedWith) : undefined,
  }
}
