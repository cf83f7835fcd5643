/** A session as a test sees it: StartSession through the SDK, then our own client on the real wire, its output collected. */
import { readFileSync } from 'node:fs'
import {
  ResumeSessionCommand,
  type SSMClient,
  StartSessionCommand,
  type StartSessionCommandInput,
} from '@aws-sdk/client-ssm'
import { eventually } from '@musterbook/testbed'
import {
  openSession,
  resumedBy,
  type SessionClient,
  type SessionOptions,
} from '../../packages/cli/src/session-client.ts'
import { nodeHost } from '../../packages/cli/src/session-host.ts'

export interface SessionEnd {
  sessionId: string
  token: string
  streamUrl: string
  client: SessionClient
  output(): string
  bytes(): Buffer
  errors(): string
  exitCode(): number | undefined
  /** The words that it ended with; undefined while it goes on. */
  ended(): string | undefined
  session(): { sessionType: string; agentVersion: string } | undefined
  /** Waits until the output holds the text. */
  shows(text: string): Promise<void>
  type(text: string): void
}

export async function startSession(
  ssm: SSMClient,
  caFile: string,
  input: StartSessionCommandInput,
  extra: Partial<Omit<SessionOptions, 'events'>> = {},
  heard: Partial<SessionOptions['events']> = {},
): Promise<SessionEnd> {
  const { SessionId, TokenValue, StreamUrl } = await ssm.send(new StartSessionCommand(input))
  const chunks: Buffer[] = []
  const errors: Buffer[] = []
  let exitCode: number | undefined
  let ended: string | undefined
  let session: { sessionType: string; agentVersion: string } | undefined
  const client = openSession({
    host: nodeHost(readFileSync(caFile, 'utf8')),
    sessionId: SessionId!,
    token: TokenValue!,
    streamUrl: StreamUrl!,
    resume: async () => resumedBy(await ssm.send(new ResumeSessionCommand({ SessionId }))),
    events: {
      ready: (ready) => {
        session = ready
      },
      output: (bytes) => void chunks.push(Buffer.from(bytes)),
      error: (bytes) => void errors.push(Buffer.from(bytes)),
      exitCode: (code) => {
        exitCode = code
      },
      notice: () => {},
      flag: () => {},
      writable: () => {},
      ended: (reason) => {
        ended = reason
      },
      ...heard,
    },
    ...extra,
  })
  const output = () => Buffer.concat(chunks).toString()
  return {
    sessionId: SessionId!,
    token: TokenValue!,
    streamUrl: StreamUrl!,
    client,
    output,
    bytes: () => Buffer.concat(chunks),
    errors: () => Buffer.concat(errors).toString(),
    exitCode: () => exitCode,
    ended: () => ended,
    session: () => session,
    shows: async (text) => {
      await eventually(`the session shows ${JSON.stringify(text)}`, async () => {
        if (ended !== undefined && !output().includes(text)) throw new Error(`the session ended: ${ended}; ${output()}`)
        return output().includes(text) || undefined
      })
    },
    type: (text) => void client.write(Buffer.from(text)),
  }
}
