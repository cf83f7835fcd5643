import { describe, expect, it } from 'vitest'
import { utf8Length } from './json.ts'
import { combinedOutput, cut, MAX_COMBINED_BYTES, MAX_STDOUT_BYTES } from './output.ts'

describe('one stream', () => {
  it('is whole up to 23,999 bytes and cut from 24,000 on', () => {
    expect(cut('x'.repeat(23_999), MAX_STDOUT_BYTES)).toBe('x'.repeat(23_999))
    expect(cut('x'.repeat(24_000), MAX_STDOUT_BYTES)).toBe(`${'x'.repeat(23_980)}--output truncated--`)
    expect(utf8Length(cut('x'.repeat(1_000_000), MAX_STDOUT_BYTES))).toBe(24_000)
  })

  it('is measured in bytes and never cut inside a character', () => {
    const shortened = cut('€'.repeat(8_000), MAX_STDOUT_BYTES)
    expect(shortened).toBe(`${'€'.repeat(7_993)}--output truncated--`)
    expect(cut('😀'.repeat(10), 30)).toBe('😀😀--output truncated--')
  })

  it('is only the beginning of the mark when there is room for no more', () => {
    expect(cut('x'.repeat(50), 10)).toBe('--output t')
    expect(cut('x', 0)).toBe('')
  })
})

describe('both streams together', () => {
  const TITLE = '\n----------ERROR-------\n'
  it('stand whole, with the title only when there are errors', () => {
    expect(combinedOutput('out', '', MAX_COMBINED_BYTES)).toBe('out')
    expect(combinedOutput('out', 'err', MAX_COMBINED_BYTES)).toBe(`out${TITLE}err`)
    expect(combinedOutput('', 'err', MAX_COMBINED_BYTES)).toBe(`${TITLE}err`)
  })

  it('are whole up to 2,499 bytes of output and marked from 2,500 on', () => {
    expect(combinedOutput('x'.repeat(2_499), '', 2_500)).toBe('x'.repeat(2_499))
    expect(combinedOutput('x'.repeat(2_500), '', 2_500)).toBe(`${'x'.repeat(2_477)}\n---Output truncated---`)
  })

  it('give way where they are long: output, errors, or both', () => {
    const long = 'x'.repeat(5_000)
    expect(combinedOutput(long, 'err', 2_500)).toBe(
      `${'x'.repeat(2_500 - 24 - 23 - 3)}\n---Output truncated---${TITLE}err`,
    )
    expect(combinedOutput('out', long, 2_500)).toBe(
      `out${TITLE}${'x'.repeat(2_500 - 24 - 23 - 3)}\n---Error truncated----`,
    )
    const both = combinedOutput(long, long, 2_500)
    expect(both).toBe(
      `${'x'.repeat(1_215)}\n---Output truncated---${TITLE}${'x'.repeat(1_215)}\n---Error truncated----`,
    )
    expect(utf8Length(both)).toBe(2_500)
  })

  it('stay within the limit for characters of every width', () => {
    for (const character of ['x', 'é', '€', '😀']) {
      for (const [out, err] of [
        [3_000, 0],
        [3_000, 5],
        [5, 3_000],
        [3_000, 3_000],
        [0, 3_000],
      ] as const) {
        const text = combinedOutput(character.repeat(out), character.repeat(err), 2_500)
        expect(utf8Length(text)).toBeLessThanOrEqual(2_500)
        expect(text).not.toContain('\uFFFD')
      }
    }
  })
})
