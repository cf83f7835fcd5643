import { describe, expect, it } from 'vitest'
import { builtinDocument, parseBuiltin } from './builtin/index.ts'
import { DocumentError } from './error.ts'
import type { Json, JsonObject } from './json.ts'
import type { StoredValue } from './parameter-store.ts'
import { openDocument } from './parse.ts'
import { type PlanOptions, planDocument, planSession, ssmReferences } from './plan.ts'
import { platformTypes, supportsPlatform } from './platforms.ts'
import { stepTimeoutSeconds, totalExecutionSeconds } from './timeouts.ts'

const script = (inputs: JsonObject, more: JsonObject = {}): JsonObject => ({
  name: 'run',
  action: 'aws:runShellScript',
  inputs,
  ...more,
})
const document = (steps: Json[], parameters: JsonObject = {}, schemaVersion = '2.2') =>
  openDocument({ schemaVersion, parameters, mainSteps: steps })
const inputsOf = (inputs: JsonObject, declared: JsonObject, given: JsonObject, options?: PlanOptions) =>
  planDocument(document([script(inputs)], declared), given, 'Linux', options)[0]?.runs[0]?.inputs
const S = { type: 'String' }

function messageOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof DocumentError) return error.message
    throw error
  }
  throw new Error('was accepted')
}

describe('substitution', () => {
  it('keeps the type of a value that fills the whole string', () => {
    const given = { list: ['a', 'b'], map: { x: 1 }, n: 5, yes: true }
    expect(inputsOf({ runCommand: '{{ list }}', m: '{{map}}', n: '{{\tn }}', f: '{{yes}}' }, {}, given)).toEqual({
      runCommand: ['a', 'b'],
      m: { x: 1 },
      n: 5,
      f: true,
    })
  })

  it('writes text inside text, and JSON as the official agent does for the rest', () => {
    const given = { who: 'you', list: ['<a>', 'b&c'], map: { b: 1, a: 2 } }
    expect(inputsOf({ runCommand: ['hi {{who}} {{ list }} {{map}}!', { deep: ['{{who}}'] }] }, {}, given)).toEqual({
      runCommand: ['hi you ["\\u003ca\\u003e","b\\u0026c"] {"a":2,"b":1}!', { deep: ['you'] }],
    })
  })

  it('leaves unknown names alone, does not look into values, and does not touch keys', () => {
    const given = { a: '{{ b }}', b: 'no' }
    expect(inputsOf({ '{{ a }}': ['{{ a }} {{ c }} {{a.b}} {{ a', '{{ a }}'] }, {}, given)).toEqual({
      '{{ a }}': ['{{ b }} {{ c }} {{a.b}} {{ a', '{{ b }}'],
    })
  })

  it('collapses $$ only inside text, and never reads $ as a group', () => {
    expect(inputsOf({ x: ['{{ a }}', '- {{ a }}'] }, {}, { a: "$$ $1 $& $'" })).toEqual({
      x: ["$$ $1 $& $'", "- $ $1 $& $'"],
    })
  })

  it('takes defaults for what is not given', () => {
    expect(
      inputsOf({ x: '{{ a }}{{ b }}' }, { a: { ...S, default: 'A' }, b: { ...S, default: 'B' } }, { b: 'x' }),
    ).toEqual({
      x: 'Ax',
    })
  })

  it('gives ENV_VAR parameters to scripts as variables and never as text', () => {
    const declared = { msg: { ...S, interpolationType: 'ENV_VAR' }, dir: { ...S, interpolationType: 'ENV_VAR' } }
    const steps = [script({ runCommand: ['echo "{{ msg }}"'], workingDirectory: '{{ dir }}', environment: { A: 1 } })]
    const given = { msg: '"; rm -rf /; "', dir: '/srv' }
    const run = planDocument(document(steps, declared), given, 'Linux')[0]?.runs[0]
    expect(run?.inputs).toMatchObject({ runCommand: ['echo "{{ msg }}"'], workingDirectory: '/srv' })
    expect(run?.environment).toEqual({ A: '1', SSM_msg: '"; rm -rf /; "', SSM_dir: '/srv' })
    const old = planDocument(document(steps, declared, '2.0'), given, 'Linux')[0]?.runs[0]
    expect(old?.environment).toEqual({ A: '1' })
    expect(old?.inputs.runCommand).toEqual(['echo ""; rm -rf /; ""'])
  })
})

