// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables are written so
import { describe, expect, it } from 'vitest'
import { isMalformed, type PolicyKind, parsePolicy } from './index.ts'

const refusal = (text: string, kind: PolicyKind = 'identity'): string | undefined => {
  const parsed = parsePolicy(text, kind)
  return isMalformed(parsed) ? parsed.message : undefined
}
const statement = (change: object, kind: PolicyKind = 'identity'): string | undefined => {
  const base =
    kind === 'trust'
      ? { Effect: 'Allow', Principal: '*', Action: 'sts:AssumeRole' }
      : { Effect: 'Allow', Action: 'ssm:*', Resource: '*', ...(kind === 'resource' && { Principal: '*' }) }
  return refusal(JSON.stringify({ Version: '2012-10-17', Statement: [{ ...base, ...change }] }), kind)
}

const SYNTAX = 'Syntax errors in policy.'
const LEGACY = 'The policy failed legacy parsing'

describe('a policy', () => {
  it('may hold one statement or many, one value or many', () => {
    const one = parsePolicy('{"Statement":{"Effect":"Allow","Action":"ssm:*","Resource":"*"}}', 'identity')
    const many = parsePolicy('{"Statement":[{"Effect":"Allow","Action":["ssm:*"],"Resource":["*"]}]}', 'identity')
    const said = (parsed: typeof one) =>
      'code' in parsed ? [] : parsed.statements.map(({ position: _, ...rest }) => rest)
    expect(said(one)).toEqual(said(many))
    expect(one).toMatchObject({
      kind: 'identity',
      version: '2008-10-17',
      statements: [{ action: ['ssm:*'], conditions: [] }],
    })
  })

  it('keeps its Id, Sids and conditions', () => {
    const text = JSON.stringify({
      Version: '2012-10-17',
      Id: 'garden rules',
      Statement: [
        {
          Sid: 'One1',
          Effect: 'Deny',
          NotAction: 'iam:*',
          NotResource: 'arn:aws:ssm:*:*:parameter/x',
          Condition: {
            Bool: { 'aws:SecureTransport': false },
            'ForAnyValue:StringLikeIfExists': { 'aws:TagKeys': ['a', 'b'] },
            NumericLessThan: { 'custom:n': 12 },
          },
        },
      ],
    })
    expect(parsePolicy(text, 'session')).toMatchObject({
      id: 'garden rules',
      statements: [
        {
          sid: 'One1',
          effect: 'Deny',
          notAction: ['iam:*'],
          notResource: ['arn:aws:ssm:*:*:parameter/x'],
          conditions: [
            { operator: 'Bool', ifExists: false, key: 'aws:SecureTransport', values: ['false'] },
            {
              operator: 'StringLike',
              qualifier: 'ForAnyValue',
              ifExists: true,
              key: 'aws:TagKeys',
              values: ['a', 'b'],
            },
            { operator: 'NumericLessThan', ifExists: false, key: 'custom:n', values: ['12'] },
          ],
        },
      ],
    })
  })

  it('keeps every digit of a number', () => {
    const condition = '{"NumericEquals":{"custom:n":12345678901234567890}}'
    const parsed = parsePolicy(
      `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":${condition}}}`,
      'identity',
    )
    expect(parsed).toMatchObject({ statements: [{ conditions: [{ values: ['12345678901234567890'] }] }] })
  })

  it.each([
    [''],
    ['not json'],
    ['[]'],
    ['{}'],
    ['{"Statement":[]}'],
    ['{"Statement":"Allow"}'],
    ['{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}],}'],
    ['{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]} x'],
    ['{"Version":"2013-01-01","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'],
    ['{"Comment":"x","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'],
    ['{"Id":7,"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'],
  ])('%s is refused with the message IAM gives for syntax', (text) => {
    expect(refusal(text)).toBe(SYNTAX)
  })

  it('that says a thing twice is refused, wherever it says it', () => {
    expect(refusal('{"Statement":[{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}]}')).toBe(SYNTAX)
    expect(refusal('{"Statement":[],"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}')).toBe(SYNTAX)
    expect(
      refusal(
        '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":"true","\\u0061":"false"}}}}',
      ),
    ).toBe(SYNTAX)
  })

  it('nested without end is refused, not followed', () => {
    expect(refusal('['.repeat(100_000))).toBe(SYNTAX)
    expect(refusal('{"a":'.repeat(100_000))).toBe(SYNTAX)
  })

  it('of any length is read to its end', () => {
    expect(statement({ Sid: 'a'.repeat(10_000_000) })).toBeUndefined()
    expect(refusal(`{"Id":"${'a'.repeat(10_000_000)}`)).toBe(SYNTAX)
  })

  it('that must not be given as JSON text is told so for a role', () => {
    expect(refusal('x', 'trust')).toBe('This policy contains invalid Json')
  })
})

