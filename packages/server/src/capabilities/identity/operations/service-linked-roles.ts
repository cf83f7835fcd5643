/**
 * Service-linked roles. Systems Manager acts with the rights of whoever calls it or of the node that works, so its role carries
 * no policy here; it is there for whoever expects it, such as Terraform, and gone when it is deleted.
 */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Access } from '../../../platform/capability.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import { uuid } from '../../../platform/ids.ts'
import { changing, checkAccountQuota, entityArn, newEntity, noSuch } from '../entities.ts'
import { onEntity } from '../permissions.ts'
import { heldServiceRole, SERVICE_ROLES_PATH } from '../service-linked.ts'
import type { RoleRow } from '../store/entities.ts'
import * as store from '../store/entities.ts'
import { DEFAULT_SESSION_SECONDS, roleAnswer } from './roles.ts'

/** The names of the roles of services that have one. */
const ROLE_NAMES: Record<string, string> = { 'ssm.amazonaws.com': 'AWSServiceRoleForAmazonSSM' }

const pathOf = (service: string): string => `${SERVICE_ROLES_PATH}${service}/`
const roleNameOf = (service: string): string | undefined =>
  Object.hasOwn(ROLE_NAMES, service) ? ROLE_NAMES[service] : undefined

const trustOf = (Service: string): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { Service }, Action: 'sts:AssumeRole' }],
  })

const invalid = (message: string) => new AwsError('InvalidInputException', message)

/** Permission on the role of a service, by the service's name. */
const ofService = (access: Access, service: string): Access => ({
  ...access,
  keys: { ...access.keys, 'iam:AWSServiceName': service },
})

async function onServiceRole(context: Context, name: string): Promise<Access> {
  const access = await onEntity(context, 'role', name)
  const [service] = Object.entries(ROLE_NAMES).find(([, role]) => role.toLowerCase() === name.toLowerCase()) ?? []
  return service === undefined ? access : ofService(access, service)
}

const TASK = /^task\/aws-service-role\/([\w.-]+)\/([\w+=,.@-]+)\/[0-9a-f-]{36}$/

export const serviceLinkedRoles: ServiceOperations<'iam'> = {
  CreateServiceLinkedRole: {
    authorize: ({ AWSServiceName: service }, { account }) => {
      const role = { account, path: pathOf(service), name: roleNameOf(service) ?? '*' }
      return ofService({ resources: [entityArn('role', role)] }, service)
    },
    handle: (context, input) =>
      changing(context, async (change) => {
        const { AWSServiceName: service } = input
        const name = roleNameOf(service)
        if (name === undefined) throw invalid(`There is no service-linked role for ${service}.`)
        if (input.CustomSuffix !== undefined) throw invalid(`Custom suffix is not allowed for ${service}`)
        const row: RoleRow = {
          ...newEntity(change, 'role', name, pathOf(service)),
          ...{ trustPolicy: trustOf(service), trustedIds: {}, description: input.Description ?? '' },
          ...{ maxSessionSeconds: DEFAULT_SESSION_SECONDS, boundaryArn: null, tags: [] },
          ...{ lastUsedAt: null, lastUsedRegion: null },
        }
        await checkAccountQuota(change, 'role')
        if (!(await store.insertRole(change.sql, row)))
          throw invalid(`Service role name ${name} has been taken in this account, please try a different suffix.`)
        return { Role: roleAnswer(row) }
      }),
  },
  DeleteServiceLinkedRole: {
    authorize: (input, context) => onServiceRole(context, input.RoleName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const role = await heldServiceRole(change, input.RoleName)
        const taskId = `task${role.path}${role.name}/${uuid()}`
        await store.remove(change.sql, 'role', role.id)
        const deletion = { account: change.account, taskId, roleArn: entityArn('role', role), deletedAt: change.now() }
        await store.insertRoleDeletion(change.sql, deletion)
        return { DeletionTaskId: taskId }
      }),
  },
  GetServiceLinkedRoleDeletionStatus: {
    authorize: ({ DeletionTaskId: taskId }, { account }) => {
      const [, service = '*', name = '*'] = TASK.exec(taskId) ?? []
      return ofService({ resources: [entityArn('role', { account, path: pathOf(service), name })] }, service)
    },
    async handle({ sql, account }, { DeletionTaskId: taskId }) {
      if (!TASK.test(taskId)) throw invalid(`${taskId} is not the id of a deletion.`)
      if (!(await store.hasRoleDeletion(sql, account, taskId)))
        throw noSuch(`There is no deletion of a service-linked role with the id ${taskId}.`)
      return { Status: 'SUCCEEDED' }
    },
  },
}
