/**
 * The typed document: what is left after parseDocument has found nothing wrong.
 * `content` is the whole as data and goes to nodes unchanged; the other members are the same facts, ready to use.
 */
import type { Json, JsonObject } from './json.ts'

export const PARAMETER_TYPES = ['String', 'StringList', 'Integer', 'Boolean', 'StringMap', 'MapList'] as const
export type ParameterType = (typeof PARAMETER_TYPES)[number]

/** One entry of `parameters`; bounds are counts of characters (String, StringList elements) or of items. */
export interface ParameterDefinition {
  /** As written; runbooks also write `AWS::EC2::Instance::Id` and `List<…>`. */
  readonly type: string
  /** How its values are checked and carried. */
  readonly valueType: ParameterType
  readonly description?: string
  readonly default?: Json
  readonly allowedValues?: readonly Json[]
  readonly allowedPattern?: string
  readonly minChars?: number
  readonly maxChars?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly displayType?: string
  /** Schema 2.2: handed to scripts as the variable `SSM_<name>` and never pasted into their text. */
  readonly interpolationType?: 'ENV_VAR'
}

interface Common {
  readonly schemaVersion: string
  readonly description?: string
  readonly parameters: ReadonlyMap<string, ParameterDefinition>
  readonly content: JsonObject
  /** Size of the submitted text in bytes; SendCommand counts it against 64 KB together with the parameter values. */
  readonly bytes: number
}

/** Schema 1.0 and 1.2: plugins by name, in the order written. */
export interface RuntimeConfigDocument extends Common {
  readonly kind: 'runtimeConfig'
  readonly plugins: readonly { readonly name: string; readonly settings?: Json; readonly properties?: Json }[]
}

/** Schema 2.0 and 2.2: named steps, run in order. */
export interface StepsDocument extends Common {
  readonly kind: 'mainSteps'
  readonly steps: readonly Step[]
}

export interface Step {
  readonly name: string
  readonly action: string
  readonly inputs: JsonObject
  readonly settings?: Json
  readonly precondition?: Readonly<Record<string, readonly string[]>>
}

export const SESSION_TYPES = ['Standard_Stream', 'InteractiveCommands', 'NonInteractiveCommands', 'Port'] as const
export type SessionType = (typeof SESSION_TYPES)[number]

/** Schema 1.0 with a sessionType: what StartSession opens. */
export interface SessionDocument extends Common {
  readonly kind: 'session'
  readonly sessionType: SessionType
  readonly inputs: JsonObject
  readonly properties?: JsonObject
}

/** Schema 0.3: recognised, its parameters read, its steps left to whoever runs Automation. */
export interface AutomationDocument extends Common {
  readonly kind: 'automation'
}

/** A type with a format of its own (Package manifest, AppConfig and so on): well-formed, otherwise kept as it is. */
export interface OtherDocument extends Common {
  readonly kind: 'other'
}

export type SsmDocument = RuntimeConfigDocument | StepsDocument | SessionDocument | AutomationDocument | OtherDocument
