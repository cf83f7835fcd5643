/**
 * From text to data: JSON and YAML, read defensively.
 * Promises: at most 64 KB in, plain JSON data out, never more values, bytes or depth than such a text may hold, and
 * no other error than DocumentError. A key written twice is refused in both formats: the second would silently win.
 * YAML is read as version 1.1, as the service does (`yes` and `off` are booleans), but dates, base-60 numbers and
 * binary stay text, since JSON has none of them.
 */
import { Composer, type CST, type Document, isAlias, isMap, isScalar, Parser, visit } from 'yaml'
import { DocumentError, invalidContent } from './error.ts'
import { isObject, type Json, utf8Length } from './json.ts'

/** Bytes of content that CreateDocument accepts, and of content plus parameter values in SendCommand. */
export const MAX_DOCUMENT_BYTES = 65_536
/** Nesting depth; published documents stay under 12, and deeper data would exhaust the stack of whoever walks it. */
export const MAX_DEPTH = 64
/** Values after aliases are expanded: as many as one byte each could write. */
const MAX_VALUES = MAX_DOCUMENT_BYTES
/** Characters after aliases are expanded: aliases may save some repetition, not build a bomb. */
const MAX_EXPANDED_CHARACTERS = 4 * MAX_DOCUMENT_BYTES

export type DocumentFormat = 'JSON' | 'YAML'

/** The data in a document's text; MaxDocumentSizeExceeded over 64 KB, InvalidDocumentContent when not well-formed. */
export function readContent(content: string, format: DocumentFormat): Json {
  const bytes = utf8Length(content)
  if (bytes > MAX_DOCUMENT_BYTES) {
    throw new DocumentError(
      'MaxDocumentSizeExceeded',
      `The size of the document (${bytes} bytes) exceeds the maximum of ${MAX_DOCUMENT_BYTES} bytes.`,
    )
  }
  if (content.length === 0) throw invalidContent(`${format} not well-formed.`)
  return plain(format === 'JSON' ? readJson(content) : readYaml(content))
}

function readJson(content: string): unknown {
  let data: unknown
  try {
    data = JSON.parse(content)
  } catch {
    throw invalidContent('JSON not well-formed.')
  }
  refuseRepeatedKeys(content)
  return data
}

/** Walks the tokens of a text that JSON.parse has accepted; keeps one set of keys for every open object. */
function refuseRepeatedKeys(content: string): void {
  const open: (Set<string> | undefined)[] = []
  let expectsKey = false
  for (const [token] of content.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g)) {
    const keys = open.at(-1)
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(undefined)
    else if (token === '}' || token === ']') open.pop()
    else if (token.startsWith('"') && expectsKey && keys) {
      const key: string = JSON.parse(token)
      if (keys.has(key)) throw invalidContent(`Duplicate field '${key}'`)
      keys.add(key)
    }
    expectsKey = token === '{' || (token === ',' && open.at(-1) !== undefined)
  }
}

/** YAML 1.1 types that JSON does not have; their text is kept as a string. */
const TAGS_WITHOUT_JSON = new Set([
  'tag:yaml.org,2002:timestamp',
  'tag:yaml.org,2002:binary',
  'tag:yaml.org,2002:set',
  'tag:yaml.org,2002:omap',
  'tag:yaml.org,2002:pairs',
])

function readYaml(content: string): unknown {
  try {
    const tokens = [...new Parser().parse(content)]
    refuseDepth(tokens)
    const [document, ...more] = new Composer({
      version: '1.1',
      uniqueKeys: false, // the library compares every pair of keys; ours below is linear
      logLevel: 'silent',
      customTags: (tags) =>
        tags.filter(
          (tag) =>
            typeof tag === 'string' || !(TAGS_WITHOUT_JSON.has(tag.tag) || ('format' in tag && tag.format === 'TIME')),
        ),
    }).compose(tokens, true, content.length)
    if (!document || more.length > 0 || document.errors.length > 0) throw invalidContent('YAML not well-formed.')
    refuseRepeatedYamlKeys(document)
    return document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    // The library answers an alias bomb with a ReferenceError.
    throw error instanceof DocumentError ? error : invalidContent('YAML not well-formed.')
  }
}

/**
 * Refuses deep nesting before the tree is composed. The library recurses there, and when V8 meets the end of the stack
 * while it compiles a regular expression, it does not throw: it ends the process. 60,000 brackets were enough.
 */
function refuseDepth(tokens: readonly CST.Token[]): void {
  const pending: [CST.Token, number][] = tokens.map((token) => [token, 0])
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [token, depth] = next
    if (depth > MAX_DEPTH + 1) throw tooDeep()
    const inside = (child: CST.Token | null | undefined) => {
      if (child) pending.push([child, depth + 1])
    }
    if (token.type === 'document') inside(token.value)
    else if ('items' in token) {
      for (const item of token.items) {
        if ('key' in item) inside(item.key)
        inside(item.value)
      }
    }
  }
}

const tooDeep = () => invalidContent(`The document is nested deeper than ${MAX_DEPTH} levels.`)

function refuseRepeatedYamlKeys(document: Document.Parsed): void {
  visit(document, {
    Map(_, map) {
      const keys = new Set<string>()
      for (const { key } of map.items) {
        if (isAlias(key) || isMap(key)) throw invalidContent('YAML not well-formed.')
        if (!isScalar(key)) continue
        const name = String(key.value)
        if (name === '<<') continue
        if (keys.has(name)) throw invalidContent(`Duplicate field '${name}'`)
        keys.add(name)
      }
    },
  })
}

/** The same data as plain JSON, within the limits on depth and size; InvalidDocumentContent beyond them. */
export function plain(data: unknown): Json {
  let values = 0
  let characters = 0
  const spend = (text: string) => {
    characters += text.length
    if (characters > MAX_EXPANDED_CHARACTERS) throw invalidContent('The document expands to more than it may hold.')
    return text
  }
  const copy = (value: unknown, depth: number): Json => {
    values += 1
    if (values > MAX_VALUES) throw invalidContent('The document expands to more than it may hold.')
    if (depth > MAX_DEPTH) throw tooDeep()
    if (typeof value === 'string') return spend(value)
    if (typeof value === 'boolean' || value === null || value === undefined) return value ?? null
    if (typeof value === 'number') {
      if (Number.isFinite(value)) return value
      throw invalidContent('The document holds a number that JSON cannot hold.')
    }
    if (Array.isArray(value)) return value.map((item) => copy(item, depth + 1))
    if (typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [spend(key), copy(item, depth + 1)]))
    }
    throw invalidContent('The document holds a value that JSON cannot hold.')
  }
  return copy(data, 0)
}

/** The data as an object, the only thing a document may be at its top. */
export function readObject(content: string, format: DocumentFormat) {
  const data = readContent(content, format)
  if (!isObject(data)) throw invalidContent(`${format} not well-formed.`)
  return data
}
