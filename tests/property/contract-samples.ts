/**
 * Values that fit a shape: a fixed one with every member set (`sample`), and fast-check arbitraries. They are JSON as a client
 * would send it. The contract's property tests are the callers.
 */
import * as fc from 'fast-check'
import { javaPattern } from '../../packages/server/src/contract/java-pattern.ts'
import type { Shape, StringShape } from '../../packages/server/src/contract/shape.ts'

/** A shape that contains itself is followed this often. */
const DEPTH = 2

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** One valid JSON value with every member set and one element in each list and map (or as many as the shape needs). */
export function sample(shape: Shape, within: readonly Shape[] = []): Json {
  switch (shape.kind) {
    case 'structure': {
      const members = shape.union ? shape.members.slice(0, 1) : shape.members
      const kept = members.filter((member) => member.required || !tooDeep(member.shape(), within))
      return Object.fromEntries(kept.map((member) => [member.name, sample(member.shape(), [...within, shape])]))
    }
    case 'list':
      return Array.from({ length: Math.max(1, shape.min ?? 0) }, () => sample(shape.element(), [...within, shape]))
    case 'map':
      return mapOf(shape.key(), Math.max(1, shape.min ?? 0), () => sample(shape.value(), [...within, shape]))
    case 'string':
      return texts(shape)[0] ?? ''
    case 'number':
      return Math.max(shape.min ?? 1, Math.min(1, shape.max ?? 1))
    case 'boolean':
      return true
    case 'timestamp':
      return shape.format === 'epoch-seconds' ? 1_795_459_627.128 : '2026-11-23T18:47:07.128Z'
    case 'blob':
      return Buffer.alloc(Math.max(1, shape.min ?? 0), 'b').toString('base64')
  }
}

const tooDeep = (shape: Shape, within: readonly Shape[]): boolean =>
  within.filter((outer) => outer === shape || (shape.kind === 'list' && outer === shape.element())).length >= DEPTH

/** A map with `size` different keys. */
export function mapOf(key: StringShape, size: number, value: () => Json): Json {
  const keys = texts(key)
  const candidates = size <= keys.length ? keys : Array.from({ length: size }, (_, index) => `key${index}`)
  return Object.fromEntries(candidates.slice(0, size).map((name) => [name, value()]))
}

const known = new WeakMap<StringShape, string[]>()

/** Different texts that fit a string shape; throws where it finds none, so that no pattern goes untested. */
export function texts(shape: StringShape): string[] {
  let found = known.get(shape)
  if (found === undefined) {
    found = findTexts(shape)
    if (found.length === 0) throw new Error(`no text known that fits ${shape.name}: ${shape.pattern}`)
    known.set(shape, found)
  }
  return found
}

function findTexts(shape: StringShape): string[] {
  if (shape.values !== undefined) return [...shape.values]
  const { min = 0, max = Number.POSITIVE_INFINITY, pattern } = shape
  if (pattern === undefined) return ['a', 'b', 'c'].map((letter) => letter.repeat(Math.min(max, Math.max(min, 3))))
  const matches = javaPattern(pattern)
  const fits = (text: string) => matches.test(text) && [...text].length >= min && [...text].length <= max
  const shortest = ['a', 'b', 'A', 'B'].map((letter) => letter.repeat(Math.max(min, 1)))
  const plain = ['abc', 'all', '123456789012', 'key-1', ...shortest].filter(fits)
  return [...new Set([...plain, ...generated(pattern).filter(fits)])]
}

