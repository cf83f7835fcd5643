/**
 * One JSON document from an issuer: https (http to this machine where that is allowed), no redirect, no proxy, no cookie,
 * bounded in time and size, connected to the very address that was checked. What it says is never shown to anybody.
 */
import { lookup as resolve } from 'node:dns'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { type IssuerNetworks, mayDial } from './addresses.ts'

/** For one document, name resolution and TLS included. */
const DEADLINE_MS = 5_000
/** Keys of large issuers with their certificates are some 20 KB. */
const MAX_BYTES = 256 * 1024

export class FetchRefusal extends Error {}

/** Throws FetchRefusal, whose message is for the log. */
export async function fetchJson(url: URL, networks: IssuerNetworks): Promise<unknown> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isPlain = url.protocol === 'http:'
  if (url.protocol !== 'https:' && !(isPlain && networks === 'loopback' && isLoopbackHost(host)))
    throw new FetchRefusal(`${url.origin} is not https`)
  // An address is connected to without a look-up: it is checked here, a name in `checkedLookup`.
  if (isIP(host) !== 0 && !mayDial(host, networks)) throw new FetchRefusal(`${host} is not an address to dial`)
  const text = await read(url, isPlain ? httpRequest : httpsRequest, checkedLookup(networks))
  try {
    return JSON.parse(text)
  } catch {
    throw new FetchRefusal(`${url.href} did not answer JSON`)
  }
}

export const isLoopbackHost = (host: string): boolean =>
  host === 'localhost' || (isIP(host) !== 0 && !mayDial(host, 'private') && mayDial(host, 'loopback'))

/** Every address of the name must be one to dial: which of them is taken is not ours to say. */
const checkedLookup =
  (networks: IssuerNetworks): LookupFunction =>
  (name, options, callback) =>
    resolve(name, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0)
      const odd = addresses.find(({ address }) => !mayDial(address, networks))
      if (odd) return callback(new FetchRefusal(`${name} is ${odd.address}, which is not an address to dial`), '', 0)
      const [first] = addresses
      if (!first) return callback(new FetchRefusal(`${name} has no address`), '', 0)
      return options.all ? callback(null, addresses) : callback(null, first.address, first.family)
    })

function read(url: URL, request: typeof httpsRequest, lookup: LookupFunction): Promise<string> {
  return new Promise((done, fail) => {
    const refuse = (error: unknown) =>
      fail(
        error instanceof FetchRefusal
          ? error
          : new FetchRefusal(`${url.href}: ${error instanceof Error ? error.message : error}`),
      )
    const headers = { accept: 'application/json', 'user-agent': 'musterbook' }
    const signal = AbortSignal.timeout(DEADLINE_MS)
    const sent = request(url, { method: 'GET', agent: false, headers, lookup, signal, maxHeaderSize: 16 * 1024 })
    sent.once('error', refuse)
    sent.once('response', (response) => {
      if (response.statusCode !== 200) {
        response.destroy()
        return refuse(new FetchRefusal(`${url.href} answered ${response.statusCode}`))
      }
      const chunks: Buffer[] = []
      let bytes = 0
      response.once('error', refuse)
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > MAX_BYTES) response.destroy(new FetchRefusal(`${url.href} answered more than ${MAX_BYTES} bytes`))
        else chunks.push(chunk)
      })
      response.once('end', () => done(Buffer.concat(chunks).toString()))
    })
    sent.end()
  })
}
