/**
 * From text to a typed document, with the service's own complaints.
 * `parseDocument` is what CreateDocument and UpdateDocument ask; `openDocument` is what an agent asks about the
 * DocumentContent of a command, and is as lenient as the official agent: an unknown plugin is a failed step, not a bad document.
 */
import { checkRunbook } from './automation.ts'
import {
  PARAMETER_TYPES,
  type ParameterDefinition,
  type ParameterType,
  SESSION_TYPES,
  type SessionDocument,
  type SsmDocument,
  type Step,
} from './document.ts'
import { DocumentError, invalidContent } from './error.ts'
import { eachString, isObject, type Json, type JsonObject, member, utf8Length } from './json.ts'
import { checkSchemaVersion, type DocumentType } from './names.ts'
import { compilePattern } from './pattern.ts'
import { PLUGINS, platformNamed } from './plugins.ts'
import { type DocumentFormat, plain, readObject } from './read.ts'
import { hasSsmToken, tokenNames } from './tokens.ts'

/** Entries in `parameters`; the model's cap on the Automation parameter map. */
export const MAX_PARAMETERS = 200
/** Characters of a step name: it becomes a folder's name on the node. */
const MAX_STEP_NAME_CHARACTERS = 128
/** Versions that agents know beside those the service accepts. */
const AGENT_STEP_VERSIONS = ['2.0', '2.0.1', '2.0.2', '2.0.3', '2.2']

/**
 * The document in this text. With a `type`, the schema version must suit it.
 * Throws DocumentError only: InvalidDocumentContent, InvalidDocumentSchemaVersion, MaxDocumentSizeExceeded.
 */
export function parseDocument(content: string, format: DocumentFormat, type?: DocumentType): SsmDocument {
  return build(readObject(content, format), utf8Length(content), { strict: true, type })
}

/** The document in a text that was taken before: it stays what it is, whatever has come to be refused since. */
export function reopenDocument(content: string, format: DocumentFormat, type: DocumentType): SsmDocument {
  return build(readObject(content, format), utf8Length(content), { strict: false, type })
}

/** The document in data that a server has sent; DocumentError InvalidDocument with the official agent's text. */
export function openDocument(data: unknown): SsmDocument {
  const content = plain(data)
  if (!isObject(content)) throw new DocumentError('InvalidDocument', 'Unsupported schema format')
  const schemaVersion = schemaVersionOf(content)
  if (!['1.0', '1.2', ...AGENT_STEP_VERSIONS].includes(schemaVersion)) {
    throw new DocumentError(
      'InvalidDocument',
      `Document with schema version ${schemaVersion} is not supported by this version of ssm agent, please update to latest version`,
    )
  }
  return build(content, utf8Length(JSON.stringify(content)), { strict: false })
}

interface Reading {
  /** Refuse what the service refuses, not only what cannot be run. */
  readonly strict: boolean
  readonly type?: DocumentType | undefined
}

function build(content: JsonObject, bytes: number, reading: Reading): SsmDocument {
  const schemaVersion = schemaVersionOf(content)
  const { type } = reading
  if (
    type === 'Package' ||
    (type && !['Command', 'Policy', 'Automation', 'Automation.ChangeTemplate', 'Session'].includes(type))
  ) {
    if (type === 'Package') checkSchemaVersion(type, schemaVersion)
    return { kind: 'other', schemaVersion, parameters: new Map(), content, bytes }
  }
  if (schemaVersion === '') throw invalidContent('Missing "schemaVersion" in the document.')
  if (type) checkSchemaVersion(type, schemaVersion)
  const description = member(content, 'description')
  const common = {
    schemaVersion,
    ...(typeof description === 'string' ? { description } : {}),
    parameters: readParameters(member(content, 'parameters'), schemaVersion, reading),
    content,
    bytes,
  }
  switch (schemaVersion) {
    case '0.3':
      return readRunbook(content, common, reading)
    case '1.0':
      if (member(content, 'runtimeConfig') === undefined) return readSession(content, common)
      return readRuntimeConfig(content, common, reading)
    case '1.2':
      return readRuntimeConfig(content, common, reading)
    case '2.0':
    case '2.2':
      return readSteps(content, common, reading)
    default:
      if (!reading.strict && AGENT_STEP_VERSIONS.includes(schemaVersion)) return readSteps(content, common, reading)
      throw new DocumentError(
        'InvalidDocumentSchemaVersion',
        `Document schema version ${schemaVersion} is not supported.`,
      )
  }
}

