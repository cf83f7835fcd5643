// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables are written so
import { describe, expect, it } from 'vitest'
import type { PolicyKind } from './document.ts'
import {
  type AccessRequest,
  compilePolicy,
  contextKeys,
  type Decision,
  evaluate,
  isMalformed,
  type PolicySet,
  type Principal,
  parsePolicy,
} from './index.ts'

const HERE = '111122223333'
const THERE = '444455556666'
const SSM = `arn:aws:ssm:eu-central-1:${HERE}:`
const user: Principal = { type: 'user', account: HERE, arn: `arn:aws:iam::${HERE}:user/amelia` }
const role: Principal = {
  type: 'role',
  account: HERE,
  arn: `arn:aws:sts::${HERE}:assumed-role/gardener/spring`,
  roleArn: `arn:aws:iam::${HERE}:role/gardener`,
}

function policy(statements: unknown, kind: PolicyKind = 'identity', version = '2012-10-17') {
  const document = parsePolicy(JSON.stringify({ Version: version, Statement: statements }), kind)
  if (isMalformed(document)) throw new Error(document.message)
  return compilePolicy(document)
}

const allowAll = { Effect: 'Allow', Action: '*', Resource: '*' }
const decide = (policies: PolicySet, request: Partial<AccessRequest> = {}): Decision =>
  evaluate(
    {
      principal: user,
      action: 'ssm:GetParameter',
      resources: [{ arn: `${SSM}parameter/a` }],
      context: contextKeys({}),
      ...request,
    },
    policies,
  )

const allows = (statement: object, request: Partial<AccessRequest>, version?: string): boolean =>
  decide({ identity: [policy({ Effect: 'Allow', ...statement }, 'identity', version)] }, request) === 'allow'

describe('an action', () => {
  it.each([
    ['*', 'ssm:GetParameter', true],
    ['*:*', 'ssm:GetParameter', true],
    ['ssm:*', 'ssm:GetParameter', true],
    ['SSM:getparameter', 'ssm:GetParameter', true],
    ['ssm:Get*', 'ssm:GETPARAMETERS', true],
    ['ssm:GetParameter?', 'ssm:GetParameters', true],
    ['ssm:GetParameter?', 'ssm:GetParameter', false],
    ['ssm:*Parameter', 'ssm:GetParameters', false],
    ['ssm:GetParameter', 'ssmmessages:GetParameter', false],
    ['ssm:*', 'ssmmessages:OpenDataChannel', false],
  ])('%s in a policy and %s in a request: %s', (Action, action, expected) => {
    expect(allows({ Action, Resource: '*' }, { action })).toBe(expected)
  })

  it('not listed by NotAction is allowed, one listed is left alone', () => {
    const statement = { NotAction: ['iam:*', 'ssm:PutParameter'], Resource: '*' }
    expect(allows(statement, { action: 'ssm:GetParameter' })).toBe(true)
    expect(allows(statement, { action: 'ssm:putparameter' })).toBe(false)
    expect(allows(statement, { action: 'iam:CreateUser' })).toBe(false)
  })
})

