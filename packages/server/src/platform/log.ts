/**
 * Structured logs (pino). Nothing that was sent as a request or an answer is ever logged, only names, ids and outcomes;
 * the redaction below is the second line of defence, not the first.
 */
import { type Logger as PinoLogger, pino, stdSerializers } from 'pino'

export type Logger = Pick<PinoLogger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'>
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const SECRET_MEMBERS = ['authorization', 'password', 'secret', 'token', 'value', 'privateKey', 'secretAccessKey']

/** A logger that writes one JSON line per event to standard error, so that standard output stays for people. */
export function createLog(level: LogLevel): Logger {
  const paths = SECRET_MEMBERS.flatMap((member) => [member, `*.${member}`])
  // Synchronous: an asynchronous destination loses the last lines when the process ends early.
  return pino(
    { level, base: undefined, redact: { paths, censor: '[redacted]' }, serializers: { err: describeError } },
    pino.destination({ fd: 2, sync: true }),
  )
}

/** An error without what PostgreSQL quotes of rows and values (`detail` of a failed check holds the whole row). */
function describeError(error: Error): object {
  const { detail: _row, where: _values, hint: _hint, ...rest } = stdSerializers.err(error)
  return rest
}
