/**
 * For contract tests: a node that does what the test says. It is registered with an activation and speaks the real wire,
 * by the testbed's clock; what the control plane sends it waits here until the test asks for it.
 */
import { createPrivateKey, randomUUID } from 'node:crypto'
import { CreateActivationCommand, SSM } from '@aws-sdk/client-ssm'
import { eventually, REGION, type TestAccount, type Testbed } from '@musterbook/testbed'
import {
  type AgentJob,
  type AgentJobStatus,
  buildAgentJobAck,
  buildAgentJobReply,
  buildReplyPayload,
  CONTROL_MESSAGE,
  decodeAgentMessage,
  encodeAgentMessage,
  millisToAmzDate,
  type PluginStatus,
  parseAgentJob,
  parseAgentJobReplyAck,
  type ResultStatus,
  SEND_COMMAND_TOPIC,
} from '@musterbook/wire'
import type { WebSocket } from 'ws'
import { ApiError } from '../../packages/agent/src/api.ts'
import { openControlSocket } from '../../packages/agent/src/control-channel.ts'
import { newKeyPair, publicKeyText, registerKey } from '../../packages/agent/src/identity.ts'
import { type RoleToken, requestRoleToken } from '../../packages/agent/src/role-token.ts'
import { createTransport, sha256, signedHeaders, type Transport } from '../../packages/agent/src/transport.ts'

/** Making an RSA key takes longer than everything else: all simulated nodes of a file share one. */
let pair: Promise<{ privateKey: string }> | undefined

/** A client that signs by the testbed's clock; the SDK would go back to the wall's with every answer. */
export function clientOf(testbed: Testbed, account: TestAccount): SSM {
  const ssm = new SSM(account.config)
  Object.defineProperty(ssm.config, 'systemClockOffset', {
    get: () => testbed.clock.now().getTime() - Date.now(),
    set: () => {},
  })
  return ssm
}

export interface ReceivedJob extends AgentJob {
  messageId: string
  createdDate: number
}

export interface StepReport {
  status?: ResultStatus
  code?: number
  stdout?: string
  stderr?: string
  action?: string
}

export interface SimulatedNode {
  nodeId: string
  fingerprint: string
  transport: Transport
  token(): RoleToken
  /** Fetches fresh role credentials. */
  renew(fingerprint?: string): Promise<void>
  connect(): Promise<void>
  disconnect(): Promise<void>
  connected(): boolean
  /** The next job that no one has asked for yet; the same message may come more than once. */
  nextJob(): Promise<ReceivedJob>
  /** Jobs that nobody has asked for. */
  waiting(): ReceivedJob[]
  acknowledge(job: ReceivedJob, status?: AgentJobStatus): void
  /** Resolves when the control plane has acknowledged the reply. */
  reply(jobId: string, status: ResultStatus, steps?: Record<string, StepReport>, more?: ReplyMore): Promise<void>
  /** A frame as it stands. */
  send(messageType: string, payload: Uint8Array, messageId?: string): void
  /** A call with the node's role credentials. Throws ApiError. */
  call(target: string, input: object, service?: string): Promise<Record<string, unknown>>
}

interface ReplyMore {
  trace?: string
  topic?: string
  messageId?: string
}

/** Registers a node and reports its platform; its channel is opened by `connect`. */
export async function simulatedNode(
  testbed: Testbed,
  account: TestAccount,
  { tags = {}, platform = 'Linux' }: { tags?: Record<string, string>; platform?: string } = {},
): Promise<SimulatedNode> {
  const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
  const { ActivationId = '', ActivationCode = '' } = await clientOf(testbed, account).send(
    new CreateActivationCommand({ IamRole: 'node', Tags }),
  )
  const node = await registerNode(testbed, { id: ActivationId, code: ActivationCode })
  await node.renew()
  await node.call('AmazonSSM.UpdateInstanceInformation', information(node.nodeId, platform))
  return node
}

export const information = (InstanceId: string, PlatformType: string) => ({
  InstanceId,
  AgentName: 'amazon-ssm-agent',
  AgentVersion: '3.3.0.0',
  AgentStatus: 'Active',
  ComputerName: 'simulated',
  IPAddress: '192.0.2.7',
  PlatformName: PlatformType === 'Linux' ? 'Debian GNU/Linux' : 'Windows Server',
  PlatformVersion: '12',
  PlatformType,
})

