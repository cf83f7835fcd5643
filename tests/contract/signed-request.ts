/**
 * Requests made by hand, so that tests can get any part of them wrong: signed in the header, presigned, or signed with a
 * node's own key. `send` puts exactly these bytes on the wire, over HTTP or TLS.
 */
import { constants, createHmac, generateKeyPairSync, hash, sign as rsaSign } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { CreateActivationCommand } from '@aws-sdk/client-ssm'
import type { TestAccount, Testbed } from '@musterbook/testbed'
import {
  authorizationValue,
  canonicalRequest,
  credentialScope,
  millisToAmzDate,
  prepareSigning,
  signatureOf,
  signingKey,
  stringToSign,
} from '@musterbook/wire'

export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
}

export interface WireRequest {
  method: string
  path: string
  query: string
  headers: [name: string, value: string][]
  body: Buffer
}

export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  /** `__type` of an error. */
  error: string | undefined
}

export const sha256 = (data: string | Uint8Array): string => hash('sha256', data, 'hex')
const hmac = (key: Uint8Array | string, data: string) => createHmac('sha256', key).update(data).digest()

export interface Signing {
  credentials: Credentials
  host: string
  /** `DescribeParameters`, or a whole X-Amz-Target; undefined: none is sent. */
  operation?: string | undefined
  body?: string | Uint8Array
  method?: string
  path?: string
  query?: string
  region?: string
  service?: string
  at?: Date
  /** Of the scope, where it is to differ from the request's date. */
  scopeDate?: string
  /** Further headers, signed. */
  headers?: [string, string][]
  /** Headers that are sent and left out of the signature. */
  unsigned?: string[]
  /** Seconds: presigns, instead of signing in the header. */
  presign?: number
}

/** A signed request; the defaults make a good one. */
export function signed(signing: Signing): WireRequest {
  const { credentials, host, method = 'POST', path = '/', region = 'us-east-1', service = 'ssm' } = signing
  const { at = new Date(), unsigned = [], presign } = signing
  const body = Buffer.from(signing.body ?? '{}')
  const amzDate = millisToAmzDate(at.getTime())
  const date = signing.scopeDate ?? amzDate.slice(0, 8)
  const scope = credentialScope(date, region, service)
  const headers: [string, string][] = [
    ['host', host],
    ['content-type', 'application/x-amz-json-1.1'],
  ]
  if (signing.operation !== undefined)
    headers.push([
      'x-amz-target',
      signing.operation.includes('.') ? signing.operation : `AmazonSSM.${signing.operation}`,
    ])
  headers.push(...(signing.headers ?? []))
  let query = signing.query ?? ''
  if (presign === undefined) {
    headers.push(['x-amz-date', amzDate])
    if (credentials.sessionToken) headers.push(['x-amz-security-token', credentials.sessionToken])
  }
  const signedHeaders = headers
    .map(([name]) => name.toLowerCase())
    .filter((name) => !unsigned.includes(name))
    .sort()
  if (presign !== undefined) {
    const parts: [string, string][] = [
      ['X-Amz-Algorithm', 'AWS4-HMAC-SHA256'],
      ['X-Amz-Credential', `${credentials.accessKeyId}/${scope}`],
      ['X-Amz-Date', amzDate],
      ['X-Amz-Expires', String(presign)],
      ['X-Amz-SignedHeaders', signedHeaders.join(';')],
    ]
    if (credentials.sessionToken) parts.push(['X-Amz-Security-Token', credentials.sessionToken])
    query = [query, ...parts.map(([name, value]) => `${name}=${encodeURIComponent(value)}`)].filter(Boolean).join('&')
  }
  const payloadHash = sha256(body)
  const canonical = canonicalRequest({ method, path, query, headers, signedHeaders, payloadHash })
  const key = signingKey(credentials.secretAccessKey, date, region, service, hmac)
  const signature = signatureOf(key, stringToSign(amzDate, scope, canonical, sha256), hmac)
  if (presign !== undefined) query += `&X-Amz-Signature=${signature}`
  else headers.push(['authorization', authorizationValue(credentials.accessKeyId, { scope, signedHeaders }, signature)])
  return { method, path, query, headers, body }
}

