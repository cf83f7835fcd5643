/**
 * What policies users, groups and roles carry: attached managed ones, inline ones, and the permissions boundary. The
 * three are alike: each operation says its kind, and one function serves all.
 */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Access } from '../../../platform/capability.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import {
  attachable,
  changing,
  checkPolicy,
  checkQuota,
  encoded,
  found,
  held,
  noSuch,
  type OwnerKind,
  policySize,
  type Rows,
} from '../entities.ts'
import { type Asked, pageOf } from '../marker.ts'
import { onEntity } from '../permissions.ts'
import { checkModifiable } from '../service-linked.ts'
import { setBoundary } from '../store/entities.ts'
import * as store from '../store/policies.ts'

/** Managed policies attached to one ("IAM and AWS STS quotas", defaults). */
const MAX_ATTACHED = 10
/** Characters of all inline policies of one together, white space not counted. */
const MAX_INLINE_CHARACTERS: Record<OwnerKind, number> = { user: 2_048, group: 5_120, role: 10_240 }
const TITLES: Record<OwnerKind, string> = { user: 'User', group: 'Group', role: 'Role' }

export const owners: ServiceOperations<'iam'> = {
  AttachUserPolicy: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName, { 'iam:PolicyARN': input.PolicyArn }),
    handle: (context, input) => attach(context, 'user', input.UserName, input.PolicyArn),
  },
  DetachUserPolicy: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName, { 'iam:PolicyARN': input.PolicyArn }),
    handle: (context, input) => detach(context, 'user', input.UserName, input.PolicyArn),
  },
  ListAttachedUserPolicies: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) => listAttached(context, 'user', input.UserName, input),
  },
  PutUserPolicy: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) => putInline(context, 'user', input.UserName, input),
  },
  GetUserPolicy: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    async handle(context, input) {
      const inline = await getInline(context, 'user', input.UserName, input.PolicyName)
      return { UserName: inline.owner, PolicyName: inline.name, PolicyDocument: encoded(inline.document) }
    },
  },
  DeleteUserPolicy: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) => deleteInline(context, 'user', input.UserName, input.PolicyName),
  },
  ListUserPolicies: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) => listInline(context, 'user', input.UserName, input),
  },
  PutUserPermissionsBoundary: {
    authorize: (input, context) => bounding(context, 'user', input.UserName, input.PermissionsBoundary),
    handle: (context, input) => bound(context, 'user', input.UserName, input.PermissionsBoundary),
  },
  DeleteUserPermissionsBoundary: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) => bound(context, 'user', input.UserName, null),
  },
  AttachGroupPolicy: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName, { 'iam:PolicyARN': input.PolicyArn }),
    handle: (context, input) => attach(context, 'group', input.GroupName, input.PolicyArn),
  },
  DetachGroupPolicy: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName, { 'iam:PolicyARN': input.PolicyArn }),
    handle: (context, input) => detach(context, 'group', input.GroupName, input.PolicyArn),
  },
  ListAttachedGroupPolicies: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    handle: (context, input) => listAttached(context, 'group', input.GroupName, input),
  },
  PutGroupPolicy: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    handle: (context, input) => putInline(context, 'group', input.GroupName, input),
  },
  GetGroupPolicy: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    async handle(context, input) {
      const inline = await getInline(context, 'group', input.GroupName, input.PolicyName)
      return { GroupName: inline.owner, PolicyName: inline.name, PolicyDocument: encoded(inline.document) }
    },
  },
  DeleteGroupPolicy: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    handle: (context, input) => deleteInline(context, 'group', input.GroupName, input.PolicyName),
  },
  ListGroupPolicies: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    handle: (context, input) => listInline(context, 'group', input.GroupName, input),
  },
  AttachRolePolicy: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName, { 'iam:PolicyARN': input.PolicyArn }),
    handle: (context, input) => attach(context, 'role', input.RoleName, input.PolicyArn),
  },
  DetachRolePolicy: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName, { 'iam:PolicyARN': input.PolicyArn }),
    handle: (context, input) => detach(context, 'role', input.RoleName, input.PolicyArn),
  },
  ListAttachedRolePolicies: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) => listAttached(context, 'role', input.RoleName, input),
  },
  PutRolePolicy: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) => putInline(context, 'role', input.RoleName, input),
  },
  GetRolePolicy: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    async handle(context, input) {
      const inline = await getInline(context, 'role', input.RoleName, input.PolicyName)
      return { RoleName: inline.owner, PolicyName: inline.name, PolicyDocument: encoded(inline.document) }
    },
  },
  DeleteRolePolicy: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) => deleteInline(context, 'role', input.RoleName, input.PolicyName),
  },
  ListRolePolicies: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) => listInline(context, 'role', input.RoleName, input),
  },
  PutRolePermissionsBoundary: {
    authorize: (input, context) => bounding(context, 'role', input.RoleName, input.PermissionsBoundary),
    handle: (context, input) => bound(context, 'role', input.RoleName, input.PermissionsBoundary),
  },
  DeleteRolePermissionsBoundary: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) => bound(context, 'role', input.RoleName, null),
  },
}

