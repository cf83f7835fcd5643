/**
 * From what a request calls a document (name, `name:version`, ARN) to one version of it: the account's own, one that
 * another account shares, or Amazon's. Every reading operation and every capability that runs documents comes through here.
 */
import {
  type BuiltinDocument,
  builtinContent,
  builtinDocument,
  DocumentError,
  type DocumentReference,
  type JsonObject,
  parseBuiltin,
  parseDocument,
  parseReference,
  parseVersion,
  reopenDocument,
  type SsmDocument,
  toJson,
} from '@musterbook/document'
import { arn, type Scope } from '../../platform/arn.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { tagsOf } from '../tags/index.ts'
import {
  type DocumentType,
  hashOf,
  inAwsTerms,
  isAmazonName,
  noSuchDocument,
  noSuchVersion,
  type SharedVersion,
  type StoredFormat,
  sharedSelector,
  showsVersion,
} from './rules.ts'
import * as store from './store.ts'

/** A document, resolved to one version and ready to be run. */
export interface FoundDocument {
  /** The plain name; the ARN for another account's document, which has no shorter name here. */
  name: string
  /** The number that the request resolved to. */
  version: string
  /** As asked for; `$DEFAULT` when nothing was. */
  requestedVersion: string
  /** SHA-256 of the content's text, hexadecimal. */
  hash: string
  documentType: DocumentType
  platformTypes: string[]
  document: SsmDocument
  /** The content as a node is sent it. */
  content: JsonObject
  /** Twelve digits, or `Amazon`. */
  owner: string
}

/** One version of a document, as the reading operations show it. */
export type FoundVersion = Omit<store.DocumentRow, 'versionsMade'> &
  Omit<store.VersionRow, 'author'> & {
    owner: string
    /** Absent for Amazon's. */
    author?: string
    /** What else of it this account may see; undefined: everything. */
    shares?: SharedVersion[]
    builtin?: BuiltinDocument
  }

/**
 * The document that a command, a session or an association names: `reference` is a name or ARN, also with `:version`;
 * `version` is $DEFAULT, $LATEST or a number, nothing means $DEFAULT. InvalidDocument, InvalidDocumentVersion.
 */
export async function findDocument(
  context: Context,
  reference: string,
  version: string | undefined,
): Promise<FoundDocument> {
  const found = await findVersion(context, reference, { version }, true)
  const document = typedDocument(found)
  return {
    name: found.name,
    version: String(found.version),
    requestedVersion: version || inAwsTerms(() => parseReference(reference)).version || '$DEFAULT',
    hash: found.hash,
    documentType: found.documentType,
    platformTypes: found.platformTypes,
    document,
    content: toJson(document),
    owner: found.owner,
  }
}

/** What a permission on this document names; Amazon's belong to no account. Never refuses: finding does that. */
export function documentArn(scope: Scope, reference: string): string {
  if (reference.startsWith('arn:')) return reference.replace(/^((?:[^:]*:){5}[^:]*):.*$/s, '$1')
  const name = reference.replace(/:.*$/s, '')
  return arn('ssm', { account: isAmazonName(name) ? '' : scope.account, region: scope.region }, `document/${name}`)
}

/** What running or reading this document asks for: its ARN and, where the account owns it, its tags as condition keys. */
export async function documentAccess(context: Context, reference: string): Promise<Access> {
  const resource = documentArn(context, reference)
  const own = documentArn(context, '')
  if (!resource.startsWith(own)) return { resources: [resource] }
  const name = resource.slice(own.length)
  const keys: Record<string, string> = {}
  for (const { Key, Value } of (await tagsOf(context, 'Document', [name])).get(name) ?? []) {
    keys[`aws:ResourceTag/${Key}`] = Value
    keys[`ssm:resourceTag/${Key}`] = Value
  }
  return { resources: [resource], keys }
}

/** Where a stored document lies: its owner's scope and the name it has there. */
export const ownerOf = (context: Scope, found: FoundVersion): { scope: Scope; name: string } => ({
  scope: { account: found.owner, region: context.region },
  name: found.name.slice(found.name.indexOf('/') + 1),
})

/**
 * One version; `version` and `versionName` must both fit when both are given. InvalidDocument, InvalidDocumentVersion.
 * `preset`: also a document that Amazon has as a preset of an account's own one (SSM-SessionManagerRunShell).
 */
export async function findVersion(
  context: Context,
  reference: string,
  asked: { version?: string; versionName?: string },
  preset = false,
): Promise<FoundVersion> {
  const { name, region = context.region, account, version } = parse(context, reference)
  if (version !== undefined && asked.version && version !== asked.version) throw noSuchVersion()
  const selector = asked.version || version
  if (region !== context.region) throw noSuchDocument(reference)
  if (account === '' || (account === undefined && isAmazonName(name)))
    return amazonVersion(name, reference, selector, asked.versionName)
  if (account !== undefined && account !== context.account)
    return sharedVersion(context, { account, region }, name, selector, asked.versionName)
  const row = await store.readDocument(context, context, name, which(selector, asked.versionName))
  if (row) return { ...checkVersion(row), owner: context.account }
  if (!preset) throw noSuchDocument(reference)
  return amazonVersion(name, reference, selector, asked.versionName)
}

