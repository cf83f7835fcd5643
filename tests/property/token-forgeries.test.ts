/**
 * Forged, flipped, cut, expired and replayed tokens: session tokens in requests that are otherwise signed correctly, tokens
 * of OIDC issuers, authorization messages. None is accepted. MUSTERBOOK_FORGERIES raises their number (100,000 and more).
 */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { IAM } from '@aws-sdk/client-iam'
import { type Credentials as Given, STS } from '@aws-sdk/client-sts'
import { startTestbed, type TestAccount, type Testbed } from '@musterbook/testbed'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { peek, verify } from '../../packages/server/src/capabilities/identity/oidc/token.ts'
import { sealReason, unsealReason } from '../../packages/server/src/capabilities/identity/reasons.ts'
import {
  type SessionStatement,
  sealSessionToken,
} from '../../packages/server/src/capabilities/identity/session-token.ts'
import type { Context } from '../../packages/server/src/platform/context.ts'
import { AwsError } from '../../packages/server/src/platform/errors.ts'
import { createSealer } from '../../packages/server/src/platform/seal.ts'
import { type Credentials, enrol, send, signed } from '../contract/signed-request.ts'

const FORGERIES = Number(process.env.MUSTERBOOK_FORGERIES ?? 2_000)
const AT_ONCE = 64

let testbed: Testbed
let account: TestAccount
/** Each may describe parameters, or is a node and may read a document. */
let sessions: Required<Credentials>[]
/** Were good until their role or their user's key was gone: to be replayed. */
let ended: Required<Credentials>[]

const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const keysOf = (given: Given | undefined): Required<Credentials> => ({
  accessKeyId: given?.AccessKeyId ?? '',
  secretAccessKey: given?.SecretAccessKey ?? '',
  sessionToken: given?.SessionToken ?? '',
})

beforeAll(async () => {
  testbed = await startTestbed()
  account = await testbed.account()
  const iam = new IAM(account.config)
  const PolicyDocument = policy({ Effect: 'Allow', Action: '*', Resource: '*' })
  const AssumeRolePolicyDocument = policy({
    ...{ Effect: 'Allow', Principal: { AWS: account.account }, Action: 'sts:AssumeRole' },
  })
  const sessionsOf = async (name: string) => {
    await iam.createUser({ UserName: name })
    await iam.putUserPolicy({ UserName: name, PolicyName: 'own', PolicyDocument })
    const { AccessKey } = await iam.createAccessKey({ UserName: name })
    const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
    const sts = new STS({ ...account.config, credentials })
    const { Role } = await iam.createRole({ RoleName: name, AssumeRolePolicyDocument })
    await iam.putRolePolicy({ RoleName: name, PolicyName: 'own', PolicyDocument })
    const given = [
      await sts.getSessionToken({}),
      await sts.getFederationToken({ Name: 'guest', Policy: PolicyDocument }),
      await sts.assumeRole({ RoleArn: Role!.Arn!, RoleSessionName: 'session' }),
    ]
    return { key: credentials.accessKeyId, made: given.map(({ Credentials: each }) => keysOf(each)) }
  }
  sessions = [...(await sessionsOf('stays')).made, (await enrol(testbed, account)).credentials]
  const goes = await sessionsOf('goes')
  for (const session of goes.made) expect((await send(testbed.endpoint, request(session))).status).toBe(200)
  await iam.deleteAccessKey({ UserName: 'goes', AccessKeyId: goes.key })
  await iam.deleteRolePolicy({ RoleName: 'goes', PolicyName: 'own' })
  await iam.deleteRole({ RoleName: 'goes' })
  ended = goes.made
})
afterAll(() => testbed[Symbol.asyncDispose]())

/** Correctly signed with the secret of the credentials, whatever their token is. */
const request = (credentials: Credentials) =>
  signed({
    ...{ credentials, host: new URL(testbed.endpoint).host, at: testbed.clock.now() },
    ...{ operation: 'GetDocument', body: '{"Name":"AWS-RunShellScript"}' },
  })

interface Chance {
  kind: string
  which: number
  at: number
  bit: number
  text: string
}
const chancesOf = (...kinds: string[]): fc.Arbitrary<Chance> =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    which: fc.nat(1_000),
    at: fc.nat(100_000),
    bit: fc.nat(7),
    text: fc.stringMatching(/^[\w+/=.-]{1,400}$/),
  })

