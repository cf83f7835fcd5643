// Replies whose files are damaged, written anew: their ids say what they were about, and what they said still stands in
// the documents' own results. Without it an invocation would stay open although its document has ended. Handed to the outbox by main.ts.

import { readdir } from 'node:fs/promises'
import { buildJobId, SEND_COMMAND_TOPIC } from '@musterbook/wire'
import type { DataFolder } from './data-folder.ts'
import { isCommandId } from './inbox.ts'
import { lastRun, type Orchestration, orchestrationOf, readRunResult, readStepResults } from './orchestration.ts'
import { type Reply, replyId } from './outbox.ts'
import { documentReply, finalReply, stepReply } from './reply-payload.ts'

/** Undefined when it was about nothing that matters any more, such as a document's acceptance. */
export async function rewrittenReply(
  folder: DataFolder,
  instanceId: string,
  messageId: string,
): Promise<Reply | undefined> {
  for (const place of [folder.current, folder.done]) {
    for (const name of await readdir(place)) {
      const commandId = name.replace(/\.json$/, '')
      if (!name.endsWith('.json') || !isCommandId(commandId)) continue
      const jobId = buildJobId(commandId, instanceId)
      const content = await contentOf(orchestrationOf(folder.orchestration, commandId), jobId, messageId)
      if (content !== undefined) return { jobId, topic: SEND_COMMAND_TOPIC, content }
    }
  }
  return undefined
}

async function contentOf(at: Orchestration, jobId: string, messageId: string): Promise<string | undefined> {
  const results = await readStepResults(at)
  if (messageId === replyId(jobId, 'final')) {
    const end = await readRunResult(at, await lastRun(at))
    // Without any run it was cancelled while it waited.
    if (end === undefined) return documentReply('Cancelled', '')
    return finalReply(
      at,
      end.status === 'SuccessAndReboot' ? { ...end, status: 'Failed', trace: NO_RESTART } : end,
      results,
    )
  }
  for (const [position, result] of results.entries())
    if (messageId === replyId(jobId, `step-${result.index}-${result.run}`))
      return stepReply(at, result, results.slice(0, position + 1))
  return undefined
}

const NO_RESTART = 'this machine was not restarted as the document asked; why was damaged on the disk of this node'