describe('Parameter Store references', () => {
  const stored = (entries: Record<string, StoredValue>) => ({ stored: new Map(Object.entries(entries)) })
  it('are listed once each, from values, defaults and the body', () => {
    const doc = document([script({ runCommand: ['{{ssm:/a/b}} {{ p }}', '{{ ssm:c:3 }}{{ssm:/a/b}}'] })], {
      p: S,
      q: { ...S, default: '{{ssm:d:label}}' },
    })
    expect(ssmReferences(doc, { p: 'x {{ssm:e}}' })).toEqual(['e', 'd:label', '/a/b', 'c:3'])
  })

  it('are put in as text, and a StringList as elements', () => {
    const options = stored({
      '/a': { type: 'String', value: 'A {{ssm:b}} $&' },
      b: { type: 'String', value: 'B' },
      l: { type: 'StringList', value: 'x,y z' },
    })
    expect(inputsOf({ t: '{{ssm:/a}}-{{ ssm:b }}', l: ['first', '{{ssm:l}}', '{{ssm:b}}'] }, {}, {}, options)).toEqual({
      t: 'A {{ssm:b}} $&-B',
      l: ['first', 'x', 'y z', 'B'],
    })
  })

  it('fail the document when missing, secure, or a list where text is needed', () => {
    const plan = (text: Json, entries: Record<string, StoredValue>) =>
      messageOf(() => inputsOf({ t: text }, {}, {}, stored(entries)))
    expect(plan('{{ssm:x}} {{ssm:y}}', {})).toBe('Input contains invalid parameters [x y]')
    expect(plan('{{ssm:x}}', { x: { type: 'SecureString', value: 'top' } })).toBe(
      'Parameters [x] of type SecureString are not supported',
    )
    for (const text of ['{{ssm:x}}', ['a {{ssm:x}}']]) {
      expect(plan(text, { x: { type: 'StringList', value: 'a,b' } })).toBe(
        'Parameter x of type StringList cannot be used as a String',
      )
    }
  })

  it('are checked against the pattern once they are known', () => {
    const declared = { p: { ...S, allowedPattern: '^[a-z]+$' } }
    const given = { p: '{{ssm:x}}' }
    expect(inputsOf({ t: '{{ p }}' }, declared, given, stored({ x: { type: 'String', value: 'abc' } }))).toEqual({
      t: 'abc',
    })
    expect(
      messageOf(() => inputsOf({ t: '{{ p }}' }, declared, given, stored({ x: { type: 'String', value: '1' } }))),
    ).toMatch(/does not match the allowed pattern/)
  })
})

