import { type ChildProcess, execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { chmod, copyFile, readFile, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IAM } from '@aws-sdk/client-iam'
import { DeregisterManagedInstanceCommand } from '@aws-sdk/client-ssm'
import { createAuthority } from '@musterbook/server'
import { AGENT, eventually, MUSTERBOOK, REGION, startTestbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const testbed = await startTestbed()
const account = await testbed.account()
const place = mkdtempSync(join(tmpdir(), 'musterbook-doctor-'))
afterAll(async () => {
  rmSync(place, { recursive: true, force: true })
  await testbed[Symbol.asyncDispose]()
})

interface Told {
  code: number
  text: string
}

const run = (args: string[], environment: NodeJS.ProcessEnv = {}) =>
  new Promise<Told>((resolve) => {
    const child: ChildProcess = execFile(
      process.execPath,
      args,
      { env: { ...process.env, ...environment } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, text: `${stdout}${stderr}` }),
    )
  })

/** As on a node: the one file, its settings, nothing else. */
const ask = (settings: string, environment: NodeJS.ProcessEnv = {}) => run([AGENT, 'doctor', settings], environment)

describe('the doctor of a node', () => {
  let settings: { endpoint: string; caFile: string; dataFolder: string }
  let agent: Awaited<ReturnType<typeof testbed.node>>

  beforeAll(async () => {
    agent = await testbed.node(account)
    const { dataFolder } = agent.agent
    settings = { endpoint: testbed.nodeEndpoint, caFile: testbed.caFile, dataFolder }
  })
  afterAll(() => agent.agent.kill('SIGKILL'))

  function written(change: object): string {
    const file = join(place, 'settings.json')
    writeFileSync(file, JSON.stringify({ region: REGION, ...settings, ...change }))
    return file
  }

  it('finds nothing wrong with a node that works, and leaves its channel alone', async () => {
    const { code, text } = await ask(written({}))
    expect(text).toContain('ok     the clock of this machine agrees')
    expect(text).toContain(`ok     this machine is registered as ${agent.nodeId}`)
    expect(text).toContain("ok     the control plane knows this node's key")
    expect(text).toContain('ok     its role lets it ask for work, and its channel gets through')
    expect(text).toContain('ok     the agent runs')
    expect(text).toContain('Nothing is wrong.')
    expect(code).toBe(0)
    expect(agent.agent.log()).not.toContain('control channel closed')
  })

  it('reads the settings that lie beside it', async () => {
    const file = written({})
    await copyFile(AGENT, join(place, 'agent.cjs'))
    expect((await run([join(place, 'agent.cjs'), 'doctor'])).code).toBe(0)
    await rm(file)
    const { code, text } = await run([join(place, 'agent.cjs'), 'doctor'])
    expect([code, text]).toEqual([1, expect.stringContaining('the settings file')])
  })

  it('tells a wrong clock and by how much', async () => {
    const shift = join(place, 'shift.cjs')
    writeFileSync(shift, 'const now = Date.now; Date.now = () => now() + 600_000\n')
    const { code, text } = await ask(written({}), { NODE_OPTIONS: `--require=${shift}` })
    expect(text).toMatch(/WRONG {2}the clock of this machine is (599|600|601) s ahead: set it/)
    expect(code).toBe(1)
  })

  it('tells an authority that is not the one of this control plane', async () => {
    const other = join(place, 'other.pem')
    writeFileSync(other, (await createAuthority('Another', new Date())).cert)
    const { code, text } = await ask(written({ caFile: other }))
    expect(text).toContain(`WRONG  ${testbed.nodeEndpoint} is not trusted by the certificate in ${other}`)
    expect(code).toBe(1)
    expect((await ask(written({ caFile: join(place, 'absent.pem') }))).text).toContain(
      'WRONG  the settings cannot be used',
    )
  })

  it('tells that nothing listens, that a name is unknown, and what speaks no TLS', async () => {
    const silent = createServer((socket) => socket.end('HTTP/1.0 400 no\r\n\r\n'))
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as AddressInfo
    try {
      const plain = await ask(written({ endpoint: `https://127.0.0.1:${port}` }))
      expect(plain.text).toMatch(/WRONG {2}https:\/\/127\.0\.0\.1:\d+ speaks no TLS/)
    } finally {
      silent.close()
    }
    const closed = await ask(written({ endpoint: `https://127.0.0.1:${port}` }))
    expect(closed.text).toContain(`WRONG  nothing listens at https://127.0.0.1:${port}`)
    const unknown = await ask(written({ endpoint: 'https://nowhere.invalid:8771' }))
    expect(unknown.text).toMatch(/WRONG {2}the name in https:\/\/nowhere.invalid:8771 is not known here/)
  })

  it('tells a machine that is no node yet, and an identity that is damaged or of another machine', async () => {
    const empty = mkdtempSync(join(place, 'empty-'))
    expect((await ask(written({ dataFolder: empty }))).text).toContain('WRONG  this machine is no node yet')
    writeFileSync(join(empty, 'identity.json'), '{}')
    expect((await ask(written({ dataFolder: empty }))).text).toContain('is damaged: enrol this machine anew')
    const identity = JSON.parse(readFileSync(join(settings.dataFolder, 'identity.json'), 'utf8'))
    const machine = { ...identity.machine, machineId: 'another' }
    writeFileSync(join(empty, 'identity.json'), JSON.stringify({ ...identity, machine }))
    const { text } = await ask(written({ dataFolder: empty }))
    expect(text).toContain(`WRONG  this is not the machine that became ${agent.nodeId}`)
    expect(text).toContain('WRONG  the control plane does not take this for the machine')
    expect(text).toContain('WRONG  no agent runs here')
  })

  it('tells a key that the control plane does not take for this node', async () => {
    const other = await testbed.node(account)
    await other.agent.kill('SIGKILL')
    const folder = mkdtempSync(join(place, 'mixed-'))
    const read = async (data: string) => JSON.parse(await readFile(join(data, 'identity.json'), 'utf8'))
    const { privateKey } = await read(other.agent.dataFolder)
    await writeFile(join(folder, 'identity.json'), JSON.stringify({ ...(await read(settings.dataFolder)), privateKey }))
    const { code, text } = await ask(written({ dataFolder: folder }))
    expect(text).toContain("WRONG  the control plane refuses this node's key")
    expect(text).not.toContain('PRIVATE KEY')
    expect(code).toBe(1)
  })

  it('tells what the role of the node forbids', async () => {
    const owner = await testbed.account()
    const { nodeId, agent: node } = await testbed.node(owner)
    const iam = new IAM(owner.config)
    const statement = (more: object) => JSON.stringify({ Version: '2012-10-17', Statement: [more] })
    const trusted = { Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' }
    await iam.createRole({ RoleName: 'node', AssumeRolePolicyDocument: statement(trusted) })
    const Action = ['ssm:ListInstanceAssociations', 'ssmmessages:CreateControlChannel']
    const PolicyDocument = statement({ Effect: 'Deny', Action, Resource: '*' })
    await iam.putRolePolicy({ RoleName: 'node', PolicyName: 'denying', PolicyDocument })
    const file = written({ dataFolder: node.dataFolder })
    const { code, text } = await eventually(`the role of ${nodeId} holds`, async () => {
      const told = await ask(file)
      return told.code === 1 && told
    })
    expect(text).toContain("ok     the control plane knows this node's key")
    expect(text).toMatch(/WRONG {2}the role of this node does not let it ask what is for it: AccessDeniedException/)
    expect(text).toContain(
      'WRONG  the role of this node does not let it open its channel (ssmmessages:CreateControlChannel)',
    )
    expect(code).toBe(1)
    await node.kill('SIGKILL')
  })

  it('tells a node that was deregistered', async () => {
    const gone = await testbed.node(account)
    await account.ssm.send(new DeregisterManagedInstanceCommand({ InstanceId: gone.nodeId }))
    const { code, text } = await ask(written({ dataFolder: gone.agent.dataFolder }))
    expect(text).toContain(`WRONG  the control plane knows no node ${gone.nodeId}: it was deregistered`)
    expect(code).toBe(1)
  })
})

describe('the doctor of a control plane', () => {
  const { accessKeyId, secretAccessKey } = account.config.credentials

  async function dataFolder(change: Record<string, string> = {}): Promise<string> {
    const data = mkdtempSync(join(place, 'data-'))
    const env = {
      AWS_ENDPOINT_URL: testbed.endpoint,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    }
    const lines = Object.entries({ ...env, ...change }).map(([name, value]) => `export ${name}='${value}'\n`)
    writeFileSync(join(data, 'env'), lines.join(''), { mode: 0o600 })
    await copyFile(testbed.caFile, join(data, 'ca.pem'))
    return data
  }
  const doctor = (data: string, endpoint = testbed.nodeEndpoint) =>
    run([MUSTERBOOK, 'doctor', '--data', data, '--endpoint', endpoint])

  it('finds nothing wrong where nothing is', async () => {
    const { code, text } = await doctor(await dataFolder())
    expect(text).toContain(`ok     the control plane answers at ${testbed.endpoint} and has its database`)
    expect(text).toContain('ok     the root credentials work')
    expect(text).toContain(`ok     ${testbed.nodeEndpoint} is reachable and trusted`)
    expect([code, text]).toEqual([0, expect.stringContaining('Nothing is wrong.')])
  })

  it('tells that it does not run, and credentials that are refused', async () => {
    const silent = await doctor(await dataFolder({ AWS_ENDPOINT_URL: 'http://127.0.0.1:2' }))
    expect(silent.text).toContain('WRONG  the control plane does not answer at http://127.0.0.1:2 (ECONNREFUSED)')
    const refused = await doctor(await dataFolder({ AWS_SECRET_ACCESS_KEY: 'x'.repeat(40) }))
    expect(refused.text).toMatch(/WRONG {2}the root credentials in .* are refused: .*InvalidSignatureException/)
    expect(refused.text).not.toContain('xxxxxxxx')
    expect([silent.code, refused.code]).toEqual([1, 1])
  })

  it('tells secrets that others can read, and a folder with nothing in it', async () => {
    const data = await dataFolder()
    await chmod(join(data, 'env'), 0o644)
    const { text } = await doctor(data)
    expect(text).toContain(`WRONG  others can read ${data}/env: chmod 600`)
    const nothing = await doctor(mkdtempSync(join(place, 'nothing-')))
    expect(nothing.text).toContain('holds neither a control plane nor a node')
  })
})
