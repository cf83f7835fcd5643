/** Who makes a request, as authentication found out. */
interface Known {
  readonly account: string
  readonly arn: string
  readonly accessKeyId: string
}

/** What temporary credentials carry beside who they stand for. */
interface Session {
  /** Texts of the session policies: they narrow what the session may do. */
  readonly sessionPolicies: readonly string[]
  /** aws:PrincipalTag/…, from the principal and the session. */
  readonly tags: Readonly<Record<string, string>>
  /** Milliseconds since the epoch; 0 for long-lived keys. */
  readonly issuedAt: number
  readonly mfa: boolean
  /** When the second factor was proved, where that was before the session was made. */
  readonly mfaAt?: number | undefined
}

export interface RootCaller extends Known {
  readonly type: 'root'
  /** Milliseconds since the epoch; 0 for long-lived keys. */
  readonly issuedAt: number
}

export interface UserCaller extends Known, Session {
  readonly type: 'user'
  readonly userName: string
  readonly userId: string
}

/** `arn` is the session's: arn:aws:sts::<account>:assumed-role/<role>/<session>. */
export interface RoleCaller extends Known, Session {
  readonly type: 'role'
  readonly roleArn: string
  readonly roleName: string
  readonly roleId: string
  readonly sessionName: string
  readonly sourceIdentity?: string
  /** Keys of session tags that go along to the next role. */
  readonly transitiveTags: readonly string[]
  /** Condition keys that tell whose token it was that the session was given for. */
  readonly federation?: Readonly<Record<string, string | string[]>> | undefined
}

/** A user that GetFederationToken made up, with the rights of the user who asked, narrowed by session policies. */
export interface FederatedCaller extends Known, Session {
  readonly type: 'federated'
  readonly name: string
  readonly userName: string
  readonly userId: string
}

export interface NodeCaller extends Known {
  readonly type: 'node'
  readonly region: string
  readonly nodeId: string
  /** The role whose policies grant more than the node has as itself. */
  readonly roleName?: string
}

export interface AnonymousCaller {
  readonly type: 'anonymous'
  readonly arn: ''
  readonly account: ''
}

export type Caller = AnonymousCaller | RootCaller | UserCaller | RoleCaller | FederatedCaller | NodeCaller

export const anonymous: Caller = { type: 'anonymous', arn: '', account: '' }

/** The text that LastModifiedUser and audit records show. */
export const callerName = (caller: Caller): string => caller.arn
