/** Operations and routes of the control plane, asked for as any client asks; refusals become one line for a person. */
import { join } from 'node:path'
import { ConfigError } from './config-error.ts'
import { readSecret } from './secret-file.ts'
import { type ControlPlane, type Credentials, isOk, type Question, send, textOf } from './signed-request.ts'

/** One operation of Systems Manager. Throws ConfigError with AWS's words. */
export const call = <Answer>(at: ControlPlane, operation: string, input: object): Promise<Answer> =>
  ask(at, operation, { path: '/', headers: target(`AmazonSSM.${operation}`) }, input)

/** One operation of KMS, with the words of its errors. */
export const callKms = <Answer>(at: ControlPlane, operation: string, input: object): Promise<Answer> =>
  ask(at, operation, { path: '/', headers: target(`TrentService.${operation}`), service: 'kms' }, input)

/** A route of the control plane's own. Throws ConfigError with its words. */
export const post = <Answer>(at: ControlPlane, path: string, input: object): Promise<Answer> =>
  ask(at, path, { path, headers: [['content-type', 'application/json']] }, input)

const target = (name: string): [string, string][] => [
  ['content-type', 'application/x-amz-json-1.1'],
  ['x-amz-target', name],
]

/** `name`: what a refusal is told of. */
async function ask<Answer>(
  at: ControlPlane,
  name: string,
  question: Omit<Question, 'method' | 'body'>,
  input: object,
): Promise<Answer> {
  const answer = await send(at, { ...question, method: 'POST', body: JSON.stringify(input) })
  const text = await textOf(answer)
  if (isOk(answer)) return JSON.parse(text) as Answer
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
