/**
 * JSON to typed input. One closure per shape, built when an operation is first decoded. A wrong JSON type ends at once in
 * SerializationException; limits only mark the input as refused, and violations.ts then finds the words in a second walk that
 * good inputs never pay for.
 */
import { constraintsOf } from './constraints.ts'
import { ContractError } from './contract-error.ts'
import type { ListShape, MapShape, NumberShape, OperationModel, Shape, StructureShape } from './shape.ts'
import { validationText } from './violations.ts'

/**
 * How often a structure may contain itself. Only the aggregators of inventory and OpsData do; two are of use, and unbounded
 * ones would let a body of 1 MB exhaust the stack.
 */
const MAX_RECURSION = 32

interface Progress {
  refused: boolean
  depth: number
}
type Decoder = (value: unknown, progress: Progress) => unknown

/**
 * The typed input of an operation: unknown members dropped, null as absent, Date for timestamps, Uint8Array for blobs, maps
 * without a prototype. Throws ContractError: SerializationException for wrong JSON types, ValidationException for limits.
 */
export function decode<I>(operation: OperationModel<I>, json: unknown): I {
  const progress: Progress = { refused: false, depth: 0 }
  const input = decoderOf(operation.input)(json ?? {}, progress)
  if (progress.refused) throw new ContractError('ValidationException', validationText(operation.input, input))
  return input as I
}

const decoders = new WeakMap<Shape, Decoder>()

function decoderOf(shape: Shape): Decoder {
  const known = decoders.get(shape)
  if (known !== undefined) return known
  let made: Decoder | undefined
  // Found only from within itself, while it is being made: the guard of recursion costs other shapes nothing.
  decoders.set(shape, (value, progress) => {
    if (made === undefined) throw new Error(`${shape.name} is used while it is made`)
    if (++progress.depth > MAX_RECURSION) throw new ContractError('SerializationException', 'Nesting is too deep')
    const decoded = made(value, progress)
    progress.depth--
    return decoded
  })
  made = constrained(shape, unconstrained(shape))
  decoders.set(shape, made)
  return made
}

function unconstrained(shape: Shape): Decoder {
  switch (shape.kind) {
    case 'structure':
      return structure(shape)
    case 'list':
      return list(shape)
    case 'map':
      return map(shape)
    case 'string':
      return (value) => (typeof value === 'string' ? value : wrongType(value, 'a String'))
    case 'boolean':
      return (value) => (typeof value === 'boolean' ? value : wrongType(value, 'a Boolean'))
    case 'number':
      return number(shape)
    case 'timestamp':
      return timestamp
    case 'blob':
      return blob
  }
}

/** Most shapes have none to two constraints: the loop is unrolled for those. */
function constrained(shape: Shape, decoder: Decoder): Decoder {
  const [first, second, ...more] = constraintsOf(shape)
  if (first === undefined) return decoder
  if (second === undefined) {
    return (value, progress) => {
      const decoded = decoder(value, progress)
      if (!first.holds(decoded)) progress.refused = true
      return decoded
    }
  }
  return (value, progress) => {
    const decoded = decoder(value, progress)
    if (!first.holds(decoded) || !second.holds(decoded)) progress.refused = true
    for (const constraint of more) if (!constraint.holds(decoded)) progress.refused = true
    return decoded
  }
}

function structure(shape: StructureShape): Decoder {
  const members = shape.members.map(({ name, required, shape }) => ({ name, required, decode: decoderOf(shape()) }))
  return (value, progress) => {
    if (!isObject(value)) return wrongType(value, shape.name)
    const decoded: Record<string, unknown> = {}
    let set = 0
    for (const member of members) {
      const given = value[member.name]
      if (given !== undefined && given !== null) {
        decoded[member.name] = member.decode(given, progress)
        set++
      } else if (member.required) progress.refused = true
    }
    if (shape.union && set !== 1) {
      throw new ContractError('SerializationException', `${shape.name} must have exactly one member set`)
    }
    return decoded
  }
}

function list(shape: ListShape): Decoder {
  const element = decoderOf(shape.element())
  return (value, progress) => {
    if (!Array.isArray(value)) throw new ContractError('SerializationException', 'Expected list or null')
    return value.map((given: unknown) => {
      if (given !== null) return element(given, progress)
      progress.refused = true
      return null
    })
  }
}

function map(shape: MapShape): Decoder {
  const keyDecoder = decoderOf(shape.key())
  const valueDecoder = decoderOf(shape.value())
  return (value, progress) => {
    if (!isObject(value)) throw new ContractError('SerializationException', 'Expected map or null')
    // Without a prototype `__proto__` and `constructor` are keys like any other.
    const decoded: Record<string, unknown> = Object.create(null)
    for (const key of Object.keys(value)) {
      keyDecoder(key, progress)
      const given = value[key]
      if (given === null) progress.refused = true
      decoded[key] = given === null ? null : valueDecoder(given, progress)
    }
    return decoded
  }
}

const INT32 = 2 ** 31

function number({ width }: NumberShape): Decoder {
  switch (width) {
    case 'integer':
      return (value) =>
        Number.isInteger(value) && (value as number) >= -INT32 && (value as number) < INT32
          ? value
          : wrongType(value, 'an Integer')
    case 'long':
      return (value) => (Number.isSafeInteger(value) ? value : wrongType(value, 'a Long'))
    case 'double':
      return (value) => (Number.isFinite(value) ? value : wrongType(value, 'a Double'))
  }
}

const ISO = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})$/

/** Epoch seconds as the JSON protocol sends them, or the ISO 8601 text that some clients send instead. */
function timestamp(value: unknown): unknown {
  const milliseconds =
    typeof value === 'number'
      ? Math.round(value * 1000)
      : typeof value === 'string' && ISO.test(value)
        ? Date.parse(value)
        : Number.NaN
  const date = new Date(milliseconds)
  return Number.isNaN(date.getTime()) ? wrongType(value, 'a Timestamp') : date
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

function blob(value: unknown): unknown {
  if (typeof value !== 'string' || !BASE64.test(value)) return wrongType(value, 'a Blob')
  return new Uint8Array(Buffer.from(value, 'base64'))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function wrongType(value: unknown, target: string): never {
  throw new ContractError('SerializationException', wrongTypeText(value, target))
}

/** The words of AWS's JSON front for a token of one kind where another is due. The value itself is never shown. */
function wrongTypeText(value: unknown, target: string): string {
  if (Array.isArray(value)) return 'Start of list found where not expected'
  switch (typeof value) {
    case 'object':
      return 'Start of structure or map found where not expected.'
    case 'boolean':
      return `${value ? 'TRUE' : 'FALSE'}_VALUE can not be converted to ${target}`
    case 'number':
      return `NUMBER_VALUE can not be converted to ${target}`
    default:
      return `STRING_VALUE can not be converted to ${target}`
  }
}
