/**
 * The one error that leaves this package.
 * It carries the AWS error name that the service answers with, and a text that names the place in the document.
 * A parameter's value never stands in a text: values may be secrets, and error texts reach logs.
 */

/** AWS error names that the document language can answer with. */
export type DocumentErrorCode =
  | 'InvalidDocument'
  | 'InvalidDocumentContent'
  | 'InvalidDocumentSchemaVersion'
  | 'InvalidDocumentVersion'
  | 'InvalidParameters'
  | 'MaxDocumentSizeExceeded'
  | 'ValidationException'

/** A document, a reference to one, or its parameters broke a rule of the service. */
export class DocumentError extends Error {
  override readonly name = 'DocumentError'
  readonly code: DocumentErrorCode

  constructor(code: DocumentErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

export function invalidContent(message: string): DocumentError {
  return new DocumentError('InvalidDocumentContent', message)
}
