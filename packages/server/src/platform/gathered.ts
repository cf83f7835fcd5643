/**
 * What many callers ask of the database in one moment, done by one statement: the lookups of one turn of the event loop
 * cost one round trip, its writes one commit. No cache: every statement starts after its callers asked, so each of them
 * sees all that was committed before, by this process or any other. Inside a transaction nothing is gathered, since
 * others must not act through it.
 */
import { type Sql, sqlState } from './database.ts'

/**
 * Statements under way per pool and kind. Two keep PostgreSQL busy while one answer is on its way; more would make the
 * gathered statements smaller and cost a round trip for nothing.
 */
const MAX_UNDER_WAY = 2
/** Asks of one statement; beyond this the first would wait for the last. */
const MAX_ASKS = 256

/** Answers in the order of the asks. All or nothing: when it throws, nothing was done. */
type CarryOut<Ask, Answer> = (sql: Sql, asks: Ask[]) => Promise<Answer[]>
interface Waiting<Ask, Answer> {
  ask: Ask
  resolve(answer: Answer): void
  reject(error: unknown): void
}

/** Makes `carryOut` callable one ask at a time; one queue per pool. */
export function gathered<Ask, Answer>(carryOut: CarryOut<Ask, Answer>): (sql: Sql, ask: Ask) => Promise<Answer> {
  const queues = new WeakMap<Sql, (ask: Ask) => Promise<Answer>>()
  return (sql, ask) => {
    if (inTransaction(sql)) return alone(sql, carryOut, ask)
    let queue = queues.get(sql)
    if (!queue) {
      queue = openQueue(sql, carryOut)
      queues.set(sql, queue)
    }
    return queue(ask)
  }
}

/** Whether what is done with `sql` may still be rolled back by its owner. */
export const inTransaction = (sql: Sql): boolean => 'savepoint' in sql

async function alone<Ask, Answer>(sql: Sql, carryOut: CarryOut<Ask, Answer>, ask: Ask): Promise<Answer> {
  const [answer] = await carryOut(sql, [ask])
  return answer as Answer // one answer for one ask
}

function openQueue<Ask, Answer>(sql: Sql, carryOut: CarryOut<Ask, Answer>): (ask: Ask) => Promise<Answer> {
  const waiting: Waiting<Ask, Answer>[] = []
  let underWay = 0
  let planned = false

  async function send() {
    planned = false
    if (underWay >= MAX_UNDER_WAY || waiting.length === 0) return
    const taken = waiting.splice(0, MAX_ASKS)
    underWay++
    const asks = taken.map(({ ask }) => ask)
    try {
      const answers = await carryOut(sql, asks)
      for (const [index, { resolve }] of taken.entries()) resolve(answers[index] as Answer)
    } catch (error) {
      if (taken.length > 1 && isRolledBack(error)) {
        // One ask must not spoil the others.
        for (const { ask, resolve, reject } of taken) await alone(sql, carryOut, ask).then(resolve, reject)
      } else {
        for (const { reject } of taken) reject(error)
      }
    }
    underWay--
    plan()
  }

  function plan() {
    if (planned || underWay >= MAX_UNDER_WAY || waiting.length === 0) return
    planned = true
    setImmediate(send)
  }

  return (ask) =>
    new Promise((resolve, reject) => {
      waiting.push({ ask, resolve, reject })
      plan()
    })
}

/** Data exceptions, violated constraints, deadlocks: certain to have left nothing behind, as a lost connection is not. */
const isRolledBack = (error: unknown): boolean => /^(?:22|23|40)/.test(sqlState(error) ?? '')