describe('which steps run', () => {
  const verdict = (
    step: JsonObject,
    version = '2.2',
    platform: 'Linux' | 'Windows' | 'MacOS' = 'Linux',
    plugins?: string[],
  ) =>
    planDocument(
      document([{ name: 's', inputs: {}, ...step }], { p: S }, version),
      { p: 'v' },
      platform,
      plugins ? { plugins: new Set(plugins) } : {},
    )[0]?.verdict
  const run = { do: 'run' }
  const shell = { action: 'aws:runShellScript' }
  const when = (...operands: string[]) => ({ ...shell, precondition: { StringEquals: operands } })

  it('those whose precondition names this platform, in either order and case', () => {
    expect(verdict(when('platformType', 'Linux'))).toEqual(run)
    expect(verdict(when('linux', 'platformType'))).toEqual(run)
    expect(verdict(when('platformType', 'MacOS'), '2.2', 'MacOS')).toEqual(run)
    expect(verdict(when('platformType', 'Windows'))).toEqual({
      do: 'skip',
      reason: `Step execution skipped due to unsatisfied preconditions: '"StringEquals": [platformType, Windows]'. Step name: s`,
    })
  })

  it('those whose parameter compares equal', () => {
    expect(verdict(when('{{ p }}', 'v'))).toEqual(run)
    expect(verdict(when('x', '{{ p }}'))).toEqual({
      do: 'skip',
      reason: `Step execution skipped due to unsatisfied preconditions: '"StringEquals": [x, {{ p }}]'. Step name: s`,
    })
  })

  it.each([
    [['a', 'b', 'c'], '"StringEquals": operator accepts exactly 2 arguments'],
    [['a'], '"StringEquals": operator accepts exactly 2 arguments'],
    [['{{p}}', '{{p}}'], `"StringEquals": operator's arguments can't be identical`],
    [['platformType', 'platformType'], '"StringEquals": [platformType platformType]'],
    [['{{ssm:x}}', 'a'], `"StringEquals": operator's arguments can't contain SSM parameters`],
    [['{{ssm-secure:x}}', 'a'], `"StringEquals": operator's arguments can't contain secure SSM parameters`],
    [
      ['platformType', '{{ p }}'],
      `"StringEquals": the second argument for the platformType variable can't contain document parameters`,
    ],
    [['a', 'b'], `"StringEquals": at least one of operator's arguments must contain a valid document parameter`],
  ])('not those with precondition %j: the step fails', (operands, remark) => {
    expect(verdict(when(...operands))).toEqual({
      do: 'fail',
      reason: `Unrecognized precondition(s): '${remark}', please update agent to latest version. Step name: s`,
    })
  })

  it('not those with an operator nobody knows', () => {
    expect(verdict({ ...shell, precondition: { StringLike: ['a', 'b'] } })).toMatchObject({ do: 'fail' })
  })

  it('a plugin that is missing here is skipped from 2.2 on and fails before', () => {
    const reason = 'Step execution skipped due to unsupported plugin: aws:applications. Step name: s'
    expect(verdict({ action: 'aws:applications' })).toEqual({ do: 'skip', reason })
    expect(verdict({ action: 'aws:applications' }, '2.0')).toEqual({
      do: 'fail',
      reason: 'Plugin with name aws:applications is not supported in current platform. Step name: s',
    })
    expect(verdict({ action: 'aws:configurePackage' }, '2.2', 'Linux', ['aws:runShellScript'])).toMatchObject({
      do: 'skip',
    })
    expect(verdict({ action: 'aws:configurePackage' }, '2.0', 'Linux', ['aws:runShellScript'])).toEqual({
      do: 'fail',
      reason: 'Plugin with name aws:configurePackage not found. Step name: s',
    })
  })

  it('a plugin that nobody knows always fails, and so does a precondition before 2.2', () => {
    for (const version of ['2.2', '2.0']) {
      expect(verdict({ action: 'aws:new' }, version)).toEqual({
        do: 'fail',
        reason:
          'Plugin with name aws:new is not supported by this version of ssm agent, please update to latest version. Step name: s',
      })
    }
    expect(verdict(when('platformType', 'Linux'), '2.0')).toEqual({
      do: 'fail',
      reason: 'Precondition is not supported for document schema version prior to 2.2. Step name: s',
    })
  })
})

describe('the plan of a document', () => {
  it('in schema 1.2 calls a plugin once for each of its properties, named by their id', () => {
    const doc = openDocument({
      schemaVersion: '1.2',
      parameters: { c: { type: 'StringList' } },
      runtimeConfig: {
        'aws:runShellScript': {
          properties: [
            { id: '0.aws:runShellScript', runCommand: '{{ c }}', timeoutSeconds: '7' },
            { id: 'two', runCommand: ['date'] },
          ],
        },
      },
    })
    expect(planDocument(doc, { c: ['a', 'b'] }, 'Linux')).toEqual([
      {
        id: 'aws:runShellScript',
        action: 'aws:runShellScript',
        settings: null,
        verdict: { do: 'run' },
        finallyStep: false,
        runs: [
          {
            name: '0.aws:runShellScript',
            inputs: { id: '0.aws:runShellScript', runCommand: ['a', 'b'], timeoutSeconds: '7' },
            environment: {},
            timeoutSeconds: 7,
          },
          { name: 'two', inputs: { id: 'two', runCommand: ['date'] }, environment: {}, timeoutSeconds: 3_600 },
        ],
      },
    ])
  })

  it('reads the flow of control from inputs, and finallyStep from the last step only', () => {
    const steps = [
      script({ onFailure: 'exit', finallyStep: true }, { name: 'a' }),
      script({ onSuccess: 'exit', onFailure: 'successAndExit' }, { name: 'b', onFailure: 'exit' }),
      script({ finallyStep: 'true', onFailure: 'Abort' }, { name: 'c' }),
    ]
    const flow = planDocument(document(steps), {}, 'Linux').map(({ id, finallyStep, onFailure, onSuccess }) => [
      id,
      finallyStep,
      onFailure,
      onSuccess,
    ])
    expect(flow).toEqual([
      ['a', false, 'exit', undefined],
      ['b', false, 'successAndExit', 'exit'],
      ['c', true, undefined, undefined],
    ])
  })

  it('runs AWS-RunShellScript with what was given', () => {
    const builtin = builtinDocument('AWS-RunShellScript')
    if (!builtin) throw new Error('missing')
    const [step] = planDocument(
      openDocument(builtin.content),
      { commands: ['date', 'id'], executionTimeout: '60' },
      'Linux',
    )
    expect(step?.runs[0]).toMatchObject({
      name: '0.aws:runShellScript',
      inputs: { runCommand: ['date', 'id'], workingDirectory: '' },
      timeoutSeconds: 60,
    })
  })

  it('is refused for documents that nodes do not run', () => {
    const session = openDocument({ schemaVersion: '1.0', sessionType: 'Standard_Stream' })
    expect(messageOf(() => planDocument(session, {}, 'Linux'))).toBe('Unsupported document')
  })

  it('for a session puts parameters into properties and inputs', () => {
    const builtin = builtinDocument('AWS-StartPortForwardingSession')
    const typed = builtin && parseBuiltin(builtin)
    if (typed?.kind !== 'session') throw new Error('missing')
    expect(planSession(typed, { portNumber: '5432' })).toEqual({
      sessionType: 'Port',
      inputs: {},
      properties: { portNumber: '5432', type: 'LocalPortForwarding', localPortNumber: '0' },
    })
  })
})

