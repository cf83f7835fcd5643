/** `musterbook …` as a person types it, with the credentials of an account in the environment. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { MUSTERBOOK, type TestAccount, type Testbed } from '@musterbook/testbed'

/** Which server process it speaks to, and whom it trusts. */
type At = Pick<Testbed, 'endpoint' | 'caFile'>

export function spawnMusterbook(testbed: At, account: TestAccount, ...args: string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [MUSTERBOOK, ...args], { env: environmentOf(testbed, account) })
}

export const environmentOf = (testbed: At, { config }: TestAccount) => ({
  PATH: process.env.PATH,
  AWS_ENDPOINT_URL: testbed.endpoint,
  AWS_REGION: config.region,
  AWS_ACCESS_KEY_ID: config.credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: config.credentials.secretAccessKey,
  SSL_CERT_FILE: testbed.caFile,
})

/** Runs it to its end; `text` is all that it wrote. */
export function musterbook(
  testbed: At,
  account: TestAccount,
  ...args: string[]
): Promise<{ code: number | null; text: string }> {
  const child = spawnMusterbook(testbed, account, ...args)
  child.stdin.end()
  const chunks: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return new Promise((resolve) =>
    child.once('close', (code) => resolve({ code, text: Buffer.concat(chunks).toString() })),
  )
}