/** InvalidDocument for what is neither a name nor an ARN. */
const parse = (context: Scope, reference: string): DocumentReference & { account?: string } => {
  const parsed = inAwsTerms(() => parseName(reference))
  // An ARN may leave out the region of its own account's document (aws:runDocument accepts that).
  return { ...parsed, region: parsed.region || context.region }
}

/** A version in a name that can be none makes a name that no document has: not every operation knows InvalidDocumentVersion. */
function parseName(reference: string): ReturnType<typeof parseReference> {
  try {
    return parseReference(reference)
  } catch (error) {
    if (error instanceof DocumentError && error.code === 'InvalidDocumentVersion') throw noSuchDocument(reference)
    throw error
  }
}

/** The greatest number that the column holds; no document comes near. */
const MAX_VERSION = 2 ** 31 - 1

function which(selector: string | undefined, versionName: string | undefined): store.Which {
  const version = inAwsTerms(() => parseVersion(selector))
  if (typeof version === 'number' && version > MAX_VERSION) throw noSuchVersion()
  if (versionName === undefined) return typeof version === 'number' ? { version } : version
  return typeof version === 'number' ? { version, versionName } : { versionName }
}

const checkVersion = <Row extends { version: number | null }>(row: Row): Extract<Row, { version: number }> => {
  if (row.version === null) throw noSuchVersion()
  return row as Extract<Row, { version: number }>
}

async function sharedVersion(
  context: Context,
  owner: Scope,
  name: string,
  selector: string | undefined,
  versionName: string | undefined,
): Promise<FoundVersion> {
  const ownArn = arn('ssm', owner, `document/${name}`)
  const shares = await store.readSharesFor(context, owner, name, context.account)
  if (shares.length === 0) throw noSuchDocument(ownArn)
  const wanted = which(selector ?? (versionName === undefined ? sharedSelector(shares) : undefined), versionName)
  const row = await store.readDocument(context, owner, name, wanted)
  if (!row) throw noSuchDocument(ownArn)
  const version = checkVersion(row)
  if (!showsVersion(shares, version, version.version)) throw noSuchVersion()
  return { ...version, name: ownArn, owner: owner.account, shares }
}

function amazonVersion(
  name: string,
  reference: string,
  selector: string | undefined,
  versionName: string | undefined,
): FoundVersion {
  const builtin = builtinDocument(name)
  if (!builtin) throw noSuchDocument(reference)
  const version = inAwsTerms(() => parseVersion(selector))
  if (versionName !== undefined || (typeof version === 'number' && version !== Number(builtin.version)))
    throw noSuchVersion()
  return describeBuiltin(builtin)
}

/** Amazon's document in the form that stored ones have. */
export function describeBuiltin(builtin: BuiltinDocument): FoundVersion {
  const content = builtinContent(builtin)
  const version = Number(builtin.version)
  return {
    name: builtin.name,
    documentType: builtin.documentType,
    defaultVersion: version,
    latestVersion: version,
    version,
    versionName: null,
    displayName: null,
    targetType: builtin.targetType ?? null,
    documentFormat: builtin.documentFormat,
    schemaVersion: parseBuiltin(builtin).schemaVersion,
    description: builtin.description,
    content,
    hash: hashOf(content),
    platformTypes: [...builtin.platformTypes],
    requires: null,
    reviewStatus: 'NOT_REVIEWED',
    createdAt: new Date(builtin.createdDate),
    owner: 'Amazon',
    builtin,
  }
}

/** Parsed documents that a process keeps; at 64 KB of text each, the worst case stays near 100 MB, the usual one at 2 MB. */
const MAX_PARSED = 500
const parsed = new Map<string, SsmDocument>()

/** The typed form of a version. The hash names the content, so what is kept never grows stale. */
export function typedDocument(
  version: Pick<FoundVersion, 'documentType' | 'documentFormat' | 'hash' | 'content' | 'builtin'>,
): SsmDocument {
  if (version.builtin) return parseBuiltin(version.builtin)
  const key = `${version.documentType}/${version.documentFormat}/${version.hash}`
  const known = parsed.get(key)
  if (known) {
    parsed.delete(key) // comes back as the youngest
    parsed.set(key, known)
    return known
  }
  const { content, documentFormat, documentType } = version
  const typed = inAwsTerms(() => parseAs(content, documentFormat, documentType, reopenDocument))
  parsed.set(key, typed)
  for (const oldest of parsed.keys()) {
    if (parsed.size <= MAX_PARSED) break
    parsed.delete(oldest)
  }
  return typed
}

/** A text that is neither JSON nor YAML (a change calendar) has nothing in it to be read here. */
export function parseAs(
  content: string,
  format: StoredFormat,
  type: DocumentType,
  parse: typeof reopenDocument = parseDocument,
): SsmDocument {
  if (format !== 'TEXT') return parse(content, format, type)
  return { kind: 'other', schemaVersion: '', parameters: new Map(), content: {}, bytes: Buffer.byteLength(content) }
}
