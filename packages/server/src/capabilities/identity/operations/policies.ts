/** Managed policies with their versions: the account's own ones, and AWS's to read and attach. */
import type { Input, ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import {
  changing,
  checkAccountQuota,
  checkPolicy,
  conflict,
  encoded,
  entityArn,
  exists,
  findPolicy,
  foundPolicy,
  heldPolicy,
  managedPolicyId,
  mergedTags,
  newEntity,
  noSuch,
  type Policy,
  withoutTags,
} from '../entities.ts'
import { pageOf } from '../marker.ts'
import { andTag, anywhere, onNew, onPolicy, requestTags } from '../permissions.ts'
import { MANAGED_POLICIES } from '../policy/index.ts'
import type { PolicyRow } from '../store/entities.ts'
import * as entities from '../store/entities.ts'
import * as store from '../store/policies.ts'

/** Characters without white space, and versions of one policy ("IAM and AWS STS quotas"). */
const MAX_CHARACTERS = 6_144
const MAX_VERSIONS = 5

const UNUSED = { attachments: 0, boundaries: 0 }

/** As lists show it; Get answers add the description and the tags. */
export function policySummary({ own, managed }: Policy, usage: Map<string, store.Usage>) {
  const arn = own ? own.arn : managed.arn
  const { attachments, boundaries } = usage.get(arn) ?? UNUSED
  const shared = { Arn: arn, AttachmentCount: attachments, PermissionsBoundaryUsageCount: boundaries }
  if (managed)
    return {
      ...shared,
      PolicyName: managed.name,
      PolicyId: managedPolicyId(managed),
      Path: managed.path,
      DefaultVersionId: managed.versionId,
      IsAttachable: true,
      CreateDate: new Date(managed.createDate),
      UpdateDate: new Date(managed.createDate),
    }
  return {
    ...shared,
    PolicyName: own.name,
    PolicyId: own.id,
    Path: own.path,
    DefaultVersionId: `v${own.defaultVersion}`,
    IsAttachable: true,
    CreateDate: own.createdAt,
    UpdateDate: own.updatedAt,
  }
}

function checkDocument(document: string): void {
  checkPolicy(document, 'identity')
  checkSize(document)
}

function checkSize(document: string): void {
  if (document.replace(/\s/g, '').length > MAX_CHARACTERS)
    throw new AwsError('LimitExceededException', `Cannot exceed quota for PolicySize: ${MAX_CHARACTERS}`)
}

type Version = { VersionId: string }
const versionOf = ({ VersionId }: Version): number => Number(VersionId.slice(1).split('.')[0])
const noVersion = (arn: string, { VersionId }: Version) =>
  noSuch(`Policy ${arn} version ${VersionId} does not exist or is not attachable.`)

export const policies: ServiceOperations<'iam'> = {
  CreatePolicy: {
    authorize: (input, context) =>
      andTag(
        onNew(context, 'policy', { name: input.PolicyName, path: input.Path, tags: input.Tags }),
        'iam:TagPolicy',
        input.Tags,
      ),
    handle: (context, input) =>
      changing(context, async (change) => {
        checkDocument(input.PolicyDocument)
        const entity = newEntity(change, 'policy', input.PolicyName, input.Path)
        const row: PolicyRow = {
          ...entity,
          arn: entityArn('policy', entity),
          description: input.Description ?? '',
          defaultVersion: 1,
          latestVersion: 1,
          updatedAt: entity.createdAt,
          tags: mergedTags([], input.Tags ?? []),
        }
        await checkAccountQuota(change, 'policy')
        if (!(await entities.insertPolicy(change.sql, row)))
          throw exists(`A policy called ${input.PolicyName} already exists. Duplicate names are not allowed.`)
        const version = { version: 1, document: input.PolicyDocument, createdAt: row.createdAt }
        await store.insertVersion(change.sql, row.id, version)
        return {
          Policy: { ...policySummary({ own: row }, new Map()), Tags: row.tags.length > 0 ? row.tags : undefined },
        }
      }),
  },
  GetPolicy: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    async handle(context, input) {
      const policy = await foundPolicy(context, input.PolicyArn)
      const usage = await store.readUsage(context.sql, context.account, input.PolicyArn)
      const Description = (policy.own ?? policy.managed).description || undefined
      return { Policy: { ...policySummary(policy, usage), Description, Tags: policy.own?.tags ?? [] } }
    },
  },
  DeletePolicy: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await heldPolicy(change, input.PolicyArn)
        if ((await store.readUsage(change.sql, change.account, row.arn)).size > 0)
          throw conflict('Cannot delete a policy attached to entities.')
        if ((await store.listVersions(change.sql, row.id)).length > 1)
          throw conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
          )
        await entities.remove(change.sql, 'policy', row.id)
        return {}
      }),
  },
  ListPolicies: { authorize: anywhere, handle: listPolicies },
  CreatePolicyVersion: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await heldPolicy(change, input.PolicyArn)
        checkDocument(input.PolicyDocument)
        if ((await store.listVersions(change.sql, row.id)).length >= MAX_VERSIONS)
          throw new AwsError(
            'LimitExceededException',
            `A managed policy can have up to ${MAX_VERSIONS} versions. Before you create a new version, you must delete an existing version.`,
          )
        const version = { version: row.latestVersion + 1, document: input.PolicyDocument, createdAt: change.now() }
        await store.insertVersion(change.sql, row.id, version)
        const isDefault = input.SetAsDefault === true
        if (isDefault) await store.setDefaultVersion(change.sql, row.id, version.version, version.createdAt)
        return {
          PolicyVersion: {
            VersionId: `v${version.version}`,
            IsDefaultVersion: isDefault,
            CreateDate: version.createdAt,
          },
        }
      }),
  },
  GetPolicyVersion: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    async handle(context, input) {
      const version = (await versionsOf(context, await foundPolicy(context, input.PolicyArn))).find(
        ({ VersionId }) => VersionId === input.VersionId,
      )
      if (!version) throw noVersion(input.PolicyArn, input)
      return { PolicyVersion: version }
    },
  },
  ListPolicyVersions: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    async handle(context, input) {
      const all = await versionsOf(context, await foundPolicy(context, input.PolicyArn))
      // Newest first; versions count upwards, so that the complement of their number is their place.
      const place = (version: Version) => String(1e9 - versionOf(version))
      const { items, rest } = await pageOf(context, `ListPolicyVersions ${input.PolicyArn}`, input, place, all)
      return { Versions: items.map(({ Document: _, ...version }) => version), ...rest }
    },
  },
  SetDefaultPolicyVersion: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await heldPolicy(change, input.PolicyArn)
        const version = versionOf(input)
        if (!(await store.listVersions(change.sql, row.id)).some((each) => each.version === version))
          throw noVersion(row.arn, input)
        await store.setDefaultVersion(change.sql, row.id, version, change.now())
        return {}
      }),
  },
  DeletePolicyVersion: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await heldPolicy(change, input.PolicyArn)
        const version = versionOf(input)
        if (!(await store.listVersions(change.sql, row.id)).some((each) => each.version === version))
          throw noVersion(row.arn, input)
        if (version === row.defaultVersion) throw conflict('Cannot delete the default version of a policy.')
        await store.deleteVersion(change.sql, row.id, version)
        return {}
      }),
  },
  ListEntitiesForPolicy: { authorize: (input, context) => onPolicy(context, input.PolicyArn), handle: listEntities },
  TagPolicy: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn, requestTags(input.Tags)),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await heldPolicy(change, input.PolicyArn)
        await entities.setTags(change.sql, 'policy', row.id, mergedTags(row.tags, input.Tags))
        return {}
      }),
  },
  UntagPolicy: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn, { 'aws:TagKeys': input.TagKeys }),
    handle: (context, input) =>
      changing(context, async (change) => {
        const row = await heldPolicy(change, input.PolicyArn)
        await entities.setTags(change.sql, 'policy', row.id, withoutTags(row.tags, input.TagKeys))
        return {}
      }),
  },
  ListPolicyTags: {
    authorize: (input, context) => onPolicy(context, input.PolicyArn),
    async handle(context, input) {
      const tags = (await findPolicy(context, input.PolicyArn))?.own?.tags
      if (!tags) throw noSuch(`Policy ${input.PolicyArn} was not found.`)
      const { items, rest } = await pageOf(context, `ListPolicyTags ${input.PolicyArn}`, input, (tag) => tag.Key, tags)
      return { Tags: items, ...rest }
    },
  },
}

