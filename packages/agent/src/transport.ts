// HTTPS and WebSocket to one control plane: trust, timeouts, SigV4 signatures and the clock's correction. Everything that
// leaves the agent leaves through here; what is said is the business of api.ts, control-channel.ts and simulate.ts.

import { createHash, createHmac, hash } from 'node:crypto'
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { type HeaderPairs, millisToAmzDate, type Sha256, type SigningCredentials, sign } from '@musterbook/wire'
import { WebSocket } from 'ws'

/** In one call where Node has that (20.12): a small frame's digest then takes a fifth of the time. */
export const sha256: Sha256 = hash
  ? (data) => hash('sha256', data, 'hex')
  : (data) => createHash('sha256').update(data).digest('hex')
export const hmac = (key: Uint8Array | string, data: string): Uint8Array =>
  createHmac('sha256', key).update(data).digest()

/** An answer may hold a whole document (64 KB) or inventory page; nothing sensible is larger than this many bytes. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024
/** The largest frame that is read from the control channel, in bytes; a command with its document stays under 1 MB. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024
const REQUEST_TIMEOUT = 60_000
const HANDSHAKE_TIMEOUT = 15_000
/** Beyond this the server's date is believed, in milliseconds; AWS accepts five minutes. */
const SKEW_WORTH_CORRECTING = 4 * 60_000

export interface HttpAnswer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

export interface HttpQuestion {
  method: 'GET' | 'POST'
  path: string
  headers: Array<[string, string]>
  body?: string
  timeoutMillis?: number
}

export interface Transport {
  /** As it stands in the Host header: with the port, where it is not the scheme's own. */
  host: string
  region: string
  send(question: HttpQuestion): Promise<HttpAnswer>
  /** Opens at once; errors arrive as events. */
  webSocket(pathAndQuery: string, headers: HeaderPairs): WebSocket
  /** Milliseconds since 1970 by the server's clock, as far as it is known. */
  now(): number
  /** The same as `yyyymmddThhmmssZ`. */
  amzDate(): string
  /** Notes how far the server's clock is away; true when it matters. */
  correctClock(dateHeader: string | undefined): boolean
  close(): void
}

export interface TransportOptions {
  endpoint: string
  region: string
  ca?: string | undefined
  /** Told by how many milliseconds this machine's clock is ahead, each time that it turns out to be wrong. */
  clockIsWrong?: ((ahead: number) => void) | undefined
  /** Sockets kept for calls; 2 are enough for one node. */
  maxSockets?: number
}

export function createTransport(options: TransportOptions): Transport {
  const url = new URL(options.endpoint)
  const secure = url.protocol === 'https:'
  const pool = { keepAlive: true, maxSockets: options.maxSockets ?? 2, timeout: REQUEST_TIMEOUT }
  const agent = secure ? new HttpsAgent({ ...pool, ca: options.ca }) : new HttpAgent(pool)
  const start = secure ? httpsRequest : httpRequest
  const target = { hostname: url.hostname.replace(/^\[|\]$/g, ''), port: url.port || (secure ? 443 : 80) }
  let skew = 0

  const send = (question: HttpQuestion) =>
    new Promise<HttpAnswer>((resolve, reject) => {
      const body = question.body ?? ''
      const options: RequestOptions = {
        ...target,
        agent,
        method: question.method,
        path: question.path,
        headers: { ...Object.fromEntries(question.headers), 'content-length': Buffer.byteLength(body) },
        timeout: question.timeoutMillis ?? REQUEST_TIMEOUT,
      }
      const outgoing = start(options, (incoming) => {
        const chunks: Buffer[] = []
        let size = 0
        incoming.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > MAX_ANSWER_BYTES) outgoing.destroy(new Error('the answer is larger than 16 MiB'))
          else chunks.push(chunk)
        })
        incoming.on('end', () => {
          const body = Buffer.concat(chunks).toString('utf8')
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body })
        })
        incoming.on('error', reject)
      })
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
      outgoing.on('error', reject)
      outgoing.end(body)
    })

  return {
    host: url.host,
    region: options.region,
    send,
    webSocket(pathAndQuery, headers) {
      return new WebSocket(`${secure ? 'wss' : 'ws'}://${url.host}${pathAndQuery}`, {
        headers: Object.fromEntries(headers.filter(([name]) => name !== 'host')),
        perMessageDeflate: false,
        handshakeTimeout: HANDSHAKE_TIMEOUT,
        maxPayload: MAX_FRAME_BYTES,
        followRedirects: false,
        // Masks keep proxies from mistaking a browser's bytes for HTTP; inside TLS they only cost a fifth of the processor.
        ...(secure ? { generateMask: (mask: Buffer) => void mask.fill(0) } : {}),
        ...(options.ca === undefined ? {} : { ca: options.ca }),
      })
    },
    now: () => Date.now() + skew,
    amzDate: () => millisToAmzDate(Date.now() + skew),
    correctClock(dateHeader) {
      const theirs = dateHeader === undefined ? Number.NaN : Date.parse(dateHeader)
      if (Number.isNaN(theirs)) return false
      const away = theirs - Date.now()
      if (Math.abs(away - skew) < SKEW_WORTH_CORRECTING) return false
      skew = away
      options.clockIsWrong?.(-away)
      return true
    },
    close: () => agent.destroy(),
  }
}

export interface SignedQuestion {
  method: 'GET' | 'POST'
  path: string
  query?: string
  headers?: HeaderPairs
  body?: string
  service: string
}

/** The headers to send, Host, date and Authorization among them. */
export function signedHeaders(
  transport: Transport,
  question: SignedQuestion,
  credentials: SigningCredentials,
): Array<[string, string]> {
  const headers: Array<[string, string]> = [['host', transport.host], ...copied(question.headers ?? [])]
  const signature = sign({
    method: question.method,
    path: question.path,
    query: question.query ?? '',
    headers,
    payloadHash: sha256(question.body ?? ''),
    region: transport.region,
    service: question.service,
    amzDate: transport.amzDate(),
    sha256,
    hmac,
    credentials,
  })
  return [...headers, ...signature]
}

function copied(pairs: HeaderPairs): Array<[string, string]> {
  return pairs.map(([name, value]) => [name, value])
}
