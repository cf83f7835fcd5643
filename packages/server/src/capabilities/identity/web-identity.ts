/**
 * AssumeRoleWithWebIdentity: a token of an OIDC issuer for the session of a role. Nobody signs this call; the token proves
 * who asks, the account's provider says which issuer and clients count, the role's trust policy says who of them may.
 */
import type { Input, Output } from '../../contract/types.ts'
import { free, type Host, type Operation } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { accessRequest } from './authorize.ts'
import { issuerKeys } from './oidc/issuer-keys.ts'
import { type Claims, peek, verify } from './oidc/token.ts'
import { providerArn } from './operations/oidc-providers.ts'
import { requestTags } from './permissions.ts'
import { evaluate, noContextKeys, type Principal } from './policy/index.ts'
import type { RoleRow } from './store/entities.ts'
import { touchRole } from './store/entities.ts'
import * as providers from './store/oidc.ts'
import { hasAccount } from './store.ts'
import { assumedRoleUser, issue, packedSize, roleOf, roleSeconds, sessionPolicies } from './sts.ts'
import { compileTrust } from './trust.ts'

type Asked = Input<'AssumeRoleWithWebIdentity', 'sts'>

/** Who brought a token, for the audit of the account whose role was asked for. */
export interface TokenBearer {
  account: string
  /** What a verified token says; undefined: it proves nothing, and what it claims is nobody's word. */
  proved: { providerArn: string; audience: string; subject: string } | undefined
}

const bearers = new WeakMap<Context, TokenBearer>()

/** Who brought the token of a call that nobody signed; undefined: no token came for an account of this installation. */
export const tokenBearerOf = (context: Context): TokenBearer | undefined => bearers.get(context)

export function assumeRoleWithWebIdentity(host: Host): Operation<Asked, Output<'AssumeRoleWithWebIdentity', 'sts'>> {
  const keys = issuerKeys(host)

  /** The claims of a token that an issuer of the role's account signed for one of its clients. */
  async function claimsOf(context: Context, account: string, token: string) {
    const { issuer, keyId } = peek(token)
    const provider = await providers.findProvider(context.sql, account, issuer.replace(/\/$/, ''))
    if (!provider)
      throw new AwsError(
        'InvalidIdentityTokenException',
        `No OpenIDConnect provider found in your account for ${issuer.slice(0, 255)}`,
      )
    const set = await keys.of(issuer, keyId)
    if (!set)
      throw new AwsError(
        'IDPCommunicationErrorException',
        "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements",
      )
    const { clientIds } = provider
    return { provider, claims: await verify(token, set, { issuer, clientIds, now: context.now() }) }
  }

  return {
    authentication: 'anonymous',
    authorize: ({ RoleArn }) => free('the token is the proof, and the trust policy is asked by the handler', [RoleArn]),
    async handle(context, input) {
      const role = await roleOf(context, input.RoleArn)
      const account = role?.account ?? (await accountIn(context, input.RoleArn))
      if (account !== undefined) bearers.set(context, { account, proved: undefined })
      if (input.ProviderId !== undefined)
        throw new AwsError(
          'InvalidIdentityTokenException',
          'ProviderId is for OAuth 2.0 access tokens, which are not taken.',
        )
      // The same words whether there is no such role or it does not trust the token: who asks is nobody yet.
      if (!role) throw refused()
      const { provider, claims } = await claimsOf(context, role.account, input.WebIdentityToken)
      const { audience, subject } = claims
      bearers.set(context, { account: role.account, proved: { providerArn: providerArn(provider), audience, subject } })
      const federation = federationOf(provider, claims)
      await checkTrust(context, input, role, { provider, claims, federation })
      return answer(context, input, role, claims, federation)
    },
  }
}

/** The account that the ARN of a role names, where it is one of this installation's. */
async function accountIn({ sql }: Context, roleArn: string): Promise<string | undefined> {
  const [, account = ''] = /^arn:aws:iam::(\d{12}):role\//.exec(roleArn) ?? []
  return (await hasAccount(sql, account)) ? account : undefined
}

const refused = () => new AwsError('AccessDeniedException', 'Not authorized to perform sts:AssumeRoleWithWebIdentity')

async function checkTrust(
  context: Context,
  input: Asked,
  role: RoleRow,
  { provider, claims, federation }: { provider: providers.ProviderRow; claims: Claims; federation: Federation },
): Promise<void> {
  const policies = { identity: [], resource: compileTrust(role) }
  const principal: Principal = { type: 'webIdentity', provider: providerArn(provider) }
  const tags = Object.entries(claims.tags).map(([Key, Value]) => ({ Key, Value }))
  const keys = {
    ...federation,
    'sts:RoleSessionName': input.RoleSessionName,
    ...(claims.sourceIdentity === undefined ? {} : { 'sts:SourceIdentity': claims.sourceIdentity }),
    ...(tags.length > 0 ? requestTags(tags) : {}),
    ...(claims.transitiveTagKeys.length > 0 ? { 'sts:TransitiveTagKeys': claims.transitiveTagKeys } : {}),
    ...Object.fromEntries(role.tags.map(({ Key, Value }) => [`aws:ResourceTag/${Key}`, Value])),
  }
  const actions = [
    'sts:AssumeRoleWithWebIdentity',
    ...(tags.length > 0 ? ['sts:TagSession'] : []),
    ...(claims.sourceIdentity === undefined ? [] : ['sts:SetSourceIdentity']),
  ]
  for (const action of actions) {
    const access = { action, resources: [input.RoleArn], keys }
    const request = await accessRequest(noContextKeys, principal, access, context, policies)
    if (evaluate(request, policies) !== 'allow') throw refused()
  }
}

type Federation = Record<string, string | string[]>

/** `<issuer without https://>:sub` and its siblings: for the trust policy, and for whatever the session does. */
function federationOf(provider: providers.ProviderRow, { subject, audience, original, amr }: Claims): Federation {
  const name = provider.url.replace(/^https?:\/\//, '')
  return {
    'aws:FederatedProvider': providerArn(provider),
    [`${name}:sub`]: subject,
    [`${name}:aud`]: audience,
    ...(original === undefined ? {} : { [`${name}:oaud`]: original }),
    ...(amr.length > 0 ? { [`${name}:amr`]: amr } : {}),
  }
}

async function answer(context: Context, input: Asked, role: RoleRow, claims: Claims, federation: Federation) {
  const texts = await sessionPolicies(context, role.account, input)
  const Credentials = issue(context, roleSeconds(input, role), {
    kind: 'role',
    account: role.account,
    roleId: role.id,
    sessionName: input.RoleSessionName,
    sourceIdentity: claims.sourceIdentity,
    sessionPolicies: texts,
    sessionTags: claims.tags,
    transitiveTags: claims.transitiveTagKeys,
    federation,
    mfa: false,
  })
  await touchRole(context.sql, role.id, context.region, context.now())
  return {
    Credentials,
    AssumedRoleUser: assumedRoleUser(role, input.RoleSessionName),
    SubjectFromWebIdentityToken: claims.subject,
    Audience: claims.audience,
    Provider: claims.issuer,
    PackedPolicySize: texts.length > 0 ? packedSize(texts) : undefined,
    SourceIdentity: claims.sourceIdentity,
  }
}
