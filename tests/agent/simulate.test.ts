import { readFileSync } from 'node:fs'
import { simulateNodes } from '@musterbook/agent'
import { expect, it } from 'vitest'
import { shellDocument, until } from './agent-process.ts'
import { ACTIVATION, REGION, startPeer } from './peer.ts'

it('simulates nodes that register, open their channels and answer commands on the real wire', async () => {
  const peer = await startPeer()
  const ca = readFileSync(peer.caFile, 'utf8')
  const common = { endpoint: peer.endpoint, region: REGION, ca, count: 5 }
  const nodes = await simulateNodes({ ...common, activation: ACTIVATION, stdout: 'aye\n' })
  try {
    expect(new Set(nodes.instanceIds)).toEqual(new Set(peer.registrations.map(({ instanceId }) => instanceId)))
    expect(peer.tokenRequests.every(({ signatureIsValid }) => signatureIsValid)).toBe(true)
    expect(peer.health).toHaveLength(5)
    await until('the peer has read all first frames', () => peer.openings === 5)
    const jobId = peer.sendCommand({ document: shellDocument('never run') })
    await nodes.finished(1)
    expect(peer.acks).toMatchObject([{ jobId, statusCode: '200' }])
    expect(peer.replies.at(-1)).toMatchObject({
      documentStatus: 'Success',
      runtimeStatus: { step1: { standardOutput: 'aye\n' } },
    })
    const again = await simulateNodes({ ...common, nodes: nodes.nodes })
    expect(peer.registrations).toHaveLength(5)
    again.close()
  } finally {
    nodes.close()
    await peer.close()
  }
})
