/** Documents in the shapes that several operations answer with. Pure. */
import type { Json, ParameterDefinition, SsmDocument } from '@musterbook/document'
import type { Output } from '../../contract/types.ts'
import type { Tag } from '../tags/index.ts'
import type { FoundVersion } from './find.ts'
import type { ReviewStatus } from './rules.ts'
import type { ReviewRow } from './store.ts'

type Description = NonNullable<Output<'DescribeDocument'>['Document']>
type Parameter = NonNullable<Description['Parameters']>[number]
type Identifier = NonNullable<Output<'ListDocuments'>['DocumentIdentifiers']>[number]
type PlatformTypes = Identifier['PlatformTypes']

/** Without attachments there is nothing to fetch: what is stored can be used. */
export const STATUS = 'Active'

/** A version, the version it replaces, its reviews and its tags, as the owner or a consumer may see them. */
export interface Described {
  version: FoundVersion
  document: SsmDocument
  tags: Tag[]
  reviews: ReviewRow[]
  reviewedVersions: ReadonlyMap<ReviewStatus, number>
}

export function description(described: Described, status: 'Creating' | 'Updating' | 'Active'): Description {
  const { version, document, tags } = described
  return {
    Hash: version.hash,
    HashType: 'Sha256',
    Name: version.name,
    DisplayName: version.displayName ?? undefined,
    VersionName: version.versionName ?? undefined,
    Owner: version.owner,
    CreatedDate: version.createdAt,
    Status: status,
    DocumentVersion: String(version.version),
    Description: version.description ?? undefined,
    Parameters: [...document.parameters].map(([name, definition]) => parameter(name, definition)),
    PlatformTypes: version.platformTypes as PlatformTypes,
    DocumentType: version.documentType,
    SchemaVersion: version.schemaVersion || undefined,
    LatestVersion: String(version.latestVersion),
    DefaultVersion: String(version.defaultVersion),
    DocumentFormat: version.documentFormat,
    TargetType: version.targetType ?? undefined,
    Tags: tags,
    Requires: version.requires ?? undefined,
    ...reviewMembers(described),
  }
}

/** AWS shows authors and reviews where reviews are used: on change templates, and on what was sent for review. */
export const showsReview = (version: Pick<FoundVersion, 'documentType' | 'reviewStatus'>): boolean =>
  version.documentType === 'Automation.ChangeTemplate' || version.reviewStatus !== 'NOT_REVIEWED'

function reviewMembers({ version, reviews, reviewedVersions }: Described): Partial<Description> {
  const approved = reviewedVersions.get('APPROVED')
  const pending = reviewedVersions.get('PENDING')
  return {
    ...(showsReview(version)
      ? {
          Author: version.author,
          ReviewStatus: version.reviewStatus,
          ReviewInformation: reviews
            .filter(({ reviewer }) => reviewer !== null)
            .map((review) => ({
              ReviewedTime: review.updatedAt,
              Status: review.reviewStatus,
              Reviewer: review.reviewer ?? undefined,
            })),
        }
      : {}),
    ...(approved === undefined ? {} : { ApprovedVersion: String(approved) }),
    ...(pending === undefined ? {} : { PendingReviewVersion: String(pending) }),
  }
}

function parameter(name: string, definition: ParameterDefinition): Parameter {
  return {
    Name: name,
    // The model lists String and StringList only; the service answers with whatever the document says.
    Type: definition.type as Parameter['Type'],
    Description: definition.description,
    ...(definition.default === undefined ? {} : { DefaultValue: defaultText(definition.default) }),
  }
}

/** Texts as they are, everything else as JSON. */
export const defaultText = (value: Json): string => (typeof value === 'string' ? value : JSON.stringify(value))

export const identifier = (
  version: Omit<FoundVersion, 'content' | 'hash' | 'description' | 'defaultVersion' | 'latestVersion'>,
  tags: Tag[],
): Identifier => ({
  Name: version.name,
  CreatedDate: version.createdAt,
  DisplayName: version.displayName ?? undefined,
  Owner: version.owner,
  VersionName: version.versionName ?? undefined,
  PlatformTypes: version.platformTypes as PlatformTypes,
  DocumentVersion: String(version.version),
  DocumentType: version.documentType,
  SchemaVersion: version.schemaVersion || undefined,
  DocumentFormat: version.documentFormat,
  TargetType: version.targetType ?? undefined,
  Tags: tags,
  Requires: version.requires ?? undefined,
  ...(showsReview(version) ? { ReviewStatus: version.reviewStatus, Author: version.author } : {}),
})
