/** Simulated nodes in a process of their own: they speak the real wire and answer every command at once. */
import { type PreparedNode, registerNodes, type SimulatedNodes, simulateNodes } from '../packages/agent/src/simulate.ts'
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
  /** Registers them without connecting; may be asked several times. */
  | {
      kind: 'register'
      endpoint: string
      ca?: string
      region: string
      count: number
      activation: { id: string; code: string }
    }
  /** Connects all that were registered. */
  | { kind: 'open'; endpoint: string; ca?: string; region: string }
  | { kind: 'close' }

let nodes: SimulatedNodes | undefined
const registered: PreparedNode[] = []

answerQuestions<NodesQuestion>(async (question) => {
  if (question.kind === 'close') {
    nodes?.close()
    return undefined
  }
  if (question.kind === 'register') {
    registered.push(...(await registerNodes(question)))
    return registered.length
  }
  nodes = await simulateNodes(
    question.kind === 'open' ? { ...question, count: registered.length, nodes: registered } : question,
  )
  return nodes.instanceIds.length
})
