/**
 * The official session-manager-plugin, run unmodified, as the AWS CLI runs it. MUSTERBOOK_OFFICIAL_PLUGIN names the folder
 * with the program, built from its own source; nothing of it lies here.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type SSMClient, StartSessionCommand, type StartSessionCommandInput } from '@aws-sdk/client-ssm'
import { eventually, REGION } from '@musterbook/testbed'

/** Why the plugin cannot be run here, or undefined. */
export function whyNoPlugin(): string | undefined {
  const folder = process.env.MUSTERBOOK_OFFICIAL_PLUGIN
  if (!folder) return 'MUSTERBOOK_OFFICIAL_PLUGIN names no folder with session-manager-plugin'
  return existsSync(join(folder, 'session-manager-plugin')) ? undefined : `session-manager-plugin is not in ${folder}`
}

export interface Plugin extends AsyncDisposable {
  sessionId: string
  output(): string
  shows(text: string): Promise<void>
  type(text: string): void
  interrupt(): void
  /** Resolves when it has ended by itself. */
  ended: Promise<void>
}

export async function runPlugin(
  ssm: SSMClient,
  at: { endpoint: string; caFile: string },
  input: StartSessionCommandInput,
  environment: Record<string, string> = {},
): Promise<Plugin> {
  const { SessionId = '', TokenValue, StreamUrl } = await ssm.send(new StartSessionCommand(input))
  const { accessKeyId, secretAccessKey } = await ssm.config.credentials()
  const program = join(process.env.MUSTERBOOK_OFFICIAL_PLUGIN ?? '', 'session-manager-plugin')
  const child = spawn(
    program,
    ['AWS_SSM_START_SESSION_RESPONSE', REGION, 'StartSession', '', JSON.stringify(input), at.endpoint],
    {
      env: {
        PATH: process.env.PATH,
        SSL_CERT_FILE: at.caFile,
        AWS_SSM_START_SESSION_RESPONSE: JSON.stringify({ SessionId, TokenValue, StreamUrl }),
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        ...environment,
      },
    },
  )
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said += chunk
    })
  }
  const ended = once(child, 'exit').then(() => {})
  return {
    sessionId: SessionId,
    output: () => said,
    shows: async (text) => {
      await eventually(`the plugin shows ${text}`, () => said.includes(text)).catch((error) => {
        throw new Error(`${error.message}: ${said}`)
      })
    },
    type: (text) => void child.stdin.write(text),
    interrupt: () => void child.kill('SIGINT'),
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
