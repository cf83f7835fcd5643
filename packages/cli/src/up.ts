/** `up`: everything on one machine. The server, and this machine as its first node, in a child process. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { AGENT, registeredId, writeAgentSettings } from './agent.ts'
import { call } from './client.ts'
import type { Config } from './config.ts'
import { type Serving, serve } from './serve.ts'

const FIRST_RESTART_MS = 500
const LONGEST_RESTART_MS = 30_000
/** An agent that has lived this long is not failing at its start. */
const SETTLED_MS = 60_000

export interface Up extends AsyncDisposable {
  serving: Serving
  /** The id of this machine as a node, once it is registered. */
  nodeId: Promise<string | undefined>
}

export async function up(config: Config, signal: AbortSignal): Promise<Up> {
  const serving = await serve(config, signal)
  const agent = config.noAgent ? undefined : keepAgent(config, serving)
  return {
    serving,
    nodeId: agent ? nodeId(config, serving, signal) : Promise.resolve(undefined),
    async [Symbol.asyncDispose]() {
      await agent?.stop()
      await serving[Symbol.asyncDispose]()
    },
  }
}

/** Runs the agent and starts it again whenever it ends, more slowly each time that it ends at once. */
function keepAgent(config: Config, serving: Serving) {
  let child: ChildProcess | undefined
  let stopping = false
  let patience: NodeJS.Timeout | undefined
  let failures = 0

  async function start(): Promise<void> {
    const before = await registeredId(config.data)
    const activation = await activationFor(config, serving, before)
    if (stopping) return
    const startedAt = Date.now()
    const settings = await writeAgentSettings(config, {
      endpoint: serving.nodeEndpoint,
      ca: join(config.data, 'ca.pem'),
      activation,
      watchStdin: true,
    })
    if (stopping) return
    // The agent alone would keep the identity that it has, whoever still knows it.
    if (before && activation) await promisify(execFile)(process.execPath, [AGENT, 'register', settings])
    if (stopping) return
    child = spawn(process.execPath, [AGENT, 'run', settings], {
      env: agentEnvironment(),
      // Its standard input is a pipe from here: when this process is gone, however it went, the agent notices.
      stdio: ['pipe', 'inherit', 'inherit'],
      detached: true, // Ctrl-C in the terminal is for this process, which then stops the agent in order
    })
    child.once('error', failed)
    child.once('exit', (code, reason) => {
      if (Date.now() - startedAt > SETTLED_MS) failures = 0
      if (!stopping) serving.log.warn({ code, signal: reason }, 'the agent ended and is started again')
      again()
    })
  }
  function failed(error: unknown): void {
    if (!stopping) serving.log.error({ err: error }, 'the agent could not be started; it is tried again')
    again()
  }
  function again(): void {
    if (stopping) return
    patience = setTimeout(launch, Math.min(FIRST_RESTART_MS * 2 ** failures++, LONGEST_RESTART_MS))
  }
  const launch = () => start().catch(failed)
  void launch()

  return {
    async stop() {
      stopping = true
      clearTimeout(patience)
      if (!child || child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      const force = setTimeout(() => child?.kill('SIGKILL'), 5_000)
      await gone
      clearTimeout(force)
    },
  }
}

/** Scripts on this node inherit the agent's environment, and what the server was told is not theirs to know. */
const agentEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => name !== 'DATABASE_URL' && !name.startsWith('MUSTERBOOK_') && !name.startsWith('PG'),
    ),
  )

const planeOf = ({ region }: Config, { endpoint, server }: Serving) => ({ endpoint, region, credentials: server.root })

/** An activation for this machine unless it is registered, and known to be: it may have been deregistered since. */
async function activationFor(
  config: Config,
  serving: Serving,
  nodeId: string | undefined,
): Promise<{ id: string; code: string } | undefined> {
  if (nodeId && (await isKnown(config, serving, nodeId))) return undefined
  const { ActivationId, ActivationCode } = await call<{ ActivationId: string; ActivationCode: string }>(
    planeOf(config, serving),
    'CreateActivation',
    {
      IamRole: 'musterbook-node',
      Description: 'the machine that the control plane runs on',
      DefaultInstanceName: 'this-machine',
    },
  )
  return { id: ActivationId, code: ActivationCode }
}

/** The id under which this machine is online, once it is; undefined when it does not come up in time. */
async function nodeId(config: Config, serving: Serving, signal: AbortSignal): Promise<string | undefined> {
  const until = Date.now() + 15_000
  while (Date.now() < until && !signal.aborted) {
    const id = await registeredId(config.data)
    if (id && (await isConnected(config, serving, id))) return id
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  return undefined
}

async function isKnown(config: Config, serving: Serving, nodeId: string): Promise<boolean> {
  const { InstanceInformationList } = await call<{ InstanceInformationList?: unknown[] }>(
    planeOf(config, serving),
    'DescribeInstanceInformation',
    { Filters: [{ Key: 'SourceIds', Values: [nodeId] }] }, // unlike InstanceIds no error for one that is not there
  )
  return (InstanceInformationList?.length ?? 0) > 0
}

const isConnected = (config: Config, serving: Serving, nodeId: string): Promise<boolean> =>
  call<{ Status: string }>(planeOf(config, serving), 'GetConnectionStatus', {
    Target: nodeId,
  }).then(
    ({ Status }) => Status === 'connected',
    () => false, // the server is stopping, or not quite up
  )
