/**
 * Which control plane a client speaks to, and as whom: the words of its command line, else the variables that every AWS
 * client reads, else the file `env` of the data folder.
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ConfigError } from './config-error.ts'
import { readSecret } from './secret-file.ts'
import type { ControlPlane } from './signed-request.ts'

/** Words of a command line; what is not given is undefined. */
export interface AccessWords {
  data?: string | undefined
  endpoint?: string | undefined
  region?: string | undefined
  ca?: string | undefined
}

/** Throws ConfigError where no control plane is known, or `ca` cannot be read. */
export async function readAccess(values: AccessWords): Promise<ControlPlane> {
  const { env } = process
  const data =
    values.data ??
    env.MUSTERBOOK_DATA ??
    (process.getuid?.() === 0 ? '/var/lib/musterbook' : join(homedir(), '.local/share/musterbook'))
  const isGiven = env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY && (values.endpoint || env.AWS_ENDPOINT_URL)
  const file = isGiven ? '' : ((await readSecret(join(data, 'env'))) ?? '')
  const own = (name: string) => new RegExp(`^export ${name}='([^']*)'$`, 'm').exec(file)?.[1]
  const accessKeyId = env.AWS_ACCESS_KEY_ID || own('AWS_ACCESS_KEY_ID')
  const secretAccessKey = env.AWS_SECRET_ACCESS_KEY || own('AWS_SECRET_ACCESS_KEY')
  const endpoint = values.endpoint || env.AWS_ENDPOINT_URL || own('AWS_ENDPOINT_URL')
  if (!accessKeyId || !secretAccessKey || !endpoint)
    throw new ConfigError(
      `no control plane is known: name its data folder with --data, or set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    )
  return {
    endpoint,
    region: values.region ?? env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? own('AWS_REGION') ?? 'us-east-1',
    // A token belongs to the keys of the environment, never to those of the data folder.
    credentials: {
      accessKeyId,
      secretAccessKey,
      sessionToken: env.AWS_ACCESS_KEY_ID ? env.AWS_SESSION_TOKEN : undefined,
    },
    ...(await authorities(data, values.ca, env.SSL_CERT_FILE)),
  }
}

/** Whom a client trusts: the files that it names, or else the authority of the data folder; the system's without either. */
export async function authorities(
  data: string,
  ca: string | undefined,
  ofSystem: string | undefined,
): Promise<Pick<ControlPlane, 'ca' | 'trusted'>> {
  // Many machines have SSL_CERT_FILE set to the authorities of their company: ours counts beside them.
  const files = ca ? [ca] : [join(data, 'ca.pem'), ...(ofSystem ? [ofSystem] : [])]
  const found: { file: string; text: string }[] = []
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch((error) => {
      if (ca) throw new ConfigError(`--ca ${file} cannot be read (${error.code})`)
      return ''
    })
    if (text.trim() !== '') found.push({ file, text })
  }
  if (found.length === 0) return {}
  return {
    ca: found.map(({ text }) => text).join('\n'),
    trusted: `those in ${found.map(({ file }) => file).join(' and ')}`,
  }
}
