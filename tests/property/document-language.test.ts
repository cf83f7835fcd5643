/** Whatever text arrives, the document language answers with a document or a DocumentError; and substitution loses nothing. */
import {
  combinedOutput,
  compilePattern,
  cut,
  DocumentError,
  type Json,
  openDocument,
  parseDocument,
  planDocument,
  platformTypes,
  renderAs,
  resolveParameters,
  substitute,
  totalExecutionSeconds,
} from '@musterbook/document'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

/** The result, or undefined for a DocumentError; anything else that is thrown fails the test. */
function answer<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch (error) {
    if (error instanceof DocumentError) return undefined
    throw error
  }
}

const anyJson = fc.jsonValue({ maxDepth: 4 }).map((value): Json => JSON.parse(JSON.stringify(value)))
const name = fc.constantFrom('a', 'p', 'run', 'constructor', '__proto__', 'x y', '..', '')
/** Documents that are nearly right: known keys, sometimes with values that do not belong there. */
const sometimes = <T>(right: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 6, arbitrary: right }, { weight: 1, arbitrary: anyJson })
const text = fc.constantFrom(
  '{{ a }}',
  'x {{p}} y',
  '{{ssm:a}}',
  'plain',
  '{{ constructor }}',
  'Linux',
  'platformType',
  '5',
  '',
)
const parameter = fc.record(
  {
    type: sometimes(fc.constantFrom('String', 'StringList', 'Integer', 'Boolean', 'StringMap', 'MapList')),
    default: sometimes(fc.constantFrom<Json>('', ['a'], 1, true, {}, [{}])),
    allowedPattern: sometimes(fc.constantFrom('^a$', '(', '[0-9]+')),
    allowedValues: sometimes(fc.constant(['a'])),
    maxChars: sometimes(fc.nat(5)),
    interpolationType: fc.constant('ENV_VAR'),
  },
  { requiredKeys: ['type'] },
)
const inputs = sometimes(
  fc.dictionary(
    fc.constantFrom('runCommand', 'timeoutSeconds', 'onFailure', 'finallyStep'),
    fc.oneof(text, fc.array(text), anyJson),
  ),
)
const step = fc.record(
  {
    name: sometimes(name),
    action: sometimes(fc.constantFrom('aws:runShellScript', 'aws:runDocument', 'aws:unknown')),
    inputs,
    precondition: sometimes(fc.dictionary(fc.constantFrom('StringEquals', 'Other'), fc.array(text))),
  },
  { requiredKeys: ['name', 'action'] },
)
const way = fc.constantFrom<Json>('a', 'p', 'step:a', 'Abort', 'Continue', '{{ a }}', true, 'true')
const condition = fc.dictionary(
  fc.constantFrom('NextStep', 'Variable', 'StringEquals', 'And', 'Not', 'Or', 'x'),
  fc.oneof(way, fc.array(fc.record({ Variable: text, Contains: text })), anyJson),
)
/** Steps of runbooks, with loops in them. */
const { runbookStep } = fc.letrec<{ runbookStep: Json }>((tie) => ({
  runbookStep: fc.record(
    {
      name: sometimes(name),
      action: sometimes(fc.constantFrom('aws:pause', 'aws:sleep', 'aws:branch', 'aws:loop', 'aws:runCommand', 'aws:x')),
      inputs: sometimes(
        fc.record(
          {
            Choices: sometimes(fc.array(sometimes(condition), { maxLength: 2 })),
            Default: way,
            Duration: text,
            DocumentName: text,
            Steps: fc.oneof({ maxDepth: 2 }, fc.constant([]), fc.array(tie('runbookStep'), { maxLength: 2 })),
            Iterators: anyJson,
            LoopCondition: sometimes(condition),
            MaxIterations: sometimes(fc.nat(200)),
          },
          { requiredKeys: [] },
        ),
      ),
      nextStep: sometimes(way),
      onFailure: sometimes(way),
      onCancel: sometimes(way),
      isEnd: sometimes(way),
      outputs: sometimes(fc.array(fc.record({ Name: sometimes(name), Type: sometimes(text) }), { maxLength: 2 })),
    },
    { requiredKeys: ['name', 'action'] },
  ) as fc.Arbitrary<Json>,
}))
const nearlyRunbook = fc.record(
  {
    schemaVersion: fc.constant('0.3'),
    parameters: sometimes(fc.dictionary(name, sometimes(parameter))),
    mainSteps: fc.array(sometimes(runbookStep), { minLength: 1, maxLength: 4 }),
    outputs: sometimes(fc.array(sometimes(fc.constantFrom('a.b', 'p.Output', 'variable:x')))),
  },
  { requiredKeys: ['schemaVersion', 'mainSteps'] },
)
const nearly = fc.record(
  {
    schemaVersion: sometimes(fc.constantFrom<Json>('2.2', '2.0', '1.2', '1.0', '0.3', 2.2)),
    parameters: sometimes(fc.dictionary(name, sometimes(parameter))),
    mainSteps: sometimes(fc.array(sometimes(step), { maxLength: 3 })),
    runtimeConfig: sometimes(
      fc.dictionary(
        fc.constantFrom('aws:runShellScript', 'aws:x'),
        fc.record({ properties: fc.oneof(inputs, fc.array(inputs)) }),
      ),
    ),
    sessionType: sometimes(fc.constantFrom('Port', 'Standard_Stream')),
    properties: sometimes(inputs),
  },
  { requiredKeys: ['schemaVersion'] },
)