function generated(pattern: string): string[] {
  // fast-check cannot make texts for lookaheads and inline flags; the plain texts above fit those.
  if (/\(\?[!=is]/.test(pattern)) return []
  return fc.sample(fc.stringMatching(new RegExp(`^(?:${pattern})$`)), { numRuns: 50, seed: 1 })
}

/** A text that breaks a shape's pattern, or undefined where the pattern takes anything. */
export function offending({ pattern }: StringShape): string | undefined {
  if (pattern === undefined) return undefined
  const matches = javaPattern(pattern)
  return ['\n', '\u0001', '\ud800', ''].find((text) => !matches.test(text))
}

/** Valid JSON values of a shape: optional members come and go. */
export function valid(shape: Shape, within: readonly Shape[] = []): fc.Arbitrary<Json> {
  switch (shape.kind) {
    case 'structure': {
      const inner = [...within, shape]
      const members = shape.members.filter((member) => member.required || !tooDeep(member.shape(), within))
      if (shape.union) return fc.oneof(...members.map((member) => record([member], inner, [member.name])))
      const required = members.filter((member) => member.required).map((member) => member.name)
      return record(members, inner, required)
    }
    case 'list': {
      const minLength = shape.min ?? 0
      const maxLength = Math.min(shape.max ?? Number.POSITIVE_INFINITY, minLength + 2)
      return fc.array(valid(shape.element(), [...within, shape]), { minLength, maxLength })
    }
    case 'map': {
      const keys = texts(shape.key())
      const minKeys = shape.min ?? 0
      const maxKeys = Math.min(shape.max ?? Number.POSITIVE_INFINITY, minKeys + 2)
      return fc.dictionary(fc.constantFrom(...keys), valid(shape.value(), [...within, shape]), { minKeys, maxKeys })
    }
    case 'string':
      return text(shape)
    case 'number':
      return shape.width === 'double' && shape.min === undefined && shape.max === undefined
        ? fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value || 0) // -0 is 0 in JSON
        : fc.integer({ min: shape.min ?? -(2 ** 31), max: Math.min(shape.max ?? 2 ** 31 - 1, 2 ** 31 - 1) })
    case 'boolean':
      return fc.boolean()
    case 'timestamp':
      return fc.integer({ min: 0, max: 4_102_444_800_000 }).map((milliseconds) => milliseconds / 1000)
    case 'blob':
      return fc
        .uint8Array({ minLength: shape.min ?? 0, maxLength: Math.min(shape.max ?? 64, 64) })
        .map((bytes) => Buffer.from(bytes).toString('base64'))
  }
}

function record(
  members: readonly { name: string; shape: () => Shape }[],
  within: readonly Shape[],
  requiredKeys: string[],
): fc.Arbitrary<Json> {
  const arbitraries = Object.fromEntries(members.map((member) => [member.name, valid(member.shape(), within)]))
  return fc.record(arbitraries, { requiredKeys }).map((value) => ({ ...value }) as Json)
}

function text(shape: StringShape): fc.Arbitrary<string> {
  if (shape.values !== undefined || shape.pattern !== undefined) return fc.constantFrom(...texts(shape))
  const minLength = shape.min ?? 0
  const maxLength = Math.min(shape.max ?? Number.POSITIVE_INFINITY, minLength + 12)
  return fc.string({ minLength, maxLength, unit: 'grapheme-ascii' })
}

/** A place in the JSON of an operation's input. */
export interface Site {
  /** Member names, indexes and keys, to set a value there. */
  readonly keys: readonly (string | number)[]
  /** The path as AWS prints it. */
  readonly path: string
  readonly shape: Shape
  /** What holds it: a required member, an optional one, an element of a list, a value of a map. */
  readonly as: 'required' | 'optional' | 'element' | 'value'
}

/** Every place in `value`, a sample of `shape`, outermost first. */
export function sites(shape: Shape, value: Json, keys: readonly (string | number)[] = [], path = ''): Site[] {
  if (shape.kind === 'structure') {
    const record = value as Record<string, Json>
    return shape.members.flatMap((member): Site[] => {
      const given = record[member.name]
      if (given === undefined) return []
      const lower = member.name.charAt(0).toLowerCase() + member.name.slice(1)
      const site: Site = {
        keys: [...keys, member.name],
        path: path === '' ? lower : `${path}.${lower}`,
        shape: member.shape(),
        as: member.required ? 'required' : 'optional',
      }
      return [site, ...sites(site.shape, given, site.keys, site.path)]
    })
  }
  if (shape.kind === 'list') {
    const [given] = value as Json[]
    if (given === undefined) return []
    const site: Site = { keys: [...keys, 0], path: `${path}.1.member`, shape: shape.element(), as: 'element' }
    return [site, ...sites(site.shape, given, site.keys, site.path)]
  }
  if (shape.kind === 'map') {
    const [entry] = Object.entries(value as Record<string, Json>)
    if (entry === undefined) return []
    const site: Site = {
      keys: [...keys, entry[0]],
      path: `${path}.${entry[0]}.member`,
      shape: shape.value(),
      as: 'value',
    }
    return [site, ...sites(site.shape, entry[1], site.keys, site.path)]
  }
  return []
}

/** A copy of `value` with `replacement` at the place; `undefined` takes the place away. */
export function replaced(value: Json, keys: readonly (string | number)[], replacement: Json | undefined): Json {
  const [key, ...rest] = keys
  if (key === undefined) throw new Error('the whole value is not a place in it')
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string | number, Json>
  if (rest.length > 0) copy[key] = replaced(copy[key] as Json, rest, replacement)
  else if (replacement === undefined) delete copy[key]
  else copy[key] = replacement
  return copy as Json
}
