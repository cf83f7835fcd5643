// What a plugin gets and what it gives back. A plugin streams into the step's stdout and stderr files, obeys the signal,
// and answers with an exit code; which status that makes is decided in one place, by the document language.

import type { JsonObject } from '@musterbook/document'
import type { Answer } from '../api.ts'

export interface PluginRun {
  id: string
  action: string
  /** With every parameter resolved. */
  inputs: JsonObject
  /** Variables for scripts. */
  environment: Readonly<Record<string, string>>
  /** 5 to 172,800. */
  timeoutSeconds: number
  /** Where _script.sh, stdout, stderr and process.json lie; exists. */
  folder: string
  /** Where aws:downloadContent puts relative paths and the other plugins look for them. */
  downloads: string
  /** Aborted when the command is cancelled. */
  cancelled: AbortSignal
  /** Adds to the step's stdout or stderr file. */
  write(stream: 'stdout' | 'stderr', text: string): Promise<void>
  /** Calls of the control plane in the node's name. */
  call(operation: string, input: object): Promise<Answer>
  /** Fetches into a new file; what is at the control plane itself is asked for with the node's signature. */
  download(url: URL, path: string, headers?: Record<string, string>): Promise<void>
  /**
   * Runs the steps of another document as this step; fails when it nests deeper than 3. After a restart of the machine
   * it goes on with the document that was read before, where that one stood.
   */
  runInner(read: () => Promise<InnerDocument>, parameters: JsonObject): Promise<StepEnd>
}

export interface InnerDocument {
  text: string
  format: 'JSON' | 'YAML'
}

export interface StepEnd {
  /** The script's, or 0 and 1 from plugins without one. */
  exitCode: number
  /** Killed because the command was cancelled. */
  cancelled?: boolean
  /** What the plugin itself has to say about a failure. */
  message?: string
}

export type Plugin = (step: PluginRun) => Promise<StepEnd>

/** An input as text: strings as they are, numbers and booleans spelled out, everything else empty. */
export function textInput(inputs: JsonObject, name: string): string {
  const value = inputs[name]
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''
}

export function failed(message: string): StepEnd {
  return { exitCode: 1, message }
}
