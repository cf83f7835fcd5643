/** Simulated nodes in a process of their own: they speak the real wire and answer every command at once. */
import { type SimulatedNodes, simulateNodes } from '../packages/agent/src/simulate.ts'
import { answerQuestions } from './child.process.ts'

export type NodesQuestion =
  | {
      kind: 'connect'
      endpoint: string
      ca?: string
      region: string
      count: number
      activation: { id: string; code: string }
    }
  | { kind: 'close' }

let nodes: SimulatedNodes | undefined

answerQuestions<NodesQuestion>(async (question) => {
  if (question.kind === 'close') {
    nodes?.close()
    return undefined
  }
  nodes = await simulateNodes(question)
  return nodes.instanceIds.length
})
