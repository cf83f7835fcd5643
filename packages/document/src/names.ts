/**
 * How documents are named, numbered and typed: names, ARNs, version selectors, and which schema version
 * goes with which document type. Called by every document operation and by SendCommand before anything is looked up.
 */
import { DocumentError } from './error.ts'

/** DocumentType members of the model; those after Session are stored and shown, nothing here runs them. */
export const DOCUMENT_TYPES = [
  'Command',
  'Policy',
  'Automation',
  'Session',
  'Package',
  'ApplicationConfiguration',
  'ApplicationConfigurationSchema',
  'DeploymentStrategy',
  'ChangeCalendar',
  'Automation.ChangeTemplate',
  'ProblemAnalysis',
  'ProblemAnalysisTemplate',
  'CloudFormation',
  'ConformancePackTemplate',
  'QuickSetup',
  'ManualApprovalPolicy',
  'AutoApprovalPolicy',
] as const
export type DocumentType = (typeof DOCUMENT_TYPES)[number]

const SCHEMA_VERSIONS: Partial<Record<DocumentType, readonly string[]>> = {
  Command: ['1.2', '2.0', '2.2'],
  Policy: ['1.2', '2.0', '2.2'],
  Automation: ['0.3'],
  'Automation.ChangeTemplate': ['0.3'],
  Session: ['1.0'],
  Package: ['2.0'],
}

/** The schema versions a type accepts; undefined when the type has a format of its own. */
export function schemaVersionsOf(type: DocumentType): readonly string[] | undefined {
  return SCHEMA_VERSIONS[type]
}

/** InvalidDocumentSchemaVersion unless a document of this type may be written in this schema version. */
export function checkSchemaVersion(type: DocumentType, schemaVersion: string): void {
  const allowed = SCHEMA_VERSIONS[type]
  if (!allowed || allowed.includes(schemaVersion)) return
  throw new DocumentError(
    'InvalidDocumentSchemaVersion',
    `Document schema version ${schemaVersion} is not supported for document type ${type}: use ${allowed.join(', ')}.`,
  )
}

const NAME = /^[a-zA-Z0-9_\-.]{3,128}$/
const REFERENCE = /^[a-zA-Z0-9_\-.:/]{3,128}$/
const VERSION_NAME = /^[a-zA-Z0-9_\-.]{1,128}$/
const RESERVED_PREFIXES = ['aws', 'amazon', 'amzn', 'AWSEC2', 'AWSConfigRemediation', 'AWSSupport']

/** ValidationException unless CreateDocument may give this name: 3-128 of `a-zA-Z0-9_-.` and no prefix kept for AWS. */
export function checkNewName(name: string): void {
  if (!NAME.test(name)) throw new DocumentError('ValidationException', `Document name ${name} is not valid.`)
  const prefix = RESERVED_PREFIXES.find((reserved) => name.toLowerCase().startsWith(reserved.toLowerCase()))
  if (prefix) {
    throw new DocumentError('ValidationException', `Document name ${name} begins with the reserved prefix "${prefix}".`)
  }
}

/** True for a VersionName: 1-128 of `a-zA-Z0-9_-.`. */
export function isVersionName(text: string): boolean {
  return VERSION_NAME.test(text)
}

/** A document as a request names it. `account` is empty for Amazon's own and absent for a plain name. */
export interface DocumentReference {
  readonly name: string
  readonly partition?: string
  readonly region?: string
  readonly account?: string
  readonly version?: string
}

/**
 * Takes apart a name, `name:version`, ARN or `ARN:version` (aws:runDocument and runbooks write the version there).
 * InvalidDocument when it is none of these.
 */
export function parseReference(text: string): DocumentReference {
  const invalid = () => new DocumentError('InvalidDocument', `Document with name ${text} does not exist.`)
  if (!REFERENCE.test(text) && !/^[a-zA-Z0-9_\-.:/$]{3,140}$/.test(text)) throw invalid()
  const arn =
    /^arn:([a-z-]+):ssm:([a-z0-9-]*):([0-9]{12})?:(?:document|automation-definition)\/([^:/]+)(?::([^:/]+))?$/.exec(
      text,
    )
  const plain = /^([^:/]+)(?::([^:/]+))?$/.exec(text)
  const name = arn?.[4] ?? plain?.[1]
  const version = arn?.[5] ?? plain?.[2]
  if (name === undefined || !NAME.test(name)) throw invalid()
  if (version !== undefined) parseVersion(version)
  return {
    name,
    ...(arn ? { partition: arn[1] ?? '', region: arn[2] ?? '', account: arn[3] ?? '' } : {}),
    ...(version === undefined ? {} : { version }),
  }
}

/** `$LATEST`, `$DEFAULT` or a number from 1, as asked for in a request. */
export type VersionSelector = '$LATEST' | '$DEFAULT' | number

/** The meaning of a DocumentVersion member; omitted or empty means `$DEFAULT`. InvalidDocumentVersion otherwise. */
export function parseVersion(text: string | undefined): VersionSelector {
  if (text === undefined || text === '') return '$DEFAULT'
  if (text === '$LATEST' || text === '$DEFAULT') return text
  const number = Number(text)
  if (/^[1-9][0-9]*$/.test(text) && Number.isSafeInteger(number)) return number
  throw new DocumentError('InvalidDocumentVersion', `The document version ${text} is not valid.`)
}

/** The number a selector means for a document with these versions; InvalidDocumentVersion when there is none such. */
export function chooseVersion(
  selector: VersionSelector,
  document: { readonly latest: number; readonly default: number; readonly versions: Iterable<number> },
): number {
  if (selector === '$LATEST') return document.latest
  if (selector === '$DEFAULT') return document.default
  for (const version of document.versions) if (version === selector) return selector
  throw new DocumentError('InvalidDocumentVersion', `The document version ${selector} does not exist.`)
}
