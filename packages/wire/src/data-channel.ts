// What travels on a session's data channel: the first text frame and the payloads of its AgentMessages, as parse/build
// twins. The frames themselves are agent-message.ts, the order and repair of the stream is stream.ts, multiplexed ports
// are smux.ts. Parsers throw a PayloadError. Called by the server's relay, the agent and the session clients.
//
//   input_stream_data     client -> agent     Output (keys typed), Size, HandshakeResponse, EncChallengeResponse, Flag
//   output_stream_data    agent -> client     Output, StdErr, ExitCode, HandshakeRequest, EncChallengeRequest,
//                                             HandshakeComplete, Flag
//   acknowledge           both ways           one per stream message, by its sequence number
//   agent_session_state   agent -> service    Connected, Terminating; the client never sees it
//   channel_closed        service -> either   see control-channel.ts
//   pause_publication, start_publication      service -> agent, empty

import { type AgentMessage, encodeAgentMessage, FLAG_FIN, FLAG_SYN } from './agent-message.ts'
import * as json from './json-members.ts'
import { type JsonObject, type JsonValue, jsonBytes, PayloadError, readMembers } from './json-members.ts'
import type { Sha256 } from './sigv4.ts'

export const DATA_MESSAGE = {
  inputStreamData: 'input_stream_data',
  outputStreamData: 'output_stream_data',
  acknowledge: 'acknowledge',
  agentSessionState: 'agent_session_state',
  channelClosed: 'channel_closed',
  pausePublication: 'pause_publication',
  startPublication: 'start_publication',
} as const

export const PAYLOAD_TYPE = {
  Output: 1,
  Error: 2,
  Size: 3,
  Parameter: 4,
  HandshakeRequest: 5,
  HandshakeResponse: 6,
  HandshakeComplete: 7,
  EncChallengeRequest: 8,
  EncChallengeResponse: 9,
  Flag: 10,
  StdErr: 11,
  ExitCode: 12,
} as const

/** The largest piece of a byte stream that goes into one message, in bytes, as both official ends cut it. */
export const STREAM_CHUNK_BYTES = 1_024

/** True for the two message types that are numbered, acknowledged and sent again. */
export function isStreamMessage(messageType: string): boolean {
  return messageType === DATA_MESSAGE.inputStreamData || messageType === DATA_MESSAGE.outputStreamData
}

// ------------------------------------------------------------------------------------------------ opening the channel

/** The agent names its node, the client does not: that tells the two ends of a session apart. */
export type OpenDataChannel = {
  MessageSchemaVersion: string
  RequestId: string
  TokenValue: string
  /** Empty from the official agent. */
  ClientId: string
} & ({ role: 'agent'; ClientInstanceId: string } | { role: 'client'; ClientVersion: string })

/** What either end says; the rest is fixed. */
export type OpenDataChannelFields =
  | { role: 'agent'; RequestId: string; TokenValue: string; ClientInstanceId: string }
  | { role: 'client'; RequestId: string; TokenValue: string; ClientId: string; ClientVersion: string }

/** The text of the first frame; the service must not answer it. */
export function buildOpenDataChannel(open: OpenDataChannelFields): string {
  const both = { MessageSchemaVersion: '1.0', RequestId: open.RequestId, TokenValue: open.TokenValue }
  return JSON.stringify(
    open.role === 'agent'
      ? { ...both, ClientInstanceId: open.ClientInstanceId, ClientId: '' }
      : { ...both, ClientId: open.ClientId, ClientVersion: open.ClientVersion },
  )
}

export function parseOpenDataChannel(text: Uint8Array | string): OpenDataChannel {
  const from = readMembers('OpenDataChannel', text)
  const both = {
    MessageSchemaVersion: json.stringOr(from, 'MessageSchemaVersion', '1.0'),
    RequestId: json.stringOr(from, 'RequestId', ''),
    TokenValue: json.id(from, 'TokenValue'),
    ClientId: json.stringOr(from, 'ClientId', ''),
  }
  const instanceId = json.stringOr(from, 'ClientInstanceId', '')
  return instanceId === ''
    ? { ...both, role: 'client', ClientVersion: json.stringOr(from, 'ClientVersion', '') }
    : { ...both, role: 'agent', ClientInstanceId: instanceId }
}

// ---------------------------------------------------------------------------------- acknowledge and session state

