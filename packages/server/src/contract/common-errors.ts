/**
 * Errors that any service may answer whatever its model says: the front of AWS's services gives them before an operation
 * is reached. Statuses from "Common Error Types" of the Systems Manager API reference, as its JSON protocol sends them.
 */
export const commonErrors = {
  AccessDeniedException: 400,
  ExpiredTokenException: 400,
  IncompleteSignatureException: 400,
  InternalFailure: 500,
  InternalServerError: 500,
  InvalidClientTokenId: 403,
  InvalidSignatureException: 400,
  MissingAuthenticationTokenException: 400,
  NotAuthorized: 400,
  // Ours: an operation of AWS that is missing here. No SDK tries 501 again.
  NotImplementedException: 501,
  OptInRequired: 403,
  RequestEntityTooLarge: 413,
  RequestExpired: 400,
  SerializationException: 400,
  ServiceUnavailable: 503,
  ThrottlingException: 400,
  UnknownOperationException: 400,
  UnrecognizedClientException: 400,
  ValidationException: 400,
} as const

export type CommonErrorName = keyof typeof commonErrors
