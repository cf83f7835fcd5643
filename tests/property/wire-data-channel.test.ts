// The JSON and the small binary payloads of a session's data channel.

import { createHash } from 'node:crypto'
import {
  acknowledgeFrame,
  buildAcknowledge,
  buildAgentSessionState,
  buildEncryptionChallenge,
  buildExitCode,
  buildFlag,
  buildHandshakeComplete,
  buildHandshakeRequest,
  buildHandshakeResponse,
  buildKmsEncryptionResult,
  buildOpenDataChannel,
  buildSize,
  type ClientAction,
  decodeAgentMessage,
  isLaterVersion,
  MUX_AFTER_AGENT_VERSION,
  PayloadError,
  parseAcknowledge,
  parseAgentSessionState,
  parseEncryptionChallenge,
  parseExitCode,
  parseFlag,
  parseHandshakeComplete,
  parseHandshakeRequest,
  parseHandshakeResponse,
  parseKmsEncryptionResult,
  parseOpenDataChannel,
  parseSize,
  type Sha256,
} from '@musterbook/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const sha256: Sha256 = (data) => createHash('sha256').update(data).digest('hex')
const text = (payload: Uint8Array) => new TextDecoder('utf-8', { fatal: true }).decode(payload)
const words = fc.string({ unit: 'grapheme', maxLength: 12 })
const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)))

const action: fc.Arbitrary<ClientAction> = fc.oneof(
  fc.record({ ActionType: fc.constant('SessionType' as const), SessionType: words, Properties: json }),
  fc.record({ ActionType: fc.constant('KMSEncryption' as const), KMSKeyId: words, Challenge: fc.base64String() }),
  fc.record({ ActionType: fc.constant('Other' as const), Name: words }),
)

describe('the first frame of a data channel', () => {
  it('is spelt as the agent spells it, and told from the client by its node', () => {
    const frame = buildOpenDataChannel({ role: 'agent', RequestId: 'r', TokenValue: 't', ClientInstanceId: 'mi-1' })
    expect(frame).toBe(
      '{"MessageSchemaVersion":"1.0","RequestId":"r","TokenValue":"t","ClientInstanceId":"mi-1","ClientId":""}',
    )
    expect(parseOpenDataChannel(frame)).toMatchObject({ role: 'agent', TokenValue: 't', ClientInstanceId: 'mi-1' })
  })

  it('is spelt as the plugin spells it, also as older plugins do', () => {
    const fields = {
      role: 'client' as const,
      RequestId: 'r',
      TokenValue: 't',
      ClientId: 'c',
      ClientVersion: '1.2.650.0',
    }
    const frame = buildOpenDataChannel(fields)
    expect(frame).toBe(
      '{"MessageSchemaVersion":"1.0","RequestId":"r","TokenValue":"t","ClientId":"c","ClientVersion":"1.2.650.0"}',
    )
    expect(parseOpenDataChannel(frame)).toMatchObject(fields)
    expect(parseOpenDataChannel('{"TokenValue":"t","ClientId":"c"}')).toMatchObject({
      role: 'client',
      ClientVersion: '',
    })
  })

  it('is refused without a token', () => {
    expect(() => parseOpenDataChannel('{"TokenValue":""}')).toThrow(PayloadError)
    expect(() => parseOpenDataChannel('{}')).toThrow(PayloadError)
  })
})

