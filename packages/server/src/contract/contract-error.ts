/** What decoding throws: an AwsError of one of two names, ready for dispatch to answer. */
import { AwsError } from '../platform/errors.ts'

export class ContractError extends AwsError {
  declare readonly name: 'ValidationException' | 'SerializationException'

  constructor(name: 'ValidationException' | 'SerializationException', message: string) {
    super(name, message)
  }
}
