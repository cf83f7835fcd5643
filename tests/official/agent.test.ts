import { createPrivateKey } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IAM } from '@aws-sdk/client-iam'
import type { SSM } from '@aws-sdk/client-ssm'
import { eventually, REGION, startTestbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { requestRoleToken } from '../../packages/agent/src/role-token.ts'
import { createTransport } from '../../packages/agent/src/transport.ts'
import { clientOf } from '../contract/simulated-node.ts'
import { type Crossing, crossing, type OfficialAgent, officialAgent, whyNot } from './official-agent.ts'

const reason = whyNot()
const MINUTES = 60_000

if (reason) describe.skip(`the official agent: ${reason}`, () => it('is not here', () => {}))
else
  describe('the official agent', { timeout: 3 * MINUTES }, () => {
    let testbed: Awaited<ReturnType<typeof startTestbed>>
    let second: Awaited<ReturnType<typeof testbed.another>>
    let door: Crossing
    let account: Awaited<ReturnType<typeof testbed.account>>
    let ssm: SSM
    let agent: OfficialAgent
    let nodeId: string

    beforeAll(async () => {
      testbed = await startTestbed({ options: { settings: { keyRotationDays: 30 } } })
      account = await testbed.account()
      ssm = clientOf(testbed, account)
      second = await testbed.another()
      door = await crossing(Number(new URL(second.nodeEndpoint).port))
    }, MINUTES)

    afterAll(async () => {
      await agent?.[Symbol.asyncDispose]()
      await door?.[Symbol.asyncDispose]()
      await second?.[Symbol.asyncDispose]()
      await testbed?.[Symbol.asyncDispose]()
    }, MINUTES)

    const explained = async (what: string, ask: () => Promise<boolean | undefined>, deadline = MINUTES) =>
      eventually(what, ask, deadline).catch(async (error) => {
        throw new Error(`${what}: ${(await agent.log()).split('\n').slice(-60).join('\n')}`, { cause: error })
      })

    const connected = (status: string) =>
      explained(
        `the agent is ${status}`,
        async () => (await ssm.getConnectionStatus({ Target: nodeId })).Status === status,
      )

    async function shell(...commands: string[]) {
      const input = { DocumentName: 'AWS-RunShellScript', InstanceIds: [nodeId], Parameters: { commands } }
      return (await ssm.sendCommand(input)).Command?.CommandId ?? ''
    }
    const stands = (CommandId: string, ...wanted: string[]) =>
      explained(`${CommandId} is ${wanted}`, async () => {
        const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId })
        return wanted.includes(CommandInvocations?.[0]?.StatusDetails ?? '')
      })
    const shown = (CommandId: string) => ssm.getCommandInvocation({ CommandId, InstanceId: nodeId })

    it('registers with an activation and is Online', async () => {
      const { ActivationId: id = '', ActivationCode: code = '' } = await ssm.createActivation({ IamRole: 'node' })
      const all = { ssm: door.endpoint, mds: door.endpoint, mgs: door.endpoint }
      agent = await officialAgent({ ...all, region: REGION, caFile: testbed.caFile })
      nodeId = await agent.register({ id, code })
      expect(nodeId).toMatch(/^mi-[0-9a-f]{17}$/)
      agent.start()
      await explained('the agent is Online', async () => {
        const { InstanceInformationList } = await ssm.describeInstanceInformation({})
        const [found] = InstanceInformationList ?? []
        expect(found?.InstanceId).toBe(nodeId)
        return found?.PingStatus === 'Online' && found.ComputerName !== undefined
      })
      await connected('connected')
      const { InstanceInformationList } = await ssm.describeInstanceInformation({})
      expect(InstanceInformationList?.[0]).toMatchObject({
        PlatformType: 'Linux',
        AgentVersion: expect.stringMatching(/^3\./),
      })
    })

    it('runs a command and reports output and exit code', async () => {
      const CommandId = await shell('echo hello', 'echo careful >&2', 'exit 3')
      await stands(CommandId, 'Failed')
      expect(await shown(CommandId)).toMatchObject({ ResponseCode: 3, StandardOutputContent: 'hello\n' })
      expect((await shown(CommandId)).StandardErrorContent).toContain('careful')
    })

    it('runs a document of two steps, whose results come one by one', async () => {
      const step = (name: string) => ({ action: 'aws:runShellScript', name, inputs: { runCommand: [`echo ${name}`] } })
      const Content = JSON.stringify({ schemaVersion: '2.2', mainSteps: [step('first'), step('second')] })
      await ssm.createDocument({ Name: 'TwoSteps', Content, DocumentType: 'Command', DocumentFormat: 'JSON' })
      const { Command } = await ssm.sendCommand({ DocumentName: 'TwoSteps', InstanceIds: [nodeId] })
      const CommandId = Command?.CommandId ?? ''
      await stands(CommandId, 'Success')
      for (const PluginName of ['first', 'second'])
        await explained(`${PluginName} is there`, async () => {
          const found = await ssm.getCommandInvocation({ CommandId, InstanceId: nodeId, PluginName })
          return found.StandardOutputContent === `${PluginName}\n`
        })
    })

    it('cancels a command that runs', async () => {
      const CommandId = await shell('echo begun; sleep 300')
      await stands(CommandId, 'InProgress')
      await ssm.cancelCommand({ CommandId })
      await stands(CommandId, 'Cancelled')
      expect(await shown(CommandId)).toMatchObject({ Status: 'Cancelled' })
    })

    it('says nothing of a queued command that is cancelled: it is taken for cancelled after a minute', async () => {
      const busy = await Promise.all(Array.from({ length: 5 }, () => shell('sleep 300')))
      for (const CommandId of busy) await stands(CommandId, 'InProgress')
      const queued = await shell('echo never')
      await stands(queued, 'InProgress')
      await ssm.cancelCommand({ CommandId: queued })
      await stands(queued, 'Cancelling')
      await explained('the cancellation is taken', async () => {
        const rows = await testbed.server.ground.sql`
          select 1 from command_invocations where command_id = ${queued} and cancel_taken_at is not null`
        return rows.length === 1
      })
      testbed.clock.advance(61_000)
      await stands(queued, 'Cancelled')
      for (const CommandId of busy) await ssm.cancelCommand({ CommandId })
      for (const CommandId of busy) await stands(CommandId, 'Cancelled')
    })

    it('is given more than it can queue, and gets to all of it', async () => {
      const all = await Promise.all(Array.from({ length: 13 }, (_, at) => shell(`sleep 1; echo ${at}`)))
      for (const [at, CommandId] of all.entries()) {
        await stands(CommandId, 'Success')
        expect(await shown(CommandId)).toMatchObject({ StandardOutputContent: `${at}\n` })
      }
    })

    it('survives a restart of the server: it reports what it ran meanwhile and takes what was sent', async () => {
      await using gate = await closedGate()
      const running = await shell(`${gate.pass}; echo through`)
      await stands(running, 'InProgress')
      door.cut()
      await second[Symbol.asyncDispose]()
      await connected('notconnected')
      const meanwhile = await shell('echo meanwhile')
      await second.server.work.settle().catch(() => {})
      second = await testbed.another()
      door.lead(Number(new URL(second.nodeEndpoint).port))
      await connected('connected')
      await stands(meanwhile, 'Success')
      await gate.open()
      await stands(running, 'Success')
      expect(await shown(running)).toMatchObject({ StandardOutputContent: 'through\n' })
    })

    it('sends a reply that was not acknowledged again when it starts anew', async () => {
      await using gate = await closedGate()
      const CommandId = await shell(`${gate.pass}; echo kept`)
      await stands(CommandId, 'InProgress')
      door.cut()
      await gate.open()
      await explained('its last reply lies on its disk', async () => {
        const folder = agent.file(nodeId, 'replies_mgs')
        const names = await readdir(folder).catch(() => [])
        const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8').catch(() => '')))
        return texts.some((text) => text.includes(CommandId) && text.includes('kept'))
      })
      await agent.kill()
      door.lead(Number(new URL(second.nodeEndpoint).port))
      agent.start()
      await stands(CommandId, 'Success')
      expect(await shown(CommandId)).toMatchObject({ StandardOutputContent: 'kept\n' })
    })

    it('replaces its key when it is asked to, and goes on with the new one', async () => {
      type Vault = { privateKey: string; publicKey: string }
      const vault = async () =>
        JSON.parse(await readFile(agent.file('Vault', 'Store', 'RegistrationKey'), 'utf8')) as Vault
      /** It starts anew without the credentials that it has shared, and has to ask for others. */
      const renewed = async () => {
        await agent.kill()
        await rm(agent.file('runtimeconfig', 'identity_config.json'))
        agent.start()
      }
      const { privateKey } = await vault()
      const { sql } = testbed.server.ground
      await sql`update nodes set key_date = key_date - interval '31 days' where node_id = ${nodeId}`
      await renewed()
      await explained('it has another key', async () => (await vault()).privateKey !== privateKey)
      const key = createPrivateKey({ key: Buffer.from(privateKey, 'base64'), format: 'der', type: 'pkcs1' })
      const [row] = await sql<{ fingerprint: string }[]>`select fingerprint from nodes where node_id = ${nodeId}`
      const transport = createTransport({ endpoint: testbed.endpoint, region: REGION })
      const old = { instanceId: nodeId, fingerprint: row?.fingerprint ?? '', key }
      await expect(requestRoleToken(transport, old)).rejects.toThrow('AccessDeniedException')
      transport.close()
      await renewed()
      const CommandId = await shell('echo rotated')
      await stands(CommandId, 'Success')
    })

    const nobodyThere = 'https://127.0.0.1:1'
    const ways = [
      ['is not reached', 'node', nobodyThere],
      ['is denied by its role', 'polls', undefined],
    ] as const
    it.each(ways)('works over ec2messages alone when its control channel %s', async (_, IamRole, mgs) => {
      await agent[Symbol.asyncDispose]()
      if (IamRole === 'polls') await roleThatPolls(IamRole)
      const { ActivationId: id = '', ActivationCode: code = '' } = await ssm.createActivation({ IamRole })
      agent = await officialAgent({
        ssm: door.endpoint,
        mds: door.endpoint,
        mgs: mgs ?? door.endpoint,
        region: REGION,
        caFile: testbed.caFile,
      })
      nodeId = await agent.register({ id, code })
      agent.start()
      await explained('the agent is Online', async () => {
        const Filters = [{ Key: 'InstanceIds', Values: [nodeId] }]
        const { InstanceInformationList } = await ssm.describeInstanceInformation({ Filters })
        return InstanceInformationList?.[0]?.PingStatus === 'Online'
      })
      const CommandId = await shell('echo polled; exit 4')
      await stands(CommandId, 'Failed')
      expect(await shown(CommandId)).toMatchObject({ ResponseCode: 4, StandardOutputContent: 'polled\n' })
      const long = await shell('sleep 300')
      await stands(long, 'InProgress')
      await ssm.cancelCommand({ CommandId: long })
      await stands(long, 'Cancelled')
      expect((await ssm.getConnectionStatus({ Target: nodeId })).Status).toBe('notconnected')
    })

    /** A shell command that waits until the gate is opened: no command is faster than a slow machine. */
    async function closedGate() {
      const folder = await mkdtemp(join(tmpdir(), 'musterbook-gate-'))
      const file = join(folder, 'open')
      return {
        pass: `while [ ! -e ${file} ]; do sleep 0.1; done`,
        open: () => writeFile(file, ''),
        [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
      }
    }

    async function roleThatPolls(RoleName: string): Promise<void> {
      const iam = new IAM(account.config)
      const statement = (more: object) => JSON.stringify({ Version: '2012-10-17', Statement: [more] })
      const trusted = { Effect: 'Allow', Principal: { Service: 'ssm.amazonaws.com' }, Action: 'sts:AssumeRole' }
      await iam.createRole({ RoleName, AssumeRolePolicyDocument: statement(trusted) })
      const PolicyDocument = statement({ Effect: 'Deny', Action: 'ssmmessages:*', Resource: '*' })
      await iam.putRolePolicy({ RoleName, PolicyName: 'polls', PolicyDocument })
    }
  })
