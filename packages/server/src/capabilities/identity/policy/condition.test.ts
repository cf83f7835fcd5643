// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables are written so
import { describe, expect, it } from 'vitest'
import { compilePolicy, contextKeys, evaluate, isMalformed, parsePolicy } from './index.ts'

type Values = string | string[]

/** Whether one condition holds for a key of the request; undefined: the request has no such key. */
function holds(operator: string, wanted: Values, actual: Values | undefined): boolean {
  const Condition = { [operator]: { 'custom:key': wanted } }
  const text = JSON.stringify({
    Version: '2012-10-17',
    Statement: { Effect: 'Allow', Action: '*', Resource: '*', Condition },
  })
  const document = parsePolicy(text, 'identity')
  if (isMalformed(document)) throw new Error(document.message)
  const context = contextKeys({ 'Custom:Key': actual, 'aws:username': 'amelia' })
  const principal = { type: 'user', account: '111122223333', arn: 'arn:aws:iam::111122223333:user/amelia' } as const
  return (
    evaluate({ principal, action: 'ssm:X', resources: [], context }, { identity: [compilePolicy(document)] }) ===
    'allow'
  )
}

describe('an operator and a value', () => {
  it.each<[string, Values, string, boolean]>([
    ['StringEquals', 'a', 'a', true],
    ['StringEquals', 'a', 'A', false],
    ['StringEquals', ['b', 'a'], 'a', true],
    ['StringEquals', 'a*', 'ab', false],
    ['StringEquals', '${aws:username}', 'amelia', true],
    ['StringNotEquals', 'a', 'b', true],
    ['StringNotEquals', ['a', 'b'], 'b', false],
    ['StringEqualsIgnoreCase', 'Äa', 'äA', true],
    ['StringEqualsIgnoreCase', '${aws:username}', 'AMELIA', true],
    ['StringNotEqualsIgnoreCase', 'Aa', 'aA', false],
    ['StringLike', 'a*c?', 'abbcd', true],
    ['StringLike', 'a*c?', 'abbc', false],
    ['StringLike', '?', '😀', true],
    ['StringLike', '${aws:username}*', 'amelia/x', true],
    ['StringLike', '', '', true],
    ['StringNotLike', 'a*', 'abc', false],
    ['NumericEquals', '10', '10.0', true],
    ['NumericEquals', '10', 'ten', false],
    ['NumericNotEquals', '10', '11', true],
    ['NumericLessThan', '10', '9.5', true],
    ['NumericLessThan', '10', '10', false],
    ['NumericLessThanEquals', '10', '10', true],
    ['NumericGreaterThan', '10', '9', false],
    ['NumericGreaterThan', '-1', '0', true],
    ['NumericGreaterThanEquals', '10', '10', true],
    ['DateEquals', '2026-03-01T12:00:00Z', '2026-03-01T13:00:00+01:00', true],
    ['DateEquals', '1772366400', '2026-03-01T12:00:00Z', true],
    ['DateEquals', '2026-03-01', '2026-03-01T00:00:00.000Z', true],
    ['DateEquals', '2026', '2026-01-01T00:00Z', true],
    ['DateNotEquals', '2026-03-01', '2026-03-02', true],
    ['DateLessThan', '2026-03-01T12:00:00Z', '2026-03-01T11:59:59.999Z', true],
    ['DateLessThanEquals', '2026-03-01T12:00:00Z', '2026-03-01T12:00:00Z', true],
    ['DateGreaterThan', '2026-03-01T12:00:00Z', '1772366401', true],
    ['DateGreaterThan', '2026-03-01T12:00:00Z', 'tomorrow', false],
    ['DateEquals', '2026-03-01T12:00:00-05:00', '2026-03-01T17:00:00Z', true],
    ['DateGreaterThanEquals', '2026-03-01T12:00:00Z', '2026-03-01T12:00:00Z', true],
    ['Bool', 'true', 'TRUE', true],
    ['Bool', 'false', 'true', false],
    ['BinaryEquals', 'QmluYXJ5', 'QmluYXJ5', true],
    ['BinaryEquals', 'QmluYXJ5', 'QmluYXJ6', false],
    ['IpAddress', '203.0.113.0/24', '203.0.113.255', true],
    ['IpAddress', '203.0.113.0/24', '203.0.114.0', false],
    ['IpAddress', '203.0.113.7', '203.0.113.7', true],
    ['IpAddress', '10.1.2.0/23', '10.1.3.9', true],
    ['IpAddress', '0.0.0.0/0', '8.8.8.8', true],
    ['IpAddress', '0.0.0.0/0', '2001:db8::1', false],
    ['IpAddress', '2001:db8:1234:5678::/64', '2001:db8:1234:5678:9::1', true],
    ['IpAddress', '2001:db8:1234:5678::/64', '2001:db8:1234:5679::1', false],
    ['IpAddress', '10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['IpAddress', '10.0.0.0/8', 'not an address', false],
    ['NotIpAddress', '10.0.0.0/8', '10.0.0.1', false],
    ['NotIpAddress', ['10.0.0.0/8', '192.168.0.0/16'], '8.8.8.8', true],
    ['ArnEquals', 'arn:aws:iam::*:user/a*', 'arn:aws:iam::111122223333:user/amelia', true],
    ['ArnLike', 'arn:aws:iam::*:user/amelia', 'arn:aws:iam::1:x:user/amelia', false],
    ['ArnLike', 'arn:aws:iam::*:user/${aws:username}', 'arn:aws:iam::1:user/amelia', true],
    ['ArnLike', '*', 'no arn', false],
    ['ArnNotEquals', 'arn:aws:iam::1:user/a', 'arn:aws:iam::1:user/b', true],
    ['ArnNotLike', 'arn:aws:iam::*:user/*', 'arn:aws:iam::1:user/b', false],
  ])('%s %j, %j in the request: %s', (operator, wanted, actual, expected) => {
    expect(holds(operator, wanted, actual)).toBe(expected)
  })
})

describe('a key that the request does not have', () => {
  it.each<[string, string, boolean]>([
    ['StringEquals', 'a', false],
    ['StringLike', '*', false],
    ['NumericLessThan', '1', false],
    ['DateLessThan', '2099-01-01', false],
    ['Bool', 'false', false],
    ['IpAddress', '0.0.0.0/0', false],
    ['ArnLike', '*', false],
    ['StringNotEquals', 'a', true],
    ['StringNotEqualsIgnoreCase', 'a', true],
    ['StringNotLike', '*', true],
    ['NumericNotEquals', '1', true],
    ['DateNotEquals', '2099-01-01', true],
    ['NotIpAddress', '0.0.0.0/0', true],
    ['ArnNotLike', '*', true],
    ['StringEqualsIfExists', 'a', true],
    ['BoolIfExists', 'true', true],
    ['StringNotEqualsIfExists', 'a', true],
    ['ForAllValues:StringEquals', 'a', true],
    ['ForAllValues:StringNotEquals', 'a', true],
    ['ForAnyValue:StringEquals', 'a', false],
    ['ForAnyValue:StringNotEquals', 'a', false],
    ['ForAnyValue:StringEqualsIfExists', 'a', true],
    ['Null', 'true', true],
    ['Null', 'false', false],
  ])('%s %j: %s', (operator, wanted, expected) => {
    expect(holds(operator, wanted, undefined)).toBe(expected)
    expect(holds(operator, wanted, [])).toBe(expected)
  })
})

describe('a key that the request has', () => {
  it('is judged by IfExists as without it', () => {
    expect(holds('StringEqualsIfExists', 'a', 'a')).toBe(true)
    expect(holds('StringEqualsIfExists', 'a', 'b')).toBe(false)
    expect(holds('ForAnyValue:StringLikeIfExists', 'a*', ['b', 'ab'])).toBe(true)
  })

  it('is not Null', () => {
    expect(holds('Null', 'false', 'a')).toBe(true)
    expect(holds('Null', 'true', 'a')).toBe(false)
    expect(holds('Null', ['true', 'false'], 'a')).toBe(true)
  })
})

describe('many values', () => {
  it.each<[string, Values, string[], boolean]>([
    ['ForAllValues:StringEquals', ['a', 'b', 'c'], ['a', 'b'], true],
    ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'd'], false],
    ['ForAllValues:StringNotEquals', ['a', 'b'], ['c', 'd'], true],
    ['ForAllValues:StringNotEquals', ['a', 'b'], ['c', 'a'], false],
    ['ForAnyValue:StringEquals', ['a', 'b'], ['c', 'a'], true],
    ['ForAnyValue:StringEquals', ['a', 'b'], ['c', 'd'], false],
    ['ForAnyValue:StringNotEquals', ['a', 'b'], ['c', 'a'], true],
    ['ForAnyValue:StringNotEquals', ['a', 'b'], ['b', 'a'], false],
    ['ForAllValues:StringLike', ['a*'], ['ab', 'ac'], true],
    ['ForAnyValue:IpAddress', ['10.0.0.0/8'], ['8.8.8.8', '10.0.0.1'], true],
    ['ForAllValues:StringEquals', 'a', [''], true],
    ['ForAnyValue:StringEquals', '', [''], false],
    ['StringEquals', 'a', ['b', 'a'], true],
    ['StringEquals', 'a', ['b', 'c'], false],
    ['StringNotEquals', 'a', ['b', 'a'], false],
    ['StringNotEquals', 'a', ['b', 'c'], true],
  ])('%s %j, %j in the request: %s', (operator, wanted, actual, expected) => {
    expect(holds(operator, wanted, actual)).toBe(expected)
  })
})
