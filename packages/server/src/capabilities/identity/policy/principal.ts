/**
 * Who asks, and how a resource policy's Principal names them. The same grant weighs differently by how it names its
 * receiver (IAM, "policy evaluation logic"): the weights below are what `evaluate` decides with.
 */
import type { PrincipalElement } from './document.ts'

export type Principal =
  | { readonly type: 'root'; readonly account: string; readonly arn: string }
  /** `id`: a policy may name a user or a role by it instead of by ARN (trust.ts). */
  | { readonly type: 'user'; readonly account: string; readonly arn: string; readonly id?: string }
  /** `arn` is the session's (`arn:aws:sts::…:assumed-role/role/session`). A node's credentials are of this type. */
  | RolePrincipal
  /** `id`: of the user. */
  | {
      readonly type: 'federatedUser'
      readonly account: string
      readonly arn: string
      readonly userArn: string
      readonly id?: string
    }
  /** Named by `Service`; `service` is the principal's name, such as `ssm.amazonaws.com`. */
  | { readonly type: 'service'; readonly service: string }
  /** Someone whom an identity provider vouches for and who has no AWS identity yet: AssumeRoleWithWebIdentity. */
  | { readonly type: 'webIdentity'; readonly provider: string }
  | { readonly type: 'anonymous' }

interface RolePrincipal {
  readonly type: 'role'
  readonly account: string
  readonly arn: string
  readonly roleArn: string
  readonly id?: string
}

/** How strongly a Principal element names someone. */
export const Naming = {
  /** Not at all. */
  none: 0,
  /** By their account: it leaves the decision to the account's own policies. */
  account: 1,
  /** As everybody, by role or by the federating user: a boundary and session policies still limit it. */
  broad: 2,
  /** By their own ARN: no implicit deny elsewhere limits it. */
  direct: 3,
} as const
export type Naming = (typeof Naming)[keyof typeof Naming]

export type PrincipalTest = (principal: Principal, hasBoundary: boolean) => Naming

/** Principals that have no identity-based policies: what a resource policy says of them is all there is. */
export const hasNoIdentity = (
  principal: Principal,
): principal is Extract<Principal, { type: 'service' | 'webIdentity' | 'anonymous' }> =>
  principal.type === 'service' || principal.type === 'webIdentity' || principal.type === 'anonymous'

/** The text after `User: ` in a denial. */
export function principalName(principal: Principal): string {
  if (principal.type === 'service') return principal.service
  if (principal.type === 'webIdentity') return principal.provider
  return principal.type === 'anonymous' ? 'anonymous' : principal.arn
}

export function compilePrincipal(element: PrincipalElement): PrincipalTest {
  const named = element === '*' ? { AWS: ['*'] } : element
  const everybody = (named.AWS ?? []).includes('*')
  const arns = new Set(named.AWS)
  const accounts = new Set((named.AWS ?? []).map(accountOf))
  const services = new Set(named.Service)
  const providers = new Set(named.Federated)
  return (principal) => {
    if (principal.type === 'service') return services.has(principal.service) || everybody ? Naming.direct : Naming.none
    if (principal.type === 'webIdentity')
      return providers.has(principal.provider) || everybody ? Naming.direct : Naming.none
    if (principal.type === 'anonymous') return everybody ? Naming.direct : Naming.none
    const isNamed = arns.has(principal.arn)
    const byId = 'id' in principal && principal.id !== undefined && arns.has(principal.id)
    if (isNamed || (byId && principal.type === 'user')) return Naming.direct
    if (principal.type === 'root' && accounts.has(principal.account)) return Naming.direct
    if (everybody || byId || (principal.type === 'role' && arns.has(principal.roleArn))) return Naming.broad
    if (principal.type === 'federatedUser' && arns.has(principal.userArn)) return Naming.broad
    return accounts.has(principal.account) ? Naming.account : Naming.none
  }
}

/**
 * NotPrincipal, which stands with Deny only: spares those whose own ARN is listed (a role's session by the session's ARN),
 * and nobody who has a permissions boundary.
 */
export function compileNotPrincipal(element: PrincipalElement): PrincipalTest {
  const isNamed = compilePrincipal(element)
  const sparesEverybody = element === '*' || (element.AWS ?? []).includes('*')
  return (principal, hasBoundary) => {
    if (hasBoundary) return Naming.direct
    return sparesEverybody || isNamed(principal, false) === Naming.direct ? Naming.none : Naming.direct
  }
}

/** The account that `123456789012` or `arn:aws:iam::123456789012:root` stands for. */
function accountOf(entry: string): string | undefined {
  return /^(?:arn:aws[a-z-]*:iam::)?(\d{12})(?::root)?$/.exec(entry)?.[1]
}
