/**
 * Writes the whole output of ended invocations to the place that their command named: a file or an object for each stream
 * that has any. Writing again writes the same, so a process that dies meanwhile costs nothing but the time; a store that
 * does not answer is tried again until the command is forgotten, and changes no status, as in AWS.
 */
import { put } from '../../platform/buckets.ts'
import type { OutputDestination, Reconciler } from '../../platform/capability.ts'
import type { WorkContext } from '../../platform/context.ts'
import { keepReported } from './output.ts'
import { placeOf } from './output-places.ts'
import * as store from './store.ts'
import { COMMANDS_WAKE } from './wake.ts'

/** The last of the output may come after the word that all is over. */
const SETTLE_MS = 5_000
/** Nobody else writes an invocation's output for so long; also the time until a failure is tried again. */
const LEASE_MS = 60_000
/** Chunks that one statement reads: at most a megabyte. */
const CHUNKS_AT_ONCE = 16

export const keepOutput: Reconciler = {
  name: 'commands.keep-output',
  wakes: [COMMANDS_WAKE],
  everySeconds: 30,
  async run(work) {
    const destination = work.choices.commandOutput
    if (!destination) return undefined
    while (!work.signal.aborted) {
      const now = work.now()
      const lease = new Date(now.getTime() + LEASE_MS)
      const invocation = await store.takeToKeep(work.sql, now, new Date(now.getTime() - SETTLE_MS), lease)
      if (!invocation) break
      try {
        await keep(work, destination, invocation)
        await store.markKept(work.sql, invocation, lease, work.now())
      } catch (error) {
        const { commandId, nodeId } = invocation
        work.log.warn({ err: error, commandId, nodeId }, 'output could not be written; it is tried again')
      }
    }
    return store.nextToKeep(work.sql, SETTLE_MS)
  },
}

async function keep(work: WorkContext, destination: OutputDestination, invocation: store.ToKeep): Promise<void> {
  await keepReported(work, invocation, work.now())
  for (const { step, stream, size } of await store.listStreams(work.sql, invocation)) {
    const place = placeOf(invocation.output, invocation, step, stream)
    if (!place) continue
    await put(destination, place, { size, bytes: streamOf(work, invocation, step, stream, size) }, work.now())
  }
}

/** The first `size` bytes of one stream: what comes while it is written is written the next time. */
async function* streamOf(
  work: WorkContext,
  invocation: store.ToKeep,
  step: string,
  stream: string,
  size: number,
): AsyncGenerator<Buffer> {
  let at = 0
  while (at < size) {
    const chunks = await store.readStream(work.sql, invocation, { step, stream }, at, CHUNKS_AT_ONCE)
    if (chunks.length === 0) throw new Error('the output was forgotten while it was written')
    for (const { start, bytes } of chunks) {
      const part = bytes.subarray(at - start, size - start)
      at += part.length
      if (part.length > 0) yield part
    }
  }
}