/** With their documents, newest first; of AWS's policies the default version alone is known. */
export async function versionsOf(context: Context, { own, managed }: Policy) {
  if (managed)
    return [
      {
        Document: encoded(managed.document),
        VersionId: managed.versionId,
        IsDefaultVersion: true,
        CreateDate: new Date(managed.createDate),
      },
    ]
  return (await store.listVersions(context.sql, own.id)).map(({ version, document, createdAt }) => ({
    Document: encoded(document),
    VersionId: `v${version}`,
    IsDefaultVersion: version === own.defaultVersion,
    CreateDate: createdAt,
  }))
}

/** AWS's policies and the account's own ones, of the scope that is asked for. */
export async function allPolicies(context: Context, scope: string = 'All', pathPrefix = '/'): Promise<Policy[]> {
  const own = scope === 'AWS' ? [] : await entities.list(context.sql, 'policy', context.account, { pathPrefix })
  const managed = scope === 'Local' ? [] : MANAGED_POLICIES.filter(({ path }) => path.startsWith(pathPrefix))
  return [...own.map((row) => ({ own: row })), ...managed.map((policy) => ({ managed: policy }))]
}

async function listPolicies(context: Context, input: Input<'ListPolicies', 'iam'>) {
  const usage = await store.readUsage(context.sql, context.account)
  const { Scope, OnlyAttached, PathPrefix, PolicyUsageFilter } = input
  const wanted = (await allPolicies(context, Scope, PathPrefix))
    .map((policy) => policySummary(policy, usage))
    .filter((policy) => !OnlyAttached || policy.AttachmentCount > 0)
    .filter((policy) => PolicyUsageFilter !== 'PermissionsPolicy' || policy.AttachmentCount > 0)
    .filter((policy) => PolicyUsageFilter !== 'PermissionsBoundary' || policy.PermissionsBoundaryUsageCount > 0)
  const listing = `ListPolicies ${Scope} ${OnlyAttached} ${PathPrefix} ${PolicyUsageFilter}`
  const place = (policy: { PolicyName: string; Arn: string }) => `${policy.PolicyName.toLowerCase()} ${policy.Arn}`
  const { items, rest } = await pageOf(context, listing, input, place, wanted)
  return { Policies: items, ...rest }
}

