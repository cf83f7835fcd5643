/** The one binary at a shell: its settings, what it says when they are wrong, its start and its end, and what it keeps to itself. */
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AddTagsToResourceCommand,
  CreateActivationCommand,
  DeregisterManagedInstanceCommand,
  DescribeParametersCommand,
  GetCommandInvocationCommand,
  GetParameterCommand,
  PutParameterCommand,
  SendCommandCommand,
} from '@aws-sdk/client-ssm'
import type { DatabaseAddress } from '@musterbook/server'
import { eventually, freshDatabase } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { SETTINGS } from '../../packages/cli/src/settings.ts'
import { refusal } from '../contract/refusal.ts'
import { enrolled } from './enrolled.ts'
import {
  allGone,
  descendants,
  newPlace,
  type Place,
  processes,
  run,
  runProgram,
  startMusterbook,
} from './musterbook-process.ts'

const mode = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

/** Runs to its end; what a person sees. */
async function outcome(args: string[], env: Record<string, string> = {}) {
  await using running = run(args, env)
  const code = await running.ended
  return { code, out: running.out(), err: running.err() }
}

const at = (place: Place) => ['--data', place.folder, '--port', String(place.port), '--tls-port', String(place.tlsPort)]

/** One line for a person that has all of these in it, and no stack. */
function expectComplaint({ code, err }: { code: number | string; err: string }, ...parts: string[]) {
  expect(code).toBe(1)
  const lines = err.split('\n').filter((line) => line && !line.startsWith('{'))
  expect(lines, err).toHaveLength(1)
  for (const part of parts) expect(lines[0]).toContain(part)
}

function urlOf(address: DatabaseAddress): string {
  if (address.url) return address.url
  const { socketFolder = '', port, user, database } = address
  return `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(socketFolder)}`
}

describe('--help', () => {
  it('tells every setting with its twin in the environment, whatever else is wrong', async () => {
    const { code, out } = await outcome(['--help'], { MUSTERBOOK_PORT: 'nonsense' })
    expect(code).toBe(0)
    for (const { flag, variable } of Object.values(SETTINGS)) {
      if (flag) expect(out).toContain(`--${flag}`)
      expect(out).toContain(variable)
    }
    expect(new Set(Object.values(SETTINGS).map(({ variable }) => variable)).size).toBe(Object.keys(SETTINGS).length)
    expect((await outcome([])).out).toBe(out)
  })

  it('of a command tells the settings of that command alone', async () => {
    const { out } = await outcome(['migrate', '--help'])
    expect(out).toContain('DATABASE_URL')
    expect(out).not.toContain('--tls-port')
  })
})

describe('a setting that is wrong is one line that names it', () => {
  it.each<[string, string[], Record<string, string>, string[]]>([
    ['a port that is none', ['serve', '--port', 'abc'], {}, ['--port', 'MUSTERBOOK_PORT', "'abc'"]],
    ['a port that is too high', ['serve'], { MUSTERBOOK_TLS_PORT: '65536' }, ['MUSTERBOOK_TLS_PORT']],
    ['an account', ['serve', '--account=12'], {}, ['--account', '12 digits']],
    ['a region', ['serve', '--region', 'US EAST'], {}, ['--region']],
    ['a level', ['serve', '--log-level', 'loud'], {}, ['--log-level', 'trace']],
    ['a host name', ['serve', '--host-names', 'a b'], {}, ['--host-names', "'a b'"]],
    ['a switch', ['up', '--no-agent=perhaps'], {}, ['--no-agent']],
    ['an endpoint', ['agent', '--endpoint', 'http://a'], {}, ['--endpoint', 'https://']],
    ['half of a pair', ['serve', '--root-access-key-id', 'AKIA0123456789ABCDEF'], {}, ['ROOT_SECRET_ACCESS_KEY']],
    ['an unknown flag', ['serve', '--prot', '1'], {}, ['--prot', '--help']],
    ['a file of OIDC keys', ['serve', '--oidc-keys-file', '/none'], {}, ['--oidc-keys-file', '/none']],
    ['networks', ['serve', '--oidc-networks', 'all'], {}, ['--oidc-networks', 'loopback']],
    ['a flag without its value', ['serve', '--port'], {}, ['--port', 'value']],
    ['an unknown command', ['srve'], {}, ["'srve'", 'serve']],
    ['a flag of another command', ['migrate', '--port', '1'], {}, ['--port', "'migrate'"]],
    ['a word too many', ['serve', 'now'], {}, ["'now'"]],
    ['a data folder that cannot be', ['serve', '--data', '/dev/null/x'], {}, ['--data', '/dev/null/x']],
    ['an address of another machine', ['serve', '--host', '192.0.2.1'], {}, ['--host', 'MUSTERBOOK_HOST']],
  ])('%s', async (_what, args, env, parts) => {
    await using place = await newPlace()
    const serving = args[0] === 'serve' || args[0] === 'up'
    const data = serving && !args.includes('--data') ? ['--data', place.folder] : []
    const ports = args.includes('--host') ? ['--port', String(place.port), '--tls-port', String(place.tlsPort)] : []
    expectComplaint(await outcome([...args, ...data, ...ports], env), ...parts)
  })

  it('and never repeats a secret', async () => {
    const secret = `s3cr3t'${randomUUID()}`
    const id = { MUSTERBOOK_ROOT_ACCESS_KEY_ID: 'AKIA0123456789ABCDEF' }
    const wrong = await outcome(['serve'], { ...id, MUSTERBOOK_ROOT_SECRET_ACCESS_KEY: secret })
    expectComplaint(wrong, 'MUSTERBOOK_ROOT_SECRET_ACCESS_KEY')
    await using place = await newPlace()
    for (const url of [
      `postgres://me:${secret}@127.0.0.1:1/x`,
      `postgres://me:${secret}@no-such-host.invalid/x`,
      `mysql://me:${secret}@h/x`,
    ]) {
      const answer = await outcome(['serve', ...at(place)], { DATABASE_URL: url })
      expectComplaint(answer, 'DATABASE_URL')
      expect(answer.err).not.toContain(secret)
    }
    expect(wrong.err).not.toContain(secret)
  })
})