type CommonMembers = Pick<SsmDocument, 'schemaVersion' | 'description' | 'parameters' | 'content' | 'bytes'>

/** YAML authors leave out the quotes: 2.2 and 1.0 are then numbers. */
function schemaVersionOf(content: JsonObject): string {
  const version = member(content, 'schemaVersion')
  if (typeof version === 'number') return Number.isInteger(version) ? version.toFixed(1) : String(version)
  return typeof version === 'string' ? version : ''
}

const missing = (name: string) => invalidContent(`Missing "${name}" in the document.`)

function isFilledList(value: Json | undefined): value is Json[] {
  return Array.isArray(value) && value.length > 0
}

// ---- parameters

function readParameters(
  section: Json | undefined,
  schemaVersion: string,
  reading: Reading,
): ReadonlyMap<string, ParameterDefinition> {
  if (section === undefined || section === null) return new Map()
  if (!isObject(section)) throw invalidContent('Invalid "parameters" in the document.')
  const entries = Object.entries(section)
  if (reading.strict && entries.length > MAX_PARAMETERS) {
    throw invalidContent(`The document has more than ${MAX_PARAMETERS} parameters.`)
  }
  return new Map(entries.map(([name, definition]) => [name, readParameter(name, definition, schemaVersion, reading)]))
}

function readParameter(
  name: string,
  definition: Json,
  schemaVersion: string,
  { strict }: Reading,
): ParameterDefinition {
  if (strict && !/^[a-zA-Z0-9]+$/.test(name)) throw invalidContent(`Parameter name "${name}" is not alpha-numeric.`)
  const has = isObject(definition) ? definition : {}
  const type = member(has, 'type')
  if (typeof type !== 'string' || type === '') throw invalidContent('Missing "type" in parameter definition.')
  const valueType = valueTypeOf(type, schemaVersion)
  if (!valueType) throw invalidContent(`Parameter type: ${type} is invalid.`)

  const given = member(has, 'default')
  if (strict && given !== undefined && !isDefaultOf(given, valueType)) {
    throw invalidContent(`Wrong default value for a "${type}" parameters`)
  }
  const allowedValues = member(has, 'allowedValues')
  if (strict && allowedValues !== undefined && !Array.isArray(allowedValues)) throw invalidAttribute('allowedValues')
  const allowedPattern = member(has, 'allowedPattern')
  if (strict && allowedPattern !== undefined) {
    if (typeof allowedPattern !== 'string') throw invalidAttribute('allowedPattern')
    if (allowedPattern !== '') compilePattern(allowedPattern)
  }
  const description = member(has, 'description')
  const displayType = member(has, 'displayType')
  const bounds = Object.fromEntries(
    BOUNDS.flatMap((key) => {
      const value = boundOf(member(has, key))
      if (value === 'invalid' && strict) throw invalidAttribute(key)
      return typeof value === 'number' ? [[key, value]] : []
    }),
  )
  return {
    type,
    valueType,
    ...(typeof description === 'string' ? { description } : {}),
    ...(given === undefined ? {} : { default: given }),
    ...(Array.isArray(allowedValues) ? { allowedValues } : {}),
    ...(typeof allowedPattern === 'string' && allowedPattern !== '' ? { allowedPattern } : {}),
    ...bounds,
    ...(typeof displayType === 'string' ? { displayType } : {}),
    ...(member(has, 'interpolationType') === 'ENV_VAR' && schemaVersion === '2.2'
      ? { interpolationType: 'ENV_VAR' }
      : {}),
  }
}

const BOUNDS = ['minChars', 'maxChars', 'minItems', 'maxItems'] as const
const invalidAttribute = (name: string) => invalidContent(`Invalid value for "${name}" in parameter definition.`)

/** Bounds are whole numbers from 0, in old documents also written as digits in quotes. */
function boundOf(value: Json | undefined): number | 'invalid' | undefined {
  if (value === undefined) return undefined
  const number = typeof value === 'string' && /^[0-9]+$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 ? number : 'invalid'
}

