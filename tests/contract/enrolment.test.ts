import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { IAM } from '@aws-sdk/client-iam'
import { SSM } from '@aws-sdk/client-ssm'
import { AGENT, eventually, startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { route } from '../../packages/cli/src/client.ts'
import { clientOf } from './simulated-node.ts'

const testbed = await startTestbed({ options: { settings: { agentFile: AGENT } } })
afterAll(() => testbed[Symbol.asyncDispose]())
const run = promisify(execFile)

async function enrolment(input: object = {}, owner?: Awaited<ReturnType<typeof testbed.account>>) {
  const account = owner ?? (await testbed.account())
  const wish = { Kind: 'own', Certificates: await readFile(testbed.caFile, 'utf8'), ...input }
  const { Token } = await route<{ Token: string }>(account.config, 'ssm', 'POST', '/v1/enrolments', wish)
  return { account, ssm: new SSM(account.config), url: `${testbed.nodeEndpoint}/enroll/${Token}` }
}

/** The line that a person pastes, with the agent's folder put aside for the test. */
const paste = (url: string, home: string, ...words: string[]) =>
  run('sh', ['-c', `curl -fsSL --cacert "$0" "$1" | sh -s -- ${words.join(' ')}`, testbed.caFile, url], {
    env: { PATH: process.env.PATH, HOME: home, MUSTERBOOK_AGENT_HOME: join(home, 'agent') },
  })

const idIn = ({ stdout }: { stdout: string }) => /is the node (mi-[0-9a-f]{17})/.exec(stdout)?.[1] ?? stdout

/** A home for one test; what it holds is undone at its end. */
async function enrolledHome(url: string): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'musterbook-enrolled-'))
  return {
    path,
    async [Symbol.asyncDispose]() {
      await paste(url, path, '--undo').catch(() => undone(path).catch(() => {}))
      await rm(path, { recursive: true, force: true })
    },
  }
}

/** Until then it writes into the folder that is to be removed. */
async function end(pid: number): Promise<void> {
  process.kill(pid)
  await eventually('the agent is gone', () => !existsSync(`/proc/${pid}/exe`))
}

/** By the script that the enrolment left, with nothing said of where it lies. */
const undone = (home: string) => run('sh', [join(home, 'agent', 'undo.sh')], { env: { PATH: process.env.PATH } })

