/** The account as a whole: its alias, how much it holds, and everything it grants in one listing. */
import type { Input, ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import {
  boundaryOf,
  changing,
  encoded,
  entityArn,
  exists,
  type Kind,
  noSuch,
  type OwnerKind,
  type Policy,
  type Rows,
} from '../entities.ts'
import { pageOf } from '../marker.ts'
import { anywhere } from '../permissions.ts'
import * as entities from '../store/entities.ts'
import { listAttached, listInline, readUsage } from '../store/policies.ts'
import { deleteAlias, listDevices, listKeys, putAlias, readAlias } from '../store/sign-in.ts'
import { profileAnswer } from './instance-profiles.ts'
import { attachedPolicy } from './owners.ts'
import { allPolicies, policySummary, versionsOf } from './policies.ts'
import { lastUsed } from './roles.ts'

export const account: ServiceOperations<'iam'> = {
  CreateAccountAlias: {
    authorize: anywhere,
    handle: (context, input) =>
      changing(context, async (change) => {
        if (!(await putAlias(change.sql, change.account, input.AccountAlias)))
          throw exists(`The account alias ${input.AccountAlias} already exists.`)
        return {}
      }),
  },
  DeleteAccountAlias: {
    authorize: anywhere,
    handle: (context, input) =>
      changing(context, async (change) => {
        if (!(await deleteAlias(change.sql, change.account, input.AccountAlias)))
          throw noSuch(`The account alias ${input.AccountAlias} does not exist.`)
        return {}
      }),
  },
  ListAccountAliases: {
    authorize: anywhere,
    async handle(context) {
      const alias = await readAlias(context.sql, context.account)
      return { AccountAliases: alias === undefined ? [] : [alias], IsTruncated: false }
    },
  },
  GetAccountSummary: { authorize: anywhere, handle: async (context) => ({ SummaryMap: await summary(context) }) },
  GetAccountAuthorizationDetails: { authorize: anywhere, handle: details },
}

async function summary(context: Context): Promise<Record<string, number>> {
  const { sql, account: owner } = context
  const many = (kind: Kind) => entities.count(sql, kind, owner)
  const devices = await listDevices(sql, owner)
  return {
    Users: await many('user'),
    UsersQuota: 5_000,
    Groups: await many('group'),
    GroupsQuota: 300,
    Roles: await many('role'),
    RolesQuota: 1_000,
    Policies: await many('policy'),
    PoliciesQuota: 1_500,
    InstanceProfiles: await many('profile'),
    InstanceProfilesQuota: 1_000,
    MFADevices: devices.length,
    MFADevicesInUse: devices.filter(({ userId }) => userId !== null).length,
    AccountMFAEnabled: 0,
    AccountAccessKeysPresent: (await listKeys(sql, owner, null)).length > 0 ? 1 : 0,
    AccessKeysPerUserQuota: 2,
    GroupsPerUserQuota: 10,
    AttachedPoliciesPerUserQuota: 10,
    AttachedPoliciesPerGroupQuota: 10,
    AttachedPoliciesPerRoleQuota: 10,
    UserPolicySizeQuota: 2_048,
    GroupPolicySizeQuota: 5_120,
    RolePolicySizeQuota: 10_240,
    AssumeRolePolicySizeQuota: 2_048,
    PolicySizeQuota: 6_144,
    VersionsPerPolicyQuota: 5,
  }
}

type Item =
  | { kind: 'user'; row: Rows['user'] }
  | { kind: 'group'; row: Rows['group'] }
  | { kind: 'role'; row: Rows['role'] }
  | { kind: 'policy'; policy: Policy }

const placeOf = (item: Item): string =>
  item.kind === 'policy' ? `policy ${item.policy.own?.arn ?? item.policy.managed?.arn}` : `${item.kind} ${item.row.id}`

async function details(context: Context, input: Input<'GetAccountAuthorizationDetails', 'iam'>) {
  const filter = new Set<string>(
    input.Filter?.length ? input.Filter : ['User', 'Group', 'Role', 'LocalManagedPolicy', 'AWSManagedPolicy'],
  )
  const all = await everything(context, filter)
  const listing = `GetAccountAuthorizationDetails ${[...filter].sort().join(' ')}`
  const { items, rest } = await pageOf(context, listing, input, placeOf, all)
  const answer = {
    UserDetailList: [] as Awaited<ReturnType<typeof userDetail>>[],
    GroupDetailList: [] as Awaited<ReturnType<typeof groupDetail>>[],
    RoleDetailList: [] as Awaited<ReturnType<typeof roleDetail>>[],
    Policies: [] as Awaited<ReturnType<typeof policyDetail>>[],
  }
  const usage = await readUsage(context.sql, context.account)
  for (const item of items) {
    if (item.kind === 'user') answer.UserDetailList.push(await userDetail(context, item.row))
    else if (item.kind === 'group') answer.GroupDetailList.push(await groupDetail(context, item.row))
    else if (item.kind === 'role') answer.RoleDetailList.push(await roleDetail(context, item.row))
    else answer.Policies.push(await policyDetail(context, item.policy, usage))
  }
  return { ...answer, ...rest }
}

async function everything(context: Context, filter: ReadonlySet<string>): Promise<Item[]> {
  const { sql, account: owner } = context
  const items: Item[] = []
  if (filter.has('User')) for (const row of await entities.list(sql, 'user', owner)) items.push({ kind: 'user', row })
  if (filter.has('Group'))
    for (const row of await entities.list(sql, 'group', owner)) items.push({ kind: 'group', row })
  if (filter.has('Role')) for (const row of await entities.list(sql, 'role', owner)) items.push({ kind: 'role', row })
  const scopes = [filter.has('LocalManagedPolicy') && 'Local', filter.has('AWSManagedPolicy') && 'AWS']
  for (const scope of scopes)
    if (scope) for (const policy of await allPolicies(context, scope)) items.push({ kind: 'policy', policy })
  return items
}

const detailOf = (kind: OwnerKind, row: entities.Entity) => ({
  Path: row.path,
  Arn: entityArn(kind, row),
  CreateDate: row.createdAt,
})

const grantsOf = async ({ sql }: Context, id: string) => ({
  inline: (await listInline(sql, id)).map(({ name, document }) => ({
    PolicyName: name,
    PolicyDocument: encoded(document),
  })),
  attached: (await listAttached(sql, id)).map(attachedPolicy),
})

async function userDetail(context: Context, row: Rows['user']) {
  const { inline, attached } = await grantsOf(context, row.id)
  return {
    ...detailOf('user', row),
    UserName: row.name,
    UserId: row.id,
    UserPolicyList: inline,
    GroupList: (await entities.listGroupsOf(context.sql, row.id)).map(({ name }) => name),
    AttachedManagedPolicies: attached,
    PermissionsBoundary: boundaryOf(row.boundaryArn),
    Tags: row.tags,
  }
}

async function groupDetail(context: Context, row: Rows['group']) {
  const { inline, attached } = await grantsOf(context, row.id)
  return {
    ...detailOf('group', row),
    GroupName: row.name,
    GroupId: row.id,
    GroupPolicyList: inline,
    AttachedManagedPolicies: attached,
  }
}

async function roleDetail(context: Context, row: Rows['role']) {
  const { inline, attached } = await grantsOf(context, row.id)
  const profiles = await entities.listProfilesOf(context.sql, row.id)
  return {
    ...detailOf('role', row),
    RoleName: row.name,
    RoleId: row.id,
    AssumeRolePolicyDocument: encoded(row.trustPolicy),
    InstanceProfileList: await Promise.all(profiles.map((profile) => profileAnswer(context, profile))),
    RolePolicyList: inline,
    AttachedManagedPolicies: attached,
    PermissionsBoundary: boundaryOf(row.boundaryArn),
    Tags: row.tags,
    RoleLastUsed: lastUsed(row),
  }
}

const policyDetail = async (context: Context, policy: Policy, usage: Awaited<ReturnType<typeof readUsage>>) => ({
  ...policySummary(policy, usage),
  Description: (policy.own ?? policy.managed).description || undefined,
  PolicyVersionList: await versionsOf(context, policy),
})
