/**
 * Whether an answer is what its model promises: types, required members, one member of a union. Only tests pay for it, through
 * `encode(…, { strict: true })`.
 */
import type { Shape, StructureShape } from './shape.ts'

/** The first member that does not fit, as `Parameter.Version is a string, not a number`; undefined where all fit. */
export function firstMismatch(shape: Shape, value: unknown, path = ''): string | undefined {
  const wrong = (wanted: string) => `${path || 'the answer'} is ${article(value)}, not ${wanted}`
  switch (shape.kind) {
    case 'structure':
      return isRecord(value) ? inStructure(shape, value, path) : wrong(`a ${shape.name}`)
    case 'list':
      if (!Array.isArray(value)) return wrong('a list')
      return first(value.entries(), ([index, item]) => firstMismatch(shape.element(), item, `${path}[${index}]`))
    case 'map':
      if (!isRecord(value)) return wrong('a map')
      return first(Object.entries(value), ([key, item]) => firstMismatch(shape.value(), item, `${path}.${key}`))
    case 'string':
      return typeof value === 'string' ? undefined : wrong('a string')
    case 'boolean':
      return typeof value === 'boolean' ? undefined : wrong('a boolean')
    case 'number':
      return isNumber(value, shape.width !== 'double') ? undefined : wrong('a number')
    case 'timestamp':
      return value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : wrong('a date')
    case 'blob':
      return value instanceof Uint8Array ? undefined : wrong('a Uint8Array')
  }
}

function inStructure(shape: StructureShape, value: Record<string, unknown>, path: string): string | undefined {
  let set = 0
  const mismatch = first(shape.members, (member) => {
    const given = value[member.name]
    const at = path === '' ? member.name : `${path}.${member.name}`
    if (given === undefined || given === null) return member.required ? `${at} is required and absent` : undefined
    set++
    return firstMismatch(member.shape(), given, at)
  })
  if (mismatch === undefined && shape.union && set !== 1) return `${path} has ${set} members set, a union has one`
  return mismatch
}

function first<T>(items: Iterable<T>, check: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const mismatch = check(item)
    if (mismatch !== undefined) return mismatch
  }
  return undefined
}

const isNumber = (value: unknown, whole: boolean): boolean =>
  typeof value === 'bigint' || (whole ? Number.isSafeInteger(value) : Number.isFinite(value))

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

function article(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (value instanceof Date) return 'a date'
  return typeof value === 'undefined' ? 'absent' : `a ${typeof value}`
}
