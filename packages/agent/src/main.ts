// The agent as a value: runs until its signal, then leaves everything on disk for the next one. Order at start: data
// folder, identity, role credentials; then health, control channel, documents and housekeeping side by side.

import { callSigned, worthRetrying } from './api.ts'
import { type ControlChannel, createControlChannel } from './control-channel.ts'
import { createRoleCredentials } from './credentials.ts'
import { type DataFolder, dataFolderOf, lockDataFolder, makeDataFolder } from './data-folder.ts'
import { writeDurably } from './durable-files.ts'
import { createHealth } from './health.ts'
import { type Identity, RegistrationError, registered, registeredForGood } from './identity.ts'
import { forgetOld } from './inbox.ts'
import { openLiveOutput } from './live-output.ts'
import { createLog, type Log, reason } from './log.ts'
import { rewrittenReply } from './lost-replies.ts'
import { receiveMail } from './mail.ts'
import { openOutbox, type SendMessage } from './outbox.ts'
import { watchParent } from './parent-watch.ts'
import { pause } from './pause.ts'
import { createRunner } from './runner.ts'
import { createSessions } from './sessions/index.ts'
import { type AgentSettings, parseSettings, type Settings } from './settings.ts'
import { beFast } from './thrift.ts'
import { createTransport, type Transport } from './transport.ts'

const HOUSEKEEPING_EVERY = 3600_000
/** Pauses between attempts to register, in milliseconds; they double up to the longest. */
const FIRST_PAUSE = 1000
const LONGEST_PAUSE = 60_000
/** Milliseconds between two looks for replies to send again; costs nothing while none wait. */
const LOOK_FOR_DUE_EVERY = 1000

/**
 * Registers this machine if its data folder holds no identity that the endpoint takes, and answers the node id. Throws
 * SettingsError, RegistrationError, and connection errors.
 */
export async function registerAgent(given: AgentSettings): Promise<string> {
  const settings = parseSettings(given)
  const folder = dataFolderOf(settings.dataFolder)
  await makeDataFolder(folder)
  const unlock = await lockDataFolder(folder)
  const transport = createTransport(settings)
  try {
    const identity = await registeredForGood(settings, folder, transport, createLog(settings.logLevel))
    return identity.instanceId
  } finally {
    transport.close()
    await unlock()
  }
}

/**
 * Runs the agent until the signal, or until its parent is gone. Resolves when everything is at rest; documents that run
 * go on without it. Throws what registerAgent throws, and when another agent works in the data folder.
 */
export async function runAgent(given: AgentSettings, signal: AbortSignal): Promise<void> {
  const settings = parseSettings(given)
  const log = createLog(settings.logLevel)
  const folder = dataFolderOf(settings.dataFolder)
  await makeDataFolder(folder)
  const stop = new AbortController()
  signal.addEventListener('abort', () => stop.abort(), { once: true })
  if (signal.aborted) stop.abort()
  const unwatch = watchParent(settings, () => {
    if (!stop.signal.aborted) log.info('parent gone')
    stop.abort()
  })
  const unlock = await lockDataFolder(folder)
  const transport = createTransport({ ...settings, clockIsWrong: (ahead) => warnOfClock(ahead, log) })
  // Calls that a silent control plane does not answer would hold the end up for a minute.
  stop.signal.addEventListener('abort', () => transport.close(), { once: true })
  try {
    const identity = await registeredAtLast(settings, folder, transport, log, stop.signal)
    if (identity === undefined) return
    await writeConnection(folder, settings, identity)
    await work(settings, folder, transport, identity, log, stop.signal)
    log.info('agent stopped', { instanceId: identity.instanceId })
  } finally {
    unwatch()
    transport.close()
    await unlock()
  }
}

