/** Pages as KMS has them: Limit, Marker, NextMarker, Truncated. */
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { KeyError } from './errors.ts'

const DEFAULT_LIMIT = 100

export interface Page<Row> {
  rows: Row[]
  /** What the answer carries beside its rows. */
  rest: { Truncated: boolean; NextMarker?: string }
}

/** `read` is asked for one row more than are shown. InvalidMarkerException. */
export async function page<Row, Position>(
  context: Context,
  kind: string,
  input: { Limit?: number | undefined; Marker?: string | undefined },
  first: Position,
  read: (after: Position, limit: number) => Promise<Row[]>,
  positionOf: (row: Row) => Position,
): Promise<Page<Row>> {
  const limit = input.Limit ?? DEFAULT_LIMIT
  const rows = await read(startOf<Position>(context, kind, input.Marker) ?? first, limit + 1)
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  if (rows.length <= limit || last === undefined) return { rows: shown, rest: { Truncated: false } }
  return { rows: shown, rest: { Truncated: true, NextMarker: encodeToken(context, `kms ${kind}`, positionOf(last)) } }
}

function startOf<Position>(context: Context, kind: string, marker: string | undefined): Position | undefined {
  try {
    return decodeToken<Position>(context, `kms ${kind}`, marker)
  } catch (error) {
    if (error instanceof AwsError) throw new KeyError('InvalidMarkerException', 'The marker is not valid.')
    throw error
  }
}
