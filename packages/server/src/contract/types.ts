/**
 * The contract as types: names of operations and errors, inputs as handlers receive them, outputs as they return them.
 * Everything is derived from the SDK's command classes or from the declared agent operations; nothing is typed twice.
 * Another service joins by one entry in `Services`.
 */
import type { Operation } from '../platform/capability.ts'
import type {
  agentSsmErrors,
  agentSsmOperations,
  ec2messagesErrors,
  ec2messagesOperations,
} from './agent-operations.ts'
import type { CommonErrorName } from './common-errors.ts'
import type { OperationModel } from './shape.ts'

/**
 * A shape of the SDK as it is once checked: required members are there (the SDK writes `Name: string | undefined`),
 * optional ones may be absent.
 */
export type Checked<T> = T extends string | number | boolean | bigint | Date | Uint8Array | null | undefined
  ? T
  : T extends readonly (infer E)[]
    ? Checked<E>[]
    : {
        [K in keyof T]: undefined extends T[K]
          ? T extends Record<K, T[K]>
            ? Checked<Exclude<T[K], undefined>>
            : Checked<T[K]>
          : Checked<T[K]>
      }

/** The operations of an SDK client, from its exported `…Command` classes. */
type SdkOperations<Sdk> = {
  [K in keyof Sdk as K extends `${infer Op}Command` ? (Op extends '$' ? never : Op) : never]: Sdk[K]
}
type SdkInput<Class> = Class extends abstract new (...input: never) => { input: infer I } ? Checked<I> : never
type SdkOutput<Class> = Class extends abstract new (
  ...input: never
) => { resolveMiddleware(...stack: never): (...call: never) => Promise<{ output: infer O }> }
  ? Checked<Omit<O, '$metadata'>>
  : never

/** The names of an SDK client's error classes, without its base class (whose name is any string). */
type SdkErrorName<Sdk> = {
  [K in keyof Sdk]: Sdk[K] extends abstract new (
    ...options: never
  ) => { readonly name: infer N; readonly $fault: unknown }
    ? N extends string
      ? string extends N
        ? never
        : N
      : never
    : never
}[keyof Sdk]

type Ssm = typeof import('@aws-sdk/client-ssm')
type Iam = typeof import('@aws-sdk/client-iam')
type Sts = typeof import('@aws-sdk/client-sts')
type Kms = typeof import('@aws-sdk/client-kms')
type CloudTrail = typeof import('@aws-sdk/client-cloudtrail')

interface Services {
  ssm: { sdk: SdkOperations<Ssm>; declared: typeof agentSsmOperations }
  ec2messages: { sdk: unknown; declared: typeof ec2messagesOperations }
  iam: { sdk: SdkOperations<Iam>; declared: unknown }
  sts: { sdk: SdkOperations<Sts>; declared: unknown }
  kms: { sdk: SdkOperations<Kms>; declared: unknown }
  cloudtrail: { sdk: SdkOperations<CloudTrail>; declared: unknown }
}

/** A service by its SigV4 name. */
export type ServiceName = keyof Services

type SdkOf<S extends ServiceName> = Services[S]['sdk']
type DeclaredOf<S extends ServiceName> = Services[S]['declared']

/** The 154 published operations of Systems Manager. */
export type SsmOperationName = keyof SdkOf<'ssm'>
/** The operations of AmazonSSM that only agents call. */
export type AgentSsmOperationName = keyof typeof agentSsmOperations
export type Ec2MessagesOperationName = keyof typeof ec2messagesOperations

export type OperationName<S extends ServiceName = 'ssm'> = (keyof SdkOf<S> | keyof DeclaredOf<S>) & string

/** What a handler receives: required members present, timestamps as Date, blobs as Uint8Array. */
export type Input<Op extends OperationName<S>, S extends ServiceName = 'ssm'> = Op extends keyof DeclaredOf<S>
  ? DeclaredOf<S>[Op] extends OperationModel<infer I, infer _>
    ? I
    : never
  : Op extends keyof SdkOf<S>
    ? SdkInput<SdkOf<S>[Op]>
    : never

/** What a handler returns, without `$metadata`. */
export type Output<Op extends OperationName<S>, S extends ServiceName = 'ssm'> = Op extends keyof DeclaredOf<S>
  ? DeclaredOf<S>[Op] extends OperationModel<infer _, infer O>
    ? O
    : never
  : Op extends keyof SdkOf<S>
    ? SdkOutput<SdkOf<S>[Op]>
    : never

/** Every error that the model of Systems Manager knows. */
export type SsmErrorName = SdkErrorName<Ssm>
export type AgentSsmErrorName = (typeof agentSsmErrors)[number]
export type Ec2MessagesErrorName = (typeof ec2messagesErrors)[number]
export type { CommonErrorName }

/** What `AwsError` may be called. */
export type ErrorName =
  | SdkErrorName<Iam>
  | SdkErrorName<Sts>
  | SdkErrorName<Kms>
  | SdkErrorName<CloudTrail>
  | SsmErrorName
  | AgentSsmErrorName
  | Ec2MessagesErrorName
  | CommonErrorName

/** The operations of one service that a capability implements, by their AWS names. */
export type ServiceOperations<S extends ServiceName> = {
  readonly [Op in OperationName<S>]?: Operation<Input<Op, S>, Output<Op, S>>
}

/** What a capability implements: `{ ssm: { PutParameter: … } }`. */
export type OperationTable = { readonly [S in ServiceName]?: ServiceOperations<S> }
