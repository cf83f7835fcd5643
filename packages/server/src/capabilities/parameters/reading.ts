/** The operations that read parameters. */
import type { Input, Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError } from '../../platform/errors.ts'
import { decodeToken, encodeToken } from '../../platform/paging.ts'
import { historyOf, metadataOf, parameterOf } from './answers.ts'
import { byPathCriteria, describeCriteria } from './filters.ts'
import { latestOf } from './latest.ts'
import { parameterNotFound, parsePath, parseReference, type Reference } from './names.ts'
import { isVersion, labelNotFound, versionNotFound } from './rules.ts'
import { listParameters, readHistory, readLabelled, readLatest, readVersion, type VersionRow } from './store.ts'

const MAX_BY_PATH = 10
const MAX_PER_PAGE = 50

/** ParameterNotFound, ParameterVersionNotFound. */
async function find(context: Context, { key, selector, spelling }: Reference): Promise<VersionRow> {
  const latest = await latestOf(context, key)
  if (!latest) throw parameterNotFound()
  if (!selector) return latest
  const name = spelling ?? latest.name
  if ('label' in selector) {
    const labelled = await readLabelled(context, key, selector.label)
    if (!labelled) throw labelNotFound(name, selector.label)
    return labelled
  }
  if (selector.version === latest.version) return latest
  const row = isVersion(selector.version) ? await readVersion(context, key, selector.version) : undefined
  if (!row) throw versionNotFound(name, selector.text.slice(1))
  return row
}

export async function getParameter(context: Context, input: Input<'GetParameter'>): Promise<Output<'GetParameter'>> {
  const reference = parseReference(context, input.Name)
  return { Parameter: await parameterOf(context, await find(context, reference), input.WithDecryption, reference) }
}

/** What is not there, whether parameter, version or label, is told in InvalidParameters as it was asked for. */
export async function getParameters(context: Context, input: Input<'GetParameters'>): Promise<Output<'GetParameters'>> {
  const asked = [...new Set(input.Names)]
  const found = await Promise.all(
    asked.map(async (name) => {
      try {
        const reference = parseReference(context, name)
        return await parameterOf(context, await find(context, reference), input.WithDecryption, reference)
      } catch (error) {
        if (error instanceof AwsError && error.name !== 'InvalidKeyId') return undefined
        throw error
      }
    }),
  )
  return {
    Parameters: found.filter((parameter) => parameter !== undefined).sort(byName),
    InvalidParameters: asked.filter((_, index) => found[index] === undefined),
  }
}

const byName = (a: { Name?: string }, b: { Name?: string }): number =>
  (a.Name ?? '') < (b.Name ?? '') ? -1 : (a.Name ?? '') > (b.Name ?? '') ? 1 : 0

export async function getParametersByPath(
  context: Context,
  input: Input<'GetParametersByPath'>,
): Promise<Output<'GetParametersByPath'>> {
  const path = parsePath(input.Path)
  const criteria = byPathCriteria(input.ParameterFilters)
  const { rows, nextToken } = await page(context, 'GetParametersByPath', input.NextToken, (after) => ({
    limit: input.MaxResults ?? MAX_BY_PATH,
    read: (limit) =>
      listParameters(
        context,
        [{ on: 'path', option: input.Recursive ? 'Recursive' : 'OneLevel', paths: [path] }, ...criteria],
        after,
        limit,
      ),
    position: (row) => row.nameKey,
  }))
  return {
    Parameters: await Promise.all(rows.map((row) => parameterOf(context, row, input.WithDecryption))),
    NextToken: nextToken,
  }
}

export async function getParameterHistory(
  context: Context,
  input: Input<'GetParameterHistory'>,
): Promise<Output<'GetParameterHistory'>> {
  const { key, selector } = parseReference(context, input.Name)
  if (selector) throw parameterNotFound()
  const { rows, nextToken } = await page(
    context,
    'GetParameterHistory',
    input.NextToken,
    (after: number | undefined) => ({
      limit: input.MaxResults ?? MAX_PER_PAGE,
      read: (limit) => readHistory(context, key, after ?? 0, limit),
      position: (row) => row.version,
    }),
  )
  if (rows.length === 0 && !(await readLatest(context, key))) throw parameterNotFound()
  return {
    Parameters: await Promise.all(rows.map((row) => historyOf(context, row, input.WithDecryption))),
    NextToken: nextToken,
  }
}

export async function describeParameters(
  context: Context,
  input: Input<'DescribeParameters'>,
): Promise<Output<'DescribeParameters'>> {
  const criteria = describeCriteria(input)
  const { rows, nextToken } = await page(context, 'DescribeParameters', input.NextToken, (after) => ({
    limit: input.MaxResults ?? MAX_PER_PAGE,
    // Nothing is shared between accounts yet.
    read: (limit) => (input.Shared ? Promise.resolve([]) : listParameters(context, criteria, after, limit)),
    position: (row) => row.nameKey,
  }))
  return { Parameters: rows.map((row) => metadataOf(context, row)), NextToken: nextToken }
}

interface Listing<Row, Position> {
  limit: number
  read(limit: number): Promise<Row[]>
  position(row: Row): Position
}

/** One page, and the token of the next if there is one. InvalidNextToken. */
async function page<Row, Position = string>(
  context: Context,
  kind: string,
  token: string | undefined,
  listing: (after: Position | undefined) => Listing<Row, Position>,
): Promise<{ rows: Row[]; nextToken: string | undefined }> {
  const { limit, read, position } = listing(decodeToken<Position>(context, kind, token))
  const rows = await read(limit + 1)
  if (rows.length <= limit) return { rows, nextToken: undefined }
  rows.length = limit
  const last = rows.at(-1)
  return { rows, nextToken: last && encodeToken(context, kind, position(last)) }
}
