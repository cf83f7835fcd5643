/**
 * Reading recordings over HTTP, signed for ssm like everything else: one recording with what can be said of it
 * (ssm:GetSessionRecording on the session), and a search through those of the account (the same on session/*). Neither is
 * an operation of AWS.
 */
import { arn } from '../../platform/arn.ts'
import type { Route } from '../../platform/capability.ts'
import { AwsError } from '../../platform/errors.ts'
import { verdictOf } from './recording.ts'
import * as store from './store.ts'

export const RECORDING_ACTION = 'ssm:GetSessionRecording'
const SEARCH_LIMIT = 100
const MAX_SEARCH_CHARACTERS = 200

const json = (value: unknown) => ({ status: 200, contentType: 'application/json', body: JSON.stringify(value) })

export const recordingRoutes: Route[] = [
  {
    method: 'GET',
    path: /^\/v1\/session-recordings\/([A-Za-z0-9_@.%-]{1,96})$/,
    signedFor: 'ssm',
    authorize: (context, [sessionId = '']) => ({
      action: RECORDING_ACTION,
      resources: [arn('ssm', context, `session/${decodeURIComponent(sessionId)}`)],
    }),
    async handle(context, { params: [encoded = ''] }) {
      const sessionId = decodeURIComponent(encoded)
      const session = await store.readSession(context.sql, sessionId)
      const isOwn = session?.account === context.account && session.region === context.region
      const recording = isOwn ? await store.readRecording(context.sql, sessionId) : undefined
      if (!recording || recording.chunks.length === 0)
        throw new AwsError('DoesNotExistException', `There is no recording of session ${sessionId}.`)
      const { chunks, seal } = recording
      return json({
        sessionId,
        verdict: verdictOf(context, sessionId, chunks, seal),
        chunks: chunks.map(({ number, body, hash }) => ({ number, hash: hash.toString('hex'), body })),
      })
    },
  },
  {
    method: 'GET',
    path: /^\/v1\/session-recordings$/,
    signedFor: 'ssm',
    authorize: (context) => ({ action: RECORDING_ACTION, resources: [arn('ssm', context, 'session/*')] }),
    async handle(context, { raw }) {
      const text = new URL(raw.url ?? '/', 'http://localhost').searchParams.get('text') ?? ''
      if (text === '' || text.length > MAX_SEARCH_CHARACTERS || text.includes('\0'))
        throw new AwsError('ValidationException', `text takes 1 to ${MAX_SEARCH_CHARACTERS} characters.`)
      // As the text stands in a recording's lines.
      const written = JSON.stringify(text).slice(1, -1)
      const found = await store.searchRecordings(context.sql, context, written, SEARCH_LIMIT)
      return json({
        matches: found.map(({ body, ...session }) => ({ ...session, ...firstMatch(body, written) })),
      })
    },
  },
]

/** The line of a chunk in which the text stands, and its second of the session. */
function firstMatch(body: string, written: string): { seconds: number; text: string } {
  const line = body.split('\n').find((candidate) => candidate.includes(written)) ?? '[0,"o",""]'
  const event: unknown = JSON.parse(line)
  return Array.isArray(event) ? { seconds: Number(event[0]), text: String(event[2]) } : { seconds: 0, text: line }
}
