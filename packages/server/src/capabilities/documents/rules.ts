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
