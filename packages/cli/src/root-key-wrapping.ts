/**
 * Who may wrap and unwrap the root key: a KMS that speaks AWS's protocol (AWS itself, or another Musterbook), or the transit
 * engine of a HashiCorp Vault. Both are asked over TLS, except on this machine. Called at a start and when the root key
 * changes.
 */
import { createHmac, hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'
import { millisToAmzDate, sign } from '@musterbook/wire'
import type { KmsSettings, VaultSettings } from './config.ts'
import { ConfigError } from './config-error.ts'
import { readSecret } from './secret-file.ts'

export interface Wrapping {
  /** For people. */
  origin: string
  /** One line of text. */
  wrap(key: Uint8Array): Promise<string>
  unwrap(line: string): Promise<Buffer>
}

const TRY_MS = 10_000
const TRIES = 3
const BETWEEN_TRIES_MS = 1_000
const MAX_ANSWER_BYTES = 64 * 1024
/** What the root key is wrapped for: a blob of something else does not pass for it. */
const CONTEXT = { musterbook: 'root key' }

// ---- KMS ----

export function kmsWrapping({ keyArn, endpoint, credentialsFile, ca }: KmsSettings): Wrapping {
  const region = keyArn.split(':')[3] ?? ''
  const url = new URL(endpoint ?? `https://kms.${region}.amazonaws.com`)
  const origin = `the KMS at ${url.host}`
  const ask = async (operation: string, input: object): Promise<Record<string, string>> => {
    const credentials = await readCredentials(credentialsFile)
    const body = JSON.stringify({ KeyId: keyArn, EncryptionContext: CONTEXT, ...input })
    return send(origin, url, body, ca, () => {
      const headers: [string, string][] = [
        ['host', url.host],
        ['content-type', 'application/x-amz-json-1.1'],
        ['x-amz-target', `TrentService.${operation}`],
      ]
      const added = sign({
        method: 'POST',
        path: '/',
        query: '',
        headers,
        payloadHash: sha256(body),
        region,
        service: 'kms',
        amzDate: millisToAmzDate(Date.now()),
        sha256,
        hmac: (key, data) => createHmac('sha256', key).update(data).digest(),
        credentials,
      })
      return Object.fromEntries([...headers, ...added])
    })
  }
  return {
    origin,
    async wrap(key) {
      const { CiphertextBlob } = await ask('Encrypt', { Plaintext: Buffer.from(key).toString('base64') })
      return `kms:${CiphertextBlob}`
    },
    async unwrap(line) {
      if (!line.startsWith('kms:')) throw new ConfigError(`the wrapped root key was not wrapped by ${origin}`)
      const { Plaintext } = await ask('Decrypt', { CiphertextBlob: line.slice('kms:'.length) })
      return Buffer.from(Plaintext ?? '', 'base64')
    },
  }
}

const sha256 = (data: string | Uint8Array) => hash('sha256', data, 'hex')

/** An AWS credentials file, or one such as `serve` writes. */
async function readCredentials(path: string) {
  const text = await readSecret(path)
  const value = (name: string) =>
    new RegExp(`^\\s*(?:export\\s+)?${name}\\s*=\\s*'?([^'\\s]+)'?\\s*$`, 'im').exec(text ?? '')?.[1]
  const accessKeyId = value('aws_access_key_id')
  const secretAccessKey = value('aws_secret_access_key')
  if (!accessKeyId || !secretAccessKey)
    throw new ConfigError(
      `${path} ${text === undefined ? 'does not exist' : 'holds no aws_access_key_id and aws_secret_access_key'}: it must hold the credentials for the KMS that wraps the root key`,
    )
  return { accessKeyId, secretAccessKey, sessionToken: value('aws_session_token') }
}

// ---- Vault ----

export function vaultWrapping({ keyUrl, tokenFile, ca }: VaultSettings): Wrapping {
  const url = new URL(keyUrl)
  const origin = `Vault at ${url.host}`
  const context = Buffer.from(JSON.stringify(CONTEXT)).toString('base64')
  const ask = async (verb: 'encrypt' | 'decrypt', input: object): Promise<Record<string, string>> => {
    const token = (await readSecret(tokenFile))?.trim()
    if (!token) throw new ConfigError(`${tokenFile} must hold the token for ${origin}`)
    const to = new URL(url)
    to.pathname = url.pathname.replace(/\/keys\/([^/]+)$/, `/${verb}/$1`)
    // Authenticated with the ciphertext, and checked when it is decrypted.
    const body = JSON.stringify({ associated_data: context, ...input })
    const answer: { data?: Record<string, string> } = await send(origin, to, body, ca, () => ({
      'content-type': 'application/json',
      'x-vault-token': token,
    }))
    return answer.data ?? {}
  }
  return {
    origin,
    async wrap(key) {
      const { ciphertext } = await ask('encrypt', { plaintext: Buffer.from(key).toString('base64') })
      if (!ciphertext?.startsWith('vault:')) throw new ConfigError(`${origin} answered no ciphertext`)
      return ciphertext
    },
    async unwrap(line) {
      if (!line.startsWith('vault:')) throw new ConfigError(`the wrapped root key was not wrapped by ${origin}`)
      const { plaintext } = await ask('decrypt', { ciphertext: line })
      return Buffer.from(plaintext ?? '', 'base64')
    },
  }
}

// ---- asking ----

/** What answers 200, as JSON. Tried again when nobody answers, or nobody is ready to. ConfigError in one line. */
async function send<Answer>(
  origin: string,
  url: URL,
  body: string,
  ca: string | undefined,
  headers: () => Record<string, string>,
): Promise<Answer> {
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (url.protocol !== 'https:' && !isHere)
    throw new ConfigError(`${url.origin} would send the root key over the network in the clear: use https`)
  const authority = ca === undefined ? undefined : await readFile(ca, 'utf8').catch(() => missing(ca))
  for (let attempt = 1; ; attempt++) {
    const answer = await post(url, body, headers(), authority).catch((error: Error) => error)
    if (!(answer instanceof Error) && answer.status === 200) return parsed(origin, answer.text)
    const isTransient = answer instanceof Error || answer.status >= 500 || answer.status === 429
    if (!isTransient || attempt === TRIES) throw new ConfigError(refusalOf(origin, answer))
    await pause(BETWEEN_TRIES_MS)
  }
}

const missing = (path: string): never => {
  throw new ConfigError(`${path} cannot be read: it must hold the certificate of an authority`)
}

function parsed<Answer>(origin: string, text: string): Answer {
  try {
    return JSON.parse(text) as Answer
  } catch {
    throw new ConfigError(`${origin} answered something other than JSON`)
  }
}

function refusalOf(origin: string, answer: Error | { status: number; text: string }): string {
  if (answer instanceof Error)
    return `${origin}, which wraps the root key, does not answer (${(answer as NodeJS.ErrnoException).code ?? answer.message})`
  const told = /"(?:__type|errors)"\s*:\s*(?:\[\s*)?"([^"]{0,200})"/.exec(answer.text)?.[1] ?? ''
  const said = /"[mM]essage"\s*:\s*"([^"]{0,200})"/.exec(answer.text)?.[1] ?? ''
  const words = [told, said].filter(Boolean).join(': ')
  return `${origin} refused to wrap or unwrap the root key: ${words || `it answered ${answer.status}`}`
}

function post(
  url: URL,
  body: string,
  headers: Record<string, string>,
  ca: string | undefined,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? httpsRequest : httpRequest
    const sent = request(url, {
      method: 'POST',
      headers: { ...headers, 'content-length': Buffer.byteLength(body) },
      ...(ca !== undefined && { ca }),
      signal: AbortSignal.timeout(TRY_MS),
    })
    sent.once('error', reject)
    sent.once('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > MAX_ANSWER_BYTES) response.destroy(new Error('the answer is too long'))
      })
      response.once('error', reject)
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    sent.end(body)
  })
}
