/**
 * `musterbook follow <command-id>`: the output of all nodes of a command while they write it, line by line, each line under
 * its node's name, and how far the command is on standard error.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { call, readEnvironment } from './client.ts'
import type { Config } from './config.ts'
import { type EventSource, events } from './events.ts'

interface Invocation {
  InstanceId: string
  StatusDetails: string
}

/** Streams that are open at a time; the others wait their turn and miss nothing. */
const STREAMS = 64
const AGAIN_MS = 1_000
/** Attempts to open a stream that has not brought anything since. */
const ATTEMPTS = 30

/** Resolves with the exit code: 0 when every node succeeded. */
export async function follow(
  config: Config,
  out: NodeJS.WritableStream,
  progress: NodeJS.WritableStream,
): Promise<number> {
  const { endpoint, credentials } = await readEnvironment(config.data)
  const ask = <Answer>(operation: string, input: object) =>
    call<Answer>(endpoint, config.region, credentials, operation, input)
  const CommandId = config.commandId ?? ''
  const invocations = await listAll<Invocation>(ask, 'ListCommandInvocations', 'CommandInvocations', { CommandId })
  const names = await nodeNames(
    ask,
    invocations.map(({ InstanceId }) => InstanceId),
  )
  const width = Math.min(30, Math.max(0, ...[...names.values()].map((name) => name.length)))
  const states = new Map(invocations.map(({ InstanceId, StatusDetails }) => [InstanceId, StatusDetails]))
  const board = progressLine(progress, states)
  await inParallel([...states.keys()], STREAMS, async (nodeId) => {
    const path = `/v1/commands/${CommandId}/invocations/${nodeId}/output`
    const name = (names.get(nodeId) ?? nodeId).padEnd(width)
    await followNode(
      { endpoint, region: config.region, credentials, path },
      {
        line: (text) => board.above(() => out.write(`${name} | ${text}\n`)),
        state: (words) => {
          states.set(nodeId, words)
          board.draw()
        },
      },
    )
  })
  board.end()
  return [...states.values()].every((state) => state === 'Success') ? 0 : 1
}

interface Reader {
  line(text: string): void
  state(statusDetails: string): void
}

/** Reads one node to its end; a broken stream goes on where it broke. */
export async function followNode(source: EventSource, reader: Reader): Promise<void> {
  const lines = lineReader(reader.line)
  let offset = 0
  for (let failures = 0; ; failures++) {
    try {
      for await (const { id, event, data } of events(source, offset)) {
        failures = 0
        if (event === 'output') {
          const { Step, Stream, Data } = JSON.parse(data) as { Step: string; Stream: string; Data: string }
          lines.add(`${Step} ${Stream}`, Buffer.from(Data, 'base64'))
          offset = Number(id)
        } else reader.state((JSON.parse(data) as { StatusDetails: string }).StatusDetails)
        if (event === 'end') return lines.end()
      }
    } catch (error) {
      if (failures >= ATTEMPTS || (error instanceof Error && error.message.includes('was refused'))) throw error
    }
    await pause(AGAIN_MS)
  }
}

/** Whole lines of several streams; bytes of a character may come apart. */
function lineReader(line: (text: string) => void) {
  const streams = new Map<string, { decoder: InstanceType<typeof TextDecoder>; rest: string }>()
  return {
    add(stream: string, bytes: Uint8Array) {
      const state = streams.get(stream) ?? { decoder: new TextDecoder(), rest: '' }
      streams.set(stream, state)
      const [last = '', ...whole] = (state.rest + state.decoder.decode(bytes, { stream: true })).split('\n').reverse()
      state.rest = last
      for (const text of whole.reverse()) line(text)
    },
    end() {
      for (const { rest } of streams.values()) if (rest !== '') line(rest)
    },
  }
}

const OPEN = new Set(['Pending', 'InProgress', 'Delayed', 'Cancelling'])

function progressLine(to: NodeJS.WritableStream, states: ReadonlyMap<string, string>) {
  const isTerminal = 'isTTY' in to && to.isTTY === true
  const text = () => {
    const counts = new Map<string, number>()
    for (const state of states.values()) counts.set(state, (counts.get(state) ?? 0) + 1)
    const done = [...states.values()].filter((state) => !OPEN.has(state)).length
    return `${done} of ${states.size} done: ${[...counts].map(([state, count]) => `${count} ${state}`).join(', ')}`
  }
  const clear = () => isTerminal && to.write('\r\x1b[K')
  const draw = () => isTerminal && to.write(`\r\x1b[K${text()}`)
  return {
    above(write: () => void) {
      clear()
      write()
      draw()
    },
    draw,
    end() {
      clear()
      to.write(`${text()}\n`)
    },
  }
}

type Ask = <Answer>(operation: string, input: object) => Promise<Answer>

async function listAll<Row>(ask: Ask, operation: string, member: string, input: object): Promise<Row[]> {
  const rows: Row[] = []
  let NextToken: string | undefined
  do {
    const page = await ask<Record<string, unknown>>(operation, { ...input, NextToken, MaxResults: 50 })
    rows.push(...((page[member] ?? []) as Row[]))
    NextToken = page.NextToken as string | undefined
  } while (NextToken)
  return rows
}

/** The machines' own names, 50 at a time; the id where a machine has told none. */
async function nodeNames(ask: Ask, nodeIds: string[]): Promise<Map<string, string>> {
  const names = new Map(nodeIds.map((nodeId) => [nodeId, nodeId]))
  for (let from = 0; from < nodeIds.length; from += 50) {
    const Filters = [{ Key: 'InstanceIds', Values: nodeIds.slice(from, from + 50) }]
    const rows = await listAll<{ InstanceId: string; ComputerName?: string }>(
      ask,
      'DescribeInstanceInformation',
      'InstanceInformationList',
      { Filters },
    )
    for (const { InstanceId, ComputerName } of rows) if (ComputerName) names.set(InstanceId, ComputerName)
  }
  return names
}

async function inParallel<Item>(items: Item[], width: number, act: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values()
  const workers = Array.from({ length: Math.min(width, items.length) }, async () => {
    for (const item of queue) await act(item)
  })
  await Promise.all(workers)
}
