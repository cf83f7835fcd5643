/**
 * What the bench of sessions sets beside each other, each as a process of its own: our agent, our client, the official ones
 * where the environment names them, and OpenSSH on the loopback as the floor.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  CreateActivationCommand,
  DescribeInstanceInformationCommand,
  GetConnectionStatusCommand,
  SSMClient,
  StartSessionCommand,
  type StartSessionCommandInput,
} from '@aws-sdk/client-ssm'
import { type Sshd, startSshd, whyNoSshd } from '../tests/contract/sshd.ts'
import { officialAgent, whyNot as whyNoOfficialAgent } from '../tests/official/official-agent.ts'
import { whyNoPlugin } from '../tests/official/plugin.ts'
import { pause } from './measure.ts'
import { PROGRAM, REGION, type Subject } from './server.process.ts'

export { startSshd, whyNoOfficialAgent, whyNoPlugin, whyNoSshd }

/** The official agent takes some seconds. */
const CONNECT_MS = 60_000

const AGENT = fileURLToPath(new URL('../dist/agent.cjs', import.meta.url))

/** Over TLS, as from another machine: a client that calls the plain port has its sessions without TLS. */
export function clientOf({ tlsPort, data, credentials }: Pick<Subject, 'tlsPort' | 'data' | 'credentials'>): SSMClient {
  const requestHandler = { httpsAgent: { ca: readFileSync(join(data, 'ca.pem')) } }
  return new SSMClient({ ...at(tlsPort), region: REGION, credentials, maxAttempts: 1, requestHandler })
}

const at = (tlsPort: number) => ({ endpoint: `https://127.0.0.1:${tlsPort}` })

export interface BenchNode extends AsyncDisposable {
  nodeId: string
}

export async function activation(ssm: SSMClient, nodes = 1): Promise<{ id: string; code: string }> {
  const { ActivationId: id = '', ActivationCode: code = '' } = await ssm.send(
    new CreateActivationCommand({ IamRole: 'node', RegistrationLimit: nodes }),
  )
  return { id, code }
}

/** Our agent; its shells run as the user of the bench. */
export async function ourNode(subject: Subject, ssm: SSMClient): Promise<BenchNode> {
  const folder = await mkdtemp(join(tmpdir(), 'musterbook-bench-agent-'))
  const file = join(folder, 'settings.json')
  const { id, code } = await activation(ssm)
  const settings = {
    ...at(subject.tlsPort),
    region: REGION,
    caFile: join(subject.data, 'ca.pem'),
    activation: { id, code },
    dataFolder: join(folder, 'data'),
    sessionUser: '',
  }
  await writeFile(file, JSON.stringify(settings), { mode: 0o600 })
  const child = spawn(process.execPath, [AGENT, 'run', file], { stdio: ['ignore', 'ignore', 'ignore'] })
  const nodeId = await connected(ssm, async () => {
    const Filters = [{ Key: 'ActivationIds', Values: [id] }]
    const { InstanceInformationList } = await ssm.send(new DescribeInstanceInformationCommand({ Filters }))
    return InstanceInformationList?.[0]?.InstanceId
  })
  return {
    nodeId,
    async [Symbol.asyncDispose]() {
      await ended(child)
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

export async function officialNode(subject: Subject, ssm: SSMClient): Promise<BenchNode> {
  const { endpoint } = at(subject.tlsPort)
  const places = { ssm: endpoint, mds: endpoint, mgs: endpoint }
  const agent = await officialAgent({ ...places, region: REGION, caFile: join(subject.data, 'ca.pem') })
  const nodeId = await agent.register(await activation(ssm))
  agent.start()
  await connected(ssm, async () => nodeId)
  return { nodeId, [Symbol.asyncDispose]: () => agent[Symbol.asyncDispose]() }
}

async function connected(ssm: SSMClient, find: () => Promise<string | undefined>): Promise<string> {
  const until = performance.now() + CONNECT_MS
  while (performance.now() < until) {
    const nodeId = await find()
    const isUp = nodeId && (await ssm.send(new GetConnectionStatusCommand({ Target: nodeId }))).Status === 'connected'
    if (isUp) return nodeId
    await pause(100)
  }
  throw new Error('an agent did not connect')
}

// ---- clients ----

const environment = (subject: Subject) => ({
  PATH: process.env.PATH,
  SSL_CERT_FILE: join(subject.data, 'ca.pem'),
  AWS_ENDPOINT_URL: at(subject.tlsPort).endpoint,
  AWS_ACCESS_KEY_ID: subject.credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: subject.credentials.secretAccessKey,
})

export const ourClient = (subject: Subject, ...args: string[]): ChildProcessWithoutNullStreams =>
  spawn(process.execPath, [PROGRAM, ...args, '--data', subject.data], { env: environment(subject) })

export async function plugin(
  subject: Subject,
  ssm: SSMClient,
  input: StartSessionCommandInput,
): Promise<ChildProcessWithoutNullStreams> {
  const { SessionId, TokenValue, StreamUrl } = await ssm.send(new StartSessionCommand(input))
  const program = join(process.env.MUSTERBOOK_OFFICIAL_PLUGIN ?? '', 'session-manager-plugin')
  const { endpoint } = at(subject.tlsPort)
  return spawn(
    program,
    ['AWS_SSM_START_SESSION_RESPONSE', REGION, 'StartSession', '', JSON.stringify(input), endpoint],
    {
      env: {
        ...environment(subject),
        AWS_SSM_START_SESSION_RESPONSE: JSON.stringify({ SessionId, TokenValue, StreamUrl }),
      },
    },
  )
}

export const ssh = (sshd: Sshd, ...args: string[]): ChildProcessWithoutNullStreams =>
  spawn('ssh', [...sshd.clientOptions, '-p', String(sshd.port), ...args.slice(0, -1), target(), ...args.slice(-1)])
export const sshForward = (sshd: Sshd, local: number, remote: number): ChildProcessWithoutNullStreams =>
  spawn('ssh', [
    ...sshd.clientOptions,
    '-p',
    String(sshd.port),
    '-N',
    '-L',
    `127.0.0.1:${local}:127.0.0.1:${remote}`,
    target(),
  ])
const target = () => `${userInfo().username}@127.0.0.1`

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}
