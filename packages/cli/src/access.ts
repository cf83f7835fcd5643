/**
 * Which control plane a tool speaks to, and as whom: over the public door, as any client. The words of its command line come
 * first, then the variables that every AWS client reads, then the file `env` of the data folder.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { defaultDataFolder } from './config.ts'
import { ConfigError } from './config-error.ts'
import { readVariables } from './environment-file.ts'
import type { ControlPlane } from './signed-request.ts'

const text = { type: 'string' } as const
/** Options of every tool. */
const WHERE = { data: text, endpoint: text, region: text, ca: text, help: { type: 'boolean' } } as const
export const WHERE_USAGE = `--data folder, --endpoint url, --region name and --ca file say which control plane is meant. Without --data, AWS_ENDPOINT_URL,
AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN come first, then the file env of the data folder.
`

type Options = NonNullable<ParseArgsConfig['options']>

/** Words and options of a tool, its name left out. Throws ConfigError with one line. */
export function readWords<const Own extends Options>(args: string[], own: Own) {
  try {
    return parseArgs({ args, allowPositionals: true, options: { ...own, ...WHERE } as Own & typeof WHERE })
  } catch (error) {
    throw new ConfigError(error instanceof Error ? error.message.split('\n')[0] : String(error))
  }
}

/** Words of a command line; what is not given is undefined. */
export interface AccessWords {
  data?: string | undefined
  endpoint?: string | undefined
  region?: string | undefined
  ca?: string | undefined
}

/** Throws ConfigError where no control plane is known, its file `env` can be read by others, or `ca` cannot be read. */
export async function readAccess(given: AccessWords): Promise<ControlPlane> {
  const env = process.env
  const data = given.data ?? defaultDataFolder()
  const isTold = env.AWS_ACCESS_KEY_ID && env.AWS_SECRET_ACCESS_KEY && (given.endpoint || env.AWS_ENDPOINT_URL)
  const own = given.data === undefined && isTold ? {} : ((await readVariables(data)) ?? {})
  // A folder that is named means its root; only without one do the credentials of the environment come first.
  const [first, second] = given.data === undefined ? [env, own] : [own, env]
  const value = (name: string) => first[name] || second[name]
  const accessKeyId = value('AWS_ACCESS_KEY_ID')
  const secretAccessKey = value('AWS_SECRET_ACCESS_KEY')
  const endpoint = given.endpoint || value('AWS_ENDPOINT_URL')
  if (!accessKeyId || !secretAccessKey || !endpoint)
    throw new ConfigError(
      `no control plane is known: there is no ${join(data, 'env')}; name its data folder with --data, or set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    )
  if (!URL.canParse(endpoint))
    throw new ConfigError(`the endpoint is '${endpoint}': it must look like https://host:port`)
  // A token belongs to the keys of the environment, never to those of the data folder.
  const sessionToken = accessKeyId === env.AWS_ACCESS_KEY_ID ? env.AWS_SESSION_TOKEN : undefined
  return {
    endpoint,
    region: given.region ?? value('AWS_REGION') ?? value('AWS_DEFAULT_REGION') ?? 'us-east-1',
    credentials: { accessKeyId, secretAccessKey, sessionToken },
    ...(await authorities(data, given.ca, env.SSL_CERT_FILE)),
  }
}

/** Whom a client trusts: the files that it names, or else the authority of the data folder; the system's without either. */
async function authorities(
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
