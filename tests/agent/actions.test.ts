import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AgentProcess, endExecutors, newDataFolder, shellDocument, startAgent, until } from './agent-process.ts'
import { type Peer, type ReceivedReply, startPeer } from './peer.ts'

let peer: Peer
let agent: AgentProcess
let web: Server
let webAddress: string
/** In the agent's PATH. */
let programs: string
const asked: { url: string; authorization: string | undefined }[] = []

beforeAll(async () => {
  peer = await startPeer()
  programs = mkdtempSync(join(tmpdir(), 'musterbook-programs-'))
  process.env.PATH = `${programs}:${process.env.PATH}`
  agent = startAgent(peer, newDataFolder())
  web = createServer((request, response) => {
    asked.push({ url: request.url ?? '', authorization: request.headers.authorization })
    if (request.url?.startsWith('/moved')) response.writeHead(302, { location: '/plain.txt' }).end()
    else if (request.url?.startsWith('/plain.txt')) response.end('over http\n')
    else if (request.url?.startsWith('/cut.sh')) {
      response.writeHead(200, { 'content-length': '100' })
      response.write('echo half of it', () => response.destroy())
    } else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  webAddress = `http://127.0.0.1:${(web.address() as AddressInfo).port}`
  await until('the control channel is open', () => peer.openings > 0)
})

afterAll(async () => {
  await agent.stop()
  await peer.close()
  web.close()
  rmSync(programs, { recursive: true, force: true })
  endExecutors(agent.dataFolder)
})

const ENDS = ['Success', 'Failed', 'Cancelled', 'TimedOut']
const repliesOf = (jobId: string) => peer.replies.filter((reply) => reply.jobId === jobId)

async function ended(document: object, parameters: Record<string, unknown> = {}): Promise<ReceivedReply> {
  const jobId = peer.sendCommand({ document, parameters })
  const final = () => repliesOf(jobId).find(({ documentStatus }) => ENDS.includes(documentStatus))
  await until(`${jobId} has ended`, () => final() !== undefined)
  return final() as ReceivedReply
}

/** Every step as it was reported when it ended. */
const stepsOf = ({ jobId }: ReceivedReply) =>
  Object.assign({}, ...repliesOf(jobId).map(({ runtimeStatus }) => runtimeStatus)) as ReceivedReply['runtimeStatus']

function download(sourceType: string, sourceInfo: object | string, destinationPath = '', ...then: string[]): object {
  const info = typeof sourceInfo === 'string' ? sourceInfo : JSON.stringify(sourceInfo)
  return {
    schemaVersion: '2.2',
    mainSteps: [
      { action: 'aws:downloadContent', name: 'get', inputs: { sourceType, sourceInfo: info, destinationPath } },
      ...then.map((line, at) => ({
        action: 'aws:runShellScript',
        name: `then${at + 1}`,
        inputs: { runCommand: [line], workingDirectory: destinationPath },
      })),
    ],
  }
}

describe('aws:runDocument', () => {
  it('succeeds at once with AWS-Noop, which documents with hooks call when there is none', async () => {
    const hook = (documentType: string) => ({
      action: 'aws:runDocument',
      name: `hook${documentType}`,
      inputs: { documentType, documentPath: 'AWS-Noop', documentParameters: '{}' },
    })
    const mainSteps = [hook('SSMDocument'), hook('LocalPath')]
    const end = await ended({ schemaVersion: '2.2', mainSteps })
    expect(end.documentStatus).toBe('Success')
    const steps = stepsOf(end)
    for (const { name } of mainSteps) expect(steps[name]).toMatchObject({ status: 'Success', code: 0 })
  })
})

describe('aws:downloadContent', () => {
  it('fetches over http, follows a redirect, and leaves the file where later steps find it', async () => {
    const document = download(
      'HTTP',
      { allowInsecureDownload: true, url: `${webAddress}/moved/it` },
      'things/',
      'cat it',
    )
    const steps = stepsOf(await ended(document))
    expect(steps.get).toMatchObject({ status: 'Success' })
    expect(steps.get?.standardOutput).toMatch(/^Content downloaded to .*\/things\/it\n$/)
    expect(steps.then1?.standardOutput).toBe('over http\n')
    expect(asked.every(({ authorization }) => authorization === undefined)).toBe(true)
  })

  it('shows a password to the server that it is for, and to no other', async () => {
    const basic = { authMethod: 'Basic', username: 'me', password: 'secret' }
    const place = join(agent.dataFolder, 'private.txt')
    await ended(download('HTTP', { allowInsecureDownload: true, url: `${webAddress}/plain.txt`, ...basic }, place))
    expect(readFileSync(place, 'utf8')).toBe('over http\n')
    const expected = `Basic ${Buffer.from('me:secret').toString('base64')}`
    expect(asked.at(-1)?.authorization).toBe(expected)
    peer.files.set('/elsewhere', { status: 302, headers: { location: 'https://127.0.0.1:1/x' } })
    const failed = await ended(download('HTTP', { url: `${peer.endpoint}/elsewhere`, ...basic }))
    expect(stepsOf(failed).get?.status).toBe('Failed')
  })

  it('fetches over https by the authority that the agent trusts, signed for the control plane itself', async () => {
    peer.files.set('/bucket/dir/setup.sh', { body: 'echo installed\n' })
    const path = `${peer.endpoint}/bucket/dir/setup.sh`
    const steps = stepsOf(await ended(download('S3', { path }, '', 'sh setup.sh')))
    expect(steps.get).toMatchObject({ status: 'Success' })
    expect(peer.downloads.at(-1)).toMatchObject({ path: '/bucket/dir/setup.sh', isSigned: true })
  })

  it('does not let itself be led from https to http', async () => {
    peer.files.set('/down', { status: 301, headers: { location: `${webAddress}/plain.txt` } })
    const steps = stepsOf(await ended(download('HTTP', { url: `${peer.endpoint}/down` })))
    expect(steps.get).toMatchObject({ status: 'Failed', output: 'a redirect leads from https to http' })
  })

  it('leaves nothing under its name of a file that did not come whole', async () => {
    const document = download(
      'HTTP',
      { allowInsecureDownload: true, url: `${webAddress}/cut.sh` },
      'scripts/',
      'ls -A; echo listed',
    )
    const steps = stepsOf(await ended(document))
    expect(steps.get?.status).toBe('Failed')
    expect(steps.then1).toMatchObject({ status: 'Success', standardOutput: 'listed\n' })
  })

  it('fetches what lies under an S3 key that ends in a slash, page by page, into the same folders', async () => {
    const page = (keys: string[], next = '') =>
      `<?xml version="1.0"?><ListBucketResult>${keys.map((key) => `<Contents><Key>${key}</Key></Contents>`).join('')}${next}</ListBucketResult>`
    const pages = [
      page(['tools/', 'tools/one.sh'], '<NextContinuationToken>a&amp;b</NextContinuationToken>'),
      page(['tools/lib/two+%2B.sh']),
    ]
    const asked: string[] = []
    peer.listings.set('/bucket/', (query) => {
      asked.push(query)
      return pages[asked.length - 1] ?? ''
    })
    peer.files.set('/bucket/tools/one.sh', { body: 'echo one; . "lib/two +.sh"\n' })
    peer.files.set('/bucket/tools/lib/two%20%2B.sh', { body: 'echo two\n' })
    const steps = stepsOf(await ended(download('S3', { path: `${peer.endpoint}/bucket/tools/` }, 'got', 'sh one.sh')))
    expect(steps.then1?.standardOutput).toBe('one\ntwo\n')
    const query = 'list-type=2&encoding-type=url&prefix=tools%2F'
    expect(asked).toEqual([query, `${query}&continuation-token=a%26b`])
    expect(peer.downloads.slice(-4).every(({ isSigned }) => isSigned)).toBe(true)
  })

  it('takes no key that leads out of the folder', async () => {
    const listing = '<ListBucketResult><Contents><Key>evil/../../out</Key></Contents></ListBucketResult>'
    peer.listings.set('/evil/', () => listing)
    const steps = stepsOf(await ended(download('S3', { path: `${peer.endpoint}/evil/evil/` })))
    expect(steps.get).toMatchObject({ status: 'Failed', output: expect.stringContaining('cannot be a path') })
  })

  it('shows a password that Parameter Store keeps to the server alone', async () => {
    peer.answers.set('GetParameters', ({ Names, WithDecryption }) => ({
      Parameters: WithDecryption ? [{ Name: (Names as string[])[0], Type: 'SecureString', Value: 'kept-secret' }] : [],
    }))
    const info = { authMethod: 'Basic', username: 'me', password: '{{ssm-secure:/web/password}}' }
    const url = `${webAddress}/plain.txt`
    const final = await ended(download('HTTP', { allowInsecureDownload: true, url, ...info }, 'private/'))
    expect(stepsOf(final).get?.status).toBe('Success')
    expect(asked.at(-1)?.authorization).toBe(`Basic ${Buffer.from('me:kept-secret').toString('base64')}`)
    const place = join(agent.dataFolder, 'orchestration', final.jobId.split('.')[2] ?? '')
    const names = readdirSync(place, { recursive: true, encoding: 'utf8' }).map((name) => join(place, name))
    const written = names.filter((path) => statSync(path).isFile()).map((path) => readFileSync(path, 'utf8'))
    expect(written.join()).toContain('over http')
    expect(written.join() + JSON.stringify(peer.replies) + agent.log()).not.toContain('kept-secret')
  })

  it('writes through no link that somebody else has put into the folder', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'musterbook-shared-'))
    const victim = join(folder, 'victim')
    writeFileSync(victim, 'untouched')
    symlinkSync(victim, join(folder, 'setup.json'))
    peer.answers.set('GetDocument', () => ({ Content: '{}' }))
    const steps = stepsOf(await ended(download('SSMDocument', { name: 'setup' }, `${folder}/`)))
    expect(steps.get?.status).toBe('Success')
    expect(readFileSync(victim, 'utf8')).toBe('untouched')
    expect(readFileSync(join(folder, 'setup.json'), 'utf8')).toBe('{}')
    rmSync(folder, { recursive: true })
  })

  it('says which answer it got where the file is not there', async () => {
    const steps = stepsOf(
      await ended(download('HTTP', { allowInsecureDownload: true, url: `${webAddress}/absent.txt` })),
    )
    expect(steps.get?.output).toBe(`the server answered 404 for ${webAddress}/absent.txt`)
  })

  it('fetches a document of the control plane, in the version that is asked for', async () => {
    const versions: unknown[] = []
    peer.answers.set('GetDocument', (input) => {
      versions.push(input.DocumentVersion)
      return { Name: input.Name, Content: '{"schemaVersion":"2.2"}' }
    })
    const steps = stepsOf(await ended(download('SSMDocument', { name: 'Setup:3' }, 'docs/', 'cat Setup.json')))
    expect(steps.then1?.standardOutput).toBe('{"schemaVersion":"2.2"}')
    expect(versions).toEqual(['3'])
  })

  it.each([
    ['GitHub', {}, 'sourceType GitHub is not supported by this agent'],
    ['HTTP', '{"url":', 'sourceInfo is not JSON'],
    ['HTTP', { url: 'ftp://example.com/x' }, 'url in sourceInfo must be an http or https address'],
    ['HTTP', { url: 'http://example.com/x' }, "an http address needs 'allowInsecureDownload': true in sourceInfo"],
    [
      'HTTP',
      { url: 'https://example.com/x', authMethod: 'Digest' },
      'authMethod Digest is not supported by this agent: None or Basic',
    ],
    ['HTTP', { url: 'https://example.com/folder/' }, 'the source must name a file, not a folder'],
  ])('refuses %s %j in clear words', async (type, info, words) => {
    expect(stepsOf(await ended(download(type, info))).get).toMatchObject({ status: 'Failed', output: words })
  })
})

