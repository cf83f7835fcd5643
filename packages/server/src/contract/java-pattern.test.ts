import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { javaPattern } from './java-pattern.ts'

const folder = new URL('./limits/', import.meta.url)
const patterns = readdirSync(folder).flatMap((file) => {
  const { shapes } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as {
    shapes: Record<string, { pattern?: string }>
  }
  return Object.entries(shapes).flatMap(([name, { pattern }]) =>
    pattern === undefined ? [] : [[file, name, pattern] as const],
  )
})

describe('the patterns of the limits', () => {
  it('all compile, with Unicode code points as characters', () => {
    expect(patterns.length).toBeGreaterThan(200)
    for (const [file, name, pattern] of patterns) {
      expect(() => javaPattern(pattern), `${file} ${name} ${pattern}`).not.toThrow()
      expect(javaPattern(pattern).unicode).toBe(true)
    }
  })
})

describe('a Java pattern', () => {
  it('has to match the whole text', () => {
    expect(javaPattern('[a-z]+').test('abc1')).toBe(false)
    expect(javaPattern('^a$|b').test('xb')).toBe(false)
    expect(javaPattern('^a$').test('a\n')).toBe(false)
    expect(javaPattern('^a$|b').test('b')).toBe(true)
  })

  it('takes escapes that JavaScript would refuse', () => {
    expect(javaPattern('\\-\\:\\_').test('-:_')).toBe(true)
    expect(javaPattern('^[\\w\\.\\-\\:\\/ ]*$').test('a-b:c/d e.')).toBe(true)
    expect(javaPattern('[\\w-_]*').test('a-_')).toBe(true)
    expect(javaPattern('[\\w-_]*').test('a+')).toBe(false)
  })

  it('keeps its leading flags', () => {
    expect(javaPattern('(?i)all|[0-9]{12}').test('ALL')).toBe(true)
    expect(javaPattern('(?s).*').test('a\nb')).toBe(true)
    expect(javaPattern('.*').test('a\nb')).toBe(false)
  })

  it('knows six kinds of space, as Java does', () => {
    expect(javaPattern('\\s').test('\t')).toBe(true)
    expect(javaPattern('\\s').test('\u00a0')).toBe(false)
    expect(javaPattern('\\S').test('\u00a0')).toBe(true)
    expect(javaPattern('[\\s]').test('\u00a0')).toBe(false)
    expect(javaPattern('[\\s\\S]').test('\u00a0')).toBe(true)
  })

  it.each([
    'a*+',
    '(?>a)',
    '\\Aa',
    '\\Qa\\E',
    '[a&&b]',
    '[a[b]]',
    '[\\Sa]',
    '[a',
    'a(?i)b',
    '\\p{Alpha}',
    '\\v',
    '(?<!a',
  ])('that cannot be turned faithfully is refused: %s', (pattern) => {
    expect(() => javaPattern(pattern)).toThrow()
  })
})
