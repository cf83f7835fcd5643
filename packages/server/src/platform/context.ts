/**
 * What an operation is handed: ground things only. Never a capability; those are imported through their doors.
 */
import type { Scope } from './arn.ts'
import type { Caller } from './caller.ts'
import type { Sql } from './database.ts'
import type { Logger } from './log.ts'
import type { Sealer } from './seal.ts'

/** What both requests and background work stand on. */
export interface Ground {
  readonly sql: Sql
  readonly sealer: Sealer
  readonly log: Logger
  now(): Date
  /** A hint that `key` of `topic` has changed, delivered to every process once the surrounding transaction has committed. */
  wake(topic: string, key?: string): void
}

export interface Context extends Ground, Scope {
  readonly caller: Caller
  readonly requestId: string
  readonly sourceIp: string
  readonly userAgent: string
  /** Runs `body` in one transaction; its `sql` and `wake` belong to that transaction. An error rolls back. */
  transaction<T>(body: (context: Context) => Promise<T>): Promise<T>
}

/** What background work is handed: it belongs to no account and takes no input. */
export interface WorkContext extends Ground {
  readonly processId: string
  readonly signal: AbortSignal
  transaction<T>(body: (work: WorkContext) => Promise<T>): Promise<T>
}
