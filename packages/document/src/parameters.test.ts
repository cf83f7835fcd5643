import { describe, expect, it } from 'vitest'
import { DocumentError } from './error.ts'
import type { Json } from './json.ts'
import { checkOnNode, resolveParameters } from './parameters.ts'
import { parseDocument } from './parse.ts'
import { MAX_DOCUMENT_BYTES } from './read.ts'

const documentWith = (parameters: Json) =>
  parseDocument(
    JSON.stringify({
      schemaVersion: '2.2',
      parameters,
      mainSteps: [{ name: 'run', action: 'aws:runShellScript', inputs: {} }],
    }),
    'JSON',
  )
const resolve = (definition: Json, ...values: string[]) =>
  resolveParameters(documentWith({ p: definition }), { p: values }).p

function refusal(action: () => unknown): { code: string; message: string } {
  try {
    action()
  } catch (error) {
    if (error instanceof DocumentError) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('was accepted')
}
const refused = (definition: Json, ...values: string[]) => refusal(() => resolve(definition, ...values))
const invalid = (detail: string) => ({
  code: 'InvalidParameters',
  message: `Parameters provided in document are invalid or not supported. ${detail}`,
})

describe('which parameters may be given', () => {
  it('refuses any for a document without parameters, in the words of the service', () => {
    expect(refusal(() => resolveParameters(documentWith({}), { a: ['b'] }, 'My-Document'))).toEqual({
      code: 'InvalidParameters',
      message: 'document My-Document does not support parameters.',
    })
    expect(resolveParameters(documentWith({}), {})).toEqual({})
  })

  it('refuses an unknown one and a missing one, and fills in defaults', () => {
    const document = documentWith({ a: { type: 'String' }, b: { type: 'StringList', default: ['x'] } })
    expect(refusal(() => resolveParameters(document, { a: ['1'], c: ['2'] }))).toEqual(
      invalid('Parameter "c" is not declared.'),
    )
    expect(refusal(() => resolveParameters(document, { b: ['2'] }))).toEqual(invalid('Parameter "a" is required.'))
    expect(resolveParameters(document, { a: ['1'] })).toEqual({ a: '1', b: ['x'] })
  })

  it('is not fooled by names that every object has', () => {
    const document = documentWith({ constructor: { type: 'String', default: 'd' }, a: { type: 'String', default: '' } })
    expect(resolveParameters(document, {})).toEqual({ constructor: 'd', a: '' })
    expect(refusal(() => resolveParameters(document, { toString: ['x'] })).code).toBe('InvalidParameters')
  })

  it('counts the values against 64 KB together with the document', () => {
    const document = documentWith({ a: { type: 'String' } })
    const room = MAX_DOCUMENT_BYTES - document.bytes
    expect(resolveParameters(document, { a: ['x'.repeat(room)] })).toEqual({ a: 'x'.repeat(room) })
    expect(refusal(() => resolveParameters(document, { a: ['x'.repeat(room + 1)] })).code).toBe(
      'MaxDocumentSizeExceeded',
    )
  })
})

describe('types', () => {
  it('arrive as the agent payload wants them', () => {
    expect(resolve({ type: 'String' }, 'a')).toBe('a')
    expect(resolve({ type: 'StringList' }, 'a', 'b')).toEqual(['a', 'b'])
    expect(resolve({ type: 'StringList' })).toEqual([])
    expect(resolve({ type: 'Integer' }, '-12')).toBe(-12)
    expect(resolve({ type: 'Boolean' }, 'false')).toBe(false)
    expect(resolve({ type: 'StringMap' }, '{"a":{"b":1}}')).toEqual({ a: { b: 1 } })
    expect(resolve({ type: 'MapList' }, '{"a":1}', '{"b":2}')).toEqual([{ a: 1 }, { b: 2 }])
    expect(resolve({ type: 'MapList' }, '[{"a":1},{"b":2}]')).toEqual([{ a: 1 }, { b: 2 }])
  })

  it('take one value where there is one', () => {
    for (const type of ['String', 'Integer', 'Boolean', 'StringMap']) {
      const message = invalid(`Parameter "p" of type ${type} takes exactly one value.`)
      expect(refused({ type })).toEqual(message)
      expect(refused({ type }, '1', '2')).toEqual(message)
    }
  })

  it('refuse what is not of the type', () => {
    for (const text of ['1.5', '', 'x', '1e3', '99999999999999999999', ' 1']) {
      expect(refused({ type: 'Integer' }, text)).toEqual(invalid('Parameter "p" must be an integer.'))
    }
    expect(refused({ type: 'Boolean' }, 'True')).toEqual(invalid('Parameter "p" must be true or false.'))
    for (const text of ['[]', 'x', 'null', '"a"']) {
      expect(refused({ type: 'StringMap' }, text)).toEqual(invalid('Parameter "p" must be a JSON object.'))
    }
    expect(refused({ type: 'MapList' }, '[1]')).toEqual(invalid('Parameter "p" must be a list of JSON objects.'))
  })
})

describe('constraints', () => {
  it('allowedValues: every element must be listed, exactly', () => {
    const definition = { type: 'StringList', allowedValues: ['Install', 'Uninstall'] }
    expect(resolve(definition, 'Uninstall', 'Install')).toEqual(['Uninstall', 'Install'])
    expect(refused(definition, 'Install', 'install')).toEqual(
      invalid('Parameter "p" must be one of [Install, Uninstall].'),
    )
    expect(resolve({ type: 'Integer', allowedValues: [1, 2] }, '2')).toBe(2)
    expect(refused({ type: 'Integer', allowedValues: [1, 2] }, '3').code).toBe('InvalidParameters')
  })

  it('allowedPattern: the whole value, each element', () => {
    expect(resolve({ type: 'String', allowedPattern: '[0-9]{1,3}' }, '123')).toBe('123')
    expect(refused({ type: 'String', allowedPattern: '[0-9]{1,3}' }, '1234')).toEqual(
      invalid('Parameter "p" does not match the allowed pattern [0-9]{1,3}.'),
    )
    expect(refused({ type: 'StringList', allowedPattern: '^a+$' }, 'aa', 'b').code).toBe('InvalidParameters')
    expect(resolve({ type: 'Integer', allowedPattern: 'never' }, '5')).toBe(5)
  })

  it('minChars and maxChars: both sides of both limits, characters and not bytes', () => {
    const definition = { type: 'String', minChars: 2, maxChars: 4 }
    expect(refused(definition, 'a')).toEqual(invalid('Parameter "p" is shorter than 2 characters.'))
    expect(resolve(definition, 'ab')).toBe('ab')
    expect(resolve(definition, 'é€😀x')).toBe('é€😀x')
    expect(refused(definition, 'abcde')).toEqual(invalid('Parameter "p" is longer than 4 characters.'))
    expect(refused({ type: 'StringList', maxChars: 1 }, 'a', 'bc').code).toBe('InvalidParameters')
  })

  it('minItems and maxItems: both sides of both limits, for lists and maps', () => {
    const definition = { type: 'StringList', minItems: 1, maxItems: '2' }
    expect(refused(definition)).toEqual(invalid('Parameter "p" has fewer than 1 items.'))
    expect(resolve(definition, 'a')).toEqual(['a'])
    expect(resolve(definition, 'a', 'b')).toEqual(['a', 'b'])
    expect(refused(definition, 'a', 'b', 'c')).toEqual(invalid('Parameter "p" has more than 2 items.'))
    expect(refused({ type: 'StringMap', maxItems: 1 }, '{"a":1,"b":2}').code).toBe('InvalidParameters')
    expect(resolve({ type: 'String', minItems: 5 }, 'a')).toBe('a')
  })

  it('a value never stands in the error: it may be a secret', () => {
    const definitions: Json[] = [
      { type: 'String', allowedValues: ['a'] },
      { type: 'String', allowedPattern: '^a$' },
      { type: 'String', maxChars: 1 },
      { type: 'Integer' },
      { type: 'StringMap' },
    ]
    for (const definition of definitions) {
      expect(refused(definition, 'hunter2').message).not.toContain('hunter2')
    }
  })

  it('wait for the node when the value is kept in Parameter Store', () => {
    const definition = { type: 'String', allowedPattern: '[a-z]+', maxChars: 3 }
    expect(resolve(definition, '{{ssm:/app/name}}')).toBe('{{ssm:/app/name}}')
    const document = documentWith({ p: definition })
    const check = (value: string, given: string, opened: 'by-server' | 'by-run-document' = 'by-server') =>
      checkOnNode(document, new Map([['p', value]]), new Map([['p', given]]), opened)
    expect(() => check('abc', '{{ssm:/app/name}}')).not.toThrow()
    for (const value of ['123', 'a b', 'abcd'])
      expect(refusal(() => check(value, '{{ssm:/app/name}}')).code, value).toBe('InvalidParameters')
    // What the server has seen is searched, as the official agent does it.
    expect(() => check('a b!', 'a b!')).not.toThrow()
    expect(refusal(() => check('123', '123')).code).toBe('InvalidParameters')
    expect(refusal(() => check('a b!', 'a b!', 'by-run-document')).code).toBe('InvalidParameters')
  })

  it('are not got around by a value of a list that hides behind one of Parameter Store', () => {
    const definition = { type: 'String', allowedValues: ['start', 'stop'] }
    for (const value of ['{{ssm:/any}}', 'start; reboot {{ ssm:/any }}', '{{ssm-secure:/any}}'])
      expect(refused(definition, value).code, value).toBe('InvalidParameters')
    const list = { type: 'StringList', allowedValues: ['a', 'b'] }
    expect(refused(list, 'a', '{{ssm:/any}}').code).toBe('InvalidParameters')
  })

  it('leave the author of a document what its default fetches', () => {
    const definition = { type: 'String', default: '{{ssm:/app/name}}', maxChars: 3 }
    const given = new Map([['p', '{{ssm:/app/name}}']])
    const fetched = new Map([['p', 'longer than three']])
    expect(() => checkOnNode(documentWith({ p: definition }), fetched, given, 'by-server')).not.toThrow()
  })
})
