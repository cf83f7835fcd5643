/**
 * A server process: from a database and a root key to listening sockets, as one value that stops when it is disposed.
 * Several of these on one database are the normal case.
 */

import { openInstallation, type RootCredentials } from './capabilities/identity/index.ts'
import { openRootKeys } from './capabilities/root-key/index.ts'
import { capabilities } from './capabilities.ts'
import { startWork, type Work } from './engines/background/driver.ts'
import { type Authenticated, createAuthenticator } from './engines/gateway/authenticate.ts'
import type { Dispatch, Request } from './engines/gateway/dispatch.ts'
import { openDoors } from './engines/gateway/doors.ts'
import { type Limits, type Listener, listen } from './engines/gateway/listener.ts'
import { createMetrics } from './engines/gateway/metrics.ts'
import { DEFAULT_THROTTLE, type ThrottleLimits, throttled } from './engines/gateway/throttle.ts'
import type { Scope } from './platform/arn.ts'
import { anonymous, type Caller } from './platform/caller.ts'
import {
  type Choices,
  DEFAULT_CHOICES,
  type Host,
  type NodeGrant,
  type NodeMessageHandler,
  type Observer,
  type Running,
} from './platform/capability.ts'
import { type Clock, pause, systemClock } from './platform/clock.ts'
import { Closing } from './platform/closing.ts'
import { contextMaker, type Ground, transactional, type WorkContext } from './platform/context.ts'
import { connectDatabase, type Database, type DatabaseAddress } from './platform/database.ts'
import { uuid } from './platform/ids.ts'
import type { Logger } from './platform/log.ts'
import { migrate } from './platform/migrate.ts'
import { gather } from './platform/registry.ts'
import { createSealer, type RootKeySource } from './platform/seal.ts'
import { openWakes } from './platform/wake.ts'

export interface ServerOptions {
  database: DatabaseAddress
  /** 32 bytes, or where several are kept. */
  rootKey: Uint8Array | RootKeySource
  region: string
  /** Name or address under which clients and nodes reach this process; the listening address when absent. */
  publicName?: string
  /** The account of a new installation; generated when absent. */
  account?: string
  /** Root credentials of a new installation; generated when absent. */
  rootCredentials?: { accessKeyId: string; secretAccessKey: string }
  host: string
  port: number
  tlsPort?: number
  tls?: { key: string; cert: string }
  maxConnections: number
  /** What clients may send; for tests. */
  limits?: Partial<Limits>
  /** How much one sender may ask. */
  throttle?: Partial<ThrottleLimits>
  /** What is left out is as AWS has it. */
  settings?: Partial<Choices>
  log: Logger
  clock?: Clock
  /** Checks every answer against the model: on in test runs. */
  strict?: boolean
}

export interface ServerProcess extends AsyncDisposable {
  listener: Listener
  root: RootCredentials
  ground: Ground
  database: Database
  work: Work
}

/** A database that takes longer to answer is as good as gone to whoever asks at /readyz. */
const READY_MS = 2_000

export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  await using undo = new Closing()
  const { log, clock = systemClock } = options
  const database = connectDatabase(options.database, 'musterbook')
  undo.defer(() => database.end({ timeout: 5 }))
  await migrate(database, capabilities)

  const processId = uuid()
  const wakes = undo.use(await openWakes(database, processId, log))
  const stopping = new AbortController()
  let streamOrigin: string | undefined
  const choices: Choices = { ...DEFAULT_CHOICES, ...options.settings }
  const base = {
    processId,
    choices,
    sql: database,
    sealer: createSealer(options.rootKey),
    log,
    now: () => clock.now(),
    streamOrigin: () => streamOrigin,
    wake: (topic: string, key?: string) => wakes.post(topic, key),
  }
  const ground = transactional(database, base)
  await openRootKeys(ground)
  const root = await openInstallation(ground, {
    account: options.account,
    region: options.region,
    ...options.rootCredentials,
  })

  const contextFor = contextMaker(ground)
  const nodeMessages = new Map<string, NodeMessageHandler>()
  const nodeGrants = new Map<string, NodeGrant>()
  const host: Host = transactional(database, {
    ...base,
    clock,
    signal: stopping.signal,
    settings: { ...choices, account: root.account, region: options.region },
    nodeMessages,
    nodeGrants,
    onWake: (topic: string, listener: (key: string | undefined) => void) => wakes.on(topic, listener),
    contextFor: ({ account, region }: Scope, caller: Caller = anonymous) =>
      contextFor({
        account,
        region,
        caller,
        requestId: uuid(),
        sourceIp: '',
        encrypted: false,
        host: '',
        userAgent: '',
      }),
  })
  const started = new Map<string, Running>()
  const closers = undo.use(new Closing())
  for (const capability of capabilities) {
    const part = await capability.start?.(host)
    if (!part) continue
    started.set(capability.name, part)
    closers.defer(async () => part.close?.())
    for (const [type, handler] of Object.entries(part.nodeMessages ?? {})) nodeMessages.set(type, handler)
    for (const [action, grant] of Object.entries(part.nodeGrants ?? {})) nodeGrants.set(action, grant)
  }
  const running = [...started.values()]
  const registry = gather(capabilities, started)

  const metrics = createMetrics()
  const gate: Dispatch = {
    registry,
    authenticator: throttled(
      createAuthenticator(one(running, 'credentials'), one(running, 'nodeKeys'), () => clock.now()),
      { ...DEFAULT_THROTTLE, ...options.throttle },
      () => clock.now().getTime(),
    ),
    authorizer: one(running, 'authorizer'),
    metrics,
    observers: running.flatMap((part): Observer[] => part.observers ?? []),
    auditor: running.find((part) => part.auditor)?.auditor,
    log,
    region: options.region,
    strict: options.strict ?? false,
    contextFor: ({ requestId, sourceIp, encrypted, host, userAgent }: Request, { caller, region }: Authenticated) =>
      contextFor({ account: caller.account, region, caller, requestId, sourceIp, encrypted, host, userAgent }),
    now: () => performance.now(),
  }
  const doors = openDoors(
    gate,
    running.flatMap((part) => part.routes ?? []),
    running.flatMap((part) => part.sockets ?? []),
    () =>
      Promise.race([
        database`select 1`.then(
          () => true,
          () => false,
        ),
        pause(READY_MS).then(() => false),
      ]),
  )
  const listener = undo.use(
    await listen({ ...options, tlsPort: options.tls ? options.tlsPort : undefined, log, metrics }, doors),
  )
  // Before the listener, which waits for open connections: capabilities take leave of those that they hold.
  undo.defer(() => closers[Symbol.asyncDispose]())
  streamOrigin = originOf(options, listener)
  const workContext: WorkContext = transactional(database, { ...base, signal: stopping.signal })
  const work = undo.use(startWork({ clock, log, context: workContext, onWake: host.onWake }, registry.reconcilers))
  undo.defer(async () => stopping.abort())
  const parts = undo.move()
  return { listener, root, ground, database, work, [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose]() }
}

function originOf({ publicName, host }: ServerOptions, { port, tlsPort }: Listener): string {
  const name = publicName ?? (host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host)
  const bracketed = name.includes(':') ? `[${name}]` : name
  return tlsPort === undefined ? `ws://${bracketed}:${port}` : `wss://${bracketed}:${tlsPort}`
}

/** What exactly one capability provides. */
function one<Part extends keyof Running>(running: Running[], part: Part): NonNullable<Running[Part]> {
  const [found, second] = running.filter((each) => each[part] !== undefined)
  if (!found || second) throw new Error(`exactly one capability must provide ${part}`)
  return found[part]!
}
