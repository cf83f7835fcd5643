/**
 * What a capability declares. `capabilities.ts` gathers the declarations and the engines are handed the result:
 * no engine knows a capability, no capability knows an engine.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { OperationTable } from '../contract/types.ts'
import type { Scope } from './arn.ts'
import type { Caller, NodeCaller } from './caller.ts'
import type { Clock } from './clock.ts'
import type { Context, Ground, WorkContext } from './context.ts'
import type { Migration } from './migrate.ts'
import type { SealedColumn } from './seal.ts'

/** One permission that a request needs: every resource must be allowed. */
export interface Access {
  /** `ssm:PutParameter`; the operation's own name unless it says otherwise. */
  action?: string
  /** Full ARNs, or `*` where the action knows no resource. None at all is refused, unless the access is `free`. */
  resources: string[]
  /** Why no permission is asked for here. */
  free?: string
  /** ARNs that the call is about though no permission is asked for here: the audit names them. */
  concerns?: string[]
  /** Condition keys of the request beyond the global ones. */
  keys?: Record<string, string | string[]>
  /** Condition keys of each resource by its ARN, such as its tags; asked only where the caller's policies mention tags. */
  resourceKeys?: () => Promise<ReadonlyMap<string, Record<string, string>>>
  /** The policy of the resource itself. Root is asked about it as well: the resource may be another account's. */
  resourcePolicy?: ResourcePolicy
}

/** An access that is open to whoever got this far: `why` says what else stands in the way, or that nothing needs to. */
export const free = (why: string, concerns: string[] = []): Access => ({ resources: [], free: why, concerns })

export interface ResourcePolicy {
  /** The document; it was parsed before it was stored. */
  text: string
  /** The ids of the users and roles that it names, by their ARNs at the time. */
  ids?: Readonly<Record<string, string>>
  /** A further policy of the resource for this caller alone: what grants give it. */
  granted?: string
  /** Identity policies count only as far as this policy lets their account in, as with KMS keys. */
  required: boolean
}

/** How a request proves who sends it: SigV4, nothing at all, or a managed node's own key (`node-key`). */
export type Authentication = 'sigv4' | 'anonymous' | 'node-key'

export interface Operation<Input, Output> {
  authentication?: Authentication
  /** The action's resources and keys, declared once. An operation that declares nothing does not start. */
  authorize(input: Input, context: Context): Access | Access[] | Promise<Access | Access[]>
  handle(context: Context, input: Input): Promise<Output>
}

/** A secret for an access key id, as identity finds it. */
export interface Credential {
  secretAccessKey: string
  caller: Caller
  /** Milliseconds since the epoch; absent for long-lived keys. */
  expiresAt?: number
}

type Found = Credential | 'expired' | undefined

export interface CredentialSource {
  /** undefined: no such key. 'expired': it was one. At once where it is known. */
  find(accessKeyId: string, sessionToken: string | undefined): Found | Promise<Found>
}

/** Decides on one permission; a text says why it is refused. */
export interface Authorizer {
  /** The words of a refusal, whose reason is kept for `musterbook explain`; undefined: it is allowed. */
  decide(caller: Caller, access: Access & { action: string }, context: Context): Promise<string | undefined>
  /** A question whose `false` refuses nothing by itself: no reason of it is kept. */
  allows(caller: Caller, access: Access & { action: string }, context: Context): Promise<boolean>
}

/** What signs with a node's own key: string to sign, signature in base 64, access key id (the node id). */
export interface NodeKeyVerifier {
  verify(
    scope: { region: string; nodeId: string },
    stringToSign: string,
    signature: string,
  ): Promise<Caller | undefined>
}

/** A plain HTTP route beside the AWS protocol, such as ssmmessages' REST calls. */
export interface Route {
  method: 'GET' | 'POST'
  /** Matched against the path; its groups are `params`. */
  path: RegExp
  /** The SigV4 service name that must have signed it, or `open` for routes that need no signature. */
  signedFor: string | 'open'
  /** What the signer must be allowed. */
  authorize(context: Context, params: string[]): Access
  /** undefined: it has written the answer to the response itself, and ended it. */
  handle(context: Context, request: RouteRequest): Promise<RouteAnswer | undefined>
}

export interface RouteRequest {
  params: string[]
  body: Buffer
  raw: IncomingMessage
  response: ServerResponse
}