describe('aws:runPowerShellScript', () => {
  const hasPowerShell = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, 'pwsh')))

  it.skipIf(hasPowerShell)('fails with the reason where there is no PowerShell', async () => {
    const inputs = { runCommand: ['Get-Date'] }
    const document = { schemaVersion: '2.2', mainSteps: [{ action: 'aws:runPowerShellScript', name: 'ps', inputs }] }
    expect(stepsOf(await ended(document)).ps).toMatchObject({
      status: 'Failed',
      output: 'aws:runPowerShellScript needs PowerShell (pwsh), which this machine lacks',
    })
  })

  it('runs the lines as one script of the pwsh that the machine has, and ends with the last program\u2019s code', async () => {
    const pwsh = join(programs, 'pwsh')
    writeFileSync(pwsh, '#!/bin/sh\necho "$PWD $*"; for file in "$@"; do :; done; cat "$file"; exit 7\n', {
      mode: 0o755,
    })
    const inputs = { runCommand: ['$a = 1', 'Write-Output $a'], workingDirectory: '/usr' }
    const step = { action: 'aws:runPowerShellScript', name: 'ps', inputs }
    const { ps } = stepsOf(await ended({ schemaVersion: '2.2', mainSteps: [step] }))
    rmSync(pwsh)
    expect(ps).toMatchObject({ status: 'Failed', code: 7 })
    const [command, ...script] = ps?.standardOutput.split('\n') ?? []
    expect(command).toMatch(
      /^\/usr -NoLogo -NonInteractive -ExecutionPolicy Unrestricted -File \/.*\/0-ps\/_script\.ps1$/,
    )
    expect(script).toEqual(['$a = 1', 'Write-Output $a', 'exit $LASTEXITCODE'])
  })
})

