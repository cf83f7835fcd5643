/** Operations and routes of the control plane, asked for as any client asks; refusals become one line for a person. */
import { ConfigError } from './config-error.ts'
import { type ControlPlane, isOk, type Question, send, textOf } from './signed-request.ts'

/** One operation of Systems Manager. Throws ConfigError with AWS's words. */
export const call = <Answer>(at: ControlPlane, operation: string, input: object): Promise<Answer> =>
  ask(at, { method: 'POST', path: '/', headers: target(`AmazonSSM.${operation}`) }, input, `${operation} was refused: `)

/** One operation of KMS, with the words of its errors. */
export const callKms = <Answer>(at: ControlPlane, operation: string, input: object): Promise<Answer> =>
  ask(
    at,
    { method: 'POST', path: '/', headers: target(`TrentService.${operation}`), service: 'kms' },
    input,
    `${operation} was refused: `,
  )

/** A route of the control plane's own; `service` is whose capability has it. Throws ConfigError with its words. */
export const route = <Answer>(
  at: ControlPlane,
  service: 'ssm' | 'iam',
  method: 'GET' | 'POST',
  path: string,
  input?: object,
): Promise<Answer> => ask(at, { method, path, service, headers: [['content-type', 'application/json']] }, input, '')

const target = (name: string): [string, string][] => [
  ['content-type', 'application/x-amz-json-1.1'],
  ['x-amz-target', name],
]

async function ask<Answer>(
  at: ControlPlane,
  question: Omit<Question, 'body'>,
  input: object | undefined,
  before: string,
): Promise<Answer> {
  const answer = await send(at, { ...question, body: input === undefined ? '' : JSON.stringify(input) })
  const text = await textOf(answer)
  if (isOk(answer)) return JSON.parse(text) as Answer
  throw new ConfigError(`${before}${wordsOf(text) || `the control plane answered ${answer.statusCode}`}`)
}

const ENTITIES: Record<string, string> = { '&lt;': '<', '&gt;': '>', '&amp;': '&' }

/** Operations refuse in JSON; routes too, except where the gateway refuses before them, in XML. */
function wordsOf(text: string): string {
  const [, name, said] = /^<(\w+)><Message>([^<]*)/.exec(text) ?? []
  if (name !== undefined && said !== undefined)
    return `${said.replace(/&(lt|gt|amp);/g, (entity) => ENTITIES[entity]!)} (${name})`
  try {
    const { __type = '', message, Message } = JSON.parse(text) as Record<string, string>
    return `${__type} ${message ?? Message ?? ''}`.trim()
  } catch {
    return ''
  }
}
