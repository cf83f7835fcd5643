/**
 * `doctor`: says in plain words what is wrong, on the server (where the data folder has an `env`) and on a node (where it
 * has an agent). A machine that has only the agent asks that: `node agent.cjs doctor`. Nothing is changed, no secret shown.
 */
import { access, constants, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { bad, clock, examineNode, examineWay, type Finding, good, nodeVersion, report } from '@musterbook/agent/doctor'
import { call } from './client.ts'
import type { Config } from './config.ts'
import { readEnvironment } from './environment-file.ts'
import { DEFAULT_NODE_ENDPOINT } from './settings.ts'

const PATIENCE_MS = 5_000

const reason = (error: unknown) =>
  error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error)

export async function doctor(config: Config): Promise<{ text: string; healthy: boolean }> {
  const settings = await agentSettings(config)
  const findings: Finding[] = []
  const server = await isThere(join(config.data, 'env'))
  if (server === 'another user') return report([ofAnotherUser(config)])
  if (server === 'yes') findings.push(...(await examineServer(config)))
  if (settings === 'another user') return report([ofAnotherUser(config)])
  if (settings) findings.push(...(await examineNode(settings)))
  else findings.push(nodeVersion(), ...(await examineWay(config.endpoint, await authority(config), config.ca)))
  if (!settings && server === 'no')
    findings.push(
      bad(`${config.data} holds neither a control plane nor a node: start one, or name its data folder with --data`),
    )
  return report(findings)
}

const ofAnotherUser = ({ data }: Config): Finding => bad(`${data} is another user's: run this as that user`)

async function isThere(path: string): Promise<'yes' | 'no' | 'another user'> {
  try {
    await access(path, constants.R_OK)
    return 'yes'
  } catch (error) {
    return reason(error) === 'EACCES' ? 'another user' : 'no'
  }
}

/** What the agent of this data folder starts with; an --endpoint or --ca that was given is tried instead of its own. */
async function agentSettings(config: Config): Promise<Parameters<typeof examineNode>[0] | 'another user' | undefined> {
  try {
    const settings = JSON.parse(await readFile(join(config.data, 'agent', 'settings.json'), 'utf8'))
    if (config.endpoint === DEFAULT_NODE_ENDPOINT) return settings
    return { ...settings, endpoint: config.endpoint, caFile: config.ca }
  } catch (error) {
    return reason(error) === 'EACCES' ? 'another user' : undefined
  }
}

const authority = ({ ca }: Config): Promise<string | undefined> =>
  ca === undefined ? Promise.resolve(undefined) : readFile(ca, 'utf8').catch(() => undefined)

/** The control plane of this data folder: does it answer, has it its database, do the root credentials work. */
async function examineServer(config: Config): Promise<Finding[]> {
  const findings = await examineSecrets(config.data)
  if (findings.length > 0) return findings // no command takes credentials that others can read, this one neither
  const { endpoint, credentials } = await readEnvironment(config.data)
  try {
    const ready = await fetch(`${endpoint}/readyz`, { signal: AbortSignal.timeout(PATIENCE_MS) })
    if (!ready.ok)
      return [
        ...findings,
        bad(`the control plane at ${endpoint} has lost its database: see postgres.log in ${config.data}`),
      ]
    findings.push(good(`the control plane answers at ${endpoint} and has its database`))
    const skew = clock(ready.headers.get('date'))
    if (!skew.healthy) findings.push(skew)
  } catch (error) {
    const why = (error as Error).cause instanceof Error ? reason((error as Error).cause) : reason(error)
    return [
      ...findings,
      bad(`the control plane does not answer at ${endpoint} (${why}): start it with 'npm start' or 'musterbook serve'`),
    ]
  }
  try {
    const page = await call<{ InstanceInformationList?: { PingStatus: string }[] }>(
      { endpoint, region: config.region, credentials },
      'DescribeInstanceInformation',
      { MaxResults: 50 },
    )
    const nodes = page.InstanceInformationList ?? []
    const lost = nodes.filter(({ PingStatus }) => PingStatus !== 'Online').length
    const many = nodes.length === 50 ? 'the first 50' : nodes.length
    findings.push(good(`the root credentials work; of ${many} nodes ${lost} are not Online`))
  } catch (error) {
    findings.push(bad(`the root credentials in ${config.data}/env are refused: ${reason(error)}`))
  }
  return findings
}

/** Files that only their owner may read. */
const SECRETS = ['env', 'root.key', 'ca.key', 'server.key']

async function examineSecrets(data: string): Promise<Finding[]> {
  const modes = await Promise.all(
    SECRETS.map((name) =>
      stat(join(data, name)).then(
        ({ mode }) => mode,
        () => 0,
      ),
    ),
  )
  const open = SECRETS.filter((_, at) => (modes[at]! & 0o077) !== 0).map((name) => join(data, name))
  return open.length === 0 ? [] : [bad(`others can read ${open.join(' and ')}: chmod 600 ${open.join(' ')}`)]
}