async function listEntities(context: Context, input: Input<'ListEntitiesForPolicy', 'iam'>) {
  await foundPolicy(context, input.PolicyArn)
  const as = input.PolicyUsageFilter === 'PermissionsBoundary' ? 'boundary' : 'policy'
  const kind = { User: 'user', Group: 'group', Role: 'role' }[input.EntityFilter as 'User' | 'Group' | 'Role']
  const known = await store.listEntitiesOf(context.sql, context.account, input.PolicyArn, as)
  const boundaries =
    input.PolicyUsageFilter === undefined
      ? await store.listEntitiesOf(context.sql, context.account, input.PolicyArn, 'boundary')
      : []
  const both = new Map([...known, ...boundaries].map((entity) => [entity.id, entity]))
  const wanted = [...both.values()].filter(
    (entity) =>
      (input.EntityFilter === undefined || entity.kind === kind) && entity.path.startsWith(input.PathPrefix ?? '/'),
  )
  const listing = `ListEntitiesForPolicy ${input.PolicyArn} ${as} ${kind} ${input.PathPrefix}`
  const { items, rest } = await pageOf(
    context,
    listing,
    input,
    (each) => `${each.kind} ${each.name} ${each.id}`,
    wanted,
  )
  const of = (wantedKind: string) => items.filter((entity) => entity.kind === wantedKind)
  return {
    PolicyGroups: of('group').map(({ name, id }) => ({ GroupName: name, GroupId: id })),
    PolicyUsers: of('user').map(({ name, id }) => ({ UserName: name, UserId: id })),
    PolicyRoles: of('role').map(({ name, id }) => ({ RoleName: name, RoleId: id })),
    ...rest,
  }
}