export interface Acknowledge {
  AcknowledgedMessageType: string
  AcknowledgedMessageId: string
  /** The one member that peers match by. */
  AcknowledgedMessageSequenceNumber: number
  IsSequentialMessage: boolean
}

export function buildAcknowledge(
  message: Pick<AgentMessage, 'messageType' | 'messageId' | 'sequenceNumber'>,
): Uint8Array {
  return jsonBytes({
    AcknowledgedMessageType: message.messageType,
    AcknowledgedMessageId: message.messageId,
    AcknowledgedMessageSequenceNumber: message.sequenceNumber,
    IsSequentialMessage: true,
  })
}

export function parseAcknowledge(payload: Uint8Array | string): Acknowledge {
  const from = readMembers('acknowledge', payload)
  const sequenceNumber = json.integer(from, 'AcknowledgedMessageSequenceNumber')
  if (sequenceNumber < 0)
    throw new PayloadError('acknowledge', 'AcknowledgedMessageSequenceNumber', 'must not be negative')
  return {
    AcknowledgedMessageType: json.stringOr(from, 'AcknowledgedMessageType', ''),
    AcknowledgedMessageId: json.stringOr(from, 'AcknowledgedMessageId', ''),
    AcknowledgedMessageSequenceNumber: sequenceNumber,
    IsSequentialMessage: json.booleanOr(from, 'IsSequentialMessage', true),
  }
}

/** The whole frame that acknowledges a stream message. */
export function acknowledgeFrame(
  message: AgentMessage,
  own: { messageId: string; createdDate: number; sha256: Sha256 },
): Uint8Array {
  const { messageId, createdDate, sha256 } = own
  const payload = buildAcknowledge(message)
  const fields = { messageType: DATA_MESSAGE.acknowledge, flags: FLAG_SYN | FLAG_FIN, messageId, createdDate, payload }
  return encodeAgentMessage(fields, sha256)
}

export const SESSION_STATES = ['Connected', 'Terminating'] as const
export type SessionState = (typeof SESSION_STATES)[number]

/** Payload of agent_session_state, which travels with FLAG_SYN | FLAG_FIN. */
export interface AgentSessionState {
  SessionState: SessionState
  SessionId: string
}

export function buildAgentSessionState(state: AgentSessionState): Uint8Array {
  return jsonBytes({ SchemaVersion: 1, SessionState: state.SessionState, SessionId: state.SessionId })
}

export function parseAgentSessionState(payload: Uint8Array | string): AgentSessionState {
  const from = readMembers('agent_session_state', payload)
  return {
    SessionState: json.oneOf(from, 'SessionState', SESSION_STATES),
    SessionId: json.stringOr(from, 'SessionId', ''),
  }
}

// ---------------------------------------------------------------------------------------- Size, Flag and ExitCode

/** Size of a terminal in characters, 1 to 65535 each way. */
export interface TerminalSize {
  cols: number
  rows: number
}

export function buildSize(size: TerminalSize): Uint8Array {
  return jsonBytes({ cols: size.cols, rows: size.rows })
}

export function parseSize(payload: Uint8Array | string): TerminalSize {
  const from = readMembers('Size', payload)
  const size = { cols: json.integer(from, 'cols'), rows: json.integer(from, 'rows') }
  for (const [name, value] of Object.entries(size)) {
    // The kernel's winsize holds 16 bits each.
    if (value < 1 || value > 0xffff) throw new PayloadError('Size', name, 'must be from 1 to 65535')
  }
  return size
}

export const STREAM_FLAG = { DisconnectToPort: 1, TerminateSession: 2, ConnectToPortError: 3 } as const

/** Four bytes, big-endian. */
export function buildFlag(flag: keyof typeof STREAM_FLAG): Uint8Array {
  return Uint8Array.of(0, 0, 0, STREAM_FLAG[flag])
}

export function parseFlag(payload: Uint8Array): keyof typeof STREAM_FLAG {
  if (payload.length !== 4) throw new PayloadError('Flag', '', 'the payload must be four bytes')
  const value = new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0)
  for (const name of ['DisconnectToPort', 'TerminateSession', 'ConnectToPortError'] as const) {
    if (STREAM_FLAG[name] === value) return name
  }
  throw new PayloadError('Flag', '', `the flag ${value} is unknown`)
}

