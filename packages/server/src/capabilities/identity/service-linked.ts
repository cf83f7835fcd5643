/** Roles that belong to a service: who has one may tag and describe it, and nothing else. */
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { held } from './entities.ts'
import type { RoleRow } from './store/entities.ts'

/** Where AWS keeps them: nobody else makes a role there. */
export const SERVICE_ROLES_PATH = '/aws-service-role/'

const isServiceLinked = ({ path }: Pick<RoleRow, 'path'>): boolean => path.startsWith(SERVICE_ROLES_PATH)

/** UnmodifiableEntity: the role belongs to a service. */
export function checkModifiable(role: Pick<RoleRow, 'path' | 'name'>): void {
  if (isServiceLinked(role))
    throw new AwsError(
      'UnmodifiableEntityException',
      `Cannot perform the operation on the protected role '${role.name}' - this role is only modifiable by AWS`,
    )
}

/** A role that the account may change, held until the transaction ends. NoSuchEntity, UnmodifiableEntity. */
export async function heldRole(context: Context, name: string): Promise<RoleRow> {
  const role = await held(context, 'role', name)
  checkModifiable(role)
  return role
}

/** The service-linked role of that name, held until the transaction ends. NoSuchEntity. */
export async function heldServiceRole(context: Context, name: string): Promise<RoleRow> {
  const role = await held(context, 'role', name)
  if (!isServiceLinked(role))
    throw new AwsError('NoSuchEntityException', `The service-linked role with name ${name} cannot be found.`)
  return role
}