describe('a resource', () => {
  it.each([
    ['*', `${SSM}parameter/a/b`, true],
    ['*', '*', true],
    [`${SSM}parameter/a/*`, `${SSM}parameter/a/b/c`, true],
    [`${SSM}parameter/a/*`, `${SSM}parameter/ab`, false],
    [`${SSM}parameter/a/*`, '*', false],
    [`arn:aws:ssm:*:*:parameter/?`, `${SSM}parameter/a`, true],
    [`arn:aws:ssm:*:*:parameter/?`, `${SSM}parameter/ab`, false],
    [`arn:aws:ssm:eu-*:*:parameter/a`, `${SSM}parameter/a`, true],
    [`arn:*:ssm:*:*:*`, `${SSM}parameter/a`, true],
    // The first five segments end at their colon.
    [`arn:aws:ssm:*:parameter/a`, `${SSM}parameter/a`, false],
    [`arn:aws:ssm:eu*${HERE}:*:parameter/a`, `${SSM}parameter/a`, false],
    // The resource part is free, colons and all.
    [`arn:aws:logs:*:*:log-group:*:x`, `arn:aws:logs:eu:${HERE}:log-group:app:log-stream:x`, true],
    // A pattern that ends early in a star runs over the rest.
    ['arn:aws:ssm:*', `${SSM}parameter/a`, true],
    ['arn:aws:ssm:us-*', `${SSM}parameter/a`, false],
    ['arn:aws:ssm:eu-central-1', `${SSM}parameter/a`, false],
    [`arn:aws:ssm:*:*:Parameter/a`, `${SSM}parameter/a`, false],
  ])('%s in a policy and %s in a request: %s', (Resource, arn, expected) => {
    expect(allows({ Action: '*', Resource }, { resources: [{ arn }] })).toBe(expected)
  })

  it('not listed by NotResource is allowed, one listed is left alone', () => {
    const statement = { Action: '*', NotResource: [`${SSM}parameter/secret/*`, `${SSM}document/*`] }
    expect(allows(statement, {})).toBe(true)
    expect(allows(statement, { resources: [{ arn: `${SSM}parameter/secret/x` }] })).toBe(false)
  })

  it('needs an Allow of its own where a request names several', () => {
    const Resource = [`${SSM}document/A`, `${SSM}managed-instance/mi-1`]
    const both = Resource.map((arn) => ({ arn }))
    expect(allows({ Action: '*', Resource }, { resources: both })).toBe(true)
    expect(allows({ Action: '*', Resource: Resource[0] }, { resources: both })).toBe(false)
  })

  it('brings keys of its own to the conditions', () => {
    const statement = { Action: '*', Resource: '*', Condition: { StringEquals: { 'ssm:resourceTag/team': 'orchids' } } }
    const tagged = (arn: string, team: string) => ({ arn, context: contextKeys({ 'ssm:resourceTag/team': team }) })
    expect(allows(statement, { resources: [tagged('a', 'orchids'), tagged('b', 'orchids')] })).toBe(true)
    expect(allows(statement, { resources: [tagged('a', 'orchids'), tagged('b', 'ferns')] })).toBe(false)
  })
})

