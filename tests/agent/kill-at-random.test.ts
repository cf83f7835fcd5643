import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { endExecutors, executorsOf, newDataFolder, shellDocument, startAgent, until } from './agent-process.ts'
import { startPeer } from './peer.ts'

/** Raise it for a long search: `ROUNDS=200 npx vitest run tests/agent/kill-at-random.test.ts`. */
const ROUNDS = Number(process.env.ROUNDS ?? 8)
const ENDS = ['Success', 'Failed', 'Cancelled', 'TimedOut']

it(
  'kills the agent, and sometimes a document, at random moments: each document ends once, truly, and no step runs twice',
  async () => {
    const peer = await startPeer()
    const dataFolder = newDataFolder()
    let agent = startAgent(peer, dataFolder)
    const jobs: string[] = []
    const killed = new Set<string>()
    const trace = (jobId: string) => join(dataFolder, `trace-${jobId}`)
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const openings = peer.openings
        await until('the channel is open', () => openings > 0 || peer.openings > 0)
        for (let nth = 0; nth < 3; nth++) {
          const commandId = `round-${round}-${nth}`
          const steps = ['one', 'two', 'three'].map((name) => `echo ${name} >> ${trace(commandId)}; sleep 0.05`)
          jobs.push(peer.sendCommand({ commandId, document: shellDocument(...steps) }))
        }
        await pause(Math.random() * 400)
        if (round % 4 === 3) {
          const [executor] = executorsOf(dataFolder)
          if (executor) {
            killed.add(readFileSync(`/proc/${executor}/cmdline`, 'utf8').split('\0').at(-3) ?? '')
            process.kill(executor, 'SIGKILL')
          }
        }
        await agent.kill()
        const before = peer.openings
        agent = startAgent(peer, dataFolder)
        await until('the agent is back', () => peer.openings > before)
        // As the control plane does with what was not acknowledged.
        for (const jobId of jobs) {
          if (peer.acks.some((ack) => ack.jobId === jobId && ['200', '51405'].includes(ack.statusCode))) continue
          const commandId = jobId.split('.')[2] ?? ''
          const steps = ['one', 'two', 'three'].map((name) => `echo ${name} >> ${trace(commandId)}; sleep 0.05`)
          peer.sendCommand({ commandId, document: shellDocument(...steps) })
        }
        const ends = (jobId: string) =>
          new Set(
            peer.replies
              .filter((reply) => reply.jobId === jobId && ENDS.includes(reply.documentStatus))
              .map((reply) => `${reply.messageId} ${reply.documentStatus}`),
          )
        await until('every document has ended', () => jobs.every((jobId) => ends(jobId).size > 0))
        for (const jobId of jobs.slice(-3)) {
          const commandId = jobId.split('.')[2] ?? ''
          const lines = existsSync(trace(commandId)) ? readFileSync(trace(commandId), 'utf8').trimEnd().split('\n') : []
          const [end = ''] = ends(jobId)
          expect(ends(jobId).size, commandId).toBe(1)
          expect(['one', 'two', 'three'].slice(0, lines.length), commandId).toEqual(lines)
          if (!killed.has(commandId)) {
            expect(end, commandId).toContain('Success')
            expect(lines, commandId).toEqual(['one', 'two', 'three'])
          } else if (end.includes('Success')) expect(lines, commandId).toHaveLength(3)
        }
      }
    } finally {
      await agent.kill()
      await peer.close()
      endExecutors(dataFolder)
    }
  },
  60_000 + ROUNDS * 10_000,
)
