/** Calls the control plane as any client does: signed, over the public door. */
import { createHmac, hash } from 'node:crypto'
import { millisToAmzDate, sign } from '@musterbook/wire'

export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
}

const sha256 = (data: string | Uint8Array) => hash('sha256', data, 'hex')
const hmac = (key: Uint8Array | string, data: string) => createHmac('sha256', key).update(data).digest()

/** One operation of Systems Manager. Throws an Error with AWS's words. */
export async function call<Answer>(
  endpoint: string,
  region: string,
  credentials: Credentials,
  operation: string,
  input: object,
): Promise<Answer> {
  const url = new URL(endpoint)
  const body = JSON.stringify(input)
  const headers: [string, string][] = [
    ['host', url.host],
    ['content-type', 'application/x-amz-json-1.1'],
    ['x-amz-target', `AmazonSSM.${operation}`],
  ]
  const amzDate = millisToAmzDate(Date.now())
  const request = {
    method: 'POST',
    path: '/',
    query: '',
    headers,
    payloadHash: sha256(body),
    region,
    service: 'ssm',
    amzDate,
  }
  const added = sign({ ...request, sha256, hmac, credentials })
  const answer = await fetch(url, { method: 'POST', headers: [...headers.slice(1), ...added], body })
  const text = await answer.text()
  if (answer.ok) return JSON.parse(text) as Answer
  const { __type, message, Message } = JSON.parse(text) as Record<string, string>
  throw new Error(`${operation} was refused: ${__type} ${message ?? Message ?? ''}`)
}
