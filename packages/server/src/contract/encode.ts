/**
 * Output to JSON text, one closure per shape: known members in declaration order, undefined and null left out, Date as epoch
 * seconds. It trusts its callers' types; tests ask for `strict`, which first checks the answer against its shape.
 */
import { firstMismatch } from './fit.ts'
import type { OperationModel, Shape, StructureShape } from './shape.ts'

type Writer = (value: unknown) => string

export interface EncodeOptions {
  /** Throws an Error that names the first member which does not fit its shape. */
  strict?: boolean
}

/** The body of an answer. */
export function encode<O>(operation: OperationModel<unknown, O>, output: O, options: EncodeOptions = {}): string {
  const answer = output ?? {}
  if (options.strict) {
    const mismatch = firstMismatch(operation.output, answer)
    if (mismatch !== undefined) {
      throw new Error(`${operation.service}:${operation.name} answers what its model does not: ${mismatch}`)
    }
  }
  return writerOf(operation.output)(answer)
}

/** The JSON of a structure by itself, such as an error's members. */
export const encodeStructure = (shape: StructureShape, value: unknown): string => writerOf(shape)(value)

const writers = new WeakMap<Shape, Writer>()

function writerOf(shape: Shape): Writer {
  const known = writers.get(shape)
  if (known !== undefined) return known
  let made: Writer | undefined
  writers.set(shape, (value) => {
    if (made === undefined) throw new Error(`${shape.name} is used while it is made`)
    return made(value)
  })
  made = writer(shape)
  writers.set(shape, made)
  return made
}

function writer(shape: Shape): Writer {
  switch (shape.kind) {
    case 'structure':
      return structure(shape)
    case 'list': {
      const element = writerOf(shape.element())
      return (value) => `[${Array.from(value as Iterable<unknown>, (item) => nullable(item, element)).join(',')}]`
    }
    case 'map': {
      const item = writerOf(shape.value())
      return (value) => {
        const entries = Object.entries(value as object).filter(([, given]) => given !== undefined)
        return `{${entries.map(([key, given]) => `${JSON.stringify(key)}:${nullable(given, item)}`).join(',')}}`
      }
    }
    case 'timestamp':
      return timestamp(shape.format)
    case 'blob':
      return (value) => `"${Buffer.from(value as Uint8Array).toString('base64')}"`
    case 'number':
      // int8 columns may come as bigint, which JSON.stringify refuses.
      return (value) => (typeof value === 'bigint' ? String(value) : JSON.stringify(value))
    default:
      return (value) => JSON.stringify(value)
  }
}

const nullable = (value: unknown, write: Writer): string =>
  value === null || value === undefined ? 'null' : write(value)

function structure(shape: StructureShape): Writer {
  const members = shape.members.map(({ name, shape }) => ({
    name,
    key: `${JSON.stringify(name)}:`,
    write: writerOf(shape()),
  }))
  return (value) => {
    const record = value as Record<string, unknown>
    let text = ''
    for (const { name, key, write } of members) {
      const given = record[name]
      if (given !== undefined && given !== null) text += (text === '' ? key : `,${key}`) + write(given)
    }
    return `{${text}}`
  }
}

function timestamp(format: 'epoch-seconds' | 'date-time' | 'http-date'): Writer {
  switch (format) {
    case 'epoch-seconds':
      return (value) => JSON.stringify((value as Date).getTime() / 1000)
    case 'date-time':
      return (value) => `"${(value as Date).toISOString()}"`
    case 'http-date':
      return (value) => `"${(value as Date).toUTCString()}"`
  }
}
