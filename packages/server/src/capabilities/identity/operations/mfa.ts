/** Virtual MFA devices: a sealed seed, one user each, every code taken once. */
import type { ServiceOperations } from '../../../contract/types.ts'
import type { Access } from '../../../platform/capability.ts'
import type { Context } from '../../../platform/context.ts'
import { AwsError } from '../../../platform/errors.ts'
import {
  changing,
  checkQuota,
  conflict,
  exists,
  found,
  held,
  mergedTags,
  noSuch,
  type Tag,
  withoutTags,
} from '../entities.ts'
import { pageOf } from '../marker.ts'
import { andTag, anywhere, onEntity, onUserOrSelf, requestTags, resourceTags, userOrSelf } from '../permissions.ts'
import { qrCodePng } from '../qr-code.ts'
import { findById } from '../store/entities.ts'
import * as store from '../store/sign-in.ts'
import { base32, newSeed, stepOf, stepOfPair } from '../totp.ts'
import { userSummary } from './users.ts'

const MAX_DEVICES_OF_USER = 8
const PURPOSE = 'mfa seed'

const serialNumber = (account: string, path: string, name: string) => `arn:aws:iam::${account}:mfa${path}${name}`
const noDevice = (serial: string) => noSuch(`VirtualMFADevice with serial number ${serial} doesn't exist.`)
/** Permission on a device, with its tags. */
async function onDevice(context: Context, serial: string, keys: Access['keys'] = {}): Promise<Access> {
  const device = await store.readDevice(context.sql, context.account, serial)
  return { resources: [serial], keys: { ...resourceTags(device?.tags ?? []), ...keys } }
}

async function foundDevice(context: Context, serial: string, hold = false): Promise<store.DeviceRow> {
  const device = await store.readDevice(context.sql, context.account, serial, hold)
  if (!device) throw noDevice(serial)
  return device
}

function seedOf({ sealer }: Pick<Context, 'sealer'>, device: store.DeviceRow): Buffer {
  const seed = sealer.unseal(PURPOSE, device.seedSealed, device.serialNumber)
  if (!seed) throw new Error(`the seed of ${device.serialNumber} cannot be unsealed with this root key`)
  return seed
}

/** Wrong codes that a device takes within a while. Three of a million are right: a year of guessing comes to one in four. */
const MAX_TRIES = 10
const TRIES_MS = 60 * 60_000

/**
 * Whether `code` is the device's of this moment, was not used before, and the device is this user's. AccessDenied: after
 * too many wrong ones no code is looked at for a while, the right one included.
 */
export async function takesCode(context: Context, userId: string, serial: string, code: string): Promise<boolean> {
  const device = await store.readDevice(context.sql, context.account, serial)
  if (device?.userId !== userId) return false
  const now = context.now()
  const since = new Date(now.getTime() - TRIES_MS)
  if (!(await store.countTry(context.sql, serial, { now, since, most: MAX_TRIES })))
    throw new AwsError(
      'AccessDeniedException',
      `MultiFactorAuthentication failed, too many wrong MFA one time pass codes: none is looked at for ${TRIES_MS / 60_000} minutes from the first of them.`,
    )
  const step = stepOf(seedOf(context, device), code, context.now(), device.lastStep ?? undefined)
  return step !== undefined && store.takeStep(context.sql, serial, step)
}

const retag = (context: Context, serial: string, edit: (before: Tag[]) => Tag[]) =>
  changing(context, async (change) => {
    const device = await foundDevice(change, serial, true)
    await store.setDeviceTags(change.sql, device.serialNumber, edit(device.tags))
    return {}
  })

