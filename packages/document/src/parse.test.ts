import { describe, expect, it } from 'vitest'
import { DocumentError } from './error.ts'
import type { Json } from './json.ts'
import type { DocumentType } from './names.ts'
import { openDocument, parseDocument } from './parse.ts'
import { MAX_DOCUMENT_BYTES } from './read.ts'
import { renderAs, toJson } from './render.ts'

function refusal(action: () => unknown): { code: string; message: string } {
  try {
    action()
  } catch (error) {
    if (error instanceof DocumentError) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('was accepted')
}
const json = (content: Json, type?: DocumentType) => parseDocument(JSON.stringify(content), 'JSON', type)
const complaint = (content: Json, type?: DocumentType) => refusal(() => json(content, type))

const step = { name: 'run', action: 'aws:runShellScript', inputs: { runCommand: ['date'] } }
const steps = (...mainSteps: Json[]): Json => ({ schemaVersion: '2.2', mainSteps })
const withParameter = (definition: Json, name = 'p'): Json => ({
  schemaVersion: '2.2',
  parameters: { [name]: definition },
  mainSteps: [step],
})

describe('the complaints of the service', () => {
  const cases: [string, Json, string][] = [
    ['2.2 without mainSteps', { schemaVersion: '2.2' }, 'Missing "mainSteps" in the document.'],
    ['2.2 with empty mainSteps', { schemaVersion: '2.2', mainSteps: [] }, 'Missing "mainSteps" in the document.'],
    ['2.0 without mainSteps', { schemaVersion: '2.0' }, 'Missing "mainSteps" in the document.'],
    ['0.3 without mainSteps', { schemaVersion: '0.3' }, 'Missing "mainSteps" in the document.'],
    [
      'runtimeConfig in 2.2',
      { schemaVersion: '2.2', runtimeConfig: {}, mainSteps: [step] },
      'Unknown property "runtimeConfig".',
    ],
    ['1.2 without runtimeConfig', { schemaVersion: '1.2' }, 'Missing "runtimeConfig" in the document.'],
    ['no schemaVersion', { mainSteps: [step] }, 'Missing "schemaVersion" in the document.'],
    ['a step without a name', steps({ action: 'aws:runShellScript' }), 'Missing "name" in step detail.'],
    ['a step without an action', steps({ name: 'a' }), 'Missing "action" in step detail.'],
    ['a step name with a space', steps({ ...step, name: 'a b' }), 'StepName: a b is invalid.'],
    ['two steps of one name', steps(step, step), 'Duplicate step names found in mainSteps of the document.'],
    [
      'an unknown plugin in 1.2',
      { schemaVersion: '1.2', runtimeConfig: { 'aws:x': {} } },
      'Unknown plugin name: aws:x',
    ],
    ['an unknown action in 2.2', steps({ ...step, action: 'aws:x' }), 'Unknown action: aws:x'],
    [
      'a parameter name with a dash',
      withParameter({ type: 'String' }, 'a-b'),
      'Parameter name "a-b" is not alpha-numeric.',
    ],
    ['a parameter of unknown type', withParameter({ type: 'string' }), 'Parameter type: string is invalid.'],
    ['a parameter without a type', withParameter({}), 'Missing "type" in parameter definition.'],
    [
      'a number as default of a String',
      withParameter({ type: 'String', default: 5 }),
      'Wrong default value for a "String" parameters',
    ],
    [
      'a string as default of a StringList',
      withParameter({ type: 'StringList', default: 'a' }),
      'Wrong default value for a "StringList" parameters',
    ],
    [
      'a fraction as default of an Integer',
      withParameter({ type: 'Integer', default: 1.5 }),
      'Wrong default value for a "Integer" parameters',
    ],
    [
      'a string as default of a Boolean',
      withParameter({ type: 'Boolean', default: 'true' }),
      'Wrong default value for a "Boolean" parameters',
    ],
    [
      'a list as default of a StringMap',
      withParameter({ type: 'StringMap', default: [] }),
      'Wrong default value for a "StringMap" parameters',
    ],
    [
      'strings as default of a MapList',
      withParameter({ type: 'MapList', default: ['a'] }),
      'Wrong default value for a "MapList" parameters',
    ],
    [
      'an undeclared parameter in an input',
      steps({ ...step, inputs: { runCommand: ['echo {{ who }}'] } }),
      'Parameter "who" is not declared.',
    ],
    [
      'an undeclared parameter in a precondition',
      steps({ ...step, precondition: { StringEquals: ['{{who}}', 'me'] } }),
      'Parameter "who" is not declared.',
    ],
    [
      'a platform nobody has',
      steps({ ...step, precondition: { StringEquals: ['platformType', 'Plan9'] } }),
      'Invalid precondition, unrecognized values [platformType, Plan9] encountered.',
    ],
    ['a session without a type', { schemaVersion: '1.0' }, 'Missing SessionType in the document.'],
    ['a session of unknown type', { schemaVersion: '1.0', sessionType: 'Shell' }, 'Invalid sessionType'],
    [
      'a port session without properties',
      { schemaVersion: '1.0', sessionType: 'Port' },
      'Missing Properties in session type Port document',
    ],
  ]
  it.each(cases)('meet %s', (_, content, message) => {
    expect(complaint(content)).toEqual({ code: 'InvalidDocumentContent', message })
  })

  it('meet text that is not JSON, and text that is not YAML', () => {
    const notJson = { code: 'InvalidDocumentContent', message: 'JSON not well-formed.' }
    const notYaml = { code: 'InvalidDocumentContent', message: 'YAML not well-formed.' }
    for (const text of ['', '{', '[]', '"x"', 'schemaVersion: "2.2"']) {
      expect(refusal(() => parseDocument(text, 'JSON'))).toEqual(notJson)
    }
    for (const text of ['', 'a: [', '- a', 'a: *nobody', '{a: b}: c']) {
      expect(refusal(() => parseDocument(text, 'YAML'))).toEqual(notYaml)
    }
  })
})

describe('schema versions', () => {
  it('suit their document types and no others', () => {
    expect(json(steps(step), 'Command').kind).toBe('mainSteps')
    const pause = { name: 'a', action: 'aws:pause' }
    expect(json({ schemaVersion: '0.3', mainSteps: [pause] }, 'Automation').kind).toBe('automation')
    expect(complaint(steps(step), 'Automation').code).toBe('InvalidDocumentSchemaVersion')
    expect(complaint({ schemaVersion: '0.3', mainSteps: [pause] }, 'Command').code).toBe('InvalidDocumentSchemaVersion')
    expect(complaint({ schemaVersion: '3.0' }).code).toBe('InvalidDocumentSchemaVersion')
  })

  it('may be written without quotes in YAML', () => {
    const text = (version: string) => `schemaVersion: ${version}\nmainSteps:\n- {name: a, action: aws:runShellScript}\n`
    expect(parseDocument(text('2.2'), 'YAML').schemaVersion).toBe('2.2')
    expect(parseDocument(text('2.0'), 'YAML').schemaVersion).toBe('2.0')
  })

  it('leave a runbook as data, with its own kinds of parameters', () => {
    const runbook = json({
      schemaVersion: '0.3',
      parameters: { ids: { type: 'List<AWS::EC2::Instance::Id>' }, role: { type: 'AWS::IAM::Role::Arn' } },
      mainSteps: [{ name: 'wait', action: 'aws:sleep', inputs: { Duration: '{{ variable:long }}' } }],
    })
    expect(runbook.kind).toBe('automation')
    expect(runbook.parameters.get('ids')?.valueType).toBe('StringList')
    expect(runbook.parameters.get('role')?.valueType).toBe('String')
    expect(complaint(withParameter({ type: 'AWS::IAM::Role::Arn' })).message).toBe(
      'Parameter type: AWS::IAM::Role::Arn is invalid.',
    )
  })

  it('do not matter to a type with a format of its own', () => {
    expect(json({ anything: [1] }, 'ApplicationConfiguration').kind).toBe('other')
    expect(json({ schemaVersion: '2.0', packages: {} }, 'Package').kind).toBe('other')
    expect(complaint({ schemaVersion: '2.2' }, 'Package').code).toBe('InvalidDocumentSchemaVersion')
  })
})

describe('limits', () => {
  it('allow 64 KB of content and not one byte more, counted in UTF-8', () => {
    const of = (bytes: number) => {
      const empty = JSON.stringify({ ...(steps(step) as object), description: 'é' })
      return empty.replace('é', `é${'x'.repeat(bytes - empty.length - 1)}`)
    }
    expect(parseDocument(of(MAX_DOCUMENT_BYTES), 'JSON').bytes).toBe(MAX_DOCUMENT_BYTES)
    expect(refusal(() => parseDocument(of(MAX_DOCUMENT_BYTES + 1), 'JSON')).code).toBe('MaxDocumentSizeExceeded')
  })

  it('allow 200 parameters, not 201', () => {
    const parameters = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, { type: 'String' }]))
    expect(json({ schemaVersion: '2.2', parameters: parameters(200), mainSteps: [step] }).parameters.size).toBe(200)
    expect(complaint({ schemaVersion: '2.2', parameters: parameters(201), mainSteps: [step] }).code).toBe(
      'InvalidDocumentContent',
    )
  })

  it('hold the minutes of a session between 1 and 60, and 1 and 1440', () => {
    const session = (inputs: Json): Json => ({ schemaVersion: '1.0', sessionType: 'Standard_Stream', inputs })
    const accepted: Json[] = [
      { idleSessionTimeout: '1' },
      { idleSessionTimeout: '60' },
      { maxSessionDuration: '1440' },
      { maxSessionDuration: '' },
    ]
    const refused: Json[] = [
      { idleSessionTimeout: '0' },
      { idleSessionTimeout: '61' },
      { maxSessionDuration: '1441' },
      { maxSessionDuration: 'x' },
    ]
    for (const inputs of accepted) {
      expect(json(session(inputs)).kind).toBe('session')
    }
    for (const inputs of refused) {
      expect(complaint(session(inputs)).code).toBe('InvalidDocumentContent')
    }
  })

  it('stop an alias bomb, deep nesting and wide text before they cost anything', () => {
    const levels = Array.from({ length: 12 }, (_, n) => `l${n}: &l${n} [${Array(9).fill(n ? `*l${n - 1}` : 'lol')}]`)
    expect(refusal(() => parseDocument(levels.join('\n'), 'YAML')).code).toBe('InvalidDocumentContent')
    const long = `a: &a ${'x'.repeat(60_000)}\nb: [${Array(90).fill('*a')}]`
    expect(refusal(() => parseDocument(long, 'YAML')).code).toBe('InvalidDocumentContent')
    expect(refusal(() => parseDocument('['.repeat(60_000), 'YAML')).code).toBe('InvalidDocumentContent')
    const nested = `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`
    expect(refusal(() => parseDocument(nested, 'JSON')).code).toBe('InvalidDocumentContent')
  })

  it('keep a step name to 128 characters of letters, digits and underscores', () => {
    expect(json(steps({ ...step, name: 'a'.repeat(128) })).kind).toBe('mainSteps')
    expect(complaint(steps({ ...step, name: 'a'.repeat(129) })).message).toMatch(/^StepName: a+ is invalid\.$/)
  })
})

