import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { onTerminal, progressText, screen, shownNames, unsuccessful } from './follow-screen.ts'

const ESC = '\u001b'

describe('the name of a node', () => {
  it('is the first that no other node has, or its id', () => {
    const names = shownNames([
      { nodeId: 'mi-1', names: ['web', 'blue'] },
      { nodeId: 'mi-2', names: ['web', 'green'] },
      { nodeId: 'mi-3', names: ['db', 'green'] },
      { nodeId: 'mi-4', names: ['web', 'green'] },
      { nodeId: 'mi-5', names: [undefined, ''] },
      { nodeId: 'mi-6', names: [] },
    ])
    expect([...names.values()]).toEqual(['blue', 'mi-2', 'db', 'mi-4', 'mi-5', 'mi-6'])
  })
})

describe('a name that a machine gives itself', () => {
  it.each([
    `${ESC}[2Jgone`,
    'two\nlines',
    'bell\u0007',
    'csi\u009b2J',
    'right to left \u202e',
    'line\u2028end',
    'mi-2', // the id of another
  ])('is not shown when it is %j', (name) => {
    const names = shownNames([
      { nodeId: 'mi-1', names: [name, 'given'] },
      { nodeId: 'mi-2', names: ['web'] },
    ])
    expect([...names.values()]).toEqual(['given', 'web'])
  })
})

describe('a line on a terminal', () => {
  it.each([
    ['plain text', 'plain text'],
    ['tabs\tstay, ünïcode too', 'tabs\tstay, ünïcode too'],
    ['ends with a return\r', 'ends with a return'],
    ['10%\r20%\r30%\r', '30%'],
    [`${ESC}[31mred${ESC}[0m`, `${ESC}[31mred${ESC}[0m${ESC}[0m`],
    [`${ESC}[1;31mred and never back`, `${ESC}[1;31mred and never back${ESC}[0m`],
    [`${ESC}[2J${ESC}[1;1Hgone`, 'gone'],
    [`${ESC}]0;a title\u0007text`, 'text'],
    [`${ESC}]52;c;c2VjcmV0${ESC}\\text`, 'text'],
    [`${ESC}P1$r${ESC}\\text`, 'text'],
    [`${ESC}c${ESC}(0text`, 'text'],
    ['bell\u0007 back\b\b null\u0000 csi\u009b2J', 'bell back null csi2J'],
    [`cut off ${ESC}`, 'cut off '],
    [`cut off ${ESC}[12`, 'cut off '],
    ['', ''],
  ])('%j shows %j', (line, shown) => {
    expect(onTerminal(line)).toBe(shown)
  })
})

describe('the end of a command', () => {
  it('is counted, and those that did not succeed are named', () => {
    const states = new Map([
      ['mi-1', 'Success'],
      ['mi-2', 'Failed'],
      ['mi-3', 'InProgress'],
      ...Array.from({ length: 12 }, (_, at): [string, string] => [`mi-x${at}`, 'DeliveryTimedOut']),
    ])
    expect(progressText(states.values())).toBe('14 of 15 done: 12 DeliveryTimedOut, 1 Failed, 1 InProgress, 1 Success')
    const [failed, running, late, ...rest] = unsuccessful(states, new Map([['mi-2', 'web']]))
    expect([failed, running, rest]).toEqual(['Failed: web', 'InProgress: mi-3', []])
    expect(late).toMatch(/^DeliveryTimedOut: mi-x0, .*, mi-x9 and 2 more$/)
  })
})

describe('the screen', () => {
  const names = new Map([
    ['mi-1', 'web'],
    ['mi-2', 'db-1'],
  ])

  function shownOn(isTTY: boolean) {
    const out = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY })
    const progress = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY, columns: 20 })
    const states = new Map([
      ['mi-1', 'InProgress'],
      ['mi-2', 'InProgress'],
    ])
    const on = screen(out, progress, names, states, true)
    on.line('mi-1', 'stdout', `${ESC}[2Jhello\r`)
    on.line('mi-2', 'stderr', 'oh')
    on.state('mi-1', 'Success')
    on.state('mi-2', 'Failed')
    on.end()
    return { out: String(out.read()), progress: String(progress.read()) }
  }

  it('leaves bytes as they are where nobody looks, and tells the progress once', () => {
    const { out, progress } = shownOn(false)
    expect(out).toBe(`web  | ${ESC}[2Jhello\ndb-1 ! oh\n`)
    expect(progress).toBe('2 of 2 done: 1 Failed, 1 Success\nFailed: db-1\n')
  })

  it('gives each node a colour on a terminal, and keeps the progress in one row', () => {
    const { out, progress } = shownOn(true)
    expect(out).toBe(`${ESC}[36mweb ${ESC}[0m | hello\n${ESC}[33mdb-1${ESC}[0m ${ESC}[31m!${ESC}[0m oh\n`)
    for (const row of progress.split('\n')[0]!.split(`\r${ESC}[K`).slice(0, -1)) expect(row.length).toBeLessThan(20)
    expect(progress).toContain('Failed: db-1\n')
  })
})
