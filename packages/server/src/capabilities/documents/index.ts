/**
 * Documents: versions, version names, defaults, sharing and reviews of what nodes run. Its door finds the document that a
 * command or a session names, whoever owns it.
 */
import type { Capability } from '../../platform/capability.ts'
import init from './migrations/0001-init.sql'

export { documentArn, type FoundDocument, findDocument } from './find.ts'

export const documents: Capability = {
  name: 'documents',
  migrations: [{ name: '0001-init', sql: init }],
}
