/**
 * Forged, flipped, truncated and expired requests against the real gateway: none is accepted, each is refused with a
 * modelled error, and the server goes on. MUSTERBOOK_FORGERIES raises their number.
 */
import { startTestbed, type Testbed } from '@musterbook/testbed'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { enrol, type Signing, send, signed, type WireRequest, withHeader } from '../contract/signed-request.ts'

const FORGERIES = Number(process.env.MUSTERBOOK_FORGERIES ?? 10_000)
const AT_ONCE = 64
const MINUTE = 60_000

/** Every error that a request without a good signature may get, with its status. */
const REFUSALS = [
  'IncompleteSignatureException 400',
  'InvalidSignatureException 400',
  'MissingAuthenticationTokenException 400',
  'UnrecognizedClientException 400',
  'UnknownOperationException 400', // its target was damaged
  'UnknownOperationException 404', // its path was
]

let testbed: Testbed
/** Signs what is forged: anew before each handful, so that none of it is refused for its age alone. */
let sign: () => void
let good: WireRequest[]
let expired: WireRequest[]

beforeAll(async () => {
  testbed = await startTestbed()
  const account = await testbed.account()
  const node = await enrol(testbed, account)
  const host = new URL(testbed.endpoint).host
  const root = { credentials: account.config.credentials, host }
  const kinds: Signing[] = [
    { ...root, operation: 'PutParameter', body: '{"Name":"forged","Value":"v","Type":"String","Overwrite":true}' },
    { ...root, operation: 'DescribeParameters', query: 'a=b&c=d', headers: [['x-amz-meta', 'one two']] },
    { ...root, operation: 'DescribeParameters', body: '{"MaxResults":5}', presign: 600 },
    { credentials: node.credentials, host, operation: 'GetDocument', body: '{"Name":"AWS-RunShellScript"}' },
    {
      credentials: node.credentials,
      host,
      operation: 'GetDocument',
      body: '{"Name":"AWS-RunPowerShellScript"}',
      presign: 600,
    },
  ]
  const at = (minutes: number) => new Date(testbed.clock.now().getTime() + minutes * MINUTE)
  sign = () => {
    good = kinds.map((kind) => signed({ ...kind, at: at(0) }))
    expired = [-5.5, -60, 5.5, 60, -600_000].flatMap((minutes) =>
      kinds.map((kind) => signed({ ...kind, at: at(minutes * 2) })),
    )
  }
})
afterAll(() => testbed[Symbol.asyncDispose]())

/** What a signature covers or consists of; user-agent and the like may change on the way. */
const VITAL = ['authorization', 'x-amz-date', 'x-amz-target', 'x-amz-security-token', 'x-amz-meta', 'host']

/** Flips a bit of a visible character; what would be no character of a header becomes `x`, or `y` for an `x`. */
function flipped(text: string, at: number, bit: number): string {
  const index = at % text.length
  const code = text.charCodeAt(index) ^ (1 << (bit % 7))
  const replacement = code > 0x20 && code < 0x7f ? String.fromCharCode(code) : text[index] === 'x' ? 'y' : 'x'
  return text.slice(0, index) + replacement + text.slice(index + 1)
}

/** Places in a query where another character is another query: not within escapes, whose case does not matter. */
function flippedQuery(query: string, at: number, bit: number): string {
  const index = at % query.length
  return /%.?$/.test(query.slice(0, index)) || query[index] === '%'
    ? flipped(query, 0, bit)
    : flipped(query, index, bit)
}

interface Chance {
  kind: 'flip' | 'truncate' | 'drop' | 'body' | 'query' | 'path' | 'swap' | 'garbage' | 'expired'
  which: number
  at: number
  bit: number
  text: string
}

const chances: fc.Arbitrary<Chance> = fc.record({
  kind: fc.constantFrom(
    'flip',
    'flip',
    'flip',
    'truncate',
    'drop',
    'body',
    'query',
    'path',
    'swap',
    'garbage',
    'expired',
  ),
  which: fc.nat(1000),
  at: fc.nat(100_000),
  bit: fc.nat(6),
  text: fc.string({ maxLength: 300 }).map((text) => text.replace(/[^\x20-\x7e]/g, '')),
})

function forged({ kind, which, at, bit, text }: Chance): WireRequest {
  const request = good[which % good.length]!
  const vital = request.headers.filter(([name]) => VITAL.includes(name))
  const [name, value] = vital[at % vital.length]!
  switch (kind) {
    case 'flip':
      return withHeader(request, name, flipped(value, at >> 3, bit))
    case 'truncate':
      return withHeader(request, name, value.slice(0, (at >> 3) % value.length).trimEnd())
    case 'drop':
      return withHeader(request, name, undefined)
    case 'body': {
      const body = Buffer.from(request.body)
      body[at % body.length]! ^= 1 << bit
      return { ...request, body: bit === 0 ? body.subarray(0, at % body.length) : body }
    }
    case 'query':
      return { ...request, query: request.query ? flippedQuery(request.query, at, bit) : `x=${at}` }
    case 'path':
      return { ...request, path: `/${encodeURIComponent(text) || 'x'}` }
    case 'swap': {
      const other = good[(which + 1 + (at % (good.length - 1))) % good.length]!
      return { ...request, headers: other.headers, query: other.query }
    }
    case 'garbage':
      return { ...withHeader(request, 'authorization', `AWS4-HMAC-SHA256 ${text}`), query: '' }
    case 'expired':
      return expired[which % expired.length]!
  }
}

it(
  `of ${FORGERIES} forged requests none is accepted, and the server goes on`,
  async () => {
    sign()
    for (const request of good) expect((await send(testbed.endpoint, request)).status).toBe(200)
    const all = fc.sample(chances, FORGERIES)
    const seen = new Map<string, number>()
    for (let from = 0; from < all.length; from += AT_ONCE) {
      sign()
      const some = all.slice(from, from + AT_ONCE)
      const answers = await Promise.all(some.map((chance) => send(testbed.endpoint, forged(chance))))
      for (const [index, { status, error, headers, text }] of answers.entries()) {
        const refusal = `${error} ${status}`
        if (!REFUSALS.includes(refusal)) expect({ refusal, text, forged: forged(some[index]!) }).toBe('a refusal')
        expect(headers['x-amzn-requestid']).toBeDefined()
        seen.set(refusal, (seen.get(refusal) ?? 0) + 1)
      }
    }
    // Each kind of refusal was met: the forgeries reach every check.
    expect([...seen.keys()].sort()).toEqual([...REFUSALS].sort())
    sign()
    for (const request of good) expect((await send(testbed.endpoint, request)).status).toBe(200)
  },
  60_000 + FORGERIES * 15,
)