describe('payloads of the data channel', () => {
  it('come back as they went', () => {
    fc.assert(
      fc.property(
        fc.record({ AgentVersion: words, RequestedClientActions: fc.array(action, { maxLength: 4 }) }),
        fc.record({
          ClientVersion: words,
          ProcessedClientActions: fc.array(
            fc.record({ ActionType: words, ActionStatus: fc.integer(), ActionResult: json, Error: words }),
            { maxLength: 3 },
          ),
          Errors: fc.array(words, { maxLength: 3 }),
        }),
        fc.record({ HandshakeTimeToComplete: fc.nat(), CustomerMessage: words }),
        fc.record({ cols: fc.integer({ min: 1, max: 65535 }), rows: fc.integer({ min: 1, max: 65535 }) }),
        fc.record({ KMSCipherTextKey: fc.base64String({ minLength: 4 }), ChallengeAcknowledgement: fc.boolean() }),
        fc.integer(),
        (request, response, complete, size, kms, code) => {
          expect(parseHandshakeRequest(buildHandshakeRequest(request))).toEqual(request)
          expect(parseHandshakeResponse(buildHandshakeResponse(response))).toEqual(response)
          expect(parseHandshakeComplete(buildHandshakeComplete(complete))).toEqual(complete)
          expect(parseSize(buildSize(size))).toEqual(size)
          expect(parseKmsEncryptionResult(buildKmsEncryptionResult(kms))).toEqual(kms)
          expect(parseExitCode(buildExitCode(code))).toBe(code)
        },
      ),
    )
    expect(parseEncryptionChallenge(buildEncryptionChallenge({ Challenge: 'AAAA' }))).toEqual({ Challenge: 'AAAA' })
    for (const flag of ['DisconnectToPort', 'TerminateSession', 'ConnectToPortError'] as const) {
      expect(parseFlag(buildFlag(flag))).toBe(flag)
    }
    for (const SessionState of ['Connected', 'Terminating'] as const) {
      const state = { SessionState, SessionId: 's' }
      expect(parseAgentSessionState(buildAgentSessionState(state))).toEqual(state)
    }
  })

  it('are spelt as the official peers spell them', () => {
    expect(text(buildAgentSessionState({ SessionState: 'Connected', SessionId: 's' }))).toBe(
      '{"SchemaVersion":1,"SessionState":"Connected","SessionId":"s"}',
    )
    expect(text(buildSize({ cols: 100, rows: 40 }))).toBe('{"cols":100,"rows":40}')
    expect(text(buildExitCode(5))).toBe('EXIT_CODE: 5')
    expect([...buildFlag('TerminateSession')]).toEqual([0, 0, 0, 2])
    const RequestedClientActions: ClientAction[] = [
      { ActionType: 'SessionType', SessionType: 'Port', Properties: { portNumber: '80' } },
      { ActionType: 'KMSEncryption', KMSKeyId: 'k', Challenge: 'AAAA' },
    ]
    expect(text(buildHandshakeRequest({ AgentVersion: '3.3.0.0', RequestedClientActions }))).toBe(
      '{"AgentVersion":"3.3.0.0","RequestedClientActions":[' +
        '{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"80"}}},' +
        '{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"k","Challenge":"AAAA"}}]}',
    )
    const done = { ActionType: 'SessionType', ActionStatus: 1, ActionResult: null, Error: '' }
    const response = { ClientVersion: '1.2.650.0', ProcessedClientActions: [done], Errors: [] }
    expect(text(buildHandshakeResponse(response))).toBe(
      '{"ClientVersion":"1.2.650.0","ProcessedClientActions":[' +
        '{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}',
    )
    expect(text(buildHandshakeComplete({ HandshakeTimeToComplete: 1.5, CustomerMessage: '' }))).toBe(
      '{"HandshakeTimeToComplete":2,"CustomerMessage":""}',
    )
  })

  it('acknowledge a message by type, id and number', () => {
    const message = { messageType: 'output_stream_data', messageId: 'm', sequenceNumber: 7 }
    const payload = buildAcknowledge(message)
    expect(text(payload)).toBe(
      '{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageId":"m",' +
        '"AcknowledgedMessageSequenceNumber":7,"IsSequentialMessage":true}',
    )
    const whole = { ...message, schemaVersion: 1, createdDate: 1, flags: 0, payloadType: 1, payload: new Uint8Array(0) }
    const own = { messageId: 'dd01e56b-ff48-483e-a508-b5f073f31b16', createdDate: 5, sha256 }
    const frame = decodeAgentMessage(acknowledgeFrame(whole, own), sha256)
    expect(frame).toMatchObject({ messageType: 'acknowledge', flags: 3, sequenceNumber: 0, createdDate: 5 })
    expect(parseAcknowledge(frame.payload).AcknowledgedMessageSequenceNumber).toBe(7)
  })

  it('are a PayloadError, never a crash, when they are anything else', () => {
    const parsers: Array<(payload: Uint8Array) => unknown> = [
      parseAcknowledge,
      parseAgentSessionState,
      parseEncryptionChallenge,
      parseExitCode,
      parseFlag,
      parseHandshakeComplete,
      parseHandshakeRequest,
      parseHandshakeResponse,
      parseOpenDataChannel,
      parseSize,
    ]
    const names = [
      'cols',
      'rows',
      'RequestedClientActions',
      'ProcessedClientActions',
      'Errors',
      'Challenge',
      'SessionState',
    ]
    const nearly = fc.dictionary(fc.constantFrom(...names), fc.oneof(fc.jsonValue(), fc.array(fc.object()))).map(bytes)
    fc.assert(
      fc.property(fc.oneof(nearly, fc.json().map(bytes), fc.uint8Array()), (payload) => {
        for (const parse of parsers) {
          try {
            parse(payload)
          } catch (error) {
            expect(error).toBeInstanceOf(PayloadError)
          }
        }
      }),
      { numRuns: 300 },
    )
    for (const size of [
      '{"cols":0,"rows":1}',
      '{"cols":1,"rows":65536}',
      '{"cols":1.5,"rows":1}',
      '{"cols":"80","rows":1}',
    ]) {
      expect(() => parseSize(size)).toThrow(PayloadError)
    }
    expect(() => parseFlag(Uint8Array.of(0, 0, 0, 4))).toThrow(PayloadError)
    expect(() => parseFlag(Uint8Array.of(0, 0, 2))).toThrow(PayloadError)
    expect(() => parseAcknowledge('{"AcknowledgedMessageSequenceNumber":-1}')).toThrow(PayloadError)
    expect(() => parseKmsEncryptionResult(3)).toThrow(PayloadError)
  })
})

function bytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))
}

describe('a version', () => {
  it.each([
    ['3.3.0.0', true],
    ['3.0.197.0', true],
    ['3.0.196.1', true],
    ['3.0.196.0', false],
    ['2.9.999.0', false],
    ['3.10.0.0', true],
    ['4.0', false],
    ['3.3.0.0-rc1', false],
    ['', false],
  ])('%s speaks smux: %s', (version, later) => {
    expect(isLaterVersion(version, MUX_AFTER_AGENT_VERSION)).toBe(later)
  })
})
