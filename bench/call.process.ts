/** Signed requests as bytes, and one ordinary call. */
import { createHash, createHmac } from 'node:crypto'
import { millisToAmzDate, type SigningCredentials, sign } from '@musterbook/wire'

const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex')
const hmac = (key: Uint8Array | string, data: string): Uint8Array => createHmac('sha256', key).update(data).digest()

export interface Target {
  host: string
  port: number
  region: string
  credentials: SigningCredentials
}

function signedHeaders(target: Target, operation: string, body: string): [name: string, value: string][] {
  const headers: [string, string][] = [
    ['host', `${target.host}:${target.port}`],
    // What the AWS SDK for JavaScript sends.
    ['accept', '*/*'],
    ['content-type', 'application/x-amz-json-1.1'],
    ['content-length', String(Buffer.byteLength(body))],
    ['user-agent', 'aws-sdk-js/3.1169.0 ua/2.1 os/linux#6.1.0 lang/js md/nodejs#20.20.2 api/ssm#3.1169.0 m/E,n'],
    ['amz-sdk-invocation-id', '8f6a1a1e-54b4-4f59-a3a5-6a2a5a6a3a11'],
    ['amz-sdk-request', 'attempt=1; max=3'],
    ['x-amz-target', `AmazonSSM.${operation}`],
    ['x-amz-content-sha256', sha256(body)],
  ]
  const { region, credentials } = target
  const signature = sign({
    method: 'POST',
    path: '/',
    query: '',
    headers,
    payloadHash: sha256(body),
    region,
    service: 'ssm',
    amzDate: millisToAmzDate(Date.now()),
    credentials,
    sha256,
    hmac,
  })
  return [...headers, ...signature]
}

/** A whole request as it goes over the wire, good for five minutes. */
export function requestBytes(target: Target, operation: string, input: unknown): Buffer {
  const body = JSON.stringify(input)
  const head = signedHeaders(target, operation, body).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST / HTTP/1.1\r\n${head.join('')}\r\n${body}`)
}

export interface RawAnswer {
  headers: Headers
  text: string
}

/** One call by an ordinary HTTP client; throws with what the server said unless it answers 200. */
export async function callRaw(target: Target, operation: string, input: unknown): Promise<RawAnswer> {
  const body = JSON.stringify(input)
  const headers = signedHeaders(target, operation, body).filter(([name]) => !/^(?:host|content-length)$/.test(name))
  const response = await fetch(`http://${target.host}:${target.port}/`, { method: 'POST', headers, body })
  const text = await response.text()
  if (response.status !== 200) throw new Error(`${operation}: ${response.status} ${text}`)
  return { headers: response.headers, text }
}

export const call = async <Answer>(target: Target, operation: string, input: unknown): Promise<Answer> =>
  JSON.parse((await callRaw(target, operation, input)).text) as Answer
