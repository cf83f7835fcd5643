/**
 * requestParameters and responseElements: inputs and outputs as JSON text in CloudTrail's spelling (members begin in lower
 * case), without what is secret and without blobs. One closure per shape, since every call comes through here.
 */
import { REDACTED, SECRET_MEMBERS } from '../../contract/redact.ts'
import type { Shape, StructureShape } from '../../contract/shape.ts'

type Writer = (value: unknown) => string | undefined

const HIDDEN = JSON.stringify(REDACTED)
const hide: Writer = () => HIDDEN

/** Elements longer than this are left out of an event (CloudTrail: 100 KB). */
const MAX_CHARACTERS = 65_536

const writers = new WeakMap<StructureShape, Writer>()

/** The elements as a JSON text, or `null` for none. `hidden`: further members of the outermost structure. */
export function elements(shape: StructureShape, value: unknown, hidden?: ReadonlySet<string>): string {
  let write = writers.get(shape)
  if (!write) {
    write = structure(shape, hidden)
    writers.set(shape, write)
  }
  const text = write(value)
  if (text === undefined || text === '{}') return 'null'
  return text.length > MAX_CHARACTERS ? omitted(text.length) : text
}

const omitted = (originalSize: number): string =>
  JSON.stringify({ omitted: true, originalSize, reason: 'The elements are too long for an event.' })

function structure(shape: StructureShape, hidden?: ReadonlySet<string>): Writer {
  const members = shape.members.map(({ name, shape: of }) => {
    let made: Writer | undefined
    // Made when it is first needed: a few shapes contain themselves.
    const write: Writer = (value) => {
      made ??= SECRET_MEMBERS.has(name) || hidden?.has(name) ? hide : writerOf(of())
      return made(value)
    }
    return { name, key: `${JSON.stringify(lowerFirst(name))}:`, write }
  })
  return (value) => {
    if (typeof value !== 'object' || value === null) return undefined
    const record = value as Record<string, unknown>
    let text = ''
    for (const { name, key, write } of members) {
      const given = record[name]
      if (given === undefined || given === null) continue
      const written = write(given)
      if (written !== undefined) text += (text === '' ? key : `,${key}`) + written
    }
    return `{${text}}`
  }
}

function writerOf(shape: Shape): Writer {
  if (shape.sensitive) return hide
  switch (shape.kind) {
    case 'structure':
      return structure(shape)
    case 'list': {
      const write = writerOf(shape.element())
      return (value) => `[${Array.from(value as Iterable<unknown>, (item) => write(item) ?? 'null').join(',')}]`
    }
    case 'map': {
      const write = writerOf(shape.value())
      return (value) => {
        const entries = Object.entries(value as object).map(([key, item]) => [key, write(item)])
        const kept = entries.filter(([, text]) => text !== undefined)
        return `{${kept.map(([key, text]) => `${JSON.stringify(key)}:${text}`).join(',')}}`
      }
    }
    case 'blob':
      return () => undefined
    case 'timestamp':
      return (value) => JSON.stringify(value)
    default:
      return (value) => (typeof value === 'bigint' ? String(value) : JSON.stringify(value))
  }
}

const lowerFirst = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1)