describe('keys written twice', () => {
  it('are refused in JSON and YAML', () => {
    const double = '{"schemaVersion":"2.2","mainSteps":[],"mainSteps":[]}'
    expect(refusal(() => parseDocument(double, 'JSON')).message).toBe("Duplicate field 'mainSteps'")
    const escaped = '{"a":{"b":1,"\\u0062":2}}'
    expect(refusal(() => parseDocument(escaped, 'JSON')).message).toBe("Duplicate field 'b'")
    expect(refusal(() => parseDocument('a: 1\nb: 2\na: 3', 'YAML')).message).toBe("Duplicate field 'a'")
  })

  it('are fine in different objects', () => {
    const text =
      '{"schemaVersion":"2.2","mainSteps":[{"name":"a","action":"aws:runShellScript","inputs":{"name":"a"}}]}'
    expect(parseDocument(text, 'JSON').kind).toBe('mainSteps')
  })
})

describe('YAML', () => {
  it('is read by version 1.1 for booleans, and keeps dates and base-60 numbers as text', () => {
    const document = parseDocument(
      [
        'schemaVersion: "2.2"',
        'mainSteps:',
        '- name: a',
        '  action: aws:runShellScript',
        '  inputs: {finallyStep: yes, off: no, when: 2024-01-01, at: 12:30:00, mode: 0755, text: "yes"}',
      ].join('\n'),
      'YAML',
    )
    const inputs = document.kind === 'mainSteps' ? document.steps[0]?.inputs : undefined
    expect(inputs).toMatchObject({ finallyStep: true, when: '2024-01-01', at: '12:30:00', mode: 493, text: 'yes' })
  })

  it('becomes JSON and comes back with nothing changed', () => {
    const tricky = {
      schemaVersion: '2.2',
      description: 'yes',
      parameters: {
        p: { type: 'StringMap', default: { no: 'off', '1:30': '0755', '2024-01-01': '1e3', ['__proto__']: 'x' } },
      },
      mainSteps: [{ ...step, inputs: { runCommand: ['#!/bin/sh', '', ' : {{ p }} \n\n', '\t~', 'null', '- a: b'] } }],
    }
    const document = json(tricky)
    for (const format of ['JSON', 'YAML'] as const) {
      expect(toJson(parseDocument(renderAs(document, format), format))).toEqual(toJson(document))
    }
  })
})