describe('serve', () => {
  it('starts, keeps its secrets to its owner, stops with SIGTERM and starts again as the same', async () => {
    await using place = await newPlace()
    const first = await startMusterbook(place, 'serve', {
      args: ['--account', '123456789012', '--region', 'eu-west-3'],
    })
    for (const name of ['env', 'root.key', 'ca.key', 'server.key'])
      expect(await mode(join(place.folder, name)), name).toBe('600')
    expect(await readFile(join(place.folder, 'env'), 'utf8')).toMatch(
      /^#.*\n(export (AWS_ENDPOINT_URL|AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_REGION|AWS_DEFAULT_REGION)='[^']+'\n){5}$/,
    )
    expect(first.config.endpoint).toBe(`http://127.0.0.1:${place.port}`)
    expect(first.config.region).toBe('eu-west-3')
    await first.ssm.send(new PutParameterCommand({ Name: 'kept', Value: 'v', Type: 'SecureString' }))
    expect((await readdir(place.folder)).filter((name) => name.endsWith('.new'))).toEqual([])
    const children = descendants(first.child.pid)
    expect(await first.kill('SIGTERM')).toBe(0)
    first.ssm.destroy()
    await allGone(children)
    await using second = await startMusterbook(place, 'serve', { args: ['--region', 'eu-west-3'] })
    expect(second.config).toEqual(first.config)
    const { Parameter } = await second.ssm.send(new GetParameterCommand({ Name: 'kept', WithDecryption: true }))
    expect(Parameter).toMatchObject({ Value: 'v', ARN: 'arn:aws:ssm:eu-west-3:123456789012:parameter/kept' })
    expect(await second.kill('SIGINT')).toBe(0)
  })

  it('takes the root credentials that it is given at its first start, and shows them to nobody', async () => {
    await using place = await newPlace()
    const credentials = { accessKeyId: 'AKIAGIVENGIVENGIVEN1', secretAccessKey: randomBytes(30).toString('base64') }
    const env = {
      MUSTERBOOK_ROOT_ACCESS_KEY_ID: credentials.accessKeyId,
      MUSTERBOOK_ROOT_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    }
    await using server = await startMusterbook(place, 'up', { env })
    expect(server.config.credentials).toEqual(credentials)
    const { nodeId } = await enrolled(server.ssm)
    const all = processes()
    expect(all.some(({ args }) => args.includes(place.folder))).toBe(true)
    for (const { args } of all) expect(args).not.toContain(credentials.secretAccessKey)
    const { Command } = await server.ssm.send(
      new SendCommandCommand({
        InstanceIds: [nodeId],
        DocumentName: 'AWS-RunShellScript',
        Parameters: { commands: ['env'] },
      }),
    )
    const said = await eventually('the environment of a script', async () => {
      const CommandId = Command!.CommandId!
      const shown = await server.ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId: nodeId }))
      return shown.Status === 'Success' && shown.StandardOutputContent
    })
    expect(said).toContain('PATH=')
    expect(said).not.toContain(credentials.secretAccessKey)
    expect(said).not.toMatch(/^(DATABASE_URL|MUSTERBOOK_ROOT)/m)
  })

  it('says who has a port that is taken, and leaves nothing running', async () => {
    await using place = await newPlace()
    const taken = createServer().listen(place.port, '127.0.0.1')
    await once(taken, 'listening')
    const answer = await outcome(['serve', ...at(place)])
    taken.close()
    expectComplaint(answer, String(place.port), 'ss -ltnp', '--port', 'MUSTERBOOK_PORT')
    await eventually('nothing runs', () => !processes().some(({ args }) => args.includes(place.folder)))
  })

  it('refuses a second server on its data folder', async () => {
    await using place = await newPlace()
    await using _first = await startMusterbook(place, 'serve')
    await using other = await newPlace()
    const ports = ['--port', String(other.port), '--tls-port', String(other.tlsPort)]
    expectComplaint(await outcome(['serve', '--data', place.folder, ...ports]), place.folder)
  })

  it.each(['root.key', 'server.key', 'env'])('refuses %s when others can read it', async (name) => {
    await using place = await newPlace()
    await using database = await freshDatabase()
    const env = { DATABASE_URL: urlOf(database.address) }
    const first = await startMusterbook(place, 'serve', { env })
    await first.kill('SIGTERM')
    first.ssm.destroy()
    const path = join(place.folder, name)
    await chmod(path, 0o640)
    expectComplaint(await outcome(['serve', ...at(place)], env), path, 'chmod 600')
    await chmod(path, 0o600)
    await using again = await startMusterbook(place, 'serve', { env })
    expect((await again.ssm.send(new DescribeParametersCommand({}))).Parameters).toEqual([])
  })

  it('refuses another root key and another account than its database was made with', async () => {
    await using place = await newPlace()
    await using database = await freshDatabase()
    const env = { DATABASE_URL: urlOf(database.address) }
    const first = await startMusterbook(place, 'serve', { env, args: ['--account', '111122223333'] })
    await first.kill('SIGTERM')
    first.ssm.destroy()
    expectComplaint(
      await outcome(['serve', ...at(place), '--account', '444455556666'], env),
      '111122223333',
      '444455556666',
      '--account',
    )
    await using elsewhere = await newPlace()
    expectComplaint(await outcome(['serve', ...at(elsewhere)], env), 'another root key')
    const broken = join(elsewhere.folder, 'short.key')
    await writeFile(broken, 'c2hvcnQ=\n', { mode: 0o600 })
    expectComplaint(await outcome(['serve', ...at(elsewhere), '--root-key-file', broken], env), broken, '32 bytes')
    expectComplaint(await outcome(['serve', ...at(elsewhere), '--root-key-file', '/none'], env), '/none', 'openssl')
  })

  it('stops in the middle of its start', async () => {
    await using place = await newPlace()
    await using starting = run(['serve', ...at(place)])
    await eventually('PostgreSQL is being made', () => descendants(starting.child.pid).length > 0 || undefined)
    const children = descendants(starting.child.pid)
    expect(await starting.kill('SIGTERM')).toBe(0)
    expect(starting.err()).not.toMatch(/\bat .*\.js/)
    await allGone(children)
  })

  it('leaves the mode of a data folder that was there as it was', async () => {
    const parent = await mkdtemp(join(tmpdir(), 'musterbook-cli-'))
    await using place = await newPlace()
    await using database = await freshDatabase()
    const folder = join(parent, 'shared')
    await mkdir(folder)
    await chmod(folder, 0o1777)
    const env = { DATABASE_URL: urlOf(database.address) }
    const server = await startMusterbook({ ...place, folder }, 'serve', { env })
    await server.kill('SIGTERM')
    server.ssm.destroy()
    expect(((await stat(folder)).mode & 0o7777).toString(8)).toBe('1777')
    await rm(parent, { recursive: true })
  })
})