describe('an enrolment', () => {
  it('has no end where it asks for none and the installation allows it', async () => {
    const wish = { Kind: 'own', Certificates: await readFile(testbed.caFile, 'utf8'), Hours: null }
    const limited = (await testbed.account()).config
    await expect(route(limited, 'ssm', 'POST', '/v1/enrolments', wish)).rejects.toThrow('--max-activation-days')
    await using free = await startTestbed({ options: { settings: { maxActivationDays: 0 } } })
    const { config } = await free.account()
    const { Token } = await route<{ Token: string }>(config, 'ssm', 'POST', '/v1/enrolments', wish)
    free.clock.advance(40 * 365 * 86_400_000)
    const script = await fetch(`${free.endpoint}/enroll/${Token}`)
    expect(script.status).toBe(200)
    const ssm = clientOf(free, { ...(await free.account()), config })
    expect((await ssm.describeActivations({})).ActivationList).toMatchObject([
      { ExpirationDate: new Date('9999-12-31T23:59:59Z'), Expired: false },
    ])
  })

  it('makes the machine a node, changes nothing the second time, and undoes itself', async () => {
    const { account, ssm, url } = await enrolment({ Tags: { Env: 'prod' } })
    const home = await mkdtemp(join(tmpdir(), 'musterbook-enrolled-'))
    try {
      const first = await paste(url, home)
      expect(first.stdout).toContain(`becomes a node of ${testbed.nodeEndpoint} (account ${account.account}`)
      const nodeId = /is the node (mi-[0-9a-f]{17})/.exec(first.stdout)?.[1] ?? ''
      const online = () =>
        eventually('the node is connected', async () => {
          const { Status } = await ssm.getConnectionStatus({ Target: nodeId })
          return Status === 'connected'
        })
      await online()
      const { TagList } = await ssm.listTagsForResource({ ResourceType: 'ManagedInstance', ResourceId: nodeId })
      expect(TagList).toEqual([{ Key: 'Env', Value: 'prod' }])
      const settings = join(home, 'agent', 'settings.json')
      expect((await stat(settings)).mode & 0o777).toBe(0o600)
      expect(await readFile(settings, 'utf8')).not.toContain('activation')
      const second = await paste(url, home)
      expect(second.stdout).toContain(`is the node ${nodeId}`)
      await online()
      expect((await ssm.describeInstanceInformation({})).InstanceInformationList).toHaveLength(1)
      const pid = Number(await readFile(join(home, 'agent', 'agent.pid'), 'utf8'))
      const undone = await paste(url, home, '--undo')
      expect(undone.stdout).toContain('no longer a node')
      await expect(stat(join(home, 'agent'))).rejects.toThrow('ENOENT')
      expect(() => process.kill(pid, 0)).toThrow('ESRCH')
    } finally {
      await paste(url, home, '--undo').catch(() => {})
      await rm(home, { recursive: true, force: true })
    }
  })

  it('makes a machine a new node whose old one was deregistered', async () => {
    const first = await enrolment()
    await using home = await enrolledHome(first.url)
    const gone = idIn(await paste(first.url, home.path))
    await first.ssm.deregisterManagedInstance({ InstanceId: gone })
    const second = await enrolment({}, first.account)
    const nodeId = idIn(await paste(second.url, home.path))
    expect(nodeId).toMatch(/^mi-/)
    expect(nodeId).not.toBe(gone)
    await eventually('the new node is connected', async () => {
      return (await first.ssm.getConnectionStatus({ Target: nodeId })).Status === 'connected'
    })
  })

  it('leaves a stranger alone that has got the number of an agent that ran before a restart', async () => {
    const { url } = await enrolment()
    await using home = await enrolledHome(url)
    await paste(url, home.path)
    await end(Number(await readFile(join(home.path, 'agent', 'agent.pid'), 'utf8')))
    const stranger = spawn('sleep', ['60'])
    const gone = once(stranger, 'exit')
    await writeFile(join(home.path, 'agent', 'agent.pid'), String(stranger.pid))
    await paste(url, home.path, '--undo')
    expect(stranger.exitCode ?? stranger.signalCode).toBeNull()
    stranger.kill()
    await gone
  })

  it('tells whether a node is known to those who may enrol, and to nobody else', async () => {
    const { ssm, url } = await enrolment()
    const other = await enrolment()
    await using home = await enrolledHome(url)
    const nodeId = idIn(await paste(url, home.path))
    const ask = (line: string, id: string) =>
      run('curl', ['-fsS', '--cacert', testbed.caFile, `${line}/nodes/${id}`]).then(({ stdout }) => stdout.trim())
    expect(await ask(url, nodeId)).toBe(nodeId)
    await expect(ask(other.url, nodeId)).rejects.toThrow('404')
    await expect(ask(url, 'mi-00000000000000000')).rejects.toThrow('404')
    await ssm.deregisterManagedInstance({ InstanceId: nodeId })
    await expect(ask(url, nodeId)).rejects.toThrow('404')
  })

  it('configures the official agent with endpoints and the authority', async () => {
    const { url } = await enrolment({ Kind: 'official' })
    const { stdout } = await run('curl', ['-fsSL', '--cacert', testbed.caFile, url])
    expect(stdout).toContain('"Mgs":{"Endpoint":"$server"}')
    expect(stdout).toContain('-----BEGIN CERTIFICATE-----')
    const check = run('sh', ['-n', '-c', stdout])
    await expect(check).resolves.toMatchObject({ stderr: '' })
  })

  it('is refused with anything but certificates and plain tags', async () => {
    await expect(enrolment({ Certificates: "x'; rm -rf /" })).rejects.toThrow('Certificates must be PEM')
    await expect(enrolment({ Tags: { a: "b'$(id)" } })).rejects.toThrow('Tags must be')
    await expect(enrolment({ Kind: 'other' })).rejects.toThrow('Kind must be')
  })

  it('is for those who may make such an activation, and pass the role of its nodes', async () => {
    const account = await testbed.account()
    const iam = new IAM(account.config)
    const wish = { Kind: 'own', Certificates: await readFile(testbed.caFile, 'utf8') }
    const enrolAs = async (UserName: string, input: object, ...Statement: object[]) => {
      await iam.createUser({ UserName })
      const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
      await iam.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument })
      const { AccessKey } = await iam.createAccessKey({ UserName })
      const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
      return route({ ...account.config, credentials }, 'ssm', 'POST', '/v1/enrolments', { ...wish, ...input })
    }
    const activate = { Effect: 'Allow', Action: 'ssm:CreateActivation', Resource: '*' }
    const pass = {
      ...{ Effect: 'Allow', Action: 'iam:PassRole' },
      Resource: `arn:aws:iam::${account.account}:role/musterbook-node`,
    }
    const noProduction = {
      ...{ Effect: 'Deny', Action: 'ssm:CreateActivation', Resource: '*' },
      Condition: { StringEquals: { 'aws:RequestTag/Env': 'prod' } },
    }
    await expect(enrolAs('ada', {}, activate)).rejects.toThrow('not authorized to perform: iam:PassRole')
    await expect(enrolAs('bob', { Tags: { Env: 'prod' } }, activate, pass, noProduction)).rejects.toThrow(
      'not authorized to perform: ssm:CreateActivation',
    )
    await enrolAs('carl', { Tags: { Env: 'test' } }, activate, pass, noProduction)
  })

  // The last one: it moves the clock, and whoever signs has another.
  it('ends when its time is over, and is then undone by what it left on the machine', async () => {
    const { url } = await enrolment({ Hours: 2 })
    const ask = () => run('curl', ['-fsSL', '--cacert', testbed.caFile, url])
    expect((await ask()).stdout).toContain('#!/bin/sh')
    await using home = await enrolledHome(url)
    const nodeId = idIn(await paste(url, home.path))
    const pid = Number(await readFile(join(home.path, 'agent', 'agent.pid'), 'utf8'))
    testbed.clock.advance(2 * 3_600_000)
    await expect(ask()).rejects.toThrow('404')
    const { stdout } = await undone(home.path)
    expect(stdout).toContain(`aws ssm deregister-managed-instance --instance-id ${nodeId}`)
    await expect(stat(join(home.path, 'agent'))).rejects.toThrow('ENOENT')
    expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  })
})
