/** OIDC providers: the issuers whose tokens AssumeRoleWithWebIdentity takes, and for which clients. */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Access } from '../../../platform/capability.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import { changing, checkQuota, exists, mergedTags, noSuch, type Tag, withoutTags } from '../entities.ts'
import { pageOf } from '../marker.ts'
import { isLoopbackHost } from '../oidc/fetch-json.ts'
import { andTag, anywhere, requestTags } from '../permissions.ts'
import * as store from '../store/oidc.ts'

/** "IAM and AWS STS quotas". */
const MAX_PROVIDERS = 100
const MAX_CLIENTS = 100
const MAX_THUMBPRINTS = 5

const invalid = (message: string) => new AwsError('InvalidInputException', message)

export const providerArn = ({ account, url }: Pick<store.ProviderRow, 'account' | 'url'>): string =>
  `arn:aws:iam::${account}:oidc-provider/${url.replace(/^https?:\/\//, '')}`

/** The URL of an issuer, without a slash at its end. InvalidInput. */
function checkedUrl({ choices }: Context, given: string): string {
  const url = URL.canParse(given) ? new URL(given) : undefined
  const isPlain = url?.protocol === 'http:' && choices.oidcNetworks === 'loopback' && isLoopbackHost(url.hostname)
  if (!url || (url.protocol !== 'https:' && !isPlain))
    throw invalid('Invalid Open ID Connect Provider URL: it must begin with https://.')
  // What a token's iss must equal byte by byte has one spelling.
  if (
    url.username ||
    url.password ||
    url.search ||
    url.hash ||
    given.replace(/\/$/, '') !== url.href.replace(/\/$/, '')
  )
    throw invalid('Invalid Open ID Connect Provider URL: only a host and a path in their normal form.')
  return given.replace(/\/$/, '')
}

function checkThumbprints(thumbprints: readonly string[]): string[] {
  if (thumbprints.length > MAX_THUMBPRINTS)
    throw invalid(`Thumbprint list must contain fewer than ${MAX_THUMBPRINTS} entries.`)
  if (!thumbprints.every((each) => /^[0-9a-fA-F]{40}$/.test(each)))
    throw invalid('A thumbprint has 40 hexadecimal digits.')
  return [...new Set(thumbprints.map((each) => each.toLowerCase()))]
}

async function foundByArn(context: Context, arn: string, hold = false): Promise<store.ProviderRow> {
  const [, account, place] = /^arn:aws:iam::(\d{12}):oidc-provider\/(.+)$/.exec(arn) ?? []
  if (account === undefined) throw invalid(`${arn} is not the ARN of an OpenID Connect provider.`)
  for (const scheme of account === context.account ? ['https', 'http'] : []) {
    const row = await store.findProvider(context.sql, context.account, `${scheme}://${place}`, hold)
    if (row) return row
  }
  throw noSuch(`OpenIDConnect Provider not found for arn ${arn}`)
}

const onArn = (arn: string, tags: Access['keys'] = {}): Access => ({ resources: [arn], keys: tags })

/** Permission on a provider, with its tags. */
async function onProvider(context: Context, arn: string, keys: Access['keys'] = {}): Promise<Access> {
  const row = await foundByArn(context, arn).catch((error: unknown) => {
    if (error instanceof AwsError) return undefined
    throw error
  })
  const tags = (row?.tags ?? []).flatMap(({ Key, Value }) => [
    [`aws:ResourceTag/${Key}`, Value],
    [`iam:ResourceTag/${Key}`, Value],
  ])
  return onArn(arn, { ...Object.fromEntries(tags), ...keys })
}

const change = (context: Context, arn: string, edit: (row: store.ProviderRow) => Partial<store.ProviderRow>) =>
  changing(context, async (inner) => {
    const row = await foundByArn(inner, arn, true)
    await store.updateProvider(inner.sql, { ...row, ...edit(row) })
    return {}
  })