describe('a policy variable', () => {
  const parameter = (
    Resource: string,
    name: string,
    keys: Record<string, string | string[]>,
    version?: string,
  ): boolean =>
    allows(
      { Action: '*', Resource: `arn:aws:ssm:*:*:parameter/${Resource}` },
      { resources: [{ arn: `${SSM}parameter/${name}` }], context: contextKeys(keys) },
      version,
    )

  it('stands for the value of its key, whatever the case of the key', () => {
    expect(parameter('${aws:username}/*', 'amelia/x', { 'aws:username': 'amelia' })).toBe(true)
    expect(parameter('${AWS:UserName}/*', 'amelia/x', { 'aws:username': 'amelia' })).toBe(true)
    expect(parameter('${aws:username}/*', 'other/x', { 'aws:username': 'amelia' })).toBe(false)
    expect(parameter('${aws:PrincipalTag/cost center}', '42', { 'aws:PrincipalTag/Cost Center': '42' })).toBe(true)
  })

  it('without a value makes no resource match, and so NotResource match every one', () => {
    expect(parameter('${aws:username}', '${aws:username}', {})).toBe(false)
    expect(parameter('*${aws:username}', 'anything', {})).toBe(false)
    const Deny = { Effect: 'Deny', Action: '*', NotResource: 'arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team}' }
    const decisionFor = (keys: Record<string, string>) =>
      decide(
        { identity: [policy([allowAll, Deny])] },
        { resources: [{ arn: `${SSM}parameter/orchids` }], context: contextKeys(keys) },
      )
    expect(decisionFor({ 'aws:PrincipalTag/team': 'orchids' })).toBe('allow')
    expect(decisionFor({ 'aws:PrincipalTag/team': 'ferns' })).toBe('explicitDeny')
    expect(decisionFor({})).toBe('explicitDeny')
  })

  it('without a value is equal to nothing, so that a negated condition holds', () => {
    const holds = (operator: string, keys: Record<string, string>) =>
      allows(
        { Action: '*', Resource: '*', Condition: { [operator]: { 'custom:key': ['${aws:username}', 'b'] } } },
        { context: contextKeys(keys) },
      )
    for (const operator of ['StringEquals', 'StringLike', 'StringEqualsIgnoreCase', 'ForAnyValue:StringLike']) {
      expect(holds(operator, { 'custom:key': 'a' })).toBe(false)
      expect(holds(operator, { 'custom:key': 'b' })).toBe(true)
      expect(holds(operator, {})).toBe(false)
    }
    for (const operator of ['StringNotEquals', 'StringNotLike', 'StringNotEqualsIgnoreCase']) {
      expect(holds(operator, { 'custom:key': 'a' })).toBe(true)
      expect(holds(operator, { 'custom:key': 'b' })).toBe(false)
      expect(holds(operator, {})).toBe(true)
    }
    expect(holds('StringEqualsIfExists', {})).toBe(true)
    expect(holds('StringEqualsIfExists', { 'custom:key': 'a' })).toBe(false)
  })

  it('that only some have is a Deny for those who do not have it', () => {
    const Condition = { StringNotEquals: { 'ssm:resourceTag/team': '${aws:PrincipalTag/team}' } }
    const policies = { identity: [policy([allowAll, { Effect: 'Deny', Action: '*', Resource: '*', Condition }])] }
    const decisionFor = (keys: Record<string, string>) =>
      decide(policies, { context: contextKeys({ 'ssm:resourceTag/team': 'orchids', ...keys }) })
    expect(decisionFor({ 'aws:PrincipalTag/team': 'orchids' })).toBe('allow')
    expect(decisionFor({})).toBe('explicitDeny')
  })

  it('with a default takes it where the key is missing, and only there', () => {
    expect(parameter("${aws:username, 'anonymous'}/*", 'anonymous/x', {})).toBe(true)
    expect(parameter("${aws:username, 'anonymous'}/*", 'anonymous/x', { 'aws:username': 'amelia' })).toBe(false)
    expect(parameter("${aws:username,''}x", 'x', {})).toBe(true)
  })

  it('of a key with many values has none', () => {
    expect(parameter('${aws:TagKeys}', 'a', { 'aws:TagKeys': ['a', 'b'] })).toBe(false)
  })

  it('brings no wildcard and no segment in', () => {
    expect(parameter('${aws:username}/x', 'other/x', { 'aws:username': '*' })).toBe(false)
    expect(parameter('${aws:username}/x', '*/x', { 'aws:username': '*' })).toBe(true)
    const request = { context: contextKeys({ region: `eu-central-1:${HERE}` }) }
    expect(allows({ Action: '*', Resource: 'arn:aws:ssm:${region}:parameter/a' }, request)).toBe(false)
  })

  it('may stand for the special characters themselves', () => {
    expect(parameter('a${*}b', 'a*b', {})).toBe(true)
    expect(parameter('a${*}b', 'axb', {})).toBe(false)
    expect(parameter('a${?}b', 'a?b', {})).toBe(true)
    expect(parameter('a${?}b', 'axb', {})).toBe(false)
    expect(parameter('${$}{aws:username}', '${aws:username}', { 'aws:username': 'amelia' })).toBe(true)
  })

  it('is plain text in a policy of version 2008-10-17', () => {
    expect(parameter('${aws:username}', 'amelia', { 'aws:username': 'amelia' }, '2008-10-17')).toBe(false)
    expect(parameter('${aws:username}', '${aws:username}', {}, '2008-10-17')).toBe(true)
  })
})

