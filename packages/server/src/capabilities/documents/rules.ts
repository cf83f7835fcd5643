/** Pure decisions about documents: what may be seen, made, changed and shared. Texts are the service's own where known. */
import { createHash } from 'node:crypto'
import { DocumentError, type DocumentType } from '@musterbook/document'
import { AwsError } from '../../platform/errors.ts'

export type { DocumentType }
export type StoredFormat = 'JSON' | 'YAML' | 'TEXT'
export type ReviewStatus = 'NOT_REVIEWED' | 'PENDING' | 'APPROVED' | 'REJECTED'
export type SharedVersion = '$DEFAULT' | '$LATEST' | '$ALL'

/** SHA-256 of the text, hexadecimal: what DocumentHash of SendCommand is compared with. */
export const hashOf = (content: string): string => createHash('sha256').update(content).digest('hex')

/** Names that begin like this are Amazon's, in any case of letters; the longer reserved prefixes begin so too. */
const AMAZON_PREFIX = /^(aws|amazon|amzn)/i

/** True for names that no account can give: such a document is the same for all accounts. */
export const isAmazonName = (name: string): boolean => AMAZON_PREFIX.test(name)

export const noSuchDocument = (name: string): AwsError =>
  new AwsError('InvalidDocument', `Document with name ${name} does not exist.`)

export const noSuchVersion = (): AwsError =>
  new AwsError('InvalidDocumentVersion', 'The document version is not valid or does not exist.')

/** Runs what the document language decides, its complaints under the same AWS names. */
export function inAwsTerms<T>(decide: () => T): T {
  try {
    return decide()
  } catch (error) {
    throw error instanceof DocumentError ? new AwsError(error.code, error.message) : error
  }
}

/** The numbers of a document that decide which versions a share shows. */
export interface Versions {
  defaultVersion: number
  latestVersion: number
}

/** Whether any of an account's shares shows this version now. */
export const showsVersion = (shares: readonly SharedVersion[], document: Versions, version: number): boolean =>
  shares.some(
    (shared) =>
      shared === '$ALL' || version === (shared === '$LATEST' ? document.latestVersion : document.defaultVersion),
  )

/** What a consumer who names no version gets: the default where it is shown, else the latest, which then alone is. */
export const sharedSelector = (shares: readonly SharedVersion[]): '$DEFAULT' | '$LATEST' =>
  shares.every((shared) => shared === '$LATEST') ? '$LATEST' : '$DEFAULT'

/** Documents of one account and region ("Systems Manager quotas", SSM documents). */
export const MAX_DOCUMENTS = 500
/** Versions of one document that exist at a time (same list of quotas). */
export const MAX_VERSIONS = 1000
/** Accounts that one document is shared with, and public documents of one account and region (DocumentPermissionLimit). */
export const MAX_SHARED_ACCOUNTS = 1000
export const MAX_PUBLIC_DOCUMENTS = 5

/** Documents whose own operations change them only where the account has made them itself. */
export const notYours = (name: string): AwsError =>
  isAmazonName(name)
    ? new AwsError('InvalidDocument', `Document with name ${name} is owned by Amazon and cannot be changed.`)
    : noSuchDocument(name)

export const invalidOperation = (message: string): AwsError => new AwsError('InvalidDocumentOperation', message)

/** Attachments would have to be fetched from S3 and kept; that is refused rather than forgotten. */
export function refuseAttachments(attachments: readonly unknown[] | undefined): void {
  if (attachments && attachments.length > 0)
    throw new AwsError('ValidationException', 'Attachments are not supported: leave out the member Attachments.')
}

const TEXT_TYPES: ReadonlySet<DocumentType> = new Set([
  'ChangeCalendar',
  'ApplicationConfiguration',
  'ApplicationConfigurationSchema',
  'DeploymentStrategy',
])

