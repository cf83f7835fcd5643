/** DescribeDocument, GetDocument, ListDocumentVersions: the account's own, shared and Amazon's documents alike. */
import { type DocumentFormat, renderAs } from '@musterbook/document'
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { tagsOf } from '../tags/index.ts'
import { description, STATUS, showsReview } from './answers.ts'
import { type FoundVersion, findVersion, ownerOf, typedDocument } from './find.ts'
import { type DocumentType, showsVersion } from './rules.ts'
import * as store from './store.ts'

/** Results of one page when the request does not say. */
const DEFAULT_RESULTS = 50

/** Errors: InvalidDocument, InvalidDocumentVersion. */
export async function describeDocument(
  context: Context,
  input: Input<'DescribeDocument'>,
): Promise<Output<'DescribeDocument'>> {
  const { Name, DocumentVersion, VersionName } = input
  const version = await findVersion(context, Name, { version: DocumentVersion, versionName: VersionName })
  const document = typedDocument(version)
  // Tags and reviews are the owner's business.
  if (version.owner !== context.account)
    return {
      Document: description({ version, document, tags: [], reviews: [], reviewedVersions: new Map() }, STATUS),
    }
  const [tags, reviews, reviewedVersions] = await Promise.all([
    tagsOf(context, 'Document', [version.name]),
    store.listReviews(context, version.name, version.version),
    store.readReviewedVersions(context, context, version.name),
  ])
  return {
    Document: description({ version, document, tags: tags.get(version.name) ?? [], reviews, reviewedVersions }, STATUS),
  }
}

/** DocumentFormat converts between JSON and YAML, JSON unless the request says so. Errors as above. */
export async function getDocument(context: Context, input: Input<'GetDocument'>): Promise<Output<'GetDocument'>> {
  const { Name, DocumentVersion, VersionName, DocumentFormat } = input
  const version = await findVersion(context, Name, { version: DocumentVersion, versionName: VersionName })
  return {
    Name: version.name,
    CreatedDate: version.createdAt,
    DisplayName: version.displayName ?? undefined,
    VersionName: version.versionName ?? undefined,
    DocumentVersion: String(version.version),
    Status: STATUS,
    ...contentAs(version, DocumentFormat),
    DocumentType: version.documentType as DocumentType,
    Requires: version.requires ?? undefined,
    AttachmentsContent: [],
    ...(showsReview(version) ? { ReviewStatus: version.reviewStatus } : {}),
  }
}

/** The text as it was submitted when it has that format already. */
function contentAs(version: FoundVersion, wanted: DocumentFormat | 'TEXT' | undefined) {
  const format = wanted ?? (version.documentFormat === 'TEXT' ? 'TEXT' : 'JSON')
  if (format === version.documentFormat) return { Content: version.content, DocumentFormat: format }
  if (format === 'TEXT' || version.documentFormat === 'TEXT')
    throw validation(`A document of format ${version.documentFormat} cannot be converted to ${format}.`)
  return { Content: renderAs(typedDocument(version), format), DocumentFormat: format }
}

/** Newest first; of a shared document the versions that are shared. Errors: InvalidDocument, InvalidNextToken. */
export async function listDocumentVersions(
  context: Context,
  input: Input<'ListDocumentVersions'>,
): Promise<Output<'ListDocumentVersions'>> {
  // A version that everybody who may see the document sees; its own number does not matter here.
  const document = await findVersion(context, input.Name, {})
  const listing = `ListDocumentVersions/${input.Name}`
  const before = decodeToken<number>(context, listing, input.NextToken)
  const limit = input.MaxResults ?? DEFAULT_RESULTS
  const visible = await visibleVersions(context, document, before)
  const page = visible.slice(0, limit)
  const last = page.at(-1)
  return {
    DocumentVersions: page.map((version) => ({
      Name: document.name,
      DisplayName: version.displayName ?? undefined,
      DocumentVersion: String(version.version),
      VersionName: version.versionName ?? undefined,
      CreatedDate: version.createdAt,
      IsDefaultVersion: version.version === document.defaultVersion,
      DocumentFormat: version.documentFormat,
      Status: STATUS,
      ...(showsReview({ ...version, documentType: document.documentType })
        ? { ReviewStatus: version.reviewStatus }
        : {}),
    })),
    NextToken: last && visible.length > limit ? encodeToken(context, listing, last.version) : undefined,
  }
}

async function visibleVersions(context: Context, document: FoundVersion, before: number | undefined) {
  if (document.builtin) return before === undefined ? [document] : []
  const { shares } = document
  const { scope, name } = ownerOf(context, document)
  const versions = await store.listVersions(context, scope, name, before)
  return shares ? versions.filter(({ version }) => showsVersion(shares, document, version)) : versions
}
