/**
 * Every operation of Systems Manager that is implemented, with valid, limit-breaking and hostile JSON through the real
 * gateway: an answer or a modelled 4xx, never a 5xx. Answers and errors are checked against the model by the testbed.
 */
import { startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findOperation, operationNames } from '../../packages/server/src/contract/model.ts'
import type { OperationModel } from '../../packages/server/src/contract/shape.ts'
import { type Answer, send, signed } from '../contract/signed-request.ts'
import { type Json, replaced, sample, sites, valid } from './contract-samples.ts'

/** Valid inputs per operation; 30 and more also put every hostile value into every member. */
const RUNS = Number(process.env.MUSTERBOOK_INPUTS ?? 8)
const ALL_FROM = 30
const AT_ONCE = 16

/** What clients send by mistake or on purpose: each has broken some service somewhere. */
const HOSTILE: Json[] = [
  null,
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  '\ud800',
  "'; drop table parameters; --",
  '%00',
  '../../etc/passwd',
  '$LATEST',
  '{{ssm:a}}',
  '*',
  'arn:aws:ssm:us-east-1:123456789012:parameter/a',
  'x'.repeat(70_000),
  '𝒳'.repeat(300),
  0,
  -1,
  2 ** 31,
  1e300,
  -8.64e12,
  8.64e12,
  253_402_300_800,
  true,
  [],
  {},
  [null],
  [''],
  ['a', 'a'],
  { a: null },
  { __proto__: 'a', constructor: 'b' },
]

let testbed: Testbed
let account: TestAccount

beforeAll(async () => {
  testbed = await startTestbed({ logLevel: 'error' })
  account = await testbed.account()
})
afterAll(() => testbed[Symbol.asyncDispose]())

function ask(operation: string, input: Json): Promise<Answer> {
  const { credentials } = account.config
  const host = new URL(testbed.endpoint).host
  return send(testbed.endpoint, signed({ credentials, host, operation, body: JSON.stringify(input) }))
}

/** The valid input with hostile values in each of its places, one place at a time. */
function hostile(operation: OperationModel, seed: number): Json[] {
  const input = sample(operation.input)
  const pick = (index: number) => HOSTILE[(seed + index * 7) % HOSTILE.length]!
  return sites(operation.input, input).flatMap((site, index) => [
    replaced(input, site.keys, undefined),
    ...[0, 1, 2].map((turn) => replaced(input, site.keys, pick(index + turn * 11))),
    // The same place in the smallest input: nothing else may hide what it does.
    ...(site.keys.length === 1
      ? HOSTILE.filter((value, turn) => RUNS >= ALL_FROM || isNul(value) || (turn + index) % 4 === 0).map((value) =>
          replaced(required(operation, input), site.keys, value),
        )
      : []),
  ])
}

const isNul = (value: Json): boolean => typeof value === 'string' && value.includes('\0')

const required = (operation: OperationModel, input: Json): Json =>
  operation.input.kind === 'structure'
    ? Object.fromEntries(
        operation.input.members
          .filter((member) => member.required)
          .map(({ name }) => [name, (input as Record<string, Json>)[name]!]),
      )
    : input

describe.each(operationNames('ssm'))('%s', (name) => {
  const operation = findOperation('ssm', name) as OperationModel

  it('answers whatever is sent with an output or a modelled refusal', async () => {
    const first = await ask(name, sample(operation.input))
    if (first.error === 'NotImplementedException') return
    const inputs = [...fc.sample(valid(operation.input), RUNS), ...hostile(operation, name.length)]
    for (let from = 0; from < inputs.length; from += AT_ONCE) {
      const some = inputs.slice(from, from + AT_ONCE)
      const answers = await Promise.all(some.map((input) => ask(name, input)))
      for (const [index, { status, text }] of answers.entries())
        if (status !== 200 && status !== 400) expect({ status, text, input: short(some[index]!) }).toBe('modelled')
    }
  })
})

const short = (input: Json) => JSON.stringify(input).replace(/(.)\1{30,}/g, '$1…')

it('at least the operations of the foundation are implemented', async () => {
  for (const name of ['PutParameter', 'GetParametersByPath', 'SendCommand', 'CreateActivation', 'AddTagsToResource'])
    expect((await ask(name, {})).error).not.toBe('NotImplementedException')
})
