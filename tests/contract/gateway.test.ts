/** The gateway as a client meets it: signatures, what is refused and in which words, limits, and what is told to operators. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { DescribeParametersCommand, GetParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm'
import { connectDatabase } from '@musterbook/server'
import { eventually, startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'
import { enrol, headerOf, type Signing, send, sha256, signed, type WireRequest, withHeader } from './signed-request.ts'

const MINUTE = 60_000
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

let testbed: Testbed
let account: TestAccount
let host: string

beforeAll(async () => {
  testbed = await startTestbed()
  account = await testbed.account()
  host = new URL(testbed.endpoint).host
})
afterAll(() => testbed[Symbol.asyncDispose]())

/** A good request of the account's root, unless told otherwise. */
const request = (change: Partial<Signing> = {}): WireRequest =>
  signed({
    credentials: account.config.credentials,
    host,
    operation: 'DescribeParameters',
    at: testbed.clock.now(),
    ...change,
  })
const ask = (wire: WireRequest) => send(testbed.endpoint, wire)
const minutesFromNow = (minutes: number) => new Date(testbed.clock.now().getTime() + minutes * MINUTE)

describe('a signed request', () => {
  it('is taken over HTTP and over TLS, by hand and from the SDK', async () => {
    expect(await ask(request())).toMatchObject({ status: 200, text: '{"Parameters":[]}' })
    const ca = await readFile(testbed.caFile)
    const overTls = await send(testbed.nodeEndpoint, request({ host: new URL(testbed.nodeEndpoint).host }), ca)
    expect(overTls.status).toBe(200)
    const requestHandler = new NodeHttpHandler({ httpsAgent: { ca } as never })
    const ssm = new SSMClient({ ...account.config, endpoint: testbed.nodeEndpoint, requestHandler })
    expect((await ssm.send(new DescribeParametersCommand({}))).Parameters).toEqual([])
    ssm.destroy()
  })

  it('is taken with the signature in the query, for as long as it says', async () => {
    expect((await ask(request({ presign: 60 }))).status).toBe(200)
    expect((await ask(request({ presign: 60, at: minutesFromNow(-0.9) }))).status).toBe(200)
    expect(await ask(request({ presign: 60, at: minutesFromNow(-1.1) }))).toMatchObject({
      status: 400,
      error: 'InvalidSignatureException',
    })
    expect((await ask(request({ presign: 604_800, at: minutesFromNow(-7 * 24 * 60 + 1) }))).status).toBe(200)
    expect((await ask(request({ presign: 604_801 }))).error).toBe('IncompleteSignatureException')
  })

  it('is taken with a session token, in both forms, until the token expires', async () => {
    const node = await enrol(testbed, account)
    const own = { credentials: node.credentials, operation: 'UpdateInstanceInformation' }
    const body = JSON.stringify({
      InstanceId: node.nodeId,
      AgentName: 'amazon-ssm-agent',
      AgentVersion: '3.3.0.0',
      AgentStatus: 'Active',
      PlatformType: 'Linux',
      PlatformName: 'Debian',
      PlatformVersion: '12',
      IPAddress: '127.0.0.1',
      ComputerName: 'here',
    })
    expect(await ask(request({ ...own, body }))).toMatchObject({ status: 200 })
    expect(await ask(request({ ...own, body, presign: 60 }))).toMatchObject({ status: 200 })
    const { sessionToken: _, ...withoutToken } = node.credentials
    expect((await ask(request({ credentials: withoutToken }))).error).toBe('UnrecognizedClientException')
    const borrowed = { ...account.config.credentials, sessionToken: node.credentials.sessionToken }
    expect((await ask(request({ credentials: borrowed }))).error).toBe('UnrecognizedClientException')
    const unsignedToken = request({ ...own, body, unsigned: ['x-amz-security-token'] })
    expect((await ask(unsignedToken)).error).toBe('InvalidSignatureException')
    expect((await ask(request({ credentials: node.credentials }))).error).toBe('AccessDeniedException')
    testbed.clock.advance(61 * MINUTE)
    expect((await ask(request({ ...own, body }))).error).toBe('ExpiredTokenException')
    expect((await node.roleToken()).status).toBe(200)
  })

  it('is taken within five minutes of the clock, and told apart when it is early or late', async () => {
    for (const minutes of [-4.9, 4.9]) expect((await ask(request({ at: minutesFromNow(minutes) }))).status).toBe(200)
    const late = await ask(request({ at: minutesFromNow(-5.1) }))
    expect(late).toMatchObject({ status: 400, error: 'InvalidSignatureException' })
    expect(late.text).toContain('Signature expired: ')
    const early = await ask(request({ at: minutesFromNow(5.1) }))
    expect(early).toMatchObject({ status: 400, error: 'InvalidSignatureException' })
    expect(early.text).toContain('Signature not yet current: ')
  })

  it('is good again and again within its window, and never after it', async () => {
    const once = request()
    expect((await ask(once)).status).toBe(200)
    expect((await ask(once)).status).toBe(200)
    testbed.clock.advance(5 * MINUTE + 1_000)
    expect((await ask(once)).error).toBe('InvalidSignatureException')
  })

  it('belongs to the region of its scope', async () => {
    const body = '{"Name":"here-only","Value":"v","Type":"String"}'
    expect((await ask(request({ operation: 'PutParameter', body }))).status).toBe(200)
    expect((await ask(request())).text).toContain('here-only')
    expect((await ask(request({ region: 'eu-west-1' }))).text).toBe('{"Parameters":[]}')
  })
})

