/**
 * Reads by key, gathered: the lookups of one turn of the event loop become one statement. No cache: every statement starts
 * after its callers asked, so each of them sees all that was committed before, by this process or any other.
 * Inside a transaction nothing is gathered, since others must not read through it.
 */
import type { Sql } from './database.ts'

/**
 * Statements under way per pool and kind. Two keep PostgreSQL busy while one answer is on its way; more would make the
 * gathered statements smaller and cost a round trip for nothing.
 */
const MAX_UNDER_WAY = 2
/** Keys of one statement; beyond this the answers of small rows wait for the large ones. */
const MAX_KEYS = 256

/** Answers in the order of the keys; undefined where there is no row. */
type Load<Key, Row> = (sql: Sql, keys: Key[]) => Promise<(Row | undefined)[]>
type Waiting<Key, Row> = { key: Key; resolve: (row: Row | undefined) => void; reject: (error: unknown) => void }

/** Makes a gathered lookup of `load`; one queue per pool. */
export function lookup<Key, Row>(load: Load<Key, Row>): (sql: Sql, key: Key) => Promise<Row | undefined> {
  const queues = new WeakMap<Sql, (key: Key) => Promise<Row | undefined>>()
  return (sql, key) => {
    if (inTransaction(sql)) return load(sql, [key]).then((rows) => rows[0])
    let ask = queues.get(sql)
    if (!ask) {
      ask = queue(sql, load)
      queues.set(sql, ask)
    }
    return ask(key)
  }
}

/** Whether what is done with `sql` may still be rolled back by its owner. */
export const inTransaction = (sql: Sql): boolean => 'savepoint' in sql

function queue<Key, Row>(sql: Sql, load: Load<Key, Row>): (key: Key) => Promise<Row | undefined> {
  const waiting: Waiting<Key, Row>[] = []
  let underWay = 0
  let planned = false

  async function send() {
    planned = false
    if (underWay >= MAX_UNDER_WAY || waiting.length === 0) return
    const taken = waiting.splice(0, MAX_KEYS)
    underWay++
    try {
      const rows = await load(
        sql,
        taken.map(({ key }) => key),
      )
      for (const [index, { resolve }] of taken.entries()) resolve(rows[index])
    } catch (error) {
      for (const { reject } of taken) reject(error)
    }
    underWay--
    plan()
  }

  function plan() {
    if (planned || underWay >= MAX_UNDER_WAY || waiting.length === 0) return
    planned = true
    setImmediate(send)
  }

  return (key) =>
    new Promise((resolve, reject) => {
      waiting.push({ key, resolve, reject })
      plan()
    })
}
