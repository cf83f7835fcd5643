/**
 * The whole output of invocations: taken from agents that send it while it is written, kept in order, and followed over
 * HTTP as server-sent events. Agents that only report what AWS's limits leave are shown with what they report.
 *
 *   GET /v1/commands/{CommandId}/invocations/{node}/output?offset=N      (signed for ssm, action ssm:GetCommandInvocation)
 *   event: status   data: {"Status", "StatusDetails"}                     at first and at each change
 *   event: output   data: {"Step", "Stream", "Start", "Data"}             Data in base 64; id: the offset to go on from
 *   event: end      data: {"Status", "StatusDetails"}                     nothing follows
 *
 * A stream that closes without `end` goes on at the last id, given as `offset` or as Last-Event-ID: what a caller may see
 * is asked again with each signature.
 */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import {
  buildJobId,
  buildOutputAck,
  OUTPUT_CHUNK_BYTES,
  OUTPUT_MESSAGE,
  parseJobId,
  parseOutputChunk,
} from '@musterbook/wire'
import type { Host, NodeMessageHandler, Route } from '../../platform/capability.ts'
import type { Context, Ground } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { isCommandId } from './rules.ts'
import * as store from './store.ts'
import { COMMANDS_WAKE } from './wake.ts'

/** Topic: an invocation has more output; its key is `CommandId/node`. */
const OUTPUT_WAKE = 'command-output'
/** A reader looks at least this often, and writes a comment when it has seen nothing for the second time. */
const LOOK_MS = 2_500
const QUIET_MS = 15_000
/** A stream closes after this long, so that a key that was deleted or a permission that was taken reads no further. */
const MAX_STREAM_MS = 60_000
/** Chunks that one statement reads: at most a megabyte. */
const CHUNKS_AT_ONCE = 16
/** A step that has ended without any output here is shown with what was reported of it, after this long. */
const REPORTED_AFTER_MS = 3_000

export function takeOutput(host: Host): Record<string, NodeMessageHandler> {
  return {
    async [OUTPUT_MESSAGE.output](message) {
      const { jobId, step, stream, start, data } = parseOutputChunk(message.payload)
      const { commandId, instanceId } = parseJobId(jobId)
      if (instanceId !== message.nodeId || !isCommandId(commandId)) throw new Error('a node spoke of another node')
      const bytes = Buffer.from(data, 'base64')
      if (bytes.length > OUTPUT_CHUNK_BYTES) throw new Error('a chunk of output is too large')
      const key = { ...message.scope, commandId, nodeId: message.nodeId }
      const next = await host.transaction(async (work) => {
        const chunk = { step, stream, start, bytes }
        const held = await store.appendOutput(work.sql, key, chunk, work.choices.maxOutputBytes, work.now())
        work.wake(OUTPUT_WAKE, `${commandId}/${message.nodeId}`)
        return held
      })
      // Of a command that is forgotten nothing is wanted: the agent hears that all of it is here.
      const ack = buildOutputAck({
        jobId: buildJobId(commandId, instanceId),
        step,
        stream,
        next: next ?? start + bytes.length,
      })
      message.answer(OUTPUT_MESSAGE.outputAck, ack)
    },
  }
}

const PATH = /^\/v1\/commands\/([0-9a-f-]{36})\/invocations\/([A-Za-z0-9-]{1,64})\/output$/

export const outputRoute = (host: Host): Route => ({
  method: 'GET',
  path: PATH,
  signedFor: 'ssm',
  authorize: () => ({ action: 'ssm:GetCommandInvocation', resources: ['*'] }),
  async handle(context, { params: [commandId = '', nodeId = ''], raw, response }) {
    const key = { account: context.account, region: context.region, commandId, nodeId }
    const offset = offsetOf(raw.url ?? '', raw.headers['last-event-id'])
    if (!isCommandId(commandId) || !(await store.readState(context.sql, key)))
      throw new AwsError('InvocationDoesNotExist')
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.flushHeaders()
    try {
      await stream(host, context, key, offset, response)
    } finally {
      response.end()
    }
    return undefined
  },
})

function offsetOf(url: string, lastEventId: string | string[] | undefined): number {
  // Who goes on with a stream asks for the same address as before, with the offset that it began at.
  const text = lastEventId || new URLSearchParams(url.split('?')[1] ?? '').get('offset') || '0'
  const offset = Number(text)
  if (!Number.isSafeInteger(offset) || offset < 0) throw validation('The offset must be a number of bytes.')
  return offset
}

async function stream(
  host: Host,
  context: Context,
  key: store.InvocationKey,
  offset: number,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  const signal = AbortSignal.any([gone.signal, host.signal])
  let position = offset
  let shown = ''
  let saidAt = context.now().getTime()
  const until = saidAt + MAX_STREAM_MS
  const say = async (text: string) => {
    saidAt = context.now().getTime()
    if (!response.write(text) && !signal.aborted) await once(response, 'drain', { signal }).catch(() => {})
  }
  while (!signal.aborted && context.now().getTime() < until) {
    const changed = nextChange(host, key, signal)
    try {
      // The state first: so no output that came before the end is missed.
      const state = await store.readState(context.sql, key)
      if (!state) return
      await keepReported(context, key, new Date(context.now().getTime() - REPORTED_AFTER_MS))
      const chunks = await store.readOutput(context.sql, key, position, CHUNKS_AT_ONCE)
      const words = JSON.stringify({ Status: state.status, StatusDetails: state.statusDetails })
      if (words !== shown) await say(`event: status\ndata: ${words}\n\n`)
      shown = words
      for (const chunk of chunks) {
        const skipped = Math.max(0, position - chunk.position)
        position = chunk.position + chunk.bytes.length
        const { step: Step, stream: Stream } = chunk
        const Data = chunk.bytes.subarray(skipped).toString('base64')
        const data = JSON.stringify({ Step, Stream, Start: chunk.start + skipped, Data })
        await say(`id: ${position}\nevent: output\ndata: ${data}\n\n`)
      }
      if (chunks.length > 0) continue
      if (state.final && !(await store.hasUnkept(context.sql, key))) return await say(`event: end\ndata: ${words}\n\n`)
      if (context.now().getTime() - saidAt > QUIET_MS) await say(': still here\n\n')
      await changed.promise
    } finally {
      changed.forget()
    }
  }
}

/** Where an agent sends no output itself, what it reported of its steps is their output. */
export async function keepReported(ground: Ground, key: store.InvocationKey, endedBefore: Date): Promise<void> {
  if (await store.hasUnkept(ground.sql, key))
    await ground.transaction(({ sql }) => store.keepReported(sql, key, endedBefore, ground.now()))
}

/** Listens from now on, so that nothing is missed while the database is asked. */
function nextChange(host: Host, { commandId, nodeId }: store.InvocationKey, signal: AbortSignal) {
  let settle = () => {}
  const promise = new Promise<void>((resolve) => {
    settle = resolve
  })
  const own = `${commandId}/${nodeId}`
  const output = host.onWake(OUTPUT_WAKE, (key) => {
    if (key === undefined || key === own) settle()
  })
  const commands = host.onWake(COMMANDS_WAKE, () => settle())
  const timer = host.clock.after(LOOK_MS, settle)
  signal.addEventListener('abort', settle, { once: true })
  return {
    promise,
    forget() {
      output[Symbol.dispose]()
      commands[Symbol.dispose]()
      timer[Symbol.dispose]()
      signal.removeEventListener('abort', settle)
    },
  }
}