describe('time', () => {
  it.each([
    [undefined, 3_600],
    [4, 3_600],
    [5, 5],
    ['5', 5],
    ['4', 3_600],
    [172_800, 172_800],
    [172_801, 3_600],
    ['172801', 3_600],
    ['60.9', 60],
    [60.9, 60],
    ['x', 3_600],
    ['', 3_600],
    [null, 3_600],
    [true, 3_600],
    ['-60', 3_600],
  ] as [Json | undefined, number][])('timeoutSeconds %j is %d seconds', (given, seconds) => {
    expect(stepTimeoutSeconds(given === undefined ? {} : { timeoutSeconds: given })).toBe(seconds)
  })

  it('of a document is the sum of its steps on the slowest platform', () => {
    const on = (platform: string, seconds: Json) => ({
      name: `s${platform}`,
      action: 'aws:runPowerShellScript',
      precondition: { StringEquals: ['platformType', platform] },
      inputs: { timeoutSeconds: seconds },
    })
    const doc = document([script({ timeoutSeconds: 100 }), on('Linux', '{{ t }}'), on('Windows', 500)], { t: S })
    expect(totalExecutionSeconds(doc, { t: '50' }, 'Linux')).toBe(150)
    expect(totalExecutionSeconds(doc, { t: '50' }, 'Windows')).toBe(500)
    expect(totalExecutionSeconds(doc, { t: '50' })).toBe(500)
    expect(totalExecutionSeconds(doc, { t: '450' })).toBe(550)
    expect(totalExecutionSeconds(document([script({}), script({}, { name: 'b' })]), {})).toBe(7_200)
    expect(totalExecutionSeconds(openDocument({ schemaVersion: '1.0', sessionType: 'Standard_Stream' }), {})).toBe(
      3_600,
    )
  })

  it('of AWS-RunShellScript is its executionTimeout', () => {
    const builtin = builtinDocument('AWS-RunShellScript')
    if (!builtin) throw new Error('missing')
    expect(totalExecutionSeconds(parseBuiltin(builtin), { commands: ['x'] })).toBe(3_600)
    expect(totalExecutionSeconds(parseBuiltin(builtin), { commands: ['x'], executionTimeout: '172800' })).toBe(172_800)
  })
})

describe('platforms', () => {
  it('of every built-in document are those it declares', async () => {
    const { BUILTIN_DOCUMENTS } = await import('./builtin/index.ts')
    for (const builtin of BUILTIN_DOCUMENTS.values()) {
      expect([builtin.name, platformTypes(parseBuiltin(builtin))]).toEqual([builtin.name, builtin.platformTypes])
    }
  })

  it('come from plugins and preconditions', () => {
    const step = script({}, { precondition: { StringEquals: ['platformType', 'Linux'] } })
    expect(platformTypes(document([step]))).toEqual(['Linux'])
    expect(supportsPlatform(document([step]), 'MacOS')).toBe(false)
    expect(supportsPlatform(document([script({})]), 'MacOS')).toBe(true)
    expect(supportsPlatform(document([script({})]), 'Windows')).toBe(false)
  })
})
