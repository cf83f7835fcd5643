// The two calls that a node signs with its own RSA key: RequestManagedInstanceRoleToken and UpdateManagedInstancePublicKey.
// They look like SigV4, but the signature is RSASSA-PSS (SHA-256, MGF1-SHA-256, salt 32) in base64 over the string to
// sign, and the access key id is the node's id.

import { constants, type KeyObject, sign as rsaSign } from 'node:crypto'
import { authorizationValue, prepareSigning } from '@musterbook/wire'
import { type Answer, type CallOptions, callWith, type Headers } from './api.ts'
import { sha256, type Transport } from './transport.ts'

export interface RoleToken {
  accessKeyId: string
  secretAccessKey: string
  sessionToken: string
  /** Milliseconds since 1970. */
  expires: number
  /** The control plane asks for a new key pair. */
  updateKeyPair: boolean
}

/** Credentials of the node's role; throws ApiError, and Error for an answer that lacks a member. */
export async function requestRoleToken(
  transport: Transport,
  node: { instanceId: string; fingerprint: string; key: KeyObject },
  options: CallOptions = {},
): Promise<RoleToken> {
  const input = { Fingerprint: node.fingerprint }
  const answer = await callWithKey(transport, 'RequestManagedInstanceRoleToken', input, node, options)
  const { AccessKeyId, SecretAccessKey, SessionToken, TokenExpirationDate, UpdateKeyPair } = answer
  if (
    typeof AccessKeyId !== 'string' ||
    typeof SecretAccessKey !== 'string' ||
    typeof SessionToken !== 'string' ||
    typeof TokenExpirationDate !== 'number'
  ) {
    throw new Error('the role token that came back is not complete')
  }
  return {
    accessKeyId: AccessKeyId,
    secretAccessKey: SecretAccessKey,
    sessionToken: SessionToken,
    expires: TokenExpirationDate * 1000,
    updateKeyPair: UpdateKeyPair === true,
  }
}

/** Gives the control plane a new public key, signed with the one that it knows. */
export async function updatePublicKey(
  transport: Transport,
  node: { instanceId: string; key: KeyObject },
  newPublicKey: string,
  options: CallOptions = {},
): Promise<void> {
  const input = { NewPublicKey: newPublicKey, NewPublicKeyType: 'Rsa' }
  await callWithKey(transport, 'UpdateManagedInstancePublicKey', input, node, options)
}

function callWithKey(
  transport: Transport,
  operation: string,
  input: object,
  node: { instanceId: string; key: KeyObject },
  options: CallOptions,
): Promise<Answer> {
  const signed = (base: Headers, body: string): Headers => {
    const headers: Headers = [['host', transport.host], ...base]
    const payloadHash = sha256(body)
    const prepared = prepareSigning({
      method: 'POST',
      path: '/',
      query: '',
      headers,
      payloadHash,
      region: transport.region,
      service: 'ssm',
      amzDate: transport.amzDate(),
      sha256,
    })
    const signature = rsaSign('sha256', Buffer.from(prepared.stringToSign), {
      key: node.key,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    })
    const authorization = authorizationValue(node.instanceId, prepared, signature.toString('base64'))
    return [...headers, ...prepared.headers, ['x-amz-content-sha256', payloadHash], ['Authorization', authorization]]
  }
  return callWith(transport, operation, input, signed, options)
}
