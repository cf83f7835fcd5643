/** How much one sender may ask, and that those who ask for less do not notice. */
import { connect } from 'node:tls'
import { DescribeParametersCommand, SSMClient } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { createBuckets, senderOf } from '../../packages/server/src/engines/gateway/throttle.ts'
import { refusal } from './refusal.ts'
import { send, signed } from './signed-request.ts'

/** A call of each principal in this time: longer than the test takes on the slowest machine. */
const EVERY_SECONDS = 200
const RATE_EXCEEDED = { name: 'ThrottlingException', message: 'Rate exceeded' }

describe('a limit', () => {
  it('of failed signatures keeps their address out for a while, and not those who have proved themselves there', async () => {
    await using bed = await startTestbed({ options: { throttle: { failedSignaturesPerMinute: 5 } } })
    const [good, late] = [await bed.account(), await bed.account()]
    const wrong = { ...good.config, credentials: { ...good.config.credentials, secretAccessKey: 'x'.repeat(40) } }
    const forger = new SSMClient({
      ...wrong,
      credentials: { ...wrong.credentials, accessKeyId: 'AKIAFORGEDFORGED1234' },
    })
    const list = () => new DescribeParametersCommand({})
    const at = () => bed.clock.now()
    const host = new URL(bed.endpoint).host
    const ask = (credentials: { accessKeyId: string; secretAccessKey: string }) =>
      send(bed.endpoint, signed({ credentials, host, operation: 'DescribeParameters', at: at() }))
    for (let round = 0; round < 4; round++)
      expect(await refusal(forger.send(list()))).toMatchObject({ name: 'UnrecognizedClientException' })
    await good.ssm.send(list()) // it has been seen here among the failures
    expect(await refusal(forger.send(list()))).toMatchObject({ name: 'UnrecognizedClientException' })
    expect(await refusal(forger.send(list()))).toMatchObject(RATE_EXCEEDED)
    expect(await refusal(late.ssm.send(list()))).toMatchObject(RATE_EXCEEDED)
    await good.ssm.send(list())
    bed.clock.advance(13_000) // a token comes back every 12 seconds
    expect((await ask(late.config.credentials)).status).toBe(200)
  })

  it('of registrations counts each address, whatever their outcome', async () => {
    await using bed = await startTestbed({ options: { throttle: { unsignedPerMinute: 3 } } })
    const host = new URL(bed.endpoint).host
    const body = Buffer.from(
      JSON.stringify({
        ActivationId: '0'.repeat(36),
        ActivationCode: 'x'.repeat(20),
        Fingerprint: 'f',
        PublicKey: 'k',
      }),
    )
    const register = () =>
      send(bed.endpoint, {
        method: 'POST',
        path: '/',
        query: '',
        headers: [
          ['host', host],
          ['content-type', 'application/x-amz-json-1.1'],
          ['x-amz-target', 'AmazonSSM.RegisterManagedInstance'],
        ],
        body,
      })
    for (let round = 0; round < 3; round++) expect((await register()).error).not.toBe('ThrottlingException')
    expect(await register()).toMatchObject({ status: 400, error: 'ThrottlingException' })
    bed.clock.advance(21_000)
    expect((await register()).error).not.toBe('ThrottlingException')
  })

  it('of calls holds each principal by itself, and SDKs wait it out', async () => {
    await using bed = await startTestbed({ options: { throttle: { callsPerSecond: 1 / EVERY_SECONDS } } })
    const [one, other] = [await bed.account(), await bed.account()]
    const list = () => new DescribeParametersCommand({})
    await one.ssm.send(list())
    expect(await refusal(one.ssm.send(list()))).toMatchObject(RATE_EXCEEDED)
    await other.ssm.send(list())
    const patient = new SSMClient({ ...one.config, maxAttempts: 8 })
    patient.middlewareStack.add(
      (next) => async (attempt) => {
        try {
          return await next(attempt)
        } catch (error) {
          bed.clock.advance(EVERY_SECONDS * 1000) // the wait of the client, made long enough
          throw error
        }
      },
      { step: 'finalizeRequest', priority: 'low' },
    )
    const { $metadata } = await patient.send(list())
    expect($metadata.attempts).toBe(2)
  })

  it('remembers no more senders than it says, and forgets those that were quiet longest', () => {
    let now = 0
    const buckets = createBuckets(2, 1, () => now, 100)
    for (let sender = 0; sender < 1_000; sender++) buckets.take(`10.0.0.${sender}`)
    expect(buckets.size()).toBe(100)
    expect(buckets.has('10.0.0.999')).toBe(true)
    expect(buckets.has('10.0.0.0')).toBe(false)
    expect([buckets.take('a'), buckets.take('a'), buckets.take('a')]).toEqual([true, true, false])
    now += 1_000
    expect([buckets.take('a'), buckets.take('a')]).toEqual([true, false])
    now -= 60_000 // a clock that is set back gives nothing
    expect(buckets.take('a')).toBe(false)
  })

  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
  ])('counts %s as %s', (address, sender) => expect(senderOf(address)).toBe(sender))
})

describe('TLS', () => {
  const handshake = (port: number, options: object) =>
    new Promise<string>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options }, () => {
        resolve(`${socket.getProtocol()} ${socket.getCipher().name}`)
        socket.destroy()
      })
      socket.on('error', () => resolve('refused'))
    })

  it('is spoken from 1.2 on, with forward secrecy alone', async () => {
    await using bed = await startTestbed()
    const port = bed.server.listener.tlsPort ?? 0
    expect(await handshake(port, {})).toMatch(/^TLSv1\.3 /)
    const old = { ciphers: 'DEFAULT@SECLEVEL=0' }
    expect(await handshake(port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ...old })).toBe('refused')
    const two = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }
    expect(await handshake(port, two)).toMatch(/^TLSv1\.2 ECDHE-ECDSA-.*(GCM|POLY1305)/)
    expect(await handshake(port, { ...two, ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA' })).toBe(
      'refused',
    )
  })
})