function valueTypeOf(type: string, schemaVersion: string): ParameterType | undefined {
  const plain = PARAMETER_TYPES.find((known) => known === type)
  if (plain || schemaVersion !== '0.3') return plain
  if (/^List<AWS::[\w:]+>$/.test(type)) return 'StringList'
  return /^AWS::[\w:]+$/.test(type) ? 'String' : undefined
}

function isDefaultOf(value: Json, type: ParameterType): boolean {
  if (typeof value === 'string' && hasSsmToken(value)) return type !== 'Integer' && type !== 'Boolean'
  switch (type) {
    case 'String':
      return typeof value === 'string'
    case 'StringList':
      return Array.isArray(value) && value.every((item) => typeof item === 'string')
    case 'Integer':
      return typeof value === 'number' && Number.isSafeInteger(value)
    case 'Boolean':
      return typeof value === 'boolean'
    case 'StringMap':
      return isObject(value)
    case 'MapList':
      return Array.isArray(value) && value.every(isObject)
  }
}

/** Every `{{ name }}` in the body must be declared; a runbook's other tokens have a colon or a dot and do not match. */
function checkDeclared(body: Json | undefined, parameters: ReadonlyMap<string, ParameterDefinition>): void {
  eachString(body, (text) => {
    for (const name of tokenNames(text)) {
      if (!parameters.has(name)) throw invalidContent(`Parameter "${name}" is not declared.`)
    }
  })
}

// ---- schema 1.x

function readRuntimeConfig(content: JsonObject, common: CommonMembers, { strict }: Reading): SsmDocument {
  const section = member(content, 'runtimeConfig')
  if (!isObject(section) || Object.keys(section).length === 0) {
    throw strict ? missing('runtimeConfig') : new DocumentError('InvalidDocument', 'Unsupported schema format')
  }
  const plugins = Object.entries(section).map(([name, config]) => {
    if (strict && !PLUGINS.has(name)) throw invalidContent(`Unknown plugin name: ${name}`)
    const has = isObject(config) ? config : {}
    const properties = member(has, 'properties')
    if (
      strict &&
      properties !== undefined &&
      !isObject(properties) &&
      !(Array.isArray(properties) && properties.every(isObject))
    ) {
      // aws:cloudWatch keeps its configuration in a string.
      if (name !== 'aws:cloudWatch') throw invalidContent(`Invalid "properties" of plugin ${name}.`)
    }
    return { name, settings: member(has, 'settings'), properties }
  })
  if (strict) checkDeclared(section, common.parameters)
  return { kind: 'runtimeConfig', ...common, plugins }
}

// ---- schema 0.3

function readRunbook(content: JsonObject, common: CommonMembers, { strict, type }: Reading): SsmDocument {
  const list = member(content, 'mainSteps')
  if (!isFilledList(list)) throw missing('mainSteps')
  if (strict) {
    checkRunbook(content, list, type === 'Automation.ChangeTemplate')
    checkDeclared(list.map(withoutScript), common.parameters)
  }
  return { kind: 'automation', ...common }
}

/** In a script, braces are the script's own. */
function withoutScript(step: Json): Json {
  if (!isObject(step)) return step
  const inputs = member(step, 'inputs')
  if (!isObject(inputs)) return step
  const rest = Object.entries(inputs).filter(([name]) => name !== 'Script')
  const body = rest.map(([name, value]): [string, Json] =>
    name === 'Steps' && Array.isArray(value) ? [name, value.map(withoutScript)] : [name, value],
  )
  return { ...step, inputs: Object.fromEntries(body) }
}

// ---- schema 2.x

function readSteps(content: JsonObject, common: CommonMembers, reading: Reading): SsmDocument {
  const { strict } = reading
  const list = member(content, 'mainSteps')
  if (strict && member(content, 'runtimeConfig') !== undefined)
    throw invalidContent('Unknown property "runtimeConfig".')
  if (!isFilledList(list)) {
    throw strict ? missing('mainSteps') : new DocumentError('InvalidDocument', 'Unsupported schema format')
  }
  const names = new Set<string>()
  const steps = list.map((item) => {
    const step = readStep(item, reading)
    if (names.has(step.name)) throw invalidContent('Duplicate step names found in mainSteps of the document.')
    names.add(step.name)
    return step
  })
  if (strict) checkDeclared(list, common.parameters)
  return { kind: 'mainSteps', ...common, steps }
}

