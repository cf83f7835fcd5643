/** Calls the control plane as any client does: signed, over the public door. */
import { createHmac, hash } from 'node:crypto'
import { join } from 'node:path'
import { millisToAmzDate, sign } from '@musterbook/wire'
import { ConfigError } from './config-error.ts'
import { readSecret } from './secret-file.ts'

export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
  /** Of temporary credentials. */
  sessionToken?: string | undefined
}

const sha256 = (data: string | Uint8Array) => hash('sha256', data, 'hex')
const hmac = (key: Uint8Array | string, data: string) => createHmac('sha256', key).update(data).digest()

/** One operation of Systems Manager. Throws ConfigError with AWS's words. */
export function call<Answer>(
  endpoint: string,
  region: string,
  credentials: Credentials,
  operation: string,
  input: object,
): Promise<Answer> {
  const headers: [string, string][] = [
    ['content-type', 'application/x-amz-json-1.1'],
    ['x-amz-target', `AmazonSSM.${operation}`],
  ]
  return signedPost({ endpoint, region, credentials, path: '/', name: operation, headers }, input)
}

/** One operation of KMS, with the words of its errors. */
export function callKms<Answer>(
  endpoint: string,
  region: string,
  credentials: Credentials,
  operation: string,
  input: object,
): Promise<Answer> {
  const headers: [string, string][] = [
    ['content-type', 'application/x-amz-json-1.1'],
    ['x-amz-target', `TrentService.${operation}`],
  ]
  return signedPost({ endpoint, region, credentials, path: '/', name: operation, headers, service: 'kms' }, input)
}

/** A route of the control plane's own. Throws ConfigError with its words. */
export function post<Answer>(
  endpoint: string,
  region: string,
  credentials: Credentials,
  path: string,
  input: object,
): Promise<Answer> {
  const headers: [string, string][] = [['content-type', 'application/json']]
  return signedPost({ endpoint, region, credentials, path, name: path, headers }, input)
}

interface Question {
  endpoint: string
  region: string
  credentials: Credentials
  path: string
  /** What a refusal is told of. */
  name: string
  headers: [string, string][]
  /** The name that the signature is made for; ssm unless it says. */
  service?: string
}

async function signedPost<Answer>(question: Question, input: object): Promise<Answer> {
  const { region, credentials, path, name, service = 'ssm' } = question
  const url = new URL(path, question.endpoint)
  const body = JSON.stringify(input)
  const headers: [string, string][] = [['host', url.host], ...question.headers]
  const amzDate = millisToAmzDate(Date.now())
  const request = {
    method: 'POST',
    path,
    query: '',
    headers,
    payloadHash: sha256(body),
    region,
    service,
    amzDate,
  }
  const added = sign({ ...request, sha256, hmac, credentials })
  const answer = await fetch(url, { method: 'POST', headers: [...headers.slice(1), ...added], body })
  const text = await answer.text()
  if (answer.ok) return JSON.parse(text) as Answer
  throw new ConfigError(`${name} was refused: ${wordsOf(text)}`)
}

/** Operations refuse in JSON, routes in XML. */
function wordsOf(text: string): string {
  try {
    const { __type, message, Message } = JSON.parse(text) as Record<string, string>
    return `${__type} ${message ?? Message ?? ''}`
  } catch {
    return text
      .replace(/<\/?[A-Za-z]+>/g, ' ')
      .trim()
      .slice(0, 500)
  }
}

/** The endpoint and the root credentials, from the file that `serve` wrote. */
export async function readEnvironment(data: string): Promise<{ endpoint: string; credentials: Credentials }> {
  const path = join(data, 'env')
  const text = await readSecret(path)
  if (text === undefined)
    throw new ConfigError(
      `${path} cannot be read: start the control plane on this machine first, or name its data folder with --data`,
    )
  const value = (name: string) => new RegExp(`^export ${name}='([^']*)'$`, 'm').exec(text)?.[1] ?? ''
  return {
    endpoint: value('AWS_ENDPOINT_URL'),
    credentials: { accessKeyId: value('AWS_ACCESS_KEY_ID'), secretAccessKey: value('AWS_SECRET_ACCESS_KEY') },
  }
}
