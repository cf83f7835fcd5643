/** `enroll`: an activation, and the one line that turns a machine into a node with it. */
import { createHash, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { route } from './client.ts'
import type { Config } from './config.ts'
import { ConfigError } from './config-error.ts'
import { readEnvironment } from './environment-file.ts'
import { DEFAULT_NODE_ENDPOINT } from './settings.ts'

export async function enroll(config: Config): Promise<string> {
  const { endpoint, credentials } = await readEnvironment(config.data)
  const Certificates = await readPem(config.ca ?? join(config.data, 'ca.pem'), '--ca (MUSTERBOOK_CA)')
  const { official, tags: Tags, ttlHours: Hours, count: Count } = config.enrolment
  const endless = Hours === Number.POSITIVE_INFINITY
  const input = { Kind: official ? 'official' : 'own', Certificates, Tags, Hours: endless ? null : Hours, Count }
  const { Token } = await route<{ Token: string }>(
    { endpoint, region: config.region, credentials },
    'ssm',
    'POST',
    '/v1/enrolments',
    input,
  )
  process.stderr.write(
    `Good for ${Count === 1 ? 'one machine' : `${Count} machines`} ${endless ? 'without an end' : `within ${inWords(Hours)}`}; the undo.sh that it leaves there undoes it\n`,
  )
  const nodeEndpoint = await nodeEndpointOf(config)
  if (/^(127\.|localhost$|\[::1\]$)/.test(new URL(nodeEndpoint).hostname))
    process.stderr.write(
      `For this machine only: ${nodeEndpoint} leads any other to itself. Name the address that it reaches with --endpoint\n`,
    )
  const url = `${nodeEndpoint}/enroll/${Token}`
  return `curl -fsSL ${await trust(config)} ${url} | sh\n`
}

function inWords(hours: number): string {
  if (hours < 1) return `${Math.round(hours * 60)} minutes`
  if (hours === 1) return 'an hour'
  return hours >= 48 && hours % 24 === 0 ? `${hours / 24} days` : `${hours} hours`
}

/** Where machines are to dial: as was said, otherwise as this machine's own agent dials. */
async function nodeEndpointOf({ endpoint, data }: Config): Promise<string> {
  if (endpoint !== DEFAULT_NODE_ENDPOINT) return endpoint
  const text = await readFile(join(data, 'agent', 'settings.json'), 'utf8').catch(() => '{}')
  const { endpoint: own } = JSON.parse(text) as { endpoint?: string }
  return own ?? endpoint
}

/**
 * How curl is to know the server on a machine that has nothing of it yet: by the authority's file where one was named,
 * otherwise by the server's own key, whose digest stands in the line (curl then needs no authority, and takes no other key).
 */
async function trust(config: Config): Promise<string> {
  const own = join(config.data, 'ca.pem')
  if (config.ca !== undefined && config.ca !== own) return `--cacert ${config.ca}`
  const certificate = new X509Certificate(await readPem(join(config.data, 'server.pem'), '--data (MUSTERBOOK_DATA)'))
  const key = certificate.publicKey.export({ type: 'spki', format: 'der' })
  return `-k --pinnedpubkey sha256//${createHash('sha256').update(key).digest('base64')}`
}

async function readPem(path: string, setting: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => {
    throw new ConfigError(`${path} cannot be read: see ${setting}`)
  })
}
