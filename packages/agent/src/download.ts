// One GET into a file: redirects followed, never from https to http, and the node's signature only for the control plane
// itself, because it carries the session token.

import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { pipeline } from 'node:stream/promises'
import { rootCertificates } from 'node:tls'
import type { SigningCredentials } from '@musterbook/wire'
import { EMPTY_PAYLOAD_HASH } from '@musterbook/wire'
import { signedHeaders, type Transport } from './transport.ts'

const MOST_REDIRECTS = 10
/** A peer that is silent for so many milliseconds is given up. */
const SILENCE = 60_000

export interface DownloadOptions {
  transport: Transport
  ca: string | undefined
  credentials(): SigningCredentials
  signal: AbortSignal
}

/** Throws for every answer but 200, with the status in the message; then no file is made or changed. */
export async function download(
  url: URL,
  path: string,
  headers: Record<string, string>,
  options: DownloadOptions,
): Promise<void> {
  let at = url
  let own = headers
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const answer = await get(at, own, options)
    const status = answer.statusCode ?? 0
    const { location } = answer.headers
    if (status >= 300 && status < 400 && location !== undefined) {
      answer.resume()
      const next = new URL(location, at)
      if (at.protocol === 'https:' && next.protocol !== 'https:') throw new Error('a redirect leads from https to http')
      // Another host gets no password that was meant for the first.
      if (next.host !== at.host) own = {}
      at = next
      continue
    }
    if (status !== 200) {
      answer.resume()
      // Refused for its date: signed anew by the clock of the control plane.
      if (status === 403 && isOurs(at, options) && options.transport.correctClock(answer.headers.date)) continue
      throw new Error(`the server answered ${status} for ${at.origin}${at.pathname}`)
    }
    return whole(path, (beside) =>
      pipeline(answer, createWriteStream(beside, { flags: 'wx', mode: 0o600 }), { signal: options.signal }),
    )
  }
  throw new Error(`more than ${MOST_REDIRECTS} redirects`)
}

/**
 * The file appears whole or not at all: half of a script must never be what a later step runs. What is written first has
 * a name that nobody can foresee, and must be new: in a folder like /tmp somebody else may have put a link there.
 */
export async function whole(path: string, write: (beside: string) => Promise<void>): Promise<void> {
  const beside = `${path}.${randomUUID()}.part`
  try {
    await write(beside)
    await rename(beside, path)
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
}

function get(url: URL, headers: Record<string, string>, options: DownloadOptions): Promise<IncomingMessage> {
  const { ca, signal } = options
  const sent = isOurs(url, options) ? { ...headers, ...signed(url, options) } : headers
  return new Promise((resolve, reject) => {
    const common = { headers: sent, timeout: SILENCE, signal }
    const outgoing =
      url.protocol === 'https:'
        ? httpsRequest(url, { ...common, ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }) }, resolve)
        : httpRequest(url, common, resolve)
    outgoing.on('timeout', () => outgoing.destroy(new Error('the server is silent')))
    outgoing.on('error', reject)
    outgoing.end()
  })
}

const isOurs = (url: URL, { transport }: DownloadOptions): boolean =>
  url.protocol === 'https:' && url.host === transport.host

function signed(url: URL, { transport, credentials }: DownloadOptions): Record<string, string> {
  const headers: Array<[string, string]> = [['x-amz-content-sha256', EMPTY_PAYLOAD_HASH]]
  const question = { method: 'GET' as const, path: url.pathname, query: url.search.slice(1), headers, service: 's3' }
  return Object.fromEntries(signedHeaders(transport, question, credentials()))
}
