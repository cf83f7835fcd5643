/**
 * The query protocol of IAM and STS: a form in, XML out. Form members become the same JSON tree that the JSON protocol
 * sends, so that one decoder checks both; answers are written by the shape.
 *
 *   Action=CreateUser&Version=2010-05-08&UserName=x&Tags.member.1.Key=k&Tags.member.1.Value=v
 *   lists: Name.member.N        maps: Name.entry.N.key, Name.entry.N.value
 */
import { AwsError } from '../platform/errors.ts'
import { findError } from './model.ts'
import type { OperationModel, Shape } from './shape.ts'

/** Members of one form: the largest that AWS itself takes has a few thousand. */
const MAX_FIELDS = 10_000

/** The fields of a form, first value of each name. Throws SerializationException. */
export function readForm(text: string): Map<string, string> {
  const fields = new Map<string, string>()
  let count = 0
  for (const [name, value] of new URLSearchParams(text)) {
    if (++count > MAX_FIELDS)
      throw new AwsError('SerializationException', `A request may have ${MAX_FIELDS} fields at most.`)
    if (!fields.has(name)) fields.set(name, value)
  }
  return fields
}

/** A tree of the form's names, parted at their dots. */
interface Node {
  text?: string
  inside: Map<string, Node>
}

/** The input of an operation as the JSON tree that `decode` takes. */
export function formToJson(operation: OperationModel, fields: Map<string, string>): unknown {
  const root: Node = { inside: new Map() }
  for (const [name, text] of fields) {
    let node = root
    for (const part of name.split('.')) {
      let next = node.inside.get(part)
      if (!next) {
        next = { inside: new Map() }
        node.inside.set(part, next)
      }
      node = next
    }
    node.text = text
  }
  return readValue(operation.input, root)
}

function readValue(shape: Shape, node: Node): unknown {
  switch (shape.kind) {
    case 'structure': {
      const value: Record<string, unknown> = Object.create(null)
      for (const member of shape.members) {
        const inner = node.inside.get(member.name)
        if (inner) value[member.name] = readValue(member.shape(), inner)
      }
      return value
    }
    case 'list':
      return numbered(node.inside.get('member') ?? node).map((inner) => readValue(shape.element(), inner))
    case 'map': {
      const value: Record<string, unknown> = Object.create(null)
      for (const entry of numbered(node.inside.get('entry') ?? node)) {
        const inner = entry.inside.get('value')
        if (inner) value[entry.inside.get('key')?.text ?? ''] = readValue(shape.value(), inner)
      }
      return value
    }
    case 'number':
      return numberOf(node.text ?? '')
    case 'boolean':
      return node.text === 'true' ? true : node.text === 'false' ? false : node.text
    default:
      return node.text ?? ''
  }
}

/** Text that is no number stays text, and the decoder says so. */
const numberOf = (text: string): number | string => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text)

function numbered(node: Node): Node[] {
  return [...node.inside]
    .filter(([name]) => /^\d{1,6}$/.test(name))
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, inner]) => inner)
}

const NAMESPACES: Record<string, string> = {
  iam: 'https://iam.amazonaws.com/doc/2010-05-08/',
  sts: 'https://sts.amazonaws.com/doc/2011-06-15/',
}

/** The XML of an answer: `<CreateUserResponse><CreateUserResult>…`. */
export function encodeXml(operation: OperationModel, output: unknown, requestId: string): string {
  const { name, service } = operation
  const result =
    operation.output.members.length > 0 ? element(`${name}Result`, members(operation.output, output ?? {})) : ''
  const metadata = element('ResponseMetadata', element('RequestId', escaped(requestId)))
  return `<${name}Response xmlns="${NAMESPACES[service] ?? ''}">${result}${metadata}</${name}Response>`
}

/** The XML of an error, with the code that the query protocol gives it. */
export function errorXml(service: string, name: string, message: string, status: number, requestId: string): string {
  const code = findError(service, name)?.queryCode ?? queryCodes[name] ?? name
  const error =
    element('Type', status >= 500 ? 'Receiver' : 'Sender') +
    element('Code', code) +
    element('Message', escaped(message))
  return `<ErrorResponse xmlns="${NAMESPACES[service] ?? ''}">${element('Error', error)}${element('RequestId', requestId)}</ErrorResponse>`
}

/** Common errors have other names in the query protocol. */
const queryCodes: Record<string, string> = {
  AccessDeniedException: 'AccessDenied',
  ValidationException: 'ValidationError',
  SerializationException: 'MalformedInput',
  UnknownOperationException: 'InvalidAction',
  UnrecognizedClientException: 'InvalidClientTokenId',
  InvalidSignatureException: 'SignatureDoesNotMatch',
  IncompleteSignatureException: 'IncompleteSignature',
  MissingAuthenticationTokenException: 'MissingAuthenticationToken',
  ExpiredTokenException: 'ExpiredToken',
  ThrottlingException: 'Throttling',
  InternalServerError: 'InternalFailure',
}

const element = (name: string, content: string) => `<${name}>${content}</${name}>`

function members(shape: Extract<Shape, { kind: 'structure' }>, value: object): string {
  const record = value as Record<string, unknown>
  return shape.members
    .map(({ name, shape: inner }) =>
      record[name] === undefined || record[name] === null ? '' : element(name, content(inner(), record[name])),
    )
    .join('')
}

function content(shape: Shape, value: unknown): string {
  switch (shape.kind) {
    case 'structure':
      return members(shape, value as object)
    case 'list':
      return Array.from(value as Iterable<unknown>, (item) => element('member', content(shape.element(), item))).join(
        '',
      )
    case 'map':
      return Object.entries(value as object)
        .map(([key, item]) =>
          element('entry', element('key', escaped(key)) + element('value', content(shape.value(), item))),
        )
        .join('')
    case 'timestamp':
      return (value as Date).toISOString().replace('.000Z', 'Z')
    case 'blob':
      return Buffer.from(value as Uint8Array).toString('base64')
    default:
      return escaped(String(value))
  }
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\r': '&#xD;' }
/** XML 1.0 has no place for most control characters: they become the replacement character. */
const escaped = (text: string): string =>
  text
    .replace(/[&<>"\r]/g, (character) => ESCAPES[character]!)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are not XML
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
