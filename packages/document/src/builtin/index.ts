/**
 * The documents that every account sees without having made them (Owner Amazon), written by us from published facts.
 * The server looks a name up here after the account's own documents; `actsNow` decides whether SendCommand may go on.
 */
import type { SsmDocument } from '../document.ts'
import type { JsonObject } from '../json.ts'
import type { DocumentType } from '../names.ts'
import { parseDocument } from '../parse.ts'
import type { Platform } from '../plugins.ts'
import type { DocumentFormat } from '../read.ts'
import { COMMAND_DOCUMENTS } from './command-documents.ts'
import { SESSION_DOCUMENTS } from './session-documents.ts'

export interface BuiltinDocument {
  readonly name: string
  readonly documentType: DocumentType
  readonly documentFormat: DocumentFormat
  readonly platformTypes: readonly Platform[]
  /** The only version; default and latest. */
  readonly version: string
  /** The day on which it was added here, or last changed. */
  readonly createdDate: string
  readonly owner: 'Amazon'
  readonly targetType: string | undefined
  readonly description: string
  readonly content: JsonObject
  /** Why it cannot be carried out yet, in a sentence for the person who sends it. */
  readonly notYet?: string
}

export const BUILTIN_DOCUMENTS: ReadonlyMap<string, BuiltinDocument> = new Map(
  [...COMMAND_DOCUMENTS, ...SESSION_DOCUMENTS].map((document) => [document.name, document]),
)

/** The built-in document of this name (names are case-sensitive), or undefined. */
export function builtinDocument(name: string): BuiltinDocument | undefined {
  return BUILTIN_DOCUMENTS.get(name)
}

/** The content as GetDocument and the document's hash see it. */
export function builtinContent(document: BuiltinDocument): string {
  return JSON.stringify(document.content, null, 2)
}

const parsed = new Map<string, SsmDocument>()

/** The typed form of a built-in document, parsed once. */
export function parseBuiltin(document: BuiltinDocument): SsmDocument {
  const known = parsed.get(document.name)
  if (known) return known
  const typed = parseDocument(builtinContent(document), document.documentFormat, document.documentType)
  parsed.set(document.name, typed)
  return typed
}

/** True when a document of this name can really be carried out; otherwise the reason to answer instead of sending it. */
export function actsNow(name: string): true | string {
  return BUILTIN_DOCUMENTS.get(name)?.notYet ?? true
}
