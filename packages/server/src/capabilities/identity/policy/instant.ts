/**
 * Moments as the Date operators read them: the W3C's ISO 8601 forms, or seconds since 1970.
 * Four digits alone are a year; a form without an offset is UTC.
 */

const ISO =
  /^(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(?:(Z)|([+-])(\d{2}):?(\d{2}))?)?)?)?$/i
const EPOCH_SECONDS = /^\d{1,3}$|^\d{5,15}(\.\d+)?$/

/** Milliseconds since the epoch; undefined where `text` is no moment. */
export function parseInstant(text: string): number | undefined {
  if (EPOCH_SECONDS.test(text)) return Number(text) * 1000
  const match = ISO.exec(text)
  if (match === null) return undefined
  const [, year, month = '01', day = '01', hour = '00', minute = '00', second = '00', fraction = '0'] = match
  if (Number(minute) > 59 || Number(second) > 59 || Number(hour) > 23) return undefined
  const whole = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  // Date.parse carries 30 February over into March: a date that does not come back is none.
  if (Number.isNaN(whole) || new Date(whole).getUTCDate() !== Number(day)) return undefined
  const offset = (Number(match[10] ?? 0) * 60 + Number(match[11] ?? 0)) * 60_000
  return whole + Number(`0.${fraction}`) * 1000 - (match[9] === '-' ? -offset : offset)
}
