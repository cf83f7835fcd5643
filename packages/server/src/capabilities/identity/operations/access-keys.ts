/** Long-lived access keys of users and of the root: two each, the secret sealed and told once. */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Context } from '../../../platform/context.ts'
import { accessKeyId, secretAccessKey } from '../../../platform/ids.ts'
import { changing, checkQuota, found, held, noSuch } from '../entities.ts'
import { pageOf } from '../marker.ts'
import { anywhere, onEntity, onUserOrSelf, userOrSelf } from '../permissions.ts'
import * as store from '../store/sign-in.ts'
import { insertAccessKey } from '../store.ts'

const MAX_KEYS = 2

/** Whose keys: a user's, or the root's with `userId` null and no name. */
interface Owner {
  userId: string | null
  name: string | undefined
}

async function ownerOf(context: Context, asked: string | undefined, hold = false): Promise<Owner> {
  const name = userOrSelf(context, asked)
  if (name === undefined) return { userId: null, name: undefined }
  const user = await (hold ? held : found)(context, 'user', name)
  return { userId: user.id, name: user.name }
}

/** The key, which must be the owner's. NoSuchEntity. */
async function ownKey(context: Context, owner: Owner, id: string): Promise<void> {
  const keys = await store.listKeys(context.sql, context.account, owner.userId)
  if (!keys.some((key) => key.accessKeyId === id)) throw noSuch(`The Access Key with id ${id} cannot be found.`)
}

export const accessKeys: ServiceOperations<'iam'> = {
  CreateAccessKey: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const owner = await ownerOf(change, input.UserName, true)
        const keys = await store.listKeys(change.sql, change.account, owner.userId)
        checkQuota('AccessKeysPerUser', keys.length, MAX_KEYS)
        const [id, secret, createdAt] = [accessKeyId('AKIA'), secretAccessKey(), change.now()]
        const row = {
          accessKeyId: id,
          account: change.account,
          owner: owner.userId ?? 'root',
          userId: owner.userId ?? undefined,
          secretSealed: change.sealer.seal('access key', Buffer.from(secret), id),
        }
        await insertAccessKey(change.sql, row, createdAt)
        return {
          AccessKey: {
            UserName: owner.name ?? '',
            AccessKeyId: id,
            Status: 'Active',
            SecretAccessKey: secret,
            CreateDate: createdAt,
          },
        }
      }),
  },
  ListAccessKeys: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      const owner = await ownerOf(context, input.UserName)
      const keys = await store.listKeys(context.sql, context.account, owner.userId)
      const listing = `ListAccessKeys ${owner.userId}`
      const { items, rest } = await pageOf(context, listing, input, (key) => key.accessKeyId, keys)
      return {
        AccessKeyMetadata: items.map((key) => ({
          UserName: owner.name ?? '',
          AccessKeyId: key.accessKeyId,
          Status: key.status,
          CreateDate: key.createdAt,
        })),
        ...rest,
      }
    },
  },
  UpdateAccessKey: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        await ownKey(change, await ownerOf(change, input.UserName, true), input.AccessKeyId)
        await store.setKeyStatus(change.sql, input.AccessKeyId, input.Status === 'Active' ? 'Active' : 'Inactive')
        return {}
      }),
  },
  DeleteAccessKey: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        await ownKey(change, await ownerOf(change, input.UserName, true), input.AccessKeyId)
        await store.deleteKey(change.sql, input.AccessKeyId)
        return {}
      }),
  },
  GetAccessKeyLastUsed: {
    async authorize(input, context) {
      const use = await store.readKeyUse(context.sql, context.account, input.AccessKeyId)
      return use?.userName ? onEntity(context, 'user', use.userName) : anywhere()
    },
    async handle(context, input) {
      const use = await store.readKeyUse(context.sql, context.account, input.AccessKeyId)
      if (!use) throw noSuch(`The Access Key with id ${input.AccessKeyId} cannot be found.`)
      return {
        UserName: use.userName ?? undefined,
        AccessKeyLastUsed: {
          LastUsedDate: use.at ?? undefined,
          ServiceName: use.service ?? 'N/A',
          Region: use.region ?? 'N/A',
        },
      }
    },
  },
}
