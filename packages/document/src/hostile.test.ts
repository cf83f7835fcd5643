import { describe, expect, it } from 'vitest'
import { DocumentError } from './error.ts'
import { openDocument } from './parse.ts'
import { MAX_DEPTH, readContent } from './read.ts'

/** Texts of about 64 KB, each built to hurt one part of a reader. */
const HOSTILE: Record<string, string> = {
  brackets: '['.repeat(60_000),
  'closed brackets': '['.repeat(30_000) + ']'.repeat(30_000),
  braces: '{'.repeat(60_000),
  'braces with keys': '{a: '.repeat(15_000),
  dashes: '- '.repeat(30_000),
  'question marks': '? '.repeat(30_000),
  'flow keys': '[? '.repeat(20_000),
  colons: ': '.repeat(30_000),
  'stairs of keys': Array.from({ length: 300 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
  'stairs of dashes': Array.from({ length: 300 }, (_, depth) => `${' '.repeat(depth)}-`).join('\n'),
  quotes: '"'.repeat(60_000),
  tags: '!'.repeat(60_000),
  'tags apart': '! '.repeat(30_000),
  anchors: '&a '.repeat(20_000),
  'named anchors': Array.from({ length: 4_000 }, (_, index) => `k${index}: &a${index} x`).join('\n'),
  aliases: `a: &a x\nb: [${'*a,'.repeat(20_000)}]`,
  merges: 'a: &a {b: 1}\n'.concat(Array.from({ length: 2_000 }, (_, n) => `k${n}: {<<: *a}`).join('\n')),
  comments: '#\n'.repeat(30_000),
  documents: '---\n'.repeat(15_000),
  'many keys': Array.from({ length: 9_000 }, (_, index) => `k${index}:`).join('\n'),
  'many flow keys': `{${Array.from({ length: 7_000 }, (_, index) => `k${index}: 1`).join(',')}}`,
}

describe('a text made to hurt the reader', () => {
  // A stack overflow inside V8's regular expressions ends the process, so reaching the assertion is already the proof.
  it.each(Object.entries(HOSTILE))('%s: is data or a DocumentError', (_, text) => {
    for (const format of ['YAML', 'JSON'] as const) {
      let result: unknown
      try {
        result = readContent(text, format)
      } catch (error) {
        result = error
      }
      expect(result instanceof Error && !(result instanceof DocumentError)).toBe(false)
    }
  })

  it('nested deep in a message is refused by an agent too', () => {
    const deep: unknown = JSON.parse(`{"schemaVersion":"2.2","mainSteps":${'['.repeat(20_000)}${']'.repeat(20_000)}}`)
    expect(() => openDocument(deep)).toThrow('nested deeper than 64 levels')
  })

  it('may be nested 64 levels deep and no deeper, in both formats', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
    for (const format of ['YAML', 'JSON'] as const) {
      expect(JSON.stringify(readContent(nested(MAX_DEPTH + 1), format))).toBe(nested(MAX_DEPTH + 1))
      expect(() => readContent(nested(MAX_DEPTH + 2), format)).toThrow('nested deeper than 64 levels')
    }
  })
})
