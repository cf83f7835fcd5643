// What a reply says, from the results and the output on disk. Output is shortened here and only here: the files keep all
// of it. Called by runner.ts and mail.ts.

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { combinedOutput, cut, MAX_COMBINED_BYTES, MAX_STDOUT_BYTES } from '@musterbook/document'
import {
  AGENT_JOB_REPLY_MAX_BYTES,
  buildReplyPayload,
  type PluginStatus,
  type ReplyPayload,
  type ResultStatus,
} from '@musterbook/wire'
import { isMissing } from './durable-files.ts'
import { type Orchestration, type StepResult, stepFolder } from './orchestration.ts'
import { AGENT_NAME, AGENT_VERSION } from './platform.ts'

/** A reply without any step: accepted, cancelled before it began, or not runnable at all. */
export function documentReply(status: ResultStatus, trace: string): string {
  return buildReplyPayload(payload(status, trace, [], {}))
}

/** A reply about one finished step, while the document goes on. */
export async function stepReply(at: Orchestration, result: StepResult, soFar: StepResult[]): Promise<string> {
  return withinLimit(at, [result], (statuses) => payload('InProgress', '', soFar, statuses))
}

/** The last reply: with the step's own status when there is only one, as the official agent does. */
export async function finalReply(
  at: Orchestration,
  end: { status: ResultStatus; trace: string; steps: number },
  results: StepResult[],
): Promise<string> {
  const shown = end.steps === 1 ? results : []
  return withinLimit(at, shown, (statuses) => payload(end.status, end.trace, results, statuses))
}

function payload(
  status: ResultStatus,
  trace: string,
  results: StepResult[],
  runtimeStatus: Record<string, PluginStatus>,
): ReplyPayload {
  const runtimeStatusCounts: Record<string, number> = {}
  for (const result of results) runtimeStatusCounts[result.status] = (runtimeStatusCounts[result.status] ?? 0) + 1
  return {
    additionalInfo: {
      agent: { lang: 'en-US', name: AGENT_NAME, os: process.platform, osver: '1', ver: AGENT_VERSION },
      dateTime: new Date().toISOString(),
      runId: '',
      runtimeStatusCounts,
    },
    documentStatus: status,
    documentTraceOutput: trace,
    runtimeStatus,
  }
}

/** Control characters grow sixfold as JSON inside JSON: output is shortened until the reply fits on the wire. */
async function withinLimit(
  at: Orchestration,
  results: StepResult[],
  build: (statuses: Record<string, PluginStatus>) => ReplyPayload,
): Promise<string> {
  for (let bytes = MAX_STDOUT_BYTES; ; bytes = Math.floor(bytes / 2)) {
    const statuses: Record<string, PluginStatus> = {}
    for (const result of results) statuses[result.id] = await pluginStatus(at, result, bytes)
    const content = buildReplyPayload(build(statuses))
    // Counted as it travels: as a string inside the reply's own JSON, with some room for its other members.
    if (Buffer.byteLength(JSON.stringify(content)) < AGENT_JOB_REPLY_MAX_BYTES - 1000 || bytes < 100) return content
  }
}

async function pluginStatus(at: Orchestration, result: StepResult, bytes: number): Promise<PluginStatus> {
  const folder = stepFolder(at, result.index, result.id)
  const stdout = await beginningOf(join(folder, 'stdout'))
  const stderr = result.hideErrors ? '' : withMessage(await beginningOf(join(folder, 'stderr')), result.message)
  const combined = Math.min(MAX_COMBINED_BYTES, bytes)
  return {
    status: result.status,
    code: result.code,
    name: result.action,
    output: result.message === '' ? combinedOutput(stdout, stderr, combined) : cut(result.message, combined),
    startDateTime: result.started,
    endDateTime: result.ended,
    outputS3BucketName: '',
    outputS3KeyPrefix: '',
    stepName: '',
    standardOutput: cut(stdout, bytes),
    standardError: cut(stderr, bytes),
  }
}

function withMessage(stderr: string, message: string): string {
  if (message === '' || stderr.includes(message)) return stderr
  return stderr === '' || stderr.endsWith('\n') ? stderr + message : `${stderr}\n${message}`
}

/** More than any reply can carry, so that shortening still knows that there is more. */
const ENOUGH_BYTES = MAX_STDOUT_BYTES + 8

async function beginningOf(path: string): Promise<string> {
  try {
    const file = await open(path, 'r')
    try {
      const buffer = Buffer.alloc(ENOUGH_BYTES)
      let filled = 0
      while (filled < ENOUGH_BYTES) {
        const { bytesRead } = await file.read(buffer, filled, ENOUGH_BYTES - filled, filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return buffer.toString('utf8', 0, filled)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isMissing(error)) return ''
    throw error
  }
}