describe('a request is refused', () => {
  const WRONG = 'InvalidSignatureException'
  const cases: [why: string, made: () => WireRequest, error: string][] = [
    [
      'without a signature',
      () => withHeader(request(), 'authorization', undefined),
      'MissingAuthenticationTokenException',
    ],
    [
      'with a wrong secret',
      () => request({ credentials: { ...account.config.credentials, secretAccessKey: 'x' } }),
      WRONG,
    ],
    [
      'with an unknown key',
      () => request({ credentials: { ...account.config.credentials, accessKeyId: 'AKIAUNKNOWNUNKNOWN12' } }),
      'UnrecognizedClientException',
    ],
    [
      'with a forged session token',
      () => request({ credentials: { ...account.config.credentials, sessionToken: 'Zm9yZ2Vk' } }),
      'UnrecognizedClientException',
    ],
    ['when its date is not that of its scope', () => request({ scopeDate: '20200101' }), WRONG],
    ['when it was signed for another service', () => request({ service: 'sts' }), WRONG],
    ['when its host is not signed', () => request({ unsigned: ['host'] }), WRONG],
    ['when its operation is not signed', () => request({ unsigned: ['x-amz-target'] }), WRONG],
    ['when its date is not signed', () => request({ unsigned: ['x-amz-date'] }), WRONG],
    ['without a date', () => withHeader(request(), 'x-amz-date', undefined), 'IncompleteSignatureException'],
    [
      'with a date that is none',
      () => withHeader(request(), 'x-amz-date', '20260231T000000Z'),
      'IncompleteSignatureException',
    ],
    ['when another body came', () => ({ ...request(), body: Buffer.from('{"MaxResults":1}') }), WRONG],
    ['when the body was cut off', () => ({ ...request({ body: '{"MaxResults":1}' }), body: Buffer.from('') }), WRONG],
    ['when something was put into its query', () => ({ ...request(), query: 'a=b' }), WRONG],
    ['when its query was changed', () => ({ ...request({ query: 'a=b' }), query: 'a=c' }), WRONG],
    [
      'when its operation was changed',
      () => withHeader(request(), 'x-amz-target', 'AmazonSSM.DescribeActivations'),
      WRONG,
    ],
    ['when its host was changed', () => withHeader(request(), 'host', 'elsewhere'), WRONG],
    [
      'when a signed header is gone',
      () => withHeader(request({ headers: [['x-amz-meta', 'a']] }), 'x-amz-meta', undefined),
      WRONG,
    ],
    [
      'when the body is said to be unsigned',
      () => request({ headers: [['x-amz-content-sha256', 'UNSIGNED-PAYLOAD']] }),
      WRONG,
    ],
    ['when it lies about its body', () => request({ headers: [['x-amz-content-sha256', sha256('other')]] }), WRONG],
    [
      'when it lies about an empty presigned body',
      () => request({ presign: 60, body: '', headers: [['x-amz-content-sha256', sha256('other')]] }),
      WRONG,
    ],
    ['when its presigned life was prolonged', () => prolonged(request({ presign: 60 })), WRONG],
    [
      'when another scheme signs it',
      () => withHeader(request(), 'authorization', 'Bearer abc'),
      'IncompleteSignatureException',
    ],
    ['when its signature is spelled in upper case', () => respelled(request(), (text) => text.toUpperCase()), WRONG],
    ['when its signature is cut short', () => respelled(request(), (text) => text.slice(0, 62)), WRONG],
    ['when its signature is longer', () => respelled(request(), (text) => `${text}00`), WRONG],
    [
      'with two of everything in its query',
      () => {
        const wire = request({ presign: 60 })
        return { ...wire, query: `${wire.query}&X-Amz-Expires=604800` }
      },
      'IncompleteSignatureException',
    ],
  ]
  it.each(cases)('%s', async (_why, made, error) => {
    const answer = await ask(made())
    expect(answer).toMatchObject({ status: 400, error })
    expect(answer.headers['x-amzn-requestid']).toMatch(UUID)
  })

  it('with the words of a wrong secret that are the same for every part that was tampered with', async () => {
    const texts = await Promise.all([
      ask(request({ credentials: { ...account.config.credentials, secretAccessKey: 'x' } })),
      ask({ ...request(), body: Buffer.from('{"MaxResults":1}') }),
    ])
    expect(new Set(texts.map(({ text }) => text)).size).toBe(1)
  })

  it('as the SDK shows it', async () => {
    const wrong = new SSMClient({
      ...account.config,
      credentials: { ...account.config.credentials, secretAccessKey: 'wrong' },
    })
    expect((await refusal(wrong.send(new DescribeParametersCommand({})))).name).toBe(WRONG)
    wrong.destroy()
  })
})