describe('up', () => {
  it('makes this machine a new node when its old one was deregistered', async () => {
    await using place = await newPlace()
    const first = await startMusterbook(place, 'up')
    const { nodeId: InstanceId } = await enrolled(first.ssm)
    await first.ssm.send(new DeregisterManagedInstanceCommand({ InstanceId }))
    await first.kill('SIGTERM')
    first.ssm.destroy()
    await using second = await startMusterbook(place, 'up')
    const { nodeId } = await enrolled(second.ssm)
    expect(nodeId).not.toBe(InstanceId)
  })

  it('--no-agent runs no agent', async () => {
    await using place = await newPlace()
    await using server = await startMusterbook({ ...place }, 'serve', { args: [] })
    await server.kill('SIGTERM')
    await using running = run(['up', '--no-agent', ...at(place)])
    await eventually('it is ready', () => /Ctrl-C stops everything/.test(running.out()))
    expect(descendants(running.child.pid).filter(({ args }) => args.includes('agent.cjs'))).toEqual([])
    expect(running.out()).not.toContain('this machine')
    expect(await running.kill('SIGTERM')).toBe(0)
  })
})

describe('npm start', () => {
  it('ends with everything that it started when npm is told to end, as a service manager tells it', async () => {
    await using place = await newPlace()
    await using npm = runProgram('npm', ['start', '--', ...at(place)])
    await eventually('it is ready', () => /this machine {3}mi-/.test(npm.out()))
    const all = descendants(npm.child.pid)
    expect(all.some(({ args }) => args.includes('agent.cjs'))).toBe(true)
    expect(await npm.kill('SIGTERM')).toBe(0)
    await allGone(all)
  })
})

