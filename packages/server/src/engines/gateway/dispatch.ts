/**
 * From the bytes of a request to the bytes of its answer: protocol → authenticate → decode and check → authorize
 * → handle → encode, then the observers. The one place that turns errors into answers: what is not an AwsError is a
 * defect, is logged with its request id, and leaves as InternalServerError without a word of its own.
 */
import { assertModelled, decode } from '../../contract/check.ts'
import { findOperation, isModelled } from '../../contract/model.ts'
import type { ServiceName } from '../../contract/types.ts'
import { anonymous } from '../../platform/caller.ts'
import type { Access, AuditedCall, Auditor, Authorizer, Observation, Observer } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { sqlState } from '../../platform/database.ts'
import { AwsError } from '../../platform/errors.ts'
import type { Logger } from '../../platform/log.ts'
import type { Registry } from '../../platform/registry.ts'
import type { Authenticated, Authenticator, SignedRequest } from './authenticate.ts'
import type { Metrics } from './metrics.ts'
import { type Call, readCall } from './protocols.ts'

export interface Request extends SignedRequest {
  requestId: string
  sourceIp: string
  encrypted: boolean
  host: string
  userAgent: string
  target: string | undefined
  contentType: string
}

export interface Answer {
  status: number
  contentType: string
  body: string
}

export interface Dispatch {
  registry: Registry
  authenticator: Authenticator
  authorizer: Authorizer
  metrics: Metrics
  observers: Observer[]
  auditor: Auditor | undefined
  log: Logger
  /** The region of requests that carry no signature. */
  region: string
  /** Checks every answer and every error against the model: on in test runs. */
  strict: boolean
  contextFor(request: Request, authenticated: Authenticated): Context
  now(): number
}

export async function dispatch(gate: Dispatch, request: Request): Promise<Answer> {
  const call = readCall(request)
  const { service, operation, contentType } = call
  const isKnown = service !== undefined && isModelled(service, operation)
  const label = isKnown ? operation : 'unknown'
  const started = gate.now()
  try {
    if (!isKnown) throw new AwsError('UnknownOperationException', call.asked)
    const body = await answer(gate, request, call, service, started)
    gate.metrics.answered(service, label, '', (gate.now() - started) / 1000)
    return { status: 200, contentType, body }
  } catch (error) {
    const known = error instanceof AwsError ? error : internal(gate, request, error)
    gate.metrics.answered(service ?? 'unknown', label, known.name, (gate.now() - started) / 1000)
    return { ...call.failure(known), contentType }
  }
}

async function answer(
  gate: Dispatch,
  request: Request,
  call: Call,
  service: ServiceName,
  started: number,
): Promise<string> {
  const name = call.operation
  const operation = gate.registry.operation(service, name)
  const authenticated = await authenticate(gate, request, service, operation?.authentication ?? 'sigv4')
  const context = gate.contextFor(request, authenticated)
  const model = findOperation(service, name)!
  const audited: AuditedCall = { context, service, operation: name }
  let body = ''
  let output: unknown
  let failure: AwsError | undefined
  try {
    if (!operation) throw notImplemented(service, name)
    const input = decode(model, call.input(model))
    audited.input = input
    audited.access = await operation.authorize(input, context)
    await authorize(gate, context, `${service}:${name}`, audited.access)
    const intended = gate.auditor?.intend(audited)
    if (intended) await intended
    output = await operation.handle(context, input)
    body = call.answer(model, output, gate.strict)
  } catch (error) {
    failure = error instanceof AwsError ? error : (unstorable(gate, request, error) ?? internal(gate, request, error))
  }
  const noted = gate.auditor?.note(audited, output, failure)
  if (noted) await noted
  const error = failure && { name: failure.name, message: failure.message }
  const milliseconds = gate.now() - started
  observed(gate, { context, service, operation: name, input: audited.input, output, error, milliseconds })
  if (!failure) return body
  if (gate.strict && failure.name !== 'InternalServerError') assertModelled(model, failure.name)
  throw failure
}

const notImplemented = (service: string, name: string): AwsError =>
  new AwsError(
    'NotImplementedException',
    `Musterbook does not implement ${service}:${name} yet. It is a real operation of AWS; see docs/compatibility.md.`,
  )

/** An observer that fails must not take back an answer to what has been done. */
function observed(gate: Dispatch, observation: Observation): void {
  for (const observe of gate.observers) {
    try {
      observe(observation)
    } catch (error) {
      gate.log.error({ err: error, requestId: observation.context.requestId }, 'an observer failed')
    }
  }
}

function authenticate(
  gate: Dispatch,
  request: Request,
  service: string,
  kind: 'sigv4' | 'anonymous' | 'node-key',
): Authenticated | Promise<Authenticated> {
  if (kind === 'anonymous') {
    gate.authenticator.unsigned(request)
    return { caller: anonymous, region: gate.region }
  }
  return kind === 'node-key' ? gate.authenticator.nodeKey(request, service) : gate.authenticator.sigv4(request, service)
}

export async function authorize(
  gate: Pick<Dispatch, 'authorizer'>,
  context: Context,
  action: string,
  access: Access | Access[],
): Promise<void> {
  const all = Array.isArray(access) ? access : [access]
  // A call that names nothing was not looked at: that must never be a way in.
  if (all.length === 0) throw namesNothing(context, action)
  for (const one of all) {
    if (one.free !== undefined) continue
    if (one.resources.length === 0) throw namesNothing(context, one.action ?? action)
    const refusal = await gate.authorizer.decide(context.caller, { ...one, action: one.action ?? action }, context)
    if (refusal !== undefined) throw new AwsError('AccessDeniedException', refusal)
  }
}

const namesNothing = ({ caller }: Context, action: string): AwsError =>
  new AwsError(
    'AccessDeniedException',
    `User: ${caller.arn} is not authorized to perform: ${action} because the call names no resource`,
  )

/**
 * Values that no column holds: NUL in a text, a number or a moment out of range. Operations check what they know to check;
 * this is the net below them, since nothing that a client sends may be called a defect of the server.
 */
function unstorable(gate: Dispatch, request: Request, error: unknown): AwsError | undefined {
  const wrong = UNSTORABLE[sqlState(error) ?? '']
  if (wrong === undefined) return undefined
  gate.log.warn({ requestId: request.requestId, target: request.target }, `the request holds ${wrong}`)
  return new AwsError('ValidationException', `The request holds ${wrong}.`)
}

/** By SQLSTATE. */
const UNSTORABLE: Record<string, string> = {
  '22003': 'a number that is out of range',
  '22008': 'a date that is out of range',
  '22021': 'a NUL character, which cannot be stored',
  '22P05': 'a NUL character, which cannot be stored',
}

function internal(gate: Dispatch, request: Request, error: unknown): AwsError {
  gate.log.error(
    { err: error, requestId: request.requestId, target: request.target },
    'an operation failed by a defect',
  )
  return new AwsError('InternalServerError', `An internal error occurred. Request id ${request.requestId}.`)
}
