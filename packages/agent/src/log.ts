// The agent's log: one JSON line per event on standard error. Events carry names, ids, numbers and outcomes only; nobody
// hands it parameters, scripts, output or credentials. A library would cost more memory than all of this file's callers.

import { writeSync } from 'node:fs'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
type Fields = Record<string, string | number | boolean | undefined>

export interface Log {
  debug(event: string, fields?: Fields): void
  info(event: string, fields?: Fields): void
  warn(event: string, fields?: Fields): void
  error(event: string, fields?: Fields): void
}

/** Writes synchronously, so that the last line before an end is not lost; a closed standard error is no failure. */
export function createLog(level: LogLevel): Log {
  const floor = LOG_LEVELS.indexOf(level)
  const at = (name: Exclude<LogLevel, 'silent'>) => {
    if (LOG_LEVELS.indexOf(name) < floor) return () => {}
    return (event: string, fields?: Fields) => {
      const line = JSON.stringify({ level: name, time: new Date().toISOString(), event, ...fields })
      try {
        writeSync(2, `${line}\n`)
      } catch {
        // EAGAIN on a full pipe or EPIPE after the reader left: the agent's work matters more than its log.
      }
    }
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** What went wrong, in one line and without a stack. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  return code && !error.message.includes(code) ? `${code}: ${error.message}` : error.message || error.name
}