describe('a statement', () => {
  it.each<[string, object, string]>([
    ['without Effect', { Effect: undefined }, SYNTAX],
    ['with another Effect', { Effect: 'Permit' }, SYNTAX],
    ['with Effect in other letters', { Effect: 'allow' }, LEGACY],
    ['with an unknown element', { Comment: 'x' }, SYNTAX],
    ['with Action and NotAction', { NotAction: '*' }, SYNTAX],
    ['with Resource and NotResource', { NotResource: '*' }, SYNTAX],
    ['without an action', { Action: undefined }, 'Policy statement must contain actions.'],
    ['with an empty list of actions', { Action: [] }, 'Policy statement must contain actions.'],
    ['with an action that is no text', { Action: [7] }, SYNTAX],
    [
      'with an action of no service',
      { Action: 'GetParameter' },
      'Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.',
    ],
    ['with an action of two colons', { Action: 'ssm:Get:x' }, 'Actions/Condition can contain only one colon.'],
    ['with a service that cannot be', { Action: 's*m:Get' }, 'Vendor s*m is not valid'],
    ['without a resource', { Resource: undefined }, 'Policy statement must contain resources.'],
    ['with a resource that is no ARN', { Resource: 'parameter' }, 'Resource parameter must be in ARN format or "*".'],
    [
      'with a resource of a strange partition',
      { Resource: 'arn:azure:ssm:a:b:c' },
      'Partition "azure" is not valid for resource "arn:azure:ssm:a:b:c".',
    ],
    [
      'with a resource of any service',
      { Resource: 'arn:aws:s*:a:b:c' },
      'Resource vendor must be fully qualified and cannot contain regexes.',
    ],
    [
      'with an IAM resource in a region',
      { Resource: 'arn:aws:iam:eu:1:user/x' },
      'IAM resource arn:aws:iam:eu:1:user/x cannot contain region information.',
    ],
    ['with a Principal', { Principal: '*' }, 'Policy document should not specify a principal.'],
    [
      'with a Sid of other letters',
      { Sid: 'my sid' },
      'Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*',
    ],
    ['with an unknown operator', { Condition: { StringIs: { a: 'b' } } }, SYNTAX],
    ['with NullIfExists', { Condition: { NullIfExists: { a: 'true' } } }, SYNTAX],
    ['with a condition without values', { Condition: { StringEquals: { a: [] } } }, SYNTAX],
    ['with a condition value that is an object', { Condition: { StringEquals: { a: {} } } }, SYNTAX],
    ['with a date that is none', { Condition: { DateLessThan: { 'aws:CurrentTime': '2026-02-30' } } }, LEGACY],
    ['with a number that is none', { Condition: { NumericEquals: { a: '${aws:username}' } } }, LEGACY],
    ['with an address that is none', { Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/33' } } }, LEGACY],
    ['with a truth that is neither', { Condition: { Bool: { a: 'yes' } } }, LEGACY],
  ])('%s is refused', (_, change, message) => {
    expect(statement(change)).toBe(message)
  })

  it.each([
    ['arn:aws:ssm:*'],
    ['arn:*:ssm:*:*:parameter/*'],
    ['arn:aws-cn:ssm:*:*:parameter/*'],
    ['arn:aws:iam::*:role/*'],
    ['arn:aws:iam::111122223333:*'],
    ['arn:aws:s3:::bucket/${aws:username}/*'],
  ])('may name the resource %s', (Resource) => {
    expect(statement({ Resource })).toBeUndefined()
  })

  it('has a Sid of its own', () => {
    const Statement = [1, 2].map(() => ({ Sid: 'Same', Effect: 'Allow', Action: '*', Resource: '*' }))
    expect(refusal(JSON.stringify({ Statement }))).toBe('Statement IDs (SID) in a single policy must be unique.')
  })

  it('of a key policy may have a sentence for a Sid', () => {
    expect(statement({ Sid: 'Enable IAM User Permissions' }, 'resource')).toBeUndefined()
  })
})

describe('the principal of a resource or trust policy', () => {
  it.each<[string, unknown]>([
    ['everybody', '*'],
    ['everybody with AWS', { AWS: '*' }],
    ['an account', { AWS: '111122223333' }],
    ['a root user', { AWS: 'arn:aws:iam::111122223333:root' }],
    ['a user with a path', { AWS: 'arn:aws:iam::111122223333:user/garden/amelia' }],
    ['a session', { AWS: ['arn:aws:sts::111122223333:assumed-role/gardener/spring'] }],
    ['a service and a provider', { Service: ['ssm.amazonaws.com'], Federated: 'accounts.google.com' }],
  ])('may be %s', (_, Principal) => {
    expect(statement({ Principal }, 'trust')).toBeUndefined()
    expect(statement({ Principal }, 'resource')).toBeUndefined()
  })

  it.each<[string, object, string]>([
    ['missing', { Principal: undefined }, 'Missing required field Principal'],
    ['empty', { Principal: {} }, 'Missing required field Principal cannot be empty!'],
    ['an empty list', { Principal: { AWS: [] } }, 'Missing required field Principal cannot be empty!'],
    ['of an unknown type', { Principal: { Azure: 'x' } }, SYNTAX],
    ['a text', { Principal: 'amelia' }, SYNTAX],
    [
      'a pattern',
      { Principal: { AWS: 'arn:aws:iam::111122223333:role/*' } },
      'Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:role/*"',
    ],
    [
      'a group',
      { Principal: { AWS: 'arn:aws:iam::111122223333:group/x' } },
      'Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:group/x"',
    ],
    [
      'an account of eleven digits',
      { Principal: { AWS: '11112222333' } },
      'Invalid principal in policy: "AWS":"11112222333"',
    ],
    ['every service', { Principal: { Service: '*' } }, 'Invalid principal in policy: "Service":"*"'],
  ])('is refused when it is %s', (_, change, message) => {
    expect(statement(change, 'trust')).toBe(message)
    expect(statement(change, 'resource')).toBe(message)
  })

  it('may be inverted only to deny, and only in a resource policy', () => {
    const inverted = { Principal: undefined, NotPrincipal: { AWS: '111122223333' } }
    expect(statement({ ...inverted, Effect: 'Deny' }, 'resource')).toBeUndefined()
    expect(statement({ ...inverted, Effect: 'Deny' }, 'trust')).toBe('Has prohibited field NotPrincipal')
    expect(statement(inverted, 'resource')).toBe('Has prohibited field NotPrincipal')
  })

  it('stands without a resource in a trust policy, and with actions of STS alone', () => {
    expect(statement({ Resource: '*' }, 'trust')).toBe('Has prohibited field Resource')
    expect(statement({ Action: ['sts:AssumeRole', 'sts:TagSession'] }, 'trust')).toBeUndefined()
    expect(statement({ Action: 'ssm:*' }, 'trust')).toBe('AssumeRole policy may only specify STS AssumeRole actions.')
    expect(statement({ Comment: 'x' }, 'trust')).toBe('Unknown field Comment')
  })
})
