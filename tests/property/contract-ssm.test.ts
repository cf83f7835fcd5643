/** Every operation of Systems Manager and of the agents, against limits and types at every place of its input. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ContractError, decode, encode, REDACTED, redact } from '../../packages/server/src/contract/check.ts'
import limits from '../../packages/server/src/contract/limits/ssm.json' with { type: 'json' }
import { findOperation, operationNames, serviceNames } from '../../packages/server/src/contract/model.ts'
import type { OperationModel, Shape, StringShape } from '../../packages/server/src/contract/shape.ts'
import { type Json, mapOf, offending, replaced, type Site, sample, sites, valid } from './contract-samples.ts'

const operations = serviceNames().flatMap((service) =>
  operationNames(service).map((name) => [name, findOperation(service, name) as OperationModel] as const),
)

type Outcome = 'accepted' | { name: string; message: string }

/** What decoding makes of an input; anything but a ContractError fails the test that asks. */
function outcome(operation: OperationModel, json: unknown): Outcome {
  try {
    decode(operation, json)
    return 'accepted'
  } catch (error) {
    if (error instanceof ContractError) return { name: error.name, message: error.message }
    throw error
  }
}

const message = (result: Outcome): string => (result === 'accepted' ? result : result.message)

/** The input with every member set, and every place in it. */
function full(operation: OperationModel): { input: Json; places: Site[] } {
  const input = sample(operation.input)
  return { input, places: sites(operation.input, input) }
}

describe('the operations of the model', () => {
  it('are the 154 published ones, the eight of agents and the six of ec2messages', () => {
    const agents = ['RegisterManagedInstance', 'RequestManagedInstanceRoleToken', 'UpdateManagedInstancePublicKey']
    expect(operationNames('ssm')).toHaveLength(154 + 8)
    expect(new Set(operationNames('ssm')).size).toBe(154 + 8)
    expect(operationNames('ssm')).toEqual(expect.arrayContaining([...agents, ...Object.keys(limits.operations)]))
    expect(operationNames('ec2messages')).toHaveLength(6)
  })
})

describe.each(operations)('%s', (_name, operation) => {
  it('accepts any valid input and decodes each member as its type', () => {
    fc.assert(
      fc.property(valid(operation.input), (input) => {
        const decoded = decode(operation, JSON.parse(JSON.stringify(input)))
        expect(mistyped(operation.input, decoded)).toBeUndefined()
      }),
      { numRuns: 20 },
    )
  })

  it('accepts the input with every member set, and ignores members that the model does not know', () => {
    const { input } = full(operation)
    expect(outcome(operation, input)).toBe('accepted')
    const decoded = decode(operation, { ...(input as object), Unknown: 1, constructor: 2 })
    expect(decoded).not.toHaveProperty('Unknown')
    expect(Object.hasOwn(decoded as object, 'constructor')).toBe(false)
  })

  it('refuses whatever JSON stands at any place with ValidationException or SerializationException only', () => {
    const { input, places } = full(operation)
    const anything = fc.jsonValue({ maxDepth: 3 }).map((value) => value as Json)
    const mutated =
      places.length === 0
        ? anything
        : fc.oneof(
            anything,
            fc.tuple(fc.constantFrom(...places), anything).map(([site, value]) => replaced(input, site.keys, value)),
          )
    fc.assert(
      fc.property(mutated, (json) => {
        const result = outcome(operation, json)
        if (result !== 'accepted') expect(['ValidationException', 'SerializationException']).toContain(result.name)
      }),
      { numRuns: 40 },
    )
  })

  it('names each required member that is missing or null, and takes null for an optional one as absent', () => {
    const { input, places } = full(operation)
    for (const site of places) {
      for (const absent of [undefined, null]) {
        if (absent === undefined && (site.as === 'element' || site.as === 'value')) continue
        if (site.as === 'optional' && isUnionMember(operation.input, site)) continue
        const result = outcome(operation, replaced(input, site.keys, absent))
        if (site.as === 'optional') expect(result).toBe('accepted')
        else if (site.as === 'required') {
          expect(message(result)).toContain(
            `Value null at '${site.path}' failed to satisfy constraint: Member must not be null`,
          )
        } else expect(message(result)).toContain('Member must not be null')
      }
    }
  })

  it('refuses a wrong JSON type at every place with SerializationException', () => {
    const { input, places } = full(operation)
    for (const site of places) {
      for (const wrong of wrongTypes(site.shape)) {
        expect(outcome(operation, replaced(input, site.keys, wrong))).toMatchObject({ name: 'SerializationException' })
      }
    }
  })

  it('keeps each limit: below the least, the least, the most, above the most', () => {
    const { input, places } = full(operation)
    for (const site of places) {
      for (const { value, text, exact } of boundaries(site.shape)) {
        const result = outcome(operation, replaced(input, site.keys, value))
        if (text !== undefined) {
          expect(result).toMatchObject({ name: 'ValidationException' })
          expect(message(result)).toContain(text)
        } else if (exact) expect(result).toBe('accepted')
        // An element's text lists all constraints of its type, the ones that hold too.
        else if (site.as !== 'element' && site.as !== 'value') expect(message(result)).not.toContain('have length')
      }
    }
  })

  it('refuses a value outside an enum or against a pattern by naming the constraint', () => {
    const { input, places } = full(operation)
    for (const { keys, shape } of places) {
      if (shape.kind !== 'string') continue
      if (shape.values !== undefined) {
        const result = outcome(operation, replaced(input, keys, '\u0001'))
        expect(message(result)).toContain(`Member must satisfy enum value set: [${shape.values.join(', ')}]`)
      }
      const text = offending(shape)
      if (text !== undefined) {
        const result = outcome(operation, replaced(input, keys, text))
        expect(message(result)).toContain(`Member must satisfy regular expression pattern: ${shape.pattern}`)
      }
    }
  })

  it('encodes an output so that decoding it gives the same output', () => {
    const reversed: OperationModel = { ...operation, input: operation.output }
    fc.assert(
      fc.property(valid(operation.output), (json) => {
        const output = decode(reversed, json)
        const text = encode(operation, output, { strict: true })
        expect(decode(reversed, JSON.parse(text))).toEqual(output)
      }),
      { numRuns: 20 },
    )
  })

  it('leaves no sensitive value in what is kept for the audit', () => {
    const { input, places } = full(operation)
    const kept = redact(operation, decode(operation, input))
    for (const site of places) {
      if (site.shape.sensitive && !places.some((outer) => outer.shape.sensitive && isInside(site, outer))) {
        expect(at(kept, site.keys)).toBe(REDACTED)
      }
    }
  })
})

