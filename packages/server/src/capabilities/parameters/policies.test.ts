import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AwsError } from '../../platform/errors.ts'
import { carryOut, keepPolicies, nextDue, parsePolicies } from './policies.ts'

const expiration = { Type: 'Expiration', Version: '1.0', Attributes: { Timestamp: '2030-01-10T00:00:00.000Z' } }
const notification = { Type: 'ExpirationNotification', Version: '1.0', Attributes: { Before: '5', Unit: 'Days' } }
const noChange = { Type: 'NoChangeNotification', Version: '1.0', Attributes: { After: '12', Unit: 'Hours' } }
const parse = (...list: unknown[]) => parsePolicies(JSON.stringify(list))

function refusal(text: string): string {
  try {
    parsePolicies(text)
    return 'accepted'
  } catch (error) {
    if (error instanceof AwsError) return error.name
    throw error
  }
}

describe('a list of policies', () => {
  it('of a single empty object removes all', () => {
    expect(parsePolicies('[{}]')).toEqual([])
  })
  it('is pending at first', () => {
    expect(parse(expiration, notification, noChange).map(({ type, status }) => [type, status])).toEqual([
      ['Expiration', 'Pending'],
      ['ExpirationNotification', 'Pending'],
      ['NoChangeNotification', 'Pending'],
    ])
  })
  it.each([
    ['nonsense', 'InvalidPolicyAttributeException'],
    ['{}', 'InvalidPolicyAttributeException'],
    ['[1]', 'InvalidPolicyAttributeException'],
    ['[{"Type":"Other","Version":"1.0","Attributes":{}}]', 'InvalidPolicyTypeException'],
    ['[{"Version":"1.0"}]', 'InvalidPolicyTypeException'],
    [JSON.stringify([{ ...expiration, Version: '2.0' }]), 'InvalidPolicyAttributeException'],
    [JSON.stringify([{ ...expiration, Attributes: { Timestamp: 'tomorrow' } }]), 'InvalidPolicyAttributeException'],
    [
      JSON.stringify([{ ...expiration, Attributes: { Timestamp: '2030-13-01T00:00:00Z' } }]),
      'InvalidPolicyAttributeException',
    ],
    [
      JSON.stringify([{ ...expiration, Attributes: { Timestamp: '2030-02-30T00:00:00Z' } }]),
      'InvalidPolicyAttributeException',
    ],
    [
      JSON.stringify([{ ...expiration, Attributes: { Timestamp: '9999-12-31T23:59:59-18:00' } }]),
      'InvalidPolicyAttributeException',
    ],
    [JSON.stringify([{ ...noChange, Attributes: { After: '0', Unit: 'Days' } }]), 'InvalidPolicyAttributeException'],
    [JSON.stringify([{ ...noChange, Attributes: { After: '1', Unit: 'Weeks' } }]), 'InvalidPolicyAttributeException'],
    [JSON.stringify([expiration, expiration]), 'IncompatiblePolicyException'],
    [JSON.stringify([notification]), 'IncompatiblePolicyException'],
    [JSON.stringify(Array(11).fill(noChange)), 'PoliciesLimitExceededException'],
    [JSON.stringify(Array(10).fill(noChange)), 'accepted'],
    [JSON.stringify([{ ...expiration, Attributes: { Timestamp: '2030-01-10T02:00:00+02:00' } }]), 'accepted'],
    [JSON.stringify([{ ...expiration, Attributes: { Timestamp: '2032-02-29T23:00:00.123456789-0100' } }]), 'accepted'],
  ])('%s: %s', (text, expected) => {
    expect(refusal(text)).toBe(expected)
  })
  it('never fails otherwise, whatever it holds', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(refusal(JSON.stringify([value]))).not.toBe('')
      }),
      { numRuns: 300 },
    )
  })
})

describe('policies in time', () => {
  const changed = new Date('2030-01-01T00:00:00Z')
  const policies = parse(expiration, notification, noChange)

  it('are due at the earliest of their moments', () => {
    expect(nextDue(policies, changed)).toEqual(new Date('2030-01-01T12:00:00Z'))
    expect(nextDue(parse(expiration, notification), changed)).toEqual(new Date('2030-01-05T00:00:00Z'))
    expect(nextDue([], changed)).toBeUndefined()
  })
  it('whose moments lie before all dates are due at once', () => {
    const ancient = { ...expiration, Attributes: { Timestamp: '0000-01-01T00:00:00Z' } }
    const before = { ...notification, Attributes: { Before: '99999', Unit: 'Days' } }
    expect(nextDue(parse(ancient, before), changed)).toEqual(new Date(0))
  })
  it('do nothing a millisecond too early, and each once', () => {
    expect(carryOut(policies, changed, new Date('2030-01-01T11:59:59.999Z')).due).toEqual([])
    const first = carryOut(policies, changed, new Date('2030-01-01T12:00:00Z'))
    expect(first.due.map(({ type }) => type)).toEqual(['NoChangeNotification'])
    const second = carryOut(first.after, changed, new Date('2030-01-06T00:00:00Z'))
    expect(second.due.map(({ type }) => type)).toEqual(['ExpirationNotification'])
    expect(second.expires).toBe(false)
    expect(nextDue(second.after, changed)).toEqual(new Date('2030-01-10T00:00:00Z'))
    expect(carryOut(second.after, changed, new Date('2030-01-10T00:00:00Z')).expires).toBe(true)
  })
  it('start the no-change clock again with a change', () => {
    const { after } = carryOut(policies, changed, new Date('2030-01-06T00:00:00Z'))
    const kept = keepPolicies(after)
    expect(kept.map(({ status }) => status)).toEqual(['Pending', 'Finished', 'Pending'])
    expect(nextDue(kept, new Date('2030-01-06T00:00:00Z'))).toEqual(new Date('2030-01-06T12:00:00Z'))
  })
})
