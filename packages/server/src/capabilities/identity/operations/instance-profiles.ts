/** Instance profiles: the container that hands one role to a machine. */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Access } from '../../../platform/capability.ts'
import type { Context } from '../../../platform/context.ts'
import {
  changing,
  checkAccountQuota,
  checkQuota,
  conflict,
  entityArn,
  exists,
  found,
  held,
  mergedTags,
  newEntity,
  noSuch,
  withoutTags,
} from '../entities.ts'
import { pageFrom, pageOf } from '../marker.ts'
import { andTag, onEntity, onNew, passingRole, requestTags } from '../permissions.ts'
import { heldRole } from '../service-linked.ts'
import type { ProfileRow } from '../store/entities.ts'
import * as store from '../store/entities.ts'
import { roleSummary } from './roles.ts'

const MAX_ROLES = 1

async function profileAnswers(context: Context, rows: ProfileRow[]) {
  const ids = rows.flatMap(({ roleId }) => (roleId === null ? [] : [roleId]))
  const roles = new Map((await store.listByIds(context.sql, 'role', ids)).map((role) => [role.id, role]))
  return rows.map((row) => {
    const role = row.roleId === null ? undefined : roles.get(row.roleId)
    return {
      Path: row.path,
      InstanceProfileName: row.name,
      InstanceProfileId: row.id,
      Arn: entityArn('profile', row),
      CreateDate: row.createdAt,
      Roles: role ? [roleSummary(role)] : [],
      Tags: row.tags.length > 0 ? row.tags : undefined,
    }
  })
}

export const profileAnswer = async (context: Context, row: ProfileRow) => (await profileAnswers(context, [row]))[0]!

const lowerName = (row: { name: string }) => row.name.toLowerCase()

export const instanceProfiles: ServiceOperations<'iam'> = {
  CreateInstanceProfile: {
    authorize: (input, context) =>
      andTag(
        onNew(context, 'profile', { name: input.InstanceProfileName, path: input.Path, tags: input.Tags }),
        'iam:TagInstanceProfile',
        input.Tags,
      ),
    handle: (context, input) =>
      changing(context, async (change) => {
        const tags = mergedTags([], input.Tags ?? [])
        const entity = newEntity(change, 'profile', input.InstanceProfileName, input.Path)
        const row: ProfileRow = { ...entity, roleId: null, tags }
        await checkAccountQuota(change, 'profile')
        if (!(await store.insertProfile(change.sql, row)))
          throw exists(`Instance Profile ${input.InstanceProfileName} already exists.`)
        return { InstanceProfile: await profileAnswer(change, row) }
      }),
  },
  GetInstanceProfile: {
    authorize: (input, context) => onEntity(context, 'profile', input.InstanceProfileName),
    async handle(context, input) {
      const row = await found(context, 'profile', input.InstanceProfileName)
      return { InstanceProfile: await profileAnswer(context, row) }
    },
  },
  DeleteInstanceProfile: {
    authorize: (input, context) => onEntity(context, 'profile', input.InstanceProfileName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'profile', input.InstanceProfileName)
        if (row.roleId !== null) throw conflict('Cannot delete entity, must remove roles from instance profile first.')
        await store.remove(change.sql, 'profile', row.id)
        return {}
      }),
  },
  ListInstanceProfiles: {
    authorize: (input, context) => ({
      resources: [`arn:aws:iam::${context.account}:instance-profile${input.PathPrefix ?? '/'}`],
    }),
    async handle(context, input) {
      const { items, rest } = await pageFrom(
        context,
        `ListInstanceProfiles ${input.PathPrefix ?? ''}`,
        input,
        lowerName,
        (from) => store.list(context.sql, 'profile', context.account, { ...from, pathPrefix: input.PathPrefix }),
      )
      return { InstanceProfiles: await profileAnswers(context, items), ...rest }
    },
  },
  ListInstanceProfilesForRole: {
    authorize: (input, context) => onEntity(context, 'role', input.RoleName),
    async handle(context, input) {
      const { id } = await found(context, 'role', input.RoleName)
      const all = await store.listProfilesOf(context.sql, id)
      const { items, rest } = await pageOf(context, `ListInstanceProfilesForRole ${id}`, input, lowerName, all)
      return { InstanceProfiles: await profileAnswers(context, items), ...rest }
    },
  },
  AddRoleToInstanceProfile: {
    authorize: async (input, context): Promise<Access[]> => [
      await onEntity(context, 'profile', input.InstanceProfileName),
      await passingRole(context, input.RoleName, 'ec2.amazonaws.com'),
    ],
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'profile', input.InstanceProfileName)
        const role = await heldRole(change, input.RoleName)
        checkQuota('InstanceSessionsPerInstanceProfile', row.roleId === null ? 0 : 1, MAX_ROLES)
        await store.setProfileRole(change.sql, row.id, role.id)
        return {}
      }),
  },
  RemoveRoleFromInstanceProfile: {
    authorize: (input, context) => onEntity(context, 'profile', input.InstanceProfileName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'profile', input.InstanceProfileName)
        const role = await held(change, 'role', input.RoleName)
        if (row.roleId !== role.id) throw noSuch(`Role ${role.name} in instance profile ${row.name} cannot be found.`)
        await store.setProfileRole(change.sql, row.id, null)
        return {}
      }),
  },
  TagInstanceProfile: {
    authorize: (input, context) => onEntity(context, 'profile', input.InstanceProfileName, requestTags(input.Tags)),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'profile', input.InstanceProfileName)
        await store.setTags(change.sql, 'profile', row.id, mergedTags(row.tags, input.Tags))
        return {}
      }),
  },
  UntagInstanceProfile: {
    authorize: (input, context) =>
      onEntity(context, 'profile', input.InstanceProfileName, { 'aws:TagKeys': input.TagKeys }),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'profile', input.InstanceProfileName)
        await store.setTags(change.sql, 'profile', row.id, withoutTags(row.tags, input.TagKeys))
        return {}
      }),
  },
  ListInstanceProfileTags: {
    authorize: (input, context) => onEntity(context, 'profile', input.InstanceProfileName),
    async handle(context, input) {
      const row = await found(context, 'profile', input.InstanceProfileName)
      const { items, rest } = await pageOf(
        context,
        `ListInstanceProfileTags ${row.id}`,
        input,
        ({ Key }) => Key,
        row.tags,
      )
      return { Tags: items, ...rest }
    },
  },
}
