// Many nodes in one process, for benches and tests of the control plane: each speaks the real wire (registration, role
// token, health, control channel), but instead of running a document it acknowledges it and answers with a fixed output.
// Nothing is written to disk; all nodes share one RSA key, because making one takes longer than everything else.

import { createPrivateKey, type KeyObject, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AgentMessage,
  buildAgentJobAck,
  buildAgentJobReply,
  buildReplyPayload,
  CONTROL_MESSAGE,
  decodeAgentMessage,
  encodeAgentMessage,
  parseAgentJob,
  parseAgentJobReplyAck,
  parseSendCommandPayload,
  type ReplyPayload,
  type SigningCredentials,
  topicKind,
} from '@musterbook/wire'
import type { WebSocket } from 'ws'
import { callSigned } from './api.ts'
import { openControlSocket } from './control-channel.ts'
import { instanceInformation } from './health.ts'
import { newKeyPair, publicKeyText, registerKey } from './identity.ts'
import { AGENT_NAME, AGENT_VERSION } from './platform.ts'
import { requestRoleToken } from './role-token.ts'
import { createTransport, sha256, type Transport } from './transport.ts'

/** A node that exists already. */
export interface PreparedNode {
  instanceId: string
  credentials: SigningCredentials
}

export interface SimulateOptions {
  /** `https://host:port`, or `http://host:port` to leave TLS out of the measurement. */
  endpoint: string
  region: string
  /** PEM to trust instead of the system's certificates. */
  ca?: string | undefined
  /** How many nodes; ignored when `nodes` is given. */
  count: number
  /** Registers `count` nodes; its RegistrationLimit must allow them. */
  activation?: { id: string; code: string } | undefined
  /** Uses these instead of registering. */
  nodes?: PreparedNode[] | undefined
  /** Standard output of every step of every command; one line otherwise. */
  stdout?: string | undefined
  /** Nodes that are being connected at once; 32. */
  concurrency?: number | undefined
  /** Sends one UpdateInstanceInformation per node before its channel opens; on. */
  reportHealth?: boolean | undefined
}

export interface SimulatedNodes {
  instanceIds: string[]
  /** What was registered, to be given to another call as `nodes` while its tokens live (an hour). */
  nodes: PreparedNode[]
  counts: SimulationCounts
  /** Resolves when this many final replies have been acknowledged since the start. */
  finished(commands: number): Promise<void>
  /** Closes all channels; they are not opened again. */
  close(): void
}

export interface SimulationCounts {
  open: number
  reopened: number
  commands: number
  cancels: number
  acknowledged: number
}

/** Nodes that are being registered or connected at once. */
const CONCURRENCY = 32

/** Connects all nodes and resolves when every control channel is open; a channel that breaks later opens again. */
export async function simulateNodes(options: SimulateOptions): Promise<SimulatedNodes> {
  const concurrency = options.concurrency ?? CONCURRENCY
  const { endpoint, region, ca } = options
  const transport = createTransport({ endpoint, region, ca, maxSockets: concurrency })
  const counts: SimulationCounts = { open: 0, reopened: 0, commands: 0, cancels: 0, acknowledged: 0 }
  const stop = new AbortController()
  const sockets = new Set<WebSocket>()
  const waiters: Array<{ commands: number; resolve: () => void }> = []
  const noteFinished = () => {
    counts.acknowledged += 1
    for (const waiter of waiters) if (counts.acknowledged >= waiter.commands) waiter.resolve()
  }
  const nodes = options.nodes ?? (await registerOver(transport, options, concurrency))
  const stdout = options.stdout ?? 'simulated\n'
  await inParallel(nodes, concurrency, async (node) => {
    if (options.reportHealth !== false) {
      const input = instanceInformation(node.instanceId, '')
      await callSigned(transport, () => node.credentials, 'UpdateInstanceInformation', input)
    }
    await keepOpen({ transport, node, stdout, counts, noteFinished, sockets, signal: stop.signal })
  })
  return {
    instanceIds: nodes.map((node) => node.instanceId),
    nodes,
    counts,
    finished(commands) {
      if (counts.acknowledged >= commands) return Promise.resolve()
      return new Promise((resolve) => waiters.push({ commands, resolve }))
    },
    close() {
      stop.abort()
      for (const socket of sockets) socket.terminate()
      transport.close()
    },
  }
}

/** Registers `count` nodes with the activation without connecting them, to be given to `simulateNodes` as `nodes`. */
export async function registerNodes(options: SimulateOptions): Promise<PreparedNode[]> {
  const concurrency = options.concurrency ?? CONCURRENCY
  const transport = createTransport({ ...options, maxSockets: concurrency })
  try {
    return await registerOver(transport, options, concurrency)
  } finally {
    transport.close()
  }
}

async function registerOver(
  transport: Transport,
  options: SimulateOptions,
  concurrency: number,
): Promise<PreparedNode[]> {
  const { activation, count } = options
  if (activation === undefined) throw new TypeError('either an activation or prepared nodes are needed')
  const { privateKey } = await newKeyPair()
  const key = createPrivateKey(privateKey)
  const publicKey = publicKeyText(privateKey)
  const nodes: PreparedNode[] = []
  await inParallel(Array.from({ length: count }), concurrency, async () => {
    nodes.push(await registerNode(transport, activation, key, publicKey))
  })
  return nodes
}

