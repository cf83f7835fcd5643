/** The simulator: what policies say of actions that nobody carries out. The evaluator that decides on requests answers. */
import type { Input, ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import { entityArn, found, noSuch, notFound } from '../entities.ts'
import { pageOf } from '../marker.ts'
import { anywhere } from '../permissions.ts'
import {
  type AccessRequest,
  type CompiledPolicy,
  compilePolicy,
  contextKeys,
  type Decision,
  type Explanation,
  explain,
  isMalformed,
  type PolicyKind,
  type PolicySet,
  type Principal,
  parsePolicy,
} from '../policy/index.ts'
import { principalsOf } from '../principals.ts'

type Simulation = Omit<Input<'SimulateCustomPolicy', 'iam'>, 'PolicyInputList'>

export const simulation: ServiceOperations<'iam'> = {
  SimulateCustomPolicy: {
    authorize: anywhere,
    async handle(context, input) {
      const identity = compiled(input.PolicyInputList, 'identity', 'PolicyInputList')
      const principal = nobody(context, input.CallerArn)
      return simulate(context, 'SimulateCustomPolicy', input, principal, { identity }, {})
    },
  },
  SimulatePrincipalPolicy: {
    authorize: (input) => ({ resources: [input.PolicySourceArn] }),
    async handle(context, input) {
      const source = await sourceOf(context, input.PolicySourceArn)
      const identity = [...source.identity, ...compiled(input.PolicyInputList, 'identity', 'PolicyInputList')]
      const policies = { identity, boundary: source.boundary }
      return simulate(
        context,
        `SimulatePrincipalPolicy ${input.PolicySourceArn}`,
        input,
        source.principal,
        policies,
        source.keys,
      )
    },
  },
  GetContextKeysForCustomPolicy: {
    authorize: anywhere,
    handle: async (_, input) => ({
      ContextKeyNames: keyNames(compiled(input.PolicyInputList, 'identity', 'PolicyInputList')),
    }),
  },
  GetContextKeysForPrincipalPolicy: {
    authorize: (input) => ({ resources: [input.PolicySourceArn] }),
    async handle(context, input) {
      const { identity } = await sourceOf(context, input.PolicySourceArn)
      return {
        ContextKeyNames: keyNames([...identity, ...compiled(input.PolicyInputList, 'identity', 'PolicyInputList')]),
      }
    },
  },
}

/** InvalidInput: a policy that cannot be read. */
function compiled(texts: readonly string[] | undefined, kind: PolicyKind, name: string): CompiledPolicy[] {
  return (texts ?? []).map((text, index) => {
    const document = parsePolicy(text, kind)
    if (isMalformed(document)) throw new AwsError('InvalidInputException', document.message)
    return compilePolicy(document, `${name}.${index + 1}`)
  })
}

function keyNames(policies: readonly CompiledPolicy[]): string[] {
  const conditions = policies.flatMap(({ statements }) =>
    statements.flatMap((statement) => statement.source.conditions),
  )
  return [...new Set(conditions.map(({ key }) => key))].sort()
}

const nobody = (context: Context, arn: string | undefined): Principal => ({
  type: 'user',
  account: context.account,
  arn: arn ?? `arn:aws:iam::${context.account}:user/simulated`,
})

interface Source {
  principal: Principal
  identity: readonly CompiledPolicy[]
  boundary: CompiledPolicy | undefined
  keys: Record<string, string | undefined>
}

const SOURCE = /^arn:aws:iam::(\d{12}):(user|group|role)\/(?:[!-~]*\/)?([\w+=,.@-]+)$/

/**
 * The policies of a user with its groups, of a group, or of a role, by the very ARN that it has: the permission was asked for
 * the ARN as it was given, so another path or case must not lead to the same entity. NoSuchEntity.
 */
export async function sourceOf(context: Context, arn: string): Promise<Source> {
  const [, account, word, name = ''] = SOURCE.exec(arn) ?? []
  if (account !== context.account || word === undefined)
    throw noSuch(`The entity ${arn} cannot be found: name a user, group or role of this account.`)
  const kind = word as 'user' | 'group' | 'role'
  const row = await found(context, kind, name)
  if (entityArn(kind, row) !== arn) throw notFound(kind, name)
  const { identity, boundary } = await principalsOf(context).policiesOf(row.id)
  const tags = 'tags' in row ? row.tags : []
  const keys = {
    'aws:PrincipalArn': arn,
    'aws:PrincipalAccount': account,
    ...(kind === 'user' ? { 'aws:username': row.name, 'aws:userid': row.id, 'aws:PrincipalType': 'User' } : {}),
    ...Object.fromEntries(tags.map(({ Key, Value }) => [`aws:PrincipalTag/${Key}`, Value])),
  }
  const principal: Principal =
    kind === 'role'
      ? { type: 'role', account, arn, roleArn: arn, id: row.id }
      : { type: 'user', account, arn, id: row.id }
  return { principal, identity, boundary, keys }
}

const DECISIONS: Record<Decision, 'allowed' | 'explicitDeny' | 'implicitDeny'> = {
  allow: 'allowed',
  explicitDeny: 'explicitDeny',
  implicitDeny: 'implicitDeny',
}

async function simulate(
  context: Context,
  listing: string,
  input: Simulation,
  principal: Principal,
  policies: PolicySet,
  own: Record<string, string | undefined>,
) {
  const given = (input.ContextEntries ?? []).map(({ ContextKeyName = '', ContextKeyValues = [] }) => [
    ContextKeyName,
    ContextKeyValues,
  ])
  const keys = contextKeys({ ...own, ...Object.fromEntries(given) })
  const boundary = compiled(input.PermissionsBoundaryPolicyInputList, 'boundary', 'PermissionsBoundaryPolicyInputList')
  const [resource] = compiled(
    input.ResourcePolicy === undefined ? [] : [input.ResourcePolicy],
    'resource',
    'ResourcePolicy',
  )
  const set: PolicySet = { ...policies, boundary: boundary[0] ?? policies.boundary, resource }
  const resources = input.ResourceArns?.length ? input.ResourceArns : ['*']
  const results = input.ActionNames.map((action) => {
    const each = resources.map((arn) => one({ principal, action, resources: [{ arn }], context: keys }, arn, set))
    return {
      EvalActionName: action,
      ...worst(each),
      ResourceSpecificResults: resources.length > 1 ? each.map(specific) : undefined,
    }
  })
  const numbered = results.map((result, index) => ({ result, place: String(index).padStart(6, '0') }))
  const { items, rest } = await pageOf(context, listing, input, ({ place }) => place, numbered)
  return { EvaluationResults: items.map(({ result }) => result), ...rest }
}

function one(request: AccessRequest, arn: string, set: PolicySet) {
  const explanation = explain(request, set)
  const boundary = set.boundary && {
    AllowedByPermissionsBoundary: explain(request, { identity: [set.boundary] }).decision === 'allow',
  }
  return {
    EvalResourceName: arn,
    EvalDecision: DECISIONS[explanation.decision],
    MatchedStatements: explanation.decidedBy.map(({ policy }) => ({
      SourcePolicyId: policy,
      SourcePolicyType: policy?.startsWith('arn:aws:iam::aws:') ? ('aws-managed' as const) : ('user-managed' as const),
    })),
    MissingContextValues: missingKeys(explanation, request),
    PermissionsBoundaryDecisionDetail: boundary,
  }
}

const missingKeys = ({ statements }: Explanation, { context }: AccessRequest): string[] => [
  ...new Set(
    statements
      .flatMap(({ failedConditions }) => failedConditions.map(({ key }) => key))
      .filter((key) => context.get(key.toLowerCase()) === undefined),
  ),
]

type Result = ReturnType<typeof one>

/** One refusal refuses the action: a denial first, then what nothing allows. */
const worst = (results: Result[]): Result =>
  results.find(({ EvalDecision }) => EvalDecision === 'explicitDeny') ??
  results.find(({ EvalDecision }) => EvalDecision === 'implicitDeny') ??
  results[0]!

const specific = ({ EvalDecision, ...result }: Result) => ({ ...result, EvalResourceDecision: EvalDecision })
