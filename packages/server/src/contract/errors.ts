/**
 * Errors on the wire: the status and the body that a service's model gives an error's name. Dispatch is the caller.
 */
import { type CommonErrorName, commonErrors } from './common-errors.ts'
import { encodeStructure } from './encode.ts'
import { findError, protocolOf } from './model.ts'
import type { ErrorModel, OperationModel } from './shape.ts'
import type { ErrorName, ServiceName } from './types.ts'

export interface ErrorAnswer {
  status: number
  body: string
}

/** What an error is, for a given service. */
export interface ErrorTraits {
  /** The HTTP status. The JSON protocol sends 400 or 500 whatever finer status the model carries for the query protocol. */
  status: number
  fault: 'client' | 'server'
  /** The member of the body that carries the text; some error shapes have none. */
  messageMember: 'Message' | 'message' | undefined
}

const isCommon = (name: string): name is CommonErrorName => Object.hasOwn(commonErrors, name)

/** Status, fault and message member of an error; undefined where neither the service nor the common list knows it. */
export function errorTraits(service: ServiceName, name: string): ErrorTraits | undefined {
  const model = findError(service, name)
  if (model !== undefined) {
    return { status: statusOf(service, model), fault: model.fault, messageMember: model.messageMember }
  }
  if (!isCommon(name)) return undefined
  const status = commonErrors[name]
  return { status, fault: status >= 500 ? 'server' : 'client', messageMember: 'message' }
}

function statusOf(service: ServiceName, model: ErrorModel): number {
  const plain = model.fault === 'server' ? 500 : 400
  return protocolOf(service) === 'query' ? (model.queryStatus ?? plain) : plain
}

/**
 * The answer for an error: `{"__type":"ParameterNotFound","message":"…"}`. `members` are further members of the error shape;
 * those it does not have are dropped. A shape without a member for its text, such as InvalidFilterKey, has it beside its members:
 * the AWS CLI and the SDKs read `message` whatever the shape says. A name that nothing models becomes InternalServerError
 * without its text.
 */
export function errorBody(
  service: ServiceName,
  name: ErrorName,
  message: string,
  members: Readonly<Record<string, unknown>> = {},
): ErrorAnswer {
  const traits = errorTraits(service, name)
  if (traits === undefined) return { status: 500, body: '{"__type":"InternalServerError"}' }
  const { status, messageMember } = traits
  const model = findError(service, name)
  const modelled = messageMember === undefined ? members : { ...members, [messageMember]: message }
  const shape = model === undefined ? '' : encodeStructure(model.shape, modelled).slice(1, -1)
  const isTextLeft = model === undefined || (messageMember === undefined && message !== '')
  const text = isTextLeft ? `"message":${JSON.stringify(message)}` : ''
  return { status, body: `{${[`"__type":${JSON.stringify(name)}`, shape, text].filter(Boolean).join(',')}}` }
}

/** Throws an Error when an operation answers an error that neither its model nor the common list gives it. For tests. */
export function assertModelled(operation: OperationModel, name: string): void {
  if (isCommon(name)) return
  const { service, errors } = operation
  const known = errors === undefined ? findError(service, name) !== undefined : errors.includes(name)
  if (!known) throw new Error(`${service}:${operation.name} answers ${name}, which its model does not give it`)
}
