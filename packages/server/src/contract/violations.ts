/**
 * The words of ValidationException: `N validation errors detected: Value 'V' at 'P' failed to satisfy constraint: C; …`, in
 * the order of declaration. Walks an input that decode.ts has typed and found wanting.
 */
import { type Constraint, constraintsOf, NOT_NULL } from './constraints.ts'
import { SECRET_MEMBERS } from './redact.ts'
import type { ListShape, MapShape, Shape, StructureShape } from './shape.ts'

/** An answer lists no more: a body of 1 MB can hold 300,000 empty structures that lack a member. */
const MAX_VIOLATIONS = 100

interface Report {
  readonly violations: string[]
}

/** The text of the exception for an input with at least one violation. */
export function validationText(shape: StructureShape, input: unknown): string {
  const report: Report = { violations: [] }
  walk(shape, input, '', false, report)
  const { violations } = report
  return `${violations.length} validation error${violations.length === 1 ? '' : 's'} detected: ${violations.join('; ')}`
}

/** `hidden`: something around the value is sensitive, so the value is too. The text goes into the audit. */
function walk(shape: Shape, value: unknown, path: string, hidden: boolean, report: Report): void {
  if (report.violations.length >= MAX_VIOLATIONS) return
  const sensitive = hidden || shape.sensitive
  for (const constraint of constraintsOf(shape)) {
    if (!constraint.holds(value)) add(report, sensitive ? undefined : show(shape, value), path, constraint.text)
  }
  if (shape.kind === 'structure') members(shape, value as Record<string, unknown>, path, sensitive, report)
  if (shape.kind === 'list') elements(shape, value as unknown[], path, sensitive, report)
  if (shape.kind === 'map') entries(shape, value as Record<string, unknown>, path, sensitive, report)
}

function add(report: Report, value: string | undefined, path: string, constraint: string): void {
  if (report.violations.length >= MAX_VIOLATIONS) return
  const shown = value === undefined ? 'Value' : `Value ${value}`
  report.violations.push(`${shown} at '${path}' failed to satisfy constraint: ${constraint}`)
}

/** The quoted value; `null` goes without quotes. */
const show = (shape: Shape, value: unknown): string => `'${print(shape, value)}'`
const NULL = 'null'
const HIDDEN = '***Sensitive Data Redacted***'

function members(shape: StructureShape, value: Record<string, unknown>, path: string, hidden: boolean, report: Report) {
  for (const member of shape.members) {
    const at = path === '' ? lowerFirst(member.name) : `${path}.${lowerFirst(member.name)}`
    const given = value[member.name]
    if (given !== undefined) walk(member.shape(), given, at, hidden || SECRET_MEMBERS.has(member.name), report)
    else if (member.required) add(report, NULL, at, NOT_NULL)
  }
}

function elements(shape: ListShape, value: unknown[], path: string, hidden: boolean, report: Report) {
  const element = shape.element()
  if (isScalar(element)) {
    const broken = brokenBy(element, value)
    if (broken === undefined) return
    const shown = hidden || element.sensitive ? undefined : show(shape, value)
    add(report, shown, path, `Member must satisfy constraint: [${broken}]`)
    return
  }
  value.forEach((given, index) => {
    const at = `${path}.${index + 1}.member`
    if (given === null) add(report, NULL, at, NOT_NULL)
    else walk(element, given, at, hidden, report)
  })
}

function entries(shape: MapShape, value: Record<string, unknown>, path: string, hidden: boolean, report: Report) {
  const item = shape.value()
  const shown = () => (hidden || item.sensitive || shape.key().sensitive ? undefined : show(shape, value))
  const brokenKeys = brokenBy(shape.key(), Object.keys(value))
  if (brokenKeys !== undefined) add(report, shown(), path, `Map keys must satisfy constraint: [${brokenKeys}]`)
  if (isScalar(item)) {
    const broken = brokenBy(item, Object.values(value))
    if (broken !== undefined) add(report, shown(), path, `Map value must satisfy constraint: [${broken}]`)
    return
  }
  for (const key of Object.keys(value)) {
    const at = `${path}.${key}.member`
    const given = value[key]
    if (given === null) add(report, NULL, at, NOT_NULL)
    else walk(item, given, at, hidden, report)
  }
}

const isScalar = (shape: Shape): boolean => shape.kind !== 'structure' && shape.kind !== 'list' && shape.kind !== 'map'

/** All constraints of a scalar shape as one text, where one of the values breaks one; undefined where all hold. */
function brokenBy(shape: Shape, values: unknown[]): string | undefined {
  const constraints: Constraint[] = constraintsOf(shape)
  const texts = constraints.map((constraint) => constraint.text)
  if (values.includes(null)) return [...texts, NOT_NULL].join(', ')
  const broken = values.some((value) => constraints.some((constraint) => !constraint.holds(value)))
  return broken ? texts.join(', ') : undefined
}

/** As a Java object prints itself. */
function print(shape: Shape, value: unknown): string {
  if (value === null || value === undefined) return NULL
  if (shape.sensitive) return HIDDEN
  switch (shape.kind) {
    case 'structure': {
      const record = value as Record<string, unknown>
      const fields = shape.members.map(
        (member) =>
          `${lowerFirst(member.name)}=${SECRET_MEMBERS.has(member.name) ? HIDDEN : print(member.shape(), record[member.name])}`,
      )
      return `${shape.name}(${fields.join(', ')})`
    }
    case 'list':
      return `[${(value as unknown[]).map((element) => print(shape.element(), element)).join(', ')}]`
    case 'map': {
      const pairs = Object.entries(value as object).map(([key, item]) => `${key}=${print(shape.value(), item)}`)
      return `{${pairs.join(', ')}}`
    }
    case 'timestamp':
      return (value as Date).toISOString()
    case 'blob': {
      const size = (value as Uint8Array).byteLength
      return `java.nio.HeapByteBuffer[pos=0 lim=${size} cap=${size}]`
    }
    default:
      return String(value)
  }
}

const lowerFirst = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1)
