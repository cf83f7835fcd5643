import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AwsError } from '../../platform/errors.ts'
import { checkNewName, keyOf, MAX_ARN_CHARACTERS, parentOf, parseName, parseReference, resourceOf } from './names.ts'

const scope = { account: '111122223333', region: 'us-east-2' }
const refusal = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    if (error instanceof AwsError) return error.name
    throw error
  }
  return 'accepted'
}

describe('a new name', () => {
  it.each(['a', 'A.b-c_1', '/a', '/a/b', '/my.app/prod_1/x-y'])('may be %s', (name) => {
    expect(checkNewName(scope, name)).toEqual({ name, key: keyOf(name) })
  })
  it.each([
    'a/b',
    '//a',
    '/a//b',
    '/a/',
    '/',
    '',
    'a b',
    'a:b',
    'ä',
    'a\u0000',
    'awsome',
    'SSM',
    '/aws',
    '/Ssm-x',
    '/ssm/x',
  ])('may not be %j', (name) => {
    expect(refusal(() => checkNewName(scope, name))).toBe('ValidationException')
  })
  it('under /aws is reserved', () => {
    expect(refusal(() => checkNewName(scope, '/aws/x'))).toBe('AccessDeniedException')
    expect(refusal(() => checkNewName(scope, '/AWSome/x'))).toBe('AccessDeniedException')
  })
  it('loses the spaces around it', () => {
    expect(checkNewName(scope, '  /a/b ').name).toBe('/a/b')
  })
  it('has at most fifteen levels', () => {
    expect(refusal(() => checkNewName(scope, '/l'.repeat(15)))).toBe('accepted')
    expect(refusal(() => checkNewName(scope, '/l'.repeat(16)))).toBe('HierarchyLevelLimitExceededException')
  })
  it('has an ARN of at most 1,011 characters, 966 of them its own in us-east-2', () => {
    expect(refusal(() => checkNewName(scope, 'n'.repeat(966)))).toBe('accepted')
    expect(refusal(() => checkNewName(scope, 'n'.repeat(967)))).toBe('ValidationException')
    expect(MAX_ARN_CHARACTERS).toBe(1011)
  })
})

describe('a reference', () => {
  it('names the latest version, a version or a label', () => {
    expect(parseReference(scope, 'a')).toEqual({ key: '/a', spelling: 'a', selector: undefined })
    expect(parseReference(scope, '/a:3').selector).toEqual({ text: ':3', version: 3 })
    expect(parseReference(scope, '/a/b:prod.1').selector).toEqual({ text: ':prod.1', label: 'prod.1' })
  })
  it('may be an own ARN, with a selector too', () => {
    const own = 'arn:aws:ssm:us-east-2:111122223333:parameter/a'
    expect(parseReference(scope, own)).toEqual({ key: '/a', spelling: undefined, selector: undefined })
    expect(parseReference(scope, `${own}/b:2`)).toMatchObject({ key: '/a/b', selector: { version: 2 } })
  })
  it('to another account or region finds nothing', () => {
    for (const other of ['us-east-2:999999999999', 'us-east-1:111122223333']) {
      expect(refusal(() => parseReference(scope, `arn:aws:ssm:${other}:parameter/a`))).toBe('ParameterNotFound')
    }
  })
  it.each(['a:', 'a:b:c', ':1', 'a/b', '//a', '/a/', '/ssm/a', 'a:\u0000'])('may not be %j', (asked) => {
    expect(refusal(() => parseReference(scope, asked))).toBe('ValidationException')
  })
  it('never fails otherwise, whatever is asked', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (asked) => {
        expect(['accepted', 'ValidationException', 'ParameterNotFound']).toContain(
          refusal(() => parseReference(scope, asked)),
        )
        parseName(asked)
        resourceOf(scope, asked)
      }),
      { numRuns: 500 },
    )
  })
})

describe('a hierarchy', () => {
  it('puts flat names on the first level', () => {
    expect(parentOf(keyOf('a'))).toBe('/')
    expect(parentOf('/a/b/c')).toBe('/a/b')
  })
})
