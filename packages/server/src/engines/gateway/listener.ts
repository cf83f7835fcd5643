/**
 * The sockets: HTTP and TLS, limits on what a client may send and how long it may take, request ids, and the few paths
 * beside the AWS protocol. Everything with a meaning goes on to dispatch, to a capability's route or to its WebSocket.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { HeaderPairs } from '@musterbook/wire'
import { uuid } from '../../platform/ids.ts'
import type { Logger } from '../../platform/log.ts'
import type { Metrics } from './metrics.ts'

/** What a client may send, and how long it may take. */
export interface Limits {
  /** Bytes of one request's body. */
  bodyBytes: number
  /** Bytes of all bodies that are held at a time: senders that nobody has authenticated must not fill the memory. */
  heldBytes: number
  headerBytes: number
  headersMs: number
  requestMs: number
  keepAliveMs: number
  /** How often connections are looked at for those that took too long. */
  checkEveryMs: number
}

const LIMITS: Limits = {
  bodyBytes: 11 * 1024 * 1024, // the largest that AWS takes here is an inventory of 10,240 KiB
  heldBytes: 256 * 1024 * 1024,
  headerBytes: 32 * 1024,
  headersMs: 10_000,
  requestMs: 60_000,
  keepAliveMs: 65_000,
  checkEveryMs: 2_000, // Node's own 30 s would make the 10 s for headers 40
}
/** A body that is too large is read to its end, so that its sender reads the answer, up to this many times the limit. */
const READ_AWAY = 4
/** Connections that are still open this long after the server was told to stop are cut. */
const CLOSING_MS = 2_000
/** Forward secrecy and authenticated encryption alone; of TLS 1.3 every suite has both. */
const TLS = {
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305',
  ].join(':'),
} as const
const CONTENT_TYPE = 'application/x-amz-json-1.1'

/** A request whose body has been read. */
export interface Received {
  requestId: string
  method: string
  path: string
  query: string
  headers: HeaderPairs
  body: Buffer
  sourceIp: string
  /** By TLS. */
  encrypted: boolean
  /** What the client dialled, as its Host header says. */
  host: string
  userAgent: string
  raw: IncomingMessage
}

export interface Doors {
  request(
    received: Received,
    response: ServerResponse,
  ): Promise<{ status: number; contentType: string; body: string | Buffer } | undefined>
  upgrade(received: Received, socket: Duplex, head: Buffer): Promise<void>
  ready(): Promise<boolean>
}

export interface ListenOptions {
  host: string
  /** 0 chooses a free one. */
  port: number
  /** 0 chooses a free one; undefined: no TLS. */
  tlsPort: number | undefined
  tls?: { key: string; cert: string }
  maxConnections: number
  limits?: Partial<Limits>
  log: Logger
  metrics: Metrics
}

/** What the functions of one listener share. */
interface Ground extends ListenOptions {
  limits: Limits
  doors: Doors
  /** Bytes of bodies that are held now. */
  held: number
}

export interface Listener extends AsyncDisposable {
  port: number
  tlsPort: number | undefined
  /** A new certificate for connections from now on. */
  useCertificate(tls: { key: string; cert: string }): void
}

export class ListenError extends Error {}

