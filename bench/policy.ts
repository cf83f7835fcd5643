// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables are written so
/**
 * How many policy decisions one core makes in a second, for a principal with 10 policies of three statements each, conditions
 * in some. Target: 200,000/s. Prints the median of five rounds; `npm run bench -- policy`.
 */
import {
  type AccessRequest,
  compilePolicy,
  contextKeys,
  evaluate,
  explain,
  isMalformed,
  type PolicySet,
  parsePolicy,
} from '../packages/server/src/capabilities/identity/policy/index.ts'

const ROUNDS = 5
const DECISIONS = 400_000
const EXPLANATIONS = 20_000
const POLICIES = 10

export async function run(): Promise<void> {
  const policies = policiesOfATeam()
  const requests = requestsOfADay()
  const allowed = requests.filter((request) => evaluate(request, policies) === 'allow').length
  console.log(
    `policy: ${POLICIES} policies, 3 statements each; ${requests.length} requests, ${allowed} of them allowed`,
  )
  report('evaluate', DECISIONS, (index) => evaluate(at(requests, index), policies))
  report('evaluate, with its context keys made anew', DECISIONS, (index) =>
    evaluate({ ...at(requests, index), context: contextKeys(KEYS) }, policies),
  )
  report('explain', EXPLANATIONS, (index) => explain(at(requests, index), policies).decision)
}

function report(label: string, times: number, decide: (index: number) => string): void {
  for (let index = 0; index < times / 4; index++) decide(index)
  const rates = Array.from({ length: ROUNDS }, () => {
    const start = performance.now()
    let denied = 0
    for (let index = 0; index < times; index++) if (decide(index) !== 'allow') denied++
    if (denied === 0) throw new Error('the mix of requests must hold some that are refused')
    return (times / (performance.now() - start)) * 1000
  }).toSorted((one, other) => one - other)
  const perSecond = Math.round(rates[Math.floor(ROUNDS / 2)] ?? 0).toLocaleString('en')
  console.log(`  ${label}: ${perSecond}/s (N ${times.toLocaleString('en')}, median of ${ROUNDS} rounds)`)
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index % list.length]
  if (item === undefined) throw new Error('an empty list has no item')
  return item
}

// ---- a plausible principal ----

function policiesOfATeam(): PolicySet {
  const identity = Array.from({ length: POLICIES }, (_, index) => {
    const document = parsePolicy(JSON.stringify({ Version: '2012-10-17', Statement: statementsOf(index) }), 'identity')
    if (isMalformed(document)) throw new Error(document.message)
    return compilePolicy(document, `team-${index}`)
  })
  return { identity }
}

export const statementsOf = (index: number, account = '123456789012'): unknown[] => [
  {
    Effect: 'Allow',
    Action: ['ssm:GetParameter*', 'ssm:DescribeParameters', `ssm:PutParameter`],
    Resource: [`arn:aws:ssm:*:${account}:parameter/team-${index}/*`, 'arn:aws:ssm:*:*:parameter/${aws:username}/*'],
  },
  {
    Effect: 'Allow',
    Action: ['ssm:SendCommand', 'ssm:StartSession', 'kms:Decrypt'],
    Resource: '*',
    Condition: {
      StringEquals: { 'ssm:resourceTag/team': [`team-${index}`, '${aws:PrincipalTag/team}'] },
      IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '192.168.0.0/16'] },
    },
  },
  index % 3 === 0
    ? {
        Effect: 'Deny',
        Action: 'ssm:*',
        Resource: `arn:aws:ssm:*:*:parameter/team-${index}/secret/*`,
        Condition: { BoolIfExists: { 'aws:MultiFactorAuthPresent': 'false' } },
      }
    : {
        Effect: 'Allow',
        Action: ['logs:Get*', 'logs:Describe*', 'cloudwatch:*'],
        Resource: '*',
        Condition: { DateGreaterThan: { 'aws:CurrentTime': '2024-01-01T00:00:00Z' } },
      },
]

const KEYS = {
  'aws:username': 'amelia',
  'aws:userid': 'AIDAAMELIA',
  'aws:PrincipalArn': 'arn:aws:iam::123456789012:user/amelia',
  'aws:PrincipalAccount': '123456789012',
  'aws:PrincipalTag/team': 'orchids',
  'ssm:resourceTag/team': 'orchids',
  'aws:SourceIp': '10.11.12.13',
  'aws:CurrentTime': '2026-03-01T12:00:00Z',
  'aws:SecureTransport': true,
  'aws:MultiFactorAuthPresent': false,
}

function requestsOfADay(): AccessRequest[] {
  const ssm = 'arn:aws:ssm:eu-central-1:123456789012:'
  const asked: [string, string][] = [
    ['ssm:GetParameter', `${ssm}parameter/team-9/db/url`],
    ['ssm:GetParameter', `${ssm}parameter/team-0/secret/key`],
    ['ssm:GetParametersByPath', `${ssm}parameter/amelia/notes`],
    ['ssm:PutParameter', `${ssm}parameter/nobody/else`],
    ['ssm:SendCommand', `${ssm}managed-instance/mi-0123456789abcdef0`],
    ['kms:Decrypt', 'arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab'],
    ['logs:GetLogEvents', 'arn:aws:logs:eu-central-1:123456789012:log-group:app:log-stream:1'],
    ['iam:ListUsers', '*'],
  ]
  const context = contextKeys(KEYS)
  const principal = { type: 'user', account: '123456789012', arn: 'arn:aws:iam::123456789012:user/amelia' } as const
  return asked.map(([action, arn]) => ({ principal, action, resources: [{ arn }], context }))
}
