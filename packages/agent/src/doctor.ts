// Says in plain words what keeps this machine from being a node, from the ground up: settings, the way to the control
// plane, trust, clock, identity, permissions, the agent itself. Each finding names what to do; nothing is changed and no
// secret is shown. For the bundle's `doctor` and for the command line's.

import { createPrivateKey } from 'node:crypto'
import { access, constants, statfs } from 'node:fs/promises'
import { request } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { ApiError, callSigned } from './api.ts'
import { ChannelRefused, connectControlSocket } from './control-channel.ts'
import { type DataFolder, dataFolderOf } from './data-folder.ts'
import { readJson } from './durable-files.ts'
import { fingerprintFor, machineTraits } from './fingerprint.ts'
import { type Identity, readIdentity } from './identity.ts'
import { reason } from './log.ts'
import { asProcessIdentity, isAlive } from './process-table.ts'
import { type RoleToken, requestRoleToken } from './role-token.ts'
import { type AgentSettings, parseSettings, type Settings } from './settings.ts'
import { createTransport, type Transport } from './transport.ts'

export interface Finding {
  healthy: boolean
  text: string
}

export const good = (text: string): Finding => ({ healthy: true, text })
export const bad = (text: string): Finding => ({ healthy: false, text })

/** Signatures are good for five minutes, in milliseconds; half of that is time to do something. */
const SKEW_WORTH_TELLING = 150_000
/** A server certificate is renewed a month before its end: what is left of it then, in days. */
const CERTIFICATE_DAYS = 14
const DAY = 86_400_000
const PATIENCE = 5_000
/** Outputs and inboxes need room; below this many bytes commands begin to fail. */
const LEAST_ROOM = 100 * 1024 * 1024

/** Everything that can be found out, in the order in which it matters. Never throws. */
export async function examineNode(given: AgentSettings): Promise<Finding[]> {
  let settings: Settings
  try {
    settings = parseSettings({ ...given, activation: undefined })
  } catch (error) {
    return [nodeVersion(), bad(`the settings cannot be used: ${reason(error)}`)]
  }
  const folder = dataFolderOf(settings.dataFolder)
  const way = await examineWay(settings.endpoint, settings.ca, given.caFile)
  const findings = [nodeVersion(), ...way, ...(await examineRoom(folder))]
  const identity = await examineIdentity(settings, folder, findings)
  if (identity && way.every(({ healthy }) => healthy)) findings.push(...(await examineRights(settings, identity)))
  findings.push(await examineAgent(folder))
  return findings
}

/** The findings as lines, and a last one that sums them up. */
export function report(findings: Finding[]): { text: string; healthy: boolean } {
  const healthy = findings.every((finding) => finding.healthy)
  const lines = findings.map((finding) => `${finding.healthy ? 'ok   ' : 'WRONG'}  ${finding.text}`)
  lines.push('', healthy ? 'Nothing is wrong.' : 'Something is wrong: see above.', '')
  return { text: lines.join('\n'), healthy }
}

export function nodeVersion(): Finding {
  const major = Number(process.versions.node.split('.')[0])
  return major >= 20
    ? good(`Node.js is ${process.versions.node}`)
    : bad(`Node.js ${process.versions.node} is too old: 20 is needed`)
}

/** Whether the control plane is there, is the one that is trusted, and agrees about the time. */
export async function examineWay(
  endpoint: string,
  ca: string | undefined,
  caFile: string | undefined,
): Promise<Finding[]> {
  const url = new URL('/healthz', endpoint)
  try {
    const { date, until } = await ask(url, { ca })
    const days = Math.floor((until - Date.now()) / DAY)
    const trust =
      days < CERTIFICATE_DAYS
        ? bad(`the certificate of ${endpoint} ends in ${days} days: restart the control plane to renew it`)
        : good(`${endpoint} is reachable and trusted; its certificate is good for ${days} days`)
    return [trust, clock(date)]
  } catch (error) {
    const code = codeOf(error)
    const findings = [bad(explained(endpoint, code, caFile))]
    // A certificate that is not yet or no longer good may be the fault of this machine's clock.
    if (code.startsWith('CERT_'))
      findings.push(
        await ask(url, { rejectUnauthorized: false }).then(
          ({ date }) => clock(date),
          () => bad(`this machine says that it is ${new Date().toISOString()}`),
        ),
      )
    return findings
  }
}

/** What this machine's clock is worth beside the date that the control plane sent. */
export function clock(date: string | undefined | null): Finding {
  const skew = date ? Date.now() - Date.parse(date) : 0
  if (Math.abs(skew) < SKEW_WORTH_TELLING)
    return good('the clock of this machine agrees with that of the control plane')
  const seconds = Math.round(Math.abs(skew) / 1000)
  return bad(
    `the clock of this machine is ${seconds} s ${skew > 0 ? 'ahead' : 'behind'}: set it, what is signed by it is refused from 300 s on (the agent itself goes by the clock of the control plane)`,
  )
}

const codeOf = (error: unknown): string =>
  error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error)

function explained(endpoint: string, code: string, caFile: string | undefined): string {
  if (code === 'ECONNREFUSED')
    return `nothing listens at ${endpoint}: is the control plane running, and is this its TLS port?`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `the name in ${endpoint} is not known here: check DNS, or use an address`
  if (/^(ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|TIMEOUT)$/.test(code))
    return `${endpoint} does not answer (${code}): a firewall may be in the way`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the certificate of ${endpoint} is for other names: start the control plane with --host-names`
  if (code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED')
    return `the certificate of ${endpoint} is not good at the time that this machine believes it is (${code})`
  if (/CERT|SELF_SIGNED|UNABLE_TO/.test(code)) {
    const by = caFile === undefined ? 'any authority of this system' : `the certificate in ${caFile}`
    return `${endpoint} is not trusted by ${by} (${code}): it has another authority, so take the control plane's ca.pem, or something stands between`
  }
  if (code === 'ECONNRESET' || code === 'EPROTO') return `${endpoint} speaks no TLS (${code}): is this its TLS port?`
  return `${endpoint} cannot be reached (${code})`
}

