import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { parseOutputChunk } from '@musterbook/wire'
import { expect, it } from 'vitest'
import { dataFolderOf, makeDataFolder } from '../../packages/agent/src/data-folder.ts'
import { openLiveOutput } from '../../packages/agent/src/live-output.ts'
import { createLog } from '../../packages/agent/src/log.ts'
import { orchestrationOf, stepFolder } from '../../packages/agent/src/orchestration.ts'

const DOCUMENTS = 40
const WRITES = 30
/** Turns of the event loop between a chunk and its acknowledgement at most: some come while the file is read. */
const LONGEST_ACK_TURNS = 3

it('sends every byte once in its place, whenever acknowledgements come', async () => {
  const root = await mkdtemp(join(tmpdir(), 'musterbook-output-'))
  const folder = dataFolderOf(root)
  await makeDataFolder(folder)
  const held = new Map<string, string>()
  const output = await openLiveOutput(
    folder,
    'mi-0',
    (_, __, payload) => {
      const { jobId, step, stream, start, data } = parseOutputChunk(payload)
      const before = held.get(jobId) ?? ''
      const text = Buffer.from(data, 'base64').toString()
      // As the control plane does: what is new of it is kept, a chunk behind a hole is not.
      if (start <= before.length) held.set(jobId, before + text.slice(before.length - start))
      const next = held.get(jobId)?.length ?? 0
      void (async () => {
        for (let turns = Math.floor(Math.random() * LONGEST_ACK_TURNS); turns > 0; turns--) await turn()
        output.acknowledged({ jobId, step, stream, next })
        // A chunk that was sent again is answered again.
        if (Math.random() < 0.5) output.acknowledged({ jobId, step, stream, next })
      })()
      return true
    },
    createLog('error'),
  )
  try {
    await Promise.all(
      Array.from({ length: DOCUMENTS }, async (_, nth) => {
        const commandId = `document-${nth}`
        const jobId = `aws.ssm.${commandId}.mi-0`
        const at = orchestrationOf(folder.orchestration, commandId)
        const files = stepFolder(at, 0, 'step')
        await mkdir(at.results, { recursive: true })
        await mkdir(files, { recursive: true })
        await writeFile(
          join(at.results, '0.begin'),
          JSON.stringify({ run: 1, id: 'step', action: 'aws:runShellScript', started: 'now', steps: 1 }),
        )
        output.follow(jobId, at)
        let written = ''
        for (let count = 0; count < WRITES; count++) {
          const line = `${nth} ${count}\n`
          await appendFile(join(files, 'stdout'), line)
          written += line
          void output.flushed(jobId)
          await turn()
        }
        await output.flushed(jobId)
        expect(held.get(jobId)).toBe(written)
        await output.ended(jobId)
      }),
    )
  } finally {
    output.close()
    await rm(root, { recursive: true, force: true })
  }
})
