/**
 * The sockets: HTTP and TLS, limits on what a client may send and how long it may take, request ids, and the few paths
 * beside the AWS protocol. Everything with a meaning goes on to dispatch, to a capability's route or to its WebSocket.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import type { HeaderPairs } from '@musterbook/wire'
import { uuid } from '../../platform/ids.ts'
import type { Logger } from '../../platform/log.ts'
import type { Metrics } from './metrics.ts'

/** Bytes of a request's body. The largest that AWS takes here is an inventory of 10,240 KiB. */
const MAX_BODY_BYTES = 11 * 1024 * 1024
const MAX_HEADER_BYTES = 32 * 1024
const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 60_000
const KEEP_ALIVE_MS = 65_000

/** A request whose body has been read. */
export interface Received {
  requestId: string
  method: string
  path: string
  query: string
  headers: HeaderPairs
  body: Buffer
  sourceIp: string
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
  log: Logger
  metrics: Metrics
}

export interface Listener extends AsyncDisposable {
  port: number
  tlsPort: number | undefined
  /** A new certificate for connections from now on. */
  useCertificate(tls: { key: string; cert: string }): void
}

export class ListenError extends Error {}

export async function listen(options: ListenOptions, doors: Doors): Promise<Listener> {
  const limits = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
  }
  const plain = createServer(limits)
  const tls =
    options.tlsPort === undefined ? undefined : createTlsServer({ ...limits, ...options.tls, minVersion: 'TLSv1.2' })
  const servers = tls ? [plain, tls] : [plain]
  for (const server of servers) {
    server.maxConnections = options.maxConnections
    server.on('request', (request, response) => void serve(options, doors, request, response))
    server.on('upgrade', (request, socket, head) => void upgrade(options, doors, request, socket, head))
    server.on('clientError', (_error, socket) => refuseGarbage(options, socket))
  }
  try {
    const port = await bind(plain, options.host, options.port, '--port (MUSTERBOOK_PORT)')
    const tlsPort = tls && (await bind(tls, options.host, options.tlsPort ?? 0, '--tls-port (MUSTERBOOK_TLS_PORT)'))
    return {
      port,
      tlsPort,
      useCertificate: (certificate) => tls?.setSecureContext({ ...certificate, minVersion: 'TLSv1.2' }),
      async [Symbol.asyncDispose]() {
        await Promise.all(servers.map(close))
      },
    }
  } catch (error) {
    await Promise.all(servers.map(close))
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
  const force = setTimeout(() => server.closeAllConnections(), 2_000)
  await closed
  clearTimeout(force)
}

async function serve(
  options: ListenOptions,
  doors: Doors,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const requestId = uuid()
  response.setHeader('x-amzn-RequestId', requestId)
  try {
    const url = request.url ?? '/'
    if (request.method === 'GET' && (await serveHealth(options, doors, url, response))) return
    const body = await readBody(request)
    if (body === undefined) {
      options.metrics.refused('body-too-large')
      response.shouldKeepAlive = false
      return send(
        response,
        413,
        'application/x-amz-json-1.1',
        `{"__type":"RequestEntityTooLarge","message":"The body of a request may have ${MAX_BODY_BYTES} bytes at most."}`,
      )
    }
    const answer = await doors.request(received(requestId, request, body), response)
    if (answer) send(response, answer.status, answer.contentType, answer.body)
  } catch (error) {
    if (request.destroyed && !request.complete) return // the client went away
    options.log.error({ err: error, requestId }, 'a request failed by a defect')
    if (!response.headersSent) send(response, 500, 'application/x-amz-json-1.1', '{"__type":"InternalServerError"}')
    else response.destroy()
  }
}

async function serveHealth(
  options: ListenOptions,
  doors: Doors,
  url: string,
  response: ServerResponse,
): Promise<boolean> {
  if (url === '/healthz') send(response, 200, 'text/plain', 'ok\n')
  else if (url === '/readyz') {
    const ready = await doors.ready()
    send(response, ready ? 200 : 503, 'text/plain', ready ? 'ready\n' : 'the database does not answer\n')
  } else if (url === '/metrics') send(response, 200, options.metrics.contentType, await options.metrics.text())
  else return false
  return true
}

/** The body, or undefined when it is larger than MAX_BODY_BYTES. */
function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > MAX_BODY_BYTES) {
        request.removeAllListeners('data')
        request.resume()
        resolve(undefined)
      } else chunks.push(chunk)
    })
    request.on('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)))
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
    userAgent: request.headers['user-agent'] ?? '',
    raw: request,
  }
}

function pairs(raw: string[]): [string, string][] {
  const list: [string, string][] = []
  for (let at = 0; at + 1 < raw.length; at += 2) list.push([raw[at]!, raw[at + 1]!])
  return list
}

function send(response: ServerResponse, status: number, contentType: string, body: string | Buffer): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

async function upgrade(
  options: ListenOptions,
  doors: Doors,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  socket.on('error', () => socket.destroy())
  try {
    await doors.upgrade(received(uuid(), request, Buffer.alloc(0)), socket, head)
  } catch (error) {
    options.log.error({ err: error }, 'an upgrade failed by a defect')
    socket.destroy()
  }
}

function refuseGarbage(options: ListenOptions, socket: Duplex): void {
  options.metrics.refused('not-http')
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
  else socket.destroy()
}
