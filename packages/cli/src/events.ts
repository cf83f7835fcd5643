/** Server-sent events of the control plane, signed as any client signs; opened again at their offset when they break. */
import { type ControlPlane, isOk, send, textOf } from './signed-request.ts'

export interface ServerEvent {
  /** Where to go on after it; empty when it moves nothing. */
  id: string
  event: string
  data: string
}

export interface EventSource extends ControlPlane {
  path: string
}

/** Events from `offset` on until the stream ends. Throws an Error with the refusal's words. */
export async function* events(
  source: EventSource,
  offset: number,
  signal?: AbortSignal,
): AsyncGenerator<ServerEvent, void> {
  const { path } = source
  const answer = await send(source, { method: 'GET', path, query: `offset=${offset}`, signal })
  if (!isOk(answer)) throw new Error(`${path} was refused: ${(await textOf(answer)).slice(0, 500)}`)
  answer.setEncoding('utf8')
  let text = ''
  for await (const part of answer) {
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
