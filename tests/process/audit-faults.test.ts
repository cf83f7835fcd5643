/**
 * Fail-closed: a server is killed with SIGKILL at random moments under mixed calls, and the audit has exactly one record of each call that was
 * answered, none twice, and one of everything that was done. MUSTERBOOK_AUDIT_FAULT_ROUNDS raises the number of kills.
 */
import { randomInt, randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { CloudTrail, type Event } from '@aws-sdk/client-cloudtrail'
import {
  DeleteParameterCommand,
  GetParameterCommand,
  GetParametersByPathCommand,
  PutParameterCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm'
import { eventually } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { allGone, descendants, newPlace, run, startMusterbook } from './musterbook-process.ts'

const ROUNDS = Number(process.env.MUSTERBOOK_AUDIT_FAULT_ROUNDS ?? 3)
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

/** The id of the request, of an answer or of a refusal; undefined where none came. */
async function requestIdOf(
  call: Promise<{ $metadata: { requestId?: string | undefined } }>,
): Promise<string | undefined> {
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

      async function work(round: number, worker: number): Promise<void> {
        for (let count = 0; ; count++) {
          const { ssm } = server
          const Name = `/audit/${round}/${worker}/${count}`
          const call =
            count % 4 < 2
              ? ssm.send(new PutParameterCommand({ Name, Value: randomUUID(), Type: 'String' }))
              : count % 4 === 2
                ? ssm.send(new GetParameterCommand({ Name: `/audit/${round}/${worker}/${count - 1}` }))
                : ssm.send(new DeleteParameterCommand({ Name: '/audit/none' }))
          const id = await requestIdOf(call)
          if (id) answered.add(id)
        }
      }

      for (let round = 0; round < ROUNDS; round++) {
        const workers = Promise.allSettled([0, 1, 2, 3].map((worker) => work(round, worker)))
        await pause(200 + randomInt(LATEST_KILL_MS))
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
        60_000,
      )
      const requests = events.map(({ CloudTrailEvent }) => String(JSON.parse(CloudTrailEvent ?? '{}').requestID))
      const counts = new Map<string, number>()
      for (const id of requests) counts.set(id, (counts.get(id) ?? 0) + 1)
      expect(answered.size).toBeGreaterThan(ROUNDS * 4)
      expect([...answered].filter((id) => counts.get(id) !== 1)).toEqual([])
      expect([...counts].filter(([, count]) => count > 1)).toEqual([])

      await using verification = run(['trail', 'verify', '--data', place.folder])
      expect(await verification.ended, verification.err()).toBe(0)
      expect(verification.out()).toMatch(/^\d{12} us-east-1: whole, \d+ records, head \d+ [0-9a-f]{64}\n$/)
    },
    120_000 + ROUNDS * 15_000,
  )
})