function readStep(item: Json, { strict }: Reading): Step {
  const has = isObject(item) ? item : {}
  const name = member(has, 'name')
  const action = member(has, 'action')
  const inputs = member(has, 'inputs')
  if (typeof name !== 'string' || name === '') throw invalidContent('Missing "name" in step detail.')
  if (typeof action !== 'string' || action === '') throw invalidContent('Missing "action" in step detail.')
  // Held on the agent as well: the name becomes a folder there.
  if (!/^[A-Za-z0-9_]+$/.test(name) || name.length > MAX_STEP_NAME_CHARACTERS) {
    if (strict || /[/\\\0]|^\.*$/.test(name)) throw invalidContent(`StepName: ${name} is invalid.`)
  }
  if (strict && !PLUGINS.has(action)) throw invalidContent(`Unknown action: ${action}`)
  if (strict && inputs !== undefined && inputs !== null && !isObject(inputs)) {
    throw invalidContent(`Invalid "inputs" in step ${name}.`)
  }
  const precondition = readPrecondition(member(has, 'precondition'), name, strict)
  return {
    name,
    action,
    inputs: isObject(inputs) ? inputs : {},
    ...(member(has, 'settings') === undefined ? {} : { settings: member(has, 'settings') }),
    ...(precondition ? { precondition } : {}),
  }
}

function readPrecondition(value: Json | undefined, step: string, strict: boolean): Step['precondition'] {
  if (value === undefined || value === null) return undefined
  if (!isObject(value)) throw invalidContent(`Invalid "precondition" in step ${step}.`)
  return Object.fromEntries(
    Object.entries(value).map(([operator, list]) => {
      const operands = Array.isArray(list) ? list.filter((item) => typeof item === 'string') : undefined
      if (!operands || operands.length !== (Array.isArray(list) ? list.length : 0)) {
        throw invalidContent(`Invalid "precondition" in step ${step}.`)
      }
      if (strict && operator === 'StringEquals') checkPlatformOperand(operands)
      return [operator, operands]
    }),
  )
}

function checkPlatformOperand(operands: readonly string[]): void {
  const [left = '', right = ''] = operands
  if (operands.length !== 2 || (left !== 'platformType' && right !== 'platformType')) return
  if (platformNamed(left === 'platformType' ? right : left)) return
  throw invalidContent(`Invalid precondition, unrecognized values [${left}, ${right}] encountered.`)
}

// ---- sessions

/** idleSessionTimeout 1-60 minutes, maxSessionDuration 1-1440 minutes; as digits, or empty for none. */
const SESSION_MINUTES = [
  ['idleSessionTimeout', 60],
  ['maxSessionDuration', 1440],
] as const

function readSession(content: JsonObject, common: CommonMembers): SessionDocument {
  const type = member(content, 'sessionType')
  if (type === undefined || type === '') throw invalidContent('Missing SessionType in the document.')
  const sessionType = SESSION_TYPES.find((known) => known === type)
  if (!sessionType) throw invalidContent('Invalid sessionType')
  const properties = member(content, 'properties')
  if (sessionType !== 'Standard_Stream' && !isObject(properties)) {
    throw invalidContent(`Missing Properties in session type ${sessionType} document`)
  }
  const inputs = member(content, 'inputs') ?? {}
  if (!isObject(inputs)) throw invalidContent('Invalid "inputs" in the document.')
  for (const [name, most] of SESSION_MINUTES) {
    const value = member(inputs, name)
    if (value === undefined || value === '' || (typeof value === 'string' && tokenNames(value).length > 0)) continue
    if (!/^[1-9][0-9]{0,3}$/.test(String(value)) || Number(value) > most) {
      throw invalidContent(`Invalid value for "${name}": use minutes from 1 to ${most}.`)
    }
  }
  checkDeclared(inputs, common.parameters)
  checkDeclared(properties, common.parameters)
  return { kind: 'session', ...common, sessionType, inputs, ...(isObject(properties) ? { properties } : {}) }
}
