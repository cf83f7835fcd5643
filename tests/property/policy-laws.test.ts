// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables are written so
/**
 * What must hold of every policy: the laws that a person relies on when adding a statement, and agreement with a second
 * evaluator written from the documentation. Small vocabularies make most requests touch most policies.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type CompiledPolicy,
  compilePolicy,
  contextKeys,
  type Decision,
  evaluate,
  explain,
  isMalformed,
  type PolicyKind,
  type PolicySet,
  type Principal,
  parsePolicy,
} from '../../packages/server/src/capabilities/identity/policy/index.ts'
import {
  type NaivePolicies,
  type NaivePolicy,
  type NaiveRequest,
  type NaiveStatement,
  naiveDecision,
} from './policy-naive.ts'

const RUNS = 1_000

// ---- vocabularies ----

const HERE = '111122223333'
const THERE = '444455556666'
const USER = `arn:aws:iam::${HERE}:user/amelia`
const ROLE = `arn:aws:iam::${HERE}:role/gardener`
const SESSION = `arn:aws:sts::${HERE}:assumed-role/gardener/spring`
const FEDERATED = `arn:aws:sts::${HERE}:federated-user/guest`
const PROVIDER = `arn:aws:iam::${HERE}:oidc-provider/login.example.com`

const CALLERS: Principal[] = [
  { type: 'root', account: HERE, arn: `arn:aws:iam::${HERE}:root` },
  { type: 'user', account: HERE, arn: USER },
  { type: 'role', account: HERE, arn: SESSION, roleArn: ROLE },
  { type: 'federatedUser', account: HERE, arn: FEDERATED, userArn: USER },
  { type: 'service', service: 'ssm.amazonaws.com' },
  { type: 'webIdentity', provider: PROVIDER },
  { type: 'anonymous' },
]

const oneOrMany = <T>(item: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 3, arbitrary: item }, { weight: 1, arbitrary: fc.array(item, { minLength: 1, maxLength: 3 }) })

const requestedAction = fc.constantFrom('ssm:GetParameter', 'ssm:PutParameter', 'SSM:getparameters', 'kms:Decrypt')
const action = fc.constantFrom(
  '*',
  'ssm:*',
  'ssm:Get*',
  'SSM:GETPARAMETER',
  'ssm:GetParameter',
  'ssm:?etParameter*',
  'ssm:PutParameter',
  'kms:Decrypt',
  'kms:*crypt',
)

const requestedResource = fc.constantFrom(
  '*',
  `arn:aws:ssm:eu-central-1:${HERE}:parameter/amelia/key`,
  `arn:aws:ssm:eu-central-1:${HERE}:parameter/orchids/key`,
  `arn:aws:ssm:us-east-1:${THERE}:parameter/orchids/*`,
  `arn:aws:ssm:eu-central-1::document/AWS-RunShellScript`,
  `arn:aws:kms:eu-central-1:${HERE}:key/a:b`,
)
const resource = fc.constantFrom(
  '*',
  'arn:aws:ssm:*',
  'arn:aws:ssm:*:*:*',
  'arn:aws:ssm:eu-*',
  'arn:aws:ssm:eu-central-1',
  `arn:aws:ssm:*:${HERE}:parameter/*`,
  `arn:aws:ssm:*-1:*:parameter/?rchids/*`,
  'arn:aws:ssm:*:*:parameter/${aws:username}/*',
  "arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team, 'orchids'}/key",
  'arn:aws:ssm:*:*:parameter/*${*}',
  'arn:aws:ssm:${aws:username}:*:*',
  'arn:aws:kms:*:*:key/*:b',
  'arn:aws:kms:*:*:key/?:?',
)

const TEXTS = ['', 'amelia', 'Amelia', 'orchids', 'a*', '${aws:username}x']
const texts = fc.constantFrom(
  ...TEXTS,
  'am*',
  '?melia',
  '*',
  '${aws:username}',
  '${aws:UserName}*',
  "${aws:username, 'orchids'}",
  '${aws:TagKeys}',
  'a${*}',
  '${$}{aws:username}x',
)
const ARNS = [USER, ROLE, SESSION, 'no arn', `arn:aws:ssm:eu-central-1:${HERE}:parameter/amelia/key`]
const arns = fc.constantFrom(
  ...ARNS,
  '*',
  'arn:aws:iam::*:user/*',
  'arn:aws:iam:*',
  'arn:*:sts::*:*/${aws:username}',
  'arn:aws:*',
)
const NUMBERS = ['0', '1', '-1', '10', '9.5', '10.0']
const DATES = [
  '2026-03-01T00:00:00Z',
  '2026-03-01',
  '2026-03-01T01:00:00+01:00',
  '1772323200',
  '2027-01-01T12:30:00.250Z',
]
const FLAGS = ['true', 'false', 'True']
const BLOBS = ['YQ==', 'YWI=', '']
const ADDRESSES = ['10.1.2.3', '10.1.255.255', '192.168.0.1', '2001:db8::1', '2001:db8:0:1::1', 'nowhere']
const RANGES = [
  '10.0.0.0/8',
  '10.1.2.0/23',
  '10.1.2.3',
  '0.0.0.0/0',
  '10.1.2.3/31',
  '2001:db8::/32',
  '2001:db8::/63',
  '::/0',
]

