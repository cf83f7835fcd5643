/**
 * Sessions over connections that are cut at any byte, on both sides and in both directions, handshakes included: what
 * arrives is what was sent. Real sockets, a real agent, our own client.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { DescribeSessionsCommand } from '@aws-sdk/client-ssm'
import { eventually, startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { nodeHost } from '../../packages/cli/src/session-host.ts'
import { type SessionEnd, startSession } from '../contract/session-end.ts'

const CUTS = 200
const SESSIONS = 6
/** How often the clock is put back. */
const SLOW_MS = 50
/**
 * Bytes that a connection lives for, evenly by their logarithm: some die in their TLS handshake (about 3 KB), some in the
 * middle of a frame. One in five must carry what is under way both ways (400 KB, in messages of 64 KiB): where none does,
 * nothing comes through before the cuts are used up.
 */
const SHORTEST = 500
const LONGEST = 2_000_000

interface Cutter extends AsyncDisposable {
  port: number
  /** From now on; before, everything passes. */
  begin(): void
  cuts(): number
}

/** Leads to the port, and cuts each connection after so many bytes, until there have been enough cuts. */
async function cutter(target: number, enough: number): Promise<Cutter> {
  let cuts = 0
  let begun = false
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    let left = SHORTEST * (LONGEST / SHORTEST) ** Math.random()
    const destroy = () => {
      near.destroy()
      far.destroy()
    }
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from)
      from.on('error', destroy)
      from.on('close', () => {
        open.delete(from)
        to.destroy()
      })
      from.on('data', (bytes: Buffer) => {
        const passing = begun && cuts < enough ? bytes.subarray(0, Math.max(0, left)) : bytes
        if (begun) left -= bytes.length
        if (!to.write(passing)) from.pause()
        if (passing.length < bytes.length) {
          cuts++
          from.removeAllListeners('data')
          to.end(destroy)
          setTimeout(destroy, 20)
        }
      })
      to.on('drain', () => from.resume())
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    begin() {
      begun = true
    },
    cuts: () => cuts,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      server.close()
    },
  }
}

const portOf = (url: string) => Number(new URL(url).port)

describe('a session whose connections are cut at any byte', () => {
  it('delivers what was sent, both ways, however often and on whichever side', async () => {
    await using testbed = await startTestbed({ logLevel: 'fatal' })
    const account = await testbed.account()
    const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket))
    await once(echo.listen(0, '127.0.0.1'), 'listening')
    await using agentSide = await cutter(portOf(testbed.nodeEndpoint), CUTS / 2)
    await using clientSide = await cutter(portOf(testbed.nodeEndpoint), CUTS / 2)
    const endpoint = `https://127.0.0.1:${agentSide.port}`
    const { nodeId } = await testbed.node(account, { settings: { endpoint, sessionUser: '' } })
    for (const side of [agentSide, clientSide]) side.begin() // the node's own registration is not what is tested here
    const host = nodeHost(readFileSync(testbed.caFile, 'utf8'))
    const cutting: typeof host = {
      ...host,
      dial(url, events) {
        const through = new URL(url)
        through.protocol = 'wss:' // handshakes are to be cut as well
        through.port = String(clientSide.port)
        return host.dial(through.href, events)
      },
    }
    const enough = () => agentSide.cuts() >= CUTS / 2 && clientSide.cuts() >= CUTS / 2

    async function whyEnded({ sessionId, ended }: SessionEnd): Promise<string> {
      const Filters = [{ key: 'SessionId' as const, value: sessionId }]
      const { Sessions } = await account.ssm.send(new DescribeSessionsCommand({ State: 'History', Filters }))
      return `it ended: ${ended()}; its history says: ${Sessions?.[0]?.Details}`
    }

    /** Sends until there were enough cuts, then waits for the rest to come back. */
    async function echoed(): Promise<void> {
      let writable = () => {}
      const session = await startSession(
        account.ssm,
        testbed.caFile,
        {
          Target: nodeId,
          DocumentName: 'AWS-StartSSHSession',
          Parameters: { portNumber: [String((echo.address() as { port: number }).port)] },
        },
        { host: cutting },
        { output: take, writable: () => writable() },
      )
      const [sent, back] = [createHash('sha256'), createHash('sha256')]
      let [sentBytes, backBytes] = [0, 0]
      function take(bytes: Uint8Array): void {
        back.update(bytes)
        backBytes += bytes.length
      }
      while (!enough()) {
        if (session.ended() !== undefined) throw new Error(await whyEnded(session))
        const bytes = randomBytes(1 + Math.floor(Math.random() * 40_000))
        sent.update(bytes)
        sentBytes += bytes.length
        const room = new Promise<void>((resolve) => {
          writable = resolve
        })
        if (!session.client.write(bytes)) await room
        // An echo that is far behind would fill the buffers of every hop: one window is enough to be cut in.
        await eventually(
          'it comes back',
          () => sentBytes - backBytes < 200_000 || session.ended() !== undefined,
          60_000,
        )
      }
      await eventually('all is back', () => backBytes >= sentBytes || session.ended() !== undefined, 60_000)
      expect([session.ended(), backBytes, back.digest('hex')]).toEqual([undefined, sentBytes, sent.digest('hex')])
      session.client.flag('TerminateSession')
      await eventually('it ends', () => session.ended() !== undefined)
    }

    // The relay gives a node 3.5 seconds to come back, too few for many handshakes cut in a row on a busy machine: here its
    // seconds are three long. Limits of calls count by the same clock: it must not stand.
    const slow = setInterval(() => testbed.clock.advance((-2 / 3) * SLOW_MS), SLOW_MS)
    await Promise.all(Array.from({ length: SESSIONS }, echoed)).finally(() => clearInterval(slow))
    expect(agentSide.cuts() + clientSide.cuts()).toBeGreaterThanOrEqual(CUTS)
    echo.close()
  })
})
