/**
 * How a request names its operation and carries its input, and how answers and errors are written: AWS JSON 1.1 (the
 * operation in X-Amz-Target) and the query protocol of IAM and STS (Action in a form). Dispatch is the same for both.
 */
import { encode } from '../../contract/check.ts'
import { errorBody } from '../../contract/errors.ts'
import { isModelled } from '../../contract/model.ts'
import { encodeXml, errorXml, formToJson, readForm } from '../../contract/query.ts'
import type { OperationModel } from '../../contract/shape.ts'
import type { ServiceName } from '../../contract/types.ts'
import { AwsError } from '../../platform/errors.ts'
import type { Request } from './dispatch.ts'

export interface Call {
  service: ServiceName | undefined
  operation: string
  /** What an error says of a call whose operation is not known. */
  asked: string
  contentType: string
  input(model: OperationModel): unknown
  answer(model: OperationModel, output: unknown, strict: boolean): string
  failure(error: AwsError): { status: number; body: string }
}

/** X-Amz-Target's prefix of each service. */
const TARGETS: ReadonlyMap<string, ServiceName> = new Map([
  ['AmazonSSM', 'ssm'],
  ['EC2WindowsMessageDeliveryService', 'ec2messages'],
  ['TrentService', 'kms'],
  ['com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101', 'cloudtrail'],
  ['CloudTrail_20131101', 'cloudtrail'],
])

/** The Version that a form names tells its service. */
const VERSIONS: Record<string, ServiceName> = { '2010-05-08': 'iam', '2011-06-15': 'sts' }

export function readCall(request: Request): Call {
  return request.target === undefined && isForm(request) ? queryCall(request) : jsonCall(request)
}

const isForm = (request: Request): boolean =>
  request.contentType.startsWith('application/x-www-form-urlencoded') || /(^|&)Action=/.test(request.query)

interface Named {
  service: ServiceName | undefined
  operation: string
}

/** What targets name, of operations that there are: clients send the same few, and a text that is kept is hashed once. */
const known = new Map<string, Named>()

function named(target: string): Named {
  const before = known.get(target)
  if (before) return before
  const dot = target.lastIndexOf('.')
  const prefix = target.slice(0, Math.max(dot, 0))
  const found = { service: TARGETS.get(prefix), operation: target.slice(dot + 1) }
  if (found.service !== undefined && isModelled(found.service, found.operation)) known.set(target, found)
  return found
}

function jsonCall(request: Request): Call {
  const { target } = request
  const { service, operation } = named(target ?? '')
  return {
    service,
    operation,
    asked: target
      ? `There is no operation ${target.slice(0, 128)}.`
      : 'The request names no operation: X-Amz-Target is missing.',
    contentType: 'application/x-amz-json-1.1',
    input: () => parseJson(request.body),
    answer: (model, output, strict) => encode(model as OperationModel<never>, output, { strict }),
    failure: ({ name, message, members }) => errorBody(service ?? 'ssm', name, message, members),
  }
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true })

function parseJson(body: Uint8Array): unknown {
  if (body.length === 0) return {}
  try {
    return JSON.parse(STRICT_UTF8.decode(body))
  } catch {
    throw new AwsError('SerializationException', 'The body of the request is not JSON in UTF-8.')
  }
}

function queryCall(request: Request): Call {
  const fields = readForm(request.body.length > 0 ? Buffer.from(request.body).toString() : request.query)
  const version = fields.get('Version') ?? ''
  const service = Object.hasOwn(VERSIONS, version) ? VERSIONS[version] : undefined
  const operation = fields.get('Action') ?? ''
  return {
    service,
    operation,
    asked: `Could not find operation ${operation.slice(0, 128)} for version ${version.slice(0, 32)}`,
    contentType: 'text/xml',
    input: (model) => formToJson(model, fields),
    answer(model, output, strict) {
      if (strict) encode(model as OperationModel<never>, output, { strict }) // the same check as for JSON
      return encodeXml(model, output, request.requestId)
    },
    failure(error) {
      const { status } = errorBody(service ?? 'sts', error.name, error.message)
      return {
        status: queryStatus(error.name, status),
        body: errorXml(service ?? 'sts', error.name, error.message, status, request.requestId),
      }
    },
  }
}

/** The query protocol answers what concerns the caller with 403. */
const FORBIDDEN = new Set([
  'AccessDeniedException',
  'InvalidSignatureException',
  'UnrecognizedClientException',
  'MissingAuthenticationTokenException',
  'ExpiredTokenException',
])
const queryStatus = (name: string, status: number): number => (FORBIDDEN.has(name) ? 403 : status)