async function registerNode(
  transport: Transport,
  activation: { id: string; code: string },
  key: KeyObject,
  publicKey: string,
): Promise<PreparedNode> {
  const fingerprint = randomUUID()
  const instanceId = await registerKey(transport, activation, fingerprint, publicKey)
  const { accessKeyId, secretAccessKey, sessionToken } = await requestRoleToken(transport, {
    instanceId,
    fingerprint,
    key,
  })
  return { instanceId, credentials: { accessKeyId, secretAccessKey, sessionToken } }
}

interface Simulated {
  transport: Transport
  node: PreparedNode
  stdout: string
  counts: SimulationCounts
  noteFinished(): void
  /** All that are open: a signal walks through its listeners for each one that is added, which ten thousand are too many for. */
  sockets: Set<WebSocket>
  signal: AbortSignal
}

/** Resolves with the first opening; afterwards the node looks after itself. */
async function keepOpen(node: Simulated): Promise<void> {
  const socket = await openControlSocket(node.transport, node.node.instanceId, node.node.credentials)
  node.counts.open += 1
  /** Message ids of final replies under way; a control plane may acknowledge one more than once. */
  const finals = new Set<string>()
  node.sockets.add(socket)
  socket.on('message', (data, binary) => {
    if (!binary || !(data instanceof Uint8Array)) return
    try {
      answer(node, socket, decodeAgentMessage(data), finals)
    } catch {
      // Not a frame, or not a job: a simulated node has nobody to tell.
    }
  })
  socket.on('close', () => {
    node.sockets.delete(socket)
    node.counts.open -= 1
    if (!node.signal.aborted) void reopen(node)
  })
  if (node.signal.aborted) socket.terminate()
}

async function reopen(node: Simulated): Promise<void> {
  for (let failures = 0; !node.signal.aborted; failures++) {
    await sleep(Math.min(30_000, 400 * 2 ** failures) * (0.5 + Math.random() / 2))
    try {
      await keepOpen(node)
      node.counts.reopened += 1
      return
    } catch {
      // Tried again; what refuses all nodes shows in `counts.open`.
    }
  }
}

function answer(node: Simulated, socket: WebSocket, message: AgentMessage, finals: Set<string>): void {
  if (message.messageType === CONTROL_MESSAGE.agentJobReplyAck) {
    if (finals.delete(parseAgentJobReplyAck(message.payload).acknowledgedMessageId)) node.noteFinished()
    return
  }
  if (message.messageType !== CONTROL_MESSAGE.agentJob) return
  const job = parseAgentJob(message.payload)
  const send = (messageType: string, payload: Uint8Array): string => {
    const messageId = randomUUID()
    socket.send(encodeAgentMessage({ messageType, messageId, createdDate: Date.now(), payload }, sha256))
    return messageId
  }
  const ack = {
    jobId: job.JobId,
    acknowledgedMessageId: message.messageId,
    createdDate: new Date(message.createdDate).toISOString(),
    status: 'Successful' as const,
  }
  send(CONTROL_MESSAGE.agentJobAck, buildAgentJobAck(ack))
  if (topicKind(job.Topic) !== 'sendCommand') {
    node.counts.cancels += 1
    return
  }
  node.counts.commands += 1
  const { DocumentContent: document } = parseSendCommandPayload(job.Content)
  const content = buildReplyPayload(successOf(stepsOf(document), node.stdout))
  const reply = buildAgentJobReply({ jobId: job.JobId, topic: job.Topic, content })
  finals.add(send(CONTROL_MESSAGE.agentJobReply, reply))
}

interface SimulatedStep {
  id: string
  action: string
}

function stepsOf(document: Readonly<Record<string, unknown>>): SimulatedStep[] {
  const { mainSteps, runtimeConfig } = document
  if (Array.isArray(mainSteps)) {
    return mainSteps.map((step: { name?: unknown; action?: unknown }) => ({
      id: String(step.name),
      action: String(step.action),
    }))
  }
  return Object.keys(typeof runtimeConfig === 'object' && runtimeConfig !== null ? runtimeConfig : {}).map((name) => ({
    id: name,
    action: name,
  }))
}

function successOf(steps: SimulatedStep[], stdout: string): ReplyPayload {
  const now = new Date().toISOString()
  const status = (action: string) => ({
    status: 'Success' as const,
    code: 0,
    name: action,
    output: stdout.slice(0, 2500),
    startDateTime: now,
    endDateTime: now,
    outputS3BucketName: '',
    outputS3KeyPrefix: '',
    stepName: '',
    standardOutput: stdout.slice(0, 24_000),
    standardError: '',
  })
  return {
    additionalInfo: {
      agent: { lang: 'en-US', name: AGENT_NAME, os: 'linux', osver: '1', ver: AGENT_VERSION },
      dateTime: now,
      runId: '',
      runtimeStatusCounts: { Success: steps.length },
    },
    documentStatus: 'Success',
    documentTraceOutput: '',
    runtimeStatus: Object.fromEntries(steps.map(({ id, action }) => [id, status(action)])),
  }
}

/** All items, so many at a time; the first failure ends it. */
async function inParallel<Item>(items: Item[], width: number, act: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values()
  const workers = Array.from({ length: Math.min(width, items.length) }, async () => {
    for (const item of queue) await act(item)
  })
  await Promise.all(workers)
}
