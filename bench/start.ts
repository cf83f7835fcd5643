/**
 * How long the first and every later start take, until this machine is shown as a node, and what the server process then holds
 * in memory while it does nothing. `npm run bench -- start`.
 */
import { rm } from 'node:fs/promises'
import { fixed, median, pause, quantile, residentBytes } from './measure.ts'
import { makeFolder, startSubject } from './server.process.ts'
import type { Report } from './table.ts'

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5)
/** Long enough for the start's garbage to be collected and for the agent's first reports. */
const IDLE_MS = 20_000
const GREETING = /Musterbook is ready/
const NODE_SHOWN = /this machine\s+(?:mi|i)-[0-9a-f]+/

export async function run(): Promise<Report> {
  const [first, firstNode, later, laterNode, memory]: number[][] = [[], [], [], [], []]
  for (let index = 0; index < ROUNDS; index++) {
    // Two folders per round: one until the greeting, one until the machine is a node, each started twice.
    for (const [ready, firsts, laters] of [
      [GREETING, first, later],
      [NODE_SHOWN, firstNode, laterNode],
    ] as const) {
      const data = await makeFolder()
      for (const times of [firsts, laters]) {
        await using subject = await startSubject({ command: 'up', data, ready })
        times?.push(subject.startMs)
        if (times === later) {
          await pause(IDLE_MS)
          memory?.push(residentBytes(subject.pid))
        }
      }
      await rm(data, { recursive: true, force: true })
    }
  }
  const seconds = (label: string, times: number[] = []) => [
    label,
    String(times.length),
    fixed(median(times) / 1000),
    fixed(quantile(times, 0.99) / 1000),
  ]
  return {
    title: 'Starting, and memory at rest',
    method: [
      `\`npm run bench -- start\`. \`musterbook up\` as a process, from starting it until it says that it is ready, and until it shows this machine as a connected node. First starts have an empty data folder: PostgreSQL's cluster, keys and certificates are made and every migration runs. Dependencies and build are in place.`,
      `Memory is the resident memory of the server process ${IDLE_MS / 1000} s after a later start, with this machine's agent connected; PostgreSQL and the agent are processes of their own.`,
    ],
    tables: [
      {
        caption: 'Seconds to start',
        head: ['start', 'N', 'median s', 'slowest s'],
        rows: [
          seconds('first, until ready', first),
          seconds('first, until this machine is a node', firstNode),
          seconds('later, until ready', later),
          seconds('later, until this machine is a node', laterNode),
        ],
      },
      {
        caption: 'Memory at rest',
        head: ['process', 'N', 'median MiB', 'largest MiB'],
        rows: [
          [
            'server',
            String(memory?.length),
            fixed(median(memory ?? []) / 2 ** 20, 0),
            fixed(quantile(memory ?? [], 1) / 2 ** 20, 0),
          ],
        ],
      },
    ],
  }
}
