/**
 * Where a received request goes: the AWS JSON protocol at `/`, or a route or WebSocket that a capability declared. Routes
 * and upgrades are signed like operations, for the service they say.
 */
import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { PayloadError } from '@musterbook/wire'
import { WebSocketServer } from 'ws'
import { anonymous } from '../../platform/caller.ts'
import type { Route, Socket } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { authorize, type Dispatch, dispatch, type Request } from './dispatch.ts'
import type { Doors, Received } from './listener.ts'

/** Bytes of one WebSocket message; agents send 142,000 at most. */
const MAX_MESSAGE_BYTES = 1024 * 1024

export function openDoors(gate: Dispatch, routes: Route[], sockets: Socket[], ready: () => Promise<boolean>): Doors {
  const webSockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    clientTracking: false,
  })
  return {
    ready,
    async request(received, response) {
      if (received.path === '/' && isCall(received)) return dispatch(gate, requestOf(received))
      for (const route of routes) {
        const match = route.method === received.method ? route.path.exec(received.path) : null
        if (match) return serveRoute(gate, route, received, match.slice(1), response)
      }
      return {
        status: 404,
        contentType: 'application/x-amz-json-1.1',
        body: '{"__type":"UnknownOperationException","message":"There is nothing at this path."}',
      }
    },
    async upgrade(received, socket, head) {
      for (const candidate of sockets) {
        const match = candidate.path.exec(received.path)
        if (match) return open(gate, webSockets, candidate, received, match.slice(1), socket, head)
      }
      refuse(socket, received, 404, 'There is nothing at this path.')
    },
  }
}

/** Member by member: for every request this is cheaper than spreading it. */
const requestOf = (received: Received): Request => ({
  requestId: received.requestId,
  method: received.method,
  path: received.path,
  query: received.query,
  headers: received.headers,
  body: received.body,
  sourceIp: received.sourceIp,
  encrypted: received.encrypted,
  host: received.host,
  userAgent: received.userAgent,
  target: targetOf(received),
  contentType: received.raw.headers['content-type'] ?? '',
})

/** The AWS protocols post; a presigned query call may also be fetched. */
const isCall = ({ method, query }: Received) => method === 'POST' || (method === 'GET' && /(^|&)Action=/.test(query))

function targetOf(received: Received): string | undefined {
  const header = received.raw.headers['x-amz-target']
  return typeof header === 'string' ? header : undefined
}

const isSigned = (received: Received): boolean =>
  received.raw.headers.authorization !== undefined || received.query.includes('X-Amz-Signature')

async function admit(gate: Dispatch, door: Route | Socket, received: Received, params: string[]): Promise<Context> {
  const request = requestOf(received)
  const authenticated =
    door.signedFor === 'open' || ('unsignedToo' in door && door.unsignedToo && !isSigned(received))
      ? { caller: anonymous, region: gate.region }
      : await gate.authenticator.sigv4(request, door.signedFor)
  const context = gate.contextFor(request, authenticated)
  const access = door.authorize(context, params)
  const [service = '', operation] = (access.action ?? '').split(':')
  let refused: AwsError | undefined
  try {
    await authorize(gate, context, access.action ?? '', access)
  } catch (error) {
    refused = asAwsError(gate, received, error)
  }
  // What is let in is noted before it is carried out: streams have no end to wait for.
  const call = { context, service, operation: operation ?? '', input: { path: received.path }, access }
  if (operation !== undefined) await gate.auditor?.note(call, undefined, refused)
  if (refused) throw refused
  return context
}

async function serveRoute(
  gate: Dispatch,
  route: Route,
  received: Received,
  params: string[],
  response: ServerResponse,
) {
  try {
    const context = await admit(gate, route, received, params)
    response.setHeader('x-amzn-RequestId', received.requestId) // a stream writes its own head
    return await route.handle(context, { params, body: received.body, raw: received.raw, response })
  } catch (error) {
    const known = asAwsError(gate, received, error)
    const status = known.name === 'InternalServerError' ? 500 : known.name === 'AccessDeniedException' ? 403 : 400
    // Agents look for the literal text `<AccessDeniedException>` in what ssmmessages answers.
    return {
      status,
      contentType: 'application/xml',
      body: `<${known.name}><Message>${escapeXml(known.message)}</Message></${known.name}>`,
    }
  }
}

async function open(
  gate: Dispatch,
  webSockets: WebSocketServer,
  door: Socket,
  received: Received,
  params: string[],
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  let context: Context
  try {
    context = await admit(gate, door, received, params)
  } catch (error) {
    const known = asAwsError(gate, received, error)
    gate.metrics.refused('upgrade')
    return refuse(
      socket,
      received,
      known.name === 'InternalServerError' ? 500 : 403,
      `<${known.name}>${escapeXml(known.message)}</${known.name}>`,
    )
  }
  webSockets.handleUpgrade(received.raw, socket, head, (webSocket) => {
    gate.metrics.openSockets.inc()
    webSocket.once('close', () => gate.metrics.openSockets.dec())
    webSocket.on('error', () => webSocket.terminate()) // bad frames end the connection, nothing else
    door.open(context, webSocket, params, socket)
  })
}

function asAwsError(gate: Dispatch, received: Received, error: unknown): AwsError {
  if (error instanceof AwsError) return error
  if (error instanceof PayloadError) return new AwsError('SerializationException', error.message)
  gate.log.error({ err: error, requestId: received.requestId, path: received.path }, 'a route failed by a defect')
  return new AwsError('InternalServerError', `An internal error occurred. Request id ${received.requestId}.`)
}

/** Answers an upgrade over HTTP and is done with the socket: one that only the server has closed would stay for good. */
function refuse(socket: Duplex, { requestId }: Received, status: number, body: string): void {
  const reason = status === 404 ? 'Not Found' : status === 403 ? 'Forbidden' : 'Internal Server Error'
  const head = [
    `HTTP/1.1 ${status} ${reason}`,
    `x-amzn-RequestId: ${requestId}`,
    'connection: close',
    'content-type: text/plain',
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }
const escapeXml = (text: string) => text.replace(/[&<>]/g, (character) => ESCAPES[character]!)
