/**
 * Ordinary API calls while a bench does something else: one begins every few milliseconds whatever became of the ones
 * before, so that a server that stalls is not spared the calls it would have kept waiting.
 */
import { call, type Target } from './call.process.ts'
import { answerQuestions } from './child.process.ts'

export type CallsQuestion = { kind: 'start'; target: Target; everyMs: number; prefix: string } | { kind: 'stop' }

/** Milliseconds of each call since the start. */
export type Latencies = Float64Array

let latencies: number[] = []
let timer: NodeJS.Timeout | undefined
const underWay = new Set<Promise<void>>()

answerQuestions<CallsQuestion>(async (question) => {
  if (question.kind === 'start') {
    latencies = []
    let count = 0
    timer = setInterval(() => {
      const done = one(question, count++).finally(() => underWay.delete(done))
      underWay.add(done)
    }, question.everyMs)
    return undefined
  }
  clearInterval(timer)
  await Promise.all(underWay)
  return Float64Array.from(latencies)
})

/** In turn: a write, its reading, a list of nodes, a list of commands. */
async function one({ target, prefix }: { target: Target; prefix: string }, count: number): Promise<void> {
  const Name = `${prefix}/${Math.floor(count / 4)}`
  const calls: [string, object][] = [
    ['PutParameter', { Name, Value: 'value', Type: 'String', Overwrite: true }],
    ['GetParametersByPath', { Path: prefix }],
    ['DescribeInstanceInformation', { MaxResults: 20 }],
    ['ListCommands', { MaxResults: 10 }],
  ]
  const [operation, input] = calls[count % calls.length] ?? calls[0]!
  const started = performance.now()
  await call(target, operation, input)
  latencies.push(performance.now() - started)
}
