/**
 * Fail-closed: a server is killed with SIGKILL at random moments under mixed calls, and the audit has exactly one record of each call that was
 * answered, none twice, and one of everything that was done. MUSTERBOOK_AUDIT_FAULT_ROUNDS raises the number of kills,
 * MUSTERBOOK_AUDIT_CALLS that of the calls; what a record takes is shown.
 */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { CloudTrail, type Event } from '@aws-sdk/client-cloudtrail'
import { IAM } from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import {
  DeleteParameterCommand,
  GetParameterCommand,
  GetParametersByPathCommand,
  PutParameterCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm'
import { STS } from '@aws-sdk/client-sts'
import { eventually } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { allGone, descendants, newPlace, type RunningServer, run, startMusterbook } from './musterbook-process.ts'

const ROUNDS = Number(process.env.MUSTERBOOK_AUDIT_FAULT_ROUNDS ?? 3)
/** Answered at least, over all rounds. */
const CALLS = Number(process.env.MUSTERBOOK_AUDIT_CALLS ?? 300)
const WORKERS = CALLS > 10_000 ? 16 : 4
/** Milliseconds after which a round's kill comes at the latest. */
const LATEST_KILL_MS = 1_200
const FAIL_CLOSED = { args: ['--audit', 'fail-closed'] }

async function allEvents(config: ConstructorParameters<typeof CloudTrail>[0]): Promise<Event[]> {
  const trail = new CloudTrail({ ...config })
  const found: Event[] = []
  let NextToken: string | undefined
  do {
    const page = await trail.lookupEvents({ NextToken })
    found.push(...(page.Events ?? []))
    NextToken = page.NextToken
  } while (NextToken)
  trail.destroy()
  return found
}

async function allNames(ssm: SSMClient): Promise<string[]> {
  const found: string[] = []
  let NextToken: string | undefined
  do {
    const page = await ssm.send(new GetParametersByPathCommand({ Path: '/audit', Recursive: true, NextToken }))
    found.push(...(page.Parameters ?? []).map(({ Name }) => Name!))
    NextToken = page.NextToken
  } while (NextToken)
  return found
}

type Answer = Promise<{ $metadata: { requestId?: string | undefined } }>

/** The id of the request, of an answer or of a refusal; undefined where none came. */
async function requestIdOf(call: Answer): Promise<string | undefined> {
  try {
    return (await call).$metadata.requestId
  } catch (error) {
    const { $metadata } = error as { $metadata?: { requestId?: string } }
    if (!$metadata?.requestId) throw error
    return $metadata.requestId
  }
}

describe('the audit of a server that is killed', () => {
  it(
    `has exactly one record of each call, ${ROUNDS} times`,
    async () => {
      await using place = await newPlace()
      let server = await startMusterbook(place, 'serve', FAIL_CLOSED)
      const answered = new Set<string>()

      const iam = new IAM(server.config)
      await iam.createUser({ UserName: 'mallory' })
      const { AccessKey } = await iam.createAccessKey({ UserName: 'mallory' })
      const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! }
      const { KeyMetadata } = await new KMS(server.config).createKey({})
      const KeyId = KeyMetadata!.KeyId!

      /** Writes and reads of four services, what fails and what is denied. */
      function mixed({ ssm, config }: RunningServer): ((Name: string) => Answer)[] {
        const [kms, sts, users] = [new KMS(config), new STS(config), new IAM(config)]
        const mallory = new STS({ ...config, credentials })
        const RoleArn = 'arn:aws:iam::000000000000:role/none'
        const PolicyDocument = JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }],
        })
        return [
          (Name) => ssm.send(new PutParameterCommand({ Name, Value: randomUUID(), Type: 'String' })),
          (Name) => ssm.send(new GetParameterCommand({ Name })),
          () => ssm.send(new DeleteParameterCommand({ Name: '/audit/none' })),
          () => kms.encrypt({ KeyId, Plaintext: randomBytes(16) }),
          () => kms.decrypt({ CiphertextBlob: randomBytes(100) }),
          () => users.putUserPolicy({ UserName: 'mallory', PolicyName: 'none', PolicyDocument }),
          () => sts.getCallerIdentity({}),
          () => mallory.assumeRole({ RoleArn, RoleSessionName: 'mallory' }),
        ]
      }

      // Beyond AWS's limit of standard parameters writes are refused, and recorded.
      async function work(round: number, worker: number, calls: ReturnType<typeof mixed>): Promise<void> {
        for (let count = worker; ; count++) {
          const Name = `/audit/${round}/${worker}/${Math.floor(count / calls.length)}`
          const id = await requestIdOf(calls[count % calls.length]!(Name))
          if (id) answered.add(id)
        }
      }

      for (let round = 0; round < ROUNDS; round++) {
        const calls = mixed(server)
        const workers = Promise.allSettled(Array.from({ length: WORKERS }, (_, worker) => work(round, worker, calls)))
        const share = (CALLS * (round + 1)) / ROUNDS
        await eventually('its share of calls is answered', async () => answered.size >= share, 60_000 + CALLS * 20)
        await pause(randomInt(LATEST_KILL_MS))
        const children = descendants(server.child.pid)
        await server.kill('SIGKILL')
        await workers
        server.ssm.destroy()
        await allGone(children)
        server = await startMusterbook(place, 'serve', FAIL_CLOSED)
      }
      await using last = server

      const stored = await allNames(last.ssm)
      const events = await eventually(
        'everything that was done has a record',
        async () => {
          const found = await allEvents(last.config)
          const recorded = new Set(
            found
              .filter(({ EventName }) => EventName === 'PutParameter')
              .map(({ Resources }) => Resources?.[0]?.ResourceName),
          )
          return stored.every((name) => recorded.has(name)) && found
        },
        60_000 + CALLS * 5,
      )
      const requests = events.map(({ CloudTrailEvent }) => String(JSON.parse(CloudTrailEvent ?? '{}').requestID))
      const counts = new Map<string, number>()
      for (const id of requests) counts.set(id, (counts.get(id) ?? 0) + 1)
      expect(answered.size).toBeGreaterThanOrEqual(CALLS)
      const sources = events.map(({ EventSource }) => EventSource?.split('.')[0])
      expect(sources).toEqual(expect.arrayContaining(['iam', 'kms', 'ssm', 'sts']))
      expect([...answered].filter((id) => counts.get(id) !== 1)).toEqual([])
      expect([...counts].filter(([, count]) => count > 1)).toEqual([])

      await using verification = run(['trail', 'verify', '--data', place.folder])
      expect(await verification.ended, verification.err()).toBe(0)
      expect(verification.out()).toMatch(/^\d{12} us-east-1: whole, \d+ records of \d+ bytes, head \d+ [0-9a-f]{64}\n$/)
      console.info(`${answered.size} calls answered through ${ROUNDS} kills; ${verification.out()}`)

      const seen = join(place.folder, 'seen.txt')
      await writeFile(seen, verification.out())
      await using again = run(['trail', 'verify', '--data', place.folder, '--since', seen])
      expect(await again.ended, again.err()).toBe(0)
      await writeFile(seen, verification.out().replace(/[0-9a-f]{64}/, '0'.repeat(64)))
      await using other = run(['trail', 'verify', '--data', place.folder, `--since=${seen}`])
      expect(await other.ended, other.err()).toBe(1)
      expect(other.out()).toContain('it is not the one that was seen before')
    },
    180_000 + ROUNDS * 15_000 + CALLS * 40,
  )
})