/** Damage to any text that carries bytes in base 64; what comes out is never what went in. */
function damaged(text: string, { kind, at, bit, text: other }: Chance, alphabet: 'base64' | 'base64url'): string {
  const index = at % text.length
  const letters = `ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789${alphabet === 'base64' ? '+/' : '-_'}`
  switch (kind) {
    case 'flip a bit': {
      const bytes = Buffer.from(text, alphabet)
      bytes[at % bytes.length]! ^= 1 << bit
      return bytes.toString(alphabet)
    }
    case 'change a letter': {
      const letter = letters[(letters.indexOf(text[index]!) + 1 + (bit % 60)) % letters.length]!
      return text.slice(0, index) + (letter === text[index] ? '!' : letter) + text.slice(index + 1)
    }
    case 'change the last letter': {
      const last = text.replace(/=+$/, '').length - 1
      const letter = letters[letters.indexOf(text[last]!) ^ (1 << (bit % 3))]!
      return text.slice(0, last) + letter + text.slice(last + 1)
    }
    case 'cut':
      return text.slice(0, index)
    case 'lengthen':
      return text + other
    case 'respell':
      return [`${text}=`, `${text}====`, `=${text}`, text.replace(/^(.{5})/, '$1='), `${text}.`][at % 5]!
    default:
      return other
  }
}
const DAMAGE = ['flip a bit', 'change a letter', 'change the last letter', 'cut', 'lengthen', 'respell', 'make up']

/** Sealed statements that this installation never handed out, or that have had their time. */
function statement(keys: Credentials, expiresAt: number): SessionStatement {
  const { accessKeyId, secretAccessKey } = keys
  const issuedAt = testbed.clock.now().getTime() - 3_600_000
  const narrowed = { sessionPolicies: [], sessionTags: {}, mfa: true }
  const user = {
    kind: 'user',
    account: account.account,
    userId: account.account,
    parentKeyId: account.config.credentials.accessKeyId,
  } as const
  return { ...user, ...narrowed, accessKeyId, secretAccessKey, issuedAt, expiresAt }
}

function forgedCredentials(chance: Chance): Credentials {
  const { kind, which, at } = chance
  const session = sessions[which % sessions.length]!
  const now = testbed.clock.now().getTime()
  const { sealer } = testbed.server.ground
  switch (kind) {
    case 'replay what has ended':
      return ended[which % ended.length]!
    case "take another's token":
      return {
        ...session,
        sessionToken: sessions[(which + 1 + (at % (sessions.length - 1))) % sessions.length]!.sessionToken,
      }
    case 'leave the token out':
      return { accessKeyId: session.accessKeyId, secretAccessKey: session.secretAccessKey }
    case 'let it expire':
      return { ...session, sessionToken: sealSessionToken(sealer, statement(session, now - (at % 86_400_000))) }
    case 'seal with another root key':
      return {
        ...session,
        sessionToken: sealSessionToken(
          createSealer(Buffer.alloc(32, 1 + (which % 6))),
          statement(session, now + 3_600_000),
        ),
      }
    case 'seal for another purpose': {
      const text = JSON.stringify(statement(session, now + 3_600_000))
      return {
        ...session,
        sessionToken: sealer.seal('authorization message', Buffer.from(text), session.accessKeyId).toString('base64'),
      }
    }
    default: {
      const sessionToken = damaged(session.sessionToken, chance, 'base64')
      return sessionToken === '' ? { ...session, sessionToken: 'x' } : { ...session, sessionToken }
    }
  }
}

it(`of ${FORGERIES} forged session tokens none is accepted, though their requests are signed correctly`, async () => {
  for (const session of sessions) expect((await send(testbed.endpoint, request(session))).status).toBe(200)
  const kinds = chancesOf(
    ...DAMAGE,
    ...['replay what has ended', "take another's token", 'leave the token out', 'let it expire'],
    ...['seal with another root key', 'seal for another purpose'],
  )
  const all = fc.sample(kinds, FORGERIES)
  const seen = new Map<string, number>()
  for (let from = 0; from < all.length; from += AT_ONCE) {
    const some = all.slice(from, from + AT_ONCE)
    const answers = await Promise.all(some.map((chance) => send(testbed.endpoint, request(forgedCredentials(chance)))))
    for (const [index, { status, error, text }] of answers.entries()) {
      const wanted = some[index]!.kind === 'let it expire' ? 'ExpiredTokenException' : 'UnrecognizedClientException'
      if (status !== 400 || error !== wanted) expect({ chance: some[index], status, text }).toBe('a refusal')
      seen.set(some[index]!.kind, (seen.get(some[index]!.kind) ?? 0) + 1)
    }
  }
  expect(seen.size).toBe(13)
  for (const session of sessions) expect((await send(testbed.endpoint, request(session))).status).toBe(200)
}, 600_000)

