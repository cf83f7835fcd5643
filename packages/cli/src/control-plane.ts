/**
 * The control plane as the tools reach it: over the public door, signed with the credentials of the environment or with
 * the root's of the data folder. Nothing here may do what another client could not.
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { authorities } from './access.ts'
import { ConfigError } from './config-error.ts'
import { type ControlPlane, isOk, send, textOf } from './signed-request.ts'

const text = { type: 'string' } as const
/** Options of every tool. */
const WHERE = { data: text, endpoint: text, region: text, ca: text, help: { type: 'boolean' } } as const
export const WHERE_USAGE = `All take --data folder, --endpoint url, --ca file and --region name; AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN stand in for what is not given, and then the file env of the data folder.
`

type Options = NonNullable<ParseArgsConfig['options']>

/** Words and options of a tool, its name left out. Throws ConfigError with one line. */
export function readWords<const Own extends Options>(args: string[], own: Own) {
  try {
    return parseArgs({
      args: args.slice(1),
      allowPositionals: true,
      options: { ...own, ...WHERE } as Own & typeof WHERE,
    })
  } catch (error) {
    throw new ConfigError(error instanceof Error ? error.message.split('\n')[0] : String(error))
  }
}

/** Throws ConfigError where nothing says which control plane is meant. */
export async function findControlPlane(given: {
  data?: string | undefined
  endpoint?: string | undefined
  region?: string | undefined
  ca?: string | undefined
}): Promise<ControlPlane> {
  const { env } = process
  const standard = process.getuid?.() === 0 ? '/var/lib/musterbook' : join(homedir(), '.local/share/musterbook')
  const data = given.data ?? env.MUSTERBOOK_DATA ?? standard
  const path = join(data, 'env')
  const file = await readFile(path, 'utf8').catch(() => '')
  const own = (name: string) => new RegExp(`^export ${name}='([^']*)'$`, 'm').exec(file)?.[1]
  // A folder that is named means its root; only without one do the credentials of the environment come first.
  const value = (name: string) => (given.data === undefined ? (env[name] ?? own(name)) : (own(name) ?? env[name]))
  const accessKeyId = value('AWS_ACCESS_KEY_ID')
  const secretAccessKey = value('AWS_SECRET_ACCESS_KEY')
  const endpoint = given.endpoint ?? value('AWS_ENDPOINT_URL')
  if (!accessKeyId || !secretAccessKey || !endpoint)
    throw new ConfigError(
      `no control plane is known: ${path} cannot be read; name its data folder with --data, or set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    )
  if (!URL.canParse(endpoint)) throw new ConfigError(`--endpoint is '${endpoint}': it must look like https://host:port`)
  const sessionToken = accessKeyId === env.AWS_ACCESS_KEY_ID ? env.AWS_SESSION_TOKEN : undefined
  return {
    endpoint,
    region: given.region ?? value('AWS_REGION') ?? env.AWS_DEFAULT_REGION ?? 'us-east-1',
    credentials: { accessKeyId, secretAccessKey, sessionToken },
    ...(await authorities(data, given.ca, env.SSL_CERT_FILE)),
  }
}

/** A route of identity. Throws ConfigError with the words of the refusal. */
export async function ask<Answer>(
  at: ControlPlane,
  method: 'GET' | 'POST',
  path: string,
  input?: object,
): Promise<Answer> {
  const headers: [string, string][] = [['content-type', 'application/json']]
  const body = input === undefined ? '' : JSON.stringify(input)
  const answer = await send(at, { method, path, headers, body, service: 'iam' })
  const said = await textOf(answer)
  if (isOk(answer)) return JSON.parse(said) as Answer
  throw new ConfigError(wordsOf(said) || `the control plane answered ${answer.statusCode}`)
}

const ENTITIES: Record<string, string> = { '&lt;': '<', '&gt;': '>', '&amp;': '&' }

/** Refusals of the gateway are XML, those of the routes JSON. */
function wordsOf(said: string): string {
  const [, name, message] = /^<(\w+)><Message>([^<]*)/.exec(said) ?? []
  if (name !== undefined && message !== undefined)
    return `${message.replace(/&(lt|gt|amp);/g, (entity) => ENTITIES[entity]!)} (${name})`
  try {
    return (JSON.parse(said) as { message?: string }).message ?? ''
  } catch {
    return ''
  }
}
