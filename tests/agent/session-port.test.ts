/** Port sessions of clients too old for many connections at once: one connection after the other, on real sockets. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { eventually } from '@musterbook/testbed'
import { buildFlag, PAYLOAD_TYPE } from '@musterbook/wire'
import { afterEach, describe, expect, it } from 'vitest'
import { startPort } from '../../packages/agent/src/sessions/port.ts'

const OLD_CLIENT = '1.1.60.0'
const opened: Server[] = []
afterEach(() => {
  for (const server of opened.splice(0)) server.close()
})

async function serverOf(serve: (socket: Socket) => void): Promise<{ server: Server; port: string }> {
  const server = createServer((socket) => serve(socket.on('error', () => {})))
  opened.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { server, port: String((server.address() as AddressInfo).port) }
}

/** The agent's end of such a session, its channel as the test sees it. */
async function session(portNumber: string) {
  const sent: Buffer[] = []
  const ends: (string | undefined)[] = []
  const kind = await startPort({
    send(_payloadType, payload) {
      sent.push(payload instanceof Uint8Array ? Buffer.from(payload) : Buffer.concat(payload))
      return true
    },
    ended: (failure) => void ends.push(failure),
    runAs: { name: '', prefix: [], home: '/' },
    inputs: {},
    properties: { type: 'LocalPortForwarding', portNumber, host: '127.0.0.1' },
    clientVersion: OLD_CLIENT,
  })
  const flag = (name: Parameters<typeof buildFlag>[0]) => kind.received(PAYLOAD_TYPE.Flag, buildFlag(name))
  return {
    kind,
    ends,
    output: () => Buffer.concat(sent).toString(),
    write: (text: string) => kind.received(PAYLOAD_TYPE.Output, Buffer.from(text)),
    flag,
  }
}

describe('a port of a client that knows no multiplexing', () => {
  it('is open before the client says a word, for servers that speak first', async () => {
    const { port } = await serverOf((socket) => void socket.write('220 ready\n'))
    const { kind, output, ends } = await session(port)
    await eventually('the greeting is there', () => output() === '220 ready\n')
    kind.stop()
    expect(ends).toEqual([undefined])
  })

  it('carries one connection after the other, and nothing of an earlier one into the next', async () => {
    const heard: string[] = []
    const { port } = await serverOf((socket) => {
      const number = heard.push('') - 1
      socket.on('data', (bytes) => {
        heard[number] += bytes.toString()
        socket.write(`${number}:${bytes}`)
      })
      socket.on('end', () => socket.end('too late'))
    })
    const { kind, output, write, flag } = await session(port)
    expect(write('first')).toBe(true)
    await eventually('it is answered', () => output() === '0:first')
    flag('DisconnectToPort')
    for (const word of ['sec', 'ond']) expect(write(word)).toBe(true) // while the next connection is being opened
    await eventually('the next connection has it, in order', () => heard[1] === 'second')
    await eventually('it is answered', () => output().startsWith('0:first1:sec'))
    expect(heard[0]).toBe('first')
    expect(output()).not.toContain('too late')
    kind.stop()
  })

  it('does not open where nothing listens, and ends in words when nothing listens any more', async () => {
    const { server, port } = await serverOf((socket) => void socket.end('bye'))
    const { output, write, ends } = await session(port)
    await eventually('it said goodbye', () => output() === 'bye')
    await new Promise((resolve) => server.close(resolve))
    await eventually('the connection is gone', () => {
      write('x')
      return ends.length > 0
    })
    expect(ends[0]).toMatch(/ECONNREFUSED/)
    await expect(session(port)).rejects.toThrow('ECONNREFUSED')
  })

  it('ends when the client says so', async () => {
    const { port } = await serverOf((socket) => void socket.write('x'))
    const { flag, ends } = await session(port)
    flag('TerminateSession')
    expect(ends).toEqual([undefined])
  })
})
