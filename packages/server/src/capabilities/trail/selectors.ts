/**
 * Event selectors of trails: which records a trail takes. Pure. Basic ones name reads, writes and sources to leave out;
 * advanced ones compare fields. What a selector says of data events is kept and shown: there are no such events here.
 */
import type { Input } from '../../contract/types.ts'
import { AwsError } from '../../platform/errors.ts'

type Put = Input<'PutEventSelectors', 'cloudtrail'>
export type EventSelector = NonNullable<Put['EventSelectors']>[number]
export type AdvancedEventSelector = NonNullable<Put['AdvancedEventSelectors']>[number]
type FieldSelector = NonNullable<AdvancedEventSelector['FieldSelectors']>[number]

export interface Selectors {
  selectors: EventSelector[] | null
  advancedSelectors: AdvancedEventSelector[] | null
}

/** AWS's limits: selectors of a trail, and values in all of its advanced ones. */
const MAX_SELECTORS = 5
const MAX_VALUES = 500
/** What a basic selector may leave out. */
const EXCLUDABLE = new Set(['kms.amazonaws.com', 'rdsdata.amazonaws.com'])
const DATA_RESOURCES = new Set(['AWS::S3::Object', 'AWS::Lambda::Function', 'AWS::DynamoDB::Table'])
const CATEGORIES = new Set(['Management', 'Data', 'NetworkActivity'])
const FIELDS = new Set([
  'eventCategory',
  'eventName',
  'eventSource',
  'eventType',
  'readOnly',
  'resources.ARN',
  'resources.type',
  'userIdentity.arn',
  'sessionCredentialFromConsole',
  'errorCode',
  'vpcEndpointId',
])
const OPERATORS = ['Equals', 'StartsWith', 'EndsWith', 'NotEquals', 'NotStartsWith', 'NotEndsWith'] as const

const invalid = (message: string): AwsError => new AwsError('InvalidEventSelectorsException', message)

/** What a trail without selectors of its own has. */
export const DEFAULT_SELECTORS: EventSelector[] = [
  { ReadWriteType: 'All', IncludeManagementEvents: true, DataResources: [], ExcludeManagementEventSources: [] },
]

/** InvalidEventSelectorsException. */
export function checkSelectors({ EventSelectors: basic, AdvancedEventSelectors: advanced }: Put): Selectors {
  if (basic?.length && advanced?.length)
    throw invalid('A trail has either event selectors or advanced event selectors, not both.')
  if (basic?.length) return { selectors: checkBasic(basic), advancedSelectors: null }
  if (advanced?.length) return { selectors: null, advancedSelectors: checkAdvanced(advanced) }
  throw invalid('Specify event selectors or advanced event selectors.')
}

function checkBasic(selectors: EventSelector[]): EventSelector[] {
  if (selectors.length > MAX_SELECTORS) throw invalid(`A trail can have up to ${MAX_SELECTORS} event selectors.`)
  return selectors.map((selector) => {
    const {
      ExcludeManagementEventSources: excluded = [],
      DataResources = [],
      IncludeManagementEvents = true,
    } = selector
    const odd = excluded.find((source) => !EXCLUDABLE.has(source))
    if (odd !== undefined) throw invalid(`ExcludeManagementEventSources cannot contain ${odd}.`)
    if (excluded.length > 0 && !IncludeManagementEvents)
      throw invalid('ExcludeManagementEventSources needs IncludeManagementEvents.')
    for (const { Type = '' } of DataResources)
      if (!DATA_RESOURCES.has(Type)) throw invalid(`DataResources cannot be of type ${Type}.`)
    return {
      ReadWriteType: selector.ReadWriteType ?? 'All',
      IncludeManagementEvents,
      DataResources,
      ExcludeManagementEventSources: excluded,
    }
  })
}

const valuesOf = (field: FieldSelector): string[] => OPERATORS.flatMap((operator) => field[operator] ?? [])