export const oidcProviders: ServiceOperations<'iam'> = {
  CreateOpenIDConnectProvider: {
    authorize: (input, { account }) =>
      andTag(
        onArn(providerArn({ account, url: input.Url.replace(/\/$/, '') }), requestTags((input.Tags ?? []) as Tag[])),
        'iam:TagOpenIDConnectProvider',
        input.Tags,
      ),
    handle: (context, input) =>
      changing(context, async (inner) => {
        const row: store.ProviderRow = {
          account: inner.account,
          url: checkedUrl(inner, input.Url),
          clientIds: [...new Set(input.ClientIDList ?? [])],
          thumbprints: checkThumbprints(input.ThumbprintList ?? []),
          createdAt: inner.now(),
          tags: mergedTags([], input.Tags ?? []),
        }
        checkQuota('ClientIdsPerOpenIdConnectProvider', row.clientIds.length - 1, MAX_CLIENTS)
        const before = await store.listProviders(inner.sql, inner.account)
        checkQuota('OpenIdConnectProvidersPerAccount', before.length, MAX_PROVIDERS)
        if (
          before.some((each) => providerArn(each) === providerArn(row)) ||
          !(await store.insertProvider(inner.sql, row))
        )
          throw exists(`Provider with url ${row.url} already exists.`)
        return { OpenIDConnectProviderArn: providerArn(row), Tags: row.tags }
      }),
  },
  GetOpenIDConnectProvider: {
    authorize: (input, context) => onProvider(context, input.OpenIDConnectProviderArn),
    async handle(context, input) {
      const { url, clientIds, thumbprints, createdAt, tags } = await foundByArn(context, input.OpenIDConnectProviderArn)
      return {
        Url: url.replace(/^https?:\/\//, ''),
        ClientIDList: clientIds,
        ThumbprintList: thumbprints,
        CreateDate: createdAt,
        Tags: tags,
      }
    },
  },
  ListOpenIDConnectProviders: {
    authorize: anywhere,
    async handle({ sql, account }) {
      const rows = await store.listProviders(sql, account)
      return { OpenIDConnectProviderList: rows.map((row) => ({ Arn: providerArn(row) })) }
    },
  },
  DeleteOpenIDConnectProvider: {
    authorize: (input, context) => onProvider(context, input.OpenIDConnectProviderArn),
    handle: (context, input) =>
      changing(context, async (inner) => {
        const { url } = await foundByArn(inner, input.OpenIDConnectProviderArn, true)
        await store.deleteProvider(inner.sql, inner.account, url)
        return {}
      }),
  },
  UpdateOpenIDConnectProviderThumbprint: {
    authorize: (input, context) => onProvider(context, input.OpenIDConnectProviderArn),
    handle: (context, input) =>
      change(context, input.OpenIDConnectProviderArn, () => ({ thumbprints: checkThumbprints(input.ThumbprintList) })),
  },
  AddClientIDToOpenIDConnectProvider: {
    authorize: (input, context) => onProvider(context, input.OpenIDConnectProviderArn),
    handle: (context, input) =>
      change(context, input.OpenIDConnectProviderArn, ({ clientIds }) => {
        if (clientIds.includes(input.ClientID)) return {}
        checkQuota('ClientIdsPerOpenIdConnectProvider', clientIds.length, MAX_CLIENTS)
        return { clientIds: [...clientIds, input.ClientID] }
      }),
  },
  RemoveClientIDFromOpenIDConnectProvider: {
    authorize: (input, context) => onProvider(context, input.OpenIDConnectProviderArn),
    handle: (context, input) =>
      change(context, input.OpenIDConnectProviderArn, ({ clientIds }) => ({
        clientIds: clientIds.filter((each) => each !== input.ClientID),
      })),
  },
  TagOpenIDConnectProvider: {
    authorize: (input, context) => onProvider(context, input.OpenIDConnectProviderArn, requestTags(input.Tags)),
    handle: (context, input) =>
      change(context, input.OpenIDConnectProviderArn, ({ tags }) => ({ tags: mergedTags(tags, input.Tags) })),
  },
  UntagOpenIDConnectProvider: {
    authorize: (input, context) =>
      onProvider(context, input.OpenIDConnectProviderArn, { 'aws:TagKeys': input.TagKeys }),
    handle: (context, input) =>
      change(context, input.OpenIDConnectProviderArn, ({ tags }) => ({ tags: withoutTags(tags, input.TagKeys) })),
  },
  ListOpenIDConnectProviderTags: {
    authorize: (input, context) => onProvider(context, input.OpenIDConnectProviderArn),
    async handle(context, input) {
      const { url, tags } = await foundByArn(context, input.OpenIDConnectProviderArn)
      const { items, rest } = await pageOf(
        context,
        `ListOpenIDConnectProviderTags ${url}`,
        input,
        (tag) => tag.Key,
        tags,
      )
      return { Tags: items, ...rest }
    },
  },
}
