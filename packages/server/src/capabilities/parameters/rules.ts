/** What PutParameter and the label operations may do: values, types, tiers, labels, versions. Pure. */
import type { Input } from '../../contract/types.ts'
import { AwsError, validation } from '../../platform/errors.ts'
import { checkNewTags } from '../tags/index.ts'

export type ParameterType = NonNullable<Input<'PutParameter'>['Type']>
export type Tier = 'Standard' | 'Advanced'
export type RequestedTier = NonNullable<Input<'PutParameter'>['Tier']>

/** Versions kept of one parameter. */
export const MAX_VERSIONS = 100
/** Labels on one version. */
export const MAX_LABELS = 10
/** Bytes of a value in UTF-8. */
export const MAX_VALUE_BYTES = { Standard: 4096, Advanced: 8192 } as const

export const alreadyExists = (): AwsError =>
  new AwsError(
    'ParameterAlreadyExists',
    'The parameter already exists. To overwrite this value, set the overwrite option in the request to true.',
  )

/** ValidationException. */
export function checkTagsAtCreation(input: Input<'PutParameter'>): void {
  const tags = input.Tags ?? []
  checkNewTags(tags)
  if (input.Overwrite && tags.length > 0) {
    throw validation(
      "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.",
    )
  }
}

/** Texts that PostgreSQL cannot hold, and values that no parameter has. ValidationException. */
export function checkTexts(input: Input<'PutParameter'>): void {
  if (input.Value === '') {
    throw validation(
      "1 validation error detected: Value at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1",
    )
  }
  for (const member of ['Value', 'Description', 'AllowedPattern'] as const) {
    if (input[member]?.includes('\u0000')) throw validation(`Parameter ${member} can't hold a NUL character.`)
    // UTF-8 has no half pairs: another character would silently take its place.
    if (/\p{Cs}/u.test(input[member] ?? ''))
      throw validation(`Parameter ${member} can't hold half of a surrogate pair.`)
  }
  if (nestsAnother(input.Value)) {
    throw validation('Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.')
  }
}

/** Looked for from the left, once: an expression would begin anew at each brace, and a body full of them holds a process for hours. */
function nestsAnother(value: string): boolean {
  const opened = value.indexOf('{{')
  return opened >= 0 && value.indexOf('}}', opened + '{{'.length) >= 0
}

/** The type of the new version. ValidationException, HierarchyTypeMismatchException. */
export function resolveType(requested: ParameterType | undefined, existing: ParameterType | undefined): ParameterType {
  if (existing === undefined) {
    if (requested === undefined) throw validation('A parameter type is required when you create a parameter.')
    return requested
  }
  if (requested !== undefined && requested !== existing) {
    throw new AwsError(
      'HierarchyTypeMismatchException',
      "Parameter Store doesn't support changing a parameter type in a hierarchy. For example, you can't change a parameter from a String type to a SecureString type. You must create a new, unique parameter.",
    )
  }
  return existing
}

const DATA_TYPES = ['text', 'aws:ec2:image', 'aws:ssm:integration']
const IMAGE_ID = /^ami-[0-9a-f]{8,17}$/

/** ValidationException when the name is no data type. */
export function checkDataType(dataType: string | undefined): void {
  if (dataType !== undefined && dataType !== '' && !DATA_TYPES.includes(dataType)) {
    throw validation(`The following data type is not supported: ${dataType} (Data type names are all lowercase.)`)
  }
}

/** The image itself is not looked for: its id is all that can be checked here. ValidationException. */
export function checkValueOfDataType(dataType: string, type: ParameterType, value: string): void {
  if (dataType !== 'aws:ec2:image') return
  if (type !== 'String') throw validation('The data type aws:ec2:image is for parameters of type String only.')
  if (!IMAGE_ID.test(value)) throw validation('The parameter value is not an AMI id, such as ami-12345abcdeEXAMPLE.')
}

export interface TierQuestion {
  requested: RequestedTier | undefined
  existing: Tier | undefined
  /** What the account chose for requests that name none. */
  accountDefault: RequestedTier
  bytes: number
  hasPolicies: boolean
}

/** The tier of the new version, as far as the account has room in it; an advanced one stays so. ValidationException. */
export function resolveTier(question: TierQuestion): Tier {
  const { requested, existing, accountDefault, bytes, hasPolicies } = question
  if (existing === 'Advanced') {
    if (requested !== 'Standard') return 'Advanced'
    throw validation(
      "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter.",
    )
  }
  // A standard parameter keeps its tier, unless its account lets the tier follow the need.
  const kept = existing && accountDefault !== 'Intelligent-Tiering' ? existing : accountDefault
  const wanted = requested ?? kept
  if (wanted !== 'Intelligent-Tiering') return wanted
  return bytes > MAX_VALUE_BYTES.Standard || hasPolicies ? 'Advanced' : 'Standard'
}

/** ValidationException. */
export function checkSize(tier: Tier, bytes: number): void {
  if (bytes <= MAX_VALUE_BYTES[tier]) return
  throw validation(
    tier === 'Standard'
      ? 'Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html'
      : 'Advanced tier parameters support a maximum parameter value of 8192 characters.',
  )
}

export const versionLimitExceeded = (name: string, oldest: number): AwsError =>
  new AwsError(
    'ParameterMaxVersionLimitExceeded',
    `You attempted to create a new version of ${name} by calling the PutParameter API with the overwrite flag. Version ${oldest}, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.`,
  )

export const versionNotFound = (name: string, version: number | string): AwsError =>
  new AwsError(
    'ParameterVersionNotFound',
    `Systems Manager could not find version ${version} of ${name}. Verify the version and try again.`,
  )

export const labelNotFound = (name: string, label: string): AwsError =>
  new AwsError(
    'ParameterVersionNotFound',
    `Systems Manager couldn't find label ${label} for parameter ${name}. Verify the label and try again.`,
  )

/** Letters, digits and `.-_`; not beginning with a digit, `aws` or `ssm`. */
export const isLabel = (label: string): boolean => /^[\w.-]+$/.test(label) && !/^(?:\d|aws|ssm)/i.test(label)

export interface LabelChange {
  attach: string[]
  invalid: string[]
}

/** What LabelParameterVersion does. `present`: labels on that version now. ParameterVersionLabelLimitExceeded. */
export function labelChange(requested: readonly string[], present: readonly string[]): LabelChange {
  const distinct = [...new Set(requested)]
  const attach = distinct.filter(isLabel)
  if (new Set([...present, ...attach]).size > MAX_LABELS) {
    throw new AwsError(
      'ParameterVersionLabelLimitExceeded',
      `A parameter version can have maximum ${MAX_LABELS} labels.Move one or more labels to another version and try again.`,
    )
  }
  return { attach, invalid: distinct.filter((label) => !isLabel(label)) }
}

/** Whether a version number can exist at all: requests may carry any 64-bit number. */
export const isVersion = (version: number): boolean => Number.isSafeInteger(version) && version > 0
