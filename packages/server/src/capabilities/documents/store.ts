/** Every SQL statement of documents. */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import type { DocumentType, ReviewStatus, SharedVersion, StoredFormat } from './rules.ts'

export type Scoped = Scope & Pick<Ground, 'sql'>

/** Which version of a document is meant. */
export type Which = '$DEFAULT' | '$LATEST' | { version: number } | { versionName: string } | Both
interface Both {
  version: number
  versionName: string
}

export interface DocumentRow {
  name: string
  documentType: DocumentType
  defaultVersion: number
  latestVersion: number
  versionsMade: number
}

export interface Requirement {
  Name: string
  Version?: string
  RequireType?: string
  VersionName?: string
}

/** What a version is made of. */
export interface VersionRow {
  version: number
  versionName: string | null
  displayName: string | null
  targetType: string | null
  documentFormat: StoredFormat
  schemaVersion: string
  description: string | null
  content: string
  hash: string
  platformTypes: string[]
  requires: Requirement[] | null
  author: string
  createdAt: Date
  reviewStatus: ReviewStatus
}

const documentColumns = (sql: Scoped['sql']) => sql`
  d.name, d.document_type as "documentType", d.default_version as "defaultVersion",
  d.latest_version as "latestVersion", d.versions_made as "versionsMade"`

const versionColumns = (sql: Scoped['sql']) => sql`
  v.version, v.version_name as "versionName", v.display_name as "displayName", v.target_type as "targetType",
  v.document_format as "documentFormat", v.schema_version as "schemaVersion", v.description, v.content, v.hash,
  v.platform_types as "platformTypes", v.requires, v.author, v.created_at as "createdAt",
  v.review_status as "reviewStatus"`

function versionCondition(sql: Scoped['sql'], which: Which) {
  if (which === '$DEFAULT') return sql`v.version = d.default_version`
  if (which === '$LATEST') return sql`v.version = d.latest_version`
  return sql`true
    ${'version' in which ? sql`and v.version = ${which.version}` : sql``}
    ${'versionName' in which ? sql`and v.version_name = ${which.versionName}` : sql``}`
}

/** A document of `owner` with the version that was asked for; `version` is null when it has no such one. */
export async function readDocument(
  { sql }: Pick<Ground, 'sql'>,
  owner: Scope,
  name: string,
  which: Which,
): Promise<(DocumentRow & (VersionRow | { version: null })) | undefined> {
  const [row] = await sql<(DocumentRow & (VersionRow | { version: null }))[]>`
    select ${documentColumns(sql)}, ${versionColumns(sql)}
    from documents d left join document_versions v
      on v.account = d.account and v.region = d.region and v.name = d.name and ${versionCondition(sql, which)}
    where d.account = ${owner.account} and d.region = ${owner.region} and d.name = ${name}`
  return row
}

/** What of a document of `owner` an account may see: one entry each for itself and for the public. */
export async function readSharesFor(
  { sql }: Pick<Ground, 'sql'>,
  owner: Scope,
  name: string,
  consumer: string,
): Promise<SharedVersion[]> {
  const rows = await sql<{ sharedVersion: SharedVersion }[]>`
    select shared_version as "sharedVersion" from document_shares
    where account = ${owner.account} and region = ${owner.region} and name = ${name}
      and shared_with in (${consumer}, 'all')`
  return rows.map((row) => row.sharedVersion)
}
