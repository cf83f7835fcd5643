/**
 * Errors by their AWS names. A handler throws `new AwsError('ParameterNotFound', '…')`; only dispatch turns it into bytes,
 * with the status and the message member that the model gives that error.
 */
import type { ErrorName } from '../contract/types.ts'

export class AwsError extends Error {
  override readonly name: ErrorName
  /** Further modelled members of the error shape, such as `ResourceType`. */
  readonly members: Record<string, unknown>

  constructor(name: ErrorName, message = '', members: Record<string, unknown> = {}) {
    super(message)
    this.name = name
    this.members = members
  }
}

/** The plain-sentence form of ValidationException that business rules use (shape limits have their own text). */
export const validation = (message: string): AwsError => new AwsError('ValidationException', message)
