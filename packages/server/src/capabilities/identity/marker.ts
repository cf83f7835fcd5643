/** Paging of IAM: MaxItems, Marker and IsTruncated over listings that are sorted by a key. Markers are sealed. */
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'

/** IAM's default; its maximum of 1,000 is checked by shape. */
const DEFAULT_ITEMS = 100

export interface Asked {
  Marker?: string
  MaxItems?: number
}

export interface Page<T> {
  items: T[]
  /** What the answer carries. */
  rest: { IsTruncated: boolean; Marker?: string }
}

/** IAM is global: a marker is good in every region. */
const everywhere = ({ account, sealer }: Context) => ({ account, sealer, region: 'aws-global' })

/** The key after which the listing goes on. ValidationError for a marker of another listing. */
export function after(context: Context, listing: string, asked: Asked): string {
  try {
    return decodeToken<string>(everywhere(context), listing, asked.Marker) ?? ''
  } catch (error) {
    if (error instanceof AwsError) throw validation('Invalid Marker.')
    throw error
  }
}

/** A page through `read`, which is handed where to go on and how many to read at most. */
export async function pageFrom<T>(
  context: Context,
  listing: string,
  asked: Asked,
  keyOf: (item: T) => string,
  read: (from: { after: string; limit: number }) => Promise<T[]>,
): Promise<Page<T>> {
  const most = asked.MaxItems ?? DEFAULT_ITEMS
  const items = await read({ after: after(context, listing, asked), limit: most + 1 })
  if (items.length <= most) return { items, rest: { IsTruncated: false } }
  const page = items.slice(0, most)
  const Marker = encodeToken(everywhere(context), listing, keyOf(page[page.length - 1]!))
  return { items: page, rest: { IsTruncated: true, Marker } }
}

/** A page of a list that is short by its nature. */
export const pageOf = <T>(
  context: Context,
  listing: string,
  asked: Asked,
  keyOf: (item: T) => string,
  all: readonly T[],
): Promise<Page<T>> =>
  pageFrom(context, listing, asked, keyOf, async ({ after: from, limit }) =>
    [...all]
      .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
      .filter((item) => keyOf(item) > from)
      .slice(0, limit),
  )
