// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables are written so
import { describe, expect, it } from 'vitest'
import { broaderThanNode, isMalformed, MANAGED_POLICIES, parsePolicy } from './index.ts'

function document(text: string) {
  const parsed = parsePolicy(text, 'identity')
  if (isMalformed(parsed)) throw new Error(parsed.message)
  return parsed
}
const findings = (statement: object, Version = '2012-10-17') =>
  broaderThanNode(document(JSON.stringify({ Version, Statement: { Effect: 'Allow', Resource: '*', ...statement } })))
const managed = (name: string) => MANAGED_POLICIES.find((policy) => policy.name === name)!

describe('a grant to a node role', () => {
  it.each<[string, object]>([
    ['of its own channels', { Action: ['ssmmessages:*', 'ec2messages:GetMessages'] }],
    ['to report about itself', { Action: ['ssm:UpdateInstanceInformation', 'ssm:PutInventory'] }],
    [
      'with its id in the resource',
      { Action: 'ssm:Get*', Resource: 'arn:aws:ssm:*:*:parameter/nodes/${ssm:NodeId}/*' },
    ],
    [
      'on what is tagged for it',
      { Action: 'ssm:GetParameter', Condition: { StringEquals: { 'ssm:resourceTag/node': '${ssm:NodeId}' } } },
    ],
    [
      'on what is tagged for its team',
      { Action: 'ssm:GetParameter', Condition: { StringLike: { 'aws:ResourceTag/team': 'orchid*' } } },
    ],
    ['that denies', { Effect: 'Deny', Action: '*' }],
  ])('%s stays on the node', (_, statement) => {
    expect(findings(statement)).toEqual([])
  })

  it.each<[string, object, string]>([
    ['to read every parameter', { Action: 'ssm:GetParameter' }, 'everything'],
    ['by a pattern that may match more', { Action: 'ssm:Put*' }, 'everything'],
    ['of everything but some', { NotAction: 'iam:*' }, 'everything'],
    [
      'on everything but some',
      { Action: 'ssm:GetParameter', Resource: undefined, NotResource: 'arn:aws:ssm:*:*:parameter/a' },
      'everything',
    ],
    ['of a whole branch', { Action: 'ssm:GetParameter', Resource: 'arn:aws:ssm:*:*:parameter/app/*' }, 'wildcard'],
    [
      'of one thing that all nodes share',
      { Action: 'ssm:GetParameter', Resource: 'arn:aws:ssm:eu:1:parameter/app' },
      'named',
    ],
    [
      'bound only to who asks',
      { Action: 'ssm:GetParameter', Condition: { ArnLike: { 'ssm:SourceInstanceARN': '*' } } },
      'everything',
    ],
    [
      'bound to any tag at all',
      { Action: 'ssm:GetParameter', Condition: { StringLike: { 'aws:ResourceTag/team': '*' } } },
      'everything',
    ],
    [
      'bound only where there is a tag',
      { Action: 'ssm:GetParameter', Condition: { StringEqualsIfExists: { 'aws:ResourceTag/team': 'a' } } },
      'everything',
    ],
    [
      'bound by what a tag is not',
      { Action: 'ssm:GetParameter', Condition: { StringNotEquals: { 'aws:ResourceTag/team': 'a' } } },
      'everything',
    ],
    [
      'with a default for the id',
      { Action: 'ssm:GetParameter', Resource: "arn:aws:ssm:*:*:parameter/${ssm:NodeId, 'all'}/*" },
      'wildcard',
    ],
  ])('%s is named', (_, statement, reach) => {
    expect(findings(statement)).toMatchObject([{ statement: 0, reach }])
  })

  it('with a variable in a policy of before variables is named', () => {
    const statement = { Action: 'ssm:Get*', Resource: 'arn:aws:ssm:*:*:parameter/${ssm:NodeId}/*' }
    expect(findings(statement, '2008-10-17')).toHaveLength(1)
  })

  it('is named by statement, action and resource, with what would bind it', () => {
    const [finding] = findings({ Sid: 'Config', Action: ['ssm:GetParameter', 'ssm:PutInventory'] })
    expect(finding).toMatchObject({ sid: 'Config', action: 'ssm:GetParameter', resource: '*' })
    expect(finding?.reason).toBe(
      'Allows ssm:GetParameter on every resource to every node with this role; bind it with ${ssm:NodeId} in the resource or a condition on ssm:resourceTag.',
    )
  })

  it('by AmazonSSMManagedInstanceCore is broader in its reading of parameters alone', () => {
    const found = broaderThanNode(document(managed('AmazonSSMManagedInstanceCore').document))
    expect(found.map((each) => each.action)).toEqual(['ssm:GetParameter', 'ssm:GetParameters'])
  })
})

describe('the managed policies', () => {
  it('are those of AWS, by name and ARN, and are well formed', () => {
    expect(MANAGED_POLICIES.map((policy) => policy.name).toSorted()).toEqual([
      'AdministratorAccess',
      'AmazonSSMFullAccess',
      'AmazonSSMManagedInstanceCore',
      'AmazonSSMPatchAssociation',
      'AmazonSSMReadOnlyAccess',
      'ReadOnlyAccess',
    ])
    for (const policy of MANAGED_POLICIES) {
      expect(policy.arn).toBe(`arn:aws:iam::aws:policy/${policy.name}`)
      expect(document(policy.document).version).toBe('2012-10-17')
    }
  })
})