const qualifiers = fc.constantFrom('', 'ForAllValues:', 'ForAnyValue:')
const suffixes = fc.constantFrom('', 'IfExists')
const family = (operators: string[], key: fc.Arbitrary<string>, value: fc.Arbitrary<string>) =>
  fc
    .tuple(qualifiers, fc.constantFrom(...operators), suffixes, key, oneOrMany(value))
    .map(([qualifier, operator, suffix, name, values]) => ({
      [`${qualifier}${operator}${suffix}`]: { [name]: values },
    }))

const compared = (prefix: string) =>
  ['Equals', 'NotEquals', 'LessThan', 'LessThanEquals', 'GreaterThan', 'GreaterThanEquals'].map((each) => prefix + each)
const textKeys = fc.constantFrom(
  'aws:username',
  'AWS:UserName',
  'aws:TagKeys',
  'aws:PrincipalTag/team',
  'custom:absent',
)

const condition = fc.oneof(
  family(
    [
      'StringEquals',
      'StringNotEquals',
      'StringEqualsIgnoreCase',
      'StringNotEqualsIgnoreCase',
      'StringLike',
      'StringNotLike',
    ],
    textKeys,
    texts,
  ),
  family(
    ['ArnEquals', 'ArnNotEquals', 'ArnLike', 'ArnNotLike'],
    fc.constantFrom('aws:PrincipalArn', 'custom:arns'),
    arns,
  ),
  family(compared('Numeric'), fc.constant('custom:number'), fc.constantFrom(...NUMBERS)),
  family(compared('Date'), fc.constant('aws:CurrentTime'), fc.constantFrom(...DATES)),
  family(['Bool'], fc.constant('aws:SecureTransport'), fc.constantFrom(...FLAGS)),
  family(['BinaryEquals'], fc.constant('custom:blob'), fc.constantFrom(...BLOBS)),
  family(['IpAddress', 'NotIpAddress'], fc.constant('aws:SourceIp'), fc.constantFrom(...RANGES)),
  fc.tuple(textKeys, oneOrMany(fc.constantFrom('true', 'false'))).map(([key, values]) => ({ Null: { [key]: values } })),
)

const valuesOf = (...all: string[]) => fc.array(fc.constantFrom(...all), { maxLength: 3 })
const keys: fc.Arbitrary<Record<string, string[]>> = fc.record(
  {
    'aws:username': valuesOf(...TEXTS),
    'aws:TagKeys': valuesOf(...TEXTS),
    'aws:PrincipalTag/Team': valuesOf(...TEXTS),
    'aws:PrincipalArn': valuesOf(...ARNS),
    'custom:arns': valuesOf(...ARNS),
    'custom:number': valuesOf(...NUMBERS, 'many'),
    'aws:CurrentTime': valuesOf(...DATES, 'soon'),
    'aws:SecureTransport': valuesOf(...FLAGS),
    'custom:blob': valuesOf(...BLOBS),
    'aws:SourceIp': valuesOf(...ADDRESSES),
  },
  { requiredKeys: [] },
)

const effect = fc.constantFrom('Allow', 'Allow', 'Deny')
const actionElement = fc.oneof(
  { weight: 4, arbitrary: oneOrMany(action).map((Action) => ({ Action })) },
  { weight: 1, arbitrary: oneOrMany(action).map((NotAction) => ({ NotAction })) },
)
const resourceElement = fc.oneof(
  { weight: 4, arbitrary: oneOrMany(resource).map((Resource) => ({ Resource })) },
  { weight: 1, arbitrary: oneOrMany(resource).map((NotResource) => ({ NotResource })) },
)
const conditionElement = fc
  .array(condition, { maxLength: 2 })
  .map((list) => (list.length === 0 ? {} : { Condition: Object.assign({}, ...list) }))

const statement: fc.Arbitrary<NaiveStatement> = fc
  .tuple(effect, actionElement, resourceElement, conditionElement)
  .map(([Effect, ...elements]) => Object.assign({ Effect }, ...elements))

