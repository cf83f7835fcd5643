import { describe, expect, it } from 'vitest'
import type { PolicyKind } from './document.ts'
import {
  type AccessRequest,
  compilePolicy,
  contextKeys,
  explain,
  isMalformed,
  type PolicySet,
  type Principal,
  parsePolicy,
} from './index.ts'

const HERE = '111122223333'
const PARAMETER = `arn:aws:ssm:eu-central-1:${HERE}:parameter/db/url`
const AMELIA = `arn:aws:iam::${HERE}:user/amelia`

function policy(Statement: unknown, name?: string, kind: PolicyKind = 'identity') {
  const document = parsePolicy(JSON.stringify({ Version: '2012-10-17', Statement }), kind)
  if (isMalformed(document)) throw new Error(document.message)
  return compilePolicy(document, name)
}
const all = policy({ Effect: 'Allow', Action: '*', Resource: '*' })
const nothing = policy({ Effect: 'Allow', Action: 'iam:GetUser', Resource: '*' })
const deny = (kind: PolicyKind = 'identity') =>
  policy(
    { Effect: 'Deny', Action: 'ssm:*', Resource: '*', ...(kind === 'resource' && { Principal: '*' }) },
    undefined,
    kind,
  )

const told = (policies: PolicySet, change: Partial<AccessRequest> = {}) =>
  explain(
    {
      principal: { type: 'user', account: HERE, arn: AMELIA },
      action: 'ssm:GetParameter',
      resources: [{ arn: PARAMETER }],
      context: contextKeys({}),
      ...change,
    },
    policies,
  )

const SUBJECT = `User: ${AMELIA} is not authorized to perform: ssm:GetParameter on resource: ${PARAMETER}`

describe('a refusal', () => {
  it.each<[PolicySet, string]>([
    [{ identity: [] }, 'because no identity-based policy allows the ssm:GetParameter action'],
    [{ identity: [all], boundary: nothing }, 'because no permissions boundary allows the ssm:GetParameter action'],
    [{ identity: [all], session: [nothing] }, 'because no session policy allows the ssm:GetParameter action'],
    [
      { identity: [all], resourcePolicyRequired: true },
      'because no resource-based policy allows the ssm:GetParameter action',
    ],
    [{ identity: [all, deny()] }, 'with an explicit deny in an identity-based policy'],
    [{ identity: [all], boundary: deny('boundary') }, 'with an explicit deny in a permissions boundary'],
    [{ identity: [all], session: [deny('session')] }, 'with an explicit deny in a session policy'],
    [{ identity: [all], resource: deny('resource') }, 'with an explicit deny in a resource-based policy'],
  ])('is worded as AWS words it (%#)', (policies, reason) => {
    expect(told(policies).message).toBe(`${SUBJECT} ${reason}`)
  })

  it('to reach into another account names the side that is missing', () => {
    const resources = [{ arn: 'arn:aws:ssm:eu-central-1:444455556666:parameter/shared' }]
    expect(told({ identity: [] }, { resources }).missing?.policyType).toBe('identity-based policy')
    expect(told({ identity: [all] }, { resources }).missing?.policyType).toBe('resource-based policy')
  })

  it('to assume a role names the role trust policy', () => {
    const trust = policy(
      { Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' },
      undefined,
      'trust',
    )
    const request = { action: 'sts:AssumeRole', resources: [{ arn: `arn:aws:iam::${HERE}:role/target` }] }
    expect(told({ identity: [all], resource: trust, resourcePolicyRequired: true }, request).message).toBe(
      `User: ${AMELIA} is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::${HERE}:role/target because no role trust policy allows the sts:AssumeRole action`,
    )
  })

  it('names a session by its own ARN, a service by its name', () => {
    const arn = `arn:aws:sts::${HERE}:assumed-role/gardener/spring`
    const session: Principal = { type: 'role', account: HERE, arn, roleArn: `arn:aws:iam::${HERE}:role/gardener` }
    expect(told({ identity: [] }, { principal: session }).message).toContain(`User: ${arn} is not`)
    const service: Principal = { type: 'service', service: 'ssm.amazonaws.com' }
    expect(told({ identity: [] }, { principal: service }).message).toContain('User: ssm.amazonaws.com is not')
  })

  it('of an action that knows no resource says so', () => {
    expect(told({ identity: [] }, { resources: [] }).message).toContain('on resource: * because')
  })

  it('says which statement denies', () => {
    const guard = policy(
      [
        { Sid: 'Other', Effect: 'Deny', Action: 'kms:*', Resource: '*' },
        { Sid: 'NoSecrets', Effect: 'Deny', Action: 'ssm:Get*', Resource: 'arn:aws:ssm:*:*:parameter/db/*' },
      ],
      'arn:aws:iam::111122223333:policy/guard',
    )
    expect(told({ identity: [all, guard] }).decidedBy).toEqual([
      {
        policyType: 'identity-based policy',
        policy: 'arn:aws:iam::111122223333:policy/guard',
        index: 1,
        sid: 'NoSecrets',
        position: { start: { Line: 1, Column: 101 }, end: { Line: 1, Column: 201 } },
        effect: 'Deny',
        outcome: 'matched',
        failedConditions: [],
      },
    ])
  })

  it('says which condition failed, with what value', () => {
    const office = policy(
      {
        Effect: 'Allow',
        Action: 'ssm:*',
        Resource: '*',
        Condition: {
          IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '192.168.0.0/16'] },
          'ForAnyValue:StringEquals': { 'aws:TagKeys': 'team' },
          Bool: { 'aws:SecureTransport': 'true' },
        },
      },
      'office-only',
    )
    const context = contextKeys({ 'aws:SourceIp': '203.0.113.9', 'aws:SecureTransport': true })
    const { decision, statements, missing } = told({ identity: [office] }, { context })
    expect(decision).toBe('implicitDeny')
    expect(missing).toEqual({ action: 'ssm:GetParameter', resource: PARAMETER, policyType: 'identity-based policy' })
    expect(statements).toMatchObject([
      {
        policy: 'office-only',
        outcome: 'condition',
        failedConditions: [
          {
            operator: 'IpAddress',
            key: 'aws:SourceIp',
            expected: ['10.0.0.0/8', '192.168.0.0/16'],
            actual: ['203.0.113.9'],
          },
          { operator: 'ForAnyValue:StringEquals', key: 'aws:TagKeys', expected: ['team'], actual: undefined },
        ],
      },
    ])
  })

  it('of one resource among several names that one', () => {
    const some = policy({ Effect: 'Allow', Action: '*', Resource: PARAMETER })
    const other = `arn:aws:ssm:eu-central-1:${HERE}:parameter/other`
    const { resource, message } = told({ identity: [some] }, { resources: [{ arn: PARAMETER }, { arn: other }] })
    expect(resource).toBe(other)
    expect(message).toContain(`on resource: ${other} because`)
  })
})

describe('a permission', () => {
  it('is explained by the statements that give it, without a message', () => {
    const { decision, message, decidedBy } = told({ identity: [nothing, all] })
    expect({ decision, message }).toEqual({ decision: 'allow', message: undefined })
    expect(decidedBy).toMatchObject([{ policyType: 'identity-based policy', effect: 'Allow', index: 0 }])
  })
})
