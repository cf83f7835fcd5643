/** Why a key could not be used, in KMS's words; callers turn it into their own service's error (InvalidKeyId in SSM). */
export type KeyProblem =
  | 'NotFoundException'
  | 'DisabledException'
  | 'InvalidCiphertextException'
  | 'KMSInvalidStateException'

export class KeyError extends Error {
  readonly problem: KeyProblem

  constructor(problem: KeyProblem, message: string) {
    super(message)
    this.problem = problem
  }
}
