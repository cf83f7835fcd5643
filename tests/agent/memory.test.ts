import { afterAll, beforeAll, it } from 'vitest'
import {
  type AgentProcess,
  endExecutors,
  memoryOf,
  newDataFolder,
  shellDocument,
  startAgent,
  until,
} from './agent-process.ts'
import { type Peer, startPeer } from './peer.ts'

/** What an agent may keep for itself while it has nothing to do, in MB. */
const MOST_MEGABYTES = 60
const COMMANDS = 100

let peer: Peer
let agent: AgentProcess

beforeAll(async () => {
  peer = await startPeer()
  agent = startAgent(peer, newDataFolder())
  await until('the control channel is open', () => peer.openings > 0)
})

afterAll(async () => {
  await agent.stop()
  await peer.close()
  endExecutors(agent.dataFolder)
})

it('an agent that has run a hundred commands stays under 60 MB, the code of Node.js included', async () => {
  for (let sent = 0; sent < COMMANDS; sent += 5) {
    const jobs = Array.from({ length: 5 }, () =>
      peer.sendCommand({ document: shellDocument('seq 1 5000; echo x >&2') }),
    )
    const isOver = (jobId: string) => peer.replies.some((r) => r.jobId === jobId && r.documentStatus === 'Success')
    await until('they have ended', () => jobs.every(isOver))
  }
  await until('it is small again', () => memoryOf(agent.pid).rss < MOST_MEGABYTES)
})
