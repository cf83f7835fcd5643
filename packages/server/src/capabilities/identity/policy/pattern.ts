/**
 * Text patterns of policies: `*` any run, `?` one character, and policy variables `${aws:username}`,
 * `${aws:username, 'default'}`, `${*}` `${?}` `${$}`. Compiled once; fixed patterns become the cheapest test that does
 * (equality, prefix, glob), those with variables are filled in at each evaluation.
 * What a variable brings in is literal: a tag value of `*` opens nothing, a `:` in it begins no new ARN segment.
 */

/** Looks up a context key, written in lower case. Values are never an empty list. */
export interface Lookup {
  valuesOf(key: string): readonly string[] | undefined
}

/** Code units of the text, with the two wildcards as negative numbers. */
type Pattern = readonly number[]
const ANY = -1
const ONE = -2
const COLON = 58

interface Variable {
  readonly key: string
  readonly otherwise: string | undefined
}
type Token = number | Variable

export interface Compiled<Test> {
  /** Set where no variable stands in it. */
  readonly fixed?: Test
  /** The test for this request; undefined where a variable has no value in it. */
  readonly fill: (lookup: Lookup) => Test | undefined
}
export type TextTest = (text: string) => boolean
export type CompiledPattern = Compiled<TextTest>

export const fixedTo = <Test>(test: Test): Compiled<Test> => ({ fixed: test, fill: () => test })

export interface PatternOptions {
  /** `*` and `?` are wildcards. */
  readonly wildcards: boolean
  /** `${…}` is a variable: from version 2012-10-17 on. */
  readonly variables: boolean
  readonly ignoreCase?: boolean
}

export function compilePattern(text: string, options: PatternOptions): CompiledPattern {
  const test = testTokens(tokensOf(text, options), options.ignoreCase ?? false)
  if (!options.ignoreCase) return test
  return { fixed: lowered(test.fixed), fill: (lookup) => lowered(test.fill(lookup)) }
}

/** An ARN cut at its first five colons, once for all the patterns it is held against. */
export interface Arn {
  readonly text: string
  /** Six where the text is an ARN, the last with the rest of it, colons and all; otherwise empty. */
  readonly segments: readonly string[]
}

export function arnOf(text: string): Arn {
  const segments: string[] = []
  let from = 0
  for (let segment = 1; segment < ARN_SEGMENTS; segment++) {
    const colon = text.indexOf(':', from)
    if (colon < 0 || (segment === 1 && text.slice(0, colon) !== 'arn')) return { text, segments: [] }
    segments.push(text.slice(from, colon))
    from = colon + 1
  }
  segments.push(text.slice(from))
  return { text, segments }
}

export type ArnTest = (arn: Arn) => boolean

/**
 * An ARN pattern: each of the first five segments is matched alone, the resource part freely. A pattern that ends sooner
 * in `*` (`arn:aws:ssm:*`) lets that `*` run over the rest; one that ends sooner without it matches nothing.
 */
export function compileArnPattern(text: string, variables: boolean): Compiled<ArnTest> {
  if (text === '*') return fixedTo(() => true)
  const segments = splitAtColons(tokensOf(text, { wildcards: true, variables }))
  if (segments.length < ARN_SEGMENTS && segments.at(-1)?.at(-1) !== ANY) return fixedTo(() => false)
  // The parts most likely to differ are asked first: the resource, then the service.
  const parts = segments
    .map((segment, at) => ({ at, isWild: isAnything(segment), ...testTokens(segment, false) }))
    .filter(({ isWild }) => !isWild)
    .reverse()
  const known = parts.map(({ fixed }) => fixed)
  const places = parts.map(({ at }) => ({ at, isCutShort: at === segments.length - 1 && at < ARN_SEGMENTS - 1 }))
  if (known.every((test) => test !== undefined)) return fixedTo(arnTest(places, known))
  let last: { tests: readonly TextTest[]; test: ArnTest } | undefined
  return {
    fill: (lookup) => {
      const tests: TextTest[] = []
      for (const part of parts) {
        const test = part.fixed ?? part.fill(lookup)
        if (test === undefined) return undefined
        tests.push(test)
      }
      if (last === undefined || !isSame(tests, last.tests)) last = { tests, test: arnTest(places, tests) }
      return last.test
    },
  }
}

const ARN_SEGMENTS = 6
const isAnything = (tokens: readonly Token[]): boolean => tokens.length > 0 && tokens.every((token) => token === ANY)

interface Place {
  readonly at: number
  /** The pattern ends before the sixth segment: its last one is held against all that is left. */
  readonly isCutShort: boolean
}

function arnTest(places: readonly Place[], tests: readonly TextTest[]): ArnTest {
  return ({ segments }) => {
    if (segments.length !== ARN_SEGMENTS) return false
    for (let index = 0; index < places.length; index++) {
      const { at, isCutShort } = places[index]!
      const segment = isCutShort ? segments.slice(at).join(':') : segments[at]!
      if (!tests[index]!(segment)) return false
    }
    return true
  }
}

