/**
 * The one file that knows how the AWS SDK encodes its schemas. It joins them with the limits of `limits/<service>.json` (which
 * the SDK lacks) into the plain shapes of shape.ts. Nothing is built until an operation is asked for, and then only what that
 * operation reaches. The registry, dispatch and the tests call it.
 *
 * The SDK is imported by its root: the CommonJS file is one bundle, so no deeper path exists that Node can load. Only its
 * `$` exports are used; a bundler may alias the package to its `dist-es/schemas/schemas_0.js`, which carries all of them.
 *
 * Another service is one entry in `sources` here and one in `Services` of types.ts.
 */
import * as cloudtrail from '@aws-sdk/client-cloudtrail'
import * as iam from '@aws-sdk/client-iam'
import * as kms from '@aws-sdk/client-kms'
import * as ssm from '@aws-sdk/client-ssm'
import * as sts from '@aws-sdk/client-sts'
import { agentSsmErrors, agentSsmOperations, ec2messagesErrors, ec2messagesOperations } from './agent-operations.ts'
import cloudtrailLimits from './limits/cloudtrail.json' with { type: 'json' }
import iamLimits from './limits/iam.json' with { type: 'json' }
import kmsLimits from './limits/kms.json' with { type: 'json' }
import ssmLimits from './limits/ssm.json' with { type: 'json' }
import stsLimits from './limits/sts.json' with { type: 'json' }
import type { ErrorModel, Member, OperationModel, Shape, StringShape, StructureShape } from './shape.ts'
import type { Input, OperationName, Output, ServiceName } from './types.ts'

/** How a service puts errors on the wire: the JSON protocol answers 400 or 500, the query protocol the modelled status. */
export type Protocol = 'json' | 'query'

interface ShapeLimits {
  readonly type: string
  readonly min?: number
  readonly max?: number
  readonly pattern?: string
  readonly enum?: readonly string[]
  readonly sensitive?: boolean
  readonly member?: string
  readonly key?: string
  readonly value?: string
}

interface Limits {
  readonly operations: Readonly<Record<string, { readonly errors: readonly string[] } | undefined>>
  readonly shapes: Readonly<Record<string, ShapeLimits | undefined>>
  readonly structures: Readonly<
    Record<string, { readonly members: Readonly<Record<string, string | undefined>> } | undefined>
  >
}

interface Source {
  readonly protocol: Protocol
  /** The exports of an SDK client. */
  readonly sdk: Readonly<Record<string, unknown>>
  readonly limits: Limits
  readonly declared: Readonly<Record<string, OperationModel>>
  readonly declaredErrors: readonly string[]
}

const NO_LIMITS: Limits = { operations: {}, shapes: {}, structures: {} }

const sources: Readonly<Record<ServiceName, Source>> = {
  ssm: {
    protocol: 'json',
    sdk: ssm,
    limits: ssmLimits as Limits,
    declared: agentSsmOperations,
    declaredErrors: agentSsmErrors,
  },
  ec2messages: {
    protocol: 'json',
    sdk: {},
    limits: NO_LIMITS,
    declared: ec2messagesOperations,
    declaredErrors: ec2messagesErrors,
  },
  iam: { protocol: 'query', sdk: iam, limits: iamLimits as Limits, declared: {}, declaredErrors: [] },
  sts: { protocol: 'query', sdk: sts, limits: stsLimits as Limits, declared: {}, declaredErrors: [] },
  kms: { protocol: 'json', sdk: kms, limits: kmsLimits as Limits, declared: {}, declaredErrors: [] },
  cloudtrail: {
    protocol: 'json',
    sdk: cloudtrail,
    limits: cloudtrailLimits as Limits,
    declared: {},
    declaredErrors: [],
  },
}

interface Model {
  readonly protocol: Protocol
  find(name: string): OperationModel | undefined
  has(name: string): boolean
  names(): string[]
  errors(): ReadonlyMap<string, ErrorModel>
}

const models = new Map<string, Model>()

function modelOf(service: string): Model | undefined {
  let model = models.get(service)
  if (model === undefined && isService(service)) {
    model = read(service, sources[service])
    models.set(service, model)
  }
  return model
}

function isService(service: string): service is ServiceName {
  return Object.hasOwn(sources, service)
}

/** The services of the contract, by their SigV4 names. */
export const serviceNames = (): ServiceName[] => Object.keys(sources) as ServiceName[]

/** Whether the model knows this operation; builds nothing. */
export const isModelled = (service: string, name: string): boolean => modelOf(service)?.has(name) ?? false

/** Every operation of a service, agents' own included. */
export const operationNames = (service: ServiceName): string[] => modelOf(service)?.names() ?? []

/** The operation, or undefined where the model knows no such service or operation: dispatch answers UnknownOperationException. */
export const findOperation = (service: string, name: string): OperationModel | undefined => modelOf(service)?.find(name)

/** The operation, with its types. */
export function operation<Op extends OperationName<S>, S extends ServiceName>(
  service: S,
  name: Op,
): OperationModel<Input<Op, S>, Output<Op, S>> {
  const found = findOperation(service, name)
  if (found === undefined) throw new Error(`the model of ${service} has no operation ${name}`)
  return found as OperationModel<Input<Op, S>, Output<Op, S>>
}