export async function listen(options: ListenOptions, doors: Doors): Promise<Listener> {
  const ground: Ground = { ...options, limits: { ...LIMITS, ...options.limits }, doors, held: 0 }
  const { limits, metrics } = ground
  const timing = {
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    maxHeaderSize: limits.headerBytes,
    requireHostHeader: false, // its absence is a matter of the signature, answered with a request id
  }
  const plain = createServer(timing)
  const tls =
    options.tlsPort === undefined
      ? undefined
      : createTlsServer({ ...timing, ...options.tls, ...TLS, handshakeTimeout: limits.headersMs })
  const servers = tls ? [plain, tls] : [plain]
  /** Sockets that have become WebSockets: the server no longer knows them, and they keep it from closing. */
  const upgraded = new Set<Duplex>()
  for (const server of servers) {
    server.maxConnections = options.maxConnections
    server.on('request', (request, response) => void serve(ground, request, response))
    server.on('upgrade', (request, socket, head) => {
      upgraded.add(socket)
      socket.once('close', () => upgraded.delete(socket))
      void upgrade(ground, request, socket, head)
    })
    server.on('clientError', (error, socket) => refuseGarbage(ground, error, socket))
    server.on('drop', () => metrics.refused('too-many-connections'))
  }
  async function closeAll(): Promise<void> {
    const closed = Promise.all(servers.map(close))
    const force = setTimeout(() => {
      for (const server of servers) server.closeAllConnections()
      for (const socket of upgraded) socket.destroy()
    }, CLOSING_MS)
    await closed
    clearTimeout(force)
  }
  try {
    const port = await bind(plain, options.host, options.port, '--port (MUSTERBOOK_PORT)')
    const tlsPort = tls && (await bind(tls, options.host, options.tlsPort ?? 0, '--tls-port (MUSTERBOOK_TLS_PORT)'))
    return {
      port,
      tlsPort,
      useCertificate: (certificate) => tls?.setSecureContext({ ...certificate, ...TLS }),
      [Symbol.asyncDispose]: closeAll,
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

function bind(server: Server | TlsServer, host: string, port: number, setting: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE' || error.code === 'EACCES' || error.code === 'EADDRNOTAVAIL'
          ? new ListenError(explain(error.code, host, port, setting))
          : error,
      )
    })
    server.listen(port, host, () => {
      const address = server.address()
      resolve(typeof address === 'object' && address ? address.port : port)
    })
  })
}

function explain(code: string, host: string, port: number, setting: string): string {
  if (code === 'EADDRINUSE')
    return `port ${port} on ${host} is taken: see who has it with 'ss -ltnp sport = :${port}', or choose another with ${setting}`
  if (code === 'EACCES') return `port ${port} needs more rights: choose one above 1023 with ${setting}`
  return `${host} is not an address of this machine: change --host (MUSTERBOOK_HOST)`
}

async function close(server: Server | TlsServer): Promise<void> {
  if (!server.listening) return
  const closed = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  await closed
}

async function serve(ground: Ground, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const requestId = uuid()
  const body = { chunks: [] as Buffer[], size: 0 }
  try {
    if (
      (request.method === 'GET' || request.method === 'HEAD') &&
      (await serveHealth(ground, request, response, requestId))
    )
      return
    const refusal = await readBody(ground, request, body)
    if (refusal) {
      ground.metrics.refused(refusal.reason)
      if (!request.complete) response.shouldKeepAlive = false
      return send(response, requestId, refusal.status, CONTENT_TYPE, refusal.body)
    }
    const whole = body.chunks.length === 1 ? body.chunks[0]! : Buffer.concat(body.chunks)
    const answer = await ground.doors.request(received(requestId, request, whole), response)
    if (answer) send(response, requestId, answer.status, answer.contentType, answer.body)
  } catch (error) {
    if (request.destroyed && !request.complete) return // the client went away
    ground.log.error({ err: error, requestId }, 'a request failed by a defect')
    if (!response.headersSent) send(response, requestId, 500, CONTENT_TYPE, '{"__type":"InternalServerError"}')
    else response.destroy()
  } finally {
    ground.held -= body.size
  }
}

async function serveHealth(
  ground: Ground,
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
): Promise<boolean> {
  const [path] = (request.url ?? '/').split('?', 1)
  const answer = (status: number, text: string) => send(response, requestId, status, 'text/plain', text)
  if (path === '/healthz') answer(200, 'ok\n')
  else if (path === '/readyz') {
    const ready = await ground.doors.ready()
    answer(ready ? 200 : 503, ready ? 'ready\n' : 'the database does not answer\n')
  } else if (path === '/metrics')
    send(response, requestId, 200, ground.metrics.contentType, await ground.metrics.text())
  else return false
  return true
}

