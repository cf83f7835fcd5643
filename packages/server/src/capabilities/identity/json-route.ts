/** JSON in and out of identity's own routes. */
import type { RouteAnswer } from '../../platform/capability.ts'
import { AwsError } from '../../platform/errors.ts'

export const json = (status: number, value: unknown): RouteAnswer => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(value),
})

/** SerializationException: no JSON object. */
export function objectOf(body: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body.toString())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // Told below.
  }
  throw new AwsError('SerializationException', 'The body of the request must be a JSON object.')
}