const prolonged = (wire: WireRequest) => ({
  ...wire,
  query: wire.query.replace('X-Amz-Expires=60', 'X-Amz-Expires=600'),
})

/** Its signature in another spelling; one without letters would be the same in upper case. */
function respelled(wire: WireRequest, spell: (signature: string) => string): WireRequest {
  const [before = '', signature = ''] = headerOf(wire, 'authorization').split('Signature=')
  return withHeader(wire, 'authorization', `${before}Signature=${spell(signature)}`)
}

describe('an operation', () => {
  it('that AWS does not know is unknown', async () => {
    for (const operation of ['DescribeNothing', 'Nothing.PutParameter', 'AmazonSSM.__proto__', 'toString.x'])
      expect(await ask(request({ operation }))).toMatchObject({ status: 400, error: 'UnknownOperationException' })
    expect((await ask(request({ operation: undefined }))).error).toBe('UnknownOperationException')
  })

  it('that AWS has and Musterbook has not says so, to those who may ask', async () => {
    const missing = 'DescribeEffectivePatchesForPatchBaseline'
    const answer = await ask(request({ operation: missing, body: '{"BaselineId":"pb-0123456789abcdef0"}' }))
    expect(answer).toMatchObject({ status: 501, error: 'NotImplementedException' })
    expect(answer.text).toContain(`ssm:${missing}`)
    const unsigned = withHeader(request({ operation: missing }), 'authorization', undefined)
    expect((await ask(unsigned)).error).toBe('MissingAuthenticationTokenException')
  })

  it('is not reached by another method or path', async () => {
    for (const change of [{ method: 'GET' }, { method: 'PUT' }, { path: '/other' }, { path: '//' }, { path: '/%2e' }])
      expect(await ask(request(change))).toMatchObject({ status: 404, error: 'UnknownOperationException' })
  })
})

describe('a body', () => {
  const put = (body: string | Uint8Array) => ask(request({ operation: 'PutParameter', body }))

  it.each([
    ['broken JSON', '{"Name":'],
    ['no JSON at all', 'Name=a'],
    ['a list', '[1]'],
    ['a text', '"Name"'],
    ['invalid UTF-8', Buffer.from('{"Name":"\xff\xfe"}', 'latin1')],
    ['half a UTF-8 character', Buffer.from('{"Name":"\xc3"}', 'latin1')],
    ['a wrong type', '{"Name":{"a":1},"Value":"v"}'],
    ['200,000 levels in a known member', `{"Name":${'['.repeat(200_000)}${']'.repeat(200_000)}}`],
  ])('with %s is a SerializationException', async (_what, body) => {
    expect(await put(body)).toMatchObject({ status: 400, error: 'SerializationException' })
  })

  it('may nest deeply where nobody looks, and be empty where nothing is required', async () => {
    const deep = `{"Else":${'[{"a":'.repeat(100_000)}1${'}]'.repeat(100_000)}}`
    expect((await ask(request({ body: deep }))).status).toBe(200)
    expect((await ask(request({ body: '' }))).status).toBe(200)
    expect((await ask(request({ body: 'null' }))).status).toBe(200)
  })

  it('cannot reach the prototypes of this program', async () => {
    const answer = await put('{"__proto__":{"Name":"a","Value":"b"},"constructor":{"Name":"a"}}')
    expect(answer.error).toBe('ValidationException')
  })

  it('that is too large is refused with 413, whether it says so or not', async () => {
    const tooLarge = Buffer.alloc(11 * 1024 * 1024 + 1, 32)
    const answer = await ask(request({ body: tooLarge }))
    expect(answer).toMatchObject({ status: 413, error: 'RequestEntityTooLarge' })
    expect(answer.headers['x-amzn-requestid']).toMatch(UUID)
    const said = await rawAnswer('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n')
    expect(said).toMatch(/^HTTP\/1\.1 413 /)
    expect((await ask(request())).status).toBe(200)
  })
})

