/**
 * Enrolment: one line to paste on a machine makes it a node. POST /v1/enrolments, signed and allowed to
 * ssm:CreateActivation, makes an activation and a token; GET /enroll/<token> serves the script that uses it,
 * /enroll/<token>/agent.cjs our agent, and /enroll/<token>/nodes/<id> tells whether a node is known. The token is the
 * proof: it lives as long as its activation and is good for as many machines.
 */
import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Input } from '../../contract/types.ts'
import { free, type Host, type Route, type RouteAnswer } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import type { SealedColumn } from '../../platform/seal.ts'
import { refusalOf } from '../identity/index.ts'
import { activationAccess, createActivation } from './activations.ts'
import { enrolmentScript } from './enrolment-script.ts'
import { NO_END } from './rules.ts'
import * as store from './store.ts'

/** 160 bits: 27 characters of base 64. */
const TOKEN_BYTES = 20
const PURPOSE = 'enrolment'
const MAX_CERTIFICATES = 64 * 1024

export const sealedCode: SealedColumn = {
  table: 'enrolments',
  column: 'code_sealed',
  key: { token_digest: 'bytea' },
  also: ['activation_id'],
  purpose: PURPOSE,
  boundTo: ({ activation_id: activationId = '' }) => activationId,
}

const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest()

interface Wish {
  kind: 'own' | 'official'
  certificates: string
  activation: Input<'CreateActivation'>
}

export const enrolmentRoutes = (host: Host): Route[] => [
  {
    method: 'POST',
    path: /^\/v1\/enrolments$/,
    signedFor: 'ssm',
    authorize: () => ({ action: 'ssm:CreateActivation', resources: ['*'] }),
    async handle(context, { body }) {
      const wish = readWish(body, context.now())
      // What the activation will be is known from the body alone.
      for (const access of await activationAccess(wish.activation, context)) {
        const refused = await refusalOf(context, { action: 'ssm:CreateActivation', ...access })
        if (refused !== undefined) throw new AwsError('AccessDeniedException', refused)
      }
      const token = randomBytes(TOKEN_BYTES).toString('base64url')
      await context.transaction(async (transaction) => {
        const { ActivationId = '', ActivationCode = '' } = await createActivation(transaction, wish.activation)
        await store.insertEnrolment(transaction.sql, {
          tokenDigest: digestOf(token),
          account: context.account,
          region: context.region,
          activationId: ActivationId,
          codeSealed: context.sealer.seal(PURPOSE, Buffer.from(ActivationCode), ActivationId),
          kind: wish.kind,
          certificates: wish.certificates,
          expiresAt: wish.activation.ExpirationDate ?? context.now(),
        })
      })
      return { status: 201, contentType: 'application/json', body: JSON.stringify({ Token: token }) }
    },
  },
  {
    method: 'GET',
    path: /^\/enroll\/([A-Za-z0-9_-]{20,64})$/,
    signedFor: 'open',
    authorize: () => free('the token in the path is the proof'),
    async handle(context, { params: [token = ''], raw }) {
      const found = await find(context, token)
      if (!found) return GONE
      const { activationId, codeSealed, kind, account, region, certificates } = found
      const code = context.sealer.unseal(PURPOSE, codeSealed, activationId)?.toString()
      const server = raw.headers.host
      if (!code || !server || !/^[A-Za-z0-9.:[\]-]{1,260}$/.test(server)) return GONE
      // As the machine reached us, so it is to reach us later.
      const endpoint = `https://${server}`
      const body = enrolmentScript({ kind, endpoint, account, region, certificates, token, activationId, code })
      return { status: 200, contentType: 'text/x-shellscript', body }
    },
  },
  {
    method: 'GET',
    path: /^\/enroll\/([A-Za-z0-9_-]{20,64})\/agent\.cjs$/,
    signedFor: 'open',
    authorize: () => free('the token in the path is the proof'),
    async handle(context, { params: [token = ''] }) {
      const { agentFile } = host.choices
      if (!agentFile || !(await find(context, token))) return GONE
      return { status: 200, contentType: 'text/javascript', body: await readFile(agentFile) }
    },
  },
  {
    // Whether a machine that was enrolled before is known still: the official agent cannot be asked.
    method: 'GET',
    path: /^\/enroll\/([A-Za-z0-9_-]{20,64})\/nodes\/([a-z0-9-]{1,64})$/,
    signedFor: 'open',
    authorize: () => free('the token in the path is the proof'),
    async handle(context, { params: [token = '', nodeId = ''] }) {
      const found = await find(context, token)
      if (!found || !(await store.readNode(context.sql, found, nodeId))) return GONE
      return { status: 200, contentType: 'text/plain', body: `${nodeId}\n` }
    },
  },
]

const GONE: RouteAnswer = {
  status: 404,
  contentType: 'text/plain',
  body: 'This enrolment is unknown, over, or used up. Ask for a new line: musterbook enroll\n',
}

/** A machine that is a node already may run its script again: only the end of its life closes an enrolment. */
const find = (context: Context, token: string) => store.readEnrolment(context.sql, digestOf(token), context.now())

const HOUR_MS = 3_600_000
/** A hundred years. */
const MAX_HOURS = 876_000

function readWish(body: Buffer, now: Date): Wish {
  let given: Record<string, unknown>
  try {
    given = JSON.parse(body.toString()) as Record<string, unknown>
  } catch {
    throw new AwsError('SerializationException', 'The body of the request is not JSON.')
  }
  const { Kind, Certificates, Tags = {}, Hours = 24, Count = 1 } = given
  if (Kind !== 'own' && Kind !== 'official') throw validation("Kind must be 'own' or 'official'.")
  if (typeof Certificates !== 'string' || !PEM.test(Certificates) || Certificates.length > MAX_CERTIFICATES)
    throw validation('Certificates must be PEM.')
  if (Hours !== null && (typeof Hours !== 'number' || !(Hours > 0 && Hours <= MAX_HOURS)))
    throw validation(`Hours must be a number above 0 and up to ${MAX_HOURS}, or null for no end.`)
  if (!Number.isInteger(Count) || (Count as number) < 1 || (Count as number) > 1_000)
    throw validation('Count must be a whole number from 1 to 1000.')
  const tags = Object.entries(Tags as Record<string, unknown>).map(([Key, Value]) => ({ Key, Value: String(Value) }))
  if (tags.length > 50 || tags.some(({ Key, Value }) => !TAG.test(Key) || Key === '' || !TAG.test(Value)))
    throw validation('Tags must be at most 50 names and values of letters, digits, spaces and _ . : / = + @ -')
  const activation = {
    IamRole: 'musterbook-node',
    Description: 'made by musterbook enroll',
    RegistrationLimit: Count as number,
    ExpirationDate: Hours === null ? NO_END : new Date(now.getTime() + Hours * HOUR_MS),
    Tags: tags,
  }
  return { kind: Kind, certificates: Certificates, activation }
}

/** Nothing but certificates: the text stands in a script. */
const PEM = /^(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\s*)+$/
const TAG = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u
