/**
 * `musterbook follow <command-id>`: the output of all nodes of a command while they write it, line by line, each line under
 * its node's name, and how far the command is on standard error. It ends with the command; 0 when every node succeeded.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { readAccess, readWords, WHERE_USAGE } from './access.ts'
import { call } from './client.ts'
import { ConfigError } from './config-error.ts'
import { type EventSource, events } from './events.ts'
import { OPEN, screen, shownNames } from './follow-screen.ts'
import type { ControlPlane } from './signed-request.ts'

const FOLLOW_HELP = `musterbook follow <command-id>
    the output of a command on all of its nodes while they run it, or again afterwards: "node | line" for standard output,
    "node ! line" for standard error. It ends with the command, with 0 when every node succeeded and 1 otherwise.
${WHERE_USAGE}`

/** Streams that are open at a time; nodes that have begun come before those that wait, and none misses anything. */
const STREAMS = 64
const AGAIN_MS = 1_000
/** Who waits is looked at again after this long, and at the earliest after so many times what the last look took. */
const LOOK_MS = 2_000
const LOOK_SHARE = 10
/** Attempts to open a stream that has not brought anything since. */
const ATTEMPTS = 30
/** What shells expect of a program that Ctrl-C has ended. */
const INTERRUPTED = 130

export async function runFollow([, ...args]: string[]): Promise<void> {
  const { values, positionals } = readWords(args, {})
  const [commandId] = positionals
  if (values.help || commandId === undefined) {
    process.stdout.write(FOLLOW_HELP)
    if (!values.help) process.exitCode = 1
    return
  }
  if (positionals.length > 1) throw new ConfigError(`'${positionals[1]}' is one word too many`)
  if (!/^[0-9a-f-]{36}$/.test(commandId)) throw new ConfigError(`'${commandId}' is not the id of a command`)
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort('interrupted'))
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    stop.abort('unread')
  })
  const code = await follow(await readAccess(values), commandId, stop.signal)
  if (stop.signal.reason === 'interrupted')
    process.stderr.write(`the command goes on; it is shown again by: musterbook follow ${commandId}\n`)
  // Connections that were cut off would keep the process for seconds.
  process.exit(stop.signal.reason === 'interrupted' ? INTERRUPTED : code)
}

interface Invocation {
  InstanceId: string
  InstanceName?: string
  StatusDetails: string
}

/** Resolves with the exit code. */
async function follow(access: ControlPlane, CommandId: string, signal: AbortSignal): Promise<number> {
  const ask: Ask = (operation, input) => call(access, operation, input)
  const { Commands } = await ask<{ Commands?: { StatusDetails: string }[] }>('ListCommands', { CommandId }).catch(
    (error: unknown) => {
      if (!(error instanceof ConfigError) || !error.message.includes('InvalidCommandId')) throw error
      throw new ConfigError(`there is no command ${CommandId} in ${access.region}, or it is kept no longer`)
    },
  )
  const list = () => listAll<Invocation>(ask, 'ListCommandInvocations', 'CommandInvocations', { CommandId })
  const invocations = await list()
  if (invocations.length === 0)
    throw new ConfigError(`the command went to no node: ${Commands?.[0]?.StatusDetails ?? ''}`)
  const names = await nodeNames(ask, invocations)
  const states = new Map(invocations.map(({ InstanceId, StatusDetails }) => [InstanceId, StatusDetails]))
  const shown = screen(
    process.stdout,
    process.stderr,
    names,
    states,
    process.stdout.isTTY && process.stdout.hasColors(),
  )
  const read = (nodeId: string) =>
    followNode(
      { ...access, path: `/v1/commands/${CommandId}/invocations/${nodeId}/output` },
      {
        line: (stream, text) => shown.line(nodeId, stream, text),
        state: (statusDetails) => shown.state(nodeId, statusDetails),
      },
      signal,
    )
  await followInTurn(invocations, list, read, shown.state, signal)
  shown.end()
  const ends = [...states.values()]
  return ends.every((state) => state === 'Success' || (signal.aborted && OPEN.has(state))) ? 0 : 1
}

/** What has not reached its node yet, and what is written there cannot come before it has. */
const WAITS = new Set(['Pending', 'Delayed'])

/**
 * Follows every node to its end. Where there are more nodes than streams, those that wait for MaxConcurrency to let them are
 * listed again from time to time and followed once they have begun: streams to them would show nothing while others write.
 */
