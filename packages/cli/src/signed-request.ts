/**
 * One request to the control plane, signed as any AWS client signs it: what all the tools of this binary ask with. Nothing
 * here may do what another client could not.
 */
import { createHmac, hash } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { millisToAmzDate, sign } from '@musterbook/wire'
import { ConfigError } from './config-error.ts'

export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
  /** Of temporary credentials. */
  sessionToken?: string | undefined
}

/** Which control plane is asked, and as whom. */
export interface ControlPlane {
  endpoint: string
  region: string
  credentials: Credentials
  /** Certificates to trust instead of the system's, PEM. */
  ca?: string | undefined
  /** Where they come from, in words. */
  trusted?: string | undefined
  /** `now` of the clock that the control plane goes by. */
  now?: () => number
}

export interface Question {
  method: 'GET' | 'POST'
  path: string
  query?: string
  headers?: [string, string][]
  body?: string
  /** The name that the signature is made for; ssm unless it says. */
  service?: string
  signal?: AbortSignal | undefined
}

/** Node's and OpenSSL's codes of a certificate that is not to be trusted. */
export const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME|INVALID_CA|PATH_LENGTH|INVALID_PURPOSE/

const sha256 = (data: string | Uint8Array) => hash('sha256', data, 'hex')
const hmac = (key: Uint8Array | string, data: string) => createHmac('sha256', key).update(data).digest()

/** The answer, whatever its status. ConfigError for a certificate that is not to be trusted; the system's errors otherwise. */
export async function send(at: ControlPlane, question: Question): Promise<IncomingMessage> {
  const { method, path, query = '', headers = [], body = '', service = 'ssm', signal } = question
  const { region, credentials, ca, now = Date.now } = at
  const url = new URL(`${path}${query === '' ? '' : `?${query}`}`, at.endpoint)
  const named: [string, string][] = [['host', url.host], ...headers]
  const request = { method, path, query, headers: named, payloadHash: sha256(body), region, service, credentials }
  const signature = sign({ ...request, amzDate: millisToAmzDate(now()), sha256, hmac })
  const all = Object.fromEntries([...named, ...signature, ['content-length', String(Buffer.byteLength(body))]])
  const asked = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
    method,
    headers: all,
    ...(ca === undefined ? {} : { ca }),
    ...(signal ? { signal } : {}),
  })
  asked.end(body)
  try {
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    return answer
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw UNTRUSTED.test(code) ? untrusted(url.host, message, at.trusted) : error
  }
}

export const isOk = ({ statusCode = 0 }: IncomingMessage): boolean => statusCode >= 200 && statusCode < 300

export async function textOf(answer: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of answer) parts.push(part)
  return Buffer.concat(parts).toString()
}

/** `trusted`: where the authorities come from, for a person who has to mend it. */
export const untrusted = (host: string, why: string, trusted = 'the certificates of this system'): ConfigError =>
  new ConfigError(
    `The certificate of ${host} is not to be trusted (${why}). Trusted are ${trusted}; name the control plane's ca.pem with --ca or SSL_CERT_FILE.`,
  )