function isSame<T>(one: readonly T[], other: readonly T[]): boolean {
  for (let index = 0; index < one.length; index++) if (one[index] !== other[index]) return false
  return true
}

// ---- tokens ----

const VARIABLE = /\$\{(?:([*?$])|([^{},]+?)(?:\s*,\s*'([^']*)')?)\s*\}/y

function tokensOf(text: string, options: PatternOptions): Token[] {
  const tokens: Token[] = []
  for (let at = 0; at < text.length; ) {
    VARIABLE.lastIndex = at
    const found = options.variables && text[at] === '$' ? VARIABLE.exec(text) : null
    if (found === null) {
      tokens.push(
        options.wildcards && text[at] === '*' ? ANY : options.wildcards && text[at] === '?' ? ONE : text.charCodeAt(at),
      )
      at++
      continue
    }
    const [whole, escaped, key = '', otherwise] = found
    tokens.push(escaped === undefined ? { key: key.trim().toLowerCase(), otherwise } : escaped.charCodeAt(0))
    at += whole.length
  }
  return tokens
}

function splitAtColons(tokens: readonly Token[]): Token[][] {
  const segments: Token[][] = [[]]
  for (const token of tokens) {
    if (token === COLON && segments.length < ARN_SEGMENTS) segments.push([])
    else segments.at(-1)?.push(token)
  }
  return segments
}

function testTokens(tokens: readonly Token[], ignoreCase: boolean): CompiledPattern {
  const plain = tokens.filter((token) => typeof token === 'number')
  if (plain.length === tokens.length) {
    return fixedTo(testOf(ignoreCase ? loweredPattern(plain) : plain))
  }
  const variables = tokens.filter((token) => typeof token !== 'number')
  let last: { values: readonly string[]; test: TextTest } | undefined
  // The same caller asks many times over: as long as the values stay, so does the test made of them.
  return {
    fill: (lookup) => {
      const values: string[] = []
      for (const variable of variables) {
        const value = variableValue(variable, lookup)
        if (value === undefined) return undefined
        values.push(value)
      }
      if (last === undefined || !isSame(values, last.values)) {
        const filled = fillIn(tokens, values)
        last = { values, test: testOf(ignoreCase ? loweredPattern(filled) : filled) }
      }
      return last.test
    },
  }
}

function fillIn(tokens: readonly Token[], values: readonly string[]): Pattern {
  let next = 0
  return tokens.flatMap((token) => (typeof token === 'number' ? token : unitsOf(values[next++] ?? '')))
}

/** A variable stands for exactly one value: a key with many has none to give, and its default is for a missing key only. */
function variableValue(variable: Variable, lookup: Lookup): string | undefined {
  const values = lookup.valuesOf(variable.key)
  if (values === undefined) return variable.otherwise
  return values.length === 1 ? values[0] : undefined
}

// ---- tests ----

function testOf(pattern: Pattern): TextTest {
  const firstWildcard = pattern.findIndex((unit) => unit < 0)
  if (firstWildcard < 0) {
    const literal = textOf(pattern)
    return (text) => text === literal
  }
  if (firstWildcard === pattern.length - 1 && pattern[firstWildcard] === ANY) {
    const prefix = textOf(pattern.slice(0, -1))
    return prefix === '' ? () => true : (text) => text.startsWith(prefix)
  }
  return (text) => matchesGlob(pattern, text)
}

/** Remembers only the last `*`: at worst pattern times text steps, never exponential. */
function matchesGlob(pattern: Pattern, text: string): boolean {
  let at = 0
  let unit = 0
  let lastAny = -1
  let resumeAt = 0
  while (at < text.length) {
    const wanted = pattern[unit]
    if (wanted === ANY) {
      lastAny = unit++
      resumeAt = at
    } else if (wanted === ONE) {
      unit++
      at += isPair(text, at) ? 2 : 1
    } else if (wanted === text.charCodeAt(at)) {
      unit++
      at++
    } else if (lastAny >= 0) {
      unit = lastAny + 1
      at = ++resumeAt
    } else return false
  }
  while (pattern[unit] === ANY) unit++
  return unit === pattern.length
}

/** One character may be two code units. */
const isPair = (text: string, at: number): boolean => (text.codePointAt(at) ?? 0) > 0xffff

function textOf(pattern: Pattern): string {
  return pattern.map((unit) => String.fromCharCode(unit)).join('')
}

function loweredPattern(pattern: Pattern): Pattern {
  return pattern.flatMap((unit) => (unit < 0 ? unit : unitsOf(String.fromCharCode(unit).toLowerCase())))
}

const unitsOf = (text: string): number[] => Array.from({ length: text.length }, (_, at) => text.charCodeAt(at))

function lowered(test: TextTest): TextTest
function lowered(test: TextTest | undefined): TextTest | undefined
function lowered(test: TextTest | undefined): TextTest | undefined {
  return test === undefined ? undefined : (text) => test(text.toLowerCase())
}
