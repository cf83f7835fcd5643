import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { agentBundle, endExecutors, newDataFolder, shellDocument, startAgent, until } from './agent-process.ts'
import { startPeer } from './peer.ts'

/** What Node.js got between 20.0 and 20.19, and the types of this house therefore let pass. */
const LATER = `
delete AbortSignal.any // 20.3
delete require('node:crypto').hash // 20.12
delete process.getBuiltinModule // 20.16
delete require('node:util').parseEnv // 20.12
`

it('an agent needs nothing that the first release of Node.js 20 does not have', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'musterbook-first-'))
  const preload = join(folder, 'later.cjs')
  writeFileSync(preload, LATER)
  const peer = await startPeer()
  peer.answers.set('GetParameters', () => ({ Parameters: [{ Name: 'word', Type: 'String', Value: 'kept' }] }))
  const dataFolder = newDataFolder()
  const executorCommand = [process.execPath, '--require', preload, agentBundle()]
  const agent = startAgent(peer, dataFolder, { executorCommand }, preload)
  try {
    await Promise.race([until('the control channel is open', () => peer.openings > 0), agent.ended])
    expect(agent.log()).not.toContain('is not a function')
    const jobId = peer.sendCommand({ document: shellDocument('echo {{ssm:word}}') })
    const final = () => peer.replies.find((r) => r.jobId === jobId && r.documentStatus !== 'InProgress')
    await until('it has ended', () => final() !== undefined)
    expect(final()?.runtimeStatus.step1).toMatchObject({ status: 'Success', standardOutput: 'kept\n' })
    expect(await agent.stop()).toBe(0)
  } finally {
    await agent.kill()
    await peer.close()
    endExecutors(dataFolder)
    rmSync(folder, { recursive: true, force: true })
  }
})
