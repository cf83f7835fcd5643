// One session from its first message to its last word: document, data channel, handshake, the program or port behind it,
// and how it ended. Called by index.ts.

import {
  DocumentError,
  type JsonObject as DocumentObject,
  parseDocument,
  planSession,
  ssmReferences,
} from '@musterbook/document'
import {
  type InteractiveShell,
  type JsonObject,
  PAYLOAD_TYPE,
  type SigningCredentials,
  type TaskStatus,
} from '@musterbook/wire'
import { callSigned } from '../api.ts'
import { type Log, reason } from '../log.ts'
import { storedValues } from '../stored-values.ts'
import type { Transport } from '../transport.ts'
import { startCommand } from './command.ts'
import { openDataChannel } from './data-channel.ts'
import { type Handshake, shakeHands } from './handshake.ts'
import { type Kind, type KindContext, ownPart, text, truth } from './kind.ts'
import { kmsDecrypt } from './kms.ts'
import { startPort } from './port.ts'
import { runAs } from './run-as.ts'
import { startShell } from './shell.ts'

/** How long the client may take to acknowledge what was said last. */
const DRAIN_MS = 2_000
/** Bytes taken before the program or port is there. */
const MAX_EARLY_BYTES = 256 * 1024

export interface SessionHost {
  transport: Transport
  credentials: () => SigningCredentials
  instanceId: string
  sessionUser: string
  log: Log
}

export interface SessionResult {
  status: TaskStatus
  /** The failure in words. */
  output: string
}

type Plan = ReturnType<typeof planSession>

/** Never rejects. The signal ends the session. */
export async function runSession(
  host: SessionHost,
  shell: InteractiveShell,
  signal: AbortSignal,
): Promise<SessionResult> {
  let plan: Plan
  try {
    plan = await readPlan(shell, host)
  } catch (error) {
    return { status: 'Failed', output: reason(error) }
  }
  const { SessionId: sessionId } = shell
  let kind: Kind | undefined
  let handshake: Handshake | undefined
  /** What came while the program or port was being started: taken at once, so that the client need not repeat it. */
  const early: { payloadType: number; payload: Uint8Array }[] = []
  let earlyBytes = 0
  let stop = (_why: string) => {}
  const stopped = new Promise<string>((resolve) => {
    stop = resolve
  })
  const onAbort = () => stop('')
  signal.addEventListener('abort', onAbort, { once: true })
  const channel = openDataChannel({
    transport: host.transport,
    credentials: host.credentials,
    instanceId: host.instanceId,
    sessionId,
    received,
    writable: () => kind?.writable(),
    closed: (why) => stop(why),
    log: host.log,
  })
  channel.state('Connected')
  let canceled = false
  let agreed = false
  try {
    const clientVersion = await Promise.race([
      needsHandshake(plan) ? handshaken() : '',
      stopped.then(() => {
        canceled = true
        return ''
      }),
    ])
    if (canceled) return { status: 'Success', output: '' }
    agreed = true
    const failure = await work(clientVersion)
    await channel.drained(DRAIN_MS)
    if (!canceled && plan.sessionType !== 'Port') channel.state('Terminating')
    return failure === undefined ? { status: 'Success', output: '' } : { status: 'Failed', output: failure }
  } catch (error) {
    await channel.drained(DRAIN_MS)
    return { status: 'Failed', output: reason(error) }
  } finally {
    signal.removeEventListener('abort', onAbort)
    channel.close()
  }

  function received(payloadType: number, payload: Uint8Array): boolean {
    if (kind) return takeEarly(kind) && kind.received(payloadType, payload)
    if (handshake?.received(payloadType, payload)) return true
    if (!agreed || earlyBytes + payload.length > MAX_EARLY_BYTES) return false
    early.push({ payloadType, payload })
    earlyBytes += payload.length
    return true
  }

  /** False while something of it is left. */
  function takeEarly(started: Kind): boolean {
    for (let first = early[0]; first; first = early[0]) {
      if (!started.received(first.payloadType, first.payload)) return false
      early.shift()
    }
    return true
  }

  async function handshaken(): Promise<string> {
    const kmsKeyId = plan.sessionType === 'Port' ? '' : text(plan.inputs.kmsKeyId)
    handshake = shakeHands({
      channel,
      sessionType: plan.sessionType,
      properties: plan.sessionType === 'Port' ? asJson(plan.properties ?? {}) : null,
      kmsKeyId,
      decrypt: (ciphertext, challenge) =>
        kmsDecrypt(host.transport, host.credentials(), {
          keyId: kmsKeyId,
          ciphertext,
          context: {
            'aws:ssm:SessionId': sessionId,
            'aws:ssm:TargetId': host.instanceId,
            ...(challenge === undefined ? {} : { 'aws:ssm:RandomChallenge': challenge }),
          },
        }),
    })
    return handshake.done
  }

  /** Resolves with the failure, if it was one, when what the session is about has ended. */
  function work(clientVersion: string): Promise<string | undefined> {
    return new Promise((resolve, reject) => {
      const start = async () => {
        const context: KindContext = {
          send: (payloadType, payload) => channel.send(payloadType, payload),
          ended: resolve,
          runAs: await runAs(wishOf(plan, shell, host)),
          inputs: asJson(plan.inputs),
          properties: asJson(plan.properties ?? {}),
          clientVersion,
        }
        kind = await startKind(plan, context)
        // An empty word tells the client of a silent program that it is here and can be typed to.
        if (!handshake) context.send(PAYLOAD_TYPE.Output, new Uint8Array(0))
        takeEarly(kind)
        channel.retry()
        await stopped
        canceled = true
        kind.stop()
      }
      start().catch(reject)
    })
  }
}

