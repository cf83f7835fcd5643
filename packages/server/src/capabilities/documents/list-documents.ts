/** ListDocuments: own, shared and Amazon's documents in one list, in order of their names, with every filter. */
import { BUILTIN_DOCUMENTS } from '@musterbook/document'
import type { Input, Output } from '../../contract/types.ts'
import { arn } from '../../platform/arn.ts'
import type { Context } from '../../platform/context.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { resourcesWithTags, tagsOf } from '../tags/index.ts'
import { identifier } from './answers.ts'
import { type Candidate, documentCriteria, matches } from './filters.ts'
import { describeBuiltin } from './find.ts'
import { isAmazonName } from './rules.ts'
import * as store from './store.ts'

/** Results of one page when the request does not say. */
const DEFAULT_RESULTS = 50

/** Amazon's documents, the presets of account documents left out: these exist once an account makes them. */
const amazons: Candidate[] = [...BUILTIN_DOCUMENTS.values()]
  .filter(({ name }) => isAmazonName(name))
  .map((builtin) => ({ version: describeBuiltin(builtin), plainName: builtin.name, sharedWith: [] }))

/** Errors: InvalidFilterKey, InvalidNextToken, ValidationException. */
export async function listDocuments(context: Context, input: Input<'ListDocuments'>): Promise<Output<'ListDocuments'>> {
  const { tag, ...criteria } = documentCriteria(input)
  const after = decodeToken<string>(context, 'ListDocuments', input.NextToken)
  const limit = input.MaxResults ?? DEFAULT_RESULTS
  // An account has 500 documents at most: reading them all keeps one filter for stored and built-in ones.
  const rows = await store.listDocuments(context)
  const tagged = tag && new Set((await resourcesWithTags(context, 'Document', [tag])).map((row) => row.resourceId))
  const found = [...rows.map((row) => candidate(context, row)), ...amazons]
    .filter((one) => after === undefined || one.version.name > after)
    .filter((one) => matches(one, criteria, context.account))
    .filter((one) => !tagged || (one.version.owner === context.account && tagged.has(one.plainName)))
    .sort((a, b) => (a.version.name < b.version.name ? -1 : 1))
  const page = found.slice(0, limit)
  const last = page.at(-1)
  const own = page.filter(({ version }) => version.owner === context.account).map(({ plainName }) => plainName)
  const tags = await tagsOf(context, 'Document', own)
  return {
    DocumentIdentifiers: page.map(({ version }) =>
      identifier(version, version.owner === context.account ? (tags.get(version.name) ?? []) : []),
    ),
    NextToken: last && found.length > limit ? encodeToken(context, 'ListDocuments', last.version.name) : undefined,
  }
}

/** Another account's document is listed under its ARN, the only name that reaches it from here. */
function candidate(context: Context, { account, name, sharedWith, ...row }: store.ListedRow): Candidate {
  const shown = account === context.account ? name : arn('ssm', { account, region: context.region }, `document/${name}`)
  return { version: { ...row, name: shown, owner: account }, plainName: name, sharedWith }
}
