/**
 * What a single value has to fulfil, in the words that AWS's validation gives it. decode.ts asks whether they hold, violations.ts
 * prints those that do not; both read the same list, so an input cannot be refused without a reason.
 */
import { javaPattern } from './java-pattern.ts'
import type { Range, Shape } from './shape.ts'

export interface Constraint {
  /** The `C` of `failed to satisfy constraint: C`. */
  readonly text: string
  holds(value: unknown): boolean
}

export const NOT_NULL = 'Member must not be null'

/** The constraints of a shape itself (not of its members), in the order in which AWS lists them. */
export function constraintsOf(shape: Shape): Constraint[] {
  switch (shape.kind) {
    case 'string':
      return [...textLength(shape), ...pattern(shape.pattern), ...oneOf(shape.values)]
    case 'number':
      return size(shape, 'value', (value) => value as number)
    case 'blob':
      return size(shape, 'length', (value) => (value as Uint8Array).byteLength)
    case 'list':
      return size(shape, 'length', (value) => (value as unknown[]).length)
    case 'map':
      return size(shape, 'length', (value) => Object.keys(value as object).length)
    default:
      return []
  }
}

function size({ min, max }: Range, what: 'length' | 'value', of: (value: unknown) => number): Constraint[] {
  const constraints: Constraint[] = []
  if (max !== undefined) constraints.push({ text: atMost(what, max), holds: (value) => of(value) <= max })
  // A length is never below 0, and a limit that cannot be broken is not worth a word.
  if (min !== undefined && !(what === 'length' && min <= 0)) {
    constraints.push({ text: atLeast(what, min), holds: (value) => of(value) >= min })
  }
  return constraints
}

const atMost = (what: string, max: number) => `Member must have ${what} less than or equal to ${max}`
const atLeast = (what: string, min: number) => `Member must have ${what} greater than or equal to ${min}`

/**
 * Lengths count Unicode code points, as the Smithy model defines them. A text of n UTF-16 units has n/2 to n of them, so most
 * texts need no counting.
 */
function textLength({ min, max }: Range): Constraint[] {
  const constraints: Constraint[] = []
  if (max !== undefined) {
    constraints.push({
      text: atMost('length', max),
      holds: (value) => {
        const units = (value as string).length
        return units <= max || (units <= 2 * max && codePoints(value as string) <= max)
      },
    })
  }
  if (min !== undefined && min > 0) {
    constraints.push({
      text: atLeast('length', min),
      holds: (value) => {
        const units = (value as string).length
        return units >= 2 * min || (units >= min && codePoints(value as string) >= min)
      },
    })
  }
  return constraints
}

function codePoints(text: string): number {
  let count = 0
  for (const _ of text) count++
  return count
}

function pattern(source: string | undefined): Constraint[] {
  if (source === undefined) return []
  const regexp = javaPattern(source)
  return [
    {
      text: `Member must satisfy regular expression pattern: ${source}`,
      holds: (value) => regexp.test(value as string),
    },
  ]
}

/** AWS prints the set in an order of its own hashing; here it is the model's. */
function oneOf(values: readonly string[] | undefined): Constraint[] {
  if (values === undefined) return []
  const set = new Set<unknown>(values)
  return [{ text: `Member must satisfy enum value set: [${values.join(', ')}]`, holds: (value) => set.has(value) }]
}
