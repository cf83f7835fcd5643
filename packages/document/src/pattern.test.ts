import { describe, expect, it } from 'vitest'
import { DocumentError } from './error.ts'
import { compilePattern } from './pattern.ts'

const SAMPLES = [
  '',
  'a',
  'b',
  'aa',
  'ab',
  'aab',
  'abab',
  'A',
  'Ab',
  '1',
  '12',
  'a1',
  ' ',
  'a b',
  'a\nb',
  'ä',
  '😀',
  '-',
  'a-b',
  'i-0123',
]

describe('a pattern', () => {
  it.each([
    'a',
    '^a$',
    'a|b',
    '(a|b)+',
    '(?:ab)*',
    'a?b',
    'a{2}',
    'a{1,2}b',
    'a{2,}',
    '[a-c]+',
    '[^a]',
    '[\\d-]+',
    '\\d+',
    '\\w\\s\\w',
    '.',
    '^.$',
    '.*b',
    '\\bb',
    '\\Bb',
    '(a*)*',
    '(a|a)*b',
    '[]a]',
    'a+?',
    '\\x61',
    '^(|a)$',
    '[a\\-z]',
    '(?<name>a)b',
    '-',
    'a{,2}',
    '^i-[0-9]{4}$',
    '\\.',
    '',
  ])('%s agrees with what everyone expects of it', (source) => {
    const pattern = compilePattern(source)
    // The one difference in reading: JavaScript has no `[]a]`.
    const expression = new RegExp(
      source === '[]a]' ? '[\\]a]' : source.replace('😀', '.'),
      'u'.repeat(source.includes('{,') || source.includes('\\-') ? 0 : 1),
    )
    const whole = new RegExp(`^(?:${expression.source})$`, expression.flags)
    for (const text of SAMPLES) {
      expect([text, pattern.finds(text)]).toEqual([text, expression.test(text)])
      expect([text, pattern.matches(text)]).toEqual([text, whole.test(text)])
    }
  })

  it('knows what only RE2 writes', () => {
    expect(compilePattern('(?i)abc').matches('aBC')).toBe(true)
    expect(compilePattern('a(?i:b)c').matches('aBC')).toBe(false)
    expect(compilePattern('\\Aab\\z').matches('ab')).toBe(true)
    expect(compilePattern('[[:alpha:]_]+').matches('ab_')).toBe(true)
    expect(compilePattern('(?P<year>[0-9]{4})').matches('2026')).toBe(true)
    expect(compilePattern('\\p{Lu}\\pL+').matches('Äbc')).toBe(true)
    expect(compilePattern('\\Qa.b\\E+').matches('a.bbb')).toBe(false)
    expect(compilePattern('(?s).').matches('\n')).toBe(true)
    expect(compilePattern('(?m)^b$').finds('a\nb')).toBe(true)
  })

  it.each([
    '(',
    ')',
    '[',
    'a**',
    '*',
    '(?=a)',
    '(?!a)',
    '(?<=a)',
    '(a)\\1',
    '\\',
    'a{2,1}',
    'a{1001}',
    '[z-a]',
    '[[:nope:]]',
    '\\p{Nope}',
    '\\y',
    '('.repeat(200),
  ])('%s is refused', (source) => {
    expect(() => compilePattern(source)).toThrow(DocumentError)
  })

  it('is refused when counted repetitions would make it huge', () => {
    expect(() => compilePattern('((a{100}){100}){100}')).toThrow('too large')
    expect(() => compilePattern('((){1000}){1000}')).toThrow('too large')
  })

  it('takes time in proportion to the value, where backtracking would never end', () => {
    const evil = compilePattern('^(a+)+$')
    expect(evil.matches(`${'a'.repeat(50_000)}!`)).toBe(false)
    expect(compilePattern('^(a|a?)+$').matches('a'.repeat(50_000))).toBe(true)
  })
})