describe('a document of schema 1.2', () => {
  it('runs the scripts of its properties with the timeout and the folder of each', async () => {
    const properties = [
      { id: '0.aws:runShellScript', runCommand: '{{ commands }}', workingDirectory: '{{ place }}' },
      { id: '1.aws:runShellScript', runCommand: ['echo second; sleep 300'], timeoutSeconds: '5' },
    ]
    const document = {
      schemaVersion: '1.2',
      parameters: { commands: { type: 'StringList' }, place: { type: 'String', default: '/' } },
      runtimeConfig: { 'aws:runShellScript': { properties } },
    }
    const final = await ended(document, { commands: ['echo one', 'pwd'] })
    expect(final.documentStatus).toBe('TimedOut')
    expect(stepsOf(final)['aws:runShellScript']).toMatchObject({
      status: 'TimedOut',
      standardOutput: 'one\n/\nsecond\n',
    })
  })
})

describe('the flow of control', () => {
  const step = (name: string, script: string, flow: object = {}) => ({
    action: 'aws:runShellScript',
    name,
    inputs: { runCommand: script.split('\n'), ...flow },
  })

  it('runs the finallyStep after a step that ended the document', async () => {
    const mainSteps = [
      step('fails', 'exit 3', { onFailure: 'exit' }),
      step('skipped', 'echo never'),
      step('tidy', 'echo tidied', { finallyStep: true }),
    ]
    const final = await ended({ schemaVersion: '2.2', mainSteps })
    const steps = stepsOf(final)
    expect([steps.fails?.status, steps.skipped?.status, steps.tidy?.status]).toEqual(['Failed', 'Skipped', 'Success'])
    expect(steps.tidy?.standardOutput).toBe('tidied\n')
    expect(final.documentStatus).toBe('Failed')
  })

  it('ends the document as failed with exit code 169', async () => {
    const final = await ended(shellDocument('echo before; exit 169', 'echo never'))
    const steps = stepsOf(final)
    expect(final.documentStatus).toBe('Failed')
    expect([steps.step1?.status, steps.step2?.status]).toEqual(['Failed', 'Skipped'])
  })

  it('skips what is not for this platform and runs what is', async () => {
    const mainSteps = [
      { ...step('windows', 'echo w'), precondition: { StringEquals: ['platformType', 'Windows'] } },
      { ...step('linux', 'echo l'), precondition: { StringEquals: ['platformType', 'Linux'] } },
    ]
    const steps = stepsOf(await ended({ schemaVersion: '2.2', mainSteps }))
    expect([steps.windows?.status, steps.linux?.status]).toEqual(['Skipped', 'Success'])
  })
})