describe('the limits of the model', () => {
  it('reach every shape of every input that has them', () => {
    let compared = 0
    for (const [name, model] of Object.entries(limits.operations)) {
      const operation = findOperation('ssm', name)
      expect(operation?.input.name).toBe(model.input)
      compared += compare(operation?.input as Shape, model.input, new Set())
    }
    expect(compared).toBeGreaterThan(900)
  })
})

interface Limit {
  type?: string
  min?: number
  max?: number
  pattern?: string
  enum?: string[]
  sensitive?: boolean
  member?: string
  key?: string
  value?: string
}
const shapeLimits: Record<string, Limit | undefined> = limits.shapes
const structureLimits: Record<string, { members: Record<string, string>; required: string[] } | undefined> =
  limits.structures

/** Walks the limits file by its own names beside a shape; returns how many limits it compared. */
function compare(shape: Shape, name: string, seen: Set<string>): number {
  if (seen.has(name)) return 0
  seen.add(name)
  const structure = structureLimits[name]
  if (structure !== undefined) {
    if (shape.kind !== 'structure') throw new Error(`${name} is no structure`)
    return Object.entries(structure.members).reduce((sum, [member, memberShape]) => {
      const found = shape.members.find((candidate) => candidate.name === member)
      if (found === undefined) throw new Error(`${name} lacks ${member}`)
      expect(found.required, `${name}.${member}`).toBe(structure.required.includes(member))
      return sum + compare(found.shape(), memberShape, seen)
    }, 0)
  }
  const limit = shapeLimits[name]
  if (limit === undefined) return 0
  const { min, max, pattern, values } = shape as StringShape
  const stated = { min, max, pattern, values: values && [...values] }
  expect(stated, name).toEqual({ min: limit.min, max: limit.max, pattern: limit.pattern, values: limit.enum })
  if (limit.sensitive) expect(shape.sensitive, name).toBe(true)
  const here = [limit.min, limit.max, limit.pattern, limit.enum].filter((each) => each !== undefined).length
  if (shape.kind === 'list' && limit.member) return here + compare(shape.element(), limit.member, seen)
  if (shape.kind === 'map' && limit.key && limit.value) {
    return here + compare(shape.key(), limit.key, seen) + compare(shape.value(), limit.value, seen)
  }
  return here
}

