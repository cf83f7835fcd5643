/**
 * Real processes, killed with SIGKILL at random moments: no acknowledged write is lost, no command stays without an end, none
 * runs twice, and nothing is left behind. MUSTERBOOK_FAULT_ROUNDS raises the number of kills.
 */
import { randomInt, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  CreateActivationCommand,
  GetParametersByPathCommand,
  ListCommandInvocationsCommand,
  ListCommandsCommand,
  PutParameterCommand,
  SendCommandCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm'
import { eventually, startAgent } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { enrolled } from './enrolled.ts'
import { allGone, descendants, newPlace, processes, startMusterbook } from './musterbook-process.ts'

const ROUNDS = Number(process.env.MUSTERBOOK_FAULT_ROUNDS ?? 4)
/** Milliseconds after which a round's kill comes at the latest: most rounds end while all is under way. */
const LATEST_KILL_MS = 900
const END_MS = 120_000

const isEnd = (status: string | undefined) => /^(Success|Failed|TimedOut|Cancelled)$/.test(status ?? '')

const shell = (nodeId: string, ...commands: string[]) =>
  new SendCommandCommand({
    InstanceIds: [nodeId],
    DocumentName: 'AWS-RunShellScript',
    Parameters: { commands },
  })

async function allParameters(ssm: SSMClient): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  let NextToken: string | undefined
  do {
    const page = await ssm.send(
      new GetParametersByPathCommand({ Path: '/faults', Recursive: true, WithDecryption: true, NextToken }),
    )
    for (const { Name, Value } of page.Parameters ?? []) found.set(Name!, Value!)
    NextToken = page.NextToken
  } while (NextToken)
  return found
}

async function allCommands(ssm: SSMClient) {
  const found: { id: string; status: string | undefined; marker: string }[] = []
  let NextToken: string | undefined
  do {
    const page = await ssm.send(new ListCommandsCommand({ NextToken }))
    for (const { CommandId, Status, Comment } of page.Commands ?? [])
      found.push({ id: CommandId!, status: Status, marker: Comment! })
    NextToken = page.NextToken
  } while (NextToken)
  return found
}

describe('a server that is killed', () => {
  it(
    `loses nothing that it acknowledged and repeats nothing, ${ROUNDS} times`,
    async () => {
      await using place = await newPlace()
      const file = join(place.folder, 'ran')
      let server = await startMusterbook(place, 'serve')
      const { ActivationId, ActivationCode } = await server.ssm.send(new CreateActivationCommand({ IamRole: 'node' }))
      await using agent = await startAgent({
        endpoint: `https://127.0.0.1:${place.tlsPort}`,
        region: 'us-east-1',
        caFile: join(place.folder, 'ca.pem'),
        activation: { id: ActivationId!, code: ActivationCode! },
        commandQueue: 1_000,
      })
      const nodeId = (await enrolled(server.ssm)).nodeId
      const asked = new Map<string, string>()
      const acknowledged = new Set<string>()
      const sent = new Set<string>()

      /** Writes as fast as the server answers, until it does not. */
      async function write(round: number, writer: number): Promise<void> {
        for (let count = 0; ; count++) {
          const [Name, Value] = [`/faults/${round}/${writer}/${count}`, randomUUID()]
          asked.set(Name, Value)
          await server.ssm.send(new PutParameterCommand({ Name, Value, Type: count % 3 ? 'String' : 'SecureString' }))
          acknowledged.add(Name)
        }
      }
      async function command(): Promise<void> {
        for (;;) {
          const marker = randomUUID()
          const request = shell(nodeId, `echo ${marker} >> ${file}`)
          request.input.Comment = marker
          await server.ssm.send(request)
          sent.add(marker)
          await pause(50)
        }
      }

      for (let round = 0; round < ROUNDS; round++) {
        const work = Promise.allSettled([write(round, 0), write(round, 1), write(round, 2), command()])
        await pause(randomInt(LATEST_KILL_MS))
        const children = descendants(server.child.pid)
        expect(children.some(({ args }) => /postgres/.test(args))).toBe(true)
        await server.kill('SIGKILL')
        await work
        server.ssm.destroy()
        await allGone(children)
        server = await startMusterbook(place, 'serve')
      }
      await using last = server

      const stored = await allParameters(last.ssm)
      expect(acknowledged.size).toBeGreaterThan(ROUNDS)
      for (const name of acknowledged) expect(stored.has(name), `${name} was acknowledged`).toBe(true)
      const decrypted = (name: string) => Number(name.split('/').at(-1)) % 3 !== 0
      for (const [name, value] of stored) if (decrypted(name)) expect(value).toBe(asked.get(name))

      const commands = await eventually(
        'every command has ended',
        async () => {
          const all = await allCommands(last.ssm)
          return all.every(({ status }) => isEnd(status)) && all
        },
        END_MS,
      )
      const known = new Set(commands.map(({ marker }) => marker))
      for (const marker of sent) expect(known.has(marker), `${marker} was acknowledged`).toBe(true)
      const ran = (await readFile(file, 'utf8').catch(() => '')).split('\n').filter(Boolean)
      expect(ran.length, `none ran twice: ${agent.log()}`).toBe(new Set(ran).size)
      for (const { marker, status } of commands)
        expect(ran.includes(marker), `${marker} ${status}`).toBe(status === 'Success')
      await last.kill('SIGTERM')
    },
    60_000 + ROUNDS * 30_000,
  )
})