/** NoSuchEntity, UnmodifiableEntity. */
async function heldOwner<K extends OwnerKind>(context: Context, kind: K, name: string): Promise<Rows[K]> {
  const owner = await held(context, kind, name)
  if (kind === 'role') checkModifiable(owner)
  return owner
}

const attach = (context: Context, kind: OwnerKind, name: string, arn: string) =>
  changing(context, async (change) => {
    const { id } = await heldOwner(change, kind, name)
    await attachable(change, arn)
    const before = await store.listAttached(change.sql, id)
    if (before.some((each) => each.arn === arn)) return {}
    checkQuota(`PoliciesPer${TITLES[kind]}`, before.length, MAX_ATTACHED)
    await store.attach(change.sql, change.account, id, arn, change.now())
    return {}
  })

const detach = (context: Context, kind: OwnerKind, name: string, arn: string) =>
  changing(context, async (change) => {
    const { id } = await heldOwner(change, kind, name)
    if (!(await store.detach(change.sql, id, arn))) throw noSuch(`Policy ${arn} was not found.`)
    return {}
  })

async function listAttached(context: Context, kind: OwnerKind, name: string, asked: Asked & { PathPrefix?: string }) {
  const { id } = await found(context, kind, name)
  const wanted = (await store.listAttached(context.sql, id)).filter(({ path }) =>
    path.startsWith(asked.PathPrefix ?? '/'),
  )
  const { items, rest } = await pageOf(
    context,
    `attached to ${id} ${asked.PathPrefix}`,
    asked,
    (each) => each.arn,
    wanted,
  )
  return { AttachedPolicies: items.map(attachedPolicy), ...rest }
}

export const attachedPolicy = ({ arn }: { arn: string }) => ({
  PolicyName: arn.slice(arn.lastIndexOf('/') + 1),
  PolicyArn: arn,
})

const putInline = (
  context: Context,
  kind: OwnerKind,
  name: string,
  policy: { PolicyName: string; PolicyDocument: string },
) =>
  changing(context, async (change) => {
    const owner = await heldOwner(change, kind, name)
    checkPolicy(policy.PolicyDocument, 'identity')
    const others = (await store.listInline(change.sql, owner.id)).filter((each) => each.name !== policy.PolicyName)
    const characters = [policy.PolicyDocument, ...others.map(({ document }) => document)].reduce(
      (sum, document) => sum + policySize(document),
      0,
    )
    const most = MAX_INLINE_CHARACTERS[kind]
    if (characters > most)
      throw new AwsError(
        'LimitExceededException',
        `Maximum policy size of ${most} bytes exceeded for ${kind} ${owner.name}`,
      )
    const row = { name: policy.PolicyName, document: policy.PolicyDocument }
    await store.putInline(change.sql, change.account, owner.id, row)
    return {}
  })

const noInline = (kind: OwnerKind, name: string) => noSuch(`The ${kind} policy with name ${name} cannot be found.`)

async function getInline(context: Context, kind: OwnerKind, name: string, policyName: string) {
  const owner = await found(context, kind, name)
  const row = (await store.listInline(context.sql, owner.id)).find((each) => each.name === policyName)
  if (!row) throw noInline(kind, policyName)
  return { ...row, owner: owner.name }
}

const deleteInline = (context: Context, kind: OwnerKind, name: string, policyName: string) =>
  changing(context, async (change) => {
    const { id } = await heldOwner(change, kind, name)
    if (!(await store.deleteInline(change.sql, id, policyName))) throw noInline(kind, policyName)
    return {}
  })

async function listInline(context: Context, kind: OwnerKind, name: string, asked: Asked) {
  const { id } = await found(context, kind, name)
  const all = await store.listInline(context.sql, id)
  const { items, rest } = await pageOf(context, `inline of ${id}`, asked, (each) => each.name, all)
  return { PolicyNames: items.map((each) => each.name), ...rest }
}

/** The key names the boundary that is asked for, not the one that is there. */
const bounding = (context: Context, kind: 'user' | 'role', name: string, arn: string): Promise<Access> =>
  onEntity(context, kind, name, { 'iam:PermissionsBoundary': arn })

const bound = (context: Context, kind: 'user' | 'role', name: string, arn: string | null) =>
  changing(context, async (change) => {
    const row = await heldOwner(change, kind, name)
    if (arn !== null) await attachable(change, arn)
    else if (row.boundaryArn === null) throw noSuch(`${TITLES[kind]} ${row.name} does not have a permissions boundary.`)
    await setBoundary(change.sql, kind, row.id, arn)
    return {}
  })