describe('migrate', () => {
  it('brings a database up to date once, and stops', async () => {
    await using place = await newPlace()
    const first = await outcome(['migrate', '--data', place.folder])
    expect(first).toMatchObject({ code: 0 })
    expect(first.out).toMatch(/^Applied:\n( {2}\S+\n)+$/)
    expect(await outcome(['migrate', '--data', place.folder])).toMatchObject({
      code: 0,
      out: 'The database is up to date.\n',
    })
    expect(processes().filter(({ args }) => args.includes(place.folder))).toEqual([])
  })
})

describe('the log', () => {
  it('at its most talkative holds no secret that went through the server', async () => {
    await using place = await newPlace()
    await using server = await startMusterbook(place, 'up', { args: ['--log-level', 'trace'] })
    const { ssm } = server
    const { nodeId } = await enrolled(ssm)
    const secrets = Array.from({ length: 6 }, () => `secret-${randomUUID()}`)
    const [text, secure, command, output, wrong, tag] = secrets as [string, string, string, string, string, string]
    await ssm.send(new PutParameterCommand({ Name: 'text', Value: text, Type: 'String' }))
    await ssm.send(new PutParameterCommand({ Name: 'secure', Value: secure, Type: 'SecureString' }))
    await ssm.send(new GetParameterCommand({ Name: 'secure', WithDecryption: true }))
    await refusal(ssm.send(new PutParameterCommand({ Name: 'bad', Value: `${wrong}\0`, Type: 'String' })))
    await refusal(ssm.send(new PutParameterCommand({ Name: 'bad', Value: wrong, Type: 'String', AllowedPattern: 'x' })))
    const resource = { ResourceType: 'ManagedInstance', ResourceId: nodeId } as const
    await ssm.send(new AddTagsToResourceCommand({ ...resource, Tags: [{ Key: 'a', Value: tag }] }))
    await refusal(ssm.send(new AddTagsToResourceCommand({ ...resource, Tags: [{ Key: 'a', Value: `${wrong}\0` }] })))
    const { ActivationCode } = await ssm.send(new CreateActivationCommand({ IamRole: 'node' }))
    const commands = [`echo ${command} >/dev/null; printf ${output.slice(0, 20)}; echo ${output.slice(20)}`]
    const { Command } = await ssm.send(
      new SendCommandCommand({ InstanceIds: [nodeId], DocumentName: 'AWS-RunShellScript', Parameters: { commands } }),
    )
    await eventually('the command has ended', async () => {
      const CommandId = Command!.CommandId!
      const { Status } = await ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId: nodeId }))
      return Status === 'Success'
    })
    const identity = JSON.parse(await readFile(join(place.folder, 'agent', 'identity.json'), 'utf8'))
    expect(await server.kill('SIGTERM')).toBe(0)
    const log = server.err()
    expect(log).toContain(nodeId)
    const kept = [
      ...secrets,
      ActivationCode!,
      server.config.credentials.secretAccessKey,
      (await readFile(join(place.folder, 'root.key'), 'utf8')).trim(),
      String(identity.privateKey).split('\n')[3]!,
    ]
    const postgresLog = await readFile(join(place.folder, 'postgres.log'), 'utf8')
    for (const [index, secret] of kept.entries()) {
      expect(log.includes(secret), `secret ${index} is in the log`).toBe(false)
      expect(server.out().includes(secret), `secret ${index} is on the screen`).toBe(false)
      expect(postgresLog.includes(secret), `secret ${index} is in PostgreSQL's log`).toBe(false)
    }
    expect(log).not.toMatch(/Signature=[0-9a-f]|aws4_request/)
  })
})
