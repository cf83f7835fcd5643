/**
 * The model's patterns are Java's. This turns one into a JavaScript RegExp that matches the whole text as Java's
 * `matches()` does, and throws on what it cannot turn faithfully: a dropped pattern would be an unchecked input.
 * constraints.ts is the caller; a test compiles every pattern of every limits file.
 */

const compiled = new Map<string, RegExp>()

/** The RegExp for a Java pattern, anchored at both ends, with Unicode code points as characters. Compiled once. */
export function javaPattern(pattern: string): RegExp {
  let regexp = compiled.get(pattern)
  if (regexp === undefined) {
    const different = MEANS_ANOTHER.exec(pattern)
    if (different) throw new Error(`${different[0]} means another thing in Java: ${pattern}`)
    const { body, flags } = leadingFlags(pattern)
    regexp = new RegExp(`^(?:${translate(body)})$`, `u${flags}`)
    compiled.set(pattern, regexp)
  }
  return regexp
}

/** Properties beyond the general categories (Java's `\p{Alpha}` is ASCII), and `\v`, which is a set of characters in Java. */
const MEANS_ANOTHER = /\\[pP]\{(?![LMNPSZC][a-z]?\})|\\v/

/** `(?i)` and `(?s)` at the start hold for the whole pattern; elsewhere JavaScript refuses them by itself. */
function leadingFlags(pattern: string): { body: string; flags: string } {
  const found = /^\(\?([is]+)\)/.exec(pattern)
  return found ? { body: pattern.slice(found[0].length), flags: found[1] ?? '' } : { body: pattern, flags: '' }
}

/** Java's `\s` is these six; JavaScript's knows the Unicode spaces too. */
const JAVA_SPACE = ' \\t\\n\\v\\f\\r'
/** What may stand behind a backslash under the `u` flag. */
const SYNTAX = /[\^$\\.*+?()[\]{}|/]/
const PUNCTUATION = /[^A-Za-z0-9\s]/

function translate(pattern: string): string {
  let text = ''
  for (let at = 0; at < pattern.length; ) {
    if (pattern[at] === '[') {
      const end = classEnd(pattern, at)
      text += translateClass(pattern.slice(at, end))
      at = end
    } else if (pattern[at] === '\\') {
      text += outsideClass(pattern[at + 1] ?? '')
      at += 2
    } else {
      text += pattern[at]
      at += 1
    }
  }
  return text
}

function outsideClass(escaped: string): string {
  if (escaped === 's') return `[${JAVA_SPACE}]`
  if (escaped === 'S') return `[^${JAVA_SPACE}]`
  return escapeOf(escaped, SYNTAX)
}

function escapeOf(escaped: string, keep: RegExp): string {
  return PUNCTUATION.test(escaped) && !keep.test(escaped) ? escaped : `\\${escaped}`
}

function classEnd(pattern: string, start: number): number {
  for (let at = start + 1; at < pattern.length; at++) {
    if (pattern[at] === '\\') at++
    else if (pattern[at] === ']') return at + 1
    else if (pattern[at] === '[' || pattern.startsWith('&&', at)) throw new Error(`class within a class: ${pattern}`)
  }
  throw new Error(`class without an end: ${pattern}`)
}

/** Everything, in the way the models write it; `\s` and `\S` together need no translation. */
const EVERYTHING = '[\\s\\S]'

function translateClass(source: string): string {
  if (source === EVERYTHING) return source
  let text = ''
  for (let at = 0; at < source.length; at++) {
    const character = source[at] ?? ''
    if (character === '-' && isClassEscape(source, at - 2) && source[at + 1] !== ']') {
      text += '\\-' // Java reads `[\w-_]` as three things, `u` refuses it as a range
    } else if (character !== '\\') {
      text += character
    } else {
      at++
      const escaped = source[at] ?? ''
      if (escaped === 'S') throw new Error(`\\S inside a class: ${source}`)
      text += escaped === 's' ? JAVA_SPACE : escapeOf(escaped, /[\^$\\.*+?()[\]{}|/-]/)
    }
  }
  return text
}

function isClassEscape(source: string, at: number): boolean {
  return source[at] === '\\' && /[wWdDs]/.test(source[at + 1] ?? '')
}
