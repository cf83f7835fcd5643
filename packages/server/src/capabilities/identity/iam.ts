/** IAM's operations, gathered from the things they are about. */
import type { ServiceOperations } from '../../contract/types.ts'
import { accessKeys } from './operations/access-keys.ts'
import { account } from './operations/account.ts'
import { credentialReport } from './operations/credential-report.ts'
import { groups } from './operations/groups.ts'
import { instanceProfiles } from './operations/instance-profiles.ts'
import { loginProfiles } from './operations/login-profiles.ts'
import { mfa } from './operations/mfa.ts'
import { oidcProviders } from './operations/oidc-providers.ts'
import { otherCredentials } from './operations/other-credentials.ts'
import { owners } from './operations/owners.ts'
import { passwordPolicy } from './operations/password-policy.ts'
import { policies } from './operations/policies.ts'
import { roles } from './operations/roles.ts'
import { serviceLinkedRoles } from './operations/service-linked-roles.ts'
import { simulation } from './operations/simulate.ts'
import { users } from './operations/users.ts'

export const iam: ServiceOperations<'iam'> = {
  ...users,
  ...loginProfiles,
  ...passwordPolicy,
  ...credentialReport,
  ...groups,
  ...roles,
  ...serviceLinkedRoles,
  ...policies,
  ...owners,
  ...accessKeys,
  ...instanceProfiles,
  ...mfa,
  ...oidcProviders,
  ...otherCredentials,
  ...account,
  ...simulation,
}
