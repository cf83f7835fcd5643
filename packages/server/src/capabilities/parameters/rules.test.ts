import { describe, expect, it } from 'vitest'
import { AwsError } from '../../platform/errors.ts'
import { isLabel, isVersion, labelChange, resolveTier, resolveType, type TierQuestion } from './rules.ts'

const refusal = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    if (error instanceof AwsError) return error.name
    throw error
  }
  return 'accepted'
}

describe('the tier of a new version', () => {
  const plain: TierQuestion = {
    requested: undefined,
    existing: undefined,
    accountDefault: 'Standard',
    bytes: 10,
    hasPolicies: false,
  }
  it.each<[string, Partial<TierQuestion>, string]>([
    ['nothing asked', {}, 'Standard'],
    ['an account that defaults to advanced', { accountDefault: 'Advanced' }, 'Advanced'],
    ['a request against the default', { accountDefault: 'Advanced', requested: 'Standard' }, 'Standard'],
    ['a standard parameter in an advanced account', { accountDefault: 'Advanced', existing: 'Standard' }, 'Standard'],
    ['an advanced parameter', { existing: 'Advanced' }, 'Advanced'],
    [
      'an advanced parameter asked to be intelligent',
      { existing: 'Advanced', requested: 'Intelligent-Tiering' },
      'Advanced',
    ],
    ['intelligence and 4,096 bytes', { requested: 'Intelligent-Tiering', bytes: 4096 }, 'Standard'],
    ['intelligence and 4,097 bytes', { requested: 'Intelligent-Tiering', bytes: 4097 }, 'Advanced'],
    ['intelligence and a policy', { requested: 'Intelligent-Tiering', hasPolicies: true }, 'Advanced'],
    [
      'an intelligent account and a standard parameter that grows',
      { accountDefault: 'Intelligent-Tiering', existing: 'Standard', bytes: 5000 },
      'Advanced',
    ],
  ])('for %s', (_, change, tier) => {
    expect(resolveTier({ ...plain, ...change })).toBe(tier)
  })
  it('never goes back', () => {
    expect(refusal(() => resolveTier({ ...plain, existing: 'Advanced', requested: 'Standard' }))).toBe(
      'ValidationException',
    )
  })
})

describe('the type of a new version', () => {
  it('is asked for once and stays', () => {
    expect(resolveType('String', undefined)).toBe('String')
    expect(resolveType(undefined, 'StringList')).toBe('StringList')
    expect(resolveType('StringList', 'StringList')).toBe('StringList')
    expect(refusal(() => resolveType(undefined, undefined))).toBe('ValidationException')
    expect(refusal(() => resolveType('String', 'SecureString'))).toBe('HierarchyTypeMismatchException')
  })
})

describe('labels', () => {
  it.each(['a', 'Prod', 'a1', '_x', '-', '.a', 'my-aws'])('may be %s', (label) => expect(isLabel(label)).toBe(true))
  it.each(['1a', 'aws', 'AWSx', 'ssm.', 'a b', 'a:b', 'ä', ''])('may not be %j', (label) => {
    expect(isLabel(label)).toBe(false)
  })
  it('are ten on a version, of which those that are there already count once', () => {
    const present = Array.from({ length: 9 }, (_, index) => `l${index}`)
    expect(labelChange(['l0', 'new', 'new', '1x'], present)).toEqual({ attach: ['l0', 'new'], invalid: ['1x'] })
    expect(refusal(() => labelChange(['new', 'newer'], present))).toBe('ParameterVersionLabelLimitExceeded')
  })
})

describe('a version number', () => {
  it('is a whole number above zero that can be counted', () => {
    expect([1, 100, 2 ** 53 - 1].every(isVersion)).toBe(true)
    expect([0, -1, 1.5, 2 ** 53, 1e20, Number.NaN].some(isVersion)).toBe(false)
  })
})
