/**
 * Parameter values: checked as SendCommand and StartSession check them, before any invocation exists, and turned into
 * what a command's payload carries: strings, lists of strings, numbers, booleans, objects.
 * A value with `{{ ssm:… }}` is only known on the node, so its content is checked there (checkOnNode); what stands around
 * the token is known here, and where a value must be one of a list it may not hide behind one.
 */
import type { ParameterDefinition, SsmDocument } from './document.ts'
import { DocumentError } from './error.ts'
import { isObject, type Json, type JsonObject, utf8Length } from './json.ts'
import { compilePattern, type Pattern } from './pattern.ts'
import { MAX_DOCUMENT_BYTES } from './read.ts'
import { asText, hasSsmToken, type ParameterValues } from './tokens.ts'

/** What the service says first about any value it does not accept. */
const NOT_SUPPORTED = 'Parameters provided in document are invalid or not supported.'

function invalid(detail: string): DocumentError {
  return new DocumentError('InvalidParameters', `${NOT_SUPPORTED} ${detail}`)
}

/**
 * The typed values of all parameters, defaults included.
 * InvalidParameters for an unknown, missing or refused one; MaxDocumentSizeExceeded when document and values exceed 64 KB.
 */
export function resolveParameters(
  document: SsmDocument,
  given: Readonly<Record<string, readonly string[]>>,
  documentName = 'content',
): JsonObject {
  const names = Object.keys(given)
  if (names.length > 0 && document.parameters.size === 0) {
    throw new DocumentError('InvalidParameters', `document ${documentName} does not support parameters.`)
  }
  const unknown = names.find((name) => !document.parameters.has(name))
  if (unknown !== undefined) throw invalid(`Parameter "${unknown}" is not declared.`)

  const values: [string, Json][] = []
  let bytes = document.bytes
  for (const [name, definition] of document.parameters) {
    const list = Object.hasOwn(given, name) ? given[name] : undefined
    if (list) {
      for (const text of list) bytes += utf8Length(text)
      values.push([name, readValue(name, definition, list)])
    } else if (definition.default !== undefined) {
      values.push([name, definition.default])
    } else {
      throw invalid(`Parameter "${name}" is required.`)
    }
  }
  if (bytes > MAX_DOCUMENT_BYTES) {
    throw new DocumentError(
      'MaxDocumentSizeExceeded',
      `The size of the document with its parameters (${bytes} bytes) exceeds the maximum of ${MAX_DOCUMENT_BYTES} bytes.`,
    )
  }
  return Object.fromEntries(values)
}

/** One value from the list of strings that requests carry. */
function readValue(name: string, definition: ParameterDefinition, list: readonly string[]): Json {
  const value = typedValue(name, definition, list)
  checkAllowed(name, definition, value)
  if (!list.some(hasSsmToken)) {
    checkBounds(name, definition, value)
    checkPattern(name, definition, value, (pattern, text) => pattern.matches(text))
  }
  return value
}

function typedValue(name: string, { valueType }: ParameterDefinition, list: readonly string[]): Json {
  if (valueType === 'StringList') return [...list]
  if (valueType === 'MapList') {
    const items = list.map(parseJson)
    const flat = items.length === 1 && Array.isArray(items[0]) ? items[0] : items
    if (!flat.every((item) => item !== undefined && isObject(item))) {
      throw invalid(`Parameter "${name}" must be a list of JSON objects.`)
    }
    return flat.filter((item) => item !== undefined)
  }
  const [text, ...more] = list
  if (text === undefined || more.length > 0)
    throw invalid(`Parameter "${name}" of type ${valueType} takes exactly one value.`)
  switch (valueType) {
    case 'String':
      return text
    case 'Integer': {
      const number = Number(text)
      if (/^-?[0-9]+$/.test(text) && Number.isSafeInteger(number)) return number
      throw invalid(`Parameter "${name}" must be an integer.`)
    }
    case 'Boolean':
      if (text === 'true' || text === 'false') return text === 'true'
      throw invalid(`Parameter "${name}" must be true or false.`)
    case 'StringMap': {
      const value = parseJson(text)
      if (value !== undefined && isObject(value)) return value
      if (hasSsmToken(text)) return text
      throw invalid(`Parameter "${name}" must be a JSON object.`)
    }
  }
}

function parseJson(text: string): Json | undefined {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function checkAllowed(name: string, { allowedValues }: ParameterDefinition, value: Json): void {
  if (!allowedValues || allowedValues.length === 0) return
  const allowed = new Set(allowedValues.map(asText))
  if ((Array.isArray(value) ? value : [value]).every((part) => allowed.has(asText(part)))) return
  throw invalid(`Parameter "${name}" must be one of [${[...allowed].join(', ')}].`)
}

function checkBounds(name: string, definition: ParameterDefinition, value: Json): void {
  const { minChars, maxChars, minItems, maxItems } = definition
  const parts = Array.isArray(value) ? value : [value]
  if (typeof value === 'number' || typeof value === 'boolean') return
  for (const part of parts) {
    const { length } = [...asText(part)]
    if (minChars !== undefined && length < minChars)
      throw invalid(`Parameter "${name}" is shorter than ${minChars} characters.`)
    if (maxChars !== undefined && length > maxChars)
      throw invalid(`Parameter "${name}" is longer than ${maxChars} characters.`)
  }
  if (typeof value === 'string') return
  const count = Array.isArray(value) ? value.length : Object.keys(value ?? {}).length
  if (minItems !== undefined && count < minItems) throw invalid(`Parameter "${name}" has fewer than ${minItems} items.`)
  if (maxItems !== undefined && count > maxItems) throw invalid(`Parameter "${name}" has more than ${maxItems} items.`)
}

function checkPattern(
  name: string,
  { allowedPattern }: ParameterDefinition,
  value: Json,
  fits: (pattern: Pattern, text: string) => boolean,
): void {
  if (allowedPattern === undefined || typeof value === 'number' || typeof value === 'boolean') return
  const pattern = compilePattern(allowedPattern)
  for (const part of Array.isArray(value) ? value : [value]) {
    if (!fits(pattern, asText(part))) {
      throw invalid(`Parameter "${name}" does not match the allowed pattern ${allowedPattern}.`)
    }
  }
}

/**
 * The check an agent makes once `{{ ssm:… }}` in the values is known, `given` being what they were before. The pattern is
 * checked always, as a search; a value that the server could not know is held to everything, as the server would have, and so
 * is a document that aws:runDocument has opened, whose parameters no server has seen. InvalidParameters.
 */
export function checkOnNode(
  document: SsmDocument,
  values: ParameterValues,
  given: ParameterValues,
  opened: 'by-server' | 'by-run-document',
): void {
  for (const [name, definition] of document.parameters) {
    const value = values.get(name)
    if (value === undefined) continue
    const isFetched = !isSame(value, given.get(name)) && !isSame(given.get(name), definition.default)
    if (isFetched || opened === 'by-run-document') {
      checkAllowed(name, definition, value)
      checkBounds(name, definition, value)
    }
    checkPattern(name, definition, value, (pattern, text) => (isFetched ? pattern.matches(text) : pattern.finds(text)))
  }
}

const isSame = (one: Json | undefined, other: Json | undefined): boolean =>
  one === other || (one !== undefined && other !== undefined && asText(one) === asText(other))