const NAMING = {
  user: { AWS: user.type === 'user' ? user.arn : '' },
  account: { AWS: `arn:aws:iam::${HERE}:root` },
  role: { AWS: `arn:aws:iam::${HERE}:role/gardener` },
  session: { AWS: `arn:aws:sts::${HERE}:assumed-role/gardener/spring` },
  everybody: '*',
}
const resourcePolicy = (Principal: unknown, Effect = 'Allow') =>
  policy({ Effect, Principal, Action: '*', Resource: '*' }, 'resource')
const all = policy(allowAll)
const nothing = policy({ Effect: 'Allow', Action: 'iam:GetUser', Resource: '*' })

describe('policies of several types, within one account', () => {
  it.each<[string, PolicySet, Decision]>([
    ['no policy at all', { identity: [] }, 'implicitDeny'],
    ['an identity policy', { identity: [all] }, 'allow'],
    ['an identity policy and a boundary that both allow', { identity: [all], boundary: all }, 'allow'],
    ['an identity policy that the boundary does not cover', { identity: [all], boundary: nothing }, 'implicitDeny'],
    ['a boundary alone', { identity: [], boundary: all }, 'implicitDeny'],
    ['an identity policy that the session does not cover', { identity: [all], session: [nothing] }, 'implicitDeny'],
    ['an identity policy and one of two session policies', { identity: [all], session: [nothing, all] }, 'allow'],
    ['a session policy alone', { identity: [], session: [all] }, 'implicitDeny'],
    ['a resource policy that names the user', { identity: [], resource: resourcePolicy(NAMING.user) }, 'allow'],
    ['a resource policy that names everybody', { identity: [], resource: resourcePolicy('*') }, 'allow'],
    [
      'a resource policy that names the account',
      { identity: [], resource: resourcePolicy(NAMING.account) },
      'implicitDeny',
    ],
    [
      'a resource policy that names the user, against a boundary',
      { identity: [], resource: resourcePolicy(NAMING.user), boundary: nothing },
      'allow',
    ],
    [
      'a resource policy that names everybody, against a boundary',
      { identity: [], resource: resourcePolicy('*'), boundary: nothing },
      'implicitDeny',
    ],
    [
      'a resource policy that denies the account',
      { identity: [all], resource: resourcePolicy(NAMING.account, 'Deny') },
      'explicitDeny',
    ],
    ['a key whose policy says nothing', { identity: [all], resourcePolicyRequired: true }, 'implicitDeny'],
    [
      'a key whose policy lets the account in',
      { identity: [all], resource: resourcePolicy(NAMING.account), resourcePolicyRequired: true },
      'allow',
    ],
    [
      'a key whose policy lets the account in, without an identity policy',
      { identity: [], resource: resourcePolicy(NAMING.account), resourcePolicyRequired: true },
      'implicitDeny',
    ],
  ])('%s', (_, policies, expected) => {
    expect(decide(policies)).toBe(expected)
  })

  it.each<[string, PolicySet, Decision]>([
    ['by its role', { identity: [], resource: resourcePolicy(NAMING.role) }, 'allow'],
    [
      'by its role, against a session policy',
      { identity: [], resource: resourcePolicy(NAMING.role), session: [nothing] },
      'implicitDeny',
    ],
    [
      'by its role, against a boundary',
      { identity: [], resource: resourcePolicy(NAMING.role), boundary: nothing },
      'implicitDeny',
    ],
    [
      'by itself, against both',
      { identity: [], resource: resourcePolicy(NAMING.session), session: [nothing], boundary: nothing },
      'allow',
    ],
    [
      'by itself, against a session policy that denies',
      { identity: [], resource: resourcePolicy(NAMING.session), session: [policy({ ...allowAll, Effect: 'Deny' })] },
      'explicitDeny',
    ],
  ])('a session that a resource policy names %s', (_, policies, expected) => {
    expect(decide(policies, { principal: role })).toBe(expected)
  })

  it.each(['identity', 'boundary', 'session', 'resource'] as const)(
    'a Deny in the %s policy outweighs every Allow',
    (type) => {
      const deny = { Effect: 'Deny', Action: 'ssm:Get*', Resource: '*' }
      const policies: PolicySet = {
        identity: [all, ...(type === 'identity' ? [policy(deny)] : [])],
        boundary: type === 'boundary' ? policy([allowAll, deny]) : all,
        session: type === 'session' ? [all, policy(deny)] : [all],
        resource: type === 'resource' ? policy({ ...deny, Principal: '*' }, 'resource') : resourcePolicy('*'),
      }
      expect(decide(policies)).toBe('explicitDeny')
      expect(decide(policies, { action: 'ssm:PutParameter' })).toBe('allow')
    },
  )

  it('the root user needs no policy, yet obeys a Deny of the resource', () => {
    const principal: Principal = { type: 'root', account: HERE, arn: `arn:aws:iam::${HERE}:root` }
    expect(decide({ identity: [] }, { principal })).toBe('allow')
    expect(decide({ identity: [], boundary: nothing }, { principal })).toBe('allow')
    expect(decide({ identity: [], resource: resourcePolicy('*', 'Deny') }, { principal })).toBe('explicitDeny')
    expect(decide({ identity: [], resourcePolicyRequired: true }, { principal })).toBe('implicitDeny')
  })

  it('services and strangers have what a resource policy gives them', () => {
    const service: Principal = { type: 'service', service: 'ssm.amazonaws.com' }
    expect(decide({ identity: [] }, { principal: service })).toBe('implicitDeny')
    expect(
      decide({ identity: [], resource: resourcePolicy({ Service: 'ssm.amazonaws.com' }) }, { principal: service }),
    ).toBe('allow')
    expect(
      decide({ identity: [], resource: resourcePolicy({ Service: 'ec2.amazonaws.com' }) }, { principal: service }),
    ).toBe('implicitDeny')
    expect(
      decide({ identity: [], resource: resourcePolicy({ AWS: HERE }) }, { principal: { type: 'anonymous' } }),
    ).toBe('implicitDeny')
    expect(decide({ identity: [], resource: resourcePolicy('*') }, { principal: { type: 'anonymous' } })).toBe('allow')
  })
})