const principalElement = fc.oneof(
  fc.constant('*'),
  oneOrMany(fc.constantFrom('*', HERE, THERE, `arn:aws:iam::${HERE}:root`, USER, ROLE, SESSION, FEDERATED)).map(
    (AWS) => ({ AWS }),
  ),
  fc.constant({ Service: 'ssm.amazonaws.com' }),
  fc.constant({ Federated: PROVIDER, AWS: THERE }),
)
const resourceStatement: fc.Arbitrary<NaiveStatement> = fc
  .tuple(statement, principalElement, fc.boolean())
  .map(([base, element, isInverted]) =>
    isInverted && base.Effect === 'Deny' ? { ...base, NotPrincipal: element } : { ...base, Principal: element },
  )

const policyOf = (one: fc.Arbitrary<NaiveStatement>): fc.Arbitrary<NaivePolicy> =>
  fc.record({
    Version: fc.constantFrom('2012-10-17', '2012-10-17', '2012-10-17', '2008-10-17'),
    Statement: fc.array(one, { minLength: 1, maxLength: 3 }),
  })
const policy = policyOf(statement)
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })

const policies: fc.Arbitrary<NaivePolicies> = fc.record({
  identity: fc.array(policy, { maxLength: 3 }),
  resource: optional(policyOf(resourceStatement)),
  session: optional(fc.array(policy, { maxLength: 2 })),
  boundary: optional(policy),
  resourcePolicyRequired: fc.boolean(),
})
const request: fc.Arbitrary<NaiveRequest> = fc.record({
  caller: fc.constantFrom(...CALLERS),
  action: requestedAction,
  resource: requestedResource,
  keys,
})

// ---- the evaluator under test, asked in the naive one's words ----

function compiled(json: NaivePolicy, kind: PolicyKind): CompiledPolicy {
  const document = parsePolicy(JSON.stringify(json), kind)
  if (isMalformed(document)) throw new Error(`${document.message} ${JSON.stringify(json)}`)
  return compilePolicy(document)
}

const policySet = (json: NaivePolicies): PolicySet => ({
  identity: json.identity.map((each) => compiled(each, 'identity')),
  resource: json.resource && compiled(json.resource, 'resource'),
  session: json.session?.map((each) => compiled(each, 'session')),
  boundary: json.boundary && compiled(json.boundary, 'boundary'),
  resourcePolicyRequired: json.resourcePolicyRequired,
})

const requestFrom = (asked: NaiveRequest) => ({
  principal: asked.caller as Principal,
  action: asked.action,
  resources: [{ arn: asked.resource }],
  context: contextKeys(asked.keys),
})

const decide = (asked: NaiveRequest, json: NaivePolicies): Decision => evaluate(requestFrom(asked), policySet(json))

function always(law: (asked: NaiveRequest, json: NaivePolicies, extra: NaivePolicy, seed: number) => void): void {
  fc.assert(fc.property(request, policies, policy, fc.nat(), law), { numRuns: RUNS })
}

const shuffled = <T>(list: readonly T[], seed: number): T[] =>
  list
    .map((item, index) => ({ item, rank: ((index + 1) * 7919 + seed) % 101 }))
    .toSorted((one, other) => one.rank - other.rank)
    .map(({ item }) => item)

