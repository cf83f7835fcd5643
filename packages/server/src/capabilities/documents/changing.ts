/** CreateDocument, UpdateDocument, UpdateDocumentDefaultVersion, DeleteDocument: always on the account's own documents. */
import { checkNewName, platformTypes } from '@musterbook/document'
import type { Input, Output } from '../../contract/types.ts'
import { callerName } from '../../platform/caller.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { deleteTags, setTags, tagsOf } from '../tags/index.ts'
import { type Described, description } from './answers.ts'
import { parseAs, typedDocument } from './find.ts'
import {
  checkFormat,
  checkNewVersion,
  checkUpdatable,
  checkUpdatedVersion,
  type DocumentType,
  hashOf,
  inAwsTerms,
  invalidOperation,
  MAX_DOCUMENTS,
  noSuchVersion,
  notYours,
  refuseAttachments,
} from './rules.ts'
import * as store from './store.ts'

/** Topic of the wake that tells that a document has a new version or default; its key is `account/region/name`. */
const changed = (context: Context, name: string): void =>
  context.wake('documents', `${context.account}/${context.region}/${name}`)

/** The version that a request describes; everything that the text itself decides. */
function newVersion(
  context: Context,
  input: Input<'CreateDocument'> | Input<'UpdateDocument'>,
  type: DocumentType,
  version: number,
): Omit<store.VersionRow, 'reviewStatus'> {
  refuseAttachments(input.Attachments)
  const format = input.DocumentFormat ?? 'JSON'
  checkFormat(type, format)
  const document = inAwsTerms(() => parseAs(input.Content, format, type))
  return {
    version,
    versionName: input.VersionName ?? null,
    displayName: input.DisplayName ?? null,
    targetType: input.TargetType ?? null,
    documentFormat: format,
    schemaVersion: document.schemaVersion,
    description: document.description ?? null,
    content: input.Content,
    hash: hashOf(input.Content),
    platformTypes: platformTypes(document),
    requires: null,
    author: callerName(context.caller),
    createdAt: context.now(),
  }
}

/** How a version that was made just now is described. */
function fresh(
  context: Context,
  document: Omit<store.DocumentRow, 'versionsMade'>,
  row: Omit<store.VersionRow, 'reviewStatus'>,
): Omit<Described, 'tags'> {
  const version = { ...document, ...row, reviewStatus: 'NOT_REVIEWED', owner: context.account } as const
  return { version, document: typedDocument(version), reviews: [], reviewedVersions: new Map() }
}

/**
 * Errors: DocumentAlreadyExists, DocumentLimitExceeded, InvalidDocumentContent, InvalidDocumentSchemaVersion,
 * MaxDocumentSizeExceeded, ValidationException.
 */
export async function createDocument(
  context: Context,
  input: Input<'CreateDocument'>,
): Promise<Output<'CreateDocument'>> {
  inAwsTerms(() => checkNewName(input.Name))
  const documentType = input.DocumentType ?? 'Command'
  const row = { ...newVersion(context, input, documentType, 1), requires: input.Requires ?? null }
  const tags = input.Tags ?? []
  await context.transaction(async (change) => {
    await store.lockCount(change)
    const count = await store.countDocuments(change)
    if (!(await store.insertDocument(change, input.Name, documentType)))
      throw new AwsError('DocumentAlreadyExists', `Document with same name ${input.Name} already exists`)
    if (count >= MAX_DOCUMENTS)
      throw new AwsError('DocumentLimitExceeded', `You can have at most ${MAX_DOCUMENTS} active documents.`)
    await store.insertVersion(change, input.Name, row)
    await setTags(change, 'Document', input.Name, tags)
    changed(change, input.Name)
  })
  const document = { name: input.Name, documentType, defaultVersion: 1, latestVersion: 1 }
  return { DocumentDescription: description({ ...fresh(context, document, row), tags }, 'Creating') }
}

/** The account's own document, locked. InvalidDocument. */
export async function lockOwn(change: Context, name: string): Promise<store.DocumentRow> {
  const document = await store.lockDocument(change, name)
  if (!document) throw notYours(name)
  return document
}