/** Text without a newline, as the plugin prints it. */
export function buildExitCode(code: number): Uint8Array {
  return new TextEncoder().encode(`${EXIT_CODE_PREFIX}${code}`)
}

export function parseExitCode(payload: Uint8Array): number {
  const text = new TextDecoder().decode(payload)
  const digits = text.startsWith(EXIT_CODE_PREFIX) ? text.slice(EXIT_CODE_PREFIX.length).trim() : ''
  const code = Number(digits)
  if (digits === '' || !Number.isSafeInteger(code))
    throw new PayloadError('ExitCode', '', 'must look like EXIT_CODE: 0')
  return code
}

const EXIT_CODE_PREFIX = 'EXIT_CODE: '

// ------------------------------------------------------------------------------------------------------ handshake

/** How long the agent waits for HandshakeResponse, and again for EncChallengeResponse, in ms. */
export const HANDSHAKE_TIMEOUT_MS = 15_000

export type ClientAction =
  | { ActionType: 'SessionType'; SessionType: string; Properties: JsonValue }
  /** Challenge: base64 of 16 random bytes, empty from agents before 3.3.808. */
  | { ActionType: 'KMSEncryption'; KMSKeyId: string; Challenge: string }
  /** An action that this version does not know: answer it with ACTION_STATUS.Unsupported. */
  | { ActionType: 'Other'; Name: string }

export interface HandshakeRequest {
  AgentVersion: string
  RequestedClientActions: ClientAction[]
}

export function buildHandshakeRequest(request: HandshakeRequest): Uint8Array {
  return jsonBytes({
    AgentVersion: request.AgentVersion,
    RequestedClientActions: request.RequestedClientActions.map(requestedAction),
  })
}

function requestedAction(action: ClientAction): JsonObject {
  switch (action.ActionType) {
    case 'SessionType': {
      const { SessionType, Properties } = action
      return { ActionType: 'SessionType', ActionParameters: { SessionType, Properties } }
    }
    case 'KMSEncryption': {
      const { KMSKeyId, Challenge } = action
      return { ActionType: 'KMSEncryption', ActionParameters: { KMSKeyId, Challenge } }
    }
    case 'Other':
      return { ActionType: action.Name, ActionParameters: null }
  }
}

export function parseHandshakeRequest(payload: Uint8Array | string): HandshakeRequest {
  const from = readMembers('HandshakeRequest', payload)
  return {
    AgentVersion: json.stringOr(from, 'AgentVersion', ''),
    RequestedClientActions: json.listOr(from, 'RequestedClientActions', []).map((item): ClientAction => {
      const action = json.inside(from, 'RequestedClientActions', item)
      const name = json.string(action, 'ActionType')
      if (name !== 'SessionType' && name !== 'KMSEncryption') return { ActionType: 'Other', Name: name }
      const parameters = json.inside(action, 'ActionParameters', json.object(action, 'ActionParameters'))
      return name === 'SessionType'
        ? {
            ActionType: name,
            SessionType: json.string(parameters, 'SessionType'),
            Properties: json.member(parameters, 'Properties') ?? null,
          }
        : {
            ActionType: name,
            KMSKeyId: json.string(parameters, 'KMSKeyId'),
            Challenge: json.stringOr(parameters, 'Challenge', ''),
          }
    }),
  }
}

/** 0 is what the official plugin sends for an action that it does not know. */
export const ACTION_STATUS = { Success: 1, Failed: 2, Unsupported: 3 } as const

export interface ProcessedClientAction {
  ActionType: string
  /** Any other than ACTION_STATUS.Success ends the session with Error. */
  ActionStatus: number
  ActionResult: JsonValue
  Error: string
}

export interface HandshakeResponse {
  ClientVersion: string
  ProcessedClientActions: ProcessedClientAction[]
  Errors: string[]
}

export function buildHandshakeResponse(response: HandshakeResponse): Uint8Array {
  return jsonBytes({
    ClientVersion: response.ClientVersion,
    ProcessedClientActions: response.ProcessedClientActions.map((action) => ({
      ActionType: action.ActionType,
      ActionStatus: action.ActionStatus,
      ActionResult: action.ActionResult,
      Error: action.Error,
    })),
    Errors: response.Errors.length === 0 ? null : response.Errors,
  })
}

