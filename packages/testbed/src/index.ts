/**
 * A real control plane and real agents for tests, demos and benches: `await using testbed = await startTestbed()`.
 * The control plane runs in this process on a database of its own, with a clock that can be moved and every answer
 * checked against the model; agents run as processes.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CreateActivationCommand,
  DescribeInstanceInformationCommand,
  GetConnectionStatusCommand,
  SSMClient,
} from '@aws-sdk/client-ssm'
import {
  createAccount,
  createAuthority,
  createLog,
  issueServerCertificate,
  type KeyAndCertificate,
  type LogLevel,
  type MovableClock,
  movableClock,
  ROOT_KEY_BYTES,
  type ServerOptions,
  type ServerProcess,
  startServer,
} from '@musterbook/server'
import { type AgentProcess, startAgent } from './agent.ts'
import { type FreshDatabase, freshDatabase } from './database.ts'
import { eventually } from './eventually.ts'

export type { AgentProcess } from './agent.ts'
export { startAgent } from './agent.ts'
export { freshDatabase, startTestPostgres } from './database.ts'
export { eventually } from './eventually.ts'
export { AGENT, MUSTERBOOK, REPOSITORY } from './programs.ts'

export const REGION = 'us-east-1'

export interface TestAccount {
  account: string
  /** What any SDK client of this account is made with. */
  config: {
    endpoint: string
    region: string
    credentials: { accessKeyId: string; secretAccessKey: string }
    maxAttempts: number
  }
  ssm: SSMClient
  /** A client of the same account in another region, or at another server process. */
  client(change: { region?: string; endpoint?: string }): SSMClient
}

export interface Node {
  nodeId: string
  agent: AgentProcess
}

export interface Testbed extends AsyncDisposable {
  server: ServerProcess
  clock: MovableClock
  database: FreshDatabase
  /** `http://127.0.0.1:port` */
  endpoint: string
  /** `https://127.0.0.1:port`, which nodes dial. */
  nodeEndpoint: string
  /** File with the certificate of the authority. */
  caFile: string
  /** A fresh account; none sees another's things. */
  account(): Promise<TestAccount>
  /** A real agent process, registered with an activation of the account and online. */
  node(
    account: TestAccount,
    options?: { tags?: Record<string, string>; settings?: Record<string, unknown> },
  ): Promise<Node>
  /** A further server process of the same installation, on the same database and clock. */
  another(): Promise<{ server: ServerProcess; endpoint: string; nodeEndpoint: string } & AsyncDisposable>
}

export interface TestbedOptions {
  logLevel?: LogLevel
  options?: Partial<ServerOptions>
}

const LIMITS = { maxStandardParameters: 10_000, maxAdvancedParameters: 100_000 }

let certificates: Promise<{ authority: KeyAndCertificate; server: KeyAndCertificate }> | undefined

/** Waits for the node's channel: an agent is online from its first ping, and takes sessions a moment later. */
export async function connected(ssm: SSMClient, nodeId: string, deadlineMs?: number): Promise<void> {
  await eventually(
    `${nodeId} is connected`,
    async () => (await ssm.send(new GetConnectionStatusCommand({ Target: nodeId }))).Status === 'connected',
    deadlineMs,
  )
}

/** Certificates take 100 ms to make, so that one set serves all testbeds of a process. */
async function makeCertificates() {
  const authority = await createAuthority('Musterbook test', new Date())
  return { authority, server: await issueServerCertificate(authority, ['localhost', '127.0.0.1'], new Date()) }
}

export async function startTestbed(wanted: TestbedOptions = {}): Promise<Testbed> {
  certificates ??= makeCertificates()
  const [tls, database, folder] = await Promise.all([
    certificates,
    freshDatabase(),
    mkdtemp(join(tmpdir(), 'musterbook-bed-')),
  ])
  const caFile = join(folder, 'ca.pem')
  await writeFile(caFile, tls.authority.cert)
  const clock = movableClock()
  const options: ServerOptions = {
    database: database.address,
    rootKey: Buffer.alloc(ROOT_KEY_BYTES, 7),
    region: REGION,
    host: '127.0.0.1',
    port: 0,
    tlsPort: 0,
    tls: tls.server,
    maxConnections: 20_000,
    settings: LIMITS,
    throttle: { failedSignaturesPerMinute: 0 }, // all tests of forgeries come from one address
    log: createLog(wanted.logLevel ?? 'fatal'),
    clock,
    strict: true,
    ...wanted.options,
  }
  const server = await startServer(options)
  const addresses = (started: ServerProcess) => ({
    endpoint: `http://127.0.0.1:${started.listener.port}`,
    nodeEndpoint: `https://127.0.0.1:${started.listener.tlsPort}`,
  })
  const clients: SSMClient[] = []
  const agents: AgentProcess[] = []
  const { endpoint, nodeEndpoint } = addresses(server)

  async function account(): Promise<TestAccount> {
    const { account, ...credentials } = await createAccount(server.ground, { name: 'test' })
    const config = { endpoint, region: REGION, credentials, maxAttempts: 1 }
    const client = (change: object) => {
      const made = new SSMClient({ ...config, ...change })
      clients.push(made)
      return made
    }
    return { account, config, ssm: client({}), client }
  }

  async function node(
    owner: TestAccount,
    { tags = {}, settings = {} }: { tags?: Record<string, string>; settings?: Record<string, unknown> } = {},
  ): Promise<Node> {
    const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
    const { ActivationId, ActivationCode } = await owner.ssm.send(
      new CreateActivationCommand({ IamRole: 'node', Tags }),
    )
    const agent = await startAgent({
      endpoint: nodeEndpoint,
      region: REGION,
      caFile,
      activation: { id: ActivationId!, code: ActivationCode! },
      ...settings,
    })
    agents.push(agent)
    const nodeId = await eventually(`the agent is online: ${agent.log()}`, async () => {
      const Filters = [
        { Key: 'ActivationIds', Values: [ActivationId!] },
        { Key: 'PingStatus', Values: ['Online'] },
      ]
      const { InstanceInformationList } = await owner.ssm.send(new DescribeInstanceInformationCommand({ Filters }))
      return InstanceInformationList?.[0]?.PlatformType ? InstanceInformationList[0].InstanceId : undefined
    })
    await connected(owner.ssm, nodeId)
    return { nodeId, agent }
  }

  return {
    server,
    clock,
    database,
    endpoint,
    nodeEndpoint,
    caFile,
    account,
    node,
    async another() {
      const second = await startServer({ ...options, port: 0, tlsPort: 0 })
      return { server: second, ...addresses(second), [Symbol.asyncDispose]: () => second[Symbol.asyncDispose]() }
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy()
      await Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]()))
      await server[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