function checkAdvanced(selectors: AdvancedEventSelector[]): AdvancedEventSelector[] {
  let values = 0
  for (const { FieldSelectors: fields = [] } of selectors) {
    const names = new Set(fields.map(({ Field }) => Field))
    if (names.size < fields.length) throw invalid('A field can be named once in an advanced event selector.')
    for (const field of fields) {
      if (!FIELDS.has(field.Field ?? '')) throw invalid(`${field.Field} is not a field that can be selected.`)
      const own = valuesOf(field)
      if (own.length === 0) throw invalid(`The field ${field.Field} has no operator.`)
      values += own.length
      const takesOnlyEquals = ['eventCategory', 'readOnly', 'resources.type'].includes(field.Field ?? '')
      if (takesOnlyEquals && (field.Equals?.length !== 1 || own.length > 1))
        throw invalid(`The field ${field.Field} takes Equals with one value.`)
    }
    checkCategory(fields)
  }
  if (values > MAX_VALUES) throw invalid(`Advanced event selectors can have up to ${MAX_VALUES} values.`)
  return selectors
}

function checkCategory(fields: FieldSelector[]): void {
  const only = (name: string) => fields.find(({ Field }) => Field === name)?.Equals?.[0]
  const category = only('eventCategory')
  if (category === undefined) throw invalid('An advanced event selector needs the field eventCategory.')
  if (!CATEGORIES.has(category)) throw invalid(`There is no eventCategory ${category}.`)
  const readOnly = only('readOnly')
  if (readOnly !== undefined && readOnly !== 'true' && readOnly !== 'false')
    throw invalid('The field readOnly is true or false.')
  if (category === 'Data' && only('resources.type') === undefined)
    throw invalid('A selector of data events needs the field resources.type.')
  if (category === 'Management' && fields.some(({ Field = '' }) => Field.startsWith('resources.')))
    throw invalid('A selector of management events has no fields of resources.')
}

/** What selectors and trails look at in a record. */
export interface SelectedEvent {
  eventName?: string
  eventSource?: string
  eventType?: string
  eventCategory?: string
  readOnly?: boolean
  errorCode?: string
  userIdentity?: { arn?: string }
  resources?: { type?: string; ARN?: string }[]
}

/** Services that AWS calls global, which are left out without IncludeGlobalServiceEvents. */
const GLOBAL = new Set(['iam.amazonaws.com', 'sts.amazonaws.com'])

/** Whether a trail takes this record. */
export const takes = (
  { selectors, advancedSelectors, includeGlobal }: Selectors & { includeGlobal: boolean },
  event: SelectedEvent,
): boolean =>
  (includeGlobal || !GLOBAL.has(event.eventSource ?? '')) &&
  (advancedSelectors
    ? advancedSelectors.some(({ FieldSelectors = [] }) => FieldSelectors.every((field) => fits(field, event)))
    : (selectors ?? DEFAULT_SELECTORS).some((selector) => fitsBasic(selector, event)))

function fitsBasic(selector: EventSelector, { readOnly = false, eventSource = '' }: SelectedEvent): boolean {
  const { ReadWriteType = 'All', IncludeManagementEvents = true, ExcludeManagementEventSources = [] } = selector
  if (!IncludeManagementEvents || ExcludeManagementEventSources.includes(eventSource)) return false
  return ReadWriteType === 'All' || (ReadWriteType === 'ReadOnly') === readOnly
}

function fits(field: FieldSelector, event: SelectedEvent): boolean {
  const actual = actualValues(field.Field ?? '', event)
  const some = (values: string[] | undefined, is: (one: string, other: string) => boolean) =>
    (values ?? []).some((value) => actual.some((each) => is(each, value)))
  const equals = (one: string, other: string) => one === other
  const starts = (one: string, other: string) => one.startsWith(other)
  const ends = (one: string, other: string) => one.endsWith(other)
  const wanted = field.Equals || field.StartsWith || field.EndsWith
  if (wanted && !some(field.Equals, equals) && !some(field.StartsWith, starts) && !some(field.EndsWith, ends))
    return false
  return !some(field.NotEquals, equals) && !some(field.NotStartsWith, starts) && !some(field.NotEndsWith, ends)
}

function actualValues(name: string, event: SelectedEvent): string[] {
  const { resources = [], userIdentity = {} } = event
  switch (name) {
    case 'resources.ARN':
      return resources.flatMap(({ ARN }) => ARN ?? [])
    case 'resources.type':
      return resources.flatMap(({ type }) => type ?? [])
    case 'userIdentity.arn':
      return userIdentity.arn === undefined ? [] : [userIdentity.arn]
    case 'readOnly':
      return [String(event.readOnly ?? false)]
    case 'eventCategory':
    case 'eventName':
    case 'eventSource':
    case 'eventType':
    case 'errorCode':
      return event[name] === undefined ? [] : [event[name]]
    default:
      return [] // nothing here has a console session or a VPC endpoint
  }
}