export function parseHandshakeResponse(payload: Uint8Array | string): HandshakeResponse {
  const from = readMembers('HandshakeResponse', payload)
  return {
    ClientVersion: json.stringOr(from, 'ClientVersion', ''),
    ProcessedClientActions: json.listOr(from, 'ProcessedClientActions', []).map((item) => {
      const action = json.inside(from, 'ProcessedClientActions', item)
      return {
        ActionType: json.string(action, 'ActionType'),
        ActionStatus: json.integerOr(action, 'ActionStatus', 0),
        ActionResult: json.member(action, 'ActionResult') ?? null,
        Error: json.stringOr(action, 'Error', ''),
      }
    }),
    Errors: json.listOr(from, 'Errors', []).map((text) => {
      if (typeof text !== 'string') throw new PayloadError('HandshakeResponse', 'Errors', 'must be a list of strings')
      return text
    }),
  }
}

/** ActionResult of KMSEncryption; the byte fields are standard base64. */
export interface KmsEncryptionResult {
  KMSCipherTextKey: string
  /** True when the client put the request's Challenge into the encryption context. */
  ChallengeAcknowledgement: boolean
}

export function buildKmsEncryptionResult(result: KmsEncryptionResult): JsonObject {
  const { KMSCipherTextKey, ChallengeAcknowledgement } = result
  const both: JsonObject = { KMSCipherTextKey, KMSCipherTextHash: null }
  return ChallengeAcknowledgement ? { ...both, ChallengeAcknowledgement } : both
}

export function parseKmsEncryptionResult(result: JsonValue): KmsEncryptionResult {
  const from = json.inside({ messageType: 'HandshakeResponse', object: {} }, 'ActionResult', result)
  return {
    KMSCipherTextKey: json.id(from, 'KMSCipherTextKey'),
    ChallengeAcknowledgement: json.booleanOr(from, 'ChallengeAcknowledgement', false),
  }
}

export interface HandshakeComplete {
  /** Nanoseconds. */
  HandshakeTimeToComplete: number
  /** Printed by the client unless empty. */
  CustomerMessage: string
}

export function buildHandshakeComplete(complete: HandshakeComplete): Uint8Array {
  return jsonBytes({
    HandshakeTimeToComplete: Math.round(complete.HandshakeTimeToComplete),
    CustomerMessage: complete.CustomerMessage,
  })
}

export function parseHandshakeComplete(payload: Uint8Array | string): HandshakeComplete {
  const from = readMembers('HandshakeComplete', payload)
  return {
    HandshakeTimeToComplete: json.integerOr(from, 'HandshakeTimeToComplete', 0),
    CustomerMessage: json.stringOr(from, 'CustomerMessage', ''),
  }
}

/** Payload of EncChallengeRequest and EncChallengeResponse: base64 of a ciphertext, the JSON itself is plain. */
export interface EncryptionChallenge {
  Challenge: string
}

export function buildEncryptionChallenge(challenge: EncryptionChallenge): Uint8Array {
  return jsonBytes({ Challenge: challenge.Challenge })
}

export function parseEncryptionChallenge(payload: Uint8Array | string): EncryptionChallenge {
  return { Challenge: json.id(readMembers('EncChallenge', payload), 'Challenge') }
}

// -------------------------------------------------------------------------------------------------- version gates

/** Agents later than this speak smux on a LocalPortForwarding session. */
export const MUX_AFTER_AGENT_VERSION = '3.0.196.0'
/** Agents later than this, with clients later than the next, have smux's keep-alive off. */
export const MUX_KEEP_ALIVE_OFF_AFTER_AGENT_VERSION = '3.1.1511.0'
export const MUX_KEEP_ALIVE_OFF_AFTER_CLIENT_VERSION = '1.2.331.0'
/** Agents later than this end a session on the TerminateSession flag. */
export const TERMINATE_FLAG_AFTER_AGENT_VERSION = '2.3.722.0'

/** Whether a version is later than another; one that is not four numbers counts as older, as it does for the plugin. */
export function isLaterVersion(version: string, than: string): boolean {
  const left = version.split('.')
  const right = than.split('.')
  if (left.length !== 4 || right.length !== 4 || ![...left, ...right].every((part) => /^\d{1,9}$/.test(part)))
    return false
  for (let at = 0; at < 4; at++) {
    const difference = Number(left[at]) - Number(right[at])
    if (difference !== 0) return difference > 0
  }
  return false
}
