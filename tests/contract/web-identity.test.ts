/**
 * AssumeRoleWithWebIdentity with a real issuer: a small OpenID provider on this machine that publishes its configuration
 * and keys, and signs tokens with them; and with the file of keys that closed networks have instead.
 */
import { createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CloudTrail } from '@aws-sdk/client-cloudtrail'
import { IAM } from '@aws-sdk/client-iam'
import { SSM } from '@aws-sdk/client-ssm'
import { type Credentials, STS } from '@aws-sdk/client-sts'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { mayDial } from '../../packages/server/src/capabilities/identity/oidc/addresses.ts'
import { FetchRefusal, fetchJson } from '../../packages/server/src/capabilities/identity/oidc/fetch-json.ts'
import { refusal } from './refusal.ts'

const folder = await mkdtemp(join(tmpdir(), 'musterbook-oidc-'))
const keysFile = join(folder, 'keys.json')
await writeFile(keysFile, '{}')
const testbed = await startTestbed({
  options: {
    settings: { maxStandardParameters: 10_000, oidcNetworks: 'loopback', oidcKeysFile: keysFile },
  },
})
afterAll(async () => {
  await testbed[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

const MINUTE = 60_000
const CLIENT = 'harbour-builds'
const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const seconds = () => Math.floor(testbed.clock.now().getTime() / 1000)

type Algorithm = 'RS256' | 'ES256'
interface Signer {
  kid: string
  alg: Algorithm
  publicKey: KeyObject
  privateKey: KeyObject
}

function newSigner(alg: Algorithm, kid: string = randomUUID()): Signer {
  const pair =
    alg === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { kid, alg, ...pair }
}

const jwkOf = ({ kid, alg, publicKey }: Signer) => ({ ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' })

function tokenOf(signer: Signer, claims: object, header: object = {}): string {
  const text = `${encode({ alg: signer.alg, kid: signer.kid, typ: 'JWT', ...header })}.${encode(claims)}`
  const signature = sign('sha256', Buffer.from(text), { key: signer.privateKey, dsaEncoding: 'ieee-p1363' })
  return `${text}.${signature.toString('base64url')}`
}

interface Issuer extends AsyncDisposable {
  url: string
  signers: Signer[]
  /** Paths that were asked for. */
  asked: string[]
  /** Answers instead of the issuer while it is set. */
  instead: ((request: IncomingMessage, response: ServerResponse) => void) | undefined
}

async function startIssuer(): Promise<Issuer> {
  const issuer: Issuer = {
    url: '',
    signers: [newSigner('RS256'), newSigner('ES256')],
    asked: [],
    instead: undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  const server = createServer((request, response) => {
    issuer.asked.push(request.url ?? '')
    if (issuer.instead) return issuer.instead(request, response)
    const documents: Record<string, object> = {
      '/.well-known/openid-configuration': { issuer: issuer.url, jwks_uri: `${issuer.url}/keys` },
      '/keys': { keys: issuer.signers.map(jwkOf) },
    }
    const document = documents[request.url ?? '']
    response.writeHead(document ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(document ?? {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  issuer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return issuer
}

/** Clients that sign by the clock of the testbed (the Date of answers is the wall's). */
function clientsOf(account: TestAccount, credentials: object = account.config.credentials) {
  const config = { ...account.config, credentials: credentials as TestAccount['config']['credentials'] }
  const clients = { iam: new IAM(config), ssm: new SSM(config), sts: new STS(config), trail: new CloudTrail(config) }
  const get = () => testbed.clock.now().getTime() - Date.now()
  for (const client of Object.values(clients))
    Object.defineProperty(client.config, 'systemClockOffset', { get, set() {} })
  return clients
}

const nameOf = (url: string) => url.replace(/^https?:\/\//, '')

/** An account that knows the issuer, with a role for the subject `deploy` of it. */
async function trusting(url: string, condition: Record<string, string> = { sub: 'deploy' }, actions: string[] = []) {
  const account = await testbed.account()
  const clients = clientsOf(account)
  const { OpenIDConnectProviderArn } = await clients.iam.createOpenIDConnectProvider({
    Url: url,
    ClientIDList: [CLIENT],
  })
  const keys = Object.entries(condition).map(([key, value]) => [`${nameOf(url)}:${key}`, value])
  const { Role } = await clients.iam.createRole({
    RoleName: 'deploy',
    AssumeRolePolicyDocument: policy({
      Effect: 'Allow',
      Principal: { Federated: OpenIDConnectProviderArn },
      Action: ['sts:AssumeRoleWithWebIdentity', ...actions],
      Condition: { StringEquals: Object.fromEntries(keys) },
    }),
  })
  await clients.iam.putRolePolicy({
    ...{ RoleName: 'deploy', PolicyName: 'own' },
    PolicyDocument: policy({ Effect: 'Allow', Action: 'ssm:DescribeParameters', Resource: '*' }),
  })
  // Nobody signs this call: what keys its sender has plays no part.
  const { sts } = clientsOf(account, { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'x'.repeat(40) })
  const assume = (WebIdentityToken: string, more: object = {}) =>
    sts.assumeRoleWithWebIdentity({ RoleArn: Role!.Arn!, RoleSessionName: 'build-7', WebIdentityToken, ...more })
  return { account, ...clients, assume, providerArn: OpenIDConnectProviderArn!, roleArn: Role!.Arn! }
}

const claimsOf = (iss: string, more: object = {}) => ({
  ...{ iss, sub: 'deploy', aud: CLIENT, iat: seconds(), exp: seconds() + 300 },
  ...more,
})

describe('a token of an OIDC issuer', () => {
  it('is taken for the session of a role that trusts its subject, signed with RS256 or ES256', async () => {
    await using issuer = await startIssuer()
    const { account, assume } = await trusting(issuer.url)
    for (const signer of issuer.signers) {
      const answer = await assume(tokenOf(signer, claimsOf(issuer.url)))
      expect(answer).toMatchObject({
        ...{ SubjectFromWebIdentityToken: 'deploy', Audience: CLIENT, Provider: issuer.url },
        AssumedRoleUser: { Arn: `arn:aws:sts::${account.account}:assumed-role/deploy/build-7` },
      })
      const {
        AccessKeyId: accessKeyId,
        SecretAccessKey: secretAccessKey,
        SessionToken: sessionToken,
      } = answer.Credentials!
      const session = clientsOf(account, { accessKeyId, secretAccessKey, sessionToken })
      await session.ssm.describeParameters({})
      expect(await refusal(session.ssm.getParameter({ Name: '/a' }))).toMatchObject({ name: 'AccessDeniedException' })
    }
    // Its keys were asked for once.
    expect(issuer.asked).toEqual(['/.well-known/openid-configuration', '/keys'])
  })

  it('is known by its issuer and its subject for as long as the session lasts, and by no session after it', async () => {
    await using issuer = await startIssuer()
    const { account, iam, assume, providerArn, roleArn } = await trusting(issuer.url)
    const name = nameOf(issuer.url)
    await iam.putRolePolicy({
      ...{ RoleName: 'deploy', PolicyName: 'own' },
      PolicyDocument: policy(
        {
          ...{ Effect: 'Allow', Action: 'ssm:PutParameter' },
          Resource: `arn:aws:ssm:*:*:parameter/\${${name}:sub}/*`,
          Condition: { StringEquals: { 'aws:FederatedProvider': providerArn, [`${name}:aud`]: CLIENT } },
        },
        { Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' },
      ),
    })
    const { Role } = await iam.createRole({
      RoleName: 'next',
      AssumeRolePolicyDocument: policy({ Effect: 'Allow', Principal: { AWS: roleArn }, Action: 'sts:AssumeRole' }),
    })
    await iam.putRolePolicy({
      ...{ RoleName: 'next', PolicyName: 'own' },
      PolicyDocument: policy({
        ...{ Effect: 'Allow', Action: 'ssm:PutParameter', Resource: '*' },
        Condition: { Null: { 'aws:FederatedProvider': 'true', [`${name}:sub`]: 'true' } },
      }),
    })
    const sessionOf = ({ Credentials }: { Credentials?: Credentials | undefined }) =>
      clientsOf(account, {
        accessKeyId: Credentials?.AccessKeyId,
        secretAccessKey: Credentials?.SecretAccessKey,
        sessionToken: Credentials?.SessionToken,
      })
    const session = sessionOf(await assume(tokenOf(issuer.signers[0]!, claimsOf(issuer.url))))
    const put = (Name: string, { ssm } = session) => ssm.putParameter({ Name, Value: 'v', Type: 'String' })
    await put('/deploy/a')
    expect(await refusal(put('/other/a'))).toMatchObject({ name: 'AccessDeniedException' })
    const next = sessionOf(await session.sts.assumeRole({ RoleArn: Role!.Arn!, RoleSessionName: 'next' }))
    await put('/other/a', next)
  })

  it('is refused when it is forged, for somebody else, out of its time or of another subject', async () => {
    await using issuer = await startIssuer()
    await using other = await startIssuer()
    const { assume, iam, roleArn } = await trusting(issuer.url)
    const [rsa, ec] = issuer.signers as [Signer, Signer]
    const invalid = { name: 'InvalidIdentityTokenException' }
    const good = tokenOf(rsa, claimsOf(issuer.url))
    const [header, payload, signature] = good.split('.') as [string, string, string]
    const none = (alg: string) => `${encode({ alg, kid: rsa.kid })}.${payload}.`
    const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' })
    const asSecret = `${encode({ alg: 'HS256', kid: rsa.kid })}.${payload}`
    const impostor = { ...newSigner('RS256'), kid: rsa.kid }
    const changed = encode(claimsOf(issuer.url, { exp: seconds() + 9_999 }))
    const tokens: [why: string, token: string, error: object][] = [
      ['is no JWT', 'not-a-token', invalid],
      ['has no signature', none('none'), invalid],
      ['has no signature and says so oddly', none('NoNe'), invalid],
      [
        'is signed with the public key as a secret',
        `${asSecret}.${createHmac('sha256', pem).update(asSecret).digest('base64url')}`,
        invalid,
      ],
      ['is signed with another key of the same id', tokenOf(impostor, claimsOf(issuer.url)), invalid],
      ['is signed with a key that the issuer has not', tokenOf(newSigner('RS256'), claimsOf(issuer.url)), invalid],
      [
        'brings its own key',
        tokenOf(impostor, claimsOf(issuer.url), { jwk: jwkOf(impostor), jku: `${other.url}/keys` }),
        invalid,
      ],
      ['names another algorithm than the key has', tokenOf({ ...ec, kid: rsa.kid }, claimsOf(issuer.url)), invalid],
      ['was changed', `${header}.${changed}.${signature}`, invalid],
      ['was cut', `${header}.${payload}.${signature.slice(0, -4)}`, invalid],
      ['is of an issuer that the account has not', tokenOf(other.signers[0]!, claimsOf(other.url)), invalid],
      ['claims an issuer that did not sign it', tokenOf(other.signers[0]!, claimsOf(issuer.url)), invalid],
      [
        'is for another client',
        tokenOf(rsa, claimsOf(issuer.url, { aud: 'somebody-else' })),
        { ...invalid, message: 'Incorrect token audience' },
      ],
      ['was handed out for another client', tokenOf(rsa, claimsOf(issuer.url, { azp: 'somebody-else' })), invalid],
      [
        'is for several clients and for nobody of them',
        tokenOf(rsa, claimsOf(issuer.url, { aud: [CLIENT, 'other'] })),
        invalid,
      ],
      ['is not valid yet', tokenOf(rsa, claimsOf(issuer.url, { nbf: seconds() + 120 })), invalid],
      ['has no end', tokenOf(rsa, claimsOf(issuer.url, { exp: undefined })), invalid],
      ['has no subject', tokenOf(rsa, claimsOf(issuer.url, { sub: undefined })), invalid],
      [
        'has ended',
        tokenOf(rsa, claimsOf(issuer.url, { exp: seconds() - 120 })),
        {
          name: 'ExpiredTokenException',
          message: expect.stringMatching(/^Token expired: current date\/time \d+ must be before/),
        },
      ],
      [
        'is of another subject',
        tokenOf(rsa, claimsOf(issuer.url, { sub: 'somebody' })),
        { name: 'AccessDenied', message: 'Not authorized to perform sts:AssumeRoleWithWebIdentity' },
      ],
    ]
    for (const [why, token, error] of tokens) expect(await refusal(assume(token)), why).toMatchObject(error)
    const denied = { name: 'AccessDenied' }
    expect(await refusal(assume(good, { RoleArn: `${roleArn}x` }))).toMatchObject(denied)
    await assume(good)
    const trust = policy({ Effect: 'Allow', Principal: { AWS: roleArn.split(':')[4] }, Action: 'sts:*' })
    await iam.updateAssumeRolePolicy({ RoleName: 'deploy', PolicyDocument: trust })
    expect(await refusal(assume(good))).toMatchObject(denied)
  })

  it('is in the audit of the account of the role, taken or refused, with the subject that it proves', async () => {
    await using issuer = await startIssuer()
    const { account, assume, providerArn, roleArn } = await trusting(issuer.url)
    const [signer] = issuer.signers as [Signer, Signer]
    const taken = await assume(tokenOf(signer, claimsOf(issuer.url)))
    const stranger = tokenOf(signer, claimsOf(issuer.url, { sub: 'somebody' }))
    const forged = tokenOf(newSigner('RS256', signer.kid), claimsOf(issuer.url))
    await refusal(assume(stranger))
    await refusal(assume(forged))
    await refusal(assume(stranger, { RoleArn: `${roleArn}x` }))
    await refusal(assume(stranger, { RoleArn: roleArn.replace(account.account, '000000000000') }))
    const trail = clientsOf(account).trail
    const attribute = { AttributeKey: 'EventName' as const, AttributeValue: 'AssumeRoleWithWebIdentity' }
    const { Events = [] } = await trail.lookupEvents({ LookupAttributes: [attribute] })
    const records = Events.map(({ CloudTrailEvent = '' }) => JSON.parse(CloudTrailEvent)).reverse()
    const proved = (userName: string) => ({
      type: 'WebIdentityUser',
      principalId: `${providerArn}:${CLIENT}:${userName}`,
      userName,
      identityProvider: providerArn,
    })
    const recipientAccountId = account.account
    const unproved = { type: 'WebIdentityUser' }
    expect(records).toHaveLength(4)
    expect(records[0]).toMatchObject({ recipientAccountId, userIdentity: proved('deploy') })
    expect(records[0].responseElements.credentials.accessKeyId).toBe(taken.Credentials?.AccessKeyId)
    expect(records[1]).toMatchObject({
      recipientAccountId,
      userIdentity: proved('somebody'),
      errorCode: 'AccessDenied',
    })
    expect(records[2]).toMatchObject({ recipientAccountId, errorCode: 'InvalidIdentityTokenException' })
    expect(records[3]).toMatchObject({ recipientAccountId, errorCode: 'AccessDenied' })
    for (const record of records.slice(2)) expect(record.userIdentity).toEqual(unproved)
    expect(Events.map(({ Username }) => Username)).toEqual([undefined, undefined, 'somebody', 'deploy'])
    expect(JSON.stringify(records)).not.toContain(forged)
  })

  it('is believed only for as long as its issuer and its client are known to the account', async () => {
    await using issuer = await startIssuer()
    const { assume, iam, providerArn: OpenIDConnectProviderArn } = await trusting(issuer.url)
    const token = tokenOf(issuer.signers[0]!, claimsOf(issuer.url))
    await assume(token)
    await iam.removeClientIDFromOpenIDConnectProvider({ OpenIDConnectProviderArn, ClientID: CLIENT })
    expect(await refusal(assume(token))).toMatchObject({ message: 'Incorrect token audience' })
    await iam.addClientIDToOpenIDConnectProvider({ OpenIDConnectProviderArn, ClientID: CLIENT })
    await assume(token)
    await iam.deleteOpenIDConnectProvider({ OpenIDConnectProviderArn })
    expect(await refusal(assume(token))).toMatchObject({
      message: `No OpenIDConnect provider found in your account for ${issuer.url}`,
    })
  })

  it('sees new keys of its issuer, and the end of old ones', async () => {
    await using issuer = await startIssuer()
    const { assume } = await trusting(issuer.url)
    const [old] = issuer.signers as [Signer, Signer]
    await assume(tokenOf(old, claimsOf(issuer.url)))
    const next = newSigner('ES256')
    issuer.signers = [next]
    // A key that the kept set has not is asked for, but not at every token.
    expect(await refusal(assume(tokenOf(next, claimsOf(issuer.url))))).toMatchObject({
      name: expect.stringMatching(/^Invalid/),
    })
    testbed.clock.advance(MINUTE)
    await assume(tokenOf(next, claimsOf(issuer.url)))
    expect(await refusal(assume(tokenOf(old, claimsOf(issuer.url))))).toMatchObject({
      name: expect.stringMatching(/^Invalid/),
    })
    const asked = issuer.asked.length
    for (let times = 0; times < 5; times++) await refusal(assume(tokenOf(newSigner('ES256'), claimsOf(issuer.url))))
    expect(issuer.asked.length).toBe(asked)
    // While the issuer is away its keys are believed for an hour.
    issuer.instead = (_, response) => response.writeHead(500).end()
    testbed.clock.advance(30 * MINUTE)
    await assume(tokenOf(next, claimsOf(issuer.url)))
    testbed.clock.advance(40 * MINUTE)
    expect(await refusal(assume(tokenOf(next, claimsOf(issuer.url))))).toMatchObject({
      name: 'IDPCommunicationErrorException',
    })
  })

  it('may carry session tags and a source identity where the trust policy lets it', async () => {
    await using issuer = await startIssuer()
    const { account, assume, iam } = await trusting(issuer.url, { sub: 'deploy' }, [
      'sts:TagSession',
      'sts:SetSourceIdentity',
    ])
    const PolicyDocument = policy({
      ...{ Effect: 'Allow', Action: 'ssm:GetParameter', Resource: '*' },
      Condition: { StringEquals: { 'aws:PrincipalTag/repository': 'harbour', 'aws:SourceIdentity': 'ada' } },
    })
    await iam.putRolePolicy({ RoleName: 'deploy', PolicyName: 'own', PolicyDocument })
    await clientsOf(account).ssm.putParameter({ Name: '/a', Value: 'v', Type: 'String' })
    const more = {
      'https://aws.amazon.com/tags': {
        principal_tags: { repository: ['harbour'] },
        transitive_tag_keys: ['repository'],
      },
      'https://aws.amazon.com/source_identity': 'ada',
    }
    const token = tokenOf(issuer.signers[0]!, claimsOf(issuer.url, more))
    const { Credentials, SourceIdentity } = await assume(token)
    expect(SourceIdentity).toBe('ada')
    const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, SessionToken: sessionToken } = Credentials!
    const { ssm } = clientsOf(account, { accessKeyId, secretAccessKey, sessionToken })
    expect((await ssm.getParameter({ Name: '/a' })).Parameter?.Value).toBe('v')
    const without = await trusting(issuer.url)
    expect(await refusal(without.assume(token))).toMatchObject({ name: 'AccessDenied' })
    const odd = { 'https://aws.amazon.com/tags': { principal_tags: { 'a\u0000': ['b'] } } }
    expect(await refusal(assume(tokenOf(issuer.signers[0]!, claimsOf(issuer.url, odd))))).toMatchObject({
      name: expect.stringMatching(/^Invalid/),
    })
  })

  it('is told that its issuer cannot be asked, whatever that answers', async () => {
    await using issuer = await startIssuer()
    const configuration = (change: object) => (_: unknown, response: ServerResponse) =>
      void response.end(JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys`, ...change }))
    const answers: Issuer['instead'][] = [
      (_, response) => response.writeHead(302, { location: `${issuer.url}/keys` }).end(),
      (_, response) => response.end('not json'),
      (_, response) => response.end('null'),
      (_, response) => response.end(`"${'x'.repeat(300_000)}"`),
      (request) => request.socket.destroy(),
      configuration({ issuer: 'https://accounts.example.com' }),
      configuration({ jwks_uri: 7 }),
      configuration({ jwks_uri: 'http://169.254.169.254/latest/meta-data' }),
      configuration({ jwks_uri: 'file:///etc/passwd' }),
    ]
    for (const instead of answers) {
      const { assume } = await trusting(issuer.url)
      issuer.instead = instead
      testbed.clock.advance(MINUTE)
      expect(await refusal(assume(tokenOf(issuer.signers[0]!, claimsOf(issuer.url))))).toEqual({
        name: 'IDPCommunicationErrorException',
        message: expect.stringContaining("Couldn't retrieve verification key from your identity provider"),
      })
    }
  })
})

describe('the file of keys', () => {
  it('stands for an issuer that nobody can ask, and is read again when it changes', async () => {
    const url = 'https://tokens.closed.example/realms/harbour'
    const [signer, next] = [newSigner('RS256'), newSigner('ES256')]
    const { assume } = await trusting(url)
    await writeFile(keysFile, JSON.stringify({ [url]: { keys: [jwkOf(signer)] } }))
    const token = tokenOf(signer, claimsOf(url))
    await assume(token)
    const stranger = tokenOf({ ...newSigner('RS256'), kid: signer.kid }, claimsOf(url))
    expect(await refusal(assume(stranger))).toMatchObject({ name: 'InvalidIdentityTokenException' })
    await writeFile(keysFile, JSON.stringify({ [url]: { keys: [jwkOf(next)] }, 'https://other.example': { keys: [] } }))
    expect(await refusal(assume(token))).toMatchObject({ name: 'InvalidIdentityTokenException' })
    await assume(tokenOf(next, claimsOf(url)))
  })
})

describe('the server as a client of issuers', () => {
  it.each([
    [
      'public',
      ['8.8.8.8', '2606:4700::1'],
      ['10.0.0.1', '192.168.1.1', '172.31.0.1', '100.64.0.1', 'fd00::1', '127.0.0.1', '::1', '::ffff:10.0.0.1'],
    ],
    [
      'private',
      ['8.8.8.8', '10.0.0.1', 'fd00::1', '::ffff:192.168.0.1'],
      ['127.0.0.1', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1'],
    ],
    ['loopback', ['127.0.0.1', '::1', '10.0.0.1'], []],
  ] as const)('on %s networks dials these addresses and not those', (networks, dialed, refused) => {
    const never = [
      '169.254.169.254',
      'fe80::1',
      '0.0.0.0',
      '::',
      '224.0.0.1',
      '255.255.255.255',
      'ff02::1',
      '::ffff:169.254.169.254',
      '64:ff9b::a9fe:a9fe',
      '192.0.0.192',
      'no address',
    ]
    for (const address of dialed) expect(mayDial(address, networks), address).toBe(true)
    for (const address of [...refused, ...never]) expect(mayDial(address, networks), address).toBe(false)
  })

  it('connects neither to a name nor to an address that it may not dial', async () => {
    await using issuer = await startIssuer()
    const { port } = new URL(issuer.url)
    const places = [
      `https://127.0.0.1:${port}/`,
      `https://localhost:${port}/`,
      `https://[::1]:${port}/`,
      `http://localhost:${port}/`,
    ]
    for (const place of places)
      for (const networks of ['public', 'private'] as const)
        await expect(fetchJson(new URL(place), networks), place).rejects.toThrow(/not an address to dial|is not https/)
    await expect(fetchJson(new URL('http://example.com/'), 'loopback')).rejects.toThrow(FetchRefusal)
    expect(issuer.asked).toEqual([])
  })
})

describe('OIDC providers', () => {
  it('are kept as Terraform writes them: made, read, changed, deleted, read again', async () => {
    const account = await testbed.account()
    const { iam } = clientsOf(account)
    const Url = 'https://token.actions.example.com/harbour'
    const ThumbprintList = ['6938FD4D98BAB03FAADB97B34396831E3780AEA1']
    const Tags = [{ Key: 'team', Value: 'harbour' }]
    const made = await iam.createOpenIDConnectProvider({ Url: `${Url}/`, ClientIDList: [CLIENT], ThumbprintList, Tags })
    const OpenIDConnectProviderArn = made.OpenIDConnectProviderArn!
    expect(OpenIDConnectProviderArn).toBe(
      `arn:aws:iam::${account.account}:oidc-provider/token.actions.example.com/harbour`,
    )
    const read = () => iam.getOpenIDConnectProvider({ OpenIDConnectProviderArn })
    expect(await read()).toMatchObject({
      ...{ Url: 'token.actions.example.com/harbour', ClientIDList: [CLIENT], Tags },
      ThumbprintList: [ThumbprintList[0]!.toLowerCase()],
    })
    expect(await refusal(iam.createOpenIDConnectProvider({ Url }))).toMatchObject({
      name: 'EntityAlreadyExistsException',
    })
    for (let times = 0; times < 2; times++)
      await iam.addClientIDToOpenIDConnectProvider({ OpenIDConnectProviderArn, ClientID: 'second' })
    await iam.updateOpenIDConnectProviderThumbprint({ OpenIDConnectProviderArn, ThumbprintList: ['0'.repeat(40)] })
    await iam.tagOpenIDConnectProvider({ OpenIDConnectProviderArn, Tags: [{ Key: 'TEAM', Value: 'engine' }] })
    expect(await read()).toMatchObject({ ClientIDList: [CLIENT, 'second'], ThumbprintList: ['0'.repeat(40)] })
    expect((await iam.listOpenIDConnectProviderTags({ OpenIDConnectProviderArn })).Tags).toEqual([
      { Key: 'TEAM', Value: 'engine' },
    ])
    await iam.untagOpenIDConnectProvider({ OpenIDConnectProviderArn, TagKeys: ['team'] })
    expect((await read()).Tags).toEqual([])
    await iam.removeClientIDFromOpenIDConnectProvider({ OpenIDConnectProviderArn, ClientID: CLIENT })
    expect((await read()).ClientIDList).toEqual(['second'])
    expect((await iam.listOpenIDConnectProviders({})).OpenIDConnectProviderList).toEqual([
      { Arn: OpenIDConnectProviderArn },
    ])
    await iam.deleteOpenIDConnectProvider({ OpenIDConnectProviderArn })
    expect(await refusal(read())).toMatchObject({ name: 'NoSuchEntityException' })
    expect((await iam.listOpenIDConnectProviders({})).OpenIDConnectProviderList).toEqual([])
  })

  it.each([
    'http://issuer.example.com',
    'ftp://issuer.example.com',
    'issuer.example.com',
    'https://me:secret@issuer.example.com',
    'https://issuer.example.com/?a=b',
    'https://ISSUER.example.com',
    'https://issuer.example.com/a/../b',
  ])('have no URL such as %s', async (Url) => {
    const { iam } = clientsOf(await testbed.account())
    expect(await refusal(iam.createOpenIDConnectProvider({ Url }))).toMatchObject({ name: 'InvalidInputException' })
  })
})
