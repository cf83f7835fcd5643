// The binary frame of every control and data channel, as twins: encodeAgentMessage and decodeAgentMessage. Decoding
// trusts nothing: each length is checked against the frame before it is used, the payload is a view into the frame (no
// copy, so never more memory than the frame), and whatever is wrong is a FrameError with a reason. Called by the
// server's channels, the agent, the console's terminal and the session relay.
//
//   off  len  field (big-endian)
//     0    4  HeaderLength    116, the offset of PayloadLength; the payload starts 4 later
//     4   32  MessageType     ASCII, padded with spaces
//    36    4  SchemaVersion   1
//    40    8  CreatedDate     ms since 1970; 0 makes receivers drop the message
//    48    8  SequenceNumber  stream data only, else 0
//    56    8  Flags           bit 0 SYN, bit 1 FIN
//    64   16  MessageId       UUID, its second half first
//    80   32  PayloadDigest   SHA-256 of the payload as sent
//   112    4  PayloadType     stream data only, else 0
//   116    4  PayloadLength
//   120    n  Payload

import type { Sha256 } from './sigv4.ts'

export interface AgentMessage {
  /** 1 to 32 visible ASCII characters. */
  messageType: string
  /** 1 in every message seen so far. */
  schemaVersion: number
  /** Milliseconds since 1970, above 0. */
  createdDate: number
  /** 0 to 2^53-1. */
  sequenceNumber: number
  /** FLAG_SYN | FLAG_FIN */
  flags: number
  /** UUID, lower-case with hyphens. */
  messageId: string
  payloadType: number
  payload: Uint8Array
}

/** A payload to be written: in parts, where putting them together first would be one more copy. */
export type Payload = Uint8Array | readonly Uint8Array[]

/** What a writer must say; the rest is 1 for schemaVersion and 0 or empty. */
export type AgentMessageFields = Pick<AgentMessage, 'messageType' | 'createdDate' | 'messageId'> &
  Partial<Omit<AgentMessage, 'payload'>> & { payload?: Payload }

export const FLAG_SYN = 1
export const FLAG_FIN = 2

/** Bytes before the payload; receivers of the official agent panic on a frame shorter than this. */
export const AGENT_MESSAGE_PREFIX = 120

const HEADER_LENGTH = 116
const OFFSET = {
  messageType: 4,
  schemaVersion: 36,
  createdDate: 40,
  sequenceNumber: 48,
  flags: 56,
  messageId: 64,
  digest: 80,
  payloadType: 112,
  payloadLength: 116,
} as const
const MESSAGE_TYPE_BYTES = 32
const DIGEST_BYTES = 32
const UINT32_MAX = 0xffff_ffff

export type FrameReason =
  | 'truncated' // shorter than AGENT_MESSAGE_PREFIX
  | 'header-length' // not 116
  | 'message-type' // empty, too long, or not visible ASCII
  | 'schema-version'
  | 'created-date' // 0, or beyond 2^53-1
  | 'sequence-number' // negative, or beyond 2^53-1
  | 'flags' // beyond 2^53-1
  | 'message-id' // not a UUID
  | 'payload-type'
  | 'payload-length' // not the number of bytes that follow it
  | 'payload-digest' // the payload is not the one that was hashed

/** A frame that is not an AgentMessage, or fields that cannot be written as one. */
export class FrameError extends Error {
  readonly reason: FrameReason

  constructor(reason: FrameReason, message: string) {
    super(message)
    this.name = 'FrameError'
    this.reason = reason
  }
}

/** Writes one message; throws a FrameError for a field that has no place in the layout. */
export function encodeAgentMessage(fields: AgentMessageFields, sha256: Sha256): Uint8Array {
  const payload = fields.payload ?? NO_BYTES
  const length = payloadBytes(payload)
  const frame = new Uint8Array(AGENT_MESSAGE_PREFIX + length)
  const view = new DataView(frame.buffer)
  view.setUint32(0, HEADER_LENGTH)
  writeMessageType(frame, fields.messageType)
  view.setUint32(OFFSET.schemaVersion, uint32(fields.schemaVersion ?? 1, 'schema-version'))
  if (fields.createdDate === 0) throw new FrameError('created-date', 'CreatedDate must not be 0')
  writeUint53(view, OFFSET.createdDate, fields.createdDate, 'created-date')
  writeUint53(view, OFFSET.sequenceNumber, fields.sequenceNumber ?? 0, 'sequence-number')
  writeUint53(view, OFFSET.flags, fields.flags ?? 0, 'flags')
  writeMessageId(frame, fields.messageId)
  view.setUint32(OFFSET.payloadType, uint32(fields.payloadType ?? 0, 'payload-type'))
  view.setUint32(OFFSET.payloadLength, uint32(length, 'payload-length'))
  let at = AGENT_MESSAGE_PREFIX
  for (const part of payload instanceof Uint8Array ? [payload] : payload) {
    frame.set(part, at)
    at += part.length
  }
  writeHex(frame, OFFSET.digest, sha256(frame.subarray(AGENT_MESSAGE_PREFIX)))
  return frame
}

export const payloadBytes = (payload: Payload): number =>
  payload instanceof Uint8Array ? payload.length : payload.reduce((bytes, part) => bytes + part.length, 0)

/**
 * Reads one message; its payload is a view into the frame. Given a hash, a payload that is not empty must match its
 * digest (the official agent does not check, session-manager-plugin does). Throws a FrameError.
 */
