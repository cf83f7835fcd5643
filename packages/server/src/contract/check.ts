/**
 * The door of the contract for dispatch: decode a request, encode an answer, redact for the audit, and, in test runs, check
 * answers and errors against the model.
 */
export { ContractError } from './contract-error.ts'
export { decode } from './decode.ts'
export { type EncodeOptions, encode } from './encode.ts'
export { assertModelled } from './errors.ts'
export { REDACTED, redact, redactOutput } from './redact.ts'