/** The request with another value for one header, or without it. */
export function withHeader(request: WireRequest, name: string, value: string | undefined): WireRequest {
  const others = request.headers.filter(([each]) => each !== name)
  return { ...request, headers: value === undefined ? others : [...others, [name, value]] }
}

export const headerOf = (request: WireRequest, name: string): string =>
  request.headers.find(([each]) => each === name)?.[1] ?? ''

/** Sends it as it is. `ca`: over TLS, trusting this certificate. */
export function send(endpoint: string, request: WireRequest, ca?: string | Buffer): Promise<Answer> {
  const { hostname, port } = new URL(endpoint)
  const { method, path, query, body } = request
  const headers = [...request.headers, ['content-length', String(body.length)] as const].flat()
  const options = { hostname, port, method, path: query ? `${path}?${query}` : path, headers, setHost: false }
  return new Promise((resolve, reject) => {
    const sent = ca ? httpsRequest({ ...options, ca }) : httpRequest(options)
    sent.once('error', reject)
    sent.once('response', async (response) => {
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk)
      const text = Buffer.concat(chunks).toString()
      const [, error] = /^\{"__type":"(\w+)"/.exec(text) ?? []
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text, error })
    })
    sent.end(body)
  })
}

export interface EnrolledNode {
  nodeId: string
  credentials: Required<Credentials>
  /** New role credentials, asked for with the node's own key. */
  roleToken(): Promise<Answer>
}

/** Registers a node as an agent does, with a key of its own, and gets its role credentials. */
export async function enrol(testbed: Testbed, account: TestAccount, region = 'us-east-1'): Promise<EnrolledNode> {
  const host = new URL(testbed.endpoint).host
  const ssm = account.client({ region })
  const activation = await ssm.send(new CreateActivationCommand({ IamRole: 'node' }))
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const body = JSON.stringify({
    ActivationId: activation.ActivationId,
    ActivationCode: activation.ActivationCode,
    Fingerprint: 'a-machine-of-this-test',
    PublicKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    PublicKeyType: 'Rsa',
  })
  const unsigned: [string, string][] = [
    ['host', host],
    ['content-type', 'application/x-amz-json-1.1'],
    ['x-amz-target', 'AmazonSSM.RegisterManagedInstance'],
  ]
  const plain = { method: 'POST', path: '/', query: '' }
  const registered = await send(testbed.endpoint, { ...plain, headers: unsigned, body: Buffer.from(body) })
  const nodeId: string = JSON.parse(registered.text).InstanceId
  const roleToken = () => {
    const asking = Buffer.from('{"Fingerprint":"a-machine-of-this-test"}')
    const headers: [string, string][] = [
      ['host', host],
      ['content-type', 'application/x-amz-json-1.1'],
      ['x-amz-target', 'AmazonSSM.RequestManagedInstanceRoleToken'],
    ]
    const amzDate = millisToAmzDate(testbed.clock.now().getTime())
    const payloadHash = sha256(asking)
    const prepared = prepareSigning({ ...plain, headers, payloadHash, region, service: 'ssm', amzDate, sha256 })
    const key = { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
    const signature = rsaSign('sha256', Buffer.from(prepared.stringToSign), key).toString('base64')
    const authorization = authorizationValue(nodeId, prepared, signature)
    const all: [string, string][] = [...headers, ...prepared.headers, ['authorization', authorization]]
    return send(testbed.endpoint, { ...plain, headers: all, body: asking })
  }
  const { AccessKeyId, SecretAccessKey, SessionToken } = JSON.parse((await roleToken()).text)
  const credentials = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: SessionToken }
  return { nodeId, credentials, roleToken }
}
