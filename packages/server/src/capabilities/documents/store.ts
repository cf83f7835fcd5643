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

/** The document, held until the transaction ends: changes of one document come one after the other. */
export async function lockDocument(context: Scoped, name: string): Promise<DocumentRow | undefined> {
  const [row] = await context.sql<DocumentRow[]>`
    select ${documentColumns(context.sql)} from documents d
    where account = ${context.account} and region = ${context.region} and name = ${name} for update`
  return row
}

/** Keeps the document from being deleted until the transaction ends; false when there is none. */
export async function holdDocument(context: Scoped, name: string): Promise<boolean> {
  const rows = await context.sql`
    select 1 from documents
    where account = ${context.account} and region = ${context.region} and name = ${name} for key share`
  return rows.length === 1
}

/** Those who count documents before they add one wait for each other, so that the count stays true. */
export async function lockCount(context: Scoped): Promise<void> {
  const name = ['documents', context.account, context.region].join('/')
  await context.sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`
}

export async function countDocuments(context: Scoped): Promise<number> {
  const [row] = await context.sql<{ count: number }[]>`
    select count(*)::int as count from documents where account = ${context.account} and region = ${context.region}`
  return row?.count ?? 0
}

/** A new document at version 1, without the version itself; false when the name is taken. */
export async function insertDocument(context: Scoped, name: string, documentType: DocumentType): Promise<boolean> {
  const rows = await context.sql`
    insert into documents (account, region, name, document_type, default_version, latest_version, versions_made)
    values (${context.account}, ${context.region}, ${name}, ${documentType}, 1, 1, 1)
    on conflict do nothing returning 1`
  return rows.length === 1
}

export async function insertVersion(
  context: Scoped,
  name: string,
  row: Omit<VersionRow, 'reviewStatus'>,
): Promise<void> {
  const { sql } = context
  await sql`
    insert into document_versions (account, region, name, version, version_name, display_name, target_type,
      document_format, schema_version, description, content, hash, platform_types, requires, author, created_at)
    values (${context.account}, ${context.region}, ${name}, ${row.version}, ${row.versionName}, ${row.displayName},
      ${row.targetType}, ${row.documentFormat}, ${row.schemaVersion}, ${row.description}, ${row.content}, ${row.hash},
      ${row.platformTypes}, ${row.requires && sql.json(row.requires as never)}, ${row.author}, ${row.createdAt})`
}

/** The newest version moves on to `version`, which is the highest number given so far. */
export async function setLatestVersion(context: Scoped, name: string, version: number): Promise<void> {
  await context.sql`
    update documents set latest_version = ${version}, versions_made = ${version}
    where account = ${context.account} and region = ${context.region} and name = ${name}`
}

export async function setDefaultVersion(context: Scoped, name: string, version: number): Promise<void> {
  await context.sql`
    update documents set default_version = ${version}
    where account = ${context.account} and region = ${context.region} and name = ${name}`
}

/** What tells versions of a document apart, without their content. */
export type VersionFacts = Pick<VersionRow, 'version' | 'versionName' | 'hash' | 'targetType' | 'schemaVersion'>

export async function readVersionFacts(context: Scoped, name: string): Promise<VersionFacts[]> {
  return context.sql<VersionFacts[]>`
    select version, version_name as "versionName", hash, target_type as "targetType", schema_version as "schemaVersion"
    from document_versions
    where account = ${context.account} and region = ${context.region} and name = ${name}`
}

/** Versions below `before`, newest first, without their content. */
export async function listVersions(
  { sql }: Pick<Ground, 'sql'>,
  owner: Scope,
  name: string,
  before: number | undefined,
): Promise<Omit<VersionRow, 'content'>[]> {
  return sql<Omit<VersionRow, 'content'>[]>`
    select version, version_name as "versionName", display_name as "displayName", target_type as "targetType",
      document_format as "documentFormat", schema_version as "schemaVersion", description, hash,
      platform_types as "platformTypes", requires, author, created_at as "createdAt", review_status as "reviewStatus"
    from document_versions
    where account = ${owner.account} and region = ${owner.region} and name = ${name}
      ${before === undefined ? sql`` : sql`and version < ${before}`}
    order by version desc`
}

export async function deleteDocument(context: Scoped, name: string): Promise<void> {
  await context.sql`
    delete from documents where account = ${context.account} and region = ${context.region} and name = ${name}`
}

/** Deletes one version; the newest that is left is the latest. */
export async function deleteVersion(context: Scoped, name: string, version: number): Promise<void> {
  const { sql, account, region } = context
  await sql`
    delete from document_versions
    where account = ${account} and region = ${region} and name = ${name} and version = ${version}`
  await sql`
    update documents set latest_version = (
      select max(version) from document_versions
      where account = ${account} and region = ${region} and name = ${name})
    where account = ${account} and region = ${region} and name = ${name}`
}

/** A document as ListDocuments shows it. */
export interface ListedRow extends Omit<VersionRow, 'content' | 'hash' | 'description'> {
  account: string
  name: string
  documentType: DocumentType
  /** How it is shared with the account that lists; empty for the account's own. */
  sharedWith: string[]
}

/** The account's own documents and those shared with it, each at the version that it sees by default. */
export async function listDocuments(context: Scoped): Promise<ListedRow[]> {
  const { sql, account, region } = context
  return sql<ListedRow[]>`
    with visible as (
      select account, region, name, document_type, default_version as version, '{}'::text[] as shared_with
      from documents where account = ${account} and region = ${region}
      union all
      select d.account, d.region, d.name, d.document_type,
        case when bool_and(s.shared_version = '$LATEST') then d.latest_version else d.default_version end,
        array_agg(s.shared_with)
      from document_shares s join documents d using (account, region, name)
      where s.shared_with in (${account}, 'all') and s.region = ${region} and d.account <> ${account}
      group by d.account, d.region, d.name
    )
    select d.account, d.name, d.document_type as "documentType", d.shared_with as "sharedWith", v.version,
      v.version_name as "versionName", v.display_name as "displayName", v.target_type as "targetType",
      v.document_format as "documentFormat", v.schema_version as "schemaVersion", v.platform_types as "platformTypes",
      v.requires, v.author, v.created_at as "createdAt", v.review_status as "reviewStatus"
    from visible d join document_versions v using (account, region, name, version)`
}

export interface ShareRow {
  sharedWith: string
  sharedVersion: SharedVersion
}

/** In order of the account, from behind `after`. */
export async function listShares(
  context: Scoped,
  name: string,
  after: string | undefined,
  limit: number,
): Promise<ShareRow[]> {
  const { sql, account, region } = context
  return sql<ShareRow[]>`
    select shared_with as "sharedWith", shared_version as "sharedVersion" from document_shares
    where account = ${account} and region = ${region} and name = ${name}
      ${after === undefined ? sql`` : sql`and shared_with collate "C" > ${after}`}
    order by shared_with collate "C" limit ${limit}`
}

export async function writeShares(
  context: Scoped,
  name: string,
  accounts: string[],
  sharedVersion: SharedVersion,
): Promise<void> {
  await context.sql`
    insert into document_shares (account, region, name, shared_with, shared_version)
    select ${context.account}, ${context.region}, ${name}, shared_with, ${sharedVersion}
    from unnest(${accounts}::text[]) as given (shared_with)
    on conflict (account, region, name, shared_with) do update set shared_version = excluded.shared_version`
}

export async function deleteShares(context: Scoped, name: string, accounts: string[]): Promise<void> {
  await context.sql`
    delete from document_shares
    where account = ${context.account} and region = ${context.region} and name = ${name}
      and shared_with = any(${accounts}::text[])`
}

/** Accounts that the document is shared with, the public not counted. */
export async function countShares(context: Scoped, name: string): Promise<number> {
  const [row] = await context.sql<{ count: number }[]>`
    select count(*)::int as count from document_shares
    where account = ${context.account} and region = ${context.region} and name = ${name} and shared_with <> 'all'`
  return row?.count ?? 0
}

export async function isShared(context: Scoped, name: string): Promise<boolean> {
  const rows = await context.sql`
    select 1 from document_shares
    where account = ${context.account} and region = ${context.region} and name = ${name} limit 1`
  return rows.length === 1
}

export async function countPublicDocuments(context: Scoped): Promise<number> {
  const [row] = await context.sql<{ count: number }[]>`
    select count(*)::int as count from document_shares
    where account = ${context.account} and region = ${context.region} and shared_with = 'all'`
  return row?.count ?? 0
}

export interface ReviewComment {
  Type?: 'Comment'
  Content?: string
}

export interface ReviewRow {
  number: number
  reviewStatus: ReviewStatus
  reviewer: string | null
  comment: ReviewComment[]
  createdAt: Date
  updatedAt: Date
}

/** Reviews of a version, newest first, below `before`. */
export async function listReviews(
  context: Scoped,
  name: string,
  version: number,
  before?: number,
  limit?: number,
): Promise<ReviewRow[]> {
  const { sql } = context
  return sql<ReviewRow[]>`
    select number, review_status as "reviewStatus", reviewer, comment, created_at as "createdAt",
      updated_at as "updatedAt"
    from document_reviews
    where account = ${context.account} and region = ${context.region} and name = ${name} and version = ${version}
      ${before === undefined ? sql`` : sql`and number < ${before}`}
    order by number desc ${limit === undefined ? sql`` : sql`limit ${limit}`}`
}

/** Adds a review, and makes its status that of the version. */
export async function insertReview(context: Scoped, name: string, version: number, review: ReviewRow): Promise<void> {
  const { sql, account, region } = context
  await sql`
    insert into document_reviews
      (account, region, name, version, number, review_status, reviewer, comment, created_at, updated_at)
    values (${account}, ${region}, ${name}, ${version}, ${review.number}, ${review.reviewStatus}, ${review.reviewer},
      ${sql.json(review.comment as never)}, ${review.createdAt}, ${review.updatedAt})`
  await sql`
    update document_versions set review_status = ${review.reviewStatus}
    where account = ${account} and region = ${region} and name = ${name} and version = ${version}`
}

export async function updateReviewComment(
  context: Scoped,
  name: string,
  version: number,
  { number, comment, updatedAt }: Pick<ReviewRow, 'number' | 'comment' | 'updatedAt'>,
): Promise<void> {
  await context.sql`
    update document_reviews set comment = ${context.sql.json(comment as never)}, updated_at = ${updatedAt}
    where account = ${context.account} and region = ${context.region} and name = ${name} and version = ${version}
      and number = ${number}`
}

/** The newest version with each review status. */
export async function readReviewedVersions(
  { sql }: Pick<Ground, 'sql'>,
  owner: Scope,
  name: string,
): Promise<Map<ReviewStatus, number>> {
  const rows = await sql<{ reviewStatus: ReviewStatus; version: number }[]>`
    select review_status as "reviewStatus", max(version) as version from document_versions
    where account = ${owner.account} and region = ${owner.region} and name = ${name} group by review_status`
  return new Map(rows.map((row) => [row.reviewStatus, row.version]))
}