/** The error shape of a service, or undefined where its model has none of that name. */
export const findError = (service: string, name: string): ErrorModel | undefined => modelOf(service)?.errors().get(name)

export const protocolOf = (service: string): Protocol => modelOf(service)?.protocol ?? 'json'

// ── The SDK's encoding ──────────────────────────────────────────────────────────────────────────────────────────────────────
// [0, ns, name, traits, type]                                 a simple type with traits
// [1, ns, name, traits, element]                              a list
// [2, ns, name, traits, key, value]                           a map
// [3, ns, name, traits, names, types, required?]              a structure; the first `required` members are required
// [4, ns, name, traits, names, types]                         a union
// [-3, ns, name, traits, names, types, required?]             an error
// [9, ns, name, traits, input, output]                        an operation
// A type is one of these, a number (below; + 64 a list of it, + 128 a map to it), `() => type`, or `[type, traits]`.

const SIMPLE = 0
const LIST = 1
const MAP = 2
const STRUCTURE = 3
const UNION = 4
const ERROR = -3
const OPERATION = 9

const LIST_OF = 64
const MAP_TO = 128

/** The bit of a trait set that marks a sensitive value. */
const SENSITIVE = 8

type Schema = readonly [kind: number, namespace: string, name: string, traits: unknown, ...rest: unknown[]]

function isSchema(value: unknown, ...kinds: number[]): value is Schema {
  return Array.isArray(value) && value.length >= 5 && kinds.includes(value[0])
}

function read(service: ServiceName, source: Source): Model {
  const shapes = shapesOf(source.limits)
  const operations = new Map<string, OperationModel>(Object.entries(source.declared))
  const schemaOf = (name: string): Schema | undefined => {
    const key = `${name}$`
    const schema = Object.hasOwn(source.sdk, key) ? source.sdk[key] : undefined
    return isSchema(schema, OPERATION) ? schema : undefined
  }
  const find = (name: string): OperationModel | undefined => {
    let found = operations.get(name)
    const schema = found === undefined ? schemaOf(name) : undefined
    if (schema !== undefined) {
      found = {
        service,
        name,
        input: shapes.structure(schema[4]),
        output: shapes.structure(schema[5]),
        errors: source.limits.operations[name]?.errors,
      }
      operations.set(name, found)
    }
    return found
  }
  let errors: ReadonlyMap<string, ErrorModel> | undefined
  return {
    protocol: source.protocol,
    find,
    has: (name) => operations.has(name) || schemaOf(name) !== undefined,
    names: () => {
      const published = Object.values(source.sdk).filter((value) => isSchema(value, OPERATION))
      return [...published.map((schema) => schema[2]), ...Object.keys(source.declared)]
    },
    errors: () => {
      errors ??= readErrors(source, shapes)
      return errors
    },
  }
}

/** The base class of a client's errors has a schema of its own, under this prefix. */
const SYNTHETIC = 'smithy.ts.sdk.synthetic'

function readErrors(source: Source, shapes: Shapes): ReadonlyMap<string, ErrorModel> {
  const errors = new Map<string, ErrorModel>()
  for (const name of source.declaredErrors) errors.set(name, declaredError(name))
  for (const schema of Object.values(source.sdk)) {
    if (!isSchema(schema, ERROR) || schema[1].startsWith(SYNTHETIC)) continue
    const traits = (schema[3] || {}) as {
      error?: string
      httpError?: number
      awsQueryError?: [code: string, status: number]
    }
    const shape = shapes.structure(schema)
    errors.set(schema[2], {
      name: schema[2],
      fault: traits.error === 'server' ? 'server' : 'client',
      queryStatus: traits.awsQueryError?.[1] ?? traits.httpError,
      queryCode: traits.awsQueryError?.[0] ?? schema[2],
      shape,
      messageMember: messageMember(shape),
    })
  }
  return errors
}

function messageMember(shape: StructureShape): ErrorModel['messageMember'] {
  const names = shape.members.map((member) => member.name)
  return names.includes('Message') ? 'Message' : names.includes('message') ? 'message' : undefined
}

const declaredMessage: StringShape = { kind: 'string', name: 'String', sensitive: false }

function declaredError(name: string): ErrorModel {
  const members: Member[] = [{ name: 'Message', required: false, shape: () => declaredMessage }]
  return {
    name,
    fault: name === 'InternalServerException' ? 'server' : 'client',
    queryStatus: undefined,
    queryCode: name,
    shape: { kind: 'structure', name, sensitive: false, union: false, members },
    messageMember: 'Message',
  }
}

interface Shapes {
  structure(type: unknown): StructureShape
}

