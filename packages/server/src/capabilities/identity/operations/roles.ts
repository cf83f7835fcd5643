/** Roles: who may take them on (the trust policy), for how long, and their tags. */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import {
  attachable,
  boundaryOf,
  changing,
  checkAccountQuota,
  checkPolicy,
  checkQuota,
  conflict,
  encoded,
  entityArn,
  exists,
  found,
  held,
  mergedTags,
  newEntity,
  policySize,
  withoutTags,
} from '../entities.ts'
import { pageFrom, pageOf } from '../marker.ts'
import { andTag, onEntity, onNew, requestTags } from '../permissions.ts'
import { checkModifiable, heldRole, SERVICE_ROLES_PATH } from '../service-linked.ts'
import type { RoleRow } from '../store/entities.ts'
import * as store from '../store/entities.ts'
import { listAttached, listInline } from '../store/policies.ts'
import { trustedIds } from '../trust.ts'

/** Characters of a trust policy without white space (IAM's default quota). */
const MAX_TRUST_CHARACTERS = 2_048
export const DEFAULT_SESSION_SECONDS = 3_600

export const roleSummary = (row: RoleRow) => ({
  Path: row.path,
  RoleName: row.name,
  RoleId: row.id,
  Arn: entityArn('role', row),
  CreateDate: row.createdAt,
  AssumeRolePolicyDocument: encoded(row.trustPolicy),
  Description: row.description === '' ? undefined : row.description,
  MaxSessionDuration: row.maxSessionSeconds,
})

export const roleAnswer = (row: RoleRow) => ({
  ...roleSummary(row),
  PermissionsBoundary: boundaryOf(row.boundaryArn),
  Tags: row.tags.length > 0 ? row.tags : undefined,
  RoleLastUsed: lastUsed(row),
})

export const lastUsed = (row: RoleRow) =>
  row.lastUsedAt === null ? {} : { LastUsedDate: row.lastUsedAt, Region: row.lastUsedRegion ?? undefined }

/** The ids of the users and roles that are trusted. MalformedPolicyDocument, LimitExceeded. */
async function checkTrust(context: Context, document: string): Promise<Record<string, string>> {
  checkPolicy(document, 'trust')
  checkQuota('ACLSizePerRole', policySize(document) - 1, MAX_TRUST_CHARACTERS)
  return trustedIds(context, document)
}

export const roles: ServiceOperations<'iam'> = {
  CreateRole: {
    authorize: (input, context) =>
      andTag(
        onNew(context, 'role', {
          name: input.RoleName,
          path: input.Path,
          tags: input.Tags,
          boundary: input.PermissionsBoundary,
        }),
        'iam:TagRole',
        input.Tags,
      ),
    handle: (context, input) =>
      changing(context, async (change) => {
        if (input.Path?.startsWith(SERVICE_ROLES_PATH))
          throw new AwsError(
            'InvalidInputException',
            `${SERVICE_ROLES_PATH} is the path of service-linked roles alone.`,
          )
        const ids = await checkTrust(change, input.AssumeRolePolicyDocument)
        const boundaryArn = input.PermissionsBoundary ?? null
        if (boundaryArn !== null && !(await isAttachable(change, boundaryArn)))
          throw new AwsError('InvalidInputException', `Policy ${boundaryArn} does not exist or is not attachable.`)
        const row: RoleRow = {
          ...newEntity(change, 'role', input.RoleName, input.Path),
          trustPolicy: input.AssumeRolePolicyDocument,
          trustedIds: ids,
          description: input.Description ?? '',
          maxSessionSeconds: input.MaxSessionDuration ?? DEFAULT_SESSION_SECONDS,
          boundaryArn,
          tags: mergedTags([], input.Tags ?? []),
          lastUsedAt: null,
          lastUsedRegion: null,
        }
        await checkAccountQuota(change, 'role')
        if (!(await store.insertRole(change.sql, row))) throw exists(`Role with name ${input.RoleName} already exists.`)
        return { Role: roleAnswer(row) }
      }),
  },
  GetRole: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: async (context, input) => ({ Role: roleAnswer(await found(context, 'role', input.RoleName)) }),
  },
  UpdateRole: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const role = await held(change, 'role', input.RoleName)
        if (input.MaxSessionDuration !== undefined) checkModifiable(role)
        const { Description: description, MaxSessionDuration: maxSessionSeconds } = input
        await store.updateRole(change.sql, role.id, { description, maxSessionSeconds })
        return {}
      }),
  },
  UpdateRoleDescription: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'role', input.RoleName)
        await store.updateRole(change.sql, row.id, { description: input.Description })
        return { Role: roleAnswer({ ...row, description: input.Description }) }
      }),
  },
  UpdateAssumeRolePolicy: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const { id } = await heldRole(change, input.RoleName)
        const ids = await checkTrust(change, input.PolicyDocument)
        await store.updateRole(change.sql, id, { trust: { policy: input.PolicyDocument, ids } })
        return {}
      }),
  },
  DeleteRole: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const { id } = await heldRole(change, input.RoleName)
        if ((await store.listProfilesOf(change.sql, id)).length > 0)
          throw conflict('Cannot delete entity, must remove roles from instance profile first.')
        if ((await listAttached(change.sql, id)).length > 0)
          throw conflict('Cannot delete entity, must detach all policies first.')
        if ((await listInline(change.sql, id)).length > 0)
          throw conflict('Cannot delete entity, must delete policies first.')
        await store.remove(change.sql, 'role', id)
        return {}
      }),
  },
  ListRoles: {
    authorize: (input, context) => ({
      resources: [`arn:aws:iam::${context.account}:role${input.PathPrefix ?? '/'}`],
    }),
    async handle(context, input) {
      const { items, rest } = await pageFrom(
        context,
        `ListRoles ${input.PathPrefix ?? ''}`,
        input,
        (row: RoleRow) => row.name.toLowerCase(),
        (from) => store.list(context.sql, 'role', context.account, { ...from, pathPrefix: input.PathPrefix }),
      )
      return { Roles: items.map(roleSummary), ...rest }
    },
  },
  TagRole: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName, requestTags(input.Tags)),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'role', input.RoleName)
        await store.setTags(change.sql, 'role', row.id, mergedTags(row.tags, input.Tags))
        return {}
      }),
  },
  UntagRole: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName, { 'aws:TagKeys': input.TagKeys }),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'role', input.RoleName)
        await store.setTags(change.sql, 'role', row.id, withoutTags(row.tags, input.TagKeys))
        return {}
      }),
  },
  ListRoleTags: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    async handle(context, input) {
      const row = await found(context, 'role', input.RoleName)
      const { items, rest } = await pageOf(context, `ListRoleTags ${row.id}`, input, (tag) => tag.Key, row.tags)
      return { Tags: items, ...rest }
    },
  },
}

/** CreateRole's model has no NoSuchEntity. */
async function isAttachable(context: Context, arn: string): Promise<boolean> {
  return attachable(context, arn).then(
    () => true,
    (error: unknown) => {
      if (error instanceof AwsError) return false
      throw error
    },
  )
}
