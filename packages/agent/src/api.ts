// Calls of the AWS JSON 1.1 protocol with the retries that AWS clients make: server errors, throttling, broken
// connections and a wrong clock are tried again with jitter; every other refusal is the caller's, by its AWS name.

import { setTimeout as sleep } from 'node:timers/promises'
import type { SigningCredentials } from '@musterbook/wire'
import { type HttpAnswer, signedHeaders, type Transport } from './transport.ts'

/** A refusal of the control plane, by its AWS name. */
export class ApiError extends Error {
  override name = 'ApiError'
  readonly code: string
  readonly status: number
  constructor(code: string, message: string, status: number) {
    super(message === '' ? code : `${code}: ${message}`)
    this.code = code
    this.status = status
  }
}

/** Attempts after the first one, as amazon-ssm-agent's SDK makes. */
const RETRIES = 3
/** Longest first pause in milliseconds; it doubles. */
const FIRST_PAUSE = 500
const THROTTLES = /Throttl|TooManyRequests|TooManyUpdates|RequestLimitExceeded|ServiceUnavailable/
const CLOCK_CODES = /RequestTimeTooSkewed|RequestExpired|InvalidSignature|SignatureDoesNotMatch|RequestInTheFuture/

export type Headers = Array<[string, string]>

/** The members of an answer; an answer that is not a JSON object has none. */
export type Answer = Record<string, unknown>

export interface CallOptions {
  signal?: AbortSignal | undefined
  timeoutMillis?: number
}

/** Calls with headers made anew for each attempt, so that a corrected clock or fresh credentials take effect. */
export async function callWith(
  transport: Transport,
  operation: string,
  input: object,
  headersOf: (base: Headers, body: string) => Headers,
  options: CallOptions = {},
): Promise<Answer> {
  const body = JSON.stringify(input)
  const base: Headers = [
    ['content-type', 'application/x-amz-json-1.1'],
    ['x-amz-target', `AmazonSSM.${operation}`],
  ]
  for (let attempt = 0; ; attempt++) {
    try {
      const answer = await transport.send({
        method: 'POST',
        path: '/',
        headers: headersOf(base, body),
        body,
        ...(options.timeoutMillis === undefined ? {} : { timeoutMillis: options.timeoutMillis }),
      })
      if (answer.status >= 200 && answer.status < 300) return members(answer.body)
      throw refusal(answer, transport)
    } catch (error) {
      if (attempt >= RETRIES || options.signal?.aborted || !worthRetrying(error)) throw error
    }
    await sleep(FIRST_PAUSE * 2 ** attempt * (0.5 + Math.random() / 2), undefined, { signal: options.signal })
  }
}

/** A call signed with the node's role credentials. */
export function callSigned(
  transport: Transport,
  credentials: () => SigningCredentials,
  operation: string,
  input: object,
  options: CallOptions = {},
): Promise<Answer> {
  const headersOf = (headers: Headers, body: string) =>
    signedHeaders(transport, { method: 'POST', path: '/', headers, body, service: 'ssm' }, credentials())
  return callWith(transport, operation, input, headersOf, options)
}

/** A refusal that a corrected clock may turn into an answer. */
class WrongClock extends ApiError {}

function refusal(answer: HttpAnswer, transport: Transport): ApiError {
  const { __type: type, code: plainCode, message, Message } = members(answer.body)
  const named = typeof type === 'string' ? type : typeof plainCode === 'string' ? plainCode : `HTTP ${answer.status}`
  const code = named.slice(named.indexOf('#') + 1)
  const text = typeof message === 'string' ? message : typeof Message === 'string' ? Message : ''
  const corrected = CLOCK_CODES.test(code) && transport.correctClock(answer.headers.date)
  return new (corrected ? WrongClock : ApiError)(code, text, answer.status)
}

/** Whether the same call may succeed later: what is wrong lies with the way or with the control plane. */
export function worthRetrying(error: unknown): boolean {
  if (error instanceof WrongClock) return true
  if (error instanceof ApiError) return error.status >= 500 || error.status === 429 || THROTTLES.test(error.code)
  // What is left are broken connections; a certificate that is not trusted stays so.
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return !/CERT|SELF_SIGNED|ERR_TLS|ABORT_ERR|UNABLE_TO_VERIFY/.test(code)
}

function members(body: string): Answer {
  try {
    const parsed: unknown = JSON.parse(body)
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? { ...parsed } : {}
  } catch {
    return {}
  }
}
