/** `enroll`: an activation, and the command that turns a machine into a node with it. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Credentials, call } from './client.ts'
import { type Config, ConfigError } from './config.ts'

export async function enroll(config: Config): Promise<string> {
  const { endpoint, credentials } = await readEnvironment(config.data)
  const { ActivationId, ActivationCode } = await call<{ ActivationId: string; ActivationCode: string }>(
    endpoint,
    config.region,
    credentials,
    'CreateActivation',
    { IamRole: 'musterbook-node', Description: 'made by musterbook enroll' },
  )
  return [
    'Copy dist/agent.cjs, dist/musterbook.js with its chunks and the file ca.pem of the data folder to the machine, and run there:',
    '',
    `  musterbook agent --endpoint ${config.endpoint} --ca ca.pem --region ${config.region} \\`,
    `    --activation-id ${ActivationId} --activation-code ${ActivationCode}`,
    '',
    'The activation registers one machine within 24 hours.',
    '',
  ].join('\n')
}

/** The endpoint and the root credentials, from the file that `serve` wrote. */
async function readEnvironment(data: string): Promise<{ endpoint: string; credentials: Credentials }> {
  const path = join(data, 'env')
  const text = await readFile(path, 'utf8').catch(() => {
    throw new ConfigError(
      `${path} cannot be read: start the control plane on this machine first, or name its data folder with --data`,
    )
  })
  const value = (name: string) => new RegExp(`^export ${name}='([^']*)'$`, 'm').exec(text)?.[1] ?? ''
  return {
    endpoint: value('AWS_ENDPOINT_URL'),
    credentials: { accessKeyId: value('AWS_ACCESS_KEY_ID'), secretAccessKey: value('AWS_SECRET_ACCESS_KEY') },
  }
}
