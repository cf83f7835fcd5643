/**
 * From a document back to text. GetDocument converts between the formats with it, and agents always get JSON.
 * Promises: reading the text again gives the same data.
 */
import { stringify } from 'yaml'
import type { SsmDocument } from './document.ts'
import type { JsonObject } from './json.ts'
import type { DocumentFormat } from './read.ts'

/** The document as a JSON object, the form DocumentContent has in a command payload. */
export function toJson(document: SsmDocument): JsonObject {
  return document.content
}

/** The document as text in the given format. */
export function renderAs(document: SsmDocument, format: DocumentFormat): string {
  if (format === 'JSON') return JSON.stringify(document.content, null, 2)
  // Written by 1.1 rules, strings such as `yes` and `1:30` get the quotes that keep them strings in both versions.
  return stringify(document.content, { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false })
}
