/** `musterbook sessions play|verify|search`: recordings, as the control plane gives them to whoever may read them. */
import { hash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { ConfigError } from './config-error.ts'
import { type ControlPlane, isOk, send, textOf } from './signed-request.ts'

interface Recording {
  sessionId: string
  verdict: { state: 'sealed' | 'open' } | { state: 'broken'; chunk: number; reason: string }
  chunks: { number: number; hash: string; body: string }[]
}

interface Match {
  sessionId: string
  nodeId: string
  owner: string
  startedAt: string
  seconds: number
  text: string
}

/** Pauses of a recording are cut to this, in seconds. */
const LONGEST_PAUSE = 2

/** The exit code: 1 when a recording is broken or nothing is found. */
export async function runRecordings(access: ControlPlane, [verb = '', what = '']: string[]): Promise<number> {
  if (what === '') throw new ConfigError('musterbook sessions takes play <id>, verify <id> or search <text>')
  if (verb === 'play') return play(await recordingOf(access, what))
  if (verb === 'verify') return verify(await recordingOf(access, what))
  if (verb === 'search') return search(access, what)
  throw new ConfigError(`musterbook sessions ${verb}: there is no such thing; it takes play, verify or search`)
}

const recordingOf = (access: ControlPlane, sessionId: string): Promise<Recording> =>
  get(access, `/v1/session-recordings/${encodeURIComponent(sessionId)}`, '')

/** In real time on a terminal; elsewhere the asciicast itself, for other players. */
async function play({ chunks }: Recording): Promise<number> {
  const text = chunks.map(({ body }) => body).join('')
  if (!process.stdout.isTTY) {
    process.stdout.write(text)
    return 0
  }
  let before = 0
  for (const line of text.split('\n').slice(1)) {
    const [seconds, kind, data] = line === '' ? [0, '', ''] : (JSON.parse(line) as [number, string, string])
    if (kind !== 'o') continue
    await pause(1000 * Math.min(LONGEST_PAUSE, Math.max(0, seconds - before)))
    before = seconds
    process.stdout.write(data)
  }
  process.stdout.write('\n')
  return 0
}

/** The chain is followed here as well: the server's word alone says nothing about the server. */
function verify({ sessionId, verdict, chunks }: Recording): number {
  let last = Buffer.alloc(32)
  const wrong = chunks.find(({ body, hash: told }) => {
    last = Buffer.from(hash('sha256', Buffer.concat([last, Buffer.from(body)]), 'hex'), 'hex')
    return last.toString('hex') !== told
  })
  if (wrong || verdict.state === 'broken') {
    const at = verdict.state === 'broken' ? `part ${verdict.chunk}: ${verdict.reason}` : `part ${wrong?.number}`
    process.stdout.write(`${sessionId}: BROKEN at ${at}\n`)
    return 1
  }
  const words = verdict.state === 'sealed' ? 'whole and sealed' : 'whole so far, not sealed yet'
  process.stdout.write(`${sessionId}: ${words}, ${chunks.length} parts, last hash ${last.toString('hex')}\n`)
  return 0
}

async function search(access: ControlPlane, text: string): Promise<number> {
  const { matches } = await get<{ matches: Match[] }>(
    access,
    '/v1/session-recordings',
    `text=${encodeURIComponent(text)}`,
  )
  for (const match of matches) {
    const shown = JSON.stringify(match.text.length > 100 ? `${match.text.slice(0, 100)}...` : match.text)
    process.stdout.write(
      `${match.sessionId}  ${match.nodeId}  ${match.startedAt}  +${match.seconds.toFixed(1)}s  ${shown}\n`,
    )
  }
  return matches.length > 0 ? 0 : 1
}

async function get<Answer>(at: ControlPlane, path: string, query: string): Promise<Answer> {
  const answer = await send(at, { method: 'GET', path, query })
  const body = await textOf(answer)
  if (!isOk(answer))
    throw new ConfigError(/<Message>([^<]*)/.exec(body)?.[1] ?? `the control plane answered ${answer.statusCode}`)
  return JSON.parse(body) as Answer
}
