/** What is recorded of which operation: polls are not, reads and writes are told apart, texts of commands are hidden. */

/** ec2messages is the poll of agents (AWS leaves it out, too): a call every few seconds from every node, with no news. */
const UNRECORDED = new Set(['ec2messages'])

export const isRecorded = (service: string): boolean => !UNRECORDED.has(service)

const READS = /^(?:Get|List|Describe|Lookup|Search|Simulate|BatchGet|Verify|Decode|Test)/
/** As CloudTrail has them: using a key changes nothing, and neither does taking on a role. */
const FURTHER_READS = new Set([
  'kms:Decrypt',
  'kms:Encrypt',
  'kms:ReEncrypt',
  'kms:GenerateDataKey',
  'kms:GenerateDataKeyPair',
  'kms:GenerateDataKeyPairWithoutPlaintext',
  'kms:GenerateDataKeyWithoutPlaintext',
  'kms:GenerateMac',
  'kms:GenerateRandom',
  'kms:Sign',
  'kms:DeriveSharedSecret',
  'sts:AssumeRole',
  'sts:AssumeRoleWithSAML',
  'sts:AssumeRoleWithWebIdentity',
])
/** They hand out what was not there before. */
const WRITES_BY_OTHER_NAMES = new Set(['ssm:GetDeployablePatchSnapshotForInstance', 'ssm:GetAccessToken'])

/** By service and operation: a name made of both would be made anew several times in a call. */
const known = new Map<string, Map<string, boolean>>()
/** AWS has some hundred operations in each service here; the bound is for those who make names up. */
const MAX_KNOWN = 1_000

export function isReadOnly(service: string, operation: string): boolean {
  const ofService = known.get(service) ?? new Map<string, boolean>()
  let answer = ofService.get(operation)
  if (answer === undefined) {
    const name = `${service}:${operation}`
    answer = (READS.test(operation) && !WRITES_BY_OTHER_NAMES.has(name)) || FURTHER_READS.has(name)
    if (ofService.size < MAX_KNOWN) known.set(service, ofService.set(operation, answer))
  }
  return answer
}

/** Reads whose answers are recorded: who was given which credentials. */
export const answersAreRecorded = (service: string, operation: string): boolean =>
  service === 'sts' && /^(?:AssumeRole|Get(?:Session|Federation)Token$)/.test(operation)

/** Members that are hidden though the model does not mark them: texts of commands, and documents, which are code. */
const HIDDEN_INPUTS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['SendCommand', new Set(['Parameters'])],
  ['StartSession', new Set(['Parameters'])],
  ['CreateDocument', new Set(['Content'])],
  ['UpdateDocument', new Set(['Content'])],
  ['StartAutomationExecution', new Set(['Parameters'])],
])
export const hiddenInputs = (service: string, operation: string): ReadonlySet<string> | undefined =>
  service === 'ssm' ? HIDDEN_INPUTS.get(operation) : undefined

/**
 * What is kept apart under the account's key: the texts of commands and the values that were written. A value whose call does
 * not say that it is no SecureString is not kept at all: an overwrite need not name its type.
 */
export function contentOf(service: string, operation: string, input: unknown): Record<string, unknown> | undefined {
  if (service !== 'ssm' || typeof input !== 'object' || input === null) return undefined
  const { Parameters, Value, Type, Content } = input as Record<string, unknown>
  switch (operation) {
    case 'SendCommand':
    case 'StartSession':
      return Parameters === undefined ? undefined : { parameters: Parameters }
    case 'PutParameter':
      return Type === 'String' || Type === 'StringList' ? { value: Value } : undefined
    case 'CreateDocument':
    case 'UpdateDocument':
      return { content: Content }
    default:
      return undefined
  }
}