export function decodeAgentMessage(frame: Uint8Array, verifyDigest?: Sha256): AgentMessage {
  if (frame.length < AGENT_MESSAGE_PREFIX) {
    throw new FrameError(
      'truncated',
      `a message has at least ${AGENT_MESSAGE_PREFIX} bytes, this one has ${frame.length}`,
    )
  }
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const headerLength = view.getUint32(0)
  if (headerLength !== HEADER_LENGTH) throw new FrameError('header-length', `HeaderLength is ${headerLength}, not 116`)
  const follow = frame.length - AGENT_MESSAGE_PREFIX
  const payloadLength = view.getUint32(OFFSET.payloadLength)
  if (payloadLength !== follow) {
    throw new FrameError('payload-length', `PayloadLength is ${payloadLength}, but ${follow} bytes follow`)
  }
  const createdDate = readUint53(view, OFFSET.createdDate, 'created-date')
  if (createdDate === 0) throw new FrameError('created-date', 'CreatedDate is 0')
  const message: AgentMessage = {
    messageType: readMessageType(frame),
    schemaVersion: view.getUint32(OFFSET.schemaVersion),
    createdDate,
    sequenceNumber: readUint53(view, OFFSET.sequenceNumber, 'sequence-number'),
    flags: readUint53(view, OFFSET.flags, 'flags'),
    messageId: readMessageId(frame),
    payloadType: view.getUint32(OFFSET.payloadType),
    payload: frame.subarray(AGENT_MESSAGE_PREFIX),
  }
  if (verifyDigest && follow > 0 && verifyDigest(message.payload) !== readHex(frame, OFFSET.digest, DIGEST_BYTES)) {
    throw new FrameError('payload-digest', 'the payload does not match its digest')
  }
  return message
}

const NO_BYTES = new Uint8Array(0)

// ------------------------------------------------------------------------------------------------------ MessageType

function writeMessageType(frame: Uint8Array, messageType: string): void {
  if (messageType.length < 1 || messageType.length > MESSAGE_TYPE_BYTES) {
    throw new FrameError('message-type', `MessageType must have 1 to ${MESSAGE_TYPE_BYTES} characters`)
  }
  frame.fill(SPACE, OFFSET.messageType, OFFSET.messageType + MESSAGE_TYPE_BYTES)
  for (let at = 0; at < messageType.length; at++) {
    const code = messageType.charCodeAt(at)
    if (!visible(code)) throw new FrameError('message-type', 'MessageType must be visible ASCII')
    frame[OFFSET.messageType + at] = code
  }
}

/** Readers strip padding of either kind at both ends: some writers pad with NUL. */
function readMessageType(frame: Uint8Array): string {
  let from = OFFSET.messageType as number
  let to = OFFSET.messageType + MESSAGE_TYPE_BYTES
  while (from < to && padding(frame[from])) from++
  while (to > from && padding(frame[to - 1])) to--
  if (from === to) throw new FrameError('message-type', 'MessageType is empty')
  let messageType = ''
  for (let at = from; at < to; at++) {
    const code = frame[at] as number
    if (!visible(code)) throw new FrameError('message-type', 'MessageType is not visible ASCII')
    messageType += String.fromCharCode(code)
  }
  return messageType
}

const SPACE = 0x20

function padding(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0
}

function visible(code: number): boolean {
  return code > SPACE && code < 0x7f
}

// ---------------------------------------------------------------------------------------------------------- numbers

function uint32(value: number, reason: FrameReason): number {
  if (!Number.isInteger(value) || value < 0 || value > UINT32_MAX) {
    throw new FrameError(reason, `${reason} must be a whole number of 32 bits`)
  }
  return value
}

// 64-bit fields never need more than 53 bits: dates until the year 287396, one message per nanosecond for 104 days.
function writeUint53(view: DataView, offset: number, value: number, reason: FrameReason): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new FrameError(reason, `${reason} must be a whole number from 0 to 2^53-1`)
  }
  view.setUint32(offset, Math.floor(value / 0x1_0000_0000))
  view.setUint32(offset + 4, value % 0x1_0000_0000)
}

function readUint53(view: DataView, offset: number, reason: FrameReason): number {
  const high = view.getUint32(offset)
  if (high > 0x1f_ffff) throw new FrameError(reason, `${reason} is negative or beyond 2^53-1`)
  return high * 0x1_0000_0000 + view.getUint32(offset + 4)
}

// ------------------------------------------------------------------------------------------------- UUID and digest

/** dd01e56b-ff48-483e-a508-b5f073f31b16 travels as a508b5f073f31b16 dd01e56bff48483e. */
function writeMessageId(frame: Uint8Array, messageId: string): void {
  if (!UUID.test(messageId)) throw new FrameError('message-id', 'MessageId is not a UUID')
  const [a = '', b = '', c = '', d = '', e = ''] = messageId.split('-')
  writeHex(frame, OFFSET.messageId, d)
  writeHex(frame, OFFSET.messageId + 2, e)
  writeHex(frame, OFFSET.messageId + 8, a)
  writeHex(frame, OFFSET.messageId + 12, b)
  writeHex(frame, OFFSET.messageId + 14, c)
}

function readMessageId(frame: Uint8Array): string {
  const hex = readHex(frame, OFFSET.messageId + 8, 8) + readHex(frame, OFFSET.messageId, 8)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

function writeHex(frame: Uint8Array, offset: number, hex: string): void {
  for (let at = 0; at < hex.length; at += 2) frame[offset + at / 2] = (digit(hex, at) << 4) | digit(hex, at + 1)
}

/** 0-9 are 0x30 to 0x39, A-F and a-f 0x41 and 0x61 on: nothing else is handed in here. */
function digit(hex: string, at: number): number {
  const code = hex.charCodeAt(at)
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57
}

function readHex(frame: Uint8Array, offset: number, length: number): string {
  let hex = ''
  for (let at = offset; at < offset + length; at++) hex += HEX[frame[at] as number]
  return hex
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
