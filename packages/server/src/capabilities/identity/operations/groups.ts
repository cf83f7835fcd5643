/** Groups and who is in them. */
import type { ServiceOperations } from '../../../contract/types.ts'
import {
  changing,
  checkAccountQuota,
  checkQuota,
  conflict,
  entityArn,
  exists,
  found,
  held,
  newEntity,
} from '../entities.ts'
import { pageFrom, pageOf } from '../marker.ts'
import { onEntity, onNew } from '../permissions.ts'
import type { GroupRow } from '../store/entities.ts'
import * as store from '../store/entities.ts'
import { listAttached, listInline } from '../store/policies.ts'
import { userSummary } from './users.ts'

const MAX_GROUPS_OF_USER = 10

export const groupAnswer = (row: GroupRow) => ({
  Path: row.path,
  GroupName: row.name,
  GroupId: row.id,
  Arn: entityArn('group', row),
  CreateDate: row.createdAt,
})

const lowerName = (row: { name: string }) => row.name.toLowerCase()

export const groups: ServiceOperations<'iam'> = {
  CreateGroup: {
    authorize: (input, context) => onNew(context, 'group', { name: input.GroupName, path: input.Path }),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = newEntity(change, 'group', input.GroupName, input.Path)
        await checkAccountQuota(change, 'group')
        if (!(await store.insertGroup(change.sql, row)))
          throw exists(`Group with name ${input.GroupName} already exists.`)
        return { Group: groupAnswer(row) }
      }),
  },
  GetGroup: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    async handle(context, input) {
      const row = await found(context, 'group', input.GroupName)
      const members = await store.listMembers(context.sql, row.id)
      const { items, rest } = await pageOf(context, `GetGroup ${row.id}`, input, lowerName, members)
      return { Group: groupAnswer(row), Users: items.map(userSummary), ...rest }
    },
  },
  UpdateGroup: {
    authorize: async (input, context) => {
      const own = await onEntity(context, 'group', input.GroupName)
      const row = await store.find(context.sql, 'group', context.account, input.GroupName)
      const becomes = { name: input.NewGroupName ?? row?.name ?? input.GroupName, path: input.NewPath ?? row?.path }
      return { ...own, resources: [...own.resources, ...onNew(context, 'group', becomes).resources] }
    },
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await held(change, 'group', input.GroupName)
        const [name, path] = [input.NewGroupName ?? row.name, input.NewPath ?? row.path]
        if (!(await store.rename(change.sql, 'group', row.id, name, path)))
          throw exists(`Group with name ${name} already exists.`)
        return {}
      }),
  },
  DeleteGroup: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const { id } = await held(change, 'group', input.GroupName)
        if ((await store.listMembers(change.sql, id)).length > 0)
          throw conflict('Cannot delete entity, must remove users from group first.')
        if ((await listAttached(change.sql, id)).length > 0)
          throw conflict('Cannot delete entity, must detach all policies first.')
        if ((await listInline(change.sql, id)).length > 0)
          throw conflict('Cannot delete entity, must delete policies first.')
        await store.remove(change.sql, 'group', id)
        return {}
      }),
  },
  ListGroups: {
    authorize: (input, context) => ({
      resources: [`arn:aws:iam::${context.account}:group${input.PathPrefix ?? '/'}`],
    }),
    async handle(context, input) {
      const { items, rest } = await pageFrom(
        context,
        `ListGroups ${input.PathPrefix ?? ''}`,
        input,
        lowerName,
        (from) => store.list(context.sql, 'group', context.account, { ...from, pathPrefix: input.PathPrefix }),
      )
      return { Groups: items.map(groupAnswer), ...rest }
    },
  },
  ListGroupsForUser: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    async handle(context, input) {
      const { id } = await found(context, 'user', input.UserName)
      const all = await store.listGroupsOf(context.sql, id)
      const { items, rest } = await pageOf(context, `ListGroupsForUser ${id}`, input, lowerName, all)
      return { Groups: items.map(groupAnswer), ...rest }
    },
  },
  AddUserToGroup: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const group = await held(change, 'group', input.GroupName)
        const user = await held(change, 'user', input.UserName)
        const before = await store.listGroupsOf(change.sql, user.id)
        if (before.some(({ id }) => id === group.id)) return {}
        checkQuota('GroupsPerUser', before.length, MAX_GROUPS_OF_USER)
        await store.addMember(change.sql, group.id, user.id)
        return {}
      }),
  },
  RemoveUserFromGroup: {
    authorize: (input, context) => onEntity(context, 'group', input.GroupName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const group = await held(change, 'group', input.GroupName)
        const user = await held(change, 'user', input.UserName)
        await store.removeMember(change.sql, group.id, user.id)
        return {}
      }),
  },
}
