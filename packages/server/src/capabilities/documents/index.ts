/**
 * Documents: versions, version names, defaults, sharing and reviews of what nodes run. Its door finds the document that a
 * command or a session names, whoever owns it.
 */
import type { Capability } from '../../platform/capability.ts'
import { documentArn } from './find.ts'
import init from './migrations/0001-init.sql'
import { operations } from './operations.ts'
import { holdDocument } from './store.ts'

export { documentAccess, type FoundDocument, findDocument } from './find.ts'

export const documents: Capability = {
  name: 'documents',
  migrations: [{ name: '0001-init', sql: init }],
  operations: { ssm: operations },
  taggable: {
    Document: {
      arn: documentArn,
      resolve: async (context, name) => ((await holdDocument(context, name)) ? name : undefined),
    },
  },
}