describe('a resource of another account', () => {
  const resources = [{ arn: `arn:aws:ssm:eu-central-1:${THERE}:parameter/shared` }]

  it.each<[string, PolicySet, Decision]>([
    ['needs more than an identity policy', { identity: [all] }, 'implicitDeny'],
    ['needs more than its own policy', { identity: [], resource: resourcePolicy(NAMING.user) }, 'implicitDeny'],
    ['is reached with both', { identity: [all], resource: resourcePolicy(NAMING.user) }, 'allow'],
    [
      'is reached when its policy trusts the account',
      { identity: [all], resource: resourcePolicy(NAMING.account) },
      'allow',
    ],
    [
      'is not reached past a boundary',
      { identity: [all], boundary: nothing, resource: resourcePolicy(NAMING.user) },
      'implicitDeny',
    ],
    [
      'is not reached past a session policy',
      { identity: [all], session: [nothing], resource: resourcePolicy(NAMING.user) },
      'implicitDeny',
    ],
    [
      'is not reached when its policy trusts another',
      { identity: [all], resource: resourcePolicy({ AWS: '777788889999' }) },
      'implicitDeny',
    ],
  ])('%s', (_, policies, expected) => {
    expect(decide(policies, { resources })).toBe(expected)
  })

  it('may be told by the caller where the ARN names none', () => {
    const document = { arn: 'arn:aws:ssm:eu-central-1::document/Shared' }
    expect(decide({ identity: [all] }, { resources: [document] })).toBe('allow')
    expect(decide({ identity: [all] }, { resources: [{ ...document, account: THERE }] })).toBe('implicitDeny')
  })
})

