/**
 * Reading recordings over HTTP, signed for ssm like everything else: one recording with what can be said of it
 * (ssm:GetSessionRecording on the session), and a search through those of the account (the same on session/*). Neither is
 * an operation of AWS.
 */
import { arn } from '../../platform/arn.ts'
import type { Route } from '../../platform/capability.ts'
import { AwsError } from '../../platform/errors.ts'
import { verdictOf } from './recording.ts'
import { foundIn, OVERLAP, outputOf, secondOf, shownText } from './shown-text.ts'
import * as store from './store.ts'

export const RECORDING_ACTION = 'ssm:GetSessionRecording'
const SEARCH_LIMIT = 100
const MAX_LINE_CHARACTERS = 1_000

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
      if (text === '' || text.length > OVERLAP || text.includes('\0'))
        throw new AwsError('ValidationException', `text takes 1 to ${OVERLAP} characters.`)
      const found = await store.searchRecordings(context.sql, context, text, SEARCH_LIMIT)
      return json({
        matches: found
          .filter(({ body, shown }) => foundIn(body, shown, text))
          .map(({ body, shown, ...session }) => ({
            ...session,
            seconds: secondOf(body, text),
            text: lineWith(shown || shownText(outputOf(body)), text),
          })),
      })
    },
  },
]

/** The line in which the text begins. */
function lineWith(shown: string, text: string): string {
  const at = Math.max(0, shown.indexOf(text))
  const begin = shown.lastIndexOf('\n', at - 1) + 1
  const end = shown.indexOf('\n', at + text.length)
  return shown.slice(at === 0 ? 0 : begin, end < 0 ? undefined : end).slice(0, MAX_LINE_CHARACTERS)
}