describe('any text', () => {
  it('is a document or a DocumentError', () => {
    const yamlBits = fc.array(
      fc.constantFrom(
        'a: ',
        '- ',
        '\n',
        '  ',
        '{',
        '}',
        '[',
        ']',
        '&x ',
        '*x',
        '!!set ',
        '!!binary ',
        '? ',
        '<<: ',
        '"',
        "'",
        '|',
        '#',
        '1',
        '.nan',
        '---\n',
        '%YAML 1.1\n',
        '\t',
        ': ',
      ),
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.json(),
          yamlBits.map((bits) => bits.join('')),
        ),
        (content) => {
          answer(() => parseDocument(content, 'JSON'))
          answer(() => parseDocument(content, 'YAML'))
        },
      ),
      { numRuns: 1_000 },
    )
  })

  it('that is nearly a document can be opened, filled, planned and timed without any other error', () => {
    fc.assert(
      fc.property(
        nearly,
        fc.dictionary(name, fc.array(fc.constantFrom('a', '1', 'true', '{}', '{{ssm:a}}'), { maxLength: 2 })),
        (content, given) => {
          const data: Json = JSON.parse(JSON.stringify(content))
          const stored = new Map([['a', { type: 'String' as const, value: 'v' }]])
          for (const document of [
            answer(() => openDocument(data)),
            answer(() => parseDocument(JSON.stringify(data), 'JSON')),
          ]) {
            if (!document) continue
            platformTypes(document)
            const values = answer(() => resolveParameters(document, given)) ?? {}
            totalExecutionSeconds(document, values)
            answer(() => planDocument(document, values, 'Linux', { stored }))
          }
        },
      ),
      { numRuns: 600 },
    )
  })

  it('that is nearly a runbook is one or a DocumentError', () => {
    fc.assert(
      fc.property(nearlyRunbook, (content) => {
        const document = answer(() => parseDocument(JSON.stringify(content), 'JSON', 'Automation'))
        if (document) expect(document.kind).toBe('automation')
      }),
      { numRuns: 1_000 },
    )
  })

  it('that is a document reads the same after it was written in either format', () => {
    const content = anyJson.map((extra) => ({
      schemaVersion: '2.2',
      mainSteps: [{ name: 'run', action: 'aws:runShellScript', inputs: { extra } }],
    }))
    fc.assert(
      fc.property(content, fc.constantFrom('JSON' as const, 'YAML' as const), (data, format) => {
        const document = answer(() => parseDocument(JSON.stringify(data), 'JSON'))
        if (!document) return
        expect(parseDocument(renderAs(document, format), format).content).toEqual(document.content)
      }),
      { numRuns: 500 },
    )
  })
})

describe('substitution', () => {
  it('changes nothing but known tokens: the text around them and unknown ones stay', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }).filter((part) => !/[{}]/.test(part)),
      fc.constantFrom('{{ known }}', '{{known}}', '{{ other }}', '{', '}', '{ {', '}}'),
    )
    fc.assert(
      fc.property(
        fc.array(piece, { minLength: 2 }),
        fc.string().filter((value) => !value.includes('$$')),
        (pieces, value) => {
          const source = pieces.join('')
          const expected = source.split(/\{\{[\t\n\f\r ]*known[\t\n\f\r ]*\}\}/).join(value)
          expect(substitute([source], new Map([['known', value]]))).toEqual([expected])
        },
      ),
      { numRuns: 1_000 },
    )
  })

  it('without parameters gives back the same data', () => {
    fc.assert(
      fc.property(anyJson, (data) => {
        expect(substitute(data, new Map())).toEqual(data)
      }),
      { numRuns: 500 },
    )
  })
})

describe('shortened output', () => {
  const bytes = (value: string) => new TextEncoder().encode(value).length
  it('keeps to its limit, and is untouched below it', () => {
    const long = fc
      .tuple(fc.string({ unit: 'grapheme', maxLength: 5 }), fc.nat(900))
      .map(([unit, times]) => unit.repeat(times))
    fc.assert(
      fc.property(long, long, fc.integer({ min: 100, max: 3_000 }), (stdout, stderr, limit) => {
        const one = cut(stdout, limit)
        expect(bytes(one)).toBeLessThanOrEqual(limit)
        if (bytes(stdout) < limit) expect(one).toBe(stdout)
        else expect(stdout.startsWith(one.slice(0, -'--output truncated--'.length))).toBe(true)
        expect(bytes(combinedOutput(stdout, stderr, limit))).toBeLessThanOrEqual(limit)
      }),
      { numRuns: 500 },
    )
  })
})

describe('a pattern', () => {
  it('agrees with the engine of JavaScript wherever both know the syntax', () => {
    const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\d', '\\w', '(?:ab)', '^', '$', '\\b')
    const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
      pattern: fc.oneof(
        { maxDepth: 4 },
        atom,
        fc.tuple(tie('pattern'), tie('pattern')).map(([left, right]) => left + right),
        fc.tuple(tie('pattern'), tie('pattern')).map(([left, right]) => `(${left}|${right})`),
        fc
          .tuple(tie('pattern'), fc.constantFrom('*', '+', '?', '{2}', '{0,2}'))
          .map(([inner, times]) => `(${inner})${times}`),
      ),
    }))
    fc.assert(
      fc.property(
        pattern,
        fc.string({ unit: fc.constantFrom('a', 'b', '1', ' ', '\n'), maxLength: 8 }),
        (source, value) => {
          const ours = compilePattern(source)
          expect([source, value, ours.finds(value)]).toEqual([source, value, new RegExp(source, 'u').test(value)])
          expect([source, value, ours.matches(value)]).toEqual([
            source,
            value,
            new RegExp(`^(?:${source})$`, 'u').test(value),
          ])
        },
      ),
      { numRuns: 1_000 },
    )
  })
})