export interface RouteAnswer {
  status: number
  contentType: string
  body: string | Buffer
}

/** A WebSocket endpoint. `open` is called once the upgrade is done; a refusal before that is answered as an HTTP error. */
export interface Socket {
  path: RegExp
  /** The SigV4 service name that must have signed the upgrade, or `open` where the first frame carries a token. */
  signedFor: string | 'open'
  /** An upgrade that carries no signature at all is admitted as anonymous: its first frame must prove more. */
  unsignedToo?: boolean
  authorize(context: Context, params: string[]): Access
  /** `wire` is what the socket writes to, for whoever gathers several messages into one write. */
  open(context: Context, socket: WebSocket, params: string[], wire: Duplex): void
}

/** A message from a node's control channel. Handlers of one type may be called many at a time. */
export interface NodeMessage {
  scope: Scope
  nodeId: string
  messageId: string
  messageType: string
  payload: Uint8Array
  /** Sends a message of `messageType` on the same channel; false when the channel is gone. */
  answer(messageType: string, payload: Uint8Array): boolean
}
export type NodeMessageHandler = (message: NodeMessage) => Promise<void>

/**
 * Whether a node may do one thing beyond itself for as long as the reason lasts, such as opening the key of a session that
 * it has. Asked for one action, after the node's role; what the role or the resource's policy denies stays denied.
 */
export type NodeGrant = (caller: NodeCaller, access: Access, context: Context) => Promise<boolean>

/** Background work: carries out what the database asks for. Takes no input; safe to run on every process at any time. */
export interface Reconciler {
  name: string
  /** Topics whose wakes make it run soon. */
  wakes: string[]
  /** Seconds of the clock between runs when nothing wakes it. */
  everySeconds: number
  /** Returns when it wants to run again at the latest, if sooner than its period. */
  run(work: WorkContext): Promise<Date | undefined>
}

/** Called after each request has been answered. */
export interface Observation {
  context: Context
  service: string
  operation: string
  input: unknown
  output: unknown
  error: { name: string; message: string } | undefined
  milliseconds: number
}
export type Observer = (observation: Observation) => void

/** A call of somebody who has proved who it is, as the audit is told of it: one object from its start to its end. */
export interface AuditedCall {
  readonly context: Context
  readonly service: string
  readonly operation: string
  /** The service that calls for the caller, such as `ssm.amazonaws.com`. */
  readonly invokedBy?: string
  /** As decoded; undefined while it is not, and where it cannot be. */
  input?: unknown
  /** What the call needs; undefined where it failed before that was known. */
  access?: Access | Access[]
  /** What the auditor knows the call by between its two words. */
  eventId?: string
}

/** Notes calls. What it returns is waited for, and where that rejects, the call is answered with its error. */
export interface Auditor {
  /** The call is allowed and is about to be carried out: a rejection keeps it from that. */
  intend(call: AuditedCall): Promise<void> | undefined
  /** The call has ended, or was refused; its answer has not left. */
  note(
    call: AuditedCall,
    output: unknown,
    error: { name: string; message: string } | undefined,
  ): Promise<void> | undefined
}

/** What a running capability is handed by its server process. */
export interface Host extends Ground {
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly settings: Settings
  /** Handlers that capabilities declared for node messages, by message type. */
  readonly nodeMessages: ReadonlyMap<string, NodeMessageHandler>
  /** What capabilities grant nodes, by action. */
  readonly nodeGrants: ReadonlyMap<string, NodeGrant>
  /** Subscribes to wakes of a topic, from this process and others. `undefined` key: look at everything (after a reconnect). */
  onWake(topic: string, listener: (key: string | undefined) => void): Disposable
  /** A context for work that acts for a scope without a request. */
  contextFor(scope: Scope, caller?: Caller): Context
}

/** Settings that capabilities read, beside those that only the engines need. */
export interface Settings extends Choices {
  /** The account that the installation was made with. */
  account: string
  region: string
}

