import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AwsError } from '../../platform/errors.ts'
import { checkSelectors, type SelectedEvent, takes } from './selectors.ts'

const event = fc.record<SelectedEvent>({
  eventName: fc.constantFrom('PutParameter', 'GetParameter', 'Decrypt'),
  eventSource: fc.constantFrom('ssm.amazonaws.com', 'kms.amazonaws.com', 'iam.amazonaws.com'),
  eventType: fc.constant('AwsApiCall'),
  eventCategory: fc.constant('Management'),
  readOnly: fc.boolean(),
})
const all = { includeGlobal: true }
const advanced = (...FieldSelectors: { Field: string; [operator: string]: string | string[] }[]) =>
  checkSelectors({
    TrailName: 'main',
    AdvancedEventSelectors: [
      { FieldSelectors: [{ Field: 'eventCategory', Equals: ['Management'] }, ...FieldSelectors] },
    ],
  })
const refusalOf = (input: object) => {
  try {
    checkSelectors({ TrailName: 'main', ...input })
    return undefined
  } catch (error) {
    return (error as Error).name
  }
}

describe('selectors of a trail', () => {
  it('take reads and writes apart, which together are all', () => {
    fc.assert(
      fc.property(event, (each) => {
        const of = (ReadWriteType: 'ReadOnly' | 'WriteOnly' | 'All') =>
          takes({ ...checkSelectors({ TrailName: 'main', EventSelectors: [{ ReadWriteType }] }), ...all }, each)
        expect(of('ReadOnly')).not.toBe(of('WriteOnly'))
        expect(of('ReadOnly')).toBe(each.readOnly)
        expect(of('All')).toBe(true)
      }),
    )
  })

  it('have in an advanced form what the basic one says', () => {
    fc.assert(
      fc.property(event, fc.boolean(), (each, readOnly) => {
        const basic = checkSelectors({
          TrailName: 'main',
          EventSelectors: [
            {
              ReadWriteType: readOnly ? 'ReadOnly' : 'WriteOnly',
              ExcludeManagementEventSources: ['kms.amazonaws.com'],
            },
          ],
        })
        const same = advanced(
          { Field: 'readOnly', Equals: [String(readOnly)] },
          { Field: 'eventSource', NotEquals: ['kms.amazonaws.com'] },
        )
        expect(takes({ ...same, ...all }, each)).toBe(takes({ ...basic, ...all }, each))
      }),
    )
  })

  it('take what an operator names, and its opposite takes the rest', () => {
    const pair = fc.constantFrom(['Equals', 'NotEquals'], ['StartsWith', 'NotStartsWith'], ['EndsWith', 'NotEndsWith'])
    const values = fc.array(fc.constantFrom('PutParameter', 'Put', 'Parameter', 'Decrypt', 'x'), { minLength: 1 })
    fc.assert(
      fc.property(event, pair, values, (each, [is = '', isNot = ''], wanted) => {
        const one = takes({ ...advanced({ Field: 'eventName', [is]: wanted }), ...all }, each)
        const other = takes({ ...advanced({ Field: 'eventName', [isNot]: wanted }), ...all }, each)
        expect(one).toBe(!other)
      }),
    )
  })

  it('never take what is global where that is left out, nor management events that nobody asked for', () => {
    fc.assert(
      fc.property(event, (each) => {
        const none = checkSelectors({ TrailName: 'main', EventSelectors: [{ IncludeManagementEvents: false }] })
        expect(takes({ ...none, ...all }, each)).toBe(false)
        const local = { selectors: null, advancedSelectors: null, includeGlobal: false }
        expect(takes(local, each)).toBe(each.eventSource !== 'iam.amazonaws.com')
      }),
    )
  })

  it('are accepted or refused by name, whatever they are', () => {
    const field = fc.record(
      {
        Field: fc.oneof(fc.string(), fc.constantFrom('eventCategory', 'readOnly', 'resources.type')),
        Equals: fc.array(fc.oneof(fc.string(), fc.constantFrom('Management', 'true', 'Data'))),
        NotEquals: fc.array(fc.string()),
      },
      { requiredKeys: ['Field'] },
    )
    fc.assert(
      fc.property(fc.array(fc.record({ FieldSelectors: fc.array(field) })), (AdvancedEventSelectors) => {
        try {
          checkSelectors({ TrailName: 'main', AdvancedEventSelectors })
        } catch (error) {
          expect(error).toBeInstanceOf(AwsError)
          expect((error as Error).name).toBe('InvalidEventSelectorsException')
        }
      }),
    )
  })

  it.each([
    ['none at all', {}],
    ['both forms', { EventSelectors: [{}], AdvancedEventSelectors: [{ FieldSelectors: [] }] }],
    ['six of them', { EventSelectors: [{}, {}, {}, {}, {}, {}] }],
    [
      'a source that cannot be left out',
      { EventSelectors: [{ ExcludeManagementEventSources: ['ssm.amazonaws.com'] }] },
    ],
    ['no category', { AdvancedEventSelectors: [{ FieldSelectors: [{ Field: 'readOnly', Equals: ['true'] }] }] }],
  ])('are refused: %s', (_, input) => {
    expect(refusalOf(input)).toBe('InvalidEventSelectorsException')
  })
})