async function followInTurn(
  invocations: Invocation[],
  list: () => Promise<Invocation[]>,
  read: (nodeId: string) => Promise<void>,
  say: (nodeId: string, statusDetails: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const waits = ({ StatusDetails }: Invocation) => invocations.length > STREAMS && WAITS.has(StatusDetails)
  const waiting = new Set(invocations.filter(waits).map(({ InstanceId }) => InstanceId))
  const ready = invocations.map(({ InstanceId }) => InstanceId).filter((nodeId) => !waiting.has(nodeId))
  const open = new Set<Promise<void>>()
  const errors: unknown[] = []
  const start = (nodeId: string) => {
    const reading: Promise<void> = read(nodeId)
      .catch((error: unknown) => void errors.push(error))
      .finally(() => open.delete(reading))
    open.add(reading)
  }
  let isTime = false
  const later = async (ms: number) => {
    await pause(ms, undefined, { signal }).catch(() => {})
    isTime = true
  }
  let failures = 0
  let look = later(LOOK_MS)
  while (!signal.aborted && (ready.length > 0 || waiting.size > 0 || open.size > 0)) {
    while (open.size < STREAMS && ready.length > 0) start(ready.shift()!)
    await Promise.race(waiting.size > 0 ? [...open, look] : open)
    if (errors.length > 0) throw errors[0]
    if (!isTime || waiting.size === 0 || signal.aborted) continue
    isTime = false
    const began = Date.now()
    try {
      for (const { InstanceId, StatusDetails } of await list()) {
        if (!waiting.has(InstanceId)) continue
        say(InstanceId, StatusDetails)
        if (WAITS.has(StatusDetails)) continue
        waiting.delete(InstanceId)
        ready.push(InstanceId)
      }
      failures = 0
    } catch (error) {
      if (++failures >= ATTEMPTS || isFinal(error)) throw error
    }
    look = later(Math.max(LOOK_MS, (Date.now() - began) * LOOK_SHARE))
  }
  await Promise.all(open)
}

/** A refusal stays one; a server that is away or asks for patience does not. */
const isFinal = (error: unknown): boolean =>
  error instanceof Error && error.message.includes('was refused') && !error.message.includes('ThrottlingException')

interface Reader {
  line(stream: string, text: string): void
  state(statusDetails: string): void
}

/** Reads one node to its end, or until it is told to stop; a broken stream goes on where it broke. */
async function followNode(source: EventSource, reader: Reader, signal: AbortSignal): Promise<void> {
  const lines = lineReader(reader)
  let offset = 0
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      for await (const { id, event, data } of events(source, offset, signal)) {
        failures = 0
        if (event === 'output') {
          const { Step, Stream, Data } = JSON.parse(data) as { Step: string; Stream: string; Data: string }
          lines.add(Step, Stream, Buffer.from(Data, 'base64'))
          offset = Number(id)
          continue
        }
        if (event === 'end') lines.end()
        reader.state((JSON.parse(data) as { StatusDetails: string }).StatusDetails)
        if (event === 'end') return
      }
    } catch (error) {
      if (signal.aborted) return
      if (failures >= ATTEMPTS || isFinal(error)) throw error
    }
    await pause(AGAIN_MS, undefined, { signal }).catch(() => {})
  }
}

/** A line without an end is shown at this length, so that it is not kept whole. */
const LONGEST_LINE = 65_536

/** Whole lines of several streams; bytes of a character may come apart. */
function lineReader({ line }: Pick<Reader, 'line'>) {
  const streams = new Map<string, { stream: string; decoder: InstanceType<typeof TextDecoder>; rest: string }>()
  return {
    add(step: string, stream: string, bytes: Uint8Array) {
      const key = `${step} ${stream}`
      const state = streams.get(key) ?? { stream, decoder: new TextDecoder(), rest: '' }
      streams.set(key, state)
      const whole = (state.rest + state.decoder.decode(bytes, { stream: true })).split('\n')
      state.rest = whole.pop() ?? ''
      for (const text of whole) line(stream, text)
      if (state.rest.length > LONGEST_LINE) {
        line(stream, state.rest)
        state.rest = ''
      }
    },
    end() {
      for (const { stream, rest } of streams.values()) if (rest !== '') line(stream, rest)
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

/** What the machines call themselves, else what their owner calls them, else their ids; 50 at a time. */
async function nodeNames(ask: Ask, invocations: Invocation[]): Promise<Map<string, string>> {
  const owners = new Map<string, string | undefined>()
  try {
    for (let from = 0; from < invocations.length; from += 50) {
      const Values = invocations.slice(from, from + 50).map(({ InstanceId }) => InstanceId)
      const rows = await listAll<{ InstanceId: string; Name?: string }>(
        ask,
        'DescribeInstanceInformation',
        'InstanceInformationList',
        { Filters: [{ Key: 'SourceIds', Values }] }, // unlike InstanceIds no error for a node that is gone
      )
      for (const { InstanceId, Name } of rows) owners.set(InstanceId, Name)
    }
  } catch (error) {
    // Who may read commands may not always read nodes; names are only a comfort.
    if (!(error instanceof ConfigError)) throw error
  }
  return shownNames(
    invocations.map(({ InstanceId, InstanceName }) => ({
      nodeId: InstanceId,
      names: [InstanceName, owners.get(InstanceId)],
    })),
  )
}
