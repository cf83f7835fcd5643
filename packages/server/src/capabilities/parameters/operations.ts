/** The ten operations of Parameter Store, with the permissions that each asks for. */
import type { Input, ServiceOperations } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { resourceTagKeys, tagKeys, tagsOf } from '../tags/index.ts'
import { deleteParameter, deleteParameters, labelParameterVersion, unlabelParameterVersion } from './changing.ts'
import { parameterArn, resourceOf } from './names.ts'
import { putParameter } from './put-parameter.ts'
import { describeParameters, getParameter, getParameterHistory, getParameters, getParametersByPath } from './reading.ts'

const one = (input: { Name: string }, context: Context): Access => several({ Names: [input.Name] }, context)

/** With the tags of the parameters as condition keys where a policy asks for them. */
const several = (input: { Names: string[] }, context: Context): Access => {
  const arns = input.Names.map((name) => resourceOf(context, name))
  return {
    resources: arns,
    async resourceKeys() {
      const start = parameterArn(context, '')
      // Another account's parameter keeps its tags to itself.
      const own = arns.filter((resource) => resource.startsWith(start))
      const tags = await tagsOf(
        context,
        'Parameter',
        own.map((resource) => resource.slice(start.length)),
      )
      return new Map(own.map((resource) => [resource, resourceTagKeys(tags.get(resource.slice(start.length)) ?? [])]))
    },
  }
}

/** Tags at creation need the permission to tag as well. */
function put(input: Input<'PutParameter'>, context: Context): Access[] {
  const { resources, resourceKeys } = one(input, context)
  const tags = input.Tags ?? []
  const keys: Record<string, string | string[]> = {
    'ssm:Overwrite': String(input.Overwrite ?? false),
    ...(input.Policies === undefined ? {} : { 'ssm:Policies': 'true' }),
    ...(tags.length > 0 ? tagKeys(tags) : {}),
  }
  const access: Access[] = [{ resources, keys, resourceKeys }]
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
