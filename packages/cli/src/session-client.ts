/**
 * The client's end of a session, on the same codec as everybody: opens the data channel, answers the handshake, sends and
 * receives in order, and comes back after a lost connection. It knows no terminal, file or runtime: whoever embeds it (the
 * command line, a browser's terminal, a test) hands it sockets, a hash and a clock.
 */
import {
  ACTION_STATUS,
  type AgentMessage,
  acknowledgeFrame,
  buildEncryptionChallenge,
  buildFlag,
  buildHandshakeResponse,
  buildKmsEncryptionResult,
  buildOpenDataChannel,
  buildSize,
  DATA_MESSAGE,
  decodeAgentMessage,
  type JsonValue,
  PAYLOAD_TYPE,
  type Payload,
  type ProcessedClientAction,
  parseAcknowledge,
  parseChannelClosed,
  parseEncryptionChallenge,
  parseExitCode,
  parseFlag,
  parseHandshakeComplete,
  parseHandshakeRequest,
  type Sha256,
  type STREAM_FLAG,
  StreamReceiver,
  StreamSender,
  type TerminalSize,
} from '@musterbook/wire'

/** Four numbers; agents speak smux without keep-alive to clients of this version. */
export const CLIENT_VERSION = '1.2.650.0'
/** Bytes of one message of a terminal. */
const INPUT_BYTES = 16 * 1024
/** Messages and bytes under way: the relay keeps 4 MiB. */
const WINDOW = 256
const WINDOW_BYTES = 3 * 1024 * 1024
/** Bytes written before the session is ready above which whoever writes has to wait. */
const MAX_EARLY_BYTES = 256 * 1024
/**
 * Acknowledgements wait so long for something to go with, and so many at most: what is typed next takes them along, and
 * those of a transfer go together. The agent repeats after 100 ms at the soonest.
 */
const ACKNOWLEDGE_AFTER_MS = 2
const MAX_OWED = 8
const FIRST_RETURN_MS = 100
const LONGEST_RETURN_MS = 5_000
/** The relay waits this long for a client that is gone. */
const GIVE_UP_MS = 60_000

export interface ClientSocket {
  send(data: Uint8Array | string): void
  close(): void
  /** Stops and restarts reading, where the runtime can. */
  pause?(): void
  resume?(): void
}

export interface SocketEvents {
  open(): void
  message(bytes: Uint8Array): void
  closed(): void
  /** There is no use in trying again; in words for the person at the client. */
  refused(reason: string): void
}

export interface ClientHost {
  dial(url: string, events: SocketEvents): ClientSocket
  sha256: Sha256
  newId(): string
  /** Milliseconds since 1970. */
  wallClock(): number
  /** Milliseconds that never go back. */
  steadyClock(): number
  /** The answer forgets it. */
  after(milliseconds: number, action: () => void): () => void
}

export interface SessionCipher {
  encrypt(plain: Uint8Array): Uint8Array
  decrypt(sealed: Uint8Array): Uint8Array
}

export interface SessionKey {
  cipher: SessionCipher
  /** The data key as KMS sealed it, base64. */
  ciphertext: string
}

export interface SessionEvents {
  /** The session's type is known and input is taken. `agentVersion` is empty for a shell that shook no hands. */
  ready(session: { sessionType: string; properties: JsonValue; agentVersion: string }): void
  output(bytes: Uint8Array): void
  error(bytes: Uint8Array): void
  exitCode(code: number): void
  /** Words of the agent for the person at the client. */
  notice(text: string): void
  flag(flag: keyof typeof STREAM_FLAG): void
  writable(): void
  /** Once; `reason` is empty when there is nothing to explain. */
  ended(reason: string): void
}

export interface Resumed {
  token: string
  /** Where the session is carried now; where it was, unless given. */
  streamUrl?: string | undefined
}

/** ResumeSession's answer. */
export const resumedBy = ({
  TokenValue,
  StreamUrl,
}: {
  TokenValue?: string
  StreamUrl?: string
}): Resumed | undefined => (TokenValue === undefined ? undefined : { token: TokenValue, streamUrl: StreamUrl })

export interface SessionOptions {
  host: ClientHost
  sessionId: string
  token: string
  streamUrl: string
  /** A new token for a connection that was lost (ResumeSession); undefined: the session is over. */
  resume(): Promise<Resumed | undefined>
  /** A data key for an encrypted session (GenerateDataKey); absent: such sessions are refused. */
  key?(keyId: string, challenge: string, sessionId: string): Promise<SessionKey>
  events: SessionEvents
}

export interface SessionClient {
  /** Takes bytes for the session's input, before it is ready too; false: wait for `writable` before the next ones. */
  write(bytes: Uint8Array): boolean
  /** One message of a port that is ready, which is never encrypted. Parts are put together on their way. */
  writeMessage(bytes: Payload): boolean
  resize(size: TerminalSize): void
  flag(flag: keyof typeof STREAM_FLAG): void
  /** Stops taking frames while whoever gets the output is slow; what is under way then waits at the relay. */
  pause(): void
  resume(): void
  /** Calls back when all that was written has been acknowledged by the agent, or cannot be any more. */
  finish(done: () => void): void
  /** Leaves without a word: the session ends when nobody comes back. */
  close(): void
}

