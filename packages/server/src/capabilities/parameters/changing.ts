/** The operations that change parameters, beside PutParameter. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { deleteTags } from '../tags/index.ts'
import { changeEvent } from './events.ts'
import { parameterNotFound, parseName } from './names.ts'
import { isVersion, labelChange, versionNotFound } from './rules.ts'
import {
  attachLabels,
  deleteParameters as deleteRows,
  detachLabels,
  type LatestRow,
  lockLatest,
  lockParameters,
  readLabels,
  readVersion,
  writeEvents,
} from './store.ts'

/** Deletes those that exist, with history, labels and tags; returns their keys. */
async function deleteKeys(context: Context, keys: string[]): Promise<Set<string>> {
  if (keys.length === 0) return new Set()
  return context.transaction(async (change) => {
    const held = await lockParameters(change, keys)
    if (held.length === 0) return new Set()
    const found = held.map(({ nameKey }) => nameKey)
    await deleteRows(change, found)
    await deleteTags(change, 'Parameter', found)
    await writeEvents(
      change,
      context.now(),
      held.map((parameter) => ({ nameKey: parameter.nameKey, ...changeEvent(parameter, 'Delete') })),
    )
    return new Set(found)
  })
}

export async function deleteParameter(
  context: Context,
  input: Input<'DeleteParameter'>,
): Promise<Output<'DeleteParameter'>> {
  const key = parseName(input.Name)
  const deleted = await deleteKeys(context, key === undefined ? [] : [key])
  if (deleted.size === 0) throw parameterNotFound()
  return {}
}

export async function deleteParameters(
  context: Context,
  input: Input<'DeleteParameters'>,
): Promise<Output<'DeleteParameters'>> {
  const asked = [...new Set(input.Names)].map((name) => ({ name, key: parseName(name) }))
  const keys = asked.map(({ key }) => key).filter((key) => key !== undefined)
  const deleted = await deleteKeys(context, [...new Set(keys)])
  const isDeleted = ({ key }: { key: string | undefined }) => key !== undefined && deleted.has(key)
  return {
    DeletedParameters: asked.filter(isDeleted).map(({ name }) => name),
    InvalidParameters: asked.filter((one) => !isDeleted(one)).map(({ name }) => name),
  }
}

/** Holds the parameter and makes sure of the version. ParameterNotFound, ParameterVersionNotFound. */
async function holdVersion(
  change: Context,
  asked: string,
  version: number | undefined,
): Promise<LatestRow & { chosen: number }> {
  const key = parseName(asked)
  const latest = key === undefined ? undefined : await lockLatest(change, key)
  if (!latest) throw parameterNotFound()
  const chosen = version ?? latest.version
  const exists =
    chosen === latest.version ||
    (isVersion(chosen) && (await readVersion(change, latest.nameKey, chosen)) !== undefined)
  if (!exists) throw versionNotFound(asked, chosen)
  return { ...latest, chosen }
}

export const labelParameterVersion = (
  context: Context,
  input: Input<'LabelParameterVersion'>,
): Promise<Output<'LabelParameterVersion'>> =>
  context.transaction(async (change) => {
    const parameter = await holdVersion(change, input.Name, input.ParameterVersion)
    const { nameKey, chosen } = parameter
    const { attach, invalid } = labelChange(input.Labels, await readLabels(change, nameKey, chosen))
    if (attach.length > 0) {
      await attachLabels(change, nameKey, chosen, attach)
      const event = changeEvent(parameter, 'LabelParameterVersion')
      await writeEvents(change, context.now(), [{ nameKey, ...event }])
    }
    return { InvalidLabels: invalid, ParameterVersion: chosen }
  })

export const unlabelParameterVersion = (
  context: Context,
  input: Input<'UnlabelParameterVersion'>,
): Promise<Output<'UnlabelParameterVersion'>> =>
  context.transaction(async (change) => {
    const { nameKey, chosen } = await holdVersion(change, input.Name, input.ParameterVersion)
    const present = await readLabels(change, nameKey, chosen)
    const asked = [...new Set(input.Labels)]
    const removed = asked.filter((label) => present.includes(label))
    if (removed.length > 0) await detachLabels(change, nameKey, chosen, removed)
    return { RemovedLabels: removed, InvalidLabels: asked.filter((label) => !present.includes(label)) }
  })