export const mfa: ServiceOperations<'iam'> = {
  CreateVirtualMFADevice: {
    authorize(input, { account }) {
      const resources = [serialNumber(account, input.Path ?? '/', input.VirtualMFADeviceName)]
      return andTag({ resources, keys: requestTags((input.Tags ?? []) as Tag[]) }, 'iam:TagMFADevice', input.Tags)
    },
    handle: (context, input) =>
      changing(context, async (change) => {
        const tags = mergedTags([], (input.Tags ?? []) as Tag[])
        const serial = serialNumber(change.account, input.Path ?? '/', input.VirtualMFADeviceName)
        const seed = newSeed()
        const seedSealed = change.sealer.seal(PURPOSE, seed, serial)
        const row = { serialNumber: serial, account: change.account, seedSealed, tags }
        if (!(await store.insertDevice(change.sql, row)))
          throw exists('MFADevice entity at the same path and name already exists.')
        const secret = base32(seed)
        const label = `${input.VirtualMFADeviceName}@${(await store.readAlias(change.sql, change.account)) ?? change.account}`
        return {
          VirtualMFADevice: {
            SerialNumber: serial,
            Base32StringSeed: Buffer.from(secret),
            QRCodePNG: qrCodePng(`otpauth://totp/${encodeURIComponent(label)}?secret=${secret}`),
            Tags: tags.length > 0 ? tags : undefined,
          },
        }
      }),
  },
  EnableMFADevice: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const user = await held(change, 'user', input.UserName)
        const device = await foundDevice(change, input.SerialNumber, true)
        if (device.userId !== null) throw exists(`MFADevice ${input.SerialNumber} is already in use.`)
        const before = await store.listDevices(change.sql, change.account, user.id)
        checkQuota('MFADevicesPerUser', before.length, MAX_DEVICES_OF_USER)
        const { AuthenticationCode1: first, AuthenticationCode2: second } = input
        const step = stepOfPair(seedOf(change, device), first, second, change.now())
        if (step === undefined)
          throw new AwsError('InvalidAuthenticationCodeException', 'Authentication code for device is not valid.')
        const to = { userId: user.id, enabledAt: change.now(), lastStep: step }
        await store.assignDevice(change.sql, device.serialNumber, to)
        return {}
      }),
  },
  ResyncMFADevice: {
    authorize: (input, context) => onEntity(context, 'user', input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const user = await held(change, 'user', input.UserName)
        const device = await foundDevice(change, input.SerialNumber)
        if (device.userId !== user.id || !device.enabledAt) throw noDevice(input.SerialNumber)
        const { AuthenticationCode1: first, AuthenticationCode2: second } = input
        const step = stepOfPair(seedOf(change, device), first, second, change.now())
        if (step === undefined || step <= (device.lastStep ?? -1))
          throw new AwsError('InvalidAuthenticationCodeException', 'Authentication code for device is not valid.')
        const to = { userId: user.id, enabledAt: device.enabledAt, lastStep: step }
        await store.assignDevice(change.sql, device.serialNumber, to)
        return {}
      }),
  },
  DeactivateMFADevice: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    handle: (context, input) =>
      changing(context, async (change) => {
        const device = await foundDevice(change, input.SerialNumber)
        const name = userOrSelf(change, input.UserName)
        const user = name === undefined ? undefined : await held(change, 'user', name)
        if (!user || device.userId !== user.id) throw noDevice(input.SerialNumber)
        await store.assignDevice(change.sql, device.serialNumber, null)
        return {}
      }),
  },
  DeleteVirtualMFADevice: {
    authorize: (input, context) => onDevice(context, input.SerialNumber),
    handle: (context, input) =>
      changing(context, async (change) => {
        const device = await foundDevice(change, input.SerialNumber)
        if (device.userId !== null) throw conflict('MFA VirtualDevice in use. Must deactivate first.')
        await store.deleteDevice(change.sql, device.serialNumber)
        return {}
      }),
  },
  GetMFADevice: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      const name = userOrSelf(context, input.UserName)
      const user = name === undefined ? undefined : await found(context, 'user', name)
      const device = await foundDevice(context, input.SerialNumber)
      if (user && device.userId !== user.id) throw noDevice(input.SerialNumber)
      const { serialNumber: SerialNumber, userName, enabledAt } = device
      return { SerialNumber, UserName: userName ?? undefined, EnableDate: enabledAt ?? undefined }
    },
  },
  TagMFADevice: {
    authorize: (input, context) => onDevice(context, input.SerialNumber, requestTags(input.Tags)),
    handle: (context, { SerialNumber, Tags }) => retag(context, SerialNumber, (before) => mergedTags(before, Tags)),
  },
  UntagMFADevice: {
    authorize: (input, context) => onDevice(context, input.SerialNumber, { 'aws:TagKeys': input.TagKeys }),
    handle: (context, { SerialNumber, TagKeys }) =>
      retag(context, SerialNumber, (before) => withoutTags(before, TagKeys)),
  },
  ListMFADeviceTags: {
    authorize: (input, context) => onDevice(context, input.SerialNumber),
    async handle(context, input) {
      const { serialNumber, tags } = await foundDevice(context, input.SerialNumber)
      const { items, rest } = await pageOf(context, `ListMFADeviceTags ${serialNumber}`, input, (tag) => tag.Key, tags)
      return { Tags: items, ...rest }
    },
  },
  ListMFADevices: {
    authorize: (input, context) => onUserOrSelf(context, input.UserName),
    async handle(context, input) {
      const name = userOrSelf(context, input.UserName)
      const user = name === undefined ? undefined : await found(context, 'user', name)
      const devices = user ? await store.listDevices(context.sql, context.account, user.id) : []
      const { items, rest } = await pageOf(context, `ListMFADevices ${user?.id}`, input, (d) => d.serialNumber, devices)
      return {
        MFADevices: items.map((device) => ({
          UserName: device.userName ?? '',
          SerialNumber: device.serialNumber,
          EnableDate: device.enabledAt ?? new Date(0),
        })),
        ...rest,
      }
    },
  },
  ListVirtualMFADevices: {
    authorize: anywhere,
    async handle(context, input) {
      const { AssignmentStatus: status = 'Any' } = input
      const wanted = (await store.listDevices(context.sql, context.account)).filter(
        ({ userId }) => status === 'Any' || (status === 'Assigned') === (userId !== null),
      )
      const { items, rest } = await pageOf(
        context,
        `ListVirtualMFADevices ${status}`,
        input,
        (d) => d.serialNumber,
        wanted,
      )
      const VirtualMFADevices = []
      for (const { serialNumber: SerialNumber, enabledAt, userId } of items) {
        const user = userId === null ? undefined : await findById(context.sql, 'user', userId)
        VirtualMFADevices.push({
          SerialNumber,
          EnableDate: enabledAt ?? undefined,
          User: user ? userSummary(user) : undefined,
        })
      }
      return { VirtualMFADevices, ...rest }
    },
  },
}