describe('the evaluator and the one written from the documentation', () => {
  it('decide alike', () => {
    const seen = { allow: 0, explicitDeny: 0, implicitDeny: 0 }
    fc.assert(
      fc.property(request, policies, (asked, json) => {
        const expected = naiveDecision(asked, json)
        seen[expected]++
        expect(decide(asked, json)).toBe(expected)
      }),
      { numRuns: 6 * RUNS },
    )
    // A comparison where everything is refused would compare nothing.
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(RUNS / 10)
  })

  it('decide alike on each single condition', () => {
    const seen = { allow: 0, implicitDeny: 0, explicitDeny: 0 }
    const caller = CALLERS[1]!
    fc.assert(
      fc.property(condition, keys, fc.constantFrom('2012-10-17', '2008-10-17'), (Condition, present, Version) => {
        const asked: NaiveRequest = { caller, action: 'ssm:GetParameter', resource: '*', keys: present }
        const json = {
          identity: [{ Version, Statement: [{ Effect: 'Allow', Action: '*', Resource: '*', Condition }] }],
        }
        const expected = naiveDecision(asked, json)
        seen[expected]++
        expect(decide(asked, json)).toBe(expected)
      }),
      { numRuns: 6 * RUNS },
    )
    expect(Math.min(seen.allow, seen.implicitDeny)).toBeGreaterThan(RUNS / 4)
  })

  it('decide alike on every text that a wildcard may match', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', ':', '*', '?', '/', '😀'), maxLength: 8 })
    fc.assert(
      fc.property(letters, letters, fc.boolean(), (pattern, text, isAlike) => {
        // Every second text is one that the pattern does match.
        const name = isAlike ? pattern.replaceAll('*', text).replaceAll('?', 'b') : text
        const asked: NaiveRequest = {
          caller: CALLERS[1]!,
          action: 'ssm:A',
          resource: `arn:aws:ssm:eu:${HERE}:${name}`,
          keys: { k: [name] },
        }
        const byResource = {
          identity: [{ Statement: [{ Effect: 'Allow', Action: '*', Resource: `arn:aws:ssm:*:*:${pattern}` }] }],
        }
        expect(decide(asked, byResource)).toBe(naiveDecisionOfCharacters(asked, byResource))
        const Condition = { StringLike: { k: pattern } }
        const byCondition = { identity: [{ Statement: [{ Effect: 'Allow', Action: '*', Resource: '*', Condition }] }] }
        expect(decide(asked, byCondition)).toBe(naiveDecisionOfCharacters(asked, byCondition))
      }),
      { numRuns: 2 * RUNS },
    )
  })
})

/** The naive one's expressions count code units: a stand-in of one unit makes a character one of theirs. */
function naiveDecisionOfCharacters(asked: NaiveRequest, json: NaivePolicies): Decision {
  const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value).replaceAll('😀', 'ü'))
  return naiveDecision(plain(asked), plain(json))
}

describe('the laws of policies', () => {
  it('adding a Deny never allows', () => {
    always((asked, json, extra) => {
      const Statement = extra.Statement.map((each) => ({ ...each, Effect: 'Deny' }))
      const more = { ...json, identity: [...json.identity, { ...extra, Statement }] }
      if (decide(asked, more) === 'allow') expect(decide(asked, json)).toBe('allow')
    })
  })

  it('adding an Allow never denies', () => {
    always((asked, json, extra) => {
      const Statement = extra.Statement.map((each) => ({ ...each, Effect: 'Allow' }))
      const more = { ...json, identity: [...json.identity, { ...extra, Statement }] }
      if (decide(asked, json) === 'allow') expect(decide(asked, more)).toBe('allow')
      expect(decide(asked, more) === 'explicitDeny').toBe(decide(asked, json) === 'explicitDeny')
    })
  })

  it('an explicit Deny of everything outweighs whatever else is said', () => {
    always((asked, json) => {
      const deny = { Version: '2012-10-17', Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }] }
      expect(decide(asked, { ...json, identity: [...json.identity, deny] })).toBe('explicitDeny')
    })
  })

  it('the order of policies and statements never matters', () => {
    always((asked, json, extra, seed) => {
      const inOrder = (each: NaivePolicy) => ({ ...each, Statement: shuffled(each.Statement, seed) })
      const other = {
        ...json,
        identity: shuffled([...json.identity, extra], seed).map(inOrder),
        resource: json.resource && inOrder(json.resource),
        session: json.session && shuffled(json.session, seed).map(inOrder),
        boundary: json.boundary && inOrder(json.boundary),
      }
      expect(decide(asked, other)).toBe(decide(asked, { ...json, identity: [...json.identity, extra] }))
    })
  })

  it('a permissions boundary only narrows', () => {
    always((asked, json, extra) => {
      if (decide(asked, { ...json, boundary: extra }) === 'allow') {
        expect(decide(asked, { ...json, boundary: undefined })).toBe('allow')
      }
    })
  })

  it('a session policy only narrows', () => {
    always((asked, json, extra) => {
      if (decide(asked, { ...json, session: [extra] }) === 'allow') {
        expect(decide(asked, { ...json, session: undefined })).toBe('allow')
      }
    })
  })

  it('a policy divided into one policy per statement says the same', () => {
    always((asked, json) => {
      const divided = json.identity.flatMap((each) => each.Statement.map((one) => ({ ...each, Statement: [one] })))
      expect(decide(asked, { ...json, identity: divided })).toBe(decide(asked, json))
    })
  })

  it('several resources are allowed only where each is', () => {
    fc.assert(
      fc.property(request, policies, requestedResource, (asked, json, other) => {
        const set = policySet(json)
        const single = [asked.resource, other].map((arn) =>
          evaluate({ ...requestFrom(asked), resources: [{ arn }] }, set),
        )
        const both = evaluate({ ...requestFrom(asked), resources: [{ arn: asked.resource }, { arn: other }] }, set)
        const worst = ['explicitDeny', 'implicitDeny', 'allow'].find((each) => single.some((one) => one === each))
        expect(both).toBe(worst)
      }),
      { numRuns: RUNS },
    )
  })
})