interface Refusal {
  reason: string
  status: number
  body: string
}

const tooLarge = (limits: Limits): Refusal => ({
  reason: 'body-too-large',
  status: 413,
  body: `{"__type":"RequestEntityTooLarge","message":"The body of a request may have ${limits.bodyBytes} bytes at most."}`,
})

const BUSY: Refusal = {
  reason: 'too-many-bodies',
  status: 503,
  body: '{"__type":"ServiceUnavailable","message":"Too many large requests at a time. Try again."}',
}

/** Fills `body`, or says why not. */
function readBody(
  ground: Ground,
  request: IncomingMessage,
  body: { chunks: Buffer[]; size: number },
): Promise<Refusal | undefined> {
  const { limits } = ground
  const mostReadAway = limits.bodyBytes * READ_AWAY
  if (Number(request.headers['content-length'] ?? 0) > mostReadAway) return Promise.resolve(tooLarge(limits))
  return new Promise((resolve, reject) => {
    let size = 0
    let refusal: Refusal | undefined
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (!refusal) {
        if (size > limits.bodyBytes) refusal = tooLarge(limits)
        else if (ground.held + chunk.length > limits.heldBytes) refusal = BUSY
        if (refusal) {
          ground.held -= body.size
          body.size = 0
          body.chunks.length = 0
        }
      }
      if (!refusal) {
        ground.held += chunk.length
        body.size += chunk.length
        body.chunks.push(chunk)
      } else if (size > mostReadAway) {
        request.removeAllListeners('data')
        resolve(refusal)
      }
    })
    request.on('end', () => resolve(refusal))
    request.on('error', reject)
    request.on('aborted', () => reject(new Error('the client went away')))
  })
}

function received(requestId: string, request: IncomingMessage, body: Buffer): Received {
  const url = request.url ?? '/'
  const question = url.indexOf('?')
  return {
    requestId,
    method: request.method ?? 'GET',
    path: question < 0 ? url : url.slice(0, question),
    query: question < 0 ? '' : url.slice(question + 1),
    headers: pairs(request.rawHeaders),
    body,
    sourceIp: request.socket.remoteAddress ?? '',
    encrypted: request.socket instanceof TLSSocket,
    host: request.headers.host ?? '',
    userAgent: request.headers['user-agent'] ?? '',
    raw: request,
  }
}

function pairs(raw: string[]): [string, string][] {
  const list: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) list.push([raw[at]!, raw[at + 1]!])
  return list
}

/** The headers go as a list: one by one, Node keeps each in a map that it reads again a moment later. */
function send(
  response: ServerResponse,
  requestId: string,
  status: number,
  contentType: string,
  body: string | Buffer,
): void {
  const length = String(Buffer.byteLength(body))
  response.writeHead(status, ['x-amzn-RequestId', requestId, 'content-type', contentType, 'content-length', length])
  response.end(body)
}

async function upgrade(ground: Ground, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  socket.on('error', () => socket.destroy())
  try {
    await ground.doors.upgrade(received(uuid(), request, Buffer.alloc(0)), socket, head)
  } catch (error) {
    ground.log.error({ err: error }, 'an upgrade failed by a defect')
    socket.destroy()
  }
}

/** What Node's parser and its timers refuse, by the code of the error. */
const GARBAGE: Record<string, string> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

function refuseGarbage(ground: Ground, error: NodeJS.ErrnoException, socket: Duplex): void {
  const status = GARBAGE[error.code ?? ''] ?? '400 Bad Request'
  ground.metrics.refused(error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'too-slow' : 'not-http')
  if (!socket.writable) socket.destroy()
  else
    socket.end(
      `HTTP/1.1 ${status}\r\nx-amzn-RequestId: ${uuid()}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`,
      () => socket.destroy(),
    )
}