/** What comes back for these bytes, until the server closes the connection or has answered. */
async function rawAnswer(bytes: string | Buffer, port = Number(new URL(testbed.endpoint).port)): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write(bytes)
  let text = ''
  socket.on('error', () => {})
  for await (const chunk of socket) {
    text += chunk
    if (text.includes('\r\n\r\n')) break
  }
  socket.destroy()
  return text
}

describe('what is no good HTTP', () => {
  it.each([
    ['garbage', '\x16\x03\x01garbage\r\n\r\n', '400'],
    ['headers of more than 32 KB', `GET / HTTP/1.1\r\nhost: a\r\nx: ${'x'.repeat(40_000)}\r\n\r\n`, '431'],
    ['two lengths', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n', '400'],
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      '400',
    ],
    ['an upgrade to nothing', 'GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n', '404'],
    [
      'an unsigned upgrade',
      'GET /v1/control-channel/mi-0123456789abcdef0 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
      '403',
    ],
  ])('%s is answered with a status and a request id', async (_what, bytes, status) => {
    const text = await rawAnswer(Buffer.from(bytes, 'latin1'))
    expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(text).toMatch(/x-amzn-RequestId: [0-9a-f-]{36}/)
    expect((await ask(request())).status).toBe(200)
  })

  it('does no harm at the TLS port', async () => {
    const port = Number(new URL(testbed.nodeEndpoint).port)
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\n\r\n')
    socket.resume()
    await once(socket, 'close')
    const good = connectTls({ port, host: '127.0.0.1', ca: await readFile(testbed.caFile) })
    await once(good, 'secureConnect')
    good.destroy()
  })

  it('of old TLS is refused', async () => {
    const port = Number(new URL(testbed.nodeEndpoint).port)
    const old = connectTls({
      port,
      host: '127.0.0.1',
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1',
      rejectUnauthorized: false,
    })
    const [error] = await once(old, 'error')
    expect(error).toBeInstanceOf(Error)
  })
})

describe('limits', () => {
  it('cut off who is slow with headers or with a body', async () => {
    const limits = { headersMs: 300, requestMs: 300, checkEveryMs: 10 }
    await using slow = await startTestbed({ options: { limits } })
    const port = Number(new URL(slow.endpoint).port)
    expect(await rawAnswer('POST / HTTP/1.1\r\nhost: a\r\n', port)).toMatch(/^HTTP\/1\.1 408 .*\r\nx-amzn-RequestId/)
    expect(await rawAnswer('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab', port)).toMatch(
      /^HTTP\/1\.1 408 /,
    )
    // On a busy machine this client is a slow one, too.
    await eventually('both are counted', async () => {
      const metrics = await fetch(`${slow.endpoint}/metrics`)
      return /musterbook_refused_total\{reason="too-slow"\} [2-9]/.test(await metrics.text())
    })
  })

  it('keep bodies of unknown senders from filling the memory', async () => {
    await using small = await startTestbed({ options: { limits: { heldBytes: 1_000 } } })
    const port = Number(new URL(small.endpoint).port)
    const holding = connect(port, '127.0.0.1')
    await once(holding, 'connect')
    holding.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n${'x'.repeat(900)}`)
    const asking = () => rawAnswer(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200\r\n\r\n${'x'.repeat(200)}`, port)
    const refused = await eventually('the body of the first is held', async () => {
      const text = await asking()
      return text.startsWith('HTTP/1.1 503') && text
    })
    expect(refused).toContain('ServiceUnavailable')
    holding.destroy()
    await eventually('what it held is free again', async () => (await asking()).startsWith('HTTP/1.1 400'))
  })

  it('hold for connections, and free ones are taken again', async () => {
    await using few = await startTestbed({ options: { maxConnections: 2 } })
    const port = Number(new URL(few.endpoint).port)
    const open = () => {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      return { socket, closed: once(socket, 'close').then(() => 'closed' as const) }
    }
    const holding = [open(), open()]
    await Promise.all(holding.map(({ socket }) => once(socket, 'connect')))
    expect(await open().closed).toBe('closed')
    for (const { socket } of holding) socket.destroy()
    await eventually('a connection is free', async () => (await fetch(`${few.endpoint}/healthz`)).ok)
    const metrics = await (await fetch(`${few.endpoint}/metrics`)).text()
    expect(metrics).toMatch(/musterbook_refused_total\{reason="too-many-connections"\} [1-9]/)
  })
})

