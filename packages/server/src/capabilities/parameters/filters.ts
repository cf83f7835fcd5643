/**
 * ParameterFilters and the older Filters, checked and turned into criteria that the store understands. Pure. The texts are
 * the service's own.
 */
import type { Input } from '../../contract/types.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { keyOf, parseFilterPath } from './names.ts'

export type Field = 'name_key' | 'name' | 'type' | 'key_id' | 'tier' | 'data_type'

/** All must hold; the values of one are alternatives. */
export type Criterion =
  | { on: 'field'; field: Field; option: 'Equals' | 'BeginsWith' | 'Contains'; values: string[] }
  | { on: 'path'; option: 'OneLevel' | 'Recursive'; paths: string[] }
  | { on: 'tag'; key: string; option: 'Equals' | 'BeginsWith'; values: string[] | undefined }
  | { on: 'label'; values: string[] }

type Filter = NonNullable<Input<'DescribeParameters'>['ParameterFilters']>[number]
type LegacyFilter = NonNullable<Input<'DescribeParameters'>['Filters']>[number]

const FIELDS = new Map<string, Field>([
  ['Type', 'type'],
  ['KeyId', 'key_id'],
  ['Tier', 'tier'],
  ['DataType', 'data_type'],
])

const VALID_VALUES = new Map([
  ['Type', ['String', 'StringList', 'SecureString']],
  ['Tier', ['Standard', 'Advanced', 'Intelligent-Tiering']],
])

const invalidKey = (message: string) => new AwsError('InvalidFilterKey', message)
const invalidOption = (message: string) => new AwsError('InvalidFilterOption', message)

/** What DescribeParameters filters by. InvalidFilterKey, InvalidFilterOption, InvalidFilterValue, ValidationException. */
export function describeCriteria(input: Input<'DescribeParameters'>): Criterion[] {
  const { Filters: legacy = [], ParameterFilters: filters = [] } = input
  if (legacy.length > 0 && filters.length > 0) {
    throw validation('You can use either Filters or ParameterFilters in a single request.')
  }
  refuseDuplicates([...legacy, ...filters])
  return [...legacy.map(legacyCriterion), ...filters.map(describeCriterion)]
}

/** What GetParametersByPath filters by; errors as above. */
export function byPathCriteria(filters: readonly Filter[] = []): Criterion[] {
  refuseDuplicates(filters)
  return filters.map((filter) => {
    if (filter.Key === 'Label') {
      const values = valuesOf(filter, filter.Values)
      optionOf(filter, ['Equals'], '[Equals]')
      return { on: 'label', values }
    }
    if (filter.Key !== 'Type' && filter.Key !== 'KeyId') {
      throw invalidKey(
        `The following filter key is not valid: ${filter.Key}. Valid filter keys include: [Type, KeyId].`,
      )
    }
    return fieldCriterion(filter)
  })
}

function describeCriterion(filter: Filter): Criterion {
  const { Key: key } = filter
  if (key === 'Path') return pathCriterion(filter)
  if (key === 'Name') return nameCriterion(filter)
  if (key.startsWith('tag:') && key.length > 'tag:'.length) return tagCriterion(filter)
  if (FIELDS.has(key)) return fieldCriterion(filter)
  throw invalidKey(
    `The following filter key is not valid: ${key}. Valid filter keys include: [Path, Name, Type, KeyId, Tier].`,
  )
}

function pathCriterion(filter: Filter): Criterion {
  const values = valuesOf(filter, filter.Values)
  const option = optionOf(filter, ['OneLevel', 'Recursive'], '[Recursive, OneLevel]')
  return { on: 'path', option, paths: values.map(parseFilterPath) }
}

/** Names are compared without regard to a leading slash, except by Contains, which looks into the name as it was created. */
function nameCriterion(filter: Filter): Criterion {
  const values = valuesOf(filter, filter.Values)
  const option = optionOf(filter, ['Equals', 'BeginsWith', 'Contains'])
  return option === 'Contains'
    ? { on: 'field', field: 'name', option, values }
    : { on: 'field', field: 'name_key', option, values: values.map(keyOf) }
}

function tagCriterion(filter: Filter): Criterion {
  const option = optionOf(filter, ['Equals', 'BeginsWith'])
  const values = filter.Values === undefined ? undefined : valuesOf(filter, filter.Values)
  return { on: 'tag', key: filter.Key.slice('tag:'.length), option, values }
}

function fieldCriterion(filter: Filter): Criterion {
  const field = FIELDS.get(filter.Key)
  if (!field) throw new RangeError(`no field for ${filter.Key}`)
  const values = valuesOf(filter, filter.Values)
  const option = optionOf(filter, ['Equals', 'BeginsWith'])
  const valid = VALID_VALUES.get(filter.Key)
  const wrong = valid && values.find((value) => !valid.includes(value))
  if (wrong !== undefined) {
    throw invalidOption(
      `The following filter value is not valid: ${wrong}. Valid values include: [${valid?.join(', ')}].`,
    )
  }
  return { on: 'field', field, option, values }
}

function legacyCriterion({ Key: key, Values: values }: LegacyFilter): Criterion {
  const filter = { Key: key, Values: values }
  return key === 'Name' ? nameCriterion({ ...filter, Option: 'BeginsWith' }) : fieldCriterion(filter)
}

function optionOf<Option extends string>(
  filter: Filter,
  options: readonly [Option, ...Option[]],
  shown = '[BeginsWith, Equals]',
): Option {
  if (filter.Option === undefined) return options[0]
  const option = options.find((one) => one === filter.Option)
  if (!option) {
    throw invalidOption(`The following filter option is not valid: ${filter.Option}. Valid options include: ${shown}.`)
  }
  return option
}

function valuesOf(filter: Filter, values: string[] | undefined): string[] {
  if (values === undefined || values.length === 0) {
    throw new AwsError(
      'InvalidFilterValue',
      `The following filter values are missing : null for filter key ${filter.Key}.`,
    )
  }
  // PostgreSQL's texts hold no NUL, so nothing that is stored could match.
  if (values.some((value) => value.includes('\u0000'))) {
    throw new AwsError('InvalidFilterValue', `A value of the filter key ${filter.Key} holds a NUL character.`)
  }
  return values
}

function refuseDuplicates(filters: readonly { Key: string }[]): void {
  const seen = new Set<string>()
  for (const { Key: key } of filters) {
    if (seen.has(key)) {
      throw invalidKey(
        `The following filter is duplicated in the request: ${key}. A request can contain only one occurrence of a specific filter.`,
      )
    }
    seen.add(key)
  }
}
