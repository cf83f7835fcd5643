// What agent and client agree on before a session's first byte: its type, and with KMS a data key that the relay never
// sees. Plain shells do without. Called by session.ts.

import { randomBytes, timingSafeEqual } from 'node:crypto'
import {
  ACTION_STATUS,
  buildEncryptionChallenge,
  buildHandshakeComplete,
  buildHandshakeRequest,
  type ClientAction,
  HANDSHAKE_TIMEOUT_MS,
  type HandshakeResponse,
  type JsonValue,
  PAYLOAD_TYPE,
  parseEncryptionChallenge,
  parseHandshakeResponse,
  parseKmsEncryptionResult,
} from '@musterbook/wire'
import type { DataChannel } from './data-channel.ts'
import { type Cipher, sessionCipher } from './encryption.ts'

/** Four numbers: clients speak smux, without keep-alive and with the TerminateSession flag, to agents of this version. */
const SPOKEN_VERSION = '3.3.0.0'
const CHALLENGE_BYTES = 64
const KMS_CHALLENGE_BYTES = 16
const TIMED_OUT =
  'Encountered error while initiating handshake. Handshake timed out. Please ensure that you have the latest version of the session manager plugin.'

export interface HandshakeOptions {
  channel: Pick<DataChannel, 'send' | 'encrypt'>
  sessionType: string
  /** What the client must know: the resolved properties of a port session. */
  properties: JsonValue
  kmsKeyId: string
  /** Opens the data key that the client had KMS make; `challenge` is part of what it was made for, if not undefined. */
  decrypt(ciphertext: Uint8Array, challenge: string | undefined): Promise<Uint8Array>
}

export interface Handshake {
  /** Takes the client's answers; anything else has to wait. */
  received(payloadType: number, payload: Uint8Array): boolean
  /** The client's version. Rejects with words for the person who started the session. */
  done: Promise<string>
}

export function shakeHands(options: HandshakeOptions): Handshake {
  const { channel } = options
  const waiting = new Map<number, (payload: Uint8Array) => void>()

  const answer = (payloadType: number) =>
    new Promise<Uint8Array>((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(TIMED_OUT)), HANDSHAKE_TIMEOUT_MS)
      waiting.set(payloadType, (payload) => {
        clearTimeout(limit)
        waiting.delete(payloadType)
        resolve(payload)
      })
    })

  async function run(): Promise<string> {
    const began = performance.now()
    const challenge = randomBytes(KMS_CHALLENGE_BYTES).toString('base64')
    const actions: ClientAction[] = [
      { ActionType: 'SessionType', SessionType: options.sessionType, Properties: options.properties },
    ]
    if (options.kmsKeyId)
      actions.push({ ActionType: 'KMSEncryption', KMSKeyId: options.kmsKeyId, Challenge: challenge })
    const answered = answer(PAYLOAD_TYPE.HandshakeResponse)
    channel.send(
      PAYLOAD_TYPE.HandshakeRequest,
      buildHandshakeRequest({ AgentVersion: SPOKEN_VERSION, RequestedClientActions: actions }),
    )
    const response = parseHandshakeResponse(await answered)
    check(response)
    if (options.kmsKeyId) {
      const cipher = await agreeOnKey(response, challenge)
      channel.encrypt(cipher)
    }
    channel.send(
      PAYLOAD_TYPE.HandshakeComplete,
      buildHandshakeComplete({
        HandshakeTimeToComplete: (performance.now() - began) * 1e6,
        CustomerMessage: options.kmsKeyId ? 'This session is encrypted using AWS KMS.' : '',
      }),
    )
    return response.ClientVersion
  }

  async function agreeOnKey(response: HandshakeResponse, challenge: string): Promise<Cipher> {
    const action = response.ProcessedClientActions.find(({ ActionType }) => ActionType === 'KMSEncryption')
    if (!action) throw new Error('The client did not say how to encrypt the session.')
    const { KMSCipherTextKey, ChallengeAcknowledgement } = parseKmsEncryptionResult(action.ActionResult)
    const blob = Buffer.from(KMSCipherTextKey, 'base64')
    const key = await options.decrypt(blob, ChallengeAcknowledgement ? challenge : undefined)
    const cipher = sessionCipher(key, 'agent')
    const secret = randomBytes(CHALLENGE_BYTES)
    const answered = answer(PAYLOAD_TYPE.EncChallengeResponse)
    const sealed = Buffer.from(cipher.encrypt(secret)).toString('base64')
    channel.send(PAYLOAD_TYPE.EncChallengeRequest, buildEncryptionChallenge({ Challenge: sealed }))
    const { Challenge } = parseEncryptionChallenge(await answered)
    const returned = cipher.decrypt(Buffer.from(Challenge, 'base64'))
    if (returned.length !== secret.length || !timingSafeEqual(returned, secret))
      throw new Error('The client could not show that it has the session key.')
    return cipher
  }

  return {
    done: run(),
    received(payloadType, payload) {
      const take = waiting.get(payloadType)
      take?.(payload)
      return take !== undefined
    },
  }
}

function check({ ProcessedClientActions, Errors }: HandshakeResponse): void {
  const failed = ProcessedClientActions.filter(({ ActionStatus }) => ActionStatus !== ACTION_STATUS.Success)
  const reasons = [...Errors, ...failed.map((action) => `${action.ActionType}: ${action.Error || 'not supported'}`)]
  if (reasons.length > 0) throw new Error(`The client refused the session: ${reasons.join('; ')}`)
}
