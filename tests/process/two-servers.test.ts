/** Two server processes on one database: what one is told, the other knows, and nodes outlive either. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CreateActivationCommand,
  DeregisterManagedInstanceCommand,
  DescribeInstanceInformationCommand,
  DescribeParametersCommand,
  GetCommandInvocationCommand,
  GetConnectionStatusCommand,
  GetParameterCommand,
  PutParameterCommand,
  SendCommandCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm'
import { eventually, freshDatabase, startAgent, startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { enrol, send, signed } from '../contract/signed-request.ts'
import { newPlace, startMusterbook } from './musterbook-process.ts'

/** What another process may still say of a parameter after it was written here: the wake's way through PostgreSQL. */
const SEEN_WITHIN_MS = 100

const isConnected = async (ssm: SSMClient, Target: string) =>
  (await ssm.send(new GetConnectionStatusCommand({ Target }))).Status === 'connected'

const run = (nodeId: string, command: string) =>
  new SendCommandCommand({
    InstanceIds: [nodeId],
    DocumentName: 'AWS-RunShellScript',
    Parameters: { commands: [command] },
  })

const result = (ssm: SSMClient, CommandId: string, InstanceId: string) =>
  eventually('the command has succeeded', async () => {
    const invocation = await ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId }))
    return invocation.Status === 'Success' && invocation
  })

describe('two servers in one installation', () => {
  it('carry a command from the one to a node that is connected to the other', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const account = await testbed.account()
    const { nodeId } = await testbed.node(account)
    const there = account.client({ endpoint: second.endpoint })
    await eventually('the node is connected', () => isConnected(there, nodeId))
    const marker = randomUUID()
    const { Command } = await there.send(run(nodeId, `echo ${marker}`))
    const invocation = await result(there, Command!.CommandId!, nodeId)
    expect(invocation.StandardOutputContent).toContain(marker)
  })

  it('read what the other wrote at once, although they have read it before', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const account = await testbed.account()
    const clients = [account.ssm, account.client({ endpoint: second.endpoint })] as const
    const value = async (ssm: SSMClient) =>
      (await ssm.send(new GetParameterCommand({ Name: 'shared', WithDecryption: true }))).Parameter?.Value
    for (let turn = 0; turn < 20; turn++) {
      const [writer, reader] = turn % 2 ? clients : ([clients[1], clients[0]] as const)
      const Value = randomUUID()
      await writer.send(new PutParameterCommand({ Name: 'shared', Value, Type: 'SecureString', Overwrite: true }))
      expect(await value(writer)).toBe(Value)
      await eventually('the other reads it', async () => (await value(reader)) === Value, SEEN_WITHIN_MS)
    }
  })

  it('refuse the credentials of a node that was deregistered at the other, and close its channel', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const account = await testbed.account()
    const node = await enrol(testbed, account)
    const ask = () =>
      send(
        second.endpoint,
        signed({
          credentials: node.credentials,
          host: new URL(second.endpoint).host,
          operation: 'GetDocument',
          body: '{"Name":"AWS-RunShellScript"}',
        }),
      )
    expect((await ask()).status).toBe(200)
    await account.ssm.send(new DeregisterManagedInstanceCommand({ InstanceId: node.nodeId }))
    await eventually('it is refused', async () => (await ask()).error === 'UnrecognizedClientException', 1_000)

    const connected = await testbed.node(account)
    const there = account.client({ endpoint: second.endpoint })
    await there.send(new DeregisterManagedInstanceCommand({ InstanceId: connected.nodeId }))
    const metrics = () => fetch(`${testbed.endpoint}/metrics`).then((answer) => answer.text())
    await eventually('its channel is closed', async () => /musterbook_open_sockets 0/.test(await metrics()))
  })

  it('stop one after the other while nodes are connected', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    await testbed.node(account)
    const second = await testbed.another()
    await second[Symbol.asyncDispose]()
    await testbed.server[Symbol.asyncDispose]()
    await expect(fetch(`${testbed.endpoint}/healthz`)).rejects.toThrow()
  })
})

describe('two processes on one PostgreSQL', () => {
  it('lose one with SIGKILL: its nodes move to the other, and what was sent to them arrives', async () => {
    await using database = await freshDatabase()
    await using placeOne = await newPlace()
    await using placeTwo = await newPlace()
    const env = { DATABASE_URL: urlOf(database.address) }
    const one = await startMusterbook(placeOne, 'serve', { env })
    const rootKey = ['--root-key-file', join(placeOne.folder, 'root.key')]
    await using two = await startMusterbook(placeTwo, 'serve', { env, args: rootKey })
    expect(two.config.credentials).toEqual(one.config.credentials)
    await one.ssm.send(new PutParameterCommand({ Name: 'kept', Value: 'secret', Type: 'SecureString' }))
    const { Parameter } = await two.ssm.send(new GetParameterCommand({ Name: 'kept', WithDecryption: true }))
    expect(Parameter?.Value).toBe('secret')

    const { ActivationId, ActivationCode } = await one.ssm.send(new CreateActivationCommand({ IamRole: 'node' }))
    await using agent = await startAgent({
      endpoint: `https://127.0.0.1:${placeOne.tlsPort}`,
      region: 'us-east-1',
      caFile: join(placeOne.folder, 'ca.pem'),
      activation: { id: ActivationId!, code: ActivationCode! },
    })
    const nodeId = await eventually(`the node is connected: ${agent.log()}`, async () => {
      const { InstanceInformationList } = await two.ssm.send(new DescribeInstanceInformationCommand({}))
      const id = InstanceInformationList?.[0]?.InstanceId
      return id && (await isConnected(two.ssm, id)) && id
    })
    await one[Symbol.asyncDispose]()
    // A name or a balancer stands before both in real life; here the survivor takes over the address of the dead.
    const { Command } = await two.ssm.send(run(nodeId, 'echo arrived'))
    await two.kill('SIGTERM')
    const takingOver = { ...placeTwo, port: placeOne.port, tlsPort: placeOne.tlsPort }
    const certificates = await Promise.all(
      [placeOne, placeTwo].map(({ folder }) => readFile(join(folder, 'ca.pem'), 'utf8')),
    )
    expect(certificates[0]).not.toBe(certificates[1])
    await using three = await startMusterbook({ ...takingOver, folder: placeOne.folder }, 'serve', { env })
    await result(three.ssm, Command!.CommandId!, nodeId)
    expect((await three.ssm.send(new DescribeParametersCommand({}))).Parameters).toHaveLength(1)
  })
})

/** The run's PostgreSQL as a URL, as an operator would give it. */
function urlOf(address: {
  url?: string
  socketFolder?: string
  port?: number
  user?: string
  database?: string
}): string {
  if (address.url) return address.url
  const { socketFolder = '', port, user, database } = address
  return `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(socketFolder)}`
}