describe('NotPrincipal with Deny', () => {
  const denyOthers = (AWS: string[]) =>
    policy([{ Effect: 'Deny', NotPrincipal: { AWS }, Action: '*', Resource: '*' }], 'resource')

  it('spares the one it lists and nobody else of its account', () => {
    const listed = denyOthers([`arn:aws:iam::${HERE}:user/amelia`, `arn:aws:iam::${HERE}:root`])
    expect(decide({ identity: [all], resource: listed })).toBe('allow')
    const other: Principal = { type: 'user', account: HERE, arn: `arn:aws:iam::${HERE}:user/other` }
    expect(decide({ identity: [all], resource: listed }, { principal: other })).toBe('explicitDeny')
  })

  it('spares a session listed by its own ARN, not by its role alone', () => {
    const byRole = denyOthers([NAMING.role.AWS])
    const bySession = denyOthers([NAMING.role.AWS, NAMING.session.AWS])
    expect(decide({ identity: [all], resource: byRole }, { principal: role })).toBe('explicitDeny')
    expect(decide({ identity: [all], resource: bySession }, { principal: role })).toBe('allow')
  })

  it('spares nobody who has a permissions boundary', () => {
    const listed = denyOthers([`arn:aws:iam::${HERE}:user/amelia`])
    expect(decide({ identity: [all], resource: listed, boundary: all })).toBe('explicitDeny')
  })
})

describe('a trust policy', () => {
  const trust = (Principal: unknown, Condition = {}) =>
    policy({ Effect: 'Allow', Principal, Action: 'sts:AssumeRole', Condition }, 'trust')
  const request = (account = HERE): Partial<AccessRequest> => ({
    action: 'sts:AssumeRole',
    resources: [{ arn: `arn:aws:iam::${account}:role/target` }],
  })
  const asked = (policies: Omit<PolicySet, 'resourcePolicyRequired'>, account?: string) =>
    decide({ ...policies, resourcePolicyRequired: true }, request(account))

  it('that names a user of its account lets it in; one that names the account needs an identity policy too', () => {
    expect(asked({ identity: [], resource: trust(NAMING.user) })).toBe('allow')
    expect(asked({ identity: [], resource: trust(NAMING.account) })).toBe('implicitDeny')
    expect(asked({ identity: [all], resource: trust(NAMING.account) })).toBe('allow')
    expect(asked({ identity: [all], resource: trust({ Service: 'ssm.amazonaws.com' }) })).toBe('implicitDeny')
  })

  it('of another account needs both sides', () => {
    expect(asked({ identity: [], resource: trust(NAMING.user) }, THERE)).toBe('implicitDeny')
    expect(asked({ identity: [all], resource: trust(NAMING.user) }, THERE)).toBe('allow')
  })

  it('may ask for an external id', () => {
    const resource = trust(NAMING.user, { StringEquals: { 'sts:ExternalId': 'blue' } })
    const policies = { identity: [], resource, resourcePolicyRequired: true }
    expect(decide(policies, { ...request(), context: contextKeys({ 'sts:ExternalId': 'blue' }) })).toBe('allow')
    expect(decide(policies, { ...request(), context: contextKeys({ 'sts:ExternalId': 'red' }) })).toBe('implicitDeny')
    expect(decide(policies, request())).toBe('implicitDeny')
  })

  it('admits who comes with the token of its provider', () => {
    const provider = `arn:aws:iam::${HERE}:oidc-provider/login.example.com`
    const resource = policy(
      { Effect: 'Allow', Principal: { Federated: provider }, Action: 'sts:AssumeRoleWithWebIdentity' },
      'trust',
    )
    const web = (name: string) =>
      decide(
        { identity: [], resource },
        { action: 'sts:AssumeRoleWithWebIdentity', principal: { type: 'webIdentity', provider: name } },
      )
    expect(web(provider)).toBe('allow')
    expect(web('accounts.example.org')).toBe('implicitDeny')
  })
})

describe('a resource policy', () => {
  it('statement without Resource has no effect', () => {
    expect(
      decide({ identity: [], resource: policy({ Effect: 'Allow', Principal: '*', Action: '*' }, 'resource') }),
    ).toBe('implicitDeny')
  })
})
