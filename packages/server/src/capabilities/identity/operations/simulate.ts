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
  explain,
  isMalformed,
  type PolicyKind,
  type PolicySet,
  type PolicyType,
  type Principal,
  parsePolicy,
  type StatementTrace,
} from '../policy/index.ts'
import { principalsOf } from '../principals.ts'
import { readPolicyTexts } from '../store.ts'

type Simulation = Omit<Input<'SimulateCustomPolicy', 'iam'>, 'PolicyInputList'>

export const simulation: ServiceOperations<'iam'> = {
  SimulateCustomPolicy: {
    authorize: anywhere,
    async handle(context, input) {
      const identity = compiled(input.PolicyInputList, 'identity', 'PolicyInputList')
      const principal = nobody(context, input.CallerArn)
      return simulate(context, 'SimulateCustomPolicy', input, { principal, policies: { identity }, keys: {} })
    },
  },
  SimulatePrincipalPolicy: {
    authorize: (input) => ({ resources: [input.PolicySourceArn] }),
    async handle(context, input) {
      const source = await sourceOf(context, input.PolicySourceArn)
      const identity = [...source.identity, ...compiled(input.PolicyInputList, 'identity', 'PolicyInputList')]
      const { principal, boundary, keys } = source
      const inline = new Map(
        (await readPolicyTexts(context.sql, source.id)).map(({ name, ownerId }) => [name, OWNERS[ownerId.slice(0, 4)]]),
      )
      return simulate(context, `SimulatePrincipalPolicy ${input.PolicySourceArn}`, input, {
        ...{ principal, policies: { identity, boundary }, keys, inline },
      })
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
  id: string
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
  return { id: row.id, principal, identity, boundary, keys }
}

const DECISIONS: Record<Decision, 'allowed' | 'explicitDeny' | 'implicitDeny'> = {
  allow: 'allowed',
  explicitDeny: 'explicitDeny',
  implicitDeny: 'implicitDeny',
}

type PolicySource = 'user' | 'group' | 'role' | 'aws-managed' | 'user-managed' | 'resource' | 'none'
/** By the first letters of an owner's id. */
const OWNERS: Record<string, PolicySource> = { AIDA: 'user', AGPA: 'group', AROA: 'role' }

/** Whose call is simulated. */
interface Subject {
  principal: Principal
  policies: PolicySet
  keys: Record<string, string | undefined>
  /** Of what kind the owners of policies are, by the names of these. */
  inline?: ReadonlyMap<string, PolicySource | undefined>
}

async function simulate(context: Context, listing: string, input: Simulation, { keys: own, ...subject }: Subject) {
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
  const policies: PolicySet = { ...subject.policies, boundary: boundary[0] ?? subject.policies.boundary, resource }
  const asked = { ...subject, policies }
  const resources = input.ResourceArns?.length ? input.ResourceArns : ['*']
  // AWS tells what is missing by resource where there are any, and of the call where it is about everything.
  const isSpecific = resources.some((arn) => arn !== '*')
  const results = input.ActionNames.map((action) => {
    const each = resources.map((arn) =>
      one({ principal: asked.principal, action, resources: [{ arn }], context: keys }, arn, asked),
    )
    const { missing, ...result } = worst(each)
    return {
      EvalActionName: action,
      ...result,
      MissingContextValues: isSpecific ? [] : missing,
      ResourceSpecificResults: isSpecific ? each.map(specific) : undefined,
    }
  })
  const numbered = results.map((result, index) => ({ result, place: String(index).padStart(6, '0') }))
  const { items, rest } = await pageOf(context, listing, input, ({ place }) => place, numbered)
  return { EvaluationResults: items.map(({ result }) => result), ...rest }
}

function one(request: AccessRequest, arn: string, { policies, inline }: Omit<Subject, 'keys'>) {
  const explanation = explain(request, policies)
  const boundary = policies.boundary && {
    AllowedByPermissionsBoundary: explain(request, { identity: [policies.boundary] }).decision === 'allow',
  }
  return {
    EvalResourceName: arn,
    EvalDecision: DECISIONS[explanation.decision],
    MatchedStatements: explanation.decidedBy.map((trace) => matchedStatement(trace, inline)),
    PermissionsBoundaryDecisionDetail: boundary,
    missing: missingKeys(request, policies),
  }
}

const matchedStatement = ({ policy = '', policyType, position }: StatementTrace, inline: Subject['inline']) => ({
  // Of a managed policy the name, as in AWS.
  SourcePolicyId: policy.slice(policy.lastIndexOf('/') + 1),
  SourcePolicyType: sourceOfPolicy(policy, policyType, inline),
  StartPosition: position.start,
  EndPosition: position.end,
})

function sourceOfPolicy(policy: string, policyType: PolicyType, inline: Subject['inline']): PolicySource {
  if (policyType === 'resource-based policy') return 'resource'
  if (policy.startsWith('arn:aws:iam::aws:')) return 'aws-managed'
  if (policy.startsWith('arn:')) return 'user-managed'
  return inline?.get(policy) ?? 'none'
}

/** Condition keys that statements about the action ask for, and that are not given. */
function missingKeys({ action, context }: AccessRequest, policies: PolicySet): string[] {
  const { identity, boundary, resource } = policies
  const asked = [...identity, ...(boundary ? [boundary] : []), ...(resource ? [resource] : [])]
    .flatMap((policy) => policy.concerning(action.toLowerCase()))
    .flatMap(({ source }) => source.conditions.map(({ key }) => key))
  return [...new Set(asked)].filter((key) => context.get(key.toLowerCase()) === undefined)
}

type Result = ReturnType<typeof one>

/** One refusal refuses the action: a denial first, then what nothing allows. */
const worst = (results: Result[]): Result =>
  results.find(({ EvalDecision }) => EvalDecision === 'explicitDeny') ??
  results.find(({ EvalDecision }) => EvalDecision === 'implicitDeny') ??
  results[0]!

const specific = ({ EvalDecision, missing, ...result }: Result) => ({
  ...result,
  EvalResourceDecision: EvalDecision,
  MissingContextValues: missing,
})
