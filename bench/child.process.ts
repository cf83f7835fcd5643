/** The other processes of a bench: started from a file beside this one, asked by message, each question answered once. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Helper extends AsyncDisposable {
  pid: number
  ask<Answer>(question: unknown): Promise<Answer>
}

export function startHelper(file: string): Helper {
  const child = fork(fileURLToPath(new URL(`./${file}.js`, import.meta.url)), { serialization: 'advanced' })
  let next = 0
  const waiting = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>()
  child.on('message', ({ id, answer, error }: { id: number; answer: unknown; error?: string }) => {
    const asked = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) asked?.resolve(answer)
    else asked?.reject(new Error(error))
  })
  child.once('exit', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`${file} ended with ${code}`))
  })
  return {
    pid: child.pid ?? 0,
    ask<Answer>(question: unknown) {
      return new Promise<Answer>((resolve, reject) => {
        const id = next++
        waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject })
        child.send({ id, question })
      })
    },
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit')
      child.disconnect()
      await gone
    },
  }
}

/** The other end: answers questions until the bench goes away. */
export function answerQuestions<Question>(answer: (question: Question) => Promise<unknown> | unknown): void {
  process.on('message', async ({ id, question }: { id: number; question: Question }) => {
    try {
      process.send?.({ id, answer: await answer(question) })
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  process.on('disconnect', () => process.exit(0))
}