const needsHandshake = ({ sessionType, inputs }: Plan): boolean =>
  sessionType === 'Port' || sessionType === 'NonInteractiveCommands' || text(inputs.kmsKeyId) !== ''

/** `{{ ssm:… }}` is what the node itself may read, as with the official agent. */
async function readPlan(shell: InteractiveShell, { transport, credentials }: SessionHost): Promise<Plan> {
  const document = parseDocument(JSON.stringify(shell.DocumentContent), 'JSON', 'Session')
  if (document.kind !== 'session') throw new DocumentError('InvalidDocument', 'That is not a session document.')
  const parameters = shell.Parameters as DocumentObject
  const call = (operation: string, input: object) => callSigned(transport, credentials, operation, input)
  return planSession(document, parameters, await storedValues(call, ssmReferences(document, parameters)))
}

function wishOf(plan: Plan, shell: InteractiveShell, host: SessionHost) {
  const { inputs, sessionType, properties } = plan
  const named = shell.RunAsUser.trim() || text(inputs.runAsDefaultUser).trim()
  return {
    // A port is opened by the agent itself.
    elevated: sessionType === 'Port' || ownPart(asJson(properties ?? {})).runAsElevated === true,
    user: truth(inputs.runAsEnabled) ? named : undefined,
    sessionUser: host.sessionUser,
  }
}

async function startKind({ sessionType, inputs }: Plan, context: KindContext): Promise<Kind> {
  if (sessionType === 'Port') return startPort(context)
  if (sessionType === 'NonInteractiveCommands') return startCommand(context)
  if (sessionType === 'InteractiveCommands') {
    const commands = text(ownPart(context.properties).commands)
    if (commands.trim() === '') throw new Error('The session document has no commands for this platform.')
    return startShell(context, commands, '')
  }
  const profile = inputs.shellProfile
  const own = typeof profile === 'object' && profile !== null && !Array.isArray(profile) ? text(profile.linux) : ''
  return startShell(context, undefined, own)
}

/** The two packages name the same JSON: read-only there, plain here. */
const asJson = (value: DocumentObject): JsonObject => value as JsonObject