/** Turns SDK types into shapes. Structures are kept by name, so that one that contains itself ends in itself. */
function shapesOf(limits: Limits): Shapes {
  const structures = new Map<string, StructureShape>()

  /** `limit` is the name of the limits' shape for this type, where the place it stands in tells it. */
  function shape(type: unknown, limit?: string, sensitive = false): Shape {
    if (typeof type === 'function') return shape(type(), limit, sensitive)
    if (typeof type === 'number') return simple(type, limit, sensitive)
    if (!Array.isArray(type)) throw new Error(`unknown schema ${String(type)}`)
    if (type.length === 2) return shape(type[0], limit, sensitive || isSensitive(type[1]))
    const [kind, , name, traits] = type as unknown as Schema
    const hidden = sensitive || isSensitive(traits)
    const own = limit ?? (limits.shapes[name] ? name : undefined)
    if (kind === SIMPLE) return simple(Number(type[4]), own, hidden)
    if (kind === LIST) return list(type[4], own, name, hidden)
    if (kind === MAP) return map(type[4], type[5], own, name, hidden)
    if (kind === STRUCTURE || kind === UNION || kind === ERROR) return structure(type)
    throw new Error(`unknown schema of kind ${kind}: ${name}`)
  }

  function structure(type: unknown): StructureShape {
    const schema: unknown = typeof type === 'function' ? type() : type
    if (schema === 'unit') return { kind: 'structure', name: 'Unit', sensitive: false, union: false, members: [] }
    if (!isSchema(schema, STRUCTURE, UNION, ERROR)) throw new Error(`not a structure: ${String(schema)}`)
    const [kind, , name, traits, names, types, required] = schema
    const known = structures.get(name)
    if (known !== undefined) return known
    const memberLimits = limits.structures[name]?.members
    const members = (names as string[]).map((member, index): Member => {
      if (member in Object.prototype) throw new Error(`${name}.${member} would shadow what every object has`)
      const memberType = (types as unknown[])[index]
      return {
        name: member,
        required: index < Number(required ?? 0),
        shape: once(() => shape(memberType, memberLimits?.[member])),
      }
    })
    const made: StructureShape = {
      kind: 'structure',
      name,
      sensitive: isSensitive(traits),
      union: kind === UNION,
      members,
    }
    structures.set(name, made)
    return made
  }

  function list(element: unknown, limit: string | undefined, name: string, sensitive: boolean): Shape {
    const own = limitsOf(limit, ['list'])
    return {
      kind: 'list',
      name,
      sensitive: sensitive || own?.sensitive === true,
      min: own?.min,
      max: own?.max,
      element: once(() => shape(element, own?.member)),
    }
  }

  function map(key: unknown, value: unknown, limit: string | undefined, name: string, sensitive: boolean): Shape {
    const own = limitsOf(limit, ['map'])
    return {
      kind: 'map',
      name,
      sensitive: sensitive || own?.sensitive === true,
      min: own?.min,
      max: own?.max,
      key: once(() => shape(key, own?.key) as StringShape),
      value: once(() => shape(value, own?.value)),
    }
  }

  function simple(type: number, limit: string | undefined, sensitive: boolean): Shape {
    if (type >= MAP_TO) return map(0, type - MAP_TO, limit, limit ?? 'Map', sensitive)
    if (type >= LIST_OF) return list(type - LIST_OF, limit, limit ?? 'List', sensitive)
    const read = (...kinds: string[]) => limitsOf(limit, kinds)
    const base = (own: ShapeLimits | undefined, name: string) => ({
      name: limit ?? name,
      sensitive: sensitive || own?.sensitive === true,
    })
    switch (type) {
      case 0: {
        const own = read('string')
        const { min, max, pattern, enum: values } = own ?? {}
        return { kind: 'string', ...base(own, 'String'), min, max, pattern, values }
      }
      case 1: {
        const own = read('integer', 'long', 'float', 'double')
        const width = own?.type === 'integer' || own?.type === 'long' ? own.type : 'double'
        return { kind: 'number', ...base(own, 'Number'), width, min: own?.min, max: own?.max }
      }
      case 2:
        return { kind: 'boolean', ...base(read('boolean'), 'Boolean') }
      case 4:
      case 7:
        return { kind: 'timestamp', ...base(read('timestamp'), 'Timestamp'), format: 'epoch-seconds' }
      case 5:
        return { kind: 'timestamp', ...base(read('timestamp'), 'Timestamp'), format: 'date-time' }
      case 6:
        return { kind: 'timestamp', ...base(read('timestamp'), 'Timestamp'), format: 'http-date' }
      case 21: {
        const own = read('blob')
        return { kind: 'blob', ...base(own, 'Blob'), min: own?.min, max: own?.max }
      }
      default:
        throw new Error(`unknown simple type ${type}`)
    }
  }

  function limitsOf(name: string | undefined, kinds: string[]): ShapeLimits | undefined {
    const found = name === undefined ? undefined : limits.shapes[name]
    if (found !== undefined && !kinds.includes(found.type)) {
      throw new Error(`${name} is a ${found.type} in the limits and a ${kinds[0]} in the SDK`)
    }
    return found
  }

  return { structure }
}

/** Traits are a bit set, or an object where one of them carries a value. */
function isSensitive(traits: unknown): boolean {
  if (typeof traits === 'number') return (traits & SENSITIVE) !== 0
  return typeof traits === 'object' && traits !== null && 'sensitive' in traits && Boolean(traits.sensitive)
}

function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}
