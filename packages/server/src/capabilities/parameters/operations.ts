/** The ten operations of Parameter Store, with the permissions that each asks for. */
import type { Input, ServiceOperations } from '../../contract/types.ts'
import type { Scope } from '../../platform/arn.ts'
import type { Access } from '../../platform/capability.ts'
import { tagKeys } from '../tags/index.ts'
import { deleteParameter, deleteParameters, labelParameterVersion, unlabelParameterVersion } from './changing.ts'
import { resourceOf } from './names.ts'
import { putParameter } from './put-parameter.ts'
import { describeParameters, getParameter, getParameterHistory, getParameters, getParametersByPath } from './reading.ts'

const one = (input: { Name: string }, scope: Scope): Access => ({ resources: [resourceOf(scope, input.Name)] })

const several = (input: { Names: string[] }, scope: Scope): Access => ({
  resources: input.Names.map((name) => resourceOf(scope, name)),
})

/** Tags at creation need the permission to tag as well. */
function put(input: Input<'PutParameter'>, scope: Scope): Access[] {
  const { resources } = one(input, scope)
  const tags = input.Tags ?? []
  const keys: Record<string, string | string[]> = {
    'ssm:Overwrite': String(input.Overwrite ?? false),
    ...(input.Policies === undefined ? {} : { 'ssm:Policies': 'true' }),
    ...(tags.length > 0 ? tagKeys(tags) : {}),
  }
  const access: Access[] = [{ resources, keys }]
  if (tags.length > 0) access.push({ action: 'ssm:AddTagsToResource', resources, keys: tagKeys(tags) })
  return access
}

export const operations: ServiceOperations<'ssm'> = {
  PutParameter: { authorize: put, handle: putParameter },
  GetParameter: { authorize: one, handle: getParameter },
  GetParameters: { authorize: several, handle: getParameters },
  GetParametersByPath: {
    authorize: (input, scope) => ({
      resources: [resourceOf(scope, input.Path)],
      keys: { 'ssm:Recursive': String(input.Recursive ?? false) },
    }),
    handle: getParametersByPath,
  },
  GetParameterHistory: { authorize: one, handle: getParameterHistory },
  DescribeParameters: { authorize: () => ({ resources: ['*'] }), handle: describeParameters },
  DeleteParameter: { authorize: one, handle: deleteParameter },
  DeleteParameters: { authorize: several, handle: deleteParameters },
  LabelParameterVersion: { authorize: one, handle: labelParameterVersion },
  UnlabelParameterVersion: { authorize: one, handle: unlabelParameterVersion },
}
