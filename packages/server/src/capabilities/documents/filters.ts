/** Filters of ListDocuments and its older DocumentFilterList, checked and applied. Pure. */
import type { Input } from '../../contract/types.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import type { TagFilter } from '../tags/index.ts'
import type { identifier } from './answers.ts'

/** A document as the filters see it. */
export interface Candidate {
  version: Parameters<typeof identifier>[0]
  /** Without the account that stands in the ARN of a shared document. */
  plainName: string
  /** The account that lists, `all`, or both; empty for its own and Amazon's. */
  sharedWith: string[]
}

const OWNERS = ['Amazon', 'Private', 'Public', 'Self', 'ThirdParty', 'All'] as const
type Owner = (typeof OWNERS)[number]

/** All must hold; the values of one are alternatives. */
export interface Criteria {
  tests: ((candidate: Candidate) => boolean)[]
  owner: Owner | undefined
}

const KEYS = 'Name, Owner, PlatformTypes, DocumentType, TargetType, SearchKeyword, tag:<key>'

/** InvalidFilterKey for unknown keys; ValidationException for both kinds of filters, several tag keys or an unknown owner. */
export function documentCriteria(
  input: Pick<Input<'ListDocuments'>, 'Filters' | 'DocumentFilterList'>,
): Criteria & { tag: TagFilter | undefined } {
  const { Filters = [], DocumentFilterList = [] } = input
  if (Filters.length > 0 && DocumentFilterList.length > 0)
    throw validation('You can use either Filters or DocumentFilterList in a single request.')
  const filters = [
    ...Filters.map(({ Key = '', Values = [] }) => ({ key: Key, values: Values })),
    ...DocumentFilterList.map(({ key, value }) => ({ key: key as string, values: [value] })),
  ]
  const criteria: Criteria & { tag: TagFilter | undefined } = { tests: [], owner: undefined, tag: undefined }
  for (const { key, values } of filters) {
    if (key.startsWith('tag:')) {
      if (criteria.tag) throw validation('Only one tag key can be specified in a single request.')
      criteria.tag = { key: key.slice('tag:'.length), ...(values.length > 0 ? { values } : {}) }
      continue
    }
    const test = testOf(key, values)
    if (key !== 'Owner' && !test)
      throw new AwsError('InvalidFilterKey', `The filter key ${key} is not valid: use ${KEYS}.`)
    if (values.length === 0) throw validation(`The filter ${key} needs a value.`)
    if (key === 'Owner') criteria.owner = ownerFilter(values, criteria.owner)
    else if (test) criteria.tests.push(test)
  }
  return criteria
}

function ownerFilter(values: readonly string[], known: Owner | undefined): Owner {
  const owner = OWNERS.find((one) => one === values[0])
  if (!owner || values.length > 1 || known !== undefined)
    throw validation(`The filter Owner takes exactly one value: ${OWNERS.join(', ')}.`)
  return owner
}

function testOf(key: string, values: readonly string[]): ((candidate: Candidate) => boolean) | undefined {
  switch (key) {
    case 'Name':
      return ({ version, plainName }) =>
        values.some((value) => plainName.startsWith(value) || version.name.startsWith(value))
    case 'PlatformTypes':
      return ({ version }) => version.platformTypes.some((platform) => values.includes(platform))
    case 'DocumentType':
      return ({ version }) => values.includes(version.documentType)
    case 'TargetType':
      return ({ version }) => version.targetType !== null && values.includes(version.targetType)
    case 'SearchKeyword':
      return ({ plainName }) => values.some((value) => plainName.toLowerCase().includes(value.toLowerCase()))
    default:
      return undefined
  }
}

/** Whether a document that `account` can see is among those wanted. */
export const matches = (candidate: Candidate, { tests, owner }: Criteria, account: string): boolean =>
  (owner === undefined || isOf(candidate, owner, account)) && tests.every((test) => test(candidate))

/** Public is what everybody sees: Amazon's documents and those shared with all. Nothing here is a third party's. */
function isOf({ version, sharedWith }: Candidate, owner: Owner, account: string): boolean {
  switch (owner) {
    case 'All':
      return true
    case 'Amazon':
      return version.owner === 'Amazon'
    case 'Self':
      return version.owner === account
    case 'Private':
      return sharedWith.includes(account)
    case 'Public':
      return version.owner === 'Amazon' || sharedWith.includes('all')
    case 'ThirdParty':
      return false
  }
}