const ENCRYPTED_INTO = new Set<number>([PAYLOAD_TYPE.Output, PAYLOAD_TYPE.StdErr, PAYLOAD_TYPE.ExitCode])

export function openSession(options: SessionOptions): SessionClient {
  const { host, events } = options
  const { sha256 } = host
  const clientId = host.newId()
  const sender = new StreamSender({
    messageType: DATA_MESSAGE.inputStreamData,
    sha256,
    newMessageId: host.newId,
    wallClock: host.wallClock,
    window: WINDOW,
    windowBytes: WINDOW_BYTES,
  })
  const receiver = new StreamReceiver()
  let socket: ClientSocket | undefined
  let cipher: SessionCipher | undefined
  let isReady = false
  let isPaused = false
  let over = false
  let isFull = false
  /** What was written before the ends knew what the session is: an agent drops what comes during the handshake. */
  let early: (() => void)[] = []
  let earlyBytes = 0
  let finished: (() => void) | undefined
  let owed: AgentMessage[] = []
  let forgetOwed = () => {}
  let request: { sessionType: string; properties: JsonValue; agentVersion: string } | undefined
  let forget = () => {}
  let wakesAt = Number.POSITIVE_INFINITY
  let lostAt: number | undefined
  let attempts = 0

  function connect({ token, streamUrl = options.streamUrl }: Resumed): void {
    let open = false
    const mine = host.dial(streamUrl, {
      open() {
        open = true
        const RequestId = host.newId()
        mine.send(
          buildOpenDataChannel({
            role: 'client',
            RequestId,
            TokenValue: token,
            ClientId: clientId,
            ClientVersion: CLIENT_VERSION,
          }),
        )
        socket = mine
        if (isPaused) mine.pause?.()
        owed = [] // what was not acknowledged comes again
        sender.reconnected()
        flush()
      },
      message(bytes) {
        if (over || socket !== mine) return
        lostAt = undefined
        attempts = 0
        try {
          take(bytes)
        } catch {
          // A frame that is none: not acknowledged, so that it comes again.
        }
      },
      closed() {
        if (over || (open && socket !== mine)) return
        socket = undefined
        comeBack()
      },
      refused: finish,
    })
  }

  function comeBack(): void {
    const now = host.steadyClock()
    lostAt ??= now
    if (now - lostAt > GIVE_UP_MS) {
      finish('The connection was lost.')
      return
    }
    const wait = Math.min(LONGEST_RETURN_MS, FIRST_RETURN_MS * 2 ** attempts++)
    host.after(wait, () => {
      if (over) return
      options.resume().then(
        (resumed) => {
          if (over) return
          if (resumed === undefined) finish('The session is over.')
          else connect(resumed)
        },
        () => comeBack(),
      )
    })
  }

  function finish(reason: string): void {
    if (over) return
    over = true
    payAcknowledgements()
    forget()
    socket?.close()
    finished?.()
    events.ended(reason)
  }

  function flush(): void {
    if (!socket || over) return
    const now = host.steadyClock()
    const frames = sender.poll(now)
    for (const frame of frames) socket.send(frame)
    if (frames.length > 0) payAcknowledgements()
    const next = sender.nextPollAt(now)
    if (next === undefined || next >= wakesAt) return // setting a timer anew for each frame costs as much as its digest
    forget()
    wakesAt = next
    forget = host.after(Math.max(1, next - now), wake)
  }

  function wake(): void {
    wakesAt = Number.POSITIVE_INFINITY
    flush()
  }

  function send(payloadType: number, payload: Payload): boolean {
    if (over) return true
    sender.send(payloadType, payload)
    flush()
    isFull = !sender.writable
    return !isFull
  }

  function take(bytes: Uint8Array): void {
    const message = decodeAgentMessage(bytes, sha256)
    if (message.messageType === DATA_MESSAGE.acknowledge) {
      sender.acknowledge(parseAcknowledge(message.payload).AcknowledgedMessageSequenceNumber, host.steadyClock())
      flush()
      if (isFull && sender.writable) {
        isFull = false
        events.writable()
      }
      if (sender.drained) finished?.()
    } else if (message.messageType === DATA_MESSAGE.channelClosed) finish(parseChannelClosed(message.payload).Output)
    else if (message.messageType === DATA_MESSAGE.outputStreamData && receiver.receive(message, deliver))
      acknowledge(message)
  }

  function acknowledge(message: AgentMessage): void {
    owed.push(message)
    if (owed.length >= MAX_OWED) payAcknowledgements()
    else if (owed.length === 1) forgetOwed = host.after(ACKNOWLEDGE_AFTER_MS, payAcknowledgements)
  }

  function payAcknowledgements(): void {
    forgetOwed()
    const createdDate = host.wallClock()
    for (const message of owed.splice(0))
      socket?.send(acknowledgeFrame(message, { messageId: host.newId(), createdDate, sha256 }))
  }

  function deliver({ payloadType, payload }: { payloadType: number; payload: Uint8Array }): boolean {
    const plain = cipher && ENCRYPTED_INTO.has(payloadType) ? cipher.decrypt(payload) : payload
    switch (payloadType) {
      case PAYLOAD_TYPE.HandshakeRequest:
        answer(payload).catch((error) => finish(error instanceof Error ? error.message : 'The handshake failed.'))
        return true
      case PAYLOAD_TYPE.EncChallengeRequest: {
        if (!cipher) return false // it came before the answer to the handshake was complete
        const { Challenge } = parseEncryptionChallenge(payload)
        const opened = cipher.decrypt(fromBase64(Challenge))
        const Answer = toBase64(cipher.encrypt(opened))
        send(PAYLOAD_TYPE.EncChallengeResponse, buildEncryptionChallenge({ Challenge: Answer }))
        return true
      }
      case PAYLOAD_TYPE.HandshakeComplete: {
        const { CustomerMessage } = parseHandshakeComplete(payload)
        if (CustomerMessage) events.notice(CustomerMessage)
        begin()
        return true
      }
      case PAYLOAD_TYPE.Output:
        // An agent that shakes no hands has a shell.
        if (!request) begin()
        events.output(plain)
        return true
      case PAYLOAD_TYPE.StdErr:
        events.error(plain)
        return true
      case PAYLOAD_TYPE.ExitCode:
        events.exitCode(parseExitCode(plain))
        return true
      case PAYLOAD_TYPE.Flag:
        events.flag(parseFlag(payload))
        return true
      default:
        return true
    }
  }

  function begin(): void {
    if (isReady) return
    isReady = true
    events.ready(request ?? { sessionType: 'Standard_Stream', properties: null, agentVersion: '' })
    for (const write of early) write()
    early = []
    if (isFull && sender.writable) {
      isFull = false
      events.writable()
    }
  }

  /** Does it now, or as soon as the session is ready. */
  function onceReady(bytes: number, action: () => void): void {
    if (isReady) {
      action()
      return
    }
    early.push(action)
    earlyBytes += bytes
    if (earlyBytes > MAX_EARLY_BYTES) isFull = true
  }

  function write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += INPUT_BYTES) {
      const part = bytes.subarray(at, at + INPUT_BYTES)
      send(PAYLOAD_TYPE.Output, cipher ? cipher.encrypt(part) : part)
    }
  }

  async function answer(payload: Uint8Array): Promise<void> {
    const { AgentVersion, RequestedClientActions } = parseHandshakeRequest(payload)
    const processed: ProcessedClientAction[] = []
    for (const action of RequestedClientActions) {
      const done = { ActionStatus: ACTION_STATUS.Success, ActionResult: null, Error: '' }
      if (action.ActionType === 'SessionType') {
        request = { sessionType: action.SessionType, properties: action.Properties, agentVersion: AgentVersion }
        processed.push({ ActionType: 'SessionType', ...done })
      } else if (action.ActionType === 'KMSEncryption') {
        processed.push({ ActionType: 'KMSEncryption', ...done, ...(await agreeOnKey(action)) })
      } else {
        const refused = { ActionStatus: ACTION_STATUS.Unsupported, Error: `${action.Name} is not known to this client` }
        processed.push({ ActionType: action.Name, ...done, ...refused })
      }
    }
    send(
      PAYLOAD_TYPE.HandshakeResponse,
      buildHandshakeResponse({ ClientVersion: CLIENT_VERSION, ProcessedClientActions: processed, Errors: [] }),
    )
  }

  async function agreeOnKey({ KMSKeyId, Challenge }: { KMSKeyId: string; Challenge: string }) {
    if (!options.key) return { ActionStatus: ACTION_STATUS.Failed, Error: 'this client has no access to KMS' }
    try {
      const made = await options.key(KMSKeyId, Challenge, options.sessionId)
      cipher = made.cipher
      const ActionResult = buildKmsEncryptionResult({
        KMSCipherTextKey: made.ciphertext,
        ChallengeAcknowledgement: Challenge !== '',
      })
      return { ActionResult }
    } catch (error) {
      return { ActionStatus: ACTION_STATUS.Failed, Error: error instanceof Error ? error.message : 'KMS failed' }
    }
  }

  connect({ token: options.token })
  return {
    write(bytes) {
      onceReady(bytes.length, () => write(bytes))
      return !isFull
    },
    writeMessage: (bytes) => send(PAYLOAD_TYPE.Output, bytes),
    resize: (size) => onceReady(0, () => send(PAYLOAD_TYPE.Size, buildSize(size))),
    finish(done) {
      if (over || (sender.drained && early.length === 0)) done()
      else finished = done
    },
    flag: (flag) => void send(PAYLOAD_TYPE.Flag, buildFlag(flag)),
    pause() {
      isPaused = true
      socket?.pause?.()
    },
    resume() {
      isPaused = false
      socket?.resume?.()
    },
    close() {
      if (over) return
      over = true
      forget()
      socket?.close()
    },
  }
}

const toBase64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes))
const fromBase64 = (text: string): Uint8Array => Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
