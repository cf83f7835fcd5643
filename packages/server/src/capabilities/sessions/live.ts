/**
 * The sessions that this process carries: sockets come in with a token in their first frame, a relay joins the two of a
 * session, and one sweep a second watches over all of them (idle, too long, an end that does not come back). The
 * database is told in the background; no frame waits for it. After a restart both ends come back with new tokens and
 * the session goes on.
 */
import { hash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import {
  buildChannelClosed,
  CONTROL_MESSAGE,
  encodeAgentMessage,
  type OpenDataChannel,
  parseOpenDataChannel,
} from '@musterbook/wire'
import type { WebSocket } from 'ws'
import type { Caller } from '../../platform/caller.ts'
import type { Host } from '../../platform/capability.ts'
import { uuid } from '../../platform/ids.ts'
import { acknowledge } from '../messaging/index.ts'
import { type Ending, endSession, letterOf, SESSION_WAKE } from './ending.ts'
import { type Recorder, record } from './recording.ts'
import { type Line, Relay, type Side } from './relay.ts'
import { END_WORDS } from './rules.ts'
import * as store from './store.ts'
import { spendToken } from './tokens.ts'

/** The first frame comes right after the upgrade. */
const FIRST_FRAME_MS = 10_000
/** Bytes that may come before the token has been looked up: what lies in one read of the socket. */
const MAX_EARLY_BYTES = 1024 * 1024
const SWEEP_MS = 1_000
/** An agent that lost its data channel is back within a fraction of a second; a dead one never. */
const AGENT_RETURN_MS = 3_500
/** session-manager-plugin tries for about 20 seconds; a laptop may sleep a little. */
const CLIENT_RETURN_MS = 60_000
const AGENT_FIRST_MS = 30_000
/**
 * How many sweeps in a row an end may say nothing, before it is asked and before it is taken for gone. A node that lost its
 * power closes no connection: whoever works on it is told within five seconds. Sweeps, since a process that was stopped
 * itself has heard nobody, and then sweeps once.
 */
const SILENCE = { agent: { ask: 1, gone: 4 }, client: { ask: 15, gone: 35 } } as const
/**
 * Bytes that the agent has not acknowledged, above which its silence may be that of its program: the official agent answers
 * nothing while it waits for a terminal (4 KiB) or a port to take what was pasted.
 */
const TYPED_BYTES = 512
const TOUCH_MS = 10_000
/** How long the ends have to read their last message before their sockets are closed. */
const FAREWELL_MS = 2_000
const CLOSE_NORMAL = 1_000
const CLOSE_GOING_AWAY = 1_001
const CLOSE_POLICY = 1_008

interface Connection {
  socket: WebSocket
  line: Line
  /** Sweeps since it was heard last. */
  silent: number
}

interface Live {
  session: store.SessionRow
  relay: Relay
  ends: Partial<Record<Side, Connection>>
  /** Since when an end is missing, in ms since 1970. */
  missingSince: Record<Side, number>
  came: Record<Side, boolean>
  /** It ends as soon as the client has come back for what was said last. */
  pending: Ending | undefined
  recorder: Recorder | undefined
}

export interface LiveSessions extends AsyncDisposable {
  open(caller: Caller, socket: WebSocket, wire: Duplex, sessionId: string): void
  /** Ends a session wherever it is carried, and tells both ends. */
  end(sessionId: string, ending: Ending): Promise<void>
}

export function holdSessions(host: Host): LiveSessions {
  const held = new Map<string, Live>()
  const now = () => host.now().getTime()
  let touchedAt = 0
  let closing = false

  const inBackground = (what: Promise<unknown>, sessionId: string) =>
    void what.catch((error) => host.log.error({ err: error, sessionId }, 'a session could not be recorded'))

  function carry(session: store.SessionRow): Live {
    const known = held.get(session.sessionId)
    if (known) return known
    const relay = new Relay({
      now,
      newId: uuid,
      state(state) {
        if (state === 'Connected') inBackground(store.markConnected(host.sql, session.sessionId), session.sessionId)
        else finishOnceRead(live, { status: 'Terminated', details: END_WORDS.exited, byNode: true })
      },
      passed: (from, message) => live.recorder?.passed(from, message),
      broken(side, reason) {
        const details = `The ${side} cannot be understood: ${reason}.`
        finish(live, { status: 'Failed', details })
      },
    })
    const live: Live = {
      session,
      relay,
      ends: {},
      missingSince: { agent: now(), client: now() },
      came: { agent: false, client: false },
      pending: undefined,
      recorder: session.recorded
        ? record({ ground: host, clock: host.clock, session, behind: (isBehind) => relay.hold('agent', isBehind) })
        : undefined,
    }
    held.set(session.sessionId, live)
    return live
  }

  function attach(live: Live, side: Side, connection: Connection): void {
    const earlier = live.ends[side]
    if (earlier) shut(earlier.socket, CLOSE_NORMAL, 'another connection took this place')
    live.ends[side] = connection
    live.came[side] = true
    live.relay.attach(side, connection.line)
    if (side === 'agent') inBackground(acknowledge(host, [letterOf(live.session)]), live.session.sessionId)
    if (side === 'client' && live.pending) finish(live, live.pending)
  }

  function detach(live: Live, side: Side, connection: Connection): void {
    live.relay.detach(side, connection.line)
    if (live.ends[side] !== connection) return
    delete live.ends[side]
    live.missingSince[side] = now()
  }

  /** What the agent said last is for the client to see: one that is away has its time to come back. */
  function finishOnceRead(live: Live, ending: Ending): void {
    if (live.relay.has('client') || live.relay.keptFor('client') === 0) finish(live, ending)
    else live.pending ??= ending
  }

  function finish(live: Live, ending: Ending): void {
    const { sessionId } = live.session
    leave(live, ending)
    inBackground(endSession(host, sessionId, { ...ending, bytes: bytesOf(live) }), sessionId)
  }

  /** Tells both ends and forgets the session here. */
  function leave(live: Live, { details, byNode }: Ending): void {
    const { sessionId, nodeId } = live.session
    if (held.get(sessionId) !== live) return
    held.delete(sessionId)
    const farewell = { MessageId: uuid(), DestinationId: nodeId, SessionId: sessionId, CreatedDate: now() }
    live.relay.say('client', CONTROL_MESSAGE.channelClosed, buildChannelClosed({ ...farewell, Output: details }))
    if (!byNode) live.relay.say('agent', CONTROL_MESSAGE.channelClosed, buildChannelClosed({ ...farewell, Output: '' }))
    live.relay.close()
    seal(live)
    const sockets = Object.values(live.ends).map(({ socket }) => socket)
    host.clock.after(FAREWELL_MS, () => {
      for (const socket of sockets) shut(socket, CLOSE_NORMAL, 'the session is over')
    })
  }

  function seal(live: Live): void {
    const { recorder, session } = live
    if (recorder) inBackground(recorder.end(bytesOf(live)), session.sessionId)
  }

  function sweep(): void {
    const at = now()
    for (const live of held.values()) watch(live, at)
    if (held.size > 0 && at - touchedAt >= TOUCH_MS) {
      touchedAt = at
      store.touchSessions(host.sql, [...held.keys()], host.now()).catch((error) => {
        touchedAt = 0
        host.log.warn({ err: error }, 'the sessions of this process could not be touched')
      })
    }
    timer = host.clock.after(SWEEP_MS, sweep)
  }

  function watch(live: Live, at: number): void {
    const reason = overdue(live, at)
    if (reason) {
      finish(live, live.pending ?? { status: 'Terminated', details: reason })
      return
    }
    for (const [side, connection] of Object.entries(live.ends) as [Side, Connection][]) askAfter(live, side, connection)
  }

  function askAfter(live: Live, side: Side, connection: Connection): void {
    const { relay } = live
    if (relay.isPaused(side)) connection.silent = 0
    const isQuiet = side === 'agent' && relay.unreadBy('agent') <= TYPED_BYTES
    const { ask, gone } = isQuiet ? SILENCE.agent : SILENCE.client
    if (connection.silent < gone) {
      if (connection.silent >= ask) connection.socket.ping()
      connection.silent++
    } else if (isQuiet) finish(live, live.pending ?? { status: 'Terminated', details: END_WORDS.agentGone })
    else connection.socket.terminate()
  }

  let timer = host.clock.after(SWEEP_MS, sweep)
  const subscription = host.onWake(SESSION_WAKE, (key) => {
    const ids = key === undefined ? [...held.keys()] : held.has(key) ? [key] : []
    if (ids.length === 0) return
    store.readSessions(host.sql, ids).then(
      (rows) => {
        for (const row of rows) {
          const live = row.endedAt ? held.get(row.sessionId) : undefined
          if (live) leave(live, { status: 'Terminated', details: row.details })
        }
      },
      (error) => host.log.error({ err: error }, 'ended sessions could not be read'),
    )
  })

  return {
    open(caller, socket, wire, sessionId) {
      const connection: Connection = { socket, line: lineOf(socket, wire), silent: 0 }
      const early: Buffer[] = []
      let earlyBytes = 0
      let asked = false
      let place: { live: Live; side: Side } | undefined
      const patience = host.clock.after(FIRST_FRAME_MS, () => shut(socket, CLOSE_POLICY, 'no first frame came'))

      async function admit(first: Buffer): Promise<void> {
        const open = parseOpenDataChannel(first)
        const spent = await spendToken(host, sessionId, open.TokenValue)
        if (!spent || closing || !fits(caller, open, spent)) {
          host.log.warn({ sessionId, role: open.role }, 'a data channel was refused')
          return shut(socket, CLOSE_POLICY, 'the token is not good')
        }
        patience[Symbol.dispose]()
        if (socket.readyState !== socket.OPEN) return
        if (spent.session.endedAt) {
          socket.send(lastWord(spent.session, now()))
          return shut(socket, CLOSE_NORMAL, 'the session is over')
        }
        const live = carry(spent.session)
        place = { live, side: spent.role }
        attach(live, spent.role, connection)
        for (const frame of early.splice(0)) live.relay.receive(spent.role, frame)
        if (!live.relay.isPaused(spent.role)) socket.resume()
      }

      const heard = () => {
        connection.silent = 0
      }
      socket.on('ping', heard)
      socket.on('pong', heard)
      socket.on('message', (data: Buffer) => {
        connection.silent = 0
        if (place) {
          place.live.relay.receive(place.side, data)
          return
        }
        if (asked) {
          earlyBytes += data.length
          if (earlyBytes > MAX_EARLY_BYTES) shut(socket, CLOSE_POLICY, 'too much came before the channel was open')
          else early.push(data)
          return
        }
        asked = true
        socket.pause()
        admit(data).catch((error) => {
          host.log.warn({ err: error, sessionId }, 'a data channel could not be opened')
          shut(socket, CLOSE_POLICY, 'the channel could not be opened')
        })
      })
      socket.on('close', () => {
        patience[Symbol.dispose]()
        if (place) detach(place.live, place.side, connection)
      })
    },
    async end(sessionId, ending) {
      const live = held.get(sessionId)
      if (live && ending.byNode && !live.relay.has('client') && live.relay.keptFor('client') > 0) {
        live.pending ??= ending
        return
      }
      if (live) leave(live, ending)
      await endSession(host, sessionId, live ? { ...ending, bytes: bytesOf(live) } : ending)
    },
    async [Symbol.asyncDispose]() {
      closing = true
      timer[Symbol.dispose]()
      subscription[Symbol.dispose]()
      const sockets = [...held.values()].flatMap((live) => Object.values(live.ends).map(({ socket }) => socket))
      const recorders = [...held.values()].flatMap(({ recorder }) => recorder ?? [])
      held.clear()
      for (const socket of sockets) {
        shut(socket, CLOSE_GOING_AWAY, 'the server stops; the session can be resumed')
        host.clock.after(FAREWELL_MS, () => socket.terminate())
      }
      await Promise.all(recorders.map((recorder) => recorder.flush()))
    },
  }
}

/** For a client that comes when its session has failed already. */
function lastWord({ sessionId, nodeId, details }: store.SessionRow, at: number): Uint8Array {
  const farewell = { MessageId: uuid(), DestinationId: nodeId, SessionId: sessionId, CreatedDate: at, Output: details }
  const payload = buildChannelClosed(farewell)
  const message = { messageType: CONTROL_MESSAGE.channelClosed, messageId: uuid(), createdDate: at, payload }
  return encodeAgentMessage(message, (data) => hash('sha256', data, 'hex'))
}

const bytesOf = ({ relay }: Live) => ({ toNode: relay.bytesFrom('client'), fromNode: relay.bytesFrom('agent') })

/** A socket that is not read would never see its peer's half of the farewell. */
function shut(socket: WebSocket, code: number, reason: string): void {
  socket.resume()
  socket.close(code, reason)
}

/** What one read of the other end brought leaves in one write: a keystroke and an acknowledgement cost as much as either. */
function lineOf(socket: WebSocket, wire: Duplex): Line {
  let gathers = false
  const leave = () => {
    gathers = false
    wire.uncork()
  }
  const asked = new Map<string, () => void>()
  let questions = 0
  socket.on('pong', (data: Buffer) => {
    const question = data.toString()
    asked.get(question)?.()
    asked.delete(question)
  })
  return {
    ask(received) {
      const question = `received-${++questions}`
      asked.set(question, received)
      socket.ping(question)
    },
    send(frame, left) {
      if (!gathers) {
        gathers = true
        wire.cork()
        process.nextTick(leave)
      }
      socket.send(frame, { binary: true }, left)
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
  }
}

/** The token decides which end this is; an agent must also have signed as the node whose session it is. */
function fits(
  caller: Caller,
  open: OpenDataChannel,
  { role, session }: { role: Side; session: store.SessionRow },
): boolean {
  if (open.role !== role) return false
  if (role === 'client') return true
  return caller.type === 'node' && caller.nodeId === session.nodeId && caller.account === session.account
}

/** Why the session's time is over, if it is. */
function overdue(live: Live, at: number): string | undefined {
  const { session, relay, missingSince, came } = live
  if (session.idleSeconds !== null && at - relay.lastTraffic >= session.idleSeconds * 1000) return END_WORDS.idle
  if (session.longestSeconds !== null && at - session.startedAt.getTime() >= session.longestSeconds * 1000)
    return END_WORDS.longest
  if (!relay.has('agent') && live.pending === undefined) {
    const patience = came.agent ? AGENT_RETURN_MS : AGENT_FIRST_MS
    if (at - missingSince.agent >= patience) return came.agent ? END_WORDS.agentGone : END_WORDS.agentNeverCame
  }
  if (!relay.has('client') && at - missingSince.client >= CLIENT_RETURN_MS)
    return came.client ? END_WORDS.clientGone : END_WORDS.clientNeverCame
  return undefined
}
