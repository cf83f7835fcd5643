// The service's side of the wire as a small TLS peer for one node, so that the agent's tests need no database: it checks
// what it is sent (RSA and SigV4 signatures included), keeps it, and answers as the protocol says. Not a model of the
// control plane: it decides nothing.

import {
  constants,
  createHash,
  createHmac,
  createPublicKey,
  randomBytes,
  randomUUID,
  verify,
  webcrypto,
} from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type AgentJobAck,
  amzDateToMillis,
  buildAgentJob,
  buildAgentJobReplyAck,
  buildCancelCommandPayload,
  buildChannelToken,
  buildJobId,
  buildOutputAck,
  buildSendCommandPayload,
  CANCEL_COMMAND_TOPIC,
  canonicalRequest,
  credentialScope,
  decodeAgentMessage,
  encodeAgentMessage,
  type HeaderPairs,
  OUTPUT_MESSAGE,
  parseAgentJobAck,
  parseAgentJobReply,
  parseAuthorization,
  parseOpenControlChannel,
  parseOutputChunk,
  parseReplyPayload,
  type ReplyPayload,
  SEND_COMMAND_TOPIC,
  signatureOf,
  signingKey,
  stringToSign,
} from '@musterbook/wire'
import 'reflect-metadata'
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509'
import { type WebSocket, WebSocketServer } from 'ws'

/** By how much a signature's date may differ from the clock, in milliseconds, as with AWS. */
const SKEW = 5 * 60_000

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex')
const hmac = (key: Uint8Array | string, data: string) => createHmac('sha256', key).update(data).digest()

export const ACTIVATION = { id: 'a0b1c2d3-0000-4000-8000-0123456789ab', code: 'Activation0Code0Of0The0Peer' }
export const REGION = 'us-east-1'

export interface ReceivedReply extends ReplyPayload {
  messageId: string
  jobId: string
  topic: string
}

export interface Registered {
  instanceId: string
  publicKey: string
  fingerprint: string
}

export interface Peer {
  endpoint: string
  caFile: string
  /** Everything in the order in which it came; repetitions included. */
  registrations: Registered[]
  tokenRequests: { fingerprint: string; instanceId: string; signatureIsValid: boolean }[]
  health: Record<string, string>[]
  acks: AgentJobAck[]
  replies: ReceivedReply[]
  /** What came of each stream of live output, by `<job id> <step> <stream>`. */
  output: Map<string, string>
  /** Set to take no more live output, as if every chunk were lost. */
  loseOutput: boolean
  /** How often the control channel was opened. */
  openings: number
  /** Set to answer every call with 503. */
  busy: boolean
  /** Set to answer no call any more. */
  silent: boolean
  /** Calls that came while it was one of the two. */
  unanswered: number
  /** Set to refuse replies their acknowledgement. */
  keepReplyAcks: boolean
  /** Set to be sent back with the next role token. */
  wantNewKey: boolean
  /** Set to answer role-token requests with this AWS error. */
  tokenError: string | undefined
  /** Life of a role token in seconds. */
  tokenSeconds: number
  /** What GET answers, by path. */
  files: Map<string, { status?: number; headers?: Record<string, string>; body?: string }>
  /** What GET of a bucket answers to a query, by path. */
  listings: Map<string, (query: string) => string>
  /** Who asked for a file: whether with the node's signature for s3, and with which Authorization. */
  downloads: { path: string; isSigned: boolean; authorization: string | undefined }[]
  /** Answers of operations by name, beside those that every node needs. */
  answers: Map<string, (input: Record<string, unknown>) => unknown>
  sendCommand(command: SentCommand): string
  sendCancel(jobId: string): string
  /** Bytes as they are, on the control channel. */
  sendRaw(bytes: Uint8Array | string): void
  sendMessage(messageType: string, payload: Uint8Array): void
  dropConnections(): void
  close(): Promise<void>
}

export interface SentCommand {
  commandId?: string
  parameters?: Record<string, unknown>
  document: object
}