/**
 * Errors: DocumentVersionLimitExceeded, DuplicateDocumentContent, DuplicateDocumentVersionName, InvalidDocument,
 * InvalidDocumentContent, InvalidDocumentSchemaVersion, InvalidDocumentVersion, MaxDocumentSizeExceeded.
 */
export function updateDocument(context: Context, input: Input<'UpdateDocument'>): Promise<Output<'UpdateDocument'>> {
  return context.transaction(async (change) => {
    const document = await lockOwn(change, input.Name)
    const versions = await store.readVersionFacts(change, input.Name)
    checkUpdatedVersion(input.DocumentVersion, document.latestVersion, versions.length)
    const latest = await store.readDocument(change, change, input.Name, '$LATEST')
    if (!latest || latest.version === null) throw noSuchVersion()
    checkUpdatable(latest.schemaVersion)
    const given = newVersion(context, input, document.documentType, document.versionsMade + 1)
    checkUpdatable(given.schemaVersion)
    const row = {
      ...given,
      displayName: given.displayName ?? latest.displayName,
      targetType: given.targetType ?? latest.targetType,
      requires: latest.requires,
    }
    checkNewVersion(row, versions)
    await store.insertVersion(change, input.Name, row)
    await store.setLatestVersion(change, input.Name, row.version)
    changed(change, input.Name)
    const tags = (await tagsOf(change, 'Document', [input.Name])).get(input.Name) ?? []
    const reviewedVersions = await store.readReviewedVersions(change, change, input.Name)
    const described = fresh(context, { ...document, latestVersion: row.version }, row)
    return { DocumentDescription: description({ ...described, reviewedVersions, tags }, 'Updating') }
  })
}

/** Errors: InvalidDocument, InvalidDocumentVersion. */
export function updateDocumentDefaultVersion(
  context: Context,
  input: Input<'UpdateDocumentDefaultVersion'>,
): Promise<Output<'UpdateDocumentDefaultVersion'>> {
  return context.transaction(async (change) => {
    await lockOwn(change, input.Name)
    const versions = await store.readVersionFacts(change, input.Name)
    const wanted = versions.find(({ version }) => String(version) === input.DocumentVersion)
    if (!wanted) throw noSuchVersion()
    await store.setDefaultVersion(change, input.Name, wanted.version)
    changed(change, input.Name)
    return {
      Description: {
        Name: input.Name,
        DefaultVersion: String(wanted.version),
        DefaultVersionName: wanted.versionName ?? undefined,
      },
    }
  })
}

/**
 * Without a version the whole document goes, which nobody may then still be given by sharing. Errors: InvalidDocument,
 * InvalidDocumentOperation; InvalidDocumentVersion is not in the model of this operation, an unknown one is InvalidDocument.
 */
export function deleteDocument(context: Context, input: Input<'DeleteDocument'>): Promise<Output<'DeleteDocument'>> {
  const { Name: name, DocumentVersion, VersionName } = input
  return context.transaction(async (change) => {
    const document = await lockOwn(change, name)
    if (DocumentVersion || VersionName !== undefined) {
      const versions = await store.readVersionFacts(change, name)
      const number =
        DocumentVersion === '$LATEST'
          ? document.latestVersion
          : DocumentVersion === '$DEFAULT'
            ? document.defaultVersion
            : Number(DocumentVersion)
      const wanted = versions.find(
        (row) =>
          (!DocumentVersion || row.version === number) &&
          (VersionName === undefined || row.versionName === VersionName),
      )
      if (!wanted)
        throw new AwsError(
          'InvalidDocument',
          `Document with name ${name} does not have the version that is to be deleted.`,
        )
      if (wanted.version === document.defaultVersion)
        throw invalidOperation("Default version of the document can't be deleted.")
      await store.deleteVersion(change, name, wanted.version)
    } else {
      if (document.documentType === 'ApplicationConfigurationSchema' && !input.Force)
        throw invalidOperation('A document of type ApplicationConfigurationSchema can be deleted with Force only.')
      if (await store.isShared(change, name)) throw invalidOperation('Must unshare document first before deleting')
      await store.deleteDocument(change, name)
      await deleteTags(change, 'Document', [name])
    }
    changed(change, name)
    return {}
  })
}