export async function registerNode(
  testbed: Testbed,
  activation: { id: string; code: string },
  endpoint = testbed.endpoint,
): Promise<SimulatedNode> {
  const plain = createTransport({ endpoint, region: REGION })
  const transport = { ...plain, amzDate: () => millisToAmzDate(testbed.clock.now().getTime()) }
  pair ??= newKeyPair()
  const { privateKey } = await pair
  const key = createPrivateKey(privateKey)
  const fingerprint = randomUUID()
  const nodeId = await registerKey(transport, activation, fingerprint, publicKeyText(privateKey))
  const jobs: ReceivedJob[] = []
  const acknowledged = new Set<string>()
  let token: RoleToken | undefined
  let socket: WebSocket | undefined
  const open = () => {
    if (socket?.readyState !== 1) throw new Error('the channel of the node is not open')
    return socket
  }
  const needToken = () => {
    if (!token) throw new Error('the node has no role token yet')
    return token
  }
  function send(messageType: string, payload: Uint8Array, messageId: string = randomUUID()): void {
    const createdDate = testbed.clock.now().getTime()
    open().send(encodeAgentMessage({ messageType, messageId, createdDate, payload }, sha256))
  }
  return {
    nodeId,
    fingerprint,
    transport,
    token: needToken,
    async renew(shown = fingerprint) {
      token = await requestRoleToken(transport, { instanceId: nodeId, fingerprint: shown, key })
    },
    async connect() {
      socket = await openControlSocket(transport, nodeId, needToken())
      socket.on('message', (data: Buffer) => {
        const message = decodeAgentMessage(data)
        if (message.messageType === CONTROL_MESSAGE.agentJob)
          jobs.push({
            ...parseAgentJob(message.payload),
            messageId: message.messageId,
            createdDate: message.createdDate,
          })
        if (message.messageType === CONTROL_MESSAGE.agentJobReplyAck)
          acknowledged.add(parseAgentJobReplyAck(message.payload).acknowledgedMessageId)
      })
      const ssm = testbed.server.ground
      await eventually('the channel is known', async () => {
        const [row] = await ssm.sql`select 1 from node_channels where node_id = ${nodeId}`
        return row !== undefined
      })
    },
    async disconnect() {
      socket?.terminate()
      await eventually('the channel is gone', async () => {
        const [row] = await testbed.server.ground.sql`select 1 from node_channels where node_id = ${nodeId}`
        return row === undefined
      })
    },
    connected: () => socket?.readyState === 1,
    nextJob: () => eventually('a job comes', () => jobs.shift()),
    waiting: () => jobs,
    acknowledge(job, status = 'Successful') {
      const createdDate = new Date(job.createdDate).toISOString()
      const ack = { jobId: job.JobId, acknowledgedMessageId: job.messageId, createdDate, status }
      send(CONTROL_MESSAGE.agentJobAck, buildAgentJobAck(ack))
    },
    async reply(jobId, status, steps = {}, { trace = '', topic = SEND_COMMAND_TOPIC, messageId = randomUUID() } = {}) {
      acknowledged.delete(messageId)
      const content = replyPayload(testbed, status, steps, trace)
      send(CONTROL_MESSAGE.agentJobReply, buildAgentJobReply({ jobId, topic, content }), messageId)
      await eventually('the reply is acknowledged', () => acknowledged.has(messageId))
    },
    send,
    async call(target, input, service = 'ssm') {
      const body = JSON.stringify(input)
      const base: [string, string][] = [
        ['content-type', 'application/x-amz-json-1.1'],
        ['x-amz-target', target],
      ]
      const request = { method: 'POST' as const, path: '/', headers: base, body, service }
      const headers = signedHeaders(transport, request, needToken())
      const answer = await transport.send({ method: 'POST', path: '/', headers, body })
      const parsed = JSON.parse(answer.body) as Record<string, unknown>
      if (answer.status === 200) return parsed
      throw new ApiError(String(parsed.__type), String(parsed.message ?? parsed.Message ?? ''), answer.status)
    },
  }
}

export function replyPayload(
  testbed: Testbed,
  status: ResultStatus,
  steps: Record<string, StepReport>,
  trace = '',
): string {
  const now = testbed.clock.now().toISOString()
  return buildReplyPayload({
    additionalInfo: {
      agent: { lang: 'en-US', name: 'amazon-ssm-agent', os: 'linux', osver: '1', ver: '3.3.0.0' },
      dateTime: now,
      runId: '',
      runtimeStatusCounts: {},
    },
    documentStatus: status,
    documentTraceOutput: trace,
    runtimeStatus: Object.fromEntries(
      Object.entries(steps).map(([name, step]): [string, PluginStatus] => [
        name,
        {
          status: step.status ?? 'Success',
          code: step.code ?? 0,
          name: step.action ?? 'aws:runShellScript',
          output: step.stdout ?? '',
          startDateTime: now,
          endDateTime: now,
          outputS3BucketName: '',
          outputS3KeyPrefix: '',
          stepName: '',
          standardOutput: step.stdout ?? '',
          standardError: step.stderr ?? '',
        },
      ]),
    ),
  })
}