/** The choices of an installation that stand on every ground. */
export interface Choices {
  /** Standard parameters per account and region (AWS: 10,000). */
  maxStandardParameters: number
  /** Advanced parameters per account and region (AWS: 100,000). */
  maxAdvancedParameters: number
  /** Days for which ended commands are kept (AWS: 30). */
  commandRetentionDays: number
  /** Bytes of output that are kept of one invocation: a runaway must not fill the disk. */
  maxOutputBytes: number
  /** Days that an activation may live at most (AWS: 30); 0: as long as its creator says. */
  maxActivationDays: number
  /** Minutes without a sign of life after which a node without a channel is shown as ConnectionLost. */
  connectionLostMinutes: number
  /** Days after which a node is asked to replace its key pair; 0: never. */
  keyRotationDays: number
  /** Where output goes that a command asks to have in a bucket; undefined: such a command is refused. */
  commandOutput: OutputDestination | undefined
  /** Where notifications of commands are posted; undefined: a command that asks for them is refused. */
  notificationWebhook: string | undefined
  /** Whether a call waits for its record: `fail-closed` does, and is refused where it cannot be recorded. */
  audit: 'batched' | 'fail-closed'
  /** Days for which records of calls are kept (CloudTrail: 90). */
  auditRetentionDays: number
  /** Where trails deliver their files; undefined: no bucket exists. */
  trailBuckets: OutputDestination | undefined
  /** How often a trail delivers (CloudTrail: about every 5 minutes). */
  trailDeliverySeconds: number
  /** A file with the keys of OIDC issuers that are not asked over the network; undefined: all are. */
  oidcKeysFile: string | undefined
  /** Where OIDC issuers may lie: on the internet, also in the networks of a site, or also on this machine. */
  oidcNetworks: 'public' | 'private' | 'loopback'
  /** Our agent as one file, which machines fetch when they are enrolled; none is served where it is undefined. */
  agentFile: string | undefined
  /** The version of that agent; undefined: whether a node has the latest one is not told. */
  agentVersion: string | undefined
}

/** A folder with a folder for each bucket, or an S3-compatible store: its origin, and a key that may write there. */
export type OutputDestination =
  | { folder: string }
  | { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string }

/** AWS's figures; for the last, which AWS does not publish: three of the agent's pings missed. */
export const DEFAULT_CHOICES: Choices = {
  maxStandardParameters: 10_000,
  maxAdvancedParameters: 100_000,
  commandRetentionDays: 30,
  maxOutputBytes: 10 * 1024 ** 3, // no figure of AWS's: its agents' files may grow to any size
  maxActivationDays: 30,
  connectionLostMinutes: 15,
  keyRotationDays: 0, // amazon-ssm-agent's own KeyAutoRotateDays
  commandOutput: undefined,
  notificationWebhook: undefined,
  audit: 'batched',
  auditRetentionDays: 90,
  trailBuckets: undefined,
  trailDeliverySeconds: 300,
  oidcKeysFile: undefined,
  oidcNetworks: 'public',
  agentFile: undefined,
  agentVersion: undefined,
}

/** The part of a capability that lives with one server process. */
export interface Running {
  /** Operations that need what lives with one process, such as a wait for a wake. */
  operations?: OperationTable
  routes?: Route[]
  sockets?: Socket[]
  credentials?: CredentialSource
  authorizer?: Authorizer
  nodeKeys?: NodeKeyVerifier
  nodeMessages?: Record<string, NodeMessageHandler>
  nodeGrants?: Record<string, NodeGrant>
  observers?: Observer[]
  auditor?: Auditor
  close?(): Promise<void>
}

/**
 * A kind of resource that AddTagsToResource and its siblings accept, declared by the capability that owns it. Tags live
 * below their owners, so existence is asked through this declaration instead of an import that would point upward.
 */
export interface TaggableResource {
  /** What a permission names. */
  arn(scope: Scope, resourceId: string): string
  /**
   * The id under which this resource's tags lie, or undefined when there is no such resource. Called inside the
   * transaction that changes the tags: hold the resource (`for key share`) so that it cannot vanish before the commit.
   */
  resolve(context: Context, resourceId: string): Promise<string | undefined>
}

export interface Capability {
  name: string
  /** By AWS's ResourceTypeForTagging; handed to `tags(…)` in capabilities.ts. */
  taggable?: Record<string, TaggableResource>
  migrations?: Migration[]
  /** Columns of its tables that hold what was sealed: sealed again when the root key changes. */
  sealed?: SealedColumn[]
  operations?: OperationTable
  reconcilers?: Reconciler[]
  start?(host: Host): Running | Promise<Running>
}
