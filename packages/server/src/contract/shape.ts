/**
 * The plain form of a shape: what the rest of the contract folder knows. It says nothing of where it came from
 * (model.ts turns SDK schemas and limits into it, agent-operations.ts declares it by hand).
 */

/** Limits of length: characters of a string, bytes of a blob, members of a list or map; for numbers the value itself. */
export interface Range {
  readonly min?: number
  readonly max?: number
}

interface Base {
  /** The name of the shape in the model, or of its kind where the model gives none. */
  readonly name: string
  /** Never to be seen in an error, a log or the audit. */
  readonly sensitive: boolean
}

export interface Member {
  readonly name: string
  readonly required: boolean
  /** A function, because a few shapes (InventoryAggregator) contain themselves. */
  readonly shape: () => Shape
}

export interface StructureShape extends Base {
  readonly kind: 'structure'
  readonly members: readonly Member[]
  /** Exactly one member is set. */
  readonly union: boolean
}

export interface ListShape extends Base, Range {
  readonly kind: 'list'
  readonly element: () => Shape
}

export interface MapShape extends Base, Range {
  readonly kind: 'map'
  readonly key: () => StringShape
  readonly value: () => Shape
}

export interface StringShape extends Base, Range {
  readonly kind: 'string'
  /** A Java regular expression that has to match the whole text. */
  readonly pattern?: string
  readonly values?: readonly string[]
}

export interface NumberShape extends Base, Range {
  readonly kind: 'number'
  /** integer: 32 bits; long: whole and exact in a double (2^53-1); double: any finite number. */
  readonly width: 'integer' | 'long' | 'double'
}

export interface BooleanShape extends Base {
  readonly kind: 'boolean'
}

/** Epoch seconds on the wire of every service here, unless `format` says otherwise. */
export interface TimestampShape extends Base {
  readonly kind: 'timestamp'
  readonly format: 'epoch-seconds' | 'date-time' | 'http-date'
}

export interface BlobShape extends Base, Range {
  readonly kind: 'blob'
}

export type Shape =
  | StructureShape
  | ListShape
  | MapShape
  | StringShape
  | NumberShape
  | BooleanShape
  | TimestampShape
  | BlobShape

/** One operation. `Input` and `Output` are carried for the compiler only. */
export interface OperationModel<Input = unknown, Output = unknown> {
  readonly service: string
  readonly name: string
  readonly input: StructureShape
  readonly output: StructureShape
  /** Names of the errors that the model gives this operation; undefined where it is not known, then any of the service. */
  readonly errors: readonly string[] | undefined
  readonly types?: { readonly input: Input; readonly output: Output }
}

/** One error shape of a service. */
export interface ErrorModel {
  readonly name: string
  readonly fault: 'client' | 'server'
  /** The status that the query protocol gives it. */
  readonly queryStatus: number | undefined
  /** The `Code` that the query protocol writes, which differs from the name for some shapes. */
  readonly queryCode: string
  readonly shape: StructureShape
  /** The member that carries the text. */
  readonly messageMember: 'Message' | 'message' | undefined
}