it(`of ${FORGERIES} forged tokens of an OIDC issuer none is accepted`, async () => {
  const now = new Date(testbed.clock.now().getTime())
  const issuer = 'https://issuer.example.com'
  const pairs = {
    RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  }
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const seconds = Math.floor(now.getTime() / 1000)
  const claims = { iss: issuer, sub: 'deploy', aud: 'client', iat: seconds, exp: seconds + 300 }
  const tokenOf = (alg: string, kid: string, payload: object, key: KeyObject) => {
    const text = `${encode({ alg, kid })}.${encode(payload)}`
    return `${text}.${sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
  }
  const keys = {
    keys: Object.entries(pairs).map(([alg, { publicKey }]) => ({
      ...publicKey.export({ format: 'jwk' }),
      kid: alg,
      alg,
    })),
  }
  const good = Object.entries(pairs).map(([alg, { privateKey }]) => tokenOf(alg, alg, claims, privateKey))
  const strangers = {
    RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  }
  const take = (token: string) => {
    peek(token)
    return verify(token, keys, { issuer, clientIds: ['client'], now })
  }
  const forged = (chance: Chance): string => {
    const { kind, which, at } = chance
    const alg = which % 2 === 0 ? 'RS256' : 'ES256'
    const parts = good[which % 2]!.split('.') as [string, string, string]
    const other = good[(which + 1) % 2]!.split('.') as [string, string, string]
    switch (kind) {
      case 'swap parts':
        return [
          `${other[0]}.${parts[1]}.${parts[2]}`,
          `${parts[0]}.${parts[1]}.${other[2]}`,
          `${parts[1]}.${parts[0]}.${parts[2]}`,
          `${parts[0]}.${parts[1]}`,
          `${parts[0]}.${parts[1]}.`,
        ][at % 5]!
      case 'claim something else':
        return `${parts[0]}.${encode({ ...claims, sub: chance.text })}.${parts[2]}`
      case 'say another algorithm':
        return `${encode({ alg: ['none', 'HS256', 'PS256', 'EdDSA', 'NONE', ''][at % 6]!, kid: alg })}.${parts[1]}.${at % 2 ? parts[2] : ''}`
      case 'expire':
        return tokenOf(alg, alg, { ...claims, exp: seconds - 61 - (at % 86_400) }, pairs[alg].privateKey)
      case 'sign as a stranger':
        return tokenOf(alg, alg, claims, strangers[alg].privateKey)
      case 'be for others':
        return tokenOf(alg, alg, { ...claims, aud: chance.text }, pairs[alg].privateKey)
      case 'come from elsewhere':
        return tokenOf(alg, alg, { ...claims, iss: `${issuer}/${chance.text}` }, pairs[alg].privateKey)
      default: {
        const part = at % 3
        return parts.map((text, index) => (index === part ? damaged(text, chance, 'base64url') : text)).join('.')
      }
    }
  }
  for (const token of good) expect((await take(token)).subject).toBe('deploy')
  const kinds = chancesOf(
    ...DAMAGE,
    'swap parts',
    'claim something else',
    'say another algorithm',
    'expire',
    'sign as a stranger',
    'be for others',
    'come from elsewhere',
  )
  for (const chance of fc.sample(kinds, FORGERIES)) {
    const token = forged(chance)
    if (good.includes(token)) continue
    const outcome = await (async () => take(token))().then(
      () => 'accepted',
      (error: unknown) => (error instanceof AwsError ? error.name : `a defect: ${error}`),
    )
    if (outcome !== (chance.kind === 'expire' ? 'ExpiredTokenException' : 'InvalidIdentityTokenException'))
      expect({ chance, token, outcome }).toBe('a refusal')
  }
}, 600_000)

it(`of ${FORGERIES} forged authorization messages none is opened`, () => {
  const { sealer } = testbed.server.ground
  const context = { sealer, account: account.account } as Context
  const reason = { decision: 'implicitDeny', resource: '*', decidedBy: [], statements: [] } as const
  const message = sealReason(context, { principalArn: 'arn', action: 'ssm:GetParameter', reason })
  expect(unsealReason(context, message)).toMatchObject({ action: 'ssm:GetParameter' })
  const away = sealReason({ sealer, account: '123456789012' } as Context, { principalArn: 'arn', action: 'x', reason })
  const token = sessions[0]!.sessionToken
  for (const chance of fc.sample(chancesOf(...DAMAGE, "another account's", 'a session token'), FORGERIES)) {
    const forged =
      chance.kind === "another account's"
        ? away
        : chance.kind === 'a session token'
          ? token
          : damaged(message, chance, 'base64url')
    expect(() => unsealReason(context, forged), JSON.stringify(chance)).toThrow(AwsError)
  }
})
