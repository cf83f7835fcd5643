/**
 * What no live end does any more: sessions whose process or node is gone or whose account is closed, messages that nobody
 * takes, histories too old.
 */
import type { Reconciler } from '../../platform/capability.ts'
import type { WorkContext } from '../../platform/context.ts'
import { DISABLED_WAKE, disabledAccounts } from '../identity/index.ts'
import { withdraw } from '../messaging/index.ts'
import { missingNodes, NODE_GONE_WAKE } from '../nodes/index.ts'
import { endSession, farewellJob } from './ending.ts'
import { sealForgotten } from './recording.ts'
import { END_WORDS } from './rules.ts'
import * as store from './store.ts'

/** Twelve touches missed; StartSession counts as one. */
const FORGOTTEN_MS = 120_000
const AT_ONCE = 100
/** An agent that still has a session's data channel ends it when told once; others know nothing of it. */
const FAREWELL_MS = 600_000
/** Days that sessions stay in the history, as with AWS. */
const HISTORY_MS = 30 * 86_400_000
const SPARE_TOKENS_MS = 3_600_000

export const endForgotten: Reconciler = {
  name: 'sessions.end-forgotten',
  wakes: [DISABLED_WAKE],
  everySeconds: 30,
  async run(work) {
    await endDisabled(work)
    for (;;) {
      const since = new Date(work.now().getTime() - FORGOTTEN_MS)
      const rows = await store.readForgotten(work.sql, since, AT_ONCE)
      for (const { sessionId, status } of rows) {
        const details = status === 'Connecting' ? END_WORDS.clientNeverCame : END_WORDS.serverGone
        await endSession(work, sessionId, { status: 'Terminated', details })
      }
      if (rows.length < AT_ONCE || work.signal.aborted) return undefined
    }
  },
}

async function endDisabled(work: WorkContext): Promise<void> {
  const accounts = await disabledAccounts(work)
  if (accounts.length === 0) return
  for (;;) {
    const rows = await store.readOpenOf(work.sql, accounts, AT_ONCE)
    for (const { sessionId } of rows)
      await endSession(work, sessionId, { status: 'Terminated', details: END_WORDS.accountDisabled })
    if (rows.length < AT_ONCE || work.signal.aborted) return
  }
}

/** A machine that was deregistered is not ours any more: nobody keeps a shell there. */
export const endOfGoneNodes: Reconciler = {
  name: 'sessions.end-of-gone-nodes',
  wakes: [NODE_GONE_WAKE],
  everySeconds: 300,
  async run(work) {
    for await (const node of missingNodes(work, (...page) => store.listOpenNodes(work.sql, ...page)))
      for (const sessionId of await store.readOpenOn(work.sql, node))
        await endSession(work, sessionId, { status: 'Terminated', details: END_WORDS.nodeGone })
    return undefined
  },
}

/** Those that ended here have long been sealed; a server that cannot write them now tries again meanwhile. */
const UNSEALED_MS = 30_000
/** A server that was away for longer than this finds no recordings to seal but those of the last days. */
const LOOK_BACK_MS = 7 * 86_400_000

export const sealRecordings: Reconciler = {
  name: 'sessions.seal-recordings',
  wakes: [],
  everySeconds: 30,
  async run(work) {
    const now = work.now().getTime()
    const since = new Date(now - LOOK_BACK_MS)
    const before = new Date(now - UNSEALED_MS)
    const sealed = await work.transaction(async (inner) => {
      const rows = await store.readUnsealed(inner.sql, since, before, AT_ONCE)
      for (const session of rows) await sealForgotten(inner, session)
      return rows.length
    })
    return sealed < AT_ONCE ? undefined : work.now()
  },
}

export const forgetOld: Reconciler = {
  name: 'sessions.forget-old',
  wakes: [],
  everySeconds: 300,
  async run(work) {
    const now = work.now().getTime()
    const until = new Date(now - FAREWELL_MS)
    const ids = await store.readEndedBetween(work.sql, new Date(now - 4 * FAREWELL_MS), until)
    if (ids.length > 0) await withdraw(work, ids.map(farewellJob))
    await store.deleteOld(work.sql, new Date(now - SPARE_TOKENS_MS), new Date(now - HISTORY_MS))
    return undefined
  },
}