/** The path of the first decoded value that is not of its TypeScript type. */
function mistyped(shape: Shape, value: unknown, path = ''): string | undefined {
  const inner = (): (string | undefined)[] => {
    switch (shape.kind) {
      case 'structure': {
        const record = value as Record<string, unknown>
        const strangers = Object.keys(record).filter((key) => !shape.members.some((member) => member.name === key))
        return [
          ...strangers.map((key) => `${path}.${key}`),
          ...shape.members
            .filter((member) => member.required || record[member.name] !== undefined)
            .map((member) => mistyped(member.shape(), record[member.name], `${path}.${member.name}`)),
        ]
      }
      case 'list':
        return Array.isArray(value) ? value.map((each) => mistyped(shape.element(), each, `${path}[]`)) : [path]
      case 'map':
        return Object.values(value as object).map((each) => mistyped(shape.value(), each, `${path}{}`))
      case 'timestamp':
        return [value instanceof Date ? undefined : path]
      case 'blob':
        return [value instanceof Uint8Array ? undefined : path]
      default:
        return [typeof value === shape.kind ? undefined : path]
    }
  }
  return inner().find((each) => each !== undefined)
}

/** JSON of every other kind; a number where no fraction may be counts too. */
function wrongTypes(shape: Shape): Json[] {
  const all: Json[] = ['text', 17, true, ['x'], { a: 'x' }]
  const fits = (value: Json): boolean => {
    switch (shape.kind) {
      case 'structure':
      case 'map':
        return typeof value === 'object' && !Array.isArray(value)
      case 'list':
        return Array.isArray(value)
      case 'timestamp':
        return value === 17
      case 'blob':
        return value === 'text' // four letters are base64
      default:
        return typeof value === shape.kind
    }
  }
  const fraction: Json[] = shape.kind === 'number' && shape.width !== 'double' ? [1.5, 2 ** 53] : []
  return [...all.filter((value) => !fits(value)), ...fraction]
}

/** Values of max + 1 are not built beyond this size. */
const LARGEST = 100_000

interface Boundary {
  value: Json
  /** The constraint that it breaks; undefined: it breaks none of size. */
  text?: string
  /** Whether it is accepted altogether, not just for its size. */
  exact: boolean
}

function boundaries(shape: Shape): Boundary[] {
  const build = builder(shape)
  if (build === undefined) return []
  const { min, max } = shape as { min?: number; max?: number }
  const what = shape.kind === 'number' ? 'value' : 'length'
  const exact = shape.kind !== 'string' || (shape.pattern === undefined && shape.values === undefined)
  const found: Boundary[] = []
  const add = (size: number, text?: string) => {
    const value = build(size)
    if (value !== undefined) found.push({ value, text, exact })
  }
  if (min !== undefined && !(what === 'length' && min <= 0)) {
    add(min - 1, `Member must have ${what} greater than or equal to ${min}`)
  }
  if (min !== undefined) add(min)
  if (max !== undefined) add(max)
  if (max !== undefined) add(max + 1, `Member must have ${what} less than or equal to ${max}`)
  return found
}

/** Makes a value of a size, or undefined where that size cannot be had. */
function builder(shape: Shape): ((size: number) => Json | undefined) | undefined {
  const within = (make: (size: number) => Json) => (size: number) => (size <= LARGEST ? make(size) : undefined)
  switch (shape.kind) {
    case 'number':
      return (size) => (shape.width === 'integer' && Math.abs(size) >= 2 ** 31 ? undefined : size)
    case 'string':
      // Characters of two UTF-16 units, for lengths count code points.
      return within((size) => (shape.pattern === undefined ? '😀' : 'a').repeat(size))
    case 'blob':
      return within((size) => Buffer.alloc(size).toString('base64'))
    case 'list': {
      const element = sample(shape.element())
      return within((size) => Array.from({ length: size }, () => element))
    }
    case 'map':
      return within((size) => mapOf(shape.key(), size, () => sample(shape.value())))
    default:
      return undefined
  }
}

function isUnionMember(shape: Shape, site: Site): boolean {
  let holder = shape
  for (const key of site.keys.slice(0, -1)) {
    if (holder.kind === 'list') holder = holder.element()
    else if (holder.kind === 'map') holder = holder.value()
    else if (holder.kind === 'structure') {
      const member = holder.members.find((candidate) => candidate.name === key)
      if (member !== undefined) holder = member.shape()
    }
  }
  return holder.kind === 'structure' && holder.union
}

const isInside = (inner: Site, outer: Site): boolean =>
  inner.keys.length > outer.keys.length && outer.keys.every((key, index) => key === inner.keys[index])

const at = (value: unknown, keys: readonly (string | number)[]): unknown =>
  keys.reduce<unknown>((found, key) => (found as Record<string | number, unknown>)[key], value)