describe('an agent that is killed while a command runs', () => {
  it('is back by itself, and the command ends in a true state', async () => {
    await using place = await newPlace()
    await using server = await startMusterbook(place, 'up')
    const { ssm } = server
    const nodeId = (await enrolled(ssm)).nodeId
    const [started, finished] = [join(place.folder, 'started'), join(place.folder, 'finished')]
    const { Command } = await ssm.send(shell(nodeId, `echo x >> ${started}; sleep 2; echo x >> ${finished}; exit 7`))
    const exists = (file: string) => readFile(file, 'utf8').catch(() => undefined)
    await eventually('the command runs', () => exists(started))
    const agent = descendants(server.child.pid).find(({ args }) => /agent\.cjs run/.test(args))!
    process.kill(agent.pid, 'SIGKILL')
    const invocation = await eventually('the invocation has ended', async () => {
      const listed = await ssm.send(
        new ListCommandInvocationsCommand({ CommandId: Command!.CommandId!, Details: true }),
      )
      return listed.CommandInvocations?.find(({ Status }) => isEnd(Status))
    })
    expect(await exists(started)).toBe('x\n')
    // True: what it says is what happened. The document goes on without its agent, and says so to the next one.
    expect(await exists(finished)).toBe('x\n')
    expect(invocation.CommandPlugins?.[0]).toMatchObject({ Status: 'Failed', ResponseCode: 7 })
    expect((await enrolled(ssm)).nodeId).toBe(nodeId)
    const agents = descendants(server.child.pid).filter(({ args }) => /agent\.cjs run/.test(args))
    expect(agents).toHaveLength(1)
    expect(agents[0]!.pid).not.toBe(agent.pid)
  })
})

describe('a server with its own node that is killed', () => {
  it('leaves no PostgreSQL, no agent and no executor behind, and starts again with the same node', async () => {
    await using place = await newPlace()
    const server = await startMusterbook(place, 'up')
    const nodeId = (await enrolled(server.ssm)).nodeId
    const running = join(place.folder, 'running')
    await server.ssm.send(shell(nodeId, `echo x > ${running}; sleep 1`))
    await eventually('the command runs', () => readFile(running, 'utf8').catch(() => undefined))
    const children = descendants(server.child.pid)
    const names = children.map(({ args }) => args).join('\n')
    expect(names).toMatch(/postgres/)
    expect(names).toMatch(/agent\.cjs run/)
    expect(names).toMatch(/sleep 1/)
    await server[Symbol.asyncDispose]()
    await allGone(children)
    expect(processes().filter(({ args }) => args.includes(place.folder))).toEqual([])
    await using again = await startMusterbook(place, 'up')
    expect((await enrolled(again.ssm)).nodeId).toBe(nodeId)
    const ended = await eventually('its command has ended', async () => {
      const [command] = await allCommands(again.ssm)
      return isEnd(command?.status) && command
    })
    expect(ended.status).toBe('Success')
    const all = descendants(again.child.pid)
    expect(await again.kill('SIGTERM')).toBe(0)
    await allGone(all)
  })
})
