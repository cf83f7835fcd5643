/** Server-sent events of the control plane, signed as any client signs; opened again at their offset when they break. */
import { createHmac, hash } from 'node:crypto'
import { millisToAmzDate, sign } from '@musterbook/wire'
import type { Credentials } from './client.ts'

const sha256 = (data: string | Uint8Array) => hash('sha256', data, 'hex')
const hmac = (key: Uint8Array | string, data: string) => createHmac('sha256', key).update(data).digest()

export interface ServerEvent {
  /** Where to go on after it; empty when it moves nothing. */
  id: string
  event: string
  data: string
}

export interface EventSource {
  endpoint: string
  region: string
  credentials: Credentials
  path: string
  /** `now` of the clock that the control plane goes by. */
  now?: () => number
}

/** Events from `offset` on until the stream ends. Throws an Error with the refusal's words. */
export async function* events(
  source: EventSource,
  offset: number,
  signal?: AbortSignal,
): AsyncGenerator<ServerEvent, void> {
  const { endpoint, path, region, credentials } = source
  const url = new URL(path, endpoint)
  const query = `offset=${offset}`
  const headers: [string, string][] = [['host', url.host]]
  const request = { method: 'GET', path, query, headers, payloadHash: sha256(''), region, service: 'ssm' }
  const amzDate = millisToAmzDate((source.now ?? Date.now)())
  const added = sign({ ...request, amzDate, sha256, hmac, credentials })
  const answer = await fetch(`${url.href}?${query}`, { headers: added, signal })
  if (!answer.ok || !answer.body) throw new Error(`${path} was refused: ${(await answer.text()).slice(0, 500)}`)
  let text = ''
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
    text += part
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = parse(text.slice(0, end))
      text = text.slice(end + 2)
      if (event) yield event
    }
  }
}

/** One event of `id`, `event` and `data` lines; undefined for a comment. */
function parse(block: string): ServerEvent | undefined {
  const event: ServerEvent = { id: '', event: '', data: '' }
  for (const line of block.split('\n')) {
    const at = line.indexOf(': ')
    const name = line.slice(0, at)
    if (name === 'id' || name === 'event' || name === 'data') event[name] = line.slice(at + 2)
  }
  return event.event === '' ? undefined : event
}
