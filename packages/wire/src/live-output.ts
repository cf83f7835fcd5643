// The whole output of a command while it runs: two message types of our own beside the official ones on the control
// channel, which neither the official agent nor the official service ever sends. Output goes in order, stream by stream;
// the answer says how many bytes of the stream the service holds, and that is where the agent goes on. So a chunk may
// come twice, a lost one is asked for again, and an agent that has forgotten everything begins at 0.
//
//   agent -> service   musterbook_output       {jobId, step, stream, start, data}
//   service -> agent   musterbook_output_ack   {jobId, step, stream, next}

import * as json from './json-members.ts'
import { jsonBytes, PayloadError, readMembers } from './json-members.ts'

export const OUTPUT_MESSAGE = { output: 'musterbook_output', outputAck: 'musterbook_output_ack' } as const

/** Bytes of output in one message; in base64 inside JSON it stays far below what one frame may have. */
export const OUTPUT_CHUNK_BYTES = 64 * 1024

export const OUTPUT_STREAMS = ['stdout', 'stderr'] as const
export type OutputStream = (typeof OUTPUT_STREAMS)[number]

export interface OutputChunk {
  /** `aws.ssm.<CommandId>.<node id>` */
  jobId: string
  /** Step name (schema 2.x) or plugin name (1.x), as in replies. */
  step: string
  stream: OutputStream
  /** Bytes of this stream before this chunk. */
  start: number
  /** Base 64. */
  data: string
}

export const buildOutputChunk = ({ jobId, step, stream, start, data }: OutputChunk): Uint8Array =>
  jsonBytes({ jobId, step, stream, start, data })

export function parseOutputChunk(payload: Uint8Array | string): OutputChunk {
  const from = readMembers('musterbook_output', payload)
  const start = json.integerOr(from, 'start', 0)
  if (start < 0) throw new PayloadError('musterbook_output', 'start', 'must not be negative')
  return {
    jobId: json.id(from, 'jobId'),
    step: json.id(from, 'step'),
    stream: json.oneOf(from, 'stream', OUTPUT_STREAMS),
    start,
    data: json.string(from, 'data'),
  }
}

export interface OutputAck {
  jobId: string
  step: string
  stream: OutputStream
  /** Bytes of the stream that the service holds. */
  next: number
}

export const buildOutputAck = ({ jobId, step, stream, next }: OutputAck): Uint8Array =>
  jsonBytes({ jobId, step, stream, next })

export function parseOutputAck(payload: Uint8Array | string): OutputAck {
  const from = readMembers('musterbook_output_ack', payload)
  return {
    jobId: json.id(from, 'jobId'),
    step: json.id(from, 'step'),
    stream: json.oneOf(from, 'stream', OUTPUT_STREAMS),
    next: json.integerOr(from, 'next', 0),
  }
}