describe('a document that has reached an agent', () => {
  it('is refused with the agent’s words when its version is unknown or it has nothing to run', () => {
    expect(refusal(() => openDocument({ schemaVersion: '9.9' }))).toEqual({
      code: 'InvalidDocument',
      message:
        'Document with schema version 9.9 is not supported by this version of ssm agent, please update to latest version',
    })
    expect(refusal(() => openDocument({ schemaVersion: '2.2', mainSteps: [] })).message).toBe(
      'Unsupported schema format',
    )
    expect(refusal(() => openDocument({ schemaVersion: '1.2' })).message).toBe('Unsupported schema format')
    expect(refusal(() => openDocument('text')).message).toBe('Unsupported schema format')
  })

  it('may name plugins and parameters that are unknown, but no folder outside its own', () => {
    expect(openDocument(steps({ name: 'a b', action: 'aws:x', inputs: { a: '{{ who }}' } })).kind).toBe('mainSteps')
    expect(openDocument({ schemaVersion: '2.0.3', mainSteps: [step] }).kind).toBe('mainSteps')
    for (const name of ['..', '../x', 'a/b', 'a\\b']) {
      expect(refusal(() => openDocument(steps({ ...step, name }))).message).toBe(`StepName: ${name} is invalid.`)
    }
  })
})
