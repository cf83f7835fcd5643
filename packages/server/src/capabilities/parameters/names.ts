/**
 * Names of parameters: what they may be, which parameter they mean, and what a reference to one says beside the name.
 * Pure. `key` is a name's identity, always with a leading slash: `name` and `/name` are the same parameter.
 */
import { arn, type Scope } from '../../platform/arn.ts'
import { AwsError, validation } from '../../platform/errors.ts'

/** Characters of a parameter's whole ARN (model documentation of PutParameter: 2,048, of which 1,037 are reserved). */
export const MAX_ARN_CHARACTERS = 1011
export const MAX_LEVELS = 15

const FLAT_NAME = /^[\w.-]+$/
const PATH_NAME = /^(?:\/[\w.-]+)+$/
const RESERVED = /^\/?(?:aws|ssm)/i

const BAD_NAME =
  'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_'
const RESERVED_NAME = 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).'
// The service's own text, backslashes included.
const BAD_PATH =
  'The parameter doesn\'t meet the parameter name requirements. The parameter name must begin with a forward slash "/". It can\'t be prefixed with \\"aws\\" or \\"ssm\\" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.'

export const keyOf = (name: string): string => (name.startsWith('/') ? name : `/${name}`)

/** `/a/b` for `/a/b/c`; `/` for the first level. */
export const parentOf = (key: string): string => key.slice(0, key.lastIndexOf('/')) || '/'

const levelsOf = (key: string): number => key.split('/').length - 1

export const parameterArn = (scope: Scope, key: string): string => arn('ssm', scope, `parameter${key}`)

const isName = (name: string): boolean => FLAT_NAME.test(name) || PATH_NAME.test(name)

export const parameterNotFound = (): AwsError => new AwsError('ParameterNotFound')

/** The name to create or overwrite, without the spaces around it. ValidationException, AccessDeniedException, HierarchyLevelLimitExceededException. */
export function checkNewName(scope: Scope, asked: string): { name: string; key: string } {
  const name = asked.trim()
  const isPath = name.lastIndexOf('/') > 0
  if (RESERVED.test(name)) {
    if (!isPath) throw validation(RESERVED_NAME)
    if (/^\/aws/i.test(name)) {
      throw new AwsError('AccessDeniedException', `No access to reserved parameter name: ${name}.`)
    }
    throw validation(BAD_NAME)
  }
  if (!isName(name)) throw validation(BAD_NAME)
  const key = keyOf(name)
  if (levelsOf(key) > MAX_LEVELS) {
    throw new AwsError(
      'HierarchyLevelLimitExceededException',
      `A hierarchy can have a maximum of ${MAX_LEVELS} levels. ${name} has ${levelsOf(key)}.`,
    )
  }
  const fullName = parameterArn(scope, key)
  if (fullName.length > MAX_ARN_CHARACTERS) {
    throw validation(
      `The parameter name is too long: its ARN has ${fullName.length} characters and can have at most ${MAX_ARN_CHARACTERS}.`,
    )
  }
  return { name, key }
}

export type Selector = { text: string } & ({ version: number } | { label: string })

/** What a request names: a parameter, and perhaps one of its versions. */
export interface Reference {
  key: string
  /** The spelling to answer with; undefined when an ARN was given, which is answered with the stored name. */
  spelling: string | undefined
  selector: Selector | undefined
}

/** Takes `name`, `name:3`, `name:label` and the same after an own ARN. ValidationException, ParameterNotFound for other ARNs. */
export function parseReference(scope: Scope, asked: string): Reference {
  const text = asked.trim()
  if (text.startsWith('arn:')) {
    const own = arn('ssm', scope, 'parameter')
    if (!text.startsWith(`${own}/`)) throw parameterNotFound()
    return { ...parseNamed(text.slice(own.length)), spelling: undefined }
  }
  return parseNamed(text)
}

function parseNamed(text: string): Reference {
  const colon = text.indexOf(':')
  const name = colon < 0 ? text : text.slice(0, colon)
  if (!isName(name) || (/^\/ssm/i.test(name) && name.lastIndexOf('/') > 0)) throw validation(BAD_NAME)
  const selector = colon < 0 ? undefined : parseSelector(text.slice(colon + 1))
  return { key: keyOf(name), spelling: name, selector }
}

function parseSelector(text: string): Selector {
  if (/^\d+$/.test(text)) return { text: `:${text}`, version: Number(text) }
  if (!FLAT_NAME.test(text)) throw validation(BAD_NAME)
  return { text: `:${text}`, label: text }
}

/** The key of a plain name, or undefined when no parameter can have it: selectors and ARNs are refused. */
export function parseName(asked: string): string | undefined {
  const name = asked.trim()
  return isName(name) ? keyOf(name) : undefined
}

/** `/a/b` for `/a/b` and `/a/b/`; `/` for the root. ValidationException. */
export function parsePath(path: string): string {
  if (path === '/') return path
  const trimmed = path.endsWith('/') ? path.slice(0, -1) : path
  if (!PATH_NAME.test(trimmed)) throw validation(BAD_PATH)
  if (/^\/ssm/i.test(trimmed)) throw validation(BAD_PATH)
  return trimmed
}

/** Like parsePath, for a Path filter, which refuses the reserved namespaces with a text of its own. */
export function parseFilterPath(path: string): string {
  if (RESERVED.test(path)) {
    throw validation(
      'Filters for common parameters can\'t be prefixed with "aws" or "ssm" (case-insensitive). When using global parameters, please specify within a global namespace.',
    )
  }
  return parsePath(path)
}

/** What a permission names, whatever was asked for: checked before the name itself is. */
export function resourceOf(scope: Scope, asked: string): string {
  const text = asked.trim()
  if (!text.startsWith('arn:')) return parameterArn(scope, keyOf(text.split(':')[0] ?? ''))
  return text.split(':').slice(0, 6).join(':')
}
