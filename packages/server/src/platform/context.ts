/**
 * What an operation is handed: ground things only. Never a capability; those are imported through their doors.
 */
import type { Scope } from './arn.ts'
import type { Caller } from './caller.ts'
import type { Choices } from './capability.ts'
import type { Database, Sql } from './database.ts'
import type { Logger } from './log.ts'
import type { Sealer } from './seal.ts'

/** What both requests and background work stand on. */
export interface Ground {
  /** Names this server process among those on the database. */
  readonly processId: string
  readonly sql: Sql
  readonly sealer: Sealer
  readonly log: Logger
  readonly choices: Choices
  now(): Date
  /** `wss://host:port` under which clients and nodes open data channels at this process; undefined until it listens. */
  streamOrigin(): string | undefined
  /** A hint that `key` of `topic` has changed, delivered to every process once the surrounding transaction has committed. */
  wake(topic: string, key?: string): void
  /** Runs `body` in one transaction; its `sql` and `wake` belong to that transaction. An error rolls back. */
  transaction<T>(body: (ground: this) => Promise<T>): Promise<T>
}

export interface Context extends Ground, Scope {
  readonly caller: Caller
  readonly requestId: string
  /** Empty for work without a request. */
  readonly sourceIp: string
  /** Whether the request came by TLS. */
  readonly encrypted: boolean
  /** What the client dialled: a name or an address with a port. */
  readonly host: string
  readonly userAgent: string
}

/** What background work is handed: it belongs to no account and takes no input. */
export interface WorkContext extends Ground {
  readonly signal: AbortSignal
}

/** What a `ground` is made of; `transaction` follows from the rest. */
export function transactional<G extends Omit<Ground, 'transaction'>>(database: Database, ground: G): G & Ground {
  const made = {
    ...ground,
    async transaction<T>(this: G & Ground, body: (inner: G & Ground) => Promise<T>): Promise<T> {
      const wakes: [string, string | undefined][] = []
      const answer = await database.begin((sql) => body(inTransaction(this, sql, wakes)))
      for (const [topic, key] of wakes) this.wake(topic, key)
      return answer as T
    },
  }
  return made as unknown as G & Ground
}

/** The same ground inside a transaction: wakes wait for the commit, and a transaction in it is the same transaction. */
function inTransaction<G extends Ground>(ground: G, sql: Sql, wakes: [string, string | undefined][]): G {
  // A copy that has everything as its own: scopes are taken out of contexts by spreading them.
  const inner = {} as G
  for (const name in ground) inner[name] = ground[name]
  Object.assign(inner, {
    sql,
    wake: (topic: string, key?: string) => void wakes.push([topic, key]),
    transaction: <T>(body: (same: G) => Promise<T>): Promise<T> => body(inner),
  })
  return inner
}

/** What a context has beside the ground. */
export type RequestMembers = Omit<Context, keyof Ground>

/**
 * Makes contexts on one ground. The ground is their prototype: copying its members into every context took 7 µs of a request.
 * A scope may be spread from it, as account and region are its own; the ground may not.
 */
export function contextMaker(ground: Ground): (members: RequestMembers) => Context {
  class RequestContext {
    readonly account: string
    readonly region: string
    readonly caller: Caller
    readonly requestId: string
    readonly sourceIp: string
    readonly encrypted: boolean
    readonly host: string
    readonly userAgent: string

    constructor({ account, region, caller, requestId, sourceIp, encrypted, host, userAgent }: RequestMembers) {
      this.account = account
      this.region = region
      this.caller = caller
      this.requestId = requestId
      this.sourceIp = sourceIp
      this.encrypted = encrypted
      this.host = host
      this.userAgent = userAgent
    }
  }
  Object.setPrototypeOf(RequestContext.prototype, ground)
  return (members) => new RequestContext(members) as unknown as Context
}
