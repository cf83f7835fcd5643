/** The operations on documents, with the permissions that each asks for. */
import type { Input, ServiceOperations } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { tagKeys } from '../tags/index.ts'
import { createDocument, deleteDocument, updateDocument, updateDocumentDefaultVersion } from './changing.ts'
import { documentAccess, documentArn } from './find.ts'
import { listDocuments } from './list-documents.ts'
import { describeDocument, getDocument, listDocumentVersions } from './reading.ts'
import { listDocumentMetadataHistory, updateDocumentMetadata } from './reviews.ts'
import { describeDocumentPermission, modifyDocumentPermission } from './sharing.ts'

const one = (input: { Name: string }, context: Context): Promise<Access> => documentAccess(context, input.Name)

/** Tags at creation need the permission to tag as well. */
function create(input: Input<'CreateDocument'>, context: Context): Access[] {
  const resources = [documentArn(context, input.Name)]
  const tags = input.Tags ?? []
  const keys = { 'ssm:DocumentType': input.DocumentType ?? 'Command', ...(tags.length > 0 ? tagKeys(tags) : {}) }
  const access: Access[] = [{ resources, keys }]
  if (tags.length > 0) access.push({ action: 'ssm:AddTagsToResource', resources, keys: tagKeys(tags) })
  return access
}

export const operations: ServiceOperations<'ssm'> = {
  CreateDocument: { authorize: create, handle: createDocument },
  UpdateDocument: { authorize: one, handle: updateDocument },
  UpdateDocumentDefaultVersion: { authorize: one, handle: updateDocumentDefaultVersion },
  DeleteDocument: { authorize: one, handle: deleteDocument },
  DescribeDocument: { authorize: one, handle: describeDocument },
  GetDocument: { authorize: one, handle: getDocument },
  ListDocumentVersions: { authorize: one, handle: listDocumentVersions },
  ListDocuments: { authorize: () => ({ resources: ['*'] }), handle: listDocuments },
  DescribeDocumentPermission: { authorize: one, handle: describeDocumentPermission },
  ModifyDocumentPermission: { authorize: one, handle: modifyDocumentPermission },
  UpdateDocumentMetadata: { authorize: one, handle: updateDocumentMetadata },
  ListDocumentMetadataHistory: { authorize: one, handle: listDocumentMetadataHistory },
}