interface Greeting {
  date: string | undefined
  /** End of the certificate, milliseconds since 1970. */
  until: number
}

function ask(url: URL, trust: { ca?: string | undefined; rejectUnauthorized?: boolean }): Promise<Greeting> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { ...trust, agent: false, timeout: PATIENCE }, (answer) => {
      const { valid_to: until } = (answer.socket as TLSSocket).getPeerCertificate()
      answer.resume()
      resolve({ date: answer.headers.date, until: Date.parse(until) })
    })
    asked.once('timeout', () => asked.destroy(Object.assign(new Error('no answer'), { code: 'TIMEOUT' })))
    asked.once('error', reject)
    asked.end()
  })
}

async function examineRoom(folder: DataFolder): Promise<Finding[]> {
  try {
    await access(folder.root, constants.W_OK)
    const { bavail, bsize } = await statfs(folder.root)
    if (bavail * bsize >= LEAST_ROOM) return []
    return [bad(`the disk under ${folder.root} is nearly full: make room, outputs are written there`)]
  } catch (error) {
    const code = codeOf(error)
    if (code === 'EACCES') return [bad(`${folder.root} is another user's: run this as the user who runs the agent`)]
    return code === 'ENOENT' ? [] : [bad(`${folder.root} cannot be used (${code})`)]
  }
}

async function examineIdentity(
  settings: Settings,
  folder: DataFolder,
  findings: Finding[],
): Promise<Identity | undefined> {
  let identity: Identity | undefined
  try {
    identity = await readIdentity(folder.identity)
  } catch (error) {
    if (codeOf(error) !== 'EACCES')
      findings.push(bad(`the identity in ${folder.root} is damaged: enrol this machine anew`))
    return undefined
  }
  if (identity === undefined) {
    findings.push(
      bad(`this machine is no node yet (no identity in ${folder.root}): ask for a line with \`musterbook enroll\``),
    )
    return undefined
  }
  const { instanceId, fingerprint, machine } = identity
  if (identity.endpoint !== settings.endpoint)
    findings.push(
      bad(`this machine is the node ${instanceId} of ${identity.endpoint}, but its settings say ${settings.endpoint}`),
    )
  else if (fingerprintFor(fingerprint, machine, machineTraits()) !== fingerprint)
    findings.push(
      bad(`this is not the machine that became ${instanceId}: ${folder.root} was copied; empty it and enrol anew`),
    )
  else findings.push(good(`this machine is registered as ${instanceId}`))
  return identity
}

/** What the control plane says of this node's key, and of what its role lets it do. */
async function examineRights(settings: Settings, identity: Identity): Promise<Finding[]> {
  const transport = createTransport(settings)
  try {
    const token = await askForToken(transport, identity)
    if ('healthy' in token) return [token]
    return [
      good(`the control plane knows this node's key and gives it role credentials`),
      ...(await examineCalls(transport, identity.instanceId, token)),
    ]
  } finally {
    transport.close()
  }
}

async function askForToken(transport: Transport, identity: Identity): Promise<RoleToken | Finding> {
  const { instanceId, machine, privateKey } = identity
  // What the agent itself would send: a copy of another machine gives itself away.
  const fingerprint = fingerprintFor(identity.fingerprint, machine, machineTraits())
  try {
    return await requestRoleToken(transport, { instanceId, fingerprint, key: createPrivateKey(privateKey) })
  } catch (error) {
    if (!(error instanceof ApiError)) return bad(`no role credentials: ${reason(error)}`)
    if (error.code === 'MachineFingerprintDoesNotMatch')
      return bad(
        `the control plane does not take this for the machine that became ${instanceId}: enrol it anew in an empty folder`,
      )
    if (/not registered/.test(error.message))
      return bad(
        `the control plane knows no node ${instanceId}: it was deregistered, so ask for a line with \`musterbook enroll\` and enrol anew`,
      )
    if (error.code === 'AccessDeniedException')
      return bad(
        `the control plane refuses this node's key: another machine has become ${instanceId}, or a backup brought an old key back; enrol anew`,
      )
    return bad(`the control plane gives no role credentials: ${error.message}`)
  }
}

async function examineCalls(transport: Transport, instanceId: string, token: RoleToken): Promise<Finding[]> {
  const findings: Finding[] = []
  try {
    await callSigned(transport, () => token, 'ListInstanceAssociations', { InstanceId: instanceId })
  } catch (error) {
    findings.push(bad(`the role of this node does not let it ask what is for it: ${reason(error)}`))
  }
  try {
    const { socket } = await connectControlSocket(transport, instanceId, token)
    socket.terminate()
  } catch (error) {
    const denied = error instanceof ChannelRefused && error.status === 403
    findings.push(
      denied
        ? bad(`the role of this node does not let it open its channel (ssmmessages:CreateControlChannel)`)
        : bad(`no WebSocket gets through to the control plane (${reason(error)}): a proxy may be in the way`),
    )
  }
  return findings.length > 0 ? findings : [good('its role lets it ask for work, and its channel gets through')]
}

async function examineAgent(folder: DataFolder): Promise<Finding> {
  const holder = asProcessIdentity(await readJson(folder.lock).catch(() => undefined))
  return holder && isAlive(holder)
    ? good(`the agent runs (process ${holder.pid})`)
    : bad(`no agent runs here for ${folder.root}: start its service (systemctl start musterbook-agent)`)
}