/** TEXT is for types with a format of their own; a change calendar knows no other. InvalidDocumentContent. */
export function checkFormat(type: DocumentType, format: StoredFormat): void {
  const fits = format === 'TEXT' ? TEXT_TYPES.has(type) : type !== 'ChangeCalendar'
  if (!fits)
    throw new AwsError(
      'InvalidDocumentContent',
      `Document format ${format} is not supported for document type ${type}.`,
    )
}

/** Schema 1.2 knows no versions: its documents are replaced, not updated. InvalidDocumentSchemaVersion. */
export function checkUpdatable(schemaVersion: string): void {
  if (schemaVersion === '1.2')
    throw new AwsError(
      'InvalidDocumentSchemaVersion',
      'Documents of schema version 1.2 cannot be updated. Create a document of schema version 2.0 or later.',
    )
}

export interface VersionFacts {
  version: number
  versionName: string | null
  hash: string
  targetType: string | null
}

/**
 * Whether an update that names `asked` may follow these versions: only the latest can be updated, and it must be named
 * where there are several. InvalidDocumentVersion.
 */
export function checkUpdatedVersion(asked: string | undefined, latest: number, count: number): void {
  const named = asked || (count === 1 ? '$LATEST' : '$DEFAULT')
  if (named !== '$LATEST' && named !== String(latest)) throw noSuchVersion()
}

/** DuplicateDocumentContent, DuplicateDocumentVersionName, DocumentVersionLimitExceeded. */
export function checkNewVersion(
  fresh: Pick<VersionFacts, 'versionName' | 'hash' | 'targetType'>,
  versions: readonly VersionFacts[],
): void {
  for (const { hash, targetType, versionName } of versions) {
    if (hash === fresh.hash && targetType === fresh.targetType)
      throw new AwsError(
        'DuplicateDocumentContent',
        'The content of the association document matches another document. Change the content of the document and try again.',
      )
    if (fresh.versionName !== null && versionName === fresh.versionName)
      throw new AwsError(
        'DuplicateDocumentVersionName',
        'The version name has already been used in this document. Specify a different version name, and then try again.',
      )
  }
  if (versions.length >= MAX_VERSIONS)
    throw new AwsError(
      'DocumentVersionLimitExceeded',
      `The document has too many versions. Delete one or more document versions and try again. The limit is ${MAX_VERSIONS}.`,
    )
}

export interface ShareChange {
  add: string[]
  remove: string[]
}

/** Removing wins over adding; `all` in any case of letters stands alone among those added. DocumentPermissionLimit. */
export function shareChange(adds: readonly string[] = [], removes: readonly string[] = []): ShareChange {
  const remove = [...new Set(removes.map((account) => account.toLowerCase()))]
  const asked = [...new Set(adds.map((account) => account.toLowerCase()))]
  if (asked.includes('all') && asked.length > 1)
    throw new AwsError('DocumentPermissionLimit', 'Accounts can either be all or a group of AWS accounts')
  return { add: asked.filter((account) => !remove.includes(account)), remove }
}

export type ReviewAction = 'SendForReview' | 'UpdateReview' | 'Approve' | 'Reject'

/**
 * The status that an action gives a version, undefined where it keeps its own. A review has to be asked for before it can
 * be answered. InvalidDocumentOperation.
 */
export function reviewed(status: ReviewStatus, action: ReviewAction): ReviewStatus | undefined {
  switch (action) {
    case 'SendForReview':
      if (status === 'PENDING') throw invalidOperation('The document version is already under review.')
      if (status === 'APPROVED') throw invalidOperation('The document version has already been approved.')
      return 'PENDING'
    case 'UpdateReview':
      if (status === 'NOT_REVIEWED') throw invalidOperation('The document version has no review to update.')
      return undefined
    default:
      if (status !== 'PENDING') throw invalidOperation('The document version is not under review.')
      return action === 'Approve' ? 'APPROVED' : 'REJECTED'
  }
}