/** A control plane that is away, or has too much to do just now, is waited for; undefined when the signal comes first. */
async function registeredAtLast(
  settings: Settings,
  folder: DataFolder,
  transport: Transport,
  log: Log,
  signal: AbortSignal,
): Promise<Identity | undefined> {
  for (let millis = FIRST_PAUSE; !signal.aborted; millis = Math.min(LONGEST_PAUSE, millis * 2)) {
    try {
      return await registered(settings, folder, transport, log)
    } catch (error) {
      if (error instanceof RegistrationError || !worthRetrying(error)) throw error
      log.warn('not registered yet', { reason: reason(error) })
      await pause(millis * (0.5 + Math.random() / 2), signal)
    }
  }
  return undefined
}

async function work(
  settings: Settings,
  folder: DataFolder,
  transport: Transport,
  identity: Identity,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { instanceId } = identity
  log.info('agent starts', { instanceId, endpoint: settings.endpoint })
  const credentials = createRoleCredentials(identity, folder, transport, log)
  let channel: ControlChannel | undefined
  const send: SendMessage = (type, messageId, payload) => channel?.send(type, messageId, payload) ?? false
  const outbox = await openOutbox(folder.replies, send, (id) => rewrittenReply(folder, instanceId, id), log)
  const output = await openLiveOutput(folder, instanceId, send, log)
  const runner = await createRunner(settings, folder, instanceId, outbox, output, log, signal)
  const health = createHealth({
    instanceId,
    everySeconds: settings.healthSeconds,
    call: (operation, input, until) => callSigned(transport, credentials.current, operation, input, { signal: until }),
    refused: credentials.renewSoon,
    log,
  })
  const mail = receiveMail({ instanceId, runner, outbox, output, send, log })
  const { sessionUser } = settings
  const sessions = createSessions({ transport, credentials: credentials.current, instanceId, sessionUser, log }, send)
  const controlChannel = createControlChannel({
    transport,
    instanceId,
    credentials: credentials.current,
    opened() {
      health.channelOpened()
      output.channelOpened()
      outbox.sendDue(true).catch((error) => log.error('replies not sent', { reason: reason(error) }))
    },
    received(message) {
      if (sessions.received(message)) beFast()
      else mail(message)
    },
    refused: credentials.renewSoon,
    log,
  })
  channel = controlChannel
  // What an earlier agent left goes on at once; only talking has to wait for credentials.
  const talking = credentials.ready.then(() => Promise.all([health.run(signal), controlChannel.run(signal)]))
  const resending = every(LOOK_FOR_DUE_EVERY, signal, log, () => outbox.sendDue(false))
  const tidying = every(HOUSEKEEPING_EVERY, signal, log, () => forgetOld(folder))
  await credentials.run(signal)
  const hadCredentials = await Promise.race([credentials.ready.then(() => true), Promise.resolve(false)])
  if (hadCredentials) await talking
  await Promise.all([runner.stopped(), sessions.stopped()])
  output.close()
  resending()
  tidying()
}

function warnOfClock(ahead: number, log: Log): void {
  const seconds = Math.round(Math.abs(ahead) / 1000)
  log.warn('the clock of this machine is wrong: the agent goes by that of the control plane', {
    [ahead > 0 ? 'secondsAhead' : 'secondsBehind']: seconds,
  })
}

/** Where an executor finds the control plane: it has no settings of its own. */
async function writeConnection(folder: DataFolder, settings: Settings, identity: Identity): Promise<void> {
  const { endpoint, region, ca } = settings
  const content = JSON.stringify({ endpoint, region, ca, instanceId: identity.instanceId })
  await writeDurably(folder.connection, content)
}

/** The answer stops it; so does the signal. */
function every(millis: number, signal: AbortSignal, log: Log, act: () => Promise<unknown>): () => void {
  let busy = false
  const timer = setInterval(() => {
    if (busy || signal.aborted) return
    busy = true
    act()
      .catch((error) => log.error('background work failed', { reason: reason(error) }))
      .finally(() => {
        busy = false
      })
  }, millis)
  const stop = () => clearInterval(timer)
  signal.addEventListener('abort', stop, { once: true })
  return stop
}