describe('an explanation', () => {
  it('agrees with the decision and names what decided', () => {
    always((asked, json) => {
      const set = policySet(json)
      const decision = evaluate(requestFrom(asked), set)
      const told = explain(requestFrom(asked), set)
      expect(told.decision).toBe(decision)
      expect(told.message === undefined).toBe(decision === 'allow')
      expect(told.missing === undefined).toBe(decision !== 'implicitDeny')
      if (decision === 'explicitDeny') expect(told.decidedBy[0]).toMatchObject({ effect: 'Deny', outcome: 'matched' })
      if (decision === 'allow' && asked.caller.type !== 'root') expect(told.decidedBy.length).toBeGreaterThan(0)
      for (const each of told.statements) expect(each.failedConditions.length > 0).toBe(each.outcome === 'condition')
    })
  })

  it('names a missing permission that, once granted everywhere it is named, allows', () => {
    always((asked, json) => {
      let current = json
      // At most one of each type can be missing.
      for (let step = 0; step < 5; step++) {
        const told = explain(requestFrom(asked), policySet(current))
        if (told.decision !== 'implicitDeny') return
        current = granted(current, told.missing!.policyType)
      }
      throw new Error('the permissions named as missing did not suffice')
    })
  })
})

function granted(json: NaivePolicies, policyType: string): NaivePolicies {
  const all: NaivePolicy = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
  if (policyType === 'identity-based policy') return { ...json, identity: [...json.identity, all] }
  if (policyType === 'session policy') return { ...json, session: [...(json.session ?? []), all] }
  if (policyType === 'permissions boundary') {
    const own = json.boundary ?? all
    return { ...json, boundary: { Version: own.Version, Statement: [...own.Statement, ...all.Statement] } }
  }
  const own = json.resource ?? { Version: '2012-10-17', Statement: [] }
  const everybody = all.Statement.map((each) => ({ ...each, Principal: '*' }))
  return { ...json, resource: { Version: own.Version, Statement: [...own.Statement, ...everybody] } }
}

describe('a policy text', () => {
  it('of any characters is parsed or refused, and never breaks the parser', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '"',
      ',',
      ':',
      'Version',
      'Statement',
      '"Effect":"Allow"',
      '\\',
      'é',
      '1e9',
      'null',
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(pieces, { maxLength: 12 }).map((each) => each.join('')),
        ),
        (text) => {
          const parsed = parsePolicy(text, 'identity')
          expect(isMalformed(parsed)).toBe(true)
        },
      ),
      { numRuns: RUNS },
    )
  })

  it('with any JSON in any place is parsed or refused, and what is parsed can be asked', () => {
    const anyJson = fc.jsonValue({ maxDepth: 2 })
    const element = fc.constantFrom('Sid', 'Effect', 'Action', 'Resource', 'Condition', 'Principal', 'NotAction')
    fc.assert(
      fc.property(
        statement,
        element,
        anyJson,
        fc.constantFrom<PolicyKind>('identity', 'trust', 'resource'),
        (base, name, value, kind) => {
          const parsed = parsePolicy(
            JSON.stringify({ Version: '2012-10-17', Statement: [{ ...base, [name]: value }] }),
            kind,
          )
          expect(isMalformed(parsed) ? parsed.message : 'parsed').not.toBe('')
          if (isMalformed(parsed)) return
          const asked = { principal: CALLERS[1]!, action: 'ssm:GetParameter', resources: [], context: contextKeys({}) }
          expect(['allow', 'explicitDeny', 'implicitDeny']).toContain(
            evaluate(asked, { identity: [compilePolicy(parsed)] }),
          )
        },
      ),
      { numRuns: RUNS },
    )
  })

  it('is read as the platform reads JSON, wherever no key is repeated', () => {
    /** White space moves the statements and changes nothing else. */
    const read = (text: string) => {
      const parsed = parsePolicy(text, 'identity')
      if (isMalformed(parsed)) return parsed
      return { ...parsed, statements: parsed.statements.map(({ position: _, ...statement }) => statement) }
    }
    fc.assert(
      fc.property(policy, fc.constantFrom(undefined, 1, '\t'), (json, space) => {
        const once = read(JSON.stringify(json))
        expect(read(JSON.stringify(json, null, space))).toEqual(once)
        expect(once).not.toHaveProperty('message')
      }),
      { numRuns: RUNS / 4 },
    )
  })
})
