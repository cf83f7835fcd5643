import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AwsError } from '../../platform/errors.ts'
import { checkAllowedPattern } from './allowed-pattern.ts'

function outcome(pattern: string, value: string): string {
  try {
    checkAllowedPattern(pattern, value)
    return 'accepted'
  } catch (error) {
    if (error instanceof AwsError) return error.name
    throw error
  }
}
const MISMATCH = 'ParameterPatternMismatchException'
const INVALID = 'InvalidAllowedPatternException'

describe('an allowed pattern', () => {
  it.each([
    ['^\\d+$', '123', 'accepted'],
    ['^\\d+$', '12a', MISMATCH],
    ['[a-z]+', 'abc', 'accepted'],
    ['[a-z]+', 'abc1', MISMATCH],
    ['a|b', 'b', 'accepted'],
    ['a|b', 'ab', MISMATCH],
    ['^[\\w\\-\\.\\@]+$', 'a-b.c@d', 'accepted'],
    ['\\Qa.b\\E', 'a.b', 'accepted'],
    ['\\Qa.b\\E', 'axb', MISMATCH],
    ['(?i)abc', 'ABC', 'accepted'],
    ['\\Aabc\\z', 'abc', 'accepted'],
    ['\\p{Alpha}{3}', 'aBc', 'accepted'],
    ['[\\p{Digit}x]+', '1x2', 'accepted'],
    ['\\p{L}+', 'äß', 'accepted'],
    ['\\p{IsAlphabetic}+', 'ä', 'accepted'],
    ['a\\hb', 'a b', 'accepted'],
    ['[]a]+', ']a', 'accepted'],
    ['x]', 'x]', 'accepted'],
    ['(?=.*[A-Z]).{8,}', 'abcdefgH', 'accepted'],
    ['(?<year>\\d{4})-\\k<year>', '2024-2024', 'accepted'],
    ['https?://[^/]+/.*', 'https://a.example/b', 'accepted'],
  ])('%s and the value %s: %s', (pattern, value, expected) => {
    expect(outcome(pattern, value)).toBe(expected)
  })

  it.each(['(', '[', 'a{2,1}', '*', '\\', 'a++', '(?>a)', '[a-z&&[b]]', '[z-a]', '\\y'])(
    'is refused: %s',
    (pattern) => {
      expect(outcome(pattern, 'a')).toBe(INVALID)
    },
  )

  it('that would backtrack for years is refused instead', () => {
    expect(outcome('^(a+)+$', `${'a'.repeat(4000)}!`)).toBe(INVALID)
    expect(outcome('([a-zA-Z]+)*x', 'a'.repeat(4000))).toBe(INVALID)
  })

  it('never fails otherwise, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), fc.string({ maxLength: 40 }), (pattern, value) => {
        expect(['accepted', MISMATCH, INVALID]).toContain(outcome(pattern, value))
      }),
      { numRuns: 500 },
    )
  })
})
