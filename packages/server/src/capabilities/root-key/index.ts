/**
 * The root key: which one is in use, who holds it, and its change while everything runs (`musterbook keys rotate-root`).
 * What has to be sealed again, capabilities declare as `sealed`.
 */
import type { Capability, Host, Route, RouteAnswer } from '../../platform/capability.ts'
import { atMost, LEAVE_MS } from '../../platform/clock.ts'
import type { Context, Ground } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { InstallationError } from '../identity/index.ts'
import init from './migrations/0001-init.sql'
import { adopt, beginRotation, holderOf, keepRootKeys, livingHolders, nameInUse } from './rotation.ts'
import * as store from './store.ts'

/**
 * Before anything is unsealed: this process says which keys it holds, learns the one of a change that goes on, and seals
 * with the one in use. Throws InstallationError when it does not hold that.
 */
export async function openRootKeys(ground: Ground): Promise<void> {
  const { processId, sealer } = ground
  const { rootKeys } = sealer
  // First this, then the look: a change that begins in between waits for this process.
  await store.writeHolder(ground.sql, holderOf(sealer, processId), ground.now())
  try {
    await adopt(ground)
    const name = await nameInUse(ground)
    const rotation = await store.readRotation(ground.sql)
    const wanted = rotation && rotation.phase !== 'done' && rotation.phase !== 'introduced' ? rotation.newName : name
    if (wanted !== undefined && !rootKeys.names().includes(wanted))
      throw new InstallationError(
        `this database was made with another root key (it wants ${wanted}, ${rootKeys.origin} holds ${rootKeys.names().join(' and ')}); give the server the root key it was made with`,
      )
    if (wanted !== undefined && rotation?.phase !== 'introduced') rootKeys.use(wanted)
    await store.writeHolder(ground.sql, holderOf(sealer, processId), ground.now())
  } catch (error) {
    await store.deleteHolder(ground.sql, processId)
    throw error
  }
}

export const rootKey = (others: readonly Capability[]): Capability => ({
  name: 'root-key',
  migrations: [{ name: '0001-init', sql: init }],
  reconcilers: [keepRootKeys(others.flatMap(({ sealed = [] }) => sealed))],
  start: (host) => ({
    routes: routes(host),
    // Without this the others wait a minute for it.
    close: () =>
      atMost(
        LEAVE_MS,
        store.deleteHolder(host.sql, host.processId).catch(() => {}),
      ),
  }),
})

const PATH = /^\/v1\/root-key$/

/** Root keys belong to the installation: of its accounts, the first speaks for it. */
const routes = (host: Host): Route[] => {
  const authorize = (action: string) => (context: Context) => {
    if (context.account !== host.settings.account)
      throw new AwsError('AccessDeniedException', 'The root key belongs to the account of the installation.')
    return { action, resources: ['*'] }
  }
  return [
    {
      method: 'GET',
      path: PATH,
      signedFor: 'ssm',
      authorize: authorize('musterbook:GetRootKey'),
      handle: async (context) => json(await statusOf(context)),
    },
    {
      method: 'POST',
      path: PATH,
      signedFor: 'ssm',
      authorize: authorize('musterbook:RotateRootKey'),
      async handle(context, { body }) {
        await beginRotation(context, /"Now"\s*:\s*true/.test(body.toString()))
        return json(await statusOf(context))
      },
    },
  ]
}

const json = (value: unknown): RouteAnswer => ({
  status: 200,
  contentType: 'application/json',
  body: JSON.stringify(value),
})

async function statusOf(context: Context) {
  const rotation = await store.readRotation(context.sql)
  const holders = await livingHolders(context)
  return {
    InUse: context.sealer.rootKeys.current(),
    Processes: holders.map(({ origin, kept, sealsWith }) => ({ Origin: origin, Keys: kept, SealsWith: sealsWith })),
    Rotation: rotation && {
      Phase: rotation.phase,
      From: rotation.oldName,
      To: rotation.newName,
      Rewrapped: rotation.rewrapped,
      Problem: rotation.problem ?? undefined,
      StartedAt: rotation.startedAt,
      RetireAt: rotation.retireAt ?? undefined,
      EndedAt: rotation.endedAt ?? undefined,
    },
  }
}
