import { describe, expect, it } from 'vitest'
import { outputOf, secondOf, shownText } from './shown-text.ts'

describe('what a terminal shows', () => {
  it('is text without colours, titles, cursors and bells', () => {
    expect(shownText('\u001b[1;31mred\u001b[0m \u001b]0;title\u0007plain\u0007\u001b[?1049h\u001b(B\r\nnext')).toBe(
      'red plain\nnext',
    )
  })

  it('is found in the second in which it was whole', () => {
    const line = (second: number, output: string) => `${JSON.stringify([second, 'o', output])}\n`
    const body = `{"version":2}\n${line(1, 'r')}${line(2, 'm')}[2.5,"r","80x24"]\n${line(3, ' -\u001b[0mrf')}${line(4, ' x')}`
    expect(outputOf(body)).toBe('rm -\u001b[0mrf x')
    expect([secondOf(body, 'rm -rf'), secondOf(body, 'rm'), secondOf(body, 'earlier')]).toEqual([3, 2, 1])
  })
})
