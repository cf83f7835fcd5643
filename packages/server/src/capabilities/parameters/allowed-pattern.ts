/**
 * AllowedPattern: a Java-style regular expression that the whole value must match (java.lang.String.matches).
 *
 * Anybody who may put parameters may send any pattern, and JavaScript's engine backtracks: `(a+)+$` can run for years.
 * So pattern and value meet inside a vm script with a timeout, which V8 honours within its matcher, at about 0.1 ms per
 * check. What needs longer is refused as InvalidAllowedPatternException: such a pattern is never stored.
 */
import { createContext, Script } from 'node:vm'
import { AwsError } from '../../platform/errors.ts'

/** Milliseconds that one match may hold up the event loop. Ordinary patterns on 8 KB take well under one. */
const MATCH_TIMEOUT_MS = 40
/** The timeout counts wall time: on a loaded machine an innocent match may lose its core for that long, but not twice. */
const MATCH_ATTEMPTS = 2

const sandbox = createContext({ expression: /x/, value: '' })
const matching = new Script('expression.test(value)')

/** InvalidAllowedPatternException, ParameterPatternMismatchException. */
export function checkAllowedPattern(pattern: string, value: string): void {
  const expression = compile(pattern)
  const matches = matchWithin(expression, value)
  if (matches === undefined) throw invalid(pattern, 'it takes too long to match')
  if (matches) return
  throw new AwsError(
    'ParameterPatternMismatchException',
    `Parameter value, cannot be validated against allowedPattern: ${pattern}`,
  )
}

/** undefined: it took too long. */
function matchWithin(expression: RegExp, value: string): boolean | undefined {
  try {
    for (let attempt = 1; attempt <= MATCH_ATTEMPTS; attempt++) {
      Object.assign(sandbox, { expression, value })
      try {
        return matching.runInContext(sandbox, { timeout: MATCH_TIMEOUT_MS }) === true
      } catch {
        // timed out
      }
    }
    return undefined
  } finally {
    Object.assign(sandbox, { expression: undefined, value: '' })
  }
}

const invalid = (pattern: string, why: string): AwsError =>
  new AwsError('InvalidAllowedPatternException', `The allowedPattern ${pattern} is not valid: ${why}.`)

function compile(pattern: string): RegExp {
  const { flags, source } = translate(pattern)
  try {
    return new RegExp(`^(?:${source})$`, `u${flags}`)
  } catch {
    throw invalid(pattern, 'it is not a regular expression')
  }
}

/** Java's named classes in JavaScript's; ASCII, as Java has them without UNICODE_CHARACTER_CLASS. */
const POSIX_CLASSES = new Map(
  Object.entries({
    Lower: 'a-z',
    Upper: 'A-Z',
    ASCII: '\\u{0}-\\u{7F}',
    Alpha: 'a-zA-Z',
    Digit: '0-9',
    Alnum: 'a-zA-Z0-9',
    Punct: '!-\\/:-@\\[-`\\{-~',
    Graph: '!-~',
    Print: ' -~',
    Blank: ' \\t',
    Cntrl: '\\u{0}-\\u{1F}\\u{7F}',
    XDigit: '0-9a-fA-F',
    Space: ' \\t-\\r',
  }),
)

const HORIZONTAL_SPACE = ' \\t\\u{A0}\\u{1680}\\u{180E}\\u{2000}-\\u{200A}\\u{202F}\\u{205F}\\u{3000}'
const SYNTAX = /[\^$\\.*+?()[\]{}|/]/
const END = '(?![^])'

/**
 * The same language in JavaScript's unicode mode. Constructs that JavaScript lacks (possessive quantifiers, atomic groups,
 * flags within the pattern, unions and intersections of classes) are refused rather than misread.
 */
function translate(pattern: string): { source: string; flags: string } {
  let flags = ''
  let at = 0
  const leading = /^\(\?([ims]+)\)/.exec(pattern)
  if (leading) {
    flags = [...new Set(leading[1])].join('')
    at = leading[0].length
  }
  let source = ''
  let inClass = false
  let afterQuantifier = false
  while (at < pattern.length) {
    const character = String.fromCodePoint(pattern.codePointAt(at) ?? 0)
    const quantifies: boolean = afterQuantifier
    afterQuantifier = false
    if (character === '\\') {
      const [text, length] = translateEscape(pattern, at, inClass)
      source += text
      at += length
      continue
    }
    if (inClass) {
      if (character === '[' || pattern.startsWith('&&', at)) {
        throw invalid(pattern, 'unions and intersections of character classes are not supported')
      }
      if (character === ']') inClass = false
      source += character
    } else if (character === '[') {
      inClass = true
      source += character
      // A bracket right at the start of a class is an ordinary character in Java.
      if (pattern[at + 1] === '^') source += pattern[++at]
      if (pattern[at + 1] === ']') {
        source += '\\]'
        at++
      }
    } else if (pattern.startsWith('(?>', at)) {
      throw invalid(pattern, 'atomic groups are not supported')
    } else if (character === '+' && quantifies) {
      throw invalid(pattern, 'possessive quantifiers are not supported')
    } else if (character === ']') {
      source += '\\]'
    } else {
      if ('*+?}'.includes(character)) afterQuantifier = !quantifies
      source += character
    }
    at += character.length
  }
  return { source, flags }
}

/** The escape at `at` and how many characters it took. */
function translateEscape(pattern: string, at: number, inClass: boolean): [string, number] {
  const next = pattern[at + 1]
  if (next === undefined) throw invalid(pattern, 'it ends with a backslash')
  if (next === 'Q') {
    const end = pattern.indexOf('\\E', at + 2)
    const quoted = pattern.slice(at + 2, end < 0 ? undefined : end)
    return [quoted.replace(/[\^$\\.*+?()[\]{}|/-]/g, quote), (end < 0 ? pattern.length : end + 2) - at]
  }
  if (next === 'E') return ['', 2]
  if (next === 'A' && !inClass) return ['(?<![^])', 2]
  if (next === 'z' && !inClass) return [END, 2]
  if (next === 'Z' && !inClass) return [`(?=\\n?${END})`, 2]
  if (next === 'a') return ['\\u{7}', 2]
  if (next === 'e') return ['\\u{1B}', 2]
  if (next === 'h') return [inClass ? HORIZONTAL_SPACE : `[${HORIZONTAL_SPACE}]`, 2]
  const named = /^\\([pP])\{(?:Is)?(\w+)\}/.exec(pattern.slice(at, at + 40))
  if (named?.[1] && named[2]) {
    const posix = POSIX_CLASSES.get(named[2])
    if (posix === undefined) return [`\\${named[1]}{${named[2]}}`, named[0].length]
    if (named[1] === 'p') return [inClass ? posix : `[${posix}]`, named[0].length]
    if (inClass) throw invalid(pattern, `\\P{${named[2]}} inside a class is not supported`)
    return [`[^${posix}]`, named[0].length]
  }
  const short = /^\\([pP])([A-Z])/.exec(pattern.slice(at, at + 3))
  if (short) return [`\\${short[1]}{${short[2]}}`, 3]
  if (/[a-zA-Z0-9]/.test(next)) return [`\\${next}`, 2] // the same in both, or no regular expression in either
  const character = String.fromCodePoint(pattern.codePointAt(at + 1) ?? 0)
  return [quote(character, inClass), 1 + character.length]
}

/** A character that stands for itself; unicode mode refuses escapes that it does not need. */
const quote = (character: string, inClass: unknown = false): string =>
  SYNTAX.test(character) ? `\\${character}` : character === '-' && inClass === true ? '\\-' : character
