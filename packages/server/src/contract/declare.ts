/**
 * A few words to declare shapes by hand, with their TypeScript types inferred from the declaration, so that the two cannot
 * part. Used by agent-operations.ts for what AWS does not publish.
 */
import type { ListShape, MapShape, Member, OperationModel, Range, Shape, StringShape, StructureShape } from './shape.ts'

/** A shape that remembers the type of its decoded values. */
export type Declared<T, S extends Shape = Shape> = S & { readonly decoded?: T }

export type Decoded<D> = D extends { readonly decoded?: infer T } ? Exclude<T, undefined> : never

export interface Required<D extends Shape> {
  readonly required: D
}
type Entry = Shape | Required<Shape>
type Members<E extends Record<string, Entry>> = {
  [K in keyof E as E[K] extends Required<Shape> ? K : never]: E[K] extends Required<infer D> ? Decoded<D> : never
} & { [K in keyof E as E[K] extends Required<Shape> ? never : K]?: Decoded<E[K]> | undefined }
/** One flat object type instead of an intersection, for messages that can be read. */
type Flat<T> = { [K in keyof T]: T[K] }

export interface StringOptions extends Range {
  pattern?: string
  sensitive?: boolean
}

export const string = (options: StringOptions = {}): Declared<string, StringShape> => ({
  kind: 'string',
  name: 'String',
  sensitive: false,
  ...options,
})

export const oneOf = <const V extends string>(...values: V[]): Declared<V, StringShape> => ({
  kind: 'string',
  name: 'String',
  sensitive: false,
  values,
})

export const integer = (options: Range = {}): Declared<number> => ({
  kind: 'number',
  name: 'Integer',
  width: 'integer',
  sensitive: false,
  ...options,
})

export const boolean = (): Declared<boolean> => ({ kind: 'boolean', name: 'Boolean', sensitive: false })

export const timestamp = (): Declared<Date> => ({
  kind: 'timestamp',
  name: 'DateTime',
  sensitive: false,
  format: 'epoch-seconds',
})

export const list = <D extends Shape>(element: D, options: Range = {}): Declared<Decoded<D>[], ListShape> => ({
  kind: 'list',
  name: 'List',
  sensitive: false,
  element: () => element,
  ...options,
})

export const map = <D extends Shape>(
  value: D,
  options: Range & { sensitive?: boolean } = {},
): Declared<Record<string, Decoded<D>>, MapShape> => {
  const key = string()
  return { kind: 'map', name: 'Map', sensitive: false, key: () => key, value: () => value, ...options }
}

export const required = <D extends Shape>(shape: D): Required<D> => ({ required: shape })

export const structure = <E extends Record<string, Entry>>(
  name: string,
  entries: E,
): Declared<Flat<Members<E>>, StructureShape> => {
  const members: Member[] = Object.entries(entries).map(([member, entry]) => {
    const shape = 'required' in entry ? entry.required : entry
    return { name: member, required: 'required' in entry, shape: () => shape }
  })
  return { kind: 'structure', name, sensitive: false, union: false, members }
}

export const declareOperation = <I extends StructureShape, O extends StructureShape>(
  service: string,
  name: string,
  input: I,
  output: O,
  errors: readonly string[],
): OperationModel<Decoded<I>, Decoded<O>> => ({ service, name, input, output, errors })