describe('an answer', () => {
  it('carries a request id of its own and never says where the program failed', async () => {
    const made: WireRequest[] = [
      request(),
      request({ operation: 'GetParameter', body: '{"Name":"/none"}' }),
      request({ operation: 'Nothing' }),
      request({ body: '{' }),
      withHeader(request(), 'authorization', undefined),
      request({ path: '/nowhere' }),
    ]
    const answers = await Promise.all(made.map(ask))
    const ids = answers.map(({ headers }) => headers['x-amzn-requestid'])
    for (const id of ids) expect(id).toMatch(UUID)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { text } of answers) expect(text).not.toMatch(/\.ts|\.js|node_modules|\bat \w+ \(|Error:/)
  })

  it('to a defect is an InternalServerError with the request id and no more', async () => {
    await using broken = await startTestbed({ logLevel: 'silent' })
    const owner = await broken.account()
    await owner.ssm.send(new PutParameterCommand({ Name: 'a', Value: 'v', Type: 'String' }))
    const database = connectDatabase(broken.database.address, 'gateway test', 1)
    await database.unsafe('alter table parameters rename to gone')
    await database.end()
    const address = new URL(broken.endpoint)
    const wire = signed({
      credentials: owner.config.credentials,
      host: address.host,
      operation: 'DescribeParameters',
    })
    const answer = await send(broken.endpoint, wire)
    expect(answer).toMatchObject({ status: 500, error: 'InternalServerError' })
    expect(answer.text).toContain(answer.headers['x-amzn-requestid'] as string)
    expect(answer.text).not.toMatch(/parameters|relation|gone|\.ts/)
  })
})

describe('who runs it', () => {
  const get = async (path: string, endpoint = testbed.endpoint) => {
    const answer = await fetch(`${endpoint}${path}`)
    return { status: answer.status, text: await answer.text() }
  }

  it('sees at /healthz that it lives and at /readyz whether the database answers', async () => {
    expect((await get('/healthz')).status).toBe(200)
    expect((await get('/readyz')).status).toBe(200)
    await using other = await startTestbed({ logLevel: 'silent' })
    const { address } = other.database
    const name = address.database ?? new URL(address.url ?? '').pathname.slice(1)
    const database = connectDatabase(
      address.url ? { url: new URL('/postgres', address.url).href } : { ...address, database: 'postgres' },
      'gateway test',
      1,
    )
    await database.unsafe(`drop database ${name} with (force)`)
    await database.end()
    await eventually('it is not ready', async () => (await get('/readyz', other.endpoint)).status === 503)
    expect((await get('/healthz', other.endpoint)).status).toBe(200)
  })

  it('sees at /metrics what was asked and what was refused', async () => {
    await using counted = await startTestbed()
    const owner = await counted.account()
    await owner.ssm.send(new DescribeParametersCommand({}))
    await refusal(owner.ssm.send(new GetParameterCommand({ Name: '/none' })))
    await fetch(counted.endpoint, { method: 'POST', headers: { 'x-amz-target': 'AmazonSSM.Invented' } })
    const { text } = await get('/metrics', counted.endpoint)
    expect(text).toContain('musterbook_requests_total{service="ssm",operation="DescribeParameters",error=""} 1')
    expect(text).toContain(
      'musterbook_requests_total{service="ssm",operation="GetParameter",error="ParameterNotFound"} 1',
    )
    expect(text).toContain('operation="unknown",error="UnknownOperationException"} 1')
    expect(text).not.toContain('Invented')
  })
})
