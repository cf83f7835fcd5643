/** The file `env` of a data folder, which `serve` writes: where the control plane listens, and its root credentials. */
import { join } from 'node:path'
import { ConfigError } from './config-error.ts'
import { readSecret } from './secret-file.ts'
import type { Credentials } from './signed-request.ts'

const nameIn = (data: string): string => join(data, 'env')

/** The variables of the file; undefined when there is none. ConfigError when others can read it, or this user cannot. */
export async function readVariables(data: string): Promise<Record<string, string> | undefined> {
  const text = await readSecret(nameIn(data))
  if (text === undefined) return undefined
  return Object.fromEntries([...text.matchAll(/^export (\w+)='([^']*)'$/gm)].map(([, name, value]) => [name, value]))
}

/** What a command needs that works at the side of its control plane. ConfigError where the file is not there. */
export async function readEnvironment(data: string): Promise<{ endpoint: string; credentials: Credentials }> {
  const variables = await readVariables(data)
  if (variables === undefined)
    throw new ConfigError(
      `${nameIn(data)} cannot be read: start the control plane on this machine first, or name its data folder with --data`,
    )
  const { AWS_ENDPOINT_URL = '', AWS_ACCESS_KEY_ID = '', AWS_SECRET_ACCESS_KEY = '' } = variables
  return {
    endpoint: AWS_ENDPOINT_URL,
    credentials: { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY },
  }
}
