/**
 * `doctor`: says in plain words what is wrong, on the server (where the data folder has an `env`) or on a node (where it
 * has an agent). Each finding names what to do; nothing is changed, and no secret is shown.
 */
import { access, constants, readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { registeredId } from './agent.ts'
import { call, readEnvironment } from './client.ts'
import type { Config } from './config.ts'

interface Finding {
  healthy: boolean
  text: string
}

const good = (text: string): Finding => ({ healthy: true, text })
const bad = (text: string): Finding => ({ healthy: false, text })
const reason = (error: unknown) =>
  error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error)

/** Signatures are good for five minutes; half of that is time to do something. */
const SKEW_MS = 150_000
const RENEW_DAYS = 14
const PATIENCE_MS = 5_000

export async function doctor(config: Config): Promise<{ text: string; healthy: boolean }> {
  const isServer = await access(join(config.data, 'env'), constants.F_OK).then(
    () => true,
    () => false,
  )
  const findings = [nodeVersion(), ...(isServer ? await askServer(config) : [])]
  findings.push(...(await askNode(config, isServer)))
  const healthy = findings.every((finding) => finding.healthy)
  const lines = findings.map((finding) => `${finding.healthy ? 'ok   ' : 'WRONG'}  ${finding.text}`)
  lines.push('', healthy ? 'Nothing is wrong.' : 'Something is wrong: see above.', '')
  return { text: lines.join('\n'), healthy }
}

function nodeVersion(): Finding {
  const major = Number(process.versions.node.split('.')[0])
  return major >= 20
    ? good(`Node.js is ${process.versions.node}`)
    : bad(`Node.js ${process.versions.node} is too old: 20 is needed`)
}

/** The control plane of this data folder: does it answer, has it its database, do the root credentials work. */
async function askServer(config: Config): Promise<Finding[]> {
  let endpoint = ''
  try {
    const environment = await readEnvironment(config.data)
    endpoint = environment.endpoint
    const ready = await fetch(`${endpoint}/readyz`, { signal: AbortSignal.timeout(PATIENCE_MS) })
    if (!ready.ok)
      return [bad(`the control plane at ${endpoint} has lost its database: see postgres.log in ${config.data}`)]
    const findings = [
      good(`the control plane answers at ${endpoint} and has its database`),
      clock(ready.headers.get('date')),
    ]
    try {
      const ask = { MaxResults: 50 }
      const { endpoint: url, credentials } = environment
      const page = await call<{ InstanceInformationList?: { PingStatus: string }[] }>(
        url,
        config.region,
        credentials,
        'DescribeInstanceInformation',
        ask,
      )
      const nodes = page.InstanceInformationList ?? []
      const lost = nodes.filter(({ PingStatus }) => PingStatus !== 'Online').length
      findings.push(
        good(
          `the root credentials work; of ${nodes.length === 50 ? 'the first 50' : nodes.length} nodes ${lost} are not Online`,
        ),
      )
    } catch (error) {
      findings.push(bad(`the root credentials in ${config.data}/env are refused: ${reason(error)}`))
    }
    return findings
  } catch (error) {
    return [
      bad(`the control plane does not answer at ${endpoint} (${reason(error)}): start it with 'musterbook serve'`),
    ]
  }
}

function clock(date: string | null): Finding {
  const skew = date === null ? 0 : Date.now() - Date.parse(date)
  if (Math.abs(skew) < SKEW_MS) return good('the clock of this machine agrees with that of the control plane')
  const seconds = Math.round(Math.abs(skew) / 1000)
  return bad(
    `the clock of this machine is ${seconds} s ${skew > 0 ? 'ahead' : 'behind'}: signatures are refused from 300 s on`,
  )
}

/** The way that nodes take: TLS to the endpoint, trusted by the authority's certificate; and who this machine is. */
async function askNode(config: Config, isServer: boolean): Promise<Finding[]> {
  const findings = [await reach(config)]
  const id = await registeredId(config.data).catch(() => 'damaged')
  if (id === 'damaged') findings.push(bad(`the identity in ${config.data}/agent is damaged: enrol this machine anew`))
  else if (id) findings.push(good(`this machine is registered as ${id}`))
  else if (!isServer) findings.push(bad('this machine is no node yet: ask for a line with `musterbook enroll`'))
  return findings
}

async function reach(config: Config): Promise<Finding> {
  const { endpoint } = config
  const url = new URL(endpoint)
  let ca: string | undefined
  try {
    ca = config.ca === undefined ? undefined : await readFile(config.ca, 'utf8')
  } catch (error) {
    return bad(`the authority's certificate ${config.ca} cannot be read (${reason(error)})`)
  }
  try {
    const until = await certificateEnd(url, ca)
    const days = Math.floor((until.getTime() - Date.now()) / 86_400_000)
    if (days < RENEW_DAYS)
      return bad(`the certificate of ${endpoint} ends in ${days} days: restart the control plane to renew it`)
    const skew = clock(await dateOf(url, ca))
    return skew.healthy ? good(`${endpoint} is reachable and trusted; its certificate is good for ${days} days`) : skew
  } catch (error) {
    return bad(explain(endpoint, reason(error)))
  }
}

function explain(endpoint: string, code: string): string {
  if (code === 'ECONNREFUSED')
    return `nothing listens at ${endpoint}: is the control plane running, and its TLS port this one?`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `the name in ${endpoint} is not known here: check DNS, or use an address`
  if (code === 'ETIMEDOUT' || code === 'TIMEOUT') return `${endpoint} does not answer: a firewall may be in the way`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the certificate of ${endpoint} is for other names: start the control plane with --host-names`
  if (/CERT|SELF_SIGNED|UNABLE_TO/.test(code))
    return `${endpoint} is not trusted (${code}): name the control plane's ca.pem with --ca`
  return `${endpoint} cannot be reached (${code})`
}

function certificateEnd(url: URL, ca: string | undefined): Promise<Date> {
  return new Promise((resolve, reject) => {
    const { hostname } = url
    const host = hostname.replace(/^\[|\]$/g, '')
    const socket = connect({
      host,
      port: Number(url.port || 443),
      ca,
      ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
    })
    socket.setTimeout(PATIENCE_MS, () => socket.destroy(Object.assign(new Error('no answer'), { code: 'TIMEOUT' })))
    socket.once('error', reject)
    socket.once('secureConnect', () => {
      resolve(new Date(socket.getPeerCertificate().valid_to))
      socket.end()
    })
  })
}

function dateOf(url: URL, ca: string | undefined): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const asked = request(new URL('/healthz', url), { ca, timeout: PATIENCE_MS }, (answer) => {
      answer.resume()
      resolve(answer.headers.date ?? null)
    })
    asked.once('error', reject)
    asked.end()
  })
}