export async function startPeer(): Promise<Peer> {
  const folder = mkdtempSync(join(tmpdir(), 'musterbook-peer-'))
  const { key, certificate } = await selfSigned()
  const caFile = join(folder, 'ca.pem')
  writeFileSync(caFile, certificate)
  const secret = randomBytes(20).toString('hex')
  const sessionToken = randomBytes(20).toString('hex')
  const keys = new Map<string, string>()
  const channelTokens = new Set<string>()
  let socket: WebSocket | undefined

  const server = createServer({ key, cert: certificate }, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      try {
        answer(request, response, Buffer.concat(chunks).toString('utf8'))
      } catch (error) {
        refuse(response, 'InternalServerError', String(error), 500)
      }
    })
  })
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })
  server.on('upgrade', (request, stream, head) => {
    if (!signatureIsValid(request, '', 'ssmmessages')) return stream.destroy()
    sockets.handleUpgrade(request, stream, head, (opened) => {
      opened.on('error', () => {})
      opened.on('message', (data, binary) => (binary ? receive(data as Buffer) : open(opened, String(data))))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  const peer: Peer = {
    endpoint: `https://localhost:${port}`,
    caFile,
    registrations: [],
    tokenRequests: [],
    health: [],
    acks: [],
    replies: [],
    output: new Map(),
    loseOutput: false,
    openings: 0,
    busy: false,
    silent: false,
    unanswered: 0,
    keepReplyAcks: false,
    wantNewKey: false,
    tokenError: undefined,
    tokenSeconds: 3600,
    files: new Map(),
    listings: new Map(),
    downloads: [],
    answers: new Map(),
    sendCommand({ commandId = randomUUID(), parameters = {}, document }) {
      const jobId = buildJobId(commandId, instanceId())
      const Content = buildSendCommandPayload({
        CommandId: commandId,
        DocumentName: 'Test',
        Parameters: JSON.parse(JSON.stringify(parameters)),
        DocumentContent: JSON.parse(JSON.stringify(document)),
        OutputS3BucketName: '',
        OutputS3KeyPrefix: '',
        CloudWatchLogGroupName: '',
        CloudWatchOutputEnabled: false,
      })
      peer.sendMessage('agent_job', buildAgentJob({ JobId: jobId, Topic: SEND_COMMAND_TOPIC, Content }))
      return jobId
    },
    sendCancel(CancelMessageId) {
      const JobId = buildJobId(randomUUID(), instanceId())
      const Content = buildCancelCommandPayload({ CancelMessageId })
      peer.sendMessage('agent_job', buildAgentJob({ JobId, Topic: CANCEL_COMMAND_TOPIC, Content }))
      return JobId
    },
    sendRaw: (bytes) => socket?.send(bytes),
    sendMessage(messageType, payload) {
      const fields = { messageType, messageId: randomUUID(), createdDate: Date.now(), payload }
      socket?.send(encodeAgentMessage(fields, sha256))
    },
    dropConnections() {
      for (const client of sockets.clients) client.terminate()
      socket = undefined
    },
    async close() {
      for (const client of sockets.clients) client.terminate()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }

  function instanceId(): string {
    return peer.registrations.at(-1)?.instanceId ?? ''
  }

  function open(opened: WebSocket, text: string): void {
    if (!channelTokens.delete(parseOpenControlChannel(text).TokenValue)) {
      opened.terminate()
      return
    }
    socket = opened
    peer.openings += 1
  }

  function receive(frame: Buffer): void {
    const message = decodeAgentMessage(frame, sha256)
    if (message.messageType === 'agent_job_ack') peer.acks.push(parseAgentJobAck(message.payload))
    if (message.messageType === OUTPUT_MESSAGE.output) takeOutput(message.payload)
    if (message.messageType !== 'agent_job_reply') return
    const { jobId, topic, content } = parseAgentJobReply(message.payload)
    const { messageId } = message
    peer.replies.push({ messageId, jobId, topic, ...parseReplyPayload(content) })
    if (peer.keepReplyAcks) return
    peer.sendMessage('agent_job_reply_ack', buildAgentJobReplyAck({ jobId, acknowledgedMessageId: messageId }))
  }

  /** As the control plane does: in order, each byte once, and the answer says from where to go on. */
  function takeOutput(payload: Uint8Array): void {
    if (peer.loseOutput) return
    const { jobId, step, stream, start, data } = parseOutputChunk(payload)
    const key = `${jobId} ${step} ${stream}`
    const held = peer.output.get(key) ?? ''
    const bytes = Buffer.from(data, 'base64').toString('latin1')
    if (start <= held.length) peer.output.set(key, held + bytes.slice(held.length - start))
    const next = peer.output.get(key)?.length ?? 0
    peer.sendMessage(OUTPUT_MESSAGE.outputAck, buildOutputAck({ jobId, step, stream, next }))
  }

  function answer(request: IncomingMessage, response: ServerResponse, body: string): unknown {
    if (peer.silent || peer.busy) peer.unanswered++
    if (peer.silent) return
    if (peer.busy) return refuse(response, 'ServiceUnavailable', '', 503)
    if (request.url?.startsWith('/v1/control-channel/')) {
      if (!signatureIsValid(request, body, 'ssmmessages')) return refuse(response, 'AccessDeniedException', '', 403)
      const token = randomUUID()
      channelTokens.add(token)
      return response.writeHead(201, { 'content-type': 'application/xml' }).end(buildChannelToken('Control', token))
    }
    if (request.method === 'GET') return serveFile(request, response)
    const operation = String(request.headers['x-amz-target']).replace('AmazonSSM.', '')
    const input = JSON.parse(body) as Record<string, string>
    switch (operation) {
      case 'RegisterManagedInstance':
        return register(response, request, input)
      case 'RequestManagedInstanceRoleToken':
      case 'UpdateManagedInstancePublicKey':
        return keySigned(response, request, operation, input, body)
    }
    if (!signatureIsValid(request, body, 'ssm')) return refuse(response, 'InvalidSignatureException', 'no', 403)
    if (operation === 'UpdateInstanceInformation') peer.health.push(input)
    const special = peer.answers.get(operation)
    return response.end(JSON.stringify(special ? special(input) : {}))
  }

  function serveFile(request: IncomingMessage, response: ServerResponse): unknown {
    const [path = '', query = ''] = (request.url ?? '').split('?')
    const { authorization } = request.headers
    if (request.headers['x-amz-date'] !== undefined && isOffInTime(request)) return response.writeHead(403).end()
    peer.downloads.push({ path, isSigned: signatureIsValid(request, '', 's3'), authorization })
    const listing = peer.listings.get(path)
    if (listing && query.startsWith('list-type=2')) return response.end(listing(query))
    const file = peer.files.get(path)
    return response.writeHead(file ? (file.status ?? 200) : 404, file?.headers).end(file?.body)
  }

  function register(response: ServerResponse, request: IncomingMessage, input: Record<string, string>): unknown {
    if (request.headers.authorization !== undefined) return refuse(response, 'UnexpectedAuthorization', '', 400)
    if (input.ActivationId !== ACTIVATION.id || input.ActivationCode !== ACTIVATION.code)
      return refuse(response, 'InvalidActivation', '', 400)
    const instance = `mi-${randomBytes(9).toString('hex').slice(0, 17)}`
    keys.set(instance, input.PublicKey ?? '')
    peer.registrations.push({
      instanceId: instance,
      publicKey: input.PublicKey ?? '',
      fingerprint: input.Fingerprint ?? '',
    })
    return response.end(JSON.stringify({ InstanceId: instance }))
  }

  function keySigned(
    response: ServerResponse,
    request: IncomingMessage,
    operation: string,
    input: Record<string, string>,
    body: string,
  ): unknown {
    if (isOffInTime(request)) return refuse(response, 'InvalidSignatureException', 'Signature expired', 400)
    const parsed = parseAuthorization(request.headers.authorization ?? '')
    const node = parsed.ok ? parsed.accessKeyId : ''
    const signatureIsValid = parsed.ok && rsaSignatureIsValid(request, body, keys.get(node) ?? '')
    if (operation === 'RequestManagedInstanceRoleToken')
      peer.tokenRequests.push({ fingerprint: input.Fingerprint ?? '', instanceId: node, signatureIsValid })
    if (!signatureIsValid) return refuse(response, 'AccessDeniedException', 'signature', 400)
    if (operation === 'UpdateManagedInstancePublicKey') {
      keys.set(node, input.NewPublicKey ?? '')
      return response.end('{}')
    }
    if (peer.tokenError) return refuse(response, peer.tokenError, '', 400)
    const UpdateKeyPair = peer.wantNewKey
    peer.wantNewKey = false
    const TokenExpirationDate = Date.now() / 1000 + peer.tokenSeconds
    const token = { AccessKeyId: 'ASIAPEER', SecretAccessKey: secret, SessionToken: sessionToken }
    return response.end(JSON.stringify({ ...token, TokenExpirationDate, UpdateKeyPair }))
  }

  function signatureIsValid(request: IncomingMessage, body: string, service: string): boolean {
    const parsed = parseAuthorization(request.headers.authorization ?? '')
    if (isOffInTime(request)) return false
    if (!parsed.ok || parsed.service !== service || request.headers['x-amz-security-token'] !== sessionToken)
      return false
    const signed = signatureOf(signingKey(secret, parsed.date, REGION, service, hmac), toSign(request, body), hmac)
    return signed === parsed.signature
  }

  return peer
}

function isOffInTime(request: IncomingMessage): boolean {
  return Math.abs((amzDateToMillis(String(request.headers['x-amz-date'])) ?? 0) - Date.now()) > SKEW
}

function rsaSignatureIsValid(request: IncomingMessage, body: string, publicKey: string): boolean {
  const parsed = parseAuthorization(request.headers.authorization ?? '')
  if (!parsed.ok || publicKey === '') return false
  const key = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' })
  const padding = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
  return verify('sha256', Buffer.from(toSign(request, body)), padding, Buffer.from(parsed.signature, 'base64'))
}

function toSign(request: IncomingMessage, body: string): string {
  const parsed = parseAuthorization(request.headers.authorization ?? '')
  if (!parsed.ok) return ''
  const [path = '', query = ''] = (request.url ?? '').split('?')
  const headers: HeaderPairs = Object.entries(request.headers).map(([name, value]) => [name, String(value)])
  const { signedHeaders, date, region, service } = parsed
  const method = request.method ?? ''
  const canonical = canonicalRequest({ method, path, query, headers, signedHeaders, payloadHash: sha256(body) })
  return stringToSign(String(request.headers['x-amz-date']), credentialScope(date, region, service), canonical, sha256)
}

function refuse(response: ServerResponse, code: string, message: string, status: number): ServerResponse {
  return response.writeHead(status).end(JSON.stringify({ __type: `com.amazonaws.ssm#${code}`, message }))
}

async function selfSigned(): Promise<{ key: string; certificate: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const day = 24 * 3600_000
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=localhost',
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + day),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true),
      new SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }]),
    ],
  })
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`
  return { key, certificate: certificate.toString('pem') }
}
